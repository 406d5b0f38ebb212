# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of runs: what ``history``, comparison and the charts read, in SQLite.

``index.db`` in the state folder holds nothing that the records do not: a damaged or outdated one is made anew from them.
Each function raises :class:`IndexProblem`, and nothing else, when the index cannot be used; callers make a note of it and
go on, because a run must never fail for its history. Writers wait for each other up to :data:`PATIENCE` seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import STATUSES, Message, message, worst
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as run_records
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

if TYPE_CHECKING:
    import sqlite3

VERSION = 1
NAME = "index.db"
#: Seconds that a writer waits for another.
PATIENCE = 10.0
#: Points that :func:`history` reads at most; a larger system gets a shorter history instead of a slow report.
POINT_LIMIT = 500_000

_TABLES = """
CREATE TABLE runs (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, system TEXT NOT NULL, runbook TEXT NOT NULL, title TEXT, state TEXT NOT NULL,
  status TEXT NOT NULL, start TEXT, started_at REAL NOT NULL, end TEXT, seconds REAL, user TEXT, via TEXT, revision TEXT,
  hosts INTEGER NOT NULL, findings INTEGER NOT NULL,
  ok INTEGER NOT NULL, warning INTEGER NOT NULL, "unknown" INTEGER NOT NULL, critical INTEGER NOT NULL);
CREATE INDEX runs_by_system ON runs (system, started_at);
CREATE TABLE series (number INTEGER PRIMARY KEY, system TEXT NOT NULL, host TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (system, host, name));
CREATE TABLE points (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, series INTEGER NOT NULL, value REAL, status INTEGER NOT NULL,
  PRIMARY KEY (run, series)) WITHOUT ROWID;
"""
_RUN_COLUMNS = (
    "id", "system", "runbook", "title", "state", "status", "start", "started_at", "end", "seconds", "user", "via", "revision", "hosts",
    "findings", "ok", "warning", "unknown", "critical",
)  # fmt: skip
_COLUMNS = ", ".join(f'"{name}"' for name in _RUN_COLUMNS)

Row = dict[str, Any]


class IndexProblem(Exception):  # noqa: N818  # a note for the reader, not a failure
    """The index could not be used. ``message``: why, for the catalogue. ``rebuilt``: it was damaged and is usable again."""

    def __init__(self, text: Message, rebuilt: bool = False) -> None:
        super().__init__(catalogue.tell(text))
        self.message = text
        self.rebuilt = rebuilt


def record(state_dir: Path, record: run_records.Record) -> None:
    """Put a run into the index, in place of what it said of this run before."""
    with _opened(state_dir, write=True) as database:
        _put(database, record)


def runs(state_dir: Path, system: str | None = None, runbook: str | None = None, limit: int = 50) -> list[Row]:
    """The newest runs first: id, system, runbook, title, state, status, start, started_at, end, seconds, user, via,
    revision, hosts, findings, ok, warning, unknown, critical.

    Runs in the folder that the index does not know (killed ones, those of an older index) are taken in; those that still
    go on are told, not kept.
    """
    live: list[Row] = []
    rows: list[Row] = []
    try:
        with _opened(state_dir, write=True) as database:
            live = _catch_up(database, state_dir)
    except IndexProblem as problem:
        if problem.rebuilt:
            raise
        # What cannot be written may still be read; when not, reading says why.
    where = {name: value for name, value in (("system", system), ("runbook", runbook)) if value is not None}
    terms = " AND ".join(f"{name} = ?" for name in where) or "1"
    with _opened(state_dir, write=False) as database:
        if database is not None:
            found = database.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE {terms} ORDER BY started_at DESC, id DESC LIMIT ?",  # noqa: S608  # own names only
                [*where.values(), limit],
            )
            rows = [dict(zip(_RUN_COLUMNS, row, strict=True)) for row in found]
    live = [row for row in live if system in (None, row["system"]) and runbook in (None, row["runbook"])]
    return sorted([*live, *rows], key=lambda row: (row["started_at"], row["id"]), reverse=True)[:limit]


