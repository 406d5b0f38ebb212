# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores while a process has the data open: a real application that keeps its SQLite file open, as every one does."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import finding, message

APP = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("SELECT count(*) FROM orders").fetchone()
print("ready", flush=True)
for line in sys.stdin:
    database.execute("INSERT INTO orders (word) VALUES (?)", (line.strip(),))
    print("written", flush=True)
"""
NO_SERVICES = {"services": []}
PROBE = {"health": [{"name": "shop", "type": "http", "url": "http://127.0.0.1:9/"}]}


@contextlib.contextmanager
def app(path, folder=None):
    """An application that has the database open; it writes a row for each line."""
    process = subprocess.Popen(
        [sys.executable, "-c", APP, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder or "/"
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def write(process, word):
    """Let the application write a row."""
    process.stdin.write(word + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "written\n"


def told(outcome):
    """Status and message of the only finding."""
    (found,) = outcome.found
    return found["status"], found["message"]


def named(outcome):
    """Everything that the only finding names."""
    return repr(outcome.found[0]["params"]) + repr(outcome.found[0]["evidence"])


def test_a_restore_is_refused_while_nothing_stops_the_application_that_has_the_data_open(shop):
    before = shop.words()
    with app(shop.live / "shop.db") as process:
        plan = shop.run(confirm=[], restore=NO_SERVICES)
        assert told(plan) == ("critical", "backup.restore.doubted") and plan.failed is None
        assert f"process {process.pid}" in named(plan) and "restore_open" in named(plan)
        assert any("names no service" in line for line in plan.found[0]["evidence"]["restore_plan"])
        refused = shop.run(restore=NO_SERVICES)
        assert told(refused) == ("critical", "backup.restore.doubted") and f"process {process.pid}" in refused.failed
        assert not refused.changed and shop.words() == before and shop.journal() is None
    assert told(shop.run(restore=NO_SERVICES)) == ("ok", "backup.restore.done") and shop.holds("old")


def test_a_confirmed_restore_says_who_still_works_on_the_previous_data_and_does_not_discard_it(shop):
    with app(shop.live / "shop.db") as process:
        done = shop.run(restore=NO_SERVICES, confirm=["restore", "restore_open"])
        assert told(done) == ("critical", "backup.restore.done.open") and done.changed and done.failed is None
        assert f"process {process.pid}" in named(done)
        write(process, "written after the restore")
        for confirm in ([], ["restore_discard"]):
            kept = shop.run(restore=NO_SERVICES, action="discard", confirm=confirm)
            assert told(kept) == ("critical", "backup.restore.discard.open") and not kept.changed
            assert f"process {process.pid}" in named(kept)
        (aside,) = [path for path in done.plan["aside"] if path.endswith("shop.db")]
        with contextlib.closing(sqlite3.connect(aside)) as database:
            assert database.execute("SELECT count(*) FROM orders WHERE word LIKE 'written%'").fetchone() == (1,)
    gone = shop.run(restore=NO_SERVICES, action="discard", confirm=["restore_discard"])
    assert told(gone) == ("ok", "backup.restore.discard.done") and not Path(aside).exists()


def test_what_is_open_can_be_discarded_when_that_is_confirmed(shop):
    with app(shop.live / "shop.db"):
        done = shop.run(restore=NO_SERVICES, confirm=["restore", "restore_open"])
        gone = shop.run(restore=NO_SERVICES, action="discard", confirm=["restore_discard", "restore_open"])
        assert told(gone) == ("ok", "backup.restore.discard.done")
        assert not any(os.path.lexists(path) for path in done.plan["aside"])


def test_a_process_that_is_none_of_the_stopped_services_has_the_restore_taken_back(shop):
    before = shop.state()
    with app(shop.live / "shop.db") as process:
        outcome = shop.run()
        assert told(outcome) == ("critical", "backup.restore.taken_back")
        assert f"process {process.pid}" in outcome.failed and "is none of the services" in named(outcome)
    after = shop.state()
    for name in ("shop.db-shm", "shop.db-wal"):  # the application had them open
        before["files"].pop(name, None), after["files"].pop(name, None)
    assert after == before and shop.journal() is None


def test_a_process_that_opens_the_data_between_the_look_and_the_swap_has_the_restore_taken_back(shop):
    """It opens the file at the last moment, and so goes on with what is set aside."""
    with contextlib.ExitStack() as stack:
        started = []

        def observe(step):
            if step == "swap data":
                started.append(stack.enter_context(app(shop.live / "shop.db")))

        outcome = shop.run(means=shop.means(observe))
        assert told(outcome) == ("critical", "backup.restore.taken_back")
        assert f"process {started[0].pid}" in outcome.failed
    assert shop.words() == {"new"}


def test_an_undo_says_who_still_works_on_the_data_that_was_restored(shop):
    assert shop.run(restore=NO_SERVICES).failed is None
    with app(shop.live / "shop.db") as process:
        undone = shop.run(restore=NO_SERVICES, action="undo")
        assert told(undone) == ("critical", "backup.restore.undo.open") and f"process {process.pid}" in named(undone)
    assert shop.words() == {"new"}


def test_a_plan_without_services_warns_and_one_with_services_does_not(shop):
    def plan(**more):
        return shop.run(confirm=[], **more).found[0]["evidence"]["restore_plan"]

    assert [line for line in plan(restore=NO_SERVICES) if "names no service" in line]
    assert not [line for line in plan() if "names no service" in line]


def test_a_restore_that_was_taken_back_gives_what_the_probe_saw(shop):
    refused = message("http.refused", host="127.0.0.1", port=18999)

    def health(_probes, _deadline):
        return [finding("http.api", "http", "critical", refused)]

    outcome = shop.run(means=shop.means()._replace(health=health), restore=PROBE)
    assert told(outcome) == ("critical", "backup.restore.taken_back")
    reason = outcome.found[0]["params"]["reason"]
    assert reason["message"] == "backup.restore.unhealthy"
    (seen,) = reason["params"]["problems"]
    assert seen["params"]["check"] == "http.api" and seen["params"]["what"] == refused
    assert outcome.found[0]["evidence"]["restore_health"] == [seen]


@pytest.mark.skipif(os.geteuid() != 0, reason="leases of other users' files are root's")
def test_files_open_in_a_process_that_cannot_be_seen_are_found_all_the_same(tmp_path):
    """In a container without the right to look into other processes, say."""
    from ansible_collections.opsrunner.runbook.plugins.module_utils._host import open_files

    proc = tmp_path / "proc"
    (proc / "1").mkdir(parents=True)
    (proc / "1" / "fd").mkdir()
    (proc / "1" / "fd" / "3").symlink_to(proc / "1" / "nothing")
    place = tmp_path / "place"
    place.mkdir()
    (place / "file").write_text("x")
    real = os.stat

    def hidden(path, **more):
        if str(path).startswith(str(proc)):
            raise PermissionError(13, "Permission denied")
        return real(path, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "stat", hidden)
        assert open_files.holders([str(place)], str(proc)) == open_files.Holders((), True)
        with open(place / "file", "rb"):
            seen = open_files.holders([str(place)], str(proc))
    assert [(holder.pid, holder.name) for holder in seen.found] == [(0, open_files.UNSEEN)]
