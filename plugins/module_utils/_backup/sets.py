# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sets in a backup's root: who works there, which there are, which one is meant, what was proved of each.

A set is a folder named by a UTC time, ``20260131T040506Z``. What ends in ``.partial`` is being made, what ends in ``.removing``
is being removed; neither is a set, nor is a link or a folder of any other name.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.set_names import name_time
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable

from . import manifest as backup_manifest
from .manifest import Manifest, Rung

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


def open_root(root: str) -> int:
    """A handle of a backup's root that no link leads to. Raises BackupError."""
    from ansible_collections.opsrunner.runbook.plugins.module_utils._files import folders

    try:
        return folders.open_folder(root)
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
    told = "%s, process %d, since %s" % (purpose, os.getpid(), times.format_time(time.time()))
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
    from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import nearest

    return nearest(wanted, [NEWEST, NEWEST_PROVED, *(one.name for one in sets)]) or sets[0].name


def write_verified(set_folder: SetFolder, rungs: Sequence[Rung], failed: Optional[Mapping[str, Any]] = None) -> None:
    """Write down rungs that a set has passed; of each the latest time is kept, with those that are written down already.

    ``failed``: what is known of the rung that was not passed: from it on nothing that was written down before counts. A failure that
    is written down stays until its rung is passed. Atomic: who reads sees the old record or the new one. Raises OSError.
    """
    import json

    with durable.alone(set_folder.path):
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
        told["rungs"] = [{"rung": rung, "at": times.format_time(latest[rung])} for rung in sorted(latest)]
        if failed is not None:
            told["failed"] = failed
        durable.put(path, (json.dumps(told, indent=1) + "\n").encode("utf-8"))
