# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of host_metrics: read once, on the controller to refuse bad ones and on the target to use them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_duration, parse_size, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import check_order, parse_range

#: Limits where the inventory sets none. cpu, memory, disk, network: the runbooks'; the others by custom: an OOM kill or a
#: core dump is always worth a look, a load of one and a half tasks per core means that tasks wait.
DEFAULT_LIMITS: Mapping[str, Mapping[str, Optional[str]]] = {
    "cpu": {"warning": "80", "critical": "95"},
    "load_per_core": {"warning": "1.5", "critical": "3"},
    "memory": {"warning": "80", "critical": "90"},
    "swap": {"warning": "50", "critical": "80"},
    "disk": {"warning": "80", "critical": "90"},
    "disk_free": {"warning": None, "critical": None},
    "inodes": {"warning": "80", "critical": "90"},
    "connections": {"warning": None, "critical": None},
    "network": {"warning": "80", "critical": "95"},
    "network_rate": {"warning": None, "critical": None},
    "oom_kills": {"warning": "0", "critical": None},
    "core_dumps": {"warning": "0", "critical": None},
}
#: Name of the option that holds the exceptions of a limit, by what they are exceptions for.
_OVERRIDES = {
    "disk": "mounts",
    "disk_free": "mounts",
    "inodes": "mounts",
    "connections": "ports",
    "network": "interfaces",
    "network_rate": "interfaces",
}
#: Limits in bytes, where ``10G:`` may be written for ``10737418240:``.
_IN_BYTES = ("disk_free", "network_rate")

SOURCES = ("auto", "psutil", "proc")


class Limit(NamedTuple):
    """A threshold pair as range texts; None: no such threshold. ``own``: set by the inventory."""

    warning: Optional[str] = None
    critical: Optional[str] = None
    own: bool = False


class Selection(NamedTuple):
    """Globs: what to look at beside what is looked at anyway, and what not to."""

    include: Tuple[str, ...] = ()
    exclude: Tuple[str, ...] = ()

    def included(self, name: str) -> bool:
        """Whether ``name`` was asked for."""
        return any(fnmatchcase(name, glob) for glob in self.include)

    def excluded(self, name: str) -> bool:
        """Whether ``name`` is not wanted."""
        return any(fnmatchcase(name, glob) for glob in self.exclude)


class Limits:
    """The limits of one host, with their exceptions."""

    def __init__(self, plain: Mapping[str, Limit], special: Mapping[str, Sequence[Tuple[str, Limit]]]) -> None:
        self.plain = plain
        self.special = special

    def of(self, name: str, subject: str = "") -> Limit:
        """The limit ``name`` for a mount, port or interface: the exact exception, else the last glob that fits, else the general."""
        found = self.plain[name]
        for pattern, limit in self.special.get(name, ()):
            if pattern == subject:
                return limit
            if fnmatchcase(subject, pattern):
                found = limit
        return found


class Settings(NamedTuple):
    """What host_metrics was asked to do. ``since``: seconds back from now; ``timeout``: seconds for each thing that may hang."""

    interval: float
    limits: Limits
    mounts: Selection
    interfaces: Selection
    ports: Tuple[int, ...]
    link_speeds: Mapping[str, float]
    since: float
    core_dump_dirs: Tuple[str, ...]
    top: int
    timeout: float
    source: str


_SIZE_WORD = r"(?i)[0-9.]+\s*[KMGTP]i?B?"


def _range_text(value: Any, path: str, in_bytes: bool) -> Optional[str]:
    if value is None or value == "":
        return None
    text = value
    if in_bytes and isinstance(value, str):
        text = re.sub(_SIZE_WORD, lambda found: str(parse_size(found.group(), path)), value)
    parse_range(text, path)
    return str(text).strip()


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise OptionError(path, "is to be a dictionary, not %r" % (value,))
    return value


def _limit(value: Any, path: str, base: Limit, in_bytes: bool, more: str = "") -> Limit:
    value = _mapping(value, path)
    names = ("warning", "critical") + ((more,) if more else ())
    for key in value:
        if key not in names:
            raise unknown_name("%s.%s" % (path, key), str(key), names)
    texts = {name: _range_text(value[name], "%s.%s" % (path, name), in_bytes) for name in ("warning", "critical") if name in value}
    check_order(texts.get("warning"), texts.get("critical"), path)
    return base._replace(own=base.own or bool(texts), **texts)


