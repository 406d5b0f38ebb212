#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set the CPU governor, and place units on CPUs and NUMA nodes."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cpu_tuning
short_description: Set the CPU governor and place systemd units on CPUs and NUMA nodes
version_added: 0.1.0
description:
  - Sets the frequency governor of all CPUs now and, by a line for systemd-tmpfiles, at every boot.
  - Places units by drop-ins of systemd and reads from C(/proc) where their processes really are.
  - What this hardware does not have is said in a finding and left out.
  - All is changed or nothing. A unit that does not come up after its restart, or any other failure, puts everything back. A run
    that was killed is taken back by the next one.
options:
  cpu:
    description: What is to be set.
    type: dict
    default: {}
    suboptions:
      governor:
        description: Frequency governor of all CPUs.
        type: str
        choices: [performance, powersave, schedutil, ondemand, conservative, userspace]
      remedy:
        description: What the finding about the governor tells the operator to do.
        type: str
      units:
        description: Where units run.
        type: list
        elements: dict
        suboptions:
          name:
            description: The service.
            type: str
            required: true
          cpus:
            description: CPUs its processes may run on, such as V(0-3,8); V(numa) for those of O(cpu.units[].numa_nodes).
            type: str
          numa_policy:
            description: Where its memory is taken from.
            type: str
            choices: [default, preferred, bind, interleave, local]
          numa_nodes:
            description: The nodes of the policy, such as V(0) or V(0-1).
            type: str
          remedy:
            description: What the findings tell the operator to do; a runbook or a section.
            type: str
extends_documentation_fragment:
  - opsrunner.runbook.check
  - opsrunner.runbook.tuning
notes:
  - Needs root.
author:
  - opsrunner maintainers (@opsrunner)
"""

EXAMPLES = r"""
- name: Full speed, and the game server on the first node
  opsrunner.runbook.cpu_tuning:
    cpu:
      governor: performance
      units:
        - name: server.service
          cpus: numa
          numa_policy: bind
          numa_nodes: 0
    restart: true
"""

RETURN = r"""
restarted:
  description: Units that were restarted, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [server.service]
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
  description: One for the governor and one per unit.
  returned: always
  type: list
  elements: dict
  sample: [{"check": "placement.governor", "status": "ok"}]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.managed import FileError
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision import changes as held_changes
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision import cpu as cpu_settings
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.units import UnitError


def main() -> None:
    """Run the module."""
    placement = {
        "name": {"type": "str", "required": True},
        "cpus": {"type": "str"},
        "numa_policy": {"type": "str", "choices": list(cpu_settings.POLICIES)},
        "numa_nodes": {"type": "str"},
        "remedy": {"type": "str"},
    }
    cpu = {
        "governor": {"type": "str", "choices": list(cpu_settings.GOVERNORS)},
        "remedy": {"type": "str"},
        "units": {"type": "list", "elements": "dict", "options": placement},
    }
    module = AnsibleModule(
        argument_spec={
            "cpu": {"type": "dict", "default": {}, "options": cpu},
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
        result = cpu_settings.tune(module.params, module.check_mode)
    except (OptionError, FileError, UnitError) as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
