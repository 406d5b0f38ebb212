# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets that are being made, or were when their run was killed: whose they are, and what they hold still."""

from __future__ import annotations

import errno
import os
from typing import List

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import HELD
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import tree

from . import sets as backup_sets

#: Locked by the run that writes a partial.
OWNER = ".owner"
#: The engines' temporary files in a partial, a folder for each artifact.
SCRATCH = ".scratch"


def partials(folder: int) -> List[str]:
    """Names of sets in an open root that are being written, or were when their writer died."""
    ending = set_names.PARTIAL
    return [
        name
        for name in sorted(os.listdir(folder))
        if name.endswith(ending) and set_names.name_time(name[: -len(ending)]) is not None and tree.is_folder(folder, name)
    ]


def held(folder: int, partial: str) -> List[str]:
    """Names of the artifacts in a partial whose dumps held something when they were killed."""
    scratch = os.path.join(partial, SCRATCH)
    try:
        handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:  # it was not made yet, or is removed already
        return []
    try:
        names = sorted(os.listdir(handle))
    finally:
        os.close(handle)
    return [name for name in names if _is_there(os.path.join(scratch, name, HELD), folder)]


def _is_there(path: str, folder: int) -> bool:
    try:
        os.stat(path, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def lives(folder: int, name: str) -> bool:
    """Whether the writer of a partial is alive: it holds a lock that ends with its process."""
    import fcntl

    try:
        handle = os.open(os.path.join(name, OWNER), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # a link is none of ours
            return False
        raise
    try:
        return not backup_sets.take(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def own(folder: int, partial: str) -> int:
    """Take a partial for this process; the lock goes with the handle."""
    import fcntl

    handle = os.open(os.path.join(partial, OWNER), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    fcntl.flock(handle, fcntl.LOCK_EX)
    backup_sets.hold(handle, "the writing of %s" % partial)
    return handle
