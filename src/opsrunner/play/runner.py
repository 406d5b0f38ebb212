# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out a runbook: ansible-playbook through ansible-runner, watched, stopped on demand, its record ended in any case."""

from __future__ import annotations

import collections
import configparser
import contextlib
import locale
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import yaml

from opsrunner.find import collection as _collection
from opsrunner.find.collection import catalogue, findings, run_arguments, runs, secrets
from opsrunner.find.runbooks import Runbook
from opsrunner.find.systems import System
from opsrunner.play.progress import Event, Progress

#: Seconds that ansible-playbook has to end after it was asked to.
GRACE = 20.0
#: Seconds that a module on this host has after that to take back what it is doing.
TAKE_BACK = 60.0
_POLL = 0.3
_LOOK_AGAIN = 0.1
_FOLDER = ".runner"
#: Bytes that ansible-runner may need for a run.
_ROOM = 16 * 1024 * 1024
_TAIL = 200
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Job:
    """What is to be run. ``options``: those of ansible-playbook; ``passwords``: answers by prompt pattern."""

    runbook: Runbook
    system: System
    options: list[str] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()


class Watcher(Protocol):
    """Who is told how the run goes."""

    def on_event(self, event: Event) -> None:
        """An event of Ansible."""

    def on_stop(self, forced: bool) -> None:
        """The run was asked to stop."""


class Stop:
    """Signals: the first one lets ansible-playbook end by itself, the second (or a long wait) ends it by force."""

    def __init__(self, told: Callable[[bool], None], run_folder: Path) -> None:
        self.count = 0
        self.since = 0.0
        self._told = told
        self._mark = f"{runs.RUN_VARIABLE}={run_folder}".encode()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal; only sends signals on, so that it can interrupt anything."""
        self.count += 1
        self.since = self.since or time.monotonic()
        if self.count == 1:
            self._send(signal.SIGINT)
        else:
            self.kill()
        self._told(self.count > 1)

    def wanted(self) -> bool:
        """Whether ansible-runner is to kill what it started."""
        if not self.count:
            return False
        if self.count > 1 or time.monotonic() - self.since > GRACE:
            self.kill()
            return True
        return not self._own()  # it was asked to stop before there was anything to stop

    def _own(self) -> list[int]:
        """The ansible-playbook this process has started; it leads a session of its own."""
        return [pid for pid, parent, session in _processes() if parent == os.getpid() and session == pid]

    def _send(self, number: signal.Signals) -> None:
        for pid in self._own():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> None:
        """Ask everything of this run to end, so that a module can take back what it is doing; kill what does not, or after the second
        signal."""
        until = time.monotonic() + TAKE_BACK
        asked: set[int] = set()
        while self.count < 2 and time.monotonic() < until:
            left = set(self._marked())
            if not left:
                return
            for pid in left - asked:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)
            asked |= left
            time.sleep(_LOOK_AGAIN)
        self.kill()

    def kill(self) -> None:
        """End everything that carries this run's name in its environment; Ansible's workers lead sessions of their own."""
        for pid in self._marked():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _marked(self) -> list[int]:
        return [pid for pid, _parent, _session in _processes() if pid != os.getpid() and _carries(pid, self._mark)]


def _processes() -> Iterator[tuple[int, int, int]]:
    """Process id, parent and session of every process."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            words = stat.rpartition(")")[2].split()
            yield int(entry), int(words[1]), int(words[3])


def _carries(pid: int, mark: bytes) -> bool:
    """Whether the process belongs to the run; a shared ssh connection outlives a run on purpose."""
    try:
        if mark not in Path("/proc", str(pid), "environ").read_bytes().split(b"\0"):
            return False
        return not Path("/proc", str(pid), "cmdline").read_bytes().startswith(b"ssh: ")
    except OSError:
        return False


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def carry_out(job: Job, run: runs.Run, watcher: Watcher, language: str | None = None, said: list[str] | None = None) -> runs.Record:
    """Run the job as ``run`` and return its ended record. Raises OSError when the run's folder cannot be used.

    ``said`` is given the lines that steps have to say whatever the verbosity: what a dry run would do, what can be chosen from.
    """
    progress = Progress()
    tail: collections.deque[str] = collections.deque(maxlen=_TAIL)
    stop = Stop(watcher.on_stop, run.path)

    def on_event(event: Event) -> bool:
        progress.take(event)
        if event.get("stdout"):
            lines = _ANSI.sub("", event["stdout"]).splitlines()
            tail.extend(lines)
            if said is not None and event.get("event") == "verbose":
                said.extend(lines)
        watcher.on_event(event)
        return False

    with _signals(stop.on_signal):
        code = None
        try:
            for kept in (run.path.parent, runs.fallback_dir() / "runs"):
                _sweep(kept)
            code = _ansible(job, run, on_event, stop)
        except OSError as error:
            run.add_problem(_tell("run.not_started", reason=f"{error.filename or ''} {error.strerror or error}".strip()))
        finally:
            if stop.count:
                stop.end()
            for folder in (run.path, runs.fallback_dir() / "runs" / run.id):
                shutil.rmtree(folder / _FOLDER, ignore_errors=True)
        return _end(run, progress, stop, code, list(tail), job, language)


