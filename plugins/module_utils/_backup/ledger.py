# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of a backup's root: a line for each set that was made, verified, drilled, copied, pruned or restored.

Each line of ``ledger.jsonl`` holds the sha256 of the line before it, so that no line can be changed, removed or moved unseen;
``.ledger.head`` holds the sha256 of the last line and the place where it ends, which does the same for the last ones. That
finds what happens by mistake or by a program that knows nothing of it; who rewrites both files can hide it. Without a head that can
be read nobody knows whether lines at the end are missing: it is not made anew by itself, but when there is an empty file of its name.

A line that a killed run has written by half is at the end, counts for nothing, and gives way to the next one.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.times import format_time
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable

from .sets import BackupError

LEDGER = "ledger.jsonl"
HEAD = ".ledger.head"
#: What a line tells of. ``tidied``: what a killed run had left was removed; ``unkept``: a set was removed
#: at a copy.
KINDS = ("made", "verified", "drilled", "copied", "pruned", "restored", "tidied", "fetched", "unkept")

_OWN = ("at", "what", "set", "previous")
#: What an empty head says.
_EMPTY = (0, "")


class Ledger(NamedTuple):
    """``entries``: oldest first, to the end even where the chain is broken; ``broken``: number of the first line whose chain does
    not hold, counted from 1, one after the last when lines at the end are missing; ``torn``: whether the end is a line that a
    killed run has written by half; ``unheld``: whether lines at the end may be missing, for there is no head that can be read."""

    entries: List[Dict[str, Any]]
    broken: Optional[int] = None
    torn: bool = False
    unheld: bool = False


def append(root: str, what: str, set_name: str, now: float, **data: Any) -> None:
    """Add a line and have it on the disk. ``data``: plain JSON without secrets. Raises BackupError."""
    import json

    if what not in KINDS or any(name in _OWN for name in data):
        raise ValueError("no line of a ledger: %s %s" % (what, sorted(data)))
    with _opened(root, os.O_RDWR | os.O_CREAT) as handle:
        whole = _read(handle)
        head = _head(root)
        sound = not whole if head is None else _head_holds(head, whole)
        kept, rest = _split(whole)
        start = b""
        if rest and _entry(rest):  # whole but for its end
            start, kept = b"\n", whole
        last = kept[: -1 if kept.endswith(b"\n") else None].rpartition(b"\n")[2]
        line = {"at": format_time(now), "what": what, "set": set_name, **data, "previous": _sha256(last) if kept else ""}
        written = json.dumps(line, ensure_ascii=True).encode("ascii") + b"\n"
        try:
            os.ftruncate(handle, len(kept))
            if head is None and sound:
                _make_head(root)  # first: a run may be killed after the line and before its head
            try:
                _write(handle, start + written)
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, len(kept))
                raise
            if not kept:
                durable.sync_folder(root)
            if sound:  # else it stays, for it tells that lines are missing
                _write_head(root, len(kept) + len(start) + len(written), _sha256(written[:-1]))
        except OSError as error:
            raise BackupError("failed", "%s/%s cannot be written: %s" % (root, LEDGER, error.strerror or error)) from None


def read(root: str) -> Ledger:
    """The ledger of a root; empty when there is none. Raises BackupError when it cannot be read."""
    try:
        with _opened(root, os.O_RDONLY) as handle:
            whole = _read(handle)
            head = _head(root)
    except FileNotFoundError:
        whole, head = b"", _head(root)
    return _judged(whole, head)


def manifest_sha256(ledger: Ledger, set_name: str) -> Optional[str]:
    """The sha256 that the manifest of a set had when it was made, or came back from a copy; None when the ledger tells nothing of it."""
    for entry in reversed(ledger.entries):
        if entry.get("what") in ("made", "fetched") and entry.get("set") == set_name:
            found = entry.get("manifest_sha256")
            return found if isinstance(found, str) else None
    return None


