# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trial restores of real files and databases: what is measured, what is refused, what a kill leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import scratch as backup_scratch
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Engine, EngineError
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import drill as restore_drill

pytestmark = pytest.mark.skipif(not shutil.which("zstd"), reason="zstd is not installed")
NOW = 1_800_000_000.0
HOUR = 3600.0


def options(folder, **drill):
    return {
        "name": "app",
        "root": str(folder / "sets"),
        "nice": 0,
        "io_class": "none",
        "drill": {"scratch": str(folder / "scratch"), **drill},
        "artifacts": [
            {"name": "files", "engine": "files", "paths": [str(folder / "data")]},
            {"name": "shop", "engine": "sqlite", "database": str(folder / "shop.db")},
        ],
    }


@pytest.fixture
def folder(tmp_path):
    """Data, and a set of it that is two hours old."""
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "file").write_bytes(b"content" * 1000)
    (tmp_path / "data" / "other").write_bytes(b"x")
    with contextlib.closing(sqlite3.connect(str(tmp_path / "shop.db"))) as database:
        database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO item (name) VALUES (?)", [("bolt",)] * 30)
        database.commit()
    make(tmp_path, NOW - 2 * HOUR)
    return tmp_path


def make(folder, at):
    made = backup_make.run(backup_options.parse([options(folder)]), "test", clock=lambda: at).made[0]
    assert made.set, made.found
    return made.set


def drill(folder, wanted="newest", check_mode=False, engines=None, **targets):
    asked = restore_drill.parse({"backups": [options(folder, **targets)], "set": wanted})
    more = {"engines": engines} if engines else {}
    return restore_drill.run(asked, check_mode, lambda: NOW, **more)[0]


def told(result):
    return {found["check"].partition("app.")[2]: (found["status"], found["message"]) for found in result.findings}


def drilled(folder):
    return [entry for entry in backup_ledger.read(str(folder / "sets")).entries if entry["what"] == "drilled"]


def test_a_set_is_restored_compared_measured_and_cleaned_up(folder):
    before = sorted(os.walk(str(folder / "data")))
    result = drill(folder, rto="10m", rpo="26h")
    assert told(result) == {"drill": ("ok", "drill.ok"), "rto": ("ok", "drill.rto.ok"), "rpo": ("ok", "drill.rpo.ok")}
    assert (result.rung, result.rpo, result.changed) == (5, 7200, True)
    assert 0 < result.rto < 600
    assert result.counts["files.tar.zst"]["files"] == 2
    assert result.counts["shop.db.zst"]["rows.item"] == 30
    assert os.listdir(str(folder / "scratch")) == []
    assert sorted(os.walk(str(folder / "data"))) == before
    line = drilled(folder)[0]
    assert (line["passed"], line["rung"], line["rpo"], line["counts"]["rows"]) == (True, 5, 7200, 30)
    assert backup_sets.listed(str(folder / "sets"))[0].rung == 5


def test_targets_that_are_missed_are_told(folder):
    assert told(drill(folder, rto="0.001s", rpo="1h"))["rpo"] == ("warning", "drill.rpo")
    result = drill(folder, rto="0s", rpo="1h")
    assert told(result)["rto"] == ("warning", "drill.rto")
    assert told(drill(folder)) == {"drill": ("ok", "drill.ok"), "rto": ("ok", "drill.rto.known"), "rpo": ("ok", "drill.rpo.known")}


def test_a_set_that_holds_something_else_than_it_says_is_found(folder):
    one = backup_sets.listed(str(folder / "sets"))[0]
    path = os.path.join(one.path, "manifest.json")
    artifacts = tuple(
        artifact._replace(samples={name: "00" + sample[2:] for name, sample in artifact.samples.items()})
        for artifact in one.manifest.artifacts
    )
    assert any(artifact.samples for artifact in artifacts)
    with open(path, "w") as file:
        file.write(backup_manifest.to_json(one.manifest._replace(artifacts=artifacts)))
    for name in ("ledger.jsonl", ".ledger.head"):
        os.unlink(str(folder / "sets" / name))
    result = drill(folder)
    assert told(result)["drill"] == ("critical", "drill.failed")
    assert result.rung == 4
    assert (drilled(folder)[0]["passed"], drilled(folder)[0]["at_rung"]) == (False, 5)
    assert backup_sets.listed(str(folder / "sets"))[0].rung == 4


def test_a_set_from_the_future_has_no_age(folder):
    make(folder, NOW + 2 * HOUR)
    result = drill(folder, rpo="26h")
    assert (told(result)["rpo"], result.rpo) == (("unknown", "drill.rpo.future"), None)


def test_a_set_that_goes_away_meanwhile_is_not_called_damaged(folder):
    class Pruning(Engine):
        """A test double: the set is removed while it is read."""

        def read_through(self, artifact, stored, work):
            """Removes it."""
            shutil.rmtree(os.path.dirname(stored.path), ignore_errors=True)
            raise EngineError("damaged", "it is gone")

    result = drill(folder, engines=lambda _name: Pruning())
    assert told(result) == {"drill": ("unknown", "drill.not")}
    assert drilled(folder) == []


