# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups judged by what lies in their folder: fresh, of a likely size, complete, proved."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Callable, Container, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import (
    Finding,
    Message,
    finding,
    message,
    printable,
    utc_now,
    worst,
)
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import space as host_space

from ..options import Backup
from . import scan as backup_scan

if TYPE_CHECKING:
    from .. import manifest as backup_manifest
    from . import outlook as backup_outlook

#: A file changed less than so many seconds ago may still be written to.
_SETTLED = 60.0


class Item(NamedTuple):
    """A candidate looked into. ``size``: None where it could not be counted. ``problems``: (status, message) of each."""

    candidate: backup_scan.Candidate
    when: backup_scan.When
    size: Optional[int]
    problems: Tuple[Tuple[str, Message], ...] = ()
    rungs: Tuple[backup_manifest.Rung, ...] = ()
    rungs_problem: Optional[Message] = None

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problems


def _problem(code: str, status: str = "critical", **params: Any) -> Tuple[str, Message]:
    return status, message("backup.problem." + code, **params)


def _manifest_problem(error: backup_manifest.ManifestError) -> Tuple[str, Message]:
    return _problem("manifest_" + error.code, "unknown" if error.code == "newer" else "critical", detail=error.detail)


def look_at_set(candidate: backup_scan.Candidate, deadline: float) -> Item:
    """A set: its manifest, its artifacts, its record of verification."""
    from .. import manifest as backup_manifest
    from .. import sets as backup_sets

    problems: List[Tuple[str, Message]] = []
    rungs: Tuple[backup_manifest.Rung, ...] = ()
    rungs_problem: Optional[Message] = None
    when, size, digest = candidate.when, None, None
    try:
        data = backup_manifest.read_file(os.path.join(candidate.path, backup_manifest.MANIFEST))
        digest = backup_sets.sha256(data)
        manifest = backup_manifest.parse(data)
        when, size = _manifest_date(manifest, candidate), manifest.size
        problems += [
            _problem(
                "artifact_" + wrong.code, "unknown" if wrong.code == "unreadable" else "critical", file=wrong.file, detail=wrong.detail
            )
            for wrong in backup_manifest.check_files(manifest, candidate.path)
        ]
    except FileNotFoundError:
        problems.append(_problem("no_manifest"))
    except OSError as error:
        problems.append(_problem("manifest_unreadable", "unknown", detail=error.strerror or str(error)))
    except backup_manifest.ManifestError as error:
        problems.append(_manifest_problem(error))
    if size is None:
        counted = backup_scan.contents(candidate.path, deadline)
        size = counted.size if counted.whole and not counted.unreadable else None
    try:
        verified = backup_manifest.read_file(os.path.join(candidate.path, backup_manifest.VERIFIED))
        rungs = tuple(backup_manifest.parse_verified(verified, digest))
        failed = backup_sets.failure(verified)
        if failed:
            problems.append(_problem("failed", detail=failed))
    except FileNotFoundError:
        pass
    except OSError as error:
        rungs_problem = message("backup.problem.verified_unreadable", detail=error.strerror or str(error))
    except backup_manifest.ManifestError as error:
        rungs_problem = message("backup.problem.manifest_" + error.code, detail=error.detail)
    return Item(candidate, when, size, tuple(problems), rungs, rungs_problem)


def _manifest_date(manifest: backup_manifest.Manifest, candidate: backup_scan.Candidate) -> backup_scan.When:
    # A name is given at the start, a manifest written at the end: more than a day between them is told.
    told = backup_scan.name_date(os.path.basename(candidate.name))
    other = ("name", told[0]) if told and not -backup_scan.FUTURE <= manifest.end - told[0] <= 86400 else None
    return backup_scan.When(manifest.end, "manifest", other)


def look_at_file(candidate: backup_scan.Candidate, deadline: float) -> Item:
    """A file: does it look whole from its ends?"""
    told = backup_scan.check_file(candidate.path)
    problems = []
    if told.problem:
        status = "unknown" if told.problem == "unreadable" else "critical"
        problems.append(_problem("file_" + told.problem, status, file=printable(candidate.name), detail=told.seen))
    return Item(candidate, candidate.when, candidate.size, tuple(problems))


