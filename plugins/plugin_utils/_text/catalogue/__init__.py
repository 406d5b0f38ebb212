# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every text a person reads, in every language: one catalogue, the ``*.yml`` files beside this one.

An entry is ``id: {en: text, ko: text}``. Texts are ``str.format`` templates over a message's parameters, with the
formats ``{n:bytes}``, ``{n:duration}`` (seconds), ``{n:number}`` (at most two decimals) and ``{list:list}`` added.
``<id>.remedy`` is what to do about the message ``<id>``; ``evidence.<name>`` is the label of a piece of evidence.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

LANGUAGES = ("en", "ko")
FOLDER = Path(__file__).parent


@functools.cache
def entries() -> dict[str, dict[str, str]]:
    """The whole catalogue. Raises ValueError when two files define the same id."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, dict[str, str]] = {}
    for path in sorted(FOLDER.glob("*.yml")):
        for identifier, texts in (yaml.load(path.read_text(encoding="utf-8"), Loader=loader) or {}).items():  # noqa: S506
            if identifier in found:
                raise ValueError(f"{path.name}: {identifier} is in the catalogue already")
            found[identifier] = texts
    return found


class _Formatter(string.Formatter):
    def __init__(self, language: str) -> None:
        self.language = language

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        # Plain names only: parameters come from targets, and templates need no attributes of them.
        return kwargs.get(field_name, "?"), field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Mapping) and "message" in value:
            value = tell(value, self.language)
        if format_spec == "list":
            return ", ".join(self.format_field(item, "") for item in value) if isinstance(value, (list, tuple)) else str(value)
        if format_spec in _SPECIAL:
            return _SPECIAL[format_spec](value, self.language) if isinstance(value, (int, float)) else str(value)
        try:
            return format(value, format_spec)
        except (TypeError, ValueError):
            return str(value)


def number(value: float, language: str = "en") -> str:
    """At most two decimals below 100, one above; thousands grouped."""
    rounded = round(value, 2 if abs(value) < 100 else 1)
    return f"{int(rounded):,}" if rounded == int(rounded) else f"{rounded:,}"


def size(value: float, language: str = "en") -> str:
    """Bytes in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{number(round(value, 1))} {unit}"
        value /= 1024
    return f"{number(round(value, 1))} TiB"


_SPANS = ((86400, "d", "일"), (3600, "h", "시간"), (60, "min", "분"), (1, "s", "초"))


def duration(value: float, language: str = "en") -> str:
    """Seconds as the two largest spans: ``2 d 3 h``."""
    if abs(value) < 1:
        return f"{number(value * 1000)} ms" if value else _span(0, 3, language)
    left, sign = round(abs(value)), "-" if value < 0 else ""
    parts = []
    for index, (seconds, _en, _ko) in enumerate(_SPANS):
        count, left = divmod(left, seconds)
        if count:
            parts.append(_span(count, index, language))
        if len(parts) == 2:
            break
    return sign + " ".join(parts)


def _span(count: int, index: int, language: str) -> str:
    return f"{count}{_SPANS[index][2]}" if language == "ko" else f"{count} {_SPANS[index][1]}"


_SPECIAL = {"bytes": size, "duration": duration, "number": number}


def with_unit(value: float | None, unit: str, language: str = "en") -> str:
    """A finding's value as people read it."""
    if value is None:
        return "–"
    if unit in ("B", "B/s"):
        return size(value) + unit[1:]
    if unit == "s":
        return duration(value, language)
    if unit == "d":
        return duration(value * 86400, language)
    return f"{number(value)} {unit}".rstrip()


def text(identifier: str, language: str = "en", /, **params: Any) -> str:
    """One text of the catalogue. An id that is not there is shown as itself, with its parameters."""
    entry = entries().get(identifier)
    if entry is None:
        return " ".join([identifier, *(f"{name}={value}" for name, value in params.items())])
    return _Formatter(language).vformat(entry[language], (), params)


def tell(message: Mapping[str, Any], language: str = "en") -> str:
    """A message (``{"message": id, "params": {...}}``) as text."""
    params = message.get("params")
    named = {str(name): value for name, value in params.items()} if isinstance(params, Mapping) else {}
    return text(str(message["message"]), language, **named)


def remedy(finding: Mapping[str, Any], language: str = "en") -> str:
    """What to do about a finding: the inventory's own word, else the catalogue's for its message, else nothing."""
    own = finding.get("remedy")
    identifier = f"{finding.get('message')}.remedy"
    params = dict(finding.get("params") or {})
    if own and (identifier not in entries() or own != text(identifier, "en", **params)):
        return str(own)
    if finding.get("status") == "ok" or identifier not in entries():
        return ""
    return text(identifier, language, **params)
