# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies against real far ends: what goes over, what the far end proves, what comes back, what happens when it is cut."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from far_ends import STARTED, make_set
from programs import needs

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import prune as backup_copy_prune
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import restic as copy_restic
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import rsync as copy_rsync
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import run as backup_copy
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import s3 as copy_s3
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import stores as copy_stores
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy.store import CopyError
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.options_with_engines import Backup
from ansible_collections.opsrunner.runbook.plugins.modules.backup_copy import s3_client

KINDS = ("rsync", "s3", "restic")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(copy_stores, "RESTIC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The options of a copy of each kind, at a far end of its own."""

    def made(kind: str, name: str = "far") -> dict[str, Any]:
        place = tmp_path / f"far end {name}"
        if kind == "rsync":
            return {"name": name, **request.getfixturevalue("ssh_server"), "path": str(place)}
        if kind == "s3":
            options = request.getfixturevalue("s3_server")
            bucket = f"sets-{tmp_path.name.replace('_', '-').lower()[:40]}-{name}"
            s3_client(options).create_bucket(Bucket=bucket)
            return {"name": name, **options, "bucket": bucket, "prefix": "/deep/er"}
        needs("restic")
        return {"name": name, "kind": "restic", "repository": str(place), "password": "password-of-the-test"}

    return made


store = copy_stores.store_of(s3_client, "boto3 is missing")


def sent(backup: Backup, **more: Any) -> tuple[backup_copy.Report, list[str]]:
    report = backup_copy.send([backup], store, **more)
    return report, [found["status"] for found in report.findings]


def names(root: Path) -> list[str]:
    return sorted((path.name for path in root.iterdir() if path.is_dir() and not path.name.endswith(".partial")), reverse=True)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != backup_copy.COPIES}


