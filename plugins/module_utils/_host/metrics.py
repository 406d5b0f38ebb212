# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's resources: looked at in one pass, judged into findings."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, finding, message, printable, utc_now
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge

from . import events as host_events
from . import mounts as host_mounts
from . import proc as host_proc
from . import space as host_space
from .options import Limit, Selection, Settings

#: Interfaces of containers and tunnels, whose traffic passes a real one as well.
_VIRTUAL = Selection(
    exclude=(
        *("lo", "br-*", "cali*", "cilium*", "cni*", "docker*", "dummy*", "erspan*", "flannel*", "gre*", "ifb*", "ip6gre*", "ip6tnl*"),
        *("ip6_vti*", "ip_vti*", "kube-*", "lxc*", "nodelocaldns", "podman*", "sit*", "tunl*", "veth*", "virbr*", "vnet*", "vxlan*"),
    )
)

Source = Union[host_proc.ProcSource, host_proc.PsutilSource]


class Seen(NamedTuple):
    """All that was seen, before it is judged. An Exception in place of a value: it could not be read."""

    seconds: float
    source: str
    container: Optional[str]
    cores: int
    cpu: Mapping[str, float]
    cgroup_cpu: Optional[float]
    load: Tuple[float, float, float]
    memory: host_proc.Memory
    cgroup: host_proc.Cgroup
    mounts: Sequence[Tuple[host_mounts.Mount, host_space.Answer]]
    missing: Sequence[str]
    connections: Union[Mapping[int, Mapping[str, int]], OSError]
    interfaces: Mapping[str, Mapping[str, Optional[float]]]
    oom: host_events.OomKills
    cores_dumped: host_events.CoreDumps
    since: float
    top_cpu: Sequence[Tuple[int, float, Optional[host_proc.Owner]]]
    top_memory: Sequence[Tuple[int, int, Optional[host_proc.Owner]]]
    now: float


def _sample(source: Source, root: str, top: int, clock: Callable[[], float], memory: bool) -> host_proc.Sample:
    processes = source.processes(memory) if top else {}
    return host_proc.Sample(clock(), source.cpu(), source.interfaces(), processes, host_proc.cgroup_cpu(root))


def look(
    settings: Settings,
    psutil: Any = None,
    *,
    root: str = "/",
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
    runner: host_events.Runner = host_events.run,
    ask: Callable[[str], host_space.Space] = host_space.space,
) -> Seen:
    """Look at everything within one interval. ``psutil``: the imported package, or None to read ``/proc`` alone.

    What does not depend on the interval is done while it passes. Raises OSError when ``/proc`` cannot be read at all.
    """
    source: Source = host_proc.ProcSource(root) if psutil is None else host_proc.PsutilSource(psutil, root)
    mountinfo = host_mounts.parse_mountinfo(host_proc.try_read(root, "proc/self/mountinfo") or "")
    groups = host_mounts.select(mountinfo, settings.mounts)
    memory = source.memory()
    kind = host_proc.container(root)
    own = host_proc.cgroup(memory.total, root)
    asked = host_space.Spaces(host_mounts.by_risk(mount for group in groups for mount in group), settings.timeout, ask)
    first = _sample(source, root, settings.top, clock, memory=False)
    started = clock()
    wall = now()
    oom = host_events.oom_kills(wall - settings.since, container=kind, cgroup=own, root=root, runner=runner, timeout=settings.timeout)
    dumped = host_events.core_dumps(wall - settings.since, settings.core_dump_dirs, root)
    try:
        counted: Any = host_proc.connections(settings.ports, root) if settings.ports else {}
    except OSError as error:
        counted = error
    sleep(max(0.0, settings.interval - (clock() - started)))
    second = _sample(source, root, settings.top, clock, memory=True)
    seconds = max(1e-6, second.at - first.at)
    answers = asked.collect()
    used = None
    if first.cgroup_cpu is not None and second.cgroup_cpu is not None:
        used = max(0.0, second.cgroup_cpu - first.cgroup_cpu) / seconds
    return Seen(
        seconds=seconds,
        source=source.name,
        container=kind,
        cores=host_proc.cores(root),
        cpu=host_proc.cpu_shares(first.cpu, second.cpu),
        cgroup_cpu=used,
        load=host_proc.load(root),
        memory=memory,
        cgroup=own,
        mounts=[chosen for chosen in (_chosen(group, answers) for group in groups) if chosen],
        missing=host_mounts.missing(mountinfo, settings.mounts),
        connections=counted,
        interfaces=_rates(first, second, seconds, settings, root),
        oom=oom,
        cores_dumped=dumped,
        since=settings.since,
        top_cpu=[(pid, percent, host_proc.owner(pid, root)) for pid, percent in host_proc.busiest(first, second, settings.top)],
        top_memory=[(pid, rss, host_proc.owner(pid, root)) for pid, rss in host_proc.largest(second, settings.top)],
        now=wall,
    )


