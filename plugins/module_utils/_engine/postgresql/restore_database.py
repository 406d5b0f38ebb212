# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""Restore of a PostgreSQL database as a whole.

It is loaded into a database of another name; the swap is two renames in one transaction, so there is no state between. A
setting ``opsrunner.restore`` on the database tells another process which one is the restored one.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..artifact import Artifact
from ..base import EngineError, Request, Restorer, Stored, Work
from ..sql import space_needed
from . import facts
from .client import Client, Session, fitted, literal, quote
from .scratch import data_folder, drop, load, missing_roles, preflight, take, terminate

_MARK = "opsrunner.restore"


class BesideRestorer(Restorer):
    """What both ways of a restore have: the artifact as a database of another name."""

    def __init__(self, client: Client, artifact: Artifact, stored: Stored, request: Request, work: Work, target: str) -> None:
        self.client, self.artifact, self.stored, self.request, self.work, self.target = client, artifact, stored, request, work, target
        self.new = fitted(target, "_opsrunner_new_" + request.ident)
        self._maintenance: Optional[str] = None

    @property
    def maintenance(self) -> str:
        """A database to connect to meanwhile."""
        if self._maintenance is None:
            self._maintenance = self.client.maintenance(self.target)
        return self._maintenance

    def needs(self) -> List[Tuple[str, int]]:
        """Space for a second copy, where the server's folder is ours to see."""
        folder = data_folder(self.client, self.maintenance)
        if folder:
            with contextlib.suppress(EngineError):
                rows = self.client.rows(
                    self.maintenance,
                    "SELECT pg_tablespace_location(dattablespace) AS path FROM pg_database WHERE datname = %s" % literal(self.target),
                )
                folder = rows[0]["path"] if rows and rows[0]["path"] else folder
        return [(folder, space_needed(self.artifact))] if folder else []

    def check(self) -> None:
        """Version, extensions, roles, rights; whether the database can be renamed."""
        if self.target in ("template0", "template1"):
            raise EngineError("failed", "%s is the server's own and not restored" % self.target)
        preflight(self.client, self.artifact, self.maintenance)
        missing = missing_roles(self.client, self.artifact, self.maintenance)
        if missing:
            raise EngineError("failed", "the server has not the role %s: restore the globals first" % ", ".join(missing))
        right = self.client.rows(self.maintenance, "SELECT rolsuper OR rolcreatedb AS may FROM pg_roles WHERE rolname = current_user")[0]
        if not right["may"]:
            raise EngineError("denied", "the user may not create databases, as a restore has to")

    def _make_stage(self) -> None:
        """A database of the artifact's content beside the present one."""
        drop(self.client, self.maintenance, self.new)
        version = preflight(self.client, self.artifact, self.maintenance)
        present = self._present() or {}
        like = dict(self.artifact.source)
        if not like.get("encoding"):
            like = dict(present or {"encoding": "UTF8", "collate": "C", "ctype": "C"})
        like["tablespace"] = present.get("tablespace") or like.get("tablespace")
        there = {row["name"] for row in self.client.rows(self.maintenance, "SELECT spcname AS name FROM pg_tablespace")}
        if like["tablespace"] and like["tablespace"] not in there:
            self.work.warn("there is no tablespace %s on this server: %s goes to the usual one" % (like["tablespace"], self.target))
            like["tablespace"] = None
        self.client.run(self.maintenance, facts.creation(like, self.new, version, tablespace=True), hurried=False)
        load(self.client, self.new, self.artifact, self.stored, self.work)

    def _present(self) -> Optional[Dict[str, Any]]:
        if not self._databases().get(self.target):
            return None
        with self.client.session(self.maintenance) as session:
            return facts.database(session, self.target)

    def _databases(self) -> Dict[str, Dict[str, Any]]:
        """The databases on the server, and whose restore has marked them."""
        rows = self.client.rows(
            self.maintenance,
            "SELECT d.datname AS name, d.datallowconn AS open, (SELECT split_part(c.item, '=', 2) FROM pg_db_role_setting s "
            "CROSS JOIN unnest(s.setconfig) AS c(item) WHERE s.setdatabase = d.oid AND s.setrole = 0 AND c.item LIKE %s) AS mark "
            "FROM pg_database d" % literal(_MARK + "=%"),
        )
        return {row["name"]: row for row in rows}

    @contextlib.contextmanager
    def _alone(self, database: str) -> Iterator[Session]:
        """A session that is the only one to work on the target; one that was killed ends its statement first."""
        with self.client.session(database) as session:
            session.ask("SELECT pg_advisory_lock(hashtextextended(%s, 0))" % literal("opsrunner restore " + self.target))
            yield session

    def unstage(self) -> None:
        """Drop the database beside."""
        drop(self.client, self.maintenance, self.new)


