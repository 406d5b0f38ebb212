# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daily look tells of ledger, drills, copies and the disk."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.status import outlook as backup_outlook
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.status.outlook import Size

NOW = 1_800_000_000.0
DAY = 86400.0
MB = 1_000_000


def backup(root, **options):
    return backup_options.parse([{"name": "app", "root": str(root), **options}])[0]


def ledger(root, **options):
    return {one.what: (one.status, one.text["message"]) for one in backup_outlook.ledger(backup(root, **options), NOW)}


def test_without_a_ledger_there_is_nothing_to_tell(tmp_path):
    assert ledger(tmp_path) == {}


def test_a_ledger_that_holds_and_one_that_does_not(tmp_path):
    for number in range(3):
        backup_ledger.append(str(tmp_path), "made", "20260131T00000%dZ" % number, NOW)
    assert ledger(tmp_path) == {"ledger": ("ok", "backup.ledger.ok")}
    path = tmp_path / "ledger.jsonl"
    path.write_text(path.read_text().replace("000001Z", "000009Z"))
    assert ledger(tmp_path) == {"ledger": ("critical", "backup.ledger")}


def test_a_ledger_without_its_head_is_told(tmp_path):
    backup_ledger.append(str(tmp_path), "made", "20260131T000000Z", NOW)
    (tmp_path / backup_ledger.HEAD).unlink()
    assert ledger(tmp_path) == {"ledger": ("warning", "backup.ledger.unheld")}


@pytest.mark.parametrize(
    ("drills", "expected"),
    [
        ([], ("warning", "backup.drill.never")),
        ([(5, {"passed": True})], ("ok", "backup.drill.ok")),
        ([(40, {"passed": True})], ("warning", "backup.drill.overdue")),
        ([(40, {"passed": True}), (5, {"passed": True})], ("ok", "backup.drill.ok")),
        ([(5, {"passed": True}), (1, {"passed": False, "rung": 3, "at_rung": 4, "reason": "no"})], ("critical", "backup.drill.failed")),
        ([(1, {"passed": False, "rung": 3, "at_rung": 4, "reason": "no space", "hindered": True})], ("warning", "backup.drill.never")),
        ([(5, {"passed": True}), (1, {"passed": False, "rung": 3, "at_rung": 4, "hindered": True})], ("ok", "backup.drill.ok")),
        ([(-40, {"passed": True})], ("warning", "backup.drill.never")),
        ([(1, {"passed": False, "rung": "x", "at_rung": "y"})], ("critical", "backup.drill.failed")),
    ],
)
def test_a_drill_that_is_overdue_or_failed_is_told(tmp_path, drills, expected):
    backup_ledger.append(str(tmp_path), "made", "20260131T000000Z", NOW)
    for days, data in drills:
        backup_ledger.append(str(tmp_path), "drilled", "20260131T000000Z", NOW - days * DAY, **data)
    assert ledger(tmp_path, drill={"every": "30d"})["drill"] == expected
    assert "drill" not in ledger(tmp_path)  # none is expected


def copies(root, held, **more):
    """``held``: for each set, newest first: days ago, whether it is whole, names of the copies that have it."""
    options = [{"name": name, "kind": "s3", "bucket": "b", "max_behind": "26h", **more} for name in ("near", "far")]
    sets = []
    for number, (days, whole, names) in enumerate(held):
        path = root / ("set-%d" % number)
        path.mkdir()
        if names:
            told = {"schema": 1, "copies": [{"name": name, "at": "2026-01-31T00:00:00Z", "objects": 1, "bytes": 1} for name in names]}
            (path / "copies.json").write_text(json.dumps(told))
        sets.append((str(path), NOW - days * DAY, whole))
    return backup_outlook.copies(backup(root, copies=options), sets, NOW)


BOTH = ("near", "far")


