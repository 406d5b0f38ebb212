# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of a damaged SQLite database, read as far as they can be, into a new one.

Rows are read in the order of their numbers. Where a page cannot be read, the next number is looked for that leads past it, in steps
that double; a table without row numbers is read from both its ends.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import Any, List, Optional, Tuple

from ..base import EngineError

_LEAST, _MOST = -(2**63), 2**63 - 1


def salvage(damaged: str, saved: str) -> List[str]:
    """Write what can be read of ``damaged``, a copy that nobody else has, to the new file ``saved``; a line for each table."""
    os.close(os.open(saved, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    source = sqlite3.connect(damaged, isolation_level=None)
    target = sqlite3.connect(saved, isolation_level=None)
    try:
        source.text_factory = _text
        try:
            source.execute("PRAGMA writable_schema = ON")  # one definition that cannot be read does not hide the others
            entries = source.execute("SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL").fetchall()
        except sqlite3.DatabaseError as error:
            raise EngineError("damaged", "what is defined cannot be read: %s" % error) from None
        for name in ("encoding", "page_size", "user_version", "application_id"):  # by these an application knows its own
            value = source.execute("PRAGMA " + name).fetchone()[0]
            target.execute("PRAGMA %s = %s" % (name, '"%s"' % value if name == "encoding" else int(value)))
        target.execute("PRAGMA synchronous = OFF")
        target.execute("PRAGMA ignore_check_constraints = ON")
        target.execute("BEGIN")
        told = []
        virtual = [(str(name), str(sql)) for kind, name, sql in entries if kind == "table" and sql.upper().startswith("CREATE VIRTUAL")]
        for kind, name, sql in entries:
            # What virtual tables keep their data in is copied as any table.
            if kind == "table" and (name, sql) not in virtual and not name.startswith("sqlite_"):
                rows, gaps = _table(source, target, name, sql)
                told.append("%s: %s: %d rows%s" % (saved, name, rows, ", what cannot be read %d times" % gaps if gaps else ""))
        for kind, name, sql in sorted(entries):
            if kind != "table":
                try:
                    target.execute(sql)
                except sqlite3.Error as error:  # an index that forbids doubles may not be possible any more
                    told.append("%s: %s %s: left out: %s" % (saved, kind, name, error))
        if virtual:
            target.execute("PRAGMA writable_schema = ON")
            for name, sql in virtual:
                target.execute("INSERT INTO sqlite_master VALUES ('table', ?, ?, 0, ?)", (name, name, sql))
        target.execute("COMMIT")
        target.close()
        target = sqlite3.connect(saved, isolation_level=None)
        for name, _sql in virtual:
            # A search index is made anew from its content; other kinds know no such word.
            with contextlib.suppress(sqlite3.Error):
                target.execute("INSERT INTO %s (%s) VALUES ('rebuild')" % (_quoted(name), _quoted(name)))  # noqa: S608 - quoted names
            told.append("%s: %s: a virtual table, from what was read of its own tables" % (saved, name))
        return told
    finally:
        source.close()
        target.close()


def _text(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _quoted(name: str) -> str:
    return '"%s"' % name.replace('"', '""')


def _table(source: Any, target: Any, name: str, sql: str) -> Tuple[int, int]:
    """Copy a table; how many rows were read, and how often reading broke off."""
    target.execute(sql)
    columns = [(str(row[1]), row[6]) for row in target.execute("PRAGMA table_xinfo(%s)" % _quoted(name))]
    names = [_quoted(column) for column, hidden in columns if hidden == 0]
    key = next((one for one in ("rowid", "_rowid_", "oid") if one not in [column.lower() for column, _hidden in columns]), None)
    if key is not None:
        try:
            target.execute("SELECT %s FROM %s" % (key, _quoted(name)))  # noqa: S608 - quoted names
        except sqlite3.Error:
            key = None
    listed = ", ".join([key, *names] if key else names)
    put = "INSERT OR IGNORE INTO %s (%s) VALUES (%s)" % (_quoted(name), listed, ", ".join("?" * (len(names) + bool(key))))  # noqa: S608
    get = "SELECT %s FROM %s" % (listed, _quoted(name))  # noqa: S608 - quoted names
    gaps = _by_number(source, target, name, key, get, put) if key else _by_ends(source, target, get, put)
    return int(target.execute("SELECT count(*) FROM %s" % _quoted(name)).fetchone()[0]), gaps  # noqa: S608 - a quoted name


def _by_number(source: Any, target: Any, name: str, key: str, get: str, put: str) -> int:
    first = "SELECT %s FROM %s WHERE %s >= ? ORDER BY %s LIMIT 1" % (key, _quoted(name), key, key)  # noqa: S608 - quoted names
    at = _LEAST
    gaps = 0
    while True:
        try:
            for row in source.execute("%s WHERE %s >= ? ORDER BY %s" % (get, key, key), (at,)):
                target.execute(put, row)
                if row[0] == _MOST:
                    return gaps
                at = row[0] + 1
            return gaps
        except sqlite3.DatabaseError:
            pass
        try:
            # Python reads one row ahead: the one before the damage is lost with it.
            row = source.execute("%s WHERE %s >= ? ORDER BY %s LIMIT 1" % (get, key, key), (at,)).fetchone()
            target.execute(put, row)
            at = row[0] + 1
            continue
        except sqlite3.DatabaseError:
            gaps += 1
        following = _following(source, first, at)
        if following is None:
            return gaps
        at = following


def _following(source: Any, first: str, at: int) -> Optional[int]:
    """The number from which rows can be read again, when those from ``at`` on cannot; None when there is none."""

    def readable(number: int) -> bool:
        try:
            source.execute(first, (number,)).fetchone()
        except sqlite3.DatabaseError:
            return False
        return True

    if readable(at):  # the row is there and what is in it cannot be read
        row = source.execute(first, (at,)).fetchone()
        return row[0] + 1 if row and row[0] < _MOST else None
    bad, step = at, 1
    while not readable(min(at + step, _MOST)):
        bad = at + step
        if bad >= _MOST:
            return None
        step *= 2
    good = min(at + step, _MOST)
    while good - bad > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if readable(middle) else (good, middle)
    return good


def _by_ends(source: Any, target: Any, get: str, put: str) -> int:
    gaps = 0
    for way in ("ASC", "DESC"):
        try:
            for row in source.execute("%s ORDER BY 1 %s" % (get, way)):
                target.execute(put, row)
            return gaps
        except sqlite3.DatabaseError:
            gaps = 1
    return gaps
