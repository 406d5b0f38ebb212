# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a set or verify it, as the modules do: ``ours.py make|verify ROOT DATA``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger  # noqa: E402
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make  # noqa: E402
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets  # noqa: E402
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify import climb as backup_verify_set  # noqa: E402


def main() -> int:
    """Do it."""
    what, root, data = sys.argv[1:]
    if what == "make":
        # At the priority of the others, which take turns with it.
        item = {
            "name": "bench",
            "root": root,
            "nice": 0,
            "io_class": "none",
            "artifacts": [{"name": "data", "engine": "files", "paths": [data]}],
        }
        made = backup_make.run(backup_make.parse({"backups": [item], "system": "bench"}), "bench").made[0]
        if made.found["status"] != "ok":
            print(made.found)
            return 1
        return 0
    climbed = backup_verify_set.climb(backup_sets.listed(root)[0], backup_ledger.read(root), 3, backup_verify_set.Means())
    if climbed.rung != 3:
        print(climbed)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
