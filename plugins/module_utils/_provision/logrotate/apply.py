# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring logrotate policies into force: checked by logrotate itself first, and forced with a proof that the service follows."""

from __future__ import annotations

import glob
import os
import re
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.readers import group_id, user_id
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import originals
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import run

from . import policy as policies

#: Name of the transaction.
NAME = "logrotate"
#: logrotate looks at every log it is told of; on a slow disk that takes its time.
CHECK_SECONDS, FORCE_SECONDS = 60.0, 900.0
_TABOO = re.compile(r"\.(?:bak|cfsaved|disabled|dpkg-\w+|old|orig|rhn-cfg-tmp-.*|rpm\w+|swp|ucf-\w+|v)\Z|~\Z|,v\Z|\A\.")
_TOLD = 15


class Host(NamedTuple):
    """Where things are on the host."""

    folder: str = "/etc/logrotate.d"
    config: str = "/etc/logrotate.conf"
    state: str = "/var/lib/opsrunner"
    proc: str = "/proc"
    cron: str = "/etc"
    run: Callable[..., Tuple[int, str]] = run.run_command

    @property
    def transactions(self) -> str:
        """The folder of the journals."""
        return os.path.join(self.state, "transactions")

    @property
    def originals(self) -> str:
        """The folder of what was there before."""
        return os.path.join(self.state, "originals")


class Change(NamedTuple):
    """A policy's file before and after."""

    name: str
    policy: Optional[policies.Policy]
    before: files.FileState
    after: files.FileState

    @property
    def needed(self) -> bool:
        """Whether anything is to be done."""
        return files.differs(self.before, self.after)


class Result(NamedTuple):
    """What the module returns."""

    changed: bool
    found: List[Finding]
    diff: List[Dict[str, Any]]


def carry_out(options: policies.Options, host: Host, check_mode: bool) -> Result:
    """Bring the policies into force and look at their logs. Raises FileError; then everything is as it was."""
    found: List[Finding] = []
    if files.interrupted(NAME, host.transactions):
        undone = None if check_mode else files.recover(NAME, host.transactions)
        evidence = {"put_back": undone.files if undone else []}
        found.append(finding("logrotate.change", "logrotate", "warning", message("change.interrupted", name=NAME), evidence=evidence))
    changes = plan(options, host)
    needed = [change for change in changes if change.needed]
    others = foreign_sections(host, {change.before.path for change in changes})
    clashes = find_clashes([change.policy for change in changes if change.policy], others)
    for change in needed:
        if change.policy and change.name in clashes:
            path, section = clashes[change.name]
            raise files.FileError(
                "policy %r: %s is rotated by %s (line %d) already; remove it there, or call the policy %r to take that file's place"
                % (change.name, path, section.file, section.line, os.path.basename(section.file))
            )
    errors = check(host, changes)
    refused = [line for change in needed if change.policy for line in errors if _is_about(line, change.policy)]
    if refused:
        raise files.FileError("logrotate refuses it: %s" % "; ".join(refused[:3]))
    if needed and not check_mode:
        _apply(needed, host)
    found += [_policy_finding(change, check_mode, clashes, errors) for change in changes]
    found.append(_config_finding(host, changes, errors))
    found.append(_schedule_finding(host, options))
    for change in changes:
        if change.policy:
            found += log_findings(change.policy)
    if options.force and not check_mode:
        for change in changes:
            if change.policy and change.name in options.force:
                found.append(force(change.policy, host, options.proof))
    diff = [files.diff(change.before, change.after) for change in needed]
    return Result(bool(needed) or bool(options.force and not check_mode), found, diff)


def plan(options: policies.Options, host: Host) -> List[Change]:
    """Every policy's file, as it is and as it is to be. Raises FileError and OptionError (a user that is not there)."""
    changes = []
    header = policies.HEADER.encode()
    for index, policy in enumerate(options.policies):
        path = os.path.join(host.folder, policy.name)
        before = files.read(path)
        if policy.present:
            _check_users(policy, "policies[%d]" % index)
            after = files.desired(before, policies.render(policy), mode=0o644, uid=os.geteuid(), gid=os.getegid())
            changes.append(Change(policy.name, policy, before, after))
        else:
            changes.append(_gone(path, before, host, header))
    if options.exclusive:
        named = {change.before.path for change in changes}
        left = [path for path in originals.taken(host.folder, host.originals) if path not in named]
        changes += [_gone(path, files.read(path), host, header) for path in left]
    return changes


def _gone(path: str, before: files.FileState, host: Host, header: bytes) -> Change:
    ours = before.content.startswith(header) or originals.original(path, host.originals) is not None
    after = originals.given_back(path, host.originals) if ours else before
    return Change(os.path.basename(path), None, before, after)


