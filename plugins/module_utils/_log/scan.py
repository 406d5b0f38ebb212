# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads lines in blocks: templates learnt from the lines take most of a block at once, the rest is read line by line."""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections import Counter
from itertools import compress, islice
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import formats as log_formats
from . import json_lines as log_json
from .sources import Oversize
from .tally import VALUE_LIMIT, Facts, Record, Tally
from .times import Clock

_PREFIX = re.compile(log_formats.PREFIX, re.ASCII)
_PREFIXES = re.compile(b"(?m)^" + log_formats.PREFIX.encode(), re.ASCII)
_BRACKETS = {2: "(", 3: ")"}
_NULS = re.compile(b"(?m)^\x00+")
_BOMS = re.compile(b"(?m)^\xef\xbb\xbf")
_BOM = b"\xef\xbb\xbf"

_PLAIN_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?\Z")
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
#: What JSON does not allow inside a string as it is.
_CONTROLS = tuple(bytes((code,)) for code in (*range(10), *range(11, 32), 0x5C))

MAX_TEMPLATES = 16
#: Distinct pieces of a template that are remembered.
_KNOWN = 5000
#: Start of each minute by its text; None where that is no time.
_Starts = Dict[bytes, Optional[float]]
#: Lines read one by one before a template is made of every shape that comes again.
_EAGER = 64
#: Numbers sorted, or texts of numbers counted, at a time.
_SORT = 8192


class Sample(NamedTuple):
    """What the first lines of a source told: its format (None: none fits) and whether a runtime's prefix is before each line."""

    format: Optional[str]
    prefixed: bool
    line: str


def sample(data: bytes, wanted: str) -> Sample:
    """Look at the beginning of a source. ``wanted``: the format's name, or ``guess``."""
    lines = [line.rstrip("\r") for line in data.lstrip(_BOM).decode("utf-8", "replace").split("\n")[:200]]
    if len(lines) > 1:
        lines.pop()
    lines = [line.lstrip("\x00") for line in lines if line.strip("\x00 \t\r")]
    with_prefix = [_PREFIX.match(line) for line in lines]
    prefixed = wanted != "regex" and sum(1 for found in with_prefix if found) * 2 > len(lines)
    if prefixed:
        lines = [line[found.end() :] if found else line for line, found in zip(lines, with_prefix)]
    name: Optional[str] = wanted
    if wanted == "guess":
        name = log_formats.guess(lines)
    return Sample(name, prefixed, lines[0][:500] if lines else "")


class Stamp(NamedTuple):
    """A time without its zone: ``size`` bytes, of which ``minute`` tell the minute; ``allowed``: what may stand in the others.

    Numbers of seconds, milliseconds and the like have no minute.
    """

    size: int
    minute: int
    allowed: Sequence[bytes]


class Time(NamedTuple):
    """How a template captures a time: by minute, seconds and a fixed zone.

    ``lax``: the same for times that are proved later. ``stamp``: for those that are as long as the one it was made of.
    """

    pattern: str
    zone: str
    lax: str
    stamp: Stamp


_ISO = re.compile(
    r"[0-9]{4}([-/])[0-9]{2}([-/])[0-9]{2}([T ])[0-9]{2}:[0-9]{2}:[0-9]{2}(?:([.,])[0-9]{1,9})?"
    r"( ?(?:Z|z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?\Z"
)
_CLF = re.compile(r"[0-9]{2}/[A-Za-z]{3}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2}( (?:Z|[+-][0-9]{2}:?[0-9]{2}))?\Z")


def time_pattern(text: str) -> Optional[Time]:
    """How to capture times that are written like ``text``; None for other ways."""
    found = _ISO.match(text)
    if found:
        one, two, between, point, zone = found.groups()
        fraction = "(?:%s[0-9]{1,9})?" % re.escape(point or ".")
        day = "[0-9]{4}%s[0-9]{2}%s[0-9]{2}%s[0-9]{2}:[0-9]{2}" % (one, two, between)
        end = ":([0-5][0-9]%s)%s" % (fraction, re.escape(zone or ""))
        size = len(text) - len(zone or "")
        stamp = Stamp(size, 16, (b":", b"012345", b"0123456789", (point or ".").encode("ascii"), *([b"0123456789"] * 9))[: size - 16])
        return Time("(%s)%s" % (day, end), zone or "", "(....%s..%s..%s..:..)%s" % (one, two, between, end), stamp)
    found = _CLF.match(text)
    if found:
        zone = found.group(1) or ""
        pattern = "([0-9]{2}/[A-Za-z]{3}/[0-9]{4}:[0-9]{2}:[0-9]{2}):([0-5][0-9])%s" % re.escape(zone)
        return Time(pattern, zone, "(../.../....:..:..):([0-5][0-9])%s" % re.escape(zone), Stamp(20, 17, (b":", b"012345", b"0123456789")))
    return None


_EPOCH = re.compile(r"[1-9][0-9]{8,18}\Z")


def epoch_stamp(text: str) -> Optional[Stamp]:
    """How to capture numbers since the epoch that have as many digits as ``text``; None for others."""
    return Stamp(len(text), 0, (b"0123456789",) * len(text)) if _EPOCH.match(text) else None


def _is_tame(data: bytes) -> bool:
    """Whether a block holds neither control characters nor backslashes, so that a string ends at the next quote."""
    return True not in map(data.__contains__, _CONTROLS)


