# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scratch place on a disk that fills up at any moment, or that is gone: nothing of it is the set's fault."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import small_disk

from opsrunner.find.collection import backup_sets, backup_verify
from opsrunner.selftest import backup as selftest_backup

PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    with small_disk(tmp_path / "disk", "size=2m") as place:
        yield place


def leave(disk: Path, pages: int) -> None:
    """Leave so many pages."""
    (disk / "large").unlink(missing_ok=True)
    told = os.statvfs(disk)
    with open(disk / "large", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, told.f_bavail * told.f_frsize - pages * PAGE)


def test_a_full_scratch_place_takes_nothing_from_what_was_proved(disk, tmp_path, monkeypatch):
    made = selftest_backup.make_backup(tmp_path / "made", random.Random(1), count=1)
    assert selftest_backup.verify(made.options, 3).status == "ok"
    # The disk fills up after it was looked at.
    monkeypatch.setattr(backup_verify.backup_verify_set, "room", lambda *_arguments: None)
    options = {**made.options, "drill": {"scratch": str(disk)}}
    statuses = []
    for pages in (0, 1, 2, 3, 5, 8, 13, 21, 34, 200):
        leave(disk, pages)
        found = selftest_backup.verify(options, 5)
        statuses.append(found.status)
        assert found.status != "critical", (pages, found)
        (one,) = backup_sets.listed(str(made.root))
        assert (one.sound, one.rung >= 3) == (True, True), (pages, found)
    assert (statuses[0], statuses[-1]) == ("warning", "ok")
    assert os.listdir(disk) == ["large"]


def test_another_tools_database_that_does_not_fit_is_not_called_damaged(disk, tmp_path):
    data = selftest_backup._database(random.Random(2))
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "shop.db.gz").write_bytes(gzip.compress(data))
    options = {"name": "old", "root": str(tmp_path / "dumps"), "kind": "file", "pattern": "*", "drill": {"scratch": str(disk)}}
    for pages, status in ((2, "unknown"), (5, "unknown"), (100, "ok")):
        leave(disk, pages)
        found = selftest_backup.verify(options, 3)
        assert found.status == status, (pages, found)


def test_a_disk_of_backups_that_goes_away_while_it_is_read_is_told(disk, tmp_path, monkeypatch):
    made = selftest_backup.make_backup(tmp_path / "made", random.Random(3), count=2)
    subprocess.run(["cp", "-a", made.root, disk], check=True)
    real = backup_verify.backup_verify_set._Sum.run

    def run(sums):
        subprocess.run(["umount", "--lazy", disk], check=False)
        real(sums)

    monkeypatch.setattr(backup_verify.backup_verify_set._Sum, "run", run)
    asked = backup_verify.parse({"backups": [made.at(disk / made.root.name)], "rung": 3, "sets": ["all"]})
    try:
        found = backup_verify.run(asked).findings[0]
    finally:
        subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
    assert (found["status"], found["message"]) == ("warning", "backup_verify.gone")
