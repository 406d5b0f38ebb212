# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``log_stats``: options in, findings and summaries out."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Dict, Mapping, Sequence

from . import cursor as log_cursor
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
    """Read the logs that the module's arguments name. ``now``: seconds since the epoch. Raises OptionError, and OSError when it
    cannot be noted that an earlier call was recorded."""
    tables = args.get("zones") or {}
    specs = log_options.parse_logs(args.get("logs"), now, tables)
    limits = log_options.parse_limits(args)
    folder = str(args.get("state_dir") or "") or default_state_dir(os.environ, os.geteuid())
    if args.get("recorded"):
        _confirm(specs, folder, str(args["recorded"]))
        return {"findings": [], "summaries": {}}
    outcomes = log_run.read_logs(specs, limits, now, tables, folder, keep_state=not check_mode, call_id=str(args.get("call_id") or ""))
    signatures = int(args.get("signatures") or 200)
    return {
        "findings": [item for outcome in outcomes for item in log_findings.findings_of(outcome, now)],
        "summaries": {outcome.spec.name: log_summary.cut_summary(outcome.summary, signatures) for outcome in outcomes},
    }


def _confirm(specs: Sequence[log_options.LogSpec], folder: str, call_id: str) -> None:
    """Note that the findings of a call were recorded. Where another call reads the log now, it is left: that one reads the lines again."""
    for spec in specs:
        if spec.cursor:
            with contextlib.suppress(log_cursor.Busy, FileNotFoundError):
                state = log_cursor.State(folder, spec.name, make=False)
                try:
                    state.confirm(call_id)
                finally:
                    state.release()