def test_an_error_that_nobody_thought_of_is_told(folder, monkeypatch):
    monkeypatch.setattr(backup_ledger, "read", lambda _root: 1 // 0)
    result = drill(folder)
    assert told(result) == {"drill": ("unknown", "drill.not")}
    assert "ZeroDivisionError" in result.findings[0]["params"]["reason"]


def test_a_damaged_set_is_not_restored(folder):
    path = os.path.join(backup_sets.listed(str(folder / "sets"))[0].path, "shop.db.zst")
    with open(path, "r+b") as file:
        file.write(b"\0\0\0\0")
    result = drill(folder)
    assert told(result) == {"drill": ("critical", "drill.failed"), "rpo": ("ok", "drill.rpo.known")}
    assert (result.rung, result.rto, result.counts) == (1, None, {})


def test_check_mode_tells_what_would_be_done_and_does_nothing(folder):
    left = folder / "scratch" / (backup_scratch.PREFIX + "old")
    left.mkdir(parents=True)
    os.utime(str(left), (1, 1))
    result = drill(folder, check_mode=True)
    assert told(result) == {"drill": ("ok", "drill.would")}
    assert result.findings[0]["evidence"]["drill_left"] == [str(left)]
    assert len(result.findings[0]["evidence"]["drill_artifacts"]) == 2
    assert left.exists()
    assert drilled(folder) == []


def test_sets_are_chosen(folder):
    newer = make(folder, NOW - HOUR)
    assert drill(folder).set == newer
    assert drill(folder, "2027-01-15T06").rpo == 7200
    result = drill(folder, "2001")
    assert told(result) == {"drill": ("critical", "drill.not")}
    assert result.set is None


@pytest.mark.parametrize("scratch", ["data", "data/deep", "sets", "sets/x"])
def test_a_scratch_place_in_the_source_or_the_backups_is_refused(folder, scratch):
    with pytest.raises(OptionError, match="a drill restores beside, never into it"):
        drill(folder, scratch=str(folder / scratch))


def test_a_link_into_the_source_is_refused_on_the_host(folder):
    (folder / "innocent").symlink_to(folder / "data")
    result = drill(folder, scratch=str(folder / "innocent"))
    assert told(result) == {"drill": ("critical", "drill.not")}
    assert sorted(os.listdir(str(folder / "data"))) == ["deep", "other"]


def test_where_no_disk_is_mounted_nothing_is_restored(folder):
    asked = restore_drill.parse({"backups": [{**options(folder), "mount_point": str(folder)}]})
    assert told(restore_drill.run(asked, clock=lambda: NOW)[0]) == {"drill": ("critical", "drill.not")}
    assert not (folder / "scratch").exists()


def test_without_space_nothing_is_begun(folder, monkeypatch):
    class Full:
        f_bavail, f_frsize = 10, 4096

    monkeypatch.setattr(restore_drill.os, "statvfs", lambda _path: Full)
    result = drill(folder)
    assert told(result) == {"drill": ("unknown", "drill.not")}
    assert "needs" in result.findings[0]["params"]["reason"]
    assert drilled(folder) == []


@pytest.mark.parametrize(
    ("code", "status"), [("version", "unknown"), ("space", "unknown"), ("same", "unknown"), ("damaged", "critical"), ("failed", "critical")]
)
def test_what_is_in_the_way_says_nothing_about_the_set(folder, code, status):
    class Refusing(Engine):
        """A test double: reads, and will not restore."""

        def read_through(self, artifact, stored, work):
            """Nothing wrong."""

        def drill(self, spec, artifact, stored, work):
            """Refused."""
            raise EngineError(code, "no")

    result = drill(folder, engines=lambda _name: Refusing())
    assert told(result)["drill"][0] == status
    assert drilled(folder)[0]["hindered"] == (status == "unknown")
    assert backup_sets.listed(str(folder / "sets"))[0].rung == 3


KILLED = """
import os, sys, time
sys.path[:0] = %r
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.sqlite import engine as engine_sqlite
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import drill as restore_drill
def wait(*_arguments):
    print("restoring", flush=True)
    time.sleep(60)
engine_sqlite.SqliteEngine.drill = wait
restore_drill.run(restore_drill.parse({"backups": [%r]}))
"""


def test_after_a_kill_the_next_drill_cleans_up_and_passes(folder):
    program = KILLED % (sys.path, options(folder))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"restoring\n"
        run.send_signal(signal.SIGKILL)
    left = os.listdir(str(folder / "scratch"))
    assert len(left) == 1
    for _attempt in range(200):  # a program that the killed run was just starting holds its lock for a moment
        if backup_scratch.sweep(str(folder / "scratch"), look_only=True):
            break
        time.sleep(0.01)
    result = drill(folder)
    assert told(result)["drill"] == ("ok", "drill.ok")
    assert left[0] in json.dumps(result.findings[0]["evidence"]["backup_notes"])
    assert os.listdir(str(folder / "scratch")) == []
    assert backup_ledger.read(str(folder / "sets")).broken is None


@pytest.mark.parametrize(
    ("only", "said"), [(["ap"], "only\\[0\\]: .*app"), (["old"], "what another tool has made cannot be restored on trial")]
)
def test_names_that_cannot_be_drilled_are_refused(tmp_path, only, said):
    backups = [options(tmp_path), {"name": "old", "root": "/old", "kind": "file", "pattern": "*.gz"}]
    with pytest.raises(OptionError, match=said):
        restore_drill.parse({"backups": backups, "only": only})
    assert [one.name for one in restore_drill.parse({"backups": backups}).backups] == ["app"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="texts are told on the controller")
def test_every_text_exists_in_both_languages_and_fits_its_parameters(folder):
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

    found = [*drill(folder, rto="0s", rpo="1h").findings, *drill(folder, "2001").findings, *drill(folder, check_mode=True).findings]
    found += drill(folder, rto="1h", rpo="9h").findings + drill(folder).findings
    make(folder, NOW + 2 * HOUR)
    found += drill(folder).findings
    for item in found:
        for language in catalogue.LANGUAGES:
            assert "?" not in catalogue.tell(item, language)
        assert all("evidence." + name in catalogue.entries() for name in item["evidence"])
