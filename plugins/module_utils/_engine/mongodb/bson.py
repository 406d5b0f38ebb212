# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents of MongoDB as bytes and back, and as the extended JSON that tools write.

Values of Python stand for those types that it has; the others are the small classes here. What was decoded is encoded to the
same bytes again, texts that are no UTF-8 too: old drivers wrote such.
"""

from __future__ import annotations

import re
import struct
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

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
    try:
        return _encoded(list(document.items()), 0)
    except UnicodeEncodeError as error:
        raise BsonError("a text holds %r, which is no character" % error.object[error.start : error.end]) from None


def _encoded(items: List[Tuple[str, Any]], depth: int) -> bytes:
    if depth > _DEEPEST:
        raise BsonError("it is nested too deep")
    parts = []
    for name, value in items:
        kind, data = _value(value, depth)
        parts.append(bytes((kind,)) + _cstring(name.encode("utf-8", "surrogateescape"), name) + data)
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
        data = value.encode("utf-8", "surrogateescape")
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
        name = data[at + 1 : stop].decode("utf-8", "surrogateescape")
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
        return text.decode("utf-8", "surrogateescape"), at
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


_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:?[0-9]{2})?\Z")


def parse_date(text: str) -> DateTime:
    """A time as ISO 8601 writes it; without a zone it is UTC. Raises BsonError."""
    import datetime

    match = _DATE.match(text)
    if not match:
        raise BsonError("%r is no time" % (text,))
    zone = match.group(8) or "Z"
    try:
        when = datetime.datetime.strptime(text[:19].replace("T", " "), "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
        if zone != "Z":
            digits = zone[1:].replace(":", "")
            offset = datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            when += offset if zone[0] == "-" else -offset
    except (ValueError, OverflowError):
        raise BsonError("%r is no time" % (text,)) from None
    seconds = (when - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(seconds=1)
    return DateTime(seconds * 1000 + int((match.group(7) or "0").ljust(3, "0")[:3]))


def from_json(value: Any, operators: bool = False) -> Any:
    """A value read from JSON, where extended JSON says its type by a key with ``$``. Raises BsonError.

    ``operators``: other keys with ``$`` are what they are (in the pipeline of a view), no mistake; ``$regex`` is one of them.
    """
    if isinstance(value, list):
        return [from_json(item, operators) for item in value]
    if not isinstance(value, dict):
        return value
    special = [key for key in value if key.startswith("$")]
    # A reference to another document is a document itself.
    if not special or set(special) <= {"$ref", "$id", "$db"} or (operators and not _TYPES.intersection(special)):
        return {key: from_json(item, operators) for key, item in value.items()}
    try:
        return _extended(value)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise BsonError("%s is no value of extended JSON" % shown(value)) from None


def _extended(value: Dict[str, Any]) -> Any:
    form = _FORMS.get(tuple(sorted(value)))
    if form is None:
        raise ValueError
    return form(value)


def _oid(value: Dict[str, Any]) -> ObjectId:
    if not re.match(r"[0-9a-fA-F]{24}\Z", value["$oid"]):
        raise ValueError
    return ObjectId(bytes.fromhex(value["$oid"]))


def _date(value: Dict[str, Any]) -> DateTime:
    inner = value["$date"]
    if isinstance(inner, str):
        return parse_date(inner)
    return DateTime(_number(inner["$numberLong"] if isinstance(inner, dict) and len(inner) == 1 else inner, 64))


def _binary(text: str, subtype: str) -> Binary:
    import base64

    kind = int(subtype, 16)
    if not 0 <= kind <= 255:
        raise ValueError
    return Binary(base64.b64decode(text, validate=True), kind)


def _uuid(value: Dict[str, Any]) -> Binary:
    import uuid

    return Binary(uuid.UUID(value["$uuid"]).bytes, 4)


def _timestamp(value: Dict[str, Any]) -> Timestamp:
    seconds, count = (_number(value["$timestamp"][name], 33) for name in ("t", "i"))
    if min(seconds, count) < 0:
        raise ValueError
    return Timestamp(seconds << 32 | count)


def _end(value: Dict[str, Any]) -> Other:
    ((name, inner),) = value.items()
    if inner is not True and inner != 1:
        raise ValueError
    return Other({"$minKey": 0xFF, "$maxKey": 0x7F, "$undefined": 0x06}[name], b"")


def _code(code: str, kind: int = 0x0D) -> Other:
    if not isinstance(code, str):
        raise ValueError
    return Other(kind, _value(code, 0)[1])


def _scoped_code(value: Dict[str, Any]) -> Other:
    body = _code(value["$code"]).value + encode(from_json(value["$scope"]))
    return Other(0x0F, _INT32.pack(len(body) + 4) + body)


#: How extended JSON says types, in its second version and its first.
_FORMS: Mapping[Tuple[str, ...], Callable[[Dict[str, Any]], Any]] = {
    ("$oid",): _oid,
    ("$date",): _date,
    ("$numberInt",): lambda value: _number(value["$numberInt"], 32),
    ("$numberLong",): lambda value: Int64(_number(value["$numberLong"], 64)),
    ("$numberDouble",): lambda value: float(value["$numberDouble"]),
    ("$numberDecimal",): lambda value: parse_decimal(value["$numberDecimal"]),
    ("$binary",): lambda value: _binary(value["$binary"]["base64"], value["$binary"]["subType"]),
    ("$binary", "$type"): lambda value: _binary(value["$binary"], value["$type"]),
    ("$uuid",): _uuid,
    ("$timestamp",): _timestamp,
    ("$regularExpression",): lambda value: _regex(value["$regularExpression"]["pattern"], value["$regularExpression"]["options"]),
    ("$regex",): lambda value: _regex(value["$regex"], ""),
    ("$options", "$regex"): lambda value: _regex(value["$regex"], value["$options"]),
    ("$minKey",): _end,
    ("$maxKey",): _end,
    ("$undefined",): _end,
    ("$symbol",): lambda value: _code(value["$symbol"], 0x0E),
    ("$code",): lambda value: _code(value["$code"]),
    ("$code", "$scope"): _scoped_code,
}
#: Other names with ``$`` are operators, and these are both.
_TYPES = {name for form in _FORMS for name in form} - {"$regex", "$options", "$type"}


def _number(value: Any, bits: int) -> int:
    """A whole number, as a number or a text. Raises ValueError."""
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and re.match(r"-?[0-9]{1,20}\Z", value))):
        raise ValueError
    found = int(value)
    if not -(1 << (bits - 1)) <= found < 1 << (bits - 1):
        raise ValueError
    return found


def _regex(pattern: str, flags: str) -> Regex:
    if "\x00" in pattern + flags:
        raise ValueError
    return Regex(pattern.encode(), "".join(sorted(flags)).encode())


def parse_decimal(text: str) -> Decimal128:
    """A decimal number of 34 digits at most. Raises ValueError."""
    import decimal

    if not re.match(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?\Z|[+-]?(?:inf|infinity|nan)\Z", text, re.IGNORECASE):
        raise ValueError
    sign, digits, end = decimal.Decimal(text).as_tuple()
    if not isinstance(end, int):
        high = 0x7800 if end == "F" else 0x7C00
        return Decimal128(((sign << 15 | high) << 112).to_bytes(16, "little"))
    number = int("".join(str(digit) for digit in digits))
    power: int = end
    # What is written with a larger power than there is has zeros instead, and the other way round.
    while number and power > 6111 and number < 10**33:
        number, power = number * 10, power - 1
    while number and power < -6176 and number % 10 == 0:
        number, power = number // 10, power + 1
    if not number:
        power = min(max(power, -6176), 6111)
    if number >= 10**34 or not -6176 <= power <= 6111:
        raise ValueError
    return Decimal128((sign << 127 | (power + 6176) << 113 | number).to_bytes(16, "little"))


def shown(value: Any) -> str:
    """A short text of a value, for messages."""
    if isinstance(value, ObjectId):
        return value.value.hex()
    found = repr(value)
    return found if len(found) <= 60 else found[:57] + "..."
