# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention: examples that people can follow, and rules that hold for every history."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.retention import REASONS, Held, decide
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names

NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC, a Friday
HOUR, DAY = 3600.0, 86400.0
RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def _held(at, **data):
    return Held(set_names.set_name(at), at, **data)


#: Sets of five years, some of them close together, some from later than now; damaged, proved and drilled ones among them.
HALF_HOURS = st.integers(0, 120).map(lambda step: NOW - step * HOUR / 2)
HOURS = st.integers(-20 * 24, 5 * 366 * 24).map(lambda step: NOW - step * HOUR)
TIMES = HALF_HOURS | HOURS
SETS = st.lists(
    st.builds(_held, TIMES, whole=st.booleans() | st.just(True), rung=st.integers(0, 5), readable=st.booleans() | st.just(True)).map(
        lambda one: one if one.readable else one._replace(whole=False, rung=0)
    ),
    max_size=40,
    unique_by=lambda one: one.name,
)
KEEP = st.dictionaries(st.sampled_from(RULES), st.integers(0, 12), min_size=1).filter(lambda keep: any(keep.values()))
RUNGS = st.integers(1, 5)


def _kept(sets, keep, now=NOW, rung=3):
    return {one.name for one in decide(sets, keep, now, rung) if one.keep}


@pytest.mark.parametrize(
    ("keep", "days"),
    [
        ({"last": 3}, [0, 1, 2]),
        ({"daily": 4}, [0, 1, 2, 3]),
        ({"weekly": 3}, [0, 5, 12]),  # today, Sunday the 10th and the 3rd
        ({"monthly": 3}, [0, 15, 46]),  # today, New Year's Eve, the last of November
        ({"yearly": 2}, [0, 15]),
        ({"daily": 3, "weekly": 2, "monthly": 2}, [0, 1, 2, 5, 15]),
        ({"hourly": 2}, [0, 1]),
    ],
)
def test_one_set_a_day(keep, days):
    """A set every night for two months, the newest one proved."""
    sets = [_held(NOW - day * DAY, rung=5 if day == 0 else 0) for day in range(60)]
    assert _kept(sets, keep) == {sets[day].name for day in days}


def test_each_decision_has_its_reasons():
    """All that hold, in the order of the rules."""
    sets = [
        _held(NOW + DAY),
        _held(NOW - HOUR),
        _held(NOW - 2 * HOUR, rung=3),
        _held(NOW - 3 * HOUR, whole=False),
        _held(NOW - 4 * HOUR, rung=4),
        _held(NOW - 5 * HOUR),
        _held(NOW - 2 * DAY),
        _held(NOW - 3 * DAY, whole=False, readable=False),
    ]
    assert [one.reasons for one in decide(sets, {"last": 1, "daily": 2}, NOW)] == [
        ("newest_whole", "future"),
        ("last", "daily", "newest_whole"),
        ("newest_proved",),
        ("damaged",),
        ("newest_drilled",),
        ("expired",),
        ("daily",),
        ("unreadable",),
    ]


def test_nothing_goes_while_nothing_is_proved():
    """And that is the reason given for what would have gone."""
    sets = [_held(NOW - day * DAY, rung=2) for day in range(4)]
    assert [one.reasons for one in decide(sets, {"last": 2}, NOW)] == [("last", "newest_whole"), ("last",), *[("nothing_proved",)] * 2]
    assert len(_kept(sets, {"last": 2}, rung=2)) == 2


def test_no_limits_keep_everything():
    """A backup without keep."""
    assert all(one.keep for one in decide([_held(NOW - day * DAY, rung=5) for day in range(9)], {}, NOW))


def test_damaged_sets_stand_for_nothing():
    """The day's set that is whole is kept, not the one that came after it and is not."""
    sets = [_held(NOW - HOUR, rung=3), _held(NOW - DAY, whole=False), _held(NOW - DAY - HOUR)]
    assert _kept(sets, {"daily": 2}) == {sets[0].name, sets[2].name}


