# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what mariadb-dump and mysqldump write, statement by statement, while it goes by.

Nothing is kept but the statement at hand; of rows not even that. What is outside of the few statements that a dump consists of
is told apart, so that a restore under another name never runs it: it could write to the database that it was taken from.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Dict, List, NamedTuple, Optional, Set

from ..base import EngineError

#: A statement that makes something is smaller than this.
_STATEMENT = 64 << 20
#: Bytes of each table's rows that its sample is a digest of.
SAMPLE = 256 << 10

_NAME = rb"`((?:[^`]|``)+)`"
_INSERT = re.compile(rb"INSERT (?:IGNORE )?INTO " + _NAME + rb"(?: \((?:`(?:[^`]|``)+`(?:, ?)?)+\))? VALUES\s*")
_TOKEN = re.compile(
    rb"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|"
    rb"/\*(?!M?!).*?\*/|--[ \t][^\n]*\n|--\n|(?P<doubt>--[\x00-\x08\x0b-\x1f\x7f])|#[^\n]*\n|;|[^'\"`;/#-]+|[/#-]|(?P<open>['\"`])",
    re.DOTALL,
)
#: What a token begins with in which a backslash is none to the client: a text, a name, a comment.
_QUOTED = (b"'", b'"', b"`", b"-", b"#", b"/")
#: What rows hold outside of texts, besides digits: NULL, numbers in hexadecimal or with an exponent, what says how a text is written.
_BARE = re.compile(rb"(?:NULL|_binary|[xXA-Fa-f])*\Z")
_DIGITS = b"0123456789.,()+- \n'"
#: What would be a comment or a call.
_ACTIVE = re.compile(rb"--|[A-Za-z_]\s*\(")
#: The end of a block that means something only with what follows, and its longest.
_UNFINISHED, _WORD = re.compile(rb"[A-Za-z_\s-]*\Z"), 64
#: Stands for an escaped letter: harmless in a text, refused outside of one.
_ESCAPED = b"\x01"
_WRAPPED = re.compile(rb"/\*M?!\d* ?|\*/")
_DELIMITER = re.compile(rb"DELIMITER (;+)\n")
_BODY = re.compile(
    rb"CREATE\b(?:[^`'\"]|" + _NAME + rb"|'[^']*'|\"[^\"]*\")*?\b(TRIGGER|FUNCTION|PROCEDURE|EVENT|PACKAGE)\b", re.IGNORECASE | re.DOTALL
)
#: An event that is gone when its time has passed, in the set as on the server: it is not counted.
_PASSING = re.compile(rb"\bON SCHEDULE (?:AT|EVERY\b[^;]*?\bENDS) '[^']*' ON COMPLETION NOT PRESERVE\b", re.IGNORECASE)
_SINGLE = rb"(?!\s*\.)"
#: What a statement is by its beginning, its wrapping comments taken off.
_KINDS = [
    (kind, re.compile(pattern, re.IGNORECASE | re.DOTALL))
    for kind, pattern in (
        ("set", rb"SET (?!GLOBAL|@@GLOBAL|PASSWORD|PERSIST|@@PERSIST|DEFAULT ROLE|ROLE)"),
        ("table", rb"CREATE TABLE (?:IF NOT EXISTS )?" + _NAME + _SINGLE),
        ("sequence", rb"CREATE SEQUENCE (?:IF NOT EXISTS )?" + _NAME + _SINGLE),
        ("setval", rb"(?:DO|SELECT) SETVAL\(" + _NAME + rb"\s*,"),
        ("placeholder", rb"CREATE VIEW " + _NAME + _SINGLE),
        ("view", rb"CREATE\s+ALGORITHM\b(?:[^`']|" + _NAME.replace(b"(", b"(?:", 1) + rb"|'[^']*')*?\bVIEW " + _NAME + _SINGLE),
        ("drop", rb"DROP (?:TABLE|VIEW|SEQUENCE) IF EXISTS " + _NAME + _SINGLE),
        ("keys", rb"ALTER TABLE " + _NAME + _SINGLE + rb" (?:DISABLE|ENABLE) KEYS"),
        ("database", rb"ALTER DATABASE " + _NAME + rb" CHARACTER SET"),
        ("lock", rb"(?:UN)?LOCK TABLES\b|COMMIT\s*;|START TRANSACTION|SET AUTOCOMMIT"),
    )
]


class Piece(NamedTuple):
    """A part of a dump. ``kind``: ``set``, ``table``, ``sequence``, ``setval``, ``placeholder`` and ``view`` (a view is made
    twice), ``drop``, ``keys``, ``database`` (it names one), ``lock``, ``rows``, ``trigger``, ``routine``, ``event``, ``comment``,
    ``other`` (no dump has it); ``name``: of the table or view."""

    kind: str
    name: str
    data: bytes


