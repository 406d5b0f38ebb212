# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runbooks that run by themselves: timers of systemd on the controller, of this user or of the whole machine."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from opsrunner.errors import EXIT_INVALID, RefusalError, UsageError, unknown
from opsrunner.find import runbooks, systems

PREFIX = "opsrunner-"
#: A run that found something has done its work; only one without a complete record has failed.
SUCCESS = (1, 2, 3)
#: Seconds of a run at most, unless said otherwise.
TIMEOUT = "4h"
#: What of this environment a scheduled run needs to find the same systems, runs and settings.
_ENVIRONMENT = (
    "ANSIBLE_COLLECTIONS_PATH",
    "ANSIBLE_CONFIG",
    "ANSIBLE_VAULT_PASSWORD_FILE",
    "HOME",
    "LANG",
    "OPSRUNNER_INVENTORIES",
    "OPSRUNNER_STATE",
    "PATH",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
)

Runner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class ScheduleError(RefusalError):
    """A schedule that cannot be put in force or taken away."""


class Entry(NamedTuple):
    """A scheduled runbook. ``options``: of the command, after the system."""

    name: str
    runbook: str
    system: systems.System
    calendars: tuple[str, ...]
    options: tuple[str, ...] = ()
    timeout: str = TIMEOUT

    @property
    def unit(self) -> str:
        """The name of its units, without their kind."""
        return f"{PREFIX}{self.system.name}-{self.name}"


class Place(NamedTuple):
    """Where units are kept, and how systemd is spoken to."""

    folder: Path
    systemctl: tuple[str, ...]
    run: Runner

    def call(self, *words: str) -> str:
        """Let systemctl do something. Raises ScheduleError."""
        done = self.run([*self.systemctl, *words])
        if done.returncode:
            told = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
            raise ScheduleError(f"{' '.join([*self.systemctl, *words])}: {told}")
        return done.stdout


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": ""}
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environment)
    except FileNotFoundError:
        raise ScheduleError(f"{argv[0]} is not installed: schedules are timers of systemd") from None
    except subprocess.TimeoutExpired:
        raise ScheduleError(f"{' '.join(argv)} did not end within 60 s") from None


def place(machine: bool, run: Runner = _run) -> Place:
    """The machine's units, or this user's."""
    if machine:
        return Place(Path("/etc/systemd/system"), ("systemctl",), run)
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return Place(config / "systemd/user", ("systemctl", "--user"), run)


# -- the commands --------------------------------------------------------------------------------------------------------


def install(given: argparse.Namespace, extra: Sequence[str]) -> int:
    """Schedule one runbook, or those that the system's inventory names."""
    system = systems.choose(given.system, given.inventory)
    known = runbooks.find()
    if given.runbook:
        if not given.calendar:
            raise UsageError("when? Give --calendar, such as 'Mon *-*-* 10:00:00' or daily")
        if given.runbook not in known:
            raise unknown(given.runbook, known, "runbook")
        entries = [Entry(given.name or given.runbook, given.runbook, system, tuple(given.calendar), tuple(extra), given.timeout)]
    else:
        if given.calendar or given.name or extra:
            raise UsageError("which runbook?")
        entries = list(from_inventory(system, given.timeout))
        if not entries:
            raise UsageError(f"{system.name} has no runbook_calendar: name a runbook and --calendar")
    missing = [entry for entry in entries if entry.runbook not in known]
    where = place(given.machine)
    changed = put([entry for entry in entries if entry not in missing], where)
    for entry in entries:
        if entry in missing:
            print(f"{entry.unit}: left out, there is no runbook {entry.runbook}", file=sys.stderr)
        else:
            print(f"{entry.unit}: {'installed' if entry.unit in changed else 'as before'}, {', '.join(entry.calendars)}")
    if not given.machine and not Path("/var/lib/systemd/linger", _user()).exists():
        print("These run only while you are logged in, until: loginctl enable-linger", file=sys.stderr)
    return EXIT_INVALID if missing else 0


