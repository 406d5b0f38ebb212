# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loss of data: what is told of sound and damaged data, of sets proved and not, of salvage and hooks."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import loss as data_loss


@pytest.fixture
def place(tmp_path):
    """A database, a folder of files, and a root with a set of both that is half an hour old."""
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("create table orders (id integer primary key, what text)")
        database.executemany("insert into orders (what) values (?)", [(f"order {n}" * 20,) for n in range(2000)])
    database.close()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "one").write_text("1")
    scratch = tmp_path / "scratch"
    options = {
        "backups": [
            {
                "name": "shop",
                "root": str(tmp_path / "root"),
                "io_class": "none",
                "drill": {"scratch": str(scratch), "rpo": "1h"},
                "artifacts": [
                    {"name": "db", "engine": "sqlite", "database": str(tmp_path / "shop.db")},
                    {"name": "files", "engine": "files", "paths": [str(tmp_path / "files")]},
                ],
            }
        ],
        "folder": str(tmp_path / "told"),
    }
    made = backup_make.run(backup_make.parse({**options, "system": "shop"}), "shop", clock=lambda: time.time() - 1800)
    assert made.made[0].found["status"] == "ok", made.made[0].found
    return tmp_path, options


def prove(options, rung=3):
    (one,) = backup_sets.listed(options["backups"][0]["root"])
    backup_sets.write_verified(one, [backup_manifest.Rung(rung, time.time())])


def damage(path):
    data = bytearray(path.read_bytes())
    for at in range(3 * 4096, len(data), 4096):
        data[at : at + 300] = os.urandom(300)
    path.write_bytes(data)


def statuses(report):
    return {item["check"]: item["status"] for item in report.findings}


def test_sound_data_and_a_proved_set_tell_the_minutes(place):
    _folder, options = place
    prove(options)
    report = data_loss.look(data_loss.parse(options))
    assert statuses(report) == {
        "backup.shop.integrity.db": "ok",
        "backup.shop.integrity.files": "ok",
        "backup.shop.loss": "ok",
        "data_loss.result": "ok",
    }
    (told,) = report.backups
    assert 29 <= told["loss_minutes"] <= 31  # the newest write is from just now
    assert told["remains"]["db"]["rows.orders"] == 2000
    whole = json.loads(Path(report.path + ".json").read_text())
    assert whole["complete"] is True
    assert "would lose" in Path(report.path + ".md").read_text()


def test_what_was_deleted_is_told_though_the_rest_is_sound(place):
    folder, options = place
    prove(options)
    with sqlite3.connect(folder / "shop.db") as database:
        database.execute("create table others (id integer)")
        database.execute("delete from orders where id > 5")
    database.close()
    (folder / "files" / "one").unlink()
    report = data_loss.look(data_loss.parse(options))
    found = {item["check"]: (item["status"], item["message"]) for item in report.findings}
    assert found["backup.shop.integrity.db"] == found["backup.shop.integrity.files"] == ("warning", "data_loss.integrity.less")
    (told,) = report.backups
    assert "rows.orders 5 (in the set 2000)" in told["artifacts"][0]["less"]
    text = Path(report.path + ".md").read_text()
    assert "less of db: rows.orders 5 (in the set 2000)" in text
    assert "All data is sound" not in text and "Nothing has to be restored." not in text and "--part" in text


@pytest.mark.parametrize(
    ("live", "saved", "names"),
    [
        ({"keys": 4}, {"keys": 4, "keys.db0": 4}, []),  # not counted by database at all
        ({"keys": 3}, {"keys": 4, "keys.db0": 4}, ["keys"]),
        ({"tables": 1, "rows.a": 1}, {"tables": 2, "rows.a": 1, "rows.b": 1}, ["rows.b", "tables"]),
        ({"expiring.db0": 1, "keys.db0": 4}, {"expiring.db0": 2, "keys.db0": 4}, []),
        ({}, {"files": 4}, []),
        ({"files": 5}, {"files": 4}, []),
    ],
    ids=["other counts", "keys", "a table is gone", "expired", "nothing counted", "more"],
)
def test_less_is_told_only_of_what_is_counted_in_both(live, saved, names):
    assert [text.split()[0] for text in data_loss._less(live, saved)] == names


