# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of other tools, read to their end: archives, dumps, databases, by what their name and first bytes say.

Rung 2 is the check sum that the compressor keeps, or a ``.sha256`` beside the file; rung 3 that the content is whole: an archive with
its end, a dump with its last line, a database that is sound. Higher rungs need the options of a backup of our own.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from typing import IO, Callable, Dict, List, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils import backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_places import HOST, Command, Limits, command
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_stream import StreamError
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_verify_set import Stumble

#: Compressions by the ending of a name, with what such a file begins with, and the program that reads it.
_PACKED: Tuple[Tuple[str, Tuple[bytes, ...], Command, str], ...] = (
    (".gz", (b"\x1f\x8b",), command("gzip", "-dc"), ""),
    (".tgz", (b"\x1f\x8b",), command("gzip", "-dc"), ".tar"),
    (".zst", (b"\x28\xb5\x2f\xfd",), command("zstd", "-q", "-dc"), ""),
    (".tzst", (b"\x28\xb5\x2f\xfd",), command("zstd", "-q", "-dc"), ".tar"),
    (".xz", (b"\xfd7zXZ\x00",), command("xz", "-dc"), ""),
    (".txz", (b"\xfd7zXZ\x00",), command("xz", "-dc"), ".tar"),
    (".bz2", (b"BZh",), command("bzip2", "-dc"), ""),
    (".tbz2", (b"BZh",), command("bzip2", "-dc"), ".tar"),
    (".tbz", (b"BZh",), command("bzip2", "-dc"), ".tar"),
    (".lz4", (b"\x04\x22\x4d\x18",), command("lz4", "-dc"), ""),
)
_SQLITE = b"SQLite format 3\x00"
_SUMS = (".sha256", ".sha256sum")
_SUM_LISTS = ("SHA256SUMS", "sha256sums.txt", "SHA256SUMS.txt")
_BLOCK = 1 << 20


class Read(NamedTuple):
    """``rung``: the highest that was passed; ``summed``: a check sum of the file was compared; ``what``: what the file was read as."""

    rung: int
    stumble: Optional[Stumble]
    summed: bool
    what: str


class ContentError(Exception):
    """What is in a file is not whole."""


def read_file(path: str, asked: int, scratch: str, limits: Optional[Limits] = None) -> Read:
    """Climb to rung 2 or 3 with one file."""
    name = os.path.basename(path)
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as file:
            head = file.read(512)
        wanted = sum_beside(path)
    except PermissionError:
        return Read(0, Stumble(1, name, "may not be read by this user", True), False, "")
    except OSError as error:
        return Read(0, Stumble(1, name, "cannot be read: %s" % (error.strerror or error)), False, "")
    if not size:
        return Read(0, Stumble(1, name, "is empty"), False, "")
    if asked < 2:
        return Read(1, None, False, "")
    packed, inner = _kind(name)
    if packed and not head.startswith(packed[1]):
        return Read(1, Stumble(2, name, "is not what its name says: it begins with %s" % head[:4].hex()), False, "")
    if wanted is not None:
        try:
            if backup_stream.digest(path).sha256 != wanted:
                return Read(1, Stumble(2, name, "has another sum than the one written beside it"), True, "")
        except OSError as error:
            return Read(1, Stumble(2, name, "cannot be read: %s" % (error.strerror or error)), True, "")
    summed = wanted is not None or packed is not None or name.lower().endswith(".zip")
    if asked < 3 and not summed:
        return Read(1, Stumble(2, name, "has no check sum; rung 3 reads it", True), False, "")
    if asked < 3 and wanted is not None:
        return Read(2, None, True, "")
    stream = _Stream(path, packed[2] if packed else None, limits)
    try:
        what = _content(name, inner, stream, scratch)
    except ContentError as error:
        return Read(2 if summed else 1, Stumble(3, name, str(error)), summed, inner)
    except StreamError as error:
        hindered = error.status is None and error.said.startswith(("is not installed", "cannot be started"))
        unpacker = packed is not None and error.program == packed[2].program
        at = 2 if unpacker and not hindered else 3
        return Read(at - 1 if summed or at == 2 else 1, Stumble(at, name, " ".join(str(error).split())[:300], hindered), summed, inner)
    except PermissionError as error:
        return Read(1, Stumble(3, name, "%s: %s" % (error.filename, error.strerror or error), True), summed, inner)
    except Exception as error:  # noqa: BLE001 - whatever a reader stumbles over, the file was not read to its end
        at = 2 if packed else 3
        return Read(1, Stumble(at, name, "%s: %s" % (type(error).__name__, " ".join(str(error).split())[:300])), summed, inner)
    return Read(min(asked, 3), None, summed, what)