def list_all(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """The schedules with their next time and what became of the last run."""
    rows = [row for machine in (False, True) for row in found(place(machine))]
    if given.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    for row in rows:
        print(
            f"{row['name']}  {', '.join(row['calendars'])}  next {row['next'] or '-'}  last {row['last'] or '-'} {row['result']}".rstrip()
        )
    if not rows:
        print("Nothing is scheduled: opsrunner schedule install RUNBOOK --system NAME --calendar WHEN")
    return 0


def remove(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """Take schedules away."""
    where = place(given.machine)
    known = {row["name"]: row for row in found(where)}
    names = [name if name.startswith(PREFIX) else PREFIX + name for name in given.names]
    for name in names:
        if name not in known:
            raise unknown(name, known, "schedule")
    take_away(names, where)
    for name in names:
        print(f"{name}: removed")
    return 0


# -- the work ------------------------------------------------------------------------------------------------------------


def from_inventory(system: systems.System, timeout: str = TIMEOUT) -> Iterator[Entry]:
    """What the inventory's ``runbook_calendar`` schedules. Raises UsageError for one that is malformed."""
    from opsrunner.find.collection import variables

    group = (system.path if system.path.is_dir() else system.path.parent) / "group_vars"
    for path in [*sorted(group.glob("all/*.yml")), group / "all.yml"]:
        if not path.is_file():
            continue
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue  # another file's vaulted values and tags are not this command's; validate tells of broken ones
        if not isinstance(data, dict) or "runbook_calendar" not in data:
            continue
        for error in variables.check("runbook_calendar", data["runbook_calendar"]):
            raise UsageError(f"{path}: {error}")
        for item in data["runbook_calendar"]:
            if item["runbook"] not in runbooks.find():
                raise unknown(item["runbook"], runbooks.find(), f"{path}: runbook_calendar: runbook")
            options = tuple(str(word) for word in item.get("options") or ())
            yield Entry(str(item.get("name") or item["runbook"]), item["runbook"], system, (item["calendar"],), options, timeout)


def units(entry: Entry) -> dict[str, bytes]:
    """The text of an entry's units by their file name."""
    from opsrunner.find.collection import options, schedule_jobs

    package = Path(__file__).resolve().parents[2]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if os.environ.get(name)}
    if "site-packages" not in package.parts:
        environment["PYTHONPATH"] = str(package)
    try:
        seconds = round(options.parse_duration(entry.timeout, "--timeout"))
    except options.OptionError as error:
        raise UsageError(str(error)) from None
    job = schedule_jobs.Job(
        name=entry.unit,
        description=f"Runbook {entry.runbook} on {entry.system.name}",
        calendar=entry.calendars,
        working_dir=str(Path.cwd()),
        environment=environment,
        timeout=seconds,
    )
    command = [sys.executable, "-m", "opsrunner", entry.runbook, "-i", str(entry.system.path.absolute()), *entry.options]
    return {
        f"{entry.unit}.service": schedule_jobs.service_unit(job, command, SUCCESS),
        f"{entry.unit}.timer": schedule_jobs.timer_unit(job),
    }


def put(entries: Sequence[Entry], where: Place) -> list[str]:
    """Put entries in force, all or none; returns the units that were changed. Raises UsageError or ScheduleError."""
    from opsrunner.find.collection import managed_files, schedule_jobs

    for entry in entries:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", entry.unit):
            raise UsageError(f"{entry.unit!r} is no name of a unit: letters, digits, _ . and -; give --name")
        done = where.run(["systemd-analyze", "calendar", "--", *entry.calendars])
        if done.returncode:
            raise UsageError(f"{', '.join(entry.calendars)}: no calendar of systemd, such as 'Mon *-*-* 10:00:00' or daily")
    header = schedule_jobs.HEADER.encode()
    changed: list[str] = []
    try:
        with managed_files.Transaction("schedules", _journals(), _undo(where)) as change:
            change.note("units", [f"{entry.unit}.timer" for entry in entries])
            for entry in entries:
                for name, text in units(entry).items():
                    before = managed_files.read(str(where.folder / name))
                    if before.kind == "file" and not before.content.startswith(header):
                        raise ScheduleError(f"{before.path} was written by others; give --name")
                    # Options of a run may say what is not for everybody; the timer alone tells when.
                    after = managed_files.desired(before, text, 0o644 if name.endswith(".timer") else 0o600)
                    if managed_files.differs(before, after):
                        change.put(after)
                        changed.append(entry.unit)
            if changed:
                where.call("daemon-reload")
            for entry in entries:
                where.call("enable", f"{entry.unit}.timer")
                where.call("restart" if entry.unit in changed else "start", f"{entry.unit}.timer")
    except managed_files.FileError as error:
        raise ScheduleError(str(error)) from None
    return changed


def take_away(names: Sequence[str], where: Place) -> None:
    """Stop and remove units. Raises ScheduleError."""
    from opsrunner.find.collection import managed_files

    try:
        for name in names:
            where.call("disable", "--now", f"{name}.timer")
        with managed_files.Transaction("schedules", _journals(), _undo(where)) as change:
            for name in names:
                for kind in ("timer", "service"):
                    change.put(managed_files.absent(managed_files.read(str(where.folder / f"{name}.{kind}"))))
        where.call("daemon-reload")
    except managed_files.FileError as error:
        raise ScheduleError(str(error)) from None


def _undo(where: Place) -> dict[str, Callable[[Any], None]]:
    def timers(names: Any) -> None:
        where.run([*where.systemctl, "daemon-reload"])
        for name in names:
            # One that was there before starts again; one that was not has no file and is switched off.
            known = (where.folder / name).exists()
            where.run([*where.systemctl, *(("restart",) if known else ("disable", "--now")), name])

    return {"units": timers}


def _journals() -> str:
    from opsrunner.find.collection import runs

    return str(runs.state_dir() / "transactions")


def found(where: Place) -> list[dict[str, Any]]:
    """The schedules that are in force in a place."""
    from opsrunner.find.collection import schedule_jobs

    rows: list[dict[str, Any]] = []
    for path in sorted(where.folder.glob(f"{PREFIX}*.timer")) if where.folder.is_dir() else ():
        text = path.read_text(encoding="utf-8", errors="replace")
        if not text.startswith(schedule_jobs.HEADER):
            continue
        told: dict[str, str] = {}
        for kind, properties in (("timer", "NextElapseUSecRealtime,LastTriggerUSec"), ("service", "Result,ExecMainStatus")):
            done = where.run([*where.systemctl, "show", "-p", properties, f"{path.stem}.{kind}"])
            told.update((line.partition("=")[0], line.partition("=")[2]) for line in done.stdout.splitlines())
        last = told.get("LastTriggerUSec", "").replace("n/a", "")
        rows.append(
            {
                "name": path.stem,
                "calendars": [line.split("=", 1)[1] for line in text.splitlines() if line.startswith("OnCalendar=")],
                "next": told.get("NextElapseUSecRealtime", ""),
                "last": last,
                "result": f"exit status {told.get('ExecMainStatus', '?')}" if last else "",
                "file": str(path),
            }
        )
    return rows


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def add_commands(top: argparse.ArgumentParser, parser_class: type[argparse.ArgumentParser]) -> None:
    """The command line below ``opsrunner schedule``."""
    commands = top.add_subparsers(dest="what", metavar="WHAT", required=True, parser_class=parser_class)
    text = "run a runbook by itself; without one, those of the system's runbook_calendar"
    one = commands.add_parser("install", help=text, description=text, epilog="Everything after -- is handed to each run.")
    one.add_argument("runbook", nargs="?", metavar="RUNBOOK")
    one.add_argument("--system", metavar="NAME", help="the system")
    one.add_argument("-i", "--inventory", metavar="PATH", help="an inventory by its path")
    one.add_argument(
        "--calendar", action="append", metavar="WHEN", help="a calendar of systemd: daily, 'Mon *-*-* 10:00:00'; may be repeated"
    )
    one.add_argument("--name", metavar="NAME", help="name of the schedule (default: the runbook's)")
    one.add_argument("--timeout", default=TIMEOUT, metavar="TIME", help="a run ends after so long at most (default: %(default)s)")
    one.set_defaults(handler=install)
    two = commands.add_parser("list", help="what is scheduled", description="What is scheduled.")
    two.add_argument("--json", action="store_true", help="as data")
    two.set_defaults(handler=list_all)
    three = commands.add_parser("remove", help="take schedules away", description="Take schedules away.")
    three.add_argument("names", nargs="+", metavar="NAME", help="as list tells it")
    three.set_defaults(handler=remove)
    for each in (one, three):
        each.add_argument(
            "--machine", action="store_true", default=os.getuid() == 0, help="the machine's timers, not this user's (as root always)"
        )