def failed_rungs(ledger: Ledger) -> Dict[str, int]:
    """Names of the sets that failed a verification or drill, with the rung; those that have passed it since are left out."""
    failed: Dict[str, int] = {}
    for entry in ledger.entries:
        if entry["what"] in ("verified", "drilled"):
            rung, at = entry.get("rung"), entry.get("at_rung")
            if entry.get("passed") is False and not entry.get("hindered"):
                failed[entry["set"]] = at if isinstance(at, int) and 1 <= at <= 5 else 5
            elif isinstance(rung, int) and rung >= failed.get(entry["set"], 6):
                del failed[entry["set"]]
    return failed


def _split(whole: bytes) -> Tuple[bytes, bytes]:
    """The whole lines, and what follows them without an end."""
    end = whole.rfind(b"\n") + 1
    return whole[:end], whole[end:]


def _judged(whole: bytes, head: Optional[Tuple[int, str]]) -> Ledger:
    entries: List[Dict[str, Any]] = []
    broken: Optional[int] = None
    previous = ""
    kept, rest = _split(whole)
    torn = bool(rest) and _entry(rest) is None
    lines = kept.split(b"\n")[:-1] + ([rest] if rest and not torn else [])
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if (entry is None or entry["previous"] != previous) and broken is None:
            broken = number
        if entry is not None:
            entries.append(entry)
        previous = _sha256(line)
    if broken is None and head and not _head_holds(head, whole):
        known = whole[: head[0]]
        broken = known.count(b"\n") + (0 if len(known) == head[0] and known.endswith(b"\n") else 1)
    return Ledger(entries, broken, torn, bool(entries) and (head is None or head == _EMPTY))


def _entry(line: bytes) -> Optional[Dict[str, Any]]:
    import json

    try:
        found = json.loads(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and all(isinstance(found.get(name), str) for name in _OWN) else None


def _head(root: str) -> Optional[Tuple[int, str]]:
    """What the head says, None when there is none that can be read."""
    try:
        with open(os.path.join(root, HEAD), encoding="ascii") as file:
            end, _space, digest = file.read(200).strip().partition(" ")
        return (int(end), digest) if end else _EMPTY
    except (OSError, ValueError):
        return None


def _head_holds(head: Optional[Tuple[int, str]], whole: bytes) -> bool:
    """Whether the line that the head knows is there. Lines after it are those of a run that was killed before it wrote the head."""
    if head is None or head == _EMPTY:
        return True
    known = whole[: head[0]]
    return len(known) == head[0] and known.endswith(b"\n") and _sha256(known[:-1].rpartition(b"\n")[2]) == head[1]


def _make_head(root: str) -> None:
    """An empty head, which says that there is no line yet. Raises OSError."""
    os.close(os.open(os.path.join(root, HEAD), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


def _write_head(root: str, end: int, digest: str) -> None:
    """Write the head. It is not synced, and on a full disk it is not written: one that is older than the ledger holds as well."""
    partial = os.path.join(root, HEAD + ".partial")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write(handle, b"%d %s\n" % (end, digest.encode("ascii")))
        finally:
            os.close(handle)
        os.rename(partial, os.path.join(root, HEAD))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(partial)


@contextlib.contextmanager
def _opened(root: str, flags: int) -> Iterator[int]:
    """The ledger, locked: shared to read it, alone to write. Raises FileNotFoundError when there is none to read, BackupError."""
    import fcntl

    writing = bool(flags & os.O_RDWR)
    try:
        handle = os.open(os.path.join(root, LEDGER), flags | (os.O_APPEND if writing else 0) | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        if writing:
            raise BackupError("missing", "%s is not there" % root) from None
        raise
    except OSError as error:
        raise BackupError("denied", "%s/%s cannot be opened: %s" % (root, LEDGER, error.strerror or error)) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if writing else fcntl.LOCK_SH)
        yield handle
    finally:
        os.close(handle)


def _read(handle: int) -> bytes:
    blocks: List[bytes] = []
    at = 0
    while True:
        block = os.pread(handle, 1 << 20, at)
        if not block:
            return b"".join(blocks)
        blocks.append(block)
        at += len(block)


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
