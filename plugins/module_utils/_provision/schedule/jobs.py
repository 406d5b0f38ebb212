# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scheduled jobs as data, and the files that make them: systemd units or a line of cron, and the script both start.

Sources: systemd.timer(5), systemd.service(5) (quoting, ``$$`` and ``%%``), crontab(5) (fields, ``%``).
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name

HEADER = "# Managed by opsrunner (schedule): what is written here by hand is replaced.\n"
SCRIPT = "/usr/local/lib/opsrunner/job"
STATE = "/var/lib/opsrunner/schedule"
#: Exit status of a run that did not happen because another one held the lock (EX_TEMPFAIL of sysexits.h).
SKIPPED = 75
#: Exit status of timeout(1) when the time was up.
TIMED_OUT = 124
#: Seconds from the end of a job's time to its being killed.
GRACE = 30

#: Starts a job: waits for its lock, ends it at its time limit, and writes a line when it starts and ends.
SCRIPT_TEXT = (
    "#!/bin/sh\n"
    + HEADER
    + r"""# job -n NAME [-k LOCK] [-w SECONDS] [-t SECONDS] [-o LOG] [-d FOLDER] [-e ENVIRONMENT] [-r SECONDS] -- COMMAND...
set -u
name= lock= wait=0 limit=0 log= folder= environment= delay=0
while getopts n:k:w:t:o:d:e:r: option; do
  case $option in
    n) name=$OPTARG ;;
    k) lock=$OPTARG ;;
    w) wait=$OPTARG ;;
    t) limit=$OPTARG ;;
    o) log=$OPTARG ;;
    d) folder=$OPTARG ;;
    e) environment=$OPTARG ;;
    r) delay=$OPTARG ;;
    *) exit 64 ;;
  esac
done
shift $((OPTIND - 1))
state=@STATE@
runs=$state/$name.runs
# A record that cannot be written keeps no job from running.
record() { echo "$*" 2>/dev/null >>"$runs" || :; }
refuse() {
  record "started $(date +%s) $$"
  record "ended $(date +%s) $1"
  echo "job $name: $2" >&2
  exit "$1"
}
if [ "$delay" -gt 0 ]; then
  sleep $(($(od -An -N4 -tu4 /dev/urandom) % delay))
fi
if [ -n "$log" ]; then
  (: >>"$log") 2>/dev/null || refuse 73 "the log $log cannot be written"
  exec >>"$log" 2>&1
fi
if [ -n "$folder" ]; then
  cd "$folder" || refuse 72 "the folder $folder cannot be entered"
fi
if [ -n "$environment" ]; then
  [ -r "$environment" ] || refuse 78 "the environment file $environment cannot be read"
  set -a
  . "$environment"
  set +a
fi
[ -r "$state/${lock:-$name}.lock" ] || refuse 70 "there is no lock $state/${lock:-$name}.lock"
exec 9<"$state/${lock:-$name}.lock"
# The job inherits the lock: it is held for as long as anything of the job lives.
if ! flock -w "$wait" 9; then
  record "skipped $(date +%s)"
  echo "job $name: skipped, another run holds the lock ${lock:-$name}" >&2
  exit @SKIPPED@
fi
if [ -n "$(find "$runs" -size +64k 2>/dev/null)" ]; then
  kept=$(tail -n 400 "$runs") && echo "$kept" >"$runs"
fi
record "started $(date +%s) $$"
# So that the end is recorded when systemd stops the job: the command gets the signal too.
trap : TERM INT HUP
if [ "$limit" -gt 0 ]; then
  timeout -k @GRACE@ "$limit" "$@"
else
  "$@"
fi
status=$?
record "ended $(date +%s) $status"
exit "$status"
""".replace("@STATE@", STATE)
    .replace("@SKIPPED@", str(SKIPPED))
    .replace("@GRACE@", str(GRACE))
)


def _environment(value: Any, path: str) -> Dict[str, str]:
    found = {}
    for name, item in read.mapping(value, path).items():
        if not re.match(r"[A-Za-z_][A-Za-z0-9_]*\Z", name):
            raise OptionError("%s.%s" % (path, name), "%r is no name of an environment variable" % name)
        found[name] = read.text(item, "%s.%s" % (path, name)) if item != "" else ""
    return found