def _chosen(
    group: Sequence[host_mounts.Mount], answers: Mapping[str, host_space.Answer]
) -> Optional[Tuple[host_mounts.Mount, host_space.Answer]]:
    """The mount that stands for its file system: the first that is a folder; one that did not answer before none at all."""
    told = [(mount, answers[mount.point]) for mount in group]
    for mount, answer in told:
        if answer.space is not None and answer.space.folder:
            return mount, answer
    silent = [item for item in told if item[1].space is None]
    return silent[0] if silent else None


def _rates(
    first: host_proc.Sample, second: host_proc.Sample, seconds: float, settings: Settings, root: str
) -> Dict[str, Dict[str, Optional[float]]]:
    rates: Dict[str, Dict[str, Optional[float]]] = {}
    for name, after in sorted(second.interfaces.items()):
        before = first.interfaces.get(name)
        asked = settings.interfaces.included(name)
        if before is None or settings.interfaces.excluded(name) or (_VIRTUAL.excluded(name) and not asked):
            continue
        state, megabits = host_proc.link(name, root)
        if state == "down" and not asked:
            continue
        # A counter that ran backwards was reset: what it shows now is what passed since.
        deltas = [new - old if new >= old else new for old, new in zip(before, after)]
        rates[name] = {
            "rx": round(deltas[0] / seconds, 1),
            "tx": round(deltas[1] / seconds, 1),
            "errors": float(deltas[2] + deltas[3]),
            "dropped": float(deltas[4] + deltas[5]),
            "speed": settings.link_speeds.get(name, megabits),
        }
    return rates


# -- judging --------------------------------------------------------------------------------------------------------------


def _judged(
    check: str, kind: str, limit: Limit, text: str, value: Union[int, float, None], unit: str, evidence: Mapping[str, Any], **params: Any
) -> Finding:
    """A finding whose message is ``host.<text>.ok`` or, over a limit, ``host.<text>``."""
    status = judge(value, limit.warning, limit.critical)
    said = message("host.%s.ok" % text if status == "ok" else "host." + text, value=value, **params)
    return finding(
        check, kind, status, said, value=value, unit=unit, warning=limit.warning, critical=limit.critical, evidence=_told(evidence)
    )


def _told(evidence: Mapping[str, Any]) -> Dict[str, Any]:
    return {name: seen for name, seen in evidence.items() if seen is not None and seen != []}


def _unknown(check: str, kind: str, text: Message, limit: Limit, evidence: Optional[Mapping[str, Any]] = None) -> Finding:
    return finding(check, kind, "unknown", text, warning=limit.warning, critical=limit.critical, evidence=_told(evidence or {}))


def _owners(top: Sequence[Tuple[int, Any, Optional[host_proc.Owner]]], told: Callable[[Any], str]) -> List[str]:
    lines = []
    for pid, amount, owner in top:
        who = "%s (pid %d, %s%s)" % (owner.name, pid, owner.user, ", " + owner.unit if owner.unit else "") if owner else "pid %d" % pid
        lines.append("%s %s" % (told(amount), who))
    return lines


def _percent(value: float) -> str:
    return "%.1f %%" % value


def _mebibytes(value: float) -> str:
    return "%.1f MiB" % (value / 1048576.0)


