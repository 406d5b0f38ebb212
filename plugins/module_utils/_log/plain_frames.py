# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain log lines by the block: what stands around their times is learnt from the lines, then found and proved for all at once.

A frame is a time of fixed width and one of the texts seen between a time and a message (`` - app - INFO - ``). Lines that begin
with one are counted without being read one by one: their times are cut out and proved to be times as columns of one text. Lines
that begin otherwise are handed back, and so is a whole block that the proof does not hold for.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import compress
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import formats as log_formats
from . import json_lines as log_json
from . import signatures as log_signatures
from .tally import Facts, Record, Tally
from .times import Clock

#: Texts between time and message that are looked for at once.
MAX_MIDDLES = 8
#: Lines of a block that are read to learn from.
_SAMPLE = 48
#: A text is looked for when it came so often.
_OFTEN = 3
#: Fewer times than this are compared one with another.
_FEW = 300
#: Blocks that are left alone where frames were of little use, and between two looks at lines that no frame fits.
PAUSE = 32

DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LEAST, _GREATEST = b"0000-00-00 00:00:00.000000000", b"0000-00-00 23:59:59.999999999"
TIME = re.compile(r"[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?")
#: Where the hour, minute and second of such a time begin, and its fraction.
_HOUR, _MINUTE, _SECOND, _FRACTION = 11, 14, 17, 19
#: Bytes of a message that its signature may come from.
_FOLDED = 4 * log_signatures.READ_LIMIT

FIRM = log_json.FIRM.encode("ascii")

Read = Callable[[str], Optional[Record]]


class Layout(NamedTuple):
    """What all lines of a log have before and in their times. ``shape``: the time with zeros for digits."""

    before: bytes
    shape: bytes
    zone: str


class Middle(NamedTuple):
    """A text between time and message, and what it says about its lines."""

    text: bytes
    facts: Facts
    id: Optional[str]


class Span(NamedTuple):
    """The first and the last of some times, as seconds since the epoch."""

    first: float
    last: float


def frames_for(tally: Tally, form: log_formats.Format, roles: Mapping[str, Sequence[str]], clock: Clock, record: Read) -> Optional[Frames]:
    """The frames of a log; None where its lines have none, or more of a message is wanted than what is said of errors."""
    names = [name for name, _pattern in form.parts if name]
    wanted = {*tally.counted, *roles["level"], *roles["status"], *roles["id"], *(field.name for field in tally.spec.fields)}
    if (
        not form.framed
        or clock.pattern is not None
        or tuple(roles["time"]) != ("time",)
        or tuple(roles["message"]) != ("message",)
        or wanted & {"time", "message"}
        or any(field.name in names for field in tally.spec.fields)
        or not set(names).intersection(roles["level"])
    ):
        return None
    return Frames(tally, form, clock, record)


