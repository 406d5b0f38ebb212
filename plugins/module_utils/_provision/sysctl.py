# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters: a drop-in of our own, the live values with it, and the way back.

Sources: sysctl.d(5) of systemd (order of files, separators, globs, ``-`` prefix), Documentation/admin-guide/sysctl of the
kernel (ranges, pairs, what is no setting).
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import json
import os
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files

from . import changes as held
from .sysctl_profiles import PROFILES
from .sysctl_values import same

STATES = ("set", *held.STATES)
#: Where sysctl.d(5) looks; a file hides those of the same name further down.
FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d")
HEADER = "# Managed by opsrunner (sysctl_tuning): what is written here by hand is replaced.\n"

#: Writing to these does something once; they hold no value.
ACTIONS = frozenset(
    (
        "vm.drop_caches",
        "vm.compact_memory",
        "vm.stat_refresh",
        "net.ipv4.route.flush",
        "net.ipv6.route.flush",
    )
)
#: Setting one of a pair makes the other zero (Documentation/admin-guide/sysctl/vm.rst).
PAIRS = {
    "vm.dirty_ratio": "vm.dirty_bytes",
    "vm.dirty_background_ratio": "vm.dirty_background_bytes",
    "vm.overcommit_ratio": "vm.overcommit_kbytes",
}
PAIRS.update({other: key for key, other in list(PAIRS.items())})
#: Keys that kernels no longer have, with the release that dropped them.
REMOVED = {
    "net.ipv4.tcp_tw_recycle": "4.12",
    "net.ipv4.tcp_low_latency": "4.14",
    "kernel.sched_min_granularity_ns": "5.13",
    "kernel.sched_wakeup_granularity_ns": "5.13",
    "kernel.sched_latency_ns": "5.13",
    "kernel.sched_migration_cost_ns": "5.13",
}
#: Limits that systemd or the kernel sets as high as they go: a smaller value takes something away.
CEILINGS = ("fs.file-max", "fs.nr_open")

_KEY = re.compile(r"[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_:@-]+)+\Z")
_ITEM = ("value", "reason", "source")


class KernelError(Exception):
    """A value the kernel did not take. ``key``, ``value``, ``reason``."""

    def __init__(self, key: str, value: str, reason: str) -> None:
        self.key, self.value, self.reason = key, value, reason
        super().__init__("the kernel refused %s = %s: %s" % (key, value, reason))


class Setting(NamedTuple):
    """A key (with dots), its value (one space between numbers), and why."""

    key: str
    value: str
    reason: str = ""
    source: str = ""


class Options(NamedTuple):
    """What the module is asked for. ``settings``: in the order they are applied; ``conflicts``: (key, values told)."""

    common: held.Common
    settings: Dict[str, Setting]
    absent: List[str]
    conflicts: List[Tuple[str, List[str]]]
    refuse_missing: bool
    remedy: Optional[str]


class Assignment(NamedTuple):
    """A line of a sysctl.d file. ``value`` None: the key is kept out of globs."""

    key: str
    value: Optional[str]
    file: str
    line: int


# -- options ----------------------------------------------------------------------------------------------------------------


def parse_options(args: Mapping[str, Any]) -> Options:
    """Read the module's options. Raises OptionError."""
    common = held.parse_common(args, STATES)
    told: Dict[str, List[Tuple[str, Setting]]] = {}
    for index, profile in enumerate(args.get("profiles") or []):
        if profile not in PROFILES:
            raise unknown_name("profiles[%d]" % index, str(profile), PROFILES, what="profile")
        for setting in _settings(PROFILES[profile], "profile %s" % profile)[0].values():
            told.setdefault(setting.key, []).append((str(profile), setting))
    own, absent = _settings(args.get("values") or {}, "values")
    settings: Dict[str, Setting] = {}
    conflicts = []
    for key, choices in told.items():
        if key in own or key in absent:
            continue
        settings[key] = choices[-1][1]
        if len({setting.value for _name, setting in choices}) > 1:
            conflicts.append((key, ["%s: %s" % (name, setting.value) for name, setting in choices]))
    settings.update(own)
    for key, other in PAIRS.items():
        if key in settings and other in settings:
            raise OptionError("values", "%s and %s cannot both be set: each makes the other zero" % tuple(sorted((key, other))))
    missing = str(args.get("missing") or "skip")
    if missing not in ("skip", "refuse"):
        raise unknown_name("missing", missing, ("skip", "refuse"), what="choice")
    return Options(common, settings, absent, conflicts, missing == "refuse", args.get("remedy") or None)


