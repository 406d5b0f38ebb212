# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Climb the ladder of verification with one set.

1 the set is there and is the one that was made; 2 its files have their sums; 3 each can be read to its end by its own tool; 4 each
is restored into a scratch place; 5 counts and samples of what was restored are the manifest's. The sum is taken while the tool
reads the same file, so that the disk is read once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import subprocess
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import base as backup_engine
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Drilled, Engine, EngineError, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Limits, Place

from .. import ledger as backup_ledger
from .. import manifest as backup_manifest
from .. import scratch as backup_scratch
from .. import sets as backup_sets
from ..ledger import Ledger
from ..manifest import Manifest, Rung
from ..plan import Plan
from ..sets import SetFolder

#: A set's name and the start in its manifest are this near, unless the ledger knows that the clock was set back.
_NEAR = 120.0
#: Below this the time to lower a thread's priority is longer than its work.
_LARGE = 8 * 1024 * 1024
#: Codes of EngineError that say nothing about the artifact.
_HINDERED = ("interrupted", "unreachable", "denied", "space", "version", "same")
#: Errors of a full, foreign or overburdened system, and of a file server that went away; a disk that cannot be read (EIO) is none.
_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "ENOMEM", "EMFILE", "ENFILE", "EAGAIN", "EBUSY"),
        *("ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
        *("ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ESHUTDOWN"),
    )
)
#: The same in the words of programs.
_SAID = (
    "No space left on device",
    "database or disk is full",
    "Disk quota exceeded",
    "Stale file handle",
    "Transport endpoint is not connected",
    "Too many open files",
    "Cannot allocate memory",
    "memory exhausted",
    "is not installed",
    "cannot be started",
)
#: What stays free on the scratch place's disk beside the restored data.
_SPARE = 64 * 1024 * 1024


class Stumble(NamedTuple):
    """Where a climb ended. ``artifact``: name of its file, None for the set; ``hindered``: the rung could not be tried, which says
    nothing about the data."""

    rung: int
    artifact: Optional[str]
    reason: str
    hindered: bool = False

    @property
    def text(self) -> str:
        """The reason with the artifact's name."""
        return "%s: %s" % (self.artifact, self.reason) if self.artifact else self.reason


class Climb(NamedTuple):
    """``rung``: the highest that was passed now, 0 for none; ``stumble``: why not higher, None when the rung asked for was
    reached; ``restore_seconds``: what the trial restores took together; ``gone``: the set was removed meanwhile."""

    rung: int
    stumble: Optional[Stumble]
    notes: List[str]
    seconds: float
    tools: Dict[str, str]
    drilled: Dict[str, Drilled]
    restore_seconds: float
    manifest: Optional[Manifest]
    gone: bool = False


class Means(NamedTuple):
    """With what a set is climbed. ``scratch``: folder in which scratch places are made; ``plan``: of the backup, for its servers;
    ``files``: of the artifacts that are looked at, None for all; what is reached with some is no rung of the set's."""

    plan: Plan = Plan()
    scratch: str = "/var/tmp"  # noqa: S108 - an own folder is made in it
    place: Place = HOST
    engines: Callable[[str], Engine] = backup_engines.engine
    files: Optional[Sequence[str]] = None

    @property
    def limits(self) -> Limits:
        """How much of the host programs may take."""
        return self.plan.limits


def climb(one: SetFolder, ledger: Ledger, asked: int, means: Means) -> Climb:
    """Climb to the rung ``asked`` for, or to the first that is not passed."""
    climber = _Climber(one, means)
    started = time.monotonic()
    try:
        reached, stumble = climber.run(ledger, asked)
    except (backup_sets.BackupError, OSError) as error:
        reached, stumble = climber.reached, Stumble(climber.reached + 1, None, str(error), True)
    seconds = time.monotonic() - started
    gone = stumble is not None and not os.path.isdir(one.path)
    tools = versions(climber.manifest, reached) if climber.manifest else {}
    return Climb(reached, stumble, climber.notes, seconds, tools, climber.drilled, climber.restore_seconds, climber.manifest, gone)


