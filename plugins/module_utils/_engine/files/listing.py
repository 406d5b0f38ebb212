# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tar archive holds, and whether it may be unpacked, told by GNU tar itself, which also unpacks it.

The verbose listing (``tar -tv``, and the index that ``tar -cvv`` writes while it makes an archive) has a line for each entry with
names quoted as in C. It is read to its end before a byte is unpacked; two programs that read one archive could differ in what
they see, one that reads it twice does not.
"""

from __future__ import annotations

import re
from typing import AbstractSet, Callable, Dict, Iterable, List, Mapping, Match, NamedTuple, Optional, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Command, command

from ..base import EngineError

#: The attribute that gives a program rights of the superuser, as setuid does.
CAPABILITY = "security.capability"
#: Blocks of 512 bytes that tar reads and writes at a time: as much as a pipe takes.
BLOCKS = "128"
#: Blocks of zeros at the end: a record of whatever tool.
_PADDING = 8192
#: More than these are not told one by one.
_TOLD = 20
#: Bytes of a folder's path: what is in it, unpacked below another one, is to stay below the 4096 of the system.
_LONGEST = 3500


class ArchiveLimits(NamedTuple):
    """What is too much: ``entries`` and ``bytes`` of all there is to be unpacked."""

    entries: Optional[int] = None
    bytes: Optional[int] = None


_NO_LIMITS = ArchiveLimits()
_RUNS = frozenset(b"xst")


class ArchiveProblem(NamedTuple):
    """What is wrong with an archive. ``code``: ``path``, ``link``, ``device``, ``setuid``, ``duplicate`` or ``kind``."""

    code: str
    text: str


def listing_command(file: str = "-") -> Command:
    """The command that lists an archive as :class:`Listing` reads it."""
    # With -i it reads on after the archive's end, where the tar that unpacks stops: what is there is seen, and refused.
    words = ("-t", "-i", "-v", "-v", "-R", "-P", "-B", "-b", BLOCKS, "--numeric-owner", "--quoting-style=c", "-f", file)
    return command("tar", *words, "--xattrs", "--xattrs-include=" + CAPABILITY, env={"TZ": "UTC"})


class Crossing(NamedTuple):
    """A hard link to a file that is in another part of the archive; names of members."""

    name: bytes
    target: bytes


class Counted:
    """What one part of an archive holds. ``stored``: bytes of it in the archive, without the holes of its files."""

    def __init__(self) -> None:
        self.files = self.folders = self.links = self.others = self.bytes = self.stored = 0
        self.crossing: List[Crossing] = []

    def counts(self) -> Dict[str, int]:
        """By the manifest's names."""
        return {"files": self.files, "folders": self.folders, "links": self.links, "others": self.others, "bytes": self.bytes}

    @property
    def entries(self) -> int:
        """All of them."""
        return self.files + self.folders + self.links + self.others


