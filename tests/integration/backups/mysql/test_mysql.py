# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - statements read better on one line
"""Databases dumped, proved, drilled and restored on a real server."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from certificates import make_certificates
from my_servers import HERE, PASSWORD, Server, make_set, restore
from programs import leave_out

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.client import Client, Session
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.engine import MysqlEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream

ENGINE = MysqlEngine()
ODD = "Größe; DROP TABLE x; -- 'q' \"d\" `b`"


def test_everything_awkward_comes_back_as_it_was(server: Server, awkward: str, tmp_path: Path) -> None:
    before = server.text(awkward)
    warned: list[str] = []
    made = make_set(server.spec(awkward), tmp_path / "set", Work(str(tmp_path), warn=warned.append))
    assert any("old is of engine MyISAM" in text for text in warned)
    assert made.artifact.counts["rows.all_bytes"] == 1006
    assert made.artifact.counts["rows." + ODD] == 3
    assert {name: made.artifact.counts[name] for name in ("tables", "views", "triggers", "routines", "events", "sequences")} == {
        "tables": 9, "views": 2, "triggers": 2, "routines": 2, "events": 2, "sequences": 1,
    }  # fmt: skip
    ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
    drilled = ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
    assert drilled.counts == made.artifact.counts
    assert drilled.samples == made.artifact.samples
    assert len(drilled.samples) == 6
    server.sql(
        "SET foreign_key_checks = 0; DELETE FROM child; UPDATE all_bytes SET data = NULL; DROP TABLE audit; DROP VIEW above; DROP EVENT sleeping;",
        awkward,
    )
    server.sql("CREATE VIEW later AS SELECT 1; CREATE TABLE later_ (a INT); CREATE PROCEDURE later() SELECT 1;", awkward)
    damaged = server.text(awkward)
    with restore(made, "r1", tmp_path / "work") as restorer:
        restorer.check()
        assert restorer.stage() == made.artifact.counts
        assert server.text(awkward) == damaged
        restorer.swap()
        restorer.swap()
        restorer.finish()
        assert restorer.count() == made.artifact.counts
        assert server.text(awkward) == before
        restorer.unswap()
        restorer.unswap()
        assert server.text(awkward) == damaged
        restorer.swap()
        restorer.finish()
        assert restorer.aside() == ["database awkward_opsrunner_aside_r1"]
        restorer.unstage()
        restorer.discard()
        assert server.text(awkward) == before
    assert not [name for name in server.databases() if "opsrunner" in name]


def _small(server: Server, name: str = "small") -> str:
    return server.make(
        name,
        "CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name TEXT); INSERT INTO users (name) SELECT CONCAT('u', seq) FROM seq_1_to_500;"
        "CREATE TABLE orders (id INT PRIMARY KEY, who INT NOT NULL, at INT, CONSTRAINT who FOREIGN KEY (who) REFERENCES users (id) ON DELETE CASCADE);"
        "INSERT INTO orders SELECT seq, seq % 500 + 1, seq FROM seq_1_to_3000; CREATE VIEW both_ AS SELECT u.name, o.id FROM users u JOIN orders o ON o.who = u.id;"
        "CREATE TABLE other (n INT) ENGINE=InnoDB; INSERT INTO other VALUES (1);"
        "CREATE TRIGGER changed AFTER UPDATE ON users FOR EACH ROW INSERT INTO other VALUES (2);"
        "CREATE TRIGGER small.gone AFTER DELETE ON small.users FOR EACH ROW INSERT INTO other VALUES (3);",
    )


def test_tables_are_replaced_in_one_transaction_and_given_back(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    before = server.text(name)
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql("DELETE FROM users WHERE id > 450; UPDATE users SET name = 'changed' WHERE id < 10; DELETE FROM other;", name)
    damaged = server.text(name)
    with restore(made, "t1", tmp_path / "work", ("users", "orders")) as restorer:
        restorer.check()
        assert restorer.stage() == {"rows.users": 500, "rows.orders": 3000}
        server.sql("INSERT INTO other VALUES (99);", name)  # the service goes on until the swap
        restorer.swap()
        restorer.swap()
        restorer.finish()
        assert restorer.count() == {"rows.users": 500, "rows.orders": 3000}
        assert server.sql("SELECT n FROM other;", name) == "99"
        server.sql("DELETE FROM other;", name)
        restorer.unswap()
        restorer.unswap()
        assert server.text(name) == damaged
        restorer.swap()
        restorer.unstage()
        restorer.discard()
    server.sql("INSERT INTO other VALUES (1);", name)
    assert server.text(name) == before


def test_a_table_that_is_gone_is_made_again_with_its_triggers(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    before = server.text(name)
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql("SET foreign_key_checks = 0; DROP TABLE users;", name)
    with restore(made, "g1", tmp_path / "work", ("users",)) as restorer:
        restorer.stage()
        restorer.swap()
        assert server.text(name) == before
        restorer.unswap()
        assert server.sql("SHOW TABLES LIKE 'users';", name) == ""
        restorer.swap()
        restorer.discard()
        restorer.unstage()
    assert server.text(name) == before
    with pytest.raises(AssertionError, match=r"foreign key"):
        server.sql("INSERT INTO orders VALUES (-1, -1, 0);", name)


def test_rows_that_would_lose_what_they_refer_to_keep_everything_as_it_is(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql("INSERT INTO users VALUES (9999, 'new'); INSERT INTO orders VALUES (9999, 9999, 0);", name)
    before = server.text(name)
    with restore(made, "f1", tmp_path / "work", ("users",)) as restorer:
        restorer.stage()
        with pytest.raises(EngineError, match="1 rows of orders would refer"):
            restorer.swap()
        restorer.unswap()
        restorer.unstage()
    assert server.text(name) == before


def test_some_tables_and_a_schema_never_replace_the_database(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    made = make_set(server.spec(name, tables=["orders"]), tmp_path / "set")
    assert made.artifact.counts["rows.orders"] == 3000
    assert ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path))).counts == made.artifact.counts
    server.sql("DELETE FROM orders WHERE id > 5;", name)
    with restore(made, "p1", tmp_path / "work") as restorer:
        assert restorer.stage() == {"rows.orders": 3000}
        restorer.swap()
        restorer.discard()
        restorer.unstage()
    assert server.sql("SELECT COUNT(*) FROM orders; SELECT COUNT(*) FROM users;", name).split() == ["3000", "500"]
    with pytest.raises(EngineError, match="holds no rows of users"), restore(made, "p2", tmp_path / "work", ("users",)):
        pass
    with pytest.raises(EngineError, match="no table orderz; did you mean orders"):
        make_set(server.spec(name, tables=["orderz"]), tmp_path / "none")
    schema = make_set(server.spec(name, content="schema"), tmp_path / "schema")
    assert schema.artifact.counts["rows.orders"] == 0
    assert ENGINE.drill(schema.spec, schema.artifact, schema.stored, Work(str(tmp_path))).counts == schema.artifact.counts
    for given in ({}, {"part": ("users",)}, {"target": name}):
        with pytest.raises(EngineError, match="schema alone"), restore(schema, "s1", tmp_path / "work", **given):
            pass


@pytest.mark.parametrize("name", ["Ünï-cödé `q` 'x' \\ =", "x" * 64, "ж" * 40], ids=range(3))
def test_names_of_databases_and_empty_ones(server: Server, name: str, tmp_path: Path) -> None:
    server.make(name)
    before = server.text(name)
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql("CREATE TABLE t (a INT);", name)
    with restore(made, "n1", tmp_path / "work") as restorer:
        restorer.check()
        restorer.stage()
        restorer.swap()
        restorer.discard()
        restorer.unstage()
    assert server.text(name) == before
    quoted = "`" + name.replace("`", "``") + "`"
    server.sql(f"DROP DATABASE {quoted};")
    with restore(made, "n2", tmp_path / "work") as restorer:
        restorer.stage()
        restorer.swap()
        restorer.unswap()
        assert name not in server.databases()
        restorer.swap()
        restorer.discard()
        restorer.unstage()
    assert server.text(name) == before
    server.sql(f"DROP DATABASE {quoted};")


def test_counts_are_of_the_dump_while_writers_go_on(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    stop = threading.Event()

    def writing(offset: int) -> None:
        at = 0
        while not stop.is_set():
            at += 1
            script = f"INSERT INTO users (name) SELECT 'w' FROM seq_1_to_20; UPDATE users SET name = 'v{at}' WHERE id % 7 = {offset}; DELETE FROM orders WHERE id % 97 = {at % 97};"
            server.sql(script, name, check=False)

    threads = [threading.Thread(target=writing, args=(offset,)) for offset in range(2)]
    for thread in threads:
        thread.start()
    try:
        for at in range(2):
            made = make_set(server.spec(name), tmp_path / f"set{at}")
            ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
            drilled = ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
            assert (drilled.counts, drilled.samples) == (made.artifact.counts, made.artifact.samples)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_server_that_dies_in_the_middle_leaves_no_set(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    server.sql("CREATE TABLE big (id INT PRIMARY KEY, t TEXT); INSERT INTO big SELECT seq, REPEAT(MD5(seq), 30) FROM seq_1_to_30000;", name)
    seen: list[bytes] = []

    def dying(block: bytes) -> None:
        dump_tap(block)
        if not seen:
            seen.append(block)
            server.stop()

    try:
        with (  # noqa: PT012 - whichever comes first
            pytest.raises((EngineError, stream.StreamError), match=r"Lost connection|gone away|2013|2006"),
            ENGINE.dump(server.spec(name), Work(str(tmp_path))) as dump,
        ):
            assert dump.tap
            dump_tap = dump.tap
            stream.write(dump.source, str(tmp_path / "x"), "none", tap=dying)
            dump.finish()
    finally:
        server.start()


def test_a_dump_without_its_last_line_is_none(server: Server, tmp_path: Path) -> None:
    made = make_set(server.spec(_small(server)), tmp_path / "set")
    raw = subprocess.run(["zstd", "-dcq", made.stored.path], capture_output=True, check=True).stdout
    other = make_set(server.spec(server.make("other_one", "CREATE TABLE users (id INT);")), tmp_path / "other")
    small = subprocess.run(["zstd", "-dcq", other.stored.path], capture_output=True, check=True).stdout
    stored = Stored(str(tmp_path / "damaged.sql"))
    artifact = made.artifact._replace(compression="none")
    without = raw.replace(b"(7,'u7'),\n", b"", 1)
    assert len(without) < len(raw)
    for data in (
        b"",
        raw[:-60],
        raw[: len(raw) // 2],
        raw[:2000],
        small,
        b"\0" * 5000,
        b"plain text\n",
        without,
        raw.replace(b"u400'", b"u400", 1),
    ):
        Path(stored.path).write_bytes(data)
        with pytest.raises(EngineError) as told:
            ENGINE.read_through(artifact, stored, Work(str(tmp_path)))
        assert told.value.code in ("damaged", "unsafe"), data[:50]
        with pytest.raises(EngineError), restore(made._replace(artifact=artifact, stored=stored), "d1", tmp_path / "w") as restorer:  # noqa: PT012 - whichever comes first
            if restorer.stage() != made.artifact.counts:
                raise EngineError("differs", "")
        with restore(made, "d1", tmp_path / "w") as restorer:
            restorer.unstage()


def test_a_dump_that_names_another_database_is_never_run(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    before = server.text(name)
    made = make_set(server.spec(name), tmp_path / "set")
    raw = subprocess.run(["zstd", "-dcq", made.stored.path], capture_output=True, check=True).stdout
    stored = Stored(str(tmp_path / "hostile.sql"))
    artifact = made.artifact._replace(compression="none")
    for text in (
        "USE `small`;", "DROP DATABASE small;", "INSERT INTO `small`.`users` VALUES (1);", "CREATE TABLE `small`.`x` (a INT);", "DROP TABLE IF EXISTS `small`.`users`;",
        "DELETE FROM small.users;", "SET GLOBAL read_only = 1;", "\\! touch /tmp/opsrunner-hostile\n;", "GRANT ALL ON *.* TO x@y;", "/*!50001 DROP TABLE small.users */;",
        "ALTER TABLE `small`.`users` DISABLE KEYS;", "SELECT 1 INTO OUTFILE '/tmp/opsrunner-hostile';",
        "DELIMITER ;;\n\\! touch /tmp/opsrunner-hostile\nCREATE PROCEDURE p() SELECT 1;;\nDELIMITER ;",
        "DELIMITER ;;\nDELETE FROM small.users;;\nDELIMITER ;",
        "DELIMITER ;;\nCREATE TRIGGER other_one.x AFTER DELETE ON users FOR EACH ROW SET @x = 1;;\nDELIMITER ;",
    ):  # fmt: skip
        Path(stored.path).write_bytes(raw.replace(b"-- Dumping routines", text.encode() + b"\n-- Dumping routines", 1))
        assert text.encode() in Path(stored.path).read_bytes()
        with pytest.raises(EngineError) as told:
            ENGINE.drill(made.spec, artifact, stored, Work(str(tmp_path)))
        assert told.value.code == "unsafe", text
    assert server.text(name) == before
    assert not Path("/tmp/opsrunner-hostile").exists()
    server.sql("DROP TRIGGER gone;", name)  # made as small.gone on small.users: it must not come back by a drill
    before = server.text(name)
    ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
    assert server.text(name) == before
    assert not [found for found in server.databases() if "drill" in found]


@pytest.mark.parametrize("part", [(), ("users", "orders")], ids=["whole", "tables"])
def test_a_restore_killed_at_any_moment_is_taken_back(server: Server, tmp_path: Path, part: tuple[str, ...]) -> None:
    name = _small(server)
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql("DELETE FROM orders WHERE id < 50; UPDATE users SET name = 'now'; CREATE TABLE later (a INT);", name)
    before = server.text(name)
    chance = random.Random(4)
    for at in range(int(os.environ.get("OPSRUNNER_KILLS", "4"))):
        told = {
            "artifact": made.artifact._asdict(),
            "path": made.stored.path,
            "spec": made.spec,
            "ident": f"k{at}",
            "work": str(tmp_path / "w"),
            "part": part,
        }
        (tmp_path / "told.json").write_text(json.dumps(told), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, str(HERE / "restoring_mysql.py"), str(tmp_path / "told.json")], stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout
        for line in (b"started", b"staged")[: chance.randrange(1, 3)]:
            assert process.stdout.readline().strip() == line
        time.sleep(chance.random() * 0.6)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        with restore(made, f"k{at}", tmp_path / "w", part) as restorer:
            restorer.unswap()
            restorer.unstage()
        assert server.text(name) == before, at
        assert not [found for found in server.databases() if "opsrunner" in found]


def test_rows_that_do_not_fit_any_more_are_never_cut(server: Server, tmp_path: Path) -> None:
    name = server.make("fit", "CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(100)); INSERT INTO t VALUES (1, REPEAT('secret', 10));")
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql("DROP TABLE t; CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(10)); INSERT INTO t VALUES (2, 'now');", name)
    before = server.text(name)
    with restore(made, "f1", tmp_path / "work", ("t",)) as restorer:
        restorer.stage()
        with pytest.raises(EngineError, match="Data too long for column") as told:
            restorer.swap()
        assert "secret" not in str(told.value)
        restorer.unswap()
        restorer.unstage()
    assert server.text(name) == before
    # What the rules of today would not take, and the table has, is taken as it is.
    name = server.make(
        "odd", "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a'), d DATE); SET sql_mode = ''; INSERT INTO t VALUES (1, 'b', '2026-02-00');"
    )
    made = make_set(server.spec(name), tmp_path / "set")
    before = server.text(name)
    with restore(made, "f2", tmp_path / "work", ("t",)) as restorer:
        restorer.stage()
        restorer.swap()
        assert server.text(name) == before
        restorer.unswap()
        restorer.unstage()
    assert server.text(name) == before


def test_nobody_writes_between_setting_aside_and_deleting(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = _small(server)
    made = make_set(server.spec(name), tmp_path / "set")
    before = server.text(name)
    said: list[str] = []
    real = Session.ask

    def asking(session: Session, statement: str) -> str:
        found = real(session, statement)
        if statement.startswith("INSERT INTO `small_opsrunner_aside_w1`.`orders`"):
            with pytest.raises(AssertionError, match="Lock wait timeout") as told:
                server.sql("SET innodb_lock_wait_timeout = 1; INSERT INTO orders VALUES (-1, 1, 0);", name)
            said.append(str(told.value))
        return found

    server.sql("SET GLOBAL tx_isolation = 'READ-COMMITTED';")
    monkeypatch.setattr(Session, "ask", asking)
    try:
        with restore(made, "w1", tmp_path / "work", ("orders",)) as restorer:
            restorer.stage()
            restorer.swap()
            restorer.unswap()
            restorer.unstage()
    finally:
        server.sql("SET GLOBAL tx_isolation = 'REPEATABLE-READ';")
    assert len(said) == 1
    assert server.text(name) == before


def test_a_broken_view_does_not_stop_a_restore(server: Server, tmp_path: Path) -> None:
    name = server.make(
        "views",
        "CREATE TABLE t (id INT); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT * FROM t; CREATE VIEW above AS SELECT * FROM v; CREATE VIEW sound AS SELECT 1;",
    )
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql("DROP TABLE t;", name)
    warned: list[str] = []
    with restore(made, "v1", tmp_path / "work", work=Work(str(tmp_path), warn=warned.append)) as restorer:
        restorer.check()
        restorer.stage()
        restorer.swap()
        assert restorer.count() == made.artifact.counts
        assert server.sql("SELECT * FROM above;", name) == "1"
        assert not warned
        restorer.unswap()
        assert len([text for text in warned if "cannot be made again" in text]) == 2
        assert server.sql("SHOW TABLES;", name) == "sound"
        restorer.swap()
        restorer.discard()
        restorer.unstage()


def test_rights_on_routines_stay(server: Server, tmp_path: Path) -> None:
    name = server.make(
        "rights",
        "CREATE TABLE t (id INT); CREATE PROCEDURE p() SELECT 1; CREATE FUNCTION `f``1`() RETURNS INT DETERMINISTIC RETURN 1; CREATE PROCEDURE gone() SELECT 1;",
    )
    server.sql(
        "CREATE USER 'a''pp'@localhost; CREATE ROLE worker; GRANT EXECUTE ON PROCEDURE rights.p TO 'a''pp'@localhost WITH GRANT OPTION; GRANT EXECUTE ON PROCEDURE rights.gone TO worker;"
        "GRANT EXECUTE, ALTER ROUTINE ON FUNCTION rights.`f``1` TO worker;"
    )
    query = "SELECT host, user, routine_name, routine_type, proc_priv FROM mysql.procs_priv WHERE db = 'rights' ORDER BY 1, 2, 3;"
    before = server.sql(query)
    server.sql("DROP PROCEDURE gone;", name)
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql("CREATE PROCEDURE gone() SELECT 1; GRANT EXECUTE ON PROCEDURE rights.gone TO worker;", name)
    with restore(made, "r1", tmp_path / "work") as restorer:
        restorer.stage()
        restorer.swap()
        assert server.sql(query).splitlines() == [line for line in before.splitlines() if "gone" not in line]
        restorer.unswap()
        assert server.sql(query) == before
        restorer.unstage()
    server.sql("DROP DATABASE rights; DROP USER 'a''pp'@localhost; DROP ROLE worker;")


def test_what_passes_with_time_and_what_only_the_server_has(server: Server, tmp_path: Path) -> None:
    name = server.make(
        "passing",
        "CREATE TABLE t (id INT PRIMARY KEY) WITH SYSTEM VERSIONING; INSERT INTO t VALUES (1); UPDATE t SET id = 2; CREATE TABLE `_z_new` (id INT); CREATE TABLE z (id INT); INSERT INTO z VALUES (1);"
        "CREATE EVENT once ON SCHEDULE AT '2037-01-01 00:00:00' DO DELETE FROM t; CREATE EVENT until ON SCHEDULE EVERY '1:30' HOUR_MINUTE STARTS '2036-01-01 00:00:00' ENDS '2037-01-01 00:00:00' DO DELETE FROM t;"
        "CREATE EVENT kept ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01 00:00:00' DO DELETE FROM t;",
    )
    warned: list[str] = []
    made = make_set(server.spec(name), tmp_path / "set", Work(str(tmp_path), warn=warned.append))
    assert warned == ["t keeps its history (system versioning): the dump has its present rows alone"]
    assert made.artifact.counts["events"] == 1
    raw = subprocess.run(["zstd", "-dcq", made.stored.path], capture_output=True, check=True).stdout
    assert raw.count(b"'2037-01-01 00:00:00'") == 2
    late = Stored(str(tmp_path / "late.sql"))
    Path(late.path).write_bytes(
        raw.replace(b"'2037-01-01 00:00:00'", b"'2020-01-01 00:00:00'").replace(b"'2036-01-01 00:00:00'", b"'2019-01-01 00:00:00'")
    )
    artifact = made.artifact._replace(compression="none")
    ENGINE.read_through(artifact, late, Work(str(tmp_path)))
    assert ENGINE.drill(made.spec, artifact, late, Work(str(tmp_path))).counts == made.artifact.counts
    with restore(made, "p1", tmp_path / "work", ("t",)) as restorer, pytest.raises(EngineError, match="keeps its history"):
        restorer.check()
    with ENGINE.dump(made.spec, Work(str(tmp_path))) as dump:  # a table that is emptied when it was read is no reason to fail
        server.sql("INSERT INTO _z_new VALUES (1); TRUNCATE TABLE _z_new;", name)
        assert dump.tap
        dump.tap(raw)
        assert dump.finish().counts == made.artifact.counts
    # As tools do that change large tables: the one that takes the name has no row in the snapshot.
    with ENGINE.dump(made.spec, Work(str(tmp_path))) as dump:
        server.sql("RENAME TABLE z TO z_old, _z_new TO z;", name)
        assert dump.tap
        dump.tap(raw)
        with pytest.raises(EngineError, match="z was replaced by another table meanwhile"):
            dump.finish()
    server.sql("DROP DATABASE passing;")


def test_events_run_when_all_is_counted(server: Server, tmp_path: Path) -> None:
    name = server.make("waking", "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t SELECT seq FROM seq_1_to_1000;")
    server.sql("CREATE DEFINER = nobody@nowhere EVENT gone ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' DO DELETE FROM t;", name)
    server.sql("CREATE EVENT eager ON SCHEDULE EVERY 1 SECOND DO DELETE FROM t LIMIT 1;", name)
    made = make_set(server.spec(name), tmp_path / "set")
    with restore(made, "w1", tmp_path / "work") as restorer:
        restorer.stage()
        restorer.swap()
        time.sleep(1.2)  # in which it would have run
        restorer.finish()
        for _try in range(100):
            if int(server.sql("SELECT COUNT(*) FROM t;", name)) < made.artifact.counts["rows.t"]:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the event does not run")
        restorer.finish()
        assert restorer.count() == made.artifact.counts
        definers = server.sql("SELECT event_name, definer FROM information_schema.events WHERE event_schema = 'waking' ORDER BY 1;")
        assert definers.split() == ["eager", "root@localhost", "gone", "nobody@nowhere"]
        restorer.unswap()
        restorer.unstage()
    server.sql("DROP DATABASE waking;")


def test_the_servers_timeouts_end_nothing_of_ours(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    server.sql("SET GLOBAL wait_timeout = 1; SET GLOBAL max_statement_time = 0.05;")
    try:
        with Client(server.spec(name), Work(str(tmp_path))).session() as session:
            assert session.ask("SELECT SLEEP(0.2)") == "0"
            time.sleep(1.5)
            assert session.ask("SELECT 1") == "1"
    finally:
        server.sql("SET GLOBAL wait_timeout = 28800; SET GLOBAL max_statement_time = 0;")
    ENGINE.reach(server.spec(name), Work(str(tmp_path)))
    with pytest.raises(EngineError, match="there is no database nowhere"):
        ENGINE.reach(server.spec("nowhere"), Work(str(tmp_path)))


def test_clients_that_hold_a_table_make_the_swap_fail_without_harm(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    made = make_set(server.spec(name, timeout=1), tmp_path / "set")
    before = server.text(name)
    client = subprocess.Popen(
        ["mariadb", "--no-defaults", "-u", "root", "-S", server.socket, "-BN", "--unbuffered", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin
    assert client.stdout
    client.stdin.write(b"START TRANSACTION; SELECT COUNT(*) FROM users;\n")
    client.stdin.flush()
    client.stdout.readline()
    with restore(made, "c1", tmp_path / "work") as restorer:
        restorer.stage()
        with pytest.raises(EngineError, match=r"[Ll]ock wait timeout"):
            restorer.swap()
        client.communicate()
        restorer.unswap()
        assert server.text(name) == before
        restorer.swap()
        assert restorer.count() == made.artifact.counts
        restorer.discard()
        restorer.unstage()


def test_a_password_is_in_no_message_and_on_no_command_line(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    spec = server.spec(name, socket=None, host="127.0.0.1", port=server.port, user="login", password=PASSWORD)
    seen: list[bytes] = []
    stop = threading.Event()

    def looking() -> None:
        while not stop.is_set():
            seen.extend(_command_lines())

    thread = threading.Thread(target=looking)
    thread.start()
    try:
        made = make_set(spec, tmp_path / "set")
    finally:
        stop.set()
        thread.join()
    assert any(b"mariadb" in line for line in seen)
    assert not [line for line in seen if PASSWORD.encode() in line]
    assert PASSWORD not in json.dumps(made.artifact._asdict())
    for given, code in (({"password": "wrong secret"}, "denied"), ({"port": 1}, "unreachable"), ({"database": "nowhere"}, "unreachable")):
        with pytest.raises(EngineError) as told:
            make_set({**spec, **given}, tmp_path / "wrong")
        assert told.value.code == code, told.value
        assert "secret" not in str(told.value)


def test_tls(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    keys = make_certificates(tmp_path / "tls")
    plain = server.spec(name, socket=None, host="127.0.0.1", port=server.port, user="login", password=PASSWORD)
    trusting = {**plain, "ca_file": str(keys / "ca.pem")}
    work = Work(str(tmp_path))
    with pytest.raises(EngineError, match="the server does not support it"):  # nothing goes on in the clear
        ENGINE.reach(trusting, work)
    for file in keys.iterdir():
        shutil.copy(file, server.folder)
        if server.user:
            shutil.chown(Path(server.folder, file.name), server.user)
    server.stop()
    server.start(
        *(f"--ssl-{key}={server.folder}/{file}" for key, file in (("ca", "ca.pem"), ("cert", "server.pem"), ("key", "server.key")))
    )
    try:
        quoted = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        server.sql(f"CREATE USER known@'127.0.0.1' IDENTIFIED BY '{quoted}' REQUIRE X509; GRANT ALL ON *.* TO known@'127.0.0.1';")
        ENGINE.reach(trusting, work)
        known = {**trusting, "user": "known", "cert_file": str(keys / "login.pem"), "key_file": str(keys / "login.key")}
        made = make_set(known, tmp_path / "set")
        assert ENGINE.drill(made.spec, made.artifact, made.stored, work).counts == made.artifact.counts
        server.sql("DELETE FROM orders;", name)
        with restore(made, "s1", tmp_path / "work", ("orders",)) as restorer:
            restorer.stage()
            restorer.swap()
            restorer.discard()
            restorer.unstage()
        assert server.sql("SELECT COUNT(*) FROM orders;", name) == "3000"
        for wrong, match in (
            ({**known, "ca_file": str(keys / "other.pem")}, "certificate"),
            ({**known, "host": "localhost"}, r"[Vv]alidation of SSL server certificate failed|[Cc]ertificate verif|Hostname"),
            ({**trusting, "user": "known"}, "Access denied"),
            ({**known, "ca_file": str(keys / "none.pem")}, "SSL"),
        ):
            with pytest.raises(EngineError, match=match) as told:
                ENGINE.reach(wrong, work)
            assert PASSWORD not in str(told.value)
    finally:
        server.stop()
        server.start()
        server.sql("DROP USER IF EXISTS known@'127.0.0.1';")


def test_rows_of_20_megabytes_and_a_server_that_takes_no_such(server: Server, tmp_path: Path) -> None:
    name = server.make(
        "huge",
        "CREATE TABLE huge (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT); INSERT INTO huge VALUES (1, REPEAT(X'0A5C2700', 5242880), REPEAT('\\\\\\'\\n', 2000000));",
    )
    made = make_set(server.spec(name), tmp_path / "set")
    assert made.artifact.source["longest"] > 40_000_000
    ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
    drilled = ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
    assert (drilled.counts, drilled.samples) == (made.artifact.counts, made.artifact.samples)
    server.sql("SET GLOBAL max_allowed_packet = 16777216;")
    try:
        with pytest.raises(EngineError, match="max_allowed_packet"):
            ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
    finally:
        server.sql("SET GLOBAL max_allowed_packet = 134217728; DROP DATABASE huge;")


def test_what_a_killed_drill_left_goes_with_the_next_and_a_newer_dump_is_refused(server: Server, tmp_path: Path) -> None:
    made = make_set(server.spec(_small(server)), tmp_path / "set")
    server.make("opsrunner_drill_0123")
    warned: list[str] = []
    ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path), warn=warned.append))
    assert warned == ["opsrunner_drill_0123 was left behind by a drill and is dropped"]
    with pytest.raises(EngineError, match="version"):
        ENGINE.drill(made.spec, made.artifact._replace(server_version="99.1.0-MariaDB"), made.stored, Work(str(tmp_path)))
    assert not [found for found in server.databases() if "drill" in found]


def test_a_drill_without_the_backups_server_makes_one(server: Server, awkward: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        made = make_set(server.spec(awkward), Path(folder) / "set")
        os.mkdir(folder + "/scratch", 0o700)
        os.chmod(folder, 0o755)
        drilled = ENGINE.drill(None, made.artifact, made.stored, Work(folder + "/scratch"))
        assert drilled.counts == made.artifact.counts
        assert drilled.samples == made.artifact.samples
        assert not os.listdir(folder + "/scratch")
        assert not [line for line in _command_lines() if folder.encode() in line]


def _command_lines() -> list[bytes]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((folder / "cmdline").read_bytes())
    return found


def test_programs_run_as_another_user(server: Server, tmp_path: Path) -> None:
    if not server.user:
        leave_out("only root runs programs as another user")
    name = _small(server)
    made = make_set(server.spec(name, run_as=server.user), tmp_path / "set")
    assert ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path))).samples == made.artifact.samples


def test_the_integrity_of_live_data(server: Server, tmp_path: Path) -> None:
    name = server.make("broken", "CREATE TABLE users (id INT PRIMARY KEY); INSERT INTO users SELECT seq FROM seq_1_to_500;")
    server.sql(
        "CREATE TABLE old (id INT PRIMARY KEY, t VARCHAR(100)) ENGINE=MyISAM; INSERT INTO old SELECT seq, MD5(seq) FROM seq_1_to_1000;",
        name,
    )
    found = ENGINE.integrity(server.spec(name), Work(str(tmp_path)))
    assert found.ok
    assert found.counts["rows.users"] == 500
    server.sql("FLUSH TABLES;")
    with open(os.path.join(server.data, name, "old.MYI"), "r+b") as file:
        file.seek(2000)
        file.write(os.urandom(3000))
    found = ENGINE.integrity(server.spec(name), Work(str(tmp_path)))
    assert not found.ok
    assert all(problem.startswith("old: ") for problem in found.problems)
    saved = ENGINE.salvage(server.spec(name), str(tmp_path), Work(str(tmp_path)))
    assert any("users" in file and file.endswith(".zst") for file in saved)
