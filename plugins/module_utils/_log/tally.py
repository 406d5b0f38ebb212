# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is counted over the lines of one log, whichever way the lines were read."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import json_lines as log_json
from . import signatures as log_signatures
from . import sketch as log_sketch
from .options import FieldSpec, LogSpec

#: Version of the summary; summaries of other versions are not merged.
VERSION = 1
#: Distinct values kept of one field, and signatures; above it the rarest are added up under OTHER.
DISTINCT_LIMIT = 2000
OTHER = "(other)"
VALUE_LIMIT = 200
TEXT_LIMIT = 500
SAMPLES = 3
#: Distinct spans of time with errors that are kept before spans are doubled.
SPANS_LIMIT = 5000
#: What stands between the values of a joint count (``function+status``).
JOINT = " | "
_JOINT_LIMIT = 8000
_DIGITS = str.maketrans("123456789", "000000000")
_PENDING_LIMIT = 8192

Summary = Dict[str, Any]
#: Level, status and the fields of ``count_by`` of a record; None where it has none.
Slots = Tuple[Optional[str], ...]


class Facts(NamedTuple):
    """What follows from the slots of a record."""

    slots: Slots
    error: bool
    level: Optional[str]


class Record(NamedTuple):
    """One line read. ``time``: seconds since the epoch; ``numbers``: one per field, NaN where it is no number."""

    time: Optional[float]
    slots: Slots
    numbers: Sequence[Optional[float]]
    message: Optional[str]
    id: Optional[str]


class PatternTally:
    """Matches of one pattern. ``last``: event time of the newest, in the window or not; ``late``: its line."""

    def __init__(self) -> None:
        self.count = 0
        self.untimed = 0
        self.ever = 0
        self.last: Optional[float] = None
        self.line = ""
        self.numbers = log_sketch.Numbers()
        self.pending: List[float] = []