def _settings(values: Any, path: str) -> Tuple[Dict[str, Setting], List[str]]:
    if not isinstance(values, Mapping):
        raise OptionError(path, "%r is not a mapping of kernel parameters to values" % (values,))
    settings: Dict[str, Setting] = {}
    absent: List[str] = []
    for raw, item in values.items():
        where = "%s[%s]" % (path, raw)
        key = canonical(str(raw), where)
        if key in settings or key in absent:
            raise OptionError(where, "%s is given twice" % key)
        if isinstance(item, Mapping):
            for name in item:
                if name not in _ITEM:
                    raise unknown_name("%s.%s" % (where, name), str(name), _ITEM, what="key")
            value, reason, source = item.get("value"), item.get("reason"), item.get("source")
        else:
            value, reason, source = item, None, None
        if value is None:
            absent.append(key)
            continue
        settings[key] = Setting(key, _value(value, where), _comment(reason), _comment(source))
    return settings, absent


def canonical(key: str, path: str = "") -> str:
    """The key with dots between its parts and slashes within them (``net.ipv4.conf.eth0/5.rp_filter``). Raises OptionError."""
    key = key.strip()
    first = re.search(r"[./]", key)
    if first and first.group() == "/":  # sysctl.d(5): the first separator tells which of the two it is
        key = key.translate(str.maketrans("./", "/."))
    if not _KEY.match(key) or ".." in key.replace("/", "."):
        raise OptionError(path, "%r is no kernel parameter" % key, hint="net.core.somaxconn")
    if key in ACTIONS:
        raise OptionError(path, "%s is no setting: writing to it does something once and it keeps no value" % key)
    return key


def key_path(key: str) -> str:
    """The path of a canonical key below ``/proc/sys``."""
    return key.translate(str.maketrans("./", "/."))


def _value(value: Any, path: str) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if not isinstance(value, (str, int)):
        raise OptionError(path, "%r is no value of a kernel parameter: a whole number or a text" % (value,))
    if "\n" in str(value) or "\0" in str(value):
        raise OptionError(path, "%r has a line break" % (value,))
    text = " ".join(str(value).split())
    if not text:
        raise OptionError(path, "is empty", hint="null, to have no setting of our own")
    return text


def _comment(text: Any) -> str:
    return " ".join(str(text).split()) if text else ""


# -- the host ---------------------------------------------------------------------------------------------------------------


