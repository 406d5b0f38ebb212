# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database of SQLite: opened, copied, its tables counted, sampled and checked."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream

from ..artifact import Artifact
from ..base import EngineError, Stored, Work, compare
from ..files.swap import open_folder

#: Beside the database: its log, the log's index, the journal of older modes. The database itself comes first.
BESIDE = ("-wal", "-shm", "-journal")
#: What data is in: the index of the log is made anew from it.
DATA = ("", "-wal", "-journal")
#: What a virtual table keeps its data in is named after it.
_SHADOWS = ("content", "segments", "segdir", "docsize", "stat", "data", "idx", "config", "node", "rowid", "parent")
_SAMPLES = 8
_ROWS = 16
_PROBLEMS = 20
#: Seconds to wait for a writer's lock.
_WAIT = 30.0


def check_file(path: str) -> None:
    """A plain file that begins as a database does, or is empty as a new one is. EngineError."""
    os.close(open_folder(os.path.dirname(path)))
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            raise EngineError("failed", "%s is a link; name %s" % (path, os.path.realpath(path)))
        if not stat.S_ISREG(found.st_mode):
            raise EngineError("failed", "%s is no file" % path)
        with open(path, "rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise EngineError("unreachable", "%s is not there" % path) from None
    except OSError as error:
        raise EngineError("denied", "%s: %s" % (path, error.strerror or error)) from None
    if head and head != b"SQLite format 3\0":
        raise EngineError("damaged", "%s does not begin as an SQLite database does" % path)


def database_size(path: str) -> int:
    return sum(os.stat(path + ending).st_size for ending in DATA if os.path.exists(path + ending))


def check_space(folder: str, size: int) -> None:
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < size + size // 20 + 65536:
        raise EngineError("space", "%s: %d bytes are needed and %d free" % (folder, size, free.f_bavail * free.f_frsize))


def remove_files(*paths: str) -> None:
    for path in paths:
        for ending in ("", *BESIDE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + ending)


@contextlib.contextmanager
def opened_database(path: str, alone: bool = False, write: bool = False) -> Iterator[Any]:
    """A connection; ``alone``: nobody else has the file and it has no log, so nothing is made beside it."""
    import sqlite3
    import urllib.parse

    mode = "rw" if write else "ro"
    url = "file:%s?mode=%s%s" % (urllib.parse.quote(path), mode, "&immutable=1" if alone and not write else "")
    try:
        database = sqlite3.connect(url, uri=True, timeout=_WAIT, isolation_level=None)
    except sqlite3.Error as error:
        raise EngineError("failed", "%s: %s" % (path, error)) from None
    try:
        database.text_factory = bytes  # text may be anything
        yield database
    finally:
        database.close()


def copy_database(path: str, copy: str) -> None:
    """One moment of a database as a file of its own."""
    import sqlite3

    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    until = time.monotonic() + _WAIT

    def waiting(status: int, _left: int, _all: int) -> None:
        if status in (5, 6) and time.monotonic() > until:  # busy, locked; without this it is tried for ever
            raise EngineError("failed", "%s is locked by another program" % path)

    with opened_database(path) as database:
        try:
            target = sqlite3.connect(copy)
            try:
                database.backup(target, progress=waiting)
            finally:
                target.close()
            return
        except sqlite3.Error as error:
            if not is_at_rest(error):
                raise not_copied(error, path, copy) from None
    copy_at_rest(path, copy)


def not_copied(error: Exception, path: str, copy: str) -> EngineError:
    """Why a database could not be copied, with the name of the file that failed: SQLite does not say which of the two it was."""
    text = str(error)
    if "full" in text:  # nothing is written to the database itself
        return EngineError("space", "%s: %s" % (copy, text))
    if "I/O" in text and _is_readable(path):
        return EngineError("failed", "%s: %s" % (copy, text))
    return EngineError("damaged" if "malformed" in text else "failed", "%s: %s" % (path, text))


def _is_readable(path: str) -> bool:
    """Whether every byte of a database and its log can be read."""
    for ending in DATA:
        try:
            with open(path + ending, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def is_at_rest(error: Exception) -> bool:
    """Whether a database cannot be read without being written: its writer died in the middle, or nobody may write beside it."""
    return "readonly" in str(error) or "unable to open" in str(error)


def copy_at_rest(path: str, copy: str) -> None:
    """Copy the files of a database that nobody has open, and have SQLite put the copy in order. EngineError."""
    import shutil
    import sqlite3

    was = fingerprint_of(path)
    try:
        for ending in DATA:
            if os.path.exists(path + ending):
                shutil.copyfile(path + ending, copy + ending)
    except OSError as error:
        import errno

        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        # What it names first is what it read, though that was not what failed.
        name = copy if full or _is_readable(path) else error.filename
        raise EngineError("space" if full else "failed", "%s: %s" % (name, error.strerror or error)) from None
    if fingerprint_of(path) != was:
        raise EngineError("failed", "%s is written to by a program beside which it cannot be read" % path)
    try:
        with opened_database(copy, write=True) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if "full" in str(error) or "I/O" in str(error):
            raise not_copied(error, path, copy) from None
        raise EngineError("damaged", "%s: %s" % (path, error)) from None


def fingerprint_of(path: str) -> str:
    """What changes with every write to a database."""
    told = []
    for ending in DATA:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(path + ending)
            told.append("%s %d %d %d" % (ending, found.st_ino, found.st_size, found.st_mtime_ns))
    return "\n".join(told)


def quoted_name(name: str) -> str:
    return '"%s"' % name.replace('"', '""')


def as_text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


class _Table(NamedTuple):
    name: str
    sql: str
    #: Virtual tables and what they keep their data in.
    virtual: bool


def list_tables(database: Any, schema: str = "main") -> List[_Table]:
    rows = database.execute("SELECT name, sql FROM %s.sqlite_master WHERE type = 'table'" % schema)  # noqa: S608 - ours
    tables = sorted((as_text(name), as_text(sql or "")) for name, sql in rows)
    virtual = [name for name, sql in tables if _is_virtual(sql)]
    return [
        _Table(name, sql, name in virtual or any(name == "%s_%s" % (other, shadow) for other in virtual for shadow in _SHADOWS))
        for name, sql in tables
        if not name.startswith("sqlite_")
    ]


def _is_virtual(sql: str) -> bool:
    return sql.upper().startswith("CREATE VIRTUAL")


def count_rows(database: Any) -> Dict[str, int]:
    """Rows of each table, and how many tables there are. A virtual table is counted by what it keeps its data in."""
    counts: Dict[str, int] = {"tables": 0}
    for table in list_tables(database):
        counts["tables"] += 1
        if not _is_virtual(table.sql):
            name = table.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            count = "SELECT count(*) FROM %s" % quoted_name(table.name)  # noqa: S608 - a quoted name
            counts["rows." + name] = int(database.execute(count).fetchone()[0])
    return counts


def schema_digest(database: Any) -> str:
    """The digest of all that is defined."""
    import hashlib

    rows = database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return hashlib.sha256(repr(sorted(rows, key=repr)).encode("utf-8")).hexdigest()


def sample_rows(database: Any, tables: Sequence[str]) -> Dict[str, str]:
    """Digests of the first and last rows of some tables, the same ones each time."""
    import hashlib
    import zlib

    there = {table.name for table in list_tables(database)}
    chosen = sorted(there & set(tables), key=lambda one: (zlib.crc32(one.encode("utf-8", "replace")), one))[:_SAMPLES]
    orders = {name: row_key_of(database, name) or "1" for name in chosen}
    found: Dict[str, str] = {}
    database.text_factory = _marked
    for name, order in orders.items():
        digest = hashlib.sha256()
        for way in ("ASC", "DESC"):
            what = "SELECT * FROM %s ORDER BY %s %s LIMIT %d" % (quoted_name(name), order, way, _ROWS)  # noqa: S608 - quoted names
            for row in database.execute(what):  # one at a time, for a row may be a gigabyte
                for value in row:
                    kind, raw = value if isinstance(value, tuple) else ("blob", value) if isinstance(value, bytes) else ("", repr(value))
                    digest.update(("%s %d " % (kind, len(raw))).encode("ascii"))
                    digest.update(raw.encode("ascii") if isinstance(raw, str) else raw)
        found[name] = digest.hexdigest()
    database.text_factory = bytes
    return found


def _marked(raw: bytes) -> Tuple[str, bytes]:
    """A text, which is not the same as a blob of its bytes."""
    return ("text", raw)


def row_key_of(database: Any, table: str) -> Optional[str]:
    """The name under which rows are numbered; None for a table without."""
    import sqlite3

    columns = {as_text(row[1]).lower() for row in database.execute("PRAGMA table_info(%s)" % quoted_name(table))}
    for name in ("rowid", "_rowid_", "oid"):
        if name not in columns:
            try:
                database.execute("SELECT %s FROM %s LIMIT 0" % (name, quoted_name(table)))  # noqa: S608 - quoted names
            except sqlite3.Error:
                return None
            return name
    return None


def find_problems(database: Any, check: str) -> List[str]:
    import sqlite3

    missing = "no such collation sequence: "
    strange: List[str] = []
    while True:
        try:
            # The order of what only the application can order cannot be checked, all else can.
            rows = [as_text(row[0]) for row in database.execute("PRAGMA %s(%d)" % ("quick_check" if strange else check, _PROBLEMS))]
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "locked" in text or is_at_rest(error):
                raise
            if missing not in text or text in strange:
                return [text]
            strange.append(text)
            database.create_collation(text.partition(missing)[2], lambda one, other: (one > other) - (one < other))
            continue
        return [] if rows == ["ok"] else rows


def count_broken_references(database: Any) -> int:
    import sqlite3

    try:
        return sum(1 for _row in database.execute("PRAGMA foreign_key_check"))
    except sqlite3.OperationalError:
        return 0  # a reference to a table that is not there cannot be checked; that is no matter of the backup


@contextlib.contextmanager
def unpacked_database(artifact: Artifact, stored: Stored, work: Work, folder: str) -> Iterator[str]:
    path = os.path.join(folder, "unpacked.db")
    remove_files(path)
    try:
        unpack_database(artifact, stored, work, path)
        yield path
    finally:
        remove_files(path)


def unpack_database(artifact: Artifact, stored: Stored, work: Work, path: str) -> None:
    """Unpack the artifact into a new file. EngineError, and StreamError when it is damaged."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    limits = work.limits
    try:
        with backup_stream.read(
            stored.path, artifact.compression or "zstd", artifact.encryption is not None, stored.identity, limits
        ) as raw:
            while True:
                block = raw.read(1 << 20)
                if not block:
                    break
                view = memoryview(block)
                while view:
                    view = view[os.write(handle, view) :]
        os.fsync(handle)
    except OSError as error:
        import errno

        code = "space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "failed"
        raise EngineError(code, "%s: %s" % (path, error.strerror or error)) from error
    finally:
        os.close(handle)


def prove_database(artifact: Artifact, path: str) -> Dict[str, int]:
    """Whether an unpacked database is sound and what the manifest says. EngineError."""
    import sqlite3

    try:
        check_file(path)
        with opened_database(path, alone=True) as database:
            # What SQLite does not find in the last page it takes for zeros, which may be the end of a value.
            pages, size = (database.execute("PRAGMA " + name).fetchone()[0] for name in ("page_count", "page_size"))
            if pages * size != os.path.getsize(path):
                raise EngineError("damaged", "it has %d bytes, not %d pages of %d" % (os.path.getsize(path), pages, size))
            problems = find_problems(database, "integrity_check")
            if problems:
                raise EngineError("damaged", "; ".join(problems[:5]))
            counts = count_rows(database)
            differing = compare(artifact.counts, counts)
            if differing:
                raise EngineError("differs", "; ".join(differing[:5]))
            wanted = artifact.source.get("schema")
            if wanted is not None and wanted != schema_digest(database):
                raise EngineError("differs", "what is defined (tables, indexes, views, triggers) is not what the manifest says")
            broken = count_broken_references(database)
            if broken > int(artifact.source.get("broken_references") or 0):
                raise EngineError("damaged", "%d rows refer to rows that are not there" % broken)
            return counts
    except sqlite3.Error as error:
        raise EngineError("damaged", str(error)) from None
