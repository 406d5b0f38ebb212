#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make backup sets."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Make backup sets, each with a manifest of what it holds
version_added: 0.1.0
description:
  - Dumps the artifacts of each backup that has O(backups[].artifacts) into a new set below its root. Each artifact is one stream
    through the compressor, and age where asked for, into its file; its sha256 is taken meanwhile.
  - A set is whole or it is not there. It is built under a name that ends in C(.partial), written to the disk, and renamed. When an
    artifact fails no set is made, and those that were there stay; other backups are made all the same.
  - What a killed run has left is removed, and told; its programs are ended, and O(backups[].artifacts[].after) is run where it had not
    come to that. Two runs never work in one root at the same time.
  - A set that was made is not proved by that; see M(opsrunner.runbook.backup_verify).
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
  - opsrunner.runbook.backups
options:
  system:
    description: Name of the system, which each manifest tells.
    type: str
    required: true
  only:
    description: Names of the backups to make; without it all that have artifacts.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Back up the shop
  opsrunner.runbook.backup:
    system: shop
    backups:
      - name: shop
        root: /backup/shop
        artifacts:
          - {name: data, engine: files, paths: [/srv/shop]}
          - {name: db, engine: postgresql, database: shop, run_as: postgres}
        keep: {daily: 7, weekly: 4, monthly: 12}

- name: See whether it could be backed up
  opsrunner.runbook.backup:
    system: shop
    backups: "{{ runbook_backups }}"
    only: [shop]
  check_mode: true
"""

RETURN = r"""
findings:
  description: One per backup, C(backup.<name>.made), its value the bytes of the set.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "backup.shop.made", "kind": "backup", "status": "ok", "value": 1048576, "unit": "B"}]
sets:
  description: The sets that were made, or would be.
  type: list
  elements: dict
  returned: always
  sample:
    - backup: shop
      set: 20260131T021500Z
      path: /backup/shop/20260131T021500Z
      size: 1048576
      artifacts:
        - {name: data, engine: files, file: data.tar.zst, size: 1048576, sha256: "9f86d081884c7d659a2feaa0c55ad015"}
"""

from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import spec as backup_spec
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "backups": backup_spec.BACKUPS,
            "system": {"type": "str", "required": True},
            "only": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        results = backup_make.run(backup_make.parse(module.params), module.params["system"], module.check_mode)
    except OptionError as error:
        module.fail_json(msg=str(error))
    sets: List[Dict[str, Any]] = [
        {"backup": made.backup, "set": made.set, "path": made.path, "size": made.size, "artifacts": made.artifacts}
        for made in results.made
        if made.set
    ]
    shown = "".join("%s/%s\n" % (made["path"], one["file"]) for made in sets for one in made["artifacts"])
    told: Dict[str, Any] = {
        "changed": any(made.changed for made in results.made),
        "findings": [made.found for made in results.made],
        "sets": sets,
        "diff": [{"before": "", "after": shown, "before_header": "sets", "after_header": "sets"}] if shown else [],
    }
    if results.signal:
        module.fail_json(msg="ended by %s; nothing half-made was left" % results.signal, **told)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
