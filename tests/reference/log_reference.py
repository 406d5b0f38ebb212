# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain way to read a log: one line after another, every value kept, everything sorted.

Slow and simple on purpose: what ``log_stats`` says is compared with this.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections import Counter
from typing import Any

MAX_LINE = 1024 * 1024
LEVELS = {
    "ERR": "ERROR",
    "SEVERE": "ERROR",
    "TRACEBACK": "ERROR",
    "WARN": "WARNING",
    "CRIT": "CRITICAL",
    "EMERG": "EMERGENCY",
    "INFORMATION": "INFO",
    "F": "FATAL",
    "C": "CRITICAL",
    "E": "ERROR",
    "W": "WARNING",
    "I": "INFO",
    "D": "DEBUG",
    "50": "ERROR",
    "40": "WARNING",
    "30": "INFO",
    "20": "DEBUG",
    "10": "TRACE",
    "60": "FATAL",
}
ERROR_LEVELS = {"ERROR", "CRITICAL", "FATAL", "ALERT", "EMERGENCY", "PANIC"}
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
NOW = datetime.datetime.fromtimestamp(1772360000, datetime.timezone.utc)
ERROR_WORDS = {"error", "err", "fail", "failed", "failure", "timeout", "critical", "fatal"}


class Num(str):
    """A number as it was written."""


class Strange(str):
    """NaN and the infinities."""


def read_json(line: str) -> dict[str, Any] | None:
    """The object on a line."""
    try:
        found = json.loads(line, parse_int=Num, parse_float=Num, parse_constant=Strange)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def get(record: dict[str, Any], name: str) -> Any:
    """The value of a name: the key, else a dotted path."""
    if name in record:
        return record[name]
    value: Any = record
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return value


