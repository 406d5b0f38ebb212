# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of backup sets, and the time that each tells."""

from __future__ import annotations

import calendar
import re
import time
from typing import Optional

_NAME = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z\Z", re.ASCII)


def name_time(name: str) -> Optional[float]:
    """The time that the name of a set tells, seconds since the epoch; None for what is no name of a set."""
    found = _NAME.match(name)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups())
    if not (year and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1] and hour < 24 and minute < 60 and second < 60):
        return None
    return float(calendar.timegm((year, month, day, hour, minute, second)))


def set_name(at: float) -> str:
    """The name of a set that begins at a time."""
    return time.strftime(NAME_FORMAT, time.gmtime(at))


#: Ending of the name of a set that is being written.
PARTIAL = ".partial"

#: Name of a set: its start, UTC.
NAME_FORMAT = "%Y%m%dT%H%M%SZ"
