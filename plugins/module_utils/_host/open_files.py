# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files processes have open or mapped, and which process holds the files of a place."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

#: A device and an inode: a file, whatever its path is called where a process sees it.
Inode = Tuple[int, int]

#: Files of a place that are read from the disk, to know those that a container sees under another path.
_MOST = 200_000
#: Files that are asked for one by one whether another process has them open.
_LEASES = 50_000
#: What a process is called that cannot be seen.
UNSEEN = "a process that cannot be seen"
_UNIT = re.compile(r"[^/]+\.(?:service|scope|socket)\Z")


class Open(NamedTuple):
    """Files that processes have open, as (device, inode) and as mapped paths. ``complete``: all processes could be seen."""

    inodes: Set[Inode]
    paths: Set[str]
    complete: bool


class Holder(NamedTuple):
    """A process that has files of a place open. ``pid``: 0 when it cannot be seen;
    ``unit``: its systemd unit, empty when it has none; ``paths``: some of the files."""

    pid: int
    name: str
    unit: str
    paths: Tuple[str, ...]

    def __str__(self) -> str:
        if not self.pid:
            return self.name
        return "%s (process %d%s)" % (self.name, self.pid, ", " + self.unit if self.unit else "")


class Holders(NamedTuple):
    """Who has files of a place open. ``complete``: all processes could be seen."""

    found: Tuple[Holder, ...]
    complete: bool


class _File(NamedTuple):
    inode: Inode
    path: str
    links: int


def open_files(proc: str = "/proc") -> Open:
    """What every process has open or mapped. Raises OSError when ``proc`` cannot be read."""
    inodes: Set[Inode] = set()
    paths: Set[str] = set()
    complete = True
    for pid in _pids(proc):
        try:
            for file in _handles(os.path.join(proc, pid)):
                inodes.add(file.inode)
            paths.update(_mapped(os.path.join(proc, pid)))
        except PermissionError:
            complete = False
        except OSError as error:
            _gone(error)
    return Open(inodes, paths, complete)


def holders(places: Sequence[str], proc: str = "/proc") -> Holders:
    """Who besides this process has a file of the ``places`` open: files, or folders with all below them. Raises OSError when
    ``proc`` cannot be read."""
    sight = _Places(places)
    found: List[Holder] = []
    complete = True
    for pid in _pids(proc):
        if int(pid) == os.getpid() or not sight.devices:
            continue
        folder = os.path.join(proc, pid)
        try:
            files = {path for file in _handles(folder) for path in [sight.path_of(file)] if path}
            files.update(path for path in _mapped(folder) if sight.has(path) and os.path.lexists(path))
        except PermissionError:
            complete = False
            continue
        except OSError as error:
            _gone(error)
            continue
        if files:
            found.append(Holder(int(pid), _name(folder), _unit(folder), tuple(sorted(files)[:5])))
    if complete or found:
        return Holders(tuple(found), complete)
    return _by_lease(sight)


class _Places:
    """Files, or folders with all below them."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = tuple(place.rstrip("/") for place in places if os.path.lexists(place))
        self._inodes: Optional[Dict[Inode, str]] = None
        #: The file systems that the places are on.
        self.devices = {os.lstat(place).st_dev for place in self._places}

    def has(self, path: str) -> bool:
        """Whether a path is one of the places or below one."""
        return any(path == place or path.startswith(place + "/") for place in self._places)

    def path_of(self, file: _File) -> Optional[str]:
        """The path of an open file in the places, None for one that is elsewhere."""
        if not file.links:
            return None
        if self.has(file.path):
            return file.path
        # Below a mount point inside a place is another device: there only the path counts.
        if file.inode[0] not in self.devices or (file.links == 1 and _is(file.path, file.inode)):
            return None
        # A container sees it under another path, or it has a second name.
        return self._known().get(file.inode)

    def _known(self) -> Dict[Inode, str]:
        if self._inodes is None:
            self._inodes = {}
            for path in self.files():
                with contextlib.suppress(OSError):
                    found = os.lstat(path)
                    self._inodes[found.st_dev, found.st_ino] = path
                if len(self._inodes) >= _MOST:
                    break
        return self._inodes

    def files(self) -> Iterator[str]:
        """Every path in the places that is no folder, and the places themselves."""
        for place in self._places:
            yield place
            for folder, _folders, files in os.walk(place):
                for name in files:
                    yield os.path.join(folder, name)


def _by_lease(sight: _Places) -> Holders:
    """Who has a file of the places open, where not all processes can be seen: the kernel gives a lease of a file only to who alone
    has it open. It does not say who else has."""
    complete = True
    for number, path in enumerate(sight.files()):
        alone = _alone(path) if number < _LEASES else None
        if alone is False:
            return Holders((Holder(0, UNSEEN, "", (path,)),), complete)
        complete = complete and alone is True
        if number >= _LEASES:
            break
    return Holders((), complete)


def _alone(path: str) -> Optional[bool]:
    """Whether nobody has a plain file open; True for what is none, None when it cannot be determined."""
    import fcntl
    import signal

    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return True
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return None
    try:
        # The usual signal to the holder of a lease that another one breaks would end this process.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return True
    except BlockingIOError:
        # Older kernels refuse it for a file with a second name, too.
        return False if os.fstat(handle).st_nlink == 1 else None
    except OSError:  # a file system without leases, or another user's file
        return None
    finally:
        os.close(handle)


def _is(path: str, inode: Inode) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == inode


def _pids(proc: str) -> List[str]:
    return [name for name in os.listdir(proc) if name.isdigit()]


def _handles(folder: str) -> Iterator[_File]:
    """The plain files that a process has open. Raises OSError."""
    base = os.path.join(folder, "fd")
    for handle in os.listdir(base):
        try:
            found = os.stat(os.path.join(base, handle))
            path = os.readlink(os.path.join(base, handle))
        except PermissionError:
            raise
        except OSError:  # closed meanwhile
            continue
        if stat.S_ISREG(found.st_mode):
            yield _File((found.st_dev, found.st_ino), path, found.st_nlink)


def _mapped(folder: str) -> Iterator[str]:
    """The paths that a process has mapped. Raises OSError."""
    with open(os.path.join(folder, "maps"), encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if " /" in line:
                yield line.split(None, 5)[5].rstrip("\n")


def _gone(error: OSError) -> None:
    """Raises the error again unless it says that the process has ended."""
    if error.errno not in (errno.ENOENT, errno.ESRCH):
        raise error


def _name(folder: str) -> str:
    with contextlib.suppress(OSError), open(os.path.join(folder, "comm"), encoding="utf-8", errors="replace") as file:
        said = "".join(letter for letter in file.read() if letter.isprintable())
        if said:
            return said
    return "?"


def _unit(folder: str) -> str:
    """The innermost systemd unit of the process's control group."""
    try:
        with open(os.path.join(folder, "cgroup"), encoding="utf-8", errors="replace") as file:
            lines = [line.rstrip("\n").split(":", 2)[-1] for line in file]
    except OSError:
        return ""
    return next((part for line in lines for part in reversed(line.split("/")) if _UNIT.match(part)), "")
