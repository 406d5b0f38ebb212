# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mounts worth watching, and their space, without hanging on a mount whose server is gone."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils.host_options import Selection

#: Types that hold no files of their own (those of the kernel's own interfaces).
_PSEUDO = frozenset(
    (
        *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "cpuset", "debugfs", "devpts", "devtmpfs", "efivarfs"),
        *("fuse.gvfsd-fuse", "fuse.lxcfs", "fuse.portal", "fusectl", "hugetlbfs", "mqueue", "none", "nsfs", "proc", "pstore", "ramfs"),
        *("rootfs", "rpc_pipefs", "securityfs", "selinuxfs", "sockfs", "sysfs", "tracefs"),
    )
)
#: Read-only images, which are always full.
_IMAGES = frozenset(("cramfs", "erofs", "fuse.snapfuse", "iso9660", "romfs", "squashfs", "udf"))
#: Memory file systems that programs fill.
_TMPFS = ("/tmp", "/var/tmp", "/run")  # noqa: S108  # looked at, not written
#: Types whose answer comes from another machine or program, which may never come.
_REMOTE = re.compile(r"(nfs4?|cifs|smb3?|smbfs|ceph|glusterfs|lustre|gfs2?|ocfs2|afs|9p|beegfs|gpfs|fuse(\..*)?|davfs|virtiofs)\Z")
#: As many remote mounts are asked at once.
_AT_ONCE = 32


class Mount(NamedTuple):
    """A line of ``mountinfo``. ``device``: major:minor, the same for all mounts of one file system; ``root``: what part of it."""

    point: str
    type: str
    source: str
    device: str
    root: str
    read_only: bool

    @property
    def remote(self) -> bool:
        """Whether the answer depends on another machine or program."""
        return bool(_REMOTE.match(self.type))


class Space(NamedTuple):
    """Bytes and inodes of a file system. ``available``: what users without privileges may still write."""

    total: int
    used: int
    available: int
    inodes: int
    inodes_used: int
    folder: bool
    took_ms: float

    @property
    def percent(self) -> Optional[float]:
        """Used share of what users may fill, as ``df`` tells it; None for a file system without a size."""
        usable = self.used + self.available
        return round(100.0 * self.used / usable, 2) if usable > 0 else None

    @property
    def inodes_percent(self) -> Optional[float]:
        """Used share of inodes; None where the file system makes them as needed."""
        return round(100.0 * self.inodes_used / self.inodes, 2) if self.inodes > 0 else None


class Answer(NamedTuple):
    """What came back for a mount: its space, or ``reason`` (``hangs``, or the system's error text)."""

    space: Optional[Space]
    reason: Optional[str] = None


_ESCAPE = re.compile(r"\\([0-7]{3})")


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found.group(1), 8)), text)


def parse_mountinfo(text: str) -> List[Mount]:
    """The lines of ``/proc/self/mountinfo`` (proc(5)); a mount over another at the same point hides it."""
    found: Dict[str, Mount] = {}
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if not dash or len(fields) < 6 or len(rest) < 2:
            continue
        point = _unescape(fields[4])
        found.pop(point, None)
        options = fields[5].split(",") + (rest[2].split(",") if len(rest) > 2 else [])
        found[point] = Mount(point, rest[0], _unescape(rest[1]), fields[2], _unescape(fields[3]), "ro" in options)
    return list(found.values())


def _is_real(mount: Mount) -> bool:
    if mount.type in _PSEUDO or mount.type in _IMAGES:
        return False
    if mount.type == "tmpfs":
        return mount.point in _TMPFS
    if mount.type == "overlay":
        return mount.point == "/"  # a container's own root; the others are containers of this host
    return True


def select(mounts: Iterable[Mount], selection: Selection) -> List[List[Mount]]:
    """The mounts to look at, as candidates per file system: the first that is a folder stands for it.

    Pseudo file systems, images, tmpfs that programs do not fill, overlays of containers and second mounts of one file system
    are left out, unless ``selection`` includes them.
    """
    devices: Dict[str, List[Mount]] = {}
    for mount in mounts:
        if selection.excluded(mount.point):
            continue
        if selection.included(mount.point):
            devices[mount.point] = [mount]  # a key that no device has
        elif _is_real(mount):
            devices.setdefault(mount.device, []).append(mount)
    groups = []
    for key, group in devices.items():
        if not key.startswith("/") and any(other.startswith("/") and devices[other][0].device == key for other in devices):
            continue  # shown already under the name that was asked for
        group.sort(key=lambda mount: (mount.root != "/", mount.point.count("/"), mount.point))
        groups.append(group)
    return sorted(groups, key=lambda group: group[0].point)


