# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents of MongoDB: what is encoded comes back, what is damaged is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import bson
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb.bson import (
    Binary,
    BsonError,
    DateTime,
    Decimal128,
    Int64,
    ObjectId,
    Other,
    Regex,
    Timestamp,
)

_LONG = st.integers(-(1 << 63), (1 << 63) - 1)
_WORDS = st.binary(max_size=8).map(lambda data: data.replace(b"\x00", b"x"))
_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    _LONG,
    st.integers(-(1 << 31), (1 << 31) - 1).map(Int64),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    _LONG.map(DateTime),
    st.integers(0, (1 << 64) - 1).map(Timestamp),
    st.builds(Binary, st.binary(max_size=8), st.integers(1, 255)),
    st.builds(Regex, _WORDS, _WORDS),
    st.binary(min_size=16, max_size=16).map(Decimal128),
    st.sampled_from([Other(0xFF, b""), Other(0x7F, b""), Other(6, b"")]),
    st.text(max_size=5).map(lambda text: Other(13, struct.pack("<i", len(text.encode()) + 1) + text.encode() + b"\x00")),
)
_NAMES = st.text(max_size=5).map(lambda text: text.replace("\x00", ""))
_DOCUMENTS = st.dictionaries(
    _NAMES, st.recursive(_PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3), max_leaves=8)
)


def _types(value):
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_types(item) for item in value]
    wide = isinstance(value, int) and not isinstance(value, bool) and not -(1 << 31) <= value < 1 << 31
    return int if wide else type(value)


@given(_DOCUMENTS)
def test_what_is_encoded_comes_back(document):
    """Values, their types and their bytes."""
    data = bson.encode(document)
    found = bson.decode(data)
    assert found == document and _types(found) == _types(document)
    assert bson.encode(found) == data


def test_known_bytes():
    """As the specification has them."""
    assert bson.encode({"hello": "world"}) == b"\x16\x00\x00\x00\x02hello\x00\x06\x00\x00\x00world\x00\x00"
    assert bson.encode({}) == b"\x05\x00\x00\x00\x00"
    assert bson.decode(b"\x0c\x00\x00\x00\x10a\x00\x01\x00\x00\x00\x00") == {"a": 1}


@given(_DOCUMENTS, st.data())
def test_a_cut_document_is_refused(document, data):
    """No beginning of a document is one."""
    whole = bson.encode(document)
    with pytest.raises(BsonError):
        bson.decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=60))
def test_rubbish_is_refused_or_decoded(data):
    """Nothing else happens, whatever comes."""
    for given_bytes in (data, struct.pack("<i", len(data) + 5) + data + b"\x00"):
        try:
            found = bson.decode(given_bytes)
        except BsonError:
            continue
        bson.encode(found)


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, object(), {"a\x00b": 1}, {1, 2}])
def test_what_is_no_value(value):
    """It is told, not cut."""
    with pytest.raises(BsonError):
        bson.encode({"x": value})


def test_endless_depth():
    """Documents in documents end somewhere."""
    value = {}
    for _level in range(300):
        value = {"a": value}
    with pytest.raises(BsonError, match="deep"):
        bson.encode(value)
    data = b"\x05\x00\x00\x00\x00"
    for _level in range(300):
        data = struct.pack("<i", len(data) + 8) + b"\x03a\x00" + data + b"\x00"
    with pytest.raises(BsonError, match="deep"):
        bson.decode(data)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("2026-01-31T04:05:06.789Z", 1769832306789),
        ("2026-01-31T04:05:06.5", 1769832306500),
        ("2026-01-31 13:05:06+09:00", 1769832306000),
        ("2026-01-31T04:05:06.123456Z", 1769832306123),
        ("1969-12-31T23:59:59Z", -1000),
    ],
)
def test_times(text, value):
    """With and without a zone and parts of a second."""
    assert bson.parse_date(text) == DateTime(value)


