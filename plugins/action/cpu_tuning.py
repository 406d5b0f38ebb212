# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad options, record what cpu_tuning finds."""

from __future__ import annotations

from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._provision import cpu as cpu_settings
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction


class ActionModule(CheckAction):
    """Action plugin of cpu_tuning."""

    module = "cpu_tuning"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        cpu_settings.parse_options(args)
