# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summaries of files, hosts and days put together, and the figures that people read."""

from __future__ import annotations

import heapq
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

from . import sketch as log_sketch
from .tally import SAMPLES, VERSION, Summary, coarsen, widen

_ADDED = (
    "bytes", "lines", "blank", "parsed", "unparsed", "oversize", "continued", "partial", "untimed", "outside",
    "records", "leveled", "level_errors", "statused", "status_errors", "errors",
)  # fmt: skip
#: Newest errors and slowest records that a merged summary keeps.
KEPT = 100


def merge(summaries: Iterable[Mapping[str, Any]], kept: int = KEPT) -> Optional[Summary]:
    """One summary of all; the order does not matter. None for none. Raises ValueError for another version's summary."""
    total: Optional[Summary] = None
    newest: List[List[Any]] = []
    slowest: Dict[str, List[List[Any]]] = {}
    for one in summaries:
        if one.get("version") != VERSION:
            raise ValueError("the summary of %s has version %r, not %d" % (one.get("name"), one.get("version"), VERSION))
        newest.extend(one["newest"])
        for name, rows in one["slowest"].items():
            slowest.setdefault(name, []).extend(rows)
        if total is None:
            total = _copied(one)
        else:
            _merge_two(total, one)
    if total is None:
        return None
    total["newest"] = heapq.nlargest(kept, newest, key=_rank)
    total["slowest"] = {name: heapq.nlargest(kept, rows, key=_slow_rank) for name, rows in slowest.items()}
    total["spans"] = coarsen(total["spans"])
    total["hosts"] = sorted(set(total["hosts"]))
    return total


def _copied(data: Any) -> Any:
    """A copy of plain data; ``copy.deepcopy`` takes ten times as long."""
    if isinstance(data, Mapping):
        return {key: _copied(value) if isinstance(value, (dict, list)) else value for key, value in data.items()}
    return [_copied(value) if isinstance(value, (dict, list)) else value for value in data]


def _rank(row: Sequence[Any]) -> Any:
    return (float("-inf") if row[0] is None else row[0], row[1])


def _slow_rank(row: Sequence[Any]) -> Any:
    return (row[0], float("-inf") if row[1] is None else row[1], row[2], row[3])


def _merge_two(total: Summary, one: Mapping[str, Any]) -> None:
    for name in _ADDED:
        total[name] += one[name]
    total["hosts"] = total["hosts"] + list(one["hosts"])
    total["first"] = _pick(min, total["first"], one["first"])
    total["last"] = _pick(max, total["last"], one["last"])
    total["since"] = None if total["since"] is None or one["since"] is None else min(total["since"], one["since"])
    total["until"] = None if total["until"] is None or one["until"] is None else max(total["until"], one["until"])
    for name in ("formats", "levels", "statuses"):
        _count(total[name], one[name])
    for name, values in one["counts"].items():
        _count(total["counts"].setdefault(name, {}), values)
    for name, numbers in one["fields"].items():
        if name in total["fields"]:
            log_sketch.merge(total["fields"][name], numbers)
        else:
            total["fields"][name] = _copied(numbers)
    signatures = total["signatures"]
    for text, (count, last) in one["signatures"].items():
        seen = signatures.get(text)
        if seen is None:
            signatures[text] = [count, last]
        else:
            seen[0] += count
            if last is not None and (seen[1] is None or last > seen[1]):
                seen[1] = last
    _merge_spans(total, one["spans"])
    total["samples"] = (total["samples"] + list(one["samples"]))[:SAMPLES]
    for name, pattern in one["patterns"].items():
        if name in total["patterns"]:
            _merge_pattern(total["patterns"][name], pattern)
        else:
            total["patterns"][name] = _copied(pattern)


def _merge_spans(total: Summary, other: Mapping[str, Any]) -> None:
    width = max(total["spans"]["width"], other["width"])
    into = widen(total["spans"], width)
    _count(into["counts"], widen(dict(other), width)["counts"])
    total["spans"] = into


