# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups judged: each fault gives exactly its finding."""

from __future__ import annotations

import gzip
import json
import os
import sys
import time

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.status import run as backup_status
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import space as host_space

NOW = 1_770_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR


def write_set(root, at, size=1000, name=None, rungs=(), end=None):
    folder = root / (name or time.strftime(set_names.NAME_FORMAT, time.gmtime(at)))
    folder.mkdir(parents=True)
    (folder / "app.db").write_bytes(b"x" * size)
    artifact = Artifact("sqlite", "app.db", size, "0" * 64, "sqlite3", at, at, counts={"rows": 1})
    manifest = backup_manifest.Manifest("app", at, end or at + 60, (artifact,))
    (folder / "manifest.json").write_text(backup_manifest.to_json(manifest))
    if rungs:
        told = [{"rung": rung, "at": times.format_time(when)} for rung, when in rungs]
        (folder / "verified.json").write_text(json.dumps({"schema": 1, "rungs": told}))
    os.utime(folder, (at + 60, at + 60))
    return folder


def write_file(root, name, data, at):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
    os.utime(root / name, (at, at))


@pytest.fixture
def sets(tmp_path):
    """Five daily sets, the newest ten hours old."""
    root = tmp_path / "sets"
    return root, [write_set(root, NOW - 10 * HOUR - day * DAY) for day in range(5)]


def look(root, **options):
    backups = backup_options.parse([{"name": "app", "root": str(root), **options}])
    found, data = backup_status.look(backups, 2, now=lambda: NOW)
    assert len({item["check"] for item in found}) == len(found)
    return {item["check"][len("backup.app.") :]: item for item in found}, data["app"]


def sick(found):
    return {what: (item["status"], item["message"]) for what, item in found.items() if item["status"] != "ok"}


def test_good_sets_are_ok_and_told(sets):
    found, data = look(sets[0])
    assert sick(found) == {}
    assert sorted(found) == ["age", "complete", "size", "space", "verified"]
    assert found["age"]["value"] == 10 * HOUR - 60
    assert found["age"]["evidence"]["backup_date_from"] == "manifest"
    assert found["size"]["value"] == 0
    assert (data["count"], data["newest"]["whole"], data["newest"]["size"]) == (5, True, 1000)


def set_manifest(folder, **changes):
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**told, **changes}))


