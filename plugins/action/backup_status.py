# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad options on the controller, record what backup_status finds."""

from __future__ import annotations

from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.open_restore import OpenRestoreAction


class ActionModule(OpenRestoreAction):
    """Action plugin of backup_status."""

    module = "backup_status"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        backup_options.parse(args.get("backups"))
