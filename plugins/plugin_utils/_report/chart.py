# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines over time as inline SVG: drawn to any width without distorting strokes, labelled in HTML around them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import parse_range
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report.model import Point

WIDTH, HEIGHT = 600, 100
#: Steps of a coded line: one printable character per point, from "0".
STEPS = 63


def scale(points: Sequence[Point], limits: Sequence[float] = ()) -> tuple[float, float]:
    """Bottom and top of the chart: all points, thresholds that are near them, zero when it is near; never equal."""
    values = [value for _at, value, _status in points]
    low, high = min(values), max(values)
    reach = max(high - low, abs(high) * 0.5)
    near = [limit for limit in limits if low - reach <= limit <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    if low > 0 and low < 0.4 * high:
        low = 0.0
    if low == high:
        low, high = low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    return low, high


def ends(text: str | None) -> list[float]:
    """The finite ends of a threshold range, but the zero that only closes a plain ``80``."""
    try:
        chosen = parse_range(text) if text is not None else None
    except OptionError:
        return []
    if chosen is None:
        return []
    sides = (chosen.start, chosen.end) if str(text).startswith("@") or ":" in str(text) else (chosen.end,)
    return [side for side in sides if math.isfinite(side)]


def _place(points: Sequence[Point], low: float, high: float) -> list[tuple[float, float]]:
    first, last = points[0][0], points[-1][0]
    span = (last - first) or 1.0
    return [((at - first) / span * WIDTH, HEIGHT - (value - low) / (high - low) * HEIGHT) for at, value, _status in points]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.0f} {y:.1f}" for x, y in places)


def spark(points: Sequence[Point]) -> str:
    """A small line without scale, its last point marked."""
    places = _place(points, *scale(points))
    return (
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{_path(places)}"/><path class="at" d="{_path(places[-1:])}h0"/></svg>'
    )


def chart(points: Sequence[Point], warning: str | None, critical: str | None, label: str) -> tuple[str, float, float]:
    """The line with its thresholds and the points that were not ok; and the bottom and top of its scale.

    ``label``: plain text for those who do not see it, escaped by the caller.
    """
    limits = [(status, end) for status, text in (("warning", warning), ("critical", critical)) for end in ends(text)]
    low, high = scale(points, [end for _status, end in limits])
    places = _place(points, low, high)
    line = _path(places)
    parts = [f'<path class="area" d="{line}L{places[-1][0]:.0f} {HEIGHT}L{places[0][0]:.0f} {HEIGHT}Z"/>']
    for status, end in limits:
        if low <= end <= high:
            y = HEIGHT - (end - low) / (high - low) * HEIGHT
            parts.append(f'<path class="limit {status}" d="M0 {y:.1f}H{WIDTH}"/>')
    parts.append(f'<path class="line" d="{line}"/>')
    for status in ("warning", "unknown", "critical"):
        dots = "".join(f"{_path([place])}h0" for place, point in zip(places, points, strict=True) if point[2] == status)
        if dots:
            parts.append(f'<path class="dot {status}" d="{dots}"/>')
    parts.append(f'<path class="at" d="{_path(places[-1:])}h0"/>')
    body = "".join(parts)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">{body}</svg>'
    return svg, low, high


def code(points: Sequence[Point], most: int) -> str:
    """The line as one character per point, for pages with very many; of more than ``most`` points evenly chosen ones."""
    if len(points) > most:
        step = (len(points) - 1) / (most - 1)
        points = [points[round(number * step)] for number in range(most)]
    low, high = scale(points)
    return "".join(chr(48 + round((value - low) / (high - low) * STEPS)) for _at, value, _status in points)
