# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove backups: which sets are due for which rung, climb, write down what was reached, tell it.

Of a backup of our own, what was reached goes into the set's ``verified.json`` and, good or bad, into the ledger; a set that
fails loses the rungs that it passed before. Of another tool's backups it goes into ``.opsrunner-verified.json`` in their root.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as options_of
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, finding, message, printable, worst
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Engine
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import space as host_space

from .. import disk as backup_disk
from .. import ledger as backup_ledger
from .. import options_with_engines as backup_options
from .. import scratch as backup_scratch
from .. import sets as backup_sets
from ..ledger import Ledger
from ..manifest import Rung
from ..options_with_engines import Backup
from ..sets import BackupError, SetFolder
from ..status import scan as backup_scan
from . import climb as backup_verify_set
from . import foreign as backup_verify_file
from . import state as backup_verify_state
from .climb import Means, Stumble
from .state import State

ALL = "all"
#: A little early is on time: a daily run does not begin at the same second.
_EARLY = 0.04


class Asked(NamedTuple):
    """What is to be verified. ``rung``: to this rung whatever is due, None for what is due; ``sets``: ``newest``, ``all``, or names;
    ``at_least``: a set that has not passed this rung yet climbs to it though nothing is due."""

    backups: List[Backup]
    rung: Optional[int]
    sets: List[str]
    force: bool
    at_least: Optional[int] = None


class Proved(NamedTuple):
    """What became of a set. ``rung``: reached now, or before when nothing was due; ``asked``: None when nothing was due."""

    backup: str
    name: str
    asked: Optional[int]
    rung: int
    seconds: float
    problem: Optional[str]


class Results(NamedTuple):
    """``findings``: one a backup; ``proved``: every set looked at; ``changed``: something was written down, or would be."""

    findings: List[Finding]
    proved: List[Proved]
    changed: bool


def parse(options: Mapping[str, Any]) -> Asked:
    """Read the module's options. Raises OptionError."""
    backups = backup_options.parse(options.get("backups"))
    names = [backup.name for backup in backups]
    only = list(options.get("only") or ())
    for at, name in enumerate(only):
        if name not in names:
            raise unknown_name("only[%d]" % at, str(name), names, "backup")
    rung, at_least = (_rung(options.get(key), key) for key in ("rung", "at_least"))
    sets = [str(name) for name in options.get("sets") or [backup_sets.NEWEST]]
    return Asked([backup for backup in backups if not only or backup.name in only], rung, sets, bool(options.get("force")), at_least)


def _rung(value: Any, path: str) -> Optional[int]:
    if value is None:
        return None
    number = options_of.whole(value, path)
    if not 1 <= number <= 5:
        raise OptionError(path, "%d is none of the rungs 1 to 5" % number)
    return number


def run(
    asked: Asked,
    check_mode: bool = False,
    clock: Callable[[], float] = time.time,
    engines: Callable[[str], Engine] = backup_engines.engine,
) -> Results:
    """Verify what is due. A backup that fails holds up no other."""
    findings: List[Finding] = []
    proved: List[Proved] = []
    changed = False
    hanging = host_space.hanging([backup.root for backup in asked.backups], backup_scan.PATIENCE)
    for backup in asked.backups:
        started = time.monotonic()
        job = (_Sets if backup.kind == "set" else _Foreign)(backup, asked, check_mode, clock, engines)
        try:
            if backup.root in hanging:
                raise BackupError("denied", "%s does not answer within %d seconds" % (backup.root, backup_scan.PATIENCE))
            backup_disk.check(backup)
            job.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other backups are still to be verified
            job.lines.append(("unknown", message("backup_verify.root", name=backup.name, reason=_reason(error))))
        found = job.finding()
        found["duration_ms"] = round((time.monotonic() - started) * 1000, 1)
        findings.append(found)
        proved += job.proved
        changed = changed or job.changed
    return Results(findings, proved, changed)


def _reason(error: Exception) -> str:
    return error.text if isinstance(error, BackupError) else backup_verify_set.told(error)


