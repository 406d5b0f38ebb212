# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the disk of a backup is mounted: without it the folder of the sets is one on the system's own disk."""

from __future__ import annotations

import contextlib
import os
from typing import Optional

from ansible_collections.opsrunner.runbook.plugins.module_utils import host_mounts
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_looks import Backup
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_sets import BackupError


def check(backup: Backup) -> None:
    """Raises BackupError, ``unmounted``, unless the backup's disk is mounted, or it does not say that it has one."""
    if backup.mount_point and not is_mounted(backup.mount_point):
        raise BackupError("unmounted", "nothing is mounted at %s" % backup.mount_point)


def is_mounted(point: str) -> bool:
    """Whether a file system is mounted at a folder, and seen there. An automounter mounts it when it is asked for."""
    number = _mount_of(point)
    if number is None:
        return False
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line for line in file if line.split(" ", 1)[0] == number]
    return any(mount.point == point and mount.type != "autofs" for mount in host_mounts.parse_mountinfo("".join(lines)))


def _mount_of(folder: str) -> Optional[str]:
    """The number of the mount that a folder is seen through; None when it is not there."""
    for path in (folder + "/.", folder):  # the first asks an automounter, the second is for who may not enter
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with open("/proc/self/fdinfo/%d" % handle, encoding="ascii") as file:
                    return next((line.split()[1] for line in file if line.startswith("mnt_id:")), None)
            finally:
                os.close(handle)
    return None
