# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log formats as data: where a line keeps its time, level, message and numbers."""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

#: One piece of a line: a name (empty: not wanted by anybody) and the regular expression that it is.
Part = Tuple[str, str]


class Format(NamedTuple):
    """A line format. ``parts`` is empty for JSON. ``roles``: field names for time, level, status, message and id."""

    name: str
    parts: Sequence[Part]
    roles: Mapping[str, Sequence[str]]
    #: Lines that go on with the record before them (stack traces) are expected.
    continues: bool = False
    #: Field values that mean nothing, such as ``-`` for no bytes.
    nothing: Sequence[str] = ()
    #: What stands before the message says the same whatever the message is, unless that begins like ``guard`` (a regular expression).
    framed: bool = False
    guard: str = ""
    #: The level is a word of the message, where it is not said before it.
    searched: bool = False


#: The prefixes that compose, kubectl and container runtimes put before a line.
PREFIX = (
    r"(?:(?:\x1b\[[0-9;]*m)*[A-Za-z0-9][A-Za-z0-9_.-]* *\|(?:\x1b\[[0-9;]*m)* "
    r"|\[pod/[^\]\s]+\] "
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2}) std(?:out|err) [FP] )"
)

_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?(?: ?(?:Z|UTC|[+-][0-9]{2}:?[0-9]{2}))?"
_SYSLOG_TIME = r"(?:[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}|" + _TIME + ")"
_LEVEL = r"(?:EMERG(?:ENCY)?|ALERT|CRIT(?:ICAL)?|FATAL|SEVERE|ERR(?:OR)?|WARN(?:ING)?|NOTICE|INFO|DEBUG|TRACE)"
_CLF_TIME = r"[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}"
#: What is not white space (a set of characters is matched faster than a category).
WORD = r"[^ \t\n\r\x0b\x0c]+"
USER = r"[^\n\[]*"
QUOTED = r"[^\"\\\n]*(?:\\[^\n][^\"\\\n]*)*"
_COMMON: Tuple[Part, ...] = (
    ("address", WORD),
    ("", " " + WORD + " "),
    ("user", USER),
    ("", r" \["),
    ("time", _CLF_TIME),
    ("", r"\] \""),
    ("request", QUOTED),
    ("", r"\" "),
    ("status", r"[0-9]{3}"),
    ("", r" "),
    ("bytes", r"(?:[0-9]+|-)"),
)
_ACCESS_ROLES = {"time": ("time",), "level": (), "status": ("status",), "message": ("request",), "id": ("address",)}
_TEXT_ROLES = {"time": ("time",), "level": ("level",), "status": (), "message": ("message",), "id": ()}

JSON = Format(
    "json",
    (),
    {
        "time": ("timestamp", "@timestamp", "time", "ts", "datetime", "date"),
        "level": ("level", "levelname", "severity", "lvl", "log.level"),
        "status": ("status", "status_code", "http.status_code"),
        "message": ("message", "msg", "event"),
        "id": ("request_id", "requestId", "req_id", "trace_id", "traceId", "correlation_id", "id"),
    },
)
JOURNAL = Format(
    "journal",
    (),
    {"time": ("__REALTIME_TIMESTAMP",), "level": ("PRIORITY",), "status": (), "message": ("MESSAGE",), "id": ("_PID",)},
)
FORMATS: Dict[str, Format] = {
    item.name: item
    for item in (
        JSON,
        Format(
            "combined",
            (
                *_COMMON,
                ("", r" \""),
                ("referer", QUOTED),
                ("", r"\" \""),
                ("agent", QUOTED),
                ("", r"\""),
                ("", r"(?: "),
                ("seconds", r"[0-9]+\.[0-9]+"),
                ("", r"(?: [^\n]*)?)?"),
            ),
            _ACCESS_ROLES,
            nothing=("-",),
        ),
        Format("common", _COMMON, _ACCESS_ROLES, nothing=("-",)),
        Format(
            "batch",
            (
                ("time", _TIME),
                ("", r" - "),
                ("logger", WORD),
                ("", r" - "),
                ("level", r"[A-Za-z]+"),
                ("", r" - "),
                ("message", r"[^\n]*"),
            ),
            _TEXT_ROLES,
            continues=True,
            framed=True,
        ),
        Format(
            "leveled",
            (
                ("", r"\[?"),
                ("time", _TIME),
                ("", r"\]?,? +(?:\[[^\]\n]*\] +)?[\[(<]?"),
                ("level", _LEVEL),
                ("", r"[\])>]?:? +"),
                ("message", r"[^\n]*"),
            ),
            _TEXT_ROLES,
            continues=True,
            framed=True,
            # "[INFO] ERROR x" is an error of what calls itself INFO.
            guard=r" |[\[(<]?" + _LEVEL,
        ),
        Format(
            "nginx_error",
            (
                ("time", r"[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"),
                ("", r" \["),
                ("level", r"[a-z]+"),
                ("", r"\] "),
                ("message", r"[^\n]*"),
            ),
            _TEXT_ROLES,
            framed=True,
        ),
        Format(
            "syslog",
            (
                ("", r"(?:<[0-9]{1,3}>)?"),
                ("time", _SYSLOG_TIME),
                ("", r" "),
                ("host", WORD),
                ("", r" "),
                ("program", r"[^ \t\n\r\x0b\x0c:\[]+"),
                ("", r"(?:\[[0-9]+\])?: (?:"),
                ("level", _LEVEL + r"(?=[\s:\]])"),
                ("", r":? )?"),
                ("message", r"[^\n]*"),
            ),
            _TEXT_ROLES,
            guard=_LEVEL + r"[\s:\]]",
            searched=True,
        ),
        Format(
            "timed",
            (("", r"\[?"), ("time", _SYSLOG_TIME), ("", r"\]?:? "), ("message", r"[^\n]*")),
            {"time": ("time",), "level": (), "status": (), "message": ("message",), "id": ()},
            continues=True,
            searched=True,
        ),
        Format(
            "text",
            (("message", r"[^\n]+"),),
            {"time": (), "level": (), "status": (), "message": ("message",), "id": ()},
            searched=True,
        ),
    )
}
#: Parts that have a laxer, faster form for blocks without backslashes and control characters, where each match is proved to be one line.
LAX = ((QUOTED, r"[^\"]*"), (WORD, r"[^ ]+"), (USER, r"[^\[]*"))
#: What ``guess`` picks from, the most telling first; ``text`` fits everything and so says nothing.
GUESSES = ("json", "combined", "common", "batch", "leveled", "nginx_error", "syslog", "timed")

