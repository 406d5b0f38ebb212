# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import time

import pytest

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import index as run_index
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from tests.helpers import report_records as records


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


def keep(state, record):
    folder = state / "runs" / record["id"]
    folder.mkdir(parents=True)
    runs.Run(folder).write(record)
    return folder


def test_what_was_recorded_comes_back_newest_first(state):
    for day in (2, 0, 1):
        run_index.record(state, records.example(day))
    run_index.record(state, records.record([], at=records.NOW - 50, system="simplers"))
    rows = run_index.runs(state, system="logcaster", runbook="daily")
    assert [row["started_at"] for row in rows] == [records.NOW, records.NOW - 86400, records.NOW - 2 * 86400]
    assert (rows[0]["critical"], rows[0]["unknown"], rows[0]["findings"], rows[0]["hosts"]) == (2, 1, 20, 4)
    assert (rows[0]["user"], rows[0]["status"], rows[0]["state"]) == ("oncall", "critical", "complete")
    assert len(run_index.runs(state)) == 4
    assert len(run_index.runs(state, limit=2)) == 2
    assert run_index.runs(state, runbook="backup") == []


def test_a_run_recorded_twice_is_there_once_with_what_was_said_last(state):
    record = records.example()
    run_index.record(state, {**record, "state": "failed"})
    run_index.record(state, record)
    assert [row["state"] for row in run_index.runs(state)] == ["complete"]


def test_history_is_oldest_first_and_ends_before_the_run(state):
    for day in range(5):
        run_index.record(state, records.example(day))
    found = run_index.history(state, "logcaster", before=records.NOW, limit=3)
    points = found["app1", "disk./var/lib/opensearch"]
    assert [at for at, _value, _status in points] == [records.NOW - day * 86400 for day in (3, 2, 1)]
    assert [round(value, 1) for _at, value, _status in points] == [93.1, 94.2, 95.3]
    assert {status for _at, _value, status in points} == {"critical"}
    assert found["app1", "host.reachable"][-1][1:] == (None, "ok")


def test_history_of_a_system_leaves_others_out(state):
    run_index.record(state, records.example(1))
    assert run_index.history(state, "simplers", before=records.NOW) == {}


def test_without_an_index_there_is_no_history_and_no_problem(tmp_path):
    assert run_index.history(tmp_path / "nowhere", "logcaster", before=1.0) == {}
    assert run_index.runs(tmp_path / "nowhere") == []


def test_a_very_large_system_gets_a_shorter_history(state, monkeypatch):
    for day in range(5):
        run_index.record(state, records.example(day))
    monkeypatch.setattr(run_index, "POINT_LIMIT", 50)
    assert len(run_index.history(state, "logcaster", before=records.NOW + 1)["app1", "load"]) == 2


def test_the_index_is_private(state):
    run_index.record(state, records.example())
    assert stat.S_IMODE((state / "index.db").stat().st_mode) == 0o600


def test_runs_that_the_index_does_not_know_are_taken_in(state):
    keep(state, records.example(0))
    keep(state, records.example(1))
    assert [row["findings"] for row in run_index.runs(state)] == [20, 25]
    assert len(run_index.history(state, "logcaster", before=records.NOW)["app1", "load"]) == 1


def test_a_killed_run_shows_with_what_it_had_found(state, monkeypatch):
    monkeypatch.setenv(runs.STATE_VARIABLE, str(state))
    with subprocess.Popen(["sleep", "60"]) as child:
        run = runs.create("daily", "logcaster", pid=child.pid)
        run.append(records.example()["findings"][:3])
        child.kill()
    assert [(row["state"], row["findings"]) for row in run_index.runs(state)] == [("killed", 3)]


def test_a_running_run_is_told_and_then_told_as_it_ended(state, monkeypatch):
    monkeypatch.setenv(runs.STATE_VARIABLE, str(state))
    run = runs.create("daily", "logcaster", pid=os.getpid())
    assert [row["state"] for row in run_index.runs(state)] == ["running"]
    run.finish()
    assert [row["state"] for row in run_index.runs(state)] == ["complete"]