def look_at_folder(candidate: backup_scan.Candidate, deadline: float) -> Item:
    """A folder: how much is in it, and is anything in it still being written?"""
    counted = backup_scan.contents(candidate.path, deadline)
    problems = []
    if counted.unreadable:
        problems.append(_problem("folder_unreadable", "unknown", detail=printable(counted.unreadable)))
    elif not counted.size:
        problems.append(_problem("folder_empty" if not counted.files else "folder_zero", files=counted.files))
    if counted.temporary:
        problems.append(_problem("folder_temporary", "warning", files=[printable(name) for name in counted.temporary]))
    when = candidate.when
    if when.basis == "mtime" and when.other is None and counted.latest:
        when = backup_scan.When(counted.latest, "mtime")  # the folder's own changes when anything is removed
    return Item(candidate, when, counted.size if counted.whole and not counted.unreadable else None, tuple(problems))


_LOOK: Mapping[str, Callable[[backup_scan.Candidate, float], Item]] = {
    "set": look_at_set,
    "file": look_at_file,
    "folder": look_at_folder,
}


def median(values: Sequence[int]) -> float:
    """The middle of the values; the mean of the two in the middle for an even number."""
    ranked = sorted(values)
    half = len(ranked) // 2
    return float(ranked[half]) if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) / 2.0


class Report(NamedTuple):
    """What one backup gave: findings, and plain data for other roles."""

    findings: List[Finding]
    data: Dict[str, Any]


class Judge:
    """The findings of one backup."""

    def __init__(self, backup: Backup, now: float) -> None:
        self.backup = backup
        self.now = now
        self.findings: List[Finding] = []

    def add(
        self,
        what: str,
        status: str,
        text: Message,
        evidence: Optional[Mapping[str, Any]] = None,
        value: Union[int, float, None] = None,
        unit: str = "",
        warning: Optional[str] = None,
        critical: Optional[str] = None,
    ) -> None:
        told = {name: seen for name, seen in (evidence or {}).items() if seen is not None and seen != []}
        self.findings.append(
            finding(
                "backup.%s.%s" % (self.backup.name, what),
                "backup",
                status,
                text,
                value=value,
                unit=unit,
                warning=warning,
                critical=critical,
                evidence=told,
                remedy=self.backup.remedy,
            )
        )

    @property
    def max_age(self) -> Tuple[Optional[str], Optional[str]]:
        """The thresholds of the age, as ranges in seconds."""
        warning, critical = (None if age is None else "%.15g" % age for age in self.backup.max_age)
        return warning, critical

    def age(self, status: str, text: Message, evidence: Optional[Mapping[str, Any]] = None, value: Optional[int] = None) -> None:
        """The finding about the age, which is also where it is told that there is nothing to look at."""
        warning, critical = self.max_age
        self.add("age", status, text, evidence, value, "s", warning, critical)

    def text(self, identifier: str, **params: Any) -> Message:
        """A message that names the backup."""
        return message("backup." + identifier, name=self.backup.name, **params)


def _listing(backup: Backup, judged: Judge, answer: host_space.Answer, timeout: float) -> Optional[backup_scan.Listing]:
    """What is in the root; None when a finding says why that cannot be told."""
    root = backup.root
    if answer.space is None and answer.reason == "hangs":
        judged.age("unknown", judged.text("root_hangs", root=root, timeout=timeout))
        return None
    if backup.mount_point:
        from ansible_collections.opsrunner.runbook.plugins.module_utils._host import mounts as host_mounts

        if not host_mounts.is_mounted(backup.mount_point):
            judged.age("critical", judged.text("unmounted", mount_point=backup.mount_point))
            return None
    try:
        found = backup_scan.listing(root, backup.pattern, backup.kind != "file", dated=backup.kind == "set")
    except FileNotFoundError:
        judged.age("critical", judged.text("root_missing", root=root))
        return None
    except NotADirectoryError:
        judged.age("critical", judged.text("root_no_folder", root=root))
        return None
    except OSError as error:
        judged.age("unknown", judged.text("root_unreadable", root=root, reason=error.strerror or str(error)))
        return None
    if found.found:
        return found
    evidence = {
        "backup_root": root,
        "backup_pattern": backup.pattern,
        "backup_entries": found.entries,
        "backup_partial": _names(found.partial),
        "backup_links": [printable(name) for name in found.links[:10]],
        "backup_unreadable": ["%s: %s" % (printable(name), reason) for name, reason in found.unreadable[:10]],
    }
    if found.unreadable:
        name, reason = found.unreadable[0]
        judged.age("unknown", judged.text("root_unreadable", root="%s/%s" % (root, printable(name)), reason=reason), evidence)
    else:
        judged.age("critical", judged.text("none", root=root, pattern=backup.pattern), evidence)
    return None