def due(verify: Mapping[int, float], passed: Sequence[Rung], now: float) -> int:
    """The highest rung whose time has come, 0 for none. Who passed a rung passed those below it."""
    for rung in sorted(verify, reverse=True):
        # A record from the future was made by a clock that was wrong.
        last = max((one.at for one in passed if one.rung >= rung and one.at - now <= backup_scan.FUTURE), default=None)
        if last is None or now - last >= verify[rung] * (1 - _EARLY):
            return rung
    return 0


class _Job:
    """The verification of one backup."""

    #: What can be proved of it at most.
    highest = 5

    def __init__(
        self, backup: Backup, asked: Asked, check_mode: bool, clock: Callable[[], float], engines: Callable[[str], Engine]
    ) -> None:
        self.backup, self.asked, self.check_mode, self.clock = backup, asked, check_mode, clock
        scratch = backup.plan.drill.scratch
        self.means = Means(backup.plan, scratch, engines=engines)
        self.proved: List[Proved] = []
        self.changed = False
        self.lines: List[Tuple[str, Message]] = []
        self.notes: List[str] = []
        self.tools: Dict[str, str] = {}
        self.wanted = 0

    def run(self) -> None:
        """Verify what is due."""
        raise NotImplementedError

    @property
    def frequencies(self) -> Mapping[int, float]:
        """How often each rung is climbed; the rung that counts as proof each time when nothing is said."""
        known: Dict[int, float] = {}
        for rung, seconds in sorted(self.backup.plan.verify.items()):
            at = min(rung, self.highest)
            known[at] = min(seconds, known.get(at, seconds))
        return known or ({} if self.asked.at_least else {min(self.highest, self.backup.verified_rung): 0.0})

    def target(self, own: Sequence[Rung], passed: Sequence[Rung], failed: int) -> int:
        """The rung that is to be climbed to now, 0 for none.

        ``own``: what this set has passed; ``passed``: what counts for how often a rung is climbed; ``failed``: the rung that it
        failed at the last time, which is tried again each time, 0 for none.
        """
        if self.asked.rung is not None:
            return min(self.highest, self.asked.rung)
        least = min(self.highest, self.asked.at_least or 0)
        if self.asked.force or failed:
            return max([least, min(failed, self.highest), *self.frequencies])
        return max(due(self.frequencies, passed, self.clock()), 0 if any(rung.rung >= least for rung in own) else least)

    def tell(self, name: str, target: int, rung: int, seconds: float, stumble: Optional[Stumble]) -> None:
        """Keep what became of a set."""
        self.wanted = max(self.wanted, target)
        self.proved.append(Proved(self.backup.name, name, target, rung, round(seconds, 2), stumble.text if stumble else None))
        params: Dict[str, Any] = {"name": self.backup.name, "set": name, "rung": rung, "asked": target, "seconds": round(seconds, 1)}
        if stumble is None:
            self.lines.append(("ok", message("backup_verify.passed", **params)))
        elif stumble.hindered:
            params.update(at=stumble.rung, reason=stumble.text)
            self.lines.append(("warning" if rung >= 2 else "unknown", message("backup_verify.hindered", **params)))
        else:
            params.update(at=stumble.rung, reason=stumble.text)
            self.lines.append(("critical", message("backup_verify.failed", **params)))

    def kept(self, name: str, own: Sequence[Rung], passed: Sequence[Rung]) -> None:
        """Nothing is due for a set."""
        self.proved.append(Proved(self.backup.name, name, None, max((rung.rung for rung in own), default=0), 0.0, None))
        last = max(passed, key=lambda rung: (rung.rung, rung.at))
        age = max(0, round(self.clock() - last.at))
        self.lines.append(("ok", message("backup_verify.not_due", name=self.backup.name, set=name, rung=last.rung, age=age)))

    def gone(self, name: str) -> None:
        """A set is not there any more, and nobody told that it was removed: perhaps the disk that it was on has gone."""
        self.lines.append(("warning", message("backup_verify.gone", name=self.backup.name, set=name)))

    def wrote(self, name: str, write: Callable[[], None], folder: str = "/") -> None:
        """Write something down; what cannot be is told, but not of a set that was removed meanwhile."""
        try:
            write()
            self.changed = True
        except (BackupError, OSError) as error:
            if not os.path.isdir(folder):
                self.notes.append("%s was removed meanwhile" % name)
                return
            self.lines.append(("warning", message("backup_verify.unwritten", name=self.backup.name, set=name, reason=_reason(error))))

    def would(self, name: str, target: int) -> None:
        """Check mode: what would be climbed."""
        self.changed = True
        self.proved.append(Proved(self.backup.name, name, target, 0, 0.0, None))
        self.lines.append(("ok", message("backup_verify.would", name=self.backup.name, set=name, asked=target)))

    def finding(self) -> Finding:
        """The backup's finding: the worst of what was found."""
        backup = self.backup
        status = worst(status for status, _text in self.lines)
        told = [text for found, text in self.lines if found == status]
        done = [one for one in self.proved if one.asked is not None]
        if not told:
            text = message("backup_verify.nothing", name=backup.name, root=backup.root)
            status = "warning"
        elif len(told) == 1 or status != "ok" or self.check_mode or not done:
            text = told[0]
        else:
            text = message("backup_verify.passed_all", name=backup.name, count=len(done), rung=min(one.rung for one in done))
        rungs = [one.rung for one in self.proved if one.asked is None or not self.check_mode]
        evidence = {
            "verify_sets": ["%s: %d%s" % (one.name, one.rung, " (%s)" % one.problem if one.problem else "") for one in self.proved[:50]],
            "verify_tools": ["%s %s" % pair for pair in sorted(self.tools.items())],
            "backup_notes": self.notes[:20],
        }
        return finding(
            "backup.%s.rung" % backup.name,
            "backup",
            status,
            text,
            value=min(rungs) if rungs else None,
            evidence={name: seen for name, seen in evidence.items() if seen},
            remedy=backup.remedy,
        )


