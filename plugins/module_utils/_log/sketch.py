# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statistics of one number in a log that can be merged: count, extremes, mean, buckets and quantiles.

The quantiles come from a DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
Relative-Error Guarantees", VLDB 2019) without collapsing, so that the relative error is :data:`ALPHA` over all doubles.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

#: Relative error of every quantile.
ALPHA = 0.01
_GAMMA = (1 + ALPHA) / (1 - ALPHA)
_LOG_GAMMA = math.log(_GAMMA)
_SCALE = 1 / _LOG_GAMMA
_bounds: Dict[int, float] = {}

NumberSummary = Dict[str, Any]


def _bound(index: int) -> float:
    """The largest value of bucket ``index``."""
    found = _bounds.get(index)
    if found is None:
        try:
            found = math.exp(index * _LOG_GAMMA)
        except OverflowError:
            found = math.inf
        _bounds[index] = found
    return found


def bucket(value: float) -> int:
    """The bucket of a value above 0: the one whose bounds hold it, whatever the rounding of the logarithm."""
    index = math.ceil(math.log(value) * _SCALE)
    while value > _bound(index):
        index += 1
    while value <= _bound(index - 1):
        index -= 1
    return index


def _middle(index: int) -> float:
    """The value that stands for a bucket: at most ALPHA away from all of it."""
    try:
        return 2 * math.exp(index * _LOG_GAMMA) / (_GAMMA + 1)
    except OverflowError:
        return math.inf


class Numbers:
    """What is kept of one field. ``edges``: bounds of the buckets; ``slow``: values above it are counted."""

    def __init__(self, edges: Sequence[float] = (), slow: Optional[float] = None) -> None:
        self.edges = tuple(edges)
        self.slow = slow
        self.count = 0
        self.bad = 0
        self.total = 0.0
        self.low = math.inf
        self.high = -math.inf
        self.zero = 0
        self.positive: Dict[int, int] = {}
        self.negative: Dict[int, int] = {}
        self.buckets = [0] * (len(self.edges) + 1)
        self.slow_count = 0

    def add_sorted(self, values: Sequence[float]) -> None:
        """Add finite values in rising order."""
        size = len(values)
        if not size:
            return
        self.count += size
        self.total += _sum(values)
        self.low = min(self.low, values[0])
        self.high = max(self.high, values[-1])
        start = 0
        for number, edge in enumerate(self.edges):
            end = bisect_left(values, edge, start)
            self.buckets[number] += end - start
            start = end
        self.buckets[-1] += size - start
        if self.slow is not None and values[-1] > self.slow:
            self.slow_count += size - bisect_right(values, self.slow)
        below = bisect_left(values, 0.0)
        if below:
            _walk(self.negative, [-value for value in reversed(values[:below])], 0, below)
        above = bisect_right(values, 0.0, below)
        self.zero += above - below
        _walk(self.positive, values, above, size)

    def add_counted(self, value: float, times: int) -> None:
        """Add one finite value that was seen ``times`` times."""
        self.count += times
        self.total += value * times
        self.low = min(self.low, value)
        self.high = max(self.high, value)
        self.buckets[bisect_right(self.edges, value)] += times
        if self.slow is not None and value > self.slow:
            self.slow_count += times
        if value > 0:
            index = bucket(value)
            self.positive[index] = self.positive.get(index, 0) + times
        elif value < 0:
            index = bucket(-value)
            self.negative[index] = self.negative.get(index, 0) + times
        else:
            self.zero += times

    def summary(self) -> NumberSummary:
        """The JSON form, which :func:`merge` adds up."""
        return {
            "count": self.count,
            "bad": self.bad,
            "sum": self.total if math.isfinite(self.total) else None,
            "min": self.low if self.count else None,
            "max": self.high if self.count else None,
            "zero": self.zero,
            "positive": {str(index): count for index, count in sorted(self.positive.items())},
            "negative": {str(index): count for index, count in sorted(self.negative.items())},
            "edges": list(self.edges),
            "buckets": list(self.buckets),
            "slow": self.slow,
            "slow_count": self.slow_count,
        }


def _sum(values: Iterable[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.nan


def _walk(found: Dict[int, int], values: Sequence[float], start: int, end: int) -> None:
    while start < end:
        index = bucket(values[start])
        after = bisect_right(values, _bound(index), start, end)
        found[index] = found.get(index, 0) + after - start
        start = after


def merge(one: NumberSummary, two: Mapping[str, Any]) -> NumberSummary:
    """Add ``two`` to ``one`` (which is changed and returned). Associative and commutative.

    Buckets and the slow count only add up when both were counted with the same bounds; otherwise they are dropped.
    """
    for name in ("positive", "negative"):
        into = one[name]
        for index, count in two[name].items():
            into[index] = into.get(index, 0) + count
    for name in ("count", "bad", "zero"):
        one[name] += two[name]
    total = math.nan if one["sum"] is None or two["sum"] is None else one["sum"] + two["sum"]
    one["sum"] = total if math.isfinite(total) else None
    for name, pick in (("min", min), ("max", max)):
        seen = [value for value in (one[name], two[name]) if value is not None]
        one[name] = pick(seen) if seen else None
    if one["edges"] == two["edges"] and one["buckets"] and two["buckets"]:
        one["buckets"] = [left + right for left, right in zip(one["buckets"], two["buckets"])]
    else:
        one["edges"], one["buckets"] = [], []
    if one["slow"] == two["slow"] and one["slow_count"] is not None and two["slow_count"] is not None:
        one["slow_count"] += two["slow_count"]
    else:
        one["slow"] = one["slow_count"] = None
    return one


def quantile(summary: Mapping[str, Any], share: float) -> Optional[float]:
    """The value below which ``share`` (0 to 1) of all values lie, at most ALPHA wrong; None without values.

    The exact value meant is the one at place ``floor(share * (count - 1))`` of the sorted values, as in the paper.
    """
    count = summary["count"]
    if not count:
        return None
    if share <= 0 or share >= 1:
        found: float = summary["min"] if share <= 0 else summary["max"]
        return found
    left = math.floor(share * (count - 1))
    estimate = 0.0
    for sign, index, times in _rising(summary):
        left -= times
        if left < 0:
            estimate = sign * _middle(index) if sign else 0.0
            break
    clamped: float = min(max(estimate, summary["min"]), summary["max"])
    return clamped


def _rising(summary: Mapping[str, Any]) -> List[Any]:
    negative = sorted(((int(index), count) for index, count in summary["negative"].items()), reverse=True)
    positive = sorted((int(index), count) for index, count in summary["positive"].items())
    return [(-1, index, count) for index, count in negative] + [(0, 0, summary["zero"])] + [(1, index, count) for index, count in positive]


def figures(summary: Mapping[str, Any]) -> Dict[str, Any]:
    """What people read: count, min, mean, max, p50, p95, p99."""
    count = summary["count"]
    mean = summary["sum"] / count if count and summary["sum"] is not None else None
    return {
        "count": count,
        "bad": summary["bad"],
        "min": summary["min"],
        "mean": mean,
        "max": summary["max"],
        "p50": quantile(summary, 0.50),
        "p95": quantile(summary, 0.95),
        "p99": quantile(summary, 0.99),
        "edges": summary["edges"],
        "buckets": summary["buckets"],
        "slow": summary["slow"],
        "slow_count": summary["slow_count"],
        "relative_error": ALPHA,
    }
