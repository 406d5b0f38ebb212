# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daily look tells of a backup beside the newest one: the ledger, drills, copies off the host, and how long the disk will do.

Reads small files alone: the ledger, and ``copies.json`` of the newest sets.
"""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Message, message, worst

from ..options import Backup
from .scan import FUTURE

COPIES = "copies.json"
_DAY = 86400.0
#: The date on which a disk will be full is told as a warning, and as critical, so long before.
FULL_WARNING, FULL_CRITICAL = 14 * _DAY, 3 * _DAY
#: No further than this is looked ahead.
_HORIZON = 3 * 365
#: Sizes over less than a day say nothing of growth.
_LEAST_SPAN, _LEAST_COUNT = _DAY, 3
#: The next set may be larger than the last.
_GROWTH = 1.1


class Told(NamedTuple):
    """A finding to be: ``what`` comes last in its check id."""

    what: str
    status: str
    text: Message
    evidence: Dict[str, Any]
    value: Optional[float] = None
    unit: str = ""
    warning: Optional[str] = None
    critical: Optional[str] = None


class Size(NamedTuple):
    """A backup's time, in seconds since the epoch, and bytes."""

    at: float
    size: int


def proofs(backup: Backup, now: float) -> List[Tuple[int, float, str]]:
    """Rung, time and name of each set that the ledger knows as proved and that did not fail since; nothing where it does not hold."""

    from .. import ledger as backup_ledger
    from ..sets import BackupError

    found: List[Tuple[int, float, str]] = []
    try:
        read = backup_ledger.read(backup.root)
    except BackupError:
        return []
    if read.broken is not None:
        return []
    failed = backup_ledger.failed_rungs(read)
    for entry in read.entries:
        rung = entry.get("rung")
        if entry["what"] in ("verified", "drilled") and isinstance(rung, int) and entry["set"] not in failed:
            try:
                at = times.parse_time(entry["at"])
            except ValueError:
                continue
            if at - now <= FUTURE:
                found.append((rung, at, entry["set"]))
    return found


def ledger(backup: Backup, now: float) -> List[Told]:
    """Whether the ledger holds, and when the last drill was."""
    from .. import ledger as backup_ledger
    from ..sets import BackupError

    every = backup.plan.drill.every
    try:
        read = backup_ledger.read(backup.root)
    except BackupError as error:
        return [Told("ledger", "unknown", message("backup.ledger.unreadable", name=backup.name, reason=error.text), {})]
    found: List[Told] = []
    if read.broken is not None:
        text = message("backup.ledger", name=backup.name, line=read.broken)
        found.append(Told("ledger", "critical", text, {}, read.broken))
    elif read.unheld:
        text = message("backup.ledger.unheld", name=backup.name, root=backup.root, count=len(read.entries))
        found.append(Told("ledger", "warning", text, {}))
    elif read.entries:
        found.append(Told("ledger", "ok", message("backup.ledger.ok", name=backup.name, count=len(read.entries)), {}))
    if every is not None:
        found.append(_drill(backup, read.entries, every, now))
    return found


def _drill(backup: Backup, entries: Sequence[Mapping[str, Any]], every: float, now: float) -> Told:

    limit = "%.15g" % every
    drills: List[Tuple[float, Mapping[str, Any]]] = []
    for entry in entries:
        if entry["what"] == "drilled":
            try:
                drills.append((times.parse_time(entry["at"]), entry))
            except ValueError:
                continue
    # One from the future was written by a clock that was wrong.
    passed = [one for one in drills if one[1].get("passed") is True and one[0] - now <= FUTURE]
    last = drills[-1][1] if drills else {}
    evidence: Dict[str, Any] = {}
    if drills:
        evidence["drill_last"] = "%s %s" % (last["at"], last["set"])
    if last and not last.get("passed"):
        text = message("backup.drill.failed", name=backup.name, set=last["set"], reason=str(last.get("reason") or "-")[:300])
        # What was only in the way says nothing about the data, and is overdue in time.
        if last.get("at_rung") and not last.get("hindered"):
            return Told("drill", "critical", text, evidence, unit="s", warning=limit)
    if not passed:
        return Told("drill", "warning", message("backup.drill.never", name=backup.name, every=every), evidence, unit="s", warning=limit)
    at, entry = passed[-1]
    age = round(max(0.0, now - at))
    evidence["drill_rto"] = entry.get("rto")
    params = {"name": backup.name, "set": entry["set"], "age": age, "every": every}
    late = age > every
    text = message("backup.drill.overdue" if late else "backup.drill.ok", **params)
    return Told("drill", "warning" if late else "ok", text, evidence, age, "s", limit)


