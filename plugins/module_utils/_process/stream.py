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
import subprocess
import tempfile
import time
from typing import IO, Any, Callable, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Union

from .chain import BLOCK as BLOCK  # noqa: PLC0414 - others know it by this file
from .chain import TAIL as TAIL  # noqa: PLC0414 - others know it by this file
from .chain import Chain, blocks_of, end_of, no_start, text_of
from .ending import Deadline as Deadline  # noqa: PLC0414 - others know it by this file
from .ending import Stop as Stop  # noqa: PLC0414 - others know it by this file
from .ending import StreamError as StreamError  # noqa: PLC0414 - others know it by this file
from .ending import kill
from .ending import too_late as too_late  # noqa: PLC0414 - others know it by this file
from .place import HOST, Command, Limits, Place, command

#: Seconds after which a throttled stream looks whether it is to stop.
_NAP = 0.2
#: Ending of a file name by compression.
ENDINGS = {"zstd": ".zst", "gzip": ".gz", "none": ""}
COMPRESSIONS = tuple(ENDINGS)

Source = Union[Command, Iterable[bytes]]


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
    with Chain(limits, stop) as chain:
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
        blocks = feed if not hasattr(feed, "fileno") else blocks_of(feed)  # type: ignore[arg-type]
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
    with Chain(limits) as chain:
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
        except Exception:
            chain.blame(file)
            raise
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
    with Chain(limits) as chain:
        try:
            file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - handed from stage to stage
        except OSError as error:
            raise StreamError(path, None, error.strerror or str(error)) from error
        for stage, where in [(stage, HOST) for stage in stages] + [(into, place)]:
            started = chain.start(stage, where, stdin=file)
            file.close()
            file = started
        tail = b""
        for block in blocks_of(file):
            if output:
                output(block)
            tail = (tail + block)[-65536:]
        chain.finish()
    return tail


@contextlib.contextmanager
def produced(what: Command, limits: Optional[Limits] = None, place: Place = HOST) -> Iterator[IO[bytes]]:
    """The standard output of a command as a binary file; what is not read is read to its end. Raises StreamError when it fails."""
    with Chain(limits) as chain:
        file = chain.start(what, place, stdin=subprocess.DEVNULL)
        try:
            yield file
        except Exception:
            # A program that died is the reason why its output could not be read.
            with contextlib.suppress(OSError):
                file.close()
            chain.finish()
            raise
        for _block in blocks_of(file):
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
    """Run a command and return its standard output. Raises StreamError when it fails, cannot start or takes too long: longer than
    ``timeout`` seconds, or than the time limit of ``limits`` where that is None."""
    started = place.wrap(what, limits)
    try:
        process = subprocess.Popen(
            started.argv,
            env=started.env,
            cwd=started.cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise no_start(what, error) from error
    seconds = (limits or Limits()).seconds if timeout is None else timeout
    with process:
        try:
            output, said = process.communicate(stdin or what.stdin, seconds)
        except subprocess.TimeoutExpired:
            kill(process)
            if timeout is None:
                raise too_late(what.program, seconds) from None
            raise StreamError(what.program, None, "no answer within %g seconds" % seconds, late=True) from None
        except BaseException:
            kill(process)
            raise
    if process.returncode not in what.ok:
        raise StreamError(what.program, process.returncode, text_of(said or output))
    return output


def hook(what: Command, place: Place = HOST, limits: Optional[Limits] = None) -> None:
    """Run a command of the system's own. Raises StreamError when it fails, or takes longer than the time limit of ``limits``.

    Its end is waited for, not that of what it starts: a service that it has started may keep its output open.
    """
    started = place.wrap(what)
    try:
        file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError:  # what it says is less than what it does
        file = open(os.devnull, "w+b")  # noqa: SIM115
    seconds = (limits or Limits()).seconds
    with file as said:
        try:
            process = subprocess.Popen(
                started.argv,
                env=started.env,
                cwd=started.cwd,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            raise no_start(what, error) from error
        try:
            status = process.wait(seconds)
        except BaseException as error:
            kill(process)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise too_late(what.program, seconds) from None
            raise
        if status not in what.ok:
            raise StreamError(what.program, status, end_of(said))


def digest(path: str) -> Written:
    """Size and sha256 of a file. Raises OSError."""
    found = hashlib.sha256()
    size = 0
    with open(path, "rb", buffering=0) as file:
        for block in blocks_of(file):
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


def _tapped(blocks: Any, tap: Callable[[bytes], None]) -> Iterator[bytes]:
    for block in blocks_of(blocks) if hasattr(blocks, "fileno") else blocks:
        tap(block)
        yield block