class Tally:
    """Counts of one log. ``counted`` are the single fields behind the level and the status in the slots."""

    def __init__(self, spec: LogSpec) -> None:
        self.spec = spec
        self.counted: Tuple[str, ...] = tuple(dict.fromkeys(name for key in spec.count_by for name in key))
        self.windowed = spec.since is not None or spec.until is not None
        self.since = -math.inf if spec.since is None else spec.since
        self.until = math.inf if spec.until is None else spec.until
        self.lines = self.blank = self.parsed = self.unparsed = self.oversize = self.continued = self.partial = 0
        self.untimed = self.outside = self.errors = self.bytes = 0
        self.first = math.inf
        self.last = -math.inf
        self.keys: Dict[Slots, int] = {}
        self._joint: Dict[str, Counter[str]] = {}
        self._base = Counter()  # type: Counter[str]
        self.numbers = [log_sketch.Numbers(field.edges, field.slow) for field in spec.fields]
        self.pending: List[List[float]] = [[] for _ in spec.fields]
        self.slowest: List[List[Tuple[float, float, str, str]]] = [[] for _ in spec.fields]
        self.signatures: Dict[str, List[float]] = {}
        self._folded: Dict[str, str] = {}
        self.spans: Dict[int, int] = {}
        self.newest: List[Tuple[float, str]] = []
        self.samples: List[str] = []
        self.patterns = {pattern.name: PatternTally() for pattern in spec.patterns}
        self.formats: Counter[str] = Counter()
        self._judged: Dict[Slots, Tuple[bool, Optional[str]]] = {}

    def facts(self, slots: Slots) -> Facts:
        """Whether slots are those of an error: level and status tell, and are remembered."""
        pair = slots[:2]
        found = self._judged.get(pair)
        if found is None:
            if len(self._judged) > _JOINT_LIMIT:
                self._judged.clear()
            level = self.level(pair[0])
            found = self._judged[pair] = (level in self.spec.error_levels or self.is_error_status(pair[1]), level)
        return Facts(slots, *found)

    def level(self, text: Optional[str]) -> Optional[str]:
        """The level's one name."""
        if text is None:
            return None
        name = text.strip().upper()
        return self.spec.level_map.get(name, name)

    def is_error_status(self, status: Optional[str]) -> bool:
        """Whether a status is one of an error."""
        return status is not None and any(pattern.fullmatch(status) for pattern in self.spec.error_statuses)

    def in_window(self, time: Optional[float]) -> bool:
        """Count where a record lies in time; whether its figures are wanted."""
        if time is None:
            self.untimed += 1
            return not self.windowed
        if time < self.since or time >= self.until:
            self.outside += 1
            return False
        if time < self.first:
            self.first = time
        if time > self.last:
            self.last = time
        return True

    def count(self, slots: Slots, times: int) -> None:
        """Count records by their slots."""
        self.keys[slots] = self.keys.get(slots, 0) + times
        if len(self.keys) > _JOINT_LIMIT:
            self._settle()

    def add(self, record: Record) -> None:
        """Count one record."""
        self.parsed += 1
        if not self.in_window(record.time):
            return
        self.count(record.slots, 1)
        for index, value in enumerate(record.numbers):
            if value is not None:
                self.number(index, value)
                limit = self.spec.fields[index].slow
                if limit is not None and value > limit:
                    self.slow(index, value, record.time, record.id, record.message)
        facts = self.facts(record.slots)
        if facts.error:
            self.error(record.time, facts, record.message, record.id)

    def number(self, index: int, value: float) -> None:
        """Count one value of a field; NaN is no number."""
        if value != value:
            self.numbers[index].bad += 1
            return
        pending = self.pending[index]
        pending.append(value)
        if len(pending) >= _PENDING_LIMIT:
            self.flush(index)

    def flush(self, index: int) -> None:
        """Hand the waiting values of a field on."""
        pending = self.pending[index]
        pending.sort()
        while pending and pending[-1] == math.inf:
            pending.pop()
            self.numbers[index].bad += 1
        while pending and pending[0] == -math.inf:
            del pending[0]
            self.numbers[index].bad += 1
        self.numbers[index].add_sorted(pending)
        del pending[:]

    def slow(self, index: int, value: float, time: Optional[float], identifier: Optional[str], message: Optional[str]) -> None:
        """Keep a slow record when it is among the slowest."""
        item = (value, -math.inf if time is None else time, (identifier or "")[:VALUE_LIMIT], (message or "")[:VALUE_LIMIT])
        _keep(self.slowest[index], item, self.spec.newest)

    def slow_floor(self, index: int) -> float:
        """Values below this need not be offered to :meth:`slow`."""
        kept = self.slowest[index]
        if not self.spec.newest:
            return math.inf
        return kept[0][0] if len(kept) >= self.spec.newest else -math.inf

    def error(self, time: Optional[float], facts: Facts, message: Optional[str], identifier: Optional[str]) -> None:
        """Count one error."""
        when = -math.inf if time is None else time
        self.add_errors([(when, self.signature(facts, self.fold(message)))])
        if when >= self.newest_floor():
            self.keep_error(when, facts, message, identifier)

    def fold(self, message: Optional[str]) -> str:
        """The signature of a message, without the level or status."""
        # Which digit it is makes no difference to a signature.
        alike = (message or "")[: log_signatures.READ_LIMIT].translate(_DIGITS)
        folded = self._folded.get(alike)
        if folded is None:
            if len(self._folded) > 5000:
                self._folded.clear()
            folded = self._folded[alike] = log_signatures.fold(log_signatures.mask(alike))
        return folded

    def signature(self, facts: Facts, folded: str) -> str:
        """The signature of an error whose message is ``folded``: errors without a level are told apart by their status."""
        return facts.slots[1][:VALUE_LIMIT] + " " + folded if facts.level is None and facts.slots[1] is not None else folded

    def add_errors(self, ranked: Sequence[Tuple[float, str]]) -> None:
        """Count errors by time and signature, oldest first; no time is the lowest of all."""
        self.errors += len(ranked)
        signatures, spans = self.signatures, self.spans
        for when, name in ranked:
            seen = signatures.get(name)
            if seen is None:
                signatures[name] = [1, when]
            else:
                seen[0] += 1
                if when > seen[1]:
                    seen[1] = when
            if when != -math.inf:
                second = math.floor(when)
                spans[second] = spans.get(second, 0) + 1
        self.prune()

    def prune(self) -> None:
        """Add the rarest signatures up when there are too many."""
        if len(self.signatures) > 4 * DISTINCT_LIMIT:
            self._prune_signatures()

    def newest_floor(self) -> float:
        """Errors that are older need not be offered to :meth:`keep_error`."""
        if not self.spec.newest:
            return math.inf
        return self.newest[0][0] if len(self.newest) >= self.spec.newest else -math.inf

    def keep_error(self, when: float, facts: Facts, message: Optional[str], identifier: Optional[str]) -> None:
        """Keep an error when it is among the newest."""
        text = "%s %s" % (facts.level or facts.slots[1] or "", (message or "")[:TEXT_LIMIT])
        if identifier:
            text += " [%s]" % identifier[:VALUE_LIMIT]
        _keep(self.newest, (when, text), self.spec.newest)

    def sample(self, text: str) -> None:
        """Keep one of the first lines that could not be read."""
        if len(self.samples) < SAMPLES:
            self.samples.append(text[:TEXT_LIMIT])

    def match(self, name: str, time: Optional[float], line: str, value: Optional[str]) -> None:
        """Count a match of a pattern."""
        tally = self.patterns[name]
        tally.ever += 1
        if time is None:
            tally.untimed += 1
        elif tally.last is None or time > tally.last or (time == tally.last and line[:TEXT_LIMIT] > tally.line):
            tally.last, tally.line = time, log_json.clean(line[:TEXT_LIMIT])
        if self.windowed and (time is None or not self.since <= time < self.until):
            return
        tally.count += 1
        if value is not None:
            try:
                number = float(value.replace(",", ""))
            except ValueError:
                number = math.nan
            if number - number != 0.0:
                tally.numbers.bad += 1
                return
            tally.pending.append(number)
            if len(tally.pending) >= _PENDING_LIMIT:
                self._flush_pattern(tally)

    def matches(self, name: str, count: int, last: float, line: str, numbers: Sequence[float]) -> None:
        """Count matches with a time inside the window. ``last``: the last time; ``line``: the greatest line of that time."""
        tally = self.patterns[name]
        tally.ever += count
        tally.count += count
        line = log_json.clean(line[:TEXT_LIMIT])
        if tally.last is None or last > tally.last or (last == tally.last and line > tally.line):
            tally.last, tally.line = last, line
        tally.pending += numbers
        if len(tally.pending) >= _PENDING_LIMIT:
            self._flush_pattern(tally)

    def _flush_pattern(self, tally: PatternTally) -> None:
        tally.pending.sort()
        tally.numbers.add_sorted(tally.pending)
        del tally.pending[:]

    def _prune_signatures(self) -> None:
        keep = sorted(self.signatures.items(), key=lambda item: (-item[1][0], item[0]))
        rest = keep[DISTINCT_LIMIT:]
        self.signatures = dict(keep[:DISTINCT_LIMIT])
        other = self.signatures.setdefault(OTHER, [0, -math.inf])
        for _, (count, last) in rest:
            other[0] += count
            other[1] = max(other[1], last)

    def _settle(self) -> None:
        base = self._base
        for (level_text, status), times in _grouped(self.keys, (0, 1)).items():
            level = self.level(level_text)
            base["records"] += times
            if level is not None:
                _add(self._joint, "\x00level", level, times)
                base["leveled"] += times
                base["level_errors"] += times if level in self.spec.error_levels else 0
            if status is not None:
                _add(self._joint, "\x00status", status[:VALUE_LIMIT], times)
                base["statused"] += times
                base["status_errors"] += times if self.is_error_status(status) else 0
        for key in self.spec.count_by:
            for values, times in _grouped(self.keys, [2 + self.counted.index(name) for name in key]).items():
                if any(value is not None for value in values):
                    text = JOINT.join("-" if value is None else value for value in values)
                    _add(self._joint, "+".join(key), log_signatures.mask(text)[:VALUE_LIMIT], times)
        self.keys.clear()
        for counter in self._joint.values():
            if len(counter) > 4 * DISTINCT_LIMIT:
                _prune(counter)

    def summary(self) -> Summary:
        """The JSON form, which ``log_summary.merge`` adds up."""
        self._settle()
        for index in range(len(self.numbers)):
            self.flush(index)
        for tally in self.patterns.values():
            self._flush_pattern(tally)
        if len(self.signatures) > DISTINCT_LIMIT:
            self._prune_signatures()
        for counter in self._joint.values():
            if len(counter) > DISTINCT_LIMIT:
                _prune(counter)
        base = self._base
        return {
            "version": VERSION,
            "name": self.spec.name,
            "hosts": [],
            "formats": dict(self.formats),
            "bytes": self.bytes,
            "lines": self.lines,
            "blank": self.blank,
            "parsed": self.parsed,
            "unparsed": self.unparsed,
            "oversize": self.oversize,
            "continued": self.continued,
            "partial": self.partial,
            "untimed": self.untimed,
            "outside": self.outside,
            "records": base["records"],
            "leveled": base["leveled"],
            "level_errors": base["level_errors"],
            "statused": base["statused"],
            "status_errors": base["status_errors"],
            "errors": self.errors,
            "first": _finite(self.first),
            "last": _finite(self.last),
            "since": self.spec.since,
            "until": self.spec.until,
            "levels": dict(self._joint.get("\x00level", {})),
            "statuses": dict(self._joint.get("\x00status", {})),
            "counts": {"+".join(key): dict(self._joint.get("+".join(key), {})) for key in self.spec.count_by},
            "fields": {field.name: numbers.summary() for field, numbers in zip(self.spec.fields, self.numbers)},
            "slowest": {field.name: _slowest(field, kept) for field, kept in zip(self.spec.fields, self.slowest)},
            "signatures": {text: [int(count), _finite(last)] for text, (count, last) in self.signatures.items()},
            "spans": coarsen({"width": 1, "counts": {str(span): count for span, count in self.spans.items()}}),
            "newest": [[_finite(when), log_signatures.mask(text)] for when, text in sorted(self.newest, reverse=True)],
            "samples": [log_signatures.mask(text) for text in self.samples],
            "patterns": {
                name: {
                    "count": tally.count,
                    "ever": tally.ever,
                    "untimed": tally.untimed,
                    "last": tally.last,
                    "line": log_signatures.mask(tally.line),
                    "numbers": tally.numbers.summary(),
                }
                for name, tally in self.patterns.items()
            },
        }


