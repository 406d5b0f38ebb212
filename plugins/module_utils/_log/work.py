# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the logs of one call: what to read, split over processes that are nice to their neighbours, and put together."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Container, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import cursor as log_cursor
from . import scan as log_scan
from . import sources as log_read
from . import summary as log_summary
from . import times as log_times
from .options import Limits, LogSpec
from .sources import Damaged, File, Oversize, Problem
from .tally import Summary, Tally

#: Bytes that one process takes on at a time, at most; small enough that all processes end together.
RANGE = 16 * 1024 * 1024
#: No smaller ranges are made of a log for that.
SMALL_RANGE = 1024 * 1024
#: A rotated file that was not written to for so long has got its last line, newline or not.
SETTLED = 60.0
_ATTEMPTS = 3
#: Files of several logs that are open at a time.
_OPEN = 300


class Task(NamedTuple):
    """A part of a log. ``kind``: ``range``, ``tail``, ``packed``, ``journal`` or ``command``."""

    log: int
    kind: str
    file: Optional[File]
    start: int
    end: int
    first: int
    sample: Optional[log_scan.Sample]
    argv: Tuple[str, ...] = ()


class Outcome(NamedTuple):
    """What was read of one log. ``gone``: what the cursor did not find again; ``state``: ``""`` or a code of what is wrong with it."""

    spec: LogSpec
    summary: Summary
    files: List[str]
    problems: List[Problem]
    unfit: Optional[log_scan.Sample]
    gone: List[str]
    state: str
    seconds: float


class Part(NamedTuple):
    """What a process gives back: summaries by log, problems, unpacked sizes and ends of streams, the journal's cursor."""

    summaries: Dict[int, Summary]
    problems: List[Tuple[int, Problem]]
    packed: List[Tuple[int, str, int, bytes, bytes]]
    journal: Dict[int, str]
    unfit: Dict[int, log_scan.Sample]


