#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove backups."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_verify
short_description: Prove backups, as far up the ladder as is due
version_added: 0.1.0
description:
  - Climbs the ladder of verification - 1 the set is there and is the one that was made, 2 its files have their sums, 3 each can be
    read to its end by its own tool, 4 each is restored into a scratch place, 5 what was restored has the manifest's counts and samples.
  - How often each rung is climbed is said in O(backups[].verify); what is not due is left alone. A set that failed is tried each time.
  - What was reached is written into the set's C(verified.json) and, good or bad, into the ledger of its root. A set that fails loses
    the rungs that it passed before.
  - Backups of other tools (O(backups[].kind=file) and V(folder)) are proved to rung 3 at most - tar, gzip, zstd, xz, bzip2, zip, dumps in
    SQL, of pg_dump, of mongodump, RDB files, SQLite databases, and files of sums beside them such as C(.sha256) and C(SHA256SUMS). What
    cannot be looked into - encrypted files, one volume of a split file - is not called whole. Their record is
    C(.opsrunner-verified.json) in the root.
  - What is in the way of a rung - a program, a right, space, a key, a file server that does not answer - is told as V(warning), below
    rung 2 as V(unknown), and takes nothing from what was proved. Rungs 4 and 5 keep out of the source and need space, as a drill does.
  - Encrypted artifacts without O(backups[].encryption.identity) can only be proved to rung 2, which is told.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
  - opsrunner.runbook.backups
options:
  only:
    description: Names of the backups; all without it.
    type: list
    elements: str
    default: []
  sets:
    description:
      - Which sets - V(newest), V(all), V(newest-proved), or names or beginnings of times such as V(2026-01-31).
    type: list
    elements: str
    default: [newest]
  rung:
    description: Climb to this rung now, 1 to 5, whatever is due.
    type: int
  at_least:
    description:
      - A set that has not passed this rung yet climbs to it though nothing is due, such as one that was made just now. Higher rungs are
        climbed when they are due.
    type: int
  force:
    description: Climb to the highest rung of O(backups[].verify) now.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Prove the newest sets as far as is due
  opsrunner.runbook.backup_verify:
    backups:
      - name: app
        root: /backup/app
        verify: {2: 1d, 3: 7d, 5: 30d}
      - name: legacy
        root: /backup/legacy
        kind: file
        pattern: "*.sql.gz"

- name: Read every set to its end, now
  opsrunner.runbook.backup_verify:
    backups: "{{ backup_verify_backups }}"
    sets: [all]
    rung: 3
"""

RETURN = r"""
findings:
  description: One a backup, C(backup.<name>.rung); its value is the lowest rung that was reached.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "backup.app.rung", "kind": "backup", "status": "ok", "value": 3}]
verified:
  description: Each set that was looked at. C(asked) is null when nothing was due.
  type: list
  elements: dict
  returned: always
  sample: [{"backup": "app", "set": "20260131T021500Z", "asked": 3, "rung": 3, "seconds": 1.2, "problem": null}]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import spec as backup_spec
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify import run as backup_verify
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "backups": backup_spec.BACKUPS,
            "only": {"type": "list", "elements": "str", "default": []},
            "sets": {"type": "list", "elements": "str", "default": ["newest"]},
            "rung": {"type": "int"},
            "at_least": {"type": "int"},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        asked = backup_verify.parse(module.params)
    except OptionError as error:
        module.fail_json(msg=str(error))
    results = backup_verify.run(asked, module.check_mode)
    verified = [
        {"backup": one.backup, "set": one.name, "asked": one.asked, "rung": one.rung, "seconds": one.seconds, "problem": one.problem}
        for one in results.proved
    ]
    module.exit_json(changed=results.changed, findings=results.findings, verified=verified)


if __name__ == "__main__":
    main()
