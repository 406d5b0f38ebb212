# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders opened one by one, so that no link is followed on the way; and what is mounted in them."""

from __future__ import annotations

import errno
import os
import re
import stat
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


def open_trusted(path: str) -> int:
    """A handle of an absolute folder to which only links lead that the system's owner has made.

    Root works in folders of other users, who can put a link in the place of a folder at any moment. A link is followed only where
    its owner and the owner of the folder that holds it are root or this process's own user, and nobody else can write there (a folder
    with the sticky bit keeps others from replacing it). Raises OSError: ELOOP for any other link.
    """
    own = {0, os.geteuid()}
    left = [part for part in os.path.abspath(path).split("/") if part][::-1]
    handle = os.open("/", FOLDER_FLAGS)
    links = 0
    try:
        while left:
            part = left.pop()
            try:
                step = os.open(part, FOLDER_FLAGS, dir_fd=handle)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                found, holder = os.stat(part, dir_fd=handle, follow_symlinks=False), os.fstat(handle)
                if not stat.S_ISLNK(found.st_mode):
                    raise
                links += 1
                shared = holder.st_mode & 0o022 and not holder.st_mode & stat.S_ISVTX
                if links > 40 or found.st_uid not in own or holder.st_uid not in own or shared:
                    raise OSError(errno.ELOOP, "a link that another user may have made leads there", path) from None
                target = os.readlink(part, dir_fd=handle)
                left += [inner for inner in target.split("/") if inner and inner != "."][::-1]
                step = os.open("/" if target.startswith("/") else ".", FOLDER_FLAGS, dir_fd=handle)
            os.close(handle)
            handle = step
        return handle
    except OSError:
        os.close(handle)
        raise


def exchangeable(path: str) -> bool:
    """Whether somebody but root and this process's own user can put another folder in the place of ``path`` or of one above it."""
    own = {0, os.geteuid()}
    holder = os.path.dirname(os.path.abspath(path))
    while True:
        found = os.stat(holder)
        if found.st_uid not in own or found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            return True
        if holder == "/":
            return False
        holder = os.path.dirname(holder)


def mount_points(proc: str = "/proc") -> Set[str]:
    """Every mount point of this host, bind mounts of the same file system among them."""
    try:
        with open(os.path.join(proc, "self/mountinfo"), encoding="utf-8", errors="surrogateescape") as file:
            return {re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), line.split()[4]) for line in file}
    except OSError:
        return set()
