# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs and their records: where findings go while a run lives, and what is kept of it.

State folder: ``$OPSRUNNER_STATE``, else ``$XDG_STATE_HOME/opsrunner``, else ``~/.local/state/opsrunner``::

    runs/<id>/findings.jsonl   a line per finding, as it was found
    runs/<id>/run.json         the record, written at start and end
    runs/<id>/report.*         the reports
    live/<pid>-<start>         names the run of a running ansible-playbook, for its workers
    index.db                   what ``history`` and the charts read; made anew from the records when lost

A run that cannot keep its record there goes on in a temporary folder and says so; also when the space there ends while it lives.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import getpass
import hashlib
import json
import os
import re
import secrets as random_source
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import (
    STATUSES,
    Finding,
    Message,
    finding,
    message,
    utc_now,
    worst,
)
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import reader
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

SCHEMA = 1
#: Days a run is kept unless ``run_report_keep_days`` says otherwise: a quarter, to compare with the one before.
KEEP_DAYS = 90
#: The folder of the run, given by the command to the ansible-playbook it starts.
RUN_VARIABLE = "OPSRUNNER_RUN"
STATE_VARIABLE = "OPSRUNNER_STATE"
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9_]+-[A-Za-z0-9_]+-[0-9a-f]{4}\Z")

Record = dict[str, Any]


def state_dir() -> Path:
    """The folder that keeps runs; it need not exist yet."""
    if os.environ.get(STATE_VARIABLE):
        return Path(os.environ[STATE_VARIABLE]).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser().absolute() / "opsrunner"


def fallback_dir() -> Path:
    """For a state folder that cannot be written: one of this user in the temporary folder."""
    return Path(tempfile.gettempdir()) / f"opsrunner-{os.getuid()}"


def fallback_folder() -> Path:
    """The same, made. Raises OSError when it is another user's or cannot be written."""
    return _own_folder(fallback_dir())


