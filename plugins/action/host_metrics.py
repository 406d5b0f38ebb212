# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad options, apply the limits of this host, record what host_metrics finds."""

from __future__ import annotations

from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._host import options as host_options
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction


class ActionModule(CheckAction):
    """Action plugin of host_metrics."""

    module = "host_metrics"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        host_options.parse(args)

    def module_args(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The limits of this host: those under O(limits.hosts) need the inventory's name for it."""
        return {**args, "limits": host_options.for_host(args.get("limits"), str(task_vars.get("inventory_hostname", "")))}
