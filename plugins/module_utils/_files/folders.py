# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders opened one by one, so that no link is followed on the way; and what is mounted in them."""

from __future__ import annotations

import os
import re
from typing import Set

#: How a folder is opened so that a link in its place is refused.
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_folder(path: str) -> int:
    """A handle of an absolute folder that no link leads to. Raises OSError (ELOOP or ENOTDIR for a link)."""
    handle = os.open("/", FOLDER_FLAGS)
    return open_below(handle, path.strip("/"), close=True)


def open_below(handle: int, path: str, close: bool = False) -> int:
    """A handle of the folder ``path`` below ``handle``."""
    current = handle if close else os.dup(handle)
    try:
        for part in path.split("/"):
            if part:
                step = os.open(part, FOLDER_FLAGS, dir_fd=current)
                os.close(current)
                current = step
        return current
    except OSError:
        os.close(current)
        raise


def mount_points(proc: str = "/proc") -> Set[str]:
    """Every mount point of this host, bind mounts of the same file system among them."""
    try:
        with open(os.path.join(proc, "self/mountinfo"), encoding="utf-8", errors="surrogateescape") as file:
            return {re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), line.split()[4]) for line in file}
    except OSError:
        return set()
