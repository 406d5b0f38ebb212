# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a backup so that it can be taken back at any moment, also after the run was killed.

Nothing is touched before the set has been read to its end now, and space, versions and other restores were looked at. Then::

    staging     the data is loaded beside the present data, and counted
    stopping    the services of the backup are stopped, then the engines' own
    swapping    the present data goes aside, the staged data into its place, by renaming
    finishing   the engines' own services are up; owners, indexes, statistics; what is in place is counted: nobody writes yet
    starting    the services that were up are up again, and healthy
    done        the data of before stays aside until it is discarded

Each phase and each step is in the journal before it is made, each step can be made twice, and a failure or a signal takes everything
back: see ``restore_journal.py`` for what is written and ``restore_steps.py`` for what is made.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import disk as backup_disk
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import scratch as backup_scratch
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.journal import Journal, JournalError, Part, State
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.options_with_engines import Backup
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError, SetFolder
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify import climb as backup_verify_set
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Engine, EngineError, Request, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import orphans
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Place
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.base import Runtime, ServiceError
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.systemd import SystemdRuntime

from . import plan as restore_plan
from . import steps
from .plan import Job

Health = Callable[[Sequence[Any], float], List[Finding]]

_PROOF = 3
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


class Outcome(NamedTuple):
    """``plan``: what was, or would be, done; ``sets``: of a list; ``failed``: why the module is to fail, None if it is not."""

    found: List[Finding]
    changed: bool = False
    sets: Sequence[Dict[str, Any]] = ()
    plan: Optional[Dict[str, Any]] = None
    failed: Optional[str] = None


def usual_means(bundle: Optional[str] = None) -> Means:
    """The means of this host. ``bundle``: the jmespath package for probes that need it."""
    from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import run as probe

    def health(probes: Sequence[Any], deadline: float) -> List[Finding]:
        return probe.run_probes(probes, deadline, bundle=bundle)[0]

    return Means(SystemdRuntime(), health)


def run(job: Job, check_mode: bool, means: Means) -> Outcome:
    """Do what was asked for, or tell what would be done."""
    if job.action == "list":
        return _list(job)
    return _Restore(job, check_mode, means).run()


def _text(identifier: str, backup: Backup, **params: Any) -> Message:
    return message("backup.restore." + identifier, name=backup.name, **params)


def _found(backup: Backup, status: str, text: Message, **more: Any) -> Finding:
    evidence = {name: seen for name, seen in more.pop("evidence", {}).items() if seen}
    return finding("backup.%s.restore" % backup.name, "backup", status, text, evidence=evidence, **more)


def _list(job: Job) -> Outcome:
    found, sets = [], []
    for backup in job.backups:
        try:
            state = restore_journal.read(job.folder, backup.name)
            left = state is not None and state.interrupted and not restore_journal.is_held(job.folder, backup.name)
            if state is not None and left:
                found.append(_found(backup, "critical", _text("interrupted", backup, set=state.set, phase=phase(state.phase))))
            backup_disk.check(backup)
            told = restore_plan.listed(backup)
        except (BackupError, JournalError) as error:
            if getattr(error, "code", "") == "missing":
                text = _text("none", backup, root=backup.root)
            else:
                text = _text("unlisted", backup, reason=str(error))
            if not found or found[-1]["check"] != "backup.%s.restore" % backup.name:
                found.append(_found(backup, "warning" if text["message"].endswith("none") else "unknown", text))
            continue
        sets += told
        if left:
            continue
        if not told:
            found.append(_found(backup, "warning", _text("none", backup, root=backup.root)))
        else:
            newest = next((one["set"] for one in told if one["rungs"] and one["rungs"][0]["rung"] >= _PROOF), None)
            text = _text("listed", backup, count=len(told), newest=newest) if newest else _text("listed.unproved", backup, count=len(told))
            found.append(_found(backup, "ok" if newest else "warning", text))
    return Outcome(found, sets=sets)


def phase(name: str) -> Message:
    """A phase in words."""
    return message("backup.restore.phase." + name)


