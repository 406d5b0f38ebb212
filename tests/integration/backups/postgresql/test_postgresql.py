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
from pg_servers import HERE, PASSWORD, Server, make_set, restore
from programs import leave_out

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.postgresql import scratch as engine_postgresql_scratch
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.postgresql.engine import PostgresqlEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream

ENGINE = PostgresqlEngine()


def test_everything_awkward_comes_back_as_it_was(server: Server, awkward: str, tmp_path: Path) -> None:
    before = server.text(awkward)
    made = make_set(server.spec(awkward), tmp_path / "set")
    assert made.artifact.counts["rows.public.all_bytes"] == 1001
    assert made.artifact.counts['rows."Größe.mit Punkt"."T""able; DROP TABLE x; --"'] == 3
    assert made.artifact.counts["rows.public.no_columns"] == 3
    assert made.artifact.counts["large_objects"] == 2
    ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
    drilled = ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
    assert drilled.counts == made.artifact.counts
    assert drilled.samples == made.artifact.samples
    assert len(drilled.samples) >= 10
    server.sql(awkward, "DELETE FROM child; UPDATE all_bytes SET data = NULL; DROP TABLE audit CASCADE;")
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
        assert restorer.aside() == ["database awkward_opsrunner_aside_r1"]
        restorer.unstage()
        restorer.discard()
        assert server.text(awkward) == before
    assert not [name for name in server.databases() if "opsrunner" in name]


def _small(server: Server, name: str = "small") -> str:
    server.make(name)
    server.sql(
        name,
        "CREATE TABLE users (id serial PRIMARY KEY, name text); CREATE TABLE orders (id int PRIMARY KEY, who int NOT NULL REFERENCES users ON DELETE CASCADE, at int);"
        "INSERT INTO users (name) SELECT 'u' || g FROM generate_series(1, 500) g; INSERT INTO orders SELECT g, g % 500 + 1, g FROM generate_series(1, 3000) g;"
        "CREATE VIEW both_ AS SELECT u.name, o.id FROM users u JOIN orders o ON o.who = u.id; CREATE TABLE other (n int); INSERT INTO other VALUES (1);",
    )
    return name


def test_tables_are_replaced_in_one_transaction_and_given_back(server: Server, awkward: str, tmp_path: Path) -> None:
    made = make_set(server.spec(awkward), tmp_path / "set")
    before = server.text(awkward)
    server.sql(
        awkward,
        "DELETE FROM parent WHERE id > 10; UPDATE parent SET note = 'changed'; INSERT INTO \"UPPER\" (a) VALUES (7); DELETE FROM events WHERE id = 3;",
    )
    server.sql(awkward, "INSERT INTO all_bytes (id) VALUES (DEFAULT)")
    damaged = server.text(awkward)
    part = ("public.parent", "child", "UPPER", "events", "all_bytes", '"Größe.mit Punkt"."T""able; DROP TABLE x; --"')
    with restore(made, "t1", tmp_path / "work", part) as restorer:
        restorer.check()
        staged = restorer.stage()
        assert staged["rows.public.parent"] == 50
        assert sum(number for name, number in staged.items() if "events" in name) == 295
        server.sql(awkward, "INSERT INTO audit VALUES (99)")  # the service goes on until the swap
        restorer.swap()
        restorer.swap()
        assert restorer.count() == staged
        assert restorer.aside() == ["schema opsrunner_aside_t1 in database awkward"]
        restorer.finish()
        assert server.sql(awkward, "SELECT count(*) FROM audit WHERE n = 99") == "1"
        server.sql(awkward, "DELETE FROM audit WHERE n = 99")
        restorer.unswap()
        restorer.unswap()
        assert server.text(awkward) == damaged
        restorer.swap()
        restorer.unstage()
        restorer.discard()
    server.sql(awkward, "DELETE FROM audit")
    # A sequence that has gone on stays there: it gives no number a second time.
    server.sql(awkward, "SELECT setval('all_bytes_id_seq', 1001), setval('\"UPPER_id_seq\"', 120)")
    assert server.text(awkward) == before


