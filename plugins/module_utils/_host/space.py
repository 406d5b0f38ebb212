# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The space of file systems, asked for without hanging on one whose server is gone."""

from __future__ import annotations

import json
import os
import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence

#: As many remote mounts are asked at once.
_AT_ONCE = 32


class Space(NamedTuple):
    """Bytes and inodes of a file system. ``available``: what users without privileges may still write."""

    total: int
    used: int
    available: int
    inodes: int
    inodes_used: int
    folder: bool
    took_ms: float

    @property
    def percent(self) -> Optional[float]:
        """Used share of what users may fill, as ``df`` tells it; None for a file system without a size."""
        usable = self.used + self.available
        return round(100.0 * self.used / usable, 2) if usable > 0 else None

    @property
    def inodes_percent(self) -> Optional[float]:
        """Used share of inodes; None where the file system makes them as needed."""
        return round(100.0 * self.inodes_used / self.inodes, 2) if self.inodes > 0 else None


class Answer(NamedTuple):
    """What came back for a mount: its space, or ``reason`` (``hangs``, or the system's error text)."""

    space: Optional[Space]
    reason: Optional[str] = None


def space(path: str) -> Space:
    """Ask the file system. Raises OSError; may never return."""
    started = time.monotonic()
    told = os.statvfs(path)
    folder = os.path.isdir(path)
    took = (time.monotonic() - started) * 1000
    unit = told.f_frsize
    return Space(
        told.f_blocks * unit,
        (told.f_blocks - told.f_bfree) * unit,
        told.f_bavail * unit,
        told.f_files,
        told.f_files - told.f_ffree,
        folder,
        round(took, 1),
    )


class _Child:
    """A process that asks for the space of some mounts, one after another, and writes each answer into a pipe.

    It holds none of our open files: one that hangs in the kernel for ever must not keep the connection open.
    """

    def __init__(self, points: Sequence[str], ask: Callable[[str], Space]) -> None:
        self.left = list(points)
        self.asked_at = time.monotonic()
        self.data = b""
        reader, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            self._work(writer, ask)
        os.close(writer)
        self.reader = reader

    def _work(self, writer: int, ask: Callable[[str], Space]) -> None:
        try:
            os.setsid()
            os.dup2(writer, 3)
            null = os.open(os.devnull, os.O_RDWR)
            for handle in (0, 1, 2):
                os.dup2(null, handle)
            os.closerange(4, 4096)
            for point in self.left:
                try:
                    answer: List[Any] = [list(ask(point)), None]
                except OSError as error:
                    answer = [None, error.strerror or str(error)]
                os.write(3, json.dumps(answer).encode() + b"\n")
        finally:
            os._exit(0)

    def take(self) -> List[Answer]:
        """The answers that have come. Call when the pipe is readable."""
        more = os.read(self.reader, 65536)
        self.data += more
        lines = self.data.split(b"\n")
        self.data = lines.pop()
        self.asked_at = time.monotonic()
        answers = [Answer(Space(*told) if told else None, reason) for told, reason in map(json.loads, lines)]
        if not more:
            answers += [Answer(None, "no answer")] * (len(self.left) - len(answers))
        return answers

    def end(self) -> None:
        """Kill it, and leave it to the kernel where that does not work at once."""
        os.close(self.reader)
        try:
            os.kill(self.pid, 9)
            for _attempt in range(20):
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
                time.sleep(0.001)
        except (OSError, ChildProcessError):
            return


def hanging(paths: Iterable[str], timeout: float) -> List[str]:
    """Those of the paths whose file system does not answer."""
    answers = Spaces([[path] for path in sorted(set(paths))], timeout).collect()
    return [path for path, answer in answers.items() if answer.reason == "hangs"]


class Spaces:
    """Asks for the space of paths in children, one for each group, while the caller does something else."""

    def __init__(self, groups: Iterable[Sequence[str]], timeout: float, ask: Callable[[str], Space] = space) -> None:
        self.timeout = timeout
        self.ask = ask
        self.answers: Dict[str, Answer] = {}
        self.waiting: List[Sequence[str]] = list(groups)
        self.children: List[_Child] = []
        self._start()

    def _start(self) -> None:
        while self.waiting and len(self.children) < _AT_ONCE:
            self.children.append(_Child(self.waiting.pop(0), self.ask))

    def collect(self) -> Dict[str, Answer]:
        """All answers by mount point, each at most ``timeout`` seconds after it was asked for (of ``_AT_ONCE`` at a time)."""
        import select as select_module

        while self.children:
            self._start()
            now = time.monotonic()
            first = min(child.asked_at for child in self.children) + self.timeout
            ready = set(select_module.select([child.reader for child in self.children], [], [], max(0.0, first - now))[0])
            now = time.monotonic()
            for child in list(self.children):
                if child.reader in ready:
                    for answer in child.take():
                        self.answers[child.left.pop(0)] = answer
                elif now - child.asked_at >= self.timeout:
                    self.answers[child.left.pop(0)] = Answer(None, "hangs")
                    if child.left:
                        self.waiting.append(child.left)
                    child.left = []
                if not child.left:
                    child.end()
                    self.children.remove(child)
            self._start()
        return self.answers
