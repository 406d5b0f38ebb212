# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter over sets."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.opsrunner.runbook.plugins.filter.backup_retention import FilterModule

decide = FilterModule().filters()["backup_retention"]
SETS = [
    {"name": "20270114T080000Z", "rung": None},
    {"name": "20270115T080000Z", "at": "2027-01-15T08:05:00Z", "whole": True, "rung": 3},
    {"name": "20270113T080000Z", "whole": False},
]


def test_sets_are_decided_newest_first():
    """With the reasons of each."""
    assert decide(SETS, {"last": 1}, now="2027-01-16T00:00:00Z") == [
        {"name": "20270115T080000Z", "keep": True, "reasons": ["last", "newest_whole", "newest_proved"]},
        {"name": "20270114T080000Z", "keep": False, "reasons": ["expired"]},
        {"name": "20270113T080000Z", "keep": False, "reasons": ["damaged"]},
    ]
    assert all(one["keep"] for one in decide(SETS, {"last": 1}, now="2027-01-16T00:00:00Z", verified_rung=4))
    assert all(one["keep"] for one in decide(SETS, {}))


def test_words_of_a_file_are_read_as_they_are_meant():
    """A set that is said to be damaged is."""
    sets = [SETS[1], {**SETS[0], "at": "2027-01-15T09:00:00Z", "whole": "false", "rung": "3"}]
    assert decide(sets, {"last": 1}, now="2027-01-16T00:00:00Z", verified_rung="3")[0]["reasons"] == ["damaged_newest"]
    with pytest.raises(AnsibleFilterError, match="verified_rung: 'x' is no whole number"):
        decide(sets, {"last": 1}, verified_rung="x")


@pytest.mark.parametrize(
    ("sets", "keep", "error"),
    [
        (SETS, {"dayly": 3}, r"keep.dayly: unknown key 'dayly' \(did you mean daily\?\)"),
        (SETS, {"last": 0}, "keeps nothing"),
        (SETS, {"last": "x"}, "keep.last"),
        ([{"name": "x"}], {"last": 1}, "'x' tells no time"),
        ([{"name": "x", "at": "yesterday"}], {"last": 1}, "'yesterday' is not a UTC time"),
        ([{"at": "2027-01-15T08:05:00Z"}], {"last": 1}, r"\[0\]: is to be a set with a name"),
        ([SETS[0], SETS[0]], {"last": 1}, r"\[1\].name: '20270114T080000Z' is there twice"),
        ([{**SETS[0], "whole": "maybe"}], {"last": 1}, r"\[0\].whole: 'maybe' is neither true nor false"),
        ([{**SETS[0], "rung": "x"}], {"last": 1}, r"\[0\].rung: 'x' is no whole number"),
        ("20270115T080000Z", {"last": 1}, "is to be a list|are to be a list"),
    ],
)
def test_what_cannot_be_decided_is_refused(sets, keep, error):
    """By its place, with what would be right."""
    with pytest.raises(AnsibleFilterError, match=error):
        decide(sets, keep)
