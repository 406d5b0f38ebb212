# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets in a root: what is one and what is not, which one is meant, who works there."""

from __future__ import annotations

import hashlib
import json
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.manifest import Rung
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError, SetFolder
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import folders, tree


def _make(root, name, data=b"data", rung=None):
    folder = root / name
    folder.mkdir()
    (folder / "app.tar").write_bytes(data)
    at = set_names.name_time(name) or 0.0
    artifact = Artifact("files", "app.tar", len(data), hashlib.sha256(data).hexdigest(), "tar", at, at)
    (folder / "manifest.json").write_text(backup_manifest.to_json(backup_manifest.Manifest("shop", at, at + 5, (artifact,))))
    if rung:
        (folder / "verified.json").write_text(json.dumps({"schema": 1, "rungs": [{"rung": rung, "at": times.format_time(at + 60)}]}))
    return folder


@given(st.integers(0, 4_000_000_000))
def test_names_and_times_are_the_same(at):
    """A set's name tells its time and is made from it."""
    assert set_names.name_time(set_names.set_name(at)) == at


@pytest.mark.parametrize(
    "name",
    [
        "20260131",
        "20260131T040506",
        "20261331T040506Z",
        "20260231T040506Z",
        "20260131T250000Z",
        "x20260131T040506Z",
        "20260131T040506Z.x",
        "\u0662026" + "0131T040506Z",
    ],
)
def test_other_names_are_none(name):
    """Only what this collection writes is the name of a set."""
    assert set_names.name_time(name) is None


def test_sets_are_listed_newest_first_and_nothing_else_is_a_set(tmp_path):
    """Partials, what is being removed, links and folders of other names are left aside."""
    for name in ("20260131T040506Z", "20260201T040506Z", "20260129T040506Z"):
        _make(tmp_path, name)
    for name in ("20260202T040506Z.partial", "20260102T040506Z.removing", "20260202", "lost+found"):
        (tmp_path / name).mkdir()
    (tmp_path / "20260203T040506Z").symlink_to(tmp_path / "20260201T040506Z")
    (tmp_path / "20260204T040506Z").write_text("a file")
    found = backup_sets.listed(str(tmp_path))
    assert [one.name for one in found] == ["20260201T040506Z", "20260131T040506Z", "20260129T040506Z"]
    assert [one.problem for one in found] == [None, None, None]
    assert found[0].size == 4
    assert found[0].at == (set_names.name_time("20260201T040506Z") or 0) + 5


def test_what_is_wrong_with_a_set_is_told(tmp_path):
    """A set without a manifest, with a changed one, with a missing and with a short file."""
    for day in range(1, 5):
        _make(tmp_path, "2026020%dT000000Z" % day)
    (tmp_path / "20260201T000000Z/manifest.json").unlink()
    manifest = tmp_path / "20260202T000000Z/manifest.json"
    manifest.write_text(manifest.read_text().replace('"shop"', '"ship"'))
    (tmp_path / "20260203T000000Z/app.tar").unlink()
    (tmp_path / "20260204T000000Z/app.tar").write_bytes(b"d")
    problems = {one.name[7]: one.problem for one in backup_sets.listed(str(tmp_path))}
    assert problems == {
        "1": "it has no manifest.json",
        "2": "its manifest cannot be used: manifest.json: not what was written (digest)",
        "3": "app.tar is missing",
        "4": "app.tar has not its size (1, not 4 bytes)",
    }


def test_a_root_that_is_not_there_is_told(tmp_path):
    """By an error of its own."""
    with pytest.raises(BackupError) as caught:
        backup_sets.listed(str(tmp_path / "none"))
    assert caught.value.code == "missing"


def _sets(*told):
    return [SetFolder(name, "/b/" + name, set_names.name_time(name) or 0.0, None, problem, rungs, 1) for name, problem, rungs in told]


