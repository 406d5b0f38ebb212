# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines on the terminal: width, cutting, what they say, how they are redrawn and taken away."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsrunner.find.collection import runs
from opsrunner.play import live

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def line(status: str, host: str = "web1", check: str = "disk./", summary: str = "a summary") -> str:
    return json.dumps({"finding": {"host": host, "check": check, "status": status, "summary": summary}}) + "\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> runs.Run:
    monkeypatch.setenv("OPSRUNNER_STATE", str(tmp_path))
    return runs.create("daily", "shop", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def screen(run: runs.Run, columns: int = 80, color: bool = False) -> tuple[live.Screen, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    return live.Screen(out, run, "daily on shop", color, clock, lambda: columns, threaded=False), out, clock


def start(name: str, *hosts: str) -> list[dict[str, object]]:
    events: list[dict[str, object]] = [{"event": "playbook_on_task_start", "event_data": {"name": name}}]
    return events + [{"event": "runner_on_start", "event_data": {"host": host}} for host in hosts]


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("short", 10, "short"),
        ("exactly ten", 11, "exactly ten"),
        ("longer than that", 10, "longer th…"),
        ("디스크 사용률", 13, "디스크 사용률"),
        ("디스크 사용률", 12, "디스크 사용…"),
        ("디스크 사용률", 8, "디스크 …"),
        ("evil \x1b[2J text\n", 40, "evil  [2J text "),
    ],
)
def test_a_line_is_cut_to_the_columns_of_the_terminal(text: str, columns: int, expected: str) -> None:
    assert live.fit(text, columns) == expected


@given(st.text(), st.integers(2, 120))
def test_a_cut_line_never_takes_more_columns_and_never_steers_the_terminal(text: str, columns: int) -> None:
    cut = live.fit(text, columns)
    assert live.width_of(cut) <= columns
    assert cut.isprintable()


@pytest.mark.parametrize(("seconds", "expected"), [(0, "0:00"), (61.9, "1:01"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")])
def test_elapsed_time_is_told_in_minutes_and_from_an_hour_on_in_hours(seconds: float, expected: str) -> None:
    assert live.elapsed(seconds) == expected


def test_it_tells_checks_per_status_the_task_and_the_hosts_that_are_waited_for(run: runs.Run) -> None:
    shown, _out, clock = screen(run)
    (run.path / "findings.jsonl").write_text(line("ok") + line("critical", check="http.api", summary="api answers 503"), encoding="utf-8")
    for event in start("Measure the hosts", "web1", "web2", "web3"):
        shown.on_event(event)
    shown.on_event({"event": "runner_on_ok", "event_data": {"host": "web1"}})
    clock.now += 12
    shown.draw()
    assert shown.lines(80) == [
        "critical web1  api answers 503",
        "daily on shop  0:12  1 ok · 0 warning · 0 unknown · 1 critical",
        "Measure the hosts  hosts 1/3  web2, web3",
    ]


def test_the_last_finding_of_a_check_counts(run: runs.Run) -> None:
    tally = live.Tally(run)
    (run.path / "findings.jsonl").write_text(line("critical") + line("ok"), encoding="utf-8")
    tally.read()
    assert tally.counts == {"ok": 1, "warning": 0, "unknown": 0, "critical": 0}


def test_a_line_that_is_still_being_written_is_read_once_it_is_whole(run: runs.Run) -> None:
    tally, path = live.Tally(run), run.path / "findings.jsonl"
    whole = line("warning")
    path.write_text(whole[:20], encoding="utf-8")
    tally.read()
    assert tally.counts["warning"] == 0
    path.write_text(whole, encoding="utf-8")
    tally.read()
    tally.read()
    assert tally.counts["warning"] == 1


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(run: runs.Run, columns: int) -> None:
    shown, _out, clock = screen(run, columns)
    text = line("critical", "웹서버" * 10, summary="디스크 사용률이 높습니다 " * 20)
    (run.path / "findings.jsonl").write_text(text, encoding="utf-8")
    for event in start("A task with a name that goes on and on " * 5, *(f"host{number}" for number in range(200))):
        shown.on_event(event)
    clock.now += 1
    shown.draw()
    assert all(live.width_of(shown_line) < columns for shown_line in shown.lines(columns))


def test_it_is_redrawn_over_itself_at_most_ten_times_a_second(run: runs.Run) -> None:
    shown, out, clock = screen(run)
    for number in range(100):
        clock.now += 0.01
        for event in start(f"Task {number}"):
            shown.on_event(event)
    frames = out.getvalue().count("daily on shop")
    assert 9 <= frames <= 11
    assert out.getvalue().count("\x1b[2F\x1b[J") == frames - 1


def test_at_the_end_nothing_is_left_of_it_and_the_cursor_is_back(run: runs.Run) -> None:
    shown, out, _clock = screen(run)
    for event in start("Task"):
        shown.on_event(event)
    shown.close()
    assert out.getvalue().startswith("\x1b[?25l")
    assert out.getvalue().endswith("\x1b[2F\x1b[J\x1b[?25h")


def test_without_color_only_the_cursor_is_moved(run: runs.Run) -> None:
    (run.path / "findings.jsonl").write_text(line("critical"), encoding="utf-8")
    seen = {}
    for color in (True, False):
        shown, out, _clock = screen(run, color=color)
        shown.draw()
        seen[color] = ANSI.findall(out.getvalue())
    assert "\x1b[31m" in seen[True]
    assert not [code for code in seen[False] if code.endswith("m")]


def test_it_says_that_the_run_is_being_stopped(run: runs.Run) -> None:
    shown, _out, _clock = screen(run)
    shown.on_stop(False)
    assert shown.lines(120)[-1].startswith("Stopping: the step at hand is told to end")


def test_elsewhere_there_is_one_plain_line_per_task(run: runs.Run) -> None:
    out, clock = io.StringIO(), Clock()
    plain = live.Plain(out, clock=clock)
    for name in ("preflight : Check before anything runs", "Measure the hosts", "x : Validating arguments against arg spec 'main'"):
        for event in start(name, "web1"):
            plain.on_event(event)
        clock.now += 65
    plain.close()
    assert out.getvalue() == "   0:00  Check before anything runs\n   1:05  Measure the hosts\n"


@pytest.mark.parametrize(
    ("terminal", "term", "expected"), [(True, "xterm", True), (True, "dumb", False), (True, None, False), (False, "xterm", False)]
)
def test_lines_are_redrawn_only_where_that_can_be_done(
    terminal: bool, term: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Out(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    assert live.is_terminal(Out()) is expected


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Out(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert live.colored(Out())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not live.colored(Out())
