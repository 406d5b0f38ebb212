# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pruning: what goes, what never does, what a killed one leaves."""

from __future__ import annotations

import json
import os
import signal

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import prune as backup_prune
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.manifest import Manifest, Rung
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import tree
from tests.helpers.shell_engine import exit_status, told

NOW = 1_800_000_000.0
DAY = 86400.0
NAMES = [set_names.set_name(NOW - day * DAY) for day in range(5)]


def _make(root, name, rung=None):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "db.dump").write_bytes(b"data" * 1000)
    at = set_names.name_time(name)
    artifact = Artifact("sqlite", "db.dump", 4000, "0" * 64, "sqlite3", at, at)
    (folder / "manifest.json").write_text(backup_manifest.to_json(Manifest("shop", at, at, (artifact,))))
    if rung:
        backup_sets.write_verified(backup_sets.look(str(root), name), [Rung(rung, at)])
    return folder


@pytest.fixture
def root(tmp_path):
    """Five sets a day apart, the second newest proved."""
    for day, name in enumerate(NAMES):
        _make(tmp_path / "root", name, rung=3 if day == 1 else None)
    return tmp_path / "root"


def _run(root, check_mode=False, confirm=("backup_prune",), **item):
    item = {"name": "app", "root": str(root), "keep": {"last": 1}, **item}
    options = backup_prune.parse({"backups": [item], "confirm": list(confirm)})
    (pruned,) = backup_prune.run(options, check_mode, clock=lambda: NOW)
    return pruned


def _there(root):
    return sorted((name for name in os.listdir(root) if not name.startswith((".", "ledger"))), reverse=True)


def test_sets_go_that_nothing_keeps(root):
    """The others stay; it is written down with the reason, and a second time nothing goes."""
    pruned = _run(root)
    assert _there(root) == NAMES[:2]
    assert [(one.name, one.action, one.done) for one in pruned.sets] == [
        *[(name, "keep", False) for name in NAMES[:2]],
        *[(name, "remove", True) for name in NAMES[2:]],
    ]
    assert (pruned.changed, pruned.found["status"]) == (True, "ok")
    assert pruned.won >= 3 * 4000
    assert (pruned.found["message"], pruned.found["params"]["count"], pruned.found["params"]["kept"]) == ("backup.prune.done", 3, 2)
    lines = backup_ledger.read(str(root)).entries
    assert [(line["what"], line["set"], line["reasons"]) for line in lines] == [("pruned", name, ["expired"]) for name in NAMES[:1:-1]]
    again = _run(root)
    assert (again.changed, again.won, again.found["message"]) == (False, 0, "backup.prune.nothing")


@pytest.mark.parametrize(("check_mode", "confirm", "status"), [(True, ["backup_prune"], "ok"), (False, [], "warning"), (True, [], "ok")])
def test_nothing_goes_in_check_mode_or_unconfirmed(root, check_mode, confirm, status):
    """Each set is told with its reason; not even a lock is written."""
    before = sorted(os.listdir(root))
    pruned = _run(root, check_mode, confirm)
    assert sorted(os.listdir(root)) == before
    assert [one.reasons for one in pruned.sets] == [("last", "newest_whole"), ("newest_proved",), *[("expired",)] * 3]
    assert (pruned.won, pruned.found["status"]) == (12000, status)
    assert pruned.changed == (check_mode and bool(confirm))
    assert backup_prune.diff([pruned])["after"].split() == [str(root / name) for name in NAMES[:2]]


def test_nothing_goes_while_nothing_is_proved(root):
    """That is a warning, for the disk will be full one day."""
    pruned = _run(root, verified_rung=4)
    assert _there(root) == NAMES
    assert (pruned.found["status"], pruned.found["message"]) == ("warning", "backup.prune.unproved")


def test_a_set_found_damaged_when_it_was_read_stands_for_nothing(root):
    """The one before it is kept in its place."""
    failed = {"rung": 2, "at": "2027-01-15T09:00:00Z", "artifact": "db", "reason": "the sum is another one"}
    (root / NAMES[2] / "verified.json").write_text(json.dumps({"schema": 1, "rungs": [], "failed": failed}))
    _run(root, keep={"last": 3})
    assert _there(root) == [*NAMES[:2], NAMES[3]]


def test_what_is_no_set_stays(root, tmp_path):
    """Links, files, folders of other names or without a manifest, what is being written, and what lies beside the root."""
    outside = tmp_path / "outside"
    _make(tmp_path, "outside")
    old = [set_names.set_name(NOW - day * DAY) for day in range(100, 105)]
    (root / old[0]).symlink_to(outside)
    (root / old[1]).write_text("a file")
    (root / old[2]).mkdir()
    (root / (old[3] + ".partial")).mkdir()
    (root / (old[4] + ".removing")).symlink_to(outside)
    (root / "mine.removing").mkdir()
    before = set(_there(root)) - set(NAMES[2:])
    pruned = _run(root)
    assert pruned.found["status"] == "ok"
    assert set(_there(root)) == before
    assert sorted(os.listdir(outside)) == ["db.dump", "manifest.json"]