def coarsen(spans: Dict[str, Any]) -> Dict[str, Any]:
    """Double the width of spans until at most SPANS_LIMIT are left; the result depends on what was counted, not on the order."""
    counts, width = spans["counts"], spans["width"]
    if len(counts) <= SPANS_LIMIT:
        return spans
    numbers = {int(span): count for span, count in counts.items()}
    while len(numbers) > SPANS_LIMIT:
        numbers, width = _halved(numbers), width * 2
    return {"width": width, "counts": {str(span): count for span, count in numbers.items()}}


def _halved(counts: Dict[int, int]) -> Dict[int, int]:
    found: Dict[int, int] = {}
    for span, count in counts.items():
        found[span // 2] = found.get(span // 2, 0) + count
    return found


def widen(spans: Dict[str, Any], width: int) -> Dict[str, Any]:
    """The same spans at a larger width (the old one doubled any number of times)."""
    if spans["width"] >= width:
        return spans
    numbers, at = {int(span): count for span, count in spans["counts"].items()}, spans["width"]
    while at < width:
        numbers, at = _halved(numbers), at * 2
    return {"width": at, "counts": {str(span): count for span, count in numbers.items()}}


def _keep(heap: List[Any], item: Any, size: int) -> None:
    if len(heap) < size:
        heapq.heappush(heap, item)
    elif heap and item > heap[0]:
        heapq.heapreplace(heap, item)


def _grouped(counts: Dict[Slots, int], places: Sequence[int]) -> Dict[Slots, int]:
    """Counts by the slots at some places."""
    found: Dict[Slots, int] = {}
    for slots, times in counts.items():
        some = tuple([slots[place] for place in places])
        found[some] = found.get(some, 0) + times
    return found


def _add(counters: Dict[str, Counter[str]], name: str, value: str, times: int) -> None:
    counter = counters.get(name)
    if counter is None:
        counter = counters[name] = Counter()
    counter[value] += times


def _prune(counter: Counter[str]) -> None:
    kept = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(times for value, times in kept[DISTINCT_LIMIT:])
    counter.clear()
    counter.update(dict(kept[:DISTINCT_LIMIT]))
    counter[OTHER] += rest


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None


def _slowest(field: FieldSpec, kept: List[Tuple[float, float, str, str]]) -> List[List[Any]]:
    return [
        [value, _finite(when), log_signatures.mask(identifier), log_signatures.mask(message)]
        for value, when, identifier, message in sorted(kept, reverse=True)
    ]
