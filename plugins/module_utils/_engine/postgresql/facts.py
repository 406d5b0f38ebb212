# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""What is in a PostgreSQL database: counted and sampled the same way for a dump, a drill and a restore."""

from __future__ import annotations

from typing import Any, Collection, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .client import Session, literal, qualified, quote, shown

#: Tables that are sampled, and rows of each: half from either end of its primary key.
SAMPLED_TABLES = 20
SAMPLED_ROWS = 100
#: A key that sorts by a collation is sorted anew, so that two servers agree; larger tables (bytes) are not sampled then.
SORTED_SIZE = 256 << 20

#: Schemas of users.
_USERS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


def _no_extension(catalog: str, alias: str) -> str:
    """Leaves out what belongs to an extension (it is dumped as the extension) or was made with another object."""
    return (
        "NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = '%s'::regclass AND d.objid = %s.oid AND d.objsubid = 0 "
        "AND d.deptype = 'e')" % (catalog, alias)
    )


RELATIONS = (
    "SELECT n.nspname AS schema, c.relname AS name, c.oid::int8 AS oid, c.relkind::text AS kind, c.relispartition AS partition, "
    "pg_relation_size(c.oid) AS size FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'i', 'I') AND c.relpersistence <> 't' AND %s AND %s "
    # No dump has an index that was never finished.
    "AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indexrelid = c.oid AND c.relkind = 'i' AND NOT i.indisvalid) ORDER BY 1, 2"
    % (_USERS, _no_extension("pg_class", "c"))
)

#: Tables of extensions whose rows are dumped, as far as the extension's condition lets them.
_SETTINGS = (
    "SELECT n.nspname AS schema, c.relname AS name, k.condition FROM pg_extension e CROSS JOIN unnest(e.extconfig, e.extcondition) "
    "AS k(oid, condition) JOIN pg_class c ON c.oid = k.oid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind = 'r' ORDER BY 1, 2"
)

#: Names of what is counted besides rows; each is a query of one number.
_OBJECTS: Mapping[str, str] = {
    "functions": "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE %s AND %s AND NOT EXISTS "
    "(SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')"
    % (_USERS, _no_extension("pg_proc", "p")),
    "triggers": "SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE NOT t.tgisinternal AND %s AND %s" % (_USERS, _no_extension("pg_class", "c")),
    "constraints": "SELECT count(*) FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace "
    "WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND %s AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.deptype = 'e' AND "
    "d.classid = 'pg_class'::regclass AND d.objid = k.conrelid AND d.objsubid = 0)" % _USERS,
    "types": "SELECT count(*) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
    "WHERE t.typtype IN ('e', 'd', 'r') AND %s AND %s" % (_USERS, _no_extension("pg_type", "t")),
    "policies": "SELECT count(*) FROM pg_policy",
    "extensions": "SELECT count(*) FROM pg_extension",
    "large_objects": "SELECT count(*) FROM pg_largeobject_metadata",
}

_KINDS = {"tables": "rp", "views": "v", "matviews": "m", "sequences": "S", "indexes": "iI"}

SEQUENCES = (
    "SELECT schemaname AS schema, sequencename AS name, last_value AS last, increment_by AS step FROM pg_sequences "
    "WHERE schemaname !~ '^pg_' ORDER BY 1, 2"
)


class Relation(NamedTuple):
    """A table, view, sequence or index. ``kind``: as in pg_class."""

    schema: str
    name: str
    oid: int
    kind: str
    partition: bool
    size: int

    @property
    def sql(self) -> str:
        """Its name as SQL has it."""
        return qualified(self.schema, self.name)

    @property
    def shown(self) -> str:
        """Its name as counts have it."""
        return shown(self.schema, self.name)


def relations(session: Session) -> List[Relation]:
    """All relations of users."""
    return [Relation(**row) for row in session.rows(RELATIONS)]


