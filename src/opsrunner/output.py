# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Standard output and error that are closed, full, read no further, or cannot write every character."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable

from opsrunner.errors import EXIT_INCOMPLETE

_LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO)


def prepare() -> None:
    """Make both usable: what is closed goes nowhere, what cannot be written in this locale becomes a question mark."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure") and "utf" not in (stream.encoding or "").lower():
            stream.reconfigure(errors="replace")


def close() -> None:
    """Give up a standard error that takes no more, so that Python's own last flush does not change the exit status."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def is_lost(error: OSError) -> bool:
    """Whether the error can be one of writing to standard output: a pipe nobody reads, a full disk, a terminal that is gone."""
    return error.errno in _LOST and error.filename is None


def lost(error: OSError) -> int:
    """Standard output takes no more: give it up, tell why unless its reader had enough; the status to end with."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno == errno.EPIPE:
        return 0
    with contextlib.suppress(OSError):
        print(f"opsrunner: standard output cannot be written: {error.strerror}", file=sys.stderr)
    return EXIT_INCOMPLETE


def say(tell: Callable[[], None]) -> None:
    """Write what was found; when that cannot be written, the findings decide on the status all the same."""
    try:
        tell()
        sys.stdout.flush()
    except OSError as error:
        if not is_lost(error):
            raise
        lost(error)
