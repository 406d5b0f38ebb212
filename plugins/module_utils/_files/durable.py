# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files that survive a power cut: written beside, synced, renamed."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator

#: Ending of a file that is being written.
_PARTIAL = ".partial"


def write_synced(path: str, data: bytes) -> None:
    """Put a small file in place, mode 0600, so that it is the old one or the new one also after a power cut. Raises OSError."""
    with alone(os.path.dirname(path)):
        put(path, data)


@contextlib.contextmanager
def alone(folder: str) -> Iterator[None]:
    """Write small files of a folder one after another: two runs may verify or copy a set at the same time. Raises OSError."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # not all file systems lock folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        os.fsync(handle)
    finally:
        os.close(handle)


def put(path: str, data: bytes) -> None:
    partial = path + _PARTIAL
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.rename(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def remove_partials(folder: str, ending: str) -> None:
    """Remove what runs that were killed were writing to files of that ending. Raises OSError."""
    with alone(folder):  # nobody writes one now
        for name in os.listdir(folder):
            if name.endswith(ending + _PARTIAL):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))


def sync_folder(path: str) -> None:
    """Have the names in a folder on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