@pytest.mark.parametrize(
    ("damage", "options", "expected"),
    [
        pytest.param(
            lambda root, new: None, {"max_age": {"warning": "9h"}}, {"age": ("warning", "backup.age")}, id="older than its warning"
        ),
        pytest.param(
            lambda root, new: None, {"max_age": {"critical": "9h"}}, {"age": ("critical", "backup.age")}, id="older than its critical age"
        ),
        pytest.param(
            lambda root, new: (new / "manifest.json").unlink(), {}, {"complete": ("critical", "backup.broken")}, id="without a manifest"
        ),
        pytest.param(
            lambda root, new: (new / "manifest.json").write_text("{"),
            {},
            {"complete": ("critical", "backup.broken")},
            id="a manifest cut off",
        ),
        pytest.param(
            lambda root, new: set_manifest(new, schema=2),
            {},
            {"complete": ("unknown", "backup.unsure")},
            id="a manifest of a newer version",
        ),
        pytest.param(
            lambda root, new: (new / "app.db").unlink(), {}, {"complete": ("critical", "backup.broken")}, id="an artifact missing"
        ),
        pytest.param(
            lambda root, new: (new / "app.db").write_bytes(b"x"), {}, {"complete": ("critical", "backup.broken")}, id="an artifact cut off"
        ),
        pytest.param(
            lambda root, new: [(new / "app.db").unlink(), (new / "app.db").symlink_to("/etc/passwd")],
            {},
            {"complete": ("critical", "backup.broken")},
            id="an artifact that is a link out",
        ),
        pytest.param(
            lambda root, new: write_set(root, NOW - HOUR, size=100),
            {},
            {"size": ("warning", "backup.size")},
            id="a tenth of the usual size",
        ),
        pytest.param(
            lambda root, new: write_set(root, NOW - HOUR, size=9000),
            {},
            {"size": ("warning", "backup.size")},
            id="nine times the usual size",
        ),
        pytest.param(lambda root, new: None, {"min_size": "2K"}, {"min_size": ("critical", "backup.min_size")}, id="below its least size"),
        pytest.param(lambda root, new: None, {"min_count": 6}, {"count": ("warning", "backup.count")}, id="too few"),
        pytest.param(
            lambda root, new: write_set(root, NOW - 9 * HOUR, name="20260201T000000Z.partial"),
            {},
            {"complete": ("warning", "backup.leftover")},
            id="a partial set left behind",
        ),
        pytest.param(lambda root, new: write_set(root, NOW - HOUR, name="x-20260201.partial"), {}, {}, id="a set that is being written"),
        pytest.param(lambda root, new: (root / "latest").symlink_to(new), {}, {}, id="a link to the newest"),
        pytest.param(lambda root, new: (root / "lost+found").mkdir(), {}, {}, id="a folder of the file system"),
        pytest.param(
            lambda root, new: write_set(root, NOW + 3 * DAY), {}, {"age": ("unknown", "backup.future")}, id="a set from the future"
        ),
        pytest.param(
            lambda root, new: None, {"max_unverified_age": "8d"}, {"verified": ("warning", "backup.verified.none")}, id="never verified"
        ),
        pytest.param(
            lambda root, new: (new / "verified.json").write_text("{"),
            {},
            {"verified": ("unknown", "backup.verified.unsure")},
            id="a broken record",
        ),
    ],
)
def test_each_fault_gives_exactly_its_finding(sets, damage, options, expected):
    root, folders = sets
    damage(root, folders[0])
    assert sick(look(root, **options)[0]) == expected


def test_a_broken_set_names_the_last_whole_one(sets):
    root, folders = sets
    (folders[0] / "app.db").unlink()
    (folders[1] / "manifest.json").unlink()
    evidence = look(root)[0]["complete"]["evidence"]
    assert evidence["backup_last_whole"].endswith(str(folders[2]))


@pytest.mark.parametrize(
    ("rungs", "rung", "status"),
    [
        pytest.param([(3, NOW - DAY)], 3, "ok", id="proved yesterday"),
        pytest.param([(5, NOW - DAY)], 3, "ok", id="proved higher"),
        pytest.param([(3, NOW - 9 * DAY)], 3, "warning", id="proved long ago"),
        pytest.param([(2, NOW - DAY)], 3, "warning", id="only the checksum"),
        pytest.param([(2, NOW - DAY)], 2, "ok", id="the checksum is enough"),
    ],
)
def test_proof(tmp_path, rungs, rung, status):
    write_set(tmp_path, NOW - 10 * HOUR)
    write_set(tmp_path, NOW - 34 * HOUR, rungs=rungs)
    found = look(tmp_path, max_unverified_age="8d", verified_rung=rung)[0]
    assert found["verified"]["status"] == status


def test_a_name_alone_does_not_make_a_set_fresh(tmp_path):
    write_set(tmp_path, NOW - 20 * DAY, name=time.strftime(set_names.NAME_FORMAT, time.gmtime(NOW - HOUR)))
    found = look(tmp_path)[0]
    assert found["age"]["status"] == "critical"
    assert found["age"]["evidence"]["backup_date_other"].startswith("name: ")


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        pytest.param(lambda root: None, ("critical", "backup.root_missing"), id="no folder"),
        pytest.param(lambda root: root.write_text("x"), ("critical", "backup.root_no_folder"), id="a file"),
        pytest.param(lambda root: root.mkdir(), ("critical", "backup.none"), id="an empty folder"),
        pytest.param(lambda root: root.symlink_to(root), ("unknown", "backup.root_unreadable"), id="a link to itself"),
        pytest.param(lambda root: write_set(root, NOW, name="20260202.partial"), ("critical", "backup.none"), id="only a partial set"),
    ],
)
def test_a_folder_without_backups_gives_one_finding(tmp_path, prepare, expected):
    prepare(tmp_path / "root")
    found, data = look(tmp_path / "root")
    assert sick(found) == {"age": expected}
    assert list(found) == ["age"]
    assert data["newest"] is None


