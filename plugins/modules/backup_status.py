#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at backups."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_status
short_description: Judge backups by age, size, completeness and proof
version_added: 0.1.0
description:
  - Looks at the folder of each backup and judges the newest one - is it fresh, of a likely size, complete, and was it proved.
  - Reads manifests and the ends of files, never whole backups.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.check
options:
  backups:
    description:
      - The backups to look at.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the backup, unique; part of the check ids.
        type: str
        required: true
      root:
        description: Folder that holds the backups, an absolute path.
        type: str
        required: true
      kind:
        description:
          - V(set) is a folder named by a UTC timestamp with a C(manifest.json), as this collection writes it.
          - V(file) is a file per backup, such as C(*.tar.gz); V(folder) a folder per backup, made by another tool.
        type: str
        choices: [set, file, folder]
        default: set
      pattern:
        description:
          - Glob for names below O(backups[].root); with C(/) it reaches into folders. Needed for files, else V(*).
        type: str
      max_age:
        description:
          - V(warning) and V(critical) ages of the newest backup, such as V(26h) and V(50h), which are the defaults.
          - The date is the manifest's end, else the name's where the last change does not contradict it, else the last change.
        type: dict
      size_change:
        description:
          - Ranges V(warning) and V(critical) for the newest one's size in percent against the median of the ones before, by
            default V(-50:100) and none.
        type: dict
      history:
        description: How many earlier backups are looked at and compared with.
        type: int
        default: 7
      min_count:
        description: Fewer backups than these are a warning.
        type: int
      min_size:
        description: A smaller newest backup is critical, such as V(10M).
        type: str
      partial_after:
        description: A backup that is still called partial or temporary after this time was left behind.
        type: str
        default: 6h
      max_unverified_age:
        description: Warn when no set has passed O(backups[].verified_rung) within this time. Without it that is only told.
        type: str
      verified_rung:
        description: The rung of the verification ladder that counts as proof, 1 to 5; 3 is readable to its end by its own tool.
        type: int
        default: 3
      remedy:
        description: Runbook or section that is shown when something is wrong.
        type: str
  timeout:
    description: Seconds for a folder to answer and for counting what is in the folders of a backup.
    type: float
    default: 10.0
"""

EXAMPLES = r"""
- name: Look at the backups
  opsrunner.runbook.backup_status:
    backups:
      - name: app
        root: /backup/app
        max_unverified_age: 8d
      - name: database
        root: /backup/db
        kind: file
        pattern: "*.sql.gz"
        max_age: {warning: 26h, critical: 50h}
        min_size: 10M
      - name: daily
        root: /backup
        kind: folder
        pattern: "20*"
        min_count: 7
"""

RETURN = r"""
findings:
  description: What was found; C(backup.<name>.age), C(.size), C(.complete), for sets C(.verified), where asked for C(.count) and
    C(.min_size). When there is no backup to look at, C(.age) alone says why.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "backup.app.age", "kind": "backup", "status": "ok", "value": 30120, "unit": "s", "warning": "93600"}]
backups:
  description: By name the root, the count, the newest one and the older ones that were looked at.
  type: dict
  returned: always
  sample: {"app": {"root": "/backup/app", "count": 8, "newest": {"name": "20260131T021500Z", "size": 1234, "whole": true}}}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsrunner.runbook.plugins.module_utils import backup_options, backup_status
from ansible_collections.opsrunner.runbook.plugins.module_utils.options import OptionError


def main() -> None:
    """Entry point."""
    item = {
        "name": {"type": "str", "required": True},
        "root": {"type": "str", "required": True},
        "kind": {"type": "str", "choices": ["set", "file", "folder"], "default": "set"},
        "pattern": {"type": "str"},
        "max_age": {"type": "dict"},
        "size_change": {"type": "dict"},
        "history": {"type": "int", "default": 7},
        "min_count": {"type": "int"},
        "min_size": {"type": "str"},
        "partial_after": {"type": "str", "default": "6h"},
        "max_unverified_age": {"type": "str"},
        "verified_rung": {"type": "int", "default": 3},
        "remedy": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "backups": {"type": "list", "elements": "dict", "required": True, "options": item},
            "timeout": {"type": "float", "default": 10.0},
        },
        supports_check_mode=True,
    )
    try:
        backups = backup_options.parse(module.params["backups"])
    except OptionError as error:
        module.fail_json(msg=str(error))
    findings, data = backup_status.look(backups, module.params["timeout"])
    module.exit_json(changed=False, findings=findings, backups=data)


if __name__ == "__main__":
    main()