class Kernel:
    """The live values below ``<root>/proc/sys``. ``stuck``: old values that the kernel refused when they were put back, and why."""

    def __init__(self, root: str = "/") -> None:
        self.folder = os.path.join(root, "proc/sys")
        self.stuck: Dict[str, KernelError] = {}

    def read(self, key: str) -> Optional[str]:
        """The value, None where there is no such key or it cannot be read."""
        try:
            with open(os.path.join(self.folder, key_path(key)), encoding="utf-8", errors="replace") as file:
                return " ".join(file.read().split())
        except OSError:
            return None

    def missing(self, key: str) -> Optional[str]:
        """Why the key cannot be set here: ``absent``, ``write_only``, ``read_only``; None when it can. Changes nothing."""
        path = os.path.join(self.folder, key_path(key))
        if not os.path.isfile(path):
            return "absent"
        if self.read(key) is None:
            return "write_only"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            return "read_only" if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) else "absent"
        return None

    def nearest(self, key: str) -> Optional[str]:
        """A key of this kernel that ``key`` may have been meant for."""
        head = key.rpartition(".")[0]
        try:
            names = os.listdir(os.path.join(self.folder, key_path(head)))
        except OSError:
            return None
        from difflib import get_close_matches

        # A slip of the pen only: many keys of a folder look alike and mean other things.
        found = get_close_matches(key.rpartition(".")[2], names, n=1, cutoff=0.85)
        return "%s.%s" % (head, found[0]) if found else None

    def write(self, key: str, value: str) -> None:
        """Set the value and read it back. Raises KernelError when the kernel does not take it as it is."""
        try:
            with open(os.path.join(self.folder, key_path(key)), "w", encoding="utf-8") as file:
                file.write(value or "\n")  # nothing at all would not reach the kernel
        except OSError as error:
            raise KernelError(key, value, error.strerror or str(error)) from error
        now = self.read(key)
        if not same(now, value):
            raise KernelError(key, value, "reads back as %s" % now)

    def restore(self, values: Mapping[str, str]) -> None:
        """Set values back, the last first; of a pair only the one that is in force.

        What the kernel refuses is kept in ``stuck``: to try it again at each later call would keep all other keys from work for ever.
        """
        for key in reversed(list(values)):
            if same(self.read(key), values[key]) or (values[key] == "0" and values.get(PAIRS.get(key, ""), "0") != "0"):
                continue
            try:
                self.write(key, values[key])
            except KernelError as error:
                self.stuck[key] = error


def configuration(root: str = "/") -> List[Assignment]:
    """What the host's files assign, in the order in which the last one wins.

    The files of sysctl.d(5) by their names, and ``/etc/sysctl.conf`` at the end: ``sysctl --system`` reads it last, and
    most distributions link it in as ``99-sysctl.conf``.
    """
    chosen: Dict[str, str] = {}
    for folder in FOLDERS:
        for path in glob.glob(os.path.join(glob.escape(os.path.join(root, folder)), "*.conf")):
            chosen.setdefault(os.path.basename(path), path)
    last = os.path.join(root, "etc/sysctl.conf")
    paths = [chosen[name] for name in sorted(chosen) if os.path.realpath(chosen[name]) != os.path.realpath(last)]
    found: List[Assignment] = []
    for path in [*paths, last]:
        found += _assignments(path)
    return found


def _assignments(path: str) -> List[Assignment]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        raw, equals, value = line.partition("=")
        key = raw.strip()
        quiet = key.startswith("-")
        if not equals and not quiet:
            continue
        key = key[quiet:].strip()
        first = re.search(r"[./]", key)
        if first and first.group() == "/":
            key = key.translate(str.maketrans("./", "/."))
        found.append(Assignment(key, " ".join(value.split()) if equals else None, path, number))
    return found


def configured(key: str, assignments: Iterable[Assignment]) -> Optional[Assignment]:
    """The assignment that decides ``key`` at boot: the last explicit one, else the last glob that it is not kept out of."""
    exact = globbed = None
    excluded = False
    for item in assignments:
        if item.key == key:
            if item.value is None:
                excluded = True
            else:
                exact = item
        elif item.value is not None and any(sign in item.key for sign in "*?[") and _matches(key, item.key):
            globbed = item
    return exact or (None if excluded else globbed)


def _matches(key: str, pattern: str) -> bool:
    ours, theirs = key_path(key).split("/"), key_path(pattern).split("/")
    return len(ours) == len(theirs) and all(fnmatch.fnmatchcase(part, wanted) for part, wanted in zip(ours, theirs))


def drop_in(settings: Mapping[str, Setting]) -> bytes:
    """The text of the drop-in."""
    lines = [HEADER]
    for setting in settings.values():
        why = " ".join(text for text in (setting.reason, "(%s)" % setting.source if setting.source else "") if text)
        lines.append("%s%s = %s\n" % ("# %s\n" % why if why else "", setting.key, setting.value))
    return "".join(lines).encode()


