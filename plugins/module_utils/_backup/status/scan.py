# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a backup's folder: candidates with their dates, newest first, without reading what is in them."""

from __future__ import annotations

import calendar
import os
import re
import time
from fnmatch import translate
from typing import Iterator, List, NamedTuple, Optional, Pattern, Tuple

#: Names of what is being written, or was when its writer died.
_TEMPORARY = r"(?i)(\.(partial|part|tmp|temp|incomplete|inprogress|in-progress|writing|swp)|~)\Z|\A\..+\.[A-Za-z0-9]{6}\Z"
_DATE = (
    r"(?<!\d)(?P<year>20\d\d)(?P<sep>[-_.]?)(?P<month>0[1-9]|1[0-2])(?P=sep)(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:[T_\-. ]?(?P<hour>[01]\d|2[0-3])[-_:.h]?(?P<minute>[0-5]\d)?(?:[-_:.m]?(?P<second>[0-5]\d))?"
    r"(?P<zone>Z|[+-][01]\d:?[0-5]\d)?)?(?!\d)"
)
_EPOCH = r"(?<!\d)(1[5-9]\d{8}|2[01]\d{8})(?!\d)"

#: Files that only hold the sums of others, and those that hold a signature of one.
SUM_FILE = re.compile(r"\.(?:md5|sha1|sha256|sha512)(?:sum)?\Z", re.IGNORECASE)
SUM_LIST = re.compile(r"(?:md5|sha1|sha256|sha512)sums?(?:\.txt)?\Z", re.IGNORECASE)
_SIGNATURE = re.compile(r"\.(?:asc|sig|sign|minisig)\Z", re.IGNORECASE)

#: A name and a modification time further apart than this tell different dates: an unknown time zone is no more.
_AGREE = 86400.0
#: Clocks of file servers differ a little.
FUTURE = 300.0
#: Seconds in which a root is to answer: a file server that is gone holds up no other backup.
PATIENCE = 20.0


class When(NamedTuple):
    """A date found. ``basis``: ``manifest``, ``name`` or ``mtime``; ``other``: what disagrees with it, by its basis."""

    at: float
    basis: str
    other: Optional[Tuple[str, float]] = None


class Candidate(NamedTuple):
    """A backup by its looks. ``name``: path below the root; ``size``: bytes of a file, 0 for a folder."""

    name: str
    path: str
    when: When
    mtime: float
    size: int
    folder: bool


class Listing(NamedTuple):
    """``found``: newest first; ``partial``: temporary names, newest first; ``links``: left aside; ``unreadable``: (name, reason)."""

    found: List[Candidate]
    partial: List[Candidate]
    links: List[str]
    unreadable: List[Tuple[str, str]]
    entries: int


def name_date(name: str) -> Optional[Tuple[float, bool]]:
    """The last date in a name as seconds since the epoch, and whether it has a time of day. Without a zone it is local."""
    for match in reversed(list(re.finditer(_DATE, name))):
        year, month, day = (int(match.group(part)) for part in ("year", "month", "day"))
        if day > calendar.monthrange(year, month)[1]:
            continue
        hour, minute, second = (int(match.group(part) or 0) for part in ("hour", "minute", "second"))
        zone = match.group("zone")
        if zone is None:
            at = time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
        else:
            at = float(calendar.timegm((year, month, day, hour, minute, second)))
            if zone != "Z":
                digits = zone[1:].replace(":", "")
                offset = 3600 * int(digits[:2]) + 60 * int(digits[2:])
                at -= offset if zone[0] == "+" else -offset
        return at, match.group("hour") is not None
    epoch = re.search(_EPOCH, name)
    return (float(epoch.group(1)), True) if epoch else None


def date_of(name: str, mtime: float) -> When:
    """When a backup was made: by its name where that has a date, else by its modification time.

    What is in a file cannot be newer than its last change, so a name that is a day younger than that is not believed. A name
    with a day alone is given the time of the last change when that was on the same day.
    """
    told = name_date(name)
    if told is None:
        return When(mtime, "mtime")
    at, with_time = told
    if not with_time and 0 <= mtime - at < _AGREE:
        return When(mtime, "name")
    if at - mtime > _AGREE:
        return When(mtime, "mtime", ("name", at))
    if mtime - at > _AGREE:
        return When(at, "name", ("mtime", mtime))
    return When(min(at, mtime) if at > mtime else at, "name")


