# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree on the disk, counted and sampled."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from .listing import Counted, told


def file_digest(path: Any) -> Optional[str]:
    import hashlib

    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        return hashlib.sha256(file.read()).hexdigest()


def file_digests(folder: str, names: Mapping[str, str]) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for name in names:
        with contextlib.suppress(OSError):
            digest = file_digest(os.path.join(folder, name.lstrip("/")))
            if digest:
                found[name] = digest
    return found


class Tree:
    """Counts what is on the disk as a listing counts what is in an archive."""

    def __init__(self, read: bool = False, without: Sequence[str] = ()) -> None:
        self._counted = Counted()
        self._without = {os.fsencode(path) for path in without}
        self._inodes: Set[Tuple[int, int]] = set()
        self._read = read
        self.problems: List[str] = []
        self.newest: Optional[float] = None

    def counts(self) -> Dict[str, int]:
        """By the manifest's names."""
        return self._counted.counts()

    def add(self, path: str) -> None:
        """Count a path with all below it; links are not followed."""
        folders = [os.fsencode(path)]
        try:
            if not self._one(folders[0], os.lstat(path)):
                return
        except OSError as error:
            self._problem(folders[0], error)
            return
        while folders:
            here = folders.pop()
            try:
                with os.scandir(here) as entries:
                    inner = [entry for entry in entries if entry.path not in self._without]
                folders += [entry.path for entry in inner if self._one(entry.path, entry.stat(follow_symlinks=False))]
            except OSError as error:
                self._problem(here, error)

    def _problem(self, path: bytes, error: OSError) -> None:
        if len(self.problems) < 50:
            self.problems.append("%s: %s" % (told(path), error.strerror or error))

    def _one(self, path: bytes, found: os.stat_result) -> bool:
        """Count one entry; whether it is a folder."""
        counted = self._counted
        mode = found.st_mode
        self.newest = max(self.newest or 0.0, found.st_mtime)
        if stat.S_ISDIR(mode):
            counted.folders += 1
            return True
        if stat.S_ISREG(mode):
            counted.files += 1
            inode = (found.st_dev, found.st_ino)
            if found.st_nlink == 1 or inode not in self._inodes:
                if found.st_nlink > 1:
                    self._inodes.add(inode)
                counted.bytes += found.st_size
                if self._read:
                    self._try(path)
        elif stat.S_ISLNK(mode):
            counted.links += 1
        elif not stat.S_ISSOCK(mode):  # no tar keeps sockets
            counted.others += 1
        return False

    def _try(self, path: bytes) -> None:
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
        except OSError as error:
            self._problem(path, error)
