# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walk through an archive of mongodump while it passes by: documents and indexes per collection, samples, the sums in it.

An archive tells first which collections it has, then portions of their documents in any order, and for each collection at
last that it has ended, with a sum of its documents. One that was cut lacks such an end.
"""

from __future__ import annotations

import array
import hashlib
import json
import struct
import zlib
from typing import Any, Dict, Generator, List, NamedTuple, Optional, Tuple

from .. import crc64
from . import bson

_MAGIC = 0x8199E26D
_TERMINATOR = -1
#: What a document may have, and what the server adds to it at most.
_LARGEST = (16 << 20) + (1 << 20)
#: Blocks are gathered up to this size: sums are made faster of large pieces.
_GATHERED = 1 << 20
_SAMPLES = 3
_SAMPLED_COLLECTIONS = 30
_INT32 = struct.Struct("<i")
#: Where the documents of a time series are.
_BUCKETS = "system.buckets."


class ArchiveError(Exception):
    """What is no whole archive. ``code``: ``damaged`` or ``version``."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Sample(NamedTuple):
    """A document that was sampled."""

    collection: str
    id: Any
    digest: str

    @property
    def name(self) -> str:
        """Its name in a manifest: an id may tell something itself, so only its digest is told."""
        return "%s.%s" % (self.collection, hashlib.sha256(bson.encode({"": self.id})).hexdigest()[:16])


class Collection:
    """What was found of one. ``kind``: ``collection``, ``view`` or ``timeseries``; ``options``: as it was made with, in extended JSON;
    ``lives``: fields with a time after which the server removes the document, and how many milliseconds later; ``expires``: when."""

    def __init__(self, database: str, name: str, kind: str, metadata: Dict[str, Any]) -> None:
        self.database, self.name, self.kind = database, name, kind
        self.options: Dict[str, Any] = metadata.get("options") or {}
        indexes = metadata.get("indexes", ())
        self.indexes = len(indexes)
        self.lives: Dict[str, int] = {}
        for index in indexes:
            seconds = bson.from_json(index.get("expireAfterSeconds"))
            if seconds is not None and len(index["key"]) == 1:
                self.lives[next(iter(index["key"]))] = int(seconds) * 1000
        self.expires: array.array[int] = array.array("q")
        self.documents = 0
        self.ended = False
        self.sum = 0
        self.picked: List[Tuple[int, Sample]] = []


