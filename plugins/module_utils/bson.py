# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents of MongoDB as bytes and back, and as the extended JSON that tools write.

Values of Python stand for those types that it has; the others are the small classes here. What was decoded is encoded to the
same bytes again.
"""

from __future__ import annotations

import re
import struct
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

#: Documents deeper than this are refused, as the server does.
_DEEPEST = 200


class BsonError(Exception):
    """Bytes or a value that are no document."""


class ObjectId(NamedTuple):
    """Twelve bytes."""

    value: bytes


class Int64(int):
    """A whole number that is to be kept as one of 64 bits though it fits into 32."""


class DateTime(NamedTuple):
    """A time in milliseconds since the epoch."""

    value: int


class Timestamp(NamedTuple):
    """The server's own kind of time."""

    value: int


class Binary(NamedTuple):
    """Bytes with a subtype; plain bytes stand for subtype 0."""

    value: bytes
    subtype: int


class Regex(NamedTuple):
    """A regular expression."""

    pattern: bytes
    flags: bytes


class Decimal128(NamedTuple):
    """A decimal number, as its 16 bytes."""

    value: bytes


class Other(NamedTuple):
    """Types that are kept as they are: code, symbols, minimum and maximum key, undefined, pointers. ``kind``: their number."""

    kind: int
    value: bytes