def test_weeks_are_those_of_iso():
    """2026-12-28 to 2027-01-03 is one week, over the end of the year."""
    first = set_names.name_time("20261228T000000Z")
    sets = [_held(NOW, rung=3)] + [_held(first + day * DAY) for day in range(7)]
    assert _kept(sets, {"weekly": 2}) == {sets[0].name, sets[7].name}


@given(SETS, KEEP, RUNGS)
def test_the_newest_whole_proved_and_drilled_sets_stay(sets, keep, rung):
    """Whatever is asked for, whatever the clock of some of them said."""
    kept = _kept(sets, keep, rung=rung)
    for among in (sets, [one for one in sets if one.at <= NOW]):
        for least in (0, rung, 4):
            good = [one for one in among if one.whole and one.rung >= least]
            if good:
                assert max(good, key=lambda one: (one.at, one.name)).name in kept


@given(SETS, KEEP, RUNGS)
def test_nothing_goes_without_a_proved_set_that_stays(sets, keep, rung):
    """What goes leaves a whole proved set behind that is not from later than now."""
    kept = _kept(sets, keep, rung=rung)
    if len(kept) < len(sets):
        assert any(one.name in kept and one.whole and one.rung >= rung and one.at <= NOW for one in sets)


@given(SETS, KEEP, RUNGS)
def test_what_is_from_later_than_now_or_no_readable_set_stays(sets, keep, rung):
    """Whoever looks at it decides."""
    kept = _kept(sets, keep, rung=rung)
    assert {one.name for one in sets if one.at > NOW or not one.readable} <= kept


@given(SETS, KEEP, RUNGS)
def test_a_second_time_removes_nothing(sets, keep, rung):
    """What was kept is kept again, for it stands for what it stood for."""
    left = [one for one in sets if one.name in _kept(sets, keep, rung=rung)]
    assert _kept(left, keep, rung=rung) == {one.name for one in left}


@given(SETS, KEEP, KEEP, RUNGS)
def test_keeping_more_never_removes_more(sets, keep, more, rung):
    """A larger number, or one more kind of it."""
    larger = {rule: max(keep.get(rule, 0), more.get(rule, 0)) for rule in RULES}
    assert _kept(sets, keep, rung=rung) <= _kept(sets, larger, rung=rung)


@given(SETS, KEEP, RUNGS)
def test_another_proof_never_removes_a_proved_set_that_was_kept_for_its_age(sets, keep, rung):
    """Proving every set changes nothing of what is kept for its age."""
    proved = [one._replace(rung=5) if one.whole else one for one in sets]
    before = {one.name for one in decide(sets, keep, NOW, rung) if set(one.reasons) & set(RULES)}
    assert before == {one.name for one in decide(proved, keep, NOW, rung) if set(one.reasons) & set(RULES)}


def _period(rule, at):
    when = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    year, week, _day = when.isocalendar()
    return {
        "last": at,
        "hourly": (when.date(), when.hour),
        "daily": when.date(),
        "weekly": (year, week),
        "monthly": (when.year, when.month),
        "yearly": when.year,
    }[rule]


@given(SETS, KEEP)
def test_ages_are_judged_as_a_plain_reference_does(sets, keep):
    """Of the newest n periods that have a set, the newest set of each: as restic says it, written down the slow way."""
    sets = [one for one in sets if one.whole and one.at <= NOW]
    expected = {one.name: set() for one in sets}
    for rule, count in keep.items():
        periods = sorted({_period(rule, one.at) for one in sets}, reverse=True)
        for period in periods[:count]:
            expected[max((one for one in sets if _period(rule, one.at) == period), key=lambda one: one.at).name].add(rule)
    assert {one.name: set(one.reasons) & set(RULES) for one in decide(sets, keep, NOW)} == expected


@given(SETS, KEEP, RUNGS)
def test_every_set_is_decided_once_with_known_reasons(sets, keep, rung):
    """Newest first; whoever reads it finds each set."""
    decided = decide(sets, keep, NOW, rung)
    assert [one.name for one in decided] == [one.name for one in sorted(sets, key=lambda one: (one.at, one.name), reverse=True)]
    assert all(one.reasons and set(one.reasons) <= set(REASONS) for one in decided)
    assert all(set(one.reasons) <= {"expired", "damaged"} for one in decided if not one.keep)
