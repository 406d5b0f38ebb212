# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A daily run that is stopped or killed at different moments, and two at once."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import LOCAL, Place, Server, wait_until


def workers(state: Path) -> list[int]:
    """The processes that carry a run of this state folder in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"OPSRUNNER_RUN={state}/".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def waiting_system(place: Place, server: Server) -> None:
    probes = [{"name": "slow", "type": "http", "url": f"http://127.0.0.1:{server.port}/", "timeout": "30s"}]
    place.system({"one": None, "two": dict(LOCAL)}, runbook_probes=probes)
    server.gate.clear()


@pytest.mark.parametrize("moment", ["before the hosts", "during a check", "during the report"])
def test_a_run_that_is_interrupted_has_a_whole_record_and_report(moment: str, place: Place, server: Server) -> None:
    waiting_system(place, server)
    if moment == "during the report":
        server.gate.set()
    child = place.start(place.command("daily", "--system", "sample", "--tags", "health", "--fail-on", "none"))
    if moment == "before the hosts":
        wait_until(lambda: list(place.state.glob("runs/*/run.json")))
    elif moment == "during a check":
        wait_until(lambda: len(server.asked) >= 2)
    else:
        wait_until(lambda: [path for path in place.state.glob("runs/*/run.json") if '"complete"' in path.read_text(encoding="utf-8")])
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    record = place.record()
    if moment == "during the report":
        assert (child.returncode, record["state"]) in ((0, "complete"), (130, "interrupted")), out + err
    else:
        assert (child.returncode, record["state"]) == (130, "interrupted"), out + err
        assert record["open_step"]["task"] == ("Probe this host's services" if moment == "during a check" else record["open_step"]["task"])
    assert "Traceback" not in err
    assert set(record["artifacts"]) == {"html", "md", "json", "prom"}
    assert (place.state / "runs" / record["id"] / "report.html").stat().st_size > 1000
    assert workers(place.state) == []


def test_ansible_playbook_that_is_killed_leaves_a_run_that_is_told_as_killed(place: Place, server: Server) -> None:
    waiting_system(place, server)
    child = place.start(place.playbook("--tags", "health"), start_new_session=True)
    wait_until(lambda: len(server.asked) >= 2)
    child.kill()
    child.wait(30)
    server.gate.set()
    (row,) = json.loads(place.run(place.command("history", "--json")).stdout)
    assert row["state"] == "killed"
    told = place.run(place.command("show"))
    assert told.returncode == 0
    assert "killed" in told.stdout
    place.run(place.playbook("--tags", "health"))
    assert [record["state"] for record in place.records()] == ["running", "complete"]


def test_two_daily_runs_of_a_system_at_once_are_both_whole(place: Place, server: Server) -> None:
    waiting_system(place, server)
    words = ("--tags", "health")
    children = [place.start(place.command("daily", "--system", "sample", *words)), place.start(place.playbook(*words))]
    wait_until(lambda: len(server.asked) >= 4)
    server.gate.set()
    told = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], told
    assert [(record["state"], record["counts"]["ok"]) for record in place.records()] == [("complete", 4)] * 2
    assert place.run(place.command("history")).stdout.count(" complete ") == 2


def test_a_clock_that_was_set_back_makes_no_run_of_negative_length(place: Place) -> None:
    place.daily("--tags", "health")
    (path,) = place.state.glob("runs/*/run.json")
    ahead = path.parent.with_name("20990101T000000Z-sample-daily-ffff")
    path.parent.rename(ahead)
    record = {**json.loads((ahead / "run.json").read_text(encoding="utf-8")), "id": ahead.name, "started_at": time.time() + 2e9}
    (ahead / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (place.state / "index.db").unlink()
    done = place.daily("--tags", "health")
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.run(place.command("history")).stdout.count(" complete ") == 2
    assert place.run(place.command("diff")).returncode == 0
    assert os.path.isdir(ahead)