def judge_all(seen: Seen, settings: Settings) -> List[Finding]:
    """Every finding about the host, the good ones too."""
    found = _judge_cpu(seen, settings) + _judge_memory(seen, settings)
    for mount, answer in seen.mounts:
        found += _judge_mount(mount, answer, settings)
    found += [
        finding("disk.%s" % printable(point), "disk", "critical", message("host.disk.missing", mount=printable(point)))
        for point in seen.missing
    ]
    found += _judge_connections(seen, settings)
    for name, rate in seen.interfaces.items():
        found += _judge_interface(name, rate, seen.seconds, settings)
    return [*found, _judge_oom(seen, settings), _judge_core_dumps(seen, settings), *_top(seen)]


def _judge_cpu(seen: Seen, settings: Settings) -> List[Finding]:
    by_kind = ["%s %s" % (name, _percent(value)) for name, value in seen.cpu.items() if name != "busy" and value >= 0.05]
    top = _owners(seen.top_cpu, _percent)
    cpu = _judged(
        "cpu",
        "cpu",
        settings.limits.of("cpu"),
        "cpu",
        seen.cpu["busy"],
        "%",
        {
            "cpu_by_kind": by_kind,
            "cores": seen.cores,
            "interval_seconds": round(seen.seconds, 2),
            "container": seen.container,
            "top_processes": top,
        },
        seconds=round(seen.seconds, 1),
    )
    per_core = round(seen.load[1] / seen.cores, 2)
    load = _judged(
        "load",
        "load",
        settings.limits.of("load_per_core"),
        "load",
        per_core,
        "",
        {"load": ["%.2f" % value for value in seen.load], "cores": seen.cores, "container": seen.container},
        load=seen.load[1],
        cores=seen.cores,
    )
    found = [cpu, load]
    if seen.container and seen.cgroup.cpus and seen.cgroup_cpu is not None:
        value, cpus = round(100.0 * seen.cgroup_cpu / seen.cgroup.cpus, 2), round(seen.cgroup.cpus, 2)
        evidence = {"container": seen.container, "cpu_quota": cpus}
        found.append(_judged("cpu.container", "cpu", settings.limits.of("cpu"), "cpu.container", value, "%", evidence, cpus=cpus))
    return found


def _judge_memory(seen: Seen, settings: Settings) -> List[Finding]:
    memory = seen.memory
    top = _owners(seen.top_memory, _mebibytes)
    found = [
        _judged(
            "memory",
            "memory",
            settings.limits.of("memory"),
            "memory",
            host_proc.share(memory.total - memory.available, memory.total),
            "%",
            {
                "bytes_total": memory.total,
                "bytes_available": memory.available,
                "memory_estimated": memory.estimated or None,
                "container": seen.container,
                "top_processes": top,
            },
            available=memory.available,
            total=memory.total,
        )
    ]
    limit = seen.cgroup.memory_limit
    if seen.container and limit and seen.cgroup.working is not None:
        evidence = {"container": seen.container, "bytes_total": limit, "bytes_used": seen.cgroup.working}
        value = host_proc.share(seen.cgroup.working, limit)
        found.append(
            _judged("memory.container", "memory", settings.limits.of("memory"), "memory.container", value, "%", evidence, total=limit)
        )
    used = memory.swap_total - memory.swap_free
    if memory.swap_total:
        value = host_proc.share(used, memory.swap_total)
        evidence = {"bytes_total": memory.swap_total, "bytes_used": used}
        found.append(_judged("swap", "swap", settings.limits.of("swap"), "swap", value, "%", evidence, used=used, total=memory.swap_total))
    else:
        found.append(finding("swap", "swap", "ok", message("host.swap.none")))
    return found