_INT32 = struct.Struct("<i")
_INT64 = struct.Struct("<q")
_UINT64 = struct.Struct("<Q")
_DOUBLE = struct.Struct("<d")


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes of a document. Raises BsonError."""
    return _encoded(list(document.items()), 0)


def _encoded(items: List[Tuple[str, Any]], depth: int) -> bytes:
    if depth > _DEEPEST:
        raise BsonError("it is nested too deep")
    parts = []
    for name, value in items:
        kind, data = _value(value, depth)
        parts.append(bytes((kind,)) + _cstring(name.encode("utf-8", "surrogatepass"), name) + data)
    body = b"".join(parts)
    return _INT32.pack(len(body) + 5) + body + b"\x00"


def _cstring(data: bytes, shown: Any) -> bytes:
    if b"\x00" in data:
        raise BsonError("%r holds a zero byte" % (shown,))
    return data + b"\x00"


def _value(value: Any, depth: int) -> Tuple[int, bytes]:
    if value is None:
        return 10, b""
    if isinstance(value, bool):
        return 8, b"\x01" if value else b"\x00"
    if isinstance(value, int):
        if -(1 << 31) <= value < 1 << 31 and not isinstance(value, Int64):
            return 16, _INT32.pack(value)
        if -(1 << 63) <= value < 1 << 63:
            return 18, _INT64.pack(value)
        raise BsonError("%d does not fit into 64 bits" % value)
    if isinstance(value, float):
        return 1, _DOUBLE.pack(value)
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return 2, _INT32.pack(len(data) + 1) + data + b"\x00"
    if isinstance(value, bytes):
        return 5, _INT32.pack(len(value)) + b"\x00" + value
    if isinstance(value, Mapping):
        return 3, _encoded(list(value.items()), depth + 1)
    if isinstance(value, list):
        return 4, _encoded([(str(at), item) for at, item in enumerate(value)], depth + 1)
    return _special(value)


def _special(value: Any) -> Tuple[int, bytes]:
    if isinstance(value, ObjectId):
        return 7, value.value
    if isinstance(value, DateTime):
        return 9, _INT64.pack(value.value)
    if isinstance(value, Timestamp):
        return 17, _UINT64.pack(value.value)
    if isinstance(value, Binary):
        return 5, _INT32.pack(len(value.value)) + bytes((value.subtype,)) + value.value
    if isinstance(value, Regex):
        return 11, _cstring(value.pattern, value) + _cstring(value.flags, value)
    if isinstance(value, Decimal128):
        return 19, value.value
    if isinstance(value, Other):
        return value.kind, value.value
    raise BsonError("a %s is no value of a document" % type(value).__name__)


def decode(data: bytes) -> Dict[str, Any]:
    """The document of these bytes, all of them. Raises BsonError."""
    try:
        found, end = _document(data, 0, 0)
    except (IndexError, struct.error, ValueError) as error:
        raise BsonError("the document is damaged: %s" % error) from None
    if end != len(data):
        raise BsonError("the document is damaged: it is followed by something")
    return dict(found)


def first(data: bytes, name: bytes) -> bytes:
    """The element of a document as it lies there (type, name and value) if it is the first one; empty when it is not."""
    try:
        if data[5 : 6 + len(name)] != name + b"\x00":
            return b""
        _value_found, end = _decoded(data, data[4], 6 + len(name), 0)
        return data[4:end]
    except (IndexError, struct.error, ValueError, BsonError):
        return b""


def _document(data: bytes, at: int, depth: int) -> Tuple[List[Tuple[str, Any]], int]:
    if depth > _DEEPEST:
        raise BsonError("it is nested too deep")
    (size,) = _INT32.unpack_from(data, at)
    end = at + size
    if size < 5 or end > len(data) or data[end - 1] != 0:
        raise ValueError("a length is wrong")
    at += 4
    items = []
    while data[at]:
        kind = data[at]
        stop = data.index(b"\x00", at + 1, end)
        name = data[at + 1 : stop].decode("utf-8", "surrogatepass")
        value, at = _decoded(data, kind, stop + 1, depth)
        if at >= end:
            raise ValueError("a value goes on after its document")
        items.append((name, value))
    if at != end - 1:
        raise ValueError("a document ends too early")
    return items, end


def _text(data: bytes, at: int) -> Tuple[bytes, int]:
    (size,) = _INT32.unpack_from(data, at)
    end = at + 4 + size
    if size < 1 or end > len(data) or data[end - 1] != 0:
        raise ValueError("a text is wrong")
    return data[at + 4 : end - 1], end


def _cut(data: bytes, at: int, size: int) -> Tuple[bytes, int]:
    if at + size > len(data):
        raise ValueError("it is cut off")
    return data[at : at + size], at + size


def _decoded(data: bytes, kind: int, at: int, depth: int) -> Tuple[Any, int]:
    if kind == 2:
        text, at = _text(data, at)
        return text.decode("utf-8", "surrogatepass"), at
    if kind == 16:
        return _INT32.unpack_from(data, at)[0], at + 4
    if kind == 18:
        number = _INT64.unpack_from(data, at)[0]
        return (Int64(number) if -(1 << 31) <= number < 1 << 31 else number), at + 8
    if kind == 1:
        return _DOUBLE.unpack_from(data, at)[0], at + 8
    if kind == 8:
        if data[at] > 1:
            raise ValueError("a truth is neither true nor false")
        return data[at] == 1, at + 1
    if kind == 10:
        return None, at
    if kind in (3, 4):
        items, at = _document(data, at, depth + 1)
        if kind == 3:
            return dict(items), at
        return [item for _name, item in items], at
    return _decoded_special(data, kind, at)


def _decoded_special(data: bytes, kind: int, at: int) -> Tuple[Any, int]:
    if kind == 5:
        (size,) = _INT32.unpack_from(data, at)
        if size < 0:
            raise ValueError("a length is wrong")
        subtype = data[at + 4]
        value, at = _cut(data, at + 5, size)
        return (value if subtype == 0 else Binary(value, subtype)), at
    if kind == 7:
        value, at = _cut(data, at, 12)
        return ObjectId(value), at
    if kind == 9:
        return DateTime(_INT64.unpack_from(data, at)[0]), at + 8
    if kind == 17:
        return Timestamp(_UINT64.unpack_from(data, at)[0]), at + 8
    if kind == 11:
        middle = data.index(b"\x00", at)
        end = data.index(b"\x00", middle + 1)
        return Regex(data[at:middle], data[middle + 1 : end]), end + 1
    if kind == 19:
        value, at = _cut(data, at, 16)
        return Decimal128(value), at
    if kind in (0x06, 0x7F, 0xFF):
        return Other(kind, b""), at
    if kind in (0x0D, 0x0E):
        _content, end = _text(data, at)
        return Other(kind, data[at:end]), end
    if kind == 0x0C:
        _content, end = _text(data, at)
        value, end = _cut(data, at, end - at + 12)
        return Other(kind, value), end
    if kind == 0x0F:
        (size,) = _INT32.unpack_from(data, at)
        if size < 14:
            raise ValueError("a length is wrong")
        value, end = _cut(data, at, size)
        return Other(kind, value), end
    raise ValueError("type %d is not known" % kind)


_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?\Z")


def parse_date(text: str) -> DateTime:
    """A time as ISO 8601 writes it; without a zone it is UTC. Raises BsonError."""
    import calendar

    match = _DATE.match(text)
    if not match:
        raise BsonError("%r is no time" % (text,))
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= calendar.monthrange(max(year, 1), month)[1] and hour < 24 and minute < 60 and second < 60):
        raise BsonError("%r is no time" % (text,))
    milliseconds = int((match.group(7) or "0").ljust(3, "0")[:3])
    zone = match.group(8) or "Z"
    offset = 0
    if zone != "Z":
        digits = zone[1:].replace(":", "")
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * (1 if zone[0] == "+" else -1)
    seconds = calendar.timegm((year, month, day, hour, minute, second)) - offset * 60
    return DateTime(seconds * 1000 + milliseconds)


def from_json(value: Any) -> Any:
    """A value read from JSON, where extended JSON says its type by a key with ``$``. Raises BsonError."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not any(key.startswith("$") for key in value):
        return {key: from_json(item) for key, item in value.items()}
    try:
        return _extended(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BsonError("%r is no value of extended JSON" % (value,)) from error


def _extended(value: Dict[str, Any]) -> Any:
    import base64

    keys = tuple(sorted(value))
    inner = value[keys[0]]
    if keys == ("$oid",) and re.match(r"[0-9a-fA-F]{24}\Z", inner):
        return ObjectId(bytes.fromhex(inner))
    if keys == ("$date",):
        if isinstance(inner, str):
            return parse_date(inner)
        return DateTime(int(inner["$numberLong"] if isinstance(inner, dict) else inner))
    if keys == ("$numberInt",):
        return int(inner)
    if keys == ("$numberLong",):
        return Int64(inner)
    if keys == ("$numberDouble",):
        return float(inner)
    if keys == ("$binary",):
        return Binary(base64.b64decode(inner["base64"], validate=True), int(inner["subType"], 16))
    if keys == ("$binary", "$type"):
        return Binary(base64.b64decode(inner, validate=True), int(value["$type"], 16))
    if keys == ("$timestamp",):
        return Timestamp(int(inner["t"]) << 32 | int(inner["i"]))
    if keys == ("$regularExpression",):
        return Regex(inner["pattern"].encode(), inner["options"].encode())
    if keys == ("$minKey",):
        return Other(0xFF, b"")
    if keys == ("$maxKey",):
        return Other(0x7F, b"")
    raise ValueError


def shown(value: Any) -> str:
    """A short text of a value, for messages."""
    if isinstance(value, ObjectId):
        return value.value.hex()
    found = repr(value)
    return found if len(found) <= 60 else found[:57] + "..."
