# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claim on a system that a changing run holds: one at a time, with an end time after which it counts no more.

A lease is a small file on one host, ``<folder>/<system>.json``, read and written under a lock and put in place by renaming. Its end
is judged by that host's clock alone: who takes it says for how long, never until when, so the clocks of others do not count.
Ended by itself it needs nobody to tidy up after a run that was killed.
"""

from __future__ import annotations

import contextlib
import os
from typing import Iterator, NamedTuple, Optional

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable

FOLDER = "/var/lib/opsrunner/leases"
#: A lease for longer than this is a mistake: it would outlive the run by days.
LONGEST = 7 * 86400.0
_SIZE_LIMIT = 65536


class LeaseError(Exception):
    """A lease that cannot be had. ``code``: ``held`` (by another), ``lost`` (it is not, or no longer, the caller's), ``failed``."""

    def __init__(self, code: str, text: str, lease: Optional[Lease] = None) -> None:
        super().__init__(text)
        self.code = code
        self.lease = lease


class Lease(NamedTuple):
    """``holder``: the run that has it; ``since``, ``until``: seconds since the epoch on the clock of the lease's host; ``process``:
    of the holder, as its controller tells it, empty where it does not."""

    system: str
    holder: str
    purpose: str
    since: float
    until: float
    process: str = ""


class Taken(NamedTuple):
    """``before``: the lease of another that was taken over, None when there was none; ``renewed``: it was the caller's already."""

    lease: Lease
    before: Optional[Lease] = None
    renewed: bool = False


def default_folder() -> str:
    """Where leases are kept: a folder of the host for root, of the user for others, who then do not see those of other users."""
    if os.geteuid() == 0:
        return FOLDER
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "opsrunner", "leases")


def look(folder: str, system: str, now: float) -> Optional[Lease]:
    """The lease of a system that holds now; None when there is none. LeaseError when it cannot be told."""
    found = _read(_path(folder, system), system)
    return found if found is not None and _holds(found, now) else None


def take(
    folder: str,
    system: str,
    holder: str,
    purpose: str,
    seconds: float,
    now: float,
    take_over: bool = False,
    change: bool = True,
    process: str = "",
    dead: str = "",
) -> Taken:
    """Take the lease for ``seconds`` from now, or renew it; ``take_over``: also when another holds it; ``dead``: also when that
    one's process is this, of which its controller knows that it is gone.

    ``change`` False: only tell whether it could be had. LeaseError ``held`` names who has it.
    """
    if not 0 < seconds <= LONGEST:
        raise LeaseError("failed", "a lease is for more than 0 seconds and at most %d days" % (LONGEST / 86400))
    wanted = Lease(system, holder, purpose, now, now + seconds, process)
    if not change:
        return _decide(_read(_path(folder, system), system), wanted, now, take_over, dead)
    with _locked(folder, system):
        taken = _decide(_read(_path(folder, system), system), wanted, now, take_over, dead)
        _write(_path(folder, system), taken.lease)
    return taken


def renew(folder: str, system: str, holder: str, seconds: float, now: float) -> Lease:
    """Hold it for ``seconds`` from now. LeaseError ``lost`` when it is not the caller's any more: it must change nothing from here on."""
    with _locked(folder, system):
        found = _read(_path(folder, system), system)
        if found is None or not _holds(found, now) or found.holder != holder:
            raise LeaseError("lost", _lost(system, found, now), found)
        renewed = found._replace(until=now + seconds)
        _write(_path(folder, system), renewed)
    return renewed


def release(folder: str, system: str, holder: str, now: float, change: bool = True) -> bool:
    """Give it back; False when the caller does not hold it any more because it has ended. LeaseError when it is another's."""
    if not change and not os.path.isdir(folder):
        return False
    with _locked(folder, system) if change else contextlib.nullcontext():
        found = _read(_path(folder, system), system)
        if found is None:
            return False
        if found.holder != holder:
            if not _holds(found, now):
                return False
            raise LeaseError("lost", _lost(system, found, now), found)
        if change:
            os.unlink(_path(folder, system))
            durable.sync_folder(folder)
    return True


def told(lease: Lease) -> str:
    """A lease in words, for people."""
    return "%s (%s) since %s, until %s" % (
        lease.holder,
        lease.purpose,
        times.format_time(lease.since),
        times.format_time(lease.until),
    )


def _decide(found: Optional[Lease], lease: Lease, now: float, take_over: bool, dead: str) -> Taken:
    if found is None or not _holds(found, now):
        return Taken(lease)
    if found.holder == lease.holder:
        return Taken(lease._replace(since=found.since), None, True)
    if not take_over and not (dead and found.process == dead):
        raise LeaseError("held", "%s is in the hands of %s" % (lease.system, told(found)), found)
    return Taken(lease, found)


def _holds(lease: Lease, now: float) -> bool:
    # One that begins so far in the future was written by a clock that was wrong then.
    return now < lease.until and lease.since - now <= LONGEST


def _lost(system: str, found: Optional[Lease], now: float) -> str:
    if found is None:
        return "nobody holds %s" % system
    if _holds(found, now):
        return "%s is in the hands of %s" % (system, told(found))
    return "the lease of %s ended at %s" % (system, times.format_time(found.until))


def _path(folder: str, system: str) -> str:
    if not system or "/" in system or system.startswith("."):
        raise LeaseError("failed", "%r is no name of a system" % system)
    return os.path.join(folder, system + ".json")


@contextlib.contextmanager
def _locked(folder: str, system: str) -> Iterator[None]:
    """Read and write alone; the lock is the kernel's and ends with the process."""
    import fcntl

    path = _path(folder, system)[: -len(".json")] + ".lock"
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LeaseError("failed", "%s cannot be written: %s" % (path, error.strerror or error)) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # held for milliseconds by each
        yield
    except OSError as error:
        raise LeaseError("failed", "%s: %s" % (path, error.strerror or error)) from None
    finally:
        os.close(handle)


def _read(path: str, system: str) -> Optional[Lease]:
    import json

    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(_SIZE_LIMIT).decode("utf-8"))
        process = str(value.get("process") or "")
        return Lease(system, str(value["holder"]), str(value["purpose"]), float(value["since"]), float(value["until"]), process)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LeaseError("failed", "%s cannot be read: %s" % (path, error.strerror or error)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LeaseError("failed", "%s is no lease: look at it, and remove it when no run is under way" % path) from None


def _write(path: str, lease: Lease) -> None:
    import json

    durable.write_synced(path, (json.dumps(lease._asdict()) + "\n").encode("utf-8"))
