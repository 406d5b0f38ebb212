# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ``log_stats``, checked: the same function refuses bad ones on the controller and reads them on the target."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import (
    OptionError,
    check_regex,
    parse_duration,
    parse_size,
    unknown_name,
)
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import check_order, parse_range

from . import formats as log_formats
from . import times as log_times

#: Levels that make a record an error unless ``error_levels`` says otherwise; compared in capitals after ``level_map``.
ERROR_LEVELS = ("ERROR", "CRITICAL", "FATAL", "ALERT", "EMERGENCY", "PANIC")
#: One name for what loggers call differently; numbers are those of bunyan and pino (10 to 60) and of syslog (0 to 7).
LEVEL_MAP = {
    "ERR": "ERROR",
    "E": "ERROR",
    "SEVERE": "ERROR",
    "WARN": "WARNING",
    "W": "WARNING",
    "CRIT": "CRITICAL",
    "C": "CRITICAL",
    "EMERG": "EMERGENCY",
    "F": "FATAL",
    "I": "INFO",
    "INFORMATION": "INFO",
    "D": "DEBUG",
    "TRACEBACK": "ERROR",
    "10": "TRACE",
    "20": "DEBUG",
    "30": "INFO",
    "40": "WARNING",
    "50": "ERROR",
    "60": "FATAL",
}
SYSLOG_LEVELS = {
    "0": "EMERGENCY",
    "1": "ALERT",
    "2": "CRITICAL",
    "3": "ERROR",
    "4": "WARNING",
    "5": "NOTICE",
    "6": "INFO",
    "7": "DEBUG",
}
#: Statuses that make a record an error: server errors of HTTP, and words.
ERROR_STATUSES = (r"5[0-9]{2}", r"(?i)error|err|fail|failed|failure|timeout|critical|fatal")

#: Values of a log that a check can judge, besides ``<figure>.<field or pattern>``.
PLAIN_VALUES = ("errors", "error_rate", "rate", "burst", "records", "unparsed")
FIELD_VALUES = ("p50", "p95", "p99", "mean", "min", "max", "count", "slow")
PATTERN_VALUES = ("count", "rate", "age", "p50", "p95", "p99", "mean", "min", "max")
#: Both source runbooks raise the alarm above 10 errors.
ERRORS_WARNING = "10"
UNPARSED_WARNING = "5"

_NAME = re.compile(r"[^\s\x00-\x1f/.][^\x00-\x1f/]{0,79}\Z")


class FieldSpec(NamedTuple):
    """A numeric field: ``edges`` of its buckets, ``slow``: a record above it is shown with its id."""

    name: str
    unit: str
    edges: Tuple[float, ...]
    slow: Optional[float]


class PatternSpec(NamedTuple):
    """What to look for in messages; a group ``value`` is taken as a number. ``max_age``: seconds since the last match."""

    name: str
    regex: re.Pattern[str]
    max_age: Optional[float]
    unit: str
    warning: Optional[str]
    critical: Optional[str]
    remedy: Optional[str]


class CheckSpec(NamedTuple):
    """One threshold pair on one value."""

    value: str
    warning: Optional[str]
    critical: Optional[str]
    remedy: Optional[str]


class LogSpec(NamedTuple):
    """One log, as ``logs`` describes it."""

    name: str
    paths: Tuple[str, ...]
    rotated: bool
    journal: Tuple[str, ...]
    command: Tuple[str, ...]
    optional: bool
    format: str
    regex: Optional[re.Pattern[str]]
    prefix: Optional[re.Pattern[str]]
    time_pattern: Optional[re.Pattern[str]]
    zone: str
    roles: Mapping[str, Tuple[str, ...]]
    level_map: Mapping[str, str]
    error_levels: Tuple[str, ...]
    error_statuses: Tuple[re.Pattern[str], ...]
    fields: Tuple[FieldSpec, ...]
    count_by: Tuple[Tuple[str, ...], ...]
    patterns: Tuple[PatternSpec, ...]
    checks: Tuple[CheckSpec, ...]
    since: Optional[float]
    until: Optional[float]
    burst: float
    newest: int
    top: int
    cursor: bool
    remedy: Optional[str]


