# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a lease as a process of the controller, and whether that process is gone.

A process is told by the boot of its kernel, its name space of processes, its number and its start: no other one ever has the same. That it
is gone can be said only where it would be seen if it was there: in the same boot and the same name space.
"""

from __future__ import annotations

import multiprocessing
import os
import re
from pathlib import Path

ALIVE, DEAD, UNKNOWN = "alive", "dead", "unknown"
_IDENTITY = re.compile(r"(?P<boot>[0-9a-f-]{36})/(?P<space>\d+)/(?P<pid>[1-9]\d*)/(?P<start>\d+)\Z", re.ASCII)


def identity() -> str:
    """Of the ansible-playbook whose worker calls this; empty where it cannot be told."""
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent is not None and parent.pid else os.getpid()
    start, here = _start(pid), _here()
    return f"{here}/{pid}/{start}" if start and here else ""


def state(told: str) -> str:
    """Whether the process with this identity lives."""
    found = _IDENTITY.match(told)
    here = _here()
    if not found or not here or here != f"{found['boot']}/{found['space']}":
        return UNKNOWN
    try:
        # Not by /proc alone: it can hide the processes of others.
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return DEAD
    except PermissionError:
        pass
    except (OSError, OverflowError):
        return UNKNOWN
    start = _start(int(found["pid"]))
    if start is None:
        return UNKNOWN
    return ALIVE if start == found["start"] else DEAD


def pid(told: str) -> str:
    """The number of the process, for people."""
    found = _IDENTITY.match(told)
    return found["pid"] if found else ""


def _here() -> str:
    """The boot and the name space of processes that this process is in."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    except (OSError, ValueError):
        return ""
    return f"{boot}/{space}"


def _start(number: int) -> str | None:
    """Clock ticks from boot to the start of a process; empty for one that has ended and waits for its parent, None when it is not seen."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    words = stat.rpartition(")")[2].split()
    return "" if words[0] in "ZX" else words[19]
