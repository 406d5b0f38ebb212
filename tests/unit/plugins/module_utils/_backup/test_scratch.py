# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scratch places: own, gone afterwards, swept after a kill."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import scratch as backup_scratch
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError
from tests.helpers.shell_engine import exit_status


def test_a_place_is_empty_but_for_its_owner_and_gone_afterwards(tmp_path):
    with backup_scratch.place(str(tmp_path / "new" / "scratch")) as path:
        assert os.listdir(path) == [backup_scratch.OWNER]
        with open(os.path.join(path, "left"), "w") as file:
            file.write("x")
    assert os.listdir(str(tmp_path / "new" / "scratch")) == []


def test_it_is_gone_after_a_failure_too(tmp_path):
    with pytest.raises(KeyError), backup_scratch.place(str(tmp_path)):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_run_uses_stays(tmp_path):
    with backup_scratch.place(str(tmp_path)) as one, backup_scratch.place(str(tmp_path)) as other:
        assert os.path.isdir(one)
        assert one != other


def test_one_that_is_being_made_is_not_taken_for_dead(tmp_path, monkeypatch):
    """Between the file that names its owner and the lock on it, somebody sweeps."""
    import fcntl

    real, swept = fcntl.flock, []

    def flock(handle, how):
        if how == fcntl.LOCK_EX:
            swept.append(backup_scratch.sweep(str(tmp_path)))
        return real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with backup_scratch.place(str(tmp_path)) as path:
        assert os.path.isdir(path)
    assert swept == [[]]


KILLED = """
import subprocess, sys
sys.path[:0] = %r
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import scratch as backup_scratch
with backup_scratch.place(%r) as path:
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", path + "/server"])
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=path)  # PostgreSQL's and Redis's rename themselves
    print(path, server.pid, worker.pid, flush=True)
    server.wait()
"""


def test_what_a_killed_run_left_is_removed_and_its_servers_end(tmp_path):
    program = KILLED % (sys.path, str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, universal_newlines=True) as run:
        path, *servers = run.stdout.readline().split()
        assert backup_scratch.sweep(str(tmp_path)) == []  # it lives
        run.send_signal(signal.SIGKILL)
    assert os.path.isdir(path)
    assert backup_scratch.sweep(str(tmp_path), look_only=True) == [os.path.basename(path)]
    assert os.path.isdir(path)
    notes = []
    with backup_scratch.place(str(tmp_path), notes.append):
        assert not os.path.exists(path)
    assert notes == ["%s was left by a killed run and has been removed" % path]
    for server in servers:
        try:
            with open("/proc/%s/stat" % server) as file:
                assert file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            pass


def test_what_is_none_of_ours_stays(tmp_path):
    (tmp_path / (backup_scratch.PREFIX + "file")).write_text("x")
    (tmp_path / (backup_scratch.PREFIX + "link")).symlink_to("/")
    old = tmp_path / (backup_scratch.PREFIX + "old")
    old.mkdir()
    os.utime(str(old), (1, 1))
    (tmp_path / "other").mkdir()
    assert backup_scratch.sweep(str(tmp_path)) == [old.name]
    assert len(list(tmp_path.iterdir())) == 3


def test_links_in_it_are_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    with backup_scratch.place(str(tmp_path / "scratch")) as path:
        os.symlink(str(tmp_path / "kept"), os.path.join(path, "link"))
    assert (tmp_path / "kept" / "file").exists()


def test_a_folder_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BackupError, match="no scratch place can be made"), backup_scratch.place(str(tmp_path / "file")):
        pass


def test_folders_that_may_not_be_written_to_go_too(tmp_path):
    """As a user without rights: a set may hold such folders, and a trial restore restores them as they were."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)
    child = os.fork()
    if not child:
        status = 1
        try:
            if os.geteuid() == 0:
                for above in (tmp_path, *list(tmp_path.parents)[:3]):
                    above.chmod(above.stat().st_mode & 0o7777 | 0o055)  # the highest may be /tmp
                os.setuid(65534)
            with backup_scratch.place(str(scratch)) as path:
                os.makedirs(os.path.join(path, "restored", "deep"))
                for name in ("restored/deep/file", "restored/file"):
                    with open(os.path.join(path, name), "w") as file:
                        file.write("x")
                os.symlink(str(tmp_path), os.path.join(path, "restored", "link"))
                os.chmod(os.path.join(path, "restored", "deep"), 0)
                os.chmod(os.path.join(path, "restored"), 0o555)
            status = 0 if os.listdir(str(scratch)) == [] else 2
        finally:
            os._exit(status)
    assert exit_status(child) == 0


def test_what_cannot_be_removed_is_told_and_keeps_nobody_from_work(tmp_path, monkeypatch):
    old = tmp_path / (backup_scratch.PREFIX + "old")
    old.mkdir()
    os.utime(str(old), (1, 1))
    real = backup_scratch.tree.remove_tree

    def mounted(folder, name):
        if name == old.name:
            raise OSError(18, "another file system is mounted there", name)
        return real(folder, name)

    monkeypatch.setattr(backup_scratch.tree, "remove_tree", mounted)
    notes = []
    with backup_scratch.place(str(tmp_path), notes.append) as path:
        assert os.path.isdir(path)
    assert notes == ["%s was left by a killed run and cannot be removed: another file system is mounted there" % old]


@pytest.mark.parametrize("left", [[], [backup_scratch.OWNER + ".new"]])
def test_what_was_stopped_before_it_had_an_owner_goes_with_the_next(tmp_path, left):
    """At once, however young it is."""
    folder = tmp_path / (backup_scratch.PREFIX + "left")
    folder.mkdir()
    for name in left:
        (folder / name).touch()
    notes = []
    with backup_scratch.place(str(tmp_path), notes.append) as path:
        assert [one.name for one in tmp_path.iterdir()] == [os.path.basename(path)]
    assert notes == ["%s was left by a killed run and has been removed" % folder]


def test_where_a_place_is_being_made_one_without_an_owner_stays(tmp_path):
    """Somebody is between the folder and its owner."""
    import fcntl

    folder = tmp_path / (backup_scratch.PREFIX + "new")
    folder.mkdir()
    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    assert backup_scratch.sweep(str(tmp_path)) == []
    os.utime(folder, (1, 1))  # or the folder is locked for something else
    assert backup_scratch.sweep(str(tmp_path)) == [folder.name]
    os.close(handle)


def test_many_make_and_sweep_at_once_and_nobody_loses_a_place(tmp_path):
    def work(_number):
        for _each in range(20):
            with backup_scratch.place(str(tmp_path)) as path:
                (pathlib.Path(path) / "mine").write_text("x")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [None] * 4
    assert list(tmp_path.iterdir()) == []
