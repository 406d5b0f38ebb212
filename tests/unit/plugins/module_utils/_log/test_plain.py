# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain logs by the block: regular lines with a few that nearly fit, against the plain reference."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._log import options as log_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import patterns as log_text_looks
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import plain_frames as log_text_frames
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import scan as log_scan
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import work as log_run

sys.path.insert(0, str(Path(__file__).parents[5]))
from tests.reference import log_judge, nasty_logs

#: How lines of a format are dressed: time, text before the message.
DRESSES = {
    "batch": ("{0} - app - INFO - ", "{0} - app - DEBUG - ", "{0} - app.db - INFO - ", "{0} - app - ERROR - "),
    "leveled": ("{0} INFO ", "{0} WARN ", "{0} [INFO] ", "{0} ERROR "),
    "nginx_error": ("{0} [notice] ", "{0} [error] 7#7: *1 ", "{0} [crit] "),
    "syslog": ("{0} host app[17]: ", "{0} host cron: ", "{0} host app[18]: INFO: ", "{0} host app[18]: NOTICE "),
    "timed": ("{0} ", "{0}: ", "[{0}] "),
    "text": ("", "{0} ", "app | "),
}
USUAL = "2026-03-01 10:{0:02d}:{1:02d},{2:03d}"
#: Forms of time that a log may have all along.
TIMES = {
    "nginx_error": ("2026/03/01 10:{0:02d}:{1:02d}",),
    "syslog": ("Mar  1 10:{0:02d}:{1:02d}", "2026-03-01T10:{0:02d}:{1:02d}.{2:03d}+00:00", "2026-03-01 10:{0:02d}:{1:02d}"),
    "timed": ("Feb 28 23:{0:02d}:{1:02d}", "2026-03-01 10:{0:02d}:{1:02d},{2:03d}", "2026-03-01T10:{0:02d}:{1:02d}Z"),
}
#: What is done to a line: the text that is looked for and what takes its place; the line is left alone where it has none.
ODD = (
    (r"^", ""),
    (r"^", " "),
    (r"^", "\x00\x00"),
    (r"^", "\ufeff"),
    (r"^.*$", ""),
    (r"^.*$", "Traceback (most recent call last):"),
    (r"^.*$", "words, and no time"),
    (r"$", "\r"),
    (r":[0-9]{2}:[0-9]{2}", ":10:60"),
    (r":[0-9]{2}:[0-9]{2}", ":10:75"),
    (r":[0-9]{2}:[0-9]{2}", ":04:75"),
    (r":[0-9]{2}:[0-9]{2}", ":04:60"),
    (r":[0-9]{2}:[0-9]{2}", ":61:00"),
    (r":[0-9]{2}:[0-9]{2}", ":1x:00"),
    (r" 10:", " 24:"),
    (r" 10:", " 09:"),
    (r" 10:", " 11:"),
    (r"-03-", "-13-"),
    (r"-01 ", "-32 "),
    (r"-01 ", "-02 "),
    (r"2026", "2025"),
    (r"2026", "\u0662026"),
    (r",[0-9]{3}", ""),
    (r",[0-9]{3}", ",5"),
    (r",[0-9]{3}", ".250"),
    (r",[0-9]{3}", ",250Z"),
    (r",[0-9]{3}", ",250+09:00"),
    (r",[0-9]{3}", ",25\n"),
    (r"INFO", "INF0"),
    (r"INFO", "CRITICAL"),
    (r"INFO", "\u00cfNFO"),
    (r"app - ", "app -  "),
    (r"app", "app - app"),
    (r"\] ", "] [ERROR] "),
    (r"INFO ", "INFO  "),
    (r"notice", "Notice"),
    (r"$", " terror"),
    (r"$", " an error"),
    (r"$", " \u017fevere trouble"),
    (r"$", " PAN\u0130C"),
    (r"$", " cr\u0131t"),
    (r"$", " Tracebac\u212a"),
    (r"$", " err\u00f1"),
    (r" host", " UTC host"),
    (r"(:..(?:[.,][0-9]+)?) ", r"\1 +09:00 "),
    (r" host", " +0900 host"),
    (r"host ", ""),
    (r"app\[17\]", "app[x]"),
    (r": .*$", ": "),
    (r": .*$", ": DEBUG"),
    (r"(..:..) .*$", r"\1 UTC and more"),
    (r"Mar  1", "mar  1"),
    (r"Mar  1", "Foo  1"),
    (r"Mar  1", "Mar 01"),
    (r"Mar  1", "Feb 30"),
    (r"Mar  1", "Mar  2"),
    (r"(Mar|Feb) ..", "Dec 31"),
    (r" ..:..:..", " 24:00:00"),
)


