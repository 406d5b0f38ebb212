# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the engine sqlite, how tables are told apart, counted and sampled. Whole databases: tests/integration/backups/sqlite."""

from __future__ import annotations

import os
import resource
import sqlite3

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import artifacts as backup_artifacts
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import plan as backup_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.sqlite import database as database_of
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.sqlite import database as sqlite_database
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.sqlite import engine as engine_sqlite


def _parse(**keys):
    return (
        backup_plan.parse({"artifacts": [{"name": "app", "engine": "sqlite", **keys}]}, "backups[0]", backup_artifacts.read_all)
        .artifacts[0]
        .spec
    )


def _database(path, script):
    made = sqlite3.connect(str(path))
    made.executescript(script)
    made.commit()
    made.close()
    return str(path)


@pytest.mark.parametrize(
    ("keys", "path", "text"),
    [
        ({}, "database", "is required"),
        ({"database": "app.db"}, "database", "no absolute path"),
        ({"database": "/srv/app.db", "databse": "x"}, "databse", "did you mean database?"),
        ({"database": "/srv/app.db", "paths": ["/srv"]}, "paths", "unknown"),
    ],
)
def test_options_that_are_refused(keys, path, text):
    with pytest.raises(OptionError) as caught:
        _parse(**keys)
    assert caught.value.path == "backups[0].artifacts[0]." + path
    assert text in str(caught.value)


def test_tables_are_told_apart_and_counted(tmp_path):
    path = _database(
        tmp_path / "a.db",
        """CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);
        CREATE TABLE "odd ""one" (a PRIMARY KEY) WITHOUT ROWID; CREATE VIRTUAL TABLE words USING fts4 (text);
        CREATE TABLE auto (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO auto DEFAULT VALUES; CREATE VIEW v AS SELECT 1""",
    )
    with database_of.opened_database(path, alone=True) as database:
        tables = {table.name: table.virtual for table in database_of.list_tables(database)}
        counts = database_of.count_rows(database)
        keys = [database_of.row_key_of(database, name) for name in ("t", 'odd "one')]
    assert tables["t"] is False
    assert tables["words"] is tables["words_content"] is True
    assert "sqlite_sequence" not in tables
    assert counts["tables"] == len(tables)
    assert (counts["rows.t"], counts['rows.odd "one'], counts["rows.auto"]) == (2, 0, 1)
    assert "rows.words" not in counts
    assert keys == ["rowid", None]


def test_columns_that_are_called_as_row_numbers(tmp_path):
    path = _database(tmp_path / "a.db", "CREATE TABLE a (rowid TEXT); CREATE TABLE b (RowID, _rowid_, oid)")
    with database_of.opened_database(path, alone=True) as database:
        assert [database_of.row_key_of(database, name) for name in "ab"] == ["_rowid_", None]


def test_samples_and_schema_tell_changes(tmp_path):
    script = "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, NULL)"
    path = _database(tmp_path / "a.db", script)
    changes = {
        "UPDATE t SET b = x'78' WHERE a = 1": "samples",
        "CREATE INDEX i ON t (a)": "schema",
        "UPDATE t SET a = 1.0 WHERE a = 1": "samples",
    }
    with database_of.opened_database(path, alone=True) as database:
        before = {"samples": database_of.sample_rows(database, ["t", "none"]), "schema": database_of.schema_digest(database)}
    assert list(before["samples"]) == ["t"]
    for at, (change, what) in enumerate(changes.items()):
        other = _database(tmp_path / ("b%d.db" % at), script + ";" + change)
        with database_of.opened_database(other, alone=True) as database:
            after = {"samples": database_of.sample_rows(database, ["t"]), "schema": database_of.schema_digest(database)}
        assert {name for name in before if before[name] != after[name]} == {what}


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request("r", ("user",)), "did you mean users?"),
        (Request("r", (), "other.db"), "absolute"),
        (Request("r", (), "/srv/x/"), "absolute"),
        (Request("r", (), "/srv/../etc/x"), "absolute"),
    ],
)
def test_requests_that_are_refused(request_, text, tmp_path):
    artifact = Artifact("sqlite", "app.db", 1, "0" * 64, "sqlite3", 0.0, 0.0, counts={"rows.users": 1, "tables": 1}, name="app")
    engine = engine_sqlite.SqliteEngine()
    with pytest.raises(EngineError) as caught, engine.restorer(
        {"database": "/srv/a.db"}, artifact, Stored("x"), request_, Work(str(tmp_path))
    ):
        pass
    assert text in str(caught.value)


def test_a_lone_file_is_left_as_it_is(tmp_path):
    path = _database(tmp_path / "a.db", "PRAGMA journal_mode = WAL; CREATE TABLE t (a)")
    with database_of.opened_database(path, alone=True) as database:
        database_of.count_rows(database)
        assert os.listdir(str(tmp_path)) == ["a.db"]


@pytest.mark.parametrize("leaves", ["a log", "nothing"])
def test_a_copy_that_cannot_be_written_is_named_not_the_database(tmp_path, leaves):
    """Whoever reads it looks for what is wrong with the disk that is named."""
    path = _database(tmp_path / "a.db", "CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(300000));")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # as a disk does that fails in the middle
            copy = sqlite_database.copy_database if leaves == "a log" else sqlite_database.copy_at_rest
            copy(path, str(scratch / "copy.db"))
        except EngineError as error:
            os.write(into, ("%s %s" % (error.code, error)).encode())
        finally:
            os._exit(0)
    os.close(into)  # a child that says nothing keeps nobody waiting
    os.waitpid(child, 0)
    said = os.read(out, 1000).decode()
    os.close(out)
    assert said.startswith("failed %s/copy.db: " % scratch), said
