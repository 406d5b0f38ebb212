# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every call for one backup needs: its journal, its artifacts with what restores each, the steps made or taken back."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import scratch as backup_scratch
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.journal import Journal, JournalError, Part, State
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError, SetFolder
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify import climb as backup_verify_set
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, printable
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Engine, EngineError, Request, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._host.open_files import Holders
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import orphans
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Place
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.base import Runtime, ServiceError

from . import outcome, steps, trust
from .outcome import Outcome
from .plan import Job
from .trust import Doubt

#: The rung that a set must pass just before it is restored.
PROOF = 3
NO_MEMORY = "there is not enough memory for it on this host"
#: Processes that a finding names.
_HOLDERS = 10

Health = Callable[[Sequence[Any], float], List[Finding]]

#: What can be told about data, a server or a service. Anything else is a fault of ours, which is taken back all the same.
_KNOWN = (EngineError, backup_stream.StreamError, ServiceError, BackupError, JournalError, OSError, steps.RestoreError, steps.StoppedError)


class Means(NamedTuple):
    """With what a restore works. ``health``: runs probes within seconds; ``observe``: is told each step before it is made; ``settle``:
    seconds for which services must stay up;
    ``scratch``: folder for scratch places, None for that of the backup's drills."""

    runtime: Runtime
    health: Health
    engines: Callable[[str], Engine] = backup_engines.engine
    place: Place = HOST
    clock: Callable[[], float] = time.time
    observe: Callable[[str], None] = lambda _step: None
    scratch: Optional[str] = None
    settle: float = 3.0


