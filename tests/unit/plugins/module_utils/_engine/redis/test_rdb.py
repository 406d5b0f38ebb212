# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A walk through RDB files: what it counts, and that no cut or flipped bit passes."""

from __future__ import annotations

import contextlib
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import crc64
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.redis import rdb as rdb_walk
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.redis.rdb import RdbError, Walker


def _length(number):
    if number < 64:
        return bytes([number])
    if number < 16384:
        return bytes([0x40 | number >> 8, number & 255])
    return b"\x80" + struct.pack(">I", number) if number < 1 << 32 else b"\x81" + struct.pack(">Q", number)


def _text(content):
    return _length(len(content)) + content


def _rdb(body, version=11, summed=True):
    data = b"REDIS%04d" % version + body + b"\xff"
    return data + struct.pack("<Q", crc64.JONES.update(0, data) if summed else 0)


def _walk(data, blocks=()):
    walker = Walker()
    at = 0
    for size in blocks:
        walker.feed(data[at : at + size])
        at += size
    walker.feed(data[at:])
    walker.finish()
    return walker


def _slow_crc(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _bit in range(8):
            crc = (crc >> 1) ^ 0x95AC9329AC4BC9B5 if crc & 1 else crc >> 1
    return crc


#: Values by type: the bytes of each.
_VALUES = {
    0: _text(b"plain"),
    1: _length(2) + _text(b"a") + _text(b"b" * 100),
    2: _length(1) + b"\xc1\x39\x30",
    3: _length(3) + _text(b"x") + b"\x031.5" + _text(b"y") + b"\xff" + _text(b"z") + b"\xfd",
    4: _length(1) + _text(b"f") + _text(b""),
    5: _length(1) + _text(b"m") + struct.pack("<d", 2.5),
    7: b"\x81" + struct.pack(">Q", 1 << 60) + b"\x02\x05\x01\x07\x03abcd\x04abcdefgh\x05" + _text(b"s") + b"\x00",
    10: _text(b"ziplist"),
    11: _text(b"intset"),
    14: _length(2) + _text(b"zl") + _text(b"zl2"),
    15: _length(1) + _text(b"i" * 16) + _text(b"lp") + b"\x01\x02\x03" + b"\x00",
    16: _text(b"listpack"),
    17: _text(b"listpack"),
    18: _length(1) + b"\x02" + _text(b"lp"),
    19: (
        _length(1) + _text(b"i" * 16) + _text(b"lp") + bytes(range(8)) + _length(1) + _text(b"group") + b"\x01\x02\x03"
        + _length(1) + b"p" * 24 + b"\x05" + _length(1) + _text(b"consumer") + b"t" * 8 + _length(1) + b"p" * 16
    ),
    20: _text(b"listpack"),
    21: _length(0) + bytes(8) + _length(1) + _text(b"g") + bytes(3) + b"\x00" + _length(1) + _text(b"c") + b"t" * 16 + b"\x00",
    22: _length(1) + b"\x00" + _text(b"f") + _text(b"v"),
    24: b"t" * 8 + _length(1) + b"\x05" + _text(b"f") + _text(b"v"),
    25: b"t" * 8 + _text(b"listpack"),
}  # fmt: skip

_BODY = (
    b"\xfa" + _text(b"redis-ver") + _text(b"7.4.0")
    + b"\xf5" + _text(b"#!lua name=lib")
    + b"\xf7" + b"\x05\x02\x00" + b"\x02\x07\x00"
    + b"\xfe\x00" + b"\xfb\x05\x01" + b"\xf4\x01\x02\x03"
    + b"".join(bytes([kind]) + _text(b"key%d" % kind) + value for kind, value in _VALUES.items())
    + b"\xfe\x09" + b"\xfc" + struct.pack("<q", 5000) + b"\xf8\x03" + b"\x00" + _text(b"soon") + b"\xc0\x07"
    + b"\xfd" + struct.pack("<i", 10) + b"\xf9\x11" + b"\x00" + _text(b"later") + _text(b"")
)  # fmt: skip


@pytest.mark.parametrize(("data", "crc"), [(b"", 0), (b"123456789", 0xE9C6D914C4B8D9CA)])
def test_known_sums(data, crc):
    """The sum is the one that Redis makes."""
    assert crc64.JONES.update(0, data) == crc


def test_known_sum_of_the_other_form():
    """As Go's hash/crc64 makes it with the ECMA table (CRC-64/XZ)."""
    assert crc64.ECMA.update(0, b"123456789") == 0x995DC9BBDF1939FA
    assert crc64.ECMA.update(crc64.ECMA.update(0, b"1234"), b"56789") == 0x995DC9BBDF1939FA


@given(st.integers(0, 2**32), st.integers(0, 300_000), st.integers(0, 300_000))
@settings(max_examples=10, deadline=None)
def test_sums_of_pieces_are_the_sum_of_the_whole(seed, size, cut):
    """Lanes, what is left over and pieces in any size give the sum made bit by bit."""
    data = (random.Random(seed).getrandbits(8 * size + 8) >> 8).to_bytes(size, "big")
    cut = min(cut, size)
    found = crc64.JONES.update(crc64.JONES.update(0, data[:cut]), data[cut:])
    table = crc64.JONES._table
    crc = 0
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    assert found == crc
    assert crc64.JONES.update(0, data[:500]) == _slow_crc(data[:500])


def test_every_type_of_value_is_walked_through():
    """Keys are counted per database, those that expire too."""
    walker = _walk(_rdb(_BODY, 12))
    assert walker.counts() == {"keys.db0": len(_VALUES), "expiring.db0": 0, "keys.db9": 2, "expiring.db9": 2}
    assert (walker.expired(9, 4.9), walker.expired(9, 5.0), walker.expired(9, 10.0)) == (0, 1, 2)
    assert walker.aux == {"redis-ver": "7.4.0"} and walker.functions == 1 and not walker.unsummed
    kinds = {sample.key: sample.kind for sample in walker.samples}
    assert len(walker.samples) == min(rdb_walk.SAMPLES, len(_VALUES))
    assert kinds[b"key0"] == "string" and b"soon" not in kinds


@given(st.lists(st.integers(0, 40), max_size=80))
def test_blocks_make_no_difference(blocks):
    """However the file comes in pieces, the same is found."""
    data = _rdb(_BODY, 12)
    whole, parts = _walk(data), _walk(data, blocks)
    assert (whole.counts(), whole.samples, whole.size) == (parts.counts(), parts.samples, parts.size)


def test_single_bytes():
    """A file that comes byte by byte is the same file."""
    data = _rdb(_BODY, 12)
    assert _walk(data, [1] * len(data)).samples == _walk(data).samples


def test_every_cut_is_found():
    """No beginning of a file is a file."""
    data = _rdb(_BODY, 12)
    for size in range(len(data)):
        with pytest.raises(RdbError):
            _walk(data[:size])


def test_every_flipped_bit_is_found():
    """Each single bit matters."""
    data = _rdb(_BODY, 12)
    for place in range(len(data)):
        for bit in (0, 3, 7):
            with pytest.raises(RdbError):
                _walk(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])


