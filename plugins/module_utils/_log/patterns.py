# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns in blocks of lines: only lines with a text that every match holds are cut out, and searched together where they may be."""

from __future__ import annotations

import re
from typing import Any, Callable, List, Optional, Sequence, Set, Tuple

from .options import PatternSpec
from .plain_frames import Span
from .tally import Record, Tally

#: Fewer lines than this are searched one by one.
_MANY = 6
#: Places of a rare character that may be no places of the text before another way is taken.
_MISSES = 500


class Look:
    """A pattern, and a text that every line with a match holds (empty: none is known)."""

    def __init__(self, spec: PatternSpec) -> None:
        self.spec = spec
        self.literal = literal_of(spec.regex).encode("utf-8")
        self.value = spec.regex.groupindex.get("value", 0)
        self.anchored = any(sign in spec.regex.pattern for sign in ("^", "\\A", "(?<"))
        #: What :meth:`bulk` compiles; nothing where that could find others than line by line.
        self.bulk_source = ""
        if not self.anchored and spec.regex.groups <= 1 and not spec.regex.flags & re.VERBOSE:
            parsed = _parsed(spec.regex)
            if parsed.getwidth()[0] and _stays_in_line(parsed, spec.regex.flags):
                self.bulk_source = "(?:%s)[^\n]*" % re.sub(r"\A\(\?[aiLmsux]+\)", "", spec.regex.pattern)
        self._bulk: Optional[re.Pattern[str]] = None
        #: The character of the literal that the lines seldom hold, and its place there; -1 before lines were seen, -2 where none is rare.
        self.rare = b""
        self.place = -1

    def bulk(self) -> re.Pattern[str]:
        """Finds matches in many lines at once, each with the rest of its line."""
        if self._bulk is None:
            self._bulk = re.compile(self.bulk_source, self.spec.regex.flags)
        return self._bulk

    def lines(self, data: bytes) -> List[bytes]:
        """The lines that hold the literal."""
        literal = self.literal
        if self.place == -1:
            seen = data[:8192]
            counts = [seen.count(literal[place : place + 1]) for place in range(len(literal))]
            self.place = counts.index(min(counts))
            self.rare = literal[self.place : self.place + 1]
        found: List[bytes] = []
        misses = 0
        place = data.find(self.rare) if self.place >= 0 else -1
        while place >= 0:
            start = place - self.place
            if start >= 0 and data.startswith(literal, start):
                end = data.find(b"\n", place)
                found.append(data[data.rfind(b"\n", 0, start) + 1 : end])
                place = data.find(self.rare, end)
                continue
            misses += 1
            if misses > _MISSES:
                self.place = -2
                found = []
                break
            place = data.find(self.rare, place + 1)
        if self.place == -2:
            place = data.find(literal)
            while place >= 0:
                end = data.find(b"\n", place)
                found.append(data[data.rfind(b"\n", 0, place) + 1 : end])
                place = data.find(literal, end)
        return found


