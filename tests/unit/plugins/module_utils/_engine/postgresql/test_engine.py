# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PostgreSQL engine as far as no server is needed: options, names, scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.readers import read_item
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.postgresql.artifact import CopyCounter
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.postgresql.client import (
    Client,
    code_of,
    conninfo,
    fitted,
    literal,
    qualified,
    quote,
    shown,
    split_name,
)
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.postgresql.engine import PostgresqlEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.postgresql.facts import _list_items, behind, creation, properties
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.postgresql.globals import parse, statements
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError

ENGINE = PostgresqlEngine()
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)


def _parsed(**given_: object) -> dict[str, object]:
    return ENGINE.parse(read_item(given_, "a", ENGINE.readers, ENGINE.required), "a")


def test_options_are_read() -> None:
    assert _parsed(database="shop", timeout="1m")["content"] == "whole"
    assert _parsed(database="shop", tables=["users"])["content"] == "tables"
    assert _parsed(content="globals", host="/run")["content"] == "globals"


@pytest.mark.parametrize(
    ("given_", "match"),
    [
        ({}, r"a\.database: is required"),
        ({"database": "x", "content": "tables"}, r"a\.tables: is required"),
        ({"database": "x", "content": "schema", "tables": ["t"]}, r"a\.tables: goes with content tables only"),
        ({"content": "globals", "database": "x"}, r"a\.database: does not go with content globals"),
        ({"database": "x", "tables": ["a.b.c"]}, r"a\.tables\[0\]: 'a\.b\.c' is no table"),
        ({"database": "x", "tables": ['"a']}, r"a\.tables\[0\]"),
        ({"database": "x", "port": 70000}, r"a\.port: 70000 is no port"),
        ({"database": "x", "content": "hole"}, r"unknown choice 'hole' \(did you mean whole\?\)"),
        ({"database": "x", "pasword": "y"}, r"did you mean password\?"),
        ({"database": "x", "run_as": "a b"}, r"a\.run_as"),
    ],
)
def test_bad_options_are_told_by_their_path(given_: dict[str, object], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        _parsed(**given_)


@given(TEXT, TEXT)
def test_a_table_is_found_again_by_the_name_that_is_shown(schema: str, name: str) -> None:
    assert split_name(shown(schema, name)) == (schema, name)


@given(TEXT, TEXT, st.text("abc019", min_size=1, max_size=32))
def test_made_names_fit_and_stay_apart(one: str, other: str, ident: str) -> None:
    suffix = "_opsrunner_aside_" + ident
    first, second = fitted(one * 5, suffix), fitted(other * 5, suffix)
    assert len(first.encode()) <= 63
    assert first.endswith(suffix)
    assert (first == second) == (one * 5 == other * 5)


@pytest.mark.parametrize("host", [None, "/run/postgresql"])
def test_a_socket_has_no_certificate(host: str | None) -> None:
    with pytest.raises(OptionError, match=r"a\.ca_file: goes with a host only"):
        _parsed(database="x", host=host, ca_file="/ca.pem")


def test_what_a_program_says_is_told_without_secrets() -> None:
    client = Client({"password": "pass word"}, Work("/"))
    said = "ERROR: no role Command was: CREATE USER MAPPING FOR x OPTIONS (password 'ge''heim', \"user\" 'me"
    told = str(client.error(StreamError("pg_restore", 1, said)))
    assert "heim" not in told
    assert "CREATE USER MAPPING FOR x" in told
    assert "geheim" not in str(client.error(StreamError("pg_restore", 1, "ns (\n password 'geheim', x 'y') and pass word")))
    assert "pass word" not in str(client.error(StreamError("pg_restore", 1, "pass word")))


def test_names_and_texts_are_quoted() -> None:
    assert quote('a"b') == '"a""b"'
    assert qualified("a.b", "c") == '"a.b"."c"'
    assert literal("it's \\") == "'it''s \\'"
    assert conninfo("a'b\\ host=x") == "dbname='a\\'b\\\\ host=x'"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('FATAL:  password authentication failed for user "x"', "denied"),
        ("connection to server on socket failed: No such file or directory", "unreachable"),
        ("psql is not installed", "unreachable"),
        ("could not extend file: No space left on device", "space"),
        ("pg_dump: error: aborting because of server version mismatch", "version"),
        ("something else", "failed"),
    ],
)
def test_what_programs_say_has_a_code(text: str, code: str) -> None:
    assert code_of(text) == code


# Rows in a script


def _identifier(name: str) -> str:
    return name if name.isascii() and name.isalpha() and name.islower() else quote(name)