class Reader:
    """Does tasks, one after another, in one process."""

    def __init__(
        self,
        specs: Sequence[LogSpec],
        tables: Mapping[str, Any],
        now: float,
        cpu: float = 100.0,
        block: int = log_read.BLOCK,
        max_line: int = log_read.MAX_LINE,
    ) -> None:
        self.specs = specs
        self.tables = tables
        self.now = now
        self.cpu = cpu
        self.block = block
        self.max_line = max_line
        self.tallies: Dict[int, Tally] = {}
        self.scanners: Dict[Tuple[int, str, bool], log_scan.Scanner] = {}
        self.part = Part({}, [], [], {}, {})
        self._started = time.monotonic()
        _keep_memory()

    def tally(self, log: int) -> Tally:
        """The tally of a log."""
        if log not in self.tallies:
            self.tallies[log] = Tally(self.specs[log])
        return self.tallies[log]

    def scanner(self, log: int, sample: log_scan.Sample) -> log_scan.Scanner:
        """The scanner of a log for what its sample told."""
        key = (log, sample.format or "text", sample.prefixed)
        if key not in self.scanners:
            spec = self.specs[log]
            clock = log_times.Clock(log_times.make_zone(spec.zone, self.tables), self.now, spec.time_pattern)
            self.scanners[key] = log_scan.Scanner(self.tally(log), key[1], key[2], clock)
        return self.scanners[key]

    def do(self, task: Task) -> None:
        """Read one part; what goes wrong is noted."""
        where = task.file.path if task.file else task.argv[0]
        try:
            if task.kind == "range":
                self._range(task)
            elif task.kind == "tail":
                self._tail(task)
            elif task.kind == "packed":
                self._packed(task)
            else:
                self._lines(task, self._journal_lines(task) if task.kind == "journal" else log_read.stream(task.argv, None, _uncapped))
        except Damaged as error:
            self.part.problems.append((task.log, Problem(where, "damaged" if task.file else "command", error.reason)))
        except OSError as error:
            self.part.problems.append((task.log, Problem(where, "other", error.strerror or str(error))))

    def done(self) -> Part:
        """Everything that was read."""
        for scanner in self.scanners.values():
            scanner.finish()
        self.part.summaries.update({log: tally.summary() for log, tally in self.tallies.items()})
        return self.part

    def _feed(self, scanner: log_scan.Scanner, chunks: Iterable[bytes]) -> None:
        tally = scanner.tally
        for lines in log_read.whole_lines(chunks, self.max_line):
            if isinstance(lines, Oversize):
                scanner.oversize(lines)
            elif lines.endswith(b"\n"):
                tally.bytes += len(lines)
                scanner.block(lines)
            else:
                tally.bytes += len(lines)
                scanner.tail(lines)
            self._pace()

    def _pace(self) -> None:
        if self.cpu < 100.0:
            used = time.process_time()
            wanted = used * 100.0 / self.cpu
            elapsed = time.monotonic() - self._started
            if wanted > elapsed:
                time.sleep(min(1.0, wanted - elapsed))

    def _count_format(self, log: int, sample: log_scan.Sample) -> None:
        self.tally(log).formats[sample.format or "text"] += 1

    def _range(self, task: Task) -> None:
        assert task.file is not None
        assert task.sample is not None
        if task.start == task.first:
            self._count_format(task.log, task.sample)
        chunks = log_read.range_chunks(task.file.fd, task.start, task.end, task.file.size, self.block, task.first)
        self._feed(self.scanner(task.log, task.sample), chunks)

    def _tail(self, task: Task) -> None:
        assert task.file is not None
        assert task.sample is not None
        if task.start == task.first:
            self._count_format(task.log, task.sample)
        place, end = task.start, task.end

        def chunks() -> Iterable[bytes]:
            at = place
            while at < end:
                data = os.pread(task.file.fd, min(self.block, end - at), at)  # type: ignore[union-attr]
                if not data:
                    return
                yield data
                at += len(data)

        self._feed(self.scanner(task.log, task.sample), chunks())

    def _packed(self, task: Task) -> None:
        assert task.file is not None
        head = tail = b""
        size = 0

        def chunks() -> Iterable[bytes]:
            nonlocal head, tail, size
            for data in log_read.unpacked(task.file):  # type: ignore[arg-type]
                if len(head) < log_cursor.HEAD:
                    head = (head + data)[: log_cursor.HEAD]
                tail = (tail + data)[-log_cursor.TAIL :]
                before, size = size, size + len(data)
                if size > task.start:
                    yield data[max(0, task.start - before) :]

        try:
            self._lines(task, chunks())
        finally:
            # Damaged or not: what was counted once is not counted again.
            self.part.packed.append((task.log, task.file.path, size, head, tail))

    def _lines(self, task: Task, chunks: Iterable[bytes]) -> None:
        """A stream: what format it has is told by its first block."""
        held = b""
        source = iter(chunks)
        failed: Optional[Damaged] = None
        try:
            while held.count(b"\n") < 200 and len(held) < log_read.BLOCK:
                held += next(source)
        except StopIteration:
            pass
        except Damaged as error:
            failed = error
        if held:
            sample = task.sample or log_scan.sample(held, self.specs[task.log].format)
            if sample.format is None:
                self.part.unfit[task.log] = sample
            self._count_format(task.log, sample)

            def rest() -> Iterable[bytes]:
                nonlocal failed
                yield held
                if failed is None:
                    try:
                        yield from source
                    except Damaged as error:
                        # The lines before the damage count.
                        failed = error

            self._feed(self.scanner(task.log, sample), rest())
        if failed is not None:
            raise failed

    def _journal_lines(self, task: Task) -> Iterable[bytes]:
        """The journal's lines; the cursor that ends them is kept."""
        last = b""
        for data in log_read.stream(task.argv, None, _uncapped):
            data = last + data
            end = data.rfind(b"\n-- cursor: ") + 1
            if not end and data.startswith(b"-- cursor: "):
                yield b""
            elif not end:
                end = max(data.rfind(b"\n") + 1, 0)
            if end:
                yield data[:end]
            last = data[end:]
        if last.startswith(b"-- cursor: "):
            self.part.journal[task.log] = last[11:].decode("ascii", "replace").strip()
        elif last:
            yield last


