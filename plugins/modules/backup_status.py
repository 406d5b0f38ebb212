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
  - opsrunner.runbook.backups
options:
  timeout:
    description: Seconds for a folder to answer and for counting what is in the folders of a backup.
    type: float
    default: 10.0
  journal_folder:
    description: Folder on the host in which restores are written down; a restore that was interrupted is critical.
    type: path
    default: /var/lib/opsrunner/restores
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
    C(.min_size); C(.restore) for a restore that was interrupted; C(.ledger), C(.drill), C(.copies) and C(.space) where there is
    something to tell.
    When there is no backup to look at, C(.age) alone says why.
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

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options as backup_looks
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import spec as backup_spec
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.status import run as backup_status
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "backups": backup_spec.BACKUPS,
            "timeout": {"type": "float", "default": 10.0},
            "journal_folder": {"type": "path", "default": "/var/lib/opsrunner/restores"},
        },
        supports_check_mode=True,
    )
    try:
        backups = backup_looks.parse(module.params["backups"])
    except OptionError as error:
        module.fail_json(msg=str(error))
    findings, data = backup_status.look(backups, module.params["timeout"], journals=module.params["journal_folder"])
    module.exit_json(changed=False, findings=findings, backups=data)


if __name__ == "__main__":
    main()