class _Climber:
    def __init__(self, one: SetFolder, means: Means) -> None:
        self.one, self.means = one, means
        self.notes: List[str] = []
        self.drilled: Dict[str, Drilled] = {}
        self.restore_seconds = 0.0
        self.manifest: Optional[Manifest] = None
        self.reached = 0

    def run(self, ledger: Ledger, asked: int) -> Tuple[int, Optional[Stumble]]:
        """The rung that was reached, and why not higher."""
        stumble = self._present(ledger)
        if stumble or self.manifest is None:
            return 0, stumble
        self.reached = 1
        if asked < 2:
            return 1, None
        with backup_scratch.place(self.means.scratch, self.notes.append) as scratch:
            stumble = self._each(lambda artifact: self._read(artifact, asked, scratch), min(asked, 3))
            if stumble or asked < 4:
                return self.reached, stumble
            try:
                room(self.one.path, self.manifest, self.means)
            except backup_sets.BackupError as error:
                return self.reached, Stumble(4, None, error.text, True)
            started = time.monotonic()
            stumble = self._each(lambda artifact: self._drill(artifact, asked, scratch), asked)
            self.restore_seconds = time.monotonic() - started
            return self.reached, stumble

    def _each(self, do: Callable[[Artifact], Optional[Stumble]], asked: int) -> Optional[Stumble]:
        """Do it with every artifact: the stumble that decides. The others are noted, and none of them passed its rung."""
        stumbles = [stumble for stumble in self._all(do) if stumble]
        self.reached = min([asked, *(stumble.rung - 1 for stumble in stumbles)])
        deciding = first(stumbles)
        self.notes += ["rung %d: %s" % (stumble.rung, stumble.text) for stumble in stumbles if stumble is not deciding]
        return deciding

    def _all(self, do: Callable[[Artifact], Optional[Stumble]]) -> List[Optional[Stumble]]:
        """Do it with every artifact, as many at a time as the backup allows."""
        artifacts = [one for one in (self.manifest.artifacts if self.manifest else ()) if self._meant(one.file)]
        workers = min(self.means.plan.workers, len(artifacts))
        if workers < 2:
            return [do(artifact) for artifact in artifacts]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=workers) as pool:
            return list(pool.map(do, artifacts))

    def _meant(self, file: str) -> bool:
        return self.means.files is None or file in self.means.files

    # -- rung 1 ---------------------------------------------------------------------------------------------------------------

    def _present(self, ledger: Ledger) -> Optional[Stumble]:
        """Whether the set is there and is the one that was made under this name."""
        try:
            data = backup_manifest.read_file(os.path.join(self.one.path, backup_manifest.MANIFEST))
            manifest = backup_manifest.parse(data)
        except FileNotFoundError:
            return Stumble(1, backup_manifest.MANIFEST, "is missing")
        except OSError as error:
            return Stumble(1, backup_manifest.MANIFEST, "cannot be read: %s" % (error.strerror or error), hindered(error))
        except backup_manifest.ManifestError as error:
            return Stumble(1, backup_manifest.MANIFEST, "cannot be used: %s" % error.detail, error.code == "newer")
        self.manifest = manifest
        wrong = self._identity(ledger, hashlib.sha256(data).hexdigest(), manifest)
        if wrong:
            return Stumble(1, backup_manifest.MANIFEST, wrong)
        if not manifest.artifacts:
            return Stumble(1, backup_manifest.MANIFEST, "names no artifact")
        stumbles = [
            Stumble(1, problem.file, _PROBLEMS[problem.code] % problem.detail, problem.code == "unreadable")
            for problem in backup_manifest.check_files(manifest, self.one.path)
            if self._meant(problem.file)
        ]
        deciding = first(stumbles)
        self.notes += ["rung 1: %s" % stumble.text for stumble in stumbles if stumble is not deciding]
        return deciding

    def _identity(self, ledger: Ledger, digest: str, manifest: Manifest) -> Optional[str]:
        """Why the set is not the one that was made under its name; None when it is, as far as can be told."""
        name = self.one.name
        lines = [entry for entry in ledger.entries if entry["what"] in ("made", "fetched")]
        for entry in lines:
            if entry["set"] != name and entry.get("manifest_sha256") == digest:
                return "this is the set %s under another name" % entry["set"]
        known = backup_ledger.manifest_sha256(ledger, name)
        if known is not None and known != digest:
            return "is not the one that was made: the ledger has another sum for it"
        bound = any(entry["set"] == name and not entry.get("late") for entry in lines)
        at = set_names.name_time(name)
        if not bound and at is not None and abs(at - manifest.start) > _NEAR:
            return "begins at %s, which is not what the set is called" % times.format_time(manifest.start)
        if known is None:
            self.notes.append("the ledger does not know the set: it is judged by its manifest's own digest")
        return None

    # -- rungs 2 and 3 --------------------------------------------------------------------------------------------------------

    def _read(self, artifact: Artifact, asked: int, scratch: str) -> Optional[Stumble]:
        """Sum and read one artifact at the same time."""
        path = os.path.join(self.one.path, artifact.file)
        sums = _Sum(path, artifact.size, self.means.limits)
        if asked < 3:
            sums.run()
            return sums.judged(artifact)
        opened = self._opened(artifact)
        thread = threading.Thread(target=sums.run, daemon=True)
        thread.start()
        try:
            stumble = opened or self._tried(
                3, artifact, lambda engine, work: engine.read_through(artifact, self._stored(artifact), work), scratch
            )
        finally:
            thread.join()
        return sums.judged(artifact) or stumble

    def _opened(self, artifact: Artifact) -> Optional[Stumble]:
        if artifact.encryption and not self.means.plan.identity:
            return Stumble(3, artifact.file, "is encrypted, and no identity is given that opens it: only its sum can be checked", True)
        if artifact.encryption and not os.access(self.means.plan.identity or "", os.R_OK):
            return Stumble(3, artifact.file, "is encrypted, and the identity %s cannot be read" % self.means.plan.identity, True)
        return None

    def _stored(self, artifact: Artifact) -> Stored:
        return Stored(os.path.join(self.one.path, artifact.file), self.means.plan.identity if artifact.encryption else None)

    # -- rungs 4 and 5 --------------------------------------------------------------------------------------------------------

    def _drill(self, artifact: Artifact, asked: int, scratch: str) -> Optional[Stumble]:
        """Restore one artifact into a scratch place; compare what is there with the manifest."""
        spec = next(
            (plan.spec for plan in self.means.plan.artifacts if plan.name == artifact.name and plan.engine == artifact.engine), None
        )

        def restore(engine: Engine, work: Work) -> None:
            self.drilled[artifact.file] = engine.drill(spec, artifact, self._stored(artifact), work)

        stumble = self._tried(4, artifact, restore, scratch)
        if stumble or asked < 5:
            return stumble
        found = self.drilled[artifact.file]
        if not artifact.counts:
            return Stumble(5, artifact.file, "its manifest has no counts to compare with", True)
        wrong = backup_engine.compare(artifact.counts, found.counts)
        wrong += ["sample %s differs" % name for name, sample in sorted(artifact.samples.items()) if found.samples.get(name) != sample]
        if wrong:
            more = " and %d more" % (len(wrong) - 3) if len(wrong) > 3 else ""
            return Stumble(5, artifact.file, "; ".join(wrong[:3]) + more)
        return None

    def _tried(self, rung: int, artifact: Artifact, do: Callable[[Engine, Work], None], scratch: str) -> Optional[Stumble]:
        """Let the artifact's engine do something in an own scratch folder; why it could not."""
        try:
            engine = self.means.engines(artifact.engine)
        except KeyError:
            return Stumble(rung, artifact.file, "there is no engine %r here" % artifact.engine)
        own = os.path.join(scratch, "%d-%s" % (rung, hashlib.sha256(artifact.file.encode("utf-8", "replace")).hexdigest()[:16]))

        def warn(text: str) -> None:
            self.notes.append("%s: %s" % (artifact.file, text))

        work = Work(own, self.means.place, self.means.limits, self.means.plan.workers, warn)
        try:
            os.mkdir(own, 0o700)
            do(engine, work)
        except Exception as error:  # noqa: BLE001 - whatever its tool stumbles over, the artifact was not read to its end
            # What differs after a restore that came to its end is the next rung's.
            at = 5 if getattr(error, "code", None) == "differs" and rung == 4 else rung
            return Stumble(at, artifact.file, told(error), hindered(error))
        finally:
            with contextlib.suppress(OSError):
                backup_scratch.remove(scratch, os.path.basename(own))
        return None