def _merge_pattern(total: Dict[str, Any], one: Mapping[str, Any]) -> None:
    for name in ("count", "ever", "untimed"):
        total[name] += one[name]
    if one["last"] is not None and (total["last"] is None or (one["last"], one["line"]) > (total["last"], total["line"])):
        total["last"], total["line"] = one["last"], one["line"]
    log_sketch.merge(total["numbers"], one["numbers"])


def _count(into: Dict[str, int], more: Mapping[str, int]) -> None:
    for value, times in more.items():
        into[value] = into.get(value, 0) + times


def _pick(choose: Any, one: Optional[float], two: Optional[float]) -> Optional[float]:
    if one is None or two is None:
        return two if one is None else one
    picked: float = choose(one, two)
    return picked


def cut_summary(summary: Summary, signatures: int) -> Summary:
    """The summary with the most frequent ``signatures`` alone; what was left out is under ``(other)``."""
    kept = summary["signatures"]
    if len(kept) <= signatures:
        return summary
    ranked = ranked_signatures(summary)
    other = [sum(row[1] for row in ranked[signatures:]), None]
    return {**summary, "signatures": {**{text: [count, last] for text, count, last in ranked[:signatures]}, "(other)": other}}


def ranked_signatures(summary: Mapping[str, Any]) -> List[List[Any]]:
    """``[signature, count, time of the last]``, the most frequent first."""
    return sorted(([text, count, last] for text, (count, last) in summary["signatures"].items()), key=lambda row: (-row[1], row[0]))


def span_of(summary: Mapping[str, Any], now: Optional[float] = None) -> Optional[float]:
    """The seconds that the records are spread over: the window where there is one, else first to last event."""
    if summary["first"] is None:
        return None
    start = summary["since"] if summary["since"] is not None else summary["first"]
    end = summary["until"] if summary["until"] is not None else now if summary["since"] is not None and now is not None else summary["last"]
    span: float = end - start
    return span if span > 0 else None


def worst_burst(spans: Mapping[str, Any], within: float) -> Dict[str, Any]:
    """The most errors in any stretch of ``within`` seconds: ``{count, start, width}``; ``width`` is how exact the time is."""
    width = spans["width"]
    size = max(1, int(within // width))
    times = sorted((int(span), count) for span, count in spans["counts"].items())
    best = {"count": 0, "start": None, "width": width}  # type: Dict[str, Any]
    left = total = 0
    for span, count in times:
        total += count
        while times[left][0] <= span - size:
            total -= times[left][1]
            left += 1
        if total > best["count"]:
            best = {"count": total, "start": times[left][0] * width, "width": width}
    return best


def figures(summary: Mapping[str, Any], burst: float, now: Optional[float] = None) -> Dict[str, Any]:
    """The numbers of a summary: ``errors``, ``error_rate`` (percent), ``rate`` (per second), fields, patterns.

    The error rate is errors over all records that could be one: records with a status where there are any, else
    records with a level, else all.
    """
    records = summary["records"]
    if summary["statused"]:
        wrong, of = summary["status_errors"], summary["statused"]
    elif summary["leveled"]:
        wrong, of = summary["level_errors"], summary["leveled"]
    else:
        wrong, of = summary["errors"], records
    span = span_of(summary, now)
    read = summary["lines"]
    unread = summary["unparsed"]
    return {
        "records": records,
        "errors": summary["errors"],
        "error_rate": 100.0 * wrong / of if of else None,
        "error_rate_of": of,
        "rate": records / span if span else None,
        "span": span,
        "burst": worst_burst(summary["spans"], burst),
        "unparsed": 100.0 * unread / read if read else None,
        "fields": {name: log_sketch.figures(numbers) for name, numbers in summary["fields"].items()},
        "patterns": {
            name: {**pattern, "rate": pattern["count"] / span if span else None, "numbers": log_sketch.figures(pattern["numbers"])}
            for name, pattern in summary["patterns"].items()
        },
    }
