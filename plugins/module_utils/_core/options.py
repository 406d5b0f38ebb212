# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input told so that it can be mended: the option by its path, what is wrong, the nearest valid one."""

from __future__ import annotations

import re
from typing import Any, Iterable, List, Optional, Union


class OptionError(ValueError):
    """An option that cannot be used. ``path``: such as ``probes[2].warning``; ``hint``: what would be right."""

    def __init__(self, path: str, problem: str, hint: Optional[str] = None) -> None:
        self.path = path
        self.problem = problem
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        text = "%s: %s" % (self.path, self.problem) if self.path else self.problem
        return "%s (did you mean %s?)" % (text, self.hint) if self.hint else text

    def under(self, parent: str) -> OptionError:
        """The same error seen from ``parent``, whose option this path is."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return OptionError(parent + joint + self.path, self.problem, self.hint)


def nearest(name: str, names: Iterable[str]) -> Optional[str]:
    """The one of ``names`` most like ``name``, or None when none is near."""
    from difflib import get_close_matches  # only on the way to an error: costs an import

    found = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return found[0] if found else None


def unknown_name(path: str, name: str, names: Iterable[str], what: str = "option") -> OptionError:
    """The error for a ``name`` that is none of ``names``."""
    names = sorted(names)
    near = nearest(name, names)
    return OptionError(path, "unknown %s %r%s" % (what, name, "" if near else "; there are: " + ", ".join(names)), near)


def check_regex(pattern: str, path: str) -> re.Pattern[str]:
    """Compile a regular expression. Raises OptionError that names the place in the pattern."""
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise OptionError(path, "%r is not a regular expression: %s" % (pattern, error)) from None


_DURATION = r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\Z"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, None: 1.0}


def parse_duration(text: Union[str, int, float], path: str) -> float:
    """Seconds from ``90``, ``"250ms"``, ``"5m"``, ``"25h"``, ``"30d"`` or ``"1w"``. Raises OptionError."""
    found = None if isinstance(text, bool) else re.match(_DURATION, str(text).strip())
    if not found:
        raise OptionError(path, "%r is not a duration" % (text,), hint="30, 250ms, 5m, 25h, 30d or 1w")
    return float(found.group(1)) * _SECONDS[found.group(2)]


_SIZE = r"(?i)(\d+(?:\.\d+)?)\s*([KMGTP]?)(i?)B?\Z"


def parse_size(text: Union[str, int, float], path: str) -> int:
    """Bytes from ``1024``, ``"100M"``, ``"10GiB"``; all units are powers of 1024, as in ``ls -h``. Raises OptionError."""
    found = None if isinstance(text, bool) else re.match(_SIZE, str(text).strip())
    if not found:
        raise OptionError(path, "%r is not a size" % (text,), hint="1024, 100M or 10GiB")
    power = " KMGTP".index(found.group(2).upper() or " ")
    return int(float(found.group(1)) * 1024**power)


def parse_words(value: Any, path: str) -> List[str]:
    """Words from a list, from text with commas or spaces between them (what a person or a survey sends), or from a list as JSON.

    The one reader of ``confirm``, for playbooks, action plugins and modules. Raises OptionError.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        import json

        try:
            value = json.loads(value)
        except ValueError as error:
            raise OptionError(path, "%r is not a list: %s" % (value, error)) from None
    if value is None or value == "":
        return []
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise OptionError(path, "%r is not a list of words" % (value,))
    return [word for item in items for word in re.split(r"[,\s]+", item) if word]
