# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring scheduled jobs into force on a host, and tell what became of their runs."""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.readers import group_id, user_id
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import originals
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import run
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime import units as unit_changes

from ..logrotate import apply as logrotate_run
from ..logrotate import policy as logrotate_policy
from . import jobs

#: Name of the transaction.
NAME = "schedule"
#: Times of a calendar that are looked at for the longest gap between two runs.
ITERATIONS = 10
_PROPERTIES = ("NextElapseUSecRealtime", "FragmentPath", "NeedDaemonReload", "UnitFileState")


class Host(NamedTuple):
    """Where things are on the host, and how programs are started."""

    root: str = "/"
    state: str = "/var/lib/opsrunner"
    proc: str = "/proc"
    run: Callable[..., Tuple[int, str]] = run.run_command

    def at(self, path: str) -> str:
        """An absolute path below the root."""
        return os.path.join(self.root, path.lstrip("/"))

    @property
    def transactions(self) -> str:
        """The folder of the journals."""
        return os.path.join(self.state, "transactions")

    @property
    def originals(self) -> str:
        """The folder of what was there before."""
        return os.path.join(self.state, "originals")

    def records(self, name: str) -> str:
        """What the script records of a job."""
        return os.path.join(self.state, "schedule", name + ".runs")


class Plan(NamedTuple):
    """What a job needs: ``files`` taken over and ``kept`` (ours alone), each as (before, after); ``back``: paths given back."""

    job: jobs.Job
    files: List[Tuple[files.FileState, files.FileState]]
    kept: List[Tuple[files.FileState, files.FileState]]
    back: List[Tuple[files.FileState, files.FileState]]

    @property
    def needed(self) -> bool:
        """Whether a file is to be changed."""
        return any(files.differs(before, after) for before, after in [*self.files, *self.kept, *self.back])


class Result(NamedTuple):
    """What the module returns."""

    changed: bool
    found: List[Finding]
    diff: List[Dict[str, Any]]


def carry_out(options: jobs.Options, host: Host, check_mode: bool, now: Optional[float] = None) -> Result:
    """Bring the jobs into force, run those asked for, tell about all. Raises FileError or OptionError; then all is as it was."""
    found: List[Finding] = []
    if files.interrupted(NAME, host.transactions):
        undone = None if check_mode else files.recover(NAME, host.transactions, _undo(host))
        evidence = {"put_back": undone.files if undone else []}
        found.append(finding("schedule.change", "schedule", "warning", message("change.interrupted", name=NAME), evidence=evidence))
    wanted = [*options.jobs, *(_left_over(options, host) if options.exclusive else ())]
    for at, job in enumerate(options.jobs):
        if job.present:
            _check_host(job, "jobs[%d]" % at, host)
    gaps = calendar_gaps(options.jobs, host)
    plans = [plan(job, host) for job in wanted]
    units = _units(wanted, host)
    _refuse_shadows(plans, units, host)
    _check_rotation(plans, host)
    script = _script(plans, host)
    idle = [one.job for one in plans if _has_timer(one.job) and units[one.job.name + ".timer"].active != "active"]
    needed = [one for one in plans if one.needed]
    changed = bool(needed or idle) or files.differs(*script)
    if changed and not check_mode:
        units = _apply(plans, script, units, host, [job.name for job in idle])
    found += [_plan_finding(one, check_mode, one in needed or one.job in idle, units) for one in plans]
    ran = [] if check_mode else [_run_now(job, host) for job in wanted if job.name in options.run]
    for one in plans:
        if one.job.present:
            found += run_findings(one.job, host, gaps.get(one.job.name), time.time() if now is None else now)
    pairs = [pair for one in plans for pair in (*one.files, *one.back)]
    diff = [files.diff(before, after) for before, after in pairs if files.differs(before, after)]
    return Result(changed or bool(ran), found + [item for item in ran if item], diff)


def _left_over(options: jobs.Options, host: Host) -> List[jobs.Job]:
    named = {job.name for job in options.jobs}
    return [jobs.Job(name, present=False) for name in _known(host) if name not in named]


def _known(host: Host) -> List[str]:
    with contextlib.suppress(OSError):
        return sorted(name[:-5] for name in os.listdir(os.path.dirname(host.records("x"))) if name.endswith(".runs"))
    return []


# -- before anything is changed -----------------------------------------------------------------------------------------------


