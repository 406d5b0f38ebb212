# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of ``log_stats``."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._log import options as log_options
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._inventory import zones as log_zones


class ActionModule(CheckAction):
    """Refuses bad options and resolves named time zones, which targets with Python 3.8 cannot."""

    module = "log_stats"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Refuse what the module would refuse. Raises OptionError."""
        log_options.parse_limits(args)
        if "logs" in args:
            log_options.parse_logs(args["logs"], time.time(), log_zones.tables(args["logs"], time.time()))

    def module_args(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The options with the offsets of the zones that they name."""
        return {**args, "zones": log_zones.tables(args.get("logs"), time.time())}