#: Words that tell the level of a line in formats that have no field for it.
LEVEL_WORD = re.compile(r"\b(EMERG(?:ENCY)?|ALERT|CRIT(?:ICAL)?|FATAL|SEVERE|ERR(?:OR)?|WARN(?:ING)?|Traceback|panic)\b", re.IGNORECASE)

#: A line that goes on with the record before it.
CONTINUATION = re.compile(
    r"[ \t]|Traceback \(|Caused by: |During handling of the above|The above exception was|\.\.\. [0-9]+ more"
    r"|[A-Za-z_][\w.]*(?:Error|Exception|Warning|Interrupt|Exit)(?::|\Z)|[)\]}]+,?\Z|--- End of|\Z"
)


def pattern_of(parts: Sequence[Part]) -> str:
    """The regular expression of a whole line, its named parts as groups."""
    return "".join("(?P<%s>%s)" % part if part[0] else part[1] for part in parts)


def names_of(form: Format) -> List[str]:
    """The fields that a format names."""
    return [name for name, _ in form.parts if name]


_compiled: Dict[str, re.Pattern[str]] = {}


def line_pattern(form: Format) -> re.Pattern[str]:
    """The compiled form of :func:`pattern_of`, for ``fullmatch``."""
    found = _compiled.get(form.name)
    if found is None:
        found = _compiled[form.name] = re.compile(pattern_of(form.parts), re.ASCII)
    return found


def _fits(name: str, line: str) -> bool:
    if name == "json":
        from .json_lines import read_object

        return read_object(line) is not None
    return line_pattern(FORMATS[name]).fullmatch(line) is not None


def guess(lines: Sequence[str]) -> Optional[str]:
    """The built-in format that fits most of ``lines`` (at least a third of those that continue nothing); None when none does."""
    best: Tuple[int, Optional[str]] = (0, None)
    firsts = [line for line in lines if not CONTINUATION.match(line)] or list(lines)
    for name in GUESSES:
        fitting = sum(_fits(name, line) for line in firsts)
        if fitting > best[0]:
            best = (fitting, name)
    return best[1] if best[0] * 3 >= len(firsts) else None


def nearest_format(line: str) -> str:
    """The built-in format that comes nearest to fitting ``line``: the one whose longest run of leading parts it matches."""
    if line.lstrip().startswith("{"):
        return "json"
    best = (-1.0, "text")
    for name in GUESSES[1:]:
        parts = FORMATS[name].parts
        if _fits(name, line):
            return name
        for size in range(len(parts) - 1, 0, -1):
            source = "".join("(?:%s)" % pattern if label else pattern for label, pattern in parts[:size])
            try:
                found = re.match(source, line, re.ASCII)
            except re.error:  # half of a part that spans several
                continue
            if found and found.end():
                score = size / len(parts)
                if score > best[0]:
                    best = (score, name)
                break
    return best[1] if best[0] >= 0.25 else "text"
