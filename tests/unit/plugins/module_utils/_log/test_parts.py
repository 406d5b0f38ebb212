# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantiles, merging, times, signatures: each against its exact counterpart."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from ddsketch import DDSketch
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._log import formats as log_formats
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import options as log_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import signatures as log_signatures
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import sketch as log_sketch
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import summary as log_summary
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import tally as log_tally
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import times as log_times

SHARES = (0.0, 0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)


def sketch_of(values: list[float]) -> dict[str, Any]:
    """The summary of values."""
    numbers = log_sketch.Numbers((10.0, 100.0), 100.0)
    numbers.add_sorted(sorted(values))
    return numbers.summary()


def check_quantiles(summary: dict[str, Any], values: list[float]) -> None:
    """Every quantile within the stated error of the exact one."""
    ordered = sorted(values)
    for share in SHARES:
        exact = ordered[math.floor(share * (len(ordered) - 1))]
        near = log_sketch.quantile(summary, share)
        assert near is not None
        assert abs(near - exact) <= log_sketch.ALPHA * abs(exact) * (1 + 1e-9), (share, near, exact)


DRAWS = {
    "uniform": lambda r: r.uniform(0, 1000),
    "exponential": lambda r: r.expovariate(1 / 30),
    "heavy tail": lambda r: r.paretovariate(0.8),
    "two peaks": lambda r: r.gauss(5, 1) if r.random() < 0.5 else r.gauss(5000, 10),
    "constant": lambda r: 42.0,
    "both signs": lambda r: r.gauss(0, 1),
    "tiny": lambda r: 0.0 if r.random() < 0.5 else r.random() * 1e-300,
}


@pytest.mark.parametrize("name", DRAWS)
def test_quantiles_are_within_one_percent_of_the_exact_ones(name: str) -> None:
    r = random.Random(7)
    values = [DRAWS[name](r) for _ in range(20000)]
    check_quantiles(sketch_of(values), values)


@pytest.mark.parametrize("name", ["uniform", "exponential", "heavy tail", "two peaks", "constant", "both signs"])
def test_quantiles_are_as_good_as_those_of_the_authors_of_the_sketch(name: str) -> None:
    r = random.Random(11)
    parts = [[DRAWS[name](r) for _ in range(count)] for count in (9000, 1, 5000)]
    values = sorted(value for part in parts for value in part)
    summary = sketch_of(parts[0])
    theirs = DDSketch(log_sketch.ALPHA)
    for part in parts[1:]:
        log_sketch.merge(summary, sketch_of(part))
    for part in parts:
        other = DDSketch(log_sketch.ALPHA)
        for value in part:
            other.add(value)
        theirs.merge(other)
    assert summary["count"] == theirs.count
    assert math.isclose(summary["sum"], theirs.sum, rel_tol=1e-9)
    for share in (0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999):
        exact = values[math.floor(share * (len(values) - 1))]
        ours, told = log_sketch.quantile(summary, share), theirs.get_quantile_value(share)
        for near in (ours, told):
            assert near is not None
            assert abs(near - exact) <= log_sketch.ALPHA * abs(exact) * (1 + 1e-9), (share, near, exact)
        # Both name the middle of the same bucket, or of one beside it where a value lies on the bound.
        assert abs(ours - told) <= 2.1 * log_sketch.ALPHA * abs(exact)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, min_size=1, max_size=60))
def test_quantiles_of_any_numbers_are_within_one_percent(values: list[float]) -> None:
    check_quantiles(sketch_of(values), values)


@given(st.lists(finite, max_size=20))
def test_values_counted_one_by_one_and_together_are_the_same(values: list[float]) -> None:
    one, many = log_sketch.Numbers((10.0,), 3.0), log_sketch.Numbers((10.0,), 3.0)
    for value in values:
        one.add_counted(value, 2)
    many.add_sorted(sorted(values * 2))
    left, right = one.summary(), many.summary()
    del left["sum"], right["sum"]
    assert left == right


def test_a_sum_that_no_float_can_be_is_none_also_after_merging() -> None:
    found = log_sketch.merge(sketch_of([1.7e308]), sketch_of([1.7e308, 1.0]))
    assert (found["count"], found["sum"], log_sketch.figures(found)["mean"]) == (3, None, None)


def spec() -> log_options.LogSpec:
    """A log with everything."""
    options = {
        "name": "app",
        "paths": ["/x"],
        "format": "json",
        "fields": [{"name": "ms", "buckets": [10, 100], "slow": 100}],
        "count_by": ["user"],
        "patterns": [{"name": "done", "regex": "done"}],
    }
    return log_options.parse_logs([options], 0.0, {})[0]


records = st.builds(
    log_tally.Record,
    time=st.none() | st.integers(1_700_000_000, 1_700_100_000).map(float),
    slots=st.tuples(st.sampled_from(["INFO", "ERROR", None]), st.sampled_from(["200", "500", None]), st.sampled_from(["a", "b", None])),
    numbers=st.tuples(st.none() | st.integers(-1000, 1000).map(float) | st.just(math.nan)),
    message=st.sampled_from(["x failed", "y 7", None]),
    id=st.sampled_from(["r1", None]),
)


def summary_of(found: list[log_tally.Record]) -> dict[str, Any]:
    """The summary of records."""
    tally = log_tally.Tally(spec())
    for item in found:
        tally.add(item)
        tally.match("done", item.time, item.message or "", "3")
    return json.loads(json.dumps(tally.summary()))