class Walker:
    """Feed it the blocks of an archive, then ask :meth:`finish`. ``expiring``: learn when documents expire, which takes longer."""

    def __init__(self, expiring: bool = False) -> None:
        self._expiring = expiring
        self.size = 0
        self.server = ""
        self.tool = ""
        self.collections: Dict[Tuple[str, str], Collection] = {}
        self._gathered: List[bytes] = []
        self._gathered_size = 0
        self._buffer = b""
        self._at = 0
        self._span = 0
        self._now: Optional[Collection] = None
        self._grammar = self._file()
        self._wanted = next(self._grammar)

    def counts(self) -> Dict[str, int]:
        """Documents and indexes by collection."""
        found: Dict[str, int] = {}
        for item in sorted(self.collections.values(), key=lambda item: item.name):
            if item.kind == "collection":
                found["documents.%s" % item.name] = item.documents
                found["indexes.%s" % item.name] = item.indexes
        return found

    @property
    def samples(self) -> List[Sample]:
        """Some documents of the first collections."""
        found = []
        for item in sorted(self.collections.values(), key=lambda item: item.name)[:_SAMPLED_COLLECTIONS]:
            found += [sample for _rank, sample in sorted(item.picked, key=lambda pair: pair[0])]
        return found

    def expired(self, at: float) -> Dict[str, int]:
        """How many documents of each collection the server may have removed by this time (seconds since the epoch)."""
        limit = int(at * 1000)
        return {item.name: sum(1 for when in item.expires if when <= limit) for item in self.collections.values() if item.lives}

    def feed(self, block: bytes) -> None:
        """The next piece of the archive. Raises ArchiveError."""
        self.size += len(block)
        self._gathered.append(block)
        self._gathered_size += len(block)
        if self._gathered_size >= _GATHERED:
            self._flush()

    def finish(self) -> None:
        """Whether that was all of it. Raises ArchiveError."""
        self._flush()
        if self._at != len(self._buffer) or self._wanted != "header":
            raise ArchiveError("damaged", "the archive is cut off after %d bytes" % self.size)
        for item in self.collections.values():
            if not item.ended and item.kind != "view":
                raise ArchiveError("damaged", "the archive is cut off: %s has no end" % item.name)

    def _flush(self) -> None:
        self._buffer = b"".join([self._buffer[self._at :], *self._gathered])
        self._gathered, self._gathered_size, self._at, self._span = [], 0, 0, 0
        while True:
            size = self._next()
            if size is None:
                break
            piece = self._buffer[self._at : self._at + size]
            self._at += size
            self._wanted = self._grammar.send(piece)
        self._sum(self._at)

    def _next(self) -> Optional[int]:
        """How many bytes the next piece has; None when it is not all there."""
        left = len(self._buffer) - self._at
        if left < 4:
            return None
        if self._wanted == "magic":
            return 4
        (size,) = _INT32.unpack_from(self._buffer, self._at)
        if size == _TERMINATOR:
            self._sum(self._at)
            return 4
        if not 5 <= size <= _LARGEST:
            raise ArchiveError("damaged", "a length that is none at byte %d of the archive" % (self.size - left))
        return size if size <= left else None

    def _sum(self, end: int) -> None:
        """Sum the documents since the last time in one go."""
        if self._now is not None and end > self._span:
            self._now.sum = crc64.ECMA.update(self._now.sum, self._buffer[self._span : end])
        self._span = end

    def _file(self) -> Generator[str, bytes, None]:
        magic = yield "magic"
        if struct.unpack("<I", magic)[0] != _MAGIC:
            raise ArchiveError("damaged", "it is no archive of mongodump: it starts with %r" % magic)
        head = _read((yield "head"))
        if head.get("version") != "0.1":
            raise ArchiveError("version", "version %s of archives is not known" % (head.get("version"),))
        self.server, self.tool = str(head.get("server_version", "")), str(head.get("tool_version", ""))
        while True:
            piece = yield "collection"
            if len(piece) == 4:
                break
            self._add(_read(piece))
        while True:
            piece = yield "header"
            if len(piece) == 4:
                raise ArchiveError("damaged", "a portion of the archive has no head")
            yield from self._portion(_read(piece))

    def _add(self, told: Dict[str, Any]) -> None:
        try:
            metadata = json.loads(told["metadata"]) if told.get("metadata") else {}
            kind = str(metadata.get("type") or told.get("type") or "collection")
            item = Collection(told["db"], told["collection"], kind, metadata)
        except (KeyError, ValueError, TypeError, AttributeError, bson.BsonError):
            raise ArchiveError("damaged", "what the archive tells of a collection cannot be read") from None
        self.collections[(item.database, (_BUCKETS if kind == "timeseries" else "") + item.name)] = item

    def _portion(self, head: Dict[str, Any]) -> Generator[str, bytes, None]:
        found = self.collections.get((str(head.get("db")), str(head.get("collection"))))
        if found is None or found.ended:
            raise ArchiveError("damaged", "documents of a collection that is not there: %s" % (head.get("collection"),))
        if head.get("EOF"):
            if len((yield "end")) != 4:
                raise ArchiveError("damaged", "documents of %s after its end" % found.name)
            if int(head.get("CRC", 0)) & ((1 << 64) - 1) != found.sum:
                raise ArchiveError("damaged", "the checksum of %s is wrong" % found.name)
            found.ended = True
            return
        self._now, self._span = found, self._at
        while True:
            piece = yield "document"
            if len(piece) == 4:
                break
            found.documents += 1
            rank = zlib.crc32(piece[:256])
            if len(found.picked) < _SAMPLES or rank < found.picked[-1][0]:
                self._pick(found, rank, piece)
            if self._expiring and found.lives:
                _note_expiry(found, piece)
        self._now = None

    def _pick(self, item: Collection, rank: int, piece: bytes) -> None:
        try:
            document = bson.decode(piece)
        except bson.BsonError:
            return  # the collection's sum tells whether it is damaged
        # Names that are there twice do not come back from a server's answer as they are: those are not sampled.
        if "_id" in document and bson.encode(document) == piece:
            item.picked.append((rank, Sample(item.name, document["_id"], hashlib.sha256(piece).hexdigest())))
            item.picked.sort(key=lambda pair: pair[0])
            del item.picked[_SAMPLES:]


def _read(piece: bytes) -> Dict[str, Any]:
    try:
        return bson.decode(piece)
    except bson.BsonError as error:
        raise ArchiveError("damaged", "a document of the archive: %s" % error) from None


def _note_expiry(item: Collection, piece: bytes) -> None:
    try:
        document = bson.decode(piece)
    except bson.BsonError:
        return
    ends = [when + lives for field, lives in item.lives.items() for when in _times(document, field.split("."))]
    if ends:
        item.expires.append(min(ends))


def _times(value: Any, path: List[str]) -> List[int]:
    """The times at a field; those of a list are in all of its items."""
    if isinstance(value, list):
        return [when for item in value for when in _times(item, path)]
    if not path:
        return [value.value] if isinstance(value, bson.DateTime) and abs(value.value) < 1 << 60 else []
    return _times(value[path[0]], path[1:]) if isinstance(value, dict) and path[0] in value else []
