# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Linux host says about itself in ``/proc`` and ``/sys``, as numbers that can be compared.

``root`` is where ``proc`` and ``sys`` are found: ``/``, or a captured tree. Sources: proc(5), Documentation/filesystems/proc.rst
and Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import printable

#: Kernel accounting unit of CPU time.
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Cpu(NamedTuple):
    """CPU time of all cores since boot, in ticks. Guest time is part of user time."""

    user: int
    nice: int
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int


class Memory(NamedTuple):
    """Bytes. ``estimated``: the kernel (before 3.14) does not tell what is available."""

    total: int
    available: int
    swap_total: int
    swap_free: int
    estimated: bool = False


class Interface(NamedTuple):
    """Counters since boot."""

    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


class Process(NamedTuple):
    """``ticks``: CPU time used so far; ``rss``: resident bytes; ``start``: start time, which with the pid is its identity."""

    ticks: int
    rss: int
    start: float


class Sample(NamedTuple):
    """What is read twice, to make rates. ``at``: seconds on the monotonic clock."""

    at: float
    cpu: Cpu
    interfaces: Mapping[str, Interface]
    processes: Mapping[int, Process]
    cgroup_cpu: Optional[float]


def read(root: str, path: str) -> str:
    """A file under ``root``. Raises OSError."""
    with open(os.path.join(root, path), "rb") as file:
        return file.read().decode("utf-8", "surrogateescape")


def try_read(root: str, path: str) -> Optional[str]:
    """A file under ``root``, or None when it cannot be read."""
    try:
        return read(root, path)
    except OSError:
        return None


class ProcSource:
    """Reads ``/proc`` itself."""

    name = "proc"

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def cpu(self) -> Cpu:
        """The first line of ``stat``; fields that an old kernel lacks are 0."""
        fields = [int(field) for field in read(self.root, "proc/stat").split("\n", 1)[0].split()[1:9]]
        return Cpu(*(fields + [0] * 8)[:8])

    def memory(self) -> Memory:
        """``meminfo``."""
        return parse_meminfo(read(self.root, "proc/meminfo"))

    def interfaces(self) -> Dict[str, Interface]:
        """``net/dev``."""
        found = {}
        for line in read(self.root, "proc/net/dev").splitlines()[2:]:
            name, _colon, rest = line.rpartition(":")
            fields = [int(field) for field in rest.split()]
            found[name.strip()] = Interface(fields[0], fields[8], fields[2], fields[10], fields[3], fields[11])
        return found

    def processes(self, memory: bool) -> Dict[int, Process]:
        """``<pid>/stat`` of each process and, for ``memory``, ``statm``; those that end meanwhile are left out."""
        found = {}
        base = os.path.join(self.root, "proc")
        for name in os.listdir(base):
            if not name.isdigit():
                continue
            try:
                with open("%s/%s/stat" % (base, name), "rb") as file:
                    # The name is in brackets and may hold brackets and spaces itself.
                    fields = file.read().rpartition(b")")[2].split()
                pages = 0
                if memory:  # the resident pages in stat lag behind on kernels that count them per CPU
                    with open("%s/%s/statm" % (base, name), "rb") as file:
                        pages = int(file.read().split()[1])
                found[int(name)] = Process(int(fields[11]) + int(fields[12]), pages * PAGE, float(fields[19]))
            except (OSError, IndexError, ValueError):
                continue
        return found


class PsutilSource:
    """Asks psutil, which the caller imports."""

    name = "psutil"

    def __init__(self, psutil: Any, root: str = "/") -> None:
        self.psutil = psutil
        psutil.PROCFS_PATH = os.path.join(root, "proc")

    def cpu(self) -> Cpu:
        """Seconds made ticks again, so that both sources count in whole ticks."""
        times = self.psutil.cpu_times()
        return Cpu(*(round(getattr(times, name, 0.0) * TICKS) for name in Cpu._fields))

    def memory(self) -> Memory:
        """``virtual_memory`` and ``swap_memory``."""
        memory, swap = self.psutil.virtual_memory(), self.psutil.swap_memory()
        return Memory(memory.total, memory.available, swap.total, swap.free)

    def interfaces(self) -> Dict[str, Interface]:
        """``net_io_counters``; ``nowrap`` is off because it would keep state between calls."""
        counters = self.psutil.net_io_counters(pernic=True, nowrap=False) or {}
        return {
            name: Interface(item.bytes_recv, item.bytes_sent, item.errin, item.errout, item.dropin, item.dropout)
            for name, item in counters.items()
        }

    def processes(self, memory: bool) -> Dict[int, Process]:
        """CPU times and, for ``memory``, resident memory of each process; those that end meanwhile are left out."""
        found = {}
        for pid in self.psutil.pids():
            try:
                process = self.psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    ticks = round((times.user + times.system) * TICKS)
                    found[pid] = Process(ticks, process.memory_info().rss if memory else 0, process.create_time())
            except (self.psutil.Error, OSError, IndexError, ValueError):
                continue
        return found


