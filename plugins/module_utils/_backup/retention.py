# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sets are kept and which may go, and why.

Of each hour, day, ISO week, month and year (UTC) that has sets, the newest set stands for it, as with restic; ``daily: 7`` keeps
those of the last seven days that have any. Only whole sets stand for anything. Beyond that, whatever the numbers say:

- the newest whole set stays, so does the newest proved one, and the newest one that was proved by a trial restore;
- while nothing is proved nothing goes;
- a set dated later than now stays, and stands for nothing: the clock is wrong, or was;
- what is no set that can be read stays, for nobody knows what it is.
"""

from __future__ import annotations

import time
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

#: Why a set is kept by its age: the newest of what. Formats are of strftime.
_PERIODS: Mapping[str, Optional[str]] = {
    "last": None,
    "hourly": "%Y-%m-%dT%H",
    "daily": "%Y-%m-%d",
    "weekly": "%G-%V",
    "monthly": "%Y-%m",
    "yearly": "%Y",
}
#: Every reason, those for keeping first.
REASONS = (
    *_PERIODS,
    "newest_whole",
    "newest_proved",
    "newest_drilled",
    "future",
    "nothing_proved",
    "no_limits",
    "unreadable",
    "damaged_newest",
    "expired",
    "damaged",
)
#: The rung that a trial restore proves.
DRILLED = 4


class Held(NamedTuple):
    """A set. ``at``: seconds since the epoch; ``whole``: nothing is wrong with it; ``rung``: the highest that it has passed;
    ``readable``: its manifest can be read, so that it is known to be a set."""

    name: str
    at: float
    whole: bool = True
    rung: int = 0
    readable: bool = True


class Decision(NamedTuple):
    """What is to become of a set. ``reasons``: of :data:`REASONS`."""

    name: str
    keep: bool
    reasons: Tuple[str, ...]


def decide(sets: Sequence[Held], keep: Mapping[str, int], now: float, verified_rung: int = 3) -> List[Decision]:
    """What becomes of each set, newest first. ``keep`` empty: all are kept."""
    ranked = sorted(sets, key=lambda one: (one.at, one.name), reverse=True)
    reasons: Dict[str, List[str]] = {one.name: [] for one in ranked}
    past = [one for one in ranked if one.at <= now]
    for rule, pattern in _PERIODS.items():
        for name in _stand(past, keep.get(rule, 0), pattern):
            reasons[name].append(rule)
    for reason, least in (("newest_whole", 0), ("newest_proved", verified_rung), ("newest_drilled", DRILLED)):
        for newest in {_newest(among, least) for among in (past, ranked)}:
            if newest is not None:
                reasons[newest].append(reason)
    proof = next((one for one in past if one.whole and one.rung >= verified_rung), None)
    decided = []
    for one in ranked:
        why = reasons[one.name]
        if one.at > now:
            why.append("future")
        if not keep:
            why.append("no_limits")
        if not one.readable:
            why.append("unreadable")
        elif not one.whole and (proof is None or (one.at, one.name) > (proof.at, proof.name)):
            why.append("damaged_newest")
        elif not why and proof is None:
            why.append("nothing_proved")
        gone = ("expired" if one.whole else "damaged",)
        decided.append(Decision(one.name, bool(why), tuple(why) or gone))
    return decided


def _newest(sets: Sequence[Held], rung: int) -> Optional[str]:
    return next((one.name for one in sets if one.whole and one.rung >= rung), None)


def _stand(sets: Sequence[Held], count: int, pattern: Optional[str]) -> Set[str]:
    """The names of the sets that stand for the newest ``count`` periods; ``sets``: newest first."""
    period: Callable[[Held], str] = (lambda one: one.name) if pattern is None else (lambda one: time.strftime(pattern, time.gmtime(one.at)))
    found: Dict[str, str] = {}
    for one in sets:
        if one.whole and len(found) < count:
            found.setdefault(period(one), one.name)
    return set(found.values())