def is_sum(name: str) -> bool:
    """Whether a file only holds the sums of others."""
    return bool(SUM_FILE.search(name) or SUM_LIST.match(name))


def is_temporary(name: str) -> bool:
    """Whether a file name is one that writers use until they are done."""
    return bool(re.search(_TEMPORARY, name))


def _walk(folder: str, parts: List[Pattern[str]], below: str, unreadable: List[Tuple[str, str]]) -> Iterator[Tuple[str, os.DirEntry[str]]]:
    """Entries that fit the pattern's parts, one folder level for each. Raises OSError for the top folder only."""
    try:
        scan = os.scandir(folder)
    except OSError as error:
        if not below:
            raise
        unreadable.append((below.rstrip("/"), error.strerror or str(error)))
        return
    with scan as entries:
        for entry in entries:
            if len(parts) == 1:
                yield below + entry.name, entry
            elif parts[0].match(entry.name) and entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, parts[1:], below + entry.name + "/", unreadable)


def listing(root: str, pattern: str, folders: bool, dated: bool = False) -> Listing:
    """The candidates under ``root``. ``folders``: folders are looked for, not files; ``dated``: only names with a date.

    Links are left aside: ``latest`` is no further backup, and one that leads out is not in this folder. Raises OSError when the
    root cannot be listed.
    """
    parts = [re.compile(translate(part)) for part in pattern.split("/") if part]
    last = parts[-1]
    found: List[Candidate] = []
    partial: List[Candidate] = []
    links: List[str] = []
    unreadable: List[Tuple[str, str]] = []
    count = 0
    for name, entry in _walk(root, parts, "", unreadable):
        count += 1
        temporary = is_temporary(entry.name)
        stem = re.sub(r"\A\.|\.[^.]*\Z", "", entry.name) if temporary else entry.name
        if not last.match(stem) and not last.match(entry.name):
            continue
        if not temporary and (entry.name.startswith(".") or entry.name == "lost+found" or (not folders and is_sum(entry.name))):
            continue
        if entry.is_symlink():
            links.append(name)
            continue
        if entry.is_dir(follow_symlinks=False) is not folders or (dated and name_date(entry.name) is None):
            continue
        try:
            told = entry.stat(follow_symlinks=False)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                unreadable.append((name, error.strerror or str(error)))
            continue
        if not folders and (told.st_mode & 0o170000) != 0o100000:
            continue
        candidate = Candidate(name, entry.path, date_of(name, told.st_mtime), told.st_mtime, 0 if folders else told.st_size, folders)
        (partial if temporary else found).append(candidate)
    names = {item.name for item in found} if not folders else set()
    found = [item for item in found if _SIGNATURE.sub("", item.name) == item.name or _SIGNATURE.sub("", item.name) not in names]
    found.sort(key=lambda item: (item.when.at, item.name), reverse=True)
    partial.sort(key=lambda item: item.mtime, reverse=True)
    return Listing(found, partial, sorted(links), unreadable, count)


class Contents(NamedTuple):
    """What is in a folder: ``size`` bytes of ``files`` plain files; ``whole``: all was counted; ``latest``: the newest change."""

    size: int
    files: int
    empty: int
    temporary: Tuple[str, ...]
    latest: float
    whole: bool
    unreadable: Optional[str]