def _names(candidates: Sequence[backup_scan.Candidate]) -> List[str]:
    return [printable(candidate.name) for candidate in candidates[:10]]


def status_of(
    backup: Backup,
    now: float,
    answer: host_space.Answer,
    timeout: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
    journals: Optional[str] = None,
) -> Report:
    """Look at one backup and judge it. ``answer``: whether its root answers at all; ``timeout``: seconds for counting folders;
    ``journals``: folder of the restores' journals, None for the usual one."""
    started = clock()
    judged = Judge(backup, now)
    if backup.plan.artifacts:
        from . import left

        if answer.space is not None:
            left.judge_held(judged)
        left.judge_restore(judged, journals)
    listing = _listing(backup, judged, answer, timeout)
    if listing is None:
        return Report(judged.findings, {"root": backup.root, "count": 0, "newest": None})
    deadline = clock() + timeout
    items = [_LOOK[backup.kind](candidate, deadline) for candidate in listing.found[: backup.history + 1]]
    if backup.kind != "set":
        items = _with_proofs(backup, items)
    items.sort(key=lambda item: item.when.at, reverse=True)
    newest, older = items[0], items[1:]
    _judge_age(judged, newest, older)
    _judge_size(judged, newest, older)
    _judge_complete(judged, newest, older, listing)
    if backup.kind == "set" or backup.max_unverified_age is not None:
        _judge_verified(judged, items)
    _judge_outlook(judged, items, listing, answer, deadline)
    if backup.min_count is not None:
        count = len(listing.found)
        text = judged.text("count.ok" if count >= backup.min_count else "count", value=count, least=backup.min_count, root=backup.root)
        judged.add("count", "ok" if count >= backup.min_count else "warning", text, value=count, warning="%d:" % backup.min_count)
    judged.findings[0]["duration_ms"] = round((clock() - started) * 1000, 1)
    return Report(judged.findings, _data(backup, listing, items))


def _with_proofs(backup: Backup, items: List[Item]) -> List[Item]:
    """The items with what was proved of them, where there is a record of it."""
    from ..verify import state as backup_verify_state

    state = backup_verify_state.State(backup.root)
    if not state.files:
        return items
    found = []
    for item in items:
        try:
            rungs, failed = state.of(item.candidate.name, backup_verify_state.looks(item.candidate.path, item.candidate.folder))
        except OSError:
            rungs, failed = [], None
        problems = (*item.problems, _problem("failed", detail=failed)) if failed else item.problems
        found.append(item._replace(rungs=tuple(sorted(rungs, key=lambda rung: -rung.rung)), problems=problems))
    return found


def _data(backup: Backup, listing: backup_scan.Listing, items: Sequence[Item]) -> Dict[str, Any]:
    def told(item: Item) -> Dict[str, Any]:
        return {
            "name": printable(item.candidate.name),
            "path": printable(item.candidate.path),
            "at": utc_now(item.when.at),
            "basis": item.when.basis,
            "size": item.size,
            "whole": item.whole,
            "rung": item.rungs[0].rung if item.rungs else None,
        }

    return {
        "root": backup.root,
        "count": len(listing.found),
        "partial": _names(listing.partial),
        "newest": told(items[0]),
        "older": [told(item) for item in items[1:]],
    }


def _seen(item: Item) -> Dict[str, Any]:
    other = item.when.other
    return {
        "backup_newest": printable(item.candidate.path),
        "backup_date": utc_now(item.when.at),
        "backup_date_from": item.when.basis,
        "backup_date_other": "%s: %s" % (other[0], utc_now(other[1])) if other else None,
    }


