# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named time zones as tables of offsets, which targets without a zone database can use."""

from __future__ import annotations

import datetime
import functools
import zoneinfo
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import options as log_options

#: Times before this year are not converted by name.
FIRST_YEAR = 2000
_DAY = 86400


def tables(logs: Any, now: float) -> dict[str, list[list[int]]]:
    """The offset tables of all zones that ``logs`` name. Raises OptionError for a zone that does not exist."""
    year = datetime.datetime.fromtimestamp(now, datetime.UTC).year
    return {name: table(name, year + 2) for name in log_options.zones_of(logs)}


@functools.cache
def table(name: str, last_year: int) -> list[list[int]]:
    """``[first second (UTC), offset]`` of each stretch with one offset. Raises OptionError."""
    try:
        zone = zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import nearest

        near = nearest(name, zoneinfo.available_timezones())
        raise OptionError("zone", f"the time zone {name!r} is not known", near) from None

    def offset(second: int) -> int:
        found = datetime.datetime.fromtimestamp(second, zone).utcoffset()
        return int(found.total_seconds()) if found is not None else 0

    first = int(datetime.datetime(FIRST_YEAR, 1, 1, tzinfo=datetime.UTC).timestamp())
    last = int(datetime.datetime(last_year, 1, 1, tzinfo=datetime.UTC).timestamp())
    rows = [[0, offset(first)]]
    for day in range(first, last, _DAY):
        if offset(day + _DAY) == rows[-1][1]:
            continue
        low, high = day, day + _DAY
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == rows[-1][1] else (low, middle)
        rows.append([high, offset(high)])
    return rows