def test_a_folder_this_user_may_not_read_is_unknown(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)
    assert sick(look(tmp_path)[0]) == {"age": ("unknown", "backup.root_unreadable")}


def test_a_folder_that_hangs_holds_up_no_other(sets):
    backups = backup_options.parse([{"name": "a", "root": "/hangs"}, {"name": "b", "root": str(sets[0])}])

    def ask(path):
        if path == "/hangs":
            time.sleep(60)
        return backup_status.host_space.space(path)

    found, _data = backup_status.look(backups, 0.3, now=lambda: NOW, ask=ask)
    assert {item["check"]: item["message"] for item in found if item["status"] != "ok"} == {"backup.a.age": "backup.root_hangs"}
    assert len(found) == 6


DUMP = gzip.compress(os.urandom(1000))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(DUMP, {}, id="good"),
        pytest.param(b"", {"complete": ("critical", "backup.broken"), "size": ("warning", "backup.size")}, id="empty"),
        pytest.param(b"x" * 1000, {"complete": ("critical", "backup.broken")}, id="no gzip"),
        pytest.param(DUMP[:100], {"size": ("warning", "backup.size")}, id="cut off: only its size tells"),
    ],
)
def test_files_of_other_tools(tmp_path, data, expected):
    for day in range(1, 4):
        write_file(tmp_path, "db-%d.sql.gz" % day, DUMP, NOW - day * DAY)
    write_file(tmp_path, "db-0.sql.gz", data, NOW - HOUR)
    found, told = look(tmp_path, kind="file", pattern="*.sql.gz")
    assert sick(found) == expected
    assert found["age"]["evidence"]["backup_date_from"] == "mtime"
    assert sorted(found) == ["age", "complete", "size", "space"]
    assert told["count"] == 4


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"db.sql": b"x" * 100}, {}, id="good"),
        pytest.param({}, {"complete": ("critical", "backup.broken"), "size": ("warning", "backup.size")}, id="empty"),
        pytest.param({"db.sql": b""}, {"complete": ("critical", "backup.broken"), "size": ("warning", "backup.size")}, id="empty files"),
        pytest.param({"db.sql": b"x" * 90, "a.tmp": b"x"}, {"complete": ("warning", "backup.leftover")}, id="an unfinished file"),
    ],
)
def test_dated_folders_of_other_tools(tmp_path, files, expected):
    def day(name, contents):
        (tmp_path / name).mkdir()
        for file, data in contents.items():
            write_file(tmp_path / name, file, data, NOW - HOUR)
        os.utime(tmp_path / name, (NOW - HOUR, NOW - HOUR))

    day(time.strftime("%Y%m%d", time.localtime(NOW - 2 * DAY)), {"db.sql": b"x" * 100})
    day(time.strftime("%Y%m%d", time.localtime(NOW - HOUR)), files)
    assert sick(look(tmp_path, kind="folder")[0]) == expected


