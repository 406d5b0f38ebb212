# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the sets of backups: all artifacts of a backup or none.

A set is built in ``<name>.partial``, with every file and folder on the disk before it is renamed. Whatever ends the run before
that leaves the sets that were there as they are, and a partial at most, which the next run tells and removes: the file
``.owner`` in it is locked for as long as its writer lives. Programs that outlived their run are ended then, and what they held
still, a service say, is let go. What is known at making, the sums, is in the manifest; proving is reading back, which is
``backup_verify``'s.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Engine, EngineError, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable, tree
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import orphans
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Place

from . import disk as backup_disk
from . import journal as restore_journal
from . import ledger as backup_ledger
from . import manifest as backup_manifest
from . import options_with_engines as backup_options
from . import sets as backup_sets
from .manifest import Manifest
from .options_with_engines import Backup
from .partial import OWNER, SCRATCH, held, lives, own, partials
from .plan import ArtifactPlan
from .sets import BackupError, SetFolder

#: Free space is to be more than the newest set by this factor.
_GROWTH = 1.1
#: Where restores keep their journals, and the phases in which data of two times lies side by side.
_JOURNALS = restore_journal.FOLDER
_BETWEEN = (restore_journal.SWAPPING, restore_journal.FINISHING, restore_journal.STARTING, restore_journal.UNDOING)
#: Sets made one after another within a second have names that are a little late; more than this is a clock set back.
_LATE = 60.0
#: Kinds of counts that the catalogue has words for.
_COUNTED = ("files", "bytes", "rows", "tables", "keys", "documents", "collections", "indices")


class Made(NamedTuple):
    """What became of a backup. ``set``, ``path``, ``size``: of the set that was made, or would be; None when there is none."""

    backup: str
    set: Optional[str]
    path: Optional[str]
    size: int
    artifacts: List[Dict[str, Any]]
    changed: bool
    found: Finding


class Results(NamedTuple):
    """``made``: of each backup; ``signal``: the name of the one that stopped the run, None when it came to its end."""

    made: List[Made]
    signal: Optional[str]


class _UnmadeError(Exception):
    """Why there is no set."""

    def __init__(self, text: Message) -> None:
        super().__init__(text["message"])
        self.text = text


def parse(options: Mapping[str, Any]) -> List[Backup]:
    """The backups that are to be made: those with artifacts, of them the ones in O(only). Raises OptionError."""
    if not str(options.get("system") or "").strip():
        raise OptionError("system", "is empty: each manifest names the system it is of")
    return chosen(backup_options.parse(options.get("backups")), options.get("only"))


def chosen(backups: Sequence[Backup], only: Optional[Sequence[str]]) -> List[Backup]:
    """The backups with artifacts, of them the named ones if any are named. Raises OptionError."""
    names = [backup.name for backup in backups if backup.plan.artifacts]
    only = read.texts(only, "only") if only else []
    for at, name in enumerate(only):
        if name not in names:
            if name in [backup.name for backup in backups]:
                raise OptionError("only[%d]" % at, "%r has no artifacts: another tool makes it" % name)
            raise unknown_name("only[%d]" % at, str(name), names, "backup")
    return [backup for backup in backups if backup.name in (only or names)]


def file_name(plan: ArtifactPlan, engine: Engine, encrypted: bool) -> str:
    """Name of an artifact's file in its set."""
    return plan.name + engine.ending + backup_stream.ENDINGS[plan.compression] + (".age" if encrypted else "")


def next_name(names: Iterable[str], now: float) -> Tuple[str, float]:
    """The name of the set that begins now, and how many seconds that is ahead of the clock.

    It sorts after every name that is there, whatever the clock says: no set is written over, and the newest one stays the last.
    Raises BackupError.
    """
    there = [set_names.name_time(name.partition(".")[0]) for name in names]
    at = max([float(int(now)), *(other + 1 for other in there if other is not None)])
    name = set_names.set_name(at)
    if set_names.name_time(name) is None:
        raise BackupError("failed", "no name comes after the newest one, %s" % max(names))
    return name, max(0.0, at - now)


def run(
    backups: Sequence[Backup],
    system: str,
    check_mode: bool = False,
    clock: Callable[[], float] = time.time,
    engines: Callable[[str], Engine] = backup_engines.engine,
    place: Place = HOST,
) -> Results:
    """Make a set of each backup, or tell what would be made; one that fails does not keep the others from being made.

    A signal that asks to end is heard: what is being made is given up and removed, the rest is not begun.
    """
    made = []
    with _signals() as signals:
        for backup in backups:
            job = _Job(backup, system, clock, engines, place, signals)
            made.append(job.tell(job.look if check_mode else job.make))
    return Results(made, signals.name)


