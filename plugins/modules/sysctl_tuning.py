#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set kernel parameters in a drop-in of our own, see that they hold, and be able to go back."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: sysctl_tuning
short_description: Set kernel parameters so that they hold, and can be taken back
version_added: 0.1.0
description:
  - Writes a drop-in of its own below C(/etc/sysctl.d), sets the live values with it, and reads each back from C(/proc/sys).
  - All is changed or nothing. A value that the kernel refuses, or any other failure, puts file and live values back. A run that
    was killed is taken back by the next one.
  - A key that this kernel or container does not have, or that may not be changed in it, is a finding and is left out.
  - A value that another file overrides at the next boot is a finding that names the file and the line.
options:
  name:
    description: Name of the drop-in, C(<priority>-opsrunner-<name>.conf).
    type: str
    default: tuning
  priority:
    description: Number in front of the drop-in's name; files are read in the order of their names and the last one wins.
    type: int
    default: 90
  state:
    description:
      - V(replaced), the drop-in holds what is listed and nothing else; what is no longer listed gets its old value back.
      - V(set), what is listed is added to the drop-in.
      - V(absent), what is listed goes from the drop-in and gets its old value back; everything, when nothing is listed.
      - V(confirmed), a change that was held stands.
      - V(reverted), a change that was held is taken back.
    type: str
    choices: [set, replaced, absent, confirmed, reverted]
    default: replaced
  profiles:
    description: Sets of values by the work that a host does; of two profiles that disagree the later one is taken, with a warning.
    type: list
    elements: str
    choices: [network_server, bulk_transfer, database, search, cache, batch]
    default: []
  values:
    description:
      - Values by kernel parameter; each a number or a text, or a mapping of C(value), C(reason) and C(source), which are
        written into the drop-in.
      - They go before those of the profiles. V(null) is for a key that is not to be set.
    type: dict
    default: {}
  missing:
    description: Whether a key that cannot be had here is left out with a finding (V(skip)), or nothing is changed (V(refuse)).
    type: str
    choices: [skip, refuse]
    default: skip
  hold:
    description:
      - Whether the change waits for a later call with O(state=confirmed) or O(state=reverted).
      - A change that nobody confirms is taken back by the next call.
    type: bool
    default: false
  remedy:
    description: What the findings tell the operator to do; a runbook or a section.
    type: str
extends_documentation_fragment:
  - opsrunner.runbook.check
attributes:
  check_mode:
    support: full
    description: Tells what would be changed and changes nothing.
  diff_mode:
    support: full
    description: Shows the drop-in and the live values, before and after.
notes:
  - Needs root.
  - The values that a host had before are kept below C(/var/lib/opsrunner/sysctl) for as long as a key is set.
author:
  - opsrunner maintainers (@opsrunner)
"""

EXAMPLES = r"""
- name: Tune a network server
  opsrunner.runbook.sysctl_tuning:
    profiles: [network_server]
    values:
      vm.swappiness: 10
      net.core.somaxconn:
        value: 65535
        reason: The log intake accepts in bursts

- name: Have the host as it was
  opsrunner.runbook.sysctl_tuning:
    state: absent
"""

RETURN = r"""
file:
  description: The drop-in.
  returned: success
  type: str
  sample: /etc/sysctl.d/90-opsrunner-tuning.conf
live:
  description: Live values that were changed, or would be in check mode, by key.
  returned: success
  type: dict
  sample: {"vm.swappiness": {"before": "60", "after": "10"}}
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
  description: One per key, and one per warning.
  returned: always
  type: list
  elements: dict
  sample: [{"check": "sysctl.vm.swappiness", "status": "ok", "value": 10}]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.managed import FileError
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision import sysctl as sysctl_settings
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.sysctl_profiles import PROFILES


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "tuning"},
            "priority": {"type": "int", "default": 90},
            "state": {"type": "str", "choices": list(sysctl_settings.STATES), "default": "replaced"},
            "profiles": {"type": "list", "elements": "str", "default": [], "choices": list(PROFILES)},
            "values": {"type": "dict", "default": {}},
            "missing": {"type": "str", "choices": ["skip", "refuse"], "default": "skip"},
            "hold": {"type": "bool", "default": False},
            "remedy": {"type": "str"},
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
        },
        supports_check_mode=True,
    )
    try:
        result = sysctl_settings.tune(module.params, module.check_mode)
    except (OptionError, FileError, sysctl_settings.KernelError) as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