def _check_host(job: jobs.Job, here: str, host: Host) -> None:
    user_id(job.user, here + ".user")
    group_id(job.group, here + ".group", job.user)
    if job.working_dir and not os.path.isdir(host.at(job.working_dir)):
        raise OptionError(here + ".working_dir", "there is no folder %s on this host" % job.working_dir)
    if job.log_file and not os.path.isdir(os.path.dirname(host.at(job.log_file))):
        raise OptionError(here + ".log_file", "there is no folder %s on this host" % os.path.dirname(job.log_file))
    if not os.path.exists(host.at(job.command[0])):
        raise OptionError(here + ".command", "there is no program %s on this host" % job.command[0])


def calendar_gaps(wanted: Sequence[jobs.Job], host: Host) -> Dict[str, float]:
    """By job: seconds of the longest time between two runs. Raises OptionError for a calendar that systemd cannot read."""
    gaps: Dict[str, float] = {}
    for at, job in enumerate(wanted):
        if not job.present or not job.enabled:
            continue
        if job.cron:
            gap = jobs.cron_gap(jobs.parse_cron(job.cron, "jobs[%d].cron" % at))
        else:
            status, output = host.run(["systemd-analyze", "calendar", "--iterations=%d" % ITERATIONS, "--", *job.calendar], 20.0)
            bad = re.search(r"Failed to parse calendar specification '(.*)'", output)
            if status or "Next elapse: never" in output:
                reason = output.splitlines()[-1] if output else "exit status %d" % status
                problem = "%r is no calendar of systemd" % bad.group(1) if bad else "never comes again" if not status else reason
                raise OptionError("jobs[%d].calendar" % at, problem, "Sun *-*-* 03:00:00" if bad else None)
            gap = jobs.calendar_gap(output)
        if gap:
            gaps[job.name] = gap
    return gaps


def plan(job: jobs.Job, host: Host) -> Plan:
    """The files of a job, as they are and as they are to be."""
    systemd = host.at("/etc/systemd/system")
    timer, service = (os.path.join(systemd, job.name + kind) for kind in (".timer", ".service"))
    link = os.path.join(systemd, "timers.target.wants", job.name + ".timer")
    at_boot = os.path.join(systemd, "multi-user.target.wants", job.name + ".service")
    cron, rotation = host.at("/etc/cron.d/" + job.name), host.at("/etc/logrotate.d/job-" + job.name)
    wanted: Dict[str, files.FileState] = {}
    kept: List[Tuple[files.FileState, files.FileState]] = []
    owner = (os.geteuid(), os.getegid())
    if job.present:
        for path, data in (
            (service, jobs.service_unit(job)),
            (timer, jobs.timer_unit(job) if job.calendar else b""),
            (cron, jobs.cron_file(job) if job.cron and job.enabled else b""),
            (rotation, _rotation(job, host)),
        ):
            if data:
                wanted[path] = files.desired(files.read(path), data, 0o644, *owner)
        if job.calendar and job.enabled:
            target = "/etc/systemd/system/%s.timer" % job.name
            wanted[link] = files.FileState(link, "link", target.encode(), 0o777, *owner, mtime_ns=time.time_ns())
        if os.path.islink(at_boot) or originals.original(at_boot, host.originals):
            # A service that its timer starts is not started at every boot as well.
            wanted[at_boot] = files.FileState(at_boot, "absent")
        kept = _kept(job, host)
    else:
        state = files.read(host.records(job.name))
        kept = [(state, files.absent(state))]
        stamp = files.read(host.at("/var/lib/systemd/timers/stamp-%s.timer" % job.name))
        kept.append((stamp, files.absent(stamp)))
    headers = (jobs.HEADER.encode(), logrotate_policy.HEADER.encode())
    ours = {path for path in (service, timer, cron, rotation) if files.read(path).content.startswith(headers)}
    ours |= {link} if timer in ours and os.path.islink(link) else set()
    places = [path for path in (service, timer, link, at_boot, cron, rotation) if path not in wanted]
    taken = [path for path in places if path in ours or originals.original(path, host.originals)]
    back = [(files.read(path), originals.given_back(path, host.originals)) for path in taken]
    return Plan(job, [(files.read(path), after) for path, after in wanted.items()], kept, back)


