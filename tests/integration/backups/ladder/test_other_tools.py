# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the servers' own dump programs write is read as whole, and half of it is not."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from programs import free_port, needs

from opsrunner.selftest import backup as selftest_backup


def verdict(folder: Path, kind: str = "file") -> selftest_backup.Verdict:
    """What is said of the newest of a folder."""
    options = {"name": "other", "root": str(folder), "kind": kind, "pattern": "*", "nice": 0, "io_class": "none"}
    return selftest_backup.verify({**options, "drill": {"scratch": str(folder) + "-scratch"}}, 3)


def judge(folder: Path, files: dict[str, bytes]) -> None:
    """Each is whole as it is, also compressed, and not whole without its second half."""
    for name, data in files.items():
        for ending, pack in (("", bytes), (".gz", gzip.compress)):
            for whole, content in ((True, data), (False, data[: len(data) // 2])):
                folder.mkdir()
                (folder / (name + ending)).write_bytes(pack(content))
                found = verdict(folder)
                assert found.status == ("ok" if whole else "critical"), (name, ending, whole, found)
                shutil.rmtree(folder)


@pytest.fixture(scope="module")
def postgresql():
    """A server with a database."""
    from pg_servers import Server as PostgresqlServer

    needs("psql")
    server = PostgresqlServer(free_port())
    try:
        server.make("shop")
        server.sql("shop", "CREATE TABLE item (id serial PRIMARY KEY, name text)")
        server.sql("shop", "INSERT INTO item (name) SELECT md5(n::text) FROM generate_series(1, 2000) n")
        yield server
    finally:
        server.remove()


def said(*words: object) -> bytes:
    """What a program writes."""
    return subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True).stdout


def test_dumps_of_postgresql(postgresql, tmp_path):
    reach = ("-h", postgresql.folder, "-p", postgresql.port, "-U", "postgres")
    files = {f"shop.{name}": said("pg_dump", *reach, *options, "shop") for name, *options in (("sql",), ("dump", "-Fc"), ("tar", "-Ft"))}
    files["schema.sql"] = said("pg_dump", *reach, "--schema-only", "shop")
    files["all.sql"] = said("pg_dumpall", *reach)
    files["globals.sql"] = said("pg_dumpall", *reach, "--globals-only")
    judge(tmp_path / "files", files)


def test_a_folder_of_pg_dump(postgresql, tmp_path):
    folder = tmp_path / "folders" / "2026-01-31"
    folder.parent.mkdir()
    said("pg_dump", "-h", postgresql.folder, "-p", postgresql.port, "-U", "postgres", "-Fd", "-j", "2", "-f", folder, "shop")
    assert verdict(folder.parent, "folder").status == "ok"
    data = max(folder.glob("*.dat.gz"), key=lambda path: path.stat().st_size)
    kept = data.read_bytes()
    os.truncate(data, len(kept) // 2)
    assert verdict(folder.parent, "folder").status == "critical"
    data.unlink()
    found = verdict(folder.parent, "folder")
    assert (found.status, found.rung) == ("critical", 3)
    assert data.stem in found.reason


def test_dumps_of_mariadb(tmp_path):
    from my_servers import Server as MySqlServer

    needs("mariadb-dump")
    server = MySqlServer(free_port())
    try:
        server.make("shop", "CREATE TABLE item (id int AUTO_INCREMENT PRIMARY KEY, name text)")
        server.sql("INSERT INTO item (name) SELECT md5(seq) FROM seq_1_to_2000", "shop")
        dump = ("mariadb-dump", "--socket", server.socket, "-u", "root")
        judge(
            tmp_path / "files",
            {
                "shop.sql": said(*dump, "--single-transaction", "shop"),
                "rows.sql": said(*dump, "--no-create-info", "--skip-extended-insert", "shop"),
                "all.sql": said(*dump, "--all-databases", "--routines", "--events"),
            },
        )
    finally:
        server.remove()


def test_a_file_of_redis(tmp_path):
    from servers import Server as RedisServer
    from servers import fill

    server = RedisServer(tmp_path / "server", needs("redis-server")).start()
    try:
        with server.client() as client:
            fill(client)
            client.ask("SAVE")
        (path,) = (tmp_path / "server").rglob("*.rdb")
        data = path.read_bytes()
    finally:
        server.stop()
    judge(tmp_path / "files", {"dump.rdb": data})
