# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named time zones as tables say what the zone database says."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import times as log_times
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._inventory import zones as log_zones

FIRST = datetime.datetime(2001, 1, 1)  # wall clocks have no zone
LAST = datetime.datetime(2027, 1, 1)


@pytest.mark.parametrize("name", ["Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@given(moment=st.datetimes(FIRST, LAST))
def test_named_zones_are_those_of_the_zone_database(name: str, moment: datetime.datetime) -> None:
    zone = log_times.make_zone(name, {name: log_zones.table(name, 2028)})
    wall = moment.replace(tzinfo=datetime.UTC).timestamp()
    expected = moment.replace(tzinfo=zoneinfo.ZoneInfo(name))
    there = expected.astimezone(datetime.UTC).astimezone(zoneinfo.ZoneInfo(name)).replace(tzinfo=None)
    if there == moment:  # not in the hour that a clock leaps over
        assert zone(wall) == expected.timestamp()


def test_a_zone_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean Asia/Seoul"):
        log_zones.tables([{"zone": "Asia/Soul"}], 1772366400.0)


def test_zones_that_need_no_table_have_none() -> None:
    assert log_zones.tables([{"zone": "UTC"}, {"zone": "local"}, {"zone": "+09:00"}, {}], 1772366400.0) == {}
