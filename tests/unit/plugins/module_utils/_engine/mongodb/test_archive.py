# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A walk through archives of mongodump: what it counts, and that no cut or flipped bit passes."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import crc64
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import bson
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb.archive import ArchiveError, Walker

_END = b"\xff\xff\xff\xff"


def _collection(name, indexes=1, kind="collection"):
    metadata = {"options": {}, "type": kind, "indexes": [{}] * indexes}
    return bson.encode({"db": "app", "collection": name, "metadata": json.dumps(metadata), "size": 0, "type": kind})


def _portion(name, documents):
    return bson.encode({"db": "app", "collection": name, "EOF": False, "CRC": bson.Int64(0)}) + b"".join(documents) + _END


def _ended(name, documents):
    total = crc64.ECMA.update(0, b"".join(documents))
    signed = total - (1 << 64) if total >= 1 << 63 else total
    return bson.encode({"db": "app", "collection": name, "EOF": True, "CRC": bson.Int64(signed)}) + _END


_USERS = [bson.encode({"_id": number, "name": "x" * number}) for number in range(40)]
_EMPTY = []
_HEAD = b"\x6d\xe2\x99\x81" + bson.encode({"concurrent_collections": 4, "version": "0.1", "server_version": "7.0", "tool_version": "100"})
_ARCHIVE = (
    _HEAD + _collection("users", 3) + _collection("컬렉션") + _collection("view", 0, "view") + _END
    + _portion("users", _USERS[:10]) + _ended("컬렉션", _EMPTY) + _portion("users", _USERS[10:]) + _ended("users", _USERS)
)  # fmt: skip


def _walk(data, blocks=()):
    walker = Walker()
    at = 0
    for size in blocks:
        walker.feed(data[at : at + size])
        walker._flush()
        at += size
    walker.feed(data[at:])
    walker.finish()
    return walker


def test_documents_and_indexes_are_counted():
    """By collection; views have none."""
    walker = _walk(_ARCHIVE)
    assert walker.counts() == {"documents.users": 40, "indexes.users": 3, "documents.컬렉션": 0, "indexes.컬렉션": 1}
    assert (walker.server, walker.tool) == ("7.0", "100")
    assert len(walker.samples) == 3 and all(sample.collection == "users" for sample in walker.samples)
    assert walker.collections[("app", "view")].kind == "view"


@given(st.lists(st.integers(0, 100), max_size=60))
def test_blocks_make_no_difference(blocks):
    """However the archive comes in pieces, the same is found."""
    whole, parts = _walk(_ARCHIVE), _walk(_ARCHIVE, blocks)
    assert (whole.counts(), whole.samples) == (parts.counts(), parts.samples)


def test_every_cut_is_found():
    """No beginning of an archive is one."""
    for size in range(len(_ARCHIVE)):
        with pytest.raises(ArchiveError):
            _walk(_ARCHIVE[:size])


def test_flipped_bits_in_documents_are_found():
    """The sums see every bit of every document; heads are read as they are."""
    start = _ARCHIVE.index(_USERS[10])
    for place in range(start, start + sum(len(item) for item in _USERS[10:])):
        with pytest.raises(ArchiveError):
            _walk(_ARCHIVE[:place] + bytes([_ARCHIVE[place] ^ 4]) + _ARCHIVE[place + 1 :])


@given(st.binary(max_size=100))
def test_rubbish_is_refused(data):
    """Whatever is no archive is told, and nothing else is raised."""
    for start in (b"", _HEAD, _HEAD + _collection("users") + _END):
        if start + data == _HEAD + _END:
            continue  # an archive of a database that holds nothing
        with pytest.raises(ArchiveError):
            _walk(start + data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_HEAD.replace(b"0.1", b"0.2") + _END, "version"),
        (_HEAD + _collection("a") + _END + _portion("b", []), "damaged"),
        (_HEAD + _collection("a") + _END + _ended("a", []) + _ended("a", []), "damaged"),
        (_HEAD + _collection("a") + _END + _END, "damaged"),
        (_HEAD + _END + b"\x05\x00\x00\x7f", "damaged"),
    ],
)
def test_what_does_not_belong(data, code):
    """Another version, documents of nobody, a second end, lengths that are none."""
    with pytest.raises(ArchiveError) as caught:
        _walk(data)
    assert caught.value.code == code


def test_documents_with_a_name_twice_are_not_sampled():
    """They do not come back from a server as they are."""
    twice = b"\x1a\x00\x00\x00\x10_id\x00\x01\x00\x00\x00\x10_id\x00\x02\x00\x00\x00"
    twice = struct.pack("<i", len(twice) + 1) + twice[4:] + b"\x00"
    walker = _walk(_HEAD + _collection("a") + _END + _portion("a", [twice]) + _ended("a", [twice]))
    assert walker.counts()["documents.a"] == 1 and walker.samples == []


def test_a_time_series_has_its_documents_elsewhere():
    """As mongodump writes them; it counts as no collection, and its end is waited for."""
    whole = _HEAD + _collection("weather", 0, "timeseries") + _END
    whole += _portion("system.buckets.weather", _USERS)
    assert _walk(whole + _ended("system.buckets.weather", _USERS)).counts() == {}
    with pytest.raises(ArchiveError, match="weather has no end"):
        _walk(whole)


def test_a_document_that_is_no_utf8_is_not_damage():
    """Its collection's sum is what tells; a document of a form that is not known is no sample."""
    old = struct.pack("<i", 18) + b"\x02_id\x00\x04\x00\x00\x00\xff\xfe\xfd\x00\x00"
    unknown = struct.pack("<i", 8) + b"\x50_\x00"[:3] + b"\x00"
    documents = [old[:4] + old[4:], unknown]
    walker = _walk(_HEAD + _collection("a") + _END + _portion("a", documents) + _ended("a", documents))
    assert walker.counts()["documents.a"] == 2 and len(walker.samples) == 1


def test_documents_that_expire():
    """By the earliest time of any of their indexes, also within lists and documents; what has no time stays."""
    indexes = [
        {"key": {"_id": 1}},
        {"key": {"at": {"$numberInt": "1"}}, "expireAfterSeconds": {"$numberInt": "10"}},
        {"key": {"in.at": 1}, "expireAfterSeconds": 0},
        {"key": {"at": 1, "x": 1}, "expireAfterSeconds": 1},
    ]
    head = bson.encode({"db": "app", "collection": "a", "metadata": json.dumps({"indexes": indexes}), "size": 0, "type": "collection"})
    at = bson.DateTime
    documents = [
        bson.encode(document)
        for document in (
            {"at": at(1000)},
            {"at": at(90_000), "in": {"at": at(2000)}},
            {"in": [{"at": [at(50_000), at(3000)]}, 5]},
            {"at": "1970-01-01T00:00:00Z"},
            {"in": 5},
        )
    ]
    data = _HEAD + head + _END + _portion("a", documents) + _ended("a", documents)
    walker = Walker(expiring=True)
    walker.feed(data)
    walker.finish()
    assert [walker.expired(when) for when in (1.9, 2, 3, 11, 1e10)] == [{"a": 0}, {"a": 1}, {"a": 2}, {"a": 3}, {"a": 3}]
    assert _walk(data).expired(1e10) == {"a": 0}, "it takes longer, and is not asked for here"