def first(record: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The first value that is not null."""
    return next((value for value in (get(record, name) for name in names) if value is not None), None)


def as_text(value: Any) -> str | None:
    """A value as text."""
    if value is None:
        return None
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, dict):
        return "(object)"
    if isinstance(value, list):
        return "(list)"
    return str(value).encode("utf-8", "replace").decode("utf-8")


def as_number(value: Any) -> float | None:
    """A value as number; NaN when it is none."""
    if value is None:
        return None
    spelt = isinstance(value, str) and not isinstance(value, Strange)
    if spelt and (isinstance(value, Num) or re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", value.strip(" "))):
        number = float(value)
        return number if math.isfinite(number) else math.nan
    return math.nan


def as_time(text: str | None) -> float | None:
    """Seconds since the epoch, for times in ISO 8601 (UTC when no zone is given), of access logs, and epoch numbers."""
    if text is None:
        return None
    found = re.fullmatch(
        r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d)(?::(\d\d(?:[.,]\d{1,9})?))? ?(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?", text, re.ASCII
    )
    if found:
        year, month, day, hour, minute, second, zone = found.groups()
    else:
        found = re.fullmatch(r"(\d\d)/([A-Za-z]{3})/(\d{4}):(\d\d):(\d\d):(\d\d)(?: (Z|[+-]\d\d:?\d\d))?", text, re.ASCII)
        if found:
            day, name, year, hour, minute, second, zone = found.groups()
            names = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
            month = str(names.index(name.lower()) + 1) if name.lower() in names else "0"
    if found:
        seconds = float((second or "0").replace(",", "."))
        if seconds >= 60 and second != "60":
            return None
        try:
            start = datetime.datetime(int(year), int(month), int(day), int(hour), int(minute), tzinfo=datetime.timezone.utc)
        except ValueError:
            return None
        offset = 0
        if zone and zone[0] in "+-":
            digits = zone[1:].replace(":", "").ljust(4, "0")
            if int(digits[:2]) > 23 or int(digits[2:]) > 59:
                return None
            offset = (int(digits[:2]) * 60 + int(digits[2:])) * 60 * (-1 if zone[0] == "-" else 1)
        return start.timestamp() - offset + seconds
    found = re.fullmatch(r"([A-Z][a-z]{2}) ([ 0-9][0-9]) (\d\d):(\d\d):(\d\d)", text, re.ASCII)
    if found and found[1] in MONTHS:
        # Without a year: the last one in which it is not to come.
        for year in range(NOW.year + 1, NOW.year - 8, -1):
            try:
                start = datetime.datetime(year, MONTHS.index(found[1]) + 1, int(found[2]), int(found[3]), int(found[4]), tzinfo=NOW.tzinfo)
            except ValueError:
                continue
            if int(found[5]) <= 60 and start.timestamp() + int(found[5]) <= NOW.timestamp() + 86400:
                return start.timestamp() + int(found[5])
    if re.fullmatch(r"[0-9]{9,19}(\.[0-9]+)?([eE]\+?[0-9]{1,2})?", text):
        number = float(text)
        for low, high, scale in ((1e8, 1e11, 1), (1e11, 1e14, 1e3), (1e14, 1e17, 1e6), (1e17, 1e20, 1e9)):
            if low <= number < high:
                return number / scale
    return None


def reference(
    data: bytes,
    read: Any,
    roles: dict[str, tuple[str, ...]],
    fields: tuple[str, ...] = (),
    count_by: tuple[tuple[str, ...], ...] = (),
    edges: tuple[float, ...] = (),
    slow: float | None = None,
    since: float | None = None,
    until: float | None = None,
    continuation: Any = None,
    patterns: dict[str, str] | None = None,
    fold: Any = None,
    is_json: bool = False,
) -> dict[str, Any]:
    """The figures of a whole file. ``read``: a line's text to a mapping of fields, or None; ``fold``: a message to its signature."""
    looks: dict[str, dict[str, Any]] = {
        name: {"count": 0, "ever": 0, "untimed": 0, "bad": 0, "values": [], "seen": []} for name in patterns or {}
    }
    signatures: Counter[str] = Counter()
    seconds: Counter[int] = Counter()
    out: Counter[str] = Counter()
    levels: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {"+".join(key): Counter() for key in count_by}
    values: dict[str, list[float]] = {name: [] for name in fields}
    bad: Counter[str] = Counter()
    times: list[float] = []
    errors: list[tuple[float, str]] = []
    lines = data.split(b"\n")
    partial = bool(lines[-1])
    if not lines[-1]:
        lines.pop()
    for number, raw in enumerate(lines):
        out["lines"] += 1
        if len(raw) > MAX_LINE:
            out["unparsed"] += 1
            out["oversize"] += 1
            continue
        if raw.endswith(b"\r"):
            raw = raw[:-1]
        raw = raw.lstrip(b"\x00")
        if raw.startswith(b"\xef\xbb\xbf"):
            raw = raw[3:]
        if not raw.strip():
            out["blank"] += 1
            continue
        text = raw.decode("utf-8", "replace")
        record = read(text)
        message = None if record is None else as_text(first(record, roles["message"]))
        when = None if record is None else as_time(as_text(first(record, roles["time"])))
        for name, pattern in (patterns or {}).items():
            look(looks[name], pattern, text, message, when, is_json=is_json, since=since, until=until)
        if record is None:
            if partial and number == len(lines) - 1:
                out["partial"] += 1
            elif continuation is not None and continuation.match(text):
                out["continued"] += 1
            else:
                out["unparsed"] += 1
            continue
        out["parsed"] += 1
        time = as_time(as_text(first(record, roles["time"])))
        if time is None:
            out["untimed"] += 1
            if since is not None or until is not None:
                continue
        elif (since is not None and time < since) or (until is not None and time >= until):
            out["outside"] += 1
            continue
        out["records"] += 1
        if time is not None:
            times.append(time)
        level, status = as_text(first(record, roles["level"])), as_text(first(record, roles["status"]))
        wrong = False
        if level is not None:
            level = LEVELS.get(level[:200].strip().upper(), level[:200].strip().upper())
            levels[level] += 1
            wrong = level in ERROR_LEVELS
        if status is not None:
            statuses[status[:200]] += 1
            bad_status = bool(re.fullmatch("5[0-9][0-9]", status) or status.lower() in ERROR_WORDS)
            out["status_errors"] += bad_status
            wrong = wrong or bad_status
        for key in count_by:
            parts = [as_text(get(record, name)) for name in key]
            if any(part is not None for part in parts):
                counts["+".join(key)][" | ".join("-" if part is None else part[:200] for part in parts)[:200]] += 1
        for name in fields:
            value = as_number(get(record, name))
            if value is not None and math.isnan(value):
                bad[name] += 1
            elif value is not None:
                values[name].append(value)
        if wrong:
            out["errors"] += 1
            message = as_text(first(record, roles["message"])) or ""
            identifier = as_text(first(record, roles["id"]))
            name = level or (status or "")[:200]
            if fold is not None:
                signatures[(status[:200] + " " if level is None and status is not None else "") + fold(message)] += 1
            if time is not None:
                seconds[math.floor(time)] += 1
            errors.append(
                (-math.inf if time is None else time, f"{name} {message[:500]}" + (f" [{identifier[:200]}]" if identifier else ""))
            )
    result: dict[str, Any] = {
        name: out[name]
        for name in (
            "lines",
            "blank",
            "parsed",
            "unparsed",
            "oversize",
            "continued",
            "partial",
            "untimed",
            "outside",
            "records",
            "errors",
            "status_errors",
        )
    }
    result.update(
        levels=dict(levels),
        statuses=dict(statuses),
        counts={name: dict(counter) for name, counter in counts.items()},
        first=min(times, default=None),
        last=max(times, default=None),
        signatures=dict(signatures),
        seconds=dict(seconds),
        patterns=looks,
        newest=[text for time, text in sorted(errors, reverse=True) if time != -math.inf][:10],
        fields={},
    )
    for name in fields:
        ordered = sorted(values[name])
        result["fields"][name] = {
            "count": len(ordered),
            "bad": bad[name],
            "sum": total(ordered),
            "min": ordered[0] if ordered else None,
            "max": ordered[-1] if ordered else None,
            "sorted": ordered,
            "buckets": [
                sum(low <= value < high for value in ordered)
                for low, high in zip((-math.inf, *edges), (*edges, math.inf))  # Python 3.8
            ],
            "slow_count": sum(value > slow for value in ordered) if slow is not None else 0,
        }
    return result


def look(
    into: dict[str, Any],
    pattern: str,
    line: str,
    message: str | None,
    time: float | None,
    is_json: bool,
    since: float | None,
    until: float | None,
) -> None:
    """One pattern in one line: in the whole of it, and where it asks for a beginning in the message too."""
    shown = message if is_json and message is not None else line
    found = re.search(pattern, shown)
    if found is None and not is_json and "^" in pattern:
        shown = message or ""
        found = re.search(pattern, shown)
    if found is None:
        return
    into["ever"] += 1
    if time is None:
        into["untimed"] += 1
    else:
        into["seen"].append((time, shown[:500]))
    if (since is not None or until is not None) and (time is None or (since or 0) > time or (until is not None and time >= until)):
        return
    into["count"] += 1
    value = found.groupdict().get("value")
    if value is not None:
        try:
            number = float(value.replace(",", ""))
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            into["values"].append(number)
        else:
            into["bad"] += 1


def total(values: list[float]) -> float | None:
    try:
        return math.fsum(values)
    except OverflowError:
        return None


def quantile(ordered: list[float], share: float) -> float | None:
    """The exact quantile: the value at place ``floor(share * (count - 1))``."""
    return ordered[math.floor(share * (len(ordered) - 1))] if ordered else None
