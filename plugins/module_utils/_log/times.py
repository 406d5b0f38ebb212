# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Event times as logs write them, as seconds since the epoch."""

from __future__ import annotations

import datetime
import re
import time
from bisect import bisect_right
from typing import Callable, Dict, List, Mapping, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError

#: Seconds of a wall clock (as if it were UTC) to seconds since the epoch.
Zone = Callable[[float], float]
#: ``[first second (UTC), offset]`` in rising order, made on the controller: Python 3.8 has no zoneinfo.
ZoneTable = Sequence[Sequence[float]]

MONTHS = {
    name: number for number, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_OFFSET = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})?\Z")


def offset_of(text: str) -> Optional[int]:
    """Seconds east of UTC for ``Z``, ``UTC``, ``GMT``, ``+09:00``, ``-0330`` or ``+09``; None when it is none of these."""
    if text.upper() in ("Z", "UTC", "GMT"):
        return 0
    found = _OFFSET.match(text)
    if not found or int(found.group(2)) > 23 or int(found.group(3) or 0) > 59:
        return None
    seconds = int(found.group(2)) * 3600 + int(found.group(3) or 0) * 60
    return -seconds if found.group(1) == "-" else seconds


def _local(wall: float) -> float:
    day, second = divmod(int(wall), 86400)
    date = datetime.date.fromordinal(719163 + day)
    try:
        return time.mktime((date.year, date.month, date.day, second // 3600, second % 3600 // 60, second % 60, 0, 0, -1)) + wall % 1
    except (OverflowError, ValueError):
        return wall


def _table(table: ZoneTable) -> Zone:
    starts = [float(row[0]) for row in table]
    offsets = [float(row[1]) for row in table]

    def to_utc(wall: float) -> float:
        # The earlier of two readings where a clock was put back, as zoneinfo does with fold=0.
        middle = max(0, bisect_right(starts, wall) - 1)
        for index in range(max(0, middle - 1), min(len(starts), middle + 2)):
            utc = wall - offsets[index]
            if starts[index] <= utc and (index + 1 == len(starts) or utc < starts[index + 1]):
                return utc
        return wall - offsets[max(0, middle - 1)]

    return to_utc


def make_zone(name: str, tables: Optional[Mapping[str, ZoneTable]] = None, path: str = "zone") -> Zone:
    """The zone ``local`` (of this machine), ``UTC``, a fixed offset, or one of ``tables``. Raises OptionError."""
    if name == "local":
        return _local
    offset = offset_of(name)
    if offset is not None:
        fixed = float(offset)
        return lambda wall: wall - fixed
    if tables and tables.get(name):
        return _table(tables[name])
    raise OptionError(path, "the time zone %r is not known" % name, hint="local, UTC, +09:00 or a name such as Asia/Seoul")


def _wall(year: int, month: int, day: int, hour: int, minute: int) -> Optional[float]:
    if hour > 23 or minute > 59:
        return None
    try:
        days = datetime.date(year, month, day).toordinal() - 719163
    except ValueError:
        return None
    return days * 86400.0 + hour * 3600 + minute * 60


_ISO = re.compile(
    r"([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})[T ]([0-9]{2}):([0-9]{2})(?::([0-5][0-9](?:[.,][0-9]{1,9})?|60))?"
    r" ?(Z|z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?\Z"
)
_CLF = re.compile(r"([0-9]{2})/([A-Za-z]{3})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-5][0-9]|60)(?: (Z|[+-][0-9]{2}:?[0-9]{2}))?\Z")
_SYSLOG = re.compile(r"([A-Za-z]{3}) {1,2}([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-5][0-9](?:\.[0-9]{1,9})?|60)\Z")
_EPOCH = re.compile(r"[0-9]{9,19}(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?\Z")

#: strptime directives that a ``time_format`` may hold.
_DIRECTIVES = {
    "Y": r"(?P<Y>[0-9]{4})",
    "y": r"(?P<y>[0-9]{2})",
    "m": r"(?P<m>[0-9]{1,2})",
    "d": r"(?P<d>[0-9]{1,2})",
    "e": r" ?(?P<d>[0-9]{1,2})",
    "b": r"(?P<b>[A-Za-z]{3})",
    "H": r"(?P<H>[0-9]{1,2})",
    "I": r"(?P<I>[0-9]{1,2})",
    "p": r"(?P<p>[AaPp][Mm])",
    "M": r"(?P<M>[0-9]{2})",
    "S": r"(?P<S>[0-5][0-9]|60)",
    "f": r"(?P<f>[0-9]{1,9})",
    "z": r"(?P<z>Z|[+-][0-9]{2}:?[0-9]{2})",
    "s": r"(?P<s>[0-9]{1,12})",
    "%": "%",
}


def compile_format(text: str, path: str = "time_format") -> re.Pattern[str]:
    """A regular expression for a strptime format. Raises OptionError for a directive that is not supported."""
    text = text.replace("%T", "%H:%M:%S").replace("%F", "%Y-%m-%d")
    parts: List[str] = []
    place = 0
    while place < len(text):
        char = text[place]
        place += 1
        if char != "%":
            parts.append(re.escape(char))
            continue
        directive = text[place : place + 1]
        place += 1
        if directive not in _DIRECTIVES:
            raise OptionError(path, "%%%s in %r is not supported" % (directive, text), hint=" ".join("%" + name for name in _DIRECTIVES))
        parts.append(_DIRECTIVES[directive])
    try:
        return re.compile("".join(parts) + r"\Z")
    except re.error:
        raise OptionError(path, "%r names one part of the time twice" % text) from None


class Clock:
    """Reads the times of one log. ``zone``: for times that name none; ``now``: seconds, to tell the year where it is left out."""

    def __init__(self, zone: Zone, now: float, pattern: Optional[re.Pattern[str]] = None) -> None:
        self.zone = zone
        self.now = now
        self.pattern = pattern
        self._minutes: Dict[str, Optional[float]] = {}

    def read(self, text: str) -> Optional[float]:
        """Seconds since the epoch, or None when ``text`` is no time."""
        if self.pattern is not None:
            return self._custom(text)
        found = _ISO.match(text)
        if found:
            year, month, day, hour, minute, second, zone = found.groups()
            wall = _wall(int(year), int(month), int(day), int(hour), int(minute))
            return self._place(wall, second, zone)
        found = _CLF.match(text)
        if found:
            day, name, year, hour, minute, second, zone = found.groups()
            wall = _wall(int(year), MONTHS.get(name.lower(), 0), int(day), int(hour), int(minute))
            return self._place(wall, second, zone)
        if _EPOCH.match(text):
            return epoch(float(text))
        found = _SYSLOG.match(text)
        if found:
            name, day, hour, minute, second = found.groups()
            return self._yearless(MONTHS.get(name.lower(), 0), int(day), int(hour), int(minute), second)
        return None

    def minute(self, text: str, zone: str) -> Optional[float]:
        """The start of a minute written as ISO 8601 or in an access log, remembered: most lines share one."""
        key = text + "|" + zone
        if key not in self._minutes:
            if len(self._minutes) > 20000:
                self._minutes.clear()
            self._minutes[key] = self.read(text + ":00" + zone)
        return self._minutes[key]

    def _place(self, wall: Optional[float], second: Optional[str], zone: Optional[str]) -> Optional[float]:
        if wall is None:
            return None
        if zone:
            offset = offset_of(zone)
            if offset is None:
                return None
            start = wall - offset
        else:
            start = self.zone(wall)
        return start + float(second.replace(",", ".")) if second else start

    def _yearless(self, month: int, day: int, hour: int, minute: int, second: str) -> Optional[float]:
        year = time.gmtime(self.now).tm_year + 1
        for candidate in range(year, year - 9, -1):
            found = self._place(_wall(candidate, month, day, hour, minute), second, None)
            if found is not None and found <= self.now + 86400:
                return found
        return None

    def _custom(self, text: str) -> Optional[float]:
        found = self.pattern.match(text) if self.pattern is not None else None
        if not found:
            return None
        part = found.groupdict()
        if part.get("s"):
            return float(part["s"]) + (float("0." + part["f"]) if part.get("f") else 0.0)
        month = MONTHS.get(part["b"].lower(), 0) if part.get("b") else int(part.get("m") or 1)
        hour = int(part.get("H") or 0)
        if part.get("I"):
            hour = int(part["I"]) % 12 + (12 if (part.get("p") or "").lower() == "pm" else 0)
        second = (part.get("S") or "0") + ("." + part["f"] if part.get("f") else "")
        minute = int(part.get("M") or 0)
        day = int(part.get("d") or 1)
        if part.get("Y") or part.get("y"):
            year = int(part["Y"]) if part.get("Y") else 2000 + int(part["y"])
            return self._place(_wall(year, month, day, hour, minute), second, part.get("z"))
        return self._yearless(month, day, hour, minute, second)


def epoch(number: float) -> Optional[float]:
    """Seconds from a number of seconds, milliseconds, microseconds or nanoseconds, told by its size; None before 1973."""
    for limit, scale in ((1e8, 0.0), (1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9)):
        if number < limit:
            return number / scale if scale else None
    return None
