# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of users (PAM) and of units (systemd), and what a new session and the running process really have.

Sources: limits.conf(5) and pam_limits(8) (units of sizes, order of files), systemd.exec(5) (``Limit*=``), proc(5)
(``/proc/PID/limits``), setrlimit(2) (``fs.nr_open``, ``CAP_SYS_RESOURCE``).
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_size, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import run
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime import units

from . import changes as held

HEADER = "Managed by opsrunner (ulimits): what is written here by hand is replaced."
UNLIMITED = -1


class Item(NamedTuple):
    """A limit: its directive in units, its name in ``/proc/PID/limits``, whether it is a size, bytes of PAM's unit."""

    directive: str
    title: str
    is_size: bool = False
    pam_unit: int = 1


ITEMS = {
    "nofile": Item("LimitNOFILE", "Max open files"),
    "nproc": Item("LimitNPROC", "Max processes"),
    "core": Item("LimitCORE", "Max core file size", True, 1024),
    "memlock": Item("LimitMEMLOCK", "Max locked memory", True, 1024),
    "stack": Item("LimitSTACK", "Max stack size", True, 1024),
    "data": Item("LimitDATA", "Max data size", True, 1024),
    "fsize": Item("LimitFSIZE", "Max file size", True, 1024),
    "as": Item("LimitAS", "Max address space", True, 1024),
    "locks": Item("LimitLOCKS", "Max file locks"),
    "sigpending": Item("LimitSIGPENDING", "Max pending signals"),
    "msgqueue": Item("LimitMSGQUEUE", "Max msgqueue size", True, 1),
}
#: (soft, hard); UNLIMITED for no limit.
Pair = Tuple[int, int]
_USER = re.compile(r"(@?[A-Za-z_][A-Za-z0-9_.-]*\$?|\*)\Z")


class Subject(NamedTuple):
    """A user, ``@group``, ``*`` or a unit, and its limits by item."""

    name: str
    limits: Dict[str, Pair]
    remedy: Optional[str]


class Options(NamedTuple):
    """What the module is asked for."""

    common: held.Common
    users: List[Subject]
    units: List[Subject]

    @property
    def wanted(self) -> bool:
        """Whether there are to be limits of ours at all."""
        return self.common.state == "replaced"


# -- options ----------------------------------------------------------------------------------------------------------------


def parse_options(args: Mapping[str, Any]) -> Options:
    """Read the module's options. Raises OptionError."""
    limits = args.get("limits") or {}
    if not isinstance(limits, Mapping):
        raise OptionError("limits", "%r is not a mapping of users and units" % (limits,))
    for key in limits:
        if key not in ("users", "units"):
            raise unknown_name("limits.%s" % key, str(key), ("users", "units"), what="key")
    users = _subjects(limits.get("users"), "limits.users", _user)
    return Options(held.parse_common(args), users, _subjects(limits.get("units"), "limits.units", units.unit_name))


def _user(name: Any, path: str) -> str:
    if not _USER.match(str(name)):
        raise OptionError(path, "%r is no user, @group or *" % (name,))
    return str(name)


def _subjects(items: Any, path: str, read_name: Callable[[Any, str], str]) -> List[Subject]:
    if items is not None and not isinstance(items, (list, tuple)):
        raise OptionError(path, "%r is not a list" % (items,))
    found: List[Subject] = []
    for index, item in enumerate(items or []):
        where = "%s[%d]" % (path, index)
        if not isinstance(item, Mapping):
            raise OptionError(where, "%r is not a mapping with name and limits" % (item,))
        for key in item:
            if key != "name" and key != "remedy" and key not in ITEMS:
                raise unknown_name("%s.%s" % (where, key), str(key), ("name", "remedy", *ITEMS), what="key")
        if "name" not in item:
            raise OptionError(where + ".name", "is required and is missing")
        name = read_name(item["name"], where + ".name")
        if any(name == other.name for other in found):
            raise OptionError(where + ".name", "%s is given twice" % name)
        limits = {key: _pair(key, item[key], "%s.%s" % (where, key)) for key in ITEMS if item.get(key) is not None}
        if not limits:
            raise OptionError(where, "has no limit", hint="nofile: 65535")
        found.append(Subject(name, limits, item.get("remedy") or None))
    return found


