# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dumps that somebody has changed, loaded by a drill into a real server: no command runs, and no statement reaches another database."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from my_servers import Server, make_set

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.dump_reader import DumpReader
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.engine import MysqlEngine

ENGINE = MysqlEngine()
HEAD = b"-- MariaDB dump 10.19\n/*!40101 SET NAMES utf8mb4 */;\nCREATE TABLE `t` (\n  `a` varchar(99) DEFAULT NULL\n) ENGINE=InnoDB;\n"
TAIL = b"\n-- Dump completed on 2026-01-01  0:00:00\n"
ROWS = b"INSERT INTO `t` VALUES\n"
#: Each tries to have COMMAND run by the client, or a statement by the server that writes elsewhere.
CRAFTED = {
    "rows_plain": ROWS + b"(2)\\! COMMAND\n;\n",
    "rows_nl": ROWS + b"(2)\n\\! COMMAND\n;\n",
    "rows_after": ROWS + b"(1),(2);\\! COMMAND\n",
    "rows_system": ROWS + b"(2)\nsystem COMMAND\n;\n",
    "rows_twice": ROWS + b"(2)\\\\! COMMAND\n;\n",
    "rows_quote": ROWS + b"('a'),(2)\\'\\! COMMAND\n;\n",
    "rows_pager": ROWS + b"(1)\\P COMMAND\n;\n",
    "rows_tee": ROWS + b"(1)\\T MARK\n;\n",
    "rows_source": ROWS + b"(1)\\. MARK\n;\n",
    "rows_statement": ROWS + b"(1); CREATE DATABASE opsrunner_pwned; INSERT INTO `t` VALUES (2);\n",
    "rows_select": ROWS + b"((SELECT 'x' INTO OUTFILE 'MARK'));\n",
    "rows_call": ROWS + b"(load_file('MARK'));\n",
    "rows_comment": ROWS + b"(1)/*! ; CREATE DATABASE opsrunner_pwned */;\n",
    "rows_dash": ROWS + b"(1)--\x0b'\n\\! COMMAND\n;\n",
    "dash_tab_nonl": b"SET @a = 1 --\x0b'\n\\! COMMAND\n-- ';\n",
    "dash_cr": b"SET @a = 1 --\r'\n\\! COMMAND\n-- ';\n",
    "dash_null": b"SET @a = 1 --\x00'\n\\! COMMAND\n-- ';\n",
    "statement": b"SET @a = 1\\! COMMAND\n;\n",
    "system": b"system COMMAND\n",
    "source": b"source MARK\n",
    "hash": b"SET @a = 1 # '\n\\! COMMAND\n# ';\n",
    "delimiter": b"DELIMITER ;;\n\\! COMMAND\nCREATE TRIGGER `x` BEFORE INSERT ON `t` FOR EACH ROW SET @a = 1 ;;\nDELIMITER ;\n",
    "database": b"CREATE DATABASE opsrunner_pwned;\n",
    "use": b"USE mysql;\n",
    "grant": b"GRANT ALL ON *.* TO x@localhost;\n",
}


def artifact_of(data: bytes, path: Path) -> tuple[Artifact, Stored]:
    """A dump as a set has it."""
    path.write_bytes(data)
    artifact = Artifact(
        *("mysql", path.name, len(data), hashlib.sha256(data).hexdigest(), "mariadb-dump", 0.0, 0.0),
        *("1", "10.5.0-MariaDB", {}, "db", "none", None, {}, {"database": "shop"}),
    )
    return artifact, Stored(str(path))


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_dump_runs_nothing(name: str, server: Server, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = CRAFTED[name].replace(b"COMMAND", b"touch " + str(mark).encode()).replace(b"MARK", str(mark).encode())
    artifact, stored = artifact_of(HEAD + text + TAIL, tmp_path / "db.sql")
    with pytest.raises(EngineError):
        ENGINE.drill(server.spec("shop"), artifact, stored, Work(str(tmp_path)))
    assert not mark.exists()
    assert "opsrunner_pwned" not in server.databases()
    assert not [found for found in server.databases() if "drill" in found]
    with pytest.raises(EngineError):
        ENGINE.read_through(artifact, stored, Work(str(tmp_path)))


@pytest.mark.parametrize("name", [name for name in CRAFTED if b"COMMAND" in CRAFTED[name]])
def test_the_client_itself_runs_no_command_of_a_dump(name: str, server: Server, tmp_path: Path) -> None:
    """The second wall: what the reader would let pass does nothing in a client that is started as ours is."""
    from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.client import Client

    mark = tmp_path / "mark"
    command = Client(server.spec("shop"), Work(str(tmp_path))).client("--force")
    text = HEAD + CRAFTED[name].replace(b"COMMAND", b"touch " + str(mark).encode()) + TAIL
    subprocess.run(command.argv, input=b"CREATE DATABASE IF NOT EXISTS victim; USE victim;\n" + text, check=False, capture_output=True)
    assert not mark.exists()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
def test_plain_rows_are_taken_wherever_a_block_ends(size: int) -> None:
    rows = b"(1,-2.5e-7,NULL,'it''s \\\\ \\' ; \\! x',0xDEADbeef,_binary 'a\\0b','-- x'),\n(+3,1e10,NULL,'',x'00',_binary '','/*! y */')"
    data = HEAD + ROWS + rows + b";\n" + TAIL
    reader = DumpReader()
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
    reader.finish()
    assert reader.strange == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("name", [name for name in CRAFTED if name.startswith("rows_")])
def test_crafted_rows_are_seen_wherever_a_block_ends(name: str, size: int) -> None:
    data = HEAD + CRAFTED[name] + TAIL
    reader = DumpReader()
    with_error = False
    try:
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])
        reader.finish()
    except EngineError:
        with_error = True
    assert reader.strange or with_error


def test_a_live_server_is_not_drilled_in_as_one_who_may_do_all(server: Server, tmp_path: Path) -> None:
    server.make("small", "CREATE TABLE t (a int); INSERT INTO t VALUES (1);")
    made = make_set(server.spec("small"), tmp_path / "set")
    with pytest.raises(EngineError, match="has all rights on the server"):
        ENGINE.drill(server.spec("small", drill_server="live"), made.artifact, made.stored, Work(str(tmp_path)))
    assert not [found for found in server.databases() if "drill" in found]
