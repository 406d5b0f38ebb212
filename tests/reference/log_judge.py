# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares ``log_stats`` with the plain reference on one log."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._log import formats as log_formats
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import options as log_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import signatures as log_signatures
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import sketch as log_sketch
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import work as log_run

from . import log_reference

NOW = 1772360000.0
EDGES = (25.0, 50.0)
SLOW = 50.0
LIMITS = log_options.Limits(0, 0, 100.0, 4 << 30, 300.0)
FIELDS = {"json": "ms", "combined": "bytes", "common": "bytes"}
COUNTS = {
    "json": ["function", "function+status"],
    "combined": ["status"],
    "common": ["address"],
    "batch": ["logger+level"],
    "nginx_error": ["level"],
}
PATTERNS = {
    "done": "BATCH PROCESS COMPLETED SUCCESSFULLY",
    "duration": r"Total duration: (?P<value>[0-9.]+)",
    "api": r"response time: (?P<value>[0-9,]+)",
    "either": "(?:BATCH PROCESS|failed for) (C|USER)",
    "user": r"USER(?P<value>\d+) after",
    "any_error": "(?i)error",
    "begin": "^(?:ERROR|failed|x)",
    "last": r"ms$",
    "spaces": r"Total\s+duration",
}
WINDOW = {"since": "2026-03-01T10:02:30Z", "until": "2026-03-01T10:07:00Z"}


def log_options_for(form: str, path: Path, window: bool) -> dict[str, Any]:
    """The options of the comparison."""
    item: dict[str, Any] = {
        "name": "nasty",
        "paths": [str(path)],
        "format": form,
        "zone": "UTC",
        "count_by": COUNTS.get(form, []),
        "patterns": [{"name": name, "regex": regex} for name, regex in PATTERNS.items()],
        "rotated": False,
    }
    if form in FIELDS:
        item["fields"] = [{"name": FIELDS[form], "buckets": list(EDGES), "slow": SLOW}]
    if window:
        item.update(WINDOW)
    return item


def expected(form: str, data: bytes, window: bool, max_line: int) -> dict[str, Any]:
    """What the reference says."""
    layout = log_formats.FORMATS[form]
    pattern = None if form == "json" else log_formats.line_pattern(layout)

    def read(text: str) -> Any:
        if pattern is None:
            return log_reference.read_json(text)
        found = pattern.fullmatch(text)
        if found is None:
            return None
        fields = {name: value for name, value in found.groupdict().items() if value not in layout.nothing}
        if form in ("syslog", "timed", "text") and fields.get("level") is None:
            word = log_formats.LEVEL_WORD.search(fields["message"])
            fields["level"] = word.group(1) if word else None
        return fields

    def fold(message: str) -> str:
        alike = message[:1000].translate(str.maketrans("123456789", "000000000"))
        return log_signatures.fold(log_signatures.mask(alike))

    log_reference.MAX_LINE = max_line
    times = {name: log_reference.as_time(text) for name, text in WINDOW.items()} if window else {}
    return log_reference.reference(
        data,
        read,
        {**{role: tuple(names) for role, names in layout.roles.items()}, **({"level": ("level",)} if form in ("timed", "text") else {})},
        (FIELDS[form],) if form in FIELDS else (),
        tuple(tuple(key.split("+")) for key in COUNTS.get(form, [])),
        EDGES,
        SLOW,
        continuation=log_formats.CONTINUATION if layout.continues else None,
        patterns=PATTERNS,
        fold=fold,
        is_json=form == "json",
        **times,
    )


def compare(form: str, data: bytes, path: Path, window: bool, block: int, workers: int, range_size: int, max_line: int = 1 << 20) -> None:
    """Fail with the first figure that differs."""
    path.write_bytes(data)
    specs = log_options.parse_logs([log_options_for(form, path, window)], NOW, {})
    outcome = log_run.read_logs(specs, LIMITS, NOW, workers=workers, block=block, max_line=max_line, range_size=range_size)[0]
    found, wanted = outcome.summary, expected(form, data, window, max_line)
    assert outcome.problems == []
    for name in (
        "lines",
        "blank",
        "parsed",
        "unparsed",
        "oversize",
        "continued",
        "partial",
        "untimed",
        "outside",
        "records",
        "errors",
        "status_errors",
    ):
        assert found[name] == wanted[name], (name, found[name], wanted[name])
    for name in ("levels", "statuses", "counts"):
        assert found[name] == wanted[name], name
    for name in ("first", "last"):
        assert found[name] == wanted[name] or math.isclose(found[name], wanted[name], abs_tol=1e-6), name
    assert [text for when, text in found["newest"] if when is not None] == wanted["newest"], "newest"
    assert sum(count for count, _ in found["signatures"].values()) == wanted["errors"], "signatures"
    assert {text: count for text, (count, _) in found["signatures"].items()} == wanted["signatures"], "signatures"
    spans: Counter[str] = Counter()
    for second, count in wanted["seconds"].items():
        spans[str(second // found["spans"]["width"])] += count
    assert found["spans"]["counts"] == spans, "spans"
    compare_patterns(found["patterns"], wanted["patterns"])
    for name, figures in wanted["fields"].items():
        numbers = found["fields"][name]
        for key in ("count", "bad", "min", "max", "buckets", "slow_count"):
            assert numbers[key] == figures[key], (name, key, numbers[key], figures[key])
        if figures["sum"] is not None and abs(figures["sum"]) < 1e300:
            assert numbers["sum"] is not None
            assert math.isclose(numbers["sum"], figures["sum"], rel_tol=1e-9, abs_tol=1e-6), (name, "sum")
        for share in (0.0, 0.01, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0):
            exact, near = log_reference.quantile(figures["sorted"], share), log_sketch.quantile(numbers, share)
            assert exact == near or abs(near - exact) <= log_sketch.ALPHA * abs(exact) * (1 + 1e-9), (name, share, near, exact)


def compare_patterns(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Every figure of every pattern."""
    for name, figures in wanted.items():
        pattern, values = found[name], figures["values"]
        for key in ("count", "ever", "untimed"):
            assert pattern[key] == figures[key], (name, key, pattern[key], figures[key])
        last, line = max(figures["seen"], default=(None, ""))
        assert pattern["last"] == last or math.isclose(pattern["last"], last, abs_tol=1e-6), (name, "last")
        assert pattern["line"] == log_signatures.mask(line), (name, "line")
        numbers = pattern["numbers"]
        assert (numbers["count"], numbers["bad"]) == (len(values), figures["bad"]), (name, "numbers")
        assert (numbers["min"], numbers["max"]) == (min(values, default=None), max(values, default=None)), (name, "numbers")
        total = log_reference.total(values)
        if total is not None and abs(total) < 1e300:
            assert math.isclose(numbers["sum"], total, rel_tol=1e-9), (name, "sum")
