# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a backup's options that says how it is made, kept, copied, proved, drilled and restored."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.names import ENGINES
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Limits

COMPRESSIONS = ("zstd", "gzip", "none")
KEEP = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
COPY_KINDS = ("rsync", "s3", "restic")
#: A copy that is further behind than this is told.
MAX_BEHIND = 26 * 3600.0


class Copy(NamedTuple):
    """A place off this host. ``kind``: rsync, s3 or restic; ``options``: its own keys; ``max_behind``: seconds; ``keep``: how many of
    each kind are kept there; empty: nothing is ever removed."""

    name: str
    kind: str
    options: Mapping[str, Any]
    max_behind: float
    bandwidth: Optional[int]
    keep: Mapping[str, int] = {}


class Drill(NamedTuple):
    """Trial restores. Seconds; ``every`` None: none is expected. ``rto``: the longest a restore may take; ``rpo``: the oldest
    that the newest set may be; ``scratch``: folder in which the scratch place is made."""

    every: Optional[float] = None
    rto: Optional[float] = None
    rpo: Optional[float] = None
    scratch: str = "/var/tmp"  # noqa: S108 - an own folder of mode 0700 is made in it


class Restore(NamedTuple):
    """How the service is taken down and looked at. ``services``: units, stopped in this order and started in the other;
    ``health``: probes as health_probe takes them, all of which must be ok within ``health_timeout`` seconds."""

    services: Tuple[str, ...] = ()
    health: Tuple[Mapping[str, Any], ...] = ()
    health_timeout: float = 60.0


class ArtifactPlan(NamedTuple):
    """One artifact to be made. ``spec``: the engine's own keys as its ``parse`` gave them back."""

    name: str
    engine: str
    compression: str
    level: Optional[int]
    spec: Mapping[str, Any]


#: Reads the key ``artifacts``.
Artifacts = Callable[[Any, str], Tuple[ArtifactPlan, ...]]


class Plan(NamedTuple):
    """Everything about a backup that is made by this collection. ``artifacts`` empty: another tool makes it.

    ``keep``: how many of each kind are kept; empty: nothing is ever removed. ``verify``: rung to seconds between its proofs.
    ``recipients``, ``identity``: of age; ``partial_after`` is in :class:`backup_options.Backup`.
    """

    artifacts: Tuple[ArtifactPlan, ...] = ()
    limits: Limits = Limits()
    workers: int = 2
    keep: Mapping[str, int] = {}
    copies: Tuple[Copy, ...] = ()
    verify: Mapping[int, float] = {}
    recipients: Tuple[str, ...] = ()
    identity: Optional[str] = None
    drill: Drill = Drill()
    restore: Restore = Restore()


def _positive(value: Any, path: str) -> int:
    number = read.whole(value, path)
    if number < 1:
        raise OptionError(path, "is to be 1 or more")
    return number


def _number(least: int, most: int) -> read.Reader:
    def reader(value: Any, path: str) -> int:
        number = read.whole(value, path)
        if not least <= number <= most:
            raise OptionError(path, "%d is not between %d and %d" % (number, least, most))
        return number

    return reader


def _time_limit(value: Any, path: str) -> float:
    seconds = read.duration(value, path)
    if not seconds:
        raise OptionError(path, "must be more than nothing", hint="24h")
    return seconds


def _port(value: Any, path: str) -> int:
    return int(_number(1, 65535)(value, path))


def _keep(value: Any, path: str) -> Dict[str, int]:
    found = read.read_item(value, path, dict.fromkeys(KEEP, read.whole))
    if found and not any(found.values()):
        raise OptionError(path, "keeps nothing: leave keep out to remove nothing, or keep at least one", hint="last: 1")
    return found


#: Keys that every artifact has.
ARTIFACT: Mapping[str, read.Reader] = {
    "name": read.name,
    "engine": read.choice(*ENGINES),
    "compression": read.choice(*COMPRESSIONS),
    "level": _number(1, 19),
}

_COPY: Mapping[str, Mapping[str, read.Reader]] = {
    "rsync": {
        "host": read.text,
        "port": _port,
        "user": read.user,
        "path": read.absolute,
        "key_file": read.absolute,
        "known_hosts_file": read.absolute,
    },
    "s3": {
        "bucket": read.text,
        "prefix": read.text,
        "endpoint": read.text,
        "region": read.text,
        "storage_class": read.text,
        "access_key": read.text,
        "secret_key": read.text,
        "ca_file": read.absolute,
    },
    "restic": {"repository": read.text, "password": read.text, "access_key": read.text, "secret_key": read.text},
}
_COPY_REQUIRED = {"rsync": ("host", "path"), "s3": ("bucket",), "restic": ("repository", "password")}
_COPY_COMMON: Mapping[str, read.Reader] = {
    "name": read.name,
    "kind": read.choice(*COPY_KINDS),
    "max_behind": read.duration,
    "bandwidth": read.size,
    "keep": _keep,
}


def named(items: List[Any], path: str) -> None:
    """Refuse two items of one name. Raises OptionError."""
    names = [item.name for item in items]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise OptionError("%s[%d].name" % (path, at), "%r is there twice" % name)


