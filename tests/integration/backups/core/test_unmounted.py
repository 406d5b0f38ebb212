# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk of backups that is mounted, goes away, and comes back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain import NOW, backup, data, make, names, sound
from programs import small_disk

from ansible_collections.opsrunner.runbook.plugins.module_utils._host import mounts as host_mounts
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory that is mounted elsewhere, to be bound where it is wanted."""
    with small_disk(tmp_path / "image", "size=4m") as place:
        yield place


def _mount(image: Path, point: Path) -> None:
    subprocess.run(["mount", "--bind", image, point], check=True)


def test_sets_go_to_the_disk_or_nowhere(tmp_path: Path, image: Path) -> None:
    """What was made before stays on the disk and is there when it is mounted again."""
    point = tmp_path / "a disk"
    point.mkdir()
    what = backup(point / "root", data(tmp_path / "data", 300))._replace(mount_point=str(point))
    _mount(image, point)
    try:
        assert host_mounts.is_mounted(str(point))
        assert not host_mounts.is_mounted(str(point / "root"))
        first = make(what, NOW)
        assert first.found["status"] == "ok", first.found
    finally:
        subprocess.run(["umount", point], check=True)
    made = make(what, NOW + 10)
    assert (made.set, made.found["status"]) == (None, "critical")
    assert f"nothing is mounted at {point}" in catalogue.tell(made.found)
    assert list(point.iterdir()) == []
    _mount(image, point)
    try:
        second = make(what, NOW + 20)
        assert sound(point / "root") == [second.set, first.set]
    finally:
        subprocess.run(["umount", point], check=True)
    assert names(image / "root") == [first.set, second.set]


def test_a_mount_that_another_one_hides_is_none(tmp_path: Path, image: Path) -> None:
    """What is seen at the mount point counts, not what the table of mounts has."""
    above = tmp_path / "above"
    (above / "disk").mkdir(parents=True)
    other = tmp_path / "other"
    (other / "disk").mkdir(parents=True)
    _mount(image, above / "disk")
    try:
        assert host_mounts.is_mounted(str(above / "disk"))
        _mount(other, above)
        try:
            assert not host_mounts.is_mounted(str(above / "disk"))
        finally:
            subprocess.run(["umount", above], check=True)
    finally:
        subprocess.run(["umount", above / "disk"], check=True)