def missing(mounts: Iterable[Mount], selection: Selection) -> List[str]:
    """Mount points asked for by name (not by glob) where nothing is mounted."""
    points = {mount.point for mount in mounts}
    return [name for name in selection.include if name not in points and not re.search(r"[*?\[]", name)]


def space(path: str) -> Space:
    """Ask the file system. Raises OSError; may never return."""
    started = time.monotonic()
    told = os.statvfs(path)
    folder = os.path.isdir(path)
    took = (time.monotonic() - started) * 1000
    unit = told.f_frsize
    return Space(
        told.f_blocks * unit,
        (told.f_blocks - told.f_bfree) * unit,
        told.f_bavail * unit,
        told.f_files,
        told.f_files - told.f_ffree,
        folder,
        round(took, 1),
    )


class _Child:
    """A process that asks for the space of some mounts, one after another, and writes each answer into a pipe.

    It holds none of our open files: one that hangs in the kernel for ever must not keep the connection open.
    """

    def __init__(self, points: Sequence[str], ask: Callable[[str], Space]) -> None:
        self.left = list(points)
        self.asked_at = time.monotonic()
        self.data = b""
        reader, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            self._work(writer, ask)
        os.close(writer)
        self.reader = reader

    def _work(self, writer: int, ask: Callable[[str], Space]) -> None:
        try:
            os.setsid()
            os.dup2(writer, 3)
            null = os.open(os.devnull, os.O_RDWR)
            for handle in (0, 1, 2):
                os.dup2(null, handle)
            os.closerange(4, 4096)
            for point in self.left:
                try:
                    answer: List[Any] = [list(ask(point)), None]
                except OSError as error:
                    answer = [None, error.strerror or str(error)]
                os.write(3, json.dumps(answer).encode() + b"\n")
        finally:
            os._exit(0)

    def take(self) -> List[Answer]:
        """The answers that have come. Call when the pipe is readable."""
        more = os.read(self.reader, 65536)
        self.data += more
        lines = self.data.split(b"\n")
        self.data = lines.pop()
        self.asked_at = time.monotonic()
        answers = [Answer(Space(*told) if told else None, reason) for told, reason in map(json.loads, lines)]
        if not more:
            answers += [Answer(None, "no answer")] * (len(self.left) - len(answers))
        return answers

    def end(self) -> None:
        """Kill it, and leave it to the kernel where that does not work at once."""
        os.close(self.reader)
        try:
            os.kill(self.pid, 9)
            for _attempt in range(20):
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
                time.sleep(0.001)
        except (OSError, ChildProcessError):
            return


def by_risk(mounts: Iterable[Mount]) -> List[List[str]]:
    """Mount points in groups that one child each asks: the local ones together, each remote one alone."""
    local: List[str] = []
    remote: List[str] = []
    for mount in mounts:
        (remote if mount.remote else local).append(mount.point)
    return ([local] if local else []) + [[point] for point in remote]


class Spaces:
    """Asks for the space of paths in children, one for each group, while the caller does something else."""

    def __init__(self, groups: Iterable[Sequence[str]], timeout: float, ask: Callable[[str], Space] = space) -> None:
        self.timeout = timeout
        self.ask = ask
        self.answers: Dict[str, Answer] = {}
        self.waiting: List[Sequence[str]] = list(groups)
        self.children: List[_Child] = []
        self._start()

    def _start(self) -> None:
        while self.waiting and len(self.children) < _AT_ONCE:
            self.children.append(_Child(self.waiting.pop(0), self.ask))

    def collect(self) -> Dict[str, Answer]:
        """All answers by mount point, each at most ``timeout`` seconds after it was asked for (of ``_AT_ONCE`` at a time)."""
        import select as select_module

        while self.children:
            self._start()
            now = time.monotonic()
            first = min(child.asked_at for child in self.children) + self.timeout
            ready = set(select_module.select([child.reader for child in self.children], [], [], max(0.0, first - now))[0])
            now = time.monotonic()
            for child in list(self.children):
                if child.reader in ready:
                    for answer in child.take():
                        self.answers[child.left.pop(0)] = answer
                elif now - child.asked_at >= self.timeout:
                    self.answers[child.left.pop(0)] = Answer(None, "hangs")
                    if child.left:
                        self.waiting.append(child.left)
                    child.left = []
                if not child.left:
                    child.end()
                    self.children.remove(child)
            self._start()
        return self.answers
