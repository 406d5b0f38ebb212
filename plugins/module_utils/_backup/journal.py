# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore has done and is about to do, written down on the host before it is done.

Per backup there is ``<backup>.json``, put in place by renaming, so that it is whole whenever the run is killed; ``<backup>.log``, a
line per step for people; and ``<backup>.lock``, which the run that works holds for as long as it lives. A journal whose phase is none
of :data:`SETTLED` and whose lock is free is a restore that was interrupted.

Nothing secret is in it: how data is reached comes from the backup's options each time, and a sum of them (without passwords) tells
whether they are still the same.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable

from . import manifest as backup_manifest

FOLDER = "/var/lib/opsrunner/restores"
SCHEMA = 1

#: What a restore is doing, in this order.
STAGING, STOPPING, SWAPPING, FINISHING, STARTING, DONE = "staging", "stopping", "swapping", "finishing", "starting", "done"
#: What takes it back, or makes it final.
UNDOING, DISCARDING = "undoing", "discarding"
PHASES = (STAGING, STOPPING, SWAPPING, FINISHING, STARTING, DONE, UNDOING, DISCARDING)
#: Nothing is under way: data is in place, and the data of before is aside.
SETTLED = (DONE,)

_LOG_LIMIT = 1 << 20
_MOMENT = 1.0


class JournalError(Exception):
    """A journal that cannot be used. ``code``: ``busy`` (its restore is under way), ``unreadable``, ``failed``."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Part(NamedTuple):
    """One artifact of a restore. ``part``: what of it, empty for the whole; ``digest``: of the options by which its data is reached."""

    artifact: Artifact
    part: Tuple[str, ...]
    digest: str
    units: Tuple[str, ...] = ()


class State(NamedTuple):
    """A restore. ``set``: the set's name; ``path``: its folder; ``services``: of each service that is stopped, in that order,
    whether it was up before; ``started``: seconds since the epoch; ``reason``: why it is taken back; ``aside``: where data is set
    aside; ``start``: ``as_before`` or ``all``; ``reached``: the phase from which it is taken back."""

    backup: str
    ident: str
    set: str
    path: str
    phase: str
    parts: Tuple[Part, ...]
    services: Tuple[Tuple[str, bool], ...] = ()
    started: float = 0.0
    reason: str = ""
    aside: Tuple[str, ...] = ()
    start: str = "as_before"
    reached: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether it was left in the middle (if nobody works on it)."""
        return self.phase not in SETTLED

    @property
    def ways(self) -> List[str]:
        """How it can be ended."""
        if self.phase == DISCARDING:
            return ["--discard"]
        return ["--undo"] if self.phase == UNDOING else ["--undo", "--resume"]


class Journal:
    """The journal of a backup's restore, held by this process."""

    def __init__(self, folder: str, backup: str) -> None:
        self.folder, self.backup = folder, backup

    def read(self) -> Optional[State]:
        """The restore that was the last; None when there is none. JournalError."""
        return read(self.folder, self.backup)

    def write(self, state: State, put_by: bool = False) -> None:
        """Have the state on the disk, in the journal or in the one put by of its ident. Raises OSError."""
        name = "%s.%s" % (self.backup, state.ident) if put_by else self.backup
        durable.write_synced(_path(self.folder, name), _packed(state))

    def log(self, text: str) -> None:
        """Add a line for people, with the time, on the disk. Raises OSError."""
        path = _path(self.folder, self.backup, ".log")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(handle).st_size > _LOG_LIMIT:
                os.ftruncate(handle, 0)
            line = "%s [%d] %s\n" % (times.format_time(time.time()), os.getpid(), " ".join(text.split()))
            os.write(handle, line.encode("utf-8", "replace"))
            os.fsync(handle)
        finally:
            os.close(handle)

    def put_by(self, state: State) -> None:
        """Keep the journal of a restore that is settled under its own name, to make room for the next. Raises OSError."""
        os.rename(_path(self.folder, self.backup), _path(self.folder, "%s.%s" % (self.backup, state.ident)))
        durable.sync_folder(self.folder)

    def take_up(self, state: State) -> None:
        """Have a journal that was put by in its place again; there is no other one. Raises OSError."""
        os.rename(_path(self.folder, "%s.%s" % (self.backup, state.ident)), _path(self.folder, self.backup))
        durable.sync_folder(self.folder)

    def remove(self, ident: Optional[str] = None) -> None:
        """Remove the journal, or the one put by of that ident. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(self.folder, self.backup if ident is None else "%s.%s" % (self.backup, ident)))
            durable.sync_folder(self.folder)

    def put_by_states(self) -> List[State]:
        """The restores that were put by, oldest first. JournalError."""
        return [state for name, state in states(self.folder) if state.backup == self.backup and name != _name(self.backup)]


@contextlib.contextmanager
def held(folder: str, backup: str) -> Iterator[Journal]:
    """Work on a backup's restore alone. JournalError ``busy`` while another process does."""
    import fcntl

    path = _path(folder, backup, ".lock")
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError("failed", "%s cannot be written: %s" % (path, error.strerror or error)) from None
    try:
        if not _locked(handle, fcntl.LOCK_EX):
            who = os.pread(handle, 100, 0).decode("ascii", "replace").strip() or "another process"
            raise JournalError("busy", "a restore of %s is under way, %s" % (backup, who))
        os.ftruncate(handle, 0)
        os.pwrite(handle, b"process %d" % os.getpid(), 0)
        with contextlib.suppress(OSError):  # in nobody's way
            durable.remove_partials(folder, ".json")
        yield Journal(folder, backup)
    finally:
        os.close(handle)