_JOB: Dict[str, read.Reader] = {
    "name": read.name,
    "state": read.choice("present", "absent"),
    "description": read.text,
    "command": read.argv,
    "calendar": read.texts,
    "cron": read.text,
    "user": read.user,
    "group": read.user,
    "working_dir": read.absolute,
    "env_file": read.absolute,
    "environment": _environment,
    "timeout": read.duration,
    "random_delay": read.duration,
    "persistent": read.boolean,
    "enabled": read.boolean,
    "lock": read.name,
    "lock_wait": read.duration,
    "log_file": read.absolute,
    "log_rotate": read.whole,
    "after": read.texts,
    "max_age": read.duration,
    "remedy": read.text,
}


class Job(NamedTuple):
    """A job. Times in seconds. ``calendar`` for a systemd timer, ``cron`` for a line of cron; ``max_age`` None: from its calendar."""

    name: str
    present: bool = True
    command: Tuple[str, ...] = ()
    description: str = ""
    calendar: Tuple[str, ...] = ()
    cron: str = ""
    user: str = "root"
    group: Optional[str] = None
    working_dir: str = ""
    env_file: str = ""
    environment: Mapping[str, str] = {}
    timeout: int = 0
    random_delay: int = 0
    persistent: bool = True
    enabled: bool = True
    lock: str = ""
    lock_wait: int = 0
    log_file: str = ""
    log_rotate: int = 0
    after: Tuple[str, ...] = ()
    max_age: Optional[float] = None
    remedy: Optional[str] = None


class Options(NamedTuple):
    """What the module was asked for. ``run``: jobs to be run now."""

    jobs: Tuple[Job, ...]
    run: Tuple[str, ...]
    exclusive: bool


def parse(options: Mapping[str, Any]) -> Options:
    """Read the module's options. Raises OptionError."""
    jobs = tuple(_job(item, "jobs[%d]" % at) for at, item in enumerate(read.read_items(options.get("jobs"), "jobs", _JOB)))
    present = [job.name for job in jobs if job.present]
    run = read.texts(options["run"], "run") if options.get("run") else []
    for at, word in enumerate(run):
        if word not in present:
            raise unknown_name("run[%d]" % at, word, present, what="job")
    return Options(jobs, tuple(run), read.boolean(options.get("exclusive") or False, "exclusive"))


def _job(item: Dict[str, Any], here: str) -> Job:
    present = item.pop("state", "present") == "present"
    for key in ("timeout", "random_delay", "lock_wait"):
        if key in item:
            item[key] = round(item[key])
    for key in ("command", "calendar", "after"):
        if key in item:
            item[key] = tuple(item[key])
    job = Job(present=present, **item)
    if not present:
        return job
    if not job.command:
        raise OptionError(here + ".command", "is required and is missing")
    if not job.command[0].startswith("/"):
        raise OptionError(here + ".command", "%r: name the program by its whole path" % job.command[0])
    if bool(job.calendar) == bool(job.cron):
        raise OptionError(here + ".calendar", "say when: calendar (for a systemd timer) or cron, one of them")
    if not job.timeout:
        raise OptionError(here + ".timeout", "is required: a job that never ends blocks all that follow")
    if job.cron:
        _check_cron(job, here)
    if job.log_rotate and not job.log_file:
        raise OptionError(here + ".log_rotate", "rotates log_file, and there is none")
    for at, unit in enumerate(job.after):
        if not re.match(r"[A-Za-z0-9:_.@\\-]+\.[a-z]+\Z", unit):
            raise OptionError("%s.after[%d]" % (here, at), "%r is no name of a unit" % unit, hint="network-online.target")
    return job


def _check_cron(job: Job, here: str) -> None:
    parse_cron(job.cron, here + ".cron")
    if not re.match(r"[A-Za-z0-9_-]+\Z", job.name):
        raise OptionError(here + ".name", "cron passes over files with a dot in their name: %s" % job.name)
    if job.group or job.after:
        raise OptionError("%s.%s" % (here, "group" if job.group else "after"), "cron has no such thing; use calendar")


# -- files ------------------------------------------------------------------------------------------------------------------


