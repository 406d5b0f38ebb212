# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option O(backups): read once, on the controller to refuse bad ones and on the target to use them, artifacts by their engines."""

from __future__ import annotations

from typing import Any, List

from . import artifacts as backup_artifacts
from . import options as backup_looks

Backup = backup_looks.Backup


def parse(value: Any, path: str = "backups") -> List[Backup]:
    """Read the option O(backups). Raises OptionError."""
    return backup_looks.parse(value, path, backup_artifacts.read_all)