def parse_meminfo(text: str) -> Memory:
    """``/proc/meminfo``, whose kB are 1024 bytes."""
    found = {}
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    total = found.get("MemTotal", 0)
    available = found.get("MemAvailable")
    if available is None:
        cache = found.get("Buffers", 0) + found.get("Cached", 0) + found.get("SReclaimable", 0) - found.get("Shmem", 0)
        available = min(total, found.get("MemFree", 0) + max(0, cache))
    return Memory(total, available, found.get("SwapTotal", 0), found.get("SwapFree", 0), "MemAvailable" not in found)


def cores(root: str = "/") -> int:
    """Online CPUs."""
    return max(1, len(re.findall(r"^cpu\d+ ", read(root, "proc/stat"), re.MULTILINE)))


def boot_time(root: str = "/") -> float:
    """When the kernel started, in seconds since the epoch; 0 when it is not told."""
    found = re.search(r"^btime (\d+)", try_read(root, "proc/stat") or "", re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def start_of(pid: int, root: str = "/") -> float:
    """When a process started, in seconds since the epoch; 0 when it is not told."""
    fields = (try_read(root, "proc/%d/stat" % pid) or "").rpartition(")")[2].split()
    return boot_time(root) + int(fields[19]) / float(TICKS) if len(fields) > 19 else 0.0


def load(root: str = "/") -> Tuple[float, float, float]:
    """Mean number of running and waiting tasks over 1, 5 and 15 minutes."""
    one, five, fifteen = read(root, "proc/loadavg").split()[:3]
    return float(one), float(five), float(fifteen)


#: Connection states as ``/proc/net/tcp`` numbers them (include/net/tcp_states.h).
_STATES = {b"01": "established", b"06": "time_wait", b"08": "close_wait", b"0A": "listening"}
_SOCKET = rb"(?m)^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} (01|06|08|0A) "


def connections(ports: Iterable[int], root: str = "/") -> Dict[int, Dict[str, int]]:
    """Per local port: sockets per state, IPv4 and IPv6 together; 0 where there are none. Raises OSError without ``net/tcp``."""
    counts = {b"%04X" % port: dict.fromkeys(_STATES.values(), 0) for port in ports}
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(root, "proc/net", name), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            if name == "tcp":
                raise
            continue  # a host without IPv6
        for port, state in re.findall(_SOCKET, data):
            if port in counts:
                counts[port][_STATES[state]] += 1
    return {int(port, 16): count for port, count in counts.items()}


def link(name: str, root: str = "/") -> Tuple[Optional[str], Optional[float]]:
    """An interface's state (``up``, ``down``, ``unknown``) and speed in Mbit/s, where they are known."""
    folder = "sys/class/net/%s/" % name
    state = try_read(root, folder + "operstate")
    speed = try_read(root, folder + "speed")  # refused by interfaces without a speed
    try:
        megabits = float(speed) if speed else -1.0
    except ValueError:
        megabits = -1.0
    return state.strip() if state else None, megabits if megabits > 0 else None


class Owner(NamedTuple):
    """Who a process is: its name (not its command line, which may hold secrets), user and systemd unit."""

    name: str
    user: str
    unit: Optional[str]


_UNIT = r"(?m)/([^/\n]+\.(?:service|scope))(?:/|$)"


def owner(pid: int, root: str = "/") -> Optional[Owner]:
    """The owner of a process, or None when it has ended."""
    status = try_read(root, "proc/%d/status" % pid)
    if not status:
        return None
    name = re.search(r"^Name:\t(.*)$", status, re.MULTILINE)
    uid = re.search(r"^Uid:\t(\d+)", status, re.MULTILINE)
    units = re.findall(_UNIT, try_read(root, "proc/%d/cgroup" % pid) or "")
    return Owner(printable(name.group(1)) if name else "?", _user(int(uid.group(1))) if uid else "?", units[-1] if units else None)


def _user(uid: int) -> str:
    import pwd  # only for the few processes that are shown

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class Cgroup(NamedTuple):
    """Limits of the container this runs in. ``cpus``: how many CPUs it may use; ``working``: bytes that cannot be reclaimed."""

    memory_limit: Optional[int]
    working: Optional[int]
    cpus: Optional[float]
    oom_kills: Optional[int]


def container(root: str = "/") -> Optional[str]:
    """The kind of container this runs in, or None on a machine of its own."""
    kind = try_read(root, "run/systemd/container")
    if kind and kind.strip():
        return kind.strip()
    for path, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if os.path.exists(os.path.join(root, path)):
            return name
    return None


def _int(text: Optional[str]) -> Optional[int]:
    """The number in a file of a cgroup; None for ``max`` and for no number."""
    text = (text or "").strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _stat_field(text: Optional[str], name: str) -> Optional[int]:
    found = re.search(r"^%s (\d+)" % name, text or "", re.MULTILINE)
    return int(found.group(1)) if found else None


def cgroup(memory_total: int, root: str = "/") -> Cgroup:
    """The container's own limits, from version 2 or 1 of the control groups; limits above the machine's are none."""
    base = "sys/fs/cgroup/"
    if try_read(root, base + "cgroup.controllers") is not None:
        limit = _int(try_read(root, base + "memory.max"))
        used = _int(try_read(root, base + "memory.current"))
        inactive = _stat_field(try_read(root, base + "memory.stat"), "inactive_file")
        quota = (try_read(root, base + "cpu.max") or "").split()
        kills = _stat_field(try_read(root, base + "memory.events"), "oom_kill")
    else:
        limit = _int(try_read(root, base + "memory/memory.limit_in_bytes"))
        used = _int(try_read(root, base + "memory/memory.usage_in_bytes"))
        inactive = _stat_field(try_read(root, base + "memory/memory.stat"), "total_inactive_file")
        quota = [(try_read(root, base + "cpu/cpu.cfs_%s_us" % name) or "").strip() for name in ("quota", "period")]
        kills = _stat_field(try_read(root, base + "memory/memory.oom_control"), "oom_kill")
    cpus = None
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit() and int(quota[1]):
        cpus = int(quota[0]) / float(quota[1])
    if limit is not None and limit >= memory_total:
        limit = None
    return Cgroup(limit, None if used is None else max(0, used - (inactive or 0)), cpus, kills)


def cgroup_cpu(root: str = "/") -> Optional[float]:
    """CPU seconds that the container has used, or None when that is not told."""
    micro = _stat_field(try_read(root, "sys/fs/cgroup/cpu.stat"), "usage_usec")
    if micro is not None:
        return micro / 1e6
    nano = _int(try_read(root, "sys/fs/cgroup/cpuacct/cpuacct.usage"))
    return None if nano is None else nano / 1e9


def share(part: float, whole: float) -> float:
    """Percent, to two decimals, in 0 to 100; 0 of nothing."""
    return round(min(100.0, max(0.0, 100.0 * part / whole)), 2) if whole > 0 else 0.0


def cpu_shares(first: Cpu, second: Cpu) -> Dict[str, float]:
    """Percent of all CPU time between two readings, by kind, and ``busy``: all but idle and waiting for disks.

    Counters that ran backwards (they do on some virtual machines) count as 0.
    """
    deltas = dict(zip(Cpu._fields, (max(0, after - before) for before, after in zip(first, second))))
    whole = sum(deltas.values())
    shares = {name: share(delta, whole) for name, delta in deltas.items()}
    shares["busy"] = share(whole - deltas["idle"] - deltas["iowait"], whole)
    return shares


def busiest(first: Sample, second: Sample, count: int) -> List[Tuple[int, float]]:
    """The processes that used most CPU between two samples: pid and percent of one core, those that used none left out.

    A process that began in between counts whole; one that ended cannot be seen.
    """
    seconds = max(1e-6, second.at - first.at)
    used = []
    for pid, after in second.processes.items():
        before = first.processes.get(pid)
        ticks = after.ticks - (before.ticks if before and before.start == after.start else 0)
        if ticks > 0:
            used.append((ticks, pid))
    used.sort(key=lambda item: (-item[0], item[1]))
    return [(pid, round(100.0 * ticks / TICKS / seconds, 1)) for ticks, pid in used[:count]]


def largest(sample: Sample, count: int) -> List[Tuple[int, int]]:
    """The processes with most resident memory: pid and bytes, kernel threads left out."""
    ranked = sorted(((process.rss, pid) for pid, process in sample.processes.items() if process.rss), key=lambda item: (-item[0], item[1]))
    return [(pid, rss) for rss, pid in ranked[:count]]