def copies(backup: Backup, sets: Sequence[Tuple[str, float, bool]], now: float) -> Optional[Told]:
    """Whether the newest set is at each copy. ``sets``: path, time, and whether it is whole, newest first."""
    wanted = backup.plan.copies
    whole = [(path, at) for path, at, fine in sets if fine]
    if not wanted or not whole:
        return None
    held = [(path, at, _copied(path)) for path, at in whole]
    problems: List[Tuple[str, Message]] = []
    evidence: List[str] = []
    behind = 0.0
    for copy in wanted:
        missing = []
        last: Optional[str] = None
        for path, at, names in held:
            if copy.name in names:
                last = os.path.basename(path)
                break
            missing.append(at)
        age = max(0.0, now - missing[-1]) if missing else 0.0
        behind = max(behind, age)
        evidence.append("%s: %s" % (copy.name, last or "-"))
        if missing and age > copy.max_behind:
            params = {"copy": copy.name, "count": len(missing), "age": round(age), "allowed": copy.max_behind}
            problems.append(("warning", message("backup.problem.copy_behind" if last else "backup.problem.copy_none", **params)))
    told = {"backup_copies": evidence}
    if problems:
        texts = [text for _status, text in problems]
        status = worst(status for status, _text in problems)
        return Told("copies", status, message("backup.copies", name=backup.name, problems=texts), told, round(behind), "s")
    return Told("copies", "ok", message("backup.copies.ok", name=backup.name, count=len(wanted)), told, round(behind), "s")


def _copied(path: str) -> List[str]:
    """Names of the copies that have a set, as ``backup_copy`` wrote them down."""
    import json

    try:
        with open(os.path.join(path, COPIES), "rb") as file:
            told = json.loads(file.read(1 << 20).decode("utf-8"))
        return [str(one["name"]) for one in told["copies"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def space(backup: Backup, sizes: Sequence[Size], count: int, free: Optional[int], now: float, trend: Sequence[Size] = ()) -> Optional[Told]:
    """Whether the next backup has space, and when the disk will be full. ``sizes``: of the newest, newest first, which tell how often
    they come; ``count``: of all that are there; ``trend``: how they grow, where the newest are of less than a day."""
    if free is None or not sizes:
        return None
    newest = sizes[0].size
    evidence: Dict[str, Any] = {"backup_free": free, "backup_size": newest}
    if free < newest * _GROWTH:
        text = message("backup.space.next", name=backup.name, root=backup.root, free=free, size=newest)
        return Told("space", "critical", text, evidence, free, "B")
    trend = trend or sizes
    if len(sizes) < _LEAST_COUNT or sizes[0].at <= sizes[-1].at or trend[0].at - trend[-1].at < _LEAST_SPAN:
        return None
    days = days_left(sizes, count, free, kept(backup), trend)
    if days is None:
        return Told("space", "ok", message("backup.space.ok", name=backup.name, free=free), evidence, free, "B")
    date = time.strftime("%Y-%m-%d", time.gmtime(now + days * _DAY))
    evidence["backup_full_at"] = date
    left = days * _DAY
    status = "critical" if left <= FULL_CRITICAL else ("warning" if left <= FULL_WARNING else "ok")
    params = {"name": backup.name, "root": backup.root, "free": free, "date": date, "left": left}
    return Told("space", status, message("backup.space.full" if status != "ok" else "backup.space.far", **params), evidence, free, "B")


def kept(backup: Backup) -> Optional[int]:
    """How many sets retention leaves at most; None when none is ever removed."""
    keep = backup.plan.keep
    return sum(keep.values()) if keep else None


def days_left(sizes: Sequence[Size], count: int, free: int, most: Optional[int], trend: Sequence[Size] = ()) -> Optional[int]:
    """Days until the disk is full as backups come and grow the way they did; None when not within three years.

    With a retention that leaves ``most`` sets, new ones only take more space until so many are there; from then on it is their
    growth alone.
    """
    rate = (len(sizes) - 1) / ((sizes[0].at - sizes[-1].at) / _DAY)
    trend = trend or sizes
    span = (trend[0].at - trend[-1].at) / _DAY
    half = len(trend) // 2
    newer = sorted(one.size for one in trend[: half or 1])
    older = sorted(one.size for one in trend[-half or -1 :])
    # Medians of both halves, the lower of the newer one: one odd set makes no trend.
    size = float(newer[(len(newer) - 1) // 2])
    growth = max(0.0, (size - older[len(older) // 2]) / (span / 2))
    # With many more than retention leaves, it is not carried out.
    limit = float(max(most, count)) if most is not None and count <= 1.5 * most + 1 else None
    there, taken = float(count), 0.0
    for day in range(1, _HORIZON + 1):
        size += growth
        if limit is not None and there >= limit:
            # As many go as come, each smaller by what sets grew in the time they are kept, and none smaller than nothing.
            taken += min(growth * limit, rate * size)
        else:
            more = rate if limit is None else min(rate, limit - there)
            there, taken = there + more, taken + more * size
        if taken >= free:
            return day
    return None
