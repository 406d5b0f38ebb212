# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making sets: all artifacts or none, nothing half-made left, nothing written over."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import stat
import subprocess
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Told
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import tree
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Limits
from tests.helpers.shell_engine import backup, engines, exit_status, told

NOW = 1_800_000_000.25
NAME = "20270115T080000Z"
RECIPIENT = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"


def _run(*backups, at=NOW, check_mode=False):
    return backup_make.run(backups, "shop", check_mode, clock=lambda: at, engines=engines)


def _one(*args, **kwargs):
    made = _run(*args, **kwargs).made
    assert len(made) == 1
    return made[0]


def _names(root):
    return sorted(name for name in os.listdir(root) if not name.startswith((".", "ledger")))


def _verifies(folder):
    manifest = backup_manifest.parse((folder / "manifest.json").read_bytes())
    for artifact in manifest.artifacts:
        data = (folder / artifact.file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (artifact.size, artifact.sha256)
    assert sorted(os.listdir(folder)) == sorted(["manifest.json", *(artifact.file for artifact in manifest.artifacts)])
    return manifest


def test_a_set_is_made(tmp_path):
    """Files, manifest, ledger, finding; everything is the owner's alone, and nothing else lies about."""
    root = tmp_path / "backups/app"
    made = _one(backup(root, artifacts={"db": {"script": "seq 100000", "scratch": True}, "files": {"script": "echo files"}}))
    assert (made.set, made.changed, made.found["status"]) == (NAME, True, "ok"), told(made.found)
    assert _names(root) == [NAME]
    manifest = _verifies(root / NAME)
    assert (manifest.system, manifest.start) == ("shop", float(int(NOW)))
    db = manifest.artifacts[0]
    assert (db.name, db.file, db.engine, db.compression, db.tool, db.tool_version) == ("db", "db.dump.zst", "shell", "zstd", "sh", "1.0")
    assert (db.counts, db.samples, db.source) == ({"rows.a": 2, "rows.b": 3, "files": 1}, {"a": "ff"}, {"database": "shop"})
    assert subprocess.run(["zstd", "-dc", root / NAME / "db.dump.zst"], capture_output=True, check=True).stdout.endswith(b"\n100000\n")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (root / NAME).iterdir()}
    assert (modes, stat.S_IMODE(root.stat().st_mode), stat.S_IMODE((root / NAME).stat().st_mode)) == ({0o600}, 0o700, 0o700)
    (line,) = backup_ledger.read(str(root)).entries
    assert line["manifest_sha256"] == hashlib.sha256((root / NAME / "manifest.json").read_bytes()).hexdigest()
    assert (line["what"], line["set"], line["size"], line["artifacts"]) == ("made", NAME, manifest.size, 2)
    assert made.found["message"] == "backup.made.ok"
    what = [(one["message"], one["params"]["count"]) for one in made.found["params"]["what"]]
    assert what == [("backup.counted.files", 2), ("backup.counted.rows", 10)]
    assert made.found["value"] == made.size == manifest.size
    assert [one["file"] for one in made.artifacts] == ["db.dump.zst", "files.dump.zst"]


def test_all_of_a_set_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """A power cut leaves what a kill leaves: files, then their folder, then the name, then the folder of that."""
    steps = []
    fsync, rename = os.fsync, os.rename

    def synced(handle):
        steps.append("sync " + os.path.relpath(os.readlink("/proc/self/fd/%d" % handle), tmp_path))
        fsync(handle)

    def renamed(old, new, **handles):
        steps.append("rename " + os.path.basename(new))
        rename(old, new, **handles)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    _one(backup(tmp_path, artifacts={"a": {"script": "echo a"}, "b": {"script": "echo b"}}))
    partial = NAME + ".partial"
    assert sorted(steps[:2]) == ["sync %s/a.dump.zst" % partial, "sync %s/b.dump.zst" % partial]
    assert steps[2:] == [
        "sync %s/manifest.json.partial" % partial,
        "rename manifest.json",
        "sync %s" % partial,
        "rename " + NAME,
        "sync .",
        "sync ledger.jsonl",
        "sync .",
        "rename .ledger.head",
    ]


