# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a finished run's reports beside its record and put it into the index."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import message
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import html as report_html
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import json as report_json
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import markdown as report_markdown
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import model as report_model
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import prometheus as report_prometheus
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import index as run_index
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs

#: Earlier runs that the charts show.
HISTORY = 60


def publish(
    run: runs.Run, record: runs.Record, language: str = "en", keep_days: int = runs.KEEP_DAYS
) -> tuple[report_model.Report, runs.Record]:
    """Index the run, write ``report.html``, ``.md``, ``.json`` and ``.prom`` into its folder, forget runs past their time.

    Returns the report's model and the record as it is kept. What cannot be written becomes a note of the record: the
    findings are told all the same.
    """
    state = run.path.parent.parent
    notes = list(record.get("notes", ()))
    history: report_model.History = {}
    previous = None
    for _try in range(2):
        try:
            history, previous = _earlier(state, record)
            run_index.record(state, record)
            run_index.prune(state, keep_days)
            break
        except run_index.IndexProblem as problem:
            notes.append(message("run.index_problem", reason=problem.message))
            if not problem.rebuilt:  # else it is whole again, from the records
                break
    artifacts: dict[str, str] = {}
    failed: dict[str, str] = {}
    record = {**record, "notes": notes, "language": language}
    report = report_model.build(record, history=history, previous=previous, language=language, folder=run.home)
    renderers: dict[str, Callable[[], str]] = {
        "html": lambda: report_html.render(report),
        "md": lambda: report_markdown.render(report),
        "json": lambda: report_json.render(report),
        "prom": lambda: report_prometheus.render(record),
    }
    for _try in range(2):
        home = run.home
        for name, render in renderers.items():
            try:
                report_prometheus.write_atomic(home / f"report.{name}", render(), mode=0o600)
                artifacts[name] = f"report.{name}"
            except OSError as error:
                notes.append(message("run.report_unwritten", name=f"report.{name}", reason=error.strerror or str(error)))
            except Exception as error:  # noqa: BLE001  # one format must not take the others and the exit status with it
                failed[name] = f"report.{name} could not be rendered: {type(error).__name__}: {error}"
        record = {**record, "notes": notes, "artifacts": artifacts}
        if failed:
            record["problems"] = list(dict.fromkeys([*record.get("problems", ()), *failed.values()]))
            record["state"] = "failed" if record["state"] == "complete" else record["state"]
        try:
            run.write(record)
        except OSError as error:
            notes.append(message("run.report_unwritten", name="run.json", reason=error.strerror or str(error)))
        if run.home == home:  # else there was no more space for the record, and it has moved
            break
    return report_model.build(record, history=history, previous=previous, language=language, folder=run.home), record


def model(run: runs.Run, record: runs.Record, language: str = "en") -> report_model.Report:
    """The report of a run that is kept, with what the runs before it have found; without that where there is no index."""
    history: report_model.History = {}
    previous = None
    with contextlib.suppress(run_index.IndexProblem):
        history, previous = _earlier(run.path.parent.parent, record)
    return report_model.build(record, history=history, previous=previous, language=language, folder=run.home)


def _earlier(state: Path, record: runs.Record) -> tuple[report_model.History, runs.Record | None]:
    """The numbers of earlier runs, and the record of the last complete run of the same runbook on the same system."""
    history = run_index.history(state, record["system"], before=record["started_at"], limit=HISTORY)
    for row in run_index.runs(state, system=record["system"], runbook=record["runbook"], limit=HISTORY):
        if row["id"] < record["id"] and row["state"] == "complete":
            with contextlib.suppress(OSError, ValueError):
                return history, runs.Run(state / "runs" / row["id"]).read()
    return history, None
