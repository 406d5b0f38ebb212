# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runbooks are scheduled as timers, all or none, and taken away without a trace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from opsrunner.cli.main import main
from opsrunner.commands import schedule
from opsrunner.errors import UsageError
from opsrunner.find import systems


class Systemctl:
    """Notes what it is asked and succeeds, but for what it is told to fail at."""

    def __init__(self):
        self.calls, self.fail = [], None

    def __call__(self, argv):
        self.calls.append(" ".join(argv))
        failed = self.fail is not None and self.fail in self.calls[-1]
        said = "NextElapseUSecRealtime=Mon 2026-11-23 10:00:00 UTC\nLastTriggerUSec=n/a\nResult=success\nExecMainStatus=0\n"
        return subprocess.CompletedProcess(argv, 1 if failed else 0, said if "show" in argv else "", "planted" if failed else "")


@pytest.fixture
def where(tmp_path, monkeypatch):
    monkeypatch.setenv("OPSRUNNER_STATE", str(tmp_path / "state"))
    return schedule.Place(tmp_path / "units", ("systemctl", "--user"), Systemctl())


def entry(name="weekly", **more):
    return schedule.Entry(name, "daily", systems.System("shop", Path("/inventories/shop")), ("Mon *-*-* 10:00:00",), **more)


def test_a_schedule_is_put_in_force_once_and_taken_away(where):
    assert schedule.put([entry(options=("--tags", "evening"))], where) == ["opsrunner-shop-weekly"] * 2
    service = (where.folder / "opsrunner-shop-weekly.service").read_text()
    assert " -m opsrunner daily -i /inventories/shop --tags evening\n" in service
    assert "SuccessExitStatus=1 2 3\n" in service
    assert "TimeoutStartSec=14460\n" in service
    assert "OnCalendar=Mon *-*-* 10:00:00\n" in (where.folder / "opsrunner-shop-weekly.timer").read_text()
    assert where.run.calls[-2:] == [
        "systemctl --user enable opsrunner-shop-weekly.timer",
        "systemctl --user restart opsrunner-shop-weekly.timer",
    ]
    assert schedule.put([entry(options=("--tags", "evening"))], where) == []
    rows = schedule.found(where)
    assert [(row["name"], row["calendars"], row["next"]) for row in rows] == [
        ("opsrunner-shop-weekly", ["Mon *-*-* 10:00:00"], "Mon 2026-11-23 10:00:00 UTC")
    ]
    schedule.take_away(["opsrunner-shop-weekly"], where)
    assert list(where.folder.iterdir()) == []


@pytest.mark.parametrize("failing", ["daemon-reload", "enable opsrunner-shop-b", "restart opsrunner-shop-b"])
def test_a_failure_leaves_what_was_there(where, failing):
    schedule.put([entry("a")], where)
    before = {path.name: path.read_bytes() for path in where.folder.iterdir()}
    where.run.fail = failing
    with pytest.raises(schedule.ScheduleError, match="planted"):
        schedule.put([entry("a", timeout="1h"), entry("b")], where)
    assert {path.name: path.read_bytes() for path in where.folder.iterdir()} == before


def test_a_unit_of_others_is_not_replaced(where):
    where.folder.mkdir()
    (where.folder / "opsrunner-shop-weekly.timer").write_text("[Timer]\n")
    with pytest.raises(schedule.ScheduleError, match="was written by others"):
        schedule.put([entry()], where)
    assert [path.name for path in where.folder.iterdir()] == ["opsrunner-shop-weekly.timer"]


def test_a_calendar_that_does_not_parse_is_refused(where):
    where.run.fail = "systemd-analyze"
    with pytest.raises(UsageError, match=r"Mon \*-\*-\* 10:00:00: no calendar of systemd"):
        schedule.put([entry()], where)


def test_what_an_inventory_schedules_is_read_from_its_files(tmp_path):
    file = tmp_path / "shop/group_vars/all/calendar.yml"
    file.parent.mkdir(parents=True)
    file.write_text("runbook_calendar:\n- {runbook: daily, name: evening, calendar: '18:00', options: [--tags, evening]}\n")
    system = systems.System("shop", tmp_path / "shop")
    assert list(schedule.from_inventory(system)) == [schedule.Entry("evening", "daily", system, ("18:00",), ("--tags", "evening"))]
    file.write_text("runbook_calendar: [{runbook: daily, calender: '18:00'}]\n")
    with pytest.raises(UsageError, match=r"runbook_calendar\[0\].calender: unknown key 'calender' \(did you mean calendar\?\)"):
        list(schedule.from_inventory(system))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["install", "daily", "--system", "shop"], "when? Give --calendar"),
        (["install", "dayly", "--system", "shop", "--calendar", "daily"], "unknown runbook 'dayly' (did you mean daily?)"),
        (["install", "--system", "shop", "--calendar", "daily"], "which runbook?"),
        (["install", "--system", "shop"], "shop has no runbook_calendar"),
        (["install", "daily", "--system", "shp", "--calendar", "daily"], "unknown system 'shp' (did you mean shop?)"),
        (["remove", "nothing"], "unknown schedule 'opsrunner-nothing'"),
    ],
)
def test_wrong_usage_is_told_in_a_line(words, expected, tmp_path, monkeypatch, capsys):
    (tmp_path / "inventories/shop/group_vars/all").mkdir(parents=True)
    (tmp_path / "inventories/shop/hosts.yml").write_text("all:\n  hosts: {a: }\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert main(["schedule", *words]) == 64
    assert expected in capsys.readouterr().err
