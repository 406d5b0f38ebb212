# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers with data, as the engines' own tests start them, each a backup with two sets."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import free_port, needs

from opsrunner.find.collection import backup_make, backup_options
from opsrunner.selftest import backup as selftest_backup

HERE = Path(__file__).resolve().parent
# After the others: names are told apart there.
sys.path += [str(HERE.parent / name) for name in ("postgresql", "mysql", "redis")]

ENGINES = ("postgresql", "mysql", "redis")


def _postgresql(_folder: Path) -> Iterator[dict[str, Any]]:
    from pg_servers import Server

    needs("psql")
    server = Server(free_port())
    try:
        server.make("shop")
        server.sql("shop", "CREATE TABLE item (id serial PRIMARY KEY, name text)")
        server.sql("shop", "INSERT INTO item (name) SELECT md5(n::text) FROM generate_series(1, 500) n")
        yield {"database": "shop", "host": server.folder, "port": server.port, "user": "postgres"}
        server.sql("shop", "INSERT INTO item (name) VALUES ('late')")
        yield {}
    finally:
        server.remove()


def _mysql(_folder: Path) -> Iterator[dict[str, Any]]:
    from my_servers import Server

    needs("mariadb")
    server = Server(free_port())
    try:
        server.make("shop", "CREATE TABLE item (id int AUTO_INCREMENT PRIMARY KEY, name text)")
        server.sql("INSERT INTO item (name) SELECT md5(seq) FROM seq_1_to_500", "shop")
        yield {"database": "shop", "socket": server.socket, "user": "root"}
        server.sql("INSERT INTO item (name) VALUES ('late')", "shop")
        yield {}
    finally:
        server.remove()


def _redis(folder: Path) -> Iterator[dict[str, Any]]:
    from servers import PASSWORD, Server, fill

    server = Server(folder / "server", needs("redis-server")).start()
    try:
        with server.client() as client:
            fill(client)
        yield {"socket": server.socket, "password": PASSWORD}
        with server.client() as client:
            client.ask("SET", "late", "1")
        yield {}
    finally:
        server.stop()


@pytest.fixture(scope="session", params=ENGINES)
def backup(request, tmp_path_factory) -> Iterator[selftest_backup.Backup]:
    """A backup of an engine, with two sets a day apart."""
    folder = tmp_path_factory.mktemp(request.param)
    folder.chmod(0o755)
    started = {"postgresql": _postgresql, "mysql": _mysql, "redis": _redis}[request.param](folder)
    keys = next(started)
    try:
        root = folder / "sets"
        options = {
            "name": "selftest",
            "root": str(root),
            "artifacts": [{"name": "shop", "engine": request.param, **keys}],
            "nice": 0,
            "io_class": "none",
        }
        parsed = backup_options.parse([options])
        names: list[str] = []
        for days in (1, 0):
            at = time.time() - days * 86400
            made = backup_make.run(parsed, "selftest", clock=lambda at=at: at).made[0]
            assert made.set, made.found
            names.insert(0, made.set)
            if days:
                next(started)  # what changes until the next set
        yield selftest_backup.Backup(root, options, names)
    finally:
        for _end in started:
            pass