@pytest.mark.parametrize(
    ("compression", "recipients", "file"),
    [
        ("gzip", (), "db.dump.gz"),
        ("none", (), "db.dump"),
        ("zstd", (RECIPIENT,), "db.dump.zst.age"),
    ],
)
def test_files_are_named_by_what_is_in_them(tmp_path, compression, recipients, file):
    """Engine, compression, encryption, in this order."""
    made = _one(backup(tmp_path, compression=compression, recipients=recipients))
    assert made.found["status"] == "ok", told(made.found)
    assert _verifies(tmp_path / NAME).artifacts[0].file == file
    assert _verifies(tmp_path / NAME).artifacts[0].encryption == ("age" if recipients else None)


@pytest.mark.parametrize("tap", [False, True])
@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"script": "seq 200000; echo gone >&2; exit 1"}, "sh ended with status 1: gone"),
        ({"script": "seq 200000; kill -9 $$"}, "sh was killed by signal 9"),
        ({"script": "exit 3"}, "sh ended with status 3"),
        ({"script": "echo half", "whole": False}, "the dump ends before its end"),
        ({"open": "no server"}, "no server"),
        ({"error": TypeError("a mistake")}, "TypeError: a mistake"),
    ],
    ids=["ends with 1", "is killed", "gives nothing", "is half with status 0", "cannot start", "is mistaken"],
)
def test_a_dump_that_fails_makes_no_set(tmp_path, spec, reason, compression, tap):
    """Whatever stands behind the dump: the artifact is named with the reason, no set is made, the one before stays."""
    assert _one(backup(tmp_path)).set == NAME
    before = (tmp_path / NAME / "manifest.json").read_bytes()
    artifacts = {"good": {"script": "echo good"}, "bad": {**spec, "tap": tap}}
    made = _one(backup(tmp_path, artifacts=artifacts, compression=compression), at=NOW + 60)
    assert (made.set, made.changed, made.found["status"]) == (None, False, "critical")
    assert made.found["message"] == "backup.made.artifact"
    assert made.found["params"] == {"name": "app", "artifact": "bad", "reason": reason}
    assert _names(tmp_path) == [NAME]
    assert (tmp_path / NAME / "manifest.json").read_bytes() == before
    _verifies(tmp_path / NAME)
    assert len(backup_ledger.read(str(tmp_path)).entries) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Told({}, tool_version=""), "tool_version"),
        (Told({"rows": -1}), "counts.rows"),
        (Told({}, source={"path": "\udcff"}), "surrogates not allowed"),
        (Told({"rows.%d" % table: 1 for table in range(10)}, source={"names": "x" * (16 << 20)}), "bytes, and is read to"),
    ],
    ids=["an empty text", "a count below nothing", "a name that is no text", "more than is read"],
)
def test_a_set_whose_manifest_could_not_be_read_is_none(tmp_path, answer, reason):
    """It would be found when it is needed."""
    made = _one(backup(tmp_path, artifacts={"db": {"script": "echo data", "told": answer}}))
    assert (made.set, made.found["status"]) == (None, "critical")
    assert reason in told(made.found)
    assert _names(tmp_path) == []


def test_blocks_that_end_in_an_error_make_no_set(tmp_path):
    """An engine that gives blocks instead of a program's output."""

    def blocks():
        yield b"x" * 100000
        raise OSError(5, "Input/output error")

    for compression in ("zstd", "none"):
        made = _one(backup(tmp_path, artifacts={"bad": {"blocks": blocks()}}, compression=compression))
        assert made.found["status"] == "critical"
        assert "Input/output error" in told(made.found)
    assert _names(tmp_path) == []


def test_one_backup_that_fails_does_not_keep_the_others(tmp_path):
    """They are independent of each other."""
    made = _run(backup(tmp_path / "a", "a"), backup(tmp_path / "b", "b", {"x": {"script": "exit 1"}}), backup(tmp_path / "c", "c")).made
    assert [one.set for one in made] == [NAME, None, NAME]
    assert [one.found["check"] for one in made] == ["backup.a.made", "backup.b.made", "backup.c.made"]


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_when_one_artifact_fails_the_others_are_not_waited_for(tmp_path, compression):
    """Hours of dumping for a set that cannot be made are saved."""
    artifacts = {"long": {"script": "echo x; sleep 300 & wait"}, "bad": {"script": "exit 1"}, "later": {"script": "sleep 300"}}
    made = _one(backup(tmp_path, artifacts=artifacts, compression=compression))
    assert "bad sh ended with status 1" in told(made.found)
    assert made.found["duration_ms"] < 100_000


