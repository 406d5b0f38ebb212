# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQLite: a copy taken online, checked before it counts.

A database in use cannot be read as a stream: part of it is in its log, and pages change. So this engine, alone of all, makes a
temporary copy in the scratch folder, by SQLite's own backup in one step: one moment of the database, with a log of any size, and
writers of a database in WAL mode go on meanwhile. Counts are of the copy. Restores never open the present database; it is
renamed aside with its log.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any, Iterator, List, Mapping, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command

from ..artifact import Artifact
from ..base import Drilled, Dump, Engine, EngineError, Found, Request, Restorer, Stored, Told, Work
from .database import (
    DATA,
    check_file,
    check_space,
    copy_at_rest,
    copy_database,
    count_broken_references,
    count_rows,
    database_size,
    find_problems,
    is_at_rest,
    opened_database,
    prove_database,
    remove_files,
    sample_rows,
    schema_digest,
    unpacked_database,
)
from .restore import SqliteRestorer


class SqliteEngine(Engine):
    """Data of SQLite databases."""

    name = "sqlite"
    ending = ".db"
    readers: Mapping[str, read.Reader] = {"database": read.absolute}
    required = ("database",)

    def reach(self, spec: Mapping[str, Any], work: Work) -> None:
        """Whether the file is there and is a database."""
        check_file(spec["database"])

    @contextlib.contextmanager
    def dump(self, spec: Mapping[str, Any], work: Work) -> Iterator[Dump]:
        """Copy, check and count it; then the copy is read."""
        if work.place is not HOST:
            raise EngineError("failed", "a database of SQLite is copied on its own host alone")
        path = spec["database"]
        check_file(path)
        check_space(work.scratch, database_size(path))
        copy = os.path.join(work.scratch, "copy.db")
        copy_database(path, copy)
        with opened_database(copy, alone=True) as database:
            problems = find_problems(database, "quick_check")
            if problems:
                raise EngineError("damaged", "%s: %s" % (path, "; ".join(problems)))
            counts = count_rows(database)
            owner = os.stat(path)
            told = Told(
                counts,
                sample_rows(database, [name[5:] for name in counts if name.startswith("rows.")]),
                {
                    "database": path,
                    "schema": schema_digest(database),
                    "broken_references": count_broken_references(database),
                    "owner": owner.st_uid,
                    "group": owner.st_gid,
                    "mode": "%04o" % stat.S_IMODE(owner.st_mode),
                },
                "sqlite3",
                _version(),
            )
        try:
            yield Dump(Command(("cat", copy)), lambda: told)
        finally:
            remove_files(copy)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """Unpack it into the scratch folder; every page, index and reference is checked, every table counted."""
        with unpacked_database(artifact, stored, work, work.scratch) as path:
            prove_database(artifact, path)

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """The same, and what was sampled is read."""
        source = artifact.source.get("database")
        if isinstance(source, str) and os.path.dirname(os.path.realpath(source)) == os.path.realpath(work.scratch):
            raise EngineError("same", "%s is where the database is" % work.scratch)
        with unpacked_database(artifact, stored, work, work.scratch) as path:
            counts = prove_database(artifact, path)
            with opened_database(path, alone=True) as database:
                return Drilled(counts, sample_rows(database, list(artifact.samples)))

    @contextlib.contextmanager
    def restorer(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> Iterator[Restorer]:
        """The restore of the database, or of some tables of it, in its place or as another file."""
        if work.place is not HOST:
            raise EngineError("failed", "a database of SQLite is restored on this host alone: name a file here as the target")
        yield SqliteRestorer(spec, artifact, stored, request, work)

    def outside(self, spec: Mapping[str, Any], artifact: Artifact, part: Sequence[str] = ()) -> List[str]:
        """The database of the manifest, where that is another one. It never goes where the manifest says."""
        source = artifact.source.get("database")
        return [source] if isinstance(source, str) and source != spec["database"] else []

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """Every page, index and reference of the present database, read only, with what is in its log."""
        path = spec["database"]
        try:
            check_file(path)
        except EngineError as error:
            if error.code == "damaged":
                return Found(False, [str(error)])
            raise
        newest = max(os.stat(name).st_mtime for name in (path, path + "-wal") if os.path.exists(name))
        import sqlite3

        try:
            try:
                return _sound(path, newest)
            except sqlite3.OperationalError as error:
                if not is_at_rest(error):
                    raise
            # A writer died in the middle: what SQLite would make of it is sound or not.
            copy = os.path.join(work.scratch, "present.db")
            try:
                check_space(work.scratch, database_size(path))
                copy_at_rest(path, copy)
                return _sound(copy, newest)
            finally:
                remove_files(copy)
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise EngineError("failed", "%s: %s" % (path, error)) from None
            return Found(False, [str(error)], {}, newest)
        except sqlite3.DatabaseError as error:
            return Found(False, [str(error)], {}, newest)

    def salvage(self, spec: Mapping[str, Any], folder: str, work: Work) -> List[str]:
        """Read every row that can be read from a copy of the files into a new database.

        The sqlite3 program's ``.recover`` would do it, but needs a library built for it, which distributions do not have.
        """
        import shutil

        from . import salvage as engine_sqlite_salvage

        path = spec["database"]
        check_space(work.scratch, database_size(path))
        check_space(folder, database_size(path))
        copy = os.path.join(work.scratch, "damaged.db")
        saved = os.path.join(folder, os.path.basename(path) + ".recovered")
        if os.path.lexists(saved):
            raise EngineError("failed", "%s is there already" % saved)
        try:
            try:
                copy_database(path, copy)
            except EngineError as error:
                if error.code == "space":
                    raise
                work.warn("%s: its files were copied as they are: %s" % (path, error))
                remove_files(copy)
                for ending in DATA:
                    if os.path.exists(path + ending):
                        shutil.copyfile(path + ending, copy + ending)
            return engine_sqlite_salvage.salvage(copy, saved)
        except BaseException:
            remove_files(saved)
            raise
        finally:
            remove_files(copy)


def _version() -> str:
    import sqlite3

    return sqlite3.sqlite_version


def _sound(path: str, newest: float) -> Found:
    with opened_database(path) as database:
        problems = find_problems(database, "integrity_check")
        broken = count_broken_references(database)
        if broken:
            problems.append("%d rows refer to rows that are not there" % broken)
        return Found(not problems, problems, count_rows(database), newest)
