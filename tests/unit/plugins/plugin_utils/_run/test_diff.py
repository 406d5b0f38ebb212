# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import diff as run_diff
from tests.helpers import report_records as records


def with_status(status, value=None, host="app1", check="c", unit=""):
    return {"host": host, "check": check, "kind": "k", "status": status, "value": value, "unit": unit}


def changes(before, after):
    found = run_diff.compare({"findings": before}, {"findings": after, "expected_hosts": ["app1"]})
    return [(change.what, change.host, change.check) for change in found.changes]


def test_each_pair_of_statuses_is_a_change_of_one_sort():
    order = ("ok", "warning", "unknown", "critical")
    expected = {
        ("ok", "ok"): [],
        **{("ok", bad): ["new"] for bad in order[1:]},
        **{(bad, "ok"): ["solved"] for bad in order[1:]},
        **{(bad, bad): ["still"] for bad in order[1:]},
        ("warning", "unknown"): ["worse"],
        ("warning", "critical"): ["worse"],
        ("unknown", "critical"): ["worse"],
        ("unknown", "warning"): ["better"],
        ("critical", "unknown"): ["better"],
        ("critical", "warning"): ["better"],
    }
    assert {pair: [what for what, *_ in changes([with_status(pair[0])], [with_status(pair[1])])] for pair in expected} == expected


def test_a_check_that_is_no_longer_made_is_gone():
    assert changes([with_status("critical"), with_status("ok", check="d")], [with_status("ok", check="d")]) == [("gone", "app1", "c")]


def test_a_host_that_was_not_to_be_looked_at_is_left_out_and_not_gone():
    found = run_diff.compare({"findings": [with_status("ok", host="app2")]}, {"findings": [], "expected_hosts": ["app1"]})
    assert (found.changes, found.left_out) == ((), ("app2",))


def test_a_check_of_the_whole_system_can_be_gone():
    assert changes([with_status("warning", host="-")], []) == [("gone", "-", "c")]


def test_a_new_check_is_new_when_it_is_not_ok_and_added_when_it_is():
    assert changes([], [with_status("unknown"), with_status("ok", check="d")]) == [("new", "app1", "c"), ("added", "app1", "d")]


def test_numbers_move_by_more_than_a_tenth_and_percentages_by_two_points():
    cases = [
        (100, 105, "ms", False),
        (100, 150, "ms", True),
        (0, 3, "", True),
        (0, 0, "", False),
        (5.0, 6.5, "%", False),
        (5.0, 7.5, "%", True),
        (None, 5, "", False),
        (float("nan"), 5, "", False),
        (float("inf"), 5, "", False),
    ]
    for old, new, unit, moved in cases:
        found = changes([with_status("ok", old, unit=unit)], [with_status("ok", new, unit=unit)])
        assert bool(found) is moved, (old, new, unit)


def test_a_number_in_another_unit_has_not_moved():
    assert changes([with_status("ok", 1, unit="s")], [with_status("ok", 900, unit="ms")]) == []


def test_the_most_urgent_change_comes_first_and_every_sort_is_counted():
    found = run_diff.compare(records.example(1), records.example(0))
    order = [run_diff.CHANGES.index(change.what) for change in found.changes]
    assert order == sorted(order)
    assert list(found.counts()) == list(run_diff.CHANGES)
    assert found.counts()["new"] == 1
    assert [change.check for change in found.of("solved")] == ["oom"]


def test_a_record_compared_with_itself_has_no_change_but_what_is_still_there():
    record = records.example()
    assert {change.what for change in run_diff.compare(record, record).changes} == {"still"}


def test_the_record_of_a_run_that_never_ended_can_be_compared():
    assert run_diff.compare({}, {}).changes == ()
