# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is not mounted: nothing is written where it should be. Real mounts are in the integration tests."""

from __future__ import annotations

import os

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import disk as backup_disk
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options as backup_looks
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import prune as backup_prune
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.status import run as backup_status
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import mounts as host_mounts
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import space as host_space
from tests.helpers.shell_engine import backup, engines, told

NOW = 1_800_000_000.0


def test_what_is_mounted_is_told_from_a_folder(tmp_path):
    """The kernel's own file systems are there everywhere."""
    assert host_mounts.is_mounted("/proc")
    assert not host_mounts.is_mounted("/proc/self")
    assert not host_mounts.is_mounted(str(tmp_path / "missing"))
    (tmp_path / "file").write_text("")
    assert not host_mounts.is_mounted(str(tmp_path / "file"))
    (tmp_path / "link").symlink_to("/proc")
    assert not host_mounts.is_mounted(str(tmp_path / "link"))


def test_a_backup_without_a_disk_of_its_own_is_not_held_up(tmp_path):
    """As before."""
    backup_disk.check(backup(tmp_path))
    with pytest.raises(BackupError, match="nothing is mounted at"):
        backup_disk.check(backup(tmp_path)._replace(mount_point=str(tmp_path)))


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("there", [False, True], ids=["no folder", "an empty folder"])
def test_nothing_is_made_or_removed_on_the_system_s_disk(tmp_path, check_mode, there):
    """No folder, no lock, no set."""
    disk = tmp_path / "disk"
    if there:
        disk.mkdir()
    what = backup(disk / "root")._replace(mount_point=str(disk))
    made = backup_make.run([what], "shop", check_mode, clock=lambda: NOW, engines=engines).made[0]
    assert (made.set, made.changed, made.found["status"]) == (None, False, "critical")
    assert f"nothing is mounted at {disk}" in told(made.found)
    item = {"name": "app", "root": str(disk / "root"), "keep": {"last": 1}, "mount_point": str(disk)}
    options = backup_prune.parse({"backups": [item], "confirm": ["backup_prune"]})
    pruned = backup_prune.run(options, check_mode, clock=lambda: NOW)[0]
    assert (pruned.changed, pruned.found["status"], pruned.found["message"]) == (False, "unknown", "backup.prune.root")
    assert sorted(os.listdir(tmp_path)) == (["disk"] if there else [])
    assert not there or os.listdir(disk) == []


def test_the_daily_look_is_critical_though_sets_lie_in_the_folder(tmp_path):
    """They are on the system's disk."""
    assert backup_make.run([backup(tmp_path)], "shop", clock=lambda: NOW, engines=engines).made[0].set
    for point, status, text in ((None, "ok", "backup.age.ok"), (str(tmp_path), "critical", "backup.unmounted")):
        (look,) = backup_looks.parse([{"name": "app", "root": str(tmp_path), "mount_point": point}])
        found = backup_status.status_of(look, NOW + 60, host_space.Answer(host_space.space(str(tmp_path)))).findings[0]
        assert (found["check"], found["status"], found["message"]) == ("backup.app.age", status, text)