def test_a_table_that_is_gone_is_made_again_with_all_that_hangs_on_it(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    made = make_set(server.spec(name), tmp_path / "set")
    before = server.text(name)
    server.sql(name, "DROP TABLE users CASCADE; UPDATE other SET n = 2")
    damaged = server.text(name)
    with restore(made, "g1", tmp_path / "work", ("users",)) as restorer:
        restorer.stage()
        restorer.swap()
        assert server.sql(name, "SELECT count(*) FROM users") == "500"
        with pytest.raises(AssertionError, match=r"foreign key"):
            server.sql(name, "INSERT INTO orders VALUES (-1, -1, 0)")
        restorer.unswap()
        assert server.text(name) == damaged
        restorer.swap()
        restorer.discard()
        restorer.unstage()
    server.sql(name, "CREATE VIEW both_ AS SELECT u.name, o.id FROM users u JOIN orders o ON o.who = u.id; UPDATE other SET n = 1")
    assert server.text(name) == before


def test_rows_that_would_lose_what_they_refer_to_keep_everything_as_it_is(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql(name, "INSERT INTO users VALUES (9999, 'new'); INSERT INTO orders VALUES (9999, 9999, 0)")
    before = server.text(name)
    with restore(made, "f1", tmp_path / "work", ("users",)) as restorer:
        restorer.stage()
        with pytest.raises(EngineError, match=r"foreign key"):
            restorer.swap()
        assert server.text(name) == before
        restorer.unswap()
        restorer.unstage()
    assert server.text(name) == before


def test_a_dump_of_some_tables_stands_by_itself_and_never_replaces_the_database(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    made = make_set(server.spec(name, tables=["orders"]), tmp_path / "set")
    assert made.artifact.counts["rows.public.orders"] == 3000
    assert "rows.public.users" not in made.artifact.counts
    ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
    server.sql(name, "DELETE FROM orders WHERE id > 5")
    with restore(made, "p1", tmp_path / "work") as restorer:
        assert restorer.stage() == {"rows.public.orders": 3000}
        restorer.swap()
        restorer.discard()
        restorer.unstage()
    assert server.sql(name, "SELECT count(*) FROM orders") == "3000"
    assert server.sql(name, "SELECT count(*) FROM users") == "500"
    with pytest.raises(EngineError, match=r"holds no rows of public.users"), restore(made, "p2", tmp_path / "work", ("users",)):
        pass
    with pytest.raises(EngineError, match=r"no table orderz; did you mean public\.orders"):
        make_set(server.spec(name, tables=["orderz"]), tmp_path / "none")


def test_a_schema_is_proved_and_never_offered_as_data(server: Server, awkward: str, tmp_path: Path) -> None:
    made = make_set(server.spec(awkward, content="schema"), tmp_path / "set")
    assert not [name for name in made.artifact.counts if name.startswith("rows.")]
    ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
    assert ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path))).counts == made.artifact.counts
    for given in ({}, {"part": ("parent",)}, {"target": awkward}):
        with pytest.raises(EngineError, match="schema alone"), restore(made, "s1", tmp_path / "work", **given):
            pass
    with restore(made, "s2", tmp_path / "work", target="from_schema") as restorer:
        restorer.stage()
        restorer.swap()
        assert server.sql("from_schema", "SELECT count(*) FROM parent") == "0"
        restorer.unswap()
        restorer.unstage()
    assert "from_schema" not in server.databases()


def test_globals_are_drilled_on_a_server_of_their_own_and_add_what_is_missing(server: Server, tmp_path: Path) -> None:
    server.sql(
        "postgres",
        'CREATE ROLE "ro le; ""x""" PASSWORD \'geheim;\'\'\\x\'; COMMENT ON ROLE "ro le; ""x""" IS E\'a;\\n--b \'\'c\'\'\'; GRANT reader TO "ro le; ""x""" WITH ADMIN OPTION; CREATE ROLE "back\\slash"',
    )
    spec = {"content": "globals", "host": server.folder, "port": server.port, "user": "postgres"}
    made = make_set(spec, tmp_path / "set")
    assert made.artifact.counts["roles"] >= 5
    assert b"SCRAM-SHA-256" not in subprocess.run(["zstd", "-dcq", made.stored.path], capture_output=True, check=True).stdout
    locked = make_set(spec, tmp_path / "locked", Work(str(tmp_path), encrypted=True))
    assert b"SCRAM-SHA-256" in subprocess.run(["zstd", "-dcq", locked.stored.path], capture_output=True, check=True).stdout
    ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    os.chmod(tmp_path, 0o755)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        assert ENGINE.drill(spec, made.artifact, made.stored, Work(folder)).counts == made.artifact.counts
    before = server.sql(
        "postgres",
        "SELECT r.rolname, r.rolsuper, shobj_description(r.oid, 'pg_authid'), m.roleid::regrole, m.admin_option FROM pg_roles r LEFT JOIN pg_auth_members m ON m.member = r.oid ORDER BY 1, 4",
    )
    server.sql("postgres", 'DROP ROLE "ro le; ""x"""; DROP ROLE "back\\slash"')
    with restore(made, "r1", tmp_path / "work") as restorer:
        restorer.check()
        assert restorer.stage() == made.artifact.counts
        restorer.swap()
        restorer.swap()
        assert restorer.count() == made.artifact.counts
        restorer.unswap()
        assert "ro le" not in server.sql("postgres", "SELECT rolname FROM pg_roles")
        restorer.swap()
        restorer.discard()
    assert before == server.sql(
        "postgres",
        "SELECT r.rolname, r.rolsuper, shobj_description(r.oid, 'pg_authid'), m.roleid::regrole, m.admin_option FROM pg_roles r LEFT JOIN pg_auth_members m ON m.member = r.oid ORDER BY 1, 4",
    )
    server.sql("postgres", 'DROP ROLE "ro le; ""x"""; DROP ROLE "back\\slash"')