def for_host(limits: Any, host: str, path: str = "limits") -> Dict[str, Any]:
    """The limits with those of ``hosts`` that fit ``host`` (globs, later ones win) laid over them, ``hosts`` left out."""
    limits = _mapping(limits, path)
    merged = {name: value for name, value in limits.items() if name != "hosts"}
    for pattern, own in _mapping(limits.get("hosts"), path + ".hosts").items():
        if fnmatchcase(host, str(pattern)):
            merged = _merge(merged, _mapping(own, "%s.hosts.%s" % (path, pattern)))
    return merged


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_limits(value: Any, path: str = "limits") -> Limits:
    """The limits, each over its default. Raises OptionError."""
    value = _mapping(value, path)
    for name in value:
        if name not in DEFAULT_LIMITS and name != "hosts":
            raise unknown_name("%s.%s" % (path, name), str(name), DEFAULT_LIMITS, "limit")
    plain: Dict[str, Limit] = {}
    special: Dict[str, List[Tuple[str, Limit]]] = {}
    for name, default in DEFAULT_LIMITS.items():
        here, more, in_bytes = "%s.%s" % (path, name), _OVERRIDES.get(name, ""), name in _IN_BYTES
        own = _mapping(value.get(name), here)
        plain[name] = _limit(own, here, Limit(default["warning"], default["critical"]), in_bytes, more)
        if more:
            special[name] = [
                (str(subject), _limit(item, "%s.%s.%s" % (here, more, subject), plain[name], in_bytes))
                for subject, item in _mapping(own.get(more), "%s.%s" % (here, more)).items()
            ]
    for pattern, own in _mapping(value.get("hosts"), path + ".hosts").items():
        there = "%s.hosts.%s" % (path, pattern)
        if "hosts" in _mapping(own, there):
            raise OptionError(there + ".hosts", "hosts cannot hold hosts")
        parse_limits(own, there)
    return Limits(plain, special)


def _selection(value: Any, path: str) -> Selection:
    value = _mapping(value, path)
    for key in value:
        if key not in Selection._fields:
            raise unknown_name("%s.%s" % (path, key), str(key), Selection._fields)
    return Selection(*(tuple(_texts(value.get(key), "%s.%s" % (path, key))) for key in Selection._fields))


def _texts(value: Any, path: str) -> List[str]:
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise OptionError(path, "is to be a list, not %r" % (value,))
    return [str(item) for item in value]


def _ports(value: Any, path: str, limits: Limits) -> Tuple[int, ...]:
    ports: Dict[int, None] = {}
    named = [("limits.connections.ports.%s" % port, port) for port, _limit in limits.special.get("connections", ())]
    for where, text in [("%s[%d]" % (path, at), text) for at, text in enumerate(_texts(value, path))] + named:
        if not (text.isdigit() and 1 <= int(text) <= 65535):
            raise OptionError(where, "%r is not a port" % text, hint="1 to 65535")
        ports[int(text)] = None
    return tuple(ports)


def _number(value: Any, path: str, least: float, most: float) -> float:
    try:
        number = float("x" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise OptionError(path, "%r is not a number" % (value,)) from None
    if not least <= number <= most:
        raise OptionError(path, "%g is not in %g to %g" % (number, least, most))
    return number


def parse(options: Mapping[str, Any]) -> Settings:
    """Read the module's options; those not given take their defaults. Raises OptionError."""

    def given(name: str, default: Any) -> Any:
        value = options.get(name)
        return default if value is None else value

    limits = parse_limits(options.get("limits"))
    speeds = _mapping(options.get("link_speeds"), "link_speeds")
    source = str(given("source", "auto"))
    if source not in SOURCES:
        raise unknown_name("source", source, SOURCES, "source")
    return Settings(
        interval=_number(given("interval", 1.0), "interval", 0.1, 60),
        limits=limits,
        mounts=_selection(options.get("mounts"), "mounts"),
        interfaces=_selection(options.get("interfaces"), "interfaces"),
        ports=_ports(options.get("ports"), "ports", limits),
        link_speeds={str(name): _number(value, "link_speeds.%s" % name, 0.001, 1e7) for name, value in speeds.items()},
        since=parse_duration(given("since", "24h"), "since"),
        core_dump_dirs=tuple(_texts(options.get("core_dump_dirs"), "core_dump_dirs")),
        top=int(_number(given("top", 5), "top", 0, 50)),
        timeout=_number(given("timeout", 5.0), "timeout", 0.1, 300),
        source=source,
    )