class _Restore:
    """One call for one backup."""

    def __init__(self, job: Job, check_mode: bool, means: Means) -> None:
        self.job, self.check_mode, self.means, self.backup = job, check_mode, means, job.backup
        self.notes: List[str] = []
        self.started = time.monotonic()
        self.asked = steps.Asked()

    def run(self) -> Outcome:
        """Do the action."""
        actions = {"restore": self.restore, "undo": self.undo, "resume": self.resume, "discard": self.discard}
        try:
            with steps.signals() as asked:
                self.asked = asked
                return actions[self.job.action]()
        except steps.RefusalError as error:
            return self._ended("critical", error.text, failed=error.text["params"].get("reason") or error.text["message"])
        except JournalError as error:
            status = "warning" if error.code == "busy" else "critical"
            text = self._text("busy" if error.code == "busy" else "refused", reason=str(error))
            return self._ended(status, text, failed=str(error))
        except (BackupError, EngineError, ServiceError, backup_stream.StreamError, OSError) as error:
            # Before the first step: what comes after is taken back where it happens.
            return self._ended("critical", self._text("refused", reason=_line(error)), failed=_line(error))
        except steps.StoppedError as error:
            return self._ended("critical", self._text("refused", reason=str(error)), failed=str(error))

    def _text(self, identifier: str, **params: Any) -> Message:
        return _text(identifier, self.backup, **params)

    def _ended(self, status: str, text: Message, **more: Any) -> Outcome:
        evidence = dict(more.pop("evidence", {}), restore_notes=self.notes)
        took = (time.monotonic() - self.started) * 1000
        found = _found(self.backup, status, text, evidence=evidence, duration_ms=took, remedy=self.backup.remedy)
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

    # -- restore --------------------------------------------------------------------------------------------------------------

    def restore(self) -> Outcome:
        """Restore a set, or tell what that would be."""
        backup_disk.check(self.backup)
        confirmed = restore_plan.RESTORE_STEP in self.job.confirmed
        look_only = self.check_mode or not confirmed
        if look_only:
            self.check_mode = True  # nothing is written, not even a lock
            return self._prepared(self._would)
        with self._journal() as journal:
            self._refuse_others(journal)
            with backup_sets.locked(self.backup.root, "the restore of %s" % self.backup.name):
                return self._prepared(lambda one, state, pieces, plan: self._carry_out(journal, one, state, pieces))

    def _refuse_others(self, journal: Optional[Journal]) -> None:
        """No other restore of this host may be in the middle: it may have stopped the same services."""
        for _name, state in restore_journal.states(self.job.folder):
            if state.interrupted:
                own = journal is not None and state.backup == self.backup.name
                if not own and restore_journal.is_held(self.job.folder, state.backup):
                    raise JournalError("busy", "a restore of %s is under way" % state.backup)
                text = "the restore of %s from %s was interrupted while %s: undo or resume it first"
                reason = text % (state.backup, state.set, state.phase)
                raise steps.RefusalError(self._text("refused", reason=reason))

    def _prepared(self, go_on: Callable[[SetFolder, State, List[steps.Piece], Dict[str, Any]], Outcome]) -> Outcome:
        """Choose, prove and look at everything that can be looked at before anything is touched."""
        if self.check_mode:
            self._refuse_others(None)
        one = backup_sets.choose(backup_sets.listed(self.backup.root), self.job.wanted or "", self.backup.verified_rung)
        parts = tuple(
            Part(artifact, inner, restore_journal.digest(plan.spec, plan.engine))
            for artifact, plan, inner in restore_plan.matched(self.job, one)
        )
        for part in parts:
            if not part.artifact.counts:
                self.notes.append("%s: its manifest has no counts to compare with" % (part.artifact.name or part.artifact.file))
        skipped = len(one.manifest.artifacts if one.manifest else ()) - len(parts)
        if skipped and not self.job.parts:
            self.notes.append("%d artifacts hold only a schema and are left out" % skipped)
        self._prove(one, parts)
        now = self.means.clock()
        ident = "%x%s" % (int(now), os.urandom(2).hex())
        state = State(self.backup.name, ident, one.name, one.path, restore_journal.STAGING, parts, started=now, start=self.job.start)
        with self.pieces(state) as pieces:
            plan = self._plan(one, state, pieces)
            return go_on(one, state, pieces, plan)

    def _prove(self, one: SetFolder, parts: Sequence[Part]) -> None:
        """Read what is to be restored to its end now. Refusal when it cannot be."""
        files = [part.artifact.file for part in parts]
        others = [artifact for artifact in (one.manifest.artifacts if one.manifest else ()) if artifact.file not in files]
        some = files if others else None
        means = backup_verify_set.Means(self.backup.plan, self._scratch(), self.means.place, self.means.engines, some)
        climb = backup_verify_set.climb(one, backup_ledger.read(self.backup.root), _PROOF, means)
        self.notes += climb.notes
        if others:
            self.notes.append("of the set only what is restored was read now, not %s" % _few([one.name or one.file for one in others]))
        if not self.check_mode:
            with contextlib.suppress(OSError):
                # Some of it is no proof of the whole, and damage of some is damage of the whole.
                backup_verify_set.record(one, 0 if others else climb.rung, climb.stumble, self.means.clock())
        if climb.rung < _PROOF:
            reason = climb.stumble.text if climb.stumble else "rung %d was not reached" % _PROOF
            raise steps.RefusalError(self._text("unproved", set=one.name, rung=_PROOF, reason=reason))

    def _plan(self, one: SetFolder, state: State, pieces: Sequence[steps.Piece]) -> Dict[str, Any]:
        """What will be done. Raises when it cannot be."""
        up = steps.services(self.means.runtime, self.backup.plan.restore.services, pieces)
        needs: List[Tuple[str, int]] = []
        artifacts = []
        for piece in pieces:
            piece.restorer.check()
            wanted = piece.restorer.needs()
            needs += wanted
            artifact = piece.part.artifact
            artifacts.append(
                {
                    "name": piece.name,
                    "engine": artifact.engine,
                    "part": list(piece.part.part),
                    "size": artifact.size,
                    "beside": [path for path, _size in wanted],
                }
            )
        space = restore_plan.free_space(needs)
        for item in space:
            if item["need"] > item["free"]:
                text = self._text("space", paths=item["paths"], need=item["need"], free=item["free"])
                raise steps.RefusalError(text)
        self.notes += ["%s meanwhile: name it in services, too" % text for text in self.means.runtime.woken_by([name for name, _up in up])]
        stop = [service for service, is_up in up if is_up]
        start = [service for service, is_up in reversed(up) if is_up or self.job.start == "all"]
        return {
            "backup": self.backup.name,
            "set": one.name,
            "at": times.format_time(one.at),
            "rung": _PROOF,
            "whole": len(artifacts) == len(one.manifest.artifacts if one.manifest else ()),
            "artifacts": artifacts,
            "space": space,
            "stop": stop,
            "down": [service for service, is_up in up if not is_up],
            "start": start,
            "health": len(self.job.probes),
        }

    def _would(self, one: SetFolder, state: State, pieces: Sequence[steps.Piece], plan: Dict[str, Any]) -> Outcome:
        confirmed = restore_plan.RESTORE_STEP in self.job.confirmed
        status, name = ("ok", "would") if confirmed else ("warning", "unconfirmed")
        text = self._text(name, set=one.name, artifacts=[piece.name for piece in pieces], count=len(plan["stop"]))
        return self._ended(status, text, changed=confirmed, plan=plan, evidence={"restore_plan": told_plan(plan)})

    def _carry_out(self, journal: Journal, one: SetFolder, state: State, pieces: List[steps.Piece]) -> Outcome:
        before = journal.read()
        if before is not None:
            journal.put_by(before)
            self.notes.append(
                "what an earlier restore of %s has set aside is kept: %s" % (before.set, ", ".join(before.aside) or "nothing")
            )
        self.asked.at_once = False  # from here on a signal takes back what was done
        journal.write(state)
        journal.log("restore %s of %s from %s" % (state.ident, ", ".join(piece.name for piece in pieces), state.path))
        return self._forward(journal, state, pieces)

    def _forward(self, journal: Journal, state: State, pieces: List[steps.Piece]) -> Outcome:
        """Make all steps from the state's phase on, or take them all back."""
        went = steps.Steps(journal, state, pieces, self.means, self.backup, self.job.probes, self.asked, self.notes)
        try:
            went.forward()
        except (Exception, steps.StoppedError) as error:  # noqa: BLE001 - whatever it was: the data of before has to come back
            self.asked.at_once = False
            known = isinstance(error, _KNOWN)
            reason = _line(error) if known else "%s: %s" % (type(error).__name__, _line(error))
            return self._taken_back(went, went.state.phase, went.step, reason)
        done = went.state
        unwritten = ""
        try:
            parts = ["%s:%s" % (part.artifact.name, "+".join(part.part)) if part.part else str(part.artifact.name) for part in done.parts]
            backup_ledger.append(self.backup.root, "restored", done.set, self.means.clock(), parts=parts)
        except BackupError as error:
            unwritten = str(error)
        minutes = max(0.0, done.started - min(part.artifact.start for part in done.parts))
        text = self._text("done", set=done.set, artifacts=[piece.name for piece in pieces], age=minutes)
        evidence = {"restore_aside": list(done.aside), "restore_health": went.health_told}
        if unwritten:
            text = self._text("done_unwritten", set=done.set, reason=unwritten)
        return self._ended(
            "warning" if unwritten else "ok", text, changed=True, plan={"aside": list(done.aside), "set": done.set}, evidence=evidence
        )

    def _taken_back(self, went: steps.Steps, at: str, step: str, reason: str) -> Outcome:
        """Take it back and tell why."""
        set_name = went.state.set
        problems = went.take_back(reason)
        evidence = {"restore_step": step, "restore_health": went.health_told}
        if problems:
            text = self._text("stuck", set=set_name, phase=phase(at), reason=reason, problems=problems)
            return self._ended("critical", text, changed=True, failed="%s; and: %s" % (reason, "; ".join(problems)), evidence=evidence)
        text = self._text("taken_back", set=set_name, phase=phase(at), reason=reason)
        return self._ended("critical", text, failed=reason, evidence=evidence)

    # -- after a kill ---------------------------------------------------------------------------------------------------------

    def undo(self) -> Outcome:
        """Have the data and services of before, whether the restore was interrupted or is done."""
        with self._journal() as journal:
            state = journal.read()
            earlier = journal.put_by_states() if state is None else []
            if earlier:
                # Asked for by its name alone: an undo that is given twice is not to take back two restores.
                state = earlier[-1]
                if restore_plan.EARLIER_STEP not in self.job.confirmed:
                    text = self._text("undo.earlier", set=state.set, at=times.format_time(state.started))
                    return self._ended("warning", text, evidence={"restore_aside": list(state.aside)})
            if state is None:
                return self._ended("ok", self._text("undo.nothing"))
            if state.phase == restore_journal.DISCARDING:
                raise steps.RefusalError(self._text("refused", reason="the data set aside was being removed: there is no way back"))
            if self.check_mode:
                return self._ended("ok", self._text("undo.would", set=state.set, phase=phase(state.phase)), changed=True)
            if earlier:
                journal.take_up(state)
            with self._root(), self.pieces(state) as pieces:
                went = steps.Steps(journal, state, pieces, self.means, self.backup, self.job.probes, self.asked, self.notes)
                at = state.phase
                problems = went.take_back(state.reason or "undo was asked for")
            if problems:
                text = self._text("stuck", set=state.set, phase=phase(at), reason="undo was asked for", problems=problems)
                return self._ended("critical", text, changed=True, failed="; ".join(problems))
            status = "ok" if went.healthy is not False else "warning"
            text = self._text("undo.done" if status == "ok" else "undo.unhealthy", set=state.set)
            return self._ended(status, text, changed=True, evidence={"restore_health": went.health_told})

    def resume(self) -> Outcome:
        """Finish a restore that was interrupted."""
        with self._journal() as journal:
            state = journal.read()
            if state is None or state.phase == restore_journal.DONE:
                return self._ended("ok", self._text("resume.nothing"))
            if state.phase in (restore_journal.UNDOING, restore_journal.DISCARDING):
                other = "undo" if state.phase == restore_journal.UNDOING else "discard"
                raise steps.RefusalError(self._text("refused", reason="it was being ended by %s: finish that" % other))
            if self.check_mode:
                return self._ended("ok", self._text("resume.would", set=state.set, phase=phase(state.phase)), changed=True)
            if state.phase == restore_journal.STAGING:
                with self._root():
                    if not os.path.isdir(state.path):
                        reason = "%s is gone: undo the restore, then restore another set" % state.path
                        raise steps.RefusalError(self._text("refused", reason=reason))
                    self._prove(backup_sets.look(self.backup.root, state.set), state.parts)
                    with self.pieces(state) as pieces:
                        return self._forward(journal, state, pieces)
            with self._root(), self.pieces(state) as pieces:
                return self._forward(journal, state, pieces)

    def discard(self) -> Outcome:
        """Remove the data that restores have set aside. There is no way back after it."""
        with self._journal() as journal:
            state = journal.read()
            by = journal.put_by_states()
            states = [*by, *([state] if state else [])]
            if not states:
                return self._ended("ok", self._text("discard.nothing"))
            if state is not None and state.phase not in (restore_journal.DONE, restore_journal.DISCARDING):
                reason = "the restore from %s was interrupted while %s: undo or resume it first" % (state.set, state.phase)
                raise steps.RefusalError(self._text("refused", reason=reason))
            places = [path for one in states for path in one.aside]
            if self.check_mode or restore_plan.DISCARD_STEP not in self.job.confirmed:
                confirmed = restore_plan.DISCARD_STEP in self.job.confirmed
                text = self._text("discard.would" if confirmed else "discard.unconfirmed", count=len(places))
                plan = {"backup": self.backup.name, "discard": places}
                status = "ok" if confirmed else "warning"
                return self._ended(status, text, changed=confirmed, plan=plan, evidence={"restore_aside": places})
            for one in states:
                self._discard(journal, one, by)
            return self._ended("ok", self._text("discard.done", count=len(places)), changed=True, evidence={"restore_gone": places})

    def _discard(self, journal: Journal, one: State, by: Sequence[State]) -> None:
        current = one not in by
        # From here on there is no way back, also when this is killed.
        journal.write(one._replace(phase=restore_journal.DISCARDING), put_by=not current)
        with self.pieces(one) as pieces:
            for piece in pieces:
                journal.log("discard %s of %s" % (piece.name, one.ident))
                self.means.observe("discard " + piece.name)
                piece.restorer.discard()
        journal.remove(None if current else one.ident)

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