SETS = _sets(
    ("20260203T020000Z", "cut", [Rung(4, 9.0)]),
    ("20260202T140000Z", None, []),
    ("20260202T020000Z", None, [Rung(3, 8.0)]),
    ("20260131T020000Z", None, [Rung(5, 7.0), Rung(2, 6.0)]),
)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("newest", "20260202T140000Z"),
        ("newest-proved", "20260202T020000Z"),
        ("20260203T020000Z", "20260203T020000Z"),
        ("2026-02-02", "20260202T140000Z"),
        ("2026-02-02T02", "20260202T020000Z"),
        ("2026-02-02 02:00", "20260202T020000Z"),
        ("2026-02-02T02:00:00Z", "20260202T020000Z"),
        ("20260131", "20260131T020000Z"),
        ("2026-01", "20260131T020000Z"),
        ("2026", "20260203T020000Z"),
    ],
)
def test_a_set_is_chosen(wanted, name):
    """By its name, by the beginning of its time, by what is known of it."""
    assert backup_sets.choose(SETS, wanted).name == name


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("2026-02-01", "20260131T020000Z"),
        ("2026-02-09T12:30", "20260203T020000Z"),
        ("2025", "20260131T020000Z"),
        ("2026-00", "20260131T020000Z"),
        ("newst", "newest"),
        ("20260202T020000", "20260202T020000Z"),
        ("../../etc", "20260203T020000Z"),
        ("", "20260203T020000Z"),
    ],
)
def test_what_is_near_is_named(wanted, near):
    """A set that is not there is refused with the nearest."""
    if wanted == "20260202T020000":
        assert backup_sets.choose(SETS, wanted).name == near
        return
    with pytest.raises(BackupError, match=near) as caught:
        backup_sets.choose(SETS, wanted)
    assert caught.value.code == "not_found"


@pytest.mark.parametrize(("sets", "wanted"), [([], "newest"), (SETS[:1], "newest"), (SETS[:2], "newest-proved")])
def test_none_is_chosen_where_there_is_none(sets, wanted):
    """No set, no whole one, no proved one."""
    with pytest.raises(BackupError):
        backup_sets.choose(sets, wanted)


def test_a_set_found_damaged_when_it_was_read_is_not_chosen(tmp_path):
    """Its files have their sizes; what reading it back told is in its record of verification."""
    _make(tmp_path, "20260201T000000Z", rung=3)
    folder = _make(tmp_path, "20260202T000000Z")
    failed = {"rung": 2, "at": "2026-02-02T01:00:00Z", "artifact": "db", "reason": "the sum is another one"}
    rungs = [{"rung": 1, "at": "2026-02-02T01:00:00Z"}]
    (folder / "verified.json").write_text(json.dumps({"schema": 1, "rungs": rungs, "failed": failed}))
    newest, before = sets = backup_sets.listed(str(tmp_path))
    assert (newest.problem, newest.sound, before.sound) == (None, False, True)
    assert newest.failed == "rung 2 was not passed: db: the sum is another one"
    assert backup_sets.choose(sets, "newest") == before
    assert backup_sets.choose(sets, newest.name) == newest


def test_rungs_are_kept_with_their_latest_time(tmp_path):
    """What was written down before stays; an older proof does not take the place of a newer one."""
    _make(tmp_path, "20260201T000000Z")
    found = backup_sets.listed(str(tmp_path))[0]
    assert found.rung == 0
    backup_sets.write_verified(found, [Rung(2, 100.0), Rung(3, 200.0)])
    backup_sets.write_verified(found, [Rung(3, 150.0), Rung(4, 300.0)])
    again = backup_sets.listed(str(tmp_path))[0]
    assert again.rungs == [Rung(4, 300.0), Rung(3, 200.0), Rung(2, 100.0)]
    assert again.rung == 4
    assert sorted(os.listdir(found.path)) == ["app.tar", "manifest.json", "verified.json"]
    assert os.stat(os.path.join(found.path, "verified.json")).st_mode & 0o777 == 0o600


