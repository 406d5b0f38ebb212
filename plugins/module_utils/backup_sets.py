# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sets in a backup's root: who works there, which there are, which one is meant, what was proved of each.

A set is a folder named by a UTC time, ``20260131T040506Z``. What ends in ``.partial`` is being made, what ends in ``.removing``
is being removed; neither is a set, nor is a link or a folder of any other name.
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import os
import re
import stat
import time
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils import backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_manifest import Manifest, Rung

#: Held by who makes, removes, fetches or restores.
LOCK = ".lock"
#: Held by who sends sets elsewhere and by who removes them: that may take long, and sets are made meanwhile.
COPYING = ".lock.copy"
#: Ending of the name of a set that is being removed.
REMOVING = ".removing"
NEWEST, NEWEST_PROVED = "newest", "newest-proved"

#: Clocks of file servers differ by as many seconds.
_SKEW = 300.0
#: Seconds that a program may take to be started.
_MOMENT = 5.0
_NAME = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z\Z", re.ASCII)


class BackupError(Exception):
    """A backup that cannot be worked with. ``code``: ``busy`` (another run works there), ``missing``, ``link``, ``denied``,
    ``not_found`` (no such set), ``space``, ``failed``; ``text``: what and why, for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class SetFolder(NamedTuple):
    """A set. ``at``: when it was made, seconds since the epoch: the manifest's end, else its name's time; ``problem``: why it is
    not whole, by its manifest and the sizes of its files; ``rungs``: what was proved, the highest first; ``size``: bytes; ``failed``:
    why it was found damaged when it was read back; ``failed_rung``: at which rung, 0 for none."""

    name: str
    path: str
    at: float
    manifest: Optional[Manifest]
    problem: Optional[str]
    rungs: List[Rung]
    size: int
    failed: Optional[str] = None
    failed_rung: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return self.problem is None and self.failed is None

    @property
    def rung(self) -> int:
        """The highest rung that was passed, 0 for none."""
        return self.rungs[0].rung if self.rungs else 0


def name_time(name: str) -> Optional[float]:
    """The time that the name of a set tells, seconds since the epoch; None for what is no name of a set."""
    found = _NAME.match(name)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups())
    if not (year and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1] and hour < 24 and minute < 60 and second < 60):
        return None
    return float(calendar.timegm((year, month, day, hour, minute, second)))


def set_name(at: float) -> str:
    """The name of a set that begins at a time."""
    return time.strftime(backup_manifest.NAME_FORMAT, time.gmtime(at))


def open_root(root: str) -> int:
    """A handle of a backup's root that no link leads to. Raises BackupError."""
    from ansible_collections.opsrunner.runbook.plugins.module_utils import cleanup

    try:
        return cleanup.open_folder(root)
    except FileNotFoundError:
        raise BackupError("missing", "%s is not there" % root) from None
    except PermissionError:
        raise BackupError("denied", "%s may not be opened by this user" % root) from None
    except OSError as error:
        raise BackupError("link", "%s is no folder, or is reached by a link: %s" % (root, error.strerror or error)) from None


@contextlib.contextmanager
def locked(root: str, purpose: str, wait: float = 0.0, lock: str = LOCK) -> Iterator[None]:
    """Work in a root alone: two runs never make, remove or restore there at the same time.

    The lock is the kernel's and ends with the process, so that a killed run leaves none behind. ``wait``: seconds to wait for
    another run's end; ``lock``: the kind of work. Raises BackupError, ``busy`` with who has it.
    """
    import fcntl

    folder = open_root(root)
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        raise BackupError("denied", "%s/%s cannot be opened: %s" % (root, lock, error.strerror or error)) from None
    finally:
        os.close(folder)
    try:
        if not take(handle, fcntl.LOCK_EX, wait):
            raise BackupError("busy", "%s is in use by %s" % (root, _holder(handle)))
        hold(handle, purpose)
        yield
    finally:
        os.close(handle)


def take(handle: int, how: int, wait: float = 0.0) -> bool:
    """Lock an open file that :func:`hold` is written to; False when another process has it.

    A program that the holder was just starting has its open files for a moment: when the holder itself is gone, that is waited for.
    """
    import fcntl

    started = time.monotonic()
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            passed = time.monotonic() - started
            if passed >= wait and (passed >= _MOMENT or _alive(handle)):
                return False
        time.sleep(0.02)


def hold(handle: int, purpose: str) -> None:
    """Write into a locked file who has it, and what for."""
    told = "%s, process %d, since %s" % (purpose, os.getpid(), backup_manifest.format_time(time.time()))
    with contextlib.suppress(OSError):  # on a full disk it is not told; the lock is the kernel's
        os.ftruncate(handle, 0)
        os.pwrite(handle, told.encode("utf-8"), 0)