def _judge_age(judged: Judge, newest: Item, older: Sequence[Item]) -> None:
    age = judged.now - newest.when.at
    name = printable(newest.candidate.name)
    evidence = _seen(newest)
    if age < -backup_scan.FUTURE:
        past = [item for item in older if judged.now - item.when.at >= -backup_scan.FUTURE]
        evidence["backup_before"] = "%s %s" % (utc_now(past[0].when.at), printable(past[0].candidate.name)) if past else None
        judged.age("unknown", judged.text("future", newest=name, ahead=-age), evidence)
        return
    seconds = round(max(0.0, age))
    status = judge(seconds, *judged.max_age)
    judged.age(status, judged.text("age.ok" if status == "ok" else "age", age=seconds, newest=name), evidence, seconds)


def _judge_size(judged: Judge, newest: Item, older: Sequence[Item]) -> None:
    warning, critical = judged.backup.size_change
    name = printable(newest.candidate.name)
    least = judged.backup.min_size
    if newest.size is None:
        judged.add("size", "unknown", judged.text("size.unknown", newest=name), _seen(newest), unit="%", warning=warning, critical=critical)
        return
    if least is not None:
        text = judged.text("min_size.ok" if newest.size >= least else "min_size", newest=name, size=newest.size, least=least)
        status = "ok" if newest.size >= least else "critical"
        judged.add("min_size", status, text, {}, value=newest.size, unit="B", critical="%d:" % least)
    sizes = [item.size for item in older if item.size and item.whole]
    evidence = {"backup_newest": printable(newest.candidate.path), "backup_size": newest.size, "backup_sizes_before": sizes}
    if not sizes:
        judged.add("size", "ok", judged.text("size.first", newest=name, size=newest.size), evidence, unit="%")
        return
    middle = median(sizes)
    change = round(100.0 * (newest.size - middle) / middle, 1)
    status = judge(change, warning, critical)
    text = judged.text(
        "size.ok" if status == "ok" else "size", newest=name, size=newest.size, median=middle, change=change, count=len(sizes)
    )
    judged.add("size", status, text, evidence, value=change, unit="%", warning=warning, critical=critical)


def _judge_complete(judged: Judge, newest: Item, older: Sequence[Item], listing: backup_scan.Listing) -> None:
    backup, now = judged.backup, judged.now
    problems = list(newest.problems)
    left = [item for item in listing.partial if now - item.mtime > backup.partial_after]
    running = [item for item in listing.partial if now - item.mtime <= backup.partial_after]
    if left:
        problems.append(_problem("partial", "warning", files=_names(left)))
    whole = next((item for item in older if item.whole), None)
    evidence = {
        "backup_newest": printable(newest.candidate.path),
        "backup_running": _names(running),
        "backup_partial": _names(left),
        "backup_still_written": True if backup.kind == "file" and 0 <= now - newest.candidate.mtime < _SETTLED else None,
        "backup_last_whole": None
        if newest.whole
        else ("%s %s" % (utc_now(whole.when.at), printable(whole.candidate.path)) if whole else "-"),
        "backup_links": [printable(name) for name in listing.links[:10]],
        "backup_unreadable": ["%s: %s" % (printable(name), reason) for name, reason in listing.unreadable[:10]],
    }
    name = printable(newest.candidate.name)
    status = worst(status for status, _text in problems)
    if status == "ok":
        text = judged.text("complete.%s.ok" % backup.kind, newest=name)
    else:
        told = [text for _status, text in problems]
        text = judged.text({"critical": "broken", "unknown": "unsure", "warning": "leftover"}[status], newest=name, problems=told[:5])
    judged.add("complete", status, text, evidence)