def _keep_memory() -> None:
    """Let glibc keep the memory of a block for the next one: a fifth of the time went into giving it back and getting it again.

    Freeing something larger than blocks raises its limits; the zeros are never touched and so take no memory.
    """
    bytes(8 * 1024 * 1024)


def processors() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


class Work:
    """The tasks of all logs, done by one process or several."""

    def __init__(self, make: Callable[[], Reader], limits: Limits) -> None:
        self.make = make
        self.limits = limits

    def run(self, tasks: Sequence[Task], workers: Optional[int] = None) -> Tuple[List[Part], str]:
        """Do the tasks; ``""`` or the code of what ended a process early (``memory``, ``timeout``, ``killed``)."""
        wanted = workers if workers is not None else self._workers(tasks)
        if wanted == 0:
            reader = self.make()
            for task in tasks:
                reader.do(task)
            return [reader.done()], ""
        return self._fork(tasks, wanted)

    def _workers(self, tasks: Sequence[Task]) -> int:
        # One at least, however little there is to read: it can be capped, and ended when an expression never comes to an end.
        return max(1, min(self.limits.workers or processors(), len(tasks)))

    def _fork(self, tasks: Sequence[Task], workers: int) -> Tuple[List[Part], str]:
        import pickle
        import select
        import signal
        import struct

        queue_out, queue_in = os.pipe()
        os.set_blocking(queue_in, False)
        queued = 0
        while queued < min(len(tasks), 8000):
            os.write(queue_in, struct.pack("=L", queued))
            queued += 1
        children: Dict[int, int] = {}
        here = os.getpid()
        end_with = _ender()
        for _ in range(workers):
            out, into = os.pipe()
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    # What it starts is to end with it.
                    os.setpgid(0, 0)
                    end_with(here)
                    os.close(out)
                    os.close(queue_in)
                    code = self._child(tasks, queue_out, into)
                finally:
                    os._exit(code)
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)  # here too: whoever comes first
            os.close(into)
            children[out] = pid
        os.close(queue_out)
        os.close(queue_in)
        answers: Dict[int, List[bytes]] = {out: [] for out in children}
        waiting = set(children)
        end = time.monotonic() + self.limits.timeout
        problem = ""
        poll = select.poll()
        for out in children:
            poll.register(out, select.POLLIN)
        try:
            while waiting:
                left = end - time.monotonic()
                if left <= 0:
                    problem = "timeout"
                    break
                # No number that poll could not take.
                ready = poll.poll(min(left, 86400.0) * 1000)
                for out, _event in ready:
                    data = os.read(out, 1 << 20)
                    if data:
                        answers[out].append(data)
                    else:
                        poll.unregister(out)
                        waiting.discard(out)
        finally:
            for out in waiting:
                os.kill(children[out], signal.SIGKILL)
            parts: List[Part] = []
            for out, pid in children.items():
                os.close(out)
                status = os.waitpid(pid, 0)[1]
                if status:
                    with contextlib.suppress(OSError):
                        os.killpg(pid, signal.SIGKILL)  # what it has started and could not end
                if out in waiting:
                    continue
                if status:
                    problem = problem or ("memory" if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 3 else "killed")
                else:
                    parts.append(Part(*pickle.loads(b"".join(answers[out]))))  # noqa: S301  # our own child wrote it
        return parts, problem

    def _child(self, tasks: Sequence[Task], queue: int, into: int) -> int:
        import pickle
        import struct

        _be_nice(self.limits)
        try:
            reader = self.make()
            while True:
                number = os.read(queue, 4)
                if not number:
                    break
                index = struct.unpack("=L", number)[0]
                # The pipe holds 8000 numbers; what is more goes with the last of them.
                for task in tasks[index : index + 1] if index != 7999 else tasks[7999:]:
                    reader.do(task)
            answer = pickle.dumps(tuple(reader.done()), protocol=pickle.HIGHEST_PROTOCOL)
        except MemoryError:
            return 3
        view = memoryview(answer)
        while view:
            view = view[os.write(into, view) :]
        return 0