def _own_folder(path: Path) -> Path:
    """Make the folder, mode 0700. Raises OSError when it is another user's or cannot be written."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid() or not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(13, "not a folder this user can write", str(path))
    return path


def _write(path: Path, text: str) -> None:
    """Replace a file's content at once, mode 0600."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def process_start(pid: int) -> str | None:
    """When a process started (clock ticks since boot), or None when there is none; with the pid it is a process's identity."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


class Run:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    # -- while it lives ------------------------------------------------------------------------------------------

    def append(self, found: Iterable[Finding]) -> None:
        """Add findings; safe from many processes at once: each call is one locked write of whole lines."""
        self._append_lines({"finding": item} for item in found)

    def add_problem(self, text: str) -> None:
        """Note a failure outside the checks: the run is then not complete."""
        self._append_lines([{"problem": text}])

    def add_note(self, text: Message | str) -> None:
        """Note something about the run itself that its reader should know, and that is no failure."""
        self._append_lines([{"note": text}])

    def _append_lines(self, lines: Iterable[dict[str, Any]]) -> None:
        data = "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines).encode("utf-8", "replace")
        if not data:
            return
        try:
            _append(self.path / "findings.jsonl", data)
        except OSError:
            if self._spill == self.path:
                raise
            fallback_folder()
            _append(_own_folder(self._spill) / "findings.jsonl", data)

    @property
    def home(self) -> Path:
        """Where the run's record and reports are: its folder, or the temporary one when that took no more."""
        return self._spill if (self._spill / "run.json").exists() else self.path

    @property
    def _spill(self) -> Path:
        """Where the run goes on when its own folder takes no more."""
        return fallback_dir() / "runs" / self.id

    def lines(self) -> Iterator[dict[str, Any]]:
        """What was appended so far; a line torn by a crash or written by anything else is left out."""
        for folder in dict.fromkeys((self.path, self._spill)):
            with contextlib.suppress(OSError), open(_own_file(folder / "findings.jsonl"), "rb") as file:
                for line in file:
                    with contextlib.suppress(ValueError, RecursionError):
                        item = json.loads(line)
                        if isinstance(item, dict):
                            yield item

    def findings(self) -> list[Finding]:
        """The findings so far, the last one for each host and check."""
        found: dict[tuple[str, str], Finding] = {}
        for line in self.lines():
            item: Any = line.get("finding")
            if reader.is_finding(item):
                found[item["host"], item["check"]] = item
        return list(found.values())

    def _unreachable_mark(self, host: str) -> Path:
        return self.path / ".unreachable" / hashlib.sha256(host.encode()).hexdigest()[:16]

    def mark_unreachable(self, host: str) -> None:
        """Remember that the host did not answer."""
        mark = self._unreachable_mark(host)
        with contextlib.suppress(OSError):  # then each further attempt costs its time, and nothing else
            mark.parent.mkdir(mode=0o700, exist_ok=True)
            mark.touch()

    def is_unreachable(self, host: str) -> bool:
        """Whether the host did not answer earlier in this run."""
        return self._unreachable_mark(host).exists()

    # -- its record ----------------------------------------------------------------------------------------------

    def read(self) -> Record:
        """The record. Raises OSError or ValueError when there is none to read."""
        path = self.home / "run.json"
        if self.home != self.path:
            _own_file(path)
        try:
            record: Record = json.loads(path.read_text(encoding="utf-8"))
        except RecursionError:
            raise ValueError(f"{path}: not a run record") from None
        if not isinstance(record, dict) or record.get("schema") != SCHEMA or not _is_record(record):
            raise ValueError(f"{path}: not a run record of schema {SCHEMA}")
        if record["state"] == "running" and not _is_alive(record):
            record["state"] = "killed"
        return record

    def write(self, record: Record) -> None:
        """Keep the record; in the temporary folder, with a note, when its own takes no more. Raises OSError when neither does."""
        try:
            _write(self.home / "run.json", _as_text(record))
        except OSError as error:
            if self.home == self._spill:
                raise
            text = message("run.state_unwritable", path=str(state_dir()), reason=error.strerror or str(error))
            record["notes"] = [*record.get("notes", ()), text]
            fallback_folder()
            _write(_own_folder(self._spill) / "run.json", _as_text(record))

    def finish(self, state: str = "complete", hosts: Iterable[str] = (), **more: Any) -> Record:
        """End the run: put findings, counts and hosts into the record and write it.

        ``hosts``: those the run was to look at; one without any finding gets an ``unknown`` one. ``state``: ``complete``,
        ``interrupted`` or ``refused``; a run with problems outside its checks cannot be ``complete``.
        """
        record = self.read()
        found = self.findings()
        seen = {item["host"] for item in found}
        expected = sorted({*hosts, *record.get("expected_hosts", ())})
        for host in expected:
            if host not in seen:
                text = message("host.unseen.interrupted" if state == "interrupted" else "host.unseen")
                item = finding("host.seen", "reachable", "unknown", text)
                item.update(host=host, summary=catalogue.tell(text), remedy=catalogue.remedy(item) or None)
                found.append(item)
        problems = [text for line in self.lines() if "problem" in line for text in str(line["problem"]).splitlines()]
        notes = [line["note"] for line in self.lines() if "note" in line]
        record.update(
            state="failed" if problems and state == "complete" else state,
            end=utc_now(),
            seconds=max(0.0, round(time.time() - record["started_at"], 1)),  # the clock may have been set back
            expected_hosts=expected,
            problems=list(dict.fromkeys([*record.get("problems", ()), *problems])),
            notes=[*record.get("notes", ()), *notes],
            findings=found,
            counts=count(found),
            status=worst(item["status"] for item in found),
            hosts=by_host(found),
            **more,
        )
        self.write(record)
        return record


def _is_record(record: Record) -> bool:
    if not all(isinstance(record.get(key), str) for key in ("id", "runbook", "system", "state", "start")):
        return False
    if not isinstance(record.get("started_at"), (int, float)) or record.get("status", "ok") not in STATUSES:
        return False
    found = record.get("findings", [])
    return isinstance(found, list) and all(map(reader.is_finding, found))


def _as_text(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False, indent=1, default=str) + "\n"


def _own_file(path: Path) -> Path:
    """The path of a file. Raises OSError when there is none, or one of another user."""
    if path.stat().st_uid not in (os.getuid(), 0):
        raise PermissionError(13, "a file of another user", str(path))
    return path