class Template:
    """A regular expression for lines of one shape, and what its groups are."""

    def __init__(self) -> None:
        self.source = ""
        self.lax_source = ""
        self.groups = 0
        self.hits = 0
        self.minute = 0
        self.zone = ""
        self.time = 0
        #: Groups that hold slots, and of each: its place among them, how to find the slots in it, and which they are.
        self.piece_groups: List[int] = []
        self.piece_slots: List[Tuple[int, Optional[re.Pattern[bytes]], Sequence[Tuple[int, ...]]]] = []
        self.numbers: List[Tuple[int, int, bool]] = []
        self.message = 0
        self.id = 0
        self.known: Dict[Any, Optional[Facts]] = {}
        #: The same for plain blocks: jumps over what stands between values, which the pieces prove, once for each distinct one.
        self.quick: Optional[Template] = None
        #: Quick templates take a whole time as one group.
        self.stamp = 0
        self.stamped: Optional[Stamp] = None
        self.tries = self.failures = 0
        self.stride = 1
        self.split: Callable[[bytes], List[Any]]

    def compile(self) -> None:
        """Make the block reader; the source must match one line without its newline."""
        if self.quick is not None:
            self.quick.split = re.compile(self.quick.source.encode("utf-8") + b"\n", re.ASCII | re.DOTALL).split
            self.quick.stride = self.quick.groups + 1
        source = self.source.encode("utf-8") + b"\n"
        self.lax = re.compile((self.lax_source or self.source).encode("utf-8") + b"\n", re.ASCII).split
        self.split = re.compile(source, re.ASCII).split
        self.anchored = re.compile(b"(?m)^" + source, re.ASCII).split
        self.line = re.compile(source[:-1], re.ASCII)
        self.stride = self.groups + 1

    def piece(self, outer: str, inner: Optional[str], slots: Sequence[Tuple[int, ...]]) -> str:
        """A capturing group for slots; ``inner`` finds them in its text (None: all of it is one)."""
        place = len(self.piece_groups)
        found = self.group(outer)
        self.piece_groups.append(self.groups)
        compiled = None if inner is None else re.compile(inner.encode("utf-8"), re.ASCII)
        self.piece_slots.append((place, compiled, tuple(slots)))
        return found

    def group(self, pattern: str) -> str:
        """A capturing group, numbered by :attr:`groups`."""
        self.groups += 1
        return "(%s)" % pattern


class _Stamps(NamedTuple):
    """The times of a column: when its minutes began, the first and the last."""

    starts: _Starts
    first: float
    last: float


class _Lines:
    """What is asked of single lines among those that a template took."""

    def __init__(
        self,
        template: Template,
        flat: List[Any],
        times: Optional[List[Optional[float]]],
        starts: _Starts,
        read: Callable[[bytes], Optional[float]],
    ) -> None:
        self.template = template
        self.flat = flat
        self.times = times
        self.starts = starts
        self.read = read

    def time(self, row: int) -> Optional[float]:
        """The time of a line."""
        if self.times is not None:
            return self.times[row]
        stamped = self.template.stamped
        if stamped is not None:
            text = self.flat[row * self.template.stride + self.template.stamp]
            if not stamped.minute:
                return self.read(text)
            return self.starts[text[: stamped.minute]] + _second(text[stamped.minute + 1 :])  # type: ignore[operator]
        place = row * self.template.stride + self.template.minute
        return self.starts[self.flat[place]] + _second(self.flat[place + 1])  # type: ignore[operator]  # all minutes are known

    def times_or_lowest(self, rows: Sequence[int]) -> List[float]:
        """The times of lines; what has none is older than all."""
        stamped, starts, flat = self.template.stamped, self.starts, self.flat
        if self.times is None and stamped is not None and stamped.minute:
            stride, group, minute = self.template.stride, self.template.stamp, stamped.minute
            texts = [flat[row * stride + group] for row in rows]
            return [starts[text[:minute]] + _second(text[minute + 1 :]) for text in texts]  # type: ignore[operator]
        return [-math.inf if time is None else time for time in map(self.time, rows)]

    def message(self, row: int) -> Optional[bytes]:
        """The message of a line, as it is written."""
        found: Optional[bytes] = self.flat[row * self.template.stride + self.template.message] if self.template.message else None
        return found

    def id(self, row: int) -> Optional[bytes]:
        """The id of a line, as it is written."""
        found: Optional[bytes] = self.flat[row * self.template.stride + self.template.id] if self.template.id else None
        return found