def history(state_dir: Path, system: str, before: float, limit: int = 60) -> dict[tuple[str, str], list[tuple[float, float | None, str]]]:
    """What the last ``limit`` runs on ``system`` before a time (seconds since the epoch) found, by host and check, oldest
    first: time of the run, value, status.
    """
    found: dict[tuple[str, str], list[tuple[float, float | None, str]]] = {}
    with _opened(state_dir, write=False) as database:
        if database is None:
            return found
        chosen: list[tuple[int, float]] = []
        points = 0
        for number, started_at, count in database.execute(
            "SELECT number, started_at, findings FROM runs WHERE system = ? AND started_at < ? AND findings > 0 "
            "ORDER BY started_at DESC LIMIT ?",
            (system, before, limit),
        ):
            points += count
            if points > POINT_LIMIT and chosen:
                break
            chosen.append((number, started_at))
        names = {
            number: (host, name)
            for number, host, name in database.execute("SELECT number, host, name FROM series WHERE system = ?", (system,))
        }
        for number, started_at in reversed(chosen):
            for series, value, status in database.execute("SELECT series, value, status FROM points WHERE run = ?", (number,)):
                found.setdefault(names[series], []).append((started_at, value, STATUSES[status]))
    return found


def rebuild(state_dir: Path) -> int:
    """Make the index anew from the records; how many runs it then knows."""
    with _opened(state_dir, write=True) as database:
        database.execute("DELETE FROM points")
        database.execute("DELETE FROM series")
        database.execute("DELETE FROM runs")
        _catch_up(database, state_dir)
        return int(database.execute("SELECT count(*) FROM runs").fetchone()[0])


def prune(state_dir: Path, keep_days: int) -> list[str]:
    """Forget runs that started more than ``keep_days`` days ago (0: keep all), folders and rows; the ids of those gone.

    Kept whatever their age: runs that still go on, and the newest run of each runbook on each system, so that a clock set
    wrong or a long pause does not take the last thing to compare with. Only folders named like runs, directly in
    ``runs/``, are removed, and no link is followed.
    """
    if keep_days <= 0:
        return []
    gone = []
    newest: set[tuple[str, str]] = set()
    cutoff = time.time() - keep_days * 86400
    for folder in sorted(_folders(state_dir), key=lambda path: path.name, reverse=True):
        stamp, system, runbook, _random = folder.name.split("-")
        started = run_records.seconds_of(f"{stamp[:8]}T{stamp[9:15]}+00:00")
        if (system, runbook) not in newest:
            newest.add((system, runbook))
            continue
        if started is None or started >= cutoff or _read(folder, {}).get("state") == "running":
            continue
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
            gone.append(folder.name)
    if gone:
        with _opened(state_dir, write=True) as database:
            database.executemany("DELETE FROM runs WHERE id = ?", [(identifier,) for identifier in gone])
            database.execute("DELETE FROM series WHERE number NOT IN (SELECT series FROM points)")
    return gone


# -- inside --------------------------------------------------------------------------------------------------------------


def _folders(state_dir: Path) -> Iterator[Path]:
    """The runs' folders; links are none."""
    root = state_dir / "runs"
    if root.is_symlink():
        return
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if run_records.RUN_ID.match(entry.name) and entry.is_dir(follow_symlinks=False):
                yield root / entry.name


def _read(folder: Path, default: run_records.Record) -> run_records.Record:
    try:
        return run_records.Run(folder).read()
    except (OSError, ValueError, KeyError, TypeError):
        return default


def _catch_up(database: sqlite3.Connection, state_dir: Path) -> list[Row]:
    """Take in finished runs that the index does not know; the rows of those that still go on."""
    known = {identifier for (identifier,) in database.execute("SELECT id FROM runs WHERE state <> 'running'")}
    live = []
    for folder in _folders(state_dir):
        if folder.name in known:
            continue
        found = _read(folder, {})
        if not found:
            continue
        if "findings" not in found:
            found = {**found, "findings": run_records.Run(folder).findings()}
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # a record written by hand or by a fault
            if found["state"] == "running":
                live.append(_row(found))
            else:
                _put(database, found)
    return live


