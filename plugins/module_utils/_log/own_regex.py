# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator's own regular expression for lines, made fit for blocks of lines where that is sure to find the same."""

from __future__ import annotations

import re
from typing import List, Optional

from .patterns import is_in_line

#: An escape, a set, or any other character.
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
#: What ``\s`` finds in a line of ASCII; not the newline, which no line holds.
_SPACE, _SPACE_ASCII = r" \t\r\f\v\x1c-\x1f", r" \t\r\f\v"


def bulk_source(regex: re.Pattern[str]) -> Optional[str]:
    """An expression for bytes that finds in lines of ASCII what ``regex`` finds, and never looks beyond a line; None where there is none.

    It is wanted for whole lines: what says that one begins or ends may be left out.
    """
    source = re.sub(r"\A\(\?[aimsu]+\)", "", regex.pattern)
    if regex.flags & re.VERBOSE or not source.isascii() or "(?#" in source:
        return None
    space = _SPACE_ASCII if regex.flags & re.ASCII else _SPACE
    alone = {".": r"[^\n]", r"\s": "[%s]" % space, r"\S": r"[^\n%s]" % space, r"\D": r"[^\d\n]", r"\W": r"[^\w\n]"}
    tokens = _TOKEN.findall(source)
    if tokens and tokens[0] in ("^", r"\A"):
        del tokens[0]
    if tokens and tokens[-1] in ("$", r"\Z"):
        del tokens[-1]
    parts: List[str] = []
    for token in tokens:
        if len(token) < 3:
            parts.append(alone.get(token, token))
            continue
        inside = _TOKEN.findall(token[1:-1]) if token[1:2] != "^" else _TOKEN.findall(token[2:-1])
        if {r"\S", r"\D", r"\W"} & set(inside):
            return None
        body = "".join(space if one == r"\s" else one for one in inside)
        if token[1] == "^":
            # First in a set these stand for themselves; here the newline is first.
            body = r"^\n" + ("\\" + body if body[0] in "]-" else body)
        parts.append("[%s]" % body)
    made = "".join(parts)
    try:
        same_groups = (
            dict(re.compile(made).groupindex) == dict(regex.groupindex) and re.compile(made.encode("ascii")).groups == regex.groups
        )
    except re.error:
        return None
    if not same_groups or not is_in_line(made):
        return None
    return "(?i:%s)" % made if regex.flags & re.IGNORECASE else "(?:%s)" % made