def regular(r: random.Random, form: str, lines: int, rising: bool, shape: str = "") -> list[str]:
    """Lines as programs write them. ``shape``: how they write times, any way by default."""
    dresses = DRESSES[form][: r.randrange(1, len(DRESSES[form]) + 1)]
    seconds = sorted(r.uniform(120, 540) for _ in range(lines)) if rising else [r.uniform(120, 540) for _ in range(lines)]
    out = []
    shape = shape or r.choice(TIMES.get(form, (USUAL,)))
    for second in seconds:
        time = shape.format(int(second) // 60, int(second) % 60, int(second % 1 * 1000))
        message = r.choice(nasty_logs.MESSAGES) if r.random() < 0.5 else f"Candidates stored for USER{r.randrange(9999)}"
        out.append(r.choice((*dresses, dresses[0], dresses[0])).format(time) + message)
    return out


@pytest.mark.parametrize(("form", "shape"), [(form, shape) for form in sorted(DRESSES) for shape in TIMES.get(form, (USUAL,))])
def test_one_line_that_nearly_fits_among_regular_ones(tmp_path: Path, form: str, shape: str) -> None:
    for seed, (old, new) in enumerate(ODD):
        lines = regular(random.Random(seed), form, 60, True, shape)
        number = next((number for number, line in enumerate(lines) if number > 30 and re.search(old, line)), 0)
        lines[number] = re.sub(old, new, lines[number], count=1)
        log_judge.compare(form, "\n".join(lines).encode() + b"\n", tmp_path / "log", False, 262144, 0, 1 << 24)


@pytest.mark.parametrize("form", sorted(DRESSES))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**9),
    odd=st.lists(st.tuples(st.sampled_from(ODD), st.integers(0, 199)), max_size=3),
    rising=st.booleans(),
    window=st.booleans(),
    block=st.sampled_from((1500, 262144)),
    last=st.booleans(),
)
def test_regular_lines_with_a_few_that_nearly_fit(
    tmp_path: Path, form: str, seed: int, odd: list[tuple[tuple[str, str], int]], rising: bool, window: bool, block: int, last: bool
) -> None:
    lines = regular(random.Random(seed), form, 200, rising)
    for (old, new), number in odd:
        lines[number] = re.sub(old, new, lines[number], count=1)
    data = "\n".join(lines).encode() + (b"\n" if last else b"")
    log_judge.compare(form, data, tmp_path / "log", window, block, 0, 1 << 24)


@pytest.mark.parametrize("form", sorted(DRESSES))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**9),
    bites=st.lists(
        st.tuples(st.integers(0, 14000), st.sampled_from((b"", b"\n", b"\xff", b"\x00", b" - ", b"\xe2\x82", b"0", b":"))), max_size=4
    ),
)
def test_regular_lines_with_bytes_lost_or_changed(tmp_path: Path, form: str, seed: int, bites: list[tuple[int, bytes]]) -> None:
    data = "\n".join(regular(random.Random(seed), form, 200, True)).encode() + b"\n"
    for place, bite in bites:
        data = data[:place] + bite + data[place + 1 :]
    log_judge.compare(form, data, tmp_path / "log", False, 262144, 0, 1 << 24)


def read(path: Path, **more: Any) -> dict[str, Any]:
    specs = log_options.parse_logs([{"name": "x", "paths": [str(path)], "zone": "UTC", "rotated": False, **more}], log_judge.NOW, {})
    return log_run.read_logs(specs, log_judge.LIMITS, log_judge.NOW, workers=0)[0].summary


@pytest.mark.parametrize("form", ["syslog", "timed", "text"])
def test_lines_without_a_level_are_counted_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    read_one_by_one = 0
    record = log_scan.Scanner.record

    def spy(self: log_scan.Scanner, text: str) -> Any:
        nonlocal read_one_by_one
        read_one_by_one += 1
        return record(self, text)

    monkeypatch.setattr(log_scan.Scanner, "record", spy)
    for seed in range(6):
        read_one_by_one = 0
        lines = regular(random.Random(seed), form, 5000, True)
        (tmp_path / "log").write_text("\n".join(lines) + "\n")
        summary = read(tmp_path / "log", format=form)
        levels = sum(any(word in line for word in ("ERROR", "INFO", "NOTICE", "panic", "error", "warn", "|")) for line in lines)
        assert summary["parsed"] == 5000 - lines.count("")
        assert read_one_by_one < levels + 2500