_PROBLEMS = {
    "missing": "is missing%s",
    "size": "has %s",
    "outside": "leads out of the set, to %s",
    "type": "is no plain file%s",
    "unreadable": "cannot be looked at: %s",
}


def told(error: BaseException) -> str:
    """What an error says, in one line; with its kind where that is all that tells something."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, (EngineError, backup_stream.StreamError, OSError)) else "%s: %s" % (type(error).__name__, text)


def hindered(error: BaseException) -> bool:
    """Whether an error says nothing about the data: something was in the way of reading it."""
    said = str(error)
    if isinstance(error, EngineError):
        return error.code in _HINDERED or any(words in said for words in _SAID)
    if isinstance(error, backup_stream.StreamError):
        return error.interrupted or any(words in error.said for words in _SAID)
    if isinstance(error, OSError):
        return error.errno in _ERRORS
    return isinstance(error, MemoryError) or any(words in said for words in _SAID)


def conflict(root: str, plan: Plan, resolve: Callable[[str], str] = os.path.normpath) -> Optional[str]:
    """Why a backup's scratch place is one with its source or its root. On the host links count: ``resolve`` is ``realpath`` there."""
    scratch = resolve(plan.drill.scratch)
    places = [(root, "the backup's root")]
    for one in plan.artifacts:
        places += [(path, "a source of %s" % one.name) for path in one.spec.get("paths") or ()]
    for path, what in places:
        real = resolve(path)
        # What is restored below a source would be in the next backup; all is below /, which only excludes can help.
        if real != "/" and (scratch + "/").startswith(real + "/"):
            return "%s is in %s, which is %s: a drill restores beside, never into it" % (plan.drill.scratch, path, what)
    return None


