# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threshold ranges in the syntax of the monitoring-plugins guidelines.

Source: Monitoring Plugins Development Guidelines, "Threshold and ranges": ``10`` alerts outside 0..10, ``10:`` below 10,
``~:10`` above 10, ``10:20`` outside, ``@10:20`` inside; the ends belong to the range.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Optional, Union

from .options import OptionError

Number = Union[int, float]


class Range(NamedTuple):
    """``start`` to ``end``, ends included; alerts outside, or inside when ``inside`` is set."""

    start: float
    end: float
    inside: bool = False

    def alerts(self, value: Number) -> bool:
        """Whether ``value`` raises an alert. A value that is no number always does."""
        if math.isnan(value):
            return True
        return (self.start <= value <= self.end) is self.inside


def parse_range(text: Union[str, Number], path: str = "") -> Range:
    """Read a range; ``path`` names the option in the error. Raises OptionError."""
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise OptionError(path, "%r is not a threshold range" % (text,), hint="80, 10:, ~:10, 10:20 or @10:20")
    body = str(text).strip()
    inside = body.startswith("@")
    start_text, colon, end_text = body[inside:].partition(":")
    if not colon:
        start_text, end_text = "0", start_text
    try:
        start = -math.inf if start_text == "~" else float(start_text or 0)
        end = float(end_text) if end_text else math.inf
        if not colon and not end_text or math.isnan(start) or math.isnan(end):
            raise ValueError
    except ValueError:
        raise OptionError(path, "%r is not a threshold range" % (text,), hint="80, 10:, ~:10, 10:20 or @10:20") from None
    if start > end:
        raise OptionError(path, "the range %r ends before it starts" % (text,), hint="%s:%s" % (end_text, start_text))
    return Range(start, end, inside)


def check_order(warning: Union[str, Number, None], critical: Union[str, Number, None], path: str = "") -> None:
    """Refuse a pair whose warning can never be reported: whatever alerts for it alerts for ``critical`` already.

    ``path``: of the option that holds both. Equal ranges are allowed: they leave the warning out on purpose. Raises OptionError.
    """
    if warning is None or critical is None:
        return
    first = parse_range(warning, "%s.warning" % path if path else "warning")
    second = parse_range(critical, "%s.critical" % path if path else "critical")
    if first.inside is not second.inside or first[:2] == second[:2]:
        return
    outer, inner = (second, first) if first.inside else (first, second)
    if outer.start <= inner.start and inner.end <= outer.end:
        where = "%s.warning" % path if path else "warning"
        raise OptionError(where, "%r can never be reported, because critical is %r" % (str(warning), str(critical)))


def judge(value: Optional[Number], warning: Union[str, Number, None] = None, critical: Union[str, Number, None] = None) -> str:
    """The status of ``value``: ``critical`` before ``warning``; ``unknown`` where there is no value."""
    if value is None:
        return "unknown"
    if critical is not None and parse_range(critical, "critical").alerts(value):
        return "critical"
    if warning is not None and parse_range(warning, "warning").alerts(value):
        return "warning"
    return "ok"
