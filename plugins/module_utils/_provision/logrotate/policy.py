# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""logrotate policies: read from data, written as logrotate's own files, held against those that others have written.

Source of names and meaning: logrotate(8).
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_duration, parse_size

HEADER = "# Managed by opsrunner (logrotate): what is written here by hand is replaced.\n"
FREQUENCIES = ("hourly", "daily", "weekly", "monthly", "yearly")
#: Sizes and ages of log files that are worth a look, from the runbooks.
SIZE_LIMIT, AGE_LIMIT = "100M", "30d"

_SWITCHES = ("compress", "delaycompress", "sharedscripts", "missingok", "copytruncate", "dateext")
_SCRIPTS = ("prerotate", "postrotate", "firstaction", "lastaction")
_SCRIPT_STARTS = (*_SCRIPTS, "preremove")


def _owned(value: Any, path: str) -> Dict[str, Any]:
    return read.read_item(value, path, {"mode": read.mode, "owner": read.user, "group": read.user}, ("mode", "owner", "group"))


def _as_user(value: Any, path: str) -> Dict[str, Any]:
    return read.read_item(value, path, {"user": read.user, "group": read.user}, ("user", "group"))


def _create(value: Any, path: str) -> Any:
    return value if isinstance(value, bool) else _owned(value, path)


def _paths(value: Any, path: str) -> List[str]:
    found = read.absolutes(value, path)
    for at, item in enumerate(found):
        if any(sign in item for sign in "\"'{}\\"):
            raise OptionError("%s[%d]" % (path, at), "%r holds a quote, a brace or a backslash" % item)
    return found


def _script(value: Any, path: str) -> List[str]:
    found = read.lines(value, path)
    for at, line in enumerate(found):
        if line.strip() in ("endscript", *_SCRIPT_STARTS):
            raise OptionError("%s[%d]" % (path, at), "%r would end the script" % line.strip())
    return found


_POLICY: Dict[str, read.Reader] = {
    "name": read.name,
    "state": read.choice("present", "absent"),
    "paths": _paths,
    "frequency": read.choice(*FREQUENCIES),
    "size": read.size,
    "maxsize": read.size,
    "minsize": read.size,
    "rotate": read.whole,
    "maxage": read.whole,
    "notifempty": read.boolean,
    "create": _create,
    "su": _as_user,
    "olddir": read.absolute,
    "dateformat": read.text,
    "compresscmd": read.absolute,
    "compressext": read.text,
    "compressoptions": read.text,
    "size_limit": read.text,
    "age_limit": read.text,
    "remedy": read.text,
    **dict.fromkeys(_SWITCHES, read.boolean),
    **dict.fromkeys(_SCRIPTS, _script),
}


class Policy(NamedTuple):
    """One file under logrotate.d. ``values``: its directives; ``size_limit`` (bytes) and ``age_limit`` (days): when a log is told."""

    name: str
    present: bool
    paths: Tuple[str, ...]
    values: Dict[str, Any]
    size_limit: int
    age_limit: float
    remedy: Optional[str]


class Options(NamedTuple):
    """What the module was asked for. ``force``: policies that are to be rotated now; ``proof``: seconds for writers to follow."""

    policies: Tuple[Policy, ...]
    force: Tuple[str, ...]
    exclusive: bool
    proof: float


class Section(NamedTuple):
    """A section of a logrotate file: the paths it is for."""

    file: str
    line: int
    paths: Tuple[str, ...]


def parse(options: Mapping[str, Any]) -> Options:
    """Read the module's options. Raises OptionError."""
    policies = []
    for index, item in enumerate(read.read_items(options.get("policies"), "policies", _POLICY)):
        policies.append(_policy(item, "policies[%d]" % index))
    present = [policy for policy in policies if policy.present]
    force = read.texts(options["force"], "force") if options.get("force") else []
    for at, word in enumerate(force):
        if word not in [policy.name for policy in present]:
            from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import unknown_name

            raise unknown_name("force[%d]" % at, word, [policy.name for policy in present], what="policy")
    for first, second, path in overlaps([(policy.name, policy.paths) for policy in present]):
        at = next(index for index, policy in enumerate(policies) if policy.name == second)
        raise OptionError("policies[%d].paths" % at, "%s is rotated by policy %r already" % (path, first))
    proof = parse_duration(options.get("proof_timeout") or "10s", "proof_timeout")
    return Options(tuple(policies), tuple(force), read.boolean(options.get("exclusive") or False, "exclusive"), proof)