def sum_beside(path: str) -> Optional[str]:
    """The sha256 that is written beside a file, in ``<file>.sha256`` or a list of sums; None when there is none. Raises OSError."""
    folder, name = os.path.split(path)
    for other in [path + ending for ending in _SUMS] + [os.path.join(folder, listed) for listed in _SUM_LISTS]:
        try:
            with open(other, "rb") as file:
                text = file.read(_BLOCK).decode("utf-8", "replace")
        except FileNotFoundError:
            continue
        for line in text.splitlines():
            match = re.match(r"\\?([0-9a-fA-F]{64})(?:\s+\*?(.+))?\s*\Z", line)
            if match and (match.group(2) is None or os.path.basename(match.group(2).strip()) == name):
                return match.group(1).lower()
    return None


def is_sum(name: str) -> bool:
    """Whether a file only holds the sums of others."""
    return name.lower().endswith(_SUMS) or name in _SUM_LISTS


def _kind(name: str) -> Tuple[Optional[Tuple[str, Tuple[bytes, ...], Command, str]], str]:
    """How a file is compressed, and the ending of what is in it."""
    lower = name.lower()
    for packed in _PACKED:
        if lower.endswith(packed[0]):
            return packed, packed[3] or os.path.splitext(lower[: -len(packed[0])])[1]
    return None, os.path.splitext(lower)[1]


class _Stream:
    """A file's content, unpacked."""

    def __init__(self, path: str, unpack: Optional[Command], limits: Optional[Limits]) -> None:
        self.path, self.unpack, self.limits = path, unpack, limits

    def blocks(self, see: Callable[[bytes], None]) -> int:
        """Show every block; returns how many bytes there were. Raises StreamError, OSError."""
        if self.unpack is None:
            with open(self.path, "rb", buffering=0) as file:
                return _all(file, see)
        what = self.unpack._replace(argv=(*self.unpack.argv, "--", self.path))
        with backup_stream.produced(what, self.limits) as output:
            return _all(output, see)

    def into(self, program: Command) -> List[bytes]:
        """Lines that a program says of it, the first and the last one. Raises StreamError."""
        lines: List[bytes] = []
        rest = [b""]

        def said(block: bytes) -> None:
            whole = (rest[0] + block).split(b"\n")
            rest[0] = whole.pop()
            if whole:
                lines[:] = [(lines or whole)[0], whole[-1]]

        source = self.unpack or command("cat")
        unpacked = source._replace(argv=(*source.argv, "--", self.path))
        with backup_stream._Chain(self.limits) as chain:
            first = chain.start(unpacked, HOST, stdin=subprocess.DEVNULL)
            second = chain.start(program, HOST, stdin=first)
            first.close()
            _all(second, said)
            second.close()
            chain.finish()
        return lines


def _all(file: IO[bytes], see: Callable[[bytes], None]) -> int:
    total = 0
    while True:
        block = file.read(_BLOCK)
        if not block:
            return total
        total += len(block)
        see(block)