def _script(tables: list[tuple[str, str, list[list[str]]]], objects: int) -> tuple[bytes, dict[str, int]]:
    text = "--\n-- PostgreSQL database dump\n--\n\nSET x = 1;\n\n"
    counts: dict[str, int] = {}
    for schema, name, rows in tables:
        text += "COPY %s.%s (%s) FROM stdin;\n" % (_identifier(schema), _identifier(name), _identifier("colu\nmn"))
        for row in rows:
            cells = [cell.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") for cell in row]
            text += "\t".join(cells) + "\n"
        text += "\\.\n\n\n"
        counts["rows." + shown(schema, name)] = counts.get("rows." + shown(schema, name), 0) + len(rows)
    for number in range(objects):
        text += "SELECT pg_catalog.lo_open('%d', 131072);\nSELECT pg_catalog.lowrite(0, '\\x%s');\n" % (number, "00" * 500)
    return text.encode(), counts


CELL = st.one_of(TEXT, st.sampled_from(["\\.", "COPY a.b (c) FROM stdin;", "", "\n\\.\n", "\\N"]))
TABLES = st.lists(st.tuples(TEXT, TEXT, st.lists(st.lists(CELL, min_size=1, max_size=3), max_size=5)), max_size=4)


@given(TABLES, st.integers(0, 3), st.integers(1, 400))
def test_rows_are_counted_whatever_they_hold_and_wherever_blocks_end(
    tables: list[tuple[str, str, list[list[str]]]], objects: int, size: int
) -> None:
    script, wanted = _script(tables, objects)
    counter = CopyCounter()
    for at in range(0, len(script), size):
        counter.feed(script[at : at + size])
    assert counter.finish() == wanted
    assert counter.objects == objects


def test_rows_that_end_in_the_middle_are_damage() -> None:
    counter = CopyCounter()
    counter.feed(b"COPY public.t (a) FROM stdin;\n1\n2\n")
    with pytest.raises(EngineError, match=r"rows\.public\.t ends in the middle"):
        counter.finish()


# Databases


@given(st.lists(TEXT, max_size=4))
def test_lists_of_names_are_read_as_the_server_keeps_them(names: list[str]) -> None:
    assert _list_items(", ".join(quote(name) for name in names)) == names


def test_a_database_gets_its_properties_again() -> None:
    told = {
        "connections": 5,
        "comment": "it's",
        "privileges": [{"role": None, "what": "CONNECT", "further": False}, {"role": "a b", "what": "CREATE", "further": True}],
        "settings": [{"role": None, "item": 'search_path="$user", public'}, {"role": "r", "item": "my.own=a=b"}],
    }
    assert properties(told, "d") == [
        'ALTER DATABASE "d" CONNECTION LIMIT 5',
        "COMMENT ON DATABASE \"d\" IS 'it''s'",
        'REVOKE ALL ON DATABASE "d" FROM PUBLIC',
        'GRANT CONNECT ON DATABASE "d" TO PUBLIC',
        'GRANT CREATE ON DATABASE "d" TO "a b" WITH GRANT OPTION',
        "ALTER DATABASE \"d\" SET \"search_path\" TO '$user', 'public'",
        'ALTER ROLE "r" IN DATABASE "d" SET "my"."own" TO \'a=b\'',
    ]


def test_a_database_is_made_with_its_own_locale() -> None:
    like = {"encoding": "UTF8", "collate": "en_US.utf8", "ctype": "C", "provider": "i", "locale": "und"}
    assert creation(like, "d", 150000).endswith("LC_COLLATE 'en_US.utf8' LC_CTYPE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'und'")
    assert creation(like, "d", 140000).endswith("LC_CTYPE 'C'")
    assert creation(like, "d", 150000, locale=False).endswith("ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")


def test_sequences_may_be_ahead_and_never_behind() -> None:
    wanted = {"up": [5, 1], "down": [-5, -1], "unused": [None, 1], "gone": [1, 1], "lost": [3, 1]}
    found = {"up": [9, 1], "down": [-9, -1], "unused": [None, 1], "lost": [None, 1]}
    assert behind(wanted, found) == ["sequence gone is missing", "sequence lost is at None, not 3"]
    assert behind({"up": [5, 1], "down": [-5, -1]}, {"up": [4, 1], "down": [-4, -1]}) == [
        "sequence down is at -4, not -5",
        "sequence up is at 4, not 5",
    ]


# Globals

END = "--\n-- PostgreSQL database cluster dump complete\n--\n"


def test_globals_are_read() -> None:
    found = parse(
        "--\n-- it's a comment\n\\restrict abc\nSET x = on;\n"
        'CREATE ROLE plain;\nALTER ROLE plain WITH NOSUPERUSER;\nCREATE ROLE "o;dd ""x""";\n'
        "COMMENT ON ROLE plain IS 'one;\n-- two ''three''';\nALTER ROLE \"o;dd \"\"x\"\"\" SET work_mem TO '1MB';\n"
        'GRANT plain TO "o;dd ""x""" WITH ADMIN OPTION GRANTED BY postgres;\n'
        "CREATE TABLESPACE fast OWNER postgres LOCATION '/srv/fast';\n" + END
    )
    assert found.counts == {"roles": 2, "tablespaces": 1}
    assert found.roles["plain"][-1] == "COMMENT ON ROLE plain IS 'one;\n-- two ''three'''"
    assert found.roles['o;dd "x"'][1].endswith("SET work_mem TO '1MB'")
    assert found.grants[0][:2] == ("plain", 'o;dd "x"')


@pytest.mark.parametrize("text", ["", "CREATE ROLE x;\n", "CREATE ROLE x\n" + END, END + "x" * 2000])
def test_globals_without_an_end_are_damage(text: str) -> None:
    with pytest.raises(EngineError) as told:
        parse(text)
    assert told.value.code == "damaged"


@given(st.lists(TEXT, max_size=4))
def test_statements_are_told_apart_whatever_their_texts_hold(texts: list[str]) -> None:
    script = "".join("COMMENT ON ROLE %s IS %s;\n" % (quote(text), literal(text)) for text in texts)
    assert len(statements(script)) == len(texts)