def test_artifacts_are_made_at_the_same_time(tmp_path):
    """Two that wait for each other come to an end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    artifacts = {"a": {"script": "echo hello >%s" % fifo}, "b": {"script": "cat %s" % fifo}}
    made = _one(backup(tmp_path / "root", artifacts=artifacts, workers=2))
    assert made.found["status"] == "ok"


def test_bandwidth_holds_for_the_whole_set(tmp_path):
    """It is shared by the artifacts that are made at the same time."""
    artifacts = {name: {"blocks": [b"x" * 20000] * 2} for name in "ab"}
    started = time.monotonic()
    made = _one(backup(tmp_path, artifacts=artifacts, compression="none", workers=2, limits=Limits(0, None, 200_000)))
    assert made.found["status"] == "ok"
    assert time.monotonic() - started >= 80000 / 200_000  # at most so fast, however slow this machine is


# -- what killed runs leave -------------------------------------------------------------------------------------------------


def _partial(root, name="20270101T000000Z.partial"):
    folder = root / name
    (folder / ".scratch/db").mkdir(parents=True)
    (folder / "db.dump.zst").write_bytes(b"x" * 5000)
    (folder / ".owner").write_text("")
    return folder


def test_what_a_killed_run_left_is_named_and_removed(tmp_path):
    """And a link in it is removed, not followed."""
    (tmp_path / "precious").write_text("data")
    root = tmp_path / "root"
    root.mkdir()
    (_partial(root) / "link").symlink_to(tmp_path)
    made = _one(backup(root))
    assert (made.set, made.found["evidence"]["backup_tidied"]) == (NAME, ["20270101T000000Z.partial"])
    assert _names(root) == [NAME]
    assert (tmp_path / "precious").read_text() == "data"
    first, second = backup_ledger.read(str(root)).entries
    assert (first["what"], first["set"], second["what"]) == ("tidied", "20270101T000000Z.partial", "made")


def test_what_a_living_process_writes_stays(tmp_path):
    """Its owner holds the lock of a file in it."""
    folder = _partial(tmp_path)
    with open(folder / ".owner", "r+") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        backup_sets.hold(owner.fileno(), "the writing of it")
        made = _one(backup(tmp_path))
        assert made.found["status"] == "ok"
        assert made.found["evidence"]["backup_notes"] == ["20270101T000000Z.partial is being written by another process"]
        assert (folder / "db.dump.zst").exists()
    assert _one(backup(tmp_path), at=NOW + 5).found["evidence"]["backup_tidied"] == ["20270101T000000Z.partial"]


def test_what_is_not_ours_stays(tmp_path):
    """Folders of other names, files and links that are called partial."""
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "20270102T000000Z.partial").write_text("a file")
    (tmp_path / "20270103T000000Z.partial").symlink_to("mine.partial")
    before = _names(tmp_path)
    made = _one(backup(tmp_path))
    assert made.found["status"] == "ok"
    assert _names(tmp_path) == sorted([*before, NAME])


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_partial_whose_owner_is_a_link_is_nobody_s(tmp_path, check_mode):
    """It is not followed, and does not keep the next set from being made."""
    partial = tmp_path / "20260101T000000Z.partial"
    partial.mkdir()
    (partial / ".owner").symlink_to("elsewhere")
    made = _one(backup(tmp_path), check_mode=check_mode)
    assert made.found["status"] == "ok", told(made.found)
    assert made.found["evidence"]["backup_left" if check_mode else "backup_tidied"] == [partial.name]
    assert partial.exists() == check_mode


@pytest.mark.parametrize("way", ["folder", "link"])
def test_a_ledger_that_cannot_be_written_keeps_no_set_from_being_made(tmp_path, way):
    """It is told with each."""
    if way == "folder":
        (tmp_path / "ledger.jsonl").mkdir()
    else:
        (tmp_path / "ledger.jsonl").symlink_to("elsewhere")
    for at in (NOW, NOW + 10):
        made = _one(backup(tmp_path), at=at)
        assert (made.found["status"], made.found["message"]) == ("warning", "backup.made.ledger")
        _verifies(tmp_path / made.set)
        (tmp_path / "20260101T000000Z.partial").mkdir()  # the next one's to tidy


@pytest.mark.parametrize("phase", restore_journal.PHASES)
def test_a_set_made_amid_an_interrupted_restore_is_told(tmp_path, monkeypatch, phase):
    """While data of two times lies side by side."""
    monkeypatch.setattr(backup_make, "_JOURNALS", str(tmp_path / "journals"))
    with restore_journal.held(str(tmp_path / "journals"), "app") as journal:
        journal.write(restore_journal.State("app", "a1", "20260101T000000Z", "/b/app", phase, ()))
    between = phase in ("swapping", "finishing", "starting", "undoing")
    made = _one(backup(tmp_path / "root"))
    assert (made.set, made.found["status"]) == (NAME, "warning" if between else "ok")
    assert made.found["message"] == ("backup.made.restoring" if between else "backup.made.ok")
    assert _one(backup(tmp_path / "root", name="other"), at=NOW + 5).found["status"] == "ok"


def test_two_hosts_in_one_root_are_told(tmp_path, monkeypatch):
    """Each would restore and remove the other's sets; a host that was renamed, or has taken over, is none."""
    made = []
    for at, host in enumerate(["one", "one", "new", "new", "one", "new"]):
        monkeypatch.setattr(backup_make, "_host", lambda host=host: host)
        made.append(_one(backup(tmp_path), at=NOW + at * 10))
    assert [one.found["message"] for one in made] == ["backup.made.ok"] * 4 + ["backup.made.shared"] * 2
    assert [one.found["params"].get("host") for one in made[4:]] == ["new", "one"]
    assert _verifies(tmp_path / made[0].set).host == "one"


