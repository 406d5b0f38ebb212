# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders with all that is in them: looked at and removed without following links."""

from __future__ import annotations

import errno
import os
import stat
from typing import List, NamedTuple

from .folders import FOLDER_FLAGS


def is_folder(folder: int, name: str) -> bool:
    """Whether a name in an open folder is a folder itself, not a link to one."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def remove_tree(folder: int, name: str) -> int:
    """Remove what a name in an open folder stands for, with all that is in it; returns the bytes of disk won.

    Links are removed, never followed; where another file system is mounted, nothing of it is touched and OSError is raised.
    """
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return found.st_blocks * 512 if found.st_nlink == 1 else 0
    _check_mounts(folder, name)
    device = os.fstat(folder).st_dev
    won = 0
    # However deep it is: one handle, and the way up is held against where the way down came from.
    way = [_Level(name, found, [])]
    here = _below(folder, way[0], device)
    try:
        way[0].left.extend(sorted(os.listdir(here), reverse=True))
        while True:
            level = way[-1]
            if level.left:
                inner = level.left.pop()
                found = os.stat(inner, dir_fd=here, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    way.append(_Level(inner, found, []))
                    deeper = _below(here, way[-1], device)
                    os.close(here)
                    here = deeper
                    way[-1].left.extend(sorted(os.listdir(here), reverse=True))
                else:
                    os.unlink(inner, dir_fd=here)
                    won += found.st_blocks * 512 if found.st_nlink == 1 else 0
                continue
            won += level.found.st_blocks * 512
            way.pop()
            if not way:
                os.rmdir(name, dir_fd=folder)
                return won
            above = os.open("..", FOLDER_FLAGS, dir_fd=here)
            os.close(here)
            here = above
            told = os.fstat(here)
            if (told.st_dev, told.st_ino) != (way[-1].found.st_dev, way[-1].found.st_ino):
                raise OSError(errno.EBUSY, "it was moved while it was being removed", level.name)
            os.rmdir(level.name, dir_fd=here)
    finally:
        os.close(here)


def _check_mounts(folder: int, name: str) -> None:
    """OSError when something is mounted in a folder; what is bound there from the same file system cannot be told otherwise."""
    from .folders import mount_points

    try:
        path = os.path.join(os.readlink("/proc/self/fd/%d" % folder), name)
    except OSError:
        return
    for point in mount_points():
        if point == path or point.startswith(path + "/"):
            raise OSError(errno.EXDEV, "another file system is mounted there", point)


class _Level(NamedTuple):
    name: str
    found: os.stat_result
    left: List[str]


def _below(folder: int, level: _Level, device: int) -> int:
    """A handle of a folder in another one. Raises OSError, also when something else has taken its place."""
    handle = os.open(level.name, FOLDER_FLAGS, dir_fd=folder)
    told = os.fstat(handle)
    if told.st_dev == device and told.st_ino == level.found.st_ino:
        return handle
    os.close(handle)
    if told.st_dev != device:
        raise OSError(errno.EXDEV, "another file system is mounted there", level.name)
    raise OSError(errno.EBUSY, "it was changed while it was being removed", level.name)
