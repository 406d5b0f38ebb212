# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as JSON for other programs.

Schema ``opsrunner.report`` version 1; fields are added, never renamed or taken away, within a version::

    schema, version
    run:        id, system, title, runbook, state, start, end, seconds, who, via, revision, arguments
    language    of summary, remedy, notes and evidence labels
    status      worst of the findings; counts: per status; exit_status: by the default of --fail-on
    hosts:      per host its counts and status
    findings:   worst first: host, check, kind, status, summary, value, unit, warning, critical, remedy, evidence (as
                recorded), observed_at, duration_ms, message, params, change (against the previous run, or null)
    difference: null without an earlier run; else previous (its id), counts, and changes: what, host, check, before, after
                (status and value, or null); hosts_left_out
    problems, notes
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report.model import Item, Report
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import clean

SCHEMA = "opsrunner.report"
VERSION = 1
_RUN = ("id", "system", "title", "runbook", "state", "start", "end", "seconds", "who", "via", "revision", "arguments")
_FINDING = ("unit", "warning", "critical", "evidence", "observed_at", "duration_ms", "message", "params")


def render(report: Report) -> str:
    """The report as one JSON document ended by a line break; numbers that JSON does not know are null."""
    record = report.record
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "run": {name: record.get(name) for name in _RUN},
        "language": report.language,
        "status": report.status,
        "exit_status": runs.exit_status({**record, "status": report.status}),
        "counts": dict(report.counts),
        "hosts": dict(report.hosts),
        "findings": [_finding(item) for item in (*report.bad, *report.fine)],
        "difference": _difference(report),
        "problems": list(report.problems),
        "notes": list(report.notes),
    }
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _finding(item: Item) -> dict[str, Any]:
    told: dict[str, Any] = {"host": item.host, "check": item.check, "kind": item.kind, "status": item.status, "summary": item.summary}
    told |= {"value": item.value, "remedy": item.remedy or None, "change": item.change or None}
    return told | {name: item.finding.get(name) for name in _FINDING}


def _difference(report: Report) -> dict[str, Any] | None:
    if report.difference is None:
        return None

    def side(finding: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return {"status": finding["status"], "value": finding.get("value")} if finding else None

    return {
        "previous": report.previous_id,
        "counts": report.difference.counts(),
        "changes": [
            {"what": change.what, "host": change.host, "check": change.check, "before": side(change.before), "after": side(change.after)}
            for change in report.difference.changes
        ],
        "hosts_left_out": list(report.difference.left_out),
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return clean(value)