def test_rebuild_makes_the_index_from_the_records_alone(state):
    for day in range(3):
        keep(state, records.example(day))
    run_index.record(state, records.record([], at=1.0))  # a run whose folder is gone
    (state / "runs" / "20260101T000000Z-a-b-0000").mkdir()  # without a record
    broken = state / "runs" / "20260101T000000Z-a-b-0001"
    broken.mkdir()
    (broken / "run.json").write_text('{"schema": 1, "state": "complete"}')
    assert run_index.rebuild(state) == 3
    assert len(run_index.runs(state)) == 3


@pytest.mark.parametrize("damage", [b"this is no database, but text " * 40, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_damaged_index_is_set_aside_and_made_anew(state, damage):
    for day in range(3):
        keep(state, records.example(day))
    (state / "index.db").write_bytes(damage)
    with pytest.raises(run_index.IndexProblem) as problem:
        run_index.history(state, "logcaster", before=records.NOW)
    assert problem.value.rebuilt
    assert "3 runs" in str(problem.value)
    assert [path.read_bytes() for path in state.glob("index.db.corrupt-*")] == [damage]
    assert len(run_index.history(state, "logcaster", before=records.NOW)["app1", "load"]) == 2


def test_pages_damaged_in_the_middle_are_noticed_and_mended(state):
    for day in range(8):
        keep(state, records.example(day))
    run_index.rebuild(state)
    with open(state / "index.db", "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (os.path.getsize(state / "index.db") - 4096))
    with pytest.raises(run_index.IndexProblem) as problem:
        run_index.record(state, records.example())
    assert problem.value.rebuilt
    assert len(run_index.runs(state)) == 8


def test_an_index_of_a_newer_version_is_left_alone(state):
    with sqlite3.connect(state / "index.db") as database:
        database.execute("PRAGMA user_version = 99")
    before = (state / "index.db").read_bytes()
    for use in (
        lambda: run_index.record(state, records.example()),
        lambda: run_index.runs(state),
        lambda: run_index.history(state, "logcaster", before=records.NOW),
    ):
        with pytest.raises(run_index.IndexProblem, match="newer"):
            use()
    assert (state / "index.db").read_bytes() == before


def test_an_index_of_an_older_version_is_made_anew(state):
    with sqlite3.connect(state / "index.db") as database:
        database.execute("CREATE TABLE runs (id)")
    keep(state, records.example())
    assert len(run_index.runs(state)) == 1


def test_a_locked_index_is_a_problem_after_the_patience(state, monkeypatch):
    run_index.record(state, records.example(1))
    monkeypatch.setattr(run_index, "PATIENCE", 0.05)
    holder = sqlite3.connect(state / "index.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(run_index.IndexProblem, match="locked"):
        run_index.record(state, records.example())
    holder.close()
    run_index.record(state, records.example())


def test_an_index_that_cannot_be_made_is_a_problem_and_nothing_else(tmp_path):
    (tmp_path / "index.db").mkdir()
    for use in (lambda: run_index.record(tmp_path, records.example()), lambda: run_index.history(tmp_path, "logcaster", before=1.0)):
        with pytest.raises(run_index.IndexProblem):
            use()


def test_a_read_only_index_can_be_read(state, monkeypatch):
    run_index.record(state, records.example(1))
    opened = os.open

    def refuse(path, flags, *more, **named):
        if flags & os.O_RDWR and str(path).endswith("index.db"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *more, **named)

    # Tests may run as root, whom no mode stops.
    monkeypatch.setattr(run_index.os, "open", refuse)
    assert len(run_index.runs(state)) == 1
    assert run_index.history(state, "logcaster", before=records.NOW)
    with pytest.raises(run_index.IndexProblem, match="Permission denied"):
        run_index.record(state, records.example())


def _write(state, start):
    for number in range(start, start + 5):
        run_index.record(state, records.example(number))


def test_many_processes_write_at_once(state):
    workers = [multiprocessing.get_context("fork").Process(target=_write, args=(state, start)) for start in range(0, 40, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert len(run_index.runs(state, limit=100)) == 40
    assert sqlite3.connect(state / "index.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _meet(state):
    try:
        run_index.history(state, "logcaster", before=records.NOW)
    except run_index.IndexProblem as problem:
        os._exit(0 if problem.rebuilt else 3)


def test_processes_that_meet_a_damaged_index_together_set_it_aside_once(state):
    keep(state, records.example(1))
    (state / "index.db").write_bytes(b"damaged" * 100)
    workers = [multiprocessing.get_context("fork").Process(target=_meet, args=(state,)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert len(list(state.glob("index.db.corrupt-*"))) == 1
    assert len(run_index.runs(state)) == 1


def old(days, **more):
    return records.record([], at=time.time() - days * 86400, **more)


def test_runs_past_their_time_are_forgotten_with_their_rows(state):
    kept, gone = old(5), old(40)
    for record in (kept, gone):
        keep(state, record)
        run_index.record(state, record)
    assert run_index.prune(state, 30) == [gone["id"]]
    assert [row["id"] for row in run_index.runs(state)] == [kept["id"]]
    assert [path.name for path in (state / "runs").iterdir()] == [kept["id"]]


def test_a_running_run_is_never_forgotten(state):
    keep(state, old(1))
    process = {"host": runs.socket.gethostname(), "pid": os.getpid(), "start": runs.process_start(os.getpid())}
    live = keep(state, old(400, state="running", process=process))
    assert run_index.prune(state, 30) == []
    assert live.is_dir()


def test_the_newest_run_of_a_runbook_is_kept_whatever_its_age(state):
    last, before = keep(state, old(400)), keep(state, old(500))
    other = keep(state, old(600, runbook="backup"))
    assert run_index.prune(state, 30) == [before.name]
    assert last.is_dir()
    assert other.is_dir()


def test_nothing_but_runs_is_removed_and_no_link_is_followed(state, tmp_path):
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("kept")
    keep(state, old(1))
    name = "20200101T000000Z-logcaster-daily-00aa"
    (state / "runs" / name).symlink_to(elsewhere)
    (state / "runs" / "notes").mkdir()
    inside = keep(state, old(90))
    (inside / "link").symlink_to(elsewhere)
    assert run_index.prune(state, 30) == [inside.name]
    assert (elsewhere / "file").read_text() == "kept"
    assert {path.name for path in (state / "runs").iterdir()} >= {name, "notes"}


def test_a_runs_folder_that_is_a_link_is_not_touched(state, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for days in (50, 60):
        keep(elsewhere, old(days))
    (state / "runs").symlink_to(elsewhere / "runs")
    assert run_index.prune(state, 30) == []
    assert len(list((elsewhere / "runs").iterdir())) == 2


def test_zero_days_keep_everything(state):
    for days in (50, 60):
        keep(state, old(days))
    assert run_index.prune(state, 0) == []


def test_two_hundred_hosts_with_ninety_findings_are_indexed_in_no_time(state):
    base = records.example()["findings"][1]
    findings = [{**base, "host": f"h{host}", "check": f"c{check}"} for host in range(200) for check in range(90)]
    record = records.record(findings)
    run_index.record(state, {**record, "id": "first", "started_at": 1.0})
    spent = time.process_time()
    run_index.record(state, record)
    assert time.process_time() - spent < 10  # seconds of the processor, which a busy machine hardly changes
    assert len(run_index.history(state, "logcaster", before=records.NOW + 1)) == 18_000


def test_rows_can_be_written_as_json(state):
    run_index.record(state, records.example())
    assert json.loads(json.dumps(run_index.runs(state)))[0]["id"] == records.example()["id"]