def test_regular_lines_are_counted_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    count = log_text_frames.Frames._count

    def spy(self: log_text_frames.Frames, lined: bytes, times: list[bytes]) -> bool:
        nonlocal counted
        done = count(self, lined, times)
        counted += len(times) if done else 0
        return done

    monkeypatch.setattr(log_text_frames.Frames, "_count", spy)
    for form in ("batch", "leveled", "nginx_error"):
        counted = 0
        # Two kinds of the leveled dresses begin like a third.
        (tmp_path / form).write_text("\n".join(regular(random.Random(5), form, 5000, True)) + "\n")
        assert read(tmp_path / form, format=form)["parsed"] > 4900
        assert counted > 2500, form


def test_patterns_are_searched_together_where_that_is_the_same(tmp_path: Path) -> None:
    together = {
        r"response time: (?P<value>\d+)": True,
        r"a[bc]+\b": True,
        r"(?i)a": True,
        r"a.*b": True,
        r"a\s+b": False,
        r"a[^b]": False,
        r"a$": False,
        r"(?s)a.b": False,
        r"(a)(b)": False,
        r"(?<=a)b": False,
        r"a*": False,
        r"(?x) a # b": False,
        r"a(?=b)": False,
        r"a\n": False,
        r"a\D": False,
    }
    for regex, expected in together.items():
        specs = log_options.parse_logs([{"name": "x", "paths": ["/x"], "patterns": [{"name": "p", "regex": regex}]}], 0.0, {})
        look = log_text_looks.Look(specs[0].patterns[0])
        assert bool(look.bulk_source) == expected, regex
        if expected:
            look.bulk()


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("batch", "2026-03-29 {0:02d}:{1:02d}:00,000 - app - ERROR - bad\n"),
        ("batch", "2026-03-29 {0:02d}:{1:02d}:00,000 - app - INFO - good\n"),
        ("syslog", "Mar 29 {0:02d}:{1:02d}:00 host app: good\n"),
    ],
)
def test_a_time_zone_that_changes_within_a_log_is_kept_to(tmp_path: Path, form: str, line: str) -> None:
    # The clock goes from 01:59 to 03:00. What says that it is 02:30 was written at 03:30 or never; the newest line says 02:59.
    (tmp_path / "log").write_text("".join(line.format(hour, minute) for hour in range(3) for minute in range(60)) + line.format(3, 0))
    table = {"Europe/Berlin": [[0, 3600], [1774746000, 7200]]}
    options = {"name": "x", "paths": [str(tmp_path / "log")], "zone": "Europe/Berlin", "format": form, "rotated": False}
    specs = log_options.parse_logs([options], 1.78e9, table)
    summary = log_run.read_logs(specs, log_judge.LIMITS, 1.78e9, table, workers=0)[0].summary
    assert (summary["first"], summary["last"]) == (1774738800.0, 1774738800.0 + 3 * 3600 - 60)
    assert summary["parsed"] == 181
    assert sum(summary["spans"]["counts"].values()) == summary["errors"] == (181 if "ERROR" in line else 0)


def test_lines_of_ten_megabytes_and_a_log_without_an_end(tmp_path: Path) -> None:
    lines = [line.encode() for line in regular(random.Random(3), "batch", 60, True)]
    lines[20] += b"x" * 10_000_000
    log_judge.compare("batch", b"\n".join(lines), tmp_path / "log", False, 262144, 0, 100000)


def test_the_text_of_an_error_in_the_right_place_of_a_wrong_line(tmp_path: Path) -> None:
    # As far behind a newline as in a framed line, but not behind the newline of its own line.
    lines = regular(random.Random(8), "batch", 400, True)
    lines[350:350] = ["2026-03-01 10:09:00,000 - app - ERROR - real"] * 3 + ["aaaaaaaaaaa", "bbbbbbbbbbb - app - ERROR - no error"]
    log_judge.compare("batch", "\n".join(lines).encode() + b"\n", tmp_path / "log", False, 262144, 0, 1 << 24)
