# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mounts worth watching."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Dict, Iterable, List, NamedTuple, Optional

from .options import Selection

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
_REMOTE = r"(nfs4?|cifs|smb3?|smbfs|ceph|glusterfs|lustre|gfs2?|ocfs2|afs|9p|beegfs|gpfs|fuse(\..*)?|davfs|virtiofs)\Z"


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
        return bool(re.match(_REMOTE, self.type))


_ESCAPE = r"\\([0-7]{3})"


def _unescape(text: str) -> str:
    return re.sub(_ESCAPE, lambda found: chr(int(found.group(1), 8)), text)


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


def by_risk(mounts: Iterable[Mount]) -> List[List[str]]:
    """Mount points in groups that one child each asks: the local ones together, each remote one alone."""
    local: List[str] = []
    remote: List[str] = []
    for mount in mounts:
        (remote if mount.remote else local).append(mount.point)
    return ([local] if local else []) + [[point] for point in remote]


def is_mounted(point: str) -> bool:
    """Whether a file system is mounted at a folder, and seen there. An automounter mounts it when it is asked for."""
    number = _mount_of(point)
    if number is None:
        return False
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line for line in file if line.split(" ", 1)[0] == number]
    return any(mount.point == point and mount.type != "autofs" for mount in parse_mountinfo("".join(lines)))


def _mount_of(folder: str) -> Optional[str]:
    """The number of the mount that a folder is seen through; None when it is not there."""
    for path in (folder + "/.", folder):  # the first asks an automounter, the second is for who may not enter
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with open("/proc/self/fdinfo/%d" % handle, encoding="ascii") as file:
                    return next((line.split()[1] for line in file if line.startswith("mnt_id:")), None)
            finally:
                os.close(handle)
    return None