def _pair(key: str, value: Any, path: str) -> Pair:
    if isinstance(value, Mapping):
        for name in value:
            if name not in ("soft", "hard"):
                raise unknown_name("%s.%s" % (path, name), str(name), ("soft", "hard"), what="key")
        if "soft" not in value or "hard" not in value:
            raise OptionError(path, "needs both soft and hard")
        soft, hard = (_limit(key, value[name], "%s.%s" % (path, name)) for name in ("soft", "hard"))
    else:
        soft = hard = _limit(key, value, path)
    if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
        raise OptionError(path, "the soft limit is above the hard one")
    return soft, hard


def _limit(key: str, value: Any, path: str) -> int:
    item = ITEMS[key]
    if str(value) in ("unlimited", "infinity"):
        if key == "nofile":
            raise OptionError(path, "the kernel has no unlimited number of files, and PAM then opens no session", hint="1048576")
        return UNLIMITED
    if item.is_size:
        size = parse_size(value, path)
        if size % item.pam_unit:
            raise OptionError(path, "%r is not a whole number of KiB" % (value,))
        return size
    if isinstance(value, bool) or not re.match(r"\d+\Z", str(value)):
        raise OptionError(path, "%r is no limit: a whole number, or unlimited" % (value,))
    number = int(value)
    if number == 0 and key in ("nofile", "nproc"):
        raise OptionError(path, "with 0 nothing can start any more")
    return number


# -- the host ---------------------------------------------------------------------------------------------------------------


def read_limits(text: str) -> Dict[str, Pair]:
    """The limits in the text of a ``/proc/PID/limits``."""
    titles = {item.title: key for key, item in ITEMS.items()}
    found = {}
    for line in text.splitlines():
        match = re.match(r"(Max [a-z ]+?)\s{2,}(\S+)\s+(\S+)", line)
        if match and match.group(1) in titles:
            soft, hard = (UNLIMITED if value == "unlimited" else int(value) for value in match.groups()[1:])
            found[titles[match.group(1)]] = (soft, hard)
    return found