@pytest.mark.parametrize("run_as", [False, True], ids=["as_oneself", "as_the_servers_user"])
def test_indexes_and_keys_are_made_several_at_a_time(
    server: Server, awkward: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_as: bool
) -> None:
    if run_as and not server.user:
        leave_out("only root runs programs as another user")
    monkeypatch.setattr(engine_postgresql_scratch, "_LARGE", 0)
    started: list[tuple[str, ...]] = []
    real = stream.run
    monkeypatch.setattr(stream, "run", lambda what, *more, **named: (started.append(what.argv), real(what, *more, **named))[1])
    before = server.text(awkward)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        made = make_set(server.spec(awkward, run_as=server.user if run_as else None), Path(folder) / "set")
        with restore(made, "j1", Path(folder) / "work") as restorer:
            assert restorer.stage() == made.artifact.counts
            assert any("--jobs=2" in argv and "--section=post-data" in argv for argv in started)
            assert not os.listdir(Path(folder) / "work")
            restorer.swap()
            assert server.text(awkward) == before
            restorer.discard()
    if not run_as:  # a key that leads out of the dump, and an index that cannot be made
        name = _small(server)
        tables = make_set(server.spec(name, tables=["orders"]), tmp_path / "tables")
        ENGINE.drill(tables.spec, tables.artifact, tables.stored, Work(str(tmp_path)))
        server.sql(
            name,
            "CREATE FUNCTION sound(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM 1 / (SELECT count(*) FROM other); RETURN 1; END'",
        )
        server.sql(name, "SET search_path = public; CREATE INDEX late ON other (sound(n))")
        made = make_set(server.spec(name), tmp_path / "set")
        before = server.text(name)
        with restore(made, "j2", tmp_path / "work") as restorer:
            with pytest.raises(EngineError, match=r'relation "other" does not exist'):
                restorer.stage()
            restorer.unswap()
            restorer.unstage()
        assert server.text(name) == before
    assert not [found for found in server.databases() if "opsrunner" in found]