class Frames:
    """Counts the framed lines of blocks into a tally."""

    def __init__(self, tally: Tally, form: log_formats.Format, clock: Clock, record: Read) -> None:
        self.tally = tally
        self.clock = clock
        self.record = record
        self.pattern = log_formats.line_pattern(form)
        self.guard = form.guard.encode("ascii")
        self.layout = Layout(b"", b"", "")
        self.middles: List[Middle] = []
        self._seen: Counter[Tuple[Layout, bytes]] = Counter()
        self._known: Dict[bytes, Middle] = {}
        self._utc = Clock(lambda wall: wall, 0.0)
        self._starts: Dict[bytes, float] = {}
        self._offs: Dict[bytes, Optional[float]] = {}
        self._pause = 0
        self._rest = 0
        self._find: Any = None
        self._others: Any = None
        self._texts: Any = None
        self._frame: Tuple[bytes, int, bytes, bytes] = (b"", 0, b"", b"")
        self._refused = re.compile(self.guard).match

    # Learning

    def _learn(self, lines: Sequence[bytes]) -> bool:
        """Learn from lines that no frame fits; whether there is a new one."""
        for raw in lines:
            text = raw.decode("utf-8", "replace")
            found = self.pattern.fullmatch(text)
            time = TIME.match(found.group("time")) if found else None
            record = self.record(text) if found and time else None
            if found is None or time is None or record is None:
                continue
            start = found.start("time")
            zone = found.group("time")[time.end() :]
            layout = Layout(text[:start].encode("utf-8"), time.group().encode("ascii").translate(DIGITS), zone)
            middle = text[start + time.end() : found.start("message")].encode("utf-8")
            if len(self._known) > 1000:
                # Each line has its own: those that come often are known.
                self._known.clear()
                self._seen.clear()
            self._seen[layout, middle] += 1
            self._known[middle] = Middle(middle, self.tally.facts(record.slots), record.id)
        if not self.layout.shape and self._seen:
            self.layout = self._seen.most_common(1)[0][0][0]
        have = [middle.text for middle in self.middles]
        for (layout, new), times in self._seen.most_common(4 * MAX_MIDDLES):
            # A text that begins like another would be counted twice.
            alike = any(one.startswith(new) or new.startswith(one) for one in have)
            if times >= _OFTEN and len(have) < MAX_MIDDLES and layout == self.layout and not alike:
                have.append(new)
        if len(have) == len(self.middles):
            return False
        self.middles += [self._known[new] for new in have[len(self.middles) :]]
        self._compile()
        return True

    def _compile(self) -> None:
        guard = b"(?!%s)" % self.guard if self.guard else b""
        middles = b"|".join(re.escape(middle.text) for middle in self.middles)
        self._frame = (re.escape(self.layout.before), len(self.layout.shape), middles, guard)
        # A time may be anything here, even of two lines: what is none is found where they are proved.
        self._find = re.compile(b"(?s)\n%s(.{%d}%s)(?:%s)%s" % (*self._frame[:2], FIRM, *self._frame[2:])).findall
        self._others = self._texts = None

    def _others_of(self, lined: bytes) -> List[bytes]:
        if self._others is None:
            self._others = re.compile(b"(?s)\n(?!%s.{%d}(?:%s)%s)([^\n]*)" % self._frame).findall
        found: List[bytes] = self._others(lined)
        # The last newline has no line behind it.
        return found[:-1]

    # Counting

    def block(self, data: bytes) -> bytes:
        """Count the framed lines of a block of whole lines. What is left of it."""
        if self._pause:
            self._pause -= 1
            return data
        lined = b"\n" + data
        if not self.middles and not self._learn(data[:65536].split(b"\n")[:_SAMPLE]):
            self._pause = PAUSE
            return data
        # Taking them out is the fastest way to count newlines before Python 3.13.
        lines = len(data) - len(data.replace(b"\n", b""))
        times = self._find(lined)
        others: List[bytes] = []
        if len(times) < lines:
            others = self._others_of(lined)
            if self._is_worth_learning(len(others), lines) and self._learn(others[:_SAMPLE]):
                times = self._find(lined)
                others = self._others_of(lined) if len(times) < lines else []
        if len(times) * 2 < lines:
            # Lines are written otherwise now, or each has a text of its own.
            self._pause, self.middles, self.layout = PAUSE, [], Layout(b"", b"", "")
            for memory in (self._seen, self._starts, self._offs):
                memory.clear()
            return data
        if not self._count(lined, times):
            return data
        return b"\n".join(others) + b"\n" if others else b""

    def _is_worth_learning(self, others: int, lines: int) -> bool:
        self._rest -= 1
        if len(self.middles) >= MAX_MIDDLES or (self._rest > 0 and others * 20 < lines):
            return False
        if self._rest <= 0:
            # Often at first.
            self._rest = min(PAUSE, 2 * len(self.middles))
        return True

    def span(self, lined: bytes, lines: int) -> Optional[Span]:
        """The first and last time of lines that each follow a newline; None when not all of them are framed and proved."""
        if not self.middles:
            return None
        times = self._find(lined)
        return self._span(times, True) if len(times) == lines else None

    def _span(self, times: List[bytes], exact: bool) -> Optional[Span]:
        """Prove that all of these are times, at one distance from UTC; the first and the last of them.

        Not ``exact``: where a bound says as much to the tally as the first or last time itself, the bound.
        """
        shape, width, rows = self.layout.shape, len(self.layout.shape), len(times)
        joined = b"".join(times)
        if joined.translate(DIGITS) != shape * rows:
            return None
        if joined[_MINUTE::width].strip(b"012345") or joined[_SECOND::width].strip(b"012345"):
            return None
        one, two = times[0], times[-1]
        alike = next((place for place in range(width) if one[place] != two[place]), width)
        if rows < _FEW or alike <= _MINUTE or any(joined[place::width] != one[place : place + 1] * rows for place in range(alike)):
            low, high = min(times), max(times)
            first, last = self._time(low), self._time(high)
            hours = {time[: _MINUTE - 1] for time in times} if low[:_HOUR] != high[:_HOUR] else {low[: _MINUTE - 1], high[: _MINUTE - 1]}
        else:
            # Lines of one hour: they begin alike up to some digit of the minute or later.
            tally = self.tally
            hours = {one[: _MINUTE - 1]}
            first, last = self._time(one[:alike] + _LEAST[alike:width]), self._time(one[:alike] + _GREATEST[alike:width])
            if exact or first < max(tally.first, tally.since) or last >= tally.until:
                first = self._time(_extreme(joined, width, alike, b"0123456789"))
            if exact or last > tally.last or last >= tally.until:
                last = self._time(_extreme(joined, width, alike, b"9876543210"))
        if math.isnan(first) or math.isnan(last):
            return None
        off = {self._off(hour) for hour in hours}
        return Span(first, last) if len(off) == 1 and None not in off else None

    def _off(self, hour: bytes) -> Optional[float]:
        """How far this hour is from UTC; None when there is no such hour, or that changes within it."""
        if hour not in self._offs:
            if len(self._offs) > 5000:
                self._offs.clear()
            offs = set()
            for minute in (":00", ":59"):
                text = hour.decode("ascii") + minute
                start, utc = self.clock.minute(text, self.layout.zone), self._utc.minute(text, "")
                offs.add(None if start is None or utc is None else round(start - utc, 3))
            self._offs[hour] = offs.pop() if len(offs) == 1 else None
        return self._offs[hour]

    def _count(self, lined: bytes, times: List[bytes]) -> bool:
        """Count the lines with these times; False, and nothing counted, where they cannot all be proved."""
        rows = len(times)
        span = self._span(times, False) if times else None
        if span is None:
            return False
        tally = self.tally
        if span.first < tally.since or span.last >= tally.until:
            if span.last >= tally.since and span.first < tally.until:
                return False
            tally.lines += rows
            tally.parsed += rows
            tally.outside += rows
            return True
        counts = self._middle_counts(lined, rows)
        tally.lines += rows
        tally.parsed += rows
        tally.first = min(tally.first, span.first)
        tally.last = max(tally.last, span.last)
        for middle, places in counts:
            number = places if isinstance(places, int) else len(places)
            if not number:
                continue
            tally.count(middle.facts.slots, number)
            if not isinstance(places, int):
                self._errors(lined, places, middle)
        return True

    def _middle_counts(self, lined: bytes, rows: int) -> List[Tuple[Middle, Any]]:
        """How many lines have each text, and for errors where their texts begin."""
        counts: List[Tuple[Middle, Any]] = [(middle, self._places(lined, middle.text)) for middle in self.middles if middle.facts.error]
        left = rows - sum(len(places) for _value, places in counts)
        plain = [middle for middle in self.middles if not middle.facts.error]
        if len(plain) == 1:
            return [*counts, (plain[0], left)]
        numbers = [lined.count(middle.text) for middle in plain]
        if sum(numbers) != left:
            # Messages hold such a text too.
            if self._texts is None:
                self._texts = re.compile(b"(?s)\n%s.{%d}(%s)%s" % self._frame).findall
            found = Counter(self._texts(lined))
            numbers = [found[middle.text] for middle in plain]
        return [*counts, *zip(plain, numbers)]

    def _places(self, lined: bytes, text: bytes) -> List[int]:
        before = b"\n" + self.layout.before
        back = len(before) + len(self.layout.shape)
        found = []
        place = lined.find(text)
        while place >= 0:
            start = place - back
            if (
                lined.rfind(b"\n", 0, place) == start
                and lined.startswith(before, start)
                and not (self.guard and self._refused(lined, place + len(text)))
            ):
                found.append(place)
            place = lined.find(text, place + 1)
        return found

    def _errors(self, lined: bytes, places: Sequence[int], middle: Middle) -> None:
        """Count the errors whose texts begin at these places: once for each second and each message that differs in digits only."""
        tally, facts = self.tally, middle.facts
        back, ahead = len(self.layout.shape), len(middle.text)
        times = [lined[place - back : place] for place in places]
        ends = [lined.find(b"\n", place) for place in places]
        messages = [lined[place + ahead : end] for place, end in zip(places, ends)]
        tally.errors += len(places)
        for text, count in Counter([time[:_FRACTION] for time in times]).items():
            second = math.floor(self._time(text))
            tally.spans[second] = tally.spans.get(second, 0) + count
        alike: Dict[bytes, List[bytes]] = {}
        for time, message in zip(times, messages):
            alike.setdefault(message[:_FOLDED].translate(DIGITS), []).append(time)
        for folded, same in alike.items():
            name = tally.signature(facts, tally.fold(folded.decode("utf-8", "replace")))
            seen = tally.signatures.setdefault(name, [0, -math.inf])
            seen[0] += len(same)
            seen[1] = max(seen[1], self._time(max(same)))
        tally.prune()
        # Of many errors only the newest can be kept; those of one time are all offered.
        floor = sorted(times)[-tally.spec.newest] if 0 < tally.spec.newest < len(times) else b""
        for time, message in zip(times, messages):
            if time >= floor:
                when = self._time(time)
                if when >= tally.newest_floor():
                    tally.keep_error(when, facts, message.decode("utf-8", "replace"), middle.id)

    def _time(self, text: bytes) -> float:
        """A time as seconds since the epoch; NaN when there is none such."""
        start = self._starts.get(text[: _SECOND - 1])
        if start is None:
            read = self.clock.minute(text[: _SECOND - 1].decode("ascii"), self.layout.zone)
            start = math.nan if read is None else read
            if len(self._starts) > 5000:
                self._starts.clear()
            self._starts[text[: _SECOND - 1]] = start
        return start + float(text[_SECOND:].replace(b",", b"."))


def _extreme(rows: bytes, width: int, place: int, order: bytes) -> bytes:
    """The row that comes first, digits in this order, among rows that are alike before ``place``."""
    while place < width and len(rows) > width:
        column = rows[place::width]
        best = next((order[number : number + 1] for number in range(10) if order[number] in column), b"")
        if best:
            first, last = column.find(best), column.rfind(best)
            within = rows[first * width : (last + 1) * width]
            if column.count(best) <= last - first:
                kept = compress((rows[at : at + width] for at in range(0, len(rows), width)), (code == best[0] for code in column))
                within = b"".join(kept)
            rows = within
        place += 1
    return rows[:width]
