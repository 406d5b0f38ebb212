# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQLite databases are copied while they are written to, proved, drilled, and restored whole and by table."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import tracemalloc
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_tools import Bench, killed

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request, Restorer
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.sqlite import database as database_of
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.sqlite.engine import SqliteEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError

SCHEMA = """
CREATE TABLE plain (a, b);
CREATE TABLE keyed (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, data BLOB, real REAL);
CREATE TABLE "odd ""name"" with 한국어, \n and spaces" ("col umn" INT, "select" TEXT);
CREATE TABLE without (k TEXT, n INT, v BLOB, PRIMARY KEY (k, n)) WITHOUT ROWID;
CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES keyed (id));
CREATE TABLE made (a INT, twice INT GENERATED ALWAYS AS (a * 2) VIRTUAL, kept INT GENERATED ALWAYS AS (a * 3) STORED);
CREATE TABLE empty (x);
CREATE TABLE log (what TEXT);
CREATE INDEX keyed_real ON keyed (real) WHERE real > 0;
CREATE INDEX plain_b ON plain (b);
CREATE VIEW seen AS SELECT name, length(data) AS size FROM keyed;
CREATE TRIGGER watched AFTER INSERT ON keyed BEGIN INSERT INTO log VALUES ('added ' || new.name); END;
CREATE VIRTUAL TABLE words USING fts5 (text);
"""


def plant(path: Path, mode: str = "wal", huge: int = 5_000_000) -> None:
    """A database with everything that backups get wrong."""
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA journal_mode = {mode}")
    database.executescript(SCHEMA)
    values = [None, 1, -(2**63), 2**63 - 1, 1.5, float("inf"), "text", "ünïcödé 한국어 🎉", b"\x00\xff\x00", "", b""]
    database.executemany("INSERT INTO plain VALUES (?, ?)", [(one, other) for one in values for other in values])
    database.execute("DELETE FROM plain WHERE rowid % 3 = 0")  # row numbers with gaps
    database.execute("INSERT INTO plain VALUES (CAST(x'c328ff00' AS TEXT), 'text that is no UTF-8, with a NUL')")
    for number in range(300):
        database.execute(
            "INSERT INTO keyed (name, data, real) VALUES (?, ?, ?)", (f"n{number}", bytes([number % 256]) * number, number - 5.5)
        )
    database.execute("DELETE FROM keyed WHERE id > 290")
    database.execute("INSERT INTO keyed (name, data) VALUES ('huge', ?)", (random.Random(1).randbytes(huge),))
    database.executemany('INSERT INTO "odd ""name"" with 한국어, \n and spaces" VALUES (?, ?)', [(n, str(n)) for n in range(50)])
    database.executemany("INSERT INTO without VALUES (?, ?, ?)", [(f"k{n % 7}", n, bytes([n])) for n in range(100)])
    database.executemany("INSERT INTO child (parent) VALUES (?)", [(1,), (2,), (None,)])
    database.executemany("INSERT INTO made (a) VALUES (?)", [(n,) for n in range(20)])
    database.executemany("INSERT INTO words VALUES (?)", [("the quick brown",), ("한국어 검색",)])
    database.commit()
    database.close()


