#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold a host against what its services require."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_requirements
short_description: Hold a host against what its services require
version_added: 0.1.0
description:
  - Looks at cores, memory, disks, operating system, network speed and versions of programs and servers.
  - Below the minimum is critical, below what is recommended a warning, what cannot be told is unknown. Nothing is changed.
options:
  requirements:
    description: What is required.
    type: dict
    default: {}
    suboptions:
      cores:
        description: CPU cores, as C(minimum) and C(recommended).
        type: dict
        suboptions: &numbers
          minimum:
            description: Less is critical.
            type: raw
          recommended:
            description: Less is a warning.
            type: raw
      memory:
        description: Memory, such as V(8G), as C(minimum) and C(recommended); a tenth less is taken for it.
        type: dict
        suboptions: *numbers
      disks:
        description: File systems by a path on them; a tenth less is taken for the size.
        type: list
        elements: dict
        suboptions:
          name:
            description: The path.
            type: str
            required: true
          minimum:
            description: A smaller file system is critical.
            type: raw
          recommended:
            description: A smaller file system is a warning.
            type: raw
          remedy:
            description: What the finding tells the operator to do.
            type: str
      os:
        description: Operating systems; one of them is required.
        type: list
        elements: dict
        suboptions:
          name:
            description: Its C(ID) in C(/etc/os-release), such as V(debian).
            type: str
            required: true
          minimum:
            description: The oldest version.
            type: str
      network:
        description: Speed of network interfaces in Mbit/s.
        type: dict
        suboptions:
          minimum:
            description: Slower is critical.
            type: raw
          recommended:
            description: Slower is a warning.
            type: raw
          interfaces:
            description: The interfaces; without it all that belong to a device.
            type: list
            elements: str
      programs:
        description: Programs and servers that tell their version.
        type: list
        elements: dict
        suboptions:
          name:
            description: What it is called in the finding.
            type: str
            required: true
          command:
            description: Command that tells the version, word by word; it is run without a shell.
            type: list
            elements: str
            required: true
          regex:
            description: Regular expression whose first group is the version; without it the first number with a dot.
            type: str
          minimum:
            description: An older version is critical.
            type: str
          recommended:
            description: An older version is a warning.
            type: str
          remedy:
            description: What the finding tells the operator to do.
            type: str
      remedy:
        description: What findings without one of their own tell the operator to do.
        type: str
extends_documentation_fragment:
  - opsrunner.runbook.check
author:
  - opsrunner maintainers (@opsrunner)
"""

EXAMPLES = r"""
- name: Hold the host against what the service needs
  opsrunner.runbook.host_requirements:
    requirements:
      cores: {minimum: 4, recommended: 8}
      memory: {minimum: 8G, recommended: 16G}
      disks:
        - {name: /, minimum: 100G}
      os:
        - {name: debian, minimum: "12"}
      programs:
        - {name: Python, command: [python3, --version], minimum: "3.8"}
"""

RETURN = r"""
findings:
  description: One per requirement.
  returned: success
  type: list
  elements: dict
  sample: [{"check": "requires.cores", "status": "ok", "value": 8}]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import requirements


def main() -> None:
    """Run the module."""
    level = {"minimum": {"type": "raw"}, "recommended": {"type": "raw"}}
    remedy = {"remedy": {"type": "str"}}
    program = {
        "name": {"type": "str", "required": True},
        "command": {"type": "list", "elements": "str", "required": True},
        "regex": {"type": "str"},
        "minimum": {"type": "str"},
        "recommended": {"type": "str"},
        **remedy,
    }
    options = {
        "cores": {"type": "dict", "options": level},
        "memory": {"type": "dict", "options": level},
        "disks": {"type": "list", "elements": "dict", "options": {"name": {"type": "str", "required": True}, **level, **remedy}},
        "os": {"type": "list", "elements": "dict", "options": {"name": {"type": "str", "required": True}, "minimum": {"type": "str"}}},
        "network": {"type": "dict", "options": {**level, "interfaces": {"type": "list", "elements": "str"}}},
        "programs": {"type": "list", "elements": "dict", "options": program},
        **remedy,
    }
    module = AnsibleModule(
        argument_spec={
            "requirements": {"type": "dict", "default": {}, "options": options},
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
        },
        supports_check_mode=True,
    )
    try:
        found = requirements.check(module.params)
    except OptionError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, findings=found)


if __name__ == "__main__":
    main()