def test_damaged_data_is_told_and_never_called_complete(place):
    folder, options = place
    prove(options)
    damage(folder / "shop.db")
    before = (folder / "shop.db").read_bytes()
    report = data_loss.look(data_loss.parse(options))
    found = statuses(report)
    assert found["backup.shop.integrity.db"] == "critical"
    assert found["backup.shop.loss"] == "warning"
    assert json.loads(Path(report.path + ".json").read_text())["complete"] is False
    assert "All data is sound" not in Path(report.path + ".md").read_text()
    assert (folder / "shop.db").read_bytes() == before


def test_data_that_cannot_be_looked_at_is_unknown_and_not_complete(place):
    folder, options = place
    prove(options)
    (folder / "shop.db").unlink()
    report = data_loss.look(data_loss.parse(options))
    assert statuses(report)["backup.shop.integrity.db"] in ("unknown", "critical")
    assert json.loads(Path(report.path + ".json").read_text())["complete"] is False


@pytest.mark.parametrize("rung", [None, 2])
def test_without_a_proved_set_the_loss_is_not_called_small(place, rung):
    _folder, options = place
    if rung:
        prove(options, rung)
    report = data_loss.look(data_loss.parse(options))
    assert statuses(report)["backup.shop.loss"] == "critical"
    assert report.backups[0]["loss_minutes"] is None


def test_a_loss_beyond_the_target_is_told(place):
    _folder, options = place
    prove(options)
    options["backups"][0]["drill"]["rpo"] = "10m"
    assert statuses(data_loss.look(data_loss.parse(options)))["backup.shop.loss"] == "warning"


def test_what_can_be_read_is_saved_and_the_rest_told(place):
    folder, options = place
    prove(options)
    damage(folder / "shop.db")
    report = data_loss.look(data_loss.parse({**options, "salvage": True}))
    found = statuses(report)
    assert found["backup.shop.salvage.db"] == "ok"
    assert found["backup.shop.salvage.files"] == "warning"  # nothing but reading them again would be to be had
    (saved,) = [item for item in report.backups[0]["saved"] if item["artifact"] == "db"]
    (file,) = os.listdir(saved["folder"])
    with sqlite3.connect(os.path.join(saved["folder"], file)) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


def test_check_mode_saves_and_writes_nothing(place):
    folder, options = place
    hook = {"name": "replay", "command": ["touch", str(folder / "replayed")]}
    report = data_loss.look(data_loss.parse({**options, "salvage": True, "hooks": [hook]}), check_mode=True)
    assert not report.changed
    assert not (folder / "told").exists()
    assert not (folder / "replayed").exists()
    assert statuses(report)["data_loss.hook.replay"] == "ok"


def test_hooks_run_with_salvage_only_and_their_status_counts(place):
    folder, options = place
    hooks = [
        {"name": "good", "command": ["touch", str(folder / "replayed")]},
        {"name": "bad", "command": "sh -c 'echo half of it; exit 3'"},
        {"name": "slow", "command": ["sleep", "30"], "timeout": "0.2"},
    ]
    report = data_loss.look(data_loss.parse({**options, "hooks": hooks}))
    assert {item["run"] for item in report.hooks} == {False}
    assert not (folder / "replayed").exists()
    os.rename(folder / "told", folder / "told before")
    report = data_loss.look(data_loss.parse({**options, "hooks": hooks, "salvage": True}))
    found = statuses(report)
    assert [found[f"data_loss.hook.{name}"] for name in ("good", "bad", "slow")] == ["ok", "critical", "critical"]
    assert (folder / "replayed").exists()


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"only": ["shp"]}, "only[0]"),
        ({"hooks": [{"name": "x"}]}, "hooks[0].command"),
        ({"hooks": [{"name": "x", "command": "true", "timeout": "0"}]}, "hooks[0].timeout"),
        ({"hooks": [{"name": "x", "comand": "true"}]}, "hooks[0].comand"),
        ({"salvage": "maybe"}, "salvage"),
        ({"folder": "told"}, "folder"),
    ],
)
def test_bad_options_are_refused_by_path(place, more, path):
    _folder, options = place
    with pytest.raises(OptionError) as caught:
        data_loss.parse({**options, **more})
    assert caught.value.path == path