def test_a_partial_that_cannot_be_removed_keeps_no_set_from_being_made(tmp_path, monkeypatch):
    """It is told each time."""
    partial = tmp_path / "20260101T000000Z.partial"
    partial.mkdir()
    real = tree.remove_tree

    def remove(folder, name):
        if name == partial.name:
            raise OSError(1, "Operation not permitted")
        return real(folder, name)

    monkeypatch.setattr(tree, "remove_tree", remove)
    made = _one(backup(tmp_path))
    assert made.found["status"] == "ok", told(made.found)
    assert made.found["evidence"]["backup_notes"] == ["%s could not be removed: [Errno 1] Operation not permitted" % partial.name]
    assert _names(tmp_path) == [partial.name, made.set]


def test_a_set_that_was_not_written_down_is(tmp_path):
    """A run killed between the rename and the ledger; what is not whole is not vouched for."""
    for at in (NOW - 200, NOW - 100):
        _one(backup(tmp_path), at=at)
    (tmp_path / "ledger.jsonl").unlink()
    (tmp_path / ".ledger.head").unlink()
    (tmp_path / set_names.set_name(NOW - 100) / "db.dump.zst").unlink()
    _one(backup(tmp_path))
    lines = backup_ledger.read(str(tmp_path)).entries
    assert [(line["set"], line.get("late")) for line in lines] == [(set_names.set_name(NOW - 200), True), (NAME, None)]


def test_a_broken_ledger_is_told(tmp_path):
    """Sets are made all the same, and nothing is vouched for."""
    _one(backup(tmp_path), at=NOW - 100)
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"size": ', '"size": 1'))
    made = _one(backup(tmp_path))
    assert made.set == NAME
    assert made.found["evidence"]["backup_notes"] == ["ledger.jsonl does not hold from line 1 on"]


# -- names and clocks -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4_000_000_000), max_size=5), st.sampled_from(["", ".partial", ".removing"]), st.floats(0, 4_000_000_000))
def test_a_new_name_sorts_after_all_that_are_there(times, ending, now):
    """Whatever the clock says; and it is the clock's where that is possible."""
    names = [set_names.set_name(at) + ending for at in times]
    name, late = backup_make.next_name([*names, "lost+found", "2999"], now)
    assert all(name > other for other in names)
    at = max([int(now), *(other + 1 for other in times)])
    assert set_names.name_time(name) == at
    assert late == max(0.0, at - now)