_KEYS = (
    "name", "paths", "rotated", "journal", "command", "optional", "format", "regex", "prefix", "time_field",
    "time_format", "zone", "level_field", "level_map", "message_field", "status_field", "id_field", "fields",
    "count_by", "error_levels", "error_statuses", "patterns", "checks", "window", "since", "until", "burst", "newest",
    "top", "cursor", "remedy",
)  # fmt: skip
_FIELD_KEYS = ("name", "unit", "buckets", "slow")
_PATTERN_KEYS = ("name", "regex", "max_age", "unit", "warning", "critical", "remedy")
_CHECK_KEYS = ("value", "warning", "critical", "remedy")
FORMAT_NAMES = (*log_formats.FORMATS, "regex", "guess")


def _known(item: Any, keys: Sequence[str], path: str) -> Dict[str, Any]:
    if not isinstance(item, Mapping):
        raise OptionError(path, "%r is not a set of options" % (item,))
    for key in item:
        if key not in keys:
            raise unknown_name("%s.%s" % (path, key), str(key), keys)
    return {key: value for key, value in item.items() if value is not None}


def _texts(item: Mapping[str, Any], key: str, path: str) -> Tuple[str, ...]:
    value = item.get(key, ())
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise OptionError("%s.%s" % (path, key), "%r is not a list" % (value,))
    for number, text in enumerate(value):
        if isinstance(text, (Mapping, list, tuple)) or not str(text):
            raise OptionError("%s.%s[%d]" % (path, key, number), "%r is not a text" % (text,))
    return tuple(str(text) for text in value)


def _text(item: Mapping[str, Any], key: str, path: str, default: str = "") -> str:
    value = item.get(key, default)
    if isinstance(value, (Mapping, list, tuple)):
        raise OptionError("%s.%s" % (path, key), "%r is not a text" % (value,))
    return str(value)


