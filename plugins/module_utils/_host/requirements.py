# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must have and should have: cores, memory, disk, system, network, versions of programs.

Below the minimum is critical, below what is recommended a warning, what cannot be told unknown.
"""

from __future__ import annotations

import glob
import os
import re
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, cut, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, check_regex, parse_size, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.run import Run, run_command

#: Of memory and disk the firmware, the kernel and the file system keep a part; sizes are sold in powers of 1000.
TOLERANCE = 0.1
_KEYS = ("cores", "memory", "disks", "os", "network", "programs", "remedy")
_VERSION = re.compile(r"\d+(?:\.\d+)*\Z")


class Level(NamedTuple):
    """At least this much; None: no such limit."""

    minimum: Optional[float]
    recommended: Optional[float]


class Program(NamedTuple):
    """A program whose output tells a version; the first group of ``regex``."""

    name: str
    command: List[str]
    regex: str
    minimum: str
    recommended: str
    remedy: Optional[str]


class Options(NamedTuple):
    """What the host is held against."""

    cores: Optional[Level]
    memory: Optional[Level]
    disks: List[Tuple[str, Level, Optional[str]]]
    systems: List[Tuple[str, str]]
    network: Optional[Level]
    interfaces: List[str]
    programs: List[Program]
    remedy: Optional[str]


# -- options ----------------------------------------------------------------------------------------------------------------


def parse_options(args: Mapping[str, Any]) -> Options:
    """Read the module's options. Raises OptionError."""
    asked = _mapping(args.get("requirements") or {}, "requirements", _KEYS)
    path = "requirements"
    network = _mapping(asked.get("network") or {}, path + ".network", ("minimum", "recommended", "interfaces"))
    interfaces = network.get("interfaces") or []
    if not isinstance(interfaces, (list, tuple)):
        raise OptionError(path + ".network.interfaces", "%r is not a list" % (interfaces,))
    return Options(
        _level(asked, "cores", path, _count),
        _level(asked, "memory", path, parse_size),
        [_disk(item, "%s.disks[%d]" % (path, index)) for index, item in enumerate(_items(asked, "disks", path))],
        [_system(item, "%s.os[%d]" % (path, index)) for index, item in enumerate(_items(asked, "os", path))],
        _read_level(network, path + ".network", _count) if network else None,
        [str(name) for name in interfaces],
        _programs(_items(asked, "programs", path), path),
        asked.get("remedy") or None,
    )


