# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How programs end: by themselves, by others, or because their time is over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import List, Optional, Tuple

from .place import Limits

#: Signals by which others end a program (an operator, the kernel without memory, a limit). A crash is none: it may be the data's.
_BY_OTHERS = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM, signal.SIGXCPU, signal.SIGXFSZ},
)


class StreamError(Exception):
    """A stream that did not come to its end. ``program``: the first that failed; ``status``: its exit status, None when it
    could not be started or the file could not be written; ``said``: the end of its standard error; ``late``: it was ended because
    it had not answered or ended in time."""

    def __init__(self, program: str, status: Optional[int], said: str, late: bool = False) -> None:
        self.program, self.status, self.said, self.late = program, status, said, late
        ended = "" if status is None else " ended with status %d" % status
        number = _signal_of(status)
        if number is not None:
            ended = " was killed by signal %d" % number
        super().__init__("%s%s%s" % (program, ended, ": " + said if said else ""))

    @property
    def interrupted(self) -> bool:
        """Whether others ended the program before its time: what it read or wrote is not to blame."""
        return self.late or _signal_of(self.status) in _BY_OTHERS


def _signal_of(status: Optional[int]) -> Optional[int]:
    """The signal that killed a program; a wrapper (runuser, a container's) reports it as 128 and the signal."""
    if status is None or (status >= 0 and status - 128 not in _BY_OTHERS):
        return None
    return -status if status < 0 else status - 128


class Stop:
    """A way to end streams from outside, such as when a signal came: their programs are killed, :func:`write` raises StreamError."""

    def __init__(self) -> None:
        self._asked = False
        # A signal may come while its own thread starts a program.
        self._guard = threading.RLock()
        self._running: List[subprocess.Popen[bytes]] = []

    def __bool__(self) -> bool:
        return self._asked

    def now(self) -> None:
        """End the streams that were given this object, and each that will be."""
        with self._guard:
            self._asked = True
            for process in self._running:
                kill(process)

    def watch(self, process: subprocess.Popen[bytes]) -> None:
        """Have a program killed when it is time."""
        with self._guard:
            self._running = [other for other in self._running if other.poll() is None] + [process]
            if self._asked:
                kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a program that runs, with those it has started itself: they would keep its output open."""
    if process.poll() is None:
        with contextlib.suppress(OSError):  # it has ended by itself, and another thread has seen it
            os.killpg(process.pid, signal.SIGKILL)


class Deadline:
    """Kills programs that have not ended within the time limit of ``limits``. They must be leaders of their process groups."""

    def __init__(self, limits: Optional[Limits]) -> None:
        self.seconds = (limits or Limits()).seconds
        self._passed = False
        self._late: List[str] = []
        # The timer's thread looks at a program while another one starts the next.
        self._guard = threading.RLock()
        self._running: List[Tuple[str, subprocess.Popen[bytes]]] = []
        self._timer = threading.Timer(self.seconds, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, program: str, process: subprocess.Popen[bytes]) -> None:
        """Have a program killed when the time is over."""
        with self._guard:
            self._running.append((program, process))
            if self._passed:
                self._pass()

    def cancel(self) -> None:
        """Let the programs be."""
        self._timer.cancel()

    def _pass(self) -> None:
        with self._guard:
            self._passed = True
            for program, process in self._running:
                if process.poll() is None:
                    self._late.append(program)
                    kill(process)

    def error(self) -> Optional[StreamError]:
        """Which programs were killed, None when none was."""
        with self._guard:
            return too_late(", ".join(self._late), self.seconds) if self._late else None


def too_late(program: str, seconds: float) -> StreamError:
    """The error for a program that did not end within its time limit."""
    return StreamError(program, None, "did not end within %g seconds, its time limit (program_timeout)" % seconds, late=True)