def test_a_drill_without_the_backups_server_makes_one(server: Server, awkward: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        made = make_set(server.spec(awkward), Path(folder) / "set")
        os.mkdir(folder + "/scratch", 0o700)
        os.chmod(folder, 0o755)
        drilled = ENGINE.drill(None, made.artifact, made.stored, Work(folder + "/scratch"))
        assert drilled.counts == made.artifact.counts
        assert drilled.samples == made.artifact.samples
        assert not os.listdir(folder + "/scratch")


@pytest.mark.parametrize("name", ["host=evil dbname=postgres Ünï \"q\" 'x' \\ =", "ж" * 31], ids=range(2))
def test_names_of_databases(server: Server, name: str, tmp_path: Path) -> None:
    server.make(name)
    quoted = '"' + name.replace('"', '""') + '"'
    server.sql(
        "postgres",
        f"ALTER DATABASE {quoted} SET search_path TO '$user', 'a, b', public; ALTER ROLE reader IN DATABASE {quoted} SET work_mem TO '1MB';"
        f"COMMENT ON DATABASE {quoted} IS 'c''o'; REVOKE CONNECT ON DATABASE {quoted} FROM PUBLIC; GRANT CREATE ON DATABASE {quoted} TO reader WITH GRANT OPTION;"
        f"ALTER DATABASE {quoted} CONNECTION LIMIT 17; ALTER DATABASE {quoted} OWNER TO app_owner",
    )
    before = server.text(name, "--create")
    made = make_set(server.spec(name), tmp_path / "set")  # and it is empty
    server.sql(name, "CREATE TABLE t ()")
    with restore(made, "n1", tmp_path / "work") as restorer:
        restorer.check()
        restorer.stage()
        restorer.swap()
        restorer.discard()
    assert server.text(name, "--create") == before
    server.sql("postgres", f"DROP DATABASE {quoted}")
    with restore(made, "n2", tmp_path / "work") as restorer:  # all of it from the manifest
        restorer.check()
        restorer.stage()
        restorer.swap()
        restorer.discard()
    assert server.text(name, "--create") == before
    server.sql("postgres", f"DROP DATABASE {quoted}")


def test_counts_are_of_the_dump_while_writers_go_on(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    stop = threading.Event()

    def writing(offset: int) -> None:
        at = 0
        while not stop.is_set():
            at += 1
            server.sql(
                name,
                f"INSERT INTO users (name) SELECT 'w' FROM generate_series(1, 20); UPDATE users SET name = 'v{at}' WHERE id % 7 = {offset}; DELETE FROM orders WHERE id % 97 = {at % 97}",
                check=False,
            )

    threads = [threading.Thread(target=writing, args=(offset,)) for offset in range(2)]
    for thread in threads:
        thread.start()
    try:
        for at in range(2):
            made = make_set(server.spec(name), tmp_path / f"set{at}", meanwhile=lambda: time.sleep(0.2))
            ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
            drilled = ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
            assert (drilled.counts, drilled.samples) == (made.artifact.counts, made.artifact.samples)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_server_that_dies_in_the_middle_leaves_no_set(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    server.sql(name, "CREATE TABLE big AS SELECT g, repeat(md5(g::text), 30) AS t FROM generate_series(1, 20000) g")
    folder = tmp_path / "set"
    folder.mkdir()
    seen = []

    def dying(block: bytes) -> None:
        if not seen:
            seen.append(block)
            server.stop()

    try:
        with (  # noqa: PT012 - whichever comes first
            pytest.raises((EngineError, stream.StreamError), match=r"connection|closed|terminat"),
            ENGINE.dump(server.spec(name), Work(str(folder))) as dump,
        ):
            stream.write(dump.source, str(folder / "x"), "none", tap=dying)
            dump.finish()
    finally:
        server.start()
    # Also when it is only the session with the snapshot that goes away.
    with ENGINE.dump(server.spec(name), Work(str(folder))) as dump:
        stream.write(dump.source, str(folder / "y"), "none")
        server.sql(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'opsrunner' AND state LIKE 'idle in%'",
        )
        with pytest.raises(EngineError, match=r"terminating|closed|lost"):
            dump.finish()


def test_a_restore_that_breaks_touches_nothing(server: Server, awkward: str, tmp_path: Path) -> None:
    made = make_set(server.spec(awkward), tmp_path / "set")
    before = server.text(awkward)
    raw = subprocess.run(["zstd", "-dcq", made.stored.path], capture_output=True, check=True).stdout
    cut = tmp_path / "cut.dump"
    source = made.artifact.source
    wrongs = [
        (made.artifact._replace(source={**source, "extensions": {"nowhere": "1"}}), made.stored, "extension nowhere"),
        (made.artifact._replace(source={**source, "roles": ["nobody_here"]}), made.stored, "role nobody_here"),
        (made.artifact._replace(server_version="99.1"), made.stored, "version"),
        (made.artifact._replace(compression="none"), Stored(str(cut)), "pg_restore"),
    ]
    cut.write_bytes(raw[: len(raw) // 2])
    for at, (artifact, stored, match) in enumerate(wrongs):
        with restore(made._replace(artifact=artifact, stored=stored), f"b{at}", tmp_path / "work") as restorer:
            with pytest.raises(EngineError, match=match):  # noqa: PT012 - whichever comes first
                restorer.check()
                restorer.stage()
            restorer.unswap()
            restorer.unstage()
        with pytest.raises(EngineError):
            ENGINE.drill(made.spec, artifact, stored, Work(str(tmp_path)))
    assert server.text(awkward) == before
    assert not [name for name in server.databases() if "opsrunner" in name]


def test_a_full_disk_leaves_the_present_data_as_it_is(server: Server, tmp_path: Path) -> None:
    folder = os.path.join(server.folder, "small disk")
    os.mkdir(folder)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=0777", "tmpfs", folder], capture_output=True, check=False).returncode:
        leave_out("no file system can be mounted here")
    try:
        inner = os.path.join(folder, "space")
        os.mkdir(inner)
        if server.user:
            shutil.chown(inner, server.user)
        server.sql("postgres", f"CREATE TABLESPACE small_disk LOCATION '{inner}'")
        server.sql("postgres", "CREATE DATABASE tight TEMPLATE template0 TABLESPACE small_disk")
        server.sql("tight", "CREATE TABLE t AS SELECT g, md5(g::text) || repeat('x', 900) AS t FROM generate_series(1, 28000) g")
        made = make_set(server.spec("tight"), tmp_path / "set")
        before = server.text("tight")
        with restore(made, "d1", tmp_path / "work") as restorer:
            assert restorer.needs()[0][0] == inner
            with pytest.raises(EngineError) as told:
                restorer.stage()
            assert told.value.code == "space", told.value
            restorer.unswap()
            restorer.unstage()
        assert server.text("tight") == before
        assert not [name for name in server.databases() if "opsrunner" in name]
    finally:
        server.sql("postgres", "DROP DATABASE IF EXISTS tight", check=False)
        server.sql("postgres", "CHECKPOINT; DROP TABLESPACE IF EXISTS small_disk", check=False)
        subprocess.run(["umount", folder], capture_output=True, check=False)


def test_programs_run_as_the_servers_user(server: Server, tmp_path: Path) -> None:
    if not server.user:
        leave_out("only root runs programs as another user")
    name = _small(server)
    made = make_set(server.spec(name, run_as=server.user, tables=["orders"]), tmp_path / "set")
    ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
    assert ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path))).samples == made.artifact.samples
    server.sql(name, "DELETE FROM orders WHERE id > 5")
    with restore(made, "u1", tmp_path / "work") as restorer:
        restorer.stage()
        restorer.swap()
        restorer.discard()
        restorer.unstage()
    assert server.sql(name, "SELECT count(*) FROM orders") == "3000"


def test_damage_that_a_checksum_does_not_see_is_found_in_reading(server: Server, awkward: str, tmp_path: Path) -> None:
    made = make_set(server.spec(awkward), tmp_path / "set")
    raw = subprocess.run(["zstd", "-dcq", made.stored.path], capture_output=True, check=True).stdout
    stored = Stored(str(tmp_path / "damaged.dump"))
    other = make_set(server.spec(_small(server)), tmp_path / "other")
    small = subprocess.run(["zstd", "-dcq", other.stored.path], capture_output=True, check=True).stdout
    for data in (b"", raw[:-1], raw[: len(raw) // 2], raw[:2000], b"PGDMP", small, b"\0" * len(raw), b"-- plain SQL\n"):
        Path(stored.path).write_bytes(data)
        with pytest.raises(EngineError) as told:
            ENGINE.read_through(made.artifact._replace(compression="none"), stored, Work(str(tmp_path)))
        assert told.value.code == "damaged"


@pytest.mark.parametrize("part", [(), ("users", "orders")], ids=["whole", "tables"])
def test_a_restore_killed_at_any_moment_is_taken_back(server: Server, tmp_path: Path, part: tuple[str, ...]) -> None:
    name = _small(server)
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql(name, "DELETE FROM orders WHERE id < 50; UPDATE users SET name = 'now'")
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
            [sys.executable, str(HERE / "restoring.py"), str(tmp_path / "told.json")], stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout
        for line in (b"started", b"staged")[: chance.randrange(1, 3)]:
            assert process.stdout.readline().strip() == line
        time.sleep(chance.random() * 0.5)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        with restore(made, f"k{at}", tmp_path / "w", part) as restorer:
            restorer.unswap()
            restorer.unstage()
        assert server.text(name) == before, at
        assert not [found for found in server.databases() if "opsrunner" in found]


def test_rules_do_not_take_the_rows_that_come_back(server: Server, tmp_path: Path) -> None:
    name = server.make("rules")
    server.sql(
        name,
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (id int); INSERT INTO t SELECT generate_series(1, 10);"
        "CREATE RULE elsewhere AS ON INSERT TO t DO INSTEAD INSERT INTO log VALUES (NEW.id);"
        "CREATE RULE never AS ON DELETE TO t DO ALSO INSERT INTO log VALUES (0); ALTER TABLE t DISABLE RULE never",
    )
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql(name, "ALTER TABLE t DISABLE RULE elsewhere; DELETE FROM t WHERE id > 5; ALTER TABLE t ENABLE REPLICA RULE elsewhere")
    server.sql("postgres", "ALTER DATABASE rules SET default_transaction_read_only = on")  # so that nobody else writes meanwhile
    before = server.text(name)
    with restore(made, "r1", tmp_path / "work", ("t",)) as restorer:
        assert restorer.needs()[0][1] > 64 << 20
        restorer.stage()
        restorer.swap()
        assert restorer.count() == {"rows.public.t": 10}
        restorer.unswap()
        assert server.text(name) == before
        restorer.unstage()


def test_rows_are_never_run_as_statements(server: Server, tmp_path: Path) -> None:
    name = server.make("rows")
    server.sql(
        name,
        "CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (words text, state mood); INSERT INTO t VALUES ('ROLLBACK; CREATE TABLE public.evil (); --', 'a')",
    )
    made = make_set(server.spec(name), tmp_path / "set")
    server.sql(name, "DROP TABLE t; DROP TYPE mood")  # so that neither the table nor its COPY can be made
    before = server.text(name)
    with restore(made, "r1", tmp_path / "work", ("t",)) as restorer:
        restorer.stage()
        with pytest.raises(EngineError, match=r'type "public\.mood" does not exist'):
            restorer.swap()
        restorer.unswap()
        restorer.unstage()
    assert server.text(name) == before


def test_what_is_in_no_dump_or_came_with_an_extension_is_no_difference(server: Server, tmp_path: Path) -> None:
    name = server.make("uneven")
    server.sql(
        name, "CREATE TABLE twice (id int); INSERT INTO twice VALUES (1), (1); CREATE MATERIALIZED VIEW unfilled AS SELECT 1 WITH NO DATA"
    )
    server.sql(name, "CREATE UNIQUE INDEX CONCURRENTLY unfinished ON twice (id)", check=False)
    server.sql(name, "CREATE EXTENSION amcheck; DROP EXTENSION plpgsql; ALTER DATABASE uneven SET statement_timeout = '20ms'")
    made = make_set(server.spec(name), tmp_path / "set")
    warned: list[str] = []
    assert ENGINE.integrity(made.spec, Work(str(tmp_path), warn=warned.append)).ok
    assert warned == ["the index public.unfinished is not valid and is in no dump: drop it or make it anew"]
    drilled = ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
    assert drilled.counts == made.artifact.counts
    server.sql("postgres", "ALTER DATABASE uneven IS_TEMPLATE true")
    server.sql(name, "SET statement_timeout = 0; CREATE TABLE wide AS SELECT g, md5(g::text) AS t FROM generate_series(1, 60000) g")
    made = make_set(server.spec(name), tmp_path / "set")
    with restore(made, "u1", tmp_path / "work") as restorer:
        restorer.check()
        assert restorer.stage() == made.artifact.counts
        restorer.swap()
        restorer.finish()
        assert server.sql("postgres", "SELECT datistemplate FROM pg_database WHERE datname = 'uneven'") == "t"
        restorer.discard()
    # An extension's own table: the rows that its condition names are dumped.
    server.sql(
        name,
        "CREATE TABLE config (id int); INSERT INTO config VALUES (1), (2); ALTER EXTENSION amcheck ADD TABLE config;"
        "UPDATE pg_extension SET extconfig = ARRAY['config'::regclass::oid], extcondition = ARRAY['WHERE id > 1'] WHERE extname = 'amcheck'",
    )
    made = make_set(server.spec(name), tmp_path / "set")
    assert made.artifact.counts["rows.public.config"] == 1
    ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
    tables = make_set(server.spec(name, tables=["wide"]), tmp_path / "tables")
    assert "rows.public.config" not in tables.artifact.counts
    ENGINE.read_through(tables.artifact, tables.stored, Work(str(tmp_path)))
    server.sql("postgres", "ALTER DATABASE uneven IS_TEMPLATE false; DROP DATABASE uneven")


def test_another_servers_rows_passwords_and_subscriptions(server: Server, tmp_path: Path) -> None:
    far, near = server.make("far"), server.make("near")
    server.sql(far, "CREATE TABLE p2 (id int); INSERT INTO p2 VALUES (20)")
    server.sql(
        near,
        f"CREATE EXTENSION postgres_fdw; CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{server.folder}', port '{server.port}', dbname 'far');"
        "CREATE USER MAPPING FOR postgres SERVER away OPTIONS (user 'postgres', password 'geheim; 1', password_required 'false'); CREATE TABLE p (id int) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE FOREIGN TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (30) SERVER away; INSERT INTO p VALUES (1);"
        "CREATE SUBSCRIPTION sub CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)",
    )
    warned: list[str] = []
    made = make_set(server.spec(near), tmp_path / "set", Work(str(tmp_path), warn=warned.append))
    assert warned == ["the dump has the password of a user mapping of away and is not encrypted"]
    assert ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path))).counts == made.artifact.counts
    with restore(made, "o1", tmp_path / "work", ("p",)) as restorer:
        with pytest.raises(EngineError, match="p2, whose rows another server keeps"):
            restorer.stage()
        restorer.unstage()
    assert server.sql(far, "SELECT count(*) FROM p2") == "1"
    warned.clear()
    with restore(made, "o2", tmp_path / "work", work=Work(str(tmp_path), warn=warned.append)) as restorer:
        restorer.check()
        assert any("the subscription sub is not restored" in text for text in warned)
        restorer.stage()
        restorer.swap()
        with pytest.raises(EngineError, match="has the subscription sub, which holds a slot"):
            restorer.discard()
        restorer.unswap()
        restorer.unstage()
    server.sql(
        near,
        "ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub; CREATE ROLE mapped; CREATE USER MAPPING FOR mapped SERVER away OPTIONS (password 'geheim; 1')",
    )
    made = make_set(server.spec(near), tmp_path / "set")
    server.sql(near, "DROP USER MAPPING FOR mapped SERVER away; DROP ROLE mapped")
    with pytest.raises(EngineError, match="mapped") as told:
        ENGINE.drill(made.spec, made.artifact._replace(source={**made.artifact.source, "roles": []}), made.stored, Work(str(tmp_path)))
    assert "geheim" not in str(told.value)
    server.sql("postgres", "DROP DATABASE near; DROP DATABASE far")


def test_a_user_who_may_not_see_all_rows_makes_no_dump_and_is_told_why(server: Server, tmp_path: Path) -> None:
    name = server.make("guarded")
    server.sql(
        name, "CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE ROLE weak LOGIN; GRANT pg_read_all_data TO weak"
    )
    with pytest.raises(EngineError, match="row-level security policy"):
        make_set(server.spec(name, user="weak"), tmp_path / "set")
    ENGINE.reach(server.spec(name, user="weak"), Work(str(tmp_path)))
    with pytest.raises(EngineError, match='database "nowhere" does not exist'):
        ENGINE.reach(server.spec("nowhere"), Work(str(tmp_path)))
    server.sql("postgres", "DROP DATABASE guarded; DROP ROLE weak")


def test_bytes_without_an_encoding(server: Server, tmp_path: Path) -> None:
    server.sql("postgres", "CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    server.sql("bytes", "CREATE TABLE t (id int, data text); INSERT INTO t VALUES (1, E'\\xff\\xfe'), (2, E'gr\\xf6\\xdfe')")
    made = make_set(server.spec("bytes"), tmp_path / "set")
    ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
    assert ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path))).counts == made.artifact.counts
    with restore(made, "b1", tmp_path / "work") as restorer:
        restorer.stage()
        restorer.swap()
        restorer.discard()
    assert server.sql("bytes", "SELECT encode(convert_to(data, 'SQL_ASCII'), 'hex') FROM t ORDER BY id").split() == ["fffe", "6772f6df65"]
    server.sql("postgres", "DROP DATABASE bytes")