def _mapping(value: Any, path: str, keys: Tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise OptionError(path, "%r is not a mapping" % (value,))
    for key in value:
        if key not in keys:
            raise unknown_name("%s.%s" % (path, key), str(key), keys, what="key")
    return value


def _items(asked: Mapping[str, Any], key: str, path: str) -> List[Any]:
    items = asked.get(key) or []
    if not isinstance(items, (list, tuple)):
        raise OptionError("%s.%s" % (path, key), "%r is not a list" % (items,))
    return list(items)


def _count(value: Any, path: str) -> int:
    if isinstance(value, bool) or not re.match(r"[1-9]\d*\Z", str(value)):
        raise OptionError(path, "%r is not a whole number above 0" % (value,))
    return int(value)


def _level(asked: Mapping[str, Any], key: str, path: str, read: Any) -> Optional[Level]:
    value = asked.get(key)
    if value is None:
        return None
    where = "%s.%s" % (path, key)
    return _read_level(_mapping(value, where, ("minimum", "recommended")), where, read)


def _read_level(value: Mapping[str, Any], path: str, read: Any) -> Level:
    least, best = (None if value.get(key) is None else read(value[key], "%s.%s" % (path, key)) for key in ("minimum", "recommended"))
    if least is None and best is None:
        raise OptionError(path, "has neither minimum nor recommended")
    if least is not None and best is not None and best < least:
        raise OptionError(path + ".recommended", "is below the minimum")
    return Level(least, best)


def _disk(item: Any, path: str) -> Tuple[str, Level, Optional[str]]:
    item = _mapping(item, path, ("name", "minimum", "recommended", "remedy"))
    if not str(item.get("name") or "").startswith("/"):
        raise OptionError(path + ".name", "%r is no absolute path" % (item.get("name"),), hint="/var")
    return str(item["name"]), _read_level(item, path, parse_size), item.get("remedy") or None


def _system(item: Any, path: str) -> Tuple[str, str]:
    item = _mapping(item, path, ("name", "minimum"))
    if not item.get("name"):
        raise OptionError(path + ".name", "is required and is missing", hint="debian")
    return str(item["name"]).lower(), _version(item.get("minimum"), path + ".minimum")


def _version(value: Any, path: str) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        raise OptionError(path, "%r is a number, in which 3.10 is 3.1: put the version in quotes" % (value,))
    if not _VERSION.match(str(value)):
        raise OptionError(path, "%r is no version" % (value,), hint="'3.8'")
    return str(value)


def _programs(items: List[Any], path: str) -> List[Program]:
    programs: List[Program] = []
    for index, item in enumerate(items):
        where = "%s.programs[%d]" % (path, index)
        item = _mapping(item, where, ("name", "command", "regex", "minimum", "recommended", "remedy"))
        name = str(item.get("name") or "")
        if not name:
            raise OptionError(where + ".name", "is required and is missing")
        if any(name == other.name for other in programs):
            raise OptionError(where + ".name", "%s is given twice" % name)
        command = item.get("command")
        if not isinstance(command, (list, tuple)) or not command:
            raise OptionError(where + ".command", "%r is not a list of words" % (command,), hint="[python3, --version]")
        regex = str(item.get("regex") or r"(\d+(?:\.\d+)+)")
        if check_regex(regex, where + ".regex").groups < 1:
            raise OptionError(where + ".regex", "%r has no group for the version" % regex)
        levels = [_version(item.get(key), "%s.%s" % (where, key)) for key in ("minimum", "recommended")]
        programs.append(Program(name, [str(word) for word in command], regex, levels[0], levels[1], item.get("remedy") or None))
    return programs


# -- the host ---------------------------------------------------------------------------------------------------------------


class Host:
    """The host below ``root``; programs are started by ``run``."""

    def __init__(self, root: str = "/", run: Run = lambda argv: run_command(argv, timeout=15.0)) -> None:
        self.root, self.run = root, run

    def text(self, path: str) -> str:
        """The text of a file below the root, empty where there is none."""
        try:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def cores(self) -> Optional[int]:
        """CPUs that are on line."""
        return len(re.findall(r"^processor\s*:", self.text("proc/cpuinfo"), re.MULTILINE)) or os.cpu_count()

    def memory(self) -> Optional[int]:
        """Bytes of memory."""
        found = re.search(r"^MemTotal:\s+(\d+) kB", self.text("proc/meminfo"), re.MULTILINE)
        return int(found.group(1)) * 1024 if found else None

    def disk(self, path: str) -> Optional[int]:
        """Bytes of the file system that holds ``path``, or would."""
        while not os.path.isdir(os.path.join(self.root, path.lstrip("/"))) and path != "/":
            path = os.path.dirname(path)
        try:
            found = os.statvfs(os.path.join(self.root, path.lstrip("/")))
        except OSError:
            return None
        return found.f_blocks * found.f_frsize

    def system(self) -> Tuple[str, str, str]:
        """Id, version and name of the operating system."""
        told = dict(line.split("=", 1) for line in self.text("etc/os-release").splitlines() if "=" in line)
        return tuple(told.get(key, "").strip("\"'") for key in ("ID", "VERSION_ID", "PRETTY_NAME"))  # type: ignore[return-value]

    def speeds(self, interfaces: List[str]) -> Dict[str, Optional[int]]:
        """Mbit/s by interface; None where the driver does not tell it. Without names: all that are no loopback and have a device."""
        folder = os.path.join(self.root, "sys/class/net")
        names = interfaces or [os.path.basename(path) for path in sorted(glob.glob(glob.escape(folder) + "/*")) if self._is_wired(path)]
        speeds: Dict[str, Optional[int]] = {}
        for name in names:
            text = self.text("sys/class/net/%s/speed" % name).strip()
            speeds[name] = int(text) if re.match(r"[1-9]\d*\Z", text) else None
        return speeds

    @staticmethod
    def _is_wired(path: str) -> bool:
        return os.path.basename(path) != "lo" and (os.path.exists(os.path.join(path, "device")) or "veth" in os.path.realpath(path))


def version_key(text: str) -> List[int]:
    """A version as numbers that compare; trailing zeros do not count."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


# -- what is said -------------------------------------------------------------------------------------------------------------


def check(args: Mapping[str, Any], host: Optional[Host] = None) -> List[Finding]:
    """Hold the host against what is asked. Raises OptionError."""
    options, host = parse_options(args), host or Host()
    found: List[Finding] = []
    if options.cores:
        found.append(_measure("cores", host.cores(), options.cores, "", options.remedy))
    if options.memory:
        found.append(_measure("memory", host.memory(), options.memory, "B", options.remedy, TOLERANCE))
    for path, level, remedy in options.disks:
        found.append(_measure("disk", host.disk(path), level, "B", remedy or options.remedy, TOLERANCE, path))
    if options.systems:
        found.append(_check_system(options, host))
    if options.network:
        found += _check_network(options, options.network, host)
    found += [_check_program(program, options.remedy, host) for program in options.programs]
    return found


def _measure(
    what: str, value: Optional[int], level: Level, unit: str, remedy: Optional[str], tolerance: float = 0.0, name: str = ""
) -> Finding:
    warning, critical = ("%d:" % (limit * (1 - tolerance)) if limit else None for limit in (level.recommended, level.minimum))
    status = judge(value, warning, critical)
    text = message(
        "requires.%s.%s" % (what, {"ok": "ok", "warning": "few", "critical": "few", "unknown": "unknown"}[status]),
        value=value,
        wanted=level.minimum if status == "critical" else level.recommended,
        name=name,
    )
    evidence = {"minimum": level.minimum, "recommended": level.recommended}
    check_name = "requires.%s%s" % (what, name)
    return finding(
        check_name,
        "requirement",
        status,
        text,
        value=value,
        unit=unit,
        warning=warning,
        critical=critical,
        evidence=evidence,
        remedy=remedy,
    )


def _check_system(options: Options, host: Host) -> Finding:
    identifier, version, name = host.system()
    wanted = ["%s %s" % pair if pair[1] else pair[0] for pair in options.systems]
    fits = any(identifier == system and version_key(version) >= version_key(least) for system, least in options.systems)
    status = "ok" if fits else "critical" if identifier else "unknown"
    text = message(
        "requires.os.%s" % {"ok": "ok", "critical": "other", "unknown": "unknown"}[status], name=name or identifier, wanted=wanted
    )
    return finding("requires.os", "requirement", status, text, evidence={"wanted": wanted}, remedy=options.remedy)


def _check_network(options: Options, level: Level, host: Host) -> List[Finding]:
    speeds = host.speeds(options.interfaces)
    if not speeds:
        text = message("requires.network.none")
        return [finding("requires.network", "requirement", "unknown", text, remedy=options.remedy)]
    return [_measure("network", speed, level, "", options.remedy, 0.0, "." + name) for name, speed in speeds.items()]


def _check_program(program: Program, remedy: Optional[str], host: Host) -> Finding:
    started = time.monotonic()
    exit_status, output = host.run(program.command)
    seen = re.search(program.regex, output, re.MULTILINE)
    version = seen.group(1) if seen and seen.group(1) else ""
    evidence: Dict[str, Any] = {"command": " ".join(program.command), "minimum": program.minimum, "recommended": program.recommended}
    params: Dict[str, Any] = {"name": program.name, "version": version}
    if exit_status == 127 and not version:
        status, identifier = "critical", "requires.program.missing"
        params["command"] = program.command[0]
    elif not version:
        status, identifier = "unknown", "requires.program.unknown"
        evidence["output"] = cut(output, 300)
        params["status"] = exit_status
    elif program.minimum and version_key(version) < version_key(program.minimum):
        status, identifier, params["wanted"] = "critical", "requires.program.old", program.minimum
    elif program.recommended and version_key(version) < version_key(program.recommended):
        status, identifier, params["wanted"] = "warning", "requires.program.old", program.recommended
    else:
        status, identifier = "ok", "requires.program.ok"
    took = (time.monotonic() - started) * 1000
    return finding(
        "requires.program.%s" % program.name,
        "requirement",
        status,
        message(identifier, **params),
        evidence=evidence,
        remedy=program.remedy or remedy,
        duration_ms=took,
    )