def _kept(job: jobs.Job, host: Host) -> List[Tuple[files.FileState, files.FileState]]:
    """Records, lock and log of a job: made when they are not there, their content is the job's."""
    uid, gid = user_id(job.user, "user"), group_id(job.group, "group", job.user)
    paths = [(host.records(job.name), b"installed %d\n" % time.time(), uid, gid, 0o644)]
    lock = os.path.join(host.state, "schedule", (job.lock or job.name) + ".lock")
    paths.append((lock, b"", os.geteuid(), os.getegid(), 0o644))
    if job.log_file:
        paths.append((host.at(job.log_file), b"", uid, gid, 0o640))
    found = []
    for path, content, *owner, mode in paths:
        before = files.read(path)
        after = files.FileState(path, "file", content, mode, owner[0], owner[1])
        if before.kind == "file":
            # A log keeps the mode that others gave it; a job must be able to write its own records.
            after = before if path != paths[0][0] else before._replace(uid=uid, gid=gid)
        found.append((before, after))
    return found


def _rotation(job: jobs.Job, host: Host) -> bytes:
    if not job.log_rotate:
        return b""
    policy: Dict[str, Any] = {"name": "job-" + job.name, "paths": [job.log_file], "frequency": "daily", "rotate": job.log_rotate}
    policy.update(compress=True, delaycompress=True, missingok=True, notifempty=True)
    # The job opens its log anew at each start; one that runs on meanwhile writes to the file of yesterday.
    policy["create"] = {"mode": "0640", "owner": job.user, "group": _group_name(group_id(job.group, "group", job.user))}
    folder = os.stat(os.path.dirname(host.at(job.log_file)))
    if folder.st_uid or folder.st_mode & 0o022:
        # logrotate works in a folder that others may write to only as one of them.
        policy["su"] = {"user": _user_name(folder.st_uid), "group": _group_name(folder.st_gid)}
    return logrotate_policy.render(logrotate_policy.parse({"policies": [policy]}).policies[0])


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _check_rotation(plans: Sequence[Plan], host: Host) -> None:
    changes = []
    for one in plans:
        for before, after in one.files:
            if os.path.basename(os.path.dirname(after.path)) == "logrotate.d" and files.differs(before, after):
                name = os.path.basename(after.path)
                policy = logrotate_policy.Policy(name, True, (one.job.log_file,), {}, 0, 0.0, None)
                changes.append(logrotate_run.Change(name, policy, before, after))
    if changes:
        rotate = logrotate_run.Host(host.at("/etc/logrotate.d"), host.at("/etc/logrotate.conf"), host.state, host.proc, run=host.run)
        for name, (path, section) in logrotate_run.find_clashes(
            [change.policy for change in changes if change.policy],
            logrotate_run.foreign_sections(rotate, {change.before.path for change in changes}),
        ).items():
            raise files.FileError("%s: %s rotates %s already; take log_rotate away" % (name, section.file, path))
        wrong = [line for line in logrotate_run.check(rotate, changes) for change in changes if line.startswith(change.name + ":")]
        if wrong:
            raise files.FileError("logrotate refuses the rotation of the job's log: %s" % wrong[0])


def _units(wanted: Sequence[jobs.Job], host: Host) -> Dict[str, unit_changes.Unit]:
    names = [job.name + kind for job in wanted for kind in (".timer", ".service")]
    try:
        return unit_changes.show([*names, "cron.service", "crond.service"] if names else [], host.run, _PROPERTIES)
    except unit_changes.UnitError as error:
        raise files.FileError(str(error)) from error


def _refuse_shadows(plans: Sequence[Plan], units: Mapping[str, unit_changes.Unit], host: Host) -> None:
    for one in plans:
        for before, after in one.files:
            name = os.path.basename(after.path)
            if before.kind == "absent" and after.kind == "file" and name in units and units[name].exists:
                place = units[name].properties["FragmentPath"]
                if place and os.path.dirname(place) != "/etc/systemd/system":
                    raise files.FileError("there is a unit %s already (%s): give the job another name" % (name, place))


def _script(plans: Sequence[Plan], host: Host) -> Tuple[files.FileState, files.FileState]:
    before = files.read(host.at(jobs.SCRIPT))
    gone = {one.job.name for one in plans if not one.job.present}
    if any(one.job.present for one in plans) or set(_known(host)) - gone:
        text = jobs.SCRIPT_TEXT.replace(jobs.STATE, os.path.join(host.state, "schedule"))
        return before, files.desired(before, text.encode(), 0o755, os.geteuid(), os.getegid())
    return before, files.absent(before)