# -- the change -------------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What is to be done. ``live``: values to be set; ``old``: what they are now; ``lost``: keys whose old value nobody knows."""

    files: List[Tuple[files.FileState, files.FileState]]
    live: Dict[str, str]
    old: Dict[str, str]
    keys: Dict[str, Setting]
    missing: Dict[str, str]
    lost: List[str]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.live) or any(files.differs(before, after) for before, after in self.files)


def paths(options: Options, root: str = "/") -> Tuple[str, str]:
    """The drop-in, and the file with the values of before."""
    return (
        os.path.join(root, "etc/sysctl.d", options.common.file_name(".conf")),
        os.path.join(root, "var/lib/opsrunner/sysctl", options.common.name + ".json"),
    )


def plan(options: Options, kernel: Kernel, root: str = "/") -> Plan:
    """Compare the host with what is asked. Changes nothing. Raises FileError."""
    path, memory_path = paths(options, root)
    before, memory = files.read(path), files.read(memory_path)
    present = _present(before)
    originals = _originals(memory)
    wanted = _wanted(options, present)
    missing: Dict[str, str] = {}
    live: Dict[str, str] = {}
    for key, setting in wanted.items():
        why = None if same(kernel.read(key), setting.value) else kernel.missing(key)
        if why:
            missing[key] = why
        elif not same(kernel.read(key), setting.value):
            live[key] = setting.value
    keys = {key: setting for key, setting in wanted.items() if key not in missing}
    back, lost = _old_values([key for key in {**present, **originals} if key not in keys], originals, path, kernel, root)
    live.update(back)
    for key in [key for key, value in live.items() if value == "0" and live.get(PAIRS.get(key, ""), "0") != "0"]:
        del live[key]  # the other of the pair makes it zero; the kernel refuses it as a value
    old = _with_pairs({key: kernel.read(key) or "" for key in live}, kernel)
    if keys:
        remembered = {**_with_pairs({key: kernel.read(key) or "" for key in keys}, kernel)}
        remembered.update({key: value for key, value in originals.items() if key in remembered})
        after = files.desired(before, drop_in(keys), mode=0o644, uid=os.geteuid(), gid=os.getegid())
        note = files.desired(memory, json.dumps({"values": remembered}, indent=1).encode() + b"\n", mode=0o600)
    else:
        after, note = files.absent(before), files.absent(memory)
    return Plan([(memory, note), (before, after)], live, old, keys, missing, lost)


def _wanted(options: Options, present: Mapping[str, Setting]) -> Dict[str, Setting]:
    """The settings that the drop-in is to hold in the end."""
    if options.common.state == "replaced":
        return dict(options.settings)
    if options.common.state == "set":
        return {key: setting for key, setting in {**present, **options.settings}.items() if key not in options.absent}
    gone = {*options.settings, *options.absent} or set(present)
    return {key: setting for key, setting in present.items() if key not in gone}


def _old_values(keys: List[str], originals: Mapping[str, str], path: str, kernel: Kernel, root: str) -> Tuple[Dict[str, str], List[str]]:
    """For keys that are no longer ours: the values to give back, and the keys for which nobody knows one."""
    others = [item for item in configuration(root) if item.file != path] if keys else []
    back: Dict[str, str] = {}
    lost = []
    for key in keys:
        now = kernel.read(key)
        deciding = configured(key, others)
        value = originals.get(key, deciding.value if deciding else None)
        if now is not None and value is None:
            lost.append(key)
        elif now is not None and value is not None and not same(now, value) and not kernel.missing(key):
            back[key] = value
    return back, lost


def _with_pairs(values: Dict[str, str], kernel: Kernel) -> Dict[str, str]:
    """The values and those of the keys that the kernel changes along with them."""
    others = {PAIRS[key]: kernel.read(PAIRS[key]) for key in values if key in PAIRS and PAIRS[key] not in values}
    return {**values, **{key: value for key, value in others.items() if value is not None}}


def _originals(memory: files.FileState) -> Dict[str, str]:
    try:
        return {str(key): str(value) for key, value in json.loads(memory.content or b"{}").get("values", {}).items()}
    except (ValueError, AttributeError):
        return {}  # a damaged note: the old values are then told as lost, and nothing is guessed