@settings(max_examples=60)
@given(st.lists(st.lists(records, max_size=8), min_size=3, max_size=3), st.permutations([0, 1, 2]))
def test_summaries_merge_in_any_order_to_that_of_the_whole(parts: list[list[log_tally.Record]], order: list[int]) -> None:
    whole = summary_of([item for part in parts for item in part])
    merge = log_summary.merge
    summaries = [summary_of(parts[number]) for number in order]
    together = merge(summaries, 10)
    paired = merge([summaries[0], merge(summaries[1:], 10)], 10)
    assert together == paired
    assert together == merge([whole], 10)


def test_a_summary_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 0"):
        log_summary.merge([{**summary_of([]), "version": 0}])


@settings(max_examples=300)
@given(st.lists(st.integers(0, 10**6), min_size=0, max_size=200, unique=True), st.integers(0, 4))
def test_spans_coarsen_to_the_same_in_any_order(seconds: list[int], cuts: int) -> None:
    limit, log_tally.SPANS_LIMIT = log_tally.SPANS_LIMIT, 20
    try:

        def summary(part: list[int]) -> dict[str, Any]:
            made = summary_of([])
            made["spans"] = log_tally.coarsen({"width": 1, "counts": {str(second): 1 for second in part}})
            return made

        parts = [seconds[number :: cuts + 1] for number in range(cuts + 1)]
        merged = log_summary.merge([summary(part) for part in parts])
        assert merged is not None
        assert merged["spans"] == summary(seconds)["spans"]
    finally:
        log_tally.SPANS_LIMIT = limit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T10:00:00Z", 1772359200.0),
        ("2026-03-01T19:00:00.5+09:00", 1772359200.5),
        ("2026-03-01 10:00:00,250", 1772359200.25),
        ("2026/03/01 10:00:00", 1772359200.0),
        ("01/Mar/2026:10:00:00 +0000", 1772359200.0),
        ("Mar  1 10:00:00", 1772359200.0),
        ("Dec 31 23:59:59", 1767225599.0),
        ("1772359200", 1772359200.0),
        ("1772359200123", 1772359200.123),
        ("1772359200123456", 1772359200.123456),
        ("2026-02-30T10:00:00Z", None),
        ("2026-03-01T24:00:00Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_are_read_as_logs_write_them(text: str, expected: float | None) -> None:
    clock = log_times.Clock(log_times.make_zone("UTC"), 1772366400.0)
    assert clock.read(text) == (None if expected is None else pytest.approx(expected, abs=1e-6))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("%d.%m.%Y %H:%M:%S", "01.03.2026 10:00:00", 1772359200.0),
        ("%d %b %Y %I:%M:%S %p", "01 Mar 2026 10:00:00 PM", 1772402400.0),
        ("%Y%m%dT%H%M%S.%f%z", "20260301T190000.500+0900", 1772359200.5),
        ("%s", "1772359200", 1772359200.0),
        ("%Y-%m-%d", "2026-13-01", None),
    ],
)
def test_times_of_an_own_format_are_read(pattern: str, text: str, expected: float | None) -> None:
    clock = log_times.Clock(log_times.make_zone("UTC"), 1772366400.0, log_times.compile_format(pattern))
    assert clock.read(text) == expected


@pytest.mark.parametrize(
    ("message", "signature"),
    [
        ("user 17 failed after 3.5 ms", "user <n> failed after <n> ms"),
        ("id 123e4567-e89b-12d3-a456-426614174000 gone", "id <id> gone"),
        ("commit deadbeef1234 at 0x7fff", "commit <hex> at <hex>"),
        ("10.0.0.7:8080 and fe80::1ff:fe23:4567:890a", "<address> and <address>"),
        ("/var/lib/app/17/part-0003.bin", "/var/lib/app/<n>/part-<n>.bin"),
        ("mail to kim@example.org", "mail to <mail>"),
        ("at 2026-03-01T10:00:00Z", "at <time>"),
        ("key 'name' missing", "key 'name' missing"),
        ("value 'a b c' missing", "value <text> missing"),
        ("two\n  lines", "two lines"),
        ("10:15:30 of shift", "<n>:<n>:<n> of shift"),
    ],
)
def test_messages_fold_to_what_they_have_in_common(message: str, signature: str) -> None:
    assert log_signatures.fold(message) == signature


@given(st.text(max_size=80))
def test_which_digit_it_is_makes_no_difference_to_a_signature(message: str) -> None:
    assert log_signatures.fold(message.translate(str.maketrans("123456789", "000000000"))) == log_signatures.fold(message)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('{"level": "INFO"}', "json"),
        ('10.0.0.1 - - [01/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x"', "combined"),
        ('10.0.0.1 - kim [01/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 -', "common"),
        ("2026-03-01 10:00:00,123 - app - ERROR - no", "batch"),
        ("2026-03-01T10:00:00Z ERROR no", "leveled"),
        ("[2026-03-01 10:00:00] [main] WARN: no", "leveled"),
        ("2026/03/01 10:00:00 [error] 7#7: no", "nginx_error"),
        ("Mar  1 10:00:00 host sshd[7]: no", "syslog"),
        ("2026-03-01T10:00:00Z something", "timed"),
        ("words", None),
    ],
)
def test_the_format_of_an_unknown_file_is_guessed(line: str, name: str | None) -> None:
    assert log_formats.guess([line] * 5) == name
