# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import multiprocessing
import os
import stat
import subprocess
import sys

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import finding, message
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import complete_finding
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv(runs.STATE_VARIABLE, str(tmp_path / "state"))
    monkeypatch.delenv(runs.RUN_VARIABLE, raising=False)
    monkeypatch.setattr(runs.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    return tmp_path / "state"


def found(check, status, host="web1"):
    return complete_finding(finding(check, "task", status, message("task.failed", task=check, reason="r")), host, set())


def test_a_run_is_kept_private_and_complete(state):
    run = runs.create("daily", "logcaster", os.getpid(), via="command")
    run.append([found("a", "ok"), found("b", "warning")])
    run.append([found("b", "critical")])
    record = run.finish(hosts=["web1", "web2"])
    assert record["state"] == "complete"
    assert {(item["host"], item["check"]): item["status"] for item in record["findings"]} == {
        ("web1", "a"): "ok",
        ("web1", "b"): "critical",
        ("web2", "host.seen"): "unknown",
    }
    assert record["counts"] == {"ok": 1, "warning": 0, "unknown": 1, "critical": 1}
    assert record["hosts"]["web1"]["status"] == "critical"
    assert run.read() == json.loads(json.dumps(record))
    for path in (run.path, run.path / "run.json", run.path / "findings.jsonl"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_problem_outside_the_checks_makes_the_run_fail(state):
    run = runs.create("daily", "logcaster", os.getpid())
    run.add_problem("no such variable")
    record = run.finish()
    assert (record["state"], record["problems"]) == ("failed", ["no such variable"])
    assert runs.exit_status(record) == 4


@pytest.mark.parametrize(
    ("state", "status", "fail_on", "code"),
    [
        ("complete", "ok", "unknown", 0),
        ("complete", "warning", "unknown", 0),
        ("complete", "warning", "warning", 1),
        ("complete", "unknown", "unknown", 3),
        ("complete", "unknown", "critical", 0),
        ("complete", "critical", "unknown", 2),
        ("complete", "critical", "none", 0),
        ("failed", "ok", "none", 4),
        ("killed", "ok", "unknown", 4),
        ("running", "ok", "unknown", 4),
        ("interrupted", "critical", "unknown", 130),
    ],
)
def test_the_exit_status_comes_from_the_record(state, status, fail_on, code):
    assert runs.exit_status({"state": state, "status": status}, fail_on) == code


def _append(path, start):
    for number in range(start, start + 50):
        runs.Run(path).append([found(f"c{number}", "ok", host="h" * 3000)])


def test_many_processes_append_whole_lines(state):
    run = runs.create("daily", "logcaster", os.getpid())
    workers = [multiprocessing.get_context("fork").Process(target=_append, args=(run.path, number * 50)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(run.findings()) == 300


def test_a_line_torn_by_a_crash_is_left_out(state):
    run = runs.create("daily", "logcaster", os.getpid())
    run.append([found("a", "ok")])
    with open(run.path / "findings.jsonl", "a", encoding="utf-8") as file:
        file.write('{"finding": {"host": "web1", "che')
    assert [item["check"] for item in run.findings()] == ["a"]
    run.append([found("b", "ok")])
    assert [item["check"] for item in run.findings()] == ["a", "b"]


def test_a_clock_set_back_makes_no_run_of_negative_length(state):
    run = runs.create("daily", "logcaster", os.getpid())
    run.write({**run.read(), "started_at": 4e9})
    assert run.finish()["seconds"] == 0


def test_a_killed_run_is_visible_as_such(state):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run = runs.create("daily", "logcaster", child.pid)
    assert run.read()["state"] == "running"
    child.kill()
    child.wait()
    assert run.read()["state"] == "killed"


def test_workers_find_the_run_of_their_ansible_playbook(state):
    run = runs.start("daily", "logcaster")  # for the parent of this process, as a worker does
    assert runs.current().path == run.path
    assert runs.start("weekly", "logcaster").path == run.path


def test_the_commands_run_is_taken_from_the_environment(state, monkeypatch):
    run = runs.create("daily", "logcaster", os.getpid())
    monkeypatch.setenv(runs.RUN_VARIABLE, str(run.path))
    assert runs.start("daily", "logcaster").path == run.path


def test_marks_of_dead_processes_are_swept(state):
    (state / "live").mkdir(parents=True)
    (state / "live" / "999999999-1").write_text("/nowhere")
    runs.start("daily", "logcaster")
    assert [mark.name.split("-")[0] for mark in (state / "live").iterdir()] == [str(os.getppid())]


@pytest.mark.parametrize("obstacle", ["file", "missing parent is a file"])
def test_a_state_folder_that_cannot_be_written_does_not_stop_the_run(state, obstacle, monkeypatch):
    blocked = state
    if obstacle == "file":
        state.write_text("")
    else:
        state.write_text("")
        blocked = state / "below"
    monkeypatch.setenv(runs.STATE_VARIABLE, str(blocked))
    run = runs.start("daily", "logcaster")
    assert "temporary" in str(run.path)
    assert runs.current().path == run.path
    record = run.finish()
    assert record["state"] == "complete"
    assert record["notes"][0]["params"]["path"] == str(blocked)


def test_ids_sort_by_time_and_name_the_run():
    identifier = runs.new_id("daily", "excel-unified")
    assert runs.RUN_ID.match(identifier)
    assert "-excel_unified-daily-" in identifier