def test_after_a_name_that_nothing_follows_is_refused(tmp_path):
    """The end of the calendar is told, not written as something that is no set."""
    (tmp_path / "99991231T235959Z").mkdir()
    made = _one(backup(tmp_path))
    assert (made.set, made.found["status"]) == (None, "critical")


def test_a_clock_set_back_writes_over_nothing_and_is_told(tmp_path):
    """The new set is the last by its name; its manifest has the time of the clock."""
    _one(backup(tmp_path))
    before = (tmp_path / NAME / "manifest.json").read_bytes()
    made = _one(backup(tmp_path, artifacts={"db": {"script": "echo later"}}), at=NOW - 7200)
    assert (made.set, made.found["status"]) == ("20270115T080001Z", "warning")
    assert made.found["message"] == "backup.made.clock"
    assert made.found["params"]["ahead"] == pytest.approx(7201, abs=1)
    assert (tmp_path / NAME / "manifest.json").read_bytes() == before
    assert _verifies(tmp_path / made.set).start == int(NOW - 7200)
    assert [one.name for one in backup_sets.listed(str(tmp_path))] == [made.set, NAME]


def test_two_runs_within_a_second_make_two_sets(tmp_path):
    """That is no clock set back."""
    names = [_one(backup(tmp_path)).set for _run in range(3)]
    assert names == [NAME, "20270115T080001Z", "20270115T080002Z"]
    assert _one(backup(tmp_path)).found["status"] == "ok"


# -- who else works there, space, roots -------------------------------------------------------------------------------------


def test_a_second_run_says_who_runs(tmp_path):
    """And changes nothing."""
    with backup_sets.locked(str(tmp_path), "the pruning of app"):
        made = _one(backup(tmp_path))
    assert (made.set, made.changed, made.found["status"]) == (None, False, "warning")
    assert "in use by the pruning of app, process %d" % os.getpid() in told(made.found)
    assert _names(tmp_path) == []


def test_sets_are_made_while_others_are_sent_elsewhere(tmp_path):
    """That may take longer than a day."""
    with backup_sets.locked(str(tmp_path), "the copying of app", lock=backup_sets.COPYING):
        assert _one(backup(tmp_path)).set == NAME


def test_too_little_space_is_told_before_anything_is_written(tmp_path, monkeypatch):
    """Less than the newest whole set and a little more."""
    made = _one(backup(tmp_path), at=NOW - 100)

    class Space:
        f_frsize, f_bavail = 1, made.size

    monkeypatch.setattr(backup_make.os, "fstatvfs", lambda _folder: Space)
    made = _one(backup(tmp_path))
    assert (made.set, made.found["status"], made.found["message"]) == (None, "critical", "backup.made.space")
    assert len(_names(tmp_path)) == 1


def test_a_root_behind_a_link_is_refused(tmp_path):
    """Nothing is written where it leads."""
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    made = _one(backup(tmp_path / "root"))
    assert (made.set, made.found["status"]) == (None, "critical")
    assert os.listdir(tmp_path / "real") == []
    made = _one(backup(tmp_path / "root/shop/app"))
    assert (made.set, made.found["status"]) == (None, "critical")
    assert os.listdir(tmp_path / "real") == []


def test_a_root_that_cannot_be_created_is_told(tmp_path):
    """Here a file is in the way."""
    (tmp_path / "file").write_text("")
    made = _one(backup(tmp_path / "file/root"))
    assert (made.set, made.found["status"], made.found["message"]) == (None, "critical", "backup.made.root")


def test_a_file_larger_than_allowed_leaves_nothing(tmp_path):
    """A disk that is full while the dump is written; the next run makes the set."""
    import resource

    _one(backup(tmp_path), at=NOW - 100)
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
            made = _one(backup(tmp_path, artifacts={"db": {"script": "head -c 400000 /dev/urandom"}}))
            assert made.found["status"] == "critical"
            assert "File too large" in told(made.found)
            status = 0
        finally:
            os._exit(status)
    assert exit_status(child) == 0
    assert _names(tmp_path) == [set_names.set_name(NOW - 100)]
    assert _one(backup(tmp_path)).set == NAME