def _present(drop_in_file: files.FileState) -> Dict[str, Setting]:
    """The settings of our drop-in, with the comment above each, so that a merge does not lose them."""
    found: Dict[str, Setting] = {}
    reason = ""
    for line in drop_in_file.content.decode("utf-8", "replace").splitlines()[1:]:
        key, equals, value = line.partition(" = ")
        if line.startswith("# "):
            reason = line[2:]
        elif equals:
            found[key] = Setting(key, value, reason)
            reason = ""
    return found


def apply(options: Options, planned: Plan, kernel: Kernel, root: str = "/") -> None:
    """Do what is planned: all of it, or nothing. Raises FileError or KernelError; then the host is as before."""
    try:
        with held.transaction(options.common, "sysctl", root, undo(kernel)) as change:
            if planned.old:
                change.note("values", planned.old)
            for before, after in planned.files:
                if files.differs(before, after):
                    change.put(after)
            for key, value in planned.live.items():
                kernel.write(key, value)
            if options.common.hold:
                change.keep()
    except KernelError as error:
        error.args = ("; ".join([str(error), *(_by_hand(key, refused) for key, refused in kernel.stuck.items())]),)
        raise


def _by_hand(key: str, refused: KernelError) -> str:
    """How somebody gets out of a value that could not be put back."""
    return "%s could not be put back to %r (%s): set it with sysctl -w '%s=%s', or restart the host" % (
        *(key, refused.value, refused.reason),
        *(key, refused.value),
    )


def undo(kernel: Kernel) -> files.Undo:
    """How a change of values is taken back."""

    return {"values": kernel.restore}


# -- what is said ---------------------------------------------------------------------------------------------------------------


def look(options: Options, planned: Plan, kernel: Kernel, root: str = "/") -> List[Finding]:
    """Findings about every key: in force, drifted, not to be had here, overridden, unwise."""
    path = paths(options, root)[0]
    assignments = configuration(root)
    found = []
    for key, setting in planned.keys.items():
        now = kernel.read(key)
        deciding = configured(key, assignments)
        evidence: Dict[str, Any] = {"drop_in": path, "live": now, "wanted": setting.value}
        if not same(now, setting.value):
            status, text = "warning", message("sysctl.drift", key=key, live=now, wanted=setting.value)
        elif deciding and deciding.file != path and not same(deciding.value, setting.value):
            place = "%s:%d" % (deciding.file, deciding.line)
            status, text = "warning", message("sysctl.overridden", key=key, value=deciding.value, wanted=setting.value, place=place)
            evidence["overridden_by"] = place
        else:
            status, text = "ok", message("sysctl.ok", key=key, value=setting.value)
        found.append(_found(options, "sysctl.%s" % key, status, text, setting.value, evidence))
    for key, why in planned.missing.items():
        text = message("sysctl.%s" % why, key=key)
        evidence = {"wanted": options.settings[key].value if key in options.settings else None, "live": kernel.read(key)}
        if key in REMOVED:
            text = message("sysctl.removed", key=key, release=REMOVED[key])
        elif why == "absent" and kernel.nearest(key):
            evidence["nearest"] = kernel.nearest(key)
        found.append(_found(options, "sysctl.%s" % key, "warning", text, None, evidence))
    for key in planned.lost:
        text = message("sysctl.lost", key=key, live=kernel.read(key))
        found.append(_found(options, "sysctl.%s" % key, "warning", text, None, {}))
    for key, told in options.conflicts:
        text = message("sysctl.conflict", key=key, value=options.settings[key].value)
        found.append(_found(options, "sysctl.conflict.%s" % key, "warning", text, None, {"choices": told}))
    originals = _originals(files.read(paths(options, root)[1]))
    for key, text in advice({key: setting.value for key, setting in planned.keys.items()}, {**originals, **planned.old}):
        found.append(_found(options, "sysctl.advice.%s" % key, "warning", text, None, {}))
    return found


