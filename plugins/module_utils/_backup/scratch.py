# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scratch places for reading and trial restores: own folders that are gone afterwards, after a kill with the next run.

A scratch place is a folder of ours that holds ``.owner``, locked for as long as the run lives. What a killed run has left, its
temporary servers included, is removed by the next one that needs a place in the same folder.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from typing import Callable, Iterator, List

from ansible_collections.opsrunner.runbook.plugins.module_utils._files import tree

from .sets import BackupError

PREFIX = "opsrunner-scratch-"
OWNER = ".owner"
#: Where the folder cannot be locked, one without an owner that is younger than this is being made.
_BEING_MADE = 60.0
#: Seconds that are waited for who sweeps the folder.
_PATIENCE = 5.0


@contextlib.contextmanager
def place(folder: str, warn: Callable[[str], None] = lambda _text: None) -> Iterator[str]:
    """An own empty folder below ``folder``, which is created if need be; gone afterwards. Raises BackupError."""
    import fcntl

    try:
        os.makedirs(folder, 0o755, exist_ok=True)
        for name in sweep(folder, warn=warn):
            warn("%s was left by a killed run and has been removed" % os.path.join(folder, name))
    except OSError as error:
        raise _none_made(folder, error) from None
    path, handle = "", -1
    try:
        with _locked(folder, fcntl.LOCK_SH, _PATIENCE):
            try:
                path = tempfile.mkdtemp(prefix=PREFIX, dir=folder)
            except OSError as error:
                raise _none_made(folder, error) from None
            os.chmod(path, 0o711)  # noqa: S103 - a server that runs as another user has its own folder in it
            # Locked before it has its name: who sweeps takes an owner that is not locked for dead.
            unnamed = os.path.join(path, OWNER + ".new")
            handle = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.rename(unnamed, os.path.join(path, OWNER))
        yield path
    finally:
        try:
            if path:
                remove(folder, os.path.basename(path))
        except OSError as error:
            warn("%s could not be removed: %s" % (path, error.strerror or error))
        if handle >= 0:
            os.close(handle)


def _none_made(folder: str, error: OSError) -> BackupError:
    return BackupError("denied", "no scratch place can be made in %s: %s" % (folder, error.strerror or error))


@contextlib.contextmanager
def _locked(folder: str, how: int, patience: float = 0.0) -> Iterator[bool]:
    """Keep others from making places in a folder (``LOCK_EX``), or from sweeping it (``LOCK_SH``); whether that could be had."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + patience
        had = False
        while not had:
            try:
                fcntl.flock(handle, how | fcntl.LOCK_NB)
                had = True
            except BlockingIOError:
                if time.monotonic() >= until:
                    break
                time.sleep(0.02)
            except OSError:  # not all file systems lock folders
                break
        yield had
    finally:
        os.close(handle)


def sweep(folder: str, look_only: bool = False, warn: Callable[[str], None] = lambda _text: None) -> List[str]:
    """Remove scratch places whose owner is dead; returns their names. Those of other users are none of ours. What cannot be removed
    is told by ``warn``. Raises OSError."""
    import fcntl

    try:
        with _locked(folder, fcntl.LOCK_EX) as alone:
            return _swept(folder, alone, look_only, warn)
    except FileNotFoundError:
        return []


def _swept(folder: str, alone: bool, look_only: bool, warn: Callable[[str], None]) -> List[str]:
    gone = []
    for name in sorted(name for name in os.listdir(folder) if name.startswith(PREFIX)):
        path = os.path.join(folder, name)
        try:
            told = os.lstat(path)
        except FileNotFoundError:
            continue
        if told.st_uid != os.geteuid() or (told.st_mode & 0o170000) != 0o040000 or _lives(path, told.st_mtime, alone):
            continue
        if not look_only:
            _end_programs(path)
            try:
                remove(folder, name)
            except OSError as error:
                warn("%s was left by a killed run and cannot be removed: %s" % (path, error.strerror or error))
                continue
        gone.append(name)
    return gone


def remove(folder: str, name: str) -> None:
    """Remove a scratch place; links in it are not followed, other file systems not entered. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            tree.remove_tree(handle, name)
        except PermissionError:
            _open_up(os.path.join(folder, name))
            tree.remove_tree(handle, name)
    except FileNotFoundError:
        pass
    finally:
        os.close(handle)


def _open_up(path: str) -> None:
    """Folders that were restored as they were, without the right to write into them, may be emptied."""
    device = os.lstat(path).st_dev
    for here, folders, _files in os.walk(path):
        for name in list(folders):
            inner = os.path.join(here, name)
            with contextlib.suppress(OSError):
                told = os.lstat(inner)
                if (told.st_mode & 0o170000) == 0o040000 and told.st_dev == device:
                    os.chmod(inner, 0o700)
                    continue
            folders.remove(name)


def _lives(path: str, made: float, alone: bool) -> bool:
    """Whether a place's run lives. ``alone``: nobody makes a place now, so that one without an owner is nobody's."""
    import fcntl

    try:
        handle = os.open(os.path.join(path, OWNER), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return not alone and abs(time.time() - made) < _BEING_MADE
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _end_programs(path: str) -> None:
    """End temporary servers that a killed run has left in its scratch place, and wait until they have: they would go on writing.

    The random name is in their words, or they work in it.
    """
    for _attempt in range(100):
        left = [
            process for process in map(int, filter(str.isdigit, os.listdir("/proc"))) if process != os.getpid() and _uses(process, path)
        ]
        for process in left:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        if not left:
            return
        time.sleep(0.02)


def _uses(process: int, path: str) -> bool:
    with contextlib.suppress(OSError), open("/proc/%d/cmdline" % process, "rb") as file:
        if os.fsencode(path) + b"/" in file.read():
            return True
    with contextlib.suppress(OSError):
        return (os.readlink("/proc/%d/cwd" % process) + "/").startswith(path + "/")
    return False
