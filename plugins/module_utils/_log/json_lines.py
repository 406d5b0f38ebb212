# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line of JSON: strict reading, fields by name, and templates learnt from lines for reading many at once."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from typing import Any, Dict, List, Optional, Sequence, Tuple

#: What a captured value is made of; the same strictness as ``json.loads``.
STRING = r'"[^"\\\x00-\x1f]*"'
ESCAPED_STRING = r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"'
NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
BOOLEAN = r"(?:true|false)"
#: Never gives back what it took: there is nothing to win from that where this stands, and Pythons that know it are faster with it.
FIRM = "+" if sys.version_info >= (3, 11) else ""

_NUMBER_TEXT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?\Z")


class Raw(str):
    """A number of a JSON line as it was written: no digit is lost, and none can be too many."""

    __slots__ = ()


class _NotANumber(str):
    __slots__ = ()


_decoder = json.JSONDecoder(parse_float=Raw, parse_int=Raw, parse_constant=_NotANumber)


def read_object(line: str) -> Optional[Dict[str, Any]]:
    """The object on a line, numbers as :class:`Raw`; None when the line is anything else or broken."""
    try:
        found = _decoder.decode(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def find_path(record: Dict[str, Any], name: str) -> Optional[Tuple[str, ...]]:
    """Where ``name`` is: the key itself, or a dotted path into objects."""
    if name in record:
        return (name,)
    if "." not in name:
        return None
    path = tuple(name.split("."))
    value: Any = record
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return path


def value_at(record: Dict[str, Any], path: Sequence[str]) -> Any:
    """The value at a path that :func:`find_path` gave."""
    value: Any = record
    for step in path:
        value = value[step]
    return value


def first_path(record: Dict[str, Any], names: Sequence[str]) -> Optional[Tuple[str, ...]]:
    """Where the first of ``names`` is that has a value other than null."""
    for name in names:
        path = find_path(record, name)
        if path is not None and value_at(record, path) is not None:
            return path
    return None


def text_of(value: Any) -> Optional[str]:
    """A value as text: numbers as written, ``true``/``false``, ``(object)``/``(list)``; None for null."""
    if isinstance(value, str):
        return clean(value)
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "(object)" if isinstance(value, dict) else "(list)"


def clean(text: str) -> str:
    """``text`` without lone surrogates, which no JSON or file on the way to the report could carry."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def number_of(value: Any) -> Optional[float]:
    """The finite number that a value is or spells; NaN where it is there but no number; None for null."""
    if value is None:
        return None
    is_text = isinstance(value, str) and not isinstance(value, _NotANumber)
    if is_text and (isinstance(value, Raw) or _NUMBER_TEXT.match(value.strip(" "))):
        found = float(value)
        return found if found - found == 0.0 else float("nan")
    return float("nan")


#: One value of a learnt line: where it is, what kind (``s``, ``e`` for a string with escapes, ``n``, ``b``), and its text.
Value = Tuple[Tuple[str, ...], str, str]

_TOKEN = re.compile(r'[ \t\n\r]+|"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_MAX_TOKENS = 400
_MAX_DEPTH = 6


class Shape:
    """The skeleton of a line: literal text between values. ``key``: equal for lines that one template fits."""

    def __init__(self, literals: List[str], values: List[Value]) -> None:
        self.literals = literals
        self.values = values
        self.key = "\x00".join(literals) + "\x01" + "".join(kind for _, kind, _ in values)


class _UnlearnableError(Exception):
    pass


def learn(line: str) -> Optional[Shape]:  # noqa: C901  # a small recursive descent
    """The shape of a line that :func:`read_object` took; None where no template should be made of it."""
    tokens = _TOKEN.findall(line)
    if len(tokens) > _MAX_TOKENS or "".join(tokens) != line:
        return None
    literals: List[str] = [""]
    values: List[Value] = []
    place = 0

    def blank() -> None:
        nonlocal place
        if place < len(tokens) and tokens[place].isspace():
            literals[-1] += tokens[place]
            place += 1

    def take(path: Tuple[str, ...]) -> None:
        nonlocal place
        blank()
        piece = tokens[place]
        place += 1
        if piece in "{[":
            if len(path) >= _MAX_DEPTH:
                raise _UnlearnableError
            literals[-1] += piece
            inside(path, piece == "{")
        elif piece[0] == '"':
            values.append((path, "e" if "\\" in piece else "s", piece))
            literals.append("")
        elif piece in ("true", "false"):
            values.append((path, "b", piece))
            literals.append("")
        elif piece == "null":
            literals[-1] += piece
        elif re.match(NUMBER + r"\Z", piece):
            values.append((path, "n", piece))
            literals.append("")
        else:
            raise _UnlearnableError
        blank()

    def inside(path: Tuple[str, ...], is_object: bool) -> None:
        nonlocal place
        end = "}" if is_object else "]"
        seen = set()
        number = 0
        blank()
        if tokens[place] == end:
            literals[-1] += end
            place += 1
            return
        while True:
            if is_object:
                blank()
                key = tokens[place]
                place += 1
                if "\\" in key or key in seen:
                    raise _UnlearnableError
                seen.add(key)
                literals[-1] += key
                blank()
                literals[-1] += tokens[place]
                place += 1
                take((*path, key[1:-1]))
            else:
                take((*path, number))  # type: ignore[arg-type]  # never equal to a path of names
                number += 1
            literals[-1] += tokens[place]
            place += 1
            if tokens[place - 1] == end:
                return

    try:
        take(())
    except (_UnlearnableError, IndexError, RecursionError):
        return None
    return Shape(literals, values) if place == len(tokens) else None


KINDS = {"s": STRING, "e": ESCAPED_STRING, "n": NUMBER, "b": BOOLEAN}


def raw_text(raw: bytes) -> str:
    """The text of a captured JSON value: a string without its quotes and escapes, anything else as it is."""
    text = raw.decode("utf-8", "replace")
    if text[:1] == '"':
        text = json.loads(text) if "\\" in text else text[1:-1]
    return clean(text)


def jump(text: str, ends_there: bool) -> str:
    """A pattern as long as ``text``; where a value ends there, it begins with what ends the value."""
    first = re.escape(text[:1]) if ends_there else ""
    size = len((text[1:] if ends_there else text).encode("utf-8"))
    # A few single steps are faster than a repeated one.
    return first + ("." * size if size < 10 else ".{%d}%s" % (size, FIRM))


def count_pieces(columns: Sequence[List[Any]]) -> Dict[Any, int]:
    """How often each value of a column, or set of values of several, is there."""
    if len(columns) == 1:
        return Counter(columns[0])
    # Where only one column is not the same all over, no sets need be made.
    rest = [column for column in columns[1:] if column.count(column[0]) < len(column)]
    if rest and (len(rest) > 1 or columns[0].count(columns[0][0]) < len(columns[0])):
        return Counter(zip(*columns))
    varied = next((number for number, column in enumerate(columns) if rest and column is rest[0]), 0)
    before = tuple(column[0] for column in columns[:varied])
    after = tuple(column[0] for column in columns[varied + 1 :])
    return {(*before, value, *after): times for value, times in Counter(columns[varied]).items()}