def _check_users(policy: policies.Policy, here: str) -> None:
    create = policy.values.get("create")
    if isinstance(create, dict):
        user_id(create["owner"], here + ".create.owner")
        group_id(create["group"], here + ".create.group")
    if "su" in policy.values:
        user_id(policy.values["su"]["user"], here + ".su.user")
        group_id(policy.values["su"]["group"], here + ".su.group")


def foreign_sections(host: Host, ours: Set[str]) -> List[policies.Section]:
    """What the rest of the configuration rotates: the main file and the folder, but for the paths in ``ours``."""
    found = []
    for path in [host.config, *_entries(host.folder)]:
        if path not in ours:
            state = files.read(path)
            found += policies.sections(state.content.decode("utf-8", "replace"), path) if state.kind == "file" else []
    return found


def _entries(folder: str) -> List[str]:
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if not _TABOO.search(name)]
    except FileNotFoundError:
        return []


def find_clashes(wanted: Sequence[policies.Policy], others: Sequence[policies.Section]) -> Dict[str, Tuple[str, policies.Section]]:
    """By policy: a path or file that another section means too, and that section."""
    clashes: Dict[str, Tuple[str, policies.Section]] = {}
    expanded = [(section, _expand(section.paths)) for section in others]
    for policy in wanted:
        own = _expand(policy.paths)
        for section, there in expanded:
            shared = sorted(own & there)
            shared += [path for path in policy.paths for other in section.paths if policies.same_file(path, other)]
            if shared:
                clashes.setdefault(policy.name, (shared[0], section))
    return clashes


def _expand(paths: Sequence[str]) -> Set[str]:
    return {os.path.realpath(path) for pattern in paths for path in glob.glob(pattern)}


# -- logrotate's own word -----------------------------------------------------------------------------------------------------


def check(host: Host, changes: Sequence[Change]) -> List[str]:
    """What logrotate says is wrong with the configuration as it will be. Raises FileError when it cannot be asked."""
    import shutil
    import tempfile

    scratch = tempfile.mkdtemp(prefix="opsrunner-logrotate-")
    try:
        folder = os.path.join(scratch, "d")
        os.mkdir(folder, 0o700)
        texts = {path: files.read(path) for path in _entries(host.folder)}
        texts.update({change.before.path: change.after for change in changes})
        for path, state in texts.items():
            if state.kind == "file":
                files.write(
                    state._replace(path=os.path.join(folder, os.path.basename(path)), mode=0o600, uid=os.geteuid(), gid=os.getegid())
                )
        config = os.path.join(scratch, "logrotate.conf")
        main = _main_text(host)
        pattern = re.compile(r"^(\s*include\s+)%s/?\s*$" % re.escape(host.folder), re.MULTILINE)
        text, count = pattern.subn(lambda match: match.group(1) + folder, main)
        if not count:
            text += "\ninclude %s\n" % folder
        files.write(files.FileState(config, "file", text.encode("utf-8", "surrogateescape"), 0o600, os.geteuid(), os.getegid()))
        status, output = host.run(["logrotate", "-d", "-s", os.path.join(scratch, "status"), config], CHECK_SECONDS)
        lines = [line.strip().replace(folder + "/", "") for line in output.splitlines() if line.startswith("error: ")]
        if status >= 124 or (status and not lines):
            raise files.FileError("logrotate cannot check the policies: %s" % (output.splitlines() or ["no word"])[-1])
        return [line[len("error: ") :] for line in lines if "found error in" not in line]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _main_text(host: Host) -> str:
    state = files.read(host.config)
    return state.content.decode("utf-8", "surrogateescape") if state.kind == "file" else ""


def _is_about(line: str, policy: policies.Policy) -> bool:
    words = re.findall(r"/[^\s\"',:]+", line)
    return line.startswith(policy.name + ":") or any(policies.same_file(word, path) for word in words for path in policy.paths)


def _apply(needed: Sequence[Change], host: Host) -> None:
    header = policies.HEADER.encode()
    with files.Transaction(NAME, host.transactions) as transaction:
        for change in needed:
            if change.policy:
                originals.take_over(transaction, change.after, host.originals, ours=change.before.content.startswith(header))
            else:
                originals.give_back(transaction, change.before.path, host.originals)
        wrong = [line for line in check(host, ()) for change in needed if change.policy and _is_about(line, change.policy)]
        if wrong:
            raise files.FileError("logrotate refuses it: %s" % "; ".join(wrong[:3]))


# -- findings -----------------------------------------------------------------------------------------------------------------