def start_command(job: Job, by_cron: bool = False) -> List[str]:
    """What starts the job: the script, its options, the job's command."""
    words = [SCRIPT, "-n", job.name]
    given: List[Tuple[str, Any]] = [("-k", job.lock), ("-w", job.lock_wait), ("-t", job.timeout), ("-o", job.log_file)]
    if by_cron:
        given += [("-d", job.working_dir), ("-e", job.env_file), ("-r", job.random_delay)]
    for option, value in given:
        if value:
            words += [option, str(value)]
    if by_cron and job.environment:
        return [*words, "--", "/usr/bin/env", *("%s=%s" % pair for pair in sorted(job.environment.items())), *job.command]
    return [*words, "--", *job.command]


def service_unit(job: Job, command: Optional[Sequence[str]] = None, success: Sequence[int] = (SKIPPED,)) -> bytes:
    """The service of a job; ``command`` instead of the script, ``success``: exit statuses besides 0 that are no failure."""
    unit = [("Description", job.description or "Scheduled job %s" % job.name)]
    if job.after:
        unit += [("After", " ".join(job.after)), ("Wants", " ".join(name for name in job.after if name.endswith(".target")))]
    service = [("Type", "oneshot"), ("SyslogIdentifier", job.name)]
    service += [("User", job.user)] if job.user != "root" else []
    service += [("Group", job.group or ""), ("WorkingDirectory", _percent(job.working_dir)), ("EnvironmentFile", _percent(job.env_file))]
    service += [("Environment", systemd_word("%s=%s" % pair, dollar=False)) for pair in sorted(job.environment.items())]
    # The script ends the job at its limit and says so; this is for a script that hangs itself.
    service.append(("TimeoutStartSec", str(job.timeout + job.lock_wait + 2 * GRACE)))
    service.append(("SuccessExitStatus", " ".join(map(str, success))))
    service.append(("ExecStart", " ".join(systemd_word(word) for word in command or start_command(job))))
    return _unit((("Unit", unit), ("Service", service)))


def timer_unit(job: Job) -> bytes:
    """The timer of a job."""
    timer = [("OnCalendar", _percent(calendar)) for calendar in job.calendar]
    timer += [("RandomizedDelaySec", str(job.random_delay) if job.random_delay else "")]
    timer += [("Persistent", "true" if job.persistent else "false")]
    title = "Schedule of %s" % (job.description or job.name)
    return _unit((("Unit", [("Description", title)]), ("Timer", timer), ("Install", [("WantedBy", "timers.target")])))


def cron_file(job: Job) -> bytes:
    """The file under cron.d of a job."""
    import shlex

    words = " ".join(shlex.quote(word) for word in start_command(job, by_cron=True)).replace("%", "\\%")
    lines = ["SHELL=/bin/sh", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "%s %s %s" % (job.cron, job.user, words)]
    return (HEADER + "\n".join(lines) + "\n").encode()


def _unit(sections: Sequence[Tuple[str, Sequence[Tuple[str, str]]]]) -> bytes:
    text = HEADER
    for title, entries in sections:
        text += "\n[%s]\n" % title + "".join("%s=%s\n" % pair for pair in entries if pair[1])
    return text.encode()


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def systemd_word(word: str, dollar: bool = True) -> str:
    """A word of a command line in a unit: quoted where it must be, nothing in it expanded."""
    text = _percent(word)
    if dollar:
        text = text.replace("$", "$$")
    if text and re.match(r"[A-Za-z0-9_./:=,@%+$-]+\Z", text):
        return text
    return '"%s"' % text.replace("\\", "\\\\").replace('"', '\\"')


