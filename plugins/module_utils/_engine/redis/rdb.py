# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walk through an RDB file of Redis while it passes by: keys per database, when they expire, samples, the checksum at its end.

Versions 1 to 12 (Redis up to 7.4) are known; whatever is not is refused, for a walk that guesses proves nothing. Memory stays
a block or two, however large a value is: what is not looked at is jumped over.

The grammar is a generator that asks for pieces (a length, a text, so many bytes); the walker answers out of the blocks it is fed.
"""

from __future__ import annotations

import array
import hashlib
import struct
import zlib
from typing import Any, Callable, Dict, Generator, List, NamedTuple, Optional, Tuple

from .. import crc64

#: The newest version of the format that is known.
NEWEST = 12
#: How many keys are sampled, and how large a text may be of which a digest is taken.
SAMPLES = 20
SAMPLE_SIZE = 1 << 20


class RdbError(Exception):
    """What is no whole RDB file. ``code``: ``damaged``, or ``version`` when it may be right but is not known here."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Sample(NamedTuple):
    """A key that was sampled. ``digest``: of a text; None for other types, of which only the type is compared."""

    database: int
    key: bytes
    kind: str
    digest: Optional[str]

    @property
    def name(self) -> str:
        """Its name in a manifest: a key may be a secret itself (a session), so only its digest is told."""
        return "db%d.%s" % (self.database, hashlib.sha256(self.key).hexdigest()[:16])

    @property
    def told(self) -> str:
        """What is compared."""
        return self.kind + (":" + self.digest if self.digest else "")


# What the grammar asks for: a length, n bytes, a text's content, the same if it is not too large, n texts or bytes to be jumped over.
_LENGTH, _BYTES, _TEXT, _SAMPLE, _PASS_TEXTS, _PASS = range(6)
_Ask = Tuple[int, int]
_Grammar = Generator[_Ask, Any, None]

_ONE_LENGTH = (_LENGTH, 0)
_ONE_TEXT = (_PASS_TEXTS, 1)
_COMPRESSED = 3

_STRING, _LIST, _SET, _ZSET, _HASH, _ZSET_2, _MODULE_1, _MODULE_2 = range(8)
#: Values that are one text inside, by their number: what kind each is.
_PACKED = {
    9: "hash",
    10: "list",
    11: "set",
    12: "zset",
    13: "hash",
    16: "hash",
    17: "zset",
    20: "set",
    23: "hash",
    25: "hash",
}
_KINDS = dict(_PACKED)
_KINDS.update(
    {0: "string", 1: "list", 2: "set", 3: "zset", 4: "hash", 5: "zset", 7: "module", 14: "list", 18: "list", 22: "hash", 24: "hash"}
)
_KINDS.update({15: "stream", 19: "stream", 21: "stream"})
#: Hashes with fields that expire.
_FADING = (22, 23, 24, 25)
_SLOT_INFO, _FUNCTION, _MODULE_AUX, _IDLE, _FREQ = 244, 245, 247, 248, 249
_AUX, _RESIZE, _EXPIRE_MS, _EXPIRE, _SELECT, _EOF = 250, 251, 252, 253, 254, 255
#: What tells something that is no key, and how many lengths it starts with.
_ABOUT = {_SLOT_INFO: 3, _FUNCTION: 0, _MODULE_AUX: 3, _IDLE: 1, _FREQ: 0, _AUX: 0, _RESIZE: 2}


