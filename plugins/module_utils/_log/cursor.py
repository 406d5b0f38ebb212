# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the last call ended in each file, and how to find that place again after rotation, ``copytruncate`` or compression."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from . import sources as log_read
from .sources import File

VERSION = 1
#: A file is known again by its first bytes and by those before the place where reading ended.
HEAD = 1024
TAIL = 256

Entry = Dict[str, Any]


class Busy(Exception):  # noqa: N818  # a state, not a fault
    """Another run reads the same log now."""


class Start(NamedTuple):
    """Where to begin in a file; ``skip``: nothing in it is new."""

    offset: int
    skip: bool = False


class Place(NamedTuple):
    """Where reading ended: of each file, and in the journal."""

    files: List[Entry]
    journal: str = ""


class Plan(NamedTuple):
    """``starts``: one per file. ``lost``: files that are gone, or were emptied, of which a part may not have been read."""

    starts: List[Start]
    lost: List[str]


def _hash(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def entry_of(item: File, offset: int, done: bool) -> Entry:
    """What is remembered of a plain file that was read up to ``offset``. ``done``: nothing was left unread behind it."""
    return {
        "path": item.path,
        "live": item.path == item.live,
        "device": item.device,
        "inode": item.inode,
        "size": item.size,
        "mtime": item.mtime,
        "packed": False,
        "offset": offset,
        "done": done,
        "head": _hash(os.pread(item.fd, min(HEAD, offset), 0)),
        "tail": _hash(os.pread(item.fd, min(TAIL, offset), max(0, offset - TAIL))),
    }


def packed_entry(item: File, offset: int, head: bytes, tail: bytes) -> Entry:
    """What is remembered of a compressed file of ``offset`` bytes when unpacked, which begins and ends with these bytes."""
    return {
        "path": item.path,
        "live": False,
        "device": item.device,
        "inode": item.inode,
        "size": item.size,
        "mtime": item.mtime,
        "packed": True,
        "offset": offset,
        "done": True,
        "head": _hash(head[:HEAD]),
        "tail": _hash(tail[-TAIL:]),
    }


def same_plain(item: File, entry: Entry) -> bool:
    """Whether a plain file still holds what was read of it."""
    offset = entry["offset"]
    if os.fstat(item.fd).st_size < offset:
        return False
    return bool(
        entry["head"] == _hash(os.pread(item.fd, min(HEAD, offset), 0))
        and entry["tail"] == _hash(os.pread(item.fd, min(TAIL, offset), max(0, offset - TAIL)))
    )


def _same_packed(item: File, entry: Entry, unpack: Callable[[File], Iterator[bytes]]) -> bool:
    # A whole head of 1 KiB is told from its beginning alone: unpacking 10 GB only to look at its end is too dear.
    wanted = min(HEAD, entry["offset"])
    data = b""
    chunks = unpack(item)
    try:
        while len(data) < wanted:
            data += next(chunks)
    except (StopIteration, log_read.Damaged):
        return False
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    if entry["head"] != _hash(data[:wanted]):
        return False
    return entry["offset"] >= HEAD or bool(entry["tail"] == _hash(data[max(0, wanted - TAIL) : wanted]))


def plan(files: Sequence[File], entries: Sequence[Entry], unpack: Callable[[File], Iterator[bytes]] = log_read.unpacked) -> Plan:
    """Find each remembered file among those that are there now; a file that is not remembered is read from its beginning."""
    starts: List[Optional[Start]] = [None] * len(files)
    left = [entry for entry in entries if entry["offset"] > 0]

    def settle(match: Callable[[File, Entry], Optional[Start]]) -> None:
        for entry in list(left):
            for number, item in enumerate(files):
                found = match(item, entry) if starts[number] is None else None
                if found is not None:
                    starts[number] = found
                    left.remove(entry)
                    break

    def same_file(item: File, entry: Entry) -> Optional[Start]:
        if (item.device, item.inode) != (entry["device"], entry["inode"]):
            return None
        if item.suffix:
            same = entry["packed"] and (item.size, item.mtime) == (entry["size"], entry["mtime"])
            return Start(entry["offset"], skip=True) if same else None
        return Start(entry["offset"]) if not entry["packed"] and same_plain(item, entry) else None

    def same_content(item: File, entry: Entry) -> Optional[Start]:
        same = _same_packed(item, entry, unpack) if item.suffix else same_plain(item, entry)
        return Start(entry["offset"]) if same else None

    settle(same_file)
    left.sort(key=lambda entry: -int(entry["offset"]))
    settle(same_content)
    lost = [entry["path"] for entry in left if entry["live"] or not entry["done"]]
    return Plan([start or Start(0) for start in starts], lost)


def _place(found: Dict[str, Any]) -> Place:
    """A place that was saved. Raises ValueError, KeyError or TypeError for what is none."""
    for entry in found["files"]:
        if not isinstance(entry["offset"], int) or entry["offset"] < 0:
            raise ValueError("an offset that is none")
        for key in ("path", "live", "device", "inode", "size", "mtime", "packed", "done", "head", "tail"):
            entry[key]
    return Place(list(found["files"]), str(found.get("journal") or ""))


class State:
    """The remembered places of one log in a file of the state folder, held by one run at a time.

    Raises OSError when the folder cannot be written, and Busy when another run holds it. Not to ``make`` it: FileNotFoundError where
    nothing was saved so far.
    """

    def __init__(self, folder: str, name: str, make: bool = True) -> None:
        safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)
        stem = safe if safe == name else "%s-%s" % (safe, _hash(name.encode("utf-8", "surrogatepass"))[:8])
        if make:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        self.path = os.path.join(folder, stem + ".json")
        self._lock = os.open(
            os.path.join(folder, "." + stem + ".lock"), os.O_RDWR | (os.O_CREAT if make else 0) | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise Busy from None

    def load(self) -> Tuple[Place, str]:
        """Where to go on, and what is to be said of it: ``""``, ``broken`` (a file that cannot be read is as good as none), or
        ``repeated``: nobody said that the last call was recorded, so its lines are read again."""
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
            if not isinstance(found, dict) or found.get("version") != VERSION:
                return Place([]), "broken"
            here = _place(found)
            return (_place(found["previous"]), "repeated") if found.get("call_id") else (here, "")
        except FileNotFoundError:
            return Place([]), ""
        except (OSError, ValueError, KeyError, TypeError):
            return Place([]), "broken"

    def save(self, place: Place, call_id: str = "", previous: Optional[Place] = None) -> None:
        """Replace what was saved, at once or not at all. Raises OSError.

        With a ``call_id`` the next call goes on from ``previous``, until :meth:`confirm` is told of this one.
        """
        found: Dict[str, Any] = {"version": VERSION, **place._asdict()}
        if call_id:
            found.update(call_id=call_id, previous=(previous or Place([]))._asdict())
        self._write(found)

    def confirm(self, call_id: str) -> bool:
        """The findings of a call were recorded: the next one goes on from where it ended. Whether that call was the last one here.
        Raises OSError."""
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
            if found["call_id"] != call_id:
                return False
            self.save(_place(found))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False
        return True

    def _write(self, found: Dict[str, Any]) -> None:
        partial = "%s.%d.partial" % (self.path, os.getpid())
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump(found, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def release(self) -> None:
        """Let other runs have it."""
        os.close(self._lock)