class Scanner:
    """Reads blocks of one source in one format into a tally."""

    def __init__(self, tally: Tally, form: str, prefixed: bool, clock: Clock) -> None:
        self.tally = tally
        self.clock = clock
        spec = tally.spec
        self.is_json = form in ("json", "journal")
        self.form = (
            log_formats.JOURNAL
            if form == "journal"
            else log_formats.FORMATS.get(form) or log_formats.Format("regex", (), spec.roles, continues=True, nothing=("-",))
        )
        self.roles = {role: spec.roles.get(role) or tuple(self.form.roles[role]) for role in ("time", "level", "status", "message", "id")}
        self.pattern = spec.regex if form == "regex" else None if self.is_json else log_formats.line_pattern(self.form)
        self.prefixed = prefixed
        self.prefix = None if spec.prefix is None else spec.prefix
        self.templates: List[Template] = []
        self._shapes: Dict[str, int] = {}
        self._slow_lines = 0
        self.texts: List[Counter[Optional[bytes]]] = [Counter() for _ in spec.fields]
        #: Of each field, texts that are numbers among the slowest, and how often each was counted.
        self._fast_lane: List[Dict[Optional[bytes], Tuple[float, int]]] = [{} for _ in spec.fields]
        self._varied = [False for _ in spec.fields]
        self._blocks = 0
        self._times: Dict[bytes, Optional[float]] = {}
        self._folded: Dict[bytes, str] = {}
        self._search_level = not self.is_json and not self.roles["level"] and not self.roles["status"] or form == "syslog"
        #: An operator's own expression, where it can be used on blocks.
        self._own: Optional[str] = None
        if form == "regex" and spec.prefix is None and not self._search_level:
            from . import own_regex as log_text_regex

            self._own = log_text_regex.bulk_source(spec.regex) if spec.regex is not None else None
        self._by_template = self.is_json or bool(self._own or self.form.parts and not self._search_level and form != "text")
        #: What stands in a column of numbers reads the same as a float.
        self._strict_numbers = not self.is_json and form != "regex"
        # Each call compiles what it imports: what only texts and patterns need is left until there are some.
        self.frames: Any = None
        if self._by_template and self.form.parts and spec.prefix is None:
            from . import plain_frames as log_text_frames

            self.frames = log_text_frames.frames_for(tally, self.form, self.roles, clock, self.record)
        elif self.form.searched and spec.prefix is None:
            from . import plain_words as log_text_plain

            self.frames = log_text_plain.plain_for(tally, self.form, self.roles, clock, self.record)
        self.looks: Any = None
        if spec.patterns:
            from . import patterns as log_text_looks

            span = self.frames.span if self.frames is not None else None
            self.looks = log_text_looks.Looks(tally, self.is_json, self.record, self._line_time, span)
        self._slot_names = [self.roles["level"], self.roles["status"], *((name,) for name in tally.counted)]

    # Lines

    def block(self, data: bytes) -> None:
        """Read a block of whole lines."""
        data = self._normal(data)
        if not data:
            return
        left = data if self.frames is None else self.frames.block(data)
        if self.looks is not None:
            self.looks.block(data)
        data = left
        if not data:
            return
        if not self._by_template:
            self._one_by_one(data.split(b"\n")[:-1])
            return
        if self._own:
            data = self._ascii_of(data)
        # What is left without newlines tells their number in less time than counting them.
        lines = len(data) - len(data.replace(b"\n", b"")) if _is_tame(data) else 0
        if lines:
            for template in self.templates:
                if template.quick is not None:
                    data, lines = self._quickly(template, template.quick, data, lines)
                    if not data:
                        return
        while data:
            for template in self.templates:
                taken = self._take(template, data, lines)
                if taken is None:
                    continue
                flat, data, starts = taken
                template.hits += (len(flat) - 1) // template.stride
                self._consume(template, flat, starts)
                if not data:
                    return
                lines = lines and data.count(b"\n")
            data = self._one_by_one(data.split(b"\n")[:-1])
            lines = lines and data.count(b"\n")

    def _ascii_of(self, data: bytes) -> bytes:
        """The lines of a block that are ASCII. Letters of other alphabets are several bytes each: these lines are read one by one."""
        if data.isascii():
            return data
        lines = data.split(b"\n")[:-1]
        self._one_by_one([line for line in lines if not line.isascii()], learn=False)
        return b"".join([line + b"\n" for line in lines if line.isascii()])

    def _quickly(self, template: Template, quick: Template, data: bytes, lines: int) -> Tuple[bytes, int]:
        """Take the lines that a template fits out of a plain block; what is left, and how many lines that is.

        Nothing is taken before all is proved to be what the strict pattern takes: one line a match, true times, pieces and numbers.
        """
        stride = quick.stride
        flat = quick.split(data)
        rows = (len(flat) - 1) // stride
        if not rows:
            return data, lines
        template.tries += 1
        others = list(filter(None, flat[::stride]))
        rest = b"".join(others)
        left = rest.count(b"\n")
        if rows + left == lines and all(other.endswith(b"\n") for other in others):
            stamps = _Stamps({}, 0.0, 0.0) if quick.stamped is None else self._stamps(quick, quick.stamped, flat)
            counted = None if stamps is None else self._count_all(quick, flat)
            if counted is not None:
                template.hits += rows
                self._consume(quick, flat, None, counted, stamps)
                return rest, left
        template.failures += 1
        if template.failures > 4 and template.failures * 8 > template.tries:
            template.quick = None
        return data, lines

    def _stamps(self, quick: Template, stamped: Stamp, flat: List[Any]) -> Optional[_Stamps]:
        """When the minutes of a column began, the first and the last time; None when one of the column is no time."""
        column = flat[quick.stamp :: quick.stride]
        text = b"".join(column)
        for place, allowed in enumerate(stamped.allowed, stamped.minute):
            if text[place :: stamped.size].strip(allowed):
                return None
        if not stamped.minute:
            # As long as each other, they have the same order as texts and as numbers.
            lowest, highest = min(column), max(column)
            ends = self._time_of(lowest), self._time_of(highest)
            return None if lowest[:1] == b"0" or ends[0] is None or ends[1] is None else _Stamps({}, ends[0], ends[1])
        column.sort()
        starts: _Starts = {}
        first, last = math.inf, -math.inf
        place = 0
        while place < len(column):
            minute = column[place][: stamped.minute]
            start = self.clock.minute(minute.decode("ascii", "replace"), quick.zone)
            if start is None:
                return None
            starts[minute] = start
            first = min(first, start + _second(column[place][stamped.minute + 1 :]))
            place = bisect(column, minute + b"\xff", place)
            last = max(last, start + _second(column[place - 1][stamped.minute + 1 :]))
        return _Stamps(starts, first, last)

    def _count_all(self, quick: Template, flat: List[Any]) -> Optional[Dict[Any, int]]:
        """How often each set of pieces came; None when one is not what it must be."""
        columns = [flat[group :: quick.stride] for group in quick.piece_groups]
        counted = log_json.count_pieces(columns) if columns else {None: (len(flat) - 1) // quick.stride}
        return None if any(self._facts_of(quick, key) is None for key in counted) else counted

    def _take(self, template: Template, data: bytes, lines: int) -> Optional[Tuple[List[Any], bytes, Optional[_Starts]]]:
        """The columns of the lines that a template fits, what is left of the block, and when its minutes began.

        ``lines``: how many there are, when the block holds nothing but plain text. Then a laxer pattern is tried first,
        and what it took is proved to be what the strict one takes: one line a match, and true times.
        """
        stride = template.stride
        if lines:
            flat = template.lax(data)
            if len(flat) == 1:
                return None
            others = list(filter(None, flat[::stride]))
            rest = b"".join(others)
            if (len(flat) - 1) // stride + rest.count(b"\n") == lines and all(other.endswith(b"\n") for other in others):
                starts = self._starts(template, flat) if template.minute else None
                if starts is None or None not in starts.values():
                    return flat, rest, starts
        flat = template.split(data)
        if len(flat) == 1:
            return None
        others = list(filter(None, flat[::stride]))
        if others and not all(other.endswith(b"\n") for other in others):
            # A match began inside a line: only whole lines count.
            flat = template.anchored(data)
            if len(flat) == 1:
                return None
            others = list(filter(None, flat[::stride]))
        return flat, b"".join(others), self._starts(template, flat) if template.minute else None

    def _starts(self, template: Template, flat: List[Any]) -> _Starts:
        return {
            text: self.clock.minute(text.decode("ascii", "replace"), template.zone)
            for text in set(flat[template.minute :: template.stride])
        }

    def tail(self, data: bytes) -> None:
        """Read a last line that has no newline: it counts when it can be read, and is known as partial when not."""
        data = self._normal(data + b"\n")
        if self.looks is not None:
            self.looks.block(data)
        for line in data.split(b"\n")[:-1]:
            text = line.decode("utf-8", "replace")
            self.tally.lines += 1
            if not line.strip():
                self.tally.blank += 1
            else:
                record = self.record(text)
                if record is None:
                    self.tally.partial += 1
                else:
                    self.tally.add(record)

    def oversize(self, line: Oversize) -> None:
        """Count a line that was too long to be read."""
        self.tally.lines += 1
        self.tally.unparsed += 1
        self.tally.oversize += 1
        self.tally.sample(line.head.decode("utf-8", "replace"))

    def _normal(self, data: bytes) -> bytes:
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        if b"\x00" in data:
            data = _NULS.sub(b"", data)
        if b"\xef" in data and _BOM in data:
            data = _BOMS.sub(b"", data)
        if self.prefixed:
            data = _PREFIXES.sub(b"", data)
        return data

    def _one_by_one(self, lines: Sequence[bytes], learn: bool = True) -> bytes:
        tally = self.tally
        for number, line in enumerate(lines):
            tally.lines += 1
            if not line.strip():
                tally.blank += 1
                continue
            text = line.decode("utf-8", "replace")
            record = self.record(text)
            if record is None:
                self._unread(text)
                continue
            tally.add(record)
            if self._by_template and learn:
                self._slow_lines += 1
                if (self._slow_lines <= _EAGER or self._slow_lines % 16 == 0) and self._learn(text) and number + 16 < len(lines):
                    return b"\n".join(lines[number + 1 :]) + b"\n"
        return b""

    def _unread(self, text: str) -> None:
        if self.form.continues and log_formats.CONTINUATION.match(text):
            self.tally.continued += 1
        else:
            self.tally.unparsed += 1
            self.tally.sample(text)

    def record(self, text: str) -> Optional[Record]:
        """Read one line; None when it does not fit the format. This is what a line means; templates only do it faster."""
        if self.prefix is not None:
            found = self.prefix.match(text)
            if found:
                text = text[found.end() :]
        return self._json(text) if self.is_json else self._text(text)

    def _json(self, text: str) -> Optional[Record]:
        read = log_json.read_object(text)
        if read is None:
            return None
        found: Dict[str, Any] = read

        def role(names: Sequence[str]) -> Optional[str]:
            path = log_json.first_path(found, names)
            return None if path is None else log_json.text_of(log_json.value_at(found, path))

        when = role(self.roles["time"])
        numbers = []
        for field in self.tally.spec.fields:
            path = log_json.first_path(found, (field.name,))
            numbers.append(None if path is None else log_json.number_of(log_json.value_at(found, path)))
        message = role(self.roles["message"])
        if message == "(list)":
            message = _byte_list(found, self.roles["message"])
        return Record(
            None if when is None else self.clock.read(when),
            tuple(_short(role(names)) for names in self._slot_names),
            numbers,
            message,
            role(self.roles["id"]),
        )

    def _text(self, text: str) -> Optional[Record]:
        found = self.pattern.fullmatch(text) if self.pattern is not None else None
        if found is None:
            return None
        values = found.groupdict()
        nothing = self.form.nothing

        def role(names: Sequence[str]) -> Optional[str]:
            for name in names:
                value = values.get(name)
                if value is not None and value not in nothing:
                    return log_json.clean(value)
            return None

        when = role(self.roles["time"])
        slots = [_short(role(names)) for names in self._slot_names]
        message = role(self.roles["message"])
        if not self.roles["message"]:
            message = log_json.clean(text)
        if message is not None and slots[0] is None and self._search_level:
            word = log_formats.LEVEL_WORD.search(message)
            slots[0] = word.group(word.lastindex or 0) if word else None
        numbers = []
        for field in self.tally.spec.fields:
            value = role((field.name,))
            numbers.append(None if value is None else log_json.number_of(value))
        return Record(None if when is None else self.clock.read(when), tuple(slots), numbers, message, role(self.roles["id"]))

    # Templates

    def _learn(self, text: str) -> bool:
        """Make a template of a line's shape, when it is worth one."""
        if self.prefix is not None:
            return False
        made = self._json_template(text) if self.is_json else self._text_template(text)
        if made is None:
            return False
        key, template = made
        if any(template.source == other.source for other in self.templates):
            return False
        self._shapes[key] = self._shapes.get(key, 0) + 1
        if len(self._shapes) > 2000:
            self._shapes.clear()
        if len(self.templates) >= 4 and self._shapes.get(key, 0) < 3:
            return False
        if len(self.templates) >= MAX_TEMPLATES:
            self.templates.sort(key=lambda item: -item.hits)
            self.templates.pop()
            for other in self.templates:
                other.hits //= 2
        template.compile()
        self.templates.append(template)
        self.templates.sort(key=lambda item: -item.hits)
        return True

    def _json_template(self, text: str) -> Optional[Tuple[str, Template]]:
        shape = log_json.learn(text)
        record = log_json.read_object(text)
        if shape is None or record is None:
            return None
        wanted: Dict[Tuple[str, ...], List[str]] = {}
        roles = [("time", self.roles["time"]), ("message", self.roles["message"]), ("id", self.roles["id"])]
        roles += [("slot%d" % number, names) for number, names in enumerate(self._slot_names)]
        roles += [("number%d" % number, (field.name,)) for number, field in enumerate(self.tally.spec.fields)]
        for role, names in roles:
            path = log_json.first_path(record, names)
            if path is None:
                continue
            if isinstance(log_json.value_at(record, path), (dict, list)):
                return None
            wanted.setdefault(path, []).append(role)
        template = self._strict_template(shape, wanted)
        template.quick = self._quick_template(shape, wanted)
        return shape.key, template

    def _strict_template(self, shape: log_json.Shape, wanted: Dict[Tuple[str, ...], List[str]]) -> Template:
        template = Template()
        parts: List[str] = []
        laxer: Dict[str, str] = {}
        piece: List[str] = []
        slots: List[Tuple[int, ...]] = []

        def close_piece() -> None:
            if piece:
                inner = "".join(piece)
                parts.append(template.piece(inner.replace("\x02", "").replace("\x03", ""), inner.translate(_BRACKETS), slots))
                del piece[:], slots[:]

        for place, literal in enumerate(shape.literals):
            value = shape.values[place] if place < len(shape.values) else None
            asked = wanted.get(value[0], []) if value else []
            is_slot = bool(asked) and all(name.startswith("slot") for name in asked)
            if not is_slot:
                close_piece()
            (piece or parts).append(re.escape(literal))
            if value is None:
                continue
            _, kind, raw = value
            pattern = log_json.KINDS[kind]
            way = time_pattern(raw[1:-1]) if asked == ["time"] and kind == "s" and self.clock.pattern is None else None
            if not asked:
                parts.append(pattern)
            elif is_slot:
                piece.append("\x02%s\x03" % pattern)
                slots.append(tuple(int(name[4:]) for name in asked))
            elif way is not None:
                template.minute = template.groups + 1
                template.groups += 2
                template.zone = way.zone
                parts.append('"\x04%s"' % way.pattern)
                laxer['"\x04%s"' % way.pattern] = '"%s"' % way.lax
            else:
                number = kind == "n" and asked[0].startswith("number") and _PLAIN_NUMBER.match(raw)
                parts.append(template.group("\x05%s" % pattern if number else pattern))
                for name in asked:
                    self._assign(template, name, kind)
        close_piece()
        source = "".join(parts)
        template.source = source.replace("\x04", "").replace("\x05", "")
        for strict, lax in laxer.items():
            source = source.replace(strict, lax)
        source = source.replace("\x05" + log_json.NUMBER, "(?:0|[1-9][0-9]*)(?:[.][0-9]+)?")
        template.lax_source = source.replace(log_json.STRING, '"[^"]*"').replace(log_json.ESCAPED_STRING, '"[^"]*"')
        return template

    def _quick_template(self, shape: log_json.Shape, wanted: Dict[Tuple[str, ...], List[str]]) -> Template:
        """What stands before and behind slots belongs to their piece, is jumped over, and proved with the piece."""
        template = Template()
        parts: List[str] = []
        outer: List[str] = []
        inner: List[str] = []
        slots: List[Tuple[int, ...]] = []
        before = ""
        is_open = ends_there = False
        for place, literal in enumerate(shape.literals):
            text = before + literal
            before = ""
            value = shape.values[place] if place < len(shape.values) else None
            asked = wanted.get(value[0], []) if value else []
            is_slot = bool(asked) and all(name.startswith("slot") for name in asked)
            if value is not None and (is_open or is_slot and place):
                outer.append(log_json.jump(text, ends_there))
                inner.append(re.escape(text))
            else:
                parts.append(re.escape(text))
            if is_open and not is_slot:
                last = parts.pop() if value is None else ""
                parts.append(template.piece("".join(outer), "".join(inner), slots) + last)
                del outer[:], inner[:], slots[:]
            is_open = is_slot
            if value is None:
                break
            _, kind, raw = value
            ends_there = kind in "nb" and is_slot
            after = shape.literals[place + 1][:1]
            pattern = '"[^"]*%s"' % log_json.FIRM if kind in "se" else log_json.KINDS[kind]
            way = time_pattern(raw[1:-1]) if asked == ["time"] and kind == "s" and self.clock.pattern is None else None
            stamp = epoch_stamp(raw.strip('"')) if asked == ["time"] and kind in "sn" and self.clock.pattern is None else None
            if not asked:
                parts.append(pattern)
            elif is_slot:
                outer.append("[^%s]*%s" % (re.escape(after), log_json.FIRM) if ends_there else pattern)
                inner.append("(%s)" % log_json.KINDS[kind])
                slots.append(tuple(int(name[4:]) for name in asked))
            elif way is not None or stamp is not None:
                stamp = way.stamp if way is not None else stamp
                quote = '"' if kind == "s" else ""
                parts.append(quote + template.group(".{%d}%s" % (stamp.size, log_json.FIRM)))  # type: ignore[union-attr]  # one of the two
                template.stamp, template.stamped, template.zone = template.groups, stamp, way.zone if way is not None else ""
                before, ends_there = template.zone + quote, True
            else:
                if kind == "n" and asked[0].startswith("number") and _PLAIN_NUMBER.match(raw):
                    # No group is made firm: before 3.11.5 Python keeps what a firm group began with, "12." for one (gh-106052).
                    pattern = "-?{0}(?:0|[1-9][0-9]*{0})(?:[.][0-9]+{0})?".format(log_json.FIRM)
                parts.append(template.group(pattern))
                for name in asked:
                    self._assign(template, name, kind)
        template.source = "".join(parts)
        return template

    def _assign(self, template: Template, name: str, kind: str) -> None:
        group = template.groups
        if name == "time":
            template.time = group
        elif name == "message":
            template.message = group
        elif name == "id":
            template.id = group
        elif name.startswith("number"):
            template.numbers.append((group, int(name[6:]), kind == "n"))
        else:
            if group not in template.piece_groups:
                template.piece_groups.append(group)
            template.piece_slots.append((template.piece_groups.index(group), None, ((int(name[4:]),),)))

    def _text_template(self, text: str) -> Optional[Tuple[str, Template]]:
        found = self.pattern.fullmatch(text) if self.pattern is not None else None
        if found is None:
            return None
        template = Template()
        parts: List[str] = []
        strict_time = lax_time = ""
        names: Dict[str, List[str]] = {}
        roles = [("time", self.roles["time"]), ("message", self.roles["message"]), ("id", self.roles["id"])]
        roles += [("slot%d" % number, given) for number, given in enumerate(self._slot_names)]
        roles += [("number%d" % number, (field.name,)) for number, field in enumerate(self.tally.spec.fields)]
        for role, given in roles:
            if len(given) > 1:
                return None
            for name in given:
                names.setdefault(name, []).append(role)
        if self._own is not None:
            return self._own_template(self._own, names)
        for name, pattern in self.form.parts:
            wanted = names.get(name, []) if name else []
            if not wanted:
                parts.append("(?:%s)" % pattern if name else pattern)
                continue
            way = time_pattern(found.group(name) or "") if wanted == ["time"] and self.clock.pattern is None else None
            if way is not None:
                template.minute = template.groups + 1
                template.groups += 2
                template.zone = way.zone
                parts.append("\x04%s" % way.pattern)
                strict_time, lax_time = way.pattern, way.lax
                continue
            parts.append(template.group(pattern))
            for role in wanted:
                self._assign(template, role, "")
        source = "".join(parts)
        template.source = source.replace("\x04", "")
        for strict, lax in log_formats.LAX:
            source = source.replace(strict, lax)
        template.lax_source = source.replace("\x04" + strict_time, lax_time) if strict_time else source
        return template.source, template

    def _own_template(self, own: str, names: Dict[str, List[str]]) -> Tuple[str, Template]:
        """The template of an operator's own expression: its groups are those of the template."""
        template = Template()
        # Where no group is the message, all of the line is.
        extra = 0 if self.roles["message"] else 1
        for name, wanted in names.items():
            template.groups = extra + self.pattern.groupindex[name]  # type: ignore[union-attr]  # it is there
            for role in wanted:
                self._assign(template, role, "")
        template.groups = extra + self.pattern.groups  # type: ignore[union-attr]  # it is there
        template.message = template.message or extra
        # A line of nothing but white space is blank, whatever fits it. Tried where lines begin alone: elsewhere nothing fits.
        template.source = "(?m:^)(?![ \t\r\f\v]*\n)" + ("(%s)" % own if extra else own)
        return template.source, template

    # Columns

    def _text_of(self, raw: Optional[bytes]) -> Optional[str]:
        if raw is None:
            return None
        if self.is_json:
            return log_json.raw_text(raw)
        text = raw.decode("utf-8", "replace")
        return None if text in self.form.nothing else log_json.clean(text)

    def _number_of(self, raw: Optional[bytes]) -> Optional[float]:
        if raw is None:
            return None
        if raw.isdigit():
            return float(raw)
        if not self.is_json:
            text = self._text_of(raw)
            return None if text is None else log_json.number_of(text)
        text = log_json.raw_text(raw)
        if raw[:1] == b'"':
            return log_json.number_of(text)
        return math.nan if text in ("true", "false") else log_json.number_of(log_json.Raw(text))

    def _time_of(self, raw: Optional[bytes]) -> Optional[float]:
        if raw is None:
            return None
        if raw not in self._times:
            if len(self._times) > 5000:
                self._times.clear()
            text = self._text_of(raw)
            self._times[raw] = None if text is None else self.clock.read(text)
        return self._times[raw]

    def _facts_of(self, template: Template, key: Any) -> Optional[Facts]:
        """What follows from the pieces of a line; None when a piece is not what it must be (only quick templates take such)."""
        if key in template.known:
            return template.known[key]
        if len(template.known) > _KNOWN:
            template.known.clear()
        raws = key if len(template.piece_groups) > 1 else (key,)
        slots: List[Optional[str]] = [None] * len(self._slot_names)
        known: Optional[Facts] = None
        for place, inner, targets in template.piece_slots:
            found: Sequence[Optional[bytes]] = (raws[place],)
            if inner is not None and raws[place] is not None:
                match = inner.fullmatch(raws[place])
                if match is None:
                    break
                found = match.groups()
            for raw, same in zip(found, targets):
                text = _short(self._text_of(raw))
                for target in same:
                    slots[target] = text
        else:
            known = self.tally.facts(tuple(slots))
        template.known[key] = known
        return known

    def _consume(
        self,
        template: Template,
        flat: List[Any],
        starts: Optional[_Starts],
        counted: Optional[Dict[Any, int]] = None,
        stamps: Optional[_Stamps] = None,
    ) -> None:
        """Count the lines that a template took; quick ones know ``counted``: how often pieces came, and ``stamps``."""
        tally, stride = self.tally, template.stride
        rows = (len(flat) - 1) // stride
        tally.lines += rows
        tally.parsed += rows
        starts = stamps.starts if stamps is not None else starts
        known = [start for start in (starts or {}).values() if start is not None]
        is_outside = bool(known) and len(known) == len(starts or {}) and (max(known) + 60 <= tally.since or min(known) >= tally.until)
        if is_outside or stamps is not None and template.stamped is not None and (stamps.last < tally.since or stamps.first >= tally.until):
            tally.outside += rows
            return
        times = self._times_where_needed(template, flat, starts, stamps)
        if times is None and stamps is not None:
            tally.first, tally.last = min(tally.first, stamps.first), max(tally.last, stamps.last)
        elif times is None:
            self._extremes(flat[template.minute :: stride], flat[template.minute + 1 :: stride], starts or {})
        else:
            keep = [tally.in_window(time) for time in times]
            if not all(keep):
                # The same as if the others had not been there.
                kept = [flat[-1]]
                for row in compress(range(rows), keep):
                    kept += flat[row * stride + 1 : (row + 1) * stride + 1]
                flat, counted = kept, None
                times = list(compress(times, keep))
                rows = len(times)
        if not rows:
            return
        pieces = [flat[group::stride] for group in template.piece_groups]
        if counted is None:
            counted = log_json.count_pieces(pieces) if pieces else {None: rows}
        wrong = self._count(template, counted)
        lines = _Lines(template, flat, times, starts or {}, self._time_of)
        for group, index, plain in template.numbers:
            for row, value in self._numbers(index, flat[group::stride], plain):
                if value > tally.spec.fields[index].slow:  # type: ignore[operator]  # only fields with a limit give rows
                    tally.slow(index, value, lines.time(row), self._text_of(lines.id(row)), self._text_of(lines.message(row)))
        if wrong:
            self._errors(lines, wrong, pieces[0] if len(pieces) == 1 else list(zip(*pieces)) if pieces else [None] * rows)

    def _errors(self, lines: _Lines, wrong: Dict[Any, Facts], keys: Sequence[Any]) -> None:
        """Count the lines whose pieces are those of errors."""
        tally = self.tally
        rows = list(compress(range(len(keys)), map(wrong.__contains__, keys)))
        names = [tally.signature(wrong[keys[row]], self._fold(lines.message(row))) for row in rows]
        ranked = sorted(zip(lines.times_or_lowest(rows), names, rows))
        tally.add_errors([(when, name) for when, name, _ in ranked])
        floor = tally.newest_floor()
        if len(ranked) > tally.spec.newest > 0:
            floor = max(floor, ranked[-tally.spec.newest][0])
        for when, _, row in reversed(ranked):
            if when < floor:
                break
            tally.keep_error(when, wrong[keys[row]], self._text_of(lines.message(row)), self._text_of(lines.id(row)))

    def _times_where_needed(
        self, template: Template, flat: List[Any], starts: Optional[_Starts], stamps: Optional[_Stamps]
    ) -> Optional[List[Optional[float]]]:
        """The time of each line; None where all lines lie in the window and their minutes say enough."""
        tally, stride = self.tally, template.stride
        if stamps is not None and template.stamped is not None:
            if stamps.first >= tally.since and stamps.last < tally.until:
                return None
            size = template.stamped.minute
            texts = flat[template.stamp :: stride]
            if not size:
                return [self._time_of(text) for text in texts]
            return [stamps.starts[text[:size]] + _second(text[size + 1 :]) for text in texts]  # type: ignore[operator]  # all are known
        if template.time:
            return [self._time_of(raw) for raw in flat[template.time :: stride]]
        if not template.minute or starts is None:
            return [None] * ((len(flat) - 1) // stride)
        known = [start for start in starts.values() if start is not None]
        if len(known) == len(starts) and min(known) >= tally.since and max(known) + 60 <= tally.until:
            return None
        minutes, seconds = flat[template.minute :: stride], flat[template.minute + 1 :: stride]
        return [None if starts[text] is None else starts[text] + _second(second) for text, second in zip(minutes, seconds)]  # type: ignore[operator]

    def _fold(self, raw: Optional[bytes]) -> str:
        """The signature of a message, remembered by its bytes: which digit it is makes no difference."""
        if raw is None or b"\\" in raw or len(raw) > VALUE_LIMIT:
            return self.tally.fold(self._text_of(raw))
        alike = raw.translate(_DIGITS)
        found = self._folded.get(alike)
        if found is None:
            if len(self._folded) > 5000:
                self._folded.clear()
            found = self._folded[alike] = self.tally.fold(self._text_of(raw))
        return found

    def _count(self, template: Template, counted: Dict[Any, int]) -> Dict[Any, Facts]:
        """Count lines by their pieces; those that are errors."""
        wrong: Dict[Any, Facts] = {}
        for key, times in counted.items():
            facts = self._facts_of(template, key)
            if facts is None:
                raise ValueError("a template took %r" % (key,))
            self.tally.count(facts.slots, times)
            if facts.error:
                wrong[key] = facts
        return wrong

    def _extremes(self, minutes: Sequence[bytes], seconds: Sequence[bytes], starts: _Starts) -> None:
        tally = self.tally
        for text, start in starts.items():
            if start is None or start >= tally.first and start + 60 <= tally.last:
                continue
            mine = seconds
            if len(starts) > 1:
                first = minutes.index(text)
                after = minutes[first:]
                mine = seconds[first:]
                if after.count(text) < len(after):
                    mine = list(compress(mine, map(text.__eq__, after)))
            if start < tally.first:
                tally.first = min(tally.first, start + _second(min(mine)))
            if start + 60 > tally.last:
                tally.last = max(tally.last, start + _second(max(mine)))

    def _numbers(self, index: int, values: List[Optional[bytes]], plain: bool) -> Sequence[Tuple[int, float]]:
        """Count a column of numbers; the rows that may be among the slowest, with their value."""
        limit = self.tally.spec.fields[index].slow
        floor = math.inf if limit is None else max(limit, self.tally.slow_floor(index))
        if (plain or self._strict_numbers) and self._is_varied(index, values):
            # Few values come again: as floats, sorted by the thousand.
            try:
                floats = list(map(float, values))  # type: ignore[arg-type]
            except (TypeError, ValueError):
                return self._mixed(index, values, floor)
            pending = self.tally.pending[index]
            pending += floats
            if len(pending) >= _SORT:
                self.tally.flush(index)
            return [(row, number) for row, number in enumerate(floats) if number >= floor] if max(floats) >= floor else ()
        # Most values come again: counted as they are written, and looked at when they are new.
        counter = self.texts[index]
        known = len(counter)
        counter.update(values)
        new = len(counter) - known
        found = self._fast_lane[index]
        if limit is not None and new:
            for raw in islice(reversed(counter), new):
                value = self._number_of(raw)
                if value is not None and value - value == 0.0 and value >= floor:
                    found[raw] = (value, 0)
        here = {raw: value for raw, (value, times) in found.items() if counter[raw] > times}
        # The floor only rises.
        self._fast_lane[index] = {raw: (value, counter[raw]) for raw, (value, _) in found.items() if value >= floor}
        if new and known + new > _SORT:
            self._varied[index] = sum(counter.values()) < 4 * len(counter)
            self._flush_texts(index)
        return [(row, here[raw]) for row, raw in enumerate(values) if raw in here] if here else ()

    def _mixed(self, index: int, values: List[Optional[bytes]], floor: float) -> Sequence[Tuple[int, float]]:
        there = [(row, raw) for row, raw in enumerate(values) if raw is not None and raw != b"-"]
        try:
            floats = [(row, float(raw)) for row, raw in there]
        except ValueError:
            floats = [(row, value) for row, value in ((row, self._number_of(raw)) for row, raw in there) if value is not None]
        for _, value in floats:
            self.tally.number(index, value)
        return [(row, value) for row, value in floats if value >= floor]

    def _is_varied(self, index: int, values: Sequence[Optional[bytes]]) -> bool:
        if self._varied[index]:
            self._blocks += 1
            if self._blocks % 64 == 0 and len(set(values)) * 5 < len(values) * 4:
                self._varied[index] = False
        return self._varied[index]

    def _flush_texts(self, index: int) -> None:
        numbers = self.tally.numbers[index]
        for raw, times in self.texts[index].items():
            value = self._number_of(raw)
            if value is None:
                continue
            if value - value != 0.0:
                numbers.bad += times
            else:
                numbers.add_counted(value, times)
        self.texts[index].clear()
        self._fast_lane[index] = {}

    def finish(self) -> None:
        """Hand everything that waits to the tally."""
        for index in range(len(self.texts)):
            self._flush_texts(index)

    def _line_time(self, raw: bytes, line: str) -> Optional[float]:
        """The time of one line of a text format."""
        for template in self.templates:
            found = template.line.fullmatch(raw) if template.minute else None
            if found is not None:
                start = self.clock.minute(found.group(template.minute).decode("ascii"), template.zone)
                return None if start is None else start + _second(found.group(template.minute + 1))
        record = self.record(line)
        return None if record is None else record.time


def _second(raw: bytes) -> float:
    return float(raw.replace(b",", b"."))


def _short(text: Optional[str]) -> Optional[str]:
    return text if text is None or len(text) <= VALUE_LIMIT else text[:VALUE_LIMIT]


def _byte_list(record: Dict[str, Any], names: Sequence[str]) -> Optional[str]:
    path = log_json.first_path(record, names)
    value = log_json.value_at(record, path) if path is not None else None
    try:
        return bytes(int(item) for item in value).decode("utf-8", "replace") if value else "(list)"
    except (TypeError, ValueError):
        return "(list)"