def _be_nice(limits: Limits) -> None:
    import gc
    import resource

    gc.disable()
    try:
        if limits.nice:
            os.nice(limits.nice)
        if hasattr(os, "sched_setscheduler"):
            # Idle work gives way at once to whatever else wants the processor; batch work only gets less of it.
            os.sched_setscheduler(0, os.SCHED_IDLE if limits.nice == 19 else os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        pass
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = [limits.memory, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
        resource.setrlimit(resource.RLIMIT_AS, (min(wanted), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        pass


def _ender() -> Callable[[int], None]:
    """What has a process end with its parent: one that was left over would hold the cursors of the next call."""
    import ctypes
    import signal

    prctl = ctypes.CDLL(None).prctl  # looked up before a fork, where there is time

    def end_with(parent: int) -> None:
        prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return end_with


def _uncapped() -> None:
    """In a program that prints lines: what is written in Go ends at once where it may not reserve more than it will ever use."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


class Way(NamedTuple):
    """How logs are read. ``workers``: number of processes (0: this one), None for as many as the size asks for."""

    limits: Limits
    now: float
    tables: Mapping[str, Any]
    state_dir: str
    keep_state: bool
    workers: Optional[int]
    block: int
    max_line: int
    range_size: int
    call_id: str = ""


def read_logs(
    specs: Sequence[LogSpec],
    limits: Limits,
    now: float,
    tables: Optional[Mapping[str, Any]] = None,
    state_dir: str = "",
    keep_state: bool = True,
    workers: Optional[int] = None,
    block: int = log_read.BLOCK,
    max_line: int = log_read.MAX_LINE,
    range_size: int = RANGE,
    call_id: str = "",
) -> List[Outcome]:
    """Read all logs. ``now``: seconds since the epoch. ``keep_state``: save the cursors (not in check mode), when all logs are read.

    ``call_id``: the next call reads the same lines again unless :meth:`cursor.State.confirm` was told it.
    ``workers``: number of processes (0: this one), default by size; ``block``, ``max_line``, ``range_size``: bytes.
    """
    way = Way(limits, now, tables or {}, state_dir, keep_state, workers, block, max_line, range_size, call_id)
    logs = [_Log(spec, way) for spec in specs]
    try:
        for log in logs:
            log.hold()
        outcomes: Dict[int, Outcome] = {}
        for group in _groups(logs):
            outcomes.update(_read_together(group, logs, way))
        found = [outcomes.get(number) or log.read() for number, log in enumerate(logs)]
        return [log.saved_as(outcome) for log, outcome in zip(logs, found)]
    finally:
        for log in logs:
            log.release()


def _groups(logs: Sequence[_Log]) -> Iterable[List[int]]:
    """The logs that are files, as many at a time as may be open together."""
    group: List[int] = []
    count = 0
    for number, log in enumerate(logs):
        if not log.spec.paths or log.trouble == "busy":
            continue
        size = len(log_read.expand(log.spec.paths, log.spec.rotated)[0])
        if group and count + size > _OPEN:
            if len(group) > 1:
                yield group
            group, count = [], 0
        group.append(number)
        count += size
    if len(group) > 1:
        yield group


def _read_together(group: Sequence[int], logs: Sequence[_Log], way: Way) -> Dict[int, Outcome]:
    """Read several logs at the same time; those where something went wrong are left out, to be read by themselves."""
    specs = [log.spec for log in logs]
    started = time.monotonic()
    try:
        tasks = [task._replace(log=number) for number in group for task in logs[number].open()]
        work = Work(
            lambda: Reader(specs, way.tables, way.now, way.limits.cpu, way.block, way.max_line),
            way.limits._replace(timeout=way.limits.timeout * len(group)),
        )
        parts, ended = work.run(tasks, way.workers) if tasks else ([], "")
        if ended:
            return {}
        seconds = time.monotonic() - started
        return {number: logs[number].outcome(_parts_of(parts, number), "", [], seconds) for number in group if not logs[number].moved()}
    finally:
        for number in group:
            logs[number].close()


def _parts_of(parts: Sequence[Part], log: int) -> List[Part]:
    """What was read of one log, as if there were no other."""
    return [
        Part(
            {0: part.summaries[log]} if log in part.summaries else {},
            [(0, problem) for number, problem in part.problems if number == log],
            [(0, *rest) for number, *rest in part.packed if number == log],  # type: ignore[misc]  # the rest of the same tuple
            {0: part.journal[log]} if log in part.journal else {},
            {0: part.unfit[log]} if log in part.unfit else {},
        )
        for part in parts
    ]


class _Log:
    """One log while it is read."""

    def __init__(self, spec: LogSpec, way: Way) -> None:
        self.spec = spec
        self.way = way
        self.state: Optional[log_cursor.State] = None
        self.saved = log_cursor.Place([])
        self.ended_at: Optional[log_cursor.Place] = None
        self.trouble = ""
        self.files: List[File] = []
        self.problems: List[Problem] = []
        self.planned = log_cursor.Plan([], [])
        self.entries: List[Tuple[File, log_cursor.Entry]] = []
        self.unfit: Optional[log_scan.Sample] = None

    def hold(self) -> None:
        """Take the cursor, where there is one; no other run may have it meanwhile."""
        if not self.spec.cursor:
            return
        try:
            self.state = log_cursor.State(self.way.state_dir, self.spec.name, make=self.way.keep_state)
            self.saved, self.trouble = self.state.load()
        except log_cursor.Busy:
            self.trouble = "busy"
        except FileNotFoundError:
            self.trouble = "unwritable" if self.way.keep_state else ""
        except OSError:
            self.trouble = "unwritable"

    def release(self) -> None:
        """Let other runs have the cursor."""
        if self.state is not None:
            self.state.release()
            self.state = None

    def open(self) -> List[Task]:
        """Open the files and tell what there is to do."""
        spec, way = self.spec, self.way
        self.files, self.problems = log_read.open_files(spec.paths, spec.rotated) if spec.paths else ([], [])
        starts = [log_cursor.Start(0) for _ in self.files]
        self.planned = log_cursor.plan(self.files, self.saved.files) if spec.cursor else log_cursor.Plan(starts, [])
        tasks, self.entries, self.unfit = _tasks(spec, self.files, self.planned.starts, self.saved, way.now, way.range_size)
        return tasks

    def close(self) -> None:
        """Close the files."""
        log_read.close(self.files)
        self.files = []

    def moved(self) -> List[str]:
        """Files that are no longer what was read."""
        return [entry["path"] for item, entry in self.entries if not entry["packed"] and not log_cursor.same_plain(item, entry)]

    def read(self) -> Outcome:
        """Read the log by itself."""
        started = time.monotonic()
        if self.trouble == "busy":
            return Outcome(self.spec, Tally(self.spec).summary(), [], [], None, [], "busy", 0.0)
        way = self.way
        attempt = 0
        while True:
            attempt += 1
            try:
                tasks = self.open()
                work = Work(lambda: Reader((self.spec,), way.tables, way.now, way.limits.cpu, way.block, way.max_line), way.limits)
                parts, ended = work.run(tasks, way.workers) if tasks else ([], "")
                moved = self.moved()
                if not moved or attempt == _ATTEMPTS:
                    return self.outcome(parts, ended, moved, time.monotonic() - started)
            finally:
                self.close()

    def outcome(self, parts: Sequence[Part], ended: str, moved: Sequence[str], seconds: float) -> Outcome:
        """Put together what was read, and where it ended."""
        spec = self.spec
        problems = self.problems + [problem for part in parts for _, problem in part.problems]
        problems += [Problem(path, "changing", "") for path in moved]
        if ended:
            problems.append(Problem(spec.name, ended, ""))
        if not ended and not moved:
            unread = [problem.path for problem in problems if problem.code == "denied"]
            self.ended_at = _ended_at(self.files, self.planned.starts, self.saved, self.entries, parts, unread)
        unfit = self.unfit
        for part in parts:
            unfit = unfit or part.unfit.get(0)
        summaries = [part.summaries[0] for part in parts if 0 in part.summaries]
        summary = log_summary.merge(summaries, max(spec.newest, 1)) or Tally(spec).summary()
        names = [item.path for item in self.files]
        return Outcome(spec, summary, names, problems, unfit, self.planned.lost, self.trouble, seconds)

    def saved_as(self, outcome: Outcome) -> Outcome:
        """Save the cursor; the outcome with what is to be said of it."""
        if self.state is None or not self.way.keep_state or self.ended_at is None:
            return outcome
        try:
            self.state.save(self.ended_at, self.way.call_id, self.saved)
        except OSError:
            return outcome._replace(state="unwritable")
        return outcome


def _tasks(
    spec: LogSpec, files: Sequence[File], starts: Sequence[log_cursor.Start], saved: log_cursor.Place, now: float, range_size: int
) -> Tuple[List[Task], List[Tuple[File, log_cursor.Entry]], Optional[log_scan.Sample]]:
    tasks: List[Task] = []
    entries: List[Tuple[File, log_cursor.Entry]] = []
    unfit: Optional[log_scan.Sample] = None
    if spec.journal:
        argv = log_read.journal_command(spec.journal, spec.since, spec.until, saved.journal)
        tasks.append(Task(0, "journal", None, 0, 0, 0, log_scan.Sample("journal", False, ""), tuple(argv)))
    if spec.command:
        tasks.append(Task(0, "command", None, 0, 0, 0, None, spec.command))
    for item, start in zip(files, starts):
        if start.skip:
            continue
        if item.suffix:
            tasks.append(Task(0, "packed", item, start.offset, start.offset + item.size * 8, 0, None))
            continue
        first = start.offset
        end = log_read.last_line_end(item.fd, first, item.size)
        final = not spec.cursor or (item.path != item.live and now - item.mtime > SETTLED)
        sample = log_scan.sample(os.pread(item.fd, min(65536, item.size), 0), spec.format)
        if item.size > first and sample.format is None:
            unfit = unfit or sample
        # The processes share a small log as evenly as a big one.
        size = min(range_size, max(SMALL_RANGE, (end - first) // 32))
        count = max(1, min(4000, -(-(end - first) // size)))
        bounds = [first + (end - first) * number // count for number in range(count + 1)]
        if end > first:
            tasks += [Task(0, "range", item._replace(size=end), left, right, first, sample) for left, right in zip(bounds, bounds[1:])]
        if final and item.size > end:
            tasks.append(Task(0, "tail", item, end, item.size, first, sample))
        read = item.size if final else end
        entries.append((item, log_cursor.entry_of(item, read, read >= item.size)))
    return tasks, entries, unfit


def _ended_at(
    files: Sequence[File],
    starts: Sequence[log_cursor.Start],
    saved: log_cursor.Place,
    entries: Sequence[Tuple[File, log_cursor.Entry]],
    parts: Sequence[Part],
    unread: Container[str],
) -> log_cursor.Place:
    """Where a log was read to."""
    kept = [entry for _, entry in entries]
    by_path = {item.path: item for item in files}
    for part in parts:
        kept += [log_cursor.packed_entry(by_path[path], size, head, tail) for _, path, size, head, tail in part.packed]
    skipped = {(item.device, item.inode) for item, start in zip(files, starts) if start.skip}
    kept += [entry for entry in saved.files if (entry["device"], entry["inode"]) in skipped or entry["path"] in unread]
    journal = next((cursor for part in parts for cursor in part.journal.values()), saved.journal)
    return log_cursor.Place(kept, journal)