def _append(path: Path, data: bytes) -> None:
    """Add whole lines or nothing, beside other processes. Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        before = os.fstat(handle).st_size
        if before and os.pread(handle, 1, before - 1) != b"\n":
            data = b"\n" + data  # the last one was killed within a line
        try:
            while data:
                data = data[os.write(handle, data) :]
        except OSError:
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)


def count(found: Iterable[Finding]) -> dict[str, int]:
    """Findings per status, every status named."""
    counts = dict.fromkeys(STATUSES, 0)
    for item in found:
        counts[item["status"]] += 1
    return counts


def by_host(found: Iterable[Finding]) -> dict[str, dict[str, Any]]:
    """Per host: its counts and its worst status."""
    hosts: dict[str, list[Finding]] = {}
    for item in found:
        hosts.setdefault(item["host"], []).append(item)
    return {host: {**count(items), "status": worst(item["status"] for item in items)} for host, items in sorted(hosts.items())}


def _is_alive(record: Record) -> bool:
    process = record.get("process") or {}
    if process.get("host") != socket.gethostname():
        return True  # cannot be told from here
    start = process_start(int(process.get("pid", 0)))
    return start is not None and start == process.get("start")


def exit_status(record: Record, fail_on: str = "unknown") -> int:
    """The command's exit status: 0 ok, 1 warning, 2 critical, 3 unknown, 4 no complete record, 130 interrupted.

    ``fail_on``: the least status that counts (``none``: no finding does); order ok < warning < unknown < critical.
    """
    if record["state"] == "interrupted":
        return 130
    if record["state"] != "complete":
        return 4
    if not fails(record["status"], fail_on):
        return 0
    return {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}[record["status"]]


def fails(status: str, fail_on: str = "unknown") -> bool:
    """Whether a status is as bad as ``fail_on`` or worse."""
    return fail_on != "none" and status != "ok" and STATUSES.index(status) >= STATUSES.index(fail_on)


def new_id(runbook: str, system: str) -> str:
    """``<UTC time>-<system>-<runbook>-<4 hex digits>``: sorts by time, says what it was."""
    clean = [re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "none" for name in (system, runbook)]
    return "-".join([time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), *clean, random_source.token_hex(2)])


def create(runbook: str, system: str, pid: int, **more: Any) -> Run:
    """Make a run's folder and its first record, for the process ``pid`` that carries it out.

    Falls back to a temporary folder when the state folder cannot be written, and notes that in the record. Raises OSError
    when neither can be.
    """
    identifier = new_id(runbook, system)
    notes: list[Message] = []
    try:
        run = Run(_own_folder(_own_folder(_own_folder(state_dir()) / "runs") / identifier))
    except OSError as error:
        notes.append(message("run.state_unwritable", path=str(state_dir()), reason=error.strerror or str(error)))
        run = Run(_own_folder(_own_folder(fallback_folder() / "runs") / identifier))
    record = {
        "schema": SCHEMA,
        "id": identifier,
        "runbook": runbook,
        "system": system,
        "state": "running",
        "start": utc_now(),
        "started_at": round(time.time(), 3),
        "end": None,
        "process": {"host": socket.gethostname(), "pid": pid, "start": process_start(pid)},
        "who": {"user": _user(), "controller": socket.gethostname()},
        "notes": notes,
        **more,
    }
    run.write(record)
    if run.home == run.path:
        return run
    with contextlib.suppress(OSError):  # there was space for a folder, and for no file
        run.path.rmdir()
    return Run(run.home)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in an execution environment
        return str(os.getuid())


# -- the run of this process ---------------------------------------------------------------------------------------------


def _marks(pid: int) -> list[Path]:
    start = process_start(pid)
    return [root / "live" / f"{pid}-{start}" for root in (state_dir(), fallback_dir())] if start else []


def current() -> Run | None:
    """The run that this process works for: the command's, else the one its ansible-playbook has started."""
    if os.environ.get(RUN_VARIABLE):
        run = Run(Path(os.environ[RUN_VARIABLE]))
        return run if (run.home / "run.json").exists() else None
    for pid in (os.getppid(), os.getpid()):
        for mark in _marks(pid):
            with contextlib.suppress(OSError):
                if mark.stat().st_uid == os.getuid():
                    return Run(Path(mark.read_text(encoding="utf-8")))
    return None


def start(runbook: str, system: str, **more: Any) -> Run:
    """The current run, or a new one for the ansible-playbook whose worker calls this."""
    run = current()
    if run is None:
        pid = os.getppid()
        run = create(runbook, system, pid, **more)
        name = f"{pid}-{process_start(pid)}"
        for root in dict.fromkeys((run.path.parent.parent, fallback_dir())):
            with contextlib.suppress(OSError):
                _own_folder(root)
                _write(_own_folder(root / "live") / name, str(run.path))
                _sweep(root / "live")
                return run
        raise OSError(28, "neither takes the mark of the run", f"{state_dir()}, {fallback_dir()}")
    return run


def _sweep(folder: Path) -> None:
    """Remove the marks of processes that are gone."""
    for mark in folder.iterdir():
        pid, _dash, started = mark.name.partition("-")
        if not pid.isdigit() or process_start(int(pid)) != started:
            mark.unlink(missing_ok=True)


def seconds_of(iso: Any) -> float | None:
    """Seconds since the epoch from ISO 8601 in UTC; None for anything else."""
    try:
        return datetime.datetime.fromisoformat(str(iso)).timestamp()
    except ValueError:
        return None