def _policy_finding(change: Change, check_mode: bool, clashes: Dict[str, Tuple[str, policies.Section]], errors: Sequence[str]) -> Finding:
    told = {"policy": change.name, "path": change.before.path}
    check_id, remedy = "logrotate." + change.name, change.policy.remedy if change.policy else None
    if change.needed and check_mode:
        what = "logrotate.differs" if change.policy else "logrotate.would_go"
        return finding(check_id, "logrotate", "warning", message(what, **told), remedy=remedy)
    if change.policy is None:
        what = "logrotate.removed" if change.needed else "logrotate.absent" if change.before.kind == "absent" else "logrotate.foreign"
        return finding(check_id, "logrotate", "ok", message(what, **told))
    if change.name in clashes:
        shared, section = clashes[change.name]
        text = message("logrotate.overlap", shared=shared, other=section.file, line=section.line, **told)
        return finding(check_id, "logrotate", "critical", text, remedy=remedy)
    wrong = [line for line in errors if _is_about(line, change.policy)]
    if wrong:
        return finding(check_id, "logrotate", "critical", message("logrotate.refused", reason=wrong[0], **told), remedy=remedy)
    return finding(check_id, "logrotate", "ok", message("logrotate.changed" if change.needed else "logrotate.ok", **told))


def _config_finding(host: Host, changes: Sequence[Change], errors: Sequence[str]) -> Finding:
    rest = [line for line in errors if not any(change.policy and _is_about(line, change.policy) for change in changes)]
    if not rest:
        return finding("logrotate.config", "logrotate", "ok", message("logrotate.config.ok", path=host.config))
    text = message("logrotate.config", count=len(rest), reason=rest[0])
    return finding("logrotate.config", "logrotate", "warning", text, evidence={"logrotate_errors": rest[:_TOLD]})


def _schedule_finding(host: Host, options: policies.Options) -> Finding:
    """Whether anything runs logrotate, and as often as the policies want."""
    _status, output = host.run(["systemctl", "show", "-p", "ActiveState", "-p", "TimersCalendar", "logrotate.timer"], 10.0)
    values = dict(line.partition("=")[::2] for line in output.splitlines())
    timer = values.get("ActiveState") == "active"
    calendar = values.get("TimersCalendar", "")
    # systemctl shows "daily" as *-*-* 00:00:00, "hourly" as *-*-* *:00:00.
    hourly = (timer and re.search(r"OnCalendar=\S+ \*:", calendar) is not None) or os.path.exists(
        os.path.join(host.cron, "cron.hourly/logrotate")
    )
    daily = timer or os.path.exists(os.path.join(host.cron, "cron.daily/logrotate"))
    wanted = [policy.name for policy in options.policies if policy.present and policy.values.get("frequency") == "hourly"]
    if not (hourly or daily):
        return finding("logrotate.schedule", "logrotate", "critical", message("logrotate.not_run"))
    if wanted and not hourly:
        return finding("logrotate.schedule", "logrotate", "warning", message("logrotate.too_rare", policies=wanted))
    return finding("logrotate.schedule", "logrotate", "ok", message("logrotate.run"))


def log_findings(policy: policies.Policy, now: Optional[float] = None) -> List[Finding]:
    """Whether logs of the policy, rotated ones too, are larger or older than they may be."""
    now = time.time() if now is None else now
    seen = []
    for path in log_files(policy):
        try:
            found = os.stat(path)
        except OSError:
            continue
        seen.append((path, found.st_size, (now - found.st_mtime) / 86400))
    size_range, age_range = str(policy.size_limit), "%g" % policy.age_limit
    large = sorted(((size, path) for path, size, _age in seen if size > policy.size_limit), reverse=True)
    old = sorted(((age, path) for path, _size, age in seen if age > policy.age_limit), reverse=True)
    size, age = max((item[1] for item in seen), default=0), max((item[2] for item in seen), default=0.0)
    results = []
    for kind, value, unit, limit, many in (("size", size, "B", size_range, large), ("age", round(max(age, 0), 2), "d", age_range, old)):
        status = judge(value, warning=limit)
        text = message("logrotate.%s%s" % (kind, "" if many else ".ok"), policy=policy.name, count=len(many), files=len(seen), value=value)
        results.append(
            finding(
                "logrotate.%s.%s" % (kind, policy.name),
                "logrotate",
                status,
                text,
                value=value,
                unit=unit,
                warning=limit,
                evidence={"logrotate_files": [path for _value, path in many[:_TOLD]]} if many else None,
                remedy=policy.remedy,
            )
        )
    return results


def log_files(policy: policies.Policy) -> List[str]:
    """The policy's logs that are there, with those rotated before."""
    found: Dict[str, None] = {}
    folder = policy.values.get("olddir")
    for pattern in policy.paths:
        places = [pattern, pattern + ".*", pattern + "-*"]
        if folder:
            places += [os.path.join(folder, os.path.basename(place)) for place in places[1:]]
        for place in places:
            found.update(dict.fromkeys(sorted(path for path in glob.glob(place) if os.path.isfile(path) and not os.path.islink(path))))
    return list(found)


# -- a rotation by hand -------------------------------------------------------------------------------------------------------


