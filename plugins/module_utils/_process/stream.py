# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One stream from a dump to a file and back: dump, compressor, age, sha256 while it is written.

There is no temporary copy and no second reading: memory is a few blocks, and the sum is taken from what is written. Every
program of a stream must end with a status that its command calls a success, else :class:`StreamError` names the first one
that did not, with what it said; a failed dump is never hidden by the compressor behind it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from typing import IO, Any, Callable, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from .place import HOST, Command, Limits, Place, command

#: Bytes read at a time. Larger blocks gain nothing over a pipe of 64 KiB.
BLOCK = 1 << 20
#: How much of what a program says on standard error is kept: its end.
TAIL = 2000
#: Seconds in which what a program says is gathered: each line by itself would cost more to wake up for than to read.
_GATHER = 0.002
#: Seconds after which a throttled stream looks whether it is to stop.
_NAP = 0.2
#: Ending of a file name by compression.
ENDINGS = {"zstd": ".zst", "gzip": ".gz", "none": ""}
COMPRESSIONS = tuple(ENDINGS)

Source = Union[Command, Iterable[bytes]]


class StreamError(Exception):
    """A stream that did not come to its end. ``program``: the first that failed; ``status``: its exit status, None when it
    could not be started or the file could not be written; ``said``: the end of its standard error."""

    def __init__(self, program: str, status: Optional[int], said: str) -> None:
        self.program, self.status, self.said = program, status, said
        ended = "" if status is None else (" ended with status %d" % status if status >= 0 else " was killed by signal %d" % -status)
        super().__init__("%s%s%s" % (program, ended, ": " + said if said else ""))


