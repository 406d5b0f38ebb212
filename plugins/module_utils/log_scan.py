# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads lines in blocks: templates learnt from the lines take most of a block at once, the rest is read line by line."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import compress, islice
from operator import add
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils import log_formats, log_json
from ansible_collections.opsrunner.runbook.plugins.module_utils.log_options import PatternSpec
from ansible_collections.opsrunner.runbook.plugins.module_utils.log_read import Oversize
from ansible_collections.opsrunner.runbook.plugins.module_utils.log_tally import VALUE_LIMIT, Facts, Record, Tally
from ansible_collections.opsrunner.runbook.plugins.module_utils.log_times import Clock

_PREFIX = re.compile(log_formats.PREFIX, re.ASCII)
_PREFIXES = re.compile(b"(?m)^" + log_formats.PREFIX.encode(), re.ASCII)
_NULS = re.compile(b"(?m)^\x00+")
_BOMS = re.compile(b"(?m)^\xef\xbb\xbf")
_BOM = b"\xef\xbb\xbf"

_PLAIN_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?\Z")
#: What JSON does not allow inside a string as it is.
_CONTROLS = tuple(bytes((code,)) for code in (*range(10), *range(11, 32), 0x5C))

MAX_TEMPLATES = 16
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


class Time(NamedTuple):
    """How a template captures a time: by minute, seconds and a fixed zone. ``lax``: the same for times that are proved later."""

    pattern: str
    zone: str
    lax: str


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
        return Time("(%s)%s" % (day, end), zone or "", "(....%s..%s..%s..:..)%s" % (one, two, between, end))
    found = _CLF.match(text)
    if found:
        zone = found.group(1) or ""
        pattern = "([0-9]{2}/[A-Za-z]{3}/[0-9]{4}:[0-9]{2}:[0-9]{2}):([0-5][0-9])%s" % re.escape(zone)
        return Time(pattern, zone, "(../.../....:..:..):([0-5][0-9])%s" % re.escape(zone))
    return None