class _Signals:
    """The signal that came, and what has to be stopped when one comes."""

    def __init__(self) -> None:
        self.name: Optional[str] = None
        self.stop: Optional[backup_stream.Stop] = None

    def came(self, number: int, _frame: Any) -> None:
        import signal

        self.name = signal.Signals(number).name
        if self.stop is not None:
            self.stop.now()


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    import signal

    signals = _Signals()
    before: Dict[int, Any] = {}
    try:
        with contextlib.suppress(ValueError):  # not in the main thread: nobody sends it signals
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                    before[number] = signal.signal(number, signals.came)
        yield signals
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)


class _Job:
    """The making of one set."""

    def __init__(
        self,
        backup: Backup,
        system: str,
        clock: Callable[[], float],
        engines: Callable[[str], Engine],
        place: Place,
        signals: _Signals,
    ) -> None:
        self.backup, self.system, self.clock, self.engines, self.place, self.signals = backup, system, clock, engines, place, signals
        self.notes: List[str] = []
        self.tidied: List[str] = []
        self.left: List[str] = []
        self.released: List[str] = []
        self.unreleased: List[str] = []
        self.unwritten: Optional[str] = None
        self.other: Optional[str] = None
        self.set_name: Optional[str] = None
        self.size = 0
        self.artifacts: List[Dict[str, Any]] = []
        self.changed = False
        self.late = 0.0
        plan = backup.plan
        self.parallel = min(plan.workers, len(plan.artifacts))
        bandwidth = plan.limits.bandwidth
        # It holds for the whole set.
        self.limits = plan.limits._replace(bandwidth=max(1, bandwidth // self.parallel) if bandwidth else None)

    def tell(self, do: Callable[[], Tuple[str, Message]]) -> Made:
        """Do it, and tell what became of it."""
        started = time.monotonic()
        root = self.backup.root
        try:
            if self.signals.name:
                raise _UnmadeError(self.text("stopped", signal=self.signals.name))
            status, text = do()
        except _UnmadeError as error:
            status, text, self.set_name = "critical", error.text, None
        except BackupError as error:
            status = "warning" if error.code == "busy" else "critical"
            text, self.set_name = self.text("busy" if error.code == "busy" else "root", reason=error.text), None
        took = time.monotonic() - started
        evidence = {
            "backup_set": os.path.join(root, self.set_name) if self.set_name else None,
            "backup_artifacts": ["%s: %d B, %s" % (one["file"], one["size"], one["sha256"][:12]) for one in self.artifacts if one["size"]],
            "backup_tidied": self.tidied,
            "backup_left": self.left,
            "backup_released": self.released,
            "backup_unreleased": self.unreleased,
            "backup_notes": self.notes,
        }
        found = finding(
            "backup.%s.made" % self.backup.name,
            "backup",
            status,
            text,
            value=self.size if self.set_name and self.size else None,
            unit="B",
            evidence={name: seen for name, seen in evidence.items() if seen},
            remedy=self.backup.remedy,
            duration_ms=took * 1000,
        )
        path = os.path.join(root, self.set_name) if self.set_name else None
        return Made(self.backup.name, self.set_name, path, self.size, self.artifacts, self.changed, found)

    def text(self, identifier: str, **params: Any) -> Message:
        """A message that names the backup."""
        return message("backup.made." + identifier, name=self.backup.name, **params)

    # -- check mode -----------------------------------------------------------------------------------------------------------

    def look(self) -> Tuple[str, Message]:
        """What would be made, and whether its data can be reached."""
        sets: List[SetFolder] = []
        names: List[str] = []
        backup_disk.check(self.backup)
        try:
            folder = backup_sets.open_root(self.backup.root)
        except BackupError as error:
            if error.code != "missing":
                raise
        else:
            try:
                names = os.listdir(folder)
                self.left = [name for name in partials(folder) if not lives(folder, name)]
                holding = [os.path.join(name, artifact) for name in self.left for artifact in held(folder, name)]
                self.notes += ["%s: what it holds would be let go" % one for one in holding]
                sets = backup_sets.listed(self.backup.root)
                self._check_space(folder, sets)
            except OSError as error:
                raise _UnmadeError(self.text("unread", root=self.backup.root, reason=error.strerror or str(error))) from None
            finally:
                os.close(folder)
        name, self.late = next_name(names, self.clock())
        for plan in self.backup.plan.artifacts:
            engine = self.engines(plan.engine)
            try:
                engine.reach(plan.spec, Work(self.backup.root, self.place, self.limits, self.backup.plan.workers, self.notes.append))
            except (EngineError, backup_stream.StreamError, OSError) as error:
                raise _UnmadeError(self.text("unreachable", artifact=plan.name, reason=str(error))) from None
            self.artifacts.append(self._told(plan, file_name(plan, engine, bool(self.backup.plan.recipients))))
        self.set_name = name
        self.changed = True
        last = _newest(sets)
        if last:
            return "ok", self.text("would.known", count=len(self.artifacts), size=last.size)
        return "ok", self.text("would", count=len(self.artifacts))

    # -- making ---------------------------------------------------------------------------------------------------------------

    def make(self) -> Tuple[str, Message]:
        """Make the set."""
        root = self.backup.root
        backup_disk.check(self.backup)
        create_root(root)
        try:
            with backup_sets.locked(root, "the backup of %s" % self.backup.name):
                folder = backup_sets.open_root(root)
                try:
                    self._tidy(folder)
                    sets = backup_sets.listed(root)
                    with self._writing_down():
                        self._complete_ledger(sets)
                    self._check_space(folder, sets)
                    self.other = _other_host(sets)
                    self.set_name, self.late = next_name(os.listdir(folder), self.clock())
                    return self._build(folder)
                finally:
                    os.close(folder)
        except OSError as error:
            raise _UnmadeError(self.text("write", root=root, reason=error.strerror or str(error))) from None

    def _tidy(self, folder: int) -> None:
        """Remove what killed runs have left."""
        for name in partials(folder):
            if lives(folder, name):
                self.notes.append("%s is being written by another process" % name)
                continue
            try:
                orphans.end(self._mark)
            except OSError as error:
                self.notes.append("%s: %s" % (name, error))
            self._release(folder, name)
            try:
                won = tree.remove_tree(folder, name)
            except OSError as error:  # it is no set, and keeps none from being made
                self.notes.append("%s could not be removed: %s" % (name, error))
                continue
            self.tidied.append(name)
            self.changed = True
            with self._writing_down():
                backup_ledger.append(self.backup.root, "tidied", name, self.clock(), bytes=won)

    @property
    def _mark(self) -> str:
        """What the programs of this backup carry, to be found after a kill."""
        return "backup " + self.backup.root

    def _release(self, folder: int, partial: str) -> None:
        """Let go of what the dumps of a killed run have held. It is tried once: the dump that comes now does it again."""
        plans = {plan.name: plan for plan in self.backup.plan.artifacts}
        for name in held(folder, partial):
            try:
                if name not in plans:
                    raise EngineError("failed", "the backup has no artifact of that name any more")
                scratch = os.path.join(self.backup.root, partial, SCRATCH, name)
                done = self.engines(plans[name].engine).release(plans[name].spec, Work(scratch, self.place, self.limits))
                self.released.append("%s, %s: %s" % (partial, name, done))
            except EngineError as error:
                self.unreleased.append("%s, %s: %s" % (partial, name, error))
            self.changed = True

    @contextlib.contextmanager
    def _writing_down(self) -> Iterator[None]:
        """A ledger that cannot be written is told, and keeps no set from being made."""
        try:
            yield
        except (BackupError, OSError) as error:
            self.unwritten = str(error)

    def _complete_ledger(self, sets: Sequence[SetFolder]) -> None:
        """Write down sets whose run was killed before it could, and those that were brought here from a copy."""
        ledger = backup_ledger.read(self.backup.root)
        if ledger.broken is not None:
            self.notes.append("%s does not hold from line %d on" % (backup_ledger.LEDGER, ledger.broken))
            return
        known = {entry["set"] for entry in ledger.entries if entry["what"] in ("made", "fetched")}
        for one in reversed(sets):
            if one.problem is None and one.name not in known:
                self._write_down(one.path, one.name, one.size, late=True)

    def _write_down(self, path: str, name: str, size: int, **data: Any) -> None:
        manifest = backup_stream.digest(os.path.join(path, backup_manifest.MANIFEST))
        backup_ledger.append(self.backup.root, "made", name, self.clock(), manifest_sha256=manifest.sha256, size=size, **data)

    def _check_space(self, folder: int, sets: Sequence[SetFolder]) -> None:
        last = _newest(sets)
        told = os.fstatvfs(folder)
        free = told.f_bavail * told.f_frsize
        if last and free < last.size * _GROWTH:
            raise _UnmadeError(self.text("space", root=self.backup.root, free=free, need=int(last.size * _GROWTH)))

    def _build(self, folder: int) -> Tuple[str, Message]:
        """Build the set, rename it, write it down."""
        name = str(self.set_name)
        partial = name + set_names.PARTIAL
        started = time.monotonic()
        stop = self.signals.stop = backup_stream.Stop()
        if self.signals.name:  # it came before there was anything to stop
            stop.now()
        owner: Optional[int] = None
        try:
            os.mkdir(partial, 0o700, dir_fd=folder)
            owner = own(folder, partial)
            with orphans.marked(self._mark):
                manifest = self._write(os.path.join(self.backup.root, partial), stop)
            os.unlink(os.path.join(partial, OWNER), dir_fd=folder)
            os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            try:
                tree.remove_tree(folder, partial)
            except FileNotFoundError:
                pass
            except OSError as error:  # what went wrong before is what is told
                self.notes.append("%s could not be removed: %s" % (partial, error))
            self.artifacts = []
            raise
        finally:
            self.signals.stop = None
            if owner is not None:
                os.close(owner)
        os.fsync(folder)
        self.changed = True
        self.size = manifest.size
        return self._finish(manifest, time.monotonic() - started)

    def _finish(self, manifest: Manifest, took: float) -> Tuple[str, Message]:
        name = str(self.set_name)
        what = _summary(manifest)
        with self._writing_down():
            folder = os.path.join(self.backup.root, name)
            self._write_down(folder, name, manifest.size, artifacts=len(manifest.artifacts), seconds=round(took, 1))
        restore = self._interrupted()
        if restore:
            return "warning", self.text("restoring", set=name, restored=restore.set, phase=restore.phase)
        if self.other:
            return "warning", self.text("shared", set=name, root=self.backup.root, host=self.other)
        if self.unreleased:
            return "warning", self.text("unreleased", set=name, reasons=self.unreleased)
        if self.unwritten:
            return "warning", self.text("ledger", set=name, reason=self.unwritten)
        if self.late > _LATE:
            return "warning", self.text("clock", set=name, ahead=self.late)
        return "ok", self.text("ok", set=name, size=manifest.size, seconds=round(took, 1), what=what)

    def _interrupted(self) -> Optional[restore_journal.State]:
        """A restore of this backup that was left between the data of before and that of the set."""
        with contextlib.suppress(restore_journal.JournalError):
            state = restore_journal.read(_JOURNALS, self.backup.name)
            return state if state and state.phase in _BETWEEN else None
        return None

    def _write(self, path: str, stop: backup_stream.Stop) -> Manifest:
        """Write artifacts and manifest into the partial, all of it on the disk."""
        from concurrent.futures import ThreadPoolExecutor, as_completed

        os.mkdir(os.path.join(path, SCRATCH), 0o700)
        start = self.clock()
        plans = self.backup.plan.artifacts
        written: Dict[str, Artifact] = {}
        failed: Optional[_UnmadeError] = None
        with ThreadPoolExecutor(max_workers=self.parallel) as pool:
            running = {pool.submit(self._artifact, plan, path, stop): plan for plan in plans}
            for future in as_completed(running):
                plan = running[future]
                if future.cancelled():
                    continue
                error = future.exception()
                if error is None:
                    written[plan.name] = future.result()
                elif failed is None:
                    failed = self._failure(plan, error)
                    stop.now()  # the set cannot be made any more
                    for other in running:
                        other.cancel()
        if self.signals.name:
            raise _UnmadeError(self.text("stopped", signal=self.signals.name))
        if failed:
            raise failed
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            tree.remove_tree(handle, SCRATCH)
        finally:
            os.close(handle)
        manifest = Manifest(self.system, start, max(start, self.clock()), tuple(written[plan.name] for plan in plans), _host())
        wrong = backup_manifest.check_files(manifest, path)
        if wrong:
            raise _UnmadeError(self.text("artifact", artifact=wrong[0].file, reason="%s %s" % (wrong[0].code, wrong[0].detail)))
        durable.write_synced(os.path.join(path, backup_manifest.MANIFEST), self._manifest(manifest))
        self.artifacts = [self._told(plan, written[plan.name].file, written[plan.name]) for plan in plans]
        return manifest

    def _manifest(self, manifest: Manifest) -> bytes:
        """The manifest's bytes, which can be read back: a set without one is none."""
        try:
            data = backup_manifest.to_json(manifest).encode("utf-8")
            backup_manifest.parse(data)
        except (ValueError, backup_manifest.ManifestError) as error:
            raise _UnmadeError(self.text("artifact", artifact=backup_manifest.MANIFEST, reason=str(error))) from None
        if len(data) > backup_manifest.SIZE_LIMIT:
            reason = "it has %d bytes, and is read to %d" % (len(data), backup_manifest.SIZE_LIMIT)
            raise _UnmadeError(self.text("artifact", artifact=backup_manifest.MANIFEST, reason=reason))
        return data

    def _failure(self, plan: ArtifactPlan, error: BaseException) -> _UnmadeError:
        known = isinstance(error, (EngineError, backup_stream.StreamError, OSError))
        reason = str(error) if known else "%s: %s" % (type(error).__name__, error)
        return _UnmadeError(self.text("artifact", artifact=plan.name, reason=" ".join(reason.split())))

    def _artifact(self, plan: ArtifactPlan, folder: str, stop: backup_stream.Stop) -> Artifact:
        """Dump one artifact into its file."""
        engine = self.engines(plan.engine)
        recipients = self.backup.plan.recipients
        file = file_name(plan, engine, bool(recipients))
        scratch = os.path.join(folder, SCRATCH, plan.name)
        os.mkdir(scratch, 0o700)

        def warn(text: str) -> None:
            self.notes.append("%s: %s" % (plan.name, text))

        work = Work(scratch, self.place, self.limits, self.backup.plan.workers, warn, encrypted=bool(recipients))
        start = self.clock()
        with engine.dump(plan.spec, work) as dump:
            path = os.path.join(folder, file)
            done = backup_stream.write(dump.source, path, plan.compression, plan.level, recipients, self.limits, self.place, dump.tap, stop)
            told = dump.finish()
        return Artifact(
            engine=plan.engine,
            file=file,
            size=done.size,
            sha256=done.sha256,
            tool=told.tool or plan.engine,
            start=start,
            end=max(start, self.clock()),
            tool_version=told.tool_version,
            server_version=told.server_version,
            counts=dict(told.counts),
            name=plan.name,
            compression=plan.compression,
            encryption="age" if recipients else None,
            samples=dict(told.samples),
            source=dict(told.source),
        )

    def _told(self, plan: ArtifactPlan, file: str, written: Optional[Artifact] = None) -> Dict[str, Any]:
        return {
            "name": plan.name,
            "engine": plan.engine,
            "file": file,
            "size": written.size if written else 0,
            "sha256": written.sha256 if written else "",
        }


def create_root(root: str, mode: int = 0o700) -> None:
    """Create a root that is not there, and the folders above it with mode 0755; no link is followed. Raises BackupError."""
    try:
        os.close(backup_sets.open_root(root))
        return
    except BackupError as error:
        if error.code != "missing":
            raise
    above, name = os.path.split(root)
    if not os.path.isdir(above):
        create_root(above, 0o755)
    folder = backup_sets.open_root(above)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=folder)
    except OSError as error:
        raise BackupError("denied", "%s cannot be created: %s" % (root, error.strerror or error)) from None
    finally:
        os.close(folder)


def _newest(sets: Sequence[SetFolder]) -> Optional[SetFolder]:
    return next((one for one in sets if one.problem is None), None)


def _host() -> str:
    return os.uname().nodename


def _other_host(sets: Sequence[SetFolder]) -> Optional[str]:
    """The host that has made the newest set while this one made earlier ones: both take the sets for theirs. After a host was renamed, or
    its data has moved, there are sets of another one too, but none of them is newer than ours."""
    hosts = [one.manifest.host for one in sets if one.manifest and one.manifest.host]
    return hosts[0] if hosts and hosts[0] != _host() and _host() in hosts else None


def _summary(manifest: Manifest) -> List[Message]:
    """What a set holds, counts of one kind added up over its artifacts."""
    sums: Dict[str, int] = {}
    for artifact in manifest.artifacts:
        for name, count in artifact.counts.items():
            kind = name.partition(".")[0]
            if count:
                sums[kind] = sums.get(kind, 0) + count
    known = [message("backup.counted." + kind, count=sums.pop(kind)) for kind in _COUNTED if kind in sums]
    known += [message("backup.counted.other", what=kind, count=count) for kind, count in sorted(sums.items())]
    return known or [message("backup.counted.artifacts", count=len(manifest.artifacts))]