def force(policy: policies.Policy, host: Host, proof: float, sleep: Callable[[float], None] = time.sleep) -> Finding:
    """Rotate the policy's logs now, and see that whoever wrote to the old files writes to the new ones.

    ``proof``: seconds the writers are given to follow.
    """
    started = time.monotonic()
    before = {
        path: os.stat(path) for pattern in policy.paths for path in glob.glob(pattern) if os.path.isfile(path) and os.stat(path).st_size
    }
    writing = writers({(found.st_dev, found.st_ino) for found in before.values()}, host.proc)
    status, output = _rotate(policy, host)
    check_id, told = "logrotate.force." + policy.name, {"policy": policy.name, "count": len(before)}

    def result(status: str, name: str, **more: Any) -> Finding:
        evidence = {"logrotate_files": sorted(before)[:_TOLD], "logrotate_writers": [name for _pid, name in writing.values()][:_TOLD]}
        took = (time.monotonic() - started) * 1000
        return finding(
            check_id, "logrotate", status, message(name, **told, **more), evidence=evidence, remedy=policy.remedy, duration_ms=took
        )

    if status:
        errors = [line for line in output.splitlines() if line.startswith("error:")] or output.splitlines() or ["no word"]
        return result("critical", "logrotate.force.failed", reason=errors[0])
    if not before:
        return result("ok", "logrotate.force.empty")
    while True:
        left = [path for path, found in before.items() if not _is_new(path, found)]
        stuck = [] if policy.values.get("copytruncate") else _behind(before, writing, host.proc)
        if (not left and not stuck) or time.monotonic() - started > proof:
            break
        sleep(0.2)
    if left:
        return result("critical", "logrotate.force.same", paths=left[:3])
    if stuck:
        return result("critical", "logrotate.force.stuck", processes=stuck[:3])
    return result("ok", "logrotate.force.ok" if writing else "logrotate.force.no_writer", writers=len(writing))


def _rotate(policy: policies.Policy, host: Host) -> Tuple[int, str]:
    import shutil
    import tempfile

    # The main file's defaults count, its own sections and the other policies do not.
    text, depth = [], 0
    for line in _main_text(host).split("\n"):
        opening = not depth and re.match(r"\s*[/\"']", line) is not None
        if not depth and not opening and not re.match(r"\s*(include\b|\{)", line):
            text.append(line)
        depth = max(0, depth + (1 if opening and "{" not in line else line.count("{")) - line.count("}"))
    scratch = tempfile.mkdtemp(prefix="opsrunner-logrotate-")
    try:
        config = os.path.join(scratch, "logrotate.conf")
        body = "\n".join([*text, "include %s" % os.path.join(host.folder, policy.name), ""])
        files.write(files.FileState(config, "file", body.encode("utf-8", "surrogateescape"), 0o600, os.geteuid(), os.getegid()))
        return host.run(["logrotate", "-f", "-v", config], FORCE_SECONDS)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_new(path: str, before: os.stat_result) -> bool:
    """Whether the log was rotated: it is another file by now, or was emptied in place (copytruncate), or is gone (nocreate)."""
    try:
        now = os.stat(path)
    except FileNotFoundError:
        return True
    return (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino) or now.st_size < before.st_size


def writers(wanted: Set[Tuple[int, int]], proc: str = "/proc") -> Dict[Tuple[int, int, int], Tuple[int, str]]:
    """Who has one of the files (device, inode) open for writing: by (device, inode, pid) the process and its name."""
    found: Dict[Tuple[int, int, int], Tuple[int, str]] = {}
    for pid in os.listdir(proc):
        folder = os.path.join(proc, pid, "fd")
        try:
            handles = os.listdir(folder) if pid.isdigit() else []
        except OSError:
            continue
        for handle in handles:
            try:
                seen = os.stat(os.path.join(folder, handle))
                if (seen.st_dev, seen.st_ino) not in wanted:
                    continue
                with open(os.path.join(proc, pid, "fdinfo", handle), encoding="ascii") as file:
                    flags = int(next(line.split()[1] for line in file if line.startswith("flags:")), 8)
                with open(os.path.join(proc, pid, "comm"), encoding="utf-8", errors="replace") as file:
                    name = "%s (%s)" % (file.read().strip(), pid)
            except (OSError, StopIteration, ValueError):
                continue
            if flags & os.O_ACCMODE:
                found[seen.st_dev, seen.st_ino, int(pid)] = (int(pid), name)
    return found


def _behind(before: Dict[str, os.stat_result], writing: Dict[Tuple[int, int, int], Tuple[int, str]], proc: str) -> List[str]:
    """The processes that still write to a file that was rotated away."""
    gone = {(found.st_dev, found.st_ino) for path, found in before.items() if _is_new(path, found)}
    still = writers(gone, proc)
    return sorted({name for key, (_pid, name) in still.items() if key in writing})