def _policy(item: Dict[str, Any], here: str) -> Policy:
    present = item.pop("state", "present") == "present"
    name, paths = item.pop("name"), tuple(item.pop("paths", ()))
    if re.search(r"\.(?:bak|cfsaved|disabled|dpkg-\w+|old|orig|rhn-cfg-tmp-.*|rpm\w+|swp|ucf-\w+)\Z|~\Z|,v\Z", name):
        raise OptionError(here + ".name", "logrotate passes over files that are named so: %s" % name)
    limits = (
        parse_size(item.pop("size_limit", SIZE_LIMIT), here + ".size_limit"),
        parse_duration(item.pop("age_limit", AGE_LIMIT), here + ".age_limit") / 86400,
    )
    remedy = item.pop("remedy", None)
    if present:
        if not paths:
            raise OptionError(here + ".paths", "is required and is missing")
        if not any(key in item for key in ("frequency", "size")):
            raise OptionError(here + ".frequency", "say when: a frequency or a size")
        if "rotate" not in item and "maxage" not in item:
            raise OptionError(here + ".rotate", "say how many old files stay (rotate) or how long (maxage)")
        if item.get("copytruncate") and item.get("create"):
            raise OptionError(here + ".create", "copytruncate keeps the file, so there is none to create")
        if item.get("delaycompress") and not item.get("compress"):
            raise OptionError(here + ".delaycompress", "delays a compression that is not asked for")
        for key in ("compresscmd", "compressext", "compressoptions"):
            if key in item and not item.get("compress"):
                raise OptionError("%s.%s" % (here, key), "says how to compress, and compress is not asked for")
    return Policy(name, present, paths, item, limits[0], limits[1], remedy)


def render(policy: Policy) -> bytes:
    """The policy as logrotate reads it."""
    values = policy.values
    out = ['"%s"' % path if re.search(r"\s", path) else path for path in policy.paths]
    lines = [HEADER + " ".join(out) + " {"]
    if "frequency" in values:
        lines.append(values["frequency"])
    lines += ["%s %d" % (key, values[key]) for key in ("size", "minsize", "maxsize", "rotate", "maxage") if key in values]
    for key in _SWITCHES:
        if key in values:
            lines.append(key if values[key] else "no" + key)
    if "notifempty" in values:
        lines.append("notifempty" if values["notifempty"] else "ifempty")
    create = values.get("create")
    if isinstance(create, Mapping):
        lines.append("create %04o %s %s" % (create["mode"], create["owner"], create["group"]))
    elif create is not None:
        lines.append("create" if create else "nocreate")
    if "su" in values:
        lines.append("su %s %s" % (values["su"]["user"], values["su"]["group"]))
    lines += [
        "%s %s" % (key, values[key]) for key in ("olddir", "dateformat", "compresscmd", "compressext", "compressoptions") if key in values
    ]
    for key in _SCRIPTS:
        if key in values:
            lines += [key, *("    " + line for line in values[key]), "endscript"]
    return ("\n    ".join(lines) + "\n}\n").encode()


def sections(text: str, file: str) -> List[Section]:
    """The sections of a logrotate file; what cannot be read as one is left to logrotate to complain about."""
    found: List[Section] = []
    words: List[str] = []
    depth, script, start = 0, False, 0
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if script:
            script = stripped != "endscript"
            continue
        if stripped.startswith("#") or not stripped:
            continue
        if depth:
            first = stripped.split(None, 1)[0]
            script = first in _SCRIPT_STARTS
            if "}" in stripped and not script:
                depth = 0
            continue
        head, brace, rest = stripped.partition("{")
        if head.startswith(("/", '"', "'")) or words:
            if not words:
                start = number
            words += [a or b or c for a, b, c in re.findall(r"\"([^\"]*)\"|'([^']*)'|(\S+)", head)]
        if brace:
            found.append(Section(file, start or number, tuple(word for word in words if word.startswith("/"))))
            words, depth = [], 0 if "}" in rest else 1
    return found


def overlaps(groups: Sequence[Tuple[str, Sequence[str]]]) -> List[Tuple[str, str, str]]:
    """Pairs of groups that mean the same file: (first, second, the path or glob they share)."""
    found = []
    for index, (second, paths) in enumerate(groups):
        for first, others in groups[:index]:
            shared = next((path for path in paths for other in others if same_file(path, other)), None)
            if shared:
                found.append((first, second, shared))
    return found


def same_file(first: str, second: str) -> bool:
    """Whether two paths or globs can be seen to mean a common file: they are equal, or one fits the other's glob."""
    return first == second or _fits(first, second) or _fits(second, first)


def _fits(path: str, glob: str) -> bool:
    if re.search(r"[*?\[]", path) or path.count("/") != glob.count("/"):
        return False
    return all(fnmatchcase(part, pattern) for part, pattern in zip(path.split("/"), glob.split("/")))