def listed(value: Any, path: str) -> List[Any]:
    """The value as a list. Raises OptionError."""
    if not isinstance(value, (list, tuple)):
        raise OptionError(path, "is to be a list, not %r" % (value,))
    return list(value)


def artifact_names(value: Any, path: str) -> Tuple[ArtifactPlan, ...]:
    """Only what artifacts are called and which engines hold them, for who does not work with them. Raises OptionError."""
    readers = {"name": ARTIFACT["name"], "engine": ARTIFACT["engine"]}
    items = []
    for at, given in enumerate(listed(value, path)):
        here = "%s[%d]" % (path, at)
        told = {key: item for key, item in read.mapping(given, here).items() if key in readers}
        item = read.read_item(told, here, readers, tuple(readers))
        items.append(ArtifactPlan(item["name"], item["engine"], "", None, {}))
    named(items, path)
    return tuple(items)


def _copies(value: Any, path: str) -> Tuple[Copy, ...]:
    items = []
    for at, given in enumerate(listed(value, path)):
        here = "%s[%d]" % (path, at)
        told = {key: item for key, item in read.mapping(given, here).items() if item is not None}
        kind = _COPY_COMMON["kind"](told.get("kind"), here + ".kind") if "kind" in told else None
        if kind is None:
            raise OptionError(here + ".kind", "is required and is missing; there are: " + ", ".join(COPY_KINDS))
        item = read.read_item(told, here, {**_COPY_COMMON, **_COPY[kind]}, ("name", *_COPY_REQUIRED[kind]))
        own = {key: found for key, found in item.items() if key not in _COPY_COMMON}
        items.append(Copy(item["name"], kind, own, item.get("max_behind", MAX_BEHIND), item.get("bandwidth"), item.get("keep", {})))
    named(items, path)
    return tuple(items)


def _verify(value: Any, path: str) -> Dict[int, float]:
    found: Dict[int, float] = {}
    for key, item in read.mapping(value, path).items():
        if item is None:
            continue
        if key not in ("2", "3", "4", "5"):
            raise unknown_name("%s.%s" % (path, key), key, ("2", "3", "4", "5"), "rung")
        found[int(key)] = read.duration(item, "%s.%s" % (path, key))
    return found


def _drill(value: Any, path: str) -> Drill:
    readers = {"every": read.duration, "rto": read.duration, "rpo": read.duration, "scratch": read.absolute}
    return Drill(**read.read_item(value, path, readers))


def _probes(value: Any, path: str) -> Tuple[Mapping[str, Any], ...]:
    return tuple(read.mapping(item, "%s[%d]" % (path, at)) for at, item in enumerate(listed(value, path)))


def _services(value: Any, path: str) -> Tuple[str, ...]:
    return tuple(read.texts(value, path)) if value else ()


def _restore(value: Any, path: str) -> Restore:
    return Restore(**read.read_item(value, path, {"services": _services, "health": _probes, "health_timeout": read.duration}))


def _encryption(value: Any, path: str) -> Tuple[Tuple[str, ...], Optional[str]]:
    item = read.read_item(value, path, {"recipients": read.texts, "identity": read.absolute}, ("recipients",))
    for at, recipient in enumerate(item["recipients"]):
        if recipient.startswith("AGE-SECRET-KEY"):
            raise OptionError("%s.recipients[%d]" % (path, at), "is a secret key: give the public one, which starts with age1")
        if not recipient.startswith(("age1", "ssh-")):
            raise OptionError("%s.recipients[%d]" % (path, at), "is no recipient of age: age1... or ssh-...")
    return tuple(item["recipients"]), item.get("identity")


def _io_class(value: Any, path: str) -> Optional[str]:
    found = read.choice("idle", "best-effort", "none")(value, path)
    return None if found == "none" else str(found)


READERS: Mapping[str, read.Reader] = {
    "artifacts": artifact_names,
    "nice": _number(0, 19),
    "io_class": _io_class,
    "bandwidth": read.size,
    "program_timeout": _time_limit,
    "workers": _positive,
    "encryption": _encryption,
    "keep": _keep,
    "copies": _copies,
    "verify": _verify,
    "drill": _drill,
    "restore": _restore,
}


def parse(item: Mapping[str, Any], path: str, artifacts: Artifacts = artifact_names) -> Plan:
    """Read the keys of :data:`READERS` from a backup's options; ``artifacts`` reads that key. Raises OptionError."""
    readers = {**READERS, "artifacts": artifacts}
    found = {key: reader(item[key], "%s.%s" % (path, key)) for key, reader in readers.items() if item.get(key) is not None}
    recipients, identity = found.get("encryption", ((), None))
    limits = Limits(
        found.get("nice", 10), found.get("io_class", "idle"), found.get("bandwidth"), found.get("program_timeout", Limits().seconds)
    )
    return Plan(
        artifacts=found.get("artifacts", ()),
        limits=limits,
        workers=found.get("workers", 2),
        keep=found.get("keep", {}),
        copies=found.get("copies", ()),
        verify=found.get("verify", {}),
        recipients=recipients,
        identity=identity,
        drill=found.get("drill", Drill()),
        restore=found.get("restore", Restore()),
    )