# -- times ------------------------------------------------------------------------------------------------------------------

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Tuple[Tuple[str, int, int, Tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)


class Cron(NamedTuple):
    """A schedule of cron: the values of each field; ``either``: a day fits by its number or by its weekday."""

    minutes: Set[int]
    hours: Set[int]
    days: Set[int]
    months: Set[int]
    weekdays: Set[int]
    either: bool


def parse_cron(text: str, path: str) -> Cron:
    """Read the five fields of cron. Raises OptionError."""
    words = text.split()
    if len(words) != 5:
        raise OptionError(path, "%r has %d fields, cron has five: minute, hour, day, month, weekday" % (text, len(words)), "0 2 * * *")
    fields = [_field(word, path, *field) for word, field in zip(words, _FIELDS)]
    fields[4] = {value % 7 for value in fields[4]}
    return Cron(fields[0], fields[1], fields[2], fields[3], fields[4], "*" not in words[2][:1] and "*" not in words[4][:1])


def _field(text: str, path: str, what: str, least: int, most: int, names: Sequence[str]) -> Set[int]:
    found: Set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = int(step_text) if step_text.isdigit() else 0 if slash else 1
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            first, last = least, most
        else:
            first = _value(first_text, names, least)
            last = _value(last_text, names, least) if dash else most if slash else first
        if step < 1 or not least <= first <= last <= most:
            raise OptionError(path, "%r is no %s of cron (%d to %d)" % (part, what, least, most))
        found.update(range(first, last + 1, step))
    return found


def _value(text: str, names: Sequence[str], least: int) -> int:
    if text.lower() in names:
        return list(names).index(text.lower()) + (1 if least == 1 else 0)
    return int(text) if text.isdigit() else -1


def cron_gap(cron: Cron) -> Optional[float]:
    """Seconds of the longest time between two runs, looked for over four years; None when it never runs twice."""
    import datetime

    minutes = sorted(hour * 60 + minute for hour in cron.hours for minute in cron.minutes)
    day, previous, longest = datetime.date(2024, 1, 1), None, 0
    for number in range(4 * 366):
        date = day + datetime.timedelta(days=number)
        by_number, by_name = date.day in cron.days, date.isoweekday() % 7 in cron.weekdays
        if date.month not in cron.months or not (by_number or by_name if cron.either else by_number and by_name):
            continue
        for minute in minutes:
            now = number * 1440 + minute
            if previous is not None:
                longest = max(longest, now - previous)
            previous = now
    return longest * 60.0 or None


def calendar_gap(output: str) -> Optional[float]:
    """Seconds of the longest time between two of the times that ``systemd-analyze calendar --iterations`` tells."""
    times = calendar_times(output)
    return max((later - earlier for earlier, later in zip(times, times[1:])), default=None)


def calendar_times(output: str) -> List[float]:
    """The times in the output of ``systemd-analyze calendar``, as seconds since the epoch, in order."""
    import calendar
    import time

    found: List[Optional[float]] = []
    for line in output.splitlines():
        label, _colon, rest = line.strip().partition(": ")
        match = re.match(r"\w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? (\S+)", rest.strip())
        if not match:
            continue
        seconds = float(calendar.timegm(time.strptime(match.group(1), "%Y-%m-%d %H:%M:%S"))) if match.group(2) == "UTC" else None
        if label == "(in UTC)" and found:
            found[-1] = seconds
        elif label == "Next elapse" or label.startswith("Iter"):
            found.append(seconds)
    return sorted({seconds for seconds in found if seconds is not None})


def default_max_age(gap: float, random_delay: float) -> float:
    """How long after a success the next one is missed: the gap, the random delay, and a quarter of the gap up to an hour."""
    return gap + random_delay + min(3600.0, gap / 4)


# -- what became of the runs ------------------------------------------------------------------------------------------------


class History(NamedTuple):
    """What the script has recorded of a job; times in seconds since the epoch, None: never."""

    installed: Optional[float] = None
    started: Optional[float] = None
    pid: int = 0
    ended: Optional[float] = None
    status: int = 0
    seconds: float = 0.0
    succeeded: Optional[float] = None
    skipped: Optional[float] = None


def read_history(text: str) -> History:
    """Read a job's records; lines that are torn or unknown are passed over."""
    history = History()
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or not all(word.isdigit() for word in words[1:]):
            continue
        kind, when = words[0], float(words[1])
        if kind == "installed":
            history = history._replace(installed=when)
        elif kind == "skipped":
            history = history._replace(skipped=when)
        elif kind == "started":
            history = history._replace(started=when, pid=int(words[2]) if len(words) > 2 else 0, ended=None)
        elif kind == "ended" and len(words) > 2:
            seconds = max(0.0, when - (history.started if history.started is not None else when))
            history = history._replace(ended=when, status=int(words[2]), seconds=seconds)
            if history.status == 0:
                history = history._replace(succeeded=when)
    return history
