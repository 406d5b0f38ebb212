#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of a system: one changing run at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lease
short_description: Take, renew or give back the lease of a system, which one changing run has at a time
version_added: 0.1.0
description:
  - A lease is a file on one host with holder, purpose and end time. It is read and written under a lock, and ends by itself.
  - Delegate the task to the host that keeps the leases. The end is judged by that host's clock alone.
  - Fails when another run holds the lease, unless O(take_over) says to take it over; only its holder can renew it or give it back.
  - Is taken over by itself from a run that was started on this controller since it booted and whose process is gone. It is told so.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
options:
  system:
    description: Name of the system.
    type: str
    required: true
  action:
    description:
      - V(take) takes the lease, or renews it when the holder has it already; V(renew) fails when the holder has it no more.
      - V(release) gives it back; V(look) tells who has it.
    type: str
    choices: [take, renew, release, look]
    default: take
  holder:
    description: Who holds it. The id of the run unless said otherwise.
    type: str
  purpose:
    description: What for, in a few words.
    type: str
    default: a change
  duration:
    description: For how long from now, such as V(2h).
    type: str
    default: 2h
  take_over:
    description: Take it also from another run that holds it. That run is not stopped.
    type: bool
    default: false
  again:
    description: Options of the command to be told to somebody who has to take it over by hand. Used by the action plugin.
    type: list
    elements: str
    default: []
  process:
    description: Set by the action plugin.
    type: str
  dead:
    description: Set by the action plugin.
    type: str
  folder:
    description:
      - Folder of the leases; V(/var/lib/opsrunner/leases) for root, else C(opsrunner/leases) below the user's state folder.
    type: path
"""

EXAMPLES = r"""
- name: Take the lease of the shop
  opsrunner.runbook.lease:
    system: shop
    purpose: restore
  delegate_to: controller.example.org
  run_once: true

- name: Give it back
  opsrunner.runbook.lease:
    system: shop
    action: release
  delegate_to: controller.example.org
  run_once: true
"""

RETURN = r"""
findings:
  description: The finding C(system.lease); none when the lease was given back.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "system.lease", "kind": "lease", "status": "ok"}]
held:
  description: Whether the holder has the lease now, or would have it in check mode.
  type: bool
  returned: always
  sample: true
lease:
  description: The lease that is there now.
  type: dict
  returned: when there is one
  sample: {"system": "shop", "holder": "ada, run 20260131-021500-restore-shop", "purpose": "restore", "until": "2026-01-31T04:15:00Z"}
"""

import time

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._lease import run as lease_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._lease import store as lease


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "system": {"type": "str", "required": True},
            "action": {"type": "str", "choices": ["take", "renew", "release", "look"], "default": "take"},
            "holder": {"type": "str"},
            "purpose": {"type": "str", "default": "a change"},
            "duration": {"type": "str", "default": "2h"},
            "take_over": {"type": "bool", "default": False},
            "again": {"type": "list", "elements": "str", "default": []},
            "process": {"type": "str"},
            "dead": {"type": "str"},
            "folder": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        wanted = lease_run.parse(module.params)
    except OptionError as error:
        module.fail_json(msg=str(error))
    done = lease_run.run(wanted, module.params["folder"] or lease.default_folder(), time.time(), module.check_mode)
    told = {"changed": done.changed, "findings": [done.found] if done.found else [], "held": done.held}
    if done.lease is not None:
        told["lease"] = dict(lease_run.shown(done.lease), process=done.lease.process)
    if done.failed is not None:
        module.fail_json(msg=done.failed, **told)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
