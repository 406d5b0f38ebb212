# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRC-64 in the two forms that dumps have, fast enough in Python for files of gigabytes: Redis' (Jones) and Go's (ECMA-182).

A block is cut into equal lanes that are summed side by side: the eight bytes of all lanes' sums are eight planes, a step of
all lanes is one ``bytes.translate`` per plane and one exclusive or of large numbers. The lanes' sums are joined at the end,
for a sum is linear. That is seven times as fast as a table looked up byte by byte.
"""

from __future__ import annotations

from typing import List

#: Bytes of a lane, and how many lanes are summed side by side.
_LANE = 512
_LANES = 2048


class Crc64:
    """A form of the sum. ``polynomial``: with its bits turned round; ``inverted``: the sum is kept with all its bits turned over."""

    def __init__(self, polynomial: int, inverted: bool = False) -> None:
        self._turn = (1 << 64) - 1 if inverted else 0
        self._table: List[int] = []
        for byte in range(256):
            value = byte
            for _bit in range(8):
                value = (value >> 1) ^ polynomial if value & 1 else value >> 1
            self._table.append(value)
        self._planes = [bytes((value >> (8 * plane)) & 255 for value in self._table) for plane in range(8)]
        self._after_lane: List[List[int]] = []

    def update(self, crc: int, data: bytes) -> int:
        """The sum of what ``crc`` is the sum of, and ``data`` after it. The sum of nothing is 0."""
        crc ^= self._turn
        at = 0
        size = len(data)
        while size - at >= _LANE * 64:
            lanes = min(_LANES, (size - at) // _LANE)
            crc = self._lanes(crc, data[at : at + lanes * _LANE], lanes)
            at += lanes * _LANE
        table = self._table
        for byte in data[at:]:
            crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
        return crc ^ self._turn

    def _lanes(self, crc: int, data: bytes, lanes: int) -> int:
        if not self._after_lane:
            self._after_lane = _zeros_tables(self._table, _LANE)
        state = 0
        mask = (1 << (8 * lanes)) - 1
        shift = 8 * lanes
        planes = self._planes
        from_bytes = int.from_bytes
        for step in range(_LANE):
            index = ((state & mask) ^ from_bytes(data[step::_LANE], "little")).to_bytes(lanes, "little")
            state = from_bytes(b"".join([index.translate(plane) for plane in planes]), "little") ^ (state >> shift)
        sums = state.to_bytes(8 * lanes, "little")
        t0, t1, t2, t3, t4, t5, t6, t7 = self._after_lane
        for lane in range(lanes):
            crc = (
                t0[crc & 255]
                ^ t1[(crc >> 8) & 255]
                ^ t2[(crc >> 16) & 255]
                ^ t3[(crc >> 24) & 255]
                ^ t4[(crc >> 32) & 255]
                ^ t5[(crc >> 40) & 255]
                ^ t6[(crc >> 48) & 255]
                ^ t7[crc >> 56]
                ^ from_bytes(sums[lane::lanes], "little")
            )
        return crc


def _zeros_tables(crc_table: List[int], length: int) -> List[List[int]]:
    """Tables that tell a sum after ``length`` bytes of zero, one for each byte of the sum."""
    columns = []
    for bit in range(64):
        value = 1 << bit
        for _byte in range(length):
            value = crc_table[value & 255] ^ (value >> 8)
        columns.append(value)
    tables = []
    for place in range(8):
        table = [0] * 256
        for byte in range(1, 256):
            lowest = byte & -byte
            table[byte] = table[byte ^ lowest] ^ columns[8 * place + lowest.bit_length() - 1]
        tables.append(table)
    return tables


#: Of Redis' RDB files.
JONES = Crc64(0x95AC9329AC4BC9B5)
#: Of mongodump's archives, as Go's hash/crc64 makes it.
ECMA = Crc64(0xC96C5795D7870F42, inverted=True)
