# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``log_stats``: options in, findings and summaries out."""

from __future__ import annotations

import os
from typing import Any, Dict, Mapping

from . import findings as log_findings
from . import options as log_options
from . import summary as log_summary
from . import work as log_run


def default_state_dir(environ: Mapping[str, str], uid: int) -> str:
    """Where cursors are kept: the machine's state folder for root, the user's own for others."""
    if uid == 0:
        return "/var/lib/opsrunner/logs"
    home = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME") or "/nonexistent", ".local", "state")
    return os.path.join(home, "opsrunner", "logs")


def log_stats(args: Mapping[str, Any], now: float, check_mode: bool = False) -> Dict[str, Any]:
    """Read the logs that the module's arguments name. ``now``: seconds since the epoch. Raises OptionError."""
    tables = args.get("zones") or {}
    specs = log_options.parse_logs(args.get("logs"), now, tables)
    limits = log_options.parse_limits(args)
    folder = str(args.get("state_dir") or "") or default_state_dir(os.environ, os.geteuid())
    outcomes = log_run.read_logs(specs, limits, now, tables, folder, keep_state=not check_mode)
    signatures = int(args.get("signatures") or 200)
    return {
        "findings": [item for outcome in outcomes for item in log_findings.findings_of(outcome, now)],
        "summaries": {outcome.spec.name: log_summary.cut_summary(outcome.summary, signatures) for outcome in outcomes},
    }