class Walker:
    """Feed it the blocks of a file, then ask :meth:`finish`. ``aux``: what the server wrote about itself; ``fading``: how many hashes
    of a database have fields that expire, and go with the last of them."""

    def __init__(self) -> None:
        self.version = 0
        self.size = 0
        self.aux: Dict[str, str] = {}
        self.keys: Dict[int, int] = {}
        self.expires: Dict[int, array.array[int]] = {}
        self.fading: Dict[int, int] = {}
        self.functions = 0
        self.unsummed = False
        self._picked: List[Tuple[int, Sample]] = []
        self._buffer = b""
        self._at = 0
        self._debt = 0
        self._crc = 0
        self._kept = b""
        self._ended = False
        self._done = False
        self._grammar = self._file()
        self._ask: _Ask = next(self._grammar)
        self._texts = 0

    @property
    def samples(self) -> List[Sample]:
        """The keys that were sampled: those whose sums are the lowest, so that the same file gives the same ones."""
        return [sample for _rank, sample in sorted(self._picked, key=lambda item: item[0])]

    def expired(self, database: int, at: float) -> int:
        """How many keys of a database expire up to this time (seconds since the epoch)."""
        limit = int(at * 1000)
        return sum(1 for when in self.expires.get(database, ()) if when <= limit)

    def counts(self) -> Dict[str, int]:
        """Keys per database and how many of them expire."""
        found: Dict[str, int] = {}
        for database, keys in sorted(self.keys.items()):
            if keys:
                found["keys.db%d" % database] = keys
                found["expiring.db%d" % database] = len(self.expires.get(database, ()))
        return found

    def feed(self, block: bytes) -> None:
        """The next piece of the file. Raises RdbError."""
        self.size += len(block)
        self._sum(block)
        if self._debt:
            taken = min(self._debt, len(block))
            self._debt -= taken
            block = block[taken:]
            if not block:
                return
        self._buffer = self._buffer[self._at :] + block if self._at < len(self._buffer) else block
        self._at = 0
        while not self._done and self._step():
            pass
        if self._done and self._at < len(self._buffer):
            raise RdbError("damaged", "the file goes on after its end")
        if self._at > len(self._buffer):
            self._debt = self._at - len(self._buffer)
            self._buffer, self._at = b"", 0

    def finish(self) -> None:
        """Whether that was all of a file whose sum is right. Raises RdbError."""
        if not self._done:
            raise RdbError("damaged", "the file is cut off after %d bytes" % self.size)
        if self.version < 5:
            self.unsummed = True
            return
        told = struct.unpack("<Q", self._kept)[0]
        if told == 0:
            self.unsummed = True
        elif told != self._crc:
            raise RdbError("damaged", "the checksum is wrong")

    def _sum(self, block: bytes) -> None:
        """The last 8 bytes are the sum, which is not summed: 8 bytes are always held back."""
        held = self._kept + block
        self._crc = crc64.JONES.update(self._crc, held[:-8])
        self._kept = held[-8:]

    def _step(self) -> bool:
        """Answer what the grammar asks for; False when more must be fed first."""
        kind, number = self._ask
        answer: Any = None
        try:
            if kind == _PASS_TEXTS:
                self._texts = self._texts or number
                while self._texts:
                    self._at = self._pass_text(self._at)
                    self._texts -= 1
            elif kind == _PASS:
                self._at += number
            elif kind == _LENGTH:
                answer, self._at = self._length(self._at)
            elif kind == _TEXT:
                answer, self._at = self._text(self._at)
            elif kind == _SAMPLE:
                number, _after, special = self._head(self._at)
                if (special and number == _COMPRESSED) or (not special and number > SAMPLE_SIZE):
                    self._at = self._pass_text(self._at)
                else:
                    answer, self._at = self._text(self._at)
            else:
                if len(self._buffer) - self._at < number:
                    return False
                answer = self._buffer[self._at : self._at + number]
                self._at += number
        except IndexError:
            return False
        try:
            self._ask = self._grammar.send(answer)
        except StopIteration:
            self._done = True
        return True

    def _length(self, at: int) -> Tuple[int, int]:
        """A length, and where it ends. IndexError when it is not there yet."""
        number, at, special = self._head(at)
        if special:
            raise RdbError("damaged", "a length is wanted at byte %d, and it is none" % self._place(at))
        return number, at

    def _head(self, at: int) -> Tuple[int, int, bool]:
        buffer = self._buffer
        first = buffer[at]
        kind = first >> 6
        if kind == 0:
            return first, at + 1, False
        if kind == 1:
            return ((first & 63) << 8) | buffer[at + 1], at + 2, False
        if kind == 3:
            return first & 63, at + 1, True
        wide = {0x80: 4, 0x81: 8}.get(first)
        if wide is None:
            raise RdbError("damaged", "a length that is none at byte %d" % self._place(at))
        buffer[at + wide]  # IndexError when it is not all there
        return int.from_bytes(buffer[at + 1 : at + 1 + wide], "big"), at + 1 + wide, False

    def _place(self, at: int) -> int:
        return self.size - len(self._buffer) + at

    def _pass_text(self, at: int) -> int:
        """Where the text at this place ends, which may be beyond what was fed."""
        first = self._buffer[at]
        if first < 0x40:
            return at + 1 + first
        number, after, special = self._head(at)
        if not special:
            return after + number
        if number < 3:
            return after + (1 << number)
        if number == _COMPRESSED:
            packed, after = self._length(after)
            _plain, after = self._length(after)
            return after + packed
        raise RdbError("damaged", "a text of no known form at byte %d" % self._place(at))

    def _text(self, at: int) -> Tuple[bytes, int]:
        """The content of a text, and where it ends. IndexError when it is not all there."""
        buffer = self._buffer
        number, after, special = self._head(at)
        if not special:
            end = after + number
            if end > len(buffer):
                raise IndexError
            return buffer[after:end], end
        if number < 3:
            end = after + (1 << number)
            if end > len(buffer):
                raise IndexError
            return b"%d" % int.from_bytes(buffer[after:end], "little", signed=True), end
        if number == _COMPRESSED:
            packed, after = self._length(after)
            plain, after = self._length(after)
            if after + packed > len(buffer):
                raise IndexError
            return unpack_lzf(buffer[after : after + packed], plain), after + packed
        raise RdbError("damaged", "a text of no known form at byte %d" % self._place(at))

    def _file(self) -> _Grammar:
        head = yield _BYTES, 9
        if head[:5] != b"REDIS" or not head[5:].isdigit():
            raise RdbError("damaged", "it is no RDB file: it starts with %r" % bytes(head))
        self.version = int(head[5:])
        if not 1 <= self.version <= NEWEST:
            raise RdbError("version", "RDB version %d is not known, %d is the newest that is" % (self.version, NEWEST))
        database = 0
        expiry: Optional[int] = None
        while True:
            code = (yield _BYTES, 1)[0]
            if code == _EOF:
                break
            if code == _EXPIRE_MS:
                expiry = struct.unpack("<q", (yield _BYTES, 8))[0]
            elif code == _EXPIRE:
                expiry = struct.unpack("<i", (yield _BYTES, 4))[0] * 1000
            elif code == _SELECT:
                database = yield _ONE_LENGTH
            elif code in _ABOUT:
                yield from self._about(code)
            else:
                yield from self._key(code, database, expiry)
                expiry = None
        if self.version >= 5:
            yield _PASS, 7
            yield _BYTES, 1

    def _about(self, code: int) -> _Grammar:
        """What is neither a key nor belongs to one."""
        if code == _AUX:
            name = yield _TEXT, 0
            value = yield _TEXT, 0
            if len(self.aux) < 100:
                self.aux[name.decode("utf-8", "replace")] = value[:1000].decode("utf-8", "replace")
        elif code == _FREQ:
            yield _PASS, 1
        elif code == _FUNCTION:
            self.functions += 1
            yield _ONE_TEXT
        else:
            for _number in range(_ABOUT[code]):
                yield _ONE_LENGTH
            if code == _MODULE_AUX:
                yield from _module()

    def _key(self, code: int, database: int, expiry: Optional[int]) -> _Grammar:
        if code not in _KINDS:
            known = "module data of the first form" if code == _MODULE_1 else "data of the unknown type %d" % code
            raise RdbError("version", "%s at byte %d cannot be read" % (known, self._place(self._at)))
        key = yield _TEXT, 0
        rank = zlib.crc32(key, database)
        wanted = expiry is None and (len(self._picked) < SAMPLES or rank < self._picked[-1][0])
        if wanted:
            digest = None
            if code == _STRING:
                content = yield _SAMPLE, 0
                digest = None if content is None else hashlib.sha256(content).hexdigest()
            else:
                yield from _VALUES[code]()
            self._picked.append((rank, Sample(database, key, _KINDS[code], digest)))
            self._picked.sort(key=lambda item: item[0])
            del self._picked[SAMPLES:]
        else:
            yield from _VALUES[code]()
        self.keys[database] = self.keys.get(database, 0) + 1
        if code in _FADING:
            self.fading[database] = self.fading.get(database, 0) + 1
        if expiry is not None:
            self.expires.setdefault(database, array.array("q")).append(expiry)


