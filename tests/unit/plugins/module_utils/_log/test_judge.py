# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of ``log_stats`` against the plain reference, on nasty lines, for every block size, split and number of processes."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[5]))
from tests.reference import log_judge, nasty_logs

FORMS = tuple(nasty_logs.MAKERS)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**9),
    plain=st.sampled_from((0.2, 0.7, 0.95)),
    window=st.booleans(),
    block=st.sampled_from((64, 500, 4096, 262144)),
    range_size=st.sampled_from((100, 3000, 1 << 24)),
    max_line=st.sampled_from((600, 1 << 20)),
)
def test_every_figure_is_that_of_the_reference(
    tmp_path: Path, form: str, seed: int, plain: float, window: bool, block: int, range_size: int, max_line: int
) -> None:
    data = nasty_logs.nasty_log(form, seed, 120, plain)
    log_judge.compare(form, data, tmp_path / "log", window, min(block, max_line), 0, range_size, max_line)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("workers", [1, 3])
def test_figures_do_not_depend_on_the_number_of_processes(tmp_path: Path, form: str, workers: int) -> None:
    data = nasty_logs.nasty_log(form, 7, 3000, 0.9)
    log_judge.compare(form, data, tmp_path / "log", False, 4096, workers, 20000)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=st.lists(st.binary(max_size=60) | st.sampled_from([b'{"level":"ERROR","ms":1}', b'{"ms":2}', b"{}"]), max_size=25),
    last=st.booleans(),
)
def test_any_bytes_at_all_are_counted_as_the_reference_counts_them(tmp_path: Path, lines: list[bytes], last: bool) -> None:
    log_judge.compare("json", b"\n".join(lines) + (b"\n" if last else b""), tmp_path / "log", False, 64, 0, 50)


#: Values as long as those they stand for: what jumps from one to the next must not take them for each other.
ALIKE = {
    b": 177235": (b": 077235", b": 17723e", b": 17723.", b": -17723", b': "17723"', b": 1772350", b": 177235.", b":  17723"),
    b'"function"': (b'"funktion"', b'"functio\xc3"', b'"function ', b'"function":"x', b'"func","on"'),
    b'"level": ': (b'"livel": ', b'"level":  ', b'"level",: ', b'"level"; "', b'"status": '),
    b'"INFO"': (
        b'"WARN"',
        b"12345 ",
        b"nulll ",
        b'"IN"O"',
        b'"I\\nO"',
        b'"IN\tO"',
        b"true",
        b"null",
        b'"ERROR"',
        b"50",
        b'"IN\nO"',
        b"[1, 2]",
    ),
    b"12.5": (
        b"012.5",
        b"1.2.3",
        b"12.",
        b".125",
        b"1e50",
        b"-1.5",
        b"null",
        b'"2"',
        b"12,5",
        b"00",
        b"0",
        b"0.0",
        b"9" * 40,
        b"1 .5",
        b"NaN ",
    ),
    b":07.250Z": (
        b":07,250Z",
        b":67.250Z",
        b":60.000Z",
        b":07.25Z",
        b":07.250z",
        b":07.2500",
        b":0A.250Z",
        b":07Z",
        b" 07.250Z",
        b":07.250+00:00",
    ),
    b"-03-01T10:": (
        b"-13-01T10:",
        b"-02-30T10:",
        b"-03-01 10:",
        b"/03/01T10:",
        b"-03-01T25:",
        b"-03-01T10.",
        b"-03-01T1\n:",
        b"-03-01T1\xff:",
    ),
    b'"request done"': (
        b'"request\ndone"',
        b'"request\x00done"',
        b'"request \\u0041"',
        b'"request", "done"',
        b"null",
        b'"request done',
        b"{}",
    ),
    b'", "ms"': (b'",\n"ms"', b'" ,"ms"', b'","ms" ', b'", "mt"', b'",  "m"'),
    b"}": (b"", b"}}", b"} ", b', "more": 1}', b', "level": "ERROR"}', b",}", b"}{}"),
}


STAMPS = ("iso", "seconds", "milliseconds", "text", "fraction")


def stamp_of(kind: str, minute: int) -> bytes:
    """A time around the window, as JSON."""
    if kind == "iso":
        return b'"2026-03-01T10:%02d:07.250Z"' % minute
    second = 1772359207 + 60 * minute
    return {"seconds": b"%d", "milliseconds": b"%d250", "text": b'"%d250999"', "fraction": b"%d.5"}[kind] % second


@example(seed=0, odd=[(b"12.5", b"12.")], share=1, stamp="iso", window=False, block=2000)
@example(seed=1, odd=[(b": 177235", b": 077235")], share=30, stamp="milliseconds", window=False, block=262144)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**9),
    odd=st.lists(st.sampled_from([(old, new) for old, news in ALIKE.items() for new in news]), max_size=4),
    share=st.sampled_from((1, 1, 3, 30)),
    stamp=st.sampled_from(STAMPS),
    window=st.booleans(),
    block=st.sampled_from((2000, 262144)),
)
def test_lines_that_are_nearly_alike_are_told_apart(
    tmp_path: Path, seed: int, odd: list[tuple[bytes, bytes]], share: int, stamp: str, window: bool, block: int
) -> None:
    r = random.Random(seed)
    lines = [
        b'{"timestamp": '
        + stamp_of(stamp, r.randrange(1, 9))
        + b', "level": "INFO", "function": "%s", "message": "request done", "ms": 12.5, '
        b'"status": "%s", "request_id": "r%d"}' % (r.choice((b"load", b"store")), r.choice((b"ok", b"error")), number)
        for number in range(120)
    ]
    # The first lines teach; what comes later is to be judged by what was learnt.
    for old, new in odd:
        for place in range(20, len(lines), -(-100 // share)):
            number = place + r.randrange(3)
            if number < len(lines):
                lines[number] = lines[number].replace(old, new, 1)
    log_judge.compare("json", b"\n".join(lines) + b"\n", tmp_path / "log", window, block, 0, 1 << 24)


def test_lines_of_ten_megabytes_are_counted_and_shown_in_their_beginning(tmp_path: Path) -> None:
    r = random.Random(1)
    lines = [nasty_logs.json_line(r, 1.0).encode() for _ in range(50)]
    lines[20] = b'{"level": "ERROR", "message": "' + b"x" * 10_000_000 + b'"}'
    log_judge.compare("json", b"\n".join(lines) + b"\n", tmp_path / "log", False, 262144, 0, 100000)
