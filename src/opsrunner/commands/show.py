# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what was kept: one run, the list of runs, the difference of two."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from opsrunner.errors import UsageError
from opsrunner.find.collection import display, findings, report_model, report_terminal, reports, run_diff, run_index, runs
from opsrunner.play import live

_COLOURS = {"ok": "32", "warning": "33", "unknown": "35", "critical": "31"}


class NoRunError(UsageError):
    """There is no such run."""


def folders() -> list[Path]:
    """The state folder, then the temporary one that stands in for it."""
    return [runs.state_dir(), runs.fallback_dir()]


def _names() -> list[tuple[str, Path]]:
    """Every run's id and folder, newest first."""
    found: dict[str, Path] = {}
    for state in folders():
        with contextlib.suppress(OSError):
            for entry in os.scandir(state / "runs"):
                if runs.RUN_ID.match(entry.name):
                    found.setdefault(entry.name, Path(entry.path))
    return sorted(found.items(), reverse=True)


def _readable(system: str | None, runbook: str | None) -> Iterator[tuple[runs.Run, runs.Record]]:
    for _name, path in _names():
        run = runs.Run(path)
        try:
            record = run.read()
        except (OSError, ValueError):
            continue
        if system in (None, record["system"]) and runbook in (None, record["runbook"]):
            yield run, record


def find(which: str, system: str | None = None, runbook: str | None = None) -> tuple[runs.Run, runs.Record]:
    """The run named by its id, the beginning of its id, ``last`` or ``previous`` (the one before it, of the same runbook and system).

    Raises NoRunError.
    """
    if which in ("last", "previous"):
        return _recent(which, system, runbook)
    alike = [path for name, path in _names() if name.startswith(which)]
    exact = [path for path in alike if path.name == which]
    if len(alike) != 1 and not exact:
        told = ", ".join(path.name for path in alike[:5])
        raise NoRunError(f"{which!r} is the beginning of {len(alike)} runs: {told}" if alike else f"there is no run {which!r}")
    run = runs.Run((exact or alike)[0])
    try:
        return run, run.read()
    except (OSError, ValueError) as error:
        raise NoRunError(f"the record of {run.id} cannot be read: {error}") from None


def _recent(which: str, system: str | None, runbook: str | None) -> tuple[runs.Run, runs.Record]:
    kept = _readable(system, runbook)
    last = next(kept, None)
    if last is None:
        raise NoRunError(f"no run is kept in {runs.state_dir()}")
    if which == "last":
        return last
    for run, record in kept:
        if (record["system"], record["runbook"]) == (last[1]["system"], last[1]["runbook"]):
            return run, record
    raise NoRunError(f"no run of {last[1]['runbook']} on {last[1]['system']} is kept before {last[0].id}")


def model(run: runs.Run, record: runs.Record, language: str | None = None) -> report_model.Report:
    """The report of a run with the history of its numbers."""
    return reports.model(run, record, language or record.get("language") or "en")


def terminal(report: report_model.Report, out: TextIO | None = None) -> str:
    """The report for this terminal."""
    return report_terminal.render(report, width=shutil.get_terminal_size((100, 24)).columns, color=live.colored(out or sys.stdout))


# -- the list ------------------------------------------------------------------------------------------------------------


def history(system: str | None, runbook: str | None, limit: int) -> list[dict[str, Any]]:
    """The last runs, newest first; from the index, and from the records themselves when the index cannot be used."""
    rows: dict[str, dict[str, Any]] = {}
    for state in folders():
        if not (state / "runs").is_dir():
            continue
        try:
            found: Iterable[Any] = run_index.runs(state, system=system, runbook=runbook, limit=limit)
        except run_index.IndexProblem:
            found = []
        rows.update({row["id"]: dict(row) for row in found})
    if not rows:
        rows = {record["id"]: record for _run, record in _limited(_readable(system, runbook), limit)}
    return [_told(rows[name]) for name in sorted(rows, reverse=True)[:limit]]


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A run that did not come to its end is never ok: what it did not look at is not known."""
    status = row["status"] if row["state"] == "complete" else findings.worst([row["status"], "unknown"])
    return {**row, "status": status}


def _limited(items: Iterator[Any], limit: int) -> Iterator[Any]:
    for _number, item in zip(range(limit), items, strict=False):
        yield item


def table(rows: list[dict[str, Any]], color: bool) -> str:
    """The list of runs as lines."""
    cells = [["run", "start (UTC)", "system", "runbook", "state", "status", *(word[:4] for word in reversed(findings.STATUSES))]]
    for row in rows:
        counts = row.get("counts") or row
        cells.append(
            [
                row["id"],
                str(row["start"]).replace("T", " ").removesuffix("Z"),
                row["system"],
                row["runbook"],
                row["state"],
                row["status"] if row["state"] == "complete" else "-",
                *(str(counts.get(status) or 0) for status in reversed(findings.STATUSES)),
            ]
        )
    widths = [max(report_terminal.columns(line[index]) for line in cells) for index in range(len(cells[0]))]
    return "".join(_row(line, widths, color) + "\n" for line in cells)


def _row(cells: list[str], widths: list[int], color: bool) -> str:
    told = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - report_terminal.columns(cell))
        text = f"\x1b[{_COLOURS[cell]}m{cell}\x1b[0m" if color and cell in _COLOURS else cell
        told.append(space + text if index > 5 else text + space)
    return "  ".join(told).rstrip()


# -- the difference ------------------------------------------------------------------------------------------------------

_CHANGES = {
    "new": "New",
    "worse": "Worse",
    "still": "Still not ok",
    "better": "Better, not ok yet",
    "gone": "Not checked any more",
    "solved": "Solved",
    "moved": "Number has moved",
    "added": "Checked for the first time, ok",
}


def difference(one: runs.Record, other: runs.Record, color: bool) -> str:
    """What changed between two runs, told from the earlier to the later one."""
    before, after = sorted((one, other), key=lambda record: (record["started_at"], record["id"]))
    found = run_diff.compare(before, after)
    lines = [f"From {before['id']} to {after['id']}"]
    if (before["system"], before["runbook"]) != (after["system"], after["runbook"]):
        lines.append("These are runs of different systems or runbooks.")
    for what, title in _CHANGES.items():
        changes = found.of(what)
        if changes:
            lines += ["", f"{title} ({len(changes)})", *(_change(change, color) for change in changes)]
    if found.left_out:
        lines += ["", f"Not looked at in the later run: {', '.join(found.left_out)}"]
    if len(lines) == 1:
        lines += ["", "Nothing has changed."]
    return "\n".join(lines) + "\n"


def _change(change: run_diff.Change, color: bool) -> str:
    seen = change.after or change.before or {}
    status = str(seen.get("status"))
    told = f"\x1b[{_COLOURS[status]}m{status}\x1b[0m" if color else status
    summary = report_model.tell(seen, "en")
    was = f" (was {report_model.tell(change.before, 'en')})" if change.before and change.after and change.what != "still" else ""
    return f"  {told:<8} {display.clean(change.host)}  {display.clean(change.check)}: {summary}{was}"


def as_data(one: runs.Record, other: runs.Record) -> dict[str, Any]:
    """The difference as data."""
    before, after = sorted((one, other), key=lambda record: (record["started_at"], record["id"]))
    found = run_diff.compare(before, after)
    changes = [
        {"change": change.what, "host": change.host, "check": change.check, "before": change.before, "after": change.after}
        for change in found.changes
    ]
    return {"before": before["id"], "after": after["id"], "counts": found.counts(), "changes": changes, "left_out": list(found.left_out)}
