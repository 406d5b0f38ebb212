# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines whose level is a word of the message (syslog, timed, text), by the block: those that hold no such word are counted together."""

from __future__ import annotations

import re
from typing import Any, List, Mapping, Optional, Sequence

from . import formats as log_formats
from .plain_frames import DIGITS, PAUSE, TIME, Frames, Layout, Read, Span
from .tally import Tally
from .times import Clock

#: One of these is in every text that ``log_formats.LEVEL_WORD`` finds something in, in small letters.
_WORDS = (b"emerg", b"alert", b"crit", b"fatal", b"severe", b"err", b"warn", b"traceback", b"panic")
_WORD = re.compile(log_formats.LEVEL_WORD.pattern.encode("ascii"), re.IGNORECASE)
#: Letters beyond ASCII that are equal to one of ASCII when case is ignored: dotted and dotless i, long s, the sign of Kelvin.
_FOLDED = ("\u0130".encode(), "\u0131".encode(), "\u017f".encode(), "\u212a".encode())
_OLD_TIME = re.compile(r"[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}\Z")
_OLD_DAY = re.compile(rb"[A-Z][a-z]{2} [ 0-9][0-9] \Z")
#: The day in such a time ends here.
_DAY = 7


def plain_for(tally: Tally, form: log_formats.Format, roles: Mapping[str, Sequence[str]], clock: Clock, record: Read) -> Optional[Frames]:
    """What counts the lines of such a log; None where more is wanted of a line than its level and time."""
    names = [name for name, _pattern in form.parts if name]
    if (
        not form.searched
        or clock.pattern is not None
        or tally.counted
        or any(tuple(roles[role]) != tuple(form.roles[role]) for role in ("time", "level", "status", "message", "id"))
        or any(field.name in names for field in tally.spec.fields)
    ):
        return None
    return Plain(tally, form, clock, record)


