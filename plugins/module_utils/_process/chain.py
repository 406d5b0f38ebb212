# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running programs of a stream, in order."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from typing import IO, Any, Callable, Iterable, Iterator, List, Optional, Tuple

from .ending import Deadline, Stop, StreamError, kill
from .place import HOST, Command, Limits, Place

#: Bytes read at a time. Larger blocks gain nothing over a pipe of 64 KiB.
BLOCK = 1 << 20
#: How much of what a program says on standard error is kept: its end.
TAIL = 2000
#: Seconds in which what a program says is gathered: each line by itself would cost more to wake up for than to read.
_GATHER = 0.002
#: Seconds within which a program that has closed its output is gone.
_DYING = 5.0


class Chain:
    """The running programs of a stream, in order. Leaving it by an exception kills them all."""

    def __init__(self, limits: Optional[Limits], stop: Optional[Stop] = None) -> None:
        self._limits = limits
        self._stop = stop
        self._deadline = Deadline(limits)
        self._running: List[Tuple[Command, subprocess.Popen[bytes], IO[bytes]]] = []
        self._pumps: List[Tuple[threading.Thread, List[BaseException]]] = []
        self._ears: List[Tuple[threading.Thread, List[BaseException]]] = []

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._deadline.cancel()
        for _what, process, _said in self._running:
            kill(process)
        for _what, process, _said in self._running:
            process.wait()
        for thread, _problems in self._ears:
            thread.join()
        for _what, process, said in self._running:
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()
            said.close()
        for thread, _problems in self._pumps:
            thread.join()

    def start(self, what: Command, place: Place, stdin: Any) -> IO[bytes]:
        """Start a program and return its standard output. Raises StreamError when it cannot be started."""
        started = place.wrap(what, self._limits)
        if not shutil.which(what.argv[0]) and place is HOST:
            raise StreamError(what.program, None, "is not installed")
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed on the way out; a pipe would have to be emptied meanwhile
        try:
            with contextlib.ExitStack() as stack:
                if what.stdin and stdin == subprocess.DEVNULL:
                    stdin = stack.enter_context(tempfile.TemporaryFile())
                    stdin.write(what.stdin)
                    stdin.seek(0)
                process = subprocess.Popen(
                    started.argv,
                    env=started.env,
                    cwd=started.cwd,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE if what.heard else said,
                    start_new_session=True,
                )
        except OSError as error:
            said.close()
            raise no_start(what, error) from error
        self._running.append((what, process, said))
        self._deadline.watch(what.program, process)
        if what.heard:
            self._hear(process.stderr, what.heard, said)  # type: ignore[arg-type]  # it is a pipe
        if self._stop is not None:
            self._stop.watch(process)
        return process.stdout  # type: ignore[return-value]  # it is a pipe

    def _hear(self, file: IO[bytes], heard: Callable[[bytes], bytes], said: IO[bytes]) -> None:
        """Give a program's standard error to who wants to hear it, beside us; what is messages is kept."""
        problems: List[BaseException] = []

        def hearing() -> None:
            with file:
                while True:
                    block = os.read(file.fileno(), 1 << 16)
                    if not problems:
                        try:
                            said.write(heard(block))
                        except BaseException as error:  # noqa: BLE001 - raised again where the stream is finished
                            problems.append(error)
                    if not block:
                        return
                    time.sleep(_GATHER)

        thread = threading.Thread(target=hearing, daemon=True)
        thread.start()
        self._ears.append((thread, problems))

    def start_fed(self, what: Command) -> Tuple[IO[bytes], IO[bytes]]:
        """Start a program that is fed by us: its standard output and standard input."""
        output = self.start(what, HOST, stdin=subprocess.PIPE)
        return output, self._running[-1][1].stdin  # type: ignore[return-value]  # it is a pipe

    def pump(self, blocks: Iterable[bytes], entry: IO[bytes]) -> None:
        """Write the blocks into a program's standard input beside us."""
        problems: List[BaseException] = []

        def pumping() -> None:
            try:
                for block in blocks:
                    try:
                        entry.write(block)
                    except BrokenPipeError:  # the program's exit status tells why it stopped reading
                        return
            except BaseException as error:  # noqa: BLE001 - raised again where the stream is finished
                problems.append(error)
            finally:
                with contextlib.suppress(OSError):
                    entry.close()

        thread = threading.Thread(target=pumping, daemon=True)
        thread.start()
        self._pumps.append((thread, problems))

    def blame(self, output: IO[bytes]) -> None:
        """Raise StreamError when ``output`` broke off because others ended a program of the stream: then what could not be
        understood in it is not the file's fault."""
        with contextlib.suppress(OSError, ValueError):
            if output.read(1):
                return
        late = self._deadline.error()
        if late:
            raise late
        for what, process, said in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                error = StreamError(what.program, process.wait(_DYING), end_of(said))
                if error.interrupted:
                    raise error

    def finish(self, early: bool = False) -> None:
        """Wait for all programs; the first that failed is told. ``early``: that a program could not write on is no failure.

        When one fails, those before it die of the broken pipe: not they are to be blamed.
        """
        for thread, problems in self._pumps:
            thread.join()
            if problems:
                raise problems[0]
        failed: List[StreamError] = []
        broken: List[StreamError] = []
        for thread, _problems in self._ears:
            thread.join()
        statuses = [process.wait() for _what, process, _said in self._running]
        late = self._deadline.error()
        if late:
            raise late
        for (what, _process, said), status in zip(self._running, statuses):
            if status in what.ok and not what.ended:
                continue
            text = end_of(said)
            if status in what.ok:
                if what.ended:
                    what.ended(status, text)
                continue
            error = StreamError(what.program, status, text)
            # zstd does not die of the signal, it says so.
            (broken if status in (-13, 141) or "Broken pipe" in text else failed).append(error)
        if failed and not early:
            raise failed[0]
        if broken and not early:
            raise broken[0]
        for _thread, problems in self._ears:
            if problems and not early:
                raise problems[0]


def blocks_of(file: IO[bytes]) -> Iterator[bytes]:
    reader = getattr(file, "read1", file.read)  # what is there already; a full block would hold up a slow stream
    while True:
        block = reader(BLOCK)
        if not block:
            return
        yield block


def text_of(data: bytes) -> str:
    return " ".join(data[-TAIL:].decode("utf-8", "replace").split())


def end_of(said: IO[bytes]) -> str:
    """The end of what a program has said into a file."""
    said.seek(max(0, said.seek(0, os.SEEK_END) - TAIL))
    return text_of(said.read())


def no_start(what: Command, error: OSError) -> StreamError:
    missing = isinstance(error, FileNotFoundError)
    return StreamError(what.program, None, "is not installed" if missing else "cannot be started: %s" % (error.strerror or error))