class Listing:
    """Reads a listing block by block.

    ``roots``: the members below which everything is to be, links too; empty: anywhere in the archive. ``limits``: one more is a
    bomb. ``items``: members that are counted one by one, each with all below it. ``sample``: how many names of small files are
    picked, the same ones each time. ``capable``: whether a program with extended attributes has capabilities; where the listing says
    it by itself, None.
    """

    def __init__(
        self,
        roots: Iterable[bytes] = (),
        limits: ArchiveLimits = _NO_LIMITS,
        items: Iterable[bytes] = (),
        sample: int = 0,
        capable: Optional[Callable[[bytes], bool]] = None,
    ) -> None:
        self.total = Counted()
        self.problems: List[ArchiveProblem] = []
        #: Entries that are only unpacked when they were known at making: name to what it is.
        self.special: Dict[str, str] = {}
        self.items: Dict[bytes, Counted] = {item: Counted() for item in items}
        self.found: Set[bytes] = set()
        self._roots = frozenset(roots)
        self._limits = limits
        self._sample = sample
        self._sampled: List[Tuple[int, bytes]] = []
        self._sample_below = 1 << 32
        self._rest = b""
        self._capable = capable
        self._block = 0
        self._before: Optional[Counted] = None
        self._ends: Optional[int] = None
        self._seen: Set[int] = set()
        self._folders: Set[bytes] = set()
        self._links: Set[bytes] = set()
        self._others: Set[bytes] = set()
        self._parents: Set[bytes] = {b""}
        self._parent = b""
        self._inside = not self._roots
        self._item: Optional[bytes] = b"" if b"" in self.items else None
        self._entry_limit = limits.entries if limits.entries is not None else 1 << 62
        self._byte_limit = limits.bytes if limits.bytes is not None else 1 << 62

    def feed(self, block: bytes) -> None:
        """Take the next block of the listing."""
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line)

    def heard(self, block: bytes) -> bytes:
        """Take the next block of a listing among messages, and return those."""
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        said = []
        for line in lines:
            if _ENTRY.match(line):
                self._line(line)
            else:
                said.append(line + b"\n")
        if not block and self._rest:
            said.append(self._rest)
            self._rest = b""
        return b"".join(said)

    def finish(self) -> None:
        """The listing is at its end."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""
        if self._ends == 0:
            raise EngineError("damaged", "it is half an archive: its end is missing")
        for name in sorted(self._links & self._parents):
            self._problem("link", "%s is a link, and other entries are below it" % shown(name))

    def has(self, name: bytes) -> bool:
        """Whether a member of that name was listed."""
        return hash(name) in self._seen

    def samples(self) -> List[bytes]:
        """Names of the files that were picked."""
        return [name for _order, name in sorted(self._sampled)[: self._sample]]

    def unknown(self, known: Mapping[str, str]) -> List[ArchiveProblem]:
        """Problems that the special entries are which are not ``known``."""
        new = [(name, what) for name, what in sorted(self.special.items()) if known.get(name) != what]
        return [ArchiveProblem(_special_code(what), "%s: %s" % (name, what)) for name, what in new[:_TOLD]]

    def _problem(self, code: str, text: str) -> None:
        if len(self.problems) < _TOLD:
            self.problems.append(ArchiveProblem(code, text))

    def _line(self, line: bytes) -> None:  # noqa: C901 - one entry, all in one place for it is the hot one
        if line[:6] == b"block ":
            number, _colon, line = line[6:].partition(b": ")
            self._reached(int(number))
            if line[:2] == b"**":
                self._end(line)
                return
            if self._ends:
                raise EngineError("damaged", "it goes on after its end")
        elif line[:4] == b"  x:":  # it is in the mode, too
            return
        head, _quote, rest = line.partition(b'"')
        columns = head.split(None, 3)
        if len(columns) < 3 or not rest:
            raise EngineError("damaged", "tar lists what cannot be understood: %s" % line[:200].decode("utf-8", "replace"))
        mode, size = columns[0], columns[2]
        kind = mode[:1]
        target = b""
        if kind in (b"l", b"h"):
            name, target = _two_names(rest)
        else:
            name = rest[:-1]
            if b"\\" in name:
                name = unquoted(name)
        name = self._clean(name)
        parent = name.rpartition(b"/")[0]
        if parent != self._parent:
            self._enter(parent)
        if not self._inside and not _below(name, self._roots):
            self._problem("path", "%s is below none of the paths that were backed up" % shown(name))
        counted = self.total
        key = hash(name)
        if key in self._seen:
            if not (kind == b"d" and name in self._folders):
                self._problem("duplicate", "%s is there twice" % shown(name))
        else:
            self._seen.add(key)
        item = self.items.get(name) or (self.items[self._item] if self._item is not None else None)
        length = 0
        if kind in (b"-", b"C"):
            counted.files += 1
            length = int(size)
            counted.bytes += length
            if self._sample and 0 < length <= 1 << 20:
                self._pick(name)
            kind = b"-"
        elif kind == b"d":
            counted.folders += 1
            self._folders.add(name)
        elif kind == b"l":
            counted.links += 1
            self._links.add(name)
            self._link(name, target)
        elif kind == b"h":
            kind = self._hard_link(name, target, item)
        elif kind in (b"p", b"c", b"b"):
            counted.others += 1
            self._others.add(name)
            self.special[told(name)] = "fifo" if kind == b"p" else "%s %s" % ({b"c": "device", b"b": "block device"}[kind], size.decode())
        else:
            self._problem("kind", "%s is of the kind %r, which is not unpacked" % (shown(name), kind.decode("ascii", "replace")))
        if kind == b"-":
            what = mode[1:10] if mode[3:4] in b"sS" or mode[6:7] in b"sS" else b""
            # For files that are no programs it means nothing.
            if mode[10:11] in (b"*", b"+") and set(mode[1:10]) & _RUNS and (self._capable is None or self._capable(name)):
                what = (what + b" capabilities").strip()
            if what:
                self.special[told(name)] = what.decode("ascii", "replace")
        self._before = item
        if item is not None:
            self._count(item, kind, length)
            if name in self.items:
                self.found.add(name)
        if counted.entries > self._entry_limit:
            raise EngineError("unsafe", "it holds more than the %d entries it should" % self._entry_limit)
        if counted.bytes > self._byte_limit:
            raise EngineError("unsafe", "it holds more than the %d bytes it should" % self._byte_limit)

    def _end(self, line: bytes) -> None:
        """A block of zeros, which is the end, or that of the file."""
        self._before = None
        self._ends = (self._ends or 0) + line.startswith(b"** Block of NULs")
        if self._ends > _PADDING:
            raise EngineError("damaged", "it goes on after its end")

    def _reached(self, block: int) -> None:
        """The next entry, or the end, is at this block."""
        size = (block - self._block) * 512
        self._block = block
        self.total.stored += size
        if self._before is not None:
            self._before.stored += size

    @staticmethod
    def _count(item: Counted, kind: bytes, length: int) -> None:
        if kind == b"-":
            item.files += 1
            item.bytes += length
        elif kind == b"d":
            item.folders += 1
        elif kind == b"l":
            item.links += 1
        else:
            item.others += 1

    def _clean(self, name: bytes) -> bytes:
        """The member's name without what means nothing; what leads out is told."""
        given = name
        if name.startswith(b"/"):
            self._problem("path", "%s is an absolute path" % shown(given))
        if b"/." in name or b"//" in name or name[-1:] == b"/" or name[:1] in (b"/", b"."):
            parts = [part for part in name.split(b"/") if part not in (b"", b".")]
            if b".." in parts:
                self._problem("path", "%s leads out" % shown(given))
            name = b"/".join(parts)
        return name

    def _enter(self, parent: bytes) -> None:
        """Another folder's entries come."""
        self._parent = parent
        if len(parent) > _LONGEST:
            self._problem("path", "%s... is too long to be unpacked" % shown(parent))
        self._inside = not self._roots or _below(parent, self._roots)
        above = parent
        while above not in self._parents:
            self._parents.add(above)
            above = above.rpartition(b"/")[0]
        if self.items:
            self._item = next((above for above in _upwards(parent) if above in self.items), None)

    def _pick(self, name: bytes) -> None:
        import zlib

        order = zlib.crc32(name)
        if order < self._sample_below:
            self._sampled.append((order, name))
            if len(self._sampled) >= 4 * self._sample:
                self._sampled = sorted(self._sampled)[: self._sample]
                self._sample_below = self._sampled[-1][0]

    def _link(self, name: bytes, target: bytes) -> None:
        """A link that leads out of the tree is special."""
        if self._leads_out(name, target):
            self.special[told(name)] = "link to " + told(target)

    def _leads_out(self, name: bytes, target: bytes) -> bool:
        if target.startswith(b"/"):
            if not self._roots:
                return True
            parts: List[bytes] = []
        else:
            parts = name.split(b"/")[:-1]
        down = False
        for part in target.split(b"/"):
            if part == b"..":
                if not parts or down:  # what it goes down to may be a link itself, and then this is not the way back
                    return True
                parts.pop()
            elif part not in (b"", b"."):
                parts.append(part)
                down = True
        return bool(self._roots) and not _below(b"/".join(parts), self._roots)

    def _hard_link(self, name: bytes, target: bytes, item: Optional[Counted]) -> bytes:
        """The kind of what a hard link is another name of."""
        given = target
        if target.startswith((b"/", b".")) or b"//" in target or b"/." in target:
            parts = [part for part in target.split(b"/") if part not in (b"", b".")]
            target = b"/".join(parts)
            if given.startswith(b"/") or b".." in parts:
                self._problem("link", "%s is a hard link that leads out, to %s" % (shown(name), shown(given)))
        if hash(target) not in self._seen or target in self._folders:
            self._problem("link", "%s is a hard link to %s, which is not in the archive before it" % (shown(name), shown(given)))
        if item is not None:
            inside = next((above for above in _upwards(target) if above in self.items), None)
            if inside is None or self.items[inside] is not item:
                item.crossing.append(Crossing(name, target))
        if target in self._links:
            self._links.add(name)
            self.total.links += 1
            return b"l"
        if target in self._others:
            self._others.add(name)
            self.total.others += 1
            return b"p"
        self.total.files += 1
        return b"-"


