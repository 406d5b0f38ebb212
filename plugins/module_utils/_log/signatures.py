# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages folded to what they have in common, and secrets taken out of what is shown."""

from __future__ import annotations

import functools
import re
from typing import Tuple

#: Characters of a message that a signature looks at, and that it keeps.
READ_LIMIT = 1000
SIGNATURE_LIMIT = 200
MASK = "********"

_FOLD_SOURCE = (
    r"(?P<time>\b[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)"
    r"|(?P<id>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)"
    r"|(?P<mail>[\w.+-]+@[\w-]+\.[\w.-]*\w)"
    r"|(?P<addr>(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?(?![\w.]*[0-9])"
    r"|\[?(?<![\w:])(?:[0-9a-fA-F]{1,4}:){3,7}(?::?[0-9a-fA-F]{1,4})?\]?(?::[0-9]{1,5})?(?![\w:])"
    r"|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){1,6}:(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,5})?(?![\w:]))"
    r"|(?P<hex>\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]*[0-9])(?=[0-9]*[a-fA-F])[0-9a-fA-F]{8,}\b)"
    r"|(?P<text>'[^']{33,}'|\"[^\"]{33,}\"|'[^'\w]*\w*[^'\w][^']*'|\"[^\"\w]*\w*[^\"\w][^\"]*\")"
    r"|(?P<n>[0-9]+(?:\.[0-9]+)?)"
)
_NAMES = {"time": "<time>", "id": "<id>", "mail": "<mail>", "addr": "<address>", "hex": "<hex>", "text": "<text>", "n": "<n>"}


@functools.lru_cache(maxsize=None)
def _fold_pattern() -> re.Pattern[str]:
    return re.compile(_FOLD_SOURCE)


def _name(found: re.Match[str]) -> str:
    return _NAMES[found.lastgroup or "n"]


def fold(message: str) -> str:
    """The signature of a message: times, ids, addresses, numbers and long or worded quotations replaced by names.

    White space is made one, and the whole is cut to SIGNATURE_LIMIT characters.
    """
    return _fold_pattern().sub(_name, " ".join(message[:READ_LIMIT].split()))[:SIGNATURE_LIMIT]


@functools.lru_cache(maxsize=None)
def _secrets() -> Tuple[Tuple[re.Pattern[str], str], ...]:
    # Most logs show no secret: compiled when the first one may be there.
    return (
        (
            re.compile(
                r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\"?'?\s*[=:]\s*\"?'?)(?:(basic|bearer|digest|token|negotiate)\s+)?[^\"'\r\n]+"
            ),
            r"\1\2" + MASK,
        ),
        (
            re.compile(
                r"(?i)([\w.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)[\w.-]*)"
                r"(\\?[\"']?\s*[=:]\s*)(?:\\?\"[^\"]*\"?|'[^']*'?|[^\s,;&}\]]+)"
            ),
            r"\1\2" + MASK,
        ),
        (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 " + MASK),
        (re.compile(r"(?<=://)[^/\s@:\"']*:[^/\s@\"']+@"), MASK + "@"),
        (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), MASK),
        (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MASK),
        (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}"), MASK),
        (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL), MASK),
    )


_MAYBE = re.compile(r"(?i)passw|passphrase|pwd|secret|token|key|credential|authori|cookie|bearer|basic|://|eyJ|AKIA|ASIA|gh[pousr]_|xox")


def mask(text: str) -> str:
    """``text`` with obvious secrets replaced: values after words such as password or token, credentials in headers and URLs."""
    if not _MAYBE.search(text):
        return text
    for pattern, replacement in _secrets():
        text = pattern.sub(replacement, text)
    return text