@pytest.mark.parametrize(
    ("held", "status", "problems"),
    [
        ([(0.1, True, BOTH)], "ok", []),
        ([(0.1, True, ()), (1.1, True, BOTH)], "ok", []),
        ([(0.1, True, ()), (1.2, True, ()), (2.2, True, BOTH)], "warning", ["copy_behind", "copy_behind"]),
        ([(0.1, True, ("near",)), (3, True, ("near",)), (4, True, BOTH)], "warning", ["copy_behind"]),
        ([(2, True, ("near",)), (3, True, ("near",))], "warning", ["copy_none"]),
        ([(2, False, ()), (3, True, BOTH)], "ok", []),
    ],
)
def test_a_copy_that_is_behind_is_told(tmp_path, held, status, problems):
    told = copies(tmp_path, held)
    assert told.status == status
    assert [text["message"].rpartition(".")[2] for text in told.text["params"].get("problems", [])] == problems


def test_a_record_of_copies_that_cannot_be_read_is_none(tmp_path):
    told = copies(tmp_path, [(3, True, ())])
    (tmp_path / "set-0" / "copies.json").write_text('{"copies": 3}')
    sets = [(str(tmp_path / "set-0"), NOW - 3 * DAY, True)]
    options = [{"name": "near", "kind": "s3", "bucket": "b"}]
    assert told.status == backup_outlook.copies(backup(tmp_path, copies=options), sets, NOW).status == "warning"
    assert backup_outlook.copies(backup(tmp_path), sets, NOW) is None


def sizes(*megabytes):
    """Newest first, a day apart."""
    return [Size(NOW - at * DAY, int(size * MB)) for at, size in enumerate(megabytes)]


@pytest.mark.parametrize(
    ("taken", "count", "free", "keep", "expected"),
    [
        pytest.param(sizes(100), 1, 105, None, ("critical", "backup.space.next"), id="the next one has no space"),
        pytest.param(sizes(100, 100), 2, 500, None, None, id="too few to tell"),
        pytest.param(sizes(100, 100, 100), 3, 250, None, ("critical", "backup.space.full"), id="full in three days"),
        pytest.param(sizes(100, 100, 100), 3, 950, None, ("warning", "backup.space.full"), id="full in ten days"),
        pytest.param(sizes(100, 100, 100), 3, 9000, None, ("ok", "backup.space.far"), id="full in three months"),
        pytest.param(sizes(100, 100, 100), 3, 950, {"daily": 7}, ("ok", "backup.space.ok"), id="retention leaves seven"),
        pytest.param(sizes(100, 100, 100), 3, 250, {"daily": 7}, ("critical", "backup.space.full"), id="no space until then"),
        pytest.param(sizes(100, 100, 100), 30, 950, {"daily": 7}, ("warning", "backup.space.full"), id="retention is not carried out"),
        pytest.param(sizes(130, 120, 110, 100), 7, 250, {"daily": 7}, ("warning", "backup.space.full"), id="growth alone"),
        pytest.param(sizes(900, 100, 100, 100), 7, 5000, {"daily": 7}, ("ok", "backup.space.ok"), id="one odd set"),
    ],
)
def test_the_date_on_which_the_disk_is_full(tmp_path, taken, count, free, keep, expected):
    one = backup(tmp_path, **({"keep": keep} if keep else {}))
    told = backup_outlook.space(one, taken, count, free * MB, NOW)
    assert (told and (told.status, told.text["message"])) == expected


def test_the_date_is_told(tmp_path):
    told = backup_outlook.space(backup(tmp_path), sizes(100, 100, 100), 3, 950 * MB, NOW)
    assert told.text["params"]["date"] == told.evidence["backup_full_at"] == "2027-01-25"


_MANY = st.lists(st.integers(1, 10**9), min_size=3, max_size=9)


@example([130, 110, 1, 1], 217, 0, 2)
@given(_MANY, st.integers(0, 10**11), st.integers(0, 10**10), st.integers(1, 30))
def test_more_space_lasts_longer_and_retention_never_shortens_it(taken, free, more, most):
    known = [Size(NOW - at * DAY, size) for at, size in enumerate(taken)]
    count = len(taken)

    def days(space, kept):
        left = backup_outlook.days_left(known, count, space, kept)
        return 10**6 if left is None else left

    assert days(free, None) <= days(free + more, None)
    assert days(free, None) <= days(free, most)