def _number(value: Any, path: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if isinstance(value, bool) or found - found != 0.0:
        raise OptionError(path, "%r is not a number" % (value,))
    return found


def _whole(item: Mapping[str, Any], key: str, path: str, default: int, limit: int) -> int:
    value = _number(item.get(key, default), "%s.%s" % (path, key))
    if value != int(value) or not 0 <= value <= limit:
        raise OptionError("%s.%s" % (path, key), "%r is not a whole number from 0 to %d" % (item.get(key), limit))
    return int(value)


def _flag(item: Mapping[str, Any], key: str, path: str, default: bool) -> bool:
    value = item.get(key, default)
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("yes", "true", "on", "1"):
        return True
    if str(value).lower() in ("no", "false", "off", "0"):
        return False
    raise OptionError("%s.%s" % (path, key), "%r is neither true nor false" % (value,))


def _thresholds(item: Mapping[str, Any], path: str) -> Tuple[Optional[str], Optional[str]]:
    for key in ("warning", "critical"):
        if key in item:
            parse_range(item[key], "%s.%s" % (path, key))
    check_order(item.get("warning"), item.get("critical"), path)
    return (
        str(item["warning"]) if "warning" in item else None,
        str(item["critical"]) if "critical" in item else None,
    )


def _items(item: Mapping[str, Any], key: str, keys: Sequence[str], path: str) -> List[Tuple[str, Dict[str, Any]]]:
    value = item.get(key, ())
    if not isinstance(value, (list, tuple)):
        raise OptionError("%s.%s" % (path, key), "%r is not a list" % (value,))
    return [
        (
            "%s.%s[%d]" % (path, key, number),
            _known({"name": one} if isinstance(one, str) and "name" in keys else one, keys, "%s.%s[%d]" % (path, key, number)),
        )
        for number, one in enumerate(value)
    ]


def _fields(item: Mapping[str, Any], path: str) -> Tuple[FieldSpec, ...]:
    found: List[FieldSpec] = []
    for place, one in _items(item, "fields", _FIELD_KEYS, path):
        name = _text(one, "name", place)
        if not name:
            raise OptionError(place + ".name", "a field needs a name")
        if name in [field.name for field in found]:
            raise OptionError(place + ".name", "%r is there twice" % name)
        buckets = one.get("buckets", ())
        if not isinstance(buckets, (list, tuple)):
            raise OptionError(place + ".buckets", "%r is not a list" % (buckets,))
        edges = tuple(_number(edge, "%s.buckets[%d]" % (place, number)) for number, edge in enumerate(buckets))
        if any(right <= left for left, right in zip(edges, edges[1:])):
            raise OptionError(place + ".buckets", "the bounds %r do not rise" % (buckets,))
        unit = _text(one, "unit", place)
        if unit not in ("", "%", "B", "B/s", "ms", "s", "d", "1/s"):
            raise unknown_name(place + ".unit", unit, ("%", "B", "B/s", "ms", "s", "d", "1/s"), "unit")
        found.append(FieldSpec(name, unit, edges, _number(one["slow"], place + ".slow") if "slow" in one else None))
    return tuple(found)


def _patterns(item: Mapping[str, Any], path: str) -> Tuple[PatternSpec, ...]:
    found: List[PatternSpec] = []
    for place, one in _items(item, "patterns", _PATTERN_KEYS, path):
        name = _text(one, "name", place)
        if not name or "regex" not in one:
            raise OptionError(place, "a pattern needs a name and a regex")
        if name in [pattern.name for pattern in found]:
            raise OptionError(place + ".name", "%r is there twice" % name)
        warning, critical = _thresholds(one, place)
        found.append(
            PatternSpec(
                name,
                check_regex(_text(one, "regex", place), place + ".regex"),
                parse_duration(one["max_age"], place + ".max_age") if "max_age" in one else None,
                _text(one, "unit", place),
                warning,
                critical,
                one.get("remedy"),
            )
        )
    return tuple(found)


def _checks(item: Mapping[str, Any], path: str, fields: Sequence[FieldSpec], patterns: Sequence[PatternSpec]) -> Tuple[CheckSpec, ...]:
    names = list(PLAIN_VALUES)
    names += ["%s.%s" % (value, field.name) for field in fields for value in FIELD_VALUES]
    names += ["%s.%s" % (value, pattern.name) for pattern in patterns for value in PATTERN_VALUES]
    found: List[CheckSpec] = []
    for place, one in _items(item, "checks", _CHECK_KEYS, path):
        value = _text(one, "value", place)
        if value not in names:
            raise unknown_name(place + ".value", value, names, "value")
        if value in [check.value for check in found]:
            raise OptionError(place + ".value", "%r is judged twice" % value)
        if value in ["slow." + field.name for field in fields if field.slow is None]:
            raise OptionError(place + ".value", "the field has no slow limit", hint="fields[].slow")
        found.append(CheckSpec(value, *_thresholds(one, place), one.get("remedy")))
    return tuple(found)


def parse_log(item: Any, path: str, now: float, tables: Optional[Mapping[str, Any]] = None) -> LogSpec:
    """Check one entry of ``logs``. ``now``: seconds since the epoch; ``tables``: offsets of named zones. Raises OptionError."""
    item = _known(item, _KEYS, path)
    name = _text(item, "name", path)
    if not _NAME.match(name):
        raise OptionError(path + ".name", "%r is no name for a log" % name if name else "a log needs a name")
    paths, journal, command = (_texts(item, key, path) for key in ("paths", "journal", "command"))
    if sum(1 for source in (paths, journal, command) if source) != 1:
        raise OptionError(path, "needs one of paths, journal and command")
    for number, one in enumerate(paths):
        if not one.startswith("/") or "\x00" in one:
            raise OptionError("%s.paths[%d]" % (path, number), "%r is not an absolute path" % one)
    if command and _flag(item, "cursor", path, False):
        raise OptionError(path + ".cursor", "only files and the journal can be read from where the last call ended")
    form = _text(item, "format", path, "regex" if "regex" in item else "guess")
    if form not in FORMAT_NAMES:
        raise unknown_name(path + ".format", form, FORMAT_NAMES, "format")
    regex = None
    if form == "regex":
        regex = check_regex(_text(item, "regex", path), path + ".regex")
        if not regex.groupindex:
            raise OptionError(
                path + ".regex", "the regular expression names no group", hint="(?P<time>...) (?P<level>...) (?P<message>...)"
            )
    elif "regex" in item:
        raise OptionError(path + ".regex", "only format regex takes a regular expression")
    if journal:
        form = "journal"
    roles = _roles(item, path, form, regex)
    zone = _text(item, "zone", path, "local")
    if tables is not None or zone == "local" or log_times.offset_of(zone) is not None:
        log_times.make_zone(zone, tables, path + ".zone")
    fields, patterns = _fields(item, path), _patterns(item, path)
    counted = _counted(item, path)
    _fields_exist(path, form, regex, roles, [field.name for field in fields], counted)
    levels = {**LEVEL_MAP, **(SYSLOG_LEVELS if form == "journal" else {})}
    own = item.get("level_map", {})
    if not isinstance(own, Mapping):
        raise OptionError(path + ".level_map", "%r is not a set of levels" % (own,))
    levels.update({str(key).upper(): str(value).upper() for key, value in own.items()})
    since, until = _window(item, path, now, tables)
    burst = parse_duration(item.get("burst", "5m"), path + ".burst")
    if not 1 <= burst <= 604800:
        raise OptionError(path + ".burst", "%r is not from 1s to 1w" % (item.get("burst"),))
    return LogSpec(
        name=name,
        paths=paths,
        rotated=_flag(item, "rotated", path, True),
        journal=journal,
        command=command,
        optional=_flag(item, "optional", path, False),
        format=form,
        regex=regex,
        prefix=check_regex(_text(item, "prefix", path), path + ".prefix") if "prefix" in item else None,
        time_pattern=log_times.compile_format(_text(item, "time_format", path), path + ".time_format") if "time_format" in item else None,
        zone=zone,
        roles=roles,
        level_map=levels,
        error_levels=tuple(level.upper() for level in _texts(item, "error_levels", path)) or ERROR_LEVELS,
        error_statuses=tuple(
            check_regex(text, "%s.error_statuses[%d]" % (path, number))
            for number, text in enumerate(_texts(item, "error_statuses", path) or ERROR_STATUSES)
        ),
        fields=fields,
        count_by=counted,
        patterns=patterns,
        checks=_checks(item, path, fields, patterns),
        since=since,
        until=until,
        burst=burst,
        newest=_whole(item, "newest", path, 10, 100),
        top=_whole(item, "top", path, 10, 100),
        cursor=_flag(item, "cursor", path, False),
        remedy=item.get("remedy"),
    )


def _roles(item: Mapping[str, Any], path: str, form: str, regex: Optional[re.Pattern[str]]) -> Dict[str, Tuple[str, ...]]:
    roles: Dict[str, Tuple[str, ...]] = {}
    for role in ("time", "level", "status", "message", "id"):
        own = _texts(item, role + "_field", path)
        if own:
            roles[role] = own
        elif regex is not None:
            roles[role] = tuple(name for name in dict.fromkeys((role, *log_formats.JSON.roles[role])) if name in regex.groupindex)
        elif form == "journal":
            roles[role] = tuple(log_formats.JOURNAL.roles[role])
        elif form == "guess":
            roles[role] = ()
        else:
            roles[role] = tuple(log_formats.FORMATS[form].roles[role])
    return roles


def _fields_exist(
    path: str,
    form: str,
    regex: Optional[re.Pattern[str]],
    roles: Mapping[str, Sequence[str]],
    fields: Sequence[str],
    counted: Sequence[Sequence[str]],
) -> None:
    if form in ("json", "journal", "guess"):
        return
    names = list(regex.groupindex) if regex is not None else log_formats.names_of(log_formats.FORMATS[form])
    wanted = [(path + "." + role + "_field", name) for role, given in roles.items() for name in given]
    wanted += [("%s.fields[%d]" % (path, number), name) for number, name in enumerate(fields)]
    wanted += [("%s.count_by[%d]" % (path, number), name) for number, key in enumerate(counted) for name in key]
    for place, name in wanted:
        if name not in names:
            raise unknown_name(place, name, names, "field")


def _counted(item: Mapping[str, Any], path: str) -> Tuple[Tuple[str, ...], ...]:
    found = tuple(tuple(part.strip() for part in key.split("+")) for key in _texts(item, "count_by", path))
    for number, names in enumerate(found):
        if not all(names):
            place = "%s.count_by[%d]" % (path, number)
            raise OptionError(place, "%r names no field beside a plus" % "+".join(names), hint="function+status")
    return found


def _window(item: Mapping[str, Any], path: str, now: float, tables: Optional[Mapping[str, Any]]) -> Tuple[Optional[float], Optional[float]]:
    since = until = None
    if "window" in item:
        if "since" in item:
            raise OptionError(path + ".window", "give window or since, not both")
        since = now - parse_duration(item["window"], path + ".window")
    for key in ("since", "until"):
        if key not in item:
            continue
        zone = _text(item, "zone", path, "local")
        known = tables is not None or zone == "local" or log_times.offset_of(zone) is not None
        clock = log_times.Clock(log_times.make_zone(zone if known else "UTC", tables), now)
        text = _text(item, key, path)
        found = clock.read(text) if len(text) != 10 else clock.read(text + " 00:00")
        if found is None:
            raise OptionError("%s.%s" % (path, key), "%r is no time" % text, hint="2026-03-01 09:00, 2026-03-01T09:00:00+09:00")
        since, until = (found, until) if key == "since" else (since, found)
    if since is not None and until is not None and until <= since:
        raise OptionError(path + ".until", "the window ends before it starts")
    return since, until


def parse_logs(items: Any, now: float, tables: Optional[Mapping[str, Any]] = None) -> List[LogSpec]:
    """Check the whole ``logs`` list. Raises OptionError."""
    if not isinstance(items, (list, tuple)):
        raise OptionError("logs", "%r is not a list" % (items,))
    found: List[LogSpec] = []
    for number, item in enumerate(items):
        spec = parse_log(item, "logs[%d]" % number, now, tables)
        if spec.name in [other.name for other in found]:
            raise OptionError("logs[%d].name" % number, "%r is there twice" % spec.name)
        found.append(spec)
    return found


class Limits(NamedTuple):
    """What the work may cost. ``cpu``: percent of one core a process may use; ``memory``: bytes of one process; ``timeout``: seconds."""

    workers: int
    nice: int
    cpu: float
    memory: int
    timeout: float


def parse_limits(args: Mapping[str, Any]) -> Limits:
    """Check ``workers``, ``nice``, ``cpu``, ``memory_limit`` and ``timeout``. Raises OptionError."""
    workers = _number(args.get("workers") or 0, "workers")
    nice = _number(10 if args.get("nice") is None else args["nice"], "nice")
    cpu = _number(args.get("cpu") or 100, "cpu")
    if not 0 <= workers <= 64:
        raise OptionError("workers", "%r is not from 0 (one for each processor) to 64" % (args.get("workers"),))
    if not 0 <= nice <= 19:
        raise OptionError("nice", "%r is not from 0 to 19" % (args.get("nice"),))
    if not 1 <= cpu <= 100:
        raise OptionError("cpu", "%r is not from 1 to 100" % (args.get("cpu"),))
    memory = parse_size(args.get("memory_limit") or "512M", "memory_limit")
    if memory < 64 << 20:
        raise OptionError("memory_limit", "%r is too little to work with" % (args.get("memory_limit"),), hint="64M or more")
    timeout = parse_duration(args.get("timeout") or "15m", "timeout")
    return Limits(int(workers), int(nice), cpu, memory, timeout)


def zones_of(items: Any) -> List[str]:
    """The names of the zones that need a table; whatever is wrong with the rest of ``items`` is told by :func:`parse_logs`."""
    found = set()
    for item in items if isinstance(items, (list, tuple)) else ():
        zone = item.get("zone") if isinstance(item, Mapping) else None
        if isinstance(zone, str) and zone != "local" and log_times.offset_of(zone) is None:
            found.add(zone)
    return sorted(found)
