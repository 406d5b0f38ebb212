# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad requirements, record what host_requirements finds."""

from __future__ import annotations

from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._host import requirements
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction


class ActionModule(CheckAction):
    """Action plugin of host_requirements."""

    module = "host_requirements"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        requirements.parse_options(args)