class Looks:
    """The patterns of one log.

    ``record`` reads a line; ``time_of`` tells the time of a line of text; ``span`` the first and last time of lines that each
    follow a newline, where it can tell them at once.
    """

    def __init__(
        self,
        tally: Tally,
        is_json: bool,
        record: Callable[[str], Optional[Record]],
        time_of: Callable[[bytes, str], Optional[float]],
        span: Optional[Callable[[bytes, int], Optional[Span]]],
    ) -> None:
        self.tally = tally
        self.is_json = is_json
        self.record = record
        self.time_of = time_of
        self.span = span
        self.looks = [Look(pattern) for pattern in tally.spec.patterns]

    def block(self, data: bytes) -> None:
        """Search a block of whole lines."""
        if self.is_json:
            self._json(data)
            return
        for look in self.looks:
            lines = look.lines(data) if look.literal else self._lines_without_literal(look, data)
            if not (len(lines) >= _MANY and self._together(look, lines)):
                for raw in lines:
                    self._one(look, raw)

    @staticmethod
    def _lines_without_literal(look: Look, data: bytes) -> List[bytes]:
        if look.bulk_source:
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError:
                return data.split(b"\n")[:-1]
            return [text[text.rfind("\n", 0, found.start()) + 1 : found.end()].encode("utf-8") for found in look.bulk().finditer(text)]
        return data.split(b"\n")[:-1]

    def _together(self, look: Look, lines: Sequence[bytes]) -> bool:
        """Count the matches in many lines at once; False, and nothing counted, where that could be something else than one by one."""
        if not look.bulk_source or self.span is None:
            return False
        joined = b"\n" + b"\n".join(lines)
        try:
            text = joined.decode("utf-8")
        except UnicodeDecodeError:
            return False
        found = look.bulk().findall(text)
        if len(found) != len(lines):
            return False
        span = self.span(joined, len(lines))
        if span is None or (self.tally.windowed and (span.first < self.tally.since or span.last >= self.tally.until)):
            return False
        numbers: List[float] = []
        if look.value:
            try:
                numbers = list(map(float, found))
            except ValueError:
                return False
            total = sum(numbers)
            if total - total != 0.0:
                return False
        # Times of one width come first in the lines.
        self.tally.matches(look.spec.name, len(lines), span.last, max(lines).decode("utf-8"), numbers)
        return True

    def _one(self, look: Look, raw: bytes) -> None:
        line = raw.decode("utf-8", "replace")
        shown = line
        found = look.spec.regex.search(line)
        if found is None and look.anchored:
            # "^" may mean where the message begins.
            record = self.record(line)
            shown = record.message if record is not None and record.message is not None else ""
            found = look.spec.regex.search(shown)
        if found is not None:
            self.tally.match(look.spec.name, self.time_of(raw, line), shown, found.group(look.value) if look.value else None)

    def _json(self, data: bytes) -> None:
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
            if b"\\" in data:
                place = data.find(b"\\")
                while place >= 0:
                    starts.add(data.rfind(b"\n", 0, place) + 1)
                    place = data.find(b"\\", data.find(b"\n", place))
        for start in sorted(starts):
            line = data[start : data.find(b"\n", start)].decode("utf-8", "replace")
            record = self.record(line)
            text = record.message if record is not None and record.message is not None else line
            for look in self.looks:
                found = look.spec.regex.search(text)
                if found is not None:
                    time = record.time if record is not None else None
                    self.tally.match(look.spec.name, time, text, found.group(look.value) if look.value else None)


def _parsed(regex: re.Pattern[str]) -> Any:
    try:
        from re import _parser as parser  # type: ignore[attr-defined]  # Python 3.11
    except ImportError:
        import sre_parse as parser
    return parser.parse(regex.pattern, regex.flags)


def literal_of(regex: re.Pattern[str]) -> str:
    """The longest text that every match of a regular expression holds; empty when none can be told."""
    if regex.flags & re.IGNORECASE:
        return ""
    runs: List[str] = [""]
    for code, argument in _parsed(regex):
        if str(code) == "LITERAL" and argument != 10:
            runs[-1] += chr(argument)
        else:
            runs.append("")
    return max(runs, key=len)


def is_in_line(source: str) -> bool:
    """Whether no match of an expression can hold a newline or hang on where a text begins or ends."""
    return _stays_in_line(_parsed(re.compile(source)), 0)


def _stays_in_line(parsed: Any, flags: int) -> bool:  # one case for each thing that an expression may hold
    """Whether no match of an expression can hold a newline or hang on where a text begins or ends."""
    for code, argument in parsed:
        name = str(code)
        inner: Tuple[Any, ...] = ()
        if name in ("LITERAL", "NOT_LITERAL"):
            if (argument == 10) == (name == "LITERAL"):
                return False
        elif name == "ANY":
            if flags & re.DOTALL:
                return False
        elif name == "IN":
            if not _is_set_in_line(argument):
                return False
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            inner = (argument[2],)
        elif name == "SUBPATTERN":
            if argument[1] or argument[2]:
                return False
            inner = (argument[3],)
        elif name == "BRANCH":
            inner = tuple(argument[1])
        elif not (name == "AT" and str(argument) == "AT_BOUNDARY"):
            return False
        if not all(_stays_in_line(one, flags) for one in inner):
            return False
    return True


def _is_set_in_line(items: Any) -> bool:
    if str(items[0][0]) == "NEGATE":
        return any(str(code) == "LITERAL" and argument == 10 for code, argument in items)
    return all(_is_in_line(*item) for item in items)


def _is_in_line(code: Any, argument: Any) -> bool:
    name = str(code)
    if name == "LITERAL":
        return bool(argument != 10)
    if name == "RANGE":
        return not argument[0] <= 10 <= argument[1]
    return name == "CATEGORY" and str(argument) in ("CATEGORY_DIGIT", "CATEGORY_WORD")


def _line_starts(data: bytes) -> List[int]:
    found = [0]
    place = data.find(b"\n")
    while 0 <= place < len(data) - 1:
        found.append(place + 1)
        place = data.find(b"\n", place + 1)
    return found