def with_partitions(session: Session, oid: int) -> List[Tuple[str, str]]:
    """The tables with rows below a table: itself, or its partitions at any depth."""
    found = session.rows(
        "WITH RECURSIVE below AS (SELECT %d::oid AS oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN below b ON b.oid = i.inhparent "
        "JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition) "
        "SELECT n.nspname AS schema, c.relname AS name FROM below b JOIN pg_class c ON c.oid = b.oid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' ORDER BY 1, 2" % oid
    )
    return [(row["schema"], row["name"]) for row in found]


def counts(
    session: Session, only: Optional[Collection[Tuple[str, str]]] = None, rows: bool = True, objects: bool = True
) -> Iterator[Tuple[str, int]]:
    """Names and numbers: rows of each table (``only``: of these), and how many objects of each kind there are."""
    found = relations(session)
    if objects:
        for name, kinds in _KINDS.items():
            yield name, sum(1 for relation in found if relation.kind in kinds)
        for name, query in _OBJECTS.items():
            yield name, session.number(query)
    if rows:
        for relation in found:
            if relation.kind == "r" and (only is None or (relation.schema, relation.name) in only):
                yield "rows." + relation.shown, session.number("SELECT count(*) FROM ONLY " + relation.sql)
        if only is None:
            for row in session.rows(_SETTINGS):
                query = "SELECT count(*) FROM ONLY %s %s" % (qualified(row["schema"], row["name"]), row["condition"])
                yield "rows." + shown(row["schema"], row["name"]), session.number(query)


def of_extensions(session: Session) -> List[Tuple[str, str]]:
    """Tables of extensions whose rows are dumped."""
    return [(row["schema"], row["name"]) for row in session.rows(_SETTINGS)]


def columns(session: Session, oid: int) -> List[str]:
    """The columns of a table that hold data of their own, in its order."""
    found = session.rows(
        "SELECT a.attname AS name FROM pg_attribute a WHERE a.attrelid = %d AND a.attnum > 0 AND NOT a.attisdropped "
        "AND a.attgenerated = '' ORDER BY a.attnum" % oid
    )
    return [row["name"] for row in found]


def _key(session: Session, oid: int) -> List[Dict[str, Any]]:
    return session.rows(
        "SELECT a.attname AS name, a.attcollation <> 0 AS collated FROM pg_index i CROSS JOIN unnest(i.indkey::int2[]) "
        "WITH ORDINALITY AS k(attnum, at) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum "
        "WHERE i.indrelid = %d AND i.indisprimary AND k.at <= i.indnkeyatts ORDER BY k.at" % oid
    )


