# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a restore, or after one that was killed: take it back, finish it, remove what it has set aside."""

from __future__ import annotations

import os
from typing import Any, Dict, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.journal import Journal, State
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import open_files

from . import plan as restore_plan
from . import steps, trust
from .call import Call, names, seen_open
from .outcome import Outcome, phase


class After(Call):
    """The calls that work on the last restore."""

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
                went = steps.Steps(journal, state, pieces, self.means, self.job, self.asked, self.notes)
                at = state.phase
                problems = went.take_back(state.reason or "undo was asked for")
            if problems:
                text = self._text("stuck", set=state.set, phase=phase(at), reason="undo was asked for", problems=problems)
                return self._ended("critical", text, changed=True, failed="; ".join(problems))
            status, word = ("ok", "undo.done") if went.healthy is not False else ("warning", "undo.unhealthy")
            params: Dict[str, Any] = {"set": state.set}
            if went.still_open.found:
                status, word, params["holders"] = "critical", "undo.open", names(went.still_open)
            evidence = {"restore_health": went.health_told, "restore_open": seen_open(went.still_open)}
            return self._ended(status, self._text(word, **params), changed=True, evidence=evidence)

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
                    one = backup_sets.look(self.backup.root, state.set)
                    self._confirmed(trust.of_set(self.backup.root, one, backup_ledger.read(self.backup.root)))
                    self._prove(one, state.parts)
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
            seen = open_files.holders(places)
            if seen.found and restore_plan.OPEN_STEP not in self.job.confirmed:
                return self._aside_in_use(seen)
            if not seen.complete:
                self.notes.append("whether another user's process has the data set aside open could not be determined")
            if self.check_mode or restore_plan.DISCARD_STEP not in self.job.confirmed:
                confirmed = restore_plan.DISCARD_STEP in self.job.confirmed
                text = self._text("discard.would" if confirmed else "discard.unconfirmed", count=len(places))
                plan = {"backup": self.backup.name, "discard": places}
                status = "ok" if confirmed else "warning"
                return self._ended(status, text, changed=confirmed, plan=plan, evidence={"restore_aside": places})
            for one in states:
                self._discard(journal, one, by)
            return self._ended("ok", self._text("discard.done", count=len(places)), changed=True, evidence={"restore_gone": places})

    def _aside_in_use(self, seen: open_files.Holders) -> Outcome:
        """What is set aside is what a process works on: to remove it would lose what that writes."""
        text = self._text("discard.open", holders=names(seen))
        wanted = not self.check_mode and restore_plan.DISCARD_STEP in self.job.confirmed
        failed = "processes have the data set aside open" if wanted else None
        return self._ended("critical", text, failed=failed, evidence={"restore_open": seen_open(seen)})

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
