#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put logrotate policies in force, and look at the logs they are for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: logrotate
short_description: Put logrotate policies in force, and look at the logs they are for
version_added: 0.1.0
description:
  - Writes policies to C(/etc/logrotate.d), each checked by logrotate itself together with the rest of its configuration before
    anything is replaced. All policies are changed or none.
  - What was at a policy's path before is kept, and comes back byte for byte when the policy becomes V(absent).
  - A log that two policies mean is found and both are named.
  - Tells logs that are too large or too old, and whether anything runs logrotate.
  - Rotates only when asked to with O(force), and then sees that the service writes to the new file.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
options:
  policies:
    description:
      - The policies. Names of directives are those of logrotate's manual; a switch may be V(false) for its opposite.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the policy and of its file.
        type: str
        required: true
      state:
        description: Whether the policy is to be there. V(absent) touches no file that others have written.
        type: str
        choices: [present, absent]
        default: present
      paths:
        description: The logs, absolute paths or globs; required for V(present).
        type: list
        elements: str
      frequency:
        description: How often; this or O(policies[].size) is required.
        type: str
        choices: [hourly, daily, weekly, monthly, yearly]
      size:
        description: Rotate when the log is larger, whenever that is, such as V(100M).
        type: str
      maxsize:
        description: Rotate before its time when the log is larger.
        type: str
      minsize:
        description: Do not rotate a log that is smaller, whatever the time.
        type: str
      rotate:
        description: How many old files stay; this or O(policies[].maxage) is required.
        type: int
      maxage:
        description: Days after which old files are removed.
        type: int
      compress:
        description: Compress old files.
        type: bool
      delaycompress:
        description: Leave the newest old file uncompressed.
        type: bool
      compresscmd:
        description: Path of the program that compresses.
        type: str
      compressext:
        description: What it adds to the name.
        type: str
      compressoptions:
        description: Options for it.
        type: str
      create:
        description: The new file, as a dictionary with O(policies[].create) V(mode), V(owner) and V(group); or true or false.
        type: raw
      su:
        description: Rotate as this V(user) and V(group); needed where others may write to the log's folder.
        type: dict
        suboptions:
          user:
            description: User name.
            type: str
            required: true
          group:
            description: Group name.
            type: str
            required: true
      sharedscripts:
        description: Run the scripts once for all logs.
        type: bool
      prerotate:
        description: Shell script run before a rotation.
        type: raw
      postrotate:
        description: Shell script run after a rotation, as a rule to let the service open its new log.
        type: raw
      firstaction:
        description: Shell script run once before all.
        type: raw
      lastaction:
        description: Shell script run once after all.
        type: raw
      missingok:
        description: A log that is not there is no error.
        type: bool
      notifempty:
        description: Leave empty logs alone.
        type: bool
      copytruncate:
        description: Copy the log and empty it in place, for services that cannot open a new one; lines written meanwhile are lost.
        type: bool
      dateext:
        description: Name old files by date.
        type: bool
      dateformat:
        description: How.
        type: str
      olddir:
        description: Folder the old files are moved to.
        type: str
      size_limit:
        description: Size of a log that is told as too large.
        type: str
        default: 100M
      age_limit:
        description: Age of a log, rotated ones too, that is told as too old.
        type: str
        default: 30d
      remedy:
        description: Runbook or section shown to the operator when something is wrong.
        type: str
  force:
    description: Names of policies whose logs are rotated now.
    type: list
    elements: str
    default: []
  proof_timeout:
    description: How long after a forced rotation the service may take to write to the new file.
    type: str
    default: 10s
  exclusive:
    description: Take away the policies that were put in force here before and are no longer listed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Rotate the logs every day, keep 30, compressed but for the newest
  opsrunner.runbook.logrotate:
    policies:
      - name: batch-logs
        paths: [/var/log/batch/*.log]
        frequency: daily
        rotate: 30
        compress: true
        delaycompress: true
        missingok: true
        notifempty: true
        create: {mode: "0644", owner: batch, group: batch}

- name: Rotate them now
  opsrunner.runbook.logrotate:
    policies: "{{ my_policies }}"
    force: [batch-logs]
"""

RETURN = r"""
findings:
  description: C(logrotate.<name>), C(logrotate.size.<name>) and C(logrotate.age.<name>) per policy, C(logrotate.config),
    C(logrotate.schedule), and C(logrotate.force.<name>) when asked.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "logrotate.batch-logs", "kind": "logrotate", "status": "ok"}]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.managed import FileError
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.logrotate import apply as logrotate_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.logrotate import policy as logrotate_policy


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "policies": {"type": "list", "elements": "dict", "default": []},
            "force": {"type": "list", "elements": "str", "default": []},
            "proof_timeout": {"type": "str", "default": "10s"},
            "exclusive": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = logrotate_run.carry_out(logrotate_policy.parse(module.params), logrotate_run.Host(), module.check_mode)
    except (OptionError, FileError) as error:
        module.fail_json(msg="%s; nothing was changed" % error)
    module.exit_json(changed=result.changed, findings=result.found, diff=result.diff)


if __name__ == "__main__":
    main()
