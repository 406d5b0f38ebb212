# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OOM kills and core dumps since a time, and from which source that is known."""

from __future__ import annotations

import errno
import json
import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import printable

from .proc import Cgroup, boot_time, start_of, try_read

#: Where the usual handlers put core dumps: systemd-coredump; apport and kdump.
CORE_DUMP_DIRS = ("/var/lib/systemd/coredump", "/var/crash")

#: The line the kernel logs per victim (mm/oom_kill.c: ``__oom_kill_process``), older kernels without the comma.
_VICTIM = r"(?:Out of memory|[Mm]emory cgroup out of memory)[^:]*: Kill(?:ed)? process (\d+) \(([^)]*)\)"


class Victim(NamedTuple):
    """A process that the kernel killed for want of memory. ``at``: seconds since the epoch."""

    at: float
    pid: int
    name: str


class OomKills(NamedTuple):
    """``kills``: those in the window, None when that cannot be told, then ``problems`` says what was tried.

    ``source``: where the count comes from (``counter``, ``cgroup``, ``journal``, ``kernel_log``); ``since_boot``: all of the
    kernel's counter; ``from_boot``: the source knows only this boot, which began inside the window.
    """

    kills: Optional[int]
    source: str
    victims: Tuple[Victim, ...] = ()
    since_boot: Optional[int] = None
    from_boot: bool = False
    problems: Tuple[str, ...] = ()


#: Runs a command: (exit status, output, error text). Raises OSError when there is none.
Runner = Callable[[Sequence[str], float], Tuple[int, bytes, str]]


def run(command: Sequence[str], timeout: float) -> Tuple[int, bytes, str]:
    """Run a command in the C locale. Raises OSError: not there, or not done within ``timeout`` seconds."""
    import subprocess  # only when the kernel's counter says that there is something to find

    environment = dict(os.environ, LC_ALL="C")
    try:
        done = subprocess.run(list(command), stdin=subprocess.DEVNULL, stdout=-1, stderr=-1, timeout=timeout, env=environment, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, "no answer within %g s" % timeout) from None
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def _victims_of(entries: Any) -> List[Victim]:
    found = []
    for at, text in entries:
        match = re.search(_VICTIM, text)
        if match:
            found.append(Victim(at, int(match.group(1)), match.group(2)))
    return found


def from_journal(since: float, runner: Runner, timeout: float) -> List[Victim]:
    """OOM kills in the journal, earlier boots included. Raises OSError when this user may not read the kernel's messages."""
    command = ["journalctl", "--no-pager", "-o", "json", "--output-fields=MESSAGE", "--since", "@%d" % since, "_TRANSPORT=kernel"]
    status, output, errors = runner([*command, "--grep=[Oo]ut of memory.*Kill"], timeout)
    if "pattern matching" in errors.lower() or "unrecognized option" in errors or "invalid option" in errors:
        status, output, errors = runner(command, timeout)
    if "not seeing messages from other users" in errors or "insufficient permissions" in errors.lower():
        raise PermissionError(errno.EACCES, "kernel messages are not shown to this user")
    if "No journal files were" in errors or (status not in (0, 1)):
        raise OSError(errno.ENOENT, errors.strip().splitlines()[-1] if errors.strip() else "exit status %d" % status)
    entries = []
    for line in output.splitlines():
        try:
            entry = json.loads(line)
            text = entry["MESSAGE"]
            text = bytes(text).decode("utf-8", "replace") if isinstance(text, list) else str(text)
            entries.append((int(entry["__REALTIME_TIMESTAMP"]) / 1e6, text))
        except (ValueError, KeyError, TypeError):
            continue
    return _victims_of(entries)