def _judge_verified(judged: Judge, items: Sequence[Item]) -> None:
    backup = judged.backup
    limit = backup.max_unverified_age
    warning = None if limit is None else "%.15g" % limit
    proved = [
        (rung.at, rung.rung, item.candidate.name)
        for item in items
        # A record from the future was made by a clock that was wrong; of a set that is damaged now nothing counts.
        if all(status != "critical" for status, _text in item.problems)
        for rung in item.rungs
        if rung.rung >= backup.verified_rung and rung.at - judged.now <= backup_scan.FUTURE
    ]
    proved += _proved_before(judged, {item.candidate.name for item in items})
    wrong = next((item for item in items if item.rungs_problem), None)
    evidence: Dict[str, Any] = {"backup_rung_wanted": backup.verified_rung}
    if wrong and not proved:
        judged.add("verified", "unknown", judged.text("verified.unsure", reason=wrong.rungs_problem), evidence, unit="s", warning=warning)
        return
    if not proved:
        status = "ok" if limit is None else "warning"
        lower = max((rung.rung for item in items for rung in item.rungs), default=None)
        evidence["backup_rung"] = lower
        text = judged.text("verified.none.ok" if limit is None else "verified.none", rung=backup.verified_rung, count=len(items))
        judged.add("verified", status, text, evidence, unit="s", warning=warning)
        return
    at, rung, name = max(proved)
    age = max(0.0, judged.now - at)
    evidence.update(backup_rung=rung, backup_verified=printable(os.path.join(backup.root, name)), backup_verified_at=utc_now(at))
    status = judge(age, warning)
    text = judged.text("verified.ok" if status == "ok" else "verified", verified=printable(name), rung=rung, age=round(age))
    judged.add("verified", status, text, evidence, value=round(age), unit="s", warning=warning)


def _proved_before(judged: Judge, known: Container[str]) -> List[Tuple[float, int, str]]:
    """Time, rung and name of proofs of backups older than those that were looked into: a rung may be climbed once a month."""
    backup = judged.backup
    if backup.kind == "set":
        from . import outlook as backup_outlook

        found = [(at, rung, name) for rung, at, name in backup_outlook.proofs(backup, judged.now)]
    else:
        from ..verify import state as backup_verify_state

        found = [(at, rung, name) for rung, at, name in backup_verify_state.State(backup.root).sound()]
    return [one for one in found if one[1] >= backup.verified_rung and one[2] not in known and one[0] - judged.now <= backup_scan.FUTURE]


def _judge_outlook(judged: Judge, items: Sequence[Item], listing: backup_scan.Listing, answer: host_space.Answer, deadline: float) -> None:
    """The ledger, drills, copies, and how long the disk will do."""
    from . import outlook as backup_outlook

    backup, now = judged.backup, judged.now
    told: List[Optional[backup_outlook.Told]] = []
    if backup.kind == "set":
        told += backup_outlook.ledger(backup, now)
        told.append(backup_outlook.copies(backup, [(item.candidate.path, item.when.at, item.whole) for item in items], now))
    sizes = [backup_outlook.Size(item.when.at, item.size) for item in items if item.whole and item.size is not None]
    free = answer.space.available if answer.space else None
    trend = sizes + _older_sizes(backup, listing.found, deadline) if sizes and sizes[0].at - sizes[-1].at < 86400 else sizes
    told.append(backup_outlook.space(backup, sizes, len(listing.found), free, now, trend))
    for one in told:
        if one is not None:
            judged.add(one.what, one.status, one.text, one.evidence, one.value, one.unit, one.warning, one.critical)


def _older_sizes(backup: Backup, found: Sequence[backup_scan.Candidate], deadline: float) -> List[backup_outlook.Size]:
    """Sizes of a few more backups, over the whole time that there are some: hourly ones tell nothing of growth by the newest."""
    from . import outlook as backup_outlook

    older = found[backup.history + 1 :]
    few = older[:: max(1, len(older) // 7)]
    items = [_LOOK[backup.kind](candidate, deadline) for candidate in few]
    return [backup_outlook.Size(item.when.at, item.size) for item in items if item.whole and item.size is not None]


def look(
    backups: Sequence[Backup],
    timeout: float = 10.0,
    *,
    now: Callable[[], float] = time.time,
    ask: Callable[[str], host_space.Space] = host_space.space,
    journals: Optional[str] = None,
) -> Tuple[List[Finding], Dict[str, Any]]:
    """Every finding about the backups, and their data by name. A root that hangs holds up no other."""
    roots = sorted({backup.root for backup in backups})
    answers = host_space.Spaces([[root] for root in roots], timeout, ask).collect()
    wall = now()
    found: List[Finding] = []
    data: Dict[str, Any] = {}
    for backup in backups:
        report = status_of(backup, wall, answers[backup.root], timeout, journals=journals)
        found += report.findings
        data[backup.name] = report.data
    return found, data
