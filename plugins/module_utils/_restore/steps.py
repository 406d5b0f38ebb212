# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a restore, forward and back. Each is in the journal before it is made and can be made again after a kill."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as phases
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.journal import Journal, Part, State
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Restorer, compare
from ansible_collections.opsrunner.runbook.plugins.module_utils._host.open_files import Holders, holders
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.base import Runtime, ServiceError

from .plan import OPEN_STEP, Job

if TYPE_CHECKING:
    from .call import Means

#: Seconds between two looks at the health, and for one.
_PAUSE, _LOOK = 1.0, 15.0
#: Processes that a reason names.
_HOLDERS = 5
#: A service that was just taken back is given this long to be healthy; its state is told, not judged.
_HEALTH_AFTER_UNDO = 15.0


class RestoreError(Exception):
    """A step that did not do what it should. ``told``: the reason as a message, where it holds some of its own."""

    def __init__(self, text: str, told: Optional[Message] = None) -> None:
        super().__init__(text)
        self.told = told


class StoppedError(BaseException):
    """A signal asked to end. No engine may take it for a failure of its own."""


class RefusalError(Exception):
    """Nothing was touched. ``text``: why."""

    def __init__(self, text: Message) -> None:
        super().__init__(text["message"])
        self.text = text


class Asked:
    """The signal that came. Where ``at_once``, what is under way is left at once; elsewhere at the next step."""

    def __init__(self) -> None:
        self.name: Optional[str] = None
        self.at_once = True

    def came(self, number: int, _frame: Any) -> None:
        """Remember it."""
        import signal

        self.name = signal.Signals(number).name
        if self.at_once:
            self.at_once = False
            raise StoppedError("ended by %s" % self.name)


@contextlib.contextmanager
def signals() -> Iterator[Asked]:
    """Hear the signals that ask to end."""
    import signal

    asked = Asked()
    before: Dict[int, Any] = {}
    try:
        with contextlib.suppress(ValueError):  # not in the main thread: nobody sends it signals
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                    before[number] = signal.signal(number, asked.came)
        yield asked
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)


class Piece(NamedTuple):
    """One artifact and what restores it."""

    name: str
    part: Part
    restorer: Restorer


def services(runtime: Runtime, named: Sequence[str], pieces: Sequence[Piece]) -> Tuple[Tuple[str, bool], ...]:
    """The services to stop, in that order, and whether each is up: those of the backup, then the engines' own. ServiceError."""
    names = dict.fromkeys([*named, *(unit for piece in pieces for unit in piece.restorer.units)])
    return tuple((name, runtime.is_up(name)) for name in names)


def places(pieces: Sequence[Piece]) -> List[str]:
    """The paths of this host that the pieces replace."""
    return [path for piece in pieces for path in piece.restorer.places()]


