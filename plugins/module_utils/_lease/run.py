# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module lease: its options read, its finding."""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Optional

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError

from . import store as lease
from .store import Lease, LeaseError

ACTIONS = ("take", "renew", "release", "look")


class Wanted(NamedTuple):
    """What is to be done with the lease of a system. ``process``: of the holder; ``dead``: one that is gone, see :func:`lease.take`."""

    action: str
    system: str
    holder: str
    purpose: str
    seconds: float
    take_over: bool
    process: str = ""
    dead: str = ""


class Done(NamedTuple):
    """``found``: None where there is nothing to tell; ``held``: whether the caller has the lease; ``failed``: why the module is to
    fail, None if it is not."""

    found: Optional[Finding]
    held: bool
    changed: bool = False
    lease: Optional[Lease] = None
    failed: Optional[str] = None


def parse(options: Mapping[str, Any]) -> Wanted:
    """Read the options. Raises OptionError."""
    action = read.choice(*ACTIONS)(options.get("action") or "take", "action")
    seconds = read.duration(options.get("duration") or "2h", "duration")
    if not 0 < seconds <= lease.LONGEST:
        raise OptionError("duration", "is to be above 0 and at most %d days" % (lease.LONGEST / 86400))
    holder = "-" if action == "look" else read.text(options.get("holder") or "", "holder")
    purpose = read.text(options.get("purpose") or "a change", "purpose")
    return Wanted(
        action,
        read.name(options.get("system"), "system"),
        holder,
        purpose,
        seconds,
        read.boolean(options.get("take_over", False), "take_over"),
        str(options.get("process") or ""),
        str(options.get("dead") or ""),
    )


def run(wanted: Wanted, folder: str, now: float, check_mode: bool = False) -> Done:
    """Do it, or tell what would come of it."""
    try:
        return _run(wanted, folder, now, not check_mode)
    except LeaseError as error:
        again = {"command": "lease_take_over"} if error.code == "held" else {}
        text = message("system.lease." + error.code, system=wanted.system, reason=str(error), **again)
        failed = None if wanted.action == "release" else str(error)  # the change was made: what is left is to tell it
        return Done(_found("critical", text), False, lease=error.lease, failed=failed)
    except OSError as error:
        reason = "%s: %s" % (folder, error.strerror or error)
        return Done(_found("critical", message("system.lease.failed", system=wanted.system, reason=reason)), False, failed=reason)


def _run(wanted: Wanted, folder: str, now: float, change: bool) -> Done:
    system, holder = wanted.system, wanted.holder
    if wanted.action == "look":
        there = lease.look(folder, system, now)
        if there is None:
            return Done(_found("ok", message("system.lease.free", system=system)), False)
        return Done(_found("ok", message("system.lease.seen", **shown(there))), False, lease=there)
    if wanted.action == "release":
        given = lease.release(folder, system, holder, now, change)
        return Done(None, False, given)  # what was told when it was taken stays
    if wanted.action == "renew" and change:
        renewed = lease.renew(folder, system, holder, wanted.seconds, now)
        return Done(_found("ok", message("system.lease.taken", **shown(renewed))), True, True, renewed)
    taken = lease.take(folder, system, holder, wanted.purpose, wanted.seconds, now, wanted.take_over, change, wanted.process, wanted.dead)
    if not change:
        return Done(_found("ok", message("system.lease.would", **shown(taken.lease))), True, not taken.renewed, taken.lease)
    if taken.before is not None and wanted.dead and taken.before.process == wanted.dead:
        text = message("system.lease.after", before=taken.before.holder, **shown(taken.lease))
        return Done(_found("ok", text), True, True, taken.lease)
    if taken.before is not None:
        text = message("system.lease.over", before=taken.before.holder, **shown(taken.lease))
        return Done(_found("warning", text), True, True, taken.lease)
    return Done(_found("ok", message("system.lease.taken", **shown(taken.lease))), True, True, taken.lease)


def shown(one: Lease) -> Dict[str, str]:
    """A lease as it is told."""
    until, since = times.format_time(one.until), times.format_time(one.since)
    return {"system": one.system, "holder": one.holder, "purpose": one.purpose, "since": since, "until": until}


def _found(status: str, text: Dict[str, Any]) -> Finding:
    return finding("system.lease", "lease", status, text)