class _Sets(_Job):
    """Sets of our own."""

    def run(self) -> None:
        """Verify what is due."""
        sets = backup_sets.listed(self.backup.root)
        ledger = backup_ledger.read(self.backup.root)
        if ledger.broken is not None:
            self.lines.append(("critical", message("backup_verify.ledger", name=self.backup.name, line=ledger.broken)))
        elif ledger.unheld:
            count = len(ledger.entries)
            text = message("backup.ledger.unheld", name=self.backup.name, root=self.backup.root, count=count)
            self.lines.append(("warning", text))
        failures = backup_ledger.failed_rungs(ledger)
        for one in self._chosen(sets):
            passed, failed = self._state(one, sets, failures)
            target = self.target(one.rungs, passed, failed)
            if not target:
                self.kept(one.name, one.rungs, passed)
            elif self.check_mode:
                self.would(one.name, target)
            else:
                self._climb(one, ledger, target)

    def _chosen(self, sets: Sequence[SetFolder]) -> List[SetFolder]:
        if not sets:
            return []
        if self.asked.sets == [ALL]:
            return list(sets)
        # The newest, whether whole or not: a newest set that is not whole is what is to be told.
        chosen = [sets[0] if wanted == backup_sets.NEWEST else backup_sets.choose(sets, wanted) for wanted in self.asked.sets]
        return list({one.name: one for one in chosen}.values())

    def _state(self, one: SetFolder, sets: Sequence[SetFolder], failures: Mapping[str, int]) -> Tuple[List[Rung], int]:
        """What counts as passed, and at which rung the set failed the last time, 0 for none.

        How often a rung is climbed is a matter of the backup: with sets made daily and a rung climbed weekly, one set in seven
        climbs. Asked for all sets, each has its own time.
        """
        failed = max(one.failed_rung, failures.get(one.name, 0), 1 if one.problem else 0)
        if self.asked.sets == [backup_sets.NEWEST]:
            return [rung for other in sets for rung in other.rungs], failed
        return list(one.rungs), failed

    def _climb(self, one: SetFolder, ledger: Ledger, target: int) -> None:
        climbed = backup_verify_set.climb(one, ledger, target, self.means)
        if climbed.gone:
            self.notes.append("%s was removed meanwhile" % one.name)
            pruned = os.path.isdir(one.path + backup_sets.REMOVING) or any(
                entry["what"] == "pruned" and entry["set"] == one.name for entry in backup_ledger.read(self.backup.root).entries
            )
            if not pruned:
                self.gone(one.name)
            return
        now, stumble = self.clock(), climbed.stumble
        self.notes += ["%s: %s" % (one.name, note) for note in climbed.notes]
        self.tools.update(climbed.tools)
        self.tell(one.name, target, climbed.rung, climbed.seconds, stumble)
        data: Dict[str, Any] = {"passed": stumble is None or stumble.hindered, "rung": climbed.rung, "seconds": round(climbed.seconds, 2)}
        if climbed.tools:
            data["tools"] = climbed.tools
        if stumble:
            data.update(asked=target, at_rung=stumble.rung, artifact=stumble.artifact, reason=stumble.reason)
        if climbed.rung or not (stumble and stumble.hindered):
            self.wrote(one.name, lambda: backup_ledger.append(self.backup.root, "verified", one.name, now, **data))
            self.wrote(one.name, lambda: backup_verify_set.record(one, climbed.rung, stumble, now), one.path)


