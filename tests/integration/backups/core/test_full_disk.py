# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full at every stage of a run: with any number of pages and of files left, on a file system of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain import DAY, NOW, backup, data, make, names, real_backup, sound
from programs import small_disk

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import prune as backup_prune
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.manifest import Rung
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names

PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    with small_disk(tmp_path / "disk", "size=2m,nr_inodes=60") as place:
        yield place


def _fill(disk: Path, pages: int | None, files: int | None) -> None:
    """Leave so many pages, or so many files."""
    if files is not None:
        (disk / "many").mkdir()
        for number in range(os.statvfs(disk).f_ffree - files):
            (disk / "many" / str(number)).touch()
    if pages is not None:
        told = os.statvfs(disk)
        with open(disk / "large", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, told.f_bavail * told.f_frsize - pages * PAGE)


def _empty(disk: Path) -> None:
    (disk / "large").unlink(missing_ok=True)
    subprocess.run(["rm", "-rf", disk / "many", disk / "root"], check=True)


@pytest.mark.parametrize("kind", ["pages", "files"])
def test_making_on_a_disk_that_is_full_at_any_stage(disk: Path, tmp_path: Path, kind: str) -> None:
    """No set is made and nothing is left of it, or one is made and is whole; with space again the next run makes one."""
    small, large = data(tmp_path / "small", 300), data(tmp_path / "large", 60_000)
    root = disk / "root"
    made_with, told = [], set()
    for left in range(40):
        first = make(backup(root, small), NOW).set
        _fill(disk, left if kind == "pages" else None, left if kind == "files" else None)
        made = make(backup(root, large), NOW + 500)
        assert sound(root) == sorted(filter(None, [first, made.set]), reverse=True)
        assert names(root) == sorted(filter(None, [first, made.set]))
        told.add(made.found["message"])
        if made.set:
            made_with.append(left)
        else:
            assert made.found["status"] == "critical"
            assert "No space left on device" in str(made.found["params"]) or made.found["message"] == "backup.made.space"
        (disk / "large").unlink(missing_ok=True)
        subprocess.run(["rm", "-rf", disk / "many"], check=True)
        again = make(backup(root, large), NOW + 1000)
        assert again.found["status"] == "ok", again.found
        assert sound(root)[0] == again.set
        assert len(backup_ledger.read(str(root)).entries) == len(sound(root))
        _empty(disk)
    assert made_with
    assert min(made_with) > 3, "the disk was never full"
    assert "backup.made.artifact" in told


@pytest.mark.parametrize("kind", ["pages", "files"])
def test_making_with_the_real_engines_on_a_disk_that_is_full_at_any_stage(disk: Path, tmp_path: Path, kind: str) -> None:
    """Files and SQLite, which need room for listings and a copy beside the set."""
    small, large = data(tmp_path / "small", 300), data(tmp_path / "large", 60_000)
    root = disk / "root"
    told = set()
    for left in range(0, 60, 3) if kind == "pages" else range(0, 20, 2):
        first = make(real_backup(root, small), NOW)
        assert first.found["status"] == "ok", first.found
        _fill(disk, left if kind == "pages" else None, left if kind == "files" else None)
        made = make(real_backup(root, large), NOW + 500)
        told.add(made.found["message"])
        assert sound(root) == names(root)[::-1] == sorted(filter(None, [first.set, made.set]), reverse=True)
        assert made.set or made.found["status"] == "critical"
        (disk / "large").unlink(missing_ok=True)
        subprocess.run(["rm", "-rf", disk / "many"], check=True)
        again = make(real_backup(root, large), NOW + 1000)
        assert again.found["status"] == "ok", again.found
        assert sound(root)[0] == again.set
        _empty(disk)
    assert {"backup.made.ok", "backup.made.artifact"} <= told


def test_pruning_on_a_full_disk_wins_space(disk: Path, tmp_path: Path) -> None:
    """That is when it is needed most; the line that finds no place at first is written after."""
    original = data(tmp_path / "data", 20_000)
    root = disk / "root"
    for left in range(3):
        for day in range(4):
            make(backup(root, original), NOW + day * DAY)
        backup_sets.write_verified(backup_sets.listed(str(root))[0], [Rung(3, NOW)])
        _fill(disk, left, None)
        options = backup_prune.parse({"backups": [{"name": "app", "root": str(root), "keep": {"last": 1}}], "confirm": ["backup_prune"]})
        pruned = backup_prune.run(options, clock=lambda: NOW + 4 * DAY)[0]
        assert pruned.found["status"] == "ok", pruned.found
        assert sound(root) == names(root) == [set_names.set_name(NOW + 3 * DAY)]
        assert [line["what"] for line in backup_ledger.read(str(root)).entries] == ["made"] * 4 + ["pruned"] * 3
        _empty(disk)