def _texts(each: int = 1) -> _Grammar:
    number = yield _ONE_LENGTH
    if number:
        yield _PASS_TEXTS, number * each


def _scores(width: int) -> _Grammar:
    number = yield _ONE_LENGTH
    for _at in range(number):
        yield _ONE_TEXT
        if width:
            yield _PASS, width
        else:
            length = (yield _BYTES, 1)[0]
            if length < 253:  # three numbers stand for what is none, and both infinities
                yield _PASS, length


def _list_packs() -> _Grammar:
    number = yield _ONE_LENGTH
    for _at in range(number):
        yield _ONE_LENGTH
        yield _ONE_TEXT


def _hash_expiring(least: bool) -> _Grammar:
    if least:
        yield _PASS, 8
    number = yield _ONE_LENGTH
    for _at in range(number):
        yield _ONE_LENGTH
        yield _PASS_TEXTS, 2


def _hash_pack_expiring(least: bool) -> _Grammar:
    if least:
        yield _PASS, 8
    yield _ONE_TEXT


def _module() -> _Grammar:
    """What a module wrote of itself says the type of each piece."""
    while True:
        code = yield _ONE_LENGTH
        if code == 0:
            return
        if code in (1, 2):
            yield _ONE_LENGTH
        elif code == 3:
            yield _PASS, 4
        elif code == 4:
            yield _PASS, 8
        elif code == 5:
            yield _ONE_TEXT
        else:
            raise RdbError("damaged", "data of a module holds a piece of no known form (%d)" % code)