class Host:
    """The host below ``root``; programs are started by ``run``."""

    def __init__(self, root: str = "/", run: run.Run = run.run_command) -> None:
        self.root, self.run = root, run

    def process(self, pid: int) -> Dict[str, Pair]:
        """The limits of a process; nothing when it is gone."""
        try:
            with open(os.path.join(self.root, "proc/%d/limits" % pid), encoding="utf-8") as file:
                return read_limits(file.read())
        except OSError:
            return {}

    def session(self, user: str) -> Tuple[Dict[str, Pair], str]:
        """The limits that a new PAM session of a user gets, or why none could be opened."""
        status, output = self.run(["su", "-s", "/bin/sh", "-c", "cat /proc/self/limits", "--", user])
        found = read_limits(output)
        return (found, "") if status == 0 and found else ({}, output.splitlines()[-1] if output else "exit status %d" % status)

    def nr_open(self) -> Optional[int]:
        """The most files a process may ever have (``fs.nr_open``)."""
        try:
            with open(os.path.join(self.root, "proc/sys/fs/nr_open"), encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None

    def somebody(self, name: str) -> Optional[str]:
        """A user to whom the entry for ``name`` applies. Raises LookupError where the user or group does not exist."""
        import grp
        import pwd

        try:
            if name == "*":
                return pwd.getpwnam("nobody").pw_name
            if not name.startswith("@"):
                return pwd.getpwnam(name).pw_name
            group = grp.getgrnam(name[1:])
        except KeyError:
            raise LookupError(name) from None
        if group.gr_mem:
            return group.gr_mem[0]
        return next((user.pw_name for user in pwd.getpwall() if user.pw_gid == group.gr_gid and user.pw_uid), None)


def pam_text(subjects: List[Subject]) -> bytes:
    """The text of the limits.d file."""
    lines = ["# %s\n" % HEADER]
    for subject in subjects:
        for key, (soft, hard) in subject.limits.items():
            for kind, value in (("soft", soft), ("hard", hard)):
                shown = "unlimited" if value == UNLIMITED else str(value // ITEMS[key].pam_unit)
                lines.append("%s %s %s %s\n" % (subject.name, kind, key, shown))
    return "".join(lines).encode()


def unit_text(subject: Subject) -> bytes:
    """The text of a unit's drop-in."""

    def shown(value: int) -> str:
        return "infinity" if value == UNLIMITED else str(value)

    return units.drop_in(HEADER, {ITEMS[key].directive: "%s:%s" % tuple(map(shown, pair)) for key, pair in subject.limits.items()})


# -- the change -------------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What is to be done. ``ceilings``: limits that are left out because the kernel could not give them: (user, item, most).
    ``gone``: units that are no longer ours."""

    change: units.Change
    people: Dict[str, Optional[str]]
    ceilings: List[Tuple[Subject, str, int]]
    gone: List[str]


def plan(options: Options, host: Host) -> Plan:
    """Compare the host with what is asked. Changes nothing. Raises OptionError, FileError or UnitError."""
    people = {}
    for index, subject in enumerate(options.users if options.wanted else []):
        try:
            people[subject.name] = host.somebody(subject.name)
        except LookupError:
            what = "group" if subject.name.startswith("@") else "user"
            problem = "the %s %s does not exist on this host; nothing was changed" % (what, subject.name.lstrip("@"))
            raise OptionError("limits.users[%d].name" % index, problem) from None
    wanted = {subject.name: subject for subject in options.units} if options.wanted else {}
    seen = units.show(wanted, host.run)
    units.require(seen, "limits.units")
    users, ceilings = _below_ceiling(options.users if options.wanted else [], host.nr_open())
    pairs = _pam_files(options, users, host.root)
    name = options.common.file_name("-limits.conf")
    gone: List[str] = []
    for unit, path in units.present(options.common.file_pattern("-limits.conf"), host.root).items():
        if unit not in wanted or os.path.basename(path) != name:
            before = files.read(path)
            pairs.append((before, files.absent(before)))
            gone += [unit] if unit not in wanted else []
    for unit, subject in wanted.items():
        before = files.read(units.drop_in_path(unit, name, host.root))
        pairs.append((before, files.desired(before, unit_text(subject), mode=0o644, uid=os.geteuid(), gid=os.getegid())))
    stale = [
        seen[unit]
        for unit, subject in wanted.items()
        if seen[unit].active == "active"
        and seen[unit].pid
        and not _holds(subject, host.process(seen[unit].pid))
        and _older(seen[unit], unit, pairs)
    ]
    stale += units.released(gone, host.run)
    return Plan(units.Change(pairs, stale if options.common.restart else []), people, ceilings, gone)


def _below_ceiling(users: List[Subject], most: Optional[int]) -> Tuple[List[Subject], List[Tuple[Subject, str, int]]]:
    """Leave out open files above ``fs.nr_open``: with such a line PAM refuses to open a session at all."""
    kept, left_out = [], []
    for subject in users:
        limits = dict(subject.limits)
        if most is not None and max(limits.get("nofile", (0, 0))) > most:
            left_out.append((subject, "nofile", most))
            del limits["nofile"]
        kept.append(subject._replace(limits=limits))
    return kept, left_out


def _pam_files(options: Options, users: List[Subject], root: str) -> List[Tuple[files.FileState, files.FileState]]:
    folder = os.path.join(root, "etc/security/limits.d")
    path = os.path.join(folder, options.common.file_name(".conf"))
    pairs = []
    for other in sorted(glob.glob(os.path.join(glob.escape(folder), options.common.file_pattern(".conf")))):
        if other != path:
            before = files.read(other)
            pairs.append((before, files.absent(before)))
    before = files.read(path)
    if any(subject.limits for subject in users):
        pairs.append((before, files.desired(before, pam_text(users), mode=0o644, uid=os.geteuid(), gid=os.getegid())))
    elif before.kind != "absent":
        pairs.append((before, files.absent(before)))
    return pairs


def _holds(subject: Subject, effective: Mapping[str, Pair]) -> bool:
    return all(effective.get(key) == pair for key, pair in subject.limits.items())


def _older(unit: units.Unit, name: str, pairs: List[Tuple[files.FileState, files.FileState]]) -> bool:
    """Whether the process was started before its drop-in was written, so that a restart would make a difference."""
    for before, after in pairs:
        if os.path.basename(os.path.dirname(after.path)) == name + ".d" and after.kind == "file":
            return files.differs(before, after) or unit.started < (before.mtime_ns or 0) / 1e9
    return False


def apply(options: Options, planned: Plan, host: Host) -> None:
    """Do what is planned: all of it, or nothing. Raises FileError or UnitError; then the host is as before."""

    def sessions_open() -> None:
        for name, person in planned.people.items():
            if person:
                limits, reason = host.session(person)
                if not limits:
                    raise units.UnitError("%s: a new session of %s cannot be opened with these limits: %s" % (name, person, reason))

    with held.transaction(options.common, "ulimits", host.root, units.undo(host.run)) as change:
        units.apply(planned.change, change, host.run, options.common.settle, sessions_open)
        if options.common.hold:
            change.keep()


# -- what is said -------------------------------------------------------------------------------------------------------------


def look(options: Options, planned: Plan, host: Host, applied: bool) -> List[Finding]:
    """Findings about every limit, from a new session of each user and the running process of each unit."""
    found = held.leftovers(planned.gone, planned.change, "ulimit")
    for subject, key, most in planned.ceilings:
        text = message("ulimit.ceiling", name=subject.name, item=key, wanted=_shown(key, subject.limits[key][1]), most=most)
        found.append(_found("%s.%s" % (subject.name, key), "warning", text, subject, key, None, {"nr_open": most}))
    skipped = {(subject.name, key) for subject, key, _most in planned.ceilings}
    for subject in options.users if options.wanted else []:
        person = planned.people.get(subject.name)
        if person is None:
            text = message("ulimit.nobody", name=subject.name)
            found.append(_found(subject.name, "unknown", text, subject, None, None, {}))
            continue
        effective, reason = host.session(person)
        if not effective:
            text = message("ulimit.session", name=person, reason=reason)
            found.append(_found(subject.name, "unknown", text, subject, None, None, {}))
            continue
        told = [key for key in subject.limits if (subject.name, key) not in skipped]
        found += [_judge(subject, key, effective.get(key), "session", planned, applied, host) for key in told]
    now = units.show([subject.name for subject in options.units], host.run) if options.wanted else {}
    for subject in options.units if options.wanted else []:
        unit = now[subject.name]
        effective = host.process(unit.pid) if unit.pid else {}
        for key in subject.limits:
            if not effective:
                text = message("ulimit.stopped", name=subject.name, item=key, wanted=_shown(key, subject.limits[key][0]))
                found.append(_found("%s.%s" % (subject.name, key), "ok", text, subject, key, None, {}))
            else:
                old = effective.get(key) != subject.limits[key] and _older(unit, subject.name, _reread(planned))
                found.append(_judge(subject, key, effective.get(key), "old_process" if old else "process", planned, applied, host))
    return found


def _reread(planned: Plan) -> List[Tuple[files.FileState, files.FileState]]:
    return [(files.read(after.path), after) for _before, after in planned.change.files]


def _judge(subject: Subject, key: str, pair: Optional[Pair], where: str, planned: Plan, applied: bool, host: Host) -> Finding:
    wanted = subject.limits[key]
    evidence: Dict[str, Any] = {"wanted": _both(key, wanted), "live": _both(key, pair) if pair else None}
    params = {"name": subject.name, "item": key, "wanted": _both(key, wanted), "live": evidence["live"]}
    if pair == wanted:
        status, text = "ok", message("ulimit.ok", name=subject.name, item=key, value=_both(key, wanted))
    elif not applied and _changing(subject, where, planned.change):
        status, text = "warning", message("ulimit.drift", **params)
    elif where == "old_process":
        status, text = "warning", message("ulimit.restart", **params)
    else:
        status, text = "warning", message("ulimit.clamped", **params)
        evidence["host_limit"] = _both(key, host.process(1).get(key)) if host.process(1).get(key) else None
        if key == "nofile":
            evidence["nr_open"] = host.nr_open()
        others = _others(subject.name, key, host.root) if where == "session" else []
        if others:
            evidence["overridden_by"] = others
    return _found("%s.%s" % (subject.name, key), status, text, subject, key, pair, evidence)


def _changing(subject: Subject, where: str, change: units.Change) -> bool:
    """Whether the change that is planned is about this subject."""
    if where == "session":
        mark = ("\n%s " % subject.name).encode()
        lines = [
            [line for line in state.content.splitlines() if (b"\n" + line).startswith(mark)]
            for pair in change.files
            for state in pair
            if "/limits.d/" in state.path
        ]
        return any(before != after for before, after in zip(lines[::2], lines[1::2]))
    written = any(files.differs(*pair) for pair in change.files if "/%s.d/" % subject.name in pair[0].path)
    return written or any(unit.name == subject.name for unit in change.restart)


def _others(name: str, key: str, root: str) -> List[str]:
    """Lines for the same user and item in files that are not ours."""
    found = []
    paths = [os.path.join(root, "etc/security/limits.conf"), *sorted(glob.glob(os.path.join(root, "etc/security/limits.d/*.conf")))]
    for path in paths:
        if "-opsrunner-" in path:
            continue
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].split()
            if len(words) >= 4 and words[0] in (name, "*") and words[2] == key:
                found.append("%s:%d" % (path, number))
    return found


def _shown(key: str, value: int) -> str:
    if value == UNLIMITED:
        return "unlimited"
    return "%d" % value


def _both(key: str, pair: Optional[Pair]) -> str:
    if pair is None:
        return "?"
    return _shown(key, pair[0]) if pair[0] == pair[1] else "%s/%s" % (_shown(key, pair[0]), _shown(key, pair[1]))


def _found(
    check: str, status: str, text: Dict[str, Any], subject: Subject, key: Optional[str], pair: Optional[Pair], evidence: Dict[str, Any]
) -> Finding:
    value = pair[0] if pair and pair[0] != UNLIMITED else None
    unit = "B" if key and ITEMS[key].is_size else ""
    return finding("ulimit.%s" % check, "ulimit", status, text, value=value, unit=unit, evidence=evidence, remedy=subject.remedy)


def tune(args: Mapping[str, Any], check_mode: bool, host: Optional[Host] = None) -> Dict[str, Any]:
    """What the module does, from its options to its result. Raises OptionError, FileError or UnitError."""
    options, host = parse_options(args), host or Host()
    result = {**held.new_result(), "restarted": []}
    if held.earlier_change(result, options.common, "ulimits", host.root, units.undo(host.run), check_mode):
        return result
    planned = plan(options, host)
    units.describe(result, planned.change)
    if planned.change.needed and not check_mode:
        apply(options, planned, host)
        result["pending"] = options.common.hold
    result["findings"] += look(options, planned, host, applied=not check_mode)
    return result