class Stop:
    """A way to end streams from outside, such as when a signal came: their programs are killed, :func:`write` raises StreamError."""

    def __init__(self) -> None:
        self._asked = False
        # A signal may come while its own thread starts a program.
        self._guard = threading.RLock()
        self._running: List[subprocess.Popen[bytes]] = []

    def __bool__(self) -> bool:
        return self._asked

    def now(self) -> None:
        """End the streams that were given this object, and each that will be."""
        with self._guard:
            self._asked = True
            for process in self._running:
                _kill(process)

    def watch(self, process: subprocess.Popen[bytes]) -> None:
        """Have a program killed when it is time."""
        with self._guard:
            self._running = [other for other in self._running if other.poll() is None] + [process]
            if self._asked:
                _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program that runs, with those it has started itself: they would keep its output open."""
    if process.poll() is None:
        with contextlib.suppress(OSError):  # it has ended by itself, and another thread has seen it
            os.killpg(process.pid, signal.SIGKILL)


class Written(NamedTuple):
    """A file that was written. ``size``: bytes; ``sha256``: of the file as it is, compressed and encrypted."""

    size: int
    sha256: str


def compressor(compression: str, level: Optional[int] = None) -> Optional[Command]:
    """The program that compresses a stream; None for no compression. zstd uses all processors, pigz too where it is there."""
    if compression == "none":
        return None
    if compression == "gzip":
        return command("pigz" if shutil.which("pigz") else "gzip", "-c", "-%d" % (6 if level is None else level))
    return command("zstd", "-q", "-c", "-T0", "-%d" % (3 if level is None else level))


def decompressor(compression: str) -> Optional[Command]:
    """The program that undoes :func:`compressor`."""
    return {"zstd": command("zstd", "-q", "-dc"), "gzip": command("gzip", "-dc")}.get(compression)


def encryptor(recipients: Sequence[str]) -> Optional[Command]:
    """The program that encrypts for the recipients; None for none. Recipients are public: they may be on a command line."""
    if not recipients:
        return None
    words: List[str] = []
    for recipient in recipients:
        words += ["-r", recipient]
    return command("age", "-e", *words)


def write(
    source: Source,
    path: str,
    compression: str = "zstd",
    level: Optional[int] = None,
    recipients: Sequence[str] = (),
    limits: Optional[Limits] = None,
    place: Place = HOST,
    tap: Optional[Callable[[bytes], None]] = None,
    stop: Optional[Stop] = None,
) -> Written:
    """Write what ``source`` gives to a new file, compressed and encrypted, and sync it.

    ``tap`` sees every block before it is compressed. The compressor and age run on this host whatever the place of the dump.
    ``stop`` ends it before its time.
    Raises StreamError; the file is then left for the caller to remove.
    """
    stages = [stage for stage in (compressor(compression, level), encryptor(recipients)) if stage]
    with _Chain(limits, stop) as chain:
        if isinstance(source, Command):
            feed: Union[IO[bytes], Iterable[bytes]] = chain.start(source, place, stdin=subprocess.DEVNULL)
            if tap:
                feed = _tapped(feed, tap)
        else:
            feed = _tapped(source, tap) if tap else source
        for stage in stages:
            if hasattr(feed, "fileno"):
                output = chain.start(stage, HOST, stdin=feed)
                feed.close()  # type: ignore[attr-defined, unused-ignore]  # the program has it now
            else:
                output, entry = chain.start_fed(stage)
                chain.pump(feed, entry)
            feed = output
        blocks = feed if not hasattr(feed, "fileno") else _blocks(feed)  # type: ignore[arg-type]
        try:
            written = _write_blocks(blocks, path, limits, stop)
        except OSError as error:
            raise StreamError(path, None, error.strerror or str(error)) from error
        chain.finish()
    return written


def _write_blocks(blocks: Iterable[bytes], path: str, limits: Optional[Limits], stop: Optional[Stop] = None) -> Written:
    digest = hashlib.sha256()
    size = 0
    bandwidth = limits.bandwidth if limits else None
    started = time.monotonic()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        for block in blocks:
            if stop:
                raise StreamError(path, None, "stopped")
            digest.update(block)
            size += len(block)
            view = memoryview(block)
            while view:
                view = view[os.write(handle, view) :]
            if bandwidth:
                while not stop:
                    ahead = size / bandwidth - (time.monotonic() - started)
                    if ahead <= 0:
                        break
                    time.sleep(min(ahead, _NAP))
        os.fsync(handle)
    finally:
        os.close(handle)
    return Written(size, digest.hexdigest())


@contextlib.contextmanager
def read(
    path: str, compression: str = "zstd", encrypted: bool = False, identity: Optional[str] = None, limits: Optional[Limits] = None
) -> Iterator[IO[bytes]]:
    """The raw stream of a file, as a binary file to read. ``identity``: the file with the key for age.

    Whoever leaves the block before the stream's end stops it without an error; who read to the end learns in StreamError when
    a program of the stream failed.
    """
    stages = _way_back(compression, encrypted, identity)
    with _Chain(limits) as chain:
        try:
            file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - handed from stage to stage
        except OSError as error:
            raise StreamError(path, None, error.strerror or str(error)) from error
        for stage in stages:
            output = chain.start(stage, HOST, stdin=file)
            file.close()
            file = output
        try:
            yield file
            at_end = not file.read(1)
        finally:
            file.close()
        chain.finish(early=not at_end)


def feed(
    path: str,
    into: Command,
    compression: str = "zstd",
    encrypted: bool = False,
    identity: Optional[str] = None,
    limits: Optional[Limits] = None,
    place: Place = HOST,
    output: Optional[Callable[[bytes], None]] = None,
) -> bytes:
    """Run a command with the raw stream of a file as its standard input; returns the end of its standard output.

    ``output``: is given every block of standard output. Raises StreamError unless every program succeeded.
    """
    stages = _way_back(compression, encrypted, identity)
    with _Chain(limits) as chain:
        try:
            file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - handed from stage to stage
        except OSError as error:
            raise StreamError(path, None, error.strerror or str(error)) from error
        for stage, where in [(stage, HOST) for stage in stages] + [(into, place)]:
            started = chain.start(stage, where, stdin=file)
            file.close()
            file = started
        tail = b""
        for block in _blocks(file):
            if output:
                output(block)
            tail = (tail + block)[-65536:]
        chain.finish()
    return tail


@contextlib.contextmanager
def produced(what: Command, limits: Optional[Limits] = None, place: Place = HOST) -> Iterator[IO[bytes]]:
    """The standard output of a command as a binary file; what is not read is read to its end. Raises StreamError when it fails."""
    with _Chain(limits) as chain:
        file = chain.start(what, place, stdin=subprocess.DEVNULL)
        try:
            yield file
        except Exception:
            # A program that died is the reason why its output could not be read.
            with contextlib.suppress(OSError):
                file.close()
            chain.finish()
            raise
        for _block in _blocks(file):
            pass
        file.close()
        chain.finish()


def run(
    what: Command,
    place: Place = HOST,
    stdin: bytes = b"",
    limits: Optional[Limits] = None,
    timeout: Optional[float] = None,
) -> bytes:
    """Run a short command and return its standard output. Raises StreamError when it fails, cannot start or takes too long."""
    started = place.wrap(what, limits)
    try:
        done = subprocess.run(
            started.argv, env=started.env, cwd=started.cwd, input=stdin or what.stdin, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise StreamError(what.program, None, "no answer within %g seconds" % (timeout or 0)) from None
    except OSError as error:
        raise _no_start(what, error) from error
    if done.returncode not in what.ok:
        raise StreamError(what.program, done.returncode, _text(done.stderr or done.stdout))
    return done.stdout


def hook(what: Command, place: Place = HOST) -> None:
    """Run a command of the system's own. Raises StreamError when it fails.

    Its end is waited for, not that of what it starts: a service that it has started may keep its output open.
    """
    started = place.wrap(what)
    try:
        file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError:  # what it says is less than what it does
        file = open(os.devnull, "w+b")  # noqa: SIM115
    with file as said:
        try:
            done = subprocess.run(
                started.argv, env=started.env, cwd=started.cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False
            )
        except OSError as error:
            raise _no_start(what, error) from error
        if done.returncode not in what.ok:
            raise StreamError(what.program, done.returncode, _end(said))


def digest(path: str) -> Written:
    """Size and sha256 of a file. Raises OSError."""
    found = hashlib.sha256()
    size = 0
    with open(path, "rb", buffering=0) as file:
        for block in _blocks(file):
            found.update(block)
            size += len(block)
    return Written(size, found.hexdigest())


def _way_back(compression: str, encrypted: bool, identity: Optional[str]) -> List[Command]:
    stages: List[Command] = []
    if encrypted:
        if not identity:
            raise StreamError("age", None, "the file is encrypted, and no identity was given to open it")
        stages.append(command("age", "-d", "-i", identity))
    unpack = decompressor(compression)
    return [*stages, unpack] if unpack else stages


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    reader = getattr(file, "read1", file.read)  # what is there already; a full block would hold up a slow stream
    while True:
        block = reader(BLOCK)
        if not block:
            return
        yield block


def _tapped(blocks: Any, tap: Callable[[bytes], None]) -> Iterator[bytes]:
    for block in _blocks(blocks) if hasattr(blocks, "fileno") else blocks:
        tap(block)
        yield block


def _text(data: bytes) -> str:
    return " ".join(data[-TAIL:].decode("utf-8", "replace").split())


def _end(said: IO[bytes]) -> str:
    """The end of what a program has said into a file."""
    said.seek(max(0, said.seek(0, os.SEEK_END) - TAIL))
    return _text(said.read())


def _no_start(what: Command, error: OSError) -> StreamError:
    missing = isinstance(error, FileNotFoundError)
    return StreamError(what.program, None, "is not installed" if missing else "cannot be started: %s" % (error.strerror or error))


class _Chain:
    """The running programs of a stream, in order. Leaving it by an exception kills them all."""

    def __init__(self, limits: Optional[Limits], stop: Optional[Stop] = None) -> None:
        self._limits = limits
        self._stop = stop
        self._running: List[Tuple[Command, subprocess.Popen[bytes], IO[bytes]]] = []
        self._pumps: List[Tuple[threading.Thread, List[BaseException]]] = []
        self._ears: List[Tuple[threading.Thread, List[BaseException]]] = []

    def __enter__(self) -> _Chain:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for _what, process, _said in self._running:
            _kill(process)
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
            raise _no_start(what, error) from error
        self._running.append((what, process, said))
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
        for what, process, said in self._running:
            status = process.wait()
            if status in what.ok and not what.ended:
                continue
            text = _end(said)
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