def _module_value() -> _Grammar:
    yield _ONE_LENGTH
    yield from _module()


def _stream(version: int) -> _Grammar:
    yield from _texts(2)
    for _number in range(3 if version == 1 else 8):  # length, last id; first id, greatest deleted id, entries added
        yield _ONE_LENGTH
    groups = yield _ONE_LENGTH
    for _group in range(groups):
        yield _ONE_TEXT
        for _number in range(2 if version == 1 else 3):
            yield _ONE_LENGTH
        pending = yield _ONE_LENGTH
        for _entry in range(pending):
            yield _PASS, 24
            yield _ONE_LENGTH
        consumers = yield _ONE_LENGTH
        for _consumer in range(consumers):
            yield _ONE_TEXT
            yield _PASS, 16 if version == 3 else 8
            pending = yield _ONE_LENGTH
            if pending:
                yield _PASS, 16 * pending


def _one() -> _Grammar:
    yield _ONE_TEXT


_VALUES: Dict[int, Callable[[], _Grammar]] = dict.fromkeys(_PACKED, _one)
_VALUES.update(
    {
        _STRING: _one,
        _LIST: _texts,
        _SET: _texts,
        _HASH: lambda: _texts(2),
        _ZSET: lambda: _scores(0),
        _ZSET_2: lambda: _scores(8),
        _MODULE_2: _module_value,
        14: _texts,
        18: _list_packs,
        15: lambda: _stream(1),
        19: lambda: _stream(2),
        21: lambda: _stream(3),
        22: lambda: _hash_expiring(False),
        23: lambda: _hash_pack_expiring(False),
        24: lambda: _hash_expiring(True),
        25: lambda: _hash_pack_expiring(True),
    }
)


def unpack_lzf(data: bytes, size: int) -> bytes:
    """Undo the compression of a text. Raises RdbError."""
    out = bytearray()
    at = 0
    try:
        while at < len(data):
            control = data[at]
            at += 1
            if control < 32:
                if at + control + 1 > len(data):
                    raise IndexError
                out += data[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[at]
                at += 1
            back = len(out) - ((control & 31) << 8) - data[at] - 1
            at += 1
            if back < 0 or len(out) > size:
                raise IndexError
            for place in range(back, back + length + 2):  # what is copied may reach into what the copying makes
                out.append(out[place])
    except IndexError:
        raise RdbError("damaged", "a compressed text cannot be unpacked") from None
    if len(out) != size:
        raise RdbError("damaged", "a compressed text has %d bytes, not %d" % (len(out), size))
    return bytes(out)


#: The newest RDB version that a server reads, by its own version.
_READS = (((7, 4), 12), ((7, 2), 11), ((7, 0), 10), ((5, 0), 9), ((4, 0), 8), ((3, 2), 7), ((0, 0), 6))


def readable_by(server: str) -> int:
    """The newest RDB version that a server of this version reads; a newer server than is known reads all that are known."""
    try:
        number = tuple(int(part) for part in server.split(".")[:2])
    except ValueError:
        return NEWEST
    return next(version for least, version in _READS if number >= least)