def _sweep(folder: Path) -> None:
    """Remove what killed commands have left of ansible-runner."""
    for left in folder.glob(f"*/{_FOLDER}"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            if runs.Run(left.parent).read()["state"] != "running":
                shutil.rmtree(left, ignore_errors=True)


def _ansible(job: Job, run: runs.Run, on_event: Callable[[Event], bool], stop: Stop) -> int | None:
    """ansible-playbook's exit status; None when it was killed."""
    from ansible_runner.interface import init_runner  # here: showing a run needs none of it

    folder = _workplace(run)

    def on_status(status: Mapping[str, Any], runner_config: Any) -> None:
        if status["status"] == "running":  # the file with the whole environment and every -e in clear
            Path(runner_config.artifact_dir, "command").unlink(missing_ok=True)

    runner = init_runner(
        private_data_dir=str(folder),
        project_dir=os.getcwd(),
        playbook=job.runbook.target,
        cmdline=shlex.join(["-i", _inventory(job.system), *job.options]),
        passwords=dict(job.passwords) or None,
        envvars=environment(job, run),
        suppress_env_files=True,
        fact_cache_type="",
        quiet=True,
        event_handler=on_event,
        status_handler=on_status,
        cancel_callback=stop.wanted,
    )
    # This Python's Ansible, whatever PATH has; -P: a folder "ansible" in the folder one stands in is not it.
    runner.config.command[:1] = [sys.executable, "-P", "-m", "ansible", "playbook"]
    runner.config.pexpect_timeout = _POLL
    runner.config.suppress_output_file = True
    runner.config.suppress_ansible_output = True
    if "ANSIBLE_HOST_KEY_CHECKING" not in os.environ:
        del runner.config.env["ANSIBLE_HOST_KEY_CHECKING"]  # ansible-runner turns the check off by default
    runner.run()
    return None if runner.status == "canceled" else runner.rc


def _workplace(run: runs.Run) -> Path:
    """A folder for ansible-runner: the run's own, or the temporary one when there is no space. Raises OSError."""
    folder = run.path
    if shutil.disk_usage(folder).free < _ROOM:
        spare = runs.fallback_folder()
        if shutil.disk_usage(spare).free > shutil.disk_usage(folder).free:
            folder = spare / "runs" / run.id
    folder = folder / _FOLDER
    folder.mkdir(mode=0o700, parents=True)
    return folder


def _inventory(system: System) -> str:
    return str(system.path.absolute()) if system.path.exists() else str(system.path)


def environment(job: Job, run: runs.Run) -> dict[str, str]:
    """What ansible-playbook finds in its environment besides the user's own."""
    return {runs.RUN_VARIABLE: str(run.path), "ANSIBLE_NOCOLOR": "1", **surroundings(), **job.environment}


def surroundings() -> dict[str, str]:
    """What every program of Ansible needs to use this Python's Ansible, this collection and the ansible.cfg in force."""
    given = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])}
    configuration = _configuration()
    if configuration and "ANSIBLE_CONFIG" not in os.environ:
        given["ANSIBLE_CONFIG"] = str(configuration)
    given["ANSIBLE_COLLECTIONS_PATH"] = _collections_path(configuration)
    if "utf" not in locale.getpreferredencoding(False).lower():
        given["LC_ALL"] = "C.UTF-8"  # Ansible refuses to start without
    return given


def _configuration() -> Path | None:
    """The ansible.cfg in force: as Ansible looks for it, else the one shipped with the command."""
    if os.environ.get("ANSIBLE_CONFIG"):
        return Path(os.environ["ANSIBLE_CONFIG"])
    shipped = (_collection.CHECKOUT or Path(__file__).parents[1]) / "ansible.cfg"
    for path in (Path.cwd() / "ansible.cfg", Path("~/.ansible.cfg").expanduser(), Path("/etc/ansible/ansible.cfg"), shipped):
        if path.is_file() and not (path.parent.stat().st_mode & 0o002):
            return path
    return None


def _collections_path(configuration: Path | None) -> str:
    """This command's collection first, then what the user has set, so that both work with the same code."""
    named = os.environ.get("ANSIBLE_COLLECTIONS_PATH", "")
    if not named and configuration:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
            parser.read(configuration, encoding="utf-8")
        base = configuration.parent
        entries = parser.get("defaults", "collections_path", fallback="").split(":")
        named = ":".join(str(base / Path(entry).expanduser()) for entry in entries if entry)
    named = named or "~/.ansible/collections:/usr/share/ansible/collections"
    return ":".join(dict.fromkeys([str(_collection.parent()), *named.split(":")]))