def test_two_runs_that_write_one_record_lose_nothing_of_each_other(tmp_path):
    """Neither takes the other's unfinished file for its own."""
    _make(tmp_path, "20260201T000000Z")
    found = backup_sets.listed(str(tmp_path))[0]
    children = []
    for rung in (2, 3, 4):
        child = os.fork()
        if not child:
            status = 1
            try:
                for at in range(40):
                    backup_sets.write_verified(found, [Rung(rung, 100.0 + at)])
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.WEXITSTATUS(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert backup_sets.listed(str(tmp_path))[0].rungs == [Rung(4, 139.0), Rung(3, 139.0), Rung(2, 139.0)]


def test_a_second_run_learns_who_works_there_and_a_killed_one_leaves_no_lock(tmp_path):
    """The second is refused with the purpose and process of the first; when that is killed the lock is free."""
    out, into = os.pipe()
    other = os.fork()
    if not other:
        with backup_sets.locked(str(tmp_path), "backup of app"):
            os.write(into, b"held")
            signal.pause()
    try:
        assert os.read(out, 4) == b"held"
        with pytest.raises(BackupError, match="in use by backup of app, process %d, since" % other) as caught, backup_sets.locked(
            str(tmp_path), "prune", wait=0.2
        ):
            pytest.fail("two runs at once")
        assert caught.value.code == "busy"
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
        os.close(out)
        os.close(into)
    with backup_sets.locked(str(tmp_path), "prune"):
        assert "prune" in (tmp_path / ".lock").read_text()


def test_a_root_reached_by_a_link_is_refused(tmp_path):
    """Whoever can put a link there could have sets removed elsewhere."""
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    with pytest.raises(BackupError) as caught, backup_sets.locked(str(tmp_path / "root"), "prune"):
        pytest.fail("followed")
    assert caught.value.code == "link"


def test_remove_tree_however_deep(tmp_path):
    """Deeper than Python may recurse or a process may have files open."""
    (tmp_path / "tree").mkdir()
    here = os.open(str(tmp_path / "tree"), os.O_RDONLY)
    for _level in range(1500):
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        os.symlink("/etc", "link", dir_fd=here)
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    folder = os.open(str(tmp_path), os.O_RDONLY)
    try:
        tree.remove_tree(folder, "tree")
    finally:
        os.close(folder)
    assert os.listdir(str(tmp_path)) == []


def test_remove_tree_leaves_alone_what_is_mounted(tmp_path, monkeypatch):
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "precious").touch()
    folder = os.open(str(tmp_path), os.O_RDONLY)
    try:
        monkeypatch.setattr(folders, "mount_points", lambda: {str(tmp_path / "tree" / "inner")})
        with pytest.raises(OSError, match="is mounted there"):
            tree.remove_tree(folder, "tree")
        assert (tmp_path / "tree" / "inner" / "precious").exists()
        monkeypatch.setattr(folders, "mount_points", lambda: {str(tmp_path / "tree2"), str(tmp_path)})
        tree.remove_tree(folder, "tree")
    finally:
        os.close(folder)


def test_a_pipe_in_the_place_of_a_manifest_is_not_waited_for(tmp_path):
    """Nobody writes into it."""
    folder = tmp_path / "20260131T021500Z"
    folder.mkdir()
    for name in ("manifest.json", "verified.json"):
        os.mkfifo(folder / name)
    (one,) = backup_sets.listed(str(tmp_path))
    assert (one.problem, one.rungs) == ("manifest.json cannot be read: it is no plain file", [])


def test_folders_deeper_than_files_can_be_open_are_removed(tmp_path):
    """With what lies beside and in them, and nothing else."""
    (tmp_path / "stays").write_text("")
    (tmp_path / "deep").mkdir()
    handle = os.open(tmp_path / "deep", os.O_RDONLY)
    for level in range(1200):
        if level % 99 == 0:
            os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert tree.remove_tree(folder, "deep") >= 0
    finally:
        os.close(folder)
    assert os.listdir(tmp_path) == ["stays"]