# -- the change -----------------------------------------------------------------------------------------------------------------


def _apply(
    plans: Sequence[Plan],
    script: Tuple[files.FileState, files.FileState],
    units: Mapping[str, unit_changes.Unit],
    host: Host,
    idle: Sequence[str],
) -> Dict[str, unit_changes.Unit]:
    timers = {one.job.name + ".timer": units[one.job.name + ".timer"].active == "active" for one in plans}
    with files.Transaction(NAME, host.transactions, _undo(host)) as change:
        # The jobs' users must get at their records, whatever the umask was.
        with contextlib.suppress(PermissionError):
            os.chmod(host.state, 0o755)  # noqa: S103
        # Announced first, so that it is taken back last: when the files are the old ones again.
        change.note("timers", timers)
        if files.differs(*script):
            change.put(script[1])
        restart = dict.fromkeys(name + ".timer" for name in idle)
        for one in plans:
            if timers[one.job.name + ".timer"] and not _has_timer(one.job):
                _systemctl(host, "stop", one.job.name + ".timer")
            restart.update(dict.fromkeys(_put(one, change, host)))
        _systemctl(host, "daemon-reload")
        for timer in restart:
            _systemctl(host, "restart", timer)
        now = _units([one.job for one in plans], host)
        for one in plans:
            timer = one.job.name + ".timer"
            if _has_timer(one.job) and now[timer].active != "active":
                raise files.FileError("%s was set up and is %s" % (timer, now[timer].active or "not there"))
    _tidy(plans, script[1].kind == "absent", host)
    return now


def _has_timer(job: jobs.Job) -> bool:
    return bool(job.present and job.calendar and job.enabled)


def _put(one: Plan, change: files.Transaction, host: Host) -> List[str]:
    """Put the files of a job in place; returns the timers that are to start anew."""
    header = jobs.HEADER.encode()
    restart = []
    for before, after in one.kept:
        if files.differs(before, after):
            change.put(after)
    for before, after in one.files:
        if files.differs(before, after):
            originals.take_over(change, after, host.originals, ours=before.content.startswith(header))
            if _has_timer(one.job) and after.path.endswith((".timer", ".service")):
                restart.append(one.job.name + ".timer")
    for _before, after in one.back:
        originals.give_back(change, after.path, host.originals)
        if after.kind == "link" and after.path.endswith(".timer"):  # a timer that others had set up runs again
            restart.append(os.path.basename(after.path))
    return restart


def _tidy(plans: Sequence[Plan], last: bool, host: Host) -> None:
    """What is left when jobs are gone: failed states, empty folders, locks."""
    for one in plans:
        if not one.job.present:
            host.run(["systemctl", "reset-failed", one.job.name + ".service"], 20.0)  # fails for one that has not failed
    records = os.path.dirname(host.records("x"))
    with contextlib.suppress(OSError):
        for name in os.listdir(records) if last else ():
            if name.endswith(".lock"):
                os.unlink(os.path.join(records, name))
    emptied = [host.at("/etc/systemd/system/" + folder) for folder in ("timers.target.wants", "multi-user.target.wants")]
    for folder in [*emptied, *([os.path.dirname(host.at(jobs.SCRIPT)), records] if last else [])]:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _undo(host: Host) -> files.Undo:
    def timers(data: Any) -> None:
        _systemctl(host, "daemon-reload")
        for timer, active in data.items():
            if active:
                _systemctl(host, "restart", timer)
            else:
                host.run(["systemctl", "stop", timer], 30.0)  # fails for one that is not there any more

    return {"timers": timers}


def _systemctl(host: Host, *words: str) -> None:
    status, output = host.run(["systemctl", *words], 90.0)
    if status:
        raise files.FileError("systemctl %s: %s" % (" ".join(words), output or "exit status %d" % status))


def _run_now(job: jobs.Job, host: Host) -> Finding:
    started = time.monotonic()
    status, output = host.run(["systemctl", "start", job.name + ".service"], job.timeout + job.lock_wait + 3.0 * jobs.GRACE)
    took = (time.monotonic() - started) * 1000
    text = message("schedule.run_now", job=job.name) if not status else message("schedule.run_failed", job=job.name, reason=output)
    return finding("schedule.run." + job.name, "schedule", "critical" if status else "ok", text, remedy=job.remedy, duration_ms=took)


# -- findings -------------------------------------------------------------------------------------------------------------------


