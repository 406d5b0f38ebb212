# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows before, between and after damaged pages are saved."""

from __future__ import annotations

import random
import sqlite3

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.sqlite.salvage import salvage

PAGE = 512


def _plant(path):
    made = sqlite3.connect(str(path))
    made.execute("PRAGMA page_size = %d" % PAGE)
    made.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    made.execute("CREATE UNIQUE INDEX i ON t (text)")
    made.execute("CREATE TABLE w (k INT PRIMARY KEY, v TEXT) WITHOUT ROWID")
    rows = [(number * 1000003 - 10**7, "text %d %s" % (number, "x" * (number % 90))) for number in range(400)]
    made.executemany("INSERT INTO t VALUES (?, ?)", rows)
    made.executemany("INSERT INTO w VALUES (?, ?)", rows)
    made.commit()
    leaves = []
    if _has_dbstat(made):
        leaves = [row[0] for row in made.execute("SELECT pageno FROM dbstat WHERE name = 't' AND pagetype = 'leaf'")]
    made.close()
    return dict(rows), leaves


def _has_dbstat(database):
    try:
        database.execute("SELECT 1 FROM dbstat LIMIT 1")
    except sqlite3.OperationalError:
        return False
    return True


@pytest.mark.parametrize("seed", range(20))
def test_what_can_be_read_is_saved(tmp_path, seed):
    rows, leaves = _plant(tmp_path / "a.db")
    dice = random.Random(seed)
    data = bytearray((tmp_path / "a.db").read_bytes())
    last = len(data) // PAGE
    pages = dice.sample(leaves or range(4, last), 1 + seed % 4)
    if seed == 0 and leaves:
        pages = [leaves[-1]]  # nothing comes after it
    for page in pages:
        data[(page - 1) * PAGE : page * PAGE] = dice.choice([bytes(PAGE), bytes(dice.randrange(256) for _byte in range(PAGE))])
    (tmp_path / "a.db").write_bytes(bytes(data))
    told = salvage(str(tmp_path / "a.db"), str(tmp_path / "b.db"))
    assert len(told) == 2
    saved = sqlite3.connect(str(tmp_path / "b.db"))
    found = dict(saved.execute("SELECT id, text FROM t").fetchall())
    assert saved.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if leaves:  # other pages may be anything
        right = {key: text for key, text in found.items() if rows.get(key) == text}
        assert len(right) >= 400 - 17 * len(pages)
        assert dict(saved.execute("SELECT k, v FROM w").fetchall()) == rows
    saved.close()


def test_sound_database_is_saved_whole(tmp_path):
    rows, _leaves = _plant(tmp_path / "a.db")
    told = salvage(str(tmp_path / "a.db"), str(tmp_path / "b.db"))
    assert told == ["%s: t: 400 rows" % (tmp_path / "b.db"), "%s: w: 400 rows" % (tmp_path / "b.db")]
    saved = sqlite3.connect(str(tmp_path / "b.db"))
    assert dict(saved.execute("SELECT id, text FROM t").fetchall()) == dict(saved.execute("SELECT k, v FROM w").fetchall()) == rows
    assert saved.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql NOT NULL").fetchall() == [("i",)]
    saved.close()


def test_damaged_definitions_are_told(tmp_path):
    _plant(tmp_path / "a.db")
    data = bytearray((tmp_path / "a.db").read_bytes())
    data[100:PAGE] = bytes(PAGE - 100)
    (tmp_path / "a.db").write_bytes(bytes(data))
    with pytest.raises(EngineError, match="what is defined cannot be read"):
        salvage(str(tmp_path / "a.db"), str(tmp_path / "b.db"))
