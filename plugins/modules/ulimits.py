#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set limits of users and units, and see what a new session and the running process really have."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ulimits
short_description: Set limits of users and of systemd units, and prove them
version_added: 0.1.0
description:
  - Writes limits of users for PAM below C(/etc/security/limits.d), and of units as drop-ins of systemd, which PAM does not reach.
  - Reads what is in force from a new session of each user and from C(/proc/PID/limits) of each unit's process. A limit that the
    host clamps is a finding.
  - All is changed or nothing. A unit that does not come up after its restart, a session that cannot be opened, or any other
    failure puts everything back. A run that was killed is taken back by the next one.
options:
  limits:
    description:
      - What the limits are to be.
      - Each limit is a number or a size for soft and hard, or a mapping of C(soft) and C(hard); V(unlimited) where there is to be none.
    type: dict
    default: {}
    suboptions:
      users:
        description: Limits of users, by O(limits.users[].name) and the limits C(nofile), C(nproc), C(core), C(memlock), C(stack),
          C(data), C(fsize), C(as), C(locks), C(sigpending), C(msgqueue).
        type: list
        elements: dict
        suboptions: &limits
          name:
            description: A user, V(@group) or V(*); for units a service.
            type: str
            required: true
          remedy:
            description: What the findings tell the operator to do; a runbook or a section.
            type: str
          nofile:
            description: Open files.
            type: raw
          nproc:
            description: Processes and threads of the user.
            type: raw
          core:
            description: Size of a core dump.
            type: raw
          memlock:
            description: Memory that may be locked.
            type: raw
          stack:
            description: Size of the stack.
            type: raw
          data:
            description: Size of the data segment.
            type: raw
          fsize:
            description: Size of a file.
            type: raw
          as:
            description: Size of the address space.
            type: raw
          locks:
            description: Locks on files.
            type: raw
          sigpending:
            description: Signals that wait.
            type: raw
          msgqueue:
            description: Bytes in message queues.
            type: raw
      units:
        description: Limits of systemd services, as those of users.
        type: list
        elements: dict
        suboptions: *limits
extends_documentation_fragment:
  - opsrunner.runbook.check
  - opsrunner.runbook.tuning
notes:
  - Needs root.
  - Open files above C(fs.nr_open) are left out for users, with a finding, because PAM would then open no session.
author:
  - opsrunner maintainers (@opsrunner)
"""

EXAMPLES = r"""
- name: Give the service and its user room for many connections
  opsrunner.runbook.ulimits:
    limits:
      users:
        - name: intake
          nofile: 65535
          nproc: 32768
      units:
        - name: intake.service
          nofile: 65535
    restart: true
"""

RETURN = r"""
restarted:
  description: Units that were restarted, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [intake.service]
pending:
  description: Whether the change waits to be confirmed.
  returned: success
  type: bool
  sample: false
undone:
  description: Files of an earlier change that were put back.
  returned: success
  type: list
  elements: str
  sample: []
findings:
  description: One per user or unit and limit.
  returned: always
  type: list
  elements: dict
  sample: [{"check": "ulimit.intake.service.nofile", "status": "ok", "value": 65535}]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.managed import FileError
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision import changes as held_changes
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision import ulimits as ulimit_settings
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.units import UnitError


def main() -> None:
    """Run the module."""
    limits = {
        "name": {"type": "str", "required": True},
        "remedy": {"type": "str"},
        "nofile": {"type": "raw"},
        "nproc": {"type": "raw"},
        "core": {"type": "raw"},
        "memlock": {"type": "raw"},
        "stack": {"type": "raw"},
        "data": {"type": "raw"},
        "fsize": {"type": "raw"},
        "as": {"type": "raw"},
        "locks": {"type": "raw"},
        "sigpending": {"type": "raw"},
        "msgqueue": {"type": "raw"},
    }
    subjects = {"type": "list", "elements": "dict", "options": limits}
    module = AnsibleModule(
        argument_spec={
            "limits": {"type": "dict", "default": {}, "options": {"users": subjects, "units": subjects}},
            "name": {"type": "str", "default": "tuning"},
            "priority": {"type": "int", "default": 90},
            "state": {"type": "str", "choices": list(held_changes.STATES), "default": "replaced"},
            "restart": {"type": "bool", "default": False},
            "settle": {"type": "float", "default": 3.0},
            "hold": {"type": "bool", "default": False},
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
        },
        supports_check_mode=True,
    )
    try:
        result = ulimit_settings.tune(module.params, module.check_mode)
    except (OptionError, FileError, UnitError) as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