def test_clients_that_hold_connections_do_not_stop_a_restore(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    made = make_set(server.spec(name), tmp_path / "set")
    held = [
        subprocess.Popen(
            ["psql", "-X", "-q", "-h", server.folder, "-p", str(server.port), "-U", "postgres", "-d", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _at in range(4)
    ]
    for client in held:
        client.stdin.write(b"BEGIN; SELECT count(*) FROM users;\n\\echo here\n")  # type: ignore[union-attr]
        client.stdin.flush()  # type: ignore[union-attr]
        while b"here" not in client.stdout.readline():  # type: ignore[union-attr]
            pass
    with restore(made, "c1", tmp_path / "work") as restorer:
        restorer.stage()
        restorer.swap()
        assert restorer.count() == made.artifact.counts
        restorer.discard()
    for client in held:
        client.communicate()


def test_a_password_is_in_no_message_and_on_no_command_line(server: Server, awkward: str, tmp_path: Path) -> None:
    spec = server.spec(awkward, host="127.0.0.1", user="login", password=PASSWORD)
    seen = []

    def looking() -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                seen.append((folder / "cmdline").read_bytes())

    made = make_set(spec, tmp_path / "set", meanwhile=looking)
    assert any(b"psql" in line for line in seen)
    assert not [line for line in seen if PASSWORD.encode() in line]
    assert made.artifact.counts["rows.public.all_bytes"] == 1001
    assert PASSWORD not in json.dumps(made.artifact._asdict())
    with pytest.raises(EngineError) as told:
        make_set({**spec, "password": "wrong secret"}, tmp_path / "wrong")
    assert told.value.code == "denied"
    assert "wrong secret" not in str(told.value)
    with pytest.raises(EngineError) as told:
        make_set({**spec, "port": 1}, tmp_path / "away")
    assert told.value.code == "unreachable"
    with pytest.raises(EngineError, match="does not exist"):
        make_set({**spec, "database": "nowhere"}, tmp_path / "away")


def test_tls(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    keys = make_certificates(tmp_path / "tls")
    plain = server.spec(name, host="127.0.0.1", user="login", password=PASSWORD)
    trusting = {**plain, "ca_file": str(keys / "ca.pem")}
    work = Work(str(tmp_path))
    with pytest.raises(EngineError, match="does not support SSL"):  # nothing goes on in the clear
        ENGINE.reach(trusting, work)
    for file in ("server.pem", "server.key", "ca.pem"):
        shutil.copy(keys / file, server.data)
        if server.user:
            shutil.chown(Path(server.data, file), server.user)
        os.chmod(Path(server.data, file), 0o600)
    rules = Path(server.data, "pg_hba.conf")
    before = rules.read_text()
    try:
        # Who has no certificate gets in with a password, if at all, by TLS alone.
        rules.write_text("local all all trust\nhostssl all login 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        server.sql("postgres", "ALTER SYSTEM SET ssl_cert_file = 'server.pem'")
        server.sql("postgres", "ALTER SYSTEM SET ssl_key_file = 'server.key'")
        server.sql("postgres", "ALTER SYSTEM SET ssl_ca_file = 'ca.pem'")
        server.sql("postgres", "ALTER SYSTEM SET ssl = on")
        server.sql("postgres", "CREATE ROLE other SUPERUSER LOGIN PASSWORD 'secret'; SELECT pg_reload_conf(), pg_sleep(0.5)")
        made = make_set({**trusting, "user": "other", "password": "secret"}, tmp_path / "set")
        known = {**trusting, "cert_file": str(keys / "login.pem"), "key_file": str(keys / "login.key")}
        made = make_set({**known, "password": None}, tmp_path / "set")
        assert ENGINE.drill(made.spec, made.artifact, made.stored, work).counts == made.artifact.counts
        server.sql(name, "DELETE FROM orders")
        with restore(made, "s1", tmp_path / "work", ("orders",)) as restorer:
            restorer.stage()
            restorer.swap()
            restorer.discard()
            restorer.unstage()
        assert server.sql(name, "SELECT count(*) FROM orders") == "3000"
        for wrong, match in (
            ({**known, "ca_file": str(keys / "other.pem")}, "certificate verify failed"),
            ({**known, "host": "localhost"}, 'does not match host name "localhost"'),
            (trusting, "requires a valid client certificate"),
            ({**known, "ca_file": str(keys / "none.pem")}, "does not exist"),
        ):
            with pytest.raises(EngineError, match=match) as told:
                ENGINE.reach(wrong, work)
            assert PASSWORD not in str(told.value)
    finally:
        rules.write_text(before)
        server.sql("postgres", "DROP ROLE IF EXISTS other; ALTER SYSTEM RESET ssl")
        server.sql("postgres", "ALTER SYSTEM RESET ALL")
        server.sql("postgres", "SELECT pg_reload_conf()")


def test_rows_of_20_megabytes(server: Server, tmp_path: Path) -> None:
    name = server.make("huge")
    server.sql(
        name,
        "CREATE TABLE huge (id int PRIMARY KEY, b bytea, t text); INSERT INTO huge SELECT g, decode(repeat('0a5c2e0a', 5242880), 'hex'), repeat(E'\\\\.\\n', 1000000) FROM generate_series(1, 1) g",
    )
    made = make_set(server.spec(name), tmp_path / "set")
    ENGINE.read_through(made.artifact, made.stored, Work(str(tmp_path)))
    drilled = ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path)))
    assert (drilled.counts, drilled.samples) == (made.artifact.counts, made.artifact.samples)
    server.sql("postgres", "DROP DATABASE huge")


def test_what_a_killed_drill_left_goes_with_the_next(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    made = make_set(server.spec(name), tmp_path / "set")
    server.make("opsrunner_drill_0123")
    warned: list[str] = []
    ENGINE.drill(made.spec, made.artifact, made.stored, Work(str(tmp_path), warn=warned.append))
    assert warned == ["opsrunner_drill_0123 was left behind by a drill and is dropped"]
    assert not [found for found in server.databases() if "drill" in found]


def test_the_integrity_of_live_data(server: Server, tmp_path: Path) -> None:
    name = _small(server)
    server.sql(name, "CREATE EXTENSION amcheck")
    assert ENGINE.integrity(server.spec("nowhere"), Work(str(tmp_path))).problems == ["there is no database nowhere"]
    found = ENGINE.integrity(server.spec(name), Work(str(tmp_path)))
    assert found.ok
    assert found.counts["rows.public.users"] == 500
    path = os.path.join(server.data, server.sql(name, "CHECKPOINT; SELECT pg_relation_filepath('orders_pkey')"))
    heap = os.path.join(server.data, server.sql(name, "SELECT pg_relation_filepath('users')"))
    server.stop("fast")
    for file in (path, heap):
        with open(file, "r+b") as handle:
            handle.seek(8192 + 100 if file == path else 16)
            handle.write(os.urandom(4000))
    server.start()
    found = ENGINE.integrity(server.spec(name), Work(str(tmp_path)))
    assert not found.ok
    assert any("orders_pkey" in problem for problem in found.problems), found.problems
    assert any("users" in problem for problem in found.problems), found.problems
    saved = ENGINE.salvage(server.spec(name), str(tmp_path), Work(str(tmp_path)))
    assert any("public.other.copy" in file for file in saved)
    assert any("users" in file and file.endswith(".incomplete") for file in saved), saved
    server.sql("postgres", f"DROP DATABASE {name}")