class _Foreign(_Job):
    """Files and folders that another tool has made."""

    highest = 3

    def run(self) -> None:
        """Verify what is due."""
        backup = self.backup
        try:
            listing = backup_scan.listing(backup.root, backup.pattern, backup.kind == "folder")
        except OSError as error:
            raise BackupError("missing", "%s cannot be listed: %s" % (backup.root, error.strerror or error)) from None
        self.notes += ["%s cannot be looked at: %s" % (printable(name), reason) for name, reason in listing.unreadable]
        found = listing.found
        if listing.unreadable and not found:
            raise BackupError("denied", self.notes[0])
        state = State(backup.root)
        read = 0
        for one in self._chosen(found, state):
            name = printable(one.name)
            try:
                looks = backup_verify_state.looks(one.path, one.folder)
            except OSError:
                self.gone(name)
                continue
            own, failed = state.of(one.name, looks)
            passed = list(own)
            if self.asked.sets == [backup_sets.NEWEST] and not failed:
                passed = passed + state.everything(one.name)
            target = self.target(own, passed, 1 if failed else 0)
            if not target:
                self.kept(name, own, passed)
            elif self.check_mode:
                self.would(name, target)
            else:
                self._read(one, looks, target, state)
                read += 1
        if read:
            self.wrote("%d" % read if read > 1 else printable(one.name), lambda: state.write([one.name for one in found]))

    def _chosen(self, found: Sequence[backup_scan.Candidate], state: State) -> List[backup_scan.Candidate]:
        if not found or self.asked.sets == [ALL]:
            return list(found)
        return list({one.name: one for one in (self._one(wanted, found, state) for wanted in self.asked.sets)}.values())

    def _one(self, wanted: str, found: Sequence[backup_scan.Candidate], state: State) -> backup_scan.Candidate:
        """The one that is meant: by its name, by the beginning of its time, the newest, or the newest that was proved."""
        if wanted == backup_sets.NEWEST:
            return found[0]
        if wanted == backup_sets.NEWEST_PROVED:
            match = next((one for one in found if state.proved(one, min(self.highest, self.backup.verified_rung))), None)
        else:
            start = backup_sets.time_start(wanted)
            match = next((one for one in found if one.name == wanted), None)
            if match is None and start:
                match = next((one for one in found if set_names.set_name(one.when.at).startswith(start)), None)
        if match is None:
            from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import nearest

            near = nearest(wanted, [backup_sets.NEWEST, *(one.name for one in found)]) or found[0].name
            raise BackupError("not_found", "there is no backup %r; the nearest is %s" % (wanted, printable(near)))
        return match

    def _read(self, one: backup_scan.Candidate, looks: List[int], target: int, state: State) -> None:
        started = time.monotonic()
        name = printable(one.name)
        rung, stumble = self._climb(one, target)
        now_looks = None
        with contextlib.suppress(OSError):
            now_looks = backup_verify_state.looks(one.path, one.folder)
        if now_looks is None or (one.folder and not os.path.isdir(one.path)):
            self.gone(name)
            return
        if now_looks != looks:
            rung, stumble = min(rung, 1), Stumble(2, None, "was changed while it was read: it may still be written", True)
        self.tell(name, target, rung, time.monotonic() - started, stumble)
        failed = stumble if stumble and not stumble.hindered else None
        state.put(one.name, looks, rung, (failed.rung, failed.text) if failed else None, self.clock())

    def _climb(self, one: backup_scan.Candidate, target: int) -> Tuple[int, Optional[Stumble]]:
        """The rung that was reached, and why not higher."""
        from concurrent.futures import ThreadPoolExecutor

        limits = self.backup.plan.limits
        files, stumbles = _files(one.path) if one.folder else ([one.path], [])
        sums = backup_verify_file.Sums(_sum_files(one.path) if one.folder else _sums_beside(one.path))
        if one.folder:
            stumbles += [Stumble(1, printable(name), "is missing; %s has its sum" % printable(source)) for source, name in sums.missing]

        def read_file(path: str) -> backup_verify_file.Read:
            return backup_verify_file.read_file(path, target, scratch, limits, sums, not one.folder)

        with backup_scratch.place(self.means.scratch, self.notes.append) as scratch, ThreadPoolExecutor(self.backup.plan.workers) as pool:
            read = list(pool.map(read_file, files))
        if one.folder:
            # A folder of files may hold an empty one, but not only those.
            kept = [(path, item) for path, item in zip(files, read) if item.what != "empty"]
            files, read = [path for path, _item in kept], [item for _path, item in kept]
        stumbles += [item.stumble for item in read if item.stumble]
        deciding = backup_verify_set.first(stumbles)
        self.notes += ["rung %d: %s" % (stumble.rung, stumble.text) for stumble in stumbles if stumble is not deciding]
        if deciding:
            return min([stumble.rung - 1 for stumble in stumbles] + [item.rung for item in read]), deciding
        if not read:
            return 0, Stumble(1, None, "holds nothing")
        unsummed = [printable(os.path.basename(path)) for path, item in zip(files, read) if not item.summed]
        if unsummed and target > 1:
            more = " and %d more" % (len(unsummed) - 3) if len(unsummed) > 3 else ""
            self.notes.append("%s has no check sum: it was read to its end, no more" % (", ".join(unsummed[:3]) + more))
        return target, None


def _files(folder: str) -> Tuple[List[str], List[Stumble]]:
    """The plain files in a folder, those that hold sums left aside, and what cannot be listed."""
    found: List[str] = []
    stumbles: List[Stumble] = []

    def unlisted(error: OSError) -> None:
        name = printable(os.path.relpath(error.filename or folder, folder))
        stumbles.append(Stumble(1, name, "cannot be listed: %s" % (error.strerror or error), backup_verify_set.hindered(error)))

    for here, _folders, names in os.walk(folder, onerror=unlisted):
        paths = [os.path.join(here, name) for name in names if not backup_scan.is_sum(name) and name != backup_verify_state.STATE]
        found += [path for path in paths if os.path.isfile(path) and not os.path.islink(path)]
    return sorted(found), stumbles


def _sum_files(folder: str) -> List[str]:
    return [os.path.join(here, name) for here, _folders, names in os.walk(folder) for name in names if backup_scan.is_sum(name)]


def _sums_beside(path: str) -> List[str]:
    folder = os.path.dirname(path)
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder) if backup_scan.is_sum(name)]
    except OSError:
        return []
