# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run as Prometheus metrics, for the textfile collector of node_exporter.

The collector refuses samples with a timestamp of their own, so the run's time is a metric: alert on
``time() - opsrunner_run_timestamp_seconds`` to notice runs that do not come any more.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import STATUSES
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import clean

#: The monitoring-plugins' numbers.
STATUS_NUMBERS = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}

Sample = tuple[Mapping[str, str], float]


def render(record: Mapping[str, Any]) -> str:
    """The record in the text format, metrics and labels escaped, each series once."""
    own = {"system": clean(record["system"]), "runbook": clean(record["runbook"])}
    found = list({(clean(item["host"]), clean(item["check"])): item for item in record.get("findings") or ()}.items())
    counts = record.get("counts") or runs.count(item for _key, item in found)
    ended = float(record.get("started_at") or 0) + float(record.get("seconds") or 0)

    def labels(key: tuple[str, str], item: Mapping[str, Any], **more: str) -> dict[str, str]:
        return {**own, "host": key[0], "check": key[1], "kind": clean(item["kind"]), **more}

    lines = [
        *_metric("opsrunner_run_timestamp_seconds", "When the run ended, in seconds since the epoch.", [(own, ended)]),
        *_metric("opsrunner_run_duration_seconds", "How long the run took.", [(own, float(record.get("seconds") or 0))]),
        *_metric(
            "opsrunner_run_complete",
            "1 when the run ended by itself, 0 when it failed or was stopped.",
            [(own, record["state"] == "complete")],
        ),
        *_metric(
            "opsrunner_run_findings",
            "Findings of the run by status.",
            [({**own, "status": status}, counts.get(status, 0)) for status in STATUSES],
        ),
        *_metric(
            "opsrunner_check_status",
            "What the check found: 0 ok, 1 warning, 2 critical, 3 unknown.",
            [(labels(key, item), STATUS_NUMBERS[item["status"]]) for key, item in found],
        ),
        *_metric(
            "opsrunner_check_value",
            "The number the check judged, in the unit of its label.",
            [
                (labels(key, item, unit=clean(item.get("unit") or "")), item["value"])
                for key, item in found
                if isinstance(item.get("value"), (int, float)) and not isinstance(item["value"], bool)
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _metric(name: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    head = [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        yield from head
        head = []
        told = ",".join(f'{label}="{_escape(content)}"' for label, content in labels.items())
        yield f"{name}{{{told}}} {_number(value)}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def write_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace ``path`` at once, durably: readers see the old file or the new one. Raises OSError and leaves nothing behind."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with open(handle, "w", encoding="utf-8", errors="replace") as file:
            os.fchmod(handle, mode)
            file.write(text)
            file.flush()
            os.fsync(handle)
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