class Plain(Frames):
    """Counts the lines without a level of blocks into a tally."""

    def __init__(self, tally: Tally, form: log_formats.Format, clock: Clock, record: Read) -> None:
        super().__init__(tally, form, clock, record)
        self.facts = tally.facts((None, None))
        names = [name for name, _pattern in form.parts]
        #: What stands between time and message, as far as it says no level; None where there is no time.
        self.middle: Optional[bytes] = None
        if "time" in names:
            parts = form.parts[names.index("time") + 1 : names.index("level") if "level" in names else names.index("message")]
            self.middle = "".join(pattern for _name, pattern in parts).encode("ascii")
            if "level" in names:
                # The level's part begins with the bracket that makes it optional.
                self.middle = self.middle[: -len(b"(?:")]
        self._old = False

    def _learn(self, lines: Sequence[bytes]) -> bool:
        """The way in which most of some lines write their times."""
        found: List[Layout] = []
        for raw in lines:
            line = self.pattern.fullmatch(raw.decode("utf-8", "replace"))
            if line is None or line.start("time") != 0:
                continue
            text = line.group("time")
            iso = TIME.match(text)
            if iso:
                found.append(Layout(b"", iso.group().encode("ascii").translate(DIGITS), text[iso.end() :]))
            elif _OLD_TIME.match(text):
                found.append(Layout(b"", b"old", ""))
        if not found:
            return False
        self.layout = max(set(found), key=found.count)
        self._old = self.layout.shape == b"old"
        width = len("Mmm dd HH:MM:SS") if self._old else len(self.layout.shape)
        guard = b"(?!%s)" % self.guard if self.guard else b""
        # A zone that lines of this kind do not have must not be taken for a host or for words.
        zone = re.escape(self.layout.zone.encode("ascii")) or b"(?! ?(?:Z|UTC|[+-][0-9]{2}))"
        frame = (width, zone, self.middle, guard)
        self._find = re.compile(b"\n(.{%d})%s%s%s" % frame).findall
        self._others = re.compile(b"\n(?!.{%d}%s%s%s)([^\n]*)" % frame).findall
        return True

    def block(self, data: bytes) -> bytes:
        """Count the lines of a block of whole lines that say no level. What is left of it."""
        if self._pause:
            self._pause -= 1
            return data
        if not data.isascii() and any(letter in data for letter in _FOLDED):
            return data
        if self.middle is not None and self._find is None and not self._learn(data[:65536].split(b"\n")[:48]):
            self._pause = PAUSE
            return data
        lined = b"\n" + data[:-1]
        others: List[bytes] = []
        kept = _without_levels(lined, others)
        lines = kept.count(b"\n")
        if self.middle is None:
            # Every line is a message, but blank ones.
            blank = re.findall(rb"\n(?=\s|\Z)[^\n]*", kept)
            if blank:
                others += [line[1:] for line in blank]
                lines -= len(blank)
            self._count_untimed(lines)
        else:
            times = self._find(kept)
            if len(times) < lines:
                others += self._others(kept)
            if len(times) * 8 < lines + len(others):
                self._find, self._pause = None, PAUSE
                return data
            if not self._count_times(times):
                return data
        return b"\n".join(others) + b"\n" if others else b""

    def _count_untimed(self, lines: int) -> None:
        tally = self.tally
        tally.lines += lines
        tally.parsed += lines
        tally.untimed += lines
        if lines and not tally.windowed:
            tally.count(self.facts.slots, lines)

    def _count_times(self, times: List[bytes]) -> bool:
        tally, rows = self.tally, len(times)
        span = self._span(times, True)
        if span is None:
            return False
        if span.first < tally.since or span.last >= tally.until:
            if span.last >= tally.since and span.first < tally.until:
                return False
            tally.outside += rows
        else:
            tally.first = min(tally.first, span.first)
            tally.last = max(tally.last, span.last)
            tally.count(self.facts.slots, rows)
        tally.lines += rows
        tally.parsed += rows
        return True

    def span(self, lined: bytes, lines: int) -> Optional[Span]:
        """The first and last time of lines that each follow a newline; None when that cannot be told of all at once."""
        if self._find is None or self._old:
            # Old times do not sort as texts.
            return None
        times = self._find(lined)
        return self._span(times, True) if len(times) == lines else None

    def _span(self, times: List[bytes], exact: bool) -> Optional[Span]:
        if not self._old:
            return super()._span(times, exact)
        spans = []
        for day in {time[:_DAY] for time in times}:
            if not _OLD_DAY.match(day):
                return None
            clock = [time[_DAY:] for time in times if time.startswith(day)]
            joined = b"".join(clock)
            if joined.translate(DIGITS) != b"00:00:00" * len(clock):
                return None
            if joined[3::8].strip(b"012345") or joined[6::8].strip(b"012345"):
                return None
            low, high = min(clock), max(clock)
            first, last = (self.clock.read((day + text).decode("ascii")) for text in (low, high))
            if first is None or last is None or last - first != _seconds(high) - _seconds(low):
                return None
            spans.append(Span(first, last))
        return Span(min(span.first for span in spans), max(span.last for span in spans))


def _seconds(text: bytes) -> int:
    return int(text[:2]) * 3600 + int(text[3:5]) * 60 + int(text[6:8])


def _without_levels(lined: bytes, others: List[bytes]) -> bytes:
    """The lines that hold no word that tells a level; those that do are put to ``others``."""
    small = lined.lower()
    cuts: Any = {}
    for word in _WORDS:
        place = small.find(word)
        while place >= 0:
            start = small.rfind(b"\n", 0, place)
            end = small.find(b"\n", place)
            if end < 0:
                end = len(small)
            if start not in cuts and _WORD.search(lined, start, end):
                cuts[start] = end
            place = small.find(word, end)
    if not cuts:
        return lined
    pieces = []
    last = 0
    for start in sorted(cuts):
        pieces.append(lined[last:start])
        last = cuts[start]
        others.append(lined[start + 1 : last])
    pieces.append(lined[last:])
    return b"".join(pieces)