@pytest.mark.parametrize(
    "text", ["2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01", "x", "2026-01-01T24:00:00Z", "0000-01-01T00:00:00Z"]
)
def test_what_is_no_time(text):
    """It is refused."""
    with pytest.raises(BsonError):
        bson.parse_date(text)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"$oid": "0123456789abcdef01234567"}, ObjectId(bytes.fromhex("0123456789abcdef01234567"))),
        ({"$date": "1970-01-01T00:00:00Z"}, DateTime(0)),
        ({"$date": {"$numberLong": "-5"}}, DateTime(-5)),
        ({"$date": 5}, DateTime(5)),
        ({"$numberLong": "5"}, Int64(5)),
        ({"$numberInt": "5"}, 5),
        ({"$numberDouble": "1.5"}, 1.5),
        ({"$binary": {"base64": "eHg=", "subType": "04"}}, Binary(b"xx", 4)),
        ({"$binary": "eHg=", "$type": "00"}, Binary(b"xx", 0)),
        ({"$timestamp": {"t": 1, "i": 2}}, Timestamp((1 << 32) + 2)),
        ({"$regularExpression": {"pattern": "a", "options": "i"}}, Regex(b"a", b"i")),
        ({"$minKey": 1}, Other(255, b"")),
        ({"$date": {"$numberLong": "-9223372036854775808"}}, DateTime(-(1 << 63))),
        ({"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}, Binary(bytes.fromhex("00112233445566778899aabbccddeeff"), 4)),
        ({"$regex": "^a", "$options": "mi"}, Regex(b"^a", b"im")),
        ({"$undefined": True}, Other(6, b"")),
        ({"$code": "f()"}, Other(13, b"\x04\x00\x00\x00f()\x00")),
        ({"$symbol": "s"}, Other(14, b"\x02\x00\x00\x00s\x00")),
        ({"$ref": "users", "$id": {"$numberInt": "1"}}, {"$ref": "users", "$id": 1}),
        ({"$code": "f", "$scope": {}}, Other(15, b"\x0f\x00\x00\x00\x02\x00\x00\x00f\x00\x05\x00\x00\x00\x00")),
        ({"a": [{"$numberInt": "1"}]}, {"a": [1]}),
    ],
)
def test_extended_json(value, found):
    """What tools write for types that JSON has not."""
    assert bson.from_json(value) == found


@pytest.mark.parametrize(
    "value",
    [
        {"$oid": "x"},
        {"$what": 1},
        {"$date": "x"},
        {"$date": {"$numberLong": "9223372036854775808"}},
        {"$date": 1 << 63},
        {"$date": True},
        {"$numberLong": "x"},
        {"$numberLong": "1_0"},
        {"$numberInt": "2147483648"},
        {"$numberDecimal": "1.2.3"},
        {"$timestamp": {"t": 1 << 32, "i": 0}},
        {"$timestamp": {"t": -1, "i": 0}},
        {"$oid": "0" * 24, "a": 1},
        {"$binary": 1},
        {"$binary": "eHg=", "$type": "100"},
        {"$regex": 5},
    ],
    ids=str,
)
def test_extended_json_that_is_none(value):
    """It is refused."""
    with pytest.raises(BsonError):
        bson.from_json({"field": value})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0x3040000000000000 << 64),
        ("-1.5", 0xB03E000000000000 << 64 | 15),
        ("1E+6144", 0x5FFE314DC6448D93 << 64 | 0x38C15B0A00000000),
        ("1E-6176", 1),
        ("0E-7000", 0),
        ("Infinity", 0x7800 << 112),
        ("-inf", 0xF800 << 112),
        ("NaN", 0x7C00 << 112),
    ],
)
def test_decimals(text, value):
    """By the sums of the format's own description."""
    assert bson.parse_decimal(text) == Decimal128(value.to_bytes(16, "little"))


@pytest.mark.parametrize("text", ["", "x", "1e7000", "1" * 35, "1_0", "0x1", "1E-6177"])
def test_what_is_no_decimal(text):
    """It is refused: nothing is rounded."""
    with pytest.raises(BsonError):
        bson.from_json({"$numberDecimal": text})


def test_texts_that_are_no_utf8_come_back_as_they_were():
    """Old drivers have written such; a document is not damaged by it."""
    body = b"\x02\xffname\x00\x05\x00\x00\x00\xed\xa0\x80\xfe\x00"
    document = struct.pack("<i", len(body) + 5) + body + b"\x00"
    assert bson.encode(bson.decode(document)) == document
    with pytest.raises(BsonError, match="no character"):
        bson.encode({"a": "\ud800"})


def test_operators_of_a_view():
    """What is no type is a stage of its pipeline; types in it are types."""
    pipeline = [
        {"$match": {"at": {"$gt": {"$date": "1970-01-01T00:00:00Z"}}, "name": {"$type": "string", "$regex": "^a", "$options": "i"}}},
        {"$limit": {"$numberInt": "5"}},
    ]
    found = bson.from_json(pipeline, operators=True)
    assert found == [{"$match": {"at": {"$gt": DateTime(0)}, "name": {"$type": "string", "$regex": "^a", "$options": "i"}}}, {"$limit": 5}]
    with pytest.raises(BsonError):
        bson.from_json(pipeline)
