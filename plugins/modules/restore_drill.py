#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore backups on trial."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_drill
short_description: Restore backup sets on trial, and measure how long it takes
version_added: 0.1.0
description:
  - Proves a set to rung 3, restores it into a scratch place (a temporary folder, database or server, never the source), compares
    counts and samples with the manifest, and removes the scratch place.
  - Measures the time of the restore (RTO) and the age of the set's data (RPO) against O(backups[].drill.rto) and
    O(backups[].drill.rpo), and writes a line into the ledger.
  - Scratch places that a killed drill has left are removed, its temporary servers ended.
  - Refuses a scratch place in the source or in the backups, and one that has too little space.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
  - opsrunner.runbook.backups
options:
  only:
    description: Names of the backups; all with sets without it.
    type: list
    elements: str
    default: []
  set:
    description: The set - V(newest), V(newest-proved), a name, or the beginning of a time such as V(2026-01-31).
    type: str
    default: newest
"""

EXAMPLES = r"""
- name: Restore the newest set on trial
  opsrunner.runbook.restore_drill:
    backups:
      - name: app
        root: /backup/app
        drill: {every: 30d, rto: 15m, rpo: 26h, scratch: /srv/scratch}
        artifacts:
          - {name: files, engine: files, paths: [/srv/app/data]}
"""

RETURN = r"""
findings:
  description: For each backup C(backup.<name>.drill), and when something was restored C(.rto) and C(.rpo).
  type: list
  elements: dict
  returned: always
  sample: [{"check": "backup.app.drill", "kind": "backup", "status": "ok", "value": 5}]
drills:
  description: Of each backup the set, the rung that was reached, C(rto) and C(rpo) in seconds, and the counts by file.
  type: list
  elements: dict
  returned: always
  sample: [{"backup": "app", "set": "20260131T021500Z", "rung": 5, "rto": 4.2, "rpo": 3600, "counts": {"files.tar.zst": {"files": 12}}}]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import spec as backup_spec
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import drill as restore_drill


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "backups": backup_spec.BACKUPS,
            "only": {"type": "list", "elements": "str", "default": []},
            "set": {"type": "str", "default": "newest"},
        },
        supports_check_mode=True,
    )
    try:
        asked = restore_drill.parse(module.params)
    except OptionError as error:
        module.fail_json(msg=str(error))
    results = restore_drill.run(asked, module.check_mode)
    drills = [
        {"backup": one.backup, "set": one.set, "rung": one.rung, "rto": one.rto, "rpo": one.rpo, "counts": one.counts} for one in results
    ]
    module.exit_json(
        changed=any(one.changed for one in results),
        findings=[found for one in results for found in one.findings],
        drills=drills,
    )


if __name__ == "__main__":
    main()
