# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import check_order, judge, parse_range


@pytest.mark.parametrize(
    ("text", "alerting", "quiet"),
    [
        ("10", [-0.1, 10.1, float("inf")], [0, 5, 10]),
        (80, [81, -1], [80, 0]),
        ("10:", [9.9, -1], [10, 1e9]),
        ("~:10", [10.5], [10, -1e9]),
        ("10:20", [9, 21], [10, 15, 20]),
        ("@10:20", [10, 15, 20], [9, 21]),
        ("@5", [0, 5], [-1, 6]),
        ("~:", [], [-1e300, 0, 1e300]),
        (" 1.5:2.5 ", [1.4, 2.6], [2]),
        ("-5:5", [-6, 6], [-5, 0]),
        ("10:", [float("nan")], []),
    ],
)
def test_a_range_alerts_as_the_guidelines_say(text, alerting, quiet):
    found = parse_range(text)
    assert [found.alerts(value) for value in alerting] == [True] * len(alerting)
    assert [found.alerts(value) for value in quiet] == [False] * len(quiet)


@pytest.mark.parametrize("text", ["", "@", "a", "1:b", "20:10", "1:2:3", "nan", "nan:1", None, True, [1], "80%"])
def test_a_range_that_does_not_parse_is_refused_with_its_path(text):
    with pytest.raises(OptionError) as caught:
        parse_range(text, "probes[1].warning")
    assert str(caught.value).startswith("probes[1].warning: ")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("value", "warning", "critical", "status"),
    [
        (85, "80", "90", "warning"),
        (95, "80", "90", "critical"),
        (50, "80", "90", "ok"),
        (None, "80", "90", "unknown"),
        (95, None, None, "ok"),
        (5, "30:", "7:", "critical"),
    ],
)
def test_critical_is_judged_before_warning(value, warning, critical, status):
    assert judge(value, warning, critical) == status


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_inside_is_the_opposite_of_outside(value, one, other):
    start, end = sorted((one, other))
    text = "%r:%r" % (start, end)
    assert parse_range(text).alerts(value) is not parse_range("@" + text).alerts(value)


@pytest.mark.parametrize(
    ("warning", "critical"),
    [("2000", "1000"), ("5:", "10:"), ("1:100", "10:90"), ("~:20", "~:10"), ("@10:20", "@5:30")],
)
def test_a_warning_that_can_never_be_reported_is_refused(warning, critical):
    with pytest.raises(OptionError, match=r"limits\.cpu\.warning: .* can never be reported, because critical is"):
        check_order(warning, critical, "limits.cpu")


@pytest.mark.parametrize(
    ("warning", "critical"),
    [
        ("1000", "2000"),
        ("10:", "5:"),
        ("80", "80"),
        ("10:90", "1:100"),
        ("@5:30", "@10:20"),
        ("80", "10:"),
        (None, "1"),
        ("1", None),
        ("80", "@1:2"),
    ],
)
def test_a_warning_that_can_be_reported_is_taken(warning, critical):
    check_order(warning, critical, "limits.cpu")


@given(value=st.floats(-1e6, 1e6), one=st.floats(0, 1e6), other=st.floats(0, 1e6))
def test_what_is_refused_never_warns(value, one, other):
    warning, critical = "%r" % abs(one), "%r" % abs(other)
    try:
        check_order(warning, critical)
    except OptionError:
        assert judge(value, warning, critical) != "warning"