def from_kernel_log(since: float, booted: float, root: str = "/") -> Tuple[List[Victim], bool]:
    """OOM kills in the kernel's ring buffer, and whether that reaches back to ``since`` or to the boot. Raises OSError."""
    handle = os.open(os.path.join(root, "dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
    entries: List[Tuple[float, str]] = []
    whole = False
    oldest: Optional[float] = None
    try:
        while True:
            try:
                record = os.read(handle, 16384)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten while being read: the next one comes
                    continue
                raise
            if not record:
                break
            for line in record.decode("utf-8", "replace").splitlines():
                head, semicolon, text = line.partition(";")
                fields = head.split(",")
                if not semicolon or len(fields) < 3 or not fields[2].isdigit():
                    continue
                at = booted + int(fields[2]) / 1e6
                if oldest is None:
                    oldest = at
                    whole = fields[1] == "0"
                if at >= since:
                    entries.append((at, text))
    finally:
        os.close(handle)
    return _victims_of(entries), whole or (oldest is not None and oldest <= since)


def oom_kills(
    since: float,
    *,
    container: Optional[str] = None,
    cgroup: Optional[Cgroup] = None,
    root: str = "/",
    runner: Runner = run,
    timeout: float = 5.0,
) -> OomKills:
    """OOM kills since ``since`` (seconds since the epoch), from the first source that can tell.

    The kernel's counter (Linux 4.13 and later) is open to everybody and has no times: 0 settles it for this boot. In a
    container the counter and messages are the whole machine's, so only the container's own counter is asked. Otherwise the journal (group
    systemd-journal or root), then the kernel's ring buffer (root where ``kernel.dmesg_restrict`` is set).
    """
    own = container and cgroup and cgroup.oom_kills is not None
    booted = start_of(1, root) if own else boot_time(root)
    from_boot = booted > since
    if own and cgroup:
        counter: Optional[int] = cgroup.oom_kills
    else:
        match = re.search(r"^oom_kill (\d+)", try_read(root, "proc/vmstat") or "", re.MULTILINE)
        counter = int(match.group(1)) if match else None
    source = "cgroup" if own else "counter"
    known = counter if from_boot or counter == 0 else None
    if known is not None and (container or (known == 0 and not from_boot)):
        return OomKills(known, source, since_boot=counter, from_boot=from_boot)
    problems = []
    if not container:  # the kernel's messages are the whole machine's
        try:
            victims = from_journal(since, runner, timeout)
            return OomKills(max(len(victims), known or 0), "journal", tuple(victims), since_boot=counter)
        except OSError as error:
            problems.append("journalctl: %s" % (error.strerror or error))
        if known == 0:
            return OomKills(0, source, since_boot=0, from_boot=from_boot)
        try:
            victims, whole = from_kernel_log(since, booted, root)
            if whole or victims or known is not None:
                return OomKills(max(len(victims), known or 0), "kernel_log", tuple(victims), since_boot=counter, from_boot=from_boot)
            problems.append("/dev/kmsg: overwritten since then")
        except OSError as error:
            problems.append("/dev/kmsg: %s" % (error.strerror or error))
    if known is not None:
        return OomKills(known, source, since_boot=counter, from_boot=from_boot)
    return OomKills(None, source, since_boot=counter, problems=tuple(problems))


class CoreDump(NamedTuple):
    """A core dump that was kept. ``at``: its modification time; ``program``: where the file name tells it."""

    path: str
    at: float
    size: int
    program: str


class CoreDumps(NamedTuple):
    """``dumps``: newest first; ``looked``: folders read; ``unreadable``: folders this user may not list, with the reason."""

    dumps: Tuple[CoreDump, ...]
    looked: Tuple[str, ...]
    unreadable: Dict[str, str]
    pattern: str


_SYSTEMD_CORE = r"core\.(.+)\.\d+\.[0-9a-f]{32}\.\d+\.\d+(?:\.(?:zst|lz4|xz))?\Z"
_CORE = r"(?s)(core([.-].*)?|.*\.core|.*\.crash|vmcore.*)\Z"


def pattern_folder(pattern: str) -> Optional[Tuple[str, str]]:
    """Folder and start of the name from ``kernel.core_pattern``; None for a pipe or a path relative to each process."""
    pattern = pattern.strip()
    if not pattern.startswith("/"):
        return None
    folder, _slash, name = pattern.rpartition("/")
    return (folder or "/", name.partition("%")[0]) if "%" not in folder else None


def _is_core(name: str, start: Optional[str]) -> bool:
    return bool(re.match(_CORE, name)) or bool(start and name.startswith(start))


def core_dumps(since: float, folders: Sequence[str] = (), root: str = "/") -> CoreDumps:
    """Core dumps newer than ``since`` in ``folders`` (default: the usual ones) and where ``kernel.core_pattern`` puts them."""
    pattern = (try_read(root, "proc/sys/kernel/core_pattern") or "").strip()
    wanted: Dict[str, Optional[str]] = dict.fromkeys(folders or CORE_DUMP_DIRS)
    told = pattern_folder(pattern)
    if told:
        wanted[told[0]] = told[1] or None
    found: List[CoreDump] = []
    looked: List[str] = []
    unreadable: Dict[str, str] = {}
    for folder, start in wanted.items():
        here = os.path.join(root, folder.lstrip("/"))
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    paths = [entry.path]
                    if entry.is_dir(follow_symlinks=False) and re.match(r"\d{8,}", entry.name):  # kdump: /var/crash/<time>/vmcore
                        paths = [os.path.join(entry.path, name) for name in os.listdir(entry.path)]
                    found.extend(_dumps(paths, start, since))
            looked.append(folder)
        except (FileNotFoundError, NotADirectoryError):
            if folder in folders:
                unreadable[folder] = "No such folder"
        except OSError as error:
            unreadable[folder] = error.strerror or str(error)
    found.sort(key=lambda dump: -dump.at)
    return CoreDumps(tuple(found), tuple(looked), unreadable, pattern)


def _dumps(paths: Sequence[str], start: Optional[str], since: float) -> List[CoreDump]:
    found = []
    for path in paths:
        name = os.path.basename(path)
        if not _is_core(name, start):
            continue
        try:
            told = os.lstat(path)
        except OSError:
            continue  # removed meanwhile
        if told.st_mtime >= since and (told.st_mode & 0o170000) == 0o100000:
            match = re.match(_SYSTEMD_CORE, name)
            found.append(CoreDump(printable(path), told.st_mtime, told.st_size, printable(match.group(1)) if match else printable(name)))
    return found