def content(path: Path) -> list[str]:
    """All that is in a database, in a form that can be compared."""
    database = sqlite3.connect(f"file:{urllib.parse.quote(str(path))}?mode=ro", uri=True)
    database.text_factory = bytes
    told = [repr(row) for row in database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2")]
    names = [row[0].decode() for row in database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")]
    for name in names:
        quoted = '"' + name.replace('"', '""') + '"'
        try:
            rows = database.execute(f"SELECT rowid, * FROM {quoted} ORDER BY rowid").fetchall()
        except sqlite3.OperationalError:
            rows = sorted(database.execute(f"SELECT * FROM {quoted}").fetchall(), key=repr)
        told += [f"{name}: {row!r}" for row in rows]
    told.append(repr(database.execute("SELECT * FROM words WHERE words MATCH 'quick'").fetchall()) if "words" in names else "")
    database.close()
    return told


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A place for artifacts."""
    (tmp_path / "bench").mkdir()
    return Bench(tmp_path / "bench", SqliteEngine())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database."""
    (tmp_path / "data").mkdir()
    plant(tmp_path / "data" / "app.db")
    return tmp_path / "data" / "app.db"


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate"])
@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_everything_comes_back_as_it_was(bench: Bench, tmp_path: Path, mode: str, compression: str) -> None:
    path = tmp_path / "data" / "app 한.db?mode=x#y"
    path.parent.mkdir()
    plant(path, mode, 200_000)
    os.chmod(path, 0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    before = content(path)
    artifact, stored = bench.make(compression, database=str(path))
    assert artifact.counts["rows.keyed"] == 291
    assert artifact.counts["rows.empty"] == 0
    bench.engine.read_through(artifact, stored, bench.work())
    drilled = bench.engine.drill(None, artifact, stored, bench.work())
    assert (drilled.counts, drilled.samples) == (artifact.counts, artifact.samples)
    assert len(artifact.samples) == 8
    shutil.rmtree(path.parent)
    with bench.engine.restorer(bench.spec(database=str(path)), artifact, stored, Request("r1"), bench.work()) as restorer:
        restorer.check()
        assert restorer.stage() == artifact.counts
        restorer.swap()
        restorer.finish()
        assert restorer.count() == artifact.counts
    assert content(path) == before
    told = path.stat()
    assert told.st_mode & 0o7777 == 0o640
    assert os.geteuid() != 0 or (told.st_uid, told.st_gid) == (1234, 4321)
    assert bench.warned == []
    work = bench.work()
    with bench.engine.dump(bench.spec(database=str(path)), work) as dump:
        dump.finish()
    assert os.listdir(work.scratch) == []


WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA wal_autocheckpoint = 50")
database.execute("CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, amount INT, pad BLOB)")
database.execute("CREATE TABLE IF NOT EXISTS moved (id INTEGER PRIMARY KEY, amount INT)")
database.execute("INSERT OR REPLACE INTO account VALUES (1, 0, zeroblob(4000)), (2, 0, zeroblob(4000))")
print("ready", flush=True)
n = 0
while True:
    n += 1
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE account SET amount = amount - ?, pad = randomblob(4000) WHERE id = 1", (n,))
    database.execute("INSERT INTO moved (amount) VALUES (?)", (n,))
    database.execute("UPDATE account SET amount = amount + ?, pad = randomblob(4000) WHERE id = 2", (n,))
    database.execute("COMMIT")
"""


@pytest.fixture
def writer(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody who writes to the database all the time."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def balance(path: Path) -> tuple[int, int, int]:
    """The sum of the accounts, which is always 0, what was moved in all, and how often."""
    database = sqlite3.connect(path)
    amounts = dict(database.execute("SELECT id, amount FROM account").fetchall())
    moved, times = database.execute("SELECT coalesce(sum(amount), 0), count(*) FROM moved").fetchone()
    database.close()
    assert amounts[2] == moved
    return amounts[1] + amounts[2], moved, times


def test_copies_while_it_is_written_to(bench: Bench, path: Path, writer: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Each copy is one moment of the database, and the writer goes on."""
    last = -1
    for number in range(8):
        artifact, stored = bench.make(database=str(path))
        bench.engine.read_through(artifact, stored, bench.work())
        target = tmp_path / f"copy{number}.db"
        with bench.engine.restorer({}, artifact, stored, Request("r", target=str(target)), bench.work()) as restorer:
            restorer.stage()
            restorer.swap()
            restorer.finish()
        total, _moved, times = balance(target)
        assert total == 0
        assert times == artifact.counts["rows.moved"]
        assert times > last  # it wrote meanwhile
        last = times
        time.sleep(0.02)
    assert writer.poll() is None


def test_log_of_a_writer_that_was_killed_is_part_of_the_copy(bench: Bench, path: Path, writer: subprocess.Popen[bytes]) -> None:
    time.sleep(0.1)
    writer.kill()
    writer.wait()
    assert (path.parent / "app.db-wal").stat().st_size > 0
    files = {name: (path.parent / name).read_bytes() for name in ("app.db", "app.db-wal")}
    found = bench.engine.integrity(bench.spec(database=str(path)), bench.work())
    assert found.ok
    artifact, _stored = bench.make(database=str(path))
    assert found.counts == artifact.counts
    assert {name: (path.parent / name).read_bytes() for name in files} == files
    assert balance(path)[2] == artifact.counts["rows.moved"]


def test_restore_beside_a_log_and_its_undo(bench: Bench, path: Path, writer: subprocess.Popen[bytes]) -> None:
    """The log of the present database goes with it, and comes back with it."""
    time.sleep(0.05)
    artifact, stored = bench.make(database=str(path))
    time.sleep(0.05)
    writer.kill()
    writer.wait()
    files = {name: (path.parent / name).read_bytes() for name in ("app.db", "app.db-wal", "app.db-shm")}
    with bench.engine.restorer({"database": str(path)}, artifact, stored, Request("u1"), bench.work()) as restorer:
        restorer.stage()
        restorer.swap()
        assert sorted(os.listdir(path.parent)) == [f".opsrunner-aside-u1-{artifact.name}", f".opsrunner-new-u1-{artifact.name}", "app.db"]
        newer = sqlite3.connect(path)  # the service is up with the new one and has a log of its own
        newer.execute("INSERT INTO moved (amount) VALUES (1)")
        newer.commit()
        assert (path.parent / "app.db-wal").exists()
        restorer.unswap()
        newer.close()
        restorer.unstage()
    assert {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)} == files
    assert balance(path)[2] > artifact.counts["rows.moved"]


def test_tables_alone(bench: Bench, path: Path) -> None:
    before = content(path)
    artifact, stored = bench.make(database=str(path))
    database = sqlite3.connect(path)
    odd = 'odd "name" with 한국어, \n and spaces'
    database.executescript(
        f"""DELETE FROM keyed; DELETE FROM "{odd.replace('"', '""')}"; DROP TABLE without; DELETE FROM made; DROP TABLE plain;
        CREATE TABLE newer (x); INSERT INTO newer VALUES (1); INSERT INTO empty VALUES (2)"""
    )
    database.close()
    parts = ("keyed", odd, "without", "made", "plain")
    with bench.engine.restorer({"database": str(path)}, artifact, stored, Request("t1", parts), bench.work()) as restorer:
        restorer.check()
        assert restorer.stage() == {"rows." + name: artifact.counts["rows." + name] for name in parts}
        assert sorted(os.listdir(path.parent / f".opsrunner-new-t1-{artifact.name}")) == ["app.db", "present"]
        late = sqlite3.connect(path)  # written after the copy of the present database was taken
        late.execute("INSERT INTO newer VALUES (2)")
        late.commit()
        late.close()
        restorer.swap()
        restorer.finish()
        assert restorer.count() == {"rows." + name: artifact.counts["rows." + name] for name in parts}
        restorer.discard()
    database = sqlite3.connect(path)
    assert database.execute("SELECT * FROM newer").fetchall() == [(1,), (2,)]
    assert database.execute("SELECT * FROM empty").fetchall() == [(2,)]
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.executescript("DROP TABLE newer; DELETE FROM empty")
    database.close()
    assert content(path) == before
    assert not [name for name in os.listdir(path.parent) if name.startswith(".opsrunner")]


@pytest.mark.parametrize(("part", "text"), [("keyd", "did you mean keyed"), ("words_data", "virtual")])
def test_tables_that_cannot_be_had(bench: Bench, path: Path, part: str, text: str) -> None:
    artifact, stored = bench.make(database=str(path))
    before = sorted(os.listdir(path.parent))
    request = Request("t1", (part,))
    spec = {"database": str(path)}
    with pytest.raises(EngineError, match=text), bench.engine.restorer(spec, artifact, stored, request, bench.work()) as restorer:
        restorer.stage()
    assert sorted(os.listdir(path.parent)) == before


def test_empty_databases(bench: Bench, tmp_path: Path) -> None:
    for name, make in (("new.db", lambda one: one.touch()), ("emptied.db", lambda one: sqlite3.connect(one).executescript("VACUUM"))):
        path = tmp_path / name
        make(path)
        artifact, stored = bench.make(database=str(path))
        assert artifact.counts == {"tables": 0}
        bench.engine.read_through(artifact, stored, bench.work())


@pytest.mark.parametrize("seed", range(30))
def test_damage_is_found(bench: Bench, tmp_path: Path, seed: int) -> None:
    """Without its checksum, which would find it sooner: what SQLite itself can tell of a file that was cut, zeroed, swapped."""
    path = tmp_path / "small.db"
    plant(path, huge=1000)
    artifact, stored = bench.make("none", database=str(path))
    whole = bytearray(Path(stored.path).read_bytes())
    dice = random.Random(seed)
    page = 4096
    at = dice.randrange(1, len(whole) // page) * page
    kind = seed % 5
    if kind == 0:
        whole = whole[:at]
    elif kind == 1:
        whole = bytearray()
    elif kind == 2:
        whole[:page] = bytes(page)
    elif kind == 3:
        whole[0:16] = b"SQLite format 4\0"
    else:
        database = sqlite3.connect(stored.path)
        database.execute("DELETE FROM keyed WHERE id = 7")
        database.commit()
        database.close()
        whole = bytearray(Path(stored.path).read_bytes())
    Path(stored.path).write_bytes(whole)
    with pytest.raises((EngineError, StreamError)):
        bench.engine.read_through(artifact, stored, bench.work())


#: Somebody who dies in the middle of a change: part of it is in the file, what was there before is in the journal.
DIED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 5")
database.execute("BEGIN")
database.execute("UPDATE t SET b = 'torn' || b")
os._exit(0)
"""


def test_journal_of_a_writer_that_died_is_part_of_the_copy(bench: Bench, tmp_path: Path) -> None:
    """It is neither damage nor left out, and the files stay as they are for the application."""
    path = tmp_path / "data" / "app.db"
    path.parent.mkdir()
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (a, b)")
    database.executemany("INSERT INTO t VALUES (?, ?)", [(number, "x" * 500) for number in range(2000)])
    database.commit()
    database.close()
    subprocess.run([sys.executable, "-c", DIED, path], check=True)
    files = {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)}
    assert sorted(files) == ["app.db", "app.db-journal"]
    assert b"torn" in files["app.db"]
    found = bench.engine.integrity(bench.spec(database=str(path)), bench.work())
    assert (found.ok, found.problems, found.counts) == (True, [], {"tables": 1, "rows.t": 2000})
    artifact, stored = bench.make("none", database=str(path))
    (tmp_path / "saved").mkdir()
    bench.engine.salvage(bench.spec(database=str(path)), str(tmp_path / "saved"), bench.work())
    for copy in (stored.path, str(tmp_path / "saved" / "app.db.recovered")):
        database = sqlite3.connect(copy)
        assert database.execute("SELECT count(*) FROM t WHERE b = ?", ("x" * 500,)).fetchone() == (2000,)
        database.close()
    assert artifact.counts == found.counts
    assert {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)} == files


def test_database_where_nobody_may_write(bench: Bench, path: Path) -> None:
    """As in a snapshot: its log, left by a writer, is part of the copy."""
    subprocess.run([sys.executable, "-c", LEFT, path], check=True)
    (path.parent / "app.db-shm").unlink()
    bound = f"mount --bind {path.parent} {path.parent} && mount -o remount,ro,bind {path.parent}"
    if subprocess.run(bound, shell=True, check=False, capture_output=True).returncode:
        (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)("nothing can be mounted here")
    try:
        artifact, stored = bench.make(database=str(path))
        assert artifact.counts["rows.keyed"] == 242
        found = bench.engine.integrity(bench.spec(database=str(path)), bench.work())
        assert found.problems == ["2 rows refer to rows that are not there"]  # which is so
    finally:
        subprocess.run(["umount", "-l", path.parent], check=True)
    bench.engine.read_through(artifact, stored, bench.work())


def test_order_that_only_the_application_knows(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    database = sqlite3.connect(path)
    database.create_collation("icu_root", lambda one, other: (one.lower() > other.lower()) - (one.lower() < other.lower()))
    database.execute("CREATE TABLE t (a TEXT COLLATE icu_root UNIQUE, b)")
    database.execute("CREATE INDEX i ON t (b, a)")
    database.executemany("INSERT INTO t VALUES (?, 1)", [("b",), ("A",), ("C",)])
    database.commit()
    database.close()
    artifact, stored = bench.make("none", database=str(path))
    bench.engine.read_through(artifact, stored, bench.work())
    assert bench.engine.drill(None, artifact, stored, bench.work()).samples == artifact.samples
    assert bench.engine.integrity(bench.spec(database=str(path)), bench.work()).ok
    data = bytearray(Path(stored.path).read_bytes())
    data[4096:8192] = bytes(4096)
    Path(stored.path).write_bytes(data)
    with pytest.raises(EngineError):
        bench.engine.read_through(artifact, stored, bench.work())


def test_samples_of_huge_rows_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (a)")
    for _row in range(12):
        database.execute("INSERT INTO t VALUES (zeroblob(8000000))")
    tracemalloc.start()
    try:
        assert list(database_of.sample_rows(database, ["t"])) == ["t"]
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
        database.close()


def test_rights_of_others_are_kept(bench: Bench, path: Path) -> None:
    subprocess.run(["setfacl", "-m", "u:1:rw", path], check=True)
    wanted = os.getxattr(path, "system.posix_acl_access")
    artifact, stored = bench.make(database=str(path))
    with bench.engine.restorer({"database": str(path)}, artifact, stored, Request("r1"), bench.work()) as restorer:
        restorer.stage()
        restorer.swap()
        restorer.finish()
    assert os.getxattr(path, "system.posix_acl_access") == wanted


def test_damaged_source_is_not_backed_up(bench: Bench, path: Path) -> None:
    with path.open("r+b") as file:
        for at in range(3, path.stat().st_size // 4096, 2):
            file.seek(at * 4096)
            file.write(bytes(4096))
    with pytest.raises(EngineError) as caught:
        bench.make(database=str(path))
    assert caught.value.code == "damaged"
    assert not bench.engine.integrity(bench.spec(database=str(path)), bench.work()).ok


def test_salvage(bench: Bench, path: Path, tmp_path: Path) -> None:
    before = sqlite3.connect(path).execute("SELECT count(*) FROM keyed").fetchone()[0]
    size = path.stat().st_size
    with path.open("r+b") as file:  # a few pages of the huge value and one more
        for at in (size // 4096 - 30, size // 4096 - 31):
            file.seek(at * 4096)
            file.write(os.urandom(4096))
    (tmp_path / "saved").mkdir()
    damaged = path.read_bytes()
    saved = bench.engine.salvage(bench.spec(database=str(path)), str(tmp_path / "saved"), bench.work())
    assert path.read_bytes() == damaged
    assert any(line.endswith(": keyed: 290 rows, what cannot be read 1 times") for line in saved), saved
    recovered = sqlite3.connect(tmp_path / "saved" / "app.db.recovered")
    assert recovered.execute("SELECT count(*) FROM keyed").fetchone()[0] >= before - 1
    assert recovered.execute("SELECT data FROM keyed WHERE name = 'n200'").fetchone() == (bytes([200]) * 200,)
    assert recovered.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_salvage_leaves_no_table_out(bench: Bench, tmp_path: Path) -> None:
    """Neither what a search index has alone, nor a table whose name begins as that of one; nor what tells the application its own."""
    path = tmp_path / "app.db"
    database = sqlite3.connect(path)
    database.executescript(
        """PRAGMA page_size = 1024; PRAGMA user_version = 42; PRAGMA application_id = 7;
        CREATE VIRTUAL TABLE notes USING fts5 (text); INSERT INTO notes VALUES ('only here');
        CREATE TABLE notes_archive (a); INSERT INTO notes_archive VALUES ('kept');
        CREATE TABLE twice (a); INSERT INTO twice VALUES (1), (1);
        PRAGMA writable_schema = ON;
        INSERT INTO sqlite_master
            VALUES ('trigger', 'broken', 'twice', 0, 'CREATE TRIGGER broken AFTER INSERT ON none BEGIN SELECT 1; END')"""
    )
    database.close()
    (tmp_path / "saved").mkdir()
    saved = bench.engine.salvage(bench.spec(database=str(path)), str(tmp_path / "saved"), bench.work())
    assert any("trigger broken: left out" in line for line in saved), saved
    recovered = sqlite3.connect(tmp_path / "saved" / "app.db.recovered")
    assert recovered.execute("SELECT text FROM notes WHERE notes MATCH 'only'").fetchall() == [("only here",)]
    assert recovered.execute("SELECT a FROM notes_archive").fetchall() == [("kept",)]
    for name, value in (("user_version", 42), ("application_id", 7), ("page_size", 1024), ("integrity_check", "ok")):
        assert recovered.execute("PRAGMA " + name).fetchone() == (value,)
    recovered.close()
    with pytest.raises(EngineError, match="is there already"):
        bench.engine.salvage(bench.spec(database=str(path)), str(tmp_path / "saved"), bench.work())
    path.write_bytes(path.read_bytes()[:100] + bytes(924) + path.read_bytes()[1024:])
    (tmp_path / "other").mkdir()
    with pytest.raises(EngineError, match="what is defined cannot be read"):
        bench.engine.salvage(bench.spec(database=str(path)), str(tmp_path / "other"), bench.work())
    assert os.listdir(tmp_path / "other") == []


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda one: None, "unreachable"),
        (lambda one: one.symlink_to("/etc/hosts"), "failed"),
        (lambda one: one.mkdir(), "failed"),
        (lambda one: one.write_text("no database at all, but text"), "damaged"),
    ],
)
def test_what_is_no_database(bench: Bench, tmp_path: Path, make: object, code: str) -> None:
    make(tmp_path / "x")  # type: ignore[operator]
    for do in (
        lambda: bench.engine.reach({"database": str(tmp_path / "x")}, bench.work()),
        lambda: bench.make(database=str(tmp_path / "x")),
    ):
        with pytest.raises(EngineError) as caught:
            do()
        assert caught.value.code == code


def test_locked_database_is_told(bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.opsrunner.runbook.plugins.module_utils._engine.sqlite.database._WAIT", 0.1)
    owner = sqlite3.connect(path, isolation_level=None)
    owner.execute("PRAGMA locking_mode = EXCLUSIVE")
    owner.execute("BEGIN EXCLUSIVE")
    with pytest.raises(EngineError, match="locked"):
        bench.make(database=str(path))
    owner.close()
    bench.make(database=str(path))


def test_space_is_checked(bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, stored = bench.make(database=str(path))
    real = os.statvfs("/")
    full = os.statvfs_result((*real[:4], 10, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    with pytest.raises(EngineError) as caught:
        bench.make(database=str(path))
    assert caught.value.code == "space"
    spec = {"database": str(path)}
    with bench.engine.restorer(spec, artifact, stored, Request("s"), bench.work()) as restorer, pytest.raises(EngineError) as caught:
        restorer.stage()
    assert caught.value.code == "space"
    assert not [name for name in os.listdir(path.parent) if name.startswith(".opsrunner")]


#: Somebody who leaves a log behind.
LEFT = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("DELETE FROM keyed WHERE id < 50")
database.commit()
os._exit(0)
"""


@pytest.mark.parametrize("part", [(), ("keyed",)])
def test_restore_killed_at_each_step(bench: Bench, tmp_path: Path, part: tuple[str, ...]) -> None:
    """The database and its log are both back, or both new; never one of each."""
    path = tmp_path / "data" / "app.db"
    path.parent.mkdir()
    plant(path, huge=1000)
    artifact, stored = bench.make(database=str(path))
    subprocess.run([sys.executable, "-c", LEFT, path], check=True)
    files = {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)}
    assert sorted(files) == ["app.db", "app.db-shm", "app.db-wal"]

    def present() -> dict[str, bytes]:
        return {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent) if name in files and not name.endswith("-shm")}

    wanted = present()

    def restorer() -> Iterator[Restorer]:
        return bench.engine.restorer({"database": str(path)}, artifact, stored, Request("k", part), bench.work())

    def step(name: str) -> object:
        def do() -> None:
            with restorer() as one:
                getattr(one, name)()

        return do

    moments = 0
    at = 0
    while killed(step("stage"), at):
        assert present() == wanted
        at += 1
    moments += at
    at = 0
    while killed(step("swap"), at):
        again = 0
        while at % 2 and killed(step("unswap"), again):
            again += 1
        step("unswap")()
        assert present() == wanted, at
        at, moments = at + 1, moments + 1 + again
    back = 0
    while killed(step("unswap"), back):
        step("swap")()
        database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        assert database.execute("SELECT count(*) FROM keyed").fetchone() == (291,)
        database.close()
        back += 1
    assert present() == wanted
    step("unstage")()
    assert moments + back >= 20
    assert sorted(os.listdir(path.parent)) == sorted(files)