@pytest.mark.parametrize("kind", KINDS)
def test_every_whole_set_goes_over_once_and_comes_back_as_it_was(kind, far, root, backup_with):
    backup = backup_with(far(kind))
    would, status = sent(backup, check_mode=True)
    assert (would.changed, status, len(would.copies)) == (True, ["ok"], 2)
    assert not any((root / name / backup_copy.COPIES).exists() for name in names(root))

    report, status = sent(backup)
    assert status == ["ok"], report.findings
    assert [item["set"] for item in report.copies] == names(root)
    assert not sent(backup)[0].changed
    assert [entry["what"] for entry in backup_ledger.read(str(root)).entries] == ["copied"] * 2
    (copy,) = backup.plan.copies
    assert store(backup, copy).present() == names(root)

    before = {name: content(root / name) for name in names(root)}
    shutil.rmtree(root)
    for wanted in [*list(before)[1:], "newest"]:
        report = backup_copy.fetch(backup, copy, wanted, store)
        assert [found["status"] for found in report.findings] == ["ok"], report.findings
    assert {name: content(root / name) for name in names(root)} == before
    assert not sent(backup)[0].changed


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_that_was_sent_but_not_written_down_is_proved_and_not_sent_again(kind, far, root, backup_with):
    backup = backup_with(far(kind))
    sent(backup)
    for name in names(root):
        (root / name / backup_copy.COPIES).unlink()
    report, status = sent(backup)
    assert status == ["ok"]
    assert [item["sent"] for item in report.copies] == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_damaged_at_the_far_end_is_found_and_mended(kind, far, root, backup_with, tmp_path):
    options = far(kind)
    backup = backup_with(options)
    sent(backup)
    newest = names(root)[0]
    (root / newest / backup_copy.COPIES).unlink()
    if kind == "rsync":
        damaged = Path(options["path"]) / newest / "part 0's.bin"
        damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    elif kind == "s3":
        s3_client(options).put_object(Bucket=options["bucket"], Key=f"deep/er/{newest}/part 0's.bin", Body=b"x" * 300_000)
    else:
        for pack in [path for path in (Path(options["repository"]) / "data").rglob("*") if path.is_file()]:
            data = bytearray(pack.read_bytes())
            data[len(data) // 3] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(data)
    report, status = sent(backup)
    if kind == "restic":  # a pack that is broken is for restic's own repair: it must be told, never called a copy
        assert status == ["critical"]
        assert not (root / newest / backup_copy.COPIES).exists()
    else:
        assert status == ["ok"], report.findings
        assert report.copies[0]["sent"] > 0
        (copy,) = backup.plan.copies
        shutil.rmtree(root / newest)
        assert backup_copy.fetch(backup, copy, newest, store).findings[0]["status"] == "ok"


@pytest.mark.parametrize("kind", ["rsync", "s3"])
def test_what_comes_back_damaged_gets_no_name(kind, far, root, backup_with, monkeypatch):
    options = far(kind)
    backup = backup_with(options)
    sent(backup)
    (copy,) = backup.plan.copies
    newest = names(root)[0]
    shutil.rmtree(root / newest)
    real = type(store(backup, copy)).fetch

    def spoilt(self: Any, name: str, files: list[str], folder: str) -> None:
        real(self, name, files, folder)
        path = Path(folder) / "part 2's.bin"
        path.write_bytes(b"y" + path.read_bytes()[1:])

    monkeypatch.setattr(type(store(backup, copy)), "fetch", spoilt)
    report = backup_copy.fetch(backup, copy, newest, store)
    assert report.findings[0]["status"] == "critical"
    assert "sha256" in str(report.findings[0]["params"])
    assert newest not in names(root)
    assert not (root / (newest + ".partial")).exists()


def test_one_copy_that_fails_stops_no_other(far, root, backup_with):
    gone = {"name": "gone", "kind": "rsync", "host": "127.0.0.1", "port": 9, "path": "/nowhere"}
    backup = backup_with(gone, far("rsync"))
    report, status = sent(backup)
    assert status == ["critical", "ok"]
    assert len(report.copies) == 2
    assert "refused" in str(report.findings[0]["params"])


def test_a_set_that_is_not_whole_is_not_copied(far, root, backup_with):
    newest = names(root)[0]
    (root / newest / "part 0's.bin").write_bytes(b"short")
    report, status = sent(backup_with(far("rsync")))
    assert status == ["warning"]
    assert [item["set"] for item in report.copies] == names(root)[1:]


def test_a_set_whose_content_changed_here_is_found_by_the_far_end(far, root, backup_with):
    newest = names(root)[0]
    path = root / newest / "part 0's.bin"
    path.write_bytes(b"z" * path.stat().st_size)
    for kind in KINDS:
        backup = backup_with(far(kind, kind))
        assert sent(backup)[1] == ["critical"], kind
        assert newest not in store(backup, backup.plan.copies[0]).present() or kind != "rsync"
        assert not (root / newest / backup_copy.COPIES).exists()


def test_an_unknown_host_key_is_refused(far, root, backup_with, tmp_path):
    (tmp_path / "empty").touch()
    report, status = sent(backup_with({**far("rsync"), "known_hosts_file": str(tmp_path / "empty")}))
    assert status == ["critical"]
    assert "verification failed" in str(report.findings[0]["params"])


def test_a_wrong_restic_password_is_told_without_making_a_new_repository(far, root, backup_with):
    options = far("restic")
    sent(backup_with(options))
    (root / names(root)[0] / backup_copy.COPIES).unlink()
    report, status = sent(backup_with({**options, "password": "another-password"}))
    assert status == ["critical"]
    assert "another-password" not in json.dumps(report.findings)
    assert sent(backup_with(options))[1] == ["ok"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_on_a_command_line(kind, far, root, backup_with, monkeypatch):
    seen: list[str] = []
    real = subprocess.Popen.__init__

    def told(self: Any, args: Any, *rest: Any, **more: Any) -> None:
        seen.append(" ".join(map(str, args)))
        real(self, args, *rest, **more)

    monkeypatch.setattr(subprocess.Popen, "__init__", told)
    assert sent(backup_with(far(kind)))[1] == ["ok"]
    assert not any("of-the-test" in words for words in seen)
    assert seen or kind == "s3"


def test_an_upload_that_was_cut_goes_on_with_the_parts_that_are_there(far, root, backup_with, monkeypatch):
    for name in names(root):
        shutil.rmtree(root / name)
    make_set(root, STARTED, (23 * 1024 * 1024,))
    options = far("s3")
    backup = backup_with(options)
    monkeypatch.setattr(copy_s3, "PART", 5 * 1024 * 1024)
    parts: list[int] = []

    class CutError(Exception):
        """The network is gone."""

    def client(given: Any) -> Any:
        made = s3_client(given)
        real = made.upload_part

        def upload_part(**words: Any) -> Any:
            if len(parts) == 3:
                raise CutError("cut")
            parts.append(words["PartNumber"])
            return real(**words)

        made.upload_part = upload_part
        return made

    def cut(backup: Backup, copy: Any) -> Any:
        return copy_s3.S3Store(client(copy.options), copy.options, None, 5 * 1024 * 1024)

    report = backup_copy.send([backup], cut)
    assert report.findings[0]["status"] == "critical"
    assert parts == [1, 2, 3]
    assert not (root / names(root)[0] / backup_copy.COPIES).exists()
    assert cut(backup, backup.plan.copies[0]).present() == []
    parts.clear()
    report = backup_copy.send([backup], cut)
    assert report.findings[0]["status"] == "ok", report.findings
    assert parts == [4, 5]
    assert report.copies[0]["sent"] < 10 * 1024 * 1024


SENDING = """
import json, sys
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import run as backup_copy
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import stores as copy_stores
backups = backup_options.parse(json.loads(sys.argv[1]))
backup_copy.send(backups, copy_stores.store_of(None, ""))
"""


def test_a_kill_in_the_middle_of_rsync_leaves_no_whole_looking_set_and_goes_on(far, root, backup_with):
    for name in names(root):
        shutil.rmtree(root / name)
    make_set(root, STARTED, (30 * 1024 * 1024,))
    options = {**far("rsync"), "bandwidth": "8M"}
    backup = backup_with(options)
    given = json.dumps([{"name": "shop", "root": str(root), "io_class": "none", "copies": [options]}])
    process = subprocess.Popen([sys.executable, "-c", SENDING, given], start_new_session=True)
    partial = Path(options["path"]) / (names(root)[0] + ".partial")
    for _try in range(3000):
        if partial.is_dir() and sum(path.stat().st_size for path in partial.iterdir()) > 6_000_000:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (copy,) = backup.plan.copies
    assert store(backup, copy).present() == []
    time.sleep(0.5)  # the far end's rsync sees its pipe closed
    report, status = sent(backup_with({**options, "bandwidth": None}))
    assert status == ["ok"], report.findings
    assert 0 < report.copies[0]["sent"] < 28 * 1024 * 1024
    assert store(backup, copy).present() == names(root)


def test_an_archived_object_is_asked_for_and_told(far, root, backup_with):
    options = {**far("s3"), "storage_class": "GLACIER"}
    backup = backup_with(options)
    assert sent(backup)[1] == ["ok"]
    newest = names(root)[0]
    shutil.rmtree(root / newest)
    report = backup_copy.fetch(backup, backup.plan.copies[0], newest, store)
    assert report.findings[0]["status"] == "critical"
    assert "asked for" in str(report.findings[0]["params"])
    assert backup_copy.fetch(backup, backup.plan.copies[0], newest, store).findings[0]["status"] == "ok"  # the double thaws at once


def test_a_service_that_tells_another_sum_is_not_believed(far, root, backup_with):
    options = far("s3")
    backup = backup_with(options)

    def lying(backup: Backup, copy: Any) -> Any:
        client = s3_client(copy.options)
        real = client.head_object

        def head_object(**words: Any) -> Any:
            return {**real(**words), "ChecksumSHA256": "another"}

        client.head_object = head_object
        return copy_s3.S3Store(client, copy.options, None)

    report = backup_copy.send([backup], lying)
    assert report.findings[0]["status"] == "critical"
    with pytest.raises(CopyError, match="not at the far end what was sent"):
        lying(backup, backup.plan.copies[0]).send(names(root)[0], backup_copy._items(next(iter(_sets(root)))))


@pytest.mark.parametrize("kind", KINDS)
def test_another_set_of_the_same_name_at_the_far_end_is_left_alone(kind, far, root, backup_with):
    """Two hosts whose jobs begin in the same second, told of one place by mistake."""
    backup = backup_with(far(kind))
    sent(backup)
    (copy,) = backup.plan.copies
    newest = names(root)[0]
    before = store(backup, copy).manifest(newest)
    shutil.rmtree(root / newest)
    theirs = root / newest
    theirs.mkdir()
    older = root / names(root)[1]
    for path in older.iterdir():
        if path.name != backup_copy.COPIES:
            (theirs / path.name).write_bytes(path.read_bytes())
    report, status = sent(backup)
    assert status == ["critical"]
    assert "left alone" in str(report.findings[0]["params"])
    assert store(backup, copy).manifest(newest) == before
    report = backup_copy.fetch(backup, copy, newest, store)
    assert report.findings[0]["status"] == "critical"
    assert "another manifest" in str(report.findings[0]["params"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_far_end_has_lost_is_sent_again_and_told(kind, far, root, backup_with):
    options = far(kind)
    backup = backup_with(options)
    sent(backup)
    if kind == "s3":
        client = s3_client(options)
        for item in client.list_objects_v2(Bucket=options["bucket"])["Contents"]:
            client.delete_object(Bucket=options["bucket"], Key=item["Key"])
    else:
        shutil.rmtree(options.get("path") or options["repository"])
    report, status = sent(backup)
    assert status == ["warning"]
    assert report.findings[0]["evidence"]["copy_lost"] == names(root)
    assert store(backup, backup.plan.copies[0]).present() == names(root)
    assert sent(backup)[1] == ["ok"]


def test_a_host_that_says_nothing_holds_no_other_copy_up(far, root, backup_with, monkeypatch):
    monkeypatch.setattr(copy_rsync, "CONNECT", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hangs = {"name": "hangs", "kind": "rsync", "host": "127.0.0.1", "port": silent.getsockname()[1], "path": "/nowhere"}
        report, status = sent(backup_with(hangs, far("rsync")))
    assert status == ["critical", "ok"]
    assert len(report.copies) == 2


def test_a_program_that_never_answers_is_ended(far, root, backup_with, monkeypatch, tmp_path):
    monkeypatch.setattr(copy_restic, "SHORT", 1.0)
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text("#!/bin/sh\nexec sleep 600\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    needs("restic")
    hangs = {"name": "hangs", "kind": "restic", "repository": "sftp:backup@vault:/sets", "password": "password-of-the-test"}
    report, status = sent(backup_with(hangs))
    assert status == ["critical"]
    assert "no answer" in str(report.findings[0]["params"])


def test_one_set_that_is_wrong_here_does_not_keep_the_others_here(far, root, backup_with):
    newest = names(root)[0]
    path = root / newest / "part 0's.bin"
    path.write_bytes(b"z" * path.stat().st_size)
    report, status = sent(backup_with(far("rsync")))
    assert status == ["critical"]
    assert [item["set"] for item in report.copies] == names(root)[1:]


def test_a_damaged_set_here_is_not_taken_for_the_one_that_is_fetched(far, root, backup_with):
    backup = backup_with(far("rsync"))
    sent(backup)
    newest = names(root)[0]
    (root / newest / "part 0's.bin").unlink()
    report = backup_copy.fetch(backup, backup.plan.copies[0], newest, store)
    assert report.findings[0]["status"] == "critical"
    assert "no whole set" in str(report.findings[0]["params"])


def test_only_what_the_manifest_names_is_fetched(far, root, backup_with):
    options = far("rsync")
    backup = backup_with(options)
    sent(backup)
    newest = names(root)[0]
    for name in ("verified.json", ".hidden", "more"):
        (Path(options["path"]) / newest / name).write_text("{}")
    shutil.rmtree(root / newest)
    report = backup_copy.fetch(backup, backup.plan.copies[0], newest, store)
    assert report.findings[0]["status"] == "ok", report.findings
    assert sorted(path.name for path in (root / newest).iterdir()) == [
        "copies.json",
        "manifest.json",
        "part 0's.bin",
        "part 1's.bin",
        "part 2's.bin",
    ]


def test_a_fetch_onto_what_is_no_folder_is_told(far, root, backup_with, tmp_path):
    options = far("restic")
    sent(backup_with(options))
    (tmp_path / "file").touch()
    backup = backup_with(options)._replace(root=str(tmp_path / "file" / "root"))
    report = backup_copy.fetch(backup, backup.plan.copies[0], "newest", store)
    assert report.findings[0]["status"] == "critical"
    assert "Not a directory" in str(report.findings[0]["params"])


def test_check_mode_leaves_no_trace(far, root, backup_with):
    before = sorted(path.name for path in root.iterdir())
    for kind in KINDS:
        options = far(kind, kind)
        assert sent(backup_with(options), check_mode=True)[1] == ["ok"]
        assert not os.path.exists(options.get("path") or options.get("repository") or "/none")
    assert sorted(path.name for path in root.iterdir()) == before


PRUNED = {"made": 4, "keep": {"last": 1}}


@pytest.fixture
def long_kept(far, root, backup_with):
    """Four sets at a copy that is to keep the last one; the third newest is the newest proved one. The oldest is gone here."""

    def made(kind: str) -> tuple[Backup, list[str], dict[str, Any]]:
        for number in range(2, PRUNED["made"]):
            make_set(root, STARTED + number * 86400)
        newest = names(root)
        for name in reversed(newest):
            digest = backup_sets.sha256((root / name / "manifest.json").read_bytes())
            backup_ledger.append(str(root), "made", name, 1.0, manifest_sha256=digest)
        backup_ledger.append(str(root), "verified", newest[2], 2.0, passed=True, rung=3)
        options = {**far(kind), "keep": PRUNED["keep"]}
        backup = backup_with(options)
        assert sent(backup)[1] == ["ok"]
        shutil.rmtree(root / newest[3])
        return backup, newest, options

    return made


def pruned(backup: Backup, **more: Any) -> Any:
    (told,) = backup_copy_prune.run([backup], store, **{"confirmed": True, **more})
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_old_sets_go_at_a_copy_that_says_what_it_keeps(kind, long_kept, root):
    backup, newest, options = long_kept(kind)
    (copy,) = backup.plan.copies
    for more in ({"confirmed": False}, {"check_mode": True}):
        told = pruned(backup, **more)
        assert [(one.name, one.action, one.reasons) for one in told.sets] == [
            (newest[0], "keep", ("last", "newest_whole")),
            (newest[1], "remove", ("expired",)),
            (newest[2], "keep", ("newest_proved",)),
            (newest[3], "remove", ("expired",)),
        ]
        assert not any(one.done for one in told.sets)
        assert told.won > 600_000
        assert store(backup, copy).present() == newest

    told = pruned(backup)
    assert told.changed
    assert told.found["status"] == "ok", told.found
    assert store(backup, copy).present() == [newest[0], newest[2]]
    assert store(backup, copy).leftovers() == []
    assert [entry["set"] for entry in backup_ledger.read(str(root)).entries if entry["what"] == "unkept"] == [newest[3], newest[1]]
    again = pruned(backup)
    assert not again.changed
    assert again.found["status"] == "ok"
    # What its keep has removed is not missed, and not sent again; what stays is whole.
    report, status = sent(backup)
    assert (status, report.changed) == (["ok"], False)
    shutil.rmtree(root / newest[2])
    assert backup_copy.fetch(backup, copy, newest[2], store).findings[0]["status"] == "ok"
    if kind == "restic":
        subprocess.run(
            ["restic", "check", "--read-data"],
            env={**os.environ, "RESTIC_REPOSITORY": options["repository"], "RESTIC_PASSWORD": options["password"]},
            check=True,
            capture_output=True,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_is_not_known_as_ours_goes_at_a_copy(kind, long_kept, root, tmp_path):
    backup, newest, options = long_kept(kind)
    (copy,) = backup.plan.copies
    other = tmp_path / "other"  # another host's, told of the same place
    theirs = make_set(other, STARTED - 86400 * 365).name
    assert backup_copy.send([backup._replace(root=str(other))], store).findings[0]["status"] == "ok"
    if kind == "rsync":
        place = Path(options["path"])
        (place / "lost+found").mkdir()
        (place / "20250101T000000Z.partial").mkdir()
        (place / "20250102T000000Z").symlink_to(place / newest[3])
    told = pruned(backup)
    assert told.found["status"] == "ok", told.found
    assert [(one.name, one.action, one.reasons) for one in told.sets][-1] == (theirs, "keep", ("foreign",))
    assert store(backup, copy).present() == [newest[0], newest[2], theirs]
    if kind == "rsync":
        left = ["20250101T000000Z.partial", "20250102T000000Z", "lost+found"]
        assert sorted(path.name for path in place.iterdir()) == sorted([newest[0], newest[2], theirs, *left])


def test_nothing_goes_at_a_copy_when_the_ledger_does_not_hold_or_proves_nothing(long_kept, root):
    backup, newest, _options = long_kept("rsync")
    (copy,) = backup.plan.copies
    ledger = root / backup_ledger.LEDGER
    whole = ledger.read_text()
    ledger.write_text("".join(line + "\n" for line in whole.splitlines() if '"verified"' not in line))
    told = pruned(backup)
    assert (told.found["status"], told.changed) == ("unknown", False)
    ledger.unlink()
    (root / backup_ledger.HEAD).unlink()
    for name in newest[:3]:
        digest = backup_sets.sha256((root / name / "manifest.json").read_bytes())
        backup_ledger.append(str(root), "made", name, 1.0, manifest_sha256=digest)
    told = pruned(backup)
    assert (told.found["status"], told.changed) == ("warning", False)
    assert store(backup, copy).present() == newest


@pytest.mark.parametrize("kind", ["rsync", "s3"])
def test_what_was_half_removed_or_half_sent_is_finished(kind, long_kept, root, monkeypatch):
    backup, newest, options = long_kept(kind)
    (copy,) = backup.plan.copies
    with monkeypatch.context() as patched:
        patched.setattr(type(store(backup, copy)), "discard", lambda self, name: None)  # as if killed between
        pruned(backup)
    gone = [newest[1], newest[3]]
    if kind == "s3":
        upload = {"Bucket": options["bucket"], "Key": f"deep/er/{newest[3]}/part 9.bin"}
        s3_client(options).create_multipart_upload(**upload)
    assert store(backup, copy).leftovers() == sorted(gone)
    told = pruned(backup)
    assert [(one.name, one.action, one.done) for one in told.sets[2:]] == [(name, "finish", True) for name in gone]
    assert store(backup, copy).leftovers() == []
    assert store(backup, copy).present() == [newest[0], newest[2]]


def _sets(root: Path) -> Iterator[Any]:
    yield from backup_sets.listed(str(root))
