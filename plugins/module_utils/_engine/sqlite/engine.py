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
import time
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command

from ..artifact import Artifact
from ..base import Drilled, Dump, Engine, EngineError, Found, Request, Restorer, Stored, Told, Work, compare, from_program
from ..files.swap import Swap, attributes, keep_parents, make_parents, open_folder, own_ident, remove_parents

#: Beside the database: its log, the log's index, the journal of older modes. The database itself comes first.
_BESIDE = ("-wal", "-shm", "-journal")
#: What data is in: the index of the log is made anew from it.
_DATA = ("", "-wal", "-journal")
#: What a virtual table keeps its data in is named after it.
_SHADOWS = ("content", "segments", "segdir", "docsize", "stat", "data", "idx", "config", "node", "rowid", "parent")
_SAMPLES = 8
_ROWS = 16
_PROBLEMS = 20
#: Seconds to wait for a writer's lock.
_WAIT = 30.0


class SqliteEngine(Engine):
    """Data of SQLite databases."""

    name = "sqlite"
    ending = ".db"
    readers: Mapping[str, read.Reader] = {"database": read.absolute}
    required = ("database",)

    def reach(self, spec: Mapping[str, Any], work: Work) -> None:
        """Whether the file is there and is a database."""
        _check_file(spec["database"])

    @contextlib.contextmanager
    def dump(self, spec: Mapping[str, Any], work: Work) -> Iterator[Dump]:
        """Copy, check and count it; then the copy is read."""
        if work.place is not HOST:
            raise EngineError("failed", "a database of SQLite is copied on its own host alone")
        path = spec["database"]
        _check_file(path)
        _check_space(work.scratch, _size(path))
        copy = os.path.join(work.scratch, "copy.db")
        _copy(path, copy)
        with _opened(copy, alone=True) as database:
            problems = _problems(database, "quick_check")
            if problems:
                raise EngineError("damaged", "%s: %s" % (path, "; ".join(problems)))
            counts = _counts(database)
            owner = os.stat(path)
            told = Told(
                counts,
                _samples(database, [name[5:] for name in counts if name.startswith("rows.")]),
                {
                    "database": path,
                    "schema": _schema(database),
                    "broken_references": _broken_references(database),
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
            _remove(copy)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """Unpack it into the scratch folder; every page, index and reference is checked, every table counted."""
        with _unpacked(artifact, stored, work, work.scratch) as path:
            _prove(artifact, path)

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """The same, and what was sampled is read."""
        source = artifact.source.get("database")
        if isinstance(source, str) and os.path.dirname(os.path.realpath(source)) == os.path.realpath(work.scratch):
            raise EngineError("same", "%s is where the database is" % work.scratch)
        with _unpacked(artifact, stored, work, work.scratch) as path:
            counts = _prove(artifact, path)
            with _opened(path, alone=True) as database:
                return Drilled(counts, _samples(database, list(artifact.samples)))

    @contextlib.contextmanager
    def restorer(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> Iterator[Restorer]:
        """The restore of the database, or of some tables of it, in its place or as another file."""
        if work.place is not HOST:
            raise EngineError("failed", "a database of SQLite is restored on this host alone: name a file here as the target")
        yield SqliteRestorer(spec, artifact, stored, request, work)

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """Every page, index and reference of the present database, read only, with what is in its log."""
        path = spec["database"]
        try:
            _check_file(path)
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
                if not _at_rest(error):
                    raise
            # A writer died in the middle: what SQLite would make of it is sound or not.
            copy = os.path.join(work.scratch, "present.db")
            try:
                _check_space(work.scratch, _size(path))
                _copy_at_rest(path, copy)
                return _sound(copy, newest)
            finally:
                _remove(copy)
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
        _check_space(work.scratch, _size(path))
        _check_space(folder, _size(path))
        copy = os.path.join(work.scratch, "damaged.db")
        saved = os.path.join(folder, os.path.basename(path) + ".recovered")
        if os.path.lexists(saved):
            raise EngineError("failed", "%s is there already" % saved)
        try:
            try:
                _copy(path, copy)
            except EngineError as error:
                if error.code == "space":
                    raise
                work.warn("%s: its files were copied as they are: %s" % (path, error))
                _remove(copy)
                for ending in _DATA:
                    if os.path.exists(path + ending):
                        shutil.copyfile(path + ending, copy + ending)
            return engine_sqlite_salvage.salvage(copy, saved)
        except BaseException:
            _remove(saved)
            raise
        finally:
            _remove(copy)


def _version() -> str:
    import sqlite3

    return sqlite3.sqlite_version


def _check_file(path: str) -> None:
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


def _size(path: str) -> int:
    return sum(os.stat(path + ending).st_size for ending in _DATA if os.path.exists(path + ending))


def _check_space(folder: str, size: int) -> None:
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < size + size // 20 + 65536:
        raise EngineError("space", "%s: %d bytes are needed and %d free" % (folder, size, free.f_bavail * free.f_frsize))


def _remove(*paths: str) -> None:
    for path in paths:
        for ending in ("", *_BESIDE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + ending)


@contextlib.contextmanager
def _opened(path: str, alone: bool = False, write: bool = False) -> Iterator[Any]:
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


def _copy(path: str, copy: str) -> None:
    """One moment of a database as a file of its own."""
    import sqlite3

    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    until = time.monotonic() + _WAIT

    def waiting(status: int, _left: int, _all: int) -> None:
        if status in (5, 6) and time.monotonic() > until:  # busy, locked; without this it is tried for ever
            raise EngineError("failed", "%s is locked by another program" % path)

    with _opened(path) as database:
        try:
            target = sqlite3.connect(copy)
            try:
                database.backup(target, progress=waiting)
            finally:
                target.close()
            return
        except sqlite3.Error as error:
            if not _at_rest(error):
                raise _not_copied(error, path, copy) from None
    _copy_at_rest(path, copy)


def _not_copied(error: Exception, path: str, copy: str) -> EngineError:
    """Why a database could not be copied, with the name of the file that failed: SQLite does not say which of the two it was."""
    text = str(error)
    if "full" in text:  # nothing is written to the database itself
        return EngineError("space", "%s: %s" % (copy, text))
    if "I/O" in text and _is_readable(path):
        return EngineError("failed", "%s: %s" % (copy, text))
    return EngineError("damaged" if "malformed" in text else "failed", "%s: %s" % (path, text))


def _is_readable(path: str) -> bool:
    """Whether every byte of a database and its log can be read."""
    for ending in _DATA:
        try:
            with open(path + ending, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def _at_rest(error: Exception) -> bool:
    """Whether a database cannot be read without being written: its writer died in the middle, or nobody may write beside it."""
    return "readonly" in str(error) or "unable to open" in str(error)


def _copy_at_rest(path: str, copy: str) -> None:
    """Copy the files of a database that nobody has open, and have SQLite put the copy in order. EngineError."""
    import shutil
    import sqlite3

    was = _fingerprint(path)
    try:
        for ending in _DATA:
            if os.path.exists(path + ending):
                shutil.copyfile(path + ending, copy + ending)
    except OSError as error:
        import errno

        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        # What it names first is what it read, though that was not what failed.
        name = copy if full or _is_readable(path) else error.filename
        raise EngineError("space" if full else "failed", "%s: %s" % (name, error.strerror or error)) from None
    if _fingerprint(path) != was:
        raise EngineError("failed", "%s is written to by a program beside which it cannot be read" % path)
    try:
        with _opened(copy, write=True) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if "full" in str(error) or "I/O" in str(error):
            raise _not_copied(error, path, copy) from None
        raise EngineError("damaged", "%s: %s" % (path, error)) from None


def _fingerprint(path: str) -> str:
    """What changes with every write to a database."""
    told = []
    for ending in _DATA:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(path + ending)
            told.append("%s %d %d %d" % (ending, found.st_ino, found.st_size, found.st_mtime_ns))
    return "\n".join(told)


def _sound(path: str, newest: float) -> Found:
    with _opened(path) as database:
        problems = _problems(database, "integrity_check")
        broken = _broken_references(database)
        if broken:
            problems.append("%d rows refer to rows that are not there" % broken)
        return Found(not problems, problems, _counts(database), newest)


def _quoted(name: str) -> str:
    return '"%s"' % name.replace('"', '""')


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


class _Table(NamedTuple):
    name: str
    sql: str
    #: Virtual tables and what they keep their data in.
    virtual: bool


def _tables(database: Any, schema: str = "main") -> List[_Table]:
    rows = database.execute("SELECT name, sql FROM %s.sqlite_master WHERE type = 'table'" % schema)  # noqa: S608 - ours
    tables = sorted((_text(name), _text(sql or "")) for name, sql in rows)
    virtual = [name for name, sql in tables if _is_virtual(sql)]
    return [
        _Table(name, sql, name in virtual or any(name == "%s_%s" % (other, shadow) for other in virtual for shadow in _SHADOWS))
        for name, sql in tables
        if not name.startswith("sqlite_")
    ]


def _is_virtual(sql: str) -> bool:
    return sql.upper().startswith("CREATE VIRTUAL")


def _counts(database: Any) -> Dict[str, int]:
    """Rows of each table, and how many tables there are. A virtual table is counted by what it keeps its data in."""
    counts: Dict[str, int] = {"tables": 0}
    for table in _tables(database):
        counts["tables"] += 1
        if not _is_virtual(table.sql):
            name = table.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            count = "SELECT count(*) FROM %s" % _quoted(table.name)  # noqa: S608 - a quoted name
            counts["rows." + name] = int(database.execute(count).fetchone()[0])
    return counts


def _schema(database: Any) -> str:
    """The digest of all that is defined."""
    import hashlib

    rows = database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return hashlib.sha256(repr(sorted(rows, key=repr)).encode("utf-8")).hexdigest()


def _samples(database: Any, tables: Sequence[str]) -> Dict[str, str]:
    """Digests of the first and last rows of some tables, the same ones each time."""
    import hashlib
    import zlib

    there = {table.name for table in _tables(database)}
    chosen = sorted(there & set(tables), key=lambda one: (zlib.crc32(one.encode("utf-8", "replace")), one))[:_SAMPLES]
    orders = {name: _row_key(database, name) or "1" for name in chosen}
    found: Dict[str, str] = {}
    database.text_factory = _marked
    for name, order in orders.items():
        digest = hashlib.sha256()
        for way in ("ASC", "DESC"):
            what = "SELECT * FROM %s ORDER BY %s %s LIMIT %d" % (_quoted(name), order, way, _ROWS)  # noqa: S608 - quoted names
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


def _row_key(database: Any, table: str) -> Optional[str]:
    """The name under which rows are numbered; None for a table without."""
    import sqlite3

    columns = {_text(row[1]).lower() for row in database.execute("PRAGMA table_info(%s)" % _quoted(table))}
    for name in ("rowid", "_rowid_", "oid"):
        if name not in columns:
            try:
                database.execute("SELECT %s FROM %s LIMIT 0" % (name, _quoted(table)))  # noqa: S608 - quoted names
            except sqlite3.Error:
                return None
            return name
    return None


def _problems(database: Any, check: str) -> List[str]:
    import sqlite3

    missing = "no such collation sequence: "
    strange: List[str] = []
    while True:
        try:
            # The order of what only the application can order cannot be checked, all else can.
            rows = [_text(row[0]) for row in database.execute("PRAGMA %s(%d)" % ("quick_check" if strange else check, _PROBLEMS))]
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "locked" in text or _at_rest(error):
                raise
            if missing not in text or text in strange:
                return [text]
            strange.append(text)
            database.create_collation(text.partition(missing)[2], lambda one, other: (one > other) - (one < other))
            continue
        return [] if rows == ["ok"] else rows


def _broken_references(database: Any) -> int:
    import sqlite3

    try:
        return sum(1 for _row in database.execute("PRAGMA foreign_key_check"))
    except sqlite3.OperationalError:
        return 0  # a reference to a table that is not there cannot be checked; that is no matter of the backup


@contextlib.contextmanager
def _unpacked(artifact: Artifact, stored: Stored, work: Work, folder: str) -> Iterator[str]:
    path = os.path.join(folder, "unpacked.db")
    _remove(path)
    try:
        _unpack(artifact, stored, work, path)
        yield path
    finally:
        _remove(path)


def _unpack(artifact: Artifact, stored: Stored, work: Work, path: str) -> None:
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


def _prove(artifact: Artifact, path: str) -> Dict[str, int]:
    """Whether an unpacked database is sound and what the manifest says. EngineError."""
    import sqlite3

    try:
        _check_file(path)
        with _opened(path, alone=True) as database:
            # What SQLite does not find in the last page it takes for zeros, which may be the end of a value.
            pages, size = (database.execute("PRAGMA " + name).fetchone()[0] for name in ("page_count", "page_size"))
            if pages * size != os.path.getsize(path):
                raise EngineError("damaged", "it has %d bytes, not %d pages of %d" % (os.path.getsize(path), pages, size))
            problems = _problems(database, "integrity_check")
            if problems:
                raise EngineError("damaged", "; ".join(problems[:5]))
            counts = _counts(database)
            differing = compare(artifact.counts, counts)
            if differing:
                raise EngineError("differs", "; ".join(differing[:5]))
            wanted = artifact.source.get("schema")
            if wanted is not None and wanted != _schema(database):
                raise EngineError("differs", "what is defined (tables, indexes, views, triggers) is not what the manifest says")
            broken = _broken_references(database)
            if broken > int(artifact.source.get("broken_references") or 0):
                raise EngineError("damaged", "%d rows refer to rows that are not there" % broken)
            return counts
    except sqlite3.Error as error:
        raise EngineError("damaged", str(error)) from None


class SqliteRestorer(Restorer):
    """One restore of a database or of tables of it. The new database is made in ``.opsrunner-new-<ident>`` beside the present
    one, which goes to ``.opsrunner-aside-<ident>`` with its log."""

    def __init__(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> None:
        self._artifact, self._stored, self._request, self._work = artifact, stored, request, work
        self._ident = own_ident(request.ident, artifact)
        path = request.target or spec.get("database") or artifact.source.get("database")
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

    def needs(self) -> List[Tuple[str, int]]:
        """Free bytes beside the database: the size of the one that is made."""
        there = self._folder
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        return [(there, self._unpacked_size() + (_size(self._path) if self._request.part and os.path.exists(self._path) else 0))]

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
            _check_file(self._path)

    def stage(self) -> Mapping[str, int]:
        """Unpack and prove it beside the present database; of tables, put them into a copy of the present one."""
        for folder, size in self.needs():
            _check_space(folder, size)
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
                _unpack(self._artifact, self._stored, self._work, self._staged)
                counts = _prove(self._artifact, self._staged)
                self._own()
                return counts
            _check_file(self._path)
            with self._swap.staged() as handle:
                was = _fingerprint(self._path)
                _copy(self._path, self._staged)
                with _unpacked(self._artifact, self._stored, self._work, self._swap.stage) as other:
                    _prove(self._artifact, other)
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
            with _opened(self._staged, write=True) as database:
                # The staged copy is nobody else's: no log is to stay beside it.
                mode = _text(database.execute("PRAGMA journal_mode").fetchone()[0])
                database.execute("PRAGMA journal_mode = DELETE")
                before = _broken_references(database)
                database.execute("PRAGMA foreign_keys = OFF")
                database.execute("ATTACH DATABASE ? AS backup", (other,))
                database.execute("BEGIN IMMEDIATE")
                for table in self._request.part:
                    _replace(database, table)
                database.execute("COMMIT")
                database.execute("DETACH DATABASE backup")
                problems = _problems(database, "integrity_check")
                if problems:
                    raise EngineError("damaged", "staged: " + "; ".join(problems[:5]))
                broken = _broken_references(database)
                if broken > before:
                    self._work.warn("%d rows refer to rows that are not there, %d more than before" % (broken, broken - before))
                counts = _counts(database)
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
                    same = file.read() == _fingerprint(self._path)
            except FileNotFoundError:
                same = False
            if not same:
                self._swap.prepare()
                self._make()
        self._swap.forward([[self._name, *(self._name + ending for ending in _BESIDE)]])

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
            with _opened(self._path) as database:
                counts = _counts(database)
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
    found = {one.name: one for one in _tables(database, "backup")}[table]
    if found.virtual:
        raise EngineError("failed", "table %r is a virtual one or belongs to one: restore the whole" % table)
    name = _quoted(table)
    sequence = None
    if database.execute("SELECT 1 FROM backup.sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        sequence = database.execute("SELECT seq FROM backup.sqlite_sequence WHERE name = ?", (table,)).fetchone()
    there = database.execute("SELECT type FROM main.sqlite_master WHERE name = ?", (table,)).fetchone()
    if there and _text(there[0]) != "table":
        raise EngineError("failed", "%r is a %s in the present database" % (table, _text(there[0])))
    # Triggers of other tables stay; those of this one go with it.
    database.execute("DROP TABLE IF EXISTS main.%s" % name)
    database.execute(found.sql)
    columns = [_quoted(_text(row[1])) for row in database.execute("SELECT * FROM pragma_table_xinfo(?, 'backup')", (table,)) if row[6] == 0]
    key = _row_key(database, table)
    listed = ", ".join([*([key] if key else []), *columns])
    database.execute("INSERT INTO main.%s (%s) SELECT %s FROM backup.%s" % (name, listed, listed, name))  # noqa: S608 - quoted names
    if sequence:
        database.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (table,))
        database.execute("INSERT INTO main.sqlite_sequence (name, seq) VALUES (?, ?)", (table, sequence[0]))
    more = "SELECT name, sql FROM backup.sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql NOT NULL ORDER BY type"
    for other, sql in database.execute(more, (table,)).fetchall():
        if database.execute("SELECT 1 FROM main.sqlite_master WHERE name = ?", (_text(other),)).fetchone():
            raise EngineError("failed", "%r belongs to another table in the present database" % _text(other))
        database.execute(_text(sql))