def _judge_mount(mount: host_mounts.Mount, answer: host_space.Answer, settings: Settings) -> List[Finding]:
    point = printable(mount.point)
    limits = settings.limits
    evidence: Dict[str, Any] = {
        "mount_source": printable(mount.source),
        "filesystem_type": mount.type,
        "read_only": mount.read_only or None,
    }
    space = answer.space
    if space is None:
        if answer.reason == "hangs":
            text = message("host.disk.hangs", mount=point, timeout=settings.timeout, source=evidence["mount_source"])
        else:
            text = message("host.disk.unreadable", mount=point, reason=answer.reason)
        return [_unknown("disk.%s" % point, "disk", text, limits.of("disk", mount.point), evidence)]
    found = []
    if space.percent is not None:
        evidence.update(bytes_total=space.total, bytes_used=space.used, bytes_free=space.available)
        found.append(
            _judged(
                "disk.%s" % point,
                "disk",
                limits.of("disk", mount.point),
                "disk",
                space.percent,
                "%",
                evidence,
                mount=point,
                free=space.available,
            )
        )
        found[0]["duration_ms"] = space.took_ms
    free = limits.of("disk_free", mount.point)
    if free.warning or free.critical:
        found.append(
            _judged("disk_free.%s" % point, "disk", free, "disk_free", space.available, "B", {"bytes_total": space.total}, mount=point)
        )
    if space.inodes_percent is not None:
        left = space.inodes - space.inodes_used
        evidence = {"total_inodes": space.inodes, "free_inodes": left}
        limit = limits.of("inodes", mount.point)
        found.append(_judged("inodes.%s" % point, "inodes", limit, "inodes", space.inodes_percent, "%", evidence, mount=point, free=left))
    return found


def _judge_connections(seen: Seen, settings: Settings) -> List[Finding]:
    found = []
    for port in settings.ports:
        check, limit = "connections.%d" % port, settings.limits.of("connections", str(port))
        if isinstance(seen.connections, OSError):
            reason = seen.connections.strerror or str(seen.connections)
            found.append(_unknown(check, "connections", message("host.connections.unreadable", port=port, reason=reason), limit))
            continue
        count = seen.connections[port]
        evidence = {"port_listening": count["listening"] > 0, "close_wait": count["close_wait"], "time_wait": count["time_wait"]}
        found.append(_judged(check, "connections", limit, "connections", count["established"], "", evidence, port=port))
    return found


def _judge_interface(name: str, rate: Mapping[str, Optional[float]], seconds: float, settings: Settings) -> List[Finding]:
    name = printable(name)
    limit, absolute = settings.limits.of("network", name), settings.limits.of("network_rate", name)
    rx, tx, megabits = rate["rx"] or 0.0, rate["tx"] or 0.0, rate["speed"]
    fastest = max(rx, tx)
    evidence = {
        "network_received": rx,
        "network_sent": tx,
        "link_mbit": megabits,
        "interface_errors": rate["errors"] or None,
        "packets_dropped": rate["dropped"] or None,
        "interval_seconds": round(seconds, 2),
    }
    check = "network.%s" % name
    if megabits:
        # Links are full duplex: each direction has the whole speed.
        value = round(100.0 * fastest * 8 / (megabits * 1e6), 2)
        found = [_judged(check, "network", limit, "network", value, "%", evidence, interface=name, rx=rx, tx=tx)]
    elif limit.own:
        found = [_unknown(check, "network", message("host.network.no_speed", interface=name, rx=rx, tx=tx), limit, evidence)]
    else:
        told = message("host.network.rate.ok", interface=name, rx=rx, tx=tx)
        found = [finding(check, "network", "ok", told, value=fastest, unit="B/s", evidence=_told(evidence))]
    if absolute.warning or absolute.critical:
        check = "network_rate.%s" % name
        found.append(_judged(check, "network", absolute, "network.rate", fastest, "B/s", {}, interface=name, rx=rx, tx=tx))
    return found


def _judge_oom(seen: Seen, settings: Settings) -> Finding:
    oom, limit = seen.oom, settings.limits.of("oom_kills")
    evidence = {
        "oom_source": oom.source,
        "since_boot": oom.since_boot,
        "boot_in_window": oom.from_boot or None,
        "container": seen.container,
        "victims": ["%s %s (pid %d)" % (utc_now(victim.at), victim.name, victim.pid) for victim in sorted(oom.victims)[-10:]],
        "tried_sources": list(oom.problems),
        "top_processes": _owners(seen.top_memory, _mebibytes) if oom.kills else None,
    }
    if oom.kills is None:
        name = "host.oom.no_counter" if oom.since_boot is None else "host.oom.when"
        return _unknown("oom", "oom", message(name, count=oom.since_boot, window=seen.since), limit, evidence)
    names = list(dict.fromkeys(victim.name for victim in oom.victims))
    text = "oom.named" if names else "oom"
    return _judged("oom", "oom", limit, text, oom.kills, "", evidence, window=seen.since, names=names)


