# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a value of a kernel parameter means, whichever way it is written."""

from __future__ import annotations

import re
from typing import List, Optional, Tuple, Union


def same(one: Optional[str], other: Optional[str]) -> bool:
    """Whether two texts mean the same value: numbers in any base, ranges of ports in any order.

    The kernel sorts and joins ranges (``9000-9100,8080`` reads back as ``8080,9000-9100``) and prints numbers in decimal; it reads
    them as strtoul(3) does with base 0.
    """
    if one is None or other is None or one == other:
        return one == other
    ranges = port_ranges(one), port_ranges(other)
    if None not in ranges and not (one.isdigit() and other.isdigit()):  # two plain numbers may be written in different bases
        return ranges[0] == ranges[1]
    words = one.split(), other.split()
    return len(words[0]) == len(words[1]) and all(_number(a) == _number(b) for a, b in zip(*words))


def _number(word: str) -> Union[int, str]:
    if re.match(r"-?0[0-7]+\Z", word):
        return int(word, 8)
    return int(word, 0) if re.match(r"-?(0[xX][0-9a-fA-F]+|\d+)\Z", word) else word


def port_ranges(text: str) -> Optional[List[Tuple[int, int]]]:
    """The joined ranges of a list such as ``8080,9000-9100``; None for anything else."""
    if not re.match(r"\d+(-\d+)?(,\d+(-\d+)?)*\Z", text):
        return None
    pairs = []
    for item in text.split(","):
        start, _dash, end = item.partition("-")
        pairs.append((int(start), int(end or start)))
    joined: List[Tuple[int, int]] = []
    for first, last in sorted(pairs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
