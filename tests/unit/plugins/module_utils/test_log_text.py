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

from ansible_collections.opsrunner.runbook.plugins.module_utils import log_options, log_run, log_text_frames, log_text_looks

sys.path.insert(0, str(Path(__file__).parents[4]))
from tests.reference import log_judge, nasty_logs

#: How lines of a format are dressed: time, text before the message.
DRESSES = {
    "batch": ("{0} - app - INFO - ", "{0} - app - DEBUG - ", "{0} - app.db - INFO - ", "{0} - app - ERROR - "),
    "leveled": ("{0} INFO ", "{0} WARN ", "{0} [INFO] ", "{0} ERROR "),
    "nginx_error": ("{0} [notice] ", "{0} [error] 7#7: *1 ", "{0} [crit] "),
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
)


def regular(r: random.Random, form: str, lines: int, rising: bool) -> list[str]:
    """Lines as programs write them."""
    dresses = DRESSES[form][: r.randrange(1, len(DRESSES[form]) + 1)]
    seconds = sorted(r.uniform(120, 540) for _ in range(lines)) if rising else [r.uniform(120, 540) for _ in range(lines)]
    out = []
    for second in seconds:
        time = f"2026-03-01 10:{int(second) // 60:02d}:{int(second) % 60:02d}"
        time = time.replace("-", "/") if form == "nginx_error" else f"{time},{int(second % 1 * 1000):03d}"
        message = r.choice(nasty_logs.MESSAGES) if r.random() < 0.5 else f"Candidates stored for USER{r.randrange(9999)}"
        out.append(r.choice((*dresses, dresses[0], dresses[0])).format(time) + message)
    return out


@pytest.mark.parametrize("form", sorted(DRESSES))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
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
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
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


def test_regular_lines_are_counted_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    count = log_text_frames.Frames._count

    def spy(self: log_text_frames.Frames, lined: bytes, times: list[bytes]) -> bool:
        nonlocal counted
        done = count(self, lined, times)
        counted += len(times) if done else 0
        return done

    monkeypatch.setattr(log_text_frames.Frames, "_count", spy)
    for form in DRESSES:
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


def test_a_time_zone_that_changes_within_a_log_is_kept_to(tmp_path: Path) -> None:
    times = [f"2026-03-29 {hour:02d}:{minute:02d}:00,000" for hour in range(4) for minute in range(60)]
    (tmp_path / "log").write_text("".join(f"{time} - app - ERROR - bad\n" for time in times))
    table = {"Europe/Berlin": [[0, 3600], [1774746000, 7200]]}
    specs = log_options.parse_logs(
        [{"name": "x", "paths": [str(tmp_path / "log")], "zone": "Europe/Berlin", "format": "batch", "rotated": False}], 1.78e9, table
    )
    summary = log_run.read_logs(specs, log_judge.LIMITS, 1.78e9, table, workers=0)[0].summary
    assert (summary["first"], summary["last"]) == (1774738800.0, 1774738800.0 + 3 * 3600 - 60)
    # The hour that was left out by the clock falls into the one after it.
    assert sum(summary["spans"]["counts"].values()) == summary["errors"] == 240
    assert max(summary["spans"]["counts"].values()) == 2


def test_lines_of_ten_megabytes_and_a_log_without_an_end(tmp_path: Path) -> None:
    lines = [line.encode() for line in regular(random.Random(3), "batch", 60, True)]
    lines[20] += b"x" * 10_000_000
    log_judge.compare("batch", b"\n".join(lines), tmp_path / "log", False, 262144, 0, 100000)


def test_the_text_of_an_error_in_the_right_place_of_a_wrong_line(tmp_path: Path) -> None:
    # As far behind a newline as in a framed line, but not behind the newline of its own line.
    lines = regular(random.Random(8), "batch", 400, True)
    lines[350:350] = ["2026-03-01 10:09:00,000 - app - ERROR - real"] * 3 + ["aaaaaaaaaaa", "bbbbbbbbbbb - app - ERROR - no error"]
    log_judge.compare("batch", "\n".join(lines).encode() + b"\n", tmp_path / "log", False, 262144, 0, 1 << 24)
