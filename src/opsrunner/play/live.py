# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run is going, while it goes: a few lines redrawn on a terminal, one plain line per task elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
import unicodedata
from collections.abc import Callable
from typing import Any, TextIO

from opsrunner.find.collection import findings, runs
from opsrunner.play.progress import Event, Progress

_REDRAW = 0.2
_LEAST_GAP = 0.1
_SHOWN_FINDINGS = 3
#: Tasks that Ansible adds to every role.
_NOISE = "Validating arguments against arg spec"
_COLORS = {"ok": "32", "warning": "33", "unknown": "35", "critical": "31"}


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal: wide characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def fit(text: str, columns: int) -> str:
    """The text cut to so many columns, control characters replaced: what a host says must not steer the terminal."""
    text = "".join(char if char.isprintable() else " " for char in text)
    if width_of(text) <= columns:
        return text
    kept, used = [], 0
    for char in text:
        used += width_of(char)
        if used > columns - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def elapsed(seconds: float) -> str:
    """``m:ss``, from an hour on ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _counts(item: Any) -> bool:
    """Whether a line of the run can be counted; the report reads it in full."""
    texts = isinstance(item, dict) and all(isinstance(item.get(key), str) for key in ("host", "check"))
    return texts and item.get("status") in findings.STATUSES


class Tally:
    """What was found so far; reads only what was added to the run's file."""

    def __init__(self, run: runs.Run) -> None:
        self._path = run.path / "findings.jsonl"
        self._run = run
        self._offset = 0
        self._statuses: dict[tuple[str, str], str] = {}
        self.bad: list[dict[str, Any]] = []
        self.hosts = 0

    def read(self) -> None:
        """Take in what was added since."""
        with contextlib.suppress(OSError), open(self._path, "rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._take(line)
        if not self.hosts:
            with contextlib.suppress(OSError, ValueError):
                self.hosts = len(self._run.read().get("expected_hosts", ()))

    def _take(self, line: bytes) -> None:
        try:
            item = json.loads(line)["finding"]
        except (ValueError, LookupError, TypeError):
            return
        if not _counts(item):
            return
        key = (item["host"], item["check"])
        self._statuses[key] = item["status"]
        if item["status"] != "ok":
            self.bad.append(item)

    @property
    def counts(self) -> dict[str, int]:
        """Findings per status."""
        counts = dict.fromkeys(findings.STATUSES, 0)
        for status in self._statuses.values():
            counts[status] += 1
        return counts


class Silent:
    """Says nothing while the run goes."""

    def on_event(self, event: Event) -> None:
        """Nothing."""

    def on_stop(self, forced: bool) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Plain:
    """One line per task, for logs and pipes; with ``verbose`` also what Ansible says."""

    def __init__(self, out: TextIO, verbose: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._verbose = verbose
        self._progress = Progress()
        self._clock = clock
        self._start = clock()

    def on_event(self, event: Event) -> None:
        """Tell that a task has begun."""
        if self._verbose:
            if event.get("stdout"):
                self._say(event["stdout"])
        elif event.get("event") == "playbook_on_task_start":
            self._progress.take(event)
            if not self._progress.task.startswith(_NOISE):
                self._say(f"{elapsed(self._clock() - self._start):>7}  {self._progress.task}")

    def on_stop(self, forced: bool) -> None:
        """Tell that the run is being stopped."""
        self._say(stop_line(forced))

    def close(self) -> None:
        """Nothing is left open."""

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # RuntimeError: a signal in the midst of another line
            print(line, file=self._out, flush=True)


def stop_line(forced: bool) -> str:
    """What is said when the run is being stopped."""
    return "Stopping by force" if forced else "Stopping: the step at hand is told to end (once more to end it by force)"


class Screen:
    """A few lines at the end of the terminal, redrawn at most ten times a second and erased at the end."""

    def __init__(
        self,
        out: TextIO,
        run: runs.Run,
        title: str,
        color: bool = True,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
        threaded: bool = True,
    ) -> None:
        self._out, self._title, self._color, self._clock, self._columns = out, title, color, clock, columns
        self._progress, self._tally = Progress(), Tally(run)
        self._start = clock()
        self._last = -1.0
        self._drawn = 0
        self._stopping = ""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._write("\x1b[?25l")
        self._thread = threading.Thread(target=self._run, daemon=True) if threaded else None
        if self._thread:
            self._thread.start()

    def on_event(self, event: Event) -> None:
        """Follow an event; the drawing is the clock's."""
        with self._lock:
            self._progress.take(event)
        if self._thread is None:
            self.draw()

    def on_stop(self, forced: bool) -> None:
        """Show that the run is being stopped; called within a signal, so it takes no lock."""
        self._stopping = stop_line(forced)

    def close(self) -> None:
        """Erase the lines and give the cursor back."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        self._write(self._erase() + "\x1b[?25h")
        self._drawn = 0

    def _run(self) -> None:
        while not self._ended.wait(_REDRAW):
            self.draw()

    def draw(self) -> None:
        """Redraw, unless that was done a moment ago."""
        now = self._clock()
        if self._last >= 0 and now - self._last < _LEAST_GAP:
            return
        self._last = now
        self._tally.read()
        with self._lock:
            lines = self.lines(self._columns())
        self._write(self._erase() + "".join(f"{line}\n" for line in lines))
        self._drawn = len(lines)

    def lines(self, columns: int) -> list[str]:
        """What is shown, each line within ``columns``."""
        counts = self._tally.counts
        progress, tally = self._progress, self._tally
        room = max(8, columns - 1)
        lines = []
        for item in tally.bad[-_SHOWN_FINDINGS:]:
            word = item["status"]
            text = fit(f"{word:<8} {item['host']}  {item.get('summary') or item['check']}", room)
            lines.append(self._paint(text, word, len(word)))
        checks = " · ".join(f"{counts[status]} {status}" for status in findings.STATUSES)
        done = len(progress.done_hosts)
        total = max(tally.hosts, done + len(progress.open_hosts))
        lines.append(fit(f"{self._title}  {elapsed(self._clock() - self._start)}  {checks}", room))
        if self._stopping:
            lines.append(fit(self._stopping, room))
        elif progress.task:
            waiting = ", ".join(progress.open_hosts)
            hosts = f"  hosts {done}/{total}" if total else ""
            lines.append(fit(f"{progress.task}{hosts}{'  ' + waiting if waiting else ''}", room))
        return lines

    def _paint(self, text: str, status: str, length: int) -> str:
        return f"\x1b[{_COLORS[status]}m{text[:length]}\x1b[0m{text[length:]}" if self._color else text

    def _erase(self) -> str:
        return f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._out.write(text)
            self._out.flush()


def colored(out: TextIO) -> bool:
    """Whether to color what goes there (https://no-color.org)."""
    return is_terminal(out) and not os.environ.get("NO_COLOR")


def is_terminal(out: TextIO) -> bool:
    """Whether lines there can be redrawn."""
    return bool(out and out.isatty()) and os.environ.get("TERM", "dumb") != "dumb"
