# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of other tools, read to their end: archives, dumps, databases, by what their name and first bytes say.

Rung 2 is the check sum that the compressor keeps, or one that is written beside the file; rung 3 that the content is whole: an archive
with its end, a dump with its last line, a database that is sound. What nothing here can look into - encrypted files, volumes of a
split one, archives of unknown programs - is not called whole. Higher rungs need the options of a backup of our own.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from typing import IO, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import printable
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.chain import Chain, blocks_of
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command, Limits, command
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError

from ..status.scan import SUM_FILE, SUM_LIST, is_sum
from .climb import Stumble, hindered, told


class _Packed(NamedTuple):
    """A compression: endings of names with what is in such a file (empty: as the rest of the name says), first bytes, its reader."""

    endings: Tuple[Tuple[str, str], ...]
    magics: Tuple[bytes, ...]
    unpack: Command


_SKIPPED = tuple(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16))  # frames before the data, as pzstd writes them
_PACKED = (
    _Packed(((".gz", ""), (".tgz", ".tar")), (b"\x1f\x8b",), command("gzip", "-dc")),
    # As much memory as the writer was allowed to take: 2 GiB with --long=31.
    _Packed(((".zst", ""), (".tzst", ".tar")), (b"\x28\xb5\x2f\xfd", *_SKIPPED), command("zstd", "-q", "-dc", "--long=31")),
    _Packed(((".xz", ""), (".txz", ".tar")), (b"\xfd7zXZ\x00",), command("xz", "-dc")),
    _Packed(((".bz2", ""), (".tbz2", ".tar"), (".tbz", ".tar")), (b"BZh",), command("bzip2", "-dc")),
    _Packed(((".lz4", ""),), (b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18", *_SKIPPED), command("lz4", "-dc")),
)
#: What is not looked into here: endings, and first bytes where the name does not tell.
_OPAQUE = re.compile(r"\.(7z|rar|gpg|pgp|asc|age|enc|aes|lz|lzo|lzma|z|br|cpio|dar|vma|qcow2|vmdk|vdi|xva)\Z")
_OPAQUE_MAGICS = (b"7z\xbc\xaf", b"Rar!", b"age-encryption.org", b"-----BEGIN ", b"Salted__", b"LZIP", b"\x89LZO", b"\x1f\x9d", b"QFI\xfb")
#: A volume of a file that was split: x.tar.gz.aa, x.zip.001, x.z01, x.part2.rar.
_VOLUME = re.compile(
    r"\.(?:tar|tgz|gz|zst|xz|bz2|lz4|zip|7z|sql|dump|img|age|gpg)\.(?:[a-z]{2}|aa[a-z])\Z|\.(?:part)?0\d\d\Z|\.z\d\d\Z|\.part\d+\.rar\Z"
)
_SQLITE = b"SQLite format 3\x00"
#: First bytes of other databases whose files end in .db: Berkeley DB (from the twelfth on), GDBM, old Windows.
_OTHER_DATABASES = (b"\x62\x31\x05\x00", b"\x61\x15\x06\x00", b"\x00\x05\x31\x62", b"\x00\x06\x15\x61")
_OTHER_HEADS = (b"\xce\x9a\x57\x13", b"\xcf\x9a\x57\x13", b"\x13\x57\x9a\xce", b"\x13\x57\x9a\xcf", b"\xd0\xcf\x11\xe0")
#: The first lines of what dump programs write.
_SQL_DUMP = re.compile(rb"^-- (?:MySQL|MariaDB) dump|^-- PostgreSQL database (?:cluster )?dump|\APRAGMA foreign_keys=OFF;", re.MULTILINE)
_BLOCK = 1 << 20
_LIST_LIMIT = 64 * 1024 * 1024


class Read(NamedTuple):
    """``rung``: the highest that was passed; ``summed``: a check sum of the file was compared; ``what``: what the file was read as."""

    rung: int
    stumble: Optional[Stumble]
    summed: bool
    what: str


class ContentError(Exception):
    """What is in a file is not whole; ``unread``: it cannot be told whether it is."""

    def __init__(self, text: str, unread: bool = False) -> None:
        super().__init__(text)
        self.unread = unread


# -- sums beside files ----------------------------------------------------------------------------------------------------------

_LENGTHS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_GNU = re.compile(r"\\?([0-9a-fA-F]{32,128})(?:\s+\*?(.+?))?\s*\Z")
_BSD = re.compile(r"[A-Z0-9-]+ \((.+)\) ?= ?([0-9a-fA-F]{32,128})\s*\Z")


class Sums:
    """The sums that files hold: ``<file>.sha256``, ``SHA256SUMS`` and those of md5sum, sha1sum, sha512sum.

    ``missing``: (file of sums, name) of what has a sum and is not there; ``unusable``: files whose own file of sums tells none.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self.known: Dict[str, Tuple[str, str]] = {}
        self.missing: List[Tuple[str, str]] = []
        self.unusable: Dict[str, str] = {}
        for path in sorted(files):
            self._read(path)

    @classmethod
    def beside(cls, folder: str) -> Sums:
        """Those in one folder. Raises OSError."""
        return cls(os.path.join(folder, name) for name in os.listdir(folder) if is_sum(name))

    def _read(self, path: str) -> None:
        folder, name = os.path.split(path)
        if not os.path.isfile(path):  # a pipe, say, that nobody writes into
            return
        own = None if SUM_LIST.match(name) else os.path.join(folder, SUM_FILE.sub("", name))
        try:
            with open(path, "rb") as file:
                found = list(_sums(file.read(_LIST_LIMIT).decode("utf-8", "surrogateescape")))
        except OSError:
            found = []
        if own and len(found) == 1:  # whatever the file was called when its sum was taken
            found = [(found[0][0], None)]
        for digest, told_name in found:
            target = own if told_name is None else self._target(folder, told_name)
            if target is None or not os.path.lexists(target):
                self.missing.append((name, told_name or os.path.basename(target or name)))
            elif len(digest) in _LENGTHS:
                self.known[target] = (_LENGTHS[len(digest)], digest.lower())
        if own and own not in self.known:
            self.unusable[own] = name

    @staticmethod
    def _target(folder: str, name: str) -> str:
        below = os.path.normpath(os.path.join(folder, name))
        return below if os.path.lexists(below) else os.path.join(folder, os.path.basename(name))


def _sums(text: str) -> Iterable[Tuple[str, Optional[str]]]:
    for line in text.splitlines():
        match = _GNU.match(line)
        if match:
            yield match.group(1), match.group(2)
            continue
        match = _BSD.match(line)
        if match:
            yield match.group(2), match.group(1)


def _digest(path: str, algorithm: str) -> str:
    if algorithm == "sha256":
        return backup_stream.digest(path).sha256
    found = hashlib.new(algorithm)
    with open(path, "rb", buffering=0) as file:
        _all(file, found.update)
    return found.hexdigest()


# -- files ----------------------------------------------------------------------------------------------------------------------


def read_file(
    path: str, asked: int, scratch: str, limits: Optional[Limits] = None, sums: Optional[Sums] = None, alone: bool = True
) -> Read:
    """Climb to rung 2 or 3 with one file. ``alone``: it is the backup, not one of the many files of a folder, which may be of any kind."""
    name = printable(os.path.basename(path))
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as file:
            head = file.read(512)
        sums = Sums.beside(os.path.dirname(path)) if sums is None else sums
    except OSError as error:
        return Read(0, Stumble(1, name, "cannot be read: %s" % (error.strerror or error), hindered(error)), False, "")
    if not size:
        return Read(0, Stumble(1, name, "is empty"), False, "empty")
    if asked < 2:
        return Read(1, None, False, "")
    packed, inner = _kind(os.path.basename(path), head if alone else b"")
    if packed and not head.startswith(packed.magics):
        return Read(1, Stumble(2, name, "is not what its name says: it begins with %s" % head[:4].hex()), False, "")
    wanted = sums.known.get(path)
    if wanted is not None:
        try:
            if _digest(path, wanted[0]) != wanted[1]:
                return Read(1, Stumble(2, name, "has another sum than the one written beside it"), True, "")
        except OSError as error:
            return Read(1, Stumble(2, name, "cannot be read: %s" % (error.strerror or error), hindered(error)), True, "")
    summed = wanted is not None or packed is not None or name.lower().endswith(".zip")
    unusable = None
    if path in sums.unusable:
        unusable = Stumble(2, name, "no sum can be made out in %s beside it" % printable(sums.unusable[path]), True)
    if asked < 3 and not summed:
        return Read(1, unusable or Stumble(2, name, "has no check sum; rung 3 reads it", True), False, "")
    if asked < 3 and wanted is not None:
        return Read(2, None, True, "")
    read = _read_through(name, inner, _Stream(path, packed.unpack if packed else None, limits), scratch, summed, alone)
    if unusable and (read.stumble is None or read.stumble.hindered):
        return read._replace(rung=1, stumble=unusable)
    return read._replace(rung=min(read.rung, asked))


def _read_through(name: str, inner: str, stream: _Stream, scratch: str, summed: bool, alone: bool) -> Read:
    below = 2 if summed else 1
    try:
        what = _content(name, inner, stream, scratch, alone)
    except ContentError as error:
        return Read(below, Stumble(3, name, str(error), error.unread), summed, inner)
    except StreamError as error:
        in_the_way = hindered(error) or "unsupported version" in error.said
        # The compressor's own check is rung 2.
        unpacker = stream.unpack is not None and error.program == stream.unpack.program
        at = 2 if unpacker and not in_the_way else 3
        reached = 1 if unpacker else below
        return Read(reached, Stumble(at, name, told(error)[:300], in_the_way), summed, inner)
    except Exception as error:  # noqa: BLE001 - whatever a reader stumbles over, the file was not read to its end
        in_the_way = hindered(error)
        at = 2 if stream.unpack and not in_the_way else 3
        return Read(1, Stumble(at, name, told(error)[:300], in_the_way), summed, inner)
    return Read(3, None, summed, what)


def _kind(name: str, head: bytes) -> Tuple[Optional[_Packed], str]:
    """How a file is compressed, and the ending of what is in it. ``head``: its first bytes, which tell when the name does not."""
    lower = name.lower()
    for packed in _PACKED:
        for ending, inner in packed.endings:
            if lower.endswith(ending):
                return packed, inner or os.path.splitext(lower[: -len(ending)])[1]
    ending = os.path.splitext(lower)[1]
    if not _VOLUME.search(lower):
        for packed in _PACKED:
            if head.startswith(packed.magics):
                return packed, ending
    return None, ending


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
        with Chain(self.limits) as chain:
            first = chain.start(unpacked, HOST, stdin=subprocess.DEVNULL)
            second, entry = chain.start_fed(program)
            chain.pump(blocks_of(first), entry)
            _all(second, said)
            second.close()
            for thread, _problems in chain._pumps:
                thread.join()
            _all(first, void)  # tar stops at the archive's end; what is behind it is to be unpacked as well
            first.close()
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


def _content(name: str, inner: str, stream: _Stream, scratch: str, alone: bool) -> str:
    """Read the content to its end; returns what it was. Raises ContentError, StreamError, OSError."""
    lower = name.lower()
    if alone and stream.unpack is None and _VOLUME.search(lower):
        stream.blocks(void)
        raise ContentError("is one volume of a file that was split: whether the whole is there cannot be told from it", True)
    if lower.endswith(".zip"):
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
    if look.head.startswith(_RDB):
        _rdb(look)
        return "rdb"
    if look.head.startswith(b"PGDMP"):
        _pg_dump(stream)
        return "pg_dump"
    if alone and look.head[257:262] == b"ustar":
        _tar(stream)
        return "tar"
    if alone and (_OPAQUE.search(lower) or look.head.startswith(_OPAQUE_MAGICS)):
        raise ContentError("is of a kind that cannot be looked into here: it was read to its end, no more", True)
    other = look.head[12:16] in _OTHER_DATABASES or look.head.startswith(_OTHER_HEADS)
    if inner in (".db", ".sqlite", ".sqlite3") and not other:
        raise ContentError("is no SQLite database: it begins with %s" % look.head[:8].hex())
    if inner == ".rdb":
        raise ContentError("is no RDB file: it begins with %s" % look.head[:8].hex())
    if inner == ".sql" or _SQL_DUMP.search(look.head):
        look.sql()
        return "sql"
    if look.zeros == total:
        raise ContentError("holds nothing but zeros")
    return "plain"


#: Redis, and Valkey from 9 on.
_RDB = (b"REDIS", b"VALKEY")


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
        if self.head.startswith(_RDB):
            self._sum(block)
        self.tail = (self.tail + block[-4096:])[-4096:]
        self.before = block[-16:]

    def _sum(self, block: bytes) -> None:
        # The last eight bytes are the sum itself.
        from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import crc64

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


def _pg_dump(stream: _Stream) -> None:
    """A dump of pg_dump in its own format: a file, or a folder, of which toc.dat is read."""
    into = ("pg_restore", "-f", os.devnull)
    folder, name = os.path.split(stream.path)
    if name == "toc.dat":
        backup_stream.run(command(*into, folder), limits=stream.limits)
    else:
        stream.into(command(*into))


def _zip(path: str) -> None:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            if not archive.namelist():
                raise ContentError("is an archive without a file in it")
            wrong = archive.testzip()
    except zipfile.BadZipFile as error:
        raise ContentError("cannot be read: %s" % error, "multiple disks" in str(error)) from None
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or compressed as Python cannot
        raise ContentError("cannot be looked into here: %s" % error, True) from None
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