def _found(options: Options, check: str, status: str, text: Dict[str, Any], value: Optional[str], evidence: Dict[str, Any]) -> Finding:
    number = int(value) if value and re.match(r"-?\d{1,15}\Z", value) else None
    return finding(check, "sysctl", status, text, value=number, evidence=evidence, remedy=options.remedy)


def advice(values: Mapping[str, str], before: Mapping[str, str]) -> List[Tuple[str, Dict[str, Any]]]:
    """Known bad choices among ``values``; ``before``: what the host had by itself."""
    told = []

    def number(key: str) -> Optional[int]:
        text = values.get(key, "")
        return int(text) if re.match(r"-?\d+\Z", text) else None

    swappiness = number("vm.swappiness")
    if swappiness == 0:
        told.append(("vm.swappiness", message("sysctl.advice.swappiness_zero")))
    elif swappiness is not None and swappiness > 100:
        told.append(("vm.swappiness", message("sysctl.advice.swappiness_high", value=swappiness)))
    if number("vm.overcommit_memory") == 2:
        told.append(("vm.overcommit_memory", message("sysctl.advice.overcommit_strict")))
    hard, soft = number("vm.dirty_ratio"), number("vm.dirty_background_ratio")
    if hard is not None and soft is not None and soft >= hard:
        told.append(("vm.dirty_background_ratio", message("sysctl.advice.dirty_order", soft=soft, hard=hard)))
    fin = number("net.ipv4.tcp_fin_timeout")
    if fin is not None and fin < 10:
        told.append(("net.ipv4.tcp_fin_timeout", message("sysctl.advice.fin_timeout", value=fin)))
    for key in CEILINGS:
        now, was = number(key), before.get(key, "")
        if now is not None and was.isdigit() and now < int(was):
            told.append((key, message("sysctl.advice.lowered", key=key, value=now, before=int(was))))
    for key in ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"):
        parts = values.get(key, "").split()
        if parts and (len(parts) != 3 or not all(part.isdigit() for part in parts) or list(map(int, parts)) != sorted(map(int, parts))):
            told.append((key, message("sysctl.advice.three_ascending", key=key, value=values[key])))
    return told


def tune(args: Mapping[str, Any], check_mode: bool, root: str = "/") -> Dict[str, Any]:
    """What the module does, from its options to its result. Raises OptionError, FileError or KernelError."""
    options = parse_options(args)
    kernel = Kernel(root)
    result = {**held.new_result(), "file": paths(options, root)[0], "live": {}}
    ended = held.earlier_change(result, options.common, "sysctl", root, undo(kernel), check_mode, options.remedy)
    for key, refused in kernel.stuck.items():
        text = message("sysctl.stuck", key=key, value=refused.value, reason=refused.reason, live=kernel.read(key))
        result["findings"].append(_found(options, "sysctl.stuck.%s" % key, "critical", text, None, {"live": kernel.read(key)}))
    if ended:
        return result
    planned = plan(options, kernel, root)
    if planned.missing and options.refuse_missing:
        raise OptionError("values", "not to be had here: %s; nothing was changed" % ", ".join(sorted(planned.missing)))
    if planned.changes:
        result["changed"] = True
        shown = [(before, after) for before, after in planned.files if before.path == result["file"] and files.differs(before, after)]
        result["diff"] = [files.diff(before, after) for before, after in shown] + _live_diff(planned)
        result["live"] = {key: {"before": planned.old.get(key), "after": value} for key, value in planned.live.items()}
        if not check_mode:
            apply(options, planned, kernel, root)
            result["pending"] = options.common.hold
    result["findings"] += look(options, planned, kernel, root)
    return result


def _live_diff(planned: Plan) -> List[Dict[str, Any]]:
    if not planned.live:
        return []
    texts = ["".join("%s = %s\n" % (key, values[key]) for key in planned.live) for values in (planned.old, planned.live)]
    return [{"before": texts[0], "after": texts[1], "before_header": "/proc/sys", "after_header": "/proc/sys"}]
