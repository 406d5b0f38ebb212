# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU frequency governor and the placement of units on CPUs and NUMA nodes.

Sources: Documentation/admin-guide/pm/cpufreq.rst (governors), tmpfiles.d(5) (``w`` lines, which set it again at boot),
systemd.exec(5) (``CPUAffinity=``, ``NUMAPolicy=``, ``NUMAMask=``), proc(5) (``Cpus_allowed_list``, ``numa_maps``).
"""

from __future__ import annotations

import glob
import json
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import run
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime import units

from . import changes as held

HEADER = "Managed by opsrunner (cpu_tuning): what is written here by hand is replaced."
GOVERNORS = ("performance", "powersave", "schedutil", "ondemand", "conservative", "userspace")
POLICIES = ("default", "preferred", "bind", "interleave", "local")
_CPUFREQ = "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
_KEYS = ("name", "cpus", "numa_policy", "numa_nodes", "remedy")


class Placement(NamedTuple):
    """Where a unit runs. ``cpus``: a list such as ``0-3,8``, ``numa`` for those of its nodes, or nothing."""

    name: str
    cpus: str
    policy: str
    nodes: str
    remedy: Optional[str]


class Options(NamedTuple):
    """What the module is asked for."""

    common: held.Common
    governor: Optional[str]
    units: List[Placement]
    remedy: Optional[str]


# -- options ----------------------------------------------------------------------------------------------------------------


def parse_options(args: Mapping[str, Any]) -> Options:
    """Read the module's options. Raises OptionError."""
    cpu = args.get("cpu") or {}
    if not isinstance(cpu, Mapping):
        raise OptionError("cpu", "%r is not a mapping of governor and units" % (cpu,))
    for key in cpu:
        if key not in ("governor", "units", "remedy"):
            raise unknown_name("cpu.%s" % key, str(key), ("governor", "units", "remedy"), what="key")
    governor = cpu.get("governor")
    if governor is not None and governor not in GOVERNORS:
        raise unknown_name("cpu.governor", str(governor), GOVERNORS, what="governor")
    listed = cpu.get("units") or []
    if not isinstance(listed, (list, tuple)):
        raise OptionError("cpu.units", "%r is not a list" % (listed,))
    placements: List[Placement] = []
    for index, item in enumerate(listed):
        where = "cpu.units[%d]" % index
        placement = _placement(item, where)
        if any(placement.name == other.name for other in placements):
            raise OptionError(where + ".name", "%s is given twice" % placement.name)
        placements.append(placement)
    return Options(held.parse_common(args), governor, placements, cpu.get("remedy") or None)


def _placement(item: Any, path: str) -> Placement:
    if not isinstance(item, Mapping):
        raise OptionError(path, "%r is not a mapping with name and cpus or numa_policy" % (item,))
    for key in item:
        if key not in _KEYS:
            raise unknown_name("%s.%s" % (path, key), str(key), _KEYS, what="key")
    if "name" not in item:
        raise OptionError(path + ".name", "is required and is missing")
    cpus = "" if item.get("cpus") is None else str(item["cpus"]).replace(" ", "")
    nodes = "" if item.get("numa_nodes") is None else str(item["numa_nodes"]).replace(" ", "")
    policy = str(item.get("numa_policy") or "")
    if cpus and cpus != "numa":
        read_list(cpus, path + ".cpus")
    if nodes:
        read_list(nodes, path + ".numa_nodes")
    if policy and policy not in POLICIES:
        raise unknown_name(path + ".numa_policy", policy, POLICIES, what="policy")
    if policy in ("bind", "interleave", "preferred") and not nodes:
        raise OptionError(path + ".numa_nodes", "is needed for the policy %s" % policy, hint="0")
    if policy in ("default", "local") and nodes or (nodes and not policy):
        raise OptionError(path + ".numa_nodes", "needs the policy bind, interleave or preferred")
    if policy == "preferred" and len(read_list(nodes, path + ".numa_nodes")) > 1:
        raise OptionError(path + ".numa_nodes", "%s: the policy preferred takes one node" % nodes)
    if cpus == "numa" and not nodes:
        raise OptionError(path + ".cpus", "numa takes the CPUs of numa_nodes, which is not given")
    if not cpus and not policy:
        raise OptionError(path, "says neither cpus nor numa_policy")
    return Placement(units.unit_name(item["name"], path + ".name"), cpus, policy, nodes, item.get("remedy") or None)


