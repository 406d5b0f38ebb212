# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts of the PostgreSQL engine, read to their end without a server."""

from __future__ import annotations

import re
from typing import IO, Dict, List, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import command

from ..artifact import Artifact
from ..base import EngineError, Stored, Work, from_program
from ..sql import compression, opened_artifact
from .client import code_of, shown

#: The list of contents stands at an artifact's head; it is looked for in this much, then in more.
_HEAD = 4 << 20
_HEAD_LIMIT = 1 << 30


def listing(artifact: Artifact, stored: Stored, work: Work) -> List[str]:
    """The lines of pg_restore's list of contents. EngineError when there is none."""
    return head(artifact, stored, work)[1]


def head(artifact: Artifact, stored: Stored, work: Work) -> Tuple[bytes, List[str]]:
    """The beginning of an artifact, with all definitions and rows or none, and the lines of its list of contents. EngineError."""
    size = _HEAD
    while True:
        with opened_artifact(artifact, stored, work) as file:
            data = _at_most(file, size)
        try:
            told = stream.run(command("pg_restore", "-l"), work.place, data, work.limits)
        except stream.StreamError as error:
            if error.interrupted or len(data) < size or size >= _HEAD_LIMIT or code_of(str(error)) in ("version", "unreachable"):
                code = code_of(str(error))
                raise from_program(error, "damaged" if code == "failed" else code) from None
            size *= 4
            continue
        return data, [line for line in told.decode("utf-8", "surrogateescape").splitlines() if line and not line.startswith(";")]


def _at_most(file: IO[bytes], size: int) -> bytes:
    pieces: List[bytes] = []
    while size:
        block = file.read(min(size, stream.BLOCK))
        if not block:
            break
        pieces.append(block)
        size -= len(block)
    return b"".join(pieces)


class CopyCounter:
    """Counts the rows of each COPY in the script that pg_restore writes; a row is a line, whatever it holds."""

    _NAME = rb'(?:"(?:[^"]|"")*"|[^\s".(]+)'
    _HEADER = re.compile(rb"\nCOPY (" + _NAME + rb")\.(" + _NAME + rb") +(?:\(.*?\) +)?FROM stdin;(?=\n)", re.DOTALL)
    _START, _END = b"\nCOPY ", b"\n\\.\n"
    _OBJECT = b"\nSELECT pg_catalog.lo_open('"
    #: A line without an end is kept to this size while it may become a header: 1600 quoted columns.
    _LINE = 1 << 18

    def __init__(self) -> None:
        self.rows: Dict[str, int] = {}
        self.objects = 0
        self._rest = b"\n"
        self._table: Optional[str] = None
        self._lines = 0

    def feed(self, block: bytes) -> None:
        """The next block of the script."""
        data = self._rest + block
        while True:
            if self._table is None:
                header = self._HEADER.search(data)
                if not header:
                    # A header or an object's line that has begun is kept until there is more of it; a long line is neither.
                    start = data.rfind(self._START)
                    cut = start if start >= 0 else data.rfind(b"\n")
                    if cut < 0 or len(data) - cut > self._LINE:
                        cut = len(data)
                    self.objects += data.count(self._OBJECT, 0, cut)
                    self._rest = data[cut:]
                    return
                self.objects += data.count(self._OBJECT, 0, header.start() + 1)
                self._table = "rows." + shown(*(_unquoted(part) for part in header.groups()))
                self._lines = 0
                data = data[header.end() :]
            end = data.find(self._END)
            if end < 0:
                counted = max(0, len(data) - len(self._END) + 1)
                self._lines += data.count(b"\n", 0, counted)
                self._rest = data[counted:]
                return
            self._lines += data.count(b"\n", 0, end + 1)
            self.rows[self._table] = self.rows.get(self._table, 0) + self._lines - 1
            self._table = None
            data = data[end + len(self._END) - 1 :]

    def finish(self) -> Dict[str, int]:
        """Rows by name. EngineError when a table has no end."""
        if self._table is not None:
            raise EngineError("damaged", "%s ends in the middle" % self._table)
        return self.rows


def _unquoted(part: bytes) -> str:
    text = part.decode("utf-8", "surrogateescape")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


#: Kinds of entries by what is counted.
_ENTRIES = {
    "tables": ("TABLE",),
    "views": ("VIEW",),
    "matviews": ("MATERIALIZED VIEW",),
    "sequences": ("SEQUENCE",),
    "functions": ("FUNCTION", "PROCEDURE", "AGGREGATE"),
}
_WORDS = sorted(
    {word for words in _ENTRIES.values() for word in words}
    | {"TABLE DATA", "TABLE ATTACH", "SEQUENCE SET", "SEQUENCE OWNED BY", "MATERIALIZED VIEW DATA"},
    key=lambda word: -len(word),
)
_ENTRY = re.compile(r"\d+; \d+ \d+ (%s) " % "|".join(_WORDS))


def check_content(artifact: Artifact, stored: Stored, work: Work) -> None:
    """Read an artifact to its end and hold it against its manifest. EngineError."""
    told: Dict[str, int] = {}
    for line in listing(artifact, stored, work):
        entry = _ENTRY.match(line)
        if entry:
            told[entry.group(1)] = told.get(entry.group(1), 0) + 1
    counter = CopyCounter()
    try:
        stream.feed(
            stored.path,
            command("pg_restore", "-a", "-f", "-"),
            compression(artifact, stored),
            bool(artifact.encryption),
            stored.identity,
            work.limits,
            work.place,
            counter.feed,
        )
    except stream.StreamError as error:
        code = code_of(str(error))
        raise from_program(error, "damaged" if code == "failed" else code) from None
    found = counter.finish()
    wrong = []
    if artifact.counts:
        names = set(found) | {name for name in artifact.counts if name.startswith("rows.")}
        wrong += [
            "%s: %s, not %d" % (name, found.get(name, "no such table"), artifact.counts.get(name, 0))
            for name in sorted(names)
            if name not in found or found[name] != artifact.counts.get(name, 0)
        ]
        for name, kinds in _ENTRIES.items():
            number = sum(told.get(kind, 0) for kind in kinds)
            if name in artifact.counts and number != artifact.counts[name]:
                wrong.append("%s: %d, not %d" % (name, number, artifact.counts[name]))
        if counter.objects != artifact.counts.get("large_objects", 0):
            wrong.append("large_objects: %d, not %d" % (counter.objects, artifact.counts.get("large_objects", 0)))
    if wrong:
        raise EngineError("damaged", "holds something else than the manifest tells: " + "; ".join(wrong[:10]))
