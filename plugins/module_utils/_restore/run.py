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
back: see ``_backup/journal.py`` for what is written and ``steps.py`` for what is made.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import disk as backup_disk
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.journal import Journal, JournalError, Part, State
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError, SetFolder
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message, printable
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import open_files
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.base import ServiceError
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.systemd import SystemdRuntime

from . import outcome, steps, trust
from . import plan as restore_plan
from .after import After
from .call import NO_MEMORY, PROOF, Means
from .outcome import Outcome, phase, told_plan
from .plan import Job


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


def out_of_memory(params: Mapping[str, Any]) -> Outcome:
    """What a module says that had too little memory even to read its options; nothing was touched."""
    names = [params["backup"]] if params.get("backup") else [one["name"] for one in params.get("backups") or ()]
    text = "backup.restore.refused"
    told = [(name, message(text, name=name, reason=NO_MEMORY)) for name in names]
    return Outcome([finding("backup.%s.restore" % name, "backup", "critical", one) for name, one in told], failed=NO_MEMORY)


def _list(job: Job) -> Outcome:
    found, sets = [], []
    for backup in job.backups:
        try:
            state = restore_journal.read(job.folder, backup.name)
            left = state is not None and state.interrupted and not restore_journal.is_held(job.folder, backup.name)
            if state is not None and left:
                text = outcome.text("interrupted", backup, set=state.set, phase=phase(state.phase), ways=state.ways)
                found.append(outcome.found(backup, "critical", text))
            backup_disk.check(backup)
            told = restore_plan.listed(backup)
        except (BackupError, JournalError) as error:
            if getattr(error, "code", "") == "missing":
                text = outcome.text("none", backup, root=backup.root)
            else:
                text = outcome.text("unlisted", backup, reason=str(error))
            if not found or found[-1]["check"] != "backup.%s.restore" % backup.name:
                found.append(outcome.found(backup, "warning" if text["message"].endswith("none") else "unknown", text))
            continue
        sets += told
        if left:
            continue
        if not told:
            found.append(outcome.found(backup, "warning", outcome.text("none", backup, root=backup.root)))
        else:
            newest = next((one["set"] for one in told if one["rungs"] and one["rungs"][0]["rung"] >= PROOF), None)
            text = (
                outcome.text("listed", backup, count=len(told), newest=newest)
                if newest
                else outcome.text("listed.unproved", backup, count=len(told))
            )
            found.append(outcome.found(backup, "ok" if newest else "warning", text))
    return Outcome(found, sets=sets)


class _Restore(After):
    """One call for one backup."""

    def run(self) -> Outcome:
        """Do the action."""
        actions = {"restore": self.restore, "undo": self.undo, "resume": self.resume, "discard": self.discard}
        try:
            with steps.signals() as asked:
                self.asked = asked
                return actions[self.job.action]()
        except steps.RefusalError as error:
            params = error.text["params"]
            failed = params.get("reason") or "; ".join(params.get("doubts", ())) or error.text["message"]
            return self._ended("critical", error.text, failed=failed)
        except JournalError as error:
            status = "warning" if error.code == "busy" else "critical"
            text = self._text("busy" if error.code == "busy" else "refused", reason=str(error))
            return self._ended(status, text, failed=str(error))
        except (BackupError, EngineError, ServiceError, backup_stream.StreamError, OSError) as error:
            # Before the first step: what comes after is taken back where it happens.
            return self._ended("critical", self._text("refused", reason=outcome.line(error)), failed=outcome.line(error))
        except steps.StoppedError as error:
            return self._ended("critical", self._text("refused", reason=str(error)), failed=str(error))
        except (MemoryError, RuntimeError) as error:
            # Without memory for its stack a thread cannot be started, which is a RuntimeError.
            if not isinstance(error, MemoryError) and "start new thread" not in str(error):
                raise
            return self._ended("critical", self._text("refused", reason=NO_MEMORY), failed=NO_MEMORY)

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
        self._doubt(one, parts)
        self._prove(one, parts)
        now = self.means.clock()
        ident = "%x%s" % (int(now), os.urandom(2).hex())
        state = State(self.backup.name, ident, one.name, one.path, restore_journal.STAGING, parts, started=now, start=self.job.start)
        with self.pieces(state) as pieces:
            plan = self._plan(one, state, pieces)
            return go_on(one, state, pieces, plan)

    def _doubt(self, one: SetFolder, parts: Sequence[Part]) -> None:
        """What must be confirmed by its own name before the set is even read. Refusal when it is not and this is no look."""
        ledger = backup_ledger.read(self.backup.root)
        doubts = trust.of_set(self.backup.root, one, ledger)
        copy = trust.only_fetched(one, ledger)
        if copy is not None:
            self.notes.append("the set was not made here but fetched from %s: who can write there decides what is in it" % printable(copy))
        plans = {plan.name: plan for plan in self.backup.plan.artifacts}
        for part in parts:
            name = part.artifact.name or part.artifact.file
            plan = plans[name]
            doubts += trust.of_paths(name, self.means.engines(plan.engine).outside(plan.spec, part.artifact, part.part))
        self._confirmed(doubts)

    def _in_use(self, pieces: Sequence[steps.Piece], up: Sequence[Tuple[str, bool]]) -> None:
        """The doubt about processes that have the present data open and that nothing stops."""
        seen = open_files.holders(steps.places(pieces))
        if not seen.complete:
            self.notes.append("whether another user's process has files of the data open could not be determined")
        if not any(is_up for _name, is_up in up):
            self._confirmed(trust.of_open(seen.found))
            return
        stopped = {name for name, _up in up}
        for holder in seen.found:
            if not {holder.unit, holder.unit.rpartition(".")[0]} & stopped:
                text = "%s has files of the data open and is none of the services: if it still has when they are stopped, all is taken back"
                self.notes.append(text % (str(holder),))

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
                    "places": piece.restorer.places(),
                }
            )
        space = restore_plan.free_space(needs)
        for item in space:
            if item["need"] > item["free"]:
                text = self._text("space", paths=item["paths"], need=item["need"], free=item["free"])
                raise steps.RefusalError(text)
        self.notes += ["%s meanwhile: name it in services, too" % text for text in self.means.runtime.woken_by([name for name, _up in up])]
        self._in_use(pieces, up)
        stop = [service for service, is_up in up if is_up]
        start = [service for service, is_up in reversed(up) if is_up or self.job.start == "all"]
        return {
            "backup": self.backup.name,
            "set": one.name,
            "at": times.format_time(one.at),
            "rung": PROOF,
            "whole": len(artifacts) == len(one.manifest.artifacts if one.manifest else ()),
            "artifacts": artifacts,
            "space": space,
            "stop": stop,
            "down": [service for service, is_up in up if not is_up],
            "start": start,
            "health": len(self.job.probes),
            "services": [name for name, _up in up],
            "doubts": [list(doubt) for doubt in self.doubts],
        }

    def _would(self, one: SetFolder, state: State, pieces: Sequence[steps.Piece], plan: Dict[str, Any]) -> Outcome:
        confirmed = restore_plan.RESTORE_STEP in self.job.confirmed
        status, name = ("ok", "would") if confirmed else ("warning", "unconfirmed")
        text = self._text(name, set=one.name, artifacts=[piece.name for piece in pieces], count=len(plan["stop"]))
        if self.doubts:
            status, text = "critical", self._doubted(one.name)
        return self._ended(status, text, changed=confirmed and not self.doubts, plan=plan, evidence={"restore_plan": told_plan(plan)})

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
