# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option O(backups) for who looks at backups: read without the engines, which the daily run does not have to ship.

How a backup is judged is read here; how it is made, kept, copied, proved and restored in ``backup_plan.py``. Who makes or restores
backups reads the option by ``backup_options.py``, which has the engines read what their artifacts hold.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_duration, parse_size, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import check_order, parse_range

from . import plan as backup_plan

KINDS = ("set", "file", "folder")

#: A daily backup may be two hours late before it is told, and one may be missed before somebody is called.
MAX_AGE = {"warning": "26h", "critical": "50h"}
#: Percent against the median of the ones before.
SIZE_CHANGE: Mapping[str, Optional[str]] = {"warning": "-50:100", "critical": None}
HISTORY = 7
#: What is still called partial after this time was left behind by a backup that failed.
PARTIAL_AFTER = "6h"
VERIFIED_RUNG = 3


class Backup(NamedTuple):
    """One backup to look at. Ages are seconds; ``size_change`` is a pair of range texts; ``history``: how many are compared with;
    ``mount_point``: folder in which the root is, and where a disk must be mounted."""

    name: str
    root: str
    kind: str
    pattern: str
    max_age: Tuple[Optional[float], Optional[float]]
    size_change: Tuple[Optional[str], Optional[str]]
    history: int
    min_count: Optional[int]
    min_size: Optional[int]
    partial_after: float
    max_unverified_age: Optional[float]
    verified_rung: int
    remedy: Optional[str]
    mount_point: Optional[str] = None
    plan: backup_plan.Plan = backup_plan.Plan()


_NAMES = (*(name for name in Backup._fields if name != "plan"), *backup_plan.READERS)


def _pair(value: Any, path: str, default: Mapping[str, Optional[str]]) -> Dict[str, Any]:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise OptionError(path, "is to be a dictionary with warning and critical, not %r" % (value,))
    for key in value:
        if key not in default:
            raise unknown_name("%s.%s" % (path, key), str(key), default)
    return {key: (value[key] if key in value else default[key]) or None for key in default}


def _ages(value: Any, path: str) -> Tuple[Optional[float], Optional[float]]:
    pair = _pair(value, path, MAX_AGE)
    given = value or {}
    warning, critical = (None if pair[key] is None else parse_duration(pair[key], "%s.%s" % (path, key)) for key in ("warning", "critical"))
    if warning is not None and critical is not None and warning > critical:
        if "warning" in given and "critical" in given:
            raise OptionError(path + ".warning", "%(warning)s comes after the critical age, %(critical)s" % pair)
        # One of the two is a default, which gives way.
        warning, critical = (warning, 2 * warning) if "warning" in given else (critical, critical)
    return warning, critical


def _whole(value: Any, path: str, least: int) -> int:
    try:
        number = int("x" if isinstance(value, (bool, float)) else value)
    except (TypeError, ValueError):
        raise OptionError(path, "%r is not a whole number" % (value,)) from None
    if number < least:
        raise OptionError(path, "%d is less than %d" % (number, least))
    return number