class DatabaseRestorer(BesideRestorer):
    """A database as a whole."""

    def __init__(self, client: Client, artifact: Artifact, stored: Stored, request: Request, work: Work, target: str) -> None:
        super().__init__(client, artifact, stored, request, work, target)
        self.kept = fitted(target, "_opsrunner_aside_" + request.ident)

    def _swapped(self, found: Mapping[str, Mapping[str, Any]]) -> bool:
        return self.target in found and found[self.target]["mark"] == self.request.ident

    def check(self) -> None:
        """Also whether the present database can step aside."""
        super().check()
        found = self._databases()
        if self.target not in found or self._swapped(found):
            return
        if not found[self.target]["open"]:
            raise EngineError("failed", "%s takes no connections: something else is going on with it" % self.target)
        prepared = self.client.rows(self.maintenance, "SELECT gid FROM pg_prepared_xacts WHERE database = %s" % literal(self.target))
        if prepared:
            raise EngineError(
                "failed", "%s has prepared transactions, which hold it: commit or roll back %s" % (self.target, prepared[0]["gid"])
            )
        with contextlib.suppress(EngineError):
            slots = self.client.rows(
                self.maintenance, "SELECT slot_name AS name FROM pg_replication_slots WHERE database = %s" % literal(self.target)
            )
            for slot in slots:
                self.work.warn("the replication slot %s stays with the data that is set aside" % slot["name"])
        for name in self._subscriptions(self.target):
            self.work.warn("the subscription %s is not restored, it and its slot stay with the data that is set aside: make it anew" % name)

    def _subscriptions(self, database: str) -> List[str]:
        query = "SELECT s.subname AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = %s ORDER BY 1"
        return [row["name"] for row in self.client.rows(self.maintenance, query % literal(database))]

    def stage(self) -> Mapping[str, int]:
        """The artifact in a database of another name, with owner, privileges and settings of the one it will stand for."""
        if self._swapped(self._databases()):
            raise EngineError("failed", "%s is in place already" % self.request.ident)
        self._make_stage()
        like = self._present() or self.artifact.source
        told = []
        if like.get("owner"):
            there = self.client.rows(self.maintenance, "SELECT 1 AS one FROM pg_roles WHERE rolname = %s" % literal(like["owner"]))
            if not there:
                raise EngineError("failed", "the server has not the role %s, which owns %s" % (like["owner"], self.target))
            told.append("ALTER DATABASE %s OWNER TO %s" % (quote(self.new), quote(like["owner"])))
        told += facts.properties(like, self.new)
        told.append("ALTER DATABASE %s SET %s TO %s" % (quote(self.new), _MARK, literal(self.request.ident)))
        self.client.run(self.maintenance, "BEGIN;\n%s;\nCOMMIT" % ";\n".join(told))
        with self.client.session(self.new) as session:
            counted, _samples = take(session, self.artifact)
            late = facts.behind(self.artifact.source.get("sequences") or {}, facts.sequences(session))
        if late:
            raise EngineError("differs", "; ".join(late[:10]))
        return counted

    def swap(self) -> None:
        """Both renames in one transaction, after the last connection is gone."""
        with self._alone(self.maintenance) as session:
            found = self._databases()
            if self._swapped(found):
                return
            if self.new not in found or found[self.new]["mark"] != self.request.ident:
                raise EngineError("failed", "%s was not staged" % self.new)
            self._rename(
                session, [(self.target, self.kept), (self.new, self.target)] if self.target in found else [(self.new, self.target)]
            )

    def _rename(self, session: Session, pairs: Sequence[Tuple[str, str]]) -> None:
        for old, _name in pairs:
            session.ask("ALTER DATABASE %s ALLOW_CONNECTIONS false" % quote(old))
        for old, _name in pairs:
            terminate(self.client, self.maintenance, old)
        session.ask("BEGIN")
        for old, name in pairs:
            session.ask("ALTER DATABASE %s RENAME TO %s" % (quote(old), quote(name)))
        session.ask("ALTER DATABASE %s ALLOW_CONNECTIONS true" % quote(self.target if self.target in dict(pairs).values() else pairs[0][1]))
        session.ask("COMMIT")

    def unswap(self) -> None:
        """The same backwards; where nothing was renamed, connections are let in again."""
        with self._alone(self.maintenance) as session:
            found = self._databases()
            if self._swapped(found):
                pairs = [(self.target, self.new)]
                if self.kept in found:
                    pairs.append((self.kept, self.target))
                self._rename(session, pairs)
            elif self.target in found and not found[self.target]["open"]:
                session.ask("ALTER DATABASE %s ALLOW_CONNECTIONS true" % quote(self.target))

    def finish(self) -> None:
        """Statistics; indexes were made by the restore itself."""
        self.client.run(self.target, "ANALYZE", hurried=False)

    def count(self) -> Mapping[str, int]:
        """What is in place."""
        with self.client.session(self.target) as session:
            return take(session, self.artifact)[0]

    def aside(self) -> List[str]:
        """The database that was renamed."""
        return ["database %s" % self.kept] if self.kept in self._databases() else []

    def discard(self) -> None:
        """Drop the database set aside, and forget which restore the present one is from."""
        found = self._databases()
        # A later restore may have set the restored one aside in its turn; what counts is that there is one.
        if self.target not in found and self.kept in found:
            raise EngineError("failed", "there is no database %s: %s is not dropped" % (self.target, self.kept))
        subscriptions = self._subscriptions(self.kept)
        if subscriptions:
            raise EngineError(
                "failed",
                "%s has the subscription %s, which holds a slot on its publisher: allow connections to it (ALTER DATABASE), drop the "
                "subscription, then discard again" % (self.kept, ", ".join(subscriptions)),
            )
        drop(self.client, self.maintenance, self.kept)
        if self._swapped(found):
            self.client.run(self.maintenance, "ALTER DATABASE %s RESET %s" % (quote(self.target), _MARK))