class Steps:
    """The steps of one restore. ``state`` is what the journal has; ``step`` the one under way; ``healthy`` None: not looked at;
    ``still_open``: who works on data that is in place no more."""

    def __init__(
        self,
        journal: Journal,
        state: State,
        pieces: Sequence[Piece],
        means: Means,
        job: Job,
        asked: Asked,
        notes: List[str],
    ) -> None:
        self.journal, self.state, self.pieces, self.means = journal, state, list(pieces), means
        self.backup, self.probes, self.asked, self.notes = job.backup, job.probes, asked, notes
        self.may_be_open = OPEN_STEP in job.confirmed
        self.step = ""
        self.healthy: Optional[bool] = None
        self.health_told: List[Message] = []
        self.still_open = Holders((), True)

    # -- forward --------------------------------------------------------------------------------------------------------------

    def forward(self) -> None:
        """From the state's phase to done. Raises at the first step that fails."""
        for name, do in (
            (phases.STAGING, self._stage),
            (phases.STOPPING, self._stop),
            (phases.SWAPPING, self._swap),
            (phases.FINISHING, self._finish),
            (phases.STARTING, self._start),
        ):
            if self.state.phase == name:
                self.asked.at_once = name == phases.STAGING
                do()
        # Done: from here on a signal changes nothing any more.
        self.asked.at_once = False

    def _enter(self, phase: str, **more: Any) -> None:
        state = self.state._replace(phase=phase, **more)
        self.journal.write(state)
        self.state = state
        self.means.observe("phase " + phase)

    def _step(self, *words: str) -> None:
        """Write down a step that is about to be made."""
        if self.asked.name:
            raise StoppedError("ended by %s" % self.asked.name)
        self.step = " ".join(words)
        self.journal.log(self.step)
        self.means.observe(self.step)

    def _stage(self) -> None:
        for piece in self.pieces:
            self._step("stage", piece.name)
            counts = piece.restorer.stage()
            self._compare(piece, counts, "staged")
        self._step("look at the services")
        found = services(self.means.runtime, self.backup.plan.restore.services, self.pieces)
        self.asked.at_once = False
        self._enter(phases.STOPPING, services=found)

    def _compare(self, piece: Piece, counts: Any, what: str) -> None:
        if piece.part.part and not counts:
            # The files engine: its manifest counts no single paths.
            self.notes.append("%s: the manifest has no counts of this part to compare what was %s with" % (piece.name, what))
        differing = compare(piece.part.artifact.counts, counts, piece.part.part)
        if differing:
            more = " and %d more" % (len(differing) - 5) if len(differing) > 5 else ""
            raise RestoreError("%s: what was %s is not what was backed up: %s%s" % (piece.name, what, "; ".join(differing[:5]), more))

    def _down(self, names: Sequence[str]) -> None:
        """Stop what is up; after a kill or a reboot something may have come up again."""
        for name in names:
            if not self.means.runtime.is_down(name):
                self._step("stop", name)
                self.means.runtime.stop(name)

    def _stop(self) -> None:
        self._down([name for name, _up in self.state.services])
        self._enter(phases.SWAPPING)

    def _swap(self) -> None:
        self._down([name for name, _up in self.state.services])
        self._refuse_open(places(self.pieces))
        for piece in self.pieces:
            self._step("swap", piece.name)
            piece.restorer.swap()
        # Whatever has opened it since the look before would go on with the previous data.
        self._refuse_open(self._set_aside())
        self._enter(phases.FINISHING)

    def _refuse_open(self, paths: Sequence[str]) -> None:
        """Nobody may have the data open that is swapped, unless that was confirmed."""
        seen = holders(paths)
        if seen.found and not self.may_be_open:
            who = ", ".join(str(holder) for holder in seen.found[:_HOLDERS])
            raise RestoreError("files of the data are open in %s: stop that, or name its service in restore.services" % who)

    def _set_aside(self) -> List[str]:
        return [path for piece in self.pieces if piece.restorer.places() for path in piece.restorer.aside()]

    def _finish(self) -> None:
        own = self._own_units()
        self._down([name for name, _up in self.state.services if name not in own])
        for unit in reversed(own):
            self._step("start", unit)
            self.means.runtime.start(unit)
        for piece in self.pieces:
            self._step("finish", piece.name)
            piece.restorer.finish()
            # Before anybody can write: later the counts are those of a service that works.
            self._step("count", piece.name)
            self._compare(piece, piece.restorer.count(), "put in place")
        self._enter(phases.STARTING)

    def _own_units(self) -> List[str]:
        return list(dict.fromkeys(unit for piece in self.pieces for unit in piece.restorer.units))

    def _start(self) -> None:
        wanted = [name for name, up in self.state.services if up or self.state.start == "all"]
        for name in reversed(wanted):
            self._step("start", name)
            self.means.runtime.start(name)
        self._down([name for name, _up in self.state.services if name not in wanted])
        named = self.backup.plan.restore.services
        if self.probes and named and not set(named) & set(wanted):
            self.notes.append("the health was not looked at: %s was down before and stays so" % ", ".join(named))
        elif self.probes:
            self._step("health")
            if not self._look_at_health(self.backup.plan.restore.health_timeout):
                wrong = "; ".join(str(one["params"]["check"]) for one in self.health_told[:5])
                told = message("backup.restore.unhealthy", problems=self.health_told[:5])
                raise RestoreError("the service is not healthy: %s" % wrong, told)
        self.means.runtime.stay_up(wanted, self.means.settle)
        if self.asked.name:
            raise StoppedError("ended by %s" % self.asked.name)
        self.still_open = holders(self._set_aside())
        self._enter(phases.DONE, aside=tuple(path for piece in self.pieces for path in piece.restorer.aside()))
        self.journal.log("done; set aside: %s" % (", ".join(self.state.aside) or "nothing"))

    def _look_at_health(self, timeout: float, heed: bool = True) -> bool:
        """Whether all probes are ok before the time is over."""
        until = time.monotonic() + timeout
        while True:
            left = until - time.monotonic()
            found = self.means.health(self.probes, max(1.0, min(_LOOK, left)))
            wrong = [one for one in found if one["status"] != "ok"]
            self.health_told = [_seen_by(one) for one in wrong]
            self.healthy = not wrong
            if not wrong or time.monotonic() + _PAUSE >= until:
                return not wrong
            if heed and self.asked.name:
                raise StoppedError("ended by %s" % self.asked.name)
            time.sleep(_PAUSE)

    # -- back -----------------------------------------------------------------------------------------------------------------

    def take_back(self, reason: str) -> List[str]:
        """Have data and services as they were before; returns what could not be put back, empty when all is."""
        self.asked.at_once = False
        state = self.state
        again = state.phase == phases.UNDOING
        if again:
            reached, found = state.reached, state.services
        elif state.phase == phases.DONE:
            # It has been at work since: what is up now is to be up afterwards.
            reached, found = state.phase, services(self.means.runtime, self.backup.plan.restore.services, self.pieces)
        else:
            reached, found = state.phase, state.services
        self.state = state = state._replace(phase=phases.UNDOING, reached=reached, services=found, reason=reason)
        problems: List[str] = []
        # On a full disk nothing can be written down; the journal then still tells of a restore to be undone. One that is done tells
        # of no services: after a kill nobody would know which are to be up.
        done = reached == phases.DONE and not again
        self._try("write the journal", lambda: self.journal.write(state), problems if done else self.notes)
        if problems:
            return problems
        self.means.observe("phase " + phases.UNDOING)
        self._swap_back(reached, found, problems)
        if problems:
            # Half of it is back: a service that starts on that may harm it.
            self._log("not everything could be put back: %s" % "; ".join(problems))
            return problems
        left: List[str] = []
        for piece in self.pieces:
            self._try("remove what was staged of " + piece.name, piece.restorer.unstage, left)
        for name, up in reversed(found):
            if up:
                self._try("start " + name, lambda name=name: self.means.runtime.start(name), problems)
        for name, up in found:
            if not up:
                self._try("stop " + name, lambda name=name: self._stop_one(name), problems)
        problems += left
        if problems:
            self._log("not everything could be put back: %s" % "; ".join(problems))
            return problems
        if self.probes and reached != phases.STAGING and any(up for _name, up in found):
            with contextlib.suppress(Exception):
                self._look_at_health(min(_HEALTH_AFTER_UNDO, self.backup.plan.restore.health_timeout), heed=False)
        self._log("taken back: %s" % reason)
        self._try("remove the journal", self.journal.remove, problems)
        return problems

    def _swap_back(self, reached: Optional[str], found: Sequence[Tuple[str, bool]], problems: List[str]) -> None:
        if reached == phases.STOPPING:
            for piece in reversed(self.pieces):
                self._try("give back what stopping took from " + piece.name, lambda piece=piece: self._give_back(piece), problems)
        elif reached != phases.STAGING:
            for name, _up in found:
                self._try("stop " + name, lambda name=name: self._stop_one(name), problems)
            if reached == phases.DONE:
                self.still_open = holders(places(self.pieces))
            for piece in reversed(self.pieces if not problems else []):
                self._try("swap back " + piece.name, piece.restorer.unswap, problems)

    def _give_back(self, piece: Piece) -> None:
        """Nothing was swapped, but a server that keeps nothing on disk has lost its data when it was stopped: its restorer has it."""
        if piece.restorer.units and not any(self.means.runtime.is_up(unit) for unit in piece.restorer.units):
            piece.restorer.unswap()

    def _stop_one(self, name: str) -> None:
        if not self.means.runtime.is_down(name):
            self.means.runtime.stop(name)

    def _try(self, step: str, do: Any, problems: List[str]) -> None:
        """Make a step back; what fails is noted and the others are made all the same."""
        self._log(step)
        try:
            self.means.observe(step)
            do()
        except Exception as error:  # noqa: BLE001 - the way back goes on
            problems.append("%s: %s" % (step, " ".join(str(error).split())[:300]))

    def _log(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self.journal.log(text)


def _seen_by(found: Finding) -> Message:
    """What a probe saw."""
    what = {"message": found["message"], "params": found["params"]}
    return message("backup.restore.probe", check=found["check"], what=what)


__all__ = ["Asked", "Piece", "RefusalError", "RestoreError", "ServiceError", "Steps", "StoppedError", "places", "services", "signals"]