class Call:
    """One call for one backup."""

    def __init__(self, job: Job, check_mode: bool, means: Means) -> None:
        self.job, self.check_mode, self.means, self.backup = job, check_mode, means, job.backup
        self.notes: List[str] = []
        #: What must be confirmed by its own name.
        self.doubts: List[Doubt] = []
        self.started = time.monotonic()
        self.asked = steps.Asked()

    def _text(self, identifier: str, **params: Any) -> Message:
        return outcome.text(identifier, self.backup, **params)

    def _ended(self, status: str, text: Message, **more: Any) -> Outcome:
        doubts = [str(doubt) for doubt in self.doubts]
        evidence = dict(more.pop("evidence", {}), restore_doubts=doubts, restore_notes=self.notes)
        took = (time.monotonic() - self.started) * 1000
        found = outcome.found(self.backup, status, text, evidence=evidence, duration_ms=took, remedy=self.backup.remedy)
        return Outcome([found], **more)

    @contextlib.contextmanager
    def _journal(self) -> Iterator[Journal]:
        """The journal, held; in check mode it is only looked at."""
        if self.check_mode:
            if restore_journal.is_held(self.job.folder, self.backup.name):
                raise JournalError("busy", "a restore of %s is under way" % self.backup.name)
            yield Journal(self.job.folder, self.backup.name)
            return
        with restore_journal.held(self.job.folder, self.backup.name) as journal:
            yield journal

    def _confirmed(self, doubts: List[Doubt]) -> None:
        """Keep the doubts that are not confirmed; in a real run there may be none. RefusalError."""
        self.doubts += [doubt for doubt in doubts if doubt.step not in self.job.confirmed]
        if self.doubts and not self.check_mode:
            raise steps.RefusalError(self._doubted(self.job.wanted or ""))

    def _doubted(self, set_name: str) -> Message:
        return self._text("doubted", set=set_name, doubts=[str(doubt) for doubt in self.doubts])

    def _prove(self, one: SetFolder, parts: Sequence[Part]) -> None:
        """Read what is to be restored to its end now. Refusal when it cannot be."""
        files = [part.artifact.file for part in parts]
        others = [artifact for artifact in (one.manifest.artifacts if one.manifest else ()) if artifact.file not in files]
        some = files if others else None
        means = backup_verify_set.Means(self.backup.plan, self._scratch(), self.means.place, self.means.engines, some)
        climb = backup_verify_set.climb(one, backup_ledger.read(self.backup.root), PROOF, means)
        self.notes += climb.notes
        if others:
            self.notes.append("of the set only what is restored was read now, not %s" % trust.few([one.name or one.file for one in others]))
        if not self.check_mode:
            with contextlib.suppress(OSError):
                # Some of it is no proof of the whole, and damage of some is damage of the whole.
                backup_verify_set.record(one, 0 if others else climb.rung, climb.stumble, self.means.clock())
        if climb.rung < PROOF:
            reason = climb.stumble.text if climb.stumble else "rung %d was not reached" % PROOF
            raise steps.RefusalError(self._text("unproved", set=one.name, rung=PROOF, reason=reason))

    def _forward(self, journal: Journal, state: State, pieces: List[steps.Piece]) -> Outcome:
        """Make all steps from the state's phase on, or take them all back."""
        went = steps.Steps(journal, state, pieces, self.means, self.job, self.asked, self.notes)
        try:
            went.forward()
        except (Exception, steps.StoppedError) as error:  # noqa: BLE001 - whatever it was: the data of before has to come back
            self.asked.at_once = False
            return self._taken_back(went, went.state.phase, went.step, error)
        done = went.state
        unwritten = ""
        try:
            parts = ["%s:%s" % (part.artifact.name, "+".join(part.part)) if part.part else str(part.artifact.name) for part in done.parts]
            backup_ledger.append(self.backup.root, "restored", done.set, self.means.clock(), parts=parts)
        except BackupError as error:
            unwritten = str(error)
        minutes = max(0.0, done.started - min(part.artifact.start for part in done.parts))
        told = {"set": done.set, "artifacts": [piece.name for piece in pieces], "age": minutes}
        status, text = "ok", self._text("done", **told)
        if unwritten:
            status, text = "warning", self._text("done_unwritten", set=done.set, reason=unwritten)
        if went.still_open.found:
            status, text = "critical", self._text("done.open", holders=names(went.still_open), **told)
        elif not went.still_open.complete:
            status, text = "unknown", self._text("done.unseen", **told)
        evidence = {"restore_aside": list(done.aside), "restore_health": went.health_told, "restore_open": seen_open(went.still_open)}
        return self._ended(status, text, changed=True, plan={"aside": list(done.aside), "set": done.set}, evidence=evidence)

    def _taken_back(self, went: steps.Steps, at: str, step: str, error: BaseException) -> Outcome:
        """Take it back and say why."""
        set_name = went.state.set
        line = _reason(error)
        # What probes saw is put into words where the report is made.
        reason: Any = error.told if isinstance(error, steps.RestoreError) and error.told else line
        problems = went.take_back(line)
        evidence = {"restore_step": step, "restore_health": went.health_told}
        if problems:
            text = self._text("stuck", set=set_name, phase=outcome.phase(at), reason=reason, problems=problems)
            return self._ended("critical", text, changed=True, failed="%s; and: %s" % (line, "; ".join(problems)), evidence=evidence)
        text = self._text("taken_back", set=set_name, phase=outcome.phase(at), reason=reason)
        return self._ended("critical", text, failed=line, evidence=evidence)

    @contextlib.contextmanager
    def _root(self) -> Iterator[None]:
        """Keep backups of this data away while it is swapped: a set of two times would be made. BackupError ``busy``.

        The way back works without the root, which may be what was lost.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(backup_sets.locked(self.backup.root, "the restore of %s" % self.backup.name))
            except BackupError as error:
                if error.code == "busy":
                    raise
            yield

    # -- shared ---------------------------------------------------------------------------------------------------------------

    def _scratch(self) -> str:
        return self.means.scratch or self.backup.plan.drill.scratch

    @contextlib.contextmanager
    def pieces(self, state: State) -> Iterator[List[steps.Piece]]:
        """The artifacts of a restore with what restores each."""
        plans = {plan.name: plan for plan in self.backup.plan.artifacts}
        runtime = self.means.runtime
        with contextlib.ExitStack() as stack:
            if not self.check_mode:
                for number in orphans.end(state.ident):
                    self.notes.append("process %d of the killed run was ended" % number)
            stack.enter_context(orphans.marked(state.ident))
            scratch = stack.enter_context(backup_scratch.place(self._scratch(), self.notes.append))
            pieces = []
            for at, part in enumerate(state.parts):
                name = part.artifact.name or part.artifact.file
                plan = plans.get(name)
                if plan is None or restore_journal.digest(plan.spec, plan.engine) != part.digest:
                    text = "the options of %s are not those this restore began with: give them back as they were, then try again"
                    raise BackupError("failed", text % name)
                own = os.path.join(scratch, str(at))
                os.mkdir(own, 0o700)
                limits = self.backup.plan.limits
                work = Work(
                    own, self.means.place, limits, self.backup.plan.workers, self._warn(name), runtime.is_up, runtime.stop, runtime.start
                )
                identity = self.backup.plan.identity if part.artifact.encryption else None
                stored = Stored(os.path.join(state.path, part.artifact.file), identity)
                # Two artifacts may lie in one folder.
                request = Request("%sp%d" % (state.ident, at), part.part)
                engine = self.means.engines(plan.engine)
                restorer = stack.enter_context(engine.restorer(plan.spec, part.artifact, stored, request, work))
                pieces.append(steps.Piece(name, part, restorer))
            yield pieces

    def _warn(self, name: str) -> Callable[[str], None]:
        return lambda text: self.notes.append("%s: %s" % (name, text))


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return NO_MEMORY
    known = isinstance(error, _KNOWN)
    return outcome.line(error) if known else "%s: %s" % (type(error).__name__, outcome.line(error))


def names(seen: Holders) -> List[str]:
    return [str(holder) for holder in seen.found[:_HOLDERS]]


def seen_open(seen: Holders) -> List[str]:
    """Processes with the files that they have open, for the evidence."""
    return ["%s: %s" % (holder, printable(", ".join(holder.paths))) for holder in seen.found[:_HOLDERS]]