def _alive(handle: int) -> bool:
    """Whether the process that a file tells of is there."""
    found = re.search(r", process (\d+), since ", _holder(handle))
    if not found:
        return False
    try:
        os.kill(int(found.group(1)), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _holder(handle: int) -> str:
    said = os.pread(handle, 500, 0).decode("utf-8", "replace").strip()
    return "".join(letter for letter in said if letter.isprintable()) or "another run"


def listed(root: str) -> List[SetFolder]:
    """The sets of a root, newest first by their names. Raises BackupError when the root cannot be listed."""
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if name_time(entry.name) is not None and entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        raise BackupError("missing", "%s is not there" % root) from None
    except OSError as error:
        raise BackupError("denied", "%s cannot be listed: %s" % (root, error.strerror or error)) from None
    return [look(root, name) for name in sorted(names, reverse=True)]


def look(root: str, name: str) -> SetFolder:
    """One set, looked at without reading its artifacts."""
    path = os.path.join(root, name)
    manifest: Optional[Manifest] = None
    problem: Optional[str] = None
    digest: Optional[str] = None
    try:
        data = backup_manifest.read_file(os.path.join(path, backup_manifest.MANIFEST))
        digest = sha256(data)
        manifest = backup_manifest.parse(data)
        problem = "; ".join(_told(wrong) for wrong in backup_manifest.check_files(manifest, path)) or None
    except FileNotFoundError:
        problem = "it has no %s" % backup_manifest.MANIFEST
    except OSError as error:
        problem = "%s cannot be read: %s" % (backup_manifest.MANIFEST, error.strerror or error)
    except backup_manifest.ManifestError as error:
        problem = "its manifest cannot be used: %s" % error.detail
    rungs: List[Rung] = []
    failed: Optional[Mapping[str, Any]] = None
    with contextlib.suppress(OSError, backup_manifest.ManifestError):
        verified = backup_manifest.read_file(os.path.join(path, backup_manifest.VERIFIED))
        rungs = backup_manifest.parse_verified(verified, digest)
        failed = _failed(verified)
    at = manifest.end if manifest else name_time(name) or 0.0
    size = manifest.size if manifest else 0
    return SetFolder(name, path, at, manifest, problem, rungs, size, _failure(failed), _failed_rung(failed))


def failure(verified: bytes) -> Optional[str]:
    """What a record of verification tells of a rung that was not passed."""
    return _failure(_failed(verified))


def _failed(verified: bytes) -> Optional[Mapping[str, Any]]:
    import json

    told = json.loads(verified.decode("utf-8")).get("failed")
    return told if isinstance(told, dict) else None


def _failure(told: Optional[Mapping[str, Any]]) -> Optional[str]:
    if told is None:
        return None
    return "rung %s was not passed: %s: %s" % (told.get("rung"), told.get("artifact") or "the set", told.get("reason"))


def _failed_rung(told: Optional[Mapping[str, Any]]) -> int:
    if told is None:
        return 0
    rung = told.get("rung")
    return int(rung) if rung in backup_manifest.RUNGS else backup_manifest.RUNGS[-1]


def sha256(data: bytes) -> str:
    """Of a manifest, as the ledger and the record of its verification have it."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


_WRONG = {
    "missing": "%s is missing",
    "size": "%s has not its size",
    "outside": "%s leads out of the set",
    "type": "%s is no plain file",
    "unreadable": "%s cannot be read",
}


def _told(wrong: backup_manifest.Problem) -> str:
    text = _WRONG[wrong.code] % wrong.file
    return "%s (%s)" % (text, wrong.detail) if wrong.detail else text


def proved(sets: Sequence[SetFolder], rung: int = 3) -> Optional[SetFolder]:
    """The newest sound set that has passed ``rung``, None when there is none. ``sets``: newest first."""
    return next((one for one in sets if one.sound and one.rung >= rung), None)


def choose(sets: Sequence[SetFolder], wanted: str, rung: int = 3) -> SetFolder:
    """The set that is meant by its name, ``newest`` (sound one), ``newest-proved`` (that has passed ``rung``), or the beginning
    of its time, such as ``2026-01-31`` or ``20260131T02``: then the newest of those. ``sets``: newest first.

    A set that is named is given back even when something is wrong with it. Raises BackupError, which names what is near.
    """
    if not sets:
        raise BackupError("not_found", "there is no set")
    found: Optional[SetFolder]
    if wanted == NEWEST:
        found = next((one for one in sets if one.sound), None)
        if found is None:
            wrong = sets[0].problem or sets[0].failed
            raise BackupError("not_found", "none of the %d sets is sound; the newest: %s, %s" % (len(sets), sets[0].name, wrong))
        return found
    if wanted == NEWEST_PROVED:
        found = proved(sets, rung)
        if found is None:
            raise BackupError("not_found", "none of the %d sets has passed rung %d; the newest is %s" % (len(sets), rung, sets[0].name))
        return found
    start = time_start(wanted)
    found = next((one for one in sets if one.name == wanted or (start and one.name.startswith(start))), None)
    if found is None:
        raise BackupError("not_found", "there is no set %r; the nearest is %s" % (wanted, _nearest(sets, wanted, start)))
    return found


def time_start(wanted: str) -> Optional[str]:
    """What the name of a set begins with whose time begins as ``wanted`` says; None when that is no time."""
    told = wanted.strip().rstrip("Zz")
    day, _separator, hour = told.replace("t", "T").replace(" ", "T").partition("T")
    day, hour = day.replace("-", ""), hour.replace(":", "")
    if not day.isdigit() or not 4 <= len(day) <= 8 or (hour and not (len(day) == 8 and hour.isdigit() and len(hour) <= 6)):
        return None
    return "%sT%s" % (day, hour) if hour else day


def _nearest(sets: Sequence[SetFolder], wanted: str, start: Optional[str]) -> str:
    if start:
        full = start + "00000101T000000Z"[len(start) :]
        at = name_time(full) or name_time(full[:4] + full[4:8].replace("00", "01") + full[8:])
        if at is not None:
            return min(sets, key=lambda one: abs((name_time(one.name) or 0.0) - float(at or 0))).name
    from ansible_collections.opsrunner.runbook.plugins.module_utils.options import nearest

    return nearest(wanted, [NEWEST, NEWEST_PROVED, *(one.name for one in sets)]) or sets[0].name


def write_verified(set_folder: SetFolder, rungs: Sequence[Rung], failed: Optional[Mapping[str, Any]] = None) -> None:
    """Write down rungs that a set has passed; of each the latest time is kept, with those that are written down already.

    ``failed``: what is known of the rung that was not passed: from it on nothing that was written down before counts. A failure that
    is written down stays until its rung is passed. Atomic: who reads sees the old record or the new one. Raises OSError.
    """
    import json

    with _alone(set_folder.path):
        digest: Optional[str] = None
        before: List[Rung] = []
        with contextlib.suppress(OSError, backup_manifest.ManifestError):
            digest = sha256(backup_manifest.read_file(os.path.join(set_folder.path, backup_manifest.MANIFEST)))
        path = os.path.join(set_folder.path, backup_manifest.VERIFIED)
        now = max((rung.at for rung in rungs), default=time.time())
        with contextlib.suppress(OSError, backup_manifest.ManifestError):
            data = backup_manifest.read_file(path)
            # A record from the future was made by a clock that was wrong.
            before = [rung for rung in backup_manifest.parse_verified(data, digest) if rung.at <= now + _SKEW]
            if failed is None:
                failed = _failed(data)
                if max((rung.rung for rung in rungs), default=0) >= _failed_rung(failed):
                    failed = None
        if failed is not None:
            before = [rung for rung in before if rung.rung < _failed_rung(failed)]
        latest: Dict[int, float] = {}
        for rung in [*before, *rungs]:
            latest[rung.rung] = max(rung.at, latest.get(rung.rung, 0.0))
        told: Dict[str, Any] = {"schema": backup_manifest.SCHEMA}
        if digest:
            told["manifest_sha256"] = digest
        told["rungs"] = [{"rung": rung, "at": backup_manifest.format_time(latest[rung])} for rung in sorted(latest)]
        if failed is not None:
            told["failed"] = failed
        _put(path, (json.dumps(told, indent=1) + "\n").encode("utf-8"))


def write_synced(path: str, data: bytes) -> None:
    """Put a small file in place, mode 0600, so that it is the old one or the new one also after a power cut. Raises OSError."""
    with _alone(os.path.dirname(path)):
        _put(path, data)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
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


def _put(path: str, data: bytes) -> None:
    partial = path + backup_manifest.PARTIAL
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
    os.rename(partial, path)


def sync_folder(path: str) -> None:
    """Have the names in a folder on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
            above = os.open("..", _FOLDER, dir_fd=here)
            os.close(here)
            here = above
            told = os.fstat(here)
            if (told.st_dev, told.st_ino) != (way[-1].found.st_dev, way[-1].found.st_ino):
                raise OSError(errno.EBUSY, "it was moved while it was being removed", level.name)
            os.rmdir(level.name, dir_fd=here)
    finally:
        os.close(here)


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _check_mounts(folder: int, name: str) -> None:
    """OSError when something is mounted in a folder; what is bound there from the same file system cannot be told otherwise."""
    from ansible_collections.opsrunner.runbook.plugins.module_utils.cleanup import mount_points

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
    handle = os.open(level.name, _FOLDER, dir_fd=folder)
    told = os.fstat(handle)
    if told.st_dev == device and told.st_ino == level.found.st_ino:
        return handle
    os.close(handle)
    if told.st_dev != device:
        raise OSError(errno.EXDEV, "another file system is mounted there", level.name)
    raise OSError(errno.EBUSY, "it was changed while it was being removed", level.name)