def room(set_path: str, manifest: Optional[Manifest], means: Means) -> None:
    """Whether the scratch place is none of the source's and has the space for a trial restore. Raises BackupError, OSError."""
    wrong = conflict(os.path.dirname(set_path), means.plan, os.path.realpath)
    if wrong:
        raise backup_sets.BackupError("same", wrong)
    need = needed(manifest) + _SPARE
    folder = means.plan.drill.scratch
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder) or "/"
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < need:
        raise backup_sets.BackupError("space", "%s has %d MB free, and the restore needs %d MB" % (folder, free >> 20, need >> 20))


def needed(manifest: Optional[Manifest]) -> int:
    """Bytes that a restore into the scratch place takes, as far as the manifest tells."""
    total = 0
    for artifact in manifest.artifacts if manifest else ():
        known = artifact.counts.get("bytes") or artifact.source.get("bytes") or 0
        total += max(artifact.size, known if isinstance(known, int) else 0)
    return total


def first(stumbles: Sequence[Optional[Stumble]]) -> Optional[Stumble]:
    """The stumble that decides: the lowest rung, damage before what could not be tried."""
    found = [stumble for stumble in stumbles if stumble]
    damaged = [stumble for stumble in found if not stumble.hindered]
    return min(damaged or found, key=lambda stumble: stumble.rung, default=None)


class _Sum:
    """The sum of a file, taken in a thread of its own with the priority of the backup."""

    def __init__(self, path: str, size: int, limits: Optional[Limits]) -> None:
        self.path, self.size, self.limits = path, size, limits
        self.found: Optional[backup_stream.Written] = None
        self.error: Optional[OSError] = None

    def run(self) -> None:
        """Read the file."""
        if self.limits and self.size >= _LARGE and threading.current_thread() is not threading.main_thread():
            be_nice(self.limits)
        try:
            self.found = backup_stream.digest(self.path)
        except OSError as error:
            self.error = error

    def judged(self, artifact: Artifact) -> Optional[Stumble]:
        """Why it is not the artifact's."""
        if self.error is not None or self.found is None:
            reason = "cannot be read: %s" % (getattr(self.error, "strerror", None) or self.error)
            return Stumble(2, artifact.file, reason, self.error is not None and hindered(self.error))
        if self.found.sha256 != artifact.sha256:
            return Stumble(2, artifact.file, "has another sum than when it was made")
        return None


def be_nice(limits: Limits) -> None:
    """Give the thread that calls the priority of the limits; Linux has one for each thread."""
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        if limits.nice:
            os.setpriority(os.PRIO_PROCESS, thread, limits.nice)
        if limits.io_class:
            number = {"best-effort": "2", "idle": "3"}[limits.io_class]
            subprocess.run(
                ["ionice", "-t", "-c", number, "-p", str(thread)], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )


#: What reads the artifacts of an engine.
_PROGRAMS = {
    "files": "tar",
    "config": "tar",
    "postgresql": "pg_restore",
    "mysql": "mysql",
    "redis": "redis-server",
    "mongodb": "mongorestore",
}
_VERSIONS: Dict[str, Optional[str]] = {}


def versions(manifest: Manifest, rung: int) -> Dict[str, str]:
    """The programs that took part in a climb, with their versions."""
    if rung < 3:
        return {}
    programs = {"zstd": "zstd", "gzip": "gzip"}
    used = {programs[artifact.compression] for artifact in manifest.artifacts if artifact.compression in programs}
    used |= {_PROGRAMS[artifact.engine] for artifact in manifest.artifacts if artifact.engine in _PROGRAMS}
    used |= {"age" for artifact in manifest.artifacts if artifact.encryption}
    found = {program: version for program in sorted(used) for version in [_version(program)] if version}
    if any(artifact.engine == "sqlite" for artifact in manifest.artifacts):
        import sqlite3

        found["sqlite"] = sqlite3.sqlite_version
    return found


def _version(program: str) -> Optional[str]:
    if program not in _VERSIONS:
        told: Any = b""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            told = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10, check=False).stdout
        match = re.search(r"\d+(\.\d+)+", told.decode("utf-8", "replace"))
        _VERSIONS[program] = match.group() if match else None
    return _VERSIONS[program]


def record(one: SetFolder, rung: int, stumble: Optional[Stumble], now: float) -> None:
    """Write down what a set reached. When it failed, neither the rung that it failed at nor a higher one counts as passed any more,
    until a later climb passes it. Raises OSError."""
    passed = [Rung(number, now) for number in range(1, rung + 1)]
    if stumble and not stumble.hindered:
        at = times.format_time(now)
        failed = {"rung": stumble.rung, "at": at, "artifact": stumble.artifact, "reason": stumble.reason}
        backup_sets.write_verified(one, passed, failed)
    elif passed:
        backup_sets.write_verified(one, passed)