# -- signals ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_run_without_a_partial(tmp_path, number):
    """What is being made is removed, what comes after is not begun, and the signal is told."""
    outside = signal.signal(number, signal.default_int_handler)  # whoever runs the tests may have it ignored
    before = signal.getsignal(number)
    first = backup(tmp_path / "a", "a", {"db": {"script": "echo x; sleep 300"}, "other": {"script": "sleep 300"}})

    def send():
        while not list((tmp_path / "a").glob("*.partial/other.dump.zst")):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        results = _run(first, backup(tmp_path / "b", "b"))
        sender.join()
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, outside)
    assert results.signal == number.name
    assert [(one.set, one.found["status"], one.found["message"]) for one in results.made] == [(None, "critical", "backup.made.stopped")] * 2
    assert _names(tmp_path / "a") == []
    assert not (tmp_path / "b").exists()


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    """A run under nohup goes on when its terminal goes away."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        made = _one(backup(tmp_path, artifacts={"db": {"script": "kill -HUP %d; echo data" % os.getpid()}}))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert made.set == NAME


def test_a_stream_that_was_stopped_before_it_began_ends_at_once(tmp_path):
    """A signal may come between two streams."""
    stop = backup_stream.Stop()
    stop.now()
    for source in ([b"x"], backup_stream.command("sleep", "300")):
        for compression in ("none", "zstd"):
            path = tmp_path / "file"
            with pytest.raises(backup_stream.StreamError):
                backup_stream.write(source, str(path), compression, stop=stop)
            path.unlink(missing_ok=True)


# -- check mode -----------------------------------------------------------------------------------------------------------------


def test_check_mode_tells_and_changes_nothing(tmp_path):
    """Also where a killed run has left something, and where there is no root yet."""
    root = tmp_path / "root"
    made = _one(backup(root), check_mode=True)
    assert (made.set, made.changed, made.found["status"]) == (NAME, True, "ok")
    assert not root.exists()
    _one(backup(root), at=NOW - 100)
    _partial(root)
    before = sorted(os.listdir(root))
    made = _one(backup(root), check_mode=True)
    assert (made.changed, made.found["evidence"]["backup_left"]) == (True, ["20270101T000000Z.partial"])
    assert [one["file"] for one in made.artifacts] == ["db.dump.zst"]
    assert sorted(os.listdir(root)) == before


@pytest.mark.parametrize("spec", [{"paths": ["/no/such/file"]}, {"socket": "/no/such.sock"}, {"host": "127.0.0.1", "port": 1}])
def test_check_mode_tells_what_cannot_be_reached(tmp_path, spec):
    """Files that are not there, servers that do not answer."""
    made = _one(backup(tmp_path, artifacts={"db": spec}), check_mode=True)
    assert (made.set, made.changed, made.found["status"], made.found["message"]) == (None, False, "critical", "backup.made.unreachable")


# -- options --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"system": " "}, "system: is empty"),
        ({"only": ["ap"]}, "did you mean app"),
        ({"only": ["other"]}, "another tool makes it"),
    ],
)
def test_bad_options_are_refused(options, error):
    """With the option and what would be right."""
    backups = [
        {"name": "app", "root": "/b/app", "artifacts": [{"name": "db", "engine": "redis"}]},
        {"name": "other", "root": "/b/other"},
    ]
    with pytest.raises(OptionError, match=error):
        backup_make.parse({"backups": backups, "system": "shop", **options})


def test_backups_of_other_tools_are_left_alone(monkeypatch):
    """Only those with artifacts are made."""
    both = [backup("/b/app"), backup_options.parse([{"name": "other", "root": "/b/other"}])[0]]
    assert [one.name for one in backup_make.chosen(both, [])] == ["app"]
    assert [one.name for one in backup_make.chosen(both, ["app"])] == ["app"]
    assert [one.name for one in backup_make.chosen(both, "app")] == ["app"]  # as the module's argument is read


def test_the_manifest_is_json_for_other_tools(tmp_path):
    """With the digest of all the rest."""
    _one(backup(tmp_path))
    read = json.loads((tmp_path / NAME / "manifest.json").read_text())
    assert (read["schema"], read["system"], read["start"], len(read["digest"])) == (1, "shop", "2027-01-15T08:00:00Z", 64)