def _is_tame(data: bytes) -> bool:
    """Whether a block holds neither control characters nor backslashes, so that a string ends at the next quote."""
    return not any(code in data for code in _CONTROLS)


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
        self.piece_groups: List[int] = []
        self.single_groups: List[int] = []
        self.piece_slots: List[Tuple[int, Optional[re.Pattern[bytes]], Tuple[int, ...]]] = []
        self.numbers: List[Tuple[int, int, bool]] = []
        self.message = 0
        self.id = 0
        self.known: Dict[Any, Facts] = {}
        #: The pieces of a line are put together to one text, which ``piece_slots`` reads.
        self.joined = False

    def compile(self) -> None:
        """Make the block reader; the source must match one line without its newline."""
        source = self.source.encode("utf-8") + b"\n"
        self.lax = re.compile((self.lax_source or self.source).encode("utf-8") + b"\n", re.ASCII).split
        self.split = re.compile(source, re.ASCII).split
        self.anchored = re.compile(b"(?m)^" + source, re.ASCII).split
        self.line = re.compile(source[:-1], re.ASCII)
        self.stride = self.groups + 1

    def piece_order(self, number: int) -> int:
        """The place among all piece groups of the piece with this number among those of several slots."""
        return [place for place, group in enumerate(self.piece_groups) if group not in self.single_groups][number]

    def group(self, pattern: str) -> str:
        """A capturing group, numbered by :attr:`groups`."""
        self.groups += 1
        return "(%s)" % pattern


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
        self._fast_lane: List[Dict[Optional[bytes], float]] = [{} for _ in spec.fields]
        self._varied = [False for _ in spec.fields]
        self._blocks = 0
        self._times: Dict[bytes, Optional[float]] = {}
        self._search_level = not self.is_json and not self.roles["level"] and not self.roles["status"] or form == "syslog"
        self._by_template = self.is_json or (bool(self.form.parts) and not self._search_level and form != "text")
        self.looks = [Look(pattern) for pattern in spec.patterns]
        self._slot_names = [self.roles["level"], self.roles["status"], *((name,) for name in tally.counted)]

    # Lines

    def block(self, data: bytes) -> None:
        """Read a block of whole lines."""
        data = self._normal(data)
        if not data:
            return
        if self.looks:
            self._look(data)
        if not self._by_template:
            self._one_by_one(data.split(b"\n")[:-1])
            return
        lines = data.count(b"\n") if _is_tame(data) else 0
        while data:
            for template in self.templates:
                taken = self._take(template, data, lines)
                if taken is None:
                    continue
                flat, data, starts = taken
                self._consume(template, flat, starts)
                if not data:
                    return
                lines = lines and data.count(b"\n")
            data = self._one_by_one(data.split(b"\n")[:-1])
            lines = lines and data.count(b"\n")

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
        if self.looks:
            self._look(data)
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

    def _one_by_one(self, lines: Sequence[bytes]) -> bytes:
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
            if self._by_template:
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

    def _json_template(self, text: str) -> Optional[Tuple[str, Template]]:  # noqa: C901  # one pass over the values of a line
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
        template = Template()
        parts: List[str] = []
        laxer: Dict[str, str] = {}
        pieces: List[str] = []
        piece_slots: List[Tuple[int, ...]] = []
        open_piece: List[str] = []

        def close_piece() -> None:
            if open_piece:
                text = "".join(open_piece)
                pieces.append(text)
                parts.append(template.group(text.replace("\x02", "").replace("\x03", "")))
                template.piece_groups.append(template.groups)
                del open_piece[:]

        for place, literal in enumerate(shape.literals):
            escaped = re.escape(literal)
            value = shape.values[place] if place < len(shape.values) else None
            asked = wanted.get(value[0], []) if value else []
            is_slot = bool(asked) and all(name.startswith("slot") for name in asked)
            if open_piece and is_slot:
                open_piece.append(escaped)
            else:
                close_piece()
                if is_slot and pieces:
                    # What stands before a value keeps it apart from the piece before.
                    parts.append(re.escape(literal[:-1]))
                    open_piece.append(re.escape(literal[-1:]))
                else:
                    parts.append(escaped)
            if value is None:
                continue
            _, kind, raw = value
            pattern = log_json.KINDS[kind]
            if not asked:
                parts.append(pattern)
            elif is_slot:
                open_piece.append("\x02%s\x03" % pattern)
                piece_slots.append(tuple(int(name[4:]) for name in asked))
            elif asked == ["time"] and kind in "sn":
                way = time_pattern(raw[1:-1]) if kind == "s" and self.clock.pattern is None else None
                if way is not None:
                    template.minute = template.groups + 1
                    template.groups += 2
                    template.zone = way.zone
                    parts.append('"\x04%s"' % way.pattern)
                    laxer['"\x04%s"' % way.pattern] = '"%s"' % way.lax
                else:
                    parts.append(template.group(pattern))
                    template.time = template.groups
            else:
                number = kind == "n" and asked[0].startswith("number") and _PLAIN_NUMBER.match(raw)
                parts.append(template.group("\x05%s" % pattern if number else pattern))
                for name in asked:
                    self._assign(template, name, kind)
        close_piece()
        self._decode_pieces(template, pieces, piece_slots)
        source = "".join(parts)
        template.source = source.replace("\x04", "").replace("\x05", "")
        for strict, lax in laxer.items():
            source = source.replace(strict, lax)
        source = source.replace("\x05" + log_json.NUMBER, "(?:0|[1-9][0-9]*)(?:[.][0-9]+)?")
        template.lax_source = source.replace(log_json.STRING, '"[^"]*"').replace(log_json.ESCAPED_STRING, '"[^"]*"')
        return shape.key, template

    @staticmethod
    def _decode_pieces(template: Template, pieces: List[str], slots: List[Tuple[int, ...]]) -> None:
        """How to find the slots in the pieces; with more than one piece, in all of them put together."""
        others = len(template.piece_groups) > len(pieces)
        template.joined = len(pieces) > 1 and not others
        numbered = iter(slots)
        for order, text in enumerate(["".join(pieces)] if template.joined else pieces):
            inner = re.compile(text.replace("\x02", "(").replace("\x03", ")").encode("utf-8"), re.ASCII)
            for number in range(inner.groups):
                place = 0 if template.joined else template.piece_order(order)
                template.piece_slots.append((place, inner, (number + 1, *next(numbered))))

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
            if group in template.piece_groups:
                place = template.piece_groups.index(group)
            else:
                place = len(template.piece_groups)
                template.piece_groups.append(group)
                template.single_groups.append(group)
            template.piece_slots.append((place, None, (1, int(name[4:]))))

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

    def _facts_of(self, template: Template, key: Any) -> Facts:
        known = template.known.get(key)
        if known is None:
            if len(template.known) > 50000:
                template.known.clear()
            raws = key if len(template.piece_groups) > 1 and not template.joined else (key,) * len(template.piece_groups)
            slots: List[Optional[str]] = [None] * len(self._slot_names)
            for place, inner, (number, *targets) in template.piece_slots:
                raw = raws[place]
                if inner is not None and raw is not None:
                    match = inner.fullmatch(raw)
                    raw = match.group(number) if match else raw
                text = _short(self._text_of(raw))
                for target in targets:
                    slots[target] = text
            known = template.known[key] = self.tally.facts(tuple(slots))
        return known

    def _consume(self, template: Template, flat: List[Any], starts: Optional[_Starts]) -> None:
        tally, stride = self.tally, template.stride
        rows = (len(flat) - 1) // stride
        template.hits += rows
        tally.lines += rows
        tally.parsed += rows
        times: Optional[List[Optional[float]]] = None
        minutes: List[bytes] = []
        seconds: List[bytes] = []
        starts = starts or {}
        keep: Optional[List[bool]] = None
        if template.minute:
            minutes, seconds = flat[template.minute :: stride], flat[template.minute + 1 :: stride]
            known = [start for start in starts.values() if start is not None]
            if len(known) < len(starts) or min(known) < tally.since or max(known) + 60 > tally.until:
                if len(known) == len(starts) and (max(known) + 60 <= tally.since or min(known) >= tally.until):
                    tally.outside += rows
                    return
                times = [None if starts[text] is None else starts[text] + _second(second) for text, second in zip(minutes, seconds)]  # type: ignore[operator]
        elif template.time:
            times = [self._time_of(raw) for raw in flat[template.time :: stride]]
        else:
            times = [None] * rows
        if times is not None:
            keep = [tally.in_window(time) for time in times]
            if all(keep):
                keep = None
            else:
                times = list(compress(times, keep))
                rows = len(times)
                if not rows:
                    return
                minutes, seconds = list(compress(minutes, keep)), list(compress(seconds, keep))
        else:
            self._extremes(minutes, seconds, starts)

        def column(group: int) -> List[Any]:
            found = flat[group::stride]
            return found if keep is None else list(compress(found, keep))

        def time_at(row: int) -> Optional[float]:
            return times[row] if times is not None else starts[minutes[row]] + _second(seconds[row])  # type: ignore[operator]

        keys, wrong = self._count(template, column, rows)
        messages = ids = None
        for group, index, plain in template.numbers:
            for row, value in self._numbers(index, column(group), plain):
                if value <= tally.spec.fields[index].slow:  # type: ignore[operator]  # only fields with a limit give rows
                    continue
                messages = column(template.message) if messages is None and template.message else messages
                ids = column(template.id) if ids is None and template.id else ids
                tally.slow(
                    index, value, time_at(row), self._text_of(ids[row]) if ids else None, self._text_of(messages[row]) if messages else None
                )
        if wrong:
            messages = column(template.message) if messages is None and template.message else messages
            ids = column(template.id) if ids is None and template.id else ids
            bad = compress(range(rows), map(wrong.__contains__, keys)) if keys is not None else range(rows)
            for row in bad:
                facts = wrong[keys[row]] if keys is not None else next(iter(wrong.values()))
                tally.error(
                    time_at(row), facts, self._text_of(messages[row]) if messages else None, self._text_of(ids[row]) if ids else None
                )

    def _count(self, template: Template, column: Callable[[int], List[Any]], rows: int) -> Tuple[Optional[List[Any]], Dict[Any, Facts]]:
        tally = self.tally
        if not template.piece_groups:
            facts = tally.facts((None,) * len(self._slot_names))
            tally.count(facts.slots, rows)
            return None, ({None: facts} if facts.error else {})
        columns = [column(group) for group in template.piece_groups]
        keys: List[Any] = columns[0]
        if template.joined:
            # One text hashes faster than a tuple of them.
            for more in columns[1:]:
                keys = list(map(add, keys, more))
        elif len(columns) > 1:
            keys = list(zip(*columns))
        wrong: Dict[Any, Facts] = {}
        for key, times in Counter(keys).items():
            facts = self._facts_of(template, key)
            tally.count(facts.slots, times)
            if facts.error:
                wrong[key] = facts
        return keys, wrong

    def _extremes(self, minutes: Sequence[bytes], seconds: Sequence[bytes], starts: Dict[bytes, Optional[float]]) -> None:
        tally = self.tally
        for text, start in starts.items():
            if start is None or start >= tally.first and start + 60 <= tally.last:
                continue
            if len(starts) == 1:
                mine = seconds
            else:
                first = minutes.index(text)
                after = minutes[first:]
                mine = seconds[first:]
                if after.count(text) < len(after):
                    mine = list(compress(mine, map(text.__eq__, after)))
            tally.first = min(tally.first, start + _second(min(mine)))
            tally.last = max(tally.last, start + _second(max(mine)))

    def _numbers(self, index: int, values: List[Optional[bytes]], plain: bool) -> Sequence[Tuple[int, float]]:
        """Count a column of numbers; the rows that may be among the slowest, with their value."""
        limit = self.tally.spec.fields[index].slow
        floor = math.inf if limit is None else max(limit, self.tally.slow_floor(index))
        if (plain or not self.is_json) and self._is_varied(index, values):
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
                    found[raw] = value
        if new and known + new > _SORT:
            self._varied[index] = sum(counter.values()) < 4 * len(counter)
            self._flush_texts(index)
        if not found or found.keys().isdisjoint(values):
            return ()
        rows = [(row, found[raw]) for row, raw in enumerate(values) if raw in found]
        # The floor only rises.
        self._fast_lane[index] = {raw: value for raw, value in found.items() if value >= floor}
        return rows

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

    # Patterns

    def _look(self, data: bytes) -> None:
        """Search the lines for the patterns; only lines that may match are read."""
        starts: Set[int] = set()
        for look in self.looks:
            literal = look.literal
            if not literal:
                starts = set(_line_starts(data))
                break
            place = data.find(literal)
            while place >= 0:
                starts.add(data.rfind(b"\n", 0, place) + 1)
                end = data.find(b"\n", place)
                place = data.find(literal, end)
            if self.is_json and b"\\" in data:
                place = data.find(b"\\")
                while place >= 0:
                    starts.add(data.rfind(b"\n", 0, place) + 1)
                    place = data.find(b"\\", data.find(b"\n", place))
        for start in sorted(starts):
            raw = data[start : data.find(b"\n", start)]
            line = raw.decode("utf-8", "replace")
            record: Optional[Record] = None
            text = line
            if self.is_json:
                record = self.record(line)
                text = record.message if record is not None and record.message is not None else line
            is_read = self.is_json
            time: Optional[float] = record.time if record is not None else None
            is_timed = is_read
            for look in self.looks:
                shown = text
                found = look.spec.regex.search(text)
                if found is None and look.anchored and not self.is_json:
                    # "^" may mean where the message begins.
                    if not is_read:
                        record, is_read = self.record(line), True
                    shown = record.message if record is not None and record.message is not None else ""
                    found = look.spec.regex.search(shown)
                if found is None:
                    continue
                if not is_timed:
                    time, is_timed = self._line_time(raw, line), True
                self.tally.match(look.spec.name, time, shown, found.group(look.value) if look.value else None)

    def _line_time(self, raw: bytes, line: str) -> Optional[float]:
        """The time of one line of a text format."""
        for template in self.templates:
            found = template.line.fullmatch(raw) if template.minute else None
            if found is not None:
                start = self.clock.minute(found.group(template.minute).decode("ascii"), template.zone)
                return None if start is None else start + _second(found.group(template.minute + 1))
        record = self.record(line)
        return None if record is None else record.time


class Look:
    """A pattern, and a text that every line with a match holds (empty: none is known)."""

    def __init__(self, spec: PatternSpec) -> None:
        self.spec = spec
        self.literal = literal_of(spec.regex).encode("utf-8")
        self.value = spec.regex.groupindex.get("value", 0)
        self.anchored = any(sign in spec.regex.pattern for sign in ("^", "\\A", "(?<"))


def literal_of(regex: re.Pattern[str]) -> str:
    """The longest text that every match of a regular expression holds; empty when none can be told."""
    if regex.flags & re.IGNORECASE:
        return ""
    try:
        from re import _parser as parser  # type: ignore[attr-defined]  # Python 3.11
    except ImportError:
        import sre_parse as parser
    runs: List[str] = [""]
    for code, argument in parser.parse(regex.pattern, regex.flags):
        if str(code) == "LITERAL":
            runs[-1] += chr(argument)
        else:
            runs.append("")
    return max(runs, key=len)


def _line_starts(data: bytes) -> List[int]:
    found = [0]
    place = data.find(b"\n")
    while 0 <= place < len(data) - 1:
        found.append(place + 1)
        place = data.find(b"\n", place + 1)
    return found


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
