# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One restore of a database or of tables of it, by renaming."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream

from ..artifact import Artifact
from ..base import EngineError, Request, Restorer, Stored, Work, compare, from_program
from ..files.swap import Swap, attributes, keep_parents, make_parents, open_folder, own_ident, remove_parents
from .database import (
    BESIDE,
    as_text,
    check_file,
    check_space,
    copy_database,
    count_broken_references,
    count_rows,
    database_size,
    find_problems,
    fingerprint_of,
    list_tables,
    opened_database,
    prove_database,
    quoted_name,
    row_key_of,
    unpack_database,
    unpacked_database,
)


class SqliteRestorer(Restorer):
    """One restore of a database or of tables of it. The new database is made in ``.opsrunner-new-<ident>`` beside the present
    one, which goes to ``.opsrunner-aside-<ident>`` with its log."""

    def __init__(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> None:
        self._artifact, self._stored, self._request, self._work = artifact, stored, request, work
        self._ident = own_ident(request.ident, artifact)
        path = request.target or spec.get("database")  # never where the manifest says
        if not isinstance(path, str) or not path.startswith("/") or ".." in path.split("/") or path.endswith("/"):
            raise EngineError("failed", "%r is no file's absolute path" % (path,))
        self._path = path
        self._folder, self._name = os.path.split(path)
        for table in request.part:
            if "rows." + table not in artifact.counts:
                from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import nearest

                near = nearest(table, [name[5:] for name in artifact.counts if name.startswith("rows.")])
                raise EngineError("failed", "table %r is not in the backup%s" % (table, " (did you mean %s?)" % near if near else ""))
        self._swap = Swap(self._folder, self._ident)

    @property
    def _staged(self) -> str:
        return os.path.join(self._swap.stage, self._name)

    def places(self) -> List[str]:
        """The database with its logs."""
        return [self._path, *(self._path + ending for ending in BESIDE)]

    def needs(self) -> List[Tuple[str, int]]:
        """Free bytes beside the database: the size of the one that is made."""
        there = self._folder
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        return [(there, self._unpacked_size() + (database_size(self._path) if self._request.part and os.path.exists(self._path) else 0))]

    def _unpacked_size(self) -> int:
        """The database's own word for its size, which is in its first page."""
        encrypted = self._artifact.encryption is not None
        with backup_stream.read(
            self._stored.path, self._artifact.compression or "zstd", encrypted, self._stored.identity, self._work.limits
        ) as raw:
            head = raw.read(100)
        if len(head) < 100:
            return 0
        page = int.from_bytes(head[16:18], "big")
        return (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big")

    def check(self) -> None:
        """The place can be changed, and the tables that are wanted can be put into the present database."""
        there = self._folder
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        os.close(open_folder(there))
        if not os.access(there, os.W_OK):
            raise EngineError("denied", "%s cannot be written to" % there)
        if os.path.lexists(self._path):
            found = os.lstat(self._path)
            if not stat.S_ISREG(found.st_mode):
                raise EngineError("failed", "%s is a link or no file" % self._path)
        if self._request.part:
            check_file(self._path)

    def stage(self) -> Mapping[str, int]:
        """Unpack and prove it beside the present database; of tables, put them into a copy of the present one."""
        for folder, size in self.needs():
            check_space(folder, size)
        try:
            make_parents(self._folder, self._ident)
            self._swap.prepare()
            return self._make()
        except BaseException:
            self.unstage()
            raise

    def _make(self) -> Mapping[str, int]:
        try:
            if not self._request.part:
                unpack_database(self._artifact, self._stored, self._work, self._staged)
                counts = prove_database(self._artifact, self._staged)
                self._own()
                return counts
            check_file(self._path)
            with self._swap.staged() as handle:
                was = fingerprint_of(self._path)
                copy_database(self._path, self._staged)
                with unpacked_database(self._artifact, self._stored, self._work, self._swap.stage) as other:
                    prove_database(self._artifact, other)
                    counts = self._put(other)
                note = os.open("present", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=handle)
                with open(note, "w", encoding="ascii") as file:
                    file.write(was)
            self._own()
            return counts
        except backup_stream.StreamError as error:
            raise from_program(error, "failed" if error.status is None else "damaged") from error

    def _own(self) -> None:
        """Owner and mode as the present database has them, or else the one that was backed up had."""
        source = self._artifact.source
        try:
            found = os.stat(self._path)
            owner, group, mode = found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)
        except FileNotFoundError:
            owner, group = int(source.get("owner", os.geteuid())), int(source.get("group", os.getegid()))
            mode = int(str(source.get("mode", "0600")), 8) & 0o777
        if os.geteuid() == 0:
            os.chown(self._staged, owner, group)
        os.chmod(self._staged, mode)
        handle = os.open(self._staged, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(FileNotFoundError):
                for name, value in attributes(self._path).items():  # ACLs are among them
                    os.setxattr(handle, name, value)
            os.fsync(handle)
        finally:
            os.close(handle)

    def _put(self, other: str) -> Dict[str, int]:
        """Replace tables of the staged copy by those of an unpacked artifact, all in one transaction."""
        import sqlite3

        try:
            with opened_database(self._staged, write=True) as database:
                # The staged copy is nobody else's: no log is to stay beside it.
                mode = as_text(database.execute("PRAGMA journal_mode").fetchone()[0])
                database.execute("PRAGMA journal_mode = DELETE")
                before = count_broken_references(database)
                database.execute("PRAGMA foreign_keys = OFF")
                database.execute("ATTACH DATABASE ? AS backup", (other,))
                database.execute("BEGIN IMMEDIATE")
                for table in self._request.part:
                    _replace(database, table)
                database.execute("COMMIT")
                database.execute("DETACH DATABASE backup")
                problems = find_problems(database, "integrity_check")
                if problems:
                    raise EngineError("damaged", "staged: " + "; ".join(problems[:5]))
                broken = count_broken_references(database)
                if broken > before:
                    self._work.warn("%d rows refer to rows that are not there, %d more than before" % (broken, broken - before))
                counts = count_rows(database)
                if mode == "wal":
                    database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            raise EngineError("space" if "full" in str(error) else "failed", str(error)) from None
        found = {"rows." + table: counts["rows." + table] for table in self._request.part}
        differing = compare(self._artifact.counts, found, self._request.part)
        if differing:
            raise EngineError("differs", "staged: " + "; ".join(differing))
        return found

    def swap(self) -> None:
        """Rename the present database aside with its log, and the staged one into its place.

        Tables were put into a copy of the present database: when that was written to since, and it is still in place, they are
        put into a new copy first.
        """
        if self._request.part and not self._swap.begun():
            try:
                with open(os.path.join(self._swap.stage, "present"), encoding="ascii") as file:
                    same = file.read() == fingerprint_of(self._path)
            except FileNotFoundError:
                same = False
            if not same:
                self._swap.prepare()
                self._make()
        self._swap.forward([[self._name, *(self._name + ending for ending in BESIDE)]])

    def unswap(self) -> None:
        """Rename back."""
        if os.path.isdir(self._folder):
            self._swap.back()

    def finish(self) -> None:
        """Remove the folder that was staged in."""
        self._swap.unstage()
        if not self._swap.set_aside():
            keep_parents(self._folder, self._ident)

    def count(self) -> Mapping[str, int]:
        """Count the rows of the database in place."""
        import sqlite3

        try:
            with opened_database(self._path) as database:
                counts = count_rows(database)
        except sqlite3.Error as error:
            raise EngineError("damaged", "%s: %s" % (self._path, error)) from None
        return {"rows." + table: counts.get("rows." + table, 0) for table in self._request.part} if self._request.part else counts

    def unstage(self) -> None:
        """Remove what was staged, and the folders made for it."""
        self._swap.unstage()
        if not self._swap.begun():
            remove_parents(self._folder, self._ident)

    def aside(self) -> List[str]:
        """Where the database of before is, with its log."""
        return self._swap.set_aside()

    def discard(self) -> None:
        """Remove it."""
        if os.path.isdir(self._folder):
            self._swap.discard()
            keep_parents(self._folder, self._ident)


def _replace(database: Any, table: str) -> None:
    """Have a table with its indexes and triggers as the attached backup has it."""
    found = {one.name: one for one in list_tables(database, "backup")}[table]
    if found.virtual:
        raise EngineError("failed", "table %r is a virtual one or belongs to one: restore the whole" % table)
    name = quoted_name(table)
    sequence = None
    if database.execute("SELECT 1 FROM backup.sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        sequence = database.execute("SELECT seq FROM backup.sqlite_sequence WHERE name = ?", (table,)).fetchone()
    there = database.execute("SELECT type FROM main.sqlite_master WHERE name = ?", (table,)).fetchone()
    if there and as_text(there[0]) != "table":
        raise EngineError("failed", "%r is a %s in the present database" % (table, as_text(there[0])))
    # Triggers of other tables stay; those of this one go with it.
    database.execute("DROP TABLE IF EXISTS main.%s" % name)
    database.execute(found.sql)
    columns = [
        quoted_name(as_text(row[1])) for row in database.execute("SELECT * FROM pragma_table_xinfo(?, 'backup')", (table,)) if row[6] == 0
    ]
    key = row_key_of(database, table)
    listed = ", ".join([*([key] if key else []), *columns])
    database.execute("INSERT INTO main.%s (%s) SELECT %s FROM backup.%s" % (name, listed, listed, name))  # noqa: S608 - quoted names
    if sequence:
        database.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (table,))
        database.execute("INSERT INTO main.sqlite_sequence (name, seq) VALUES (?, ?)", (table, sequence[0]))
    more = "SELECT name, sql FROM backup.sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql NOT NULL ORDER BY type"
    for other, sql in database.execute(more, (table,)).fetchall():
        if database.execute("SELECT 1 FROM main.sqlite_master WHERE name = ?", (as_text(other),)).fetchone():
            raise EngineError("failed", "%r belongs to another table in the present database" % as_text(other))
        database.execute(as_text(sql))