def unquoted(name: bytes) -> str:
    """A name between backquotes."""
    return name.replace(b"``", b"`").decode("utf-8", "surrogateescape")


class DumpReader:
    """Takes the blocks of a dump, gives its pieces, counts."""

    def __init__(self) -> None:
        self.rows: Dict[str, int] = {}
        self.tables: Set[str] = set()
        self.sequences: Set[str] = set()
        self.views: Set[str] = set()
        self.triggers = self.routines = self.events = 0
        self.longest = 0
        #: The first statements that no dump of one database has.
        self.strange: List[str] = []
        self.tables_elsewhere: Set[str] = set()
        self.complete = False
        self.digests: Dict[str, Any] = {}
        self._left: Dict[str, int] = {}
        self._rest = b""
        self._table: Optional[str] = None
        self._text = False
        self._escape = b""
        self._tail = b""
        self._word = b""
        self._length = 0
        self._delimiter = b";"

    def feed(self, block: bytes) -> List[Piece]:
        """The next block; the pieces that are whole now. EngineError when it is no dump."""
        data = self._rest + block if self._rest else block
        pieces: List[Piece] = []
        at = 0
        while at < len(data):
            end = self._insert(data, at, pieces) if self._table is not None else self._other(data, at, pieces)
            if end is None:
                break
            at = end
        self._rest = data[at:]
        if len(self._rest) > _STATEMENT:
            raise EngineError("damaged", "a statement has no end: %.80r" % self._rest[:80])
        return pieces

    def finish(self) -> None:
        """EngineError unless the dump came to its end."""
        rest = self._rest.strip()
        if rest.startswith(b"-- Dump completed"):
            self.complete = True
            rest = b""
        if self._table is not None or rest or self._delimiter != b";":
            raise EngineError("damaged", "the dump ends in the middle of a statement")
        if not self.complete:
            raise EngineError("damaged", "the dump has no last line: it is not whole")

    @property
    def counts(self) -> Dict[str, int]:
        """By the names of the manifest."""
        told = {
            "tables": len(self.tables),
            "sequences": len(self.sequences),
            "views": len(self.views),
            "triggers": self.triggers,
            "routines": self.routines,
            "events": self.events,
        }
        told.update(("rows." + name, self.rows.get(name, 0)) for name in self.tables)
        return told

    @property
    def samples(self) -> Dict[str, str]:
        """A digest of the first rows of each table that has some."""
        return {"rows." + name: digest.hexdigest() for name, digest in self.digests.items()}

    def _insert(self, data: bytes, at: int, pieces: List[Piece]) -> Optional[int]:
        """Rows up to the end of their statement. No text has a line break of its own: it is written as two letters."""
        end = data.find(b";\n", at)
        stop = len(data) - 1 if end < 0 else end  # a last ; may belong to the end
        if end < 0 and not data.endswith(b";"):
            stop = len(data)
        values = data[at:stop]
        table = self._table or ""
        self._count(values)
        self._length += len(values)
        left = self._left[table]
        if left > 0:
            self.digests.setdefault(table, hashlib.sha256()).update(values[:left])
            self._left[table] = left - len(values)
        if end < 0:
            pieces.append(Piece("rows", table, values))
            return None if stop == at else stop
        self._check_rows(b"", True)
        if self._text or self._escape:
            raise EngineError("damaged", "a text among the rows of %s has no end" % table)
        pieces.append(Piece("rows", table, values + b";\n"))
        self.longest = max(self.longest, self._length)
        self._table = None
        return end + 2

    def _count(self, values: bytes) -> None:
        """Count rows: how often one follows another outside of texts."""
        if self._escape:
            values = self._escape + values
            self._escape = b""
        bare = values.rstrip(b"\\")
        if (len(values) - len(bare)) % 2:
            values, self._escape = values[:-1], b"\\"
        parts = values.replace(b"\\\\", _ESCAPED).replace(b"\\'", _ESCAPED).split(b"'")
        outside = b"'".join(parts[1 if self._text else 0 :: 2])
        self._check_rows(outside, (len(parts) % 2 == 0) ^ self._text)
        outside = outside.replace(b"\n", b"")
        if not self._text:
            outside = self._tail + outside
        self._text ^= len(parts) % 2 == 0
        self._tail = b"" if self._text else outside[-2:]
        self.rows[self._table or ""] += outside.count(b"),(")

    def _check_rows(self, outside: bytes, open_text: bool) -> None:
        """Refuse rows with anything but plain values: a statement, a call, or a command to the client among them would be run."""
        told = self._word + outside
        self._word = b""
        if not open_text:  # a word may go on in the next block
            cut = len(told) - len(told[-_WORD:]) + _UNFINISHED.search(told[-_WORD:]).start()  # type: ignore[union-attr]
            told, self._word = told[:cut], told[cut:]
        if _ACTIVE.search(told) or not _BARE.match(told.translate(None, _DIGITS)):
            self._odd(b"among the rows of %s: %s" % ((self._table or "").encode("utf-8", "replace"), told[:80]))

    def _other(self, data: bytes, at: int, pieces: List[Piece]) -> Optional[int]:
        """A comment, a statement, or the beginning of rows."""
        if data[at : at + 1] == b"\n":
            return at + 1
        line = data.find(b"\n", at)
        start = data[at : at + 16]
        if start.startswith(b"INSERT "):
            header = _INSERT.match(data, at)
            if not header:
                return self._statement(data, at, pieces)
            if header.end() == len(data):
                return None
            self._table = unquoted(header.group(1))
            self._left.setdefault(self._table, SAMPLE)
            self.rows[self._table] = self.rows.get(self._table, 0) + 1
            self._text, self._escape, self._tail, self._word, self._length = False, b"", b"", b"", header.end() - at
            pieces.append(Piece("rows", self._table, header.group()))
            return header.end()
        if line < 0:
            return None
        if start.startswith(b"--"):
            self.complete = data.startswith(b"-- Dump completed", at)
            pieces.append(Piece("comment", "", data[at : line + 1]))
            return line + 1
        if data[at:line].rstrip() in (b"/*M!999999\\- enable the sandbox mode */", b"/*!999999\\- enable the sandbox mode */"):
            return line + 1  # a command to the client, of which some know nothing
        delimiter = _DELIMITER.match(data, at)
        if delimiter:
            self._delimiter = delimiter.group(1)
            return delimiter.end()
        if self._delimiter != b";":
            return self._body(data, at, pieces)
        return self._statement(data, at, pieces)

    def _body(self, data: bytes, at: int, pieces: List[Piece]) -> Optional[int]:
        """A statement with a body of its own, or what is set around it."""
        found = re.compile(re.escape(self._delimiter) + rb"[ \t]*\n").search(data, at)
        if not found:
            return None
        text = data[at : found.start()]
        for token in _TOKEN.finditer(text):
            if token.group("doubt") or (b"\\" in token.group() and token.group()[:1] not in _QUOTED):
                self._odd(token.group().strip())  # a comment to some alone, or a command to the client
        bare = _WRAPPED.sub(b"", text).strip()
        what = _BODY.match(bare)
        kind = what.group(2).upper() if what else b""
        if kind == b"TRIGGER":
            self.triggers += 1
        elif kind == b"EVENT":
            self.events += 0 if _PASSING.search(bare) else 1
        elif kind:
            self.routines += 1
        elif bare and not _KINDS[0][1].match(bare):
            self._odd(text.strip())
        name = {b"TRIGGER": "trigger", b"EVENT": "event", b"": "set"}.get(kind, "routine")
        if bare:
            pieces.append(Piece(name, "", b"DELIMITER %s\n%s%s\nDELIMITER ;\n" % (self._delimiter, text, self._delimiter)))
        return found.end()

    def _statement(self, data: bytes, at: int, pieces: List[Piece]) -> Optional[int]:
        for token in _TOKEN.finditer(data, at):
            if token.group("open"):
                return None
            if token.group() == b";":
                break
            if token.group("doubt") or (b"\\" in token.group() and token.group()[:1] not in _QUOTED):
                self._odd(token.group().strip())  # a comment to some alone, or a command to the client
        else:
            return None
        end = token.end()
        while data[end : end + 1] in (b" ", b"\t"):
            end += 1
        if end >= len(data):
            return None
        if data[end : end + 1] == b"\n":
            end += 1
        text = data[at:end]
        self.longest = max(self.longest, len(text))
        bare = _WRAPPED.sub(b"", text).strip()
        for kind, pattern in _KINDS:
            found = pattern.match(bare)
            if found:
                name = unquoted(found.group(1)) if found.groups() else ""
                if kind == "table" and text.startswith(b"/*!50001"):
                    kind = "placeholder"
                self._note(kind, name, bare)
                pieces.append(Piece(kind, name, text))
                return end
        self._odd(text)
        pieces.append(Piece("other", "", text))
        return end

    def _note(self, kind: str, name: str, bare: bytes) -> None:
        if kind == "table":
            self.tables.add(name)
            self.rows.setdefault(name, 0)
            if re.search(rb"\) ENGINE=(FEDERATED|CONNECT|SPIDER|MRG_MYISAM|MERGE)\b", bare, re.IGNORECASE):
                self.tables_elsewhere.add(name)
        elif kind == "sequence":
            self.sequences.add(name)
        elif kind == "view":
            self.views.add(name)

    def _odd(self, text: bytes) -> None:
        if len(self.strange) < 10:
            self.strange.append(" ".join(text[:120].decode("utf-8", "replace").split()))