def test_links_in_a_set_are_not_followed(root, tmp_path):
    """They go; what they lead to stays."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/data").write_text("data")
    (root / NAMES[4] / "folder").symlink_to(tmp_path / "precious")
    (root / NAMES[4] / "file").symlink_to(tmp_path / "precious/data")
    _run(root)
    assert _there(root) == NAMES[:2]
    assert (tmp_path / "precious/data").read_text() == "data"


def test_a_root_behind_a_link_is_refused(root, tmp_path):
    """Whoever can put a link there could have sets removed elsewhere."""
    (tmp_path / "link").symlink_to(root)
    pruned = _run(tmp_path / "link")
    assert (_there(root), pruned.found["status"], pruned.changed) == (NAMES, "unknown", False)


@pytest.mark.parametrize("place", ["none", "none/deeper"])
def test_a_root_that_is_not_there_has_no_sets(tmp_path, place):
    """And is not made."""
    pruned = _run(tmp_path / place)
    assert (pruned.found["status"], pruned.found["message"], os.listdir(tmp_path)) == ("ok", "backup.prune.nothing", [])


@pytest.mark.parametrize("lock", [backup_sets.LOCK, backup_sets.COPYING])
def test_nothing_goes_while_another_run_works_there(root, lock):
    """It says who: one that makes sets, or one that sends them elsewhere."""
    with backup_sets.locked(str(root), "the backup of app", lock=lock):
        pruned = _run(root)
    assert _there(root) == NAMES
    assert (pruned.found["status"], pruned.changed) == ("warning", False)
    assert "in use by the backup of app" in told(pruned.found)


def test_what_a_killed_run_left_half_removed_goes(root):
    """Only when confirmed; it is written down once."""
    name = set_names.set_name(NOW - 50 * DAY)
    half = root / (name + ".removing")
    half.mkdir()
    (half / "db.dump").write_text("half")
    pruned = _run(root, confirm=[])
    assert pruned.sets[-1].action == "finish"
    assert half.exists()
    assert _run(root).sets[-1].done
    assert not half.exists()
    half.mkdir()
    assert _run(root).sets[-1].done
    assert [line["set"] for line in backup_ledger.read(str(root)).entries].count(name) == 1


def test_what_cannot_be_removed_is_told_and_the_others_go(root, monkeypatch):
    """A set that is another file system's, say."""
    remove_tree = tree.remove_tree

    def refuse(folder, name):
        if name.startswith(NAMES[3]):
            raise OSError(18, "Invalid cross-device link")
        return remove_tree(folder, name)

    monkeypatch.setattr(tree, "remove_tree", refuse)
    pruned = _run(root)
    assert (pruned.found["status"], pruned.found["message"]) == ("warning", "backup.prune.partly")
    assert pruned.found["evidence"]["backup_failures"] == [NAMES[3] + ": Invalid cross-device link"]
    assert _there(root) == [*NAMES[:2], NAMES[3] + ".removing"]


def test_a_full_disk_does_not_keep_sets_from_going(root):
    """A line that cannot be written is written after the space was won, or else told."""
    child = os.fork()
    if not child:
        import resource

        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            backup_ledger.append(str(root), "copied", NAMES[0], NOW)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            pruned = _run(root)
            assert pruned.found["status"] == "warning"
            assert pruned.found["evidence"]["backup_failures"] == [
                "%s: removed, but not written down in ledger.jsonl" % name for name in NAMES[:1:-1]
            ]
            status = 0
        finally:
            os._exit(status)
    assert exit_status(child) == 0
    assert _there(root) == NAMES[:2]
    assert backup_ledger.read(str(root)).broken is None


@pytest.mark.parametrize(
    ("item", "options", "error"),
    [
        ({"kind": "file", "pattern": "*.gz"}, {}, r"backups\[0\].kind: keep is for sets"),
        ({"pattern": "*/*"}, {}, r"backups\[0\].pattern: keep is for sets"),
        ({}, {"only": ["ap"]}, "did you mean app"),
        ({"keep": None}, {"only": ["app"]}, "says nothing of what is kept"),
    ],
)
def test_bad_options_are_refused(item, options, error):
    """Before anything is looked at."""
    backup = {"name": "app", "root": "/b/app", "keep": {"last": 1}, **item}
    with pytest.raises(OptionError, match=error):
        backup_prune.parse({"backups": [backup], **options})


def test_a_backup_without_keep_is_left_alone():
    """It loses nothing."""
    assert backup_prune.parse({"backups": [{"name": "app", "root": "/b"}], "confirm": ["backup_prune"]}).backups == []


def test_a_disk_that_cannot_be_read_holds_up_no_other_backup(tmp_path, monkeypatch):
    """It is told, and the next one is pruned."""
    real = backup_prune.judge

    def judge(backup, folder, now):
        if backup.name == "bad":
            raise OSError(5, "Input/output error")
        return real(backup, folder, now)

    monkeypatch.setattr(backup_prune, "judge", judge)
    items = []
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        items.append({"name": name, "root": str(tmp_path / name), "keep": {"last": 1}})
    bad, good = backup_prune.run(backup_prune.parse({"backups": items, "confirm": ["backup_prune"]}))
    assert (bad.found["status"], bad.found["params"]["reason"]) == ("unknown", "Input/output error")
    assert good.found["status"] == "ok"
