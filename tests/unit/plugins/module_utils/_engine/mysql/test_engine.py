# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - statements read better on one line
"""The MySQL engine as far as no server is needed: options, names, dumps read piece by piece."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.readers import read_item
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.client import _plain, code_of, fitted, literal, qualified
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.dump_reader import DumpReader, Piece
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.engine import MysqlEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.load import _here, trigger_table

ENGINE = MysqlEngine()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
END = b"-- Dump completed on 2026-01-01  1:02:03\n"


def _parsed(**given_: object) -> dict[str, object]:
    return ENGINE.parse(read_item(given_, "a", ENGINE.readers, ENGINE.required), "a")


def test_options_are_read() -> None:
    assert _parsed(database="shop")["content"] == "whole"
    assert _parsed(database="shop", tables="users")["tables"] == ("users",)


@pytest.mark.parametrize(
    ("given_", "match"),
    [
        ({}, r"a\.database: is required"),
        ({"database": "mysql"}, r"a\.database: mysql is the server's own"),
        ({"database": "x", "content": "tables"}, r"a\.tables: is required"),
        ({"database": "x", "content": "whole", "tables": ["t"]}, r"a\.tables: goes with content tables only"),
        ({"database": "x", "socket": "/s", "host": "h"}, r"a\.socket: does not go with host"),
        ({"database": "x", "ca_file": "/ca"}, r"a\.ca_file: goes with a host only"),
        ({"database": "x", "host": "h", "cert_file": "/c", "key_file": "/k"}, r"a\.ca_file: is required with cert_file"),
        ({"database": "x", "host": "h", "ca_file": "/ca", "cert_file": "/c"}, r"a\.key_file: is required with the other one"),
        ({"database": "x", "ca_flie": "/ca"}, r"did you mean ca_file\?"),
        ({"database": "x", "port": 70000}, r"a\.port: 70000 is no port"),
        ({"database": "x", "content": "globals"}, r"unknown choice 'globals'"),
        ({"database": "x", "sokcet": "/s"}, r"did you mean socket\?"),
    ],
)
def test_bad_options_are_told_by_their_path(given_: dict[str, object], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        _parsed(**given_)


def test_a_password_may_hold_anything_and_is_in_no_message() -> None:
    assert _parsed(database="x", password=" a\tb\n")["password"] == " a\tb\n"
    with pytest.raises(OptionError, match=r"a\.password: is to be a text") as told:
        _parsed(database="x", password="geheim\0")
    assert "geheim" not in str(told.value)


def test_names_and_texts_are_quoted() -> None:
    assert qualified("a`b", "c") == "`a``b`.`c`"
    assert literal("it's \\ \n") == "'it\\'s \\\\ \\n'"
    assert _plain("a\\tb\\\\n\\0") == "a\tb\\n\0"
    assert len(fitted("x" * 64, "_opsrunner_new_1")) == 64
    assert fitted("x" * 64, "_a") != fitted("x" * 63 + "y", "_a")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ERROR 1045 (28000): Access denied for user 'x'@'localhost' (using password: YES)", "denied"),
        ('mariadb-dump: Got error: 2013: "Lost connection to server during query" when dumping table', "unreachable"),
        ("ERROR 2002 (HY000): Can't connect to local server", "unreachable"),
        ("ERROR 1114 (HY000) at line 1: The table 't' is full", "space"),
        ("ERROR 1064 (42000): You have an error", "failed"),
    ],
)
def test_what_programs_say_has_a_code(text: str, code: str) -> None:
    assert code_of(text) == code


# Dumps


def _escaped(text: str) -> bytes:
    for one, other in (("\\", "\\\\"), ("'", "\\'"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\0"), ("\x1a", "\\Z")):
        text = text.replace(one, other)
    return b"'" + text.encode() + b"'"


VALUE = st.one_of(
    st.just(b"NULL"),
    st.integers().map(lambda number: b"%d" % number),
    st.binary(max_size=8).map(lambda data: b"0x" + data.hex().upper().encode() if data else b"''"),
    TEXT.map(_escaped),
    st.sampled_from(["),(", ");\n(", "\\", "'", "\\'),('", ";", "INSERT INTO `x` VALUES (1);\n"]).map(_escaped),
)
ROWS = st.lists(st.lists(VALUE, min_size=1, max_size=3), max_size=6)


def _dump(tables: dict[str, list[list[bytes]]], lines: bool, split: int) -> bytes:
    data = b"-- MariaDB dump; it's 'odd\n/*!40101 SET NAMES utf8mb4 */;\n"
    for name, rows in tables.items():
        quoted = b"`" + name.replace("`", "``").encode() + b"`"
        data += b"\n-- Table structure for table " + name.replace("\n", " ").encode() + b"\n"
        data += b"CREATE TABLE " + quoted + b" (\n  `a;'` int(11) DEFAULT NULL COMMENT 'x;''\\'y\\\\'\n) ENGINE=InnoDB;\n"
        data += b"/*!40000 ALTER TABLE " + quoted + b" DISABLE KEYS */;\n"
        for at in range(0, len(rows), split):
            told = [b"(" + b",".join(row) + b")" for row in rows[at : at + split]]
            data += b"INSERT INTO " + quoted + (b" VALUES\n" + b",\n".join(told) if lines else b" VALUES " + b",".join(told)) + b";\n"
    return data + END


@given(st.dictionaries(NAME, ROWS, max_size=3), st.booleans(), st.integers(1, 4), st.integers(1, 300))
def test_rows_are_counted_whatever_they_hold_and_wherever_blocks_end(
    tables: dict[str, list[list[bytes]]], lines: bool, split: int, size: int
) -> None:
    dump = _dump(tables, lines, split)
    reader = DumpReader()
    rows = b""
    for at in range(0, len(dump), size):
        rows += b"".join(piece.data for piece in reader.feed(dump[at : at + size]) if piece.kind == "rows")
    reader.finish()
    assert {name: reader.counts["rows." + name] for name in tables} == {name: len(found) for name, found in tables.items()}
    assert reader.counts["tables"] == len(tables)
    assert not reader.strange
    assert rows.count(b"INSERT INTO") >= sum(1 for found in tables.values() if found)
    whole = DumpReader()
    whole.feed(dump)
    assert whole.samples == reader.samples
    assert whole.longest == reader.longest


@given(st.dictionaries(NAME, ROWS, max_size=2), st.integers(0, 10_000))
def test_a_dump_that_is_cut_anywhere_is_none(tables: dict[str, list[list[bytes]]], at: int) -> None:
    dump = _dump(tables, True, 3)
    cut = at % (len(dump) - len(END) + 1)
    reader = DumpReader()
    with pytest.raises(EngineError):  # noqa: PT012 - either of the two tells
        reader.feed(dump[:cut])
        reader.finish()


def test_definitions_are_told_apart() -> None:
    reader = DumpReader()
    pieces = reader.feed(
        b"/*M!999999\\- enable the sandbox mode */ \n"
        b"/*!50001 CREATE VIEW `v` AS SELECT\n 1 AS `a`*/;\nCREATE SEQUENCE `s` start with 1;\nDO SETVAL(`s`, 5, 0);\n"
        b"DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`trigger`@`%`*/ /*!50003 trigger tr after insert on `t` for each row begin set @a = ';'; end */;;\n"
        b"DELIMITER ;\nDELIMITER ;;\n/*!50003 SET time_zone = 'SYSTEM' */ ;;\n/*!50106 CREATE*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY DO BEGIN\nSELECT 1;\nEND */ ;;\n"
        b"DELIMITER ;;\nCREATE DEFINER=`a`@`b` PROCEDURE `p`()\nBEGIN # it's\nEND ;;\nDELIMITER ;\n"
        b"/*!50001 DROP VIEW IF EXISTS `v`*/;\n/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`view`@`%` SQL SECURITY DEFINER */\n"
        b"/*!50001 VIEW `v` AS select ';' AS `a` */;\n" + END
    )
    reader.finish()
    kinds = ["placeholder", "sequence", "setval", "trigger", "set", "event", "routine", "drop", "view", "comment"]
    assert [piece.kind for piece in pieces] == kinds
    assert not reader.strange
    assert reader.counts == {"tables": 0, "sequences": 1, "views": 1, "triggers": 1, "routines": 1, "events": 1}


@pytest.mark.parametrize(
    "text",
    [
        b"USE `x`;", b"CREATE DATABASE x;", b"DROP TABLE `a`.`b`;", b"INSERT INTO `a`.`b` VALUES (1);", b"/*!50001 INSERT INTO `a`.`b` VALUES (1)*/;",
        b"SET GLOBAL x = 1;", b"SET PASSWORD = 'x';", b"GRANT ALL ON *.* TO x;", b"\\! ls\n;", b"UPDATE t SET a = 1;", b"CREATE TABLE `a` . `b` (x INT);",
        b"DELIMITER ;;\nDROP TABLE x;;\nDELIMITER ;", b"DELIMITER ;;\n\\! ls\nCREATE PROCEDURE p() SELECT 1;;\nDELIMITER ;", b"/*!50001 \\! ls */;",
    ],
)  # fmt: skip
def test_what_no_dump_of_one_database_has_is_told(text: bytes) -> None:
    reader = DumpReader()
    reader.feed(text + b"\n" + END)
    reader.finish()
    assert reader.strange


def test_definitions_stand_in_the_schema_they_are_loaded_into() -> None:
    trigger = b"DELIMITER ;;\n/*!50003 CREATE*/ /*!50003 TRIGGER shop.tr AFTER DELETE ON `shop`.`users` FOR EACH ROW DELETE FROM shop.x */;;\nDELIMITER ;\n"
    found = _here(Piece("trigger", "", trigger), "shop", "drill", True)
    assert b"TRIGGER tr AFTER DELETE ON `users` FOR EACH ROW DELETE FROM shop.x" in found
    assert _here(Piece("trigger", "", trigger), "shop", "shop", False) == trigger
    with pytest.raises(EngineError, match="a trigger of the database shop"):
        _here(Piece("trigger", "", trigger), "other", "drill", True)
    event = Piece("event", "", b"CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE ENABLE DO SELECT 1")
    assert b"NOT PRESERVE DISABLE DO" in _here(event, "shop", "drill", True)
    with pytest.raises(EngineError, match="kept from running"):
        _here(Piece("event", "", b"CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DO SELECT 1"), "shop", "drill", True)
    database = Piece("database", "shop", b"ALTER DATABASE `shop` CHARACTER SET latin1;\n")
    assert _here(database, "shop", "drill", True) == b"ALTER DATABASE `drill` CHARACTER SET latin1;\n"


@pytest.mark.parametrize(
    ("text", "table"),
    [
        (b"CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW SET @a = 1", "t"),
        (b"trigger a before insert on `d`.`it``s` for  each\nrow begin end", "it`s"),
        (b"CREATE DEFINER=`trigger`@`x` TRIGGER `ON x FOR EACH ROW` AFTER UPDATE ON`t`FOR EACH ROW", "t"),
        (b"no trigger at all", ""),
    ],
)
def test_the_table_of_a_trigger(text: bytes, table: str) -> None:
    assert trigger_table(text) == table
