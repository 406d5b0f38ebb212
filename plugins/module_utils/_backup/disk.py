# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the disk of a backup is mounted: without it the folder of the sets is one on the system's own disk."""

from __future__ import annotations

from ansible_collections.opsrunner.runbook.plugins.module_utils._host.mounts import is_mounted

from .options import Backup
from .sets import BackupError


def check(backup: Backup) -> None:
    """Raises BackupError, ``unmounted``, unless the backup's disk is mounted, or it does not say that it has one."""
    if backup.mount_point and not is_mounted(backup.mount_point):
        raise BackupError("unmounted", "nothing is mounted at %s" % backup.mount_point)