def contents(folder: str, deadline: float) -> Contents:
    """Count what is in a folder, links not followed, until ``deadline`` (on the monotonic clock)."""
    size = files = empty = 0
    temporary: List[str] = []
    latest = 0.0
    unreadable: Optional[str] = None
    todo = [folder]
    while todo:
        here = todo.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        told = entry.stat(follow_symlinks=False)
                        size, files, empty = size + told.st_size, files + 1, empty + (not told.st_size)
                        latest = max(latest, told.st_mtime)
                        if is_temporary(entry.name) and len(temporary) < 10:
                            temporary.append(os.path.relpath(entry.path, folder))
        except FileNotFoundError:
            continue  # pruned meanwhile
        except OSError as error:
            unreadable = unreadable or "%s: %s" % (here, error.strerror or error)
        if todo and time.monotonic() > deadline:
            return Contents(size, files, empty, tuple(temporary), latest, False, unreadable)
    return Contents(size, files, empty, tuple(temporary), latest, True, unreadable)


#: What a file of this ending begins with, and where. Sources: RFC 1952, RFC 8878, the xz, bzip2, lz4 and zip formats, POSIX ustar.
_MAGIC = (
    ((".gz", ".tgz"), 0, (b"\x1f\x8b",)),
    ((".zst", ".tzst"), 0, (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16)))),
    ((".xz", ".txz"), 0, (b"\xfd7zXZ\x00",)),
    ((".bz2", ".tbz", ".tbz2"), 0, (b"BZh",)),
    ((".lz4",), 0, (b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18", *(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16)))),
    ((".zip",), 0, (b"PK\x03\x04", b"PK\x05\x06")),
    ((".7z",), 0, (b"7z\xbc\xaf\x27\x1c",)),
    ((".tar",), 257, (b"ustar",)),
)
#: Looked into; bzip2 gives nothing before a block of 900 kB is whole.
_UNPACKED = (".gz", ".tgz", ".xz", ".txz")
_TAR_IN = (".tar.gz", ".tgz", ".tar.xz", ".txz")


class FileCheck(NamedTuple):
    """``problem``: None, or ``empty``, ``magic``, ``cut``, ``holds_nothing``, ``no_tar``, ``unreadable``; ``seen``: what was there."""

    problem: Optional[str]
    seen: str = ""


def _is_tar(block: bytes) -> bool:
    # Old tar writes no magic; an archive without members is all zeros.
    if block[257:262] == b"ustar" or (len(block) == 512 and not any(block)):
        return True
    try:
        return len(block) == 512 and sum(block[:148]) + 8 * 32 + sum(block[156:]) == int(block[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False


def _unpacked(name: str, head: bytes) -> Optional[bytes]:
    """The first 512 bytes inside a compressed file's beginning; None where it does not unpack."""
    try:
        if name.endswith((".gz", ".tgz")):
            import zlib

            return zlib.decompressobj(31).decompress(head, 512)
        import lzma

        return lzma.LZMADecompressor().decompress(head, 512)
    except ImportError:  # a Python built without it
        return b"?"
    except Exception:  # noqa: BLE001  # zlib.error and LZMAError are not known before the import
        return None


def check_file(path: str) -> FileCheck:
    """Whether a backup file looks whole from its ends: not empty, what its name says, something in it. Reads 64 KiB at most."""
    name = os.path.basename(path).lower()
    try:
        with open(path, "rb") as file:
            head = file.read(65536)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 16))
            tail = file.read(16)
    except OSError as error:
        return FileCheck("unreadable", error.strerror or str(error))
    if not size:
        return FileCheck("empty")
    for endings, at, magics in _MAGIC:
        if name.endswith(endings):
            if not any(head[at : at + len(magic)] == magic for magic in magics) and not (at and _is_tar(head[:512])):
                return FileCheck("magic", head[at : at + 8].hex())
            break
    else:
        return FileCheck(None)
    if name.endswith((".xz", ".txz")) and tail[-2:] != b"YZ" and tail[-4:] != b"\0\0\0\0":
        return FileCheck("cut", tail[-2:].hex())
    if name.endswith(_UNPACKED):
        inside = _unpacked(name, head)
        if inside is None or (not inside and size > len(head)):
            return FileCheck("magic", head[:8].hex())
        if not inside:
            return FileCheck("holds_nothing" if size < 100 else "cut")
        if name.endswith(_TAR_IN) and inside != b"?" and not _is_tar(inside):
            return FileCheck("no_tar", inside[:16].decode("ascii", "replace"))
    return FileCheck(None)
