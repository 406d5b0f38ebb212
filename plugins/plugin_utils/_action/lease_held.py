# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this run holds the lease of its system: told by the lease's own task, asked by every task that changes a system.

The mark lies in the run's folder, so that no variable from outside can stand for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ansible import context

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs

_MARK = ".lease"


def note(run: runs.Run | None, system: str, held: bool) -> None:
    """Note that the lease was acquired or released. Raises OSError."""
    if run is None:
        return
    mark = run.home / _MARK
    if held:
        mark.write_text(system, encoding="utf-8")
    else:
        mark.unlink(missing_ok=True)


def missing(run: runs.Run | None, task_vars: Mapping[str, Any]) -> str | None:
    """Why a task may not change the system now; None when it may.

    A role that is used alone, without a run and without a host of leases, needs none.
    """
    if run is None:
        if context.CLIARGS.get("start_at_task"):
            return "--start-at-task skips the lease of the system: run the whole runbook"
        if task_vars.get("runbook_lease_host"):
            return "this play does not hold the lease of the system: put the role opsrunner.runbook.preflight and the role lease before it"
        return None
    with contextlib.suppress(OSError, ValueError):
        if (run.home / _MARK).read_text(encoding="utf-8") == run.read()["system"]:
            return None
    return "this run does not hold the lease of the system: it was not acquired, or it was switched off (tags, variables)"