@given(st.binary(max_size=200))
def test_rubbish_is_refused(data):
    """Whatever is no RDB file is told, and nothing else is raised."""
    for start in (b"", b"REDIS0011"):
        with pytest.raises(RdbError):
            _walk(start + data)


def test_what_follows_the_end_is_damage():
    """A file that goes on is not the one that was written."""
    with pytest.raises(RdbError, match="goes on"):
        _walk(_rdb(b"") + b"x")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_rdb(b"", 13), "version"),
        (_rdb(b"\x06" + _text(b"key")), "version"),
        (_rdb(b"\x50" + _text(b"key")), "version"),
        (b"RUBIS0011", "damaged"),
        (_rdb(b"\x00\xc4"), "damaged"),
        (_rdb(b"\xfe\xc0"), "damaged"),
        (_rdb(b"\x00\xbf"), "damaged"),
        (_rdb(b"\x07" + _text(b"key") + b"\x01\x09"), "damaged"),
    ],
)
def test_what_is_not_known_is_told_from_damage(data, code):
    """A newer format or a module's old one may be right; the rest is not."""
    with pytest.raises(RdbError) as caught:
        _walk(data)
    assert caught.value.code == code


def test_a_file_without_a_sum_is_told():
    """Servers can be told to write none."""
    assert _walk(_rdb(b"", summed=False)).unsummed
    assert _walk(b"REDIS0004\xff").unsummed


def test_values_larger_than_blocks_are_not_kept():
    """Memory does not grow with a value: it is jumped over."""
    walker = Walker()
    head = b"REDIS0011\x00" + _text(b"big") + b"\x81" + struct.pack(">Q", 1 << 23)
    block = bytes(1 << 17)
    walker.feed(head)
    for _number in range(64):
        walker.feed(block)
        assert len(walker._buffer) <= len(block)
    crc = crc64.JONES.update(0, head + block * 64 + b"\xff")
    walker.feed(b"\xff" + struct.pack("<Q", crc))
    walker.finish()
    assert walker.counts()["keys.db0"] == 1


@pytest.mark.parametrize(
    ("packed", "size", "plain"),
    [
        (b"\x02abc", 3, b"abc"),
        (b"\x00a\x20\x00", 4, b"aaaa"),
        (b"\x00a\xe0\x05\x00", 15, b"a" * 15),
        (b"\x02abc\x40\x02", 7, b"abcabca"),
    ],
)
def test_compressed_texts(packed, size, plain):
    """LZF, with copies that reach into themselves."""
    assert rdb_walk.unpack_lzf(packed, size) == plain


@given(st.binary(max_size=40), st.integers(0, 100))
def test_compressed_rubbish(packed, size):
    """Rubbish is refused or gives the size it promised."""
    with contextlib.suppress(RdbError):
        assert len(rdb_walk.unpack_lzf(packed, size)) == size


@pytest.mark.parametrize(("server", "version"), [("3.2.1", 7), ("6.2.0", 9), ("7.0.15", 10), ("7.4.1", 12), ("9.0", 12), ("", 12)])
def test_what_servers_read(server, version):
    """A server reads what it knows."""
    assert rdb_walk.readable_by(server) == version
