# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare two runs: what is new, solved, worse, better, gone, and which numbers moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import STATUSES, Finding

#: What became of a check between two runs, the most urgent first.
CHANGES = ("new", "worse", "still", "better", "gone", "solved", "moved", "added")
#: A number has moved when it differs by more than this share of the larger one …
MOVED_SHARE = 0.1
#: … and, for percentages, by at least this many points.
MOVED_POINTS = 2.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """``what``: one of :data:`CHANGES`; ``before`` and ``after``: the findings, None where there was none."""

    what: str
    host: str
    check: str
    before: Finding | None
    after: Finding | None

    @property
    def share(self) -> float:
        """How far the number moved, as a share of the larger of the two; 0 without two numbers."""
        if self.before is None or self.after is None:
            return 0.0
        return _share(self.before.get("value"), self.after.get("value"))


@dataclass(frozen=True, slots=True)
class Difference:
    """``changes``: the most urgent first. ``left_out``: hosts of the earlier run that the later one was not to look at."""

    changes: tuple[Change, ...]
    left_out: tuple[str, ...]

    def of(self, what: str) -> list[Change]:
        """The changes of one sort."""
        return [change for change in self.changes if change.what == what]

    def counts(self) -> dict[str, int]:
        """How many there are of each sort, every sort named."""
        counts = dict.fromkeys(CHANGES, 0)
        for change in self.changes:
            counts[change.what] += 1
        return counts


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
    """What changed from one record to another.

    ``new``: not ok now, ok or not checked before. ``worse``, ``better``, ``still``: not ok in both. ``solved``: ok again.
    ``gone``: not checked any more, on a host that the later run looked at. ``added``: checked for the first time, and ok.
    ``moved``: ok in both, the number differs by more than :data:`MOVED_SHARE`.
    """
    old, new = _by_key(before), _by_key(after)
    looked_at = {*after.get("expected_hosts", ()), *(host for host, _check in new), "-"}
    changes = []
    for key, finding in new.items():
        what = _what(old.get(key), finding)
        if what:
            changes.append(Change(what, *key, old.get(key), finding))
    left_out = set()
    for key, finding in old.items():
        if key not in new:
            if key[0] in looked_at:
                changes.append(Change("gone", *key, finding, None))
            else:
                left_out.add(key[0])
    changes.sort(key=_urgency)
    return Difference(tuple(changes), tuple(sorted(left_out)))


def _by_key(record: Mapping[str, Any]) -> dict[Key, Finding]:
    return {(item["host"], item["check"]): item for item in record.get("findings", ())}


def _what(old: Finding | None, new: Finding) -> str | None:
    if new["status"] == "ok":
        if old is None:
            return "added"
        if old["status"] != "ok":
            return "solved"
        return "moved" if _has_moved(old, new) else None
    if old is None or old["status"] == "ok":
        return "new"
    step = STATUSES.index(new["status"]) - STATUSES.index(old["status"])
    return "worse" if step > 0 else "better" if step < 0 else "still"


def _has_moved(old: Finding, new: Finding) -> bool:
    if old.get("unit") != new.get("unit") or _share(old.get("value"), new.get("value")) <= MOVED_SHARE:
        return False
    return new.get("unit") != "%" or abs(new["value"] - old["value"]) >= MOVED_POINTS


def _share(old: Any, new: Any) -> float:
    numbers = [value for value in (old, new) if isinstance(value, (int, float)) and math.isfinite(value)]
    if len(numbers) < 2 or numbers[0] == numbers[1]:
        return 0.0
    return abs(numbers[1] - numbers[0]) / max(map(abs, numbers))


def _urgency(change: Change) -> tuple[int, int, float, str, str]:
    finding = change.after or change.before or {}
    return (
        CHANGES.index(change.what),
        -STATUSES.index(finding.get("status", "ok")),
        -change.share,
        change.host,
        change.check,
    )