def _row(found: Mapping[str, Any]) -> Row:
    findings = found.get("findings") or ()
    counts = found.get("counts") or run_records.count(findings)
    who = found.get("who") or {}
    values = {
        **{name: found.get(name) for name in ("title", "start", "end", "seconds", "via", "revision")},
        **{name: str(found[name]) for name in ("id", "system", "runbook", "state")},
        **{name: int(counts.get(name, 0)) for name in STATUSES},
        "status": found.get("status") or worst(item["status"] for item in findings),
        "started_at": float(found["started_at"]),
        "user": who.get("user"),
        "hosts": len({item["host"] for item in findings} - {"-"}),
        "findings": len(findings),
    }
    return {name: values[name] for name in _RUN_COLUMNS}


def _put(database: sqlite3.Connection, found: Mapping[str, Any]) -> None:
    row = _row(found)
    points = {
        (str(item["host"]), str(item["check"])): (_number(item.get("value")), STATUSES.index(item["status"]))
        for item in found.get("findings") or ()
    }
    database.execute("DELETE FROM runs WHERE id = ?", (row["id"],))
    marks = ", ".join("?" * len(_RUN_COLUMNS))
    number = database.execute(f"INSERT INTO runs ({_COLUMNS}) VALUES ({marks})", [*row.values()]).lastrowid  # noqa: S608
    series = _series(database, row["system"], points)
    database.executemany("INSERT INTO points VALUES (?, ?, ?, ?)", [(number, series[key], *point) for key, point in points.items()])


def _series(database: sqlite3.Connection, system: str, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The number of each host and check, given to those that have none."""
    select = "SELECT host, name, number FROM series WHERE system = ?"
    known = {(host, name): number for host, name, number in database.execute(select, (system,))}
    missing = [key for key in keys if key not in known]
    if missing:
        database.executemany("INSERT INTO series (system, host, name) VALUES (?, ?, ?)", [(system, *key) for key in missing])
        known = {(host, name): number for host, name, number in database.execute(select, (system,))}
    return known


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


@contextlib.contextmanager
def _opened(state_dir: Path, write: bool) -> Iterator[Any]:
    """The database in one transaction. A damaged one is set aside and made anew, and the problem raised that says so."""
    try:
        import sqlite3
    except ImportError as error:  # pragma: no cover - a Python built without it
        raise IndexProblem(message("index.failed", reason=str(error))) from error
    path = state_dir / NAME
    database = None
    inode = None
    try:
        if not write and not path.exists():
            yield None
            return
        if write:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        inode = path.stat().st_ino
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rw' if write else 'ro'}", uri=True, timeout=PATIENCE, isolation_level=None
        )
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        yield database if _is_ready(database, write) else None
        database.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if database is not None:
            database.close()
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _set_aside(state_dir, inode) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise IndexProblem(message("index.locked")) from error
        raise IndexProblem(message("index.failed", reason=str(error))) from error
    except OSError as error:
        raise IndexProblem(message("index.failed", reason=error.strerror or str(error))) from error
    finally:
        if database is not None:
            database.close()


def _is_ready(database: sqlite3.Connection, write: bool) -> bool:
    """Whether there are tables; makes them where it may. Raises IndexProblem for a newer opsrunner's."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise IndexProblem(message("index.newer", version=version))
    if version < VERSION and write:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            database.execute(f'DROP TABLE "{name}"')
        for statement in _TABLES.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
    return version == VERSION or write


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _set_aside(state_dir: Path, inode: int | None) -> IndexProblem:
    """Rename the damaged index, unless another process has just done so, and make a new one; the problem to raise."""
    aside = f"{NAME}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    path = state_dir / NAME
    try:
        with _locked(state_dir):
            if path.stat().st_ino == inode:
                path.replace(state_dir / aside)
                # A journal belongs to the file it was made for; it would damage the new one.
                (state_dir / f"{NAME}-journal").unlink(missing_ok=True)
            count = rebuild(state_dir)
    except OSError as error:
        return IndexProblem(message("index.failed", reason=error.strerror or str(error)))
    return IndexProblem(message("index.corrupt", name=aside, count=count), rebuilt=True)
