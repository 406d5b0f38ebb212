# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo, end to end: started, looked at, found sick where it is, ended."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Place, has_ended

SICK = {
    "http.payments": "critical",
    "http.ready": "critical",
    "http.ready.queue depth": "warning",
    "http.search": "warning",
    "tls.certificate": "critical",
    "backup.database.age": "warning",
    "backup.uploads.size": "warning",
}


@pytest.fixture
def demo(place: Place) -> Iterator[Place]:
    yield place
    place.run("demo", "down")


def state_of(place: Place) -> dict[str, Any] | None:
    path = place.state / "demo" / "demo.json"
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return state


def test_the_daily_run_of_the_demo_finds_what_is_sick_and_nothing_else_of_it(demo: Place) -> None:
    done = demo.run("daily", "--system", "demo", "--json")
    record = json.loads(done.stdout)
    kinds = ("http", "tls", "port", "process", "file", "log", "backup")
    bad = {item["check"]: item["status"] for item in record["findings"] if item["status"] != "ok" and item["kind"] in kinds}
    logs = {check for check in bad if check.startswith("log.")}
    assert record["state"] == "complete", record["problems"]
    assert {check: status for check, status in bad.items() if check not in logs} == SICK
    assert any(check.startswith("log.shop.") for check in logs)
    assert any(check.startswith("log.batch.") for check in logs)
    assert done.returncode == 2


def test_up_answers_down_ends_and_both_may_be_said_twice(demo: Place) -> None:
    assert "The demo is not running" in demo.run("demo", "status").stdout
    assert demo.run("demo", "up").returncode == 0
    state = state_of(demo)
    assert state
    assert demo.run("demo", "up").returncode == 0
    assert state_of(demo) == state
    with urllib.request.urlopen(state["url"] + "/health", timeout=10) as answer:
        assert json.load(answer)["status"] == "ok"
    assert str(state["pid"]) in demo.run("demo", "status").stdout
    assert "has ended" in demo.run("demo", "down").stdout
    assert has_ended(str(state["pid"]))
    assert "was not running" in demo.run("demo", "down").stdout
    assert not [path for path in demo.state.rglob("*") if path.is_file()]


def test_it_is_brought_up_once_when_two_want_it_at_once(demo: Place) -> None:
    children = [demo.start("demo", "up") for _number in range(3)]
    assert [child.wait(timeout=60) for child in children] == [0, 0, 0]
    assert len({child.communicate()[0].splitlines()[0] for child in children}) == 1


def test_it_ends_by_itself_when_nobody_asks_it_anything(demo: Place) -> None:
    code = "import sys; from opsrunner import demo; demo.up(idle=0.5)"
    subprocess.run([sys.executable, "-c", code], env=demo.environment, check=True, timeout=60)
    until = time.monotonic() + 30
    while state_of(demo):
        assert time.monotonic() < until
        time.sleep(0.1)
