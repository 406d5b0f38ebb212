# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals that could not be written leave nothing half behind."""

from __future__ import annotations

import os

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal

STATE = restore_journal.State("shop", "i1", "20270115T080000Z", "/srv/sets", restore_journal.STAGING, ())


def test_a_journal_that_cannot_take_its_place_leaves_no_half_one(tmp_path, monkeypatch):
    def full(_old, _new):
        raise OSError(122, "Disk quota exceeded")

    with restore_journal.held(str(tmp_path), "shop") as journal:
        monkeypatch.setattr(os, "rename", full)
        with pytest.raises(OSError, match="quota"):
            journal.write(STATE)
        monkeypatch.undo()
        assert sorted(os.listdir(tmp_path)) == ["shop.lock"]
        journal.write(STATE)
        assert journal.read() == STATE


def test_what_a_killed_run_was_writing_goes_with_the_next(tmp_path):
    for name in ("shop.json.partial", "shop.i1.json.partial"):
        (tmp_path / name).write_text("{")
    with restore_journal.held(str(tmp_path), "shop") as journal:
        assert sorted(os.listdir(tmp_path)) == ["shop.lock"]
        assert journal.read() is None
