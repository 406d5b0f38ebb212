#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove backup sets that are no longer kept."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_prune
short_description: Remove backup sets that are no longer kept, and tell why each of the others stays
version_added: 0.1.0
description:
  - Decides for each set of a backup that has O(backups[].keep), by the rules of P(opsrunner.runbook.backup_retention#filter), whether
    it stays, and removes those that do not.
  - The newest whole set, the newest proved one (O(backups[].verified_rung)) and the newest one proved by a trial restore always stay.
    While nothing is proved nothing goes.
  - Nothing but sets that lie in the root itself is touched. Links are never followed, and what is being written is left alone.
  - Sets are removed only with V(backup_prune) in O(confirm). Without it, and in check mode, each set is told with the reason.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
  - opsrunner.runbook.backups
options:
  only:
    description: Names of the backups to prune; without it all that have O(backups[].keep).
    type: list
    elements: str
    default: []
  confirm:
    description: Names of the confirmed steps; V(backup_prune) lets sets be removed.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show which sets would go
  opsrunner.runbook.backup_prune:
    backups:
      - name: shop
        root: /backup/shop
        keep: {last: 2, daily: 7, weekly: 4, monthly: 12}
  check_mode: true

- name: Remove them
  opsrunner.runbook.backup_prune:
    backups: "{{ runbook_backups }}"
    confirm: [backup_prune]
"""

RETURN = r"""
findings:
  description: One per backup, C(backup.<name>.prune), its value the bytes won.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "backup.shop.prune", "kind": "backup", "status": "ok", "value": 1048576, "unit": "B"}]
sets:
  description:
    - Each set, newest first, with what becomes of it - C(keep), C(remove), or C(finish) for one that a killed run has left half removed.
  type: list
  elements: dict
  returned: always
  sample: [{"backup": "shop", "set": "20260131T021500Z", "action": "keep", "reasons": ["last", "daily"], "size": 1048576, "done": false}]
bytes_won:
  description: Bytes of disk that were won, or would be.
  type: int
  returned: always
  sample: 1048576
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import prune as backup_prune
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import spec as backup_spec
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "backups": backup_spec.BACKUPS,
            "only": {"type": "list", "elements": "str", "default": []},
            "confirm": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        pruned = backup_prune.run(backup_prune.parse(module.params), module.check_mode)
    except OptionError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**backup_prune.result(pruned))


if __name__ == "__main__":
    main()