def told_plan(plan: Mapping[str, Any]) -> List[str]:
    """A plan in lines, for people."""
    which = "read to its end now" if plan["whole"] else "of which only what is restored was read to its end now"
    lines = ["set %s of %s, %s" % (plan["set"], plan["at"], which)]
    for artifact in plan["artifacts"]:
        what = " (%s)" % ", ".join(artifact["part"]) if artifact["part"] else ""
        beside = ", ".join(artifact["beside"])
        lines.append("stage %s%s, then set the present data aside%s" % (artifact["name"], what, ": both in " + beside if beside else ""))
    lines += [
        "space in %s: %s needed, %s free" % (", ".join(one["paths"]), _size(one["need"]), _size(one["free"])) for one in plan["space"]
    ]
    lines += ["stop %s" % service for service in plan["stop"]]
    lines += ["%s is down and stays so" % service for service in plan["down"] if service not in plan["start"]]
    lines += ["start %s" % service for service in plan["start"]]
    if plan["health"]:
        lines.append("look whether the health is ok (probes: %d)" % plan["health"])
    elif plan["start"]:
        lines.append("look only whether the services stay up: the backup names no probes of its restore's health")
    else:
        lines.append("look at no service: none is started, and the backup names no probes of its restore's health")
    return lines


def _few(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (" and %d more" % (len(names) - most) if len(names) > most else "")


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return "%.4g %s" % (number, unit)
        number /= 1024
    return "%.4g TiB" % number


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