def _text(item: Mapping[str, Any], name: str, path: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value.strip():
        raise OptionError("%s.%s" % (path, name), "is missing" if value is None else "%r is not a text" % (value,))
    return str(value)


def _ranges(pair: Mapping[str, Any], path: str, own: bool) -> Dict[str, Any]:
    """A pair of ranges as texts; ``own``: whether it was given and is none of the defaults. Raises OptionError."""
    for key, value in pair.items():
        if value is not None:
            parse_range(value, "%s.%s" % (path, key))
    if own:
        check_order(pair.get("warning"), pair.get("critical"), path)
    return {key: None if value is None else str(value) for key, value in pair.items()}


def _backup(item: Any, path: str, artifacts: backup_plan.Artifacts) -> Backup:
    if not isinstance(item, Mapping):
        raise OptionError(path, "is to be a dictionary, not %r" % (item,))
    for key in item:
        if key not in _NAMES:
            raise unknown_name("%s.%s" % (path, key), str(key), _NAMES)
    name, root = _text(item, "name", path), _text(item, "root", path)
    if not root.startswith("/"):
        raise OptionError(path + ".root", "%r is not an absolute path" % root, hint="/" + root)
    if ".." in root.split("/"):
        raise OptionError(path + ".root", "%r is to be said without .." % root, hint=os.path.normpath(root))
    root = os.path.normpath("/" + root.lstrip("/"))
    mount_point = read.absolute(item["mount_point"], path + ".mount_point") if item.get("mount_point") else None
    if mount_point and (mount_point == "/" or not (root + "/").startswith(mount_point + "/")):
        raise OptionError(path + ".mount_point", "%s is not in %s, or that is no disk of its own" % (root, mount_point))
    kind = str(item.get("kind") or "set")
    if kind not in KINDS:
        raise unknown_name(path + ".kind", kind, KINDS, "kind")
    if kind == "file" and not item.get("pattern"):
        raise OptionError(path + ".pattern", "is needed for kind file", hint="*.tar.gz")
    pattern = str(item.get("pattern") or "*")
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise OptionError(path + ".pattern", "%r leads out of the root" % pattern)
    ages = _ages(item.get("max_age"), path + ".max_age")
    change = _pair(item.get("size_change"), path + ".size_change", SIZE_CHANGE)
    change = _ranges(change, path + ".size_change", bool(item.get("size_change")))
    unverified = item.get("max_unverified_age")
    plan = backup_plan.parse(item, path, artifacts)
    if plan.artifacts:
        read.name(name, path + ".name")
    if plan.artifacts and (kind != "set" or pattern != "*"):
        raise OptionError(path + (".kind" if kind != "set" else ".pattern"), "what is made here are sets, named by their time")
    rung = _whole(item.get("verified_rung", VERIFIED_RUNG), path + ".verified_rung", 1)
    if rung > 5:
        raise OptionError(path + ".verified_rung", "%d is none of the rungs 1 to 5" % rung)
    return Backup(
        name=name,
        root=root,
        kind=kind,
        pattern=pattern,
        max_age=ages,
        size_change=(change["warning"], change["critical"]),
        history=_whole(item.get("history", HISTORY), path + ".history", 1),
        min_count=None if item.get("min_count") is None else _whole(item["min_count"], path + ".min_count", 1),
        min_size=None if item.get("min_size") is None else parse_size(item["min_size"], path + ".min_size"),
        partial_after=parse_duration(item.get("partial_after", PARTIAL_AFTER), path + ".partial_after"),
        max_unverified_age=None if unverified is None else parse_duration(unverified, path + ".max_unverified_age"),
        verified_rung=rung,
        remedy=None if item.get("remedy") is None else str(item["remedy"]),
        mount_point=mount_point,
        plan=plan,
    )


def parse(value: Any, path: str = "backups", artifacts: backup_plan.Artifacts = backup_plan.artifact_names) -> List[Backup]:
    """Read the option O(backups). ``artifacts``: reads that key; here only names and engines are. Raises OptionError."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise OptionError(path, "is to be a list, not %r" % (value,))
    backups: List[Backup] = []
    for at, item in enumerate(value):
        backup = _backup(item, "%s[%d]" % (path, at), artifacts)
        if any(other.name == backup.name for other in backups):
            raise OptionError("%s[%d].name" % (path, at), "%r is there twice" % backup.name)
        for other in backups:
            # Each would take the other's sets for its own, and remove them.
            if (other.root, other.kind, other.pattern) == (backup.root, "set", "*") == (backup.root, backup.kind, backup.pattern):
                raise OptionError("%s[%d].root" % (path, at), "%s is the root of %r already" % (backup.root, other.name))
        backups.append(backup)
    return backups
