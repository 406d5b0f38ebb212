# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log files, streams and the lines in them: finding, ordering, decompressing, cutting into blocks of whole lines."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

#: Bytes read at once; larger blocks were measured to be slower.
BLOCK = 256 * 1024
#: A longer line is counted and shown in its beginning, but not read.
MAX_LINE = 1024 * 1024
COMPRESSED = (".gz", ".xz", ".zst")


class Damaged(Exception):  # noqa: N818  # a state of a file
    """A stream that cannot be read to its end. ``reason``: an error text or a code of the catalogue."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class File(NamedTuple):
    """An open log file. ``live``: the name that is written to, of which this one is a rotated sibling (or the same)."""

    path: str
    live: str
    fd: int
    device: int
    inode: int
    size: int
    mtime: float
    suffix: str


class Problem(NamedTuple):
    """A path that could not be read. ``code``: ``missing``, ``denied``, ``not_a_file``, ``damaged``, ``no_zstd``, ``other``."""

    path: str
    code: str
    detail: str


class Oversize(NamedTuple):
    """A line longer than the limit; ``head`` is its beginning."""

    head: bytes


_ROTATION = re.compile(
    r"(?:[.-](?:[0-9]{1,4}|[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:[T._-]?[0-9]{2,6})?|[0-9]{10}))+(?:\.gz|\.xz|\.zst)?\Z|(?:\.gz|\.xz|\.zst)\Z"
)


def compressed_suffix(path: str) -> str:
    """``.gz``, ``.xz``, ``.zst`` or nothing."""
    for suffix in COMPRESSED:
        if path.endswith(suffix):
            return suffix
    return ""


def live_name(path: str, names: Iterable[str]) -> str:
    """The one of ``names`` that ``path`` was rotated from; ``path`` itself when it was not."""
    best = path
    for name in names:
        base, dot, extension = name.rpartition(".")
        for start, end in ((name, ""), (base, dot + extension) if dot and "/" not in extension else (name, "")):
            if path != name and path.startswith(start):
                rest = path[len(start) :]
                suffix = compressed_suffix(rest)
                middle = rest[: len(rest) - len(suffix)]
                if end and middle.endswith(end):
                    middle = middle[: len(middle) - len(end)]
                elif end:
                    continue
                if _ROTATION.match(middle + suffix) and len(name) < len(best):
                    best = name
    return best


def siblings(path: str) -> List[str]:
    """The rotated siblings of a log: ``log.1``, ``log-20260301.gz``, ``log-20260301.log`` and the like."""
    folder = os.path.dirname(path)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names]
    return sorted(other for other in paths if other != path and live_name(other, [path]) == path)


def expand(patterns: Sequence[str], rotated: bool) -> Tuple[List[Tuple[str, str]], List[str]]:
    """``(path, live path)`` of all files that the patterns name, and the patterns that name none."""
    found: Dict[str, str] = {}
    empty = []
    for pattern in patterns:
        is_glob = glob.has_magic(pattern) and not os.path.lexists(pattern)
        direct = sorted(glob.glob(pattern, recursive=True)) if is_glob else [pattern]
        files = [path for path in direct if os.path.lexists(path) and not (is_glob and os.path.isdir(path))]
        lives = [path for path in files if live_name(path, files) == path]
        more = [(other, path) for path in (lives or ([] if is_glob else [pattern])) for other in siblings(path)] if rotated else []
        for path in files:
            found.setdefault(path, live_name(path, files))
        for path, live in more:
            found.setdefault(path, live)
        if not files and not more:
            empty.append(pattern)
    return sorted(found.items()), empty


def open_files(patterns: Sequence[str], rotated: bool, attempts: int = 4) -> Tuple[List[File], List[Problem]]:
    """Open all files, oldest first. Rotation between listing and opening is noticed, and all is done again.

    A file under two names is read once; so is a file beside its compressed copy, or a copy of the live file that
    ``copytruncate`` has made and not yet cut off.
    """
    for attempt in range(attempts):
        listed, empty = expand(patterns, rotated)
        files, problems = _open_all(listed)
        problems += [_absent(pattern) for pattern in empty]
        again, _ = expand(patterns, rotated)
        if attempt + 1 == attempts or _identities(again) == {(item.device, item.inode) for item in files} | _unopened(problems):
            break
        close(files)
    kept = _without_copies(files)
    close([item for item in files if item not in kept])
    return sorted(kept, key=lambda item: (item.live, item.path == item.live, item.mtime, item.path)), problems


def _absent(pattern: str) -> Problem:
    """Why a pattern names no file: there is none, or we may not look."""
    folder = pattern
    try:
        if not glob.has_magic(pattern):
            os.lstat(pattern)
        else:
            while glob.has_magic(folder):
                folder = os.path.dirname(folder)
            os.listdir(folder)
    except PermissionError as error:
        return Problem(pattern, "denied", error.strerror or "")
    except OSError:
        pass
    return Problem(pattern, "missing", "")


def close(files: Iterable[File]) -> None:
    """Close the files."""
    for item in files:
        os.close(item.fd)


def _identities(listed: Sequence[Tuple[str, str]]) -> Any:
    found = set()
    for path, _ in listed:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return found


def _unopened(problems: Sequence[Problem]) -> Any:
    return _identities([(problem.path, problem.path) for problem in problems])


def _open_all(listed: Sequence[Tuple[str, str]]) -> Tuple[List[File], List[Problem]]:
    files: List[File] = []
    problems: List[Problem] = []
    seen = set()
    for path, live in listed:
        try:
            # A FIFO must not hold the run up.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            code = {errno.EACCES: "denied", errno.EPERM: "denied", errno.ENOENT: "missing"}.get(error.errno or 0, "other")
            problems.append(Problem(path, code, error.strerror or ""))
            continue
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            problems.append(Problem(path, "not_a_file", ""))
            continue
        if (status.st_dev, status.st_ino) in seen:
            os.close(fd)
            continue
        seen.add((status.st_dev, status.st_ino))
        files.append(File(path, live, fd, status.st_dev, status.st_ino, status.st_size, status.st_mtime, compressed_suffix(path)))
    return files, problems


def _without_copies(files: Sequence[File]) -> List[File]:
    by_path = {item.path for item in files}
    lives = {item.path: item for item in files if item.path == item.live}
    kept = []
    for item in files:
        if item.suffix and item.path[: -len(item.suffix)] in by_path:
            continue
        live = lives.get(item.live)
        if live is not None and live is not item and not item.suffix and not live.suffix and _same_start(item, live):
            continue
        kept.append(item)
    return kept


def _same_start(copy: File, live: File) -> bool:
    """Whether ``copy`` is the beginning of ``live`` or all of it: at three places, where it is long."""
    size = copy.size
    if size == 0 or size > live.size:
        # The live file only grows until it is cut off, and then there is nothing twice.
        return False
    places = (0,) if size <= 4096 else (0, size // 2, size - 4096)
    return all(os.pread(copy.fd, min(4096, size), place) == os.pread(live.fd, min(4096, size), place) for place in places)


def last_line_end(fd: int, start: int, size: int) -> int:
    """The offset after the last newline between ``start`` and ``size``; ``start`` when there is none."""
    end = size
    while end > start:
        begin = max(start, end - 65536)
        found = os.pread(fd, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return start


def range_chunks(fd: int, start: int, end: int, limit: int, block: int = BLOCK, first: int = 0) -> Iterator[bytes]:
    """The bytes of the lines that begin in ``start`` to ``end``; nothing at or behind ``limit`` is read.

    ``first``: where the part of the file that is read begins, and a line with it.
    """
    place = start
    if start > first:
        place = start - 1
        while True:
            data = os.pread(fd, min(block, 8192, limit - place), place) if place < limit else b""
            if not data:
                return
            found = data.find(b"\n")
            place += found + 1 if found >= 0 else len(data)
            if found >= 0:
                break
        if place >= end:
            return
    while place < limit:
        data = os.pread(fd, min(block, limit - place), place)
        if not data:
            return
        if place + len(data) >= end:
            found = data.find(b"\n", max(0, end - 1 - place))
            if found >= 0:
                yield data[: found + 1]
                return
        else:
            # What is behind the last newline is read again: that costs less than putting it together with the rest of its line.
            data = data[: data.rfind(b"\n") + 1] or data
        yield data
        place += len(data)


def whole_lines(chunks: Iterable[bytes], max_line: int = MAX_LINE) -> Iterator[Union[bytes, Oversize]]:
    """Blocks of whole lines; lines that are too long; and at last a line without its newline, if there is one."""
    carry: List[bytes] = []
    carried = 0
    skipping = False
    for data in chunks:
        newline = data.find(b"\n")
        if skipping:
            if newline < 0:
                continue
            data = data[newline + 1 :]
            newline = data.find(b"\n")
            skipping = False
        if newline < 0:
            carry.append(data)
            carried += len(data)
            if carried > max_line:
                yield Oversize(b"".join(carry)[:2000])
                carry, carried, skipping = [], 0, True
            continue
        if carried + newline > max_line:
            yield Oversize((b"".join(carry) + data[:newline])[:2000])
            data = data[newline + 1 :]
            carry, carried = [], 0
        end = data.rfind(b"\n") + 1
        if end:
            carry.append(data[:end])
            yield b"".join(carry)
            carry, carried = [], 0
        if end < len(data):
            carry.append(data[end:])
            carried += len(data) - end
    if carried:
        yield b"".join(carry)


def inflate(read: Callable[[int], bytes], suffix: str) -> Iterator[bytes]:  # noqa: C901  # one loop over the states of a stream
    """Decompress ``.gz`` or ``.xz``, several members too. Raises Damaged at the place where that is not possible."""
    if suffix == ".gz":
        import zlib

        failure: Any = zlib.error
        make: Callable[[], Any] = lambda: zlib.decompressobj(31)  # noqa: E731
    else:
        import lzma

        failure = lzma.LZMAError
        make = lzma.LZMADecompressor
    machine = make()
    data = read(BLOCK)
    fed = False
    while True:
        if machine.eof:
            data = (machine.unused_data + data).lstrip(b"\x00") if machine.unused_data else data
            if not data:
                data = read(BLOCK).lstrip(b"\x00")
            if not data:
                return
            machine, fed = make(), False
        try:
            # Bounded output: a small file may unpack to any size.
            out = machine.decompress(data, BLOCK)
        except failure as error:
            raise Damaged(str(error)) from None
        fed = fed or bool(data)
        if out:
            yield out
        if machine.eof:
            data = b""
            continue
        if suffix == ".gz":
            data = machine.unconsumed_tail
            if data:
                continue
        elif not machine.needs_input:
            data = b""
            continue
        data = read(BLOCK)
        if not data:
            if suffix == ".gz":
                try:
                    out = machine.flush()
                except failure as error:
                    raise Damaged(str(error)) from None
                if out:
                    yield out
                if machine.eof:
                    return
            if fed:
                raise Damaged("truncated")
            return


def stream(argv: Sequence[str], stdin: Optional[int], prepare: Optional[Callable[[], None]] = None) -> Iterator[bytes]:
    """What a program prints. ``prepare``: to be done in it before it starts.

    Raises Damaged with the last line of its complaint when it fails or cannot be started.
    """
    import subprocess
    import tempfile

    with tempfile.TemporaryFile() as complaint:
        try:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=complaint,
                preexec_fn=prepare,  # noqa: PLW1509  # no thread is there
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            raise Damaged("%s: %s" % (argv[0], error.strerror)) from None
        try:
            assert child.stdout is not None
            out = child.stdout.fileno()
            while True:
                data = os.read(out, BLOCK)
                if not data:
                    break
                yield data
        finally:
            if child.stdout is not None:
                child.stdout.close()
            if child.poll() is None:
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
            code = child.wait()
        if code:
            complaint.seek(0)
            lines = complaint.read(20000).decode("utf-8", "replace").strip().splitlines()
            raise Damaged("%s: %s" % (argv[0], lines[-1] if lines else "exit status %d" % code))


def unpacked(item: File) -> Iterator[bytes]:
    """The bytes of a compressed file. Raises Damaged."""
    if item.suffix == ".zst":
        copy = os.open("/proc/self/fd/%d" % item.fd, os.O_RDONLY) if os.path.exists("/proc/self/fd") else os.dup(item.fd)
        try:
            yield from stream(("zstd", "-dc"), copy)
        finally:
            os.close(copy)
        return
    place = 0

    def read(size: int) -> bytes:
        nonlocal place
        data = os.pread(item.fd, size, place)
        place += len(data)
        return data

    yield from inflate(read, item.suffix)


def journal_command(units: Sequence[str], since: Optional[float], until: Optional[float], cursor: str = "") -> List[str]:
    """The command that prints the journal of units (globs too) as JSON lines, its own cursor last."""
    command = [
        "journalctl",
        "--no-pager",
        "-q",
        # Else what is longer than 4 KiB has no message.
        "--all",
        "-o",
        "json",
        "--output-fields=MESSAGE,PRIORITY,_PID,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER",
        "--show-cursor",
    ]
    for unit in units:
        command += ["-u", unit]
    if cursor:
        command.append("--after-cursor=" + cursor)
    if since is not None:
        command.append("--since=@%d" % since)
    if until is not None:
        command.append("--until=@%d" % (until + 1))
    return command
