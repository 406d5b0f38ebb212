# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the holder of a lease by the run, record whether it was had."""

from __future__ import annotations

import getpass
import os
import socket
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils import lease_run
from ansible_collections.opsrunner.runbook.plugins.plugin_utils import runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils.check_action import CheckAction


class ActionModule(CheckAction):
    """Action plugin of lease."""

    module = "lease"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        lease_run.parse({"holder": "-", **args})

    def module_args(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """With the run as the holder: no other run has its id."""
        return {**args, "holder": args.get("holder") or _holder()}


def _holder() -> str:
    run = runs.current()
    try:
        who = getpass.getuser()
    except (KeyError, OSError):
        who = str(os.getuid())
    return f"{who}@{socket.gethostname()}, " + (f"run {run.id}" if run else f"process {os.getppid()}")