def read_list(text: str, path: str = "") -> Set[int]:
    """The numbers of a list such as ``0-3,8``. Raises OptionError."""
    found: Set[int] = set()
    for part in text.split(","):
        match = re.match(r"(\d{1,5})(?:-(\d{1,5}))?\Z", part)
        if not match or int(match.group(2) or match.group(1)) < int(match.group(1)):
            raise OptionError(path, "%r is no list of numbers" % text, hint="0-3,8")
        found.update(range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1))
    return found


def _ranges(numbers: Set[int]) -> List[str]:
    """The numbers as ranges: ``0-3``, ``8``."""
    found: List[List[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ["%d" % first if first == last else "%d-%d" % (first, last) for first, last in found]


# -- the host ---------------------------------------------------------------------------------------------------------------


class Host:
    """The host below ``root``; programs are started by ``run``."""

    def __init__(self, root: str = "/", run: run.Run = run.run_command) -> None:
        self.root, self.run = root, run

    def text(self, path: str) -> Optional[str]:
        """The text of a file below the root, None where there is none."""
        try:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return None

    def numbers(self, path: str) -> Set[int]:
        """The numbers of a list file; none where there is no such file."""
        text = self.text(path)
        return read_list(text) if text else set()

    def governors(self) -> Dict[str, str]:
        """The governor of each CPU that has one, by the path of its file."""
        paths = sorted(glob.glob(os.path.join(glob.escape(self.root), _CPUFREQ)))
        return {path: self.text(path) or "" for path in paths}

    def available(self) -> List[str]:
        """The governors this host knows."""
        for path in self.governors():
            return (self.text(os.path.join(os.path.dirname(path), "scaling_available_governors")) or "").split()
        return []

    def set_governors(self, values: Mapping[str, str]) -> None:
        """Set governors by path. Raises FileError."""
        for path, value in values.items():
            try:
                with open(path, "w", encoding="ascii") as file:
                    file.write(value)
            except OSError as error:
                raise files.FileError("%s: %s: %s" % (path, value, error.strerror)) from error

    def placed(self, pid: int) -> Tuple[Set[int], str]:
        """The CPUs a process may run on, and the NUMA policy of its memory (such as ``bind:0``)."""
        match = re.search(r"^Cpus_allowed_list:\s*(\S+)", self.text("proc/%d/status" % pid) or "", re.MULTILINE)
        words = (self.text("proc/%d/numa_maps" % pid) or "").split(None, 2)
        return read_list(match.group(1)) if match else set(), words[1] if len(words) > 1 else ""


# -- the change -------------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What is to be done. ``skipped``: findings about what this hardware does not have. ``gone``: units no longer ours."""

    change: units.Change
    governors: Dict[str, str]
    old_governors: Dict[str, str]
    skipped: List[Finding]
    kept: List[Placement]
    gone: List[str]

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.governors) or self.change.needed


def plan(options: Options, host: Host) -> Plan:
    """Compare the host with what is asked. Changes nothing. Raises OptionError, FileError or UnitError."""
    wanted = options.units if options.common.state == "replaced" else []
    seen = units.show([placement.name for placement in wanted], host.run)
    units.require(seen, "cpu.units")
    kept, skipped = _possible(wanted, host)
    pairs, governors, told = _plan_governor(options, host)
    skipped += told
    name = options.common.file_name("-cpu.conf")
    gone: List[str] = []
    texts = {placement.name: unit_text(placement) for placement in kept}
    for unit, path in units.present(options.common.file_pattern("-cpu.conf"), host.root).items():
        if unit not in texts or os.path.basename(path) != name:
            before = files.read(path)
            pairs.append((before, files.absent(before)))
            gone += [unit] if unit not in texts else []
    restart = units.released(gone, host.run)
    for placement in kept:
        before = files.read(units.drop_in_path(placement.name, name, host.root))
        after = files.desired(before, texts[placement.name], mode=0o644, uid=os.geteuid(), gid=os.getegid())
        pairs.append((before, after))
        running = seen[placement.name]
        newer = files.differs(before, after) or running.started < (before.mtime_ns or 0) / 1e9
        if running.active == "active" and running.pid and newer and not _holds(placement, running.pid, host):
            restart.append(running)
    old = {path: host.text(path) or "" for path in governors}
    return Plan(units.Change(pairs, restart if options.common.restart else []), governors, old, skipped, kept, gone)


def unit_text(placement: Placement) -> bytes:
    """The text of a unit's drop-in."""
    # The empty assignment first: otherwise lists of the unit's own file are added up.
    settings = {"CPUAffinity": "\nCPUAffinity=" + placement.cpus} if placement.cpus else {}
    if placement.policy:
        settings["NUMAPolicy"] = placement.policy
    if placement.nodes:
        settings["NUMAMask"] = placement.nodes
    return units.drop_in(HEADER, settings)


def _possible(wanted: List[Placement], host: Host) -> Tuple[List[Placement], List[Finding]]:
    """The placements this hardware can have, and what is said about the others."""
    online = host.numbers("sys/devices/system/cpu/online")
    nodes = host.numbers("sys/devices/system/node/online")
    kept, told = [], []
    for placement in wanted:
        if placement.policy and len(nodes) < 2:
            told.append(_found(placement.name + ".numa", "ok", message("placement.no_numa", name=placement.name), placement.remedy))
            placement = placement._replace(policy="", nodes="", cpus="" if placement.cpus == "numa" else placement.cpus)
        missing = (read_list(placement.nodes) if placement.nodes else set()) - nodes
        if missing:
            text = message("placement.no_such_node", name=placement.name, nodes=_ranges(missing))
            told.append(_found(placement.name + ".numa", "warning", text, placement.remedy, {"nodes": _ranges(nodes)}))
            continue
        missing = (read_list(placement.cpus) if placement.cpus not in ("", "numa") else set()) - online
        if missing and online:
            text = message("placement.no_such_cpu", name=placement.name, cpus=_ranges(missing))
            told.append(_found(placement.name + ".cpus", "warning", text, placement.remedy, {"cpus": _ranges(online)}))
            continue
        if placement.cpus or placement.policy:
            kept.append(placement)
    return kept, told


def _plan_governor(options: Options, host: Host) -> Tuple[List[Tuple[files.FileState, files.FileState]], Dict[str, str], List[Finding]]:
    wanted = options.governor if options.common.state == "replaced" else None
    told: List[Finding] = []
    now = host.governors()
    if wanted and not now:
        told.append(_found("governor", "ok", message("placement.no_governor", governor=wanted), options.remedy))
        wanted = None
    elif wanted and wanted not in host.available():
        text = message("placement.unknown_governor", governor=wanted, known=host.available())
        told.append(_found("governor", "warning", text, options.remedy))
        wanted = None
    boot = files.read(os.path.join(host.root, "etc/tmpfiles.d", options.common.file_name("-governor.conf")))
    memory = files.read(os.path.join(host.root, "var/lib/opsrunner/cpu", options.common.name + ".json"))
    try:
        before = {str(path): str(value) for path, value in json.loads(memory.content or b"{}").items()}
    except (ValueError, AttributeError):
        before = {}
    if wanted:
        line = "# %s\nw /%s - - - - %s\n" % (HEADER, _CPUFREQ, wanted)
        note = json.dumps({**now, **before}, indent=1) + "\n"
        pairs = [
            (memory, files.desired(memory, note.encode(), mode=0o600)),
            (boot, files.desired(boot, line.encode(), mode=0o644, uid=os.geteuid(), gid=os.getegid())),
        ]
        return pairs, {path: wanted for path, value in now.items() if value != wanted}, told
    pairs = [(state, files.absent(state)) for state in (memory, boot)]
    return pairs, {path: value for path, value in before.items() if value and now.get(path, value) != value}, told


def _holds(placement: Placement, pid: int, host: Host) -> bool:
    cpus, policy = host.placed(pid)
    if placement.cpus:
        wanted = _wanted_cpus(placement, host)
        if wanted and cpus != wanted:
            return False
    return not placement.policy or not policy or policy == _wanted_policy(placement)


def _wanted_cpus(placement: Placement, host: Host) -> Set[int]:
    if placement.cpus != "numa":
        return read_list(placement.cpus)
    return {cpu for node in read_list(placement.nodes) for cpu in host.numbers("sys/devices/system/node/node%d/cpulist" % node)}


def _wanted_policy(placement: Placement) -> str:
    name = {"preferred": "prefer"}.get(placement.policy, placement.policy)
    return "%s:%s" % (name, placement.nodes) if placement.nodes else name


def undo(host: Host) -> files.Undo:
    """How the change is taken back, for the transaction."""
    return {**units.undo(host.run), "governors": host.set_governors}


def apply(options: Options, planned: Plan, host: Host) -> None:
    """Do what is planned: all of it, or nothing. Raises FileError or UnitError; then the host is as before."""
    with held.transaction(options.common, "cpu", host.root, undo(host)) as change:
        if planned.governors:
            change.note("governors", planned.old_governors)
        host.set_governors(planned.governors)
        units.apply(planned.change, change, host.run, options.common.settle)
        if options.common.hold:
            change.keep()


# -- what is said -------------------------------------------------------------------------------------------------------------


def look(options: Options, planned: Plan, host: Host, applied: bool) -> List[Finding]:
    """Findings about the governor and each unit's process."""
    found = [*planned.skipped, *held.leftovers(planned.gone, planned.change, "placement")]
    told = {item["check"] for item in found}
    if options.governor and options.common.state == "replaced" and "placement.governor" not in told:
        now = sorted(set(host.governors().values()))
        held_now = now == [options.governor]
        text = (
            message("placement.governor", governor=options.governor)
            if held_now
            else message("placement.governor_drift", live=now, governor=options.governor)
        )
        found.append(_found("governor", "ok" if held_now else "warning", text, options.remedy, {"live": now}))
    seen = units.show([placement.name for placement in planned.kept], host.run)
    for placement in planned.kept:
        unit = seen[placement.name]
        where = " ".join(part for part in (placement.cpus and "CPU " + placement.cpus, _wanted_policy(placement)) if part)
        evidence: Dict[str, Any] = {"wanted": where}
        if not unit.pid:
            status, text = "ok", message("placement.stopped", name=placement.name, wanted=where)
        elif _holds(placement, unit.pid, host):
            status, text = "ok", message("placement.ok", name=placement.name, wanted=where)
        else:
            cpus, policy = host.placed(unit.pid)
            evidence["live"] = "CPU %s %s" % (",".join(_ranges(cpus)), policy)
            what = "placement.drift" if not applied and planned.change.needed else "placement.restart"
            status, text = "warning", message(what, name=placement.name, wanted=where)
        found.append(_found(placement.name, status, text, placement.remedy, evidence))
    return found


def _found(check: str, status: str, text: Dict[str, Any], remedy: Optional[str], evidence: Optional[Dict[str, Any]] = None) -> Finding:
    return finding("placement." + check, "placement", status, text, evidence=evidence, remedy=remedy)


def tune(args: Mapping[str, Any], check_mode: bool, host: Optional[Host] = None) -> Dict[str, Any]:
    """What the module does, from its options to its result. Raises OptionError, FileError or UnitError."""
    options, host = parse_options(args), host or Host()
    result = {**held.new_result(), "restarted": []}
    if held.earlier_change(result, options.common, "cpu", host.root, undo(host), check_mode):
        return result
    planned = plan(options, host)
    units.describe(result, planned.change)
    if planned.needed:
        result["changed"] = True
        if planned.governors:
            texts = ["".join("%s: %s\n" % pair for pair in values.items()) for values in (planned.old_governors, planned.governors)]
            result["diff"].append({"before": texts[0], "after": texts[1], "before_header": "governor", "after_header": "governor"})
        if not check_mode:
            apply(options, planned, host)
            result["pending"] = options.common.hold
    result["findings"] += look(options, planned, host, applied=not check_mode)
    return result
