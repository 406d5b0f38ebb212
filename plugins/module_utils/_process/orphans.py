# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that outlive a run that was killed: found by a mark in their environment, and ended before anybody works on their data.

A killed run cannot end the ``tar`` or ``pg_restore`` it has started; what it writes would go on to change what is being taken back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Iterator, List

#: In the environment of what is marked; empty for what is to live on.
NAME = "OPSRUNNER_WORK"


@contextlib.contextmanager
def marked(ident: str) -> Iterator[None]:
    """Every program that is started meanwhile carries the mark."""
    before = os.environ.get(NAME)
    os.environ[NAME] = ident
    try:
        yield
    finally:
        os.environ.pop(NAME, None)
        if before is not None:
            os.environ[NAME] = before


def end(ident: str, timeout: float = 10.0) -> List[int]:
    """Kill the programs with the mark and wait until they are gone; returns their numbers. OSError when one does not go."""
    ended: List[int] = []
    until = time.monotonic() + timeout
    while True:
        found = _living(ident)
        for number in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        ended += [number for number in found if number not in ended]
        if not found:
            return ended
        if time.monotonic() > until:
            raise OSError("processes of the killed run do not end: %s" % ", ".join(str(number) for number in found))
        time.sleep(0.02)


def _living(ident: str) -> List[int]:
    mark = os.fsencode("%s=%s" % (NAME, ident))
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        # A process that ended and was not waited for has no environment any more.
        with contextlib.suppress(OSError), open("/proc/%s/environ" % name, "rb") as file:
            if mark in file.read().split(b"\0"):
                found.append(int(name))
    return found