def _end(run: runs.Run, progress: Progress, stop: Stop, code: int | None, tail: list[str], job: Job, language: str | None) -> runs.Record:
    """Bring the record to its end, if the playbook has not."""
    record = run.read()
    more: dict[str, Any] = {"task_stats": progress.stats} if progress.stats else {}
    from opsrunner.find.collection import reports  # here: they are needed only when the playbook wrote none

    if record["state"] != "running":
        record.update(more)
        if "artifacts" not in record:  # stopped while the reports were written
            return reports.publish(run, record, language or record.get("language") or "en")[1]
        if more:
            run.write(record)
        return record
    state = "complete"
    if stop.count:
        state = "interrupted"
        more["open_step"] = {"task": progress.task, "hosts": list(progress.open_hosts)}
        run.add_problem(_tell("run.interrupted", task=progress.task or "-", hosts=list(progress.open_hosts) or ["-"]))
        for text in _left_open(job, run, list(progress.open_hosts)):
            run.add_problem(text)
    elif code != 0 and not any("problem" in line for line in run.lines()):
        reason = secrets.mask_text(_reason(progress, tail), job.hidden)
        run.add_problem(_tell("run.ansible_failed", code="-" if code is None else code, reason=reason))
    elif not progress.stats and not any("problem" in line for line in run.lines()):
        run.add_problem(_tell("run.nothing"))
    record = run.finish(state, **more)
    return reports.publish(run, record, language or record.get("language") or "en")[1]


def _left_open(job: Job, run: runs.Run, hosts: list[str]) -> Iterator[str]:
    """What an interrupted run may have left open on hosts, and the exact command that ends it."""
    if job.runbook.name != "restore" or any(re.fullmatch(r"backup\..+\.restore", item["check"]) for item in run.findings()):
        return
    given = _extra_vars(job.options)
    action = str(given.get("restore_action") or "restore")
    confirm = given.get("confirm") or given.get("restore_confirm") or ()
    words = re.split(r"[\s,]+", confirm) if isinstance(confirm, str) else [str(word) for word in confirm]
    if action not in ("undo", "resume") and not {"restore", "restore_discard"} & set(words):
        return
    backup = str(given.get("restore_backup") or "")
    own = ["--backup", backup] if backup else []
    undo, resume = (run_arguments.command(run.read(), "restore", *own, option) for option in ("--undo", "--resume"))
    yield _tell("run.interrupted.restore", hosts=hosts or ["-"], undo=undo, resume=resume)


def _extra_vars(options: list[str]) -> dict[str, Any]:
    """The extra variables among options of ansible-playbook, the last one of a name."""
    found: dict[str, Any] = {}
    for at, word in enumerate(options[:-1]):
        if word in ("-e", "--extra-vars"):
            data = _extra_data(options[at + 1])
            found.update(data if isinstance(data, dict) else {})
    return found


def _tell(identifier: str, **params: Any) -> str:
    return catalogue.tell(findings.message(identifier, **params))


def _reason(progress: Progress, tail: list[str]) -> str:
    """Why ansible-playbook ended as it did: its own last error, else the last task that failed, else its last words."""
    lines = [line.strip() for line in tail if line.strip()]
    errors = [index for index, line in enumerate(lines) if line.startswith(("ERROR!", "[ERROR]"))]
    usage = [line for line in lines if re.match(r"\S+: error: ", line)]
    if progress.failure:
        lines = [progress.failure]
    elif usage:
        lines = usage
    elif errors:
        lines = lines[errors[0] :]
    else:
        lines = lines[-5:]
    return findings.cut(" ".join(" ".join(lines).split()) or "it said nothing", 1000)


def arguments(options: Mapping[str, Any], extra: list[str]) -> dict[str, Any]:
    """What the record keeps of the command line: see :mod:`run_arguments`; of unknown options only the names."""
    kept = run_arguments.from_cli(options)
    names = [word.partition("=")[0] if word.startswith("--") else word[:2] for word in extra if word.startswith("-")]
    if names:
        kept["options"] = list(dict.fromkeys(names))
    return kept


_LEAST_HIDDEN = 6


def hidden_values(passwords: Iterable[str], extra_vars: Iterable[str]) -> frozenset[str]:
    """What must not show in texts of Ansible that the record keeps: passwords, and the values of extra variables."""
    hidden = {word for word in passwords if len(word) >= 3}
    for given in extra_vars:
        data = _extra_data(given)
        hidden |= secrets.collect(data)
        hidden |= {text for text in _texts(data) if len(text) >= _LEAST_HIDDEN}
    return frozenset(hidden)


def _extra_data(given: str) -> Any:
    """What ``-e`` gives: JSON, YAML, ``@file`` of either, ``name=value`` words. A vaulted file tells nothing here."""
    text = given.strip()
    if text.startswith("@"):
        try:
            text = Path(text[1:]).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, RuntimeError):
            return {}
    if given.startswith("@") or text.startswith(("{", "[")):
        with contextlib.suppress(yaml.YAMLError, RecursionError):
            return yaml.safe_load(text)
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return dict(word.partition("=")[::2] for word in words)


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for item in data.values():
            yield from _texts(item)
    elif isinstance(data, list):
        for item in data:
            yield from _texts(item)
    else:
        yield str(data)
