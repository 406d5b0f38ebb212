# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as records and findings have them: ISO 8601, UTC, to the second."""

from __future__ import annotations

import calendar
import re
import time

_TIME = r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|\+00:00)\Z"


def parse_time(text: str) -> float:
    """Seconds since the epoch from an ISO 8601 time in UTC. Raises ValueError."""
    match = re.match(_TIME, text)
    if not match:
        raise ValueError("%r is not a UTC time such as 2026-01-31T04:05:06Z" % (text,))
    year, month, day, hour, minute, second = (int(group) for group in match.groups())
    if not (1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1] and hour < 24 and minute < 60 and second <= 60):
        raise ValueError("%r is not a time" % (text,))
    return float(calendar.timegm((year, month, day, hour, minute, second)))


def format_time(seconds: float) -> str:
    """The opposite of :func:`parse_time`, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