def is_held(folder: str, backup: str) -> bool:
    """Whether a process works on a backup's restore now. Changes nothing."""
    import fcntl

    try:
        handle = os.open(_path(folder, backup, ".lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _locked(handle: int, how: int) -> bool:
    """Take the lock. A run that was killed while it started a program leaves it held for the moment until that program begins."""
    import fcntl

    until = time.monotonic() + _MOMENT
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)


def read(folder: str, name: str) -> Optional[State]:
    """The state in a journal; None when there is none. JournalError."""
    import json

    path = _path(folder, name)
    try:
        value = json.loads(backup_manifest.read_file(path).decode("utf-8"))
        return _unpacked(value)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except OSError as error:
        raise JournalError("failed", "%s cannot be read: %s" % (path, error.strerror or error)) from None
    except (ValueError, KeyError, TypeError, backup_manifest.ManifestError) as error:
        raise JournalError("unreadable", "%s is no journal of a restore: %s" % (path, error)) from None


def states(folder: str) -> List[Tuple[str, State]]:
    """Every restore that a journal tells of, with the journal's name, oldest first. JournalError."""
    try:
        names = sorted(name[: -len(".json")] for name in os.listdir(folder) if name.endswith(".json"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise JournalError("failed", "%s cannot be read: %s" % (folder, error.strerror or error)) from None
    found = [(name, read(folder, name)) for name in names]
    return sorted(((name, state) for name, state in found if state is not None), key=lambda item: item[1].started)


def digest(spec: Mapping[str, Any], engine: str) -> str:
    """A sum of the options by which an artifact's data is reached; passwords do not count."""
    import hashlib
    import json

    told = {name: value for name, value in spec.items() if name not in ("password", "timeout", "exclude", "special", "before", "after")}
    return hashlib.sha256(json.dumps([engine, told], sort_keys=True, default=str).encode()).hexdigest()[:16]


def _path(folder: str, name: str, ending: str = ".json") -> str:
    return os.path.join(folder, _name(name) + ending)


def _name(name: str) -> str:
    return name.replace("/", "_").lstrip(".") or "_"


def _packed(state: State) -> bytes:
    import json

    told: Dict[str, Any] = dict(state._asdict(), schema=SCHEMA)
    told["parts"] = [dict(part._asdict(), artifact=_artifact(part.artifact)) for part in state.parts]
    return (json.dumps(told, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def _artifact(artifact: Artifact) -> Dict[str, Any]:
    return dict(artifact._asdict(), counts=dict(artifact.counts), samples=dict(artifact.samples), source=dict(artifact.source))


def _unpacked(value: Dict[str, Any]) -> State:
    if value.pop("schema") != SCHEMA:
        raise ValueError("it was written by another version")
    if value["phase"] not in PHASES:
        raise ValueError("phase")
    parts: Sequence[Dict[str, Any]] = value["parts"]
    value["parts"] = tuple(
        Part(Artifact(**part["artifact"]), tuple(part["part"]), part["digest"], tuple(part.get("units", ()))) for part in parts
    )
    value["services"] = tuple((str(name), bool(up)) for name, up in value["services"])
    value["aside"] = tuple(value["aside"])
    return State(**value)