def sample(session: Session, relation: Relation) -> Optional[str]:
    """The digest of some rows of a table; None when it has no primary key or is too large to be sorted."""
    key = _key(session, relation.oid)
    if not key or (any(column["collated"] for column in key) and relation.size > SORTED_SIZE):
        return None
    names = sorted(columns(session, relation.oid))
    row = "ROW(%s)::text" % ", ".join(quote(name) for name in names)
    hashed = "encode(sha256(convert_to(%s, 'UTF8')), 'hex')" % row
    parts = []
    for way in ("ASC", "DESC"):
        order = ", ".join(quote(column["name"]) + (' COLLATE "C" ' if column["collated"] else " ") + way for column in key)
        parts.append("(SELECT %s AS h FROM ONLY %s ORDER BY %s LIMIT %d)" % (hashed, relation.sql, order, SAMPLED_ROWS // 2))
    query = "SELECT encode(sha256(convert_to(coalesce(string_agg(h, ',' ORDER BY h COLLATE \"C\"), ''), 'UTF8')), 'hex') FROM (%s) q"
    return session.ask(query % " UNION ALL ".join(parts))


def samples(
    session: Session, names: Optional[Collection[str]] = None, only: Optional[Collection[Tuple[str, str]]] = None
) -> Dict[str, str]:
    """Digests by ``rows.schema.table``: of the largest tables (of ``only``), or of exactly ``names``.

    None where the server cannot make them: it is older than 11, or its texts have no encoding.
    """
    if session.number("SELECT current_setting('server_version_num')::int") < 110000:
        return {}
    if session.ask("SHOW server_encoding") == "SQL_ASCII":
        return {}
    tables = [relation for relation in relations(session) if relation.kind == "r"]
    if names is not None:
        chosen = [relation for relation in tables if "rows." + relation.shown in names]
    else:
        chosen = [relation for relation in tables if only is None or (relation.schema, relation.name) in only]
        chosen = sorted(chosen, key=lambda relation: (-relation.size, relation.shown))[:SAMPLED_TABLES]
    taken = {"rows." + relation.shown: sample(session, relation) for relation in chosen}
    return {name: digest for name, digest in taken.items() if digest is not None}


def sequences(session: Session) -> Dict[str, List[Optional[int]]]:
    """Last value (None: never used) and step of each sequence. Not part of a snapshot: they only ever go on."""
    return {shown(row["schema"], row["name"]): [row["last"], row["step"]] for row in session.rows(SEQUENCES)}


def behind(wanted: Mapping[str, Sequence[Optional[int]]], found: Mapping[str, Sequence[Optional[int]]]) -> List[str]:
    """Sequences that are not as far as they were: they would give numbers a second time."""
    texts = []
    for name, (last, step) in sorted(wanted.items()):
        now = found[name][0] if name in found else None
        if name not in found:
            texts.append("sequence %s is missing" % name)
        elif last is not None and (now is None or (now < last if (step or 1) > 0 else now > last)):
            texts.append("sequence %s is at %s, not %d" % (name, now, last))
    return texts


def database(session: Session, name: str) -> Dict[str, Any]:
    """What a restore has to know of a database: plain JSON."""
    where = literal(name)
    row = session.rows("SELECT to_jsonb(d) AS d FROM pg_database d WHERE datname = %s" % where)[0]["d"]
    one = session.rows(
        "SELECT pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding, t.spcname AS tablespace, "
        "pg_database_size(d.oid) AS bytes, shobj_description(d.oid, 'pg_database') AS comment "
        "FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = %s" % where
    )[0]
    privileges = None
    if row.get("datacl") is not None:
        privileges = session.rows(
            "SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END AS role, a.privilege_type AS what, "
            "a.is_grantable AS further FROM pg_database d CROSS JOIN aclexplode(d.datacl) WITH ORDINALITY a WHERE d.datname = %s "
            "ORDER BY a.ordinality" % where
        )
    settings = session.rows(
        "SELECT CASE WHEN s.setrole = 0 THEN NULL ELSE pg_get_userbyid(s.setrole) END AS role, c.item FROM pg_db_role_setting s "
        "JOIN pg_database d ON d.oid = s.setdatabase CROSS JOIN unnest(s.setconfig) AS c(item) "
        "WHERE d.datname = %s AND c.item NOT LIKE 'opsrunner.%%' ORDER BY 1, 2" % where
    )
    return {
        "database": name,
        "owner": one["owner"],
        "encoding": one["encoding"],
        "collate": row["datcollate"],
        "ctype": row["datctype"],
        "provider": row.get("datlocprovider") or "c",
        "locale": row.get("datlocale") or row.get("daticulocale"),
        "tablespace": one["tablespace"],
        "comment": one["comment"],
        "connections": row["datconnlimit"],
        "template": row["datistemplate"],
        "privileges": privileges,
        "settings": settings,
        "bytes": one["bytes"],
    }


def contents(session: Session) -> Dict[str, Any]:
    """What a dump of the database needs on the server that it goes to: extensions and roles."""
    extensions = {row["name"]: row["version"] for row in session.rows("SELECT extname AS name, extversion AS version FROM pg_extension")}
    # What the server's first role owns is not in pg_shdepend.
    roles = session.rows(
        "SELECT DISTINCT pg_get_userbyid(s.refobjid) AS name FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid "
        "WHERE d.datname = current_database() AND s.refclassid = 'pg_authid'::regclass "
        "UNION SELECT pg_get_userbyid(o.owner) FROM (SELECT oid, relowner AS owner FROM pg_class "
        "UNION ALL SELECT oid, proowner FROM pg_proc UNION ALL SELECT oid, typowner FROM pg_type "
        "UNION ALL SELECT oid, nspowner FROM pg_namespace UNION ALL SELECT oid, lomowner FROM pg_largeobject_metadata) o "
        "WHERE o.oid >= 16384 AND o.owner = 10 ORDER BY 1"
    )
    return {"extensions": extensions, "roles": [row["name"] for row in roles]}


_LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)


def _list_items(value: str) -> List[str]:
    """The names of a list as the server keeps it: ``"$user", public``."""
    items: List[str] = []
    at = 0
    while at < len(value):
        if value[at] in ", \t":
            at += 1
        elif value[at] == '"':
            end = at + 1
            while end < len(value) and (value[end] != '"' or value[end : end + 2] == '""'):
                end += 2 if value[end] == '"' else 1
            items.append(value[at + 1 : end].replace('""', '"'))
            at = end + 1
        else:
            end = value.find(",", at)
            end = len(value) if end < 0 else end
            items.append(value[at:end].strip())
            at = end
    return items


def properties(database_facts: Mapping[str, Any], name: str) -> List[str]:
    """The statements that give a database what :func:`database` told, as far as no creation does."""
    target = quote(name)
    told = ["ALTER DATABASE %s CONNECTION LIMIT %d" % (target, database_facts.get("connections", -1))]
    if database_facts.get("template"):
        told.append("ALTER DATABASE %s IS_TEMPLATE true" % target)
    if database_facts.get("comment") is not None:
        told.append("COMMENT ON DATABASE %s IS %s" % (target, literal(database_facts["comment"])))
    privileges = database_facts.get("privileges")
    if privileges is not None:
        told.append("REVOKE ALL ON DATABASE %s FROM PUBLIC" % target)
        told += [
            "GRANT %s ON DATABASE %s TO %s%s"
            % (
                item["what"],
                target,
                "PUBLIC" if item["role"] is None else quote(item["role"]),
                " WITH GRANT OPTION" if item["further"] and item["role"] is not None else "",
            )
            for item in privileges
        ]
    for item in database_facts.get("settings") or ():
        setting, _equal, value = item["item"].partition("=")
        key = ".".join(quote(part) for part in setting.split("."))
        values = _list_items(value) if setting in _LISTS else [value]
        whom = "DATABASE %s" % target if item["role"] is None else "ROLE %s IN DATABASE %s" % (quote(item["role"]), target)
        told.append("ALTER %s SET %s TO %s" % (whom, key, ", ".join(literal(part) for part in values) or "''"))
    return told


def creation(database_facts: Mapping[str, Any], name: str, version: int, locale: bool = True, tablespace: bool = False) -> str:
    """The statement that makes an empty database like the one told. ``locale`` False: with the one that is everywhere;
    ``tablespace``: in the same one."""
    words = ["CREATE DATABASE %s TEMPLATE template0 ENCODING %s" % (quote(name), literal(database_facts["encoding"]))]
    provider = database_facts.get("provider", "c") if version >= 150000 else "c"
    if locale:
        words.append("LC_COLLATE %s LC_CTYPE %s" % (literal(database_facts["collate"]), literal(database_facts["ctype"])))
        if provider in ("i", "b") and database_facts.get("locale"):
            kind, key = ("icu", "ICU_LOCALE") if provider == "i" else ("builtin", "BUILTIN_LOCALE")
            words.append("LOCALE_PROVIDER %s %s %s" % (kind, key, literal(database_facts["locale"])))
        elif version >= 150000:
            words.append("LOCALE_PROVIDER libc")
    else:
        words.append("LC_COLLATE 'C' LC_CTYPE 'C'")
    if tablespace and database_facts.get("tablespace"):
        words.append("TABLESPACE %s" % quote(database_facts["tablespace"]))
    return " ".join(words)