def _judge_core_dumps(seen: Seen, settings: Settings) -> Finding:
    told, limit = seen.cores_dumped, settings.limits.of("core_dumps")
    evidence = {
        "core_files": ["%s %s (%s)" % (utc_now(dump.at), dump.path, _mebibytes(dump.size)) for dump in told.dumps[:10]],
        "core_folders": list(told.looked),
        "core_pattern": told.pattern or None,
        "tried_sources": ["%s: %s" % item for item in told.unreadable.items()],
    }
    names = list(dict.fromkeys(dump.program for dump in told.dumps))[:5]
    if told.unreadable and judge(len(told.dumps), limit.warning, limit.critical) == "ok":
        return _unknown("core_dumps", "core_dumps", message("host.core_dumps.unreadable", folders=sorted(told.unreadable)), limit, evidence)
    return _judged("core_dumps", "core_dumps", limit, "core_dumps", len(told.dumps), "", evidence, window=seen.since, names=names)


def _top(seen: Seen) -> List[Finding]:
    found = []
    if seen.top_cpu:
        pid, percent, owner = seen.top_cpu[0]
        text = message("host.top.cpu", name=owner.name if owner else str(pid), value=percent)
        evidence = {"top_processes": _owners(seen.top_cpu, _percent)}
        found.append(finding("top.cpu", "top", "ok", text, value=percent, unit="%", evidence=evidence))
    if seen.top_memory:
        pid, rss, owner = seen.top_memory[0]
        text = message("host.top.memory", name=owner.name if owner else str(pid), value=rss)
        evidence = {"top_processes": _owners(seen.top_memory, _mebibytes)}
        found.append(finding("top.memory", "top", "ok", text, value=rss, unit="B", evidence=evidence))
    return found


def metrics(seen: Seen) -> Dict[str, Any]:
    """What was seen as plain data, for other roles and for history."""
    counted = seen.connections
    spaces = {}
    for mount, answer in seen.mounts:
        told: Dict[str, Any] = {"type": mount.type, "source": printable(mount.source), "reason": answer.reason}
        if answer.space:
            space = answer.space
            told.update(total=space.total, used=space.used, free=space.available, percent=space.percent)
            told.update(inodes=space.inodes, inodes_used=space.inodes_used, inodes_percent=space.inodes_percent)
        spaces[printable(mount.point)] = told
    return {
        "source": seen.source,
        "seconds": round(seen.seconds, 3),
        "container": seen.container,
        "cores": seen.cores,
        "cpu": dict(seen.cpu),
        "load": list(seen.load),
        "memory": {
            "total": seen.memory.total,
            "available": seen.memory.available,
            "percent": host_proc.share(seen.memory.total - seen.memory.available, seen.memory.total),
        },
        "swap": {"total": seen.memory.swap_total, "free": seen.memory.swap_free},
        "cgroup": {
            "memory_limit": seen.cgroup.memory_limit,
            "memory_used": seen.cgroup.working,
            "cpus": seen.cgroup.cpus,
            "cpus_used": seen.cgroup_cpu,
        },
        "mounts": spaces,
        "connections": None if isinstance(counted, OSError) else {str(port): dict(item) for port, item in counted.items()},
        "interfaces": {printable(name): dict(rate) for name, rate in seen.interfaces.items()},
        "oom_kills": seen.oom.kills,
        "core_dumps": len(seen.cores_dumped.dumps),
        "top": {
            "cpu": [_row(pid, owner, percent=percent) for pid, percent, owner in seen.top_cpu],
            "memory": [_row(pid, owner, bytes=rss) for pid, rss, owner in seen.top_memory],
        },
    }


def _row(pid: int, owner: Optional[host_proc.Owner], **more: Any) -> Dict[str, Any]:
    return dict({"pid": pid, "name": owner.name if owner else None, "user": owner.user if owner else None}, **more)