def _content(name: str, inner: str, stream: _Stream, scratch: str) -> str:
    """Read the content to its end; returns what it was. Raises ContentError, StreamError, OSError."""
    if name.lower().endswith(".zip"):
        _zip(stream.path)
        return "zip"
    if inner == ".tar":
        _tar(stream)
        return "tar"
    if inner in (".archive", ".mongodump"):
        _Archive().read(stream)
        return "archive"
    look = _Look()
    total = stream.blocks(look.see)
    if not total:
        raise ContentError("holds nothing")
    if look.head.startswith(_SQLITE):
        _sqlite(stream, scratch)
        return "sqlite"
    if look.head.startswith(b"REDIS"):
        _rdb(look)
        return "rdb"
    if look.head.startswith(b"PGDMP"):
        stream.into(command("pg_restore", "-f", "-"))
        return "pg_dump"
    if inner in (".db", ".sqlite", ".sqlite3"):
        raise ContentError("is no SQLite database: it begins with %s" % look.head[:8].hex())
    if inner == ".rdb":
        raise ContentError("is no RDB file: it begins with %s" % look.head[:8].hex())
    if inner == ".sql":
        look.sql()
        return "sql"
    if look.zeros == total:
        raise ContentError("holds nothing but zeros")
    return "plain"


class _Look:
    """What a stream begins and ends with, and whether it holds statements."""

    def __init__(self) -> None:
        self.head = b""
        self.tail = b""
        self.statements = False
        self.zeros = 0
        self.rdb: Optional[int] = None
        self.before = b""

    def see(self, block: bytes) -> None:
        """A block of it."""
        if len(self.head) < 4096:
            self.head += block[: 4096 - len(self.head)]
        joined = self.before + block
        if not self.statements:
            self.statements = any(word in joined for word in (b"CREATE ", b"INSERT ", b"COPY ", b"create ", b"insert "))
        if self.zeros >= 0:
            self.zeros = self.zeros + len(block) if not block.strip(b"\0") else -1
        if self.head.startswith(b"REDIS"):
            self._sum(block)
        self.tail = (self.tail + block[-4096:])[-4096:]
        self.before = block[-16:]

    def _sum(self, block: bytes) -> None:
        # The last eight bytes are the sum itself.
        from ansible_collections.opsrunner.runbook.plugins.module_utils import crc64

        kept = self.tail[-8:] if self.rdb is not None else b""
        joined = kept + block
        self.rdb = crc64.JONES.update(self.rdb or 0, joined[:-8])

    def sql(self) -> None:
        """Whether a dump in SQL came to its end. Raises ContentError."""
        head, end = self.head, self.tail.rstrip()
        lines = [line.strip() for line in end.split(b"\n")]
        if not self.statements:
            raise ContentError("is a dump of nothing: it creates and fills no table")
        if b"-- PostgreSQL database cluster dump" in head:
            whole = any(line.startswith(b"-- PostgreSQL database cluster dump complete") for line in lines[-8:])
        elif b"-- PostgreSQL database dump" in head:
            whole = any(line.startswith(b"-- PostgreSQL database dump complete") for line in lines[-8:])
        elif re.search(rb"-- (MySQL|MariaDB) dump", head):
            whole = any(line.startswith(b"-- Dump completed") for line in lines[-3:])
        elif b"PRAGMA foreign_keys=OFF;" in head and b"BEGIN TRANSACTION;" in head:
            whole = lines[-1] == b"COMMIT;"
        else:
            # No dump tool that says when it is done: the last statement must be whole.
            whole = end.endswith((b";", b"*/", b"\\.")) or lines[-1].startswith(b"--")
        if not whole:
            raise ContentError("is half a dump: the line that tells its end is missing")


def _tar(stream: _Stream) -> None:
    lines = stream.into(command("tar", "--list", "--block-number", "--file", "-"))
    if not lines or b"** Block of NULs **" in lines[0] or b"** End of File **" in lines[0]:
        raise ContentError("is an archive without a file in it")
    if b"** Block of NULs **" not in lines[-1]:
        raise ContentError("is half an archive: its end is missing")


def _zip(path: str) -> None:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            if not archive.namelist():
                raise ContentError("is an archive without a file in it")
            wrong = archive.testzip()
    except zipfile.BadZipFile as error:
        raise ContentError("cannot be read: %s" % error) from None
    if wrong:
        raise ContentError("%s in it is damaged" % wrong)


