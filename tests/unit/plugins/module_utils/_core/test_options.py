# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words as people, surveys and inventories give them."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, []),
        ("", []),
        ([], []),
        ("restore", ["restore"]),
        ("restore_discard,restore", ["restore_discard", "restore"]),
        (" restore,  restore_open ", ["restore", "restore_open"]),
        (["restore", "restore_open"], ["restore", "restore_open"]),
        (["restore,restore_open"], ["restore", "restore_open"]),
        ('["restore", "restore_open"]', ["restore", "restore_open"]),
    ],
)
def test_words_are_read_however_they_are_given(value, words):
    assert parse_words(value, "confirm") == words


@pytest.mark.parametrize("value", [True, 7, {"restore": True}, [True], "[restore", [["restore"]]])
def test_what_is_no_list_of_words_is_refused_with_its_option(value):
    with pytest.raises(OptionError, match=r"^confirm: "):
        parse_words(value, "confirm")