def is_privileged(what: str) -> bool:
    """Whether a special entry gives rights: a device, or a program with rights of its own. A link or a pipe gives none."""
    return what != "fifo" and not what.startswith("link")


def _special_code(what: str) -> str:
    if what.startswith("link"):
        return "link"
    return "device" if what == "fifo" or "device" in what else "setuid"


def _below(name: bytes, roots: AbstractSet[bytes]) -> bool:
    return any(above in roots for above in _upwards(name))


def _upwards(name: bytes) -> Iterable[bytes]:
    while name:
        yield name
        name = name.rpartition(b"/")[0]
    yield b""


_ENTRY = re.compile(rb"[^ ][r-][w-][xsS-][r-][w-][xsS-][r-][w-][xtT-][ +*.@]")
_ESCAPE = re.compile(rb"\\(?:([0-7]{3})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_QUOTED = re.compile(rb'((?:[^"\\]|\\.)*)"(?: -> | link to )"((?:[^"\\]|\\.)*)"\Z')


def unquoted(name: bytes) -> bytes:
    """A name that is quoted as in C."""
    return _ESCAPE.sub(_letter, name)


def _letter(found: Match[bytes]) -> bytes:
    number, letter = found.groups()
    return bytes([int(number, 8) & 255]) if number else _LETTERS.get(letter, letter)


def _two_names(rest: bytes) -> Tuple[bytes, bytes]:
    found = _QUOTED.match(rest)
    if not found:
        raise EngineError("damaged", "tar lists a link that cannot be understood: %s" % rest[:200].decode("utf-8", "replace"))
    return unquoted(found.group(1)), unquoted(found.group(2))


def told(name: bytes) -> str:
    """A name as text, the same one on every host."""
    return name.decode("utf-8", "backslashreplace")


def shown(name: bytes) -> str:
    """A name for people."""
    return repr(told(name[:200]))