def _sqlite(stream: _Stream, scratch: str) -> None:
    import sqlite3
    import urllib.parse

    path = stream.path
    own: Optional[str] = None
    if stream.unpack is not None:
        own = path = os.path.join(scratch, "database-%s" % hashlib.sha256(os.fsencode(stream.path)).hexdigest()[:16])
        with open(own, "wb") as file:
            stream.blocks(lambda block: void(file.write(block)))
    try:
        connection = sqlite3.connect("file:%s?mode=ro&immutable=1" % urllib.parse.quote(path), uri=True)
        try:
            pages, size = (connection.execute("PRAGMA %s" % name).fetchone()[0] for name in ("page_count", "page_size"))
            if pages * size != os.stat(path).st_size:
                raise ContentError("has not the size that the database says: %d pages of %d bytes" % (pages, size))
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
            if found != ["ok"]:
                raise ContentError("is damaged: %s" % "; ".join(found).replace("\n", " ")[:300])
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise ContentError("is a database without a table")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise ContentError("is damaged: %s" % error) from None
    finally:
        if own is not None:
            os.unlink(own)


def void(_value: object) -> None:
    """Nothing, of anything."""


def _rdb(look: _Look) -> None:
    if len(look.tail) < 9 or look.tail[-9] != 0xFF:
        raise ContentError("is half an RDB file: its end is missing")
    wanted = int.from_bytes(look.tail[-8:], "little")
    if wanted and wanted != look.rdb:  # 0: Redis was told to keep no sum
        raise ContentError("has another sum than it says")


class _Archive:
    """An archive of mongodump: documents of BSON in blocks, each block with a namespace, each namespace with an end."""

    MAGIC = b"\x6d\xe2\x99\x81"
    END = b"\xff\xff\xff\xff"

    def __init__(self) -> None:
        self.buffer = b""
        self.magic = False
        self.header = True
        self.after_end = False
        self.first_block = True
        self.opened: Dict[bytes, bool] = {}
        self.documents = 0

    def read(self, stream: _Stream) -> None:
        """Raises ContentError, StreamError."""
        stream.blocks(self.see)
        if not self.magic:
            raise ContentError("is no archive of mongodump")
        if self.buffer or not self.header or self.first_block:
            raise ContentError("is half an archive: it ends in the middle")
        open_ones = sorted(name.decode("utf-8", "replace") for name, done in self.opened.items() if not done)
        if open_ones:
            raise ContentError("is half an archive: the end of %s is missing" % open_ones[0])

    def see(self, block: bytes) -> None:
        """A block of it."""
        data = self.buffer + block
        at = 0
        if not self.magic:
            if len(data) < 4:
                self.buffer = data
                return
            if data[:4] != self.MAGIC:
                raise ContentError("is no archive of mongodump: it begins with %s" % data[:4].hex())
            self.magic, at = True, 4
        while len(data) - at >= 4:
            word = data[at : at + 4]
            if word == self.END:
                self.first_block, self.header, at = False, True, at + 4
                continue
            length = int.from_bytes(word, "little")
            if not 5 <= length <= 64 * 1024 * 1024:
                raise ContentError("is damaged: a document of %d bytes" % length)
            if len(data) - at < length:
                break
            document = data[at : at + length]
            if document[-1]:
                raise ContentError("is damaged: a document without an end")
            if self.header and not self.first_block:
                self._namespace(document)
            self.header = False
            at += length
        self.buffer = data[at:]

    def _namespace(self, document: bytes) -> None:
        names = [re.search(b"\x02" + key + b"\x00....([^\x00]*)\x00", document, re.DOTALL) for key in (b"db", b"collection")]
        if not all(names):
            raise ContentError("is damaged: a block without a namespace")
        name = b".".join(match.group(1) for match in names if match)
        self.opened[name] = b"\x08EOF\x00\x01" in document