def test_names_that_are_no_utf8_can_be_told(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.sql", "wb") as file:
        file.write(b"x")
    found, data = look(tmp_path, kind="file", pattern="*.sql", remedy="Runbook 3")
    json.dumps([found, data]).encode("utf-8")
    assert data["newest"]["name"] == "caf\\xe9.sql"
    assert found["age"]["remedy"] == "Runbook 3"


def test_a_set_that_failed_its_verification_is_broken_until_it_passes(sets):
    root, folders = sets
    failed = {"rung": 2, "at": "2026-01-31T00:00:00Z", "artifact": "app.db", "reason": "has another sum"}
    path = folders[0] / "verified.json"
    path.write_text(json.dumps({"schema": 1, "rungs": [], "failed": failed}))
    found, _data = look(root)
    assert sick(found) == {"complete": ("critical", "backup.broken")}
    assert "app.db: has another sum" in json.dumps(found["complete"]["params"])
    assert found["complete"]["evidence"]["backup_last_whole"].endswith(str(folders[1]))
    path.write_text(json.dumps({"schema": 1, "rungs": []}))
    assert sick(look(root)[0]) == {}


def test_proofs_from_the_future_and_of_damaged_sets_count_for_nothing(sets):
    root, folders = sets
    told = {"schema": 1, "rungs": [{"rung": 3, "at": times.format_time(NOW + 9 * DAY)}]}
    (folders[0] / "verified.json").write_text(json.dumps(told))
    assert sick(look(root, max_unverified_age="8d")[0]) == {"verified": ("warning", "backup.verified.none")}
    told["rungs"][0]["at"] = times.format_time(NOW - DAY)
    (folders[1] / "verified.json").write_text(json.dumps(told))
    assert sick(look(root, max_unverified_age="8d")[0]) == {}
    (folders[1] / "app.db").unlink()
    assert sick(look(root, max_unverified_age="8d")[0]) == {"verified": ("warning", "backup.verified.none")}


def test_a_record_of_another_set_is_none(sets):
    root, folders = sets
    told = {"schema": 1, "manifest_sha256": "0" * 64, "rungs": [{"rung": 3, "at": times.format_time(NOW - DAY)}]}
    (folders[0] / "verified.json").write_text(json.dumps(told))
    assert sick(look(root)[0]) == {"verified": ("unknown", "backup.verified.unsure")}
    told["manifest_sha256"] = backup_sets.sha256((folders[0] / "manifest.json").read_bytes())
    (folders[0] / "verified.json").write_text(json.dumps(told))
    assert look(root)[0]["verified"]["message"] == "backup.verified.ok"


def test_a_proof_of_a_set_older_than_those_compared_with_is_known(sets):
    """A rung climbed once a month is one of a set long gone from the newest seven."""
    root, folders = sets
    backup_ledger.append(str(root), "verified", folders[-1].name, NOW - 20 * DAY, passed=True, rung=5)
    options = {"history": 2, "verified_rung": 5, "max_unverified_age": "35d"}
    assert look(root, **options)[0]["verified"]["message"] == "backup.verified.ok"
    assert look(root, **{**options, "max_unverified_age": "15d"})[0]["verified"]["message"] == "backup.verified"
    backup_ledger.append(str(root), "verified", folders[-1].name, NOW - DAY, passed=False, rung=1, at_rung=2)
    assert look(root, **options)[0]["verified"]["message"] == "backup.verified.none"


def test_hourly_sets_have_a_date_on_which_the_disk_is_full(tmp_path):
    for hour in range(60):
        write_set(tmp_path, NOW - hour * HOUR, size=1000)
    with pytest.MonkeyPatch.context() as patch:
        space = host_space.Space(10**6, 0, 24 * 5 * 1000, 0, 0, True, 0.1)
        patch.setattr(host_space.Spaces, "collect", lambda _self: {str(tmp_path): host_space.Answer(space)})
        found, _data = look(tmp_path)
    assert (found["space"]["status"], found["space"]["evidence"]["backup_full_at"]) == ("warning", "2026-02-07")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="texts are told on the controller")
def test_every_text_exists_in_both_languages_and_fits_its_parameters(sets):
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

    root, folders = sets
    (folders[0] / "manifest.json").unlink()
    both = [
        *look(root, min_size="1K", min_count=9)[0].values(),
        *look("/nowhere")[0].values(),
        *look(root, max_age={"critical": "1h"})[0].values(),
    ]
    for found in both:
        for language in catalogue.LANGUAGES:
            assert "?" not in catalogue.tell(found, language)
            assert found["message"] in catalogue.entries()
        assert all("evidence." + name in catalogue.entries() for name in found["evidence"])