def _plan_finding(one: Plan, check_mode: bool, changing: bool, units: Mapping[str, unit_changes.Unit]) -> Finding:
    job = one.job
    check_id, told = "schedule." + job.name, {"job": job.name}
    if changing and check_mode:
        differing = [after.path for before, after in [*one.files, *one.kept, *one.back] if files.differs(before, after)]
        text = message("schedule.differs" if job.present else "schedule.would_go", **told)
        return finding(check_id, "schedule", "warning", text, evidence={"schedule_files": differing}, remedy=job.remedy)
    if not job.present:
        return finding(check_id, "schedule", "ok", message("schedule.removed" if changing else "schedule.absent", **told))
    if not job.enabled:
        return finding(check_id, "schedule", "ok", message("schedule.disabled", **told))
    if job.cron:
        if not any(units[name].active == "active" for name in ("cron.service", "crond.service")):
            return finding(check_id, "schedule", "critical", message("schedule.no_cron", **told), remedy=job.remedy)
        return finding(check_id, "schedule", "ok", message("schedule.cron", when=job.cron, **told))
    following = units[job.name + ".timer"].properties["NextElapseUSecRealtime"]
    return finding(check_id, "schedule", "ok", message("schedule.changed" if changing else "schedule.ok", next=following, **told))


def run_findings(job: jobs.Job, host: Host, gap: Optional[float], now: float) -> List[Finding]:
    """What became of the last run, and whether one was missed."""
    try:
        with open(host.records(job.name), encoding="ascii", errors="replace") as file:
            history = jobs.read_history(file.read())
    except FileNotFoundError:
        history = jobs.History(installed=now)
    except OSError as error:
        text = message("job.unreadable", job=job.name, path=host.records(job.name), reason=error.strerror)
        return [finding("job.%s.result" % job.name, "job", "unknown", text, remedy=job.remedy)]
    found = [_result_finding(job, history, host, now)]
    if job.enabled and (job.max_age or gap):
        found.append(_age_finding(job, history, job.max_age or jobs.default_max_age(gap or 0.0, job.random_delay), now))
    return found


def _result_finding(job: jobs.Job, history: jobs.History, host: Host, now: float) -> Finding:
    value: Optional[float] = None
    told: Dict[str, Any] = {"job": job.name}
    if history.started is None:
        skipped = history.skipped is not None
        status, name = ("warning", "job.skipped") if skipped else ("ok", "job.never")
    elif history.ended is None:
        told["seconds"] = value = round(max(0.0, now - history.started))
        status, name = ("ok", "job.running") if _is_running(job, history, host) else ("critical", "job.cut_short")
        value = value if status == "ok" else None
    else:
        told.update(seconds=history.seconds, code=history.status, limit=job.timeout, ago=round(max(0.0, now - history.ended)))
        value = history.seconds
        status, name = ("ok", "job.ok") if history.status == 0 else ("critical", "job.failed")
        name = "job.timed_out" if history.status == jobs.TIMED_OUT else name
        if status == "ok" and history.skipped is not None and history.skipped > history.ended:
            status, name = "warning", "job.skipped"
    evidence = {"job_command": " ".join(job.command), "job_log": job.log_file or "journalctl -u %s" % job.name}
    return finding(
        "job.%s.result" % job.name,
        "job",
        status,
        message(name, **told),
        value=value,
        unit="s" if value is not None else "",
        evidence=evidence if status != "ok" else None,
        remedy=job.remedy,
    )


def _is_running(job: jobs.Job, history: jobs.History, host: Host) -> bool:
    try:
        with open(os.path.join(host.proc, str(history.pid), "cmdline"), "rb") as file:
            return job.name.encode() in file.read().split(b"\0")
    except OSError:
        return False


def _age_finding(job: jobs.Job, history: jobs.History, limit: float, now: float) -> Finding:
    since = history.succeeded if history.succeeded is not None else history.installed
    age = round(max(0.0, now - (since if since is not None else now)))
    status = judge(age, critical="%d" % limit)
    kind = "" if history.succeeded is not None else "_ever"
    name = "job.age%s.ok" % kind if status == "ok" else "job.missed%s" % kind
    return finding(
        "job.%s.age" % job.name,
        "job",
        status,
        message(name, job=job.name, age=age, limit=limit),
        value=age,
        unit="s",
        critical="%d" % limit,
        remedy=job.remedy,
    )
