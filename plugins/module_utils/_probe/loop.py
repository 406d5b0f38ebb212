# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many waits at once in one thread: a ``selectors`` loop that drives generators.

A *step function* is a generator that yields what it waits for (:class:`Ready`, :class:`Pending`) and returns its result. Every wait has
an end time, so every task ends. What blocks (name look-ups) and what computes outside Python's lock (TLS) goes to daemon threads; what
may hang for good (a ``stat`` on a dead mount) to one forked child, which is killed and left behind.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import os
import selectors
import threading
import time
from typing import Any, Callable, Deque, Dict, Generator, List, Optional, Sequence, Tuple, TypeVar, Union

T = TypeVar("T")

_TURNS = 8
#: Threads that compute: the probes are guests on their host.
_MOST_COMPUTING = 4


class Ready:
    """Wait until one of ``events`` (file object, selectors' mask) is ready, at most until ``until`` on the loop's clock.

    The answer is the list of file objects that are ready; empty when the time is over.
    """

    __slots__ = ("events", "until")

    def __init__(self, events: Sequence[Tuple[Any, int]], until: float) -> None:
        self.events = events
        self.until = until


class Future:
    """A result that comes later."""

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: Optional[BaseException] = None
        self.waiters: List[_Task] = []


class Pending:
    """Wait for a future, at most until ``until``. The answer is whether it is done."""

    __slots__ = ("future", "until")

    def __init__(self, future: Future, until: float) -> None:
        self.future = future
        self.until = until


Steps = Generator[Union[Ready, Pending], Any, T]


class _Task:
    __slots__ = ("done", "events", "serial", "steps", "wait")

    def __init__(self, steps: Steps[Any], done: Optional[Callable[[Any, Optional[BaseException]], None]]) -> None:
        self.steps = steps
        self.done = done
        self.wait: Union[Ready, Pending, None] = None
        self.serial = 0


class Loop:
    """Drives step functions until all have ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._selector = selectors.DefaultSelector()
        self._timers: List[Tuple[float, int, _Task, int]] = []
        self._count = itertools.count()
        self._runnable: Deque[Tuple[_Task, Any]] = collections.deque()
        self._fresh: Deque[_Task] = collections.deque()
        self._live = 0
        self._finished: Deque[Tuple[Future, Any, Optional[BaseException]]] = collections.deque()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._blocking: Optional[_Threads] = None
        self._computing: Optional[_Threads] = None
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Give back the loop's own files; threads that still run are left to end by themselves."""
        self._selector.close()
        with self._lock:
            self._closed = True
            os.close(self._wake_read)
            os.close(self._wake_write)

    def spawn(self, steps: Steps[Any], done: Optional[Callable[[Any, Optional[BaseException]], None]] = None) -> None:
        """Start a step function; ``done(result, error)`` is called at its end. Without it the loop does not wait for its end."""
        self._live += done is not None
        self._fresh.append(_Task(steps, done))

    def call(self, work: Callable[[], Any]) -> Future:
        """Do blocking work in a thread."""
        if self._blocking is None:
            self._blocking = _Threads(self._from_thread, 64)
        return self._blocking.do(work)

    def compute(self, work: Callable[[], Any]) -> Future:
        """Do work that never waits and lets go of Python's lock in a thread: as many of them as there are processors."""
        if self._computing is None:
            self._computing = _Threads(self._from_thread, min(os.cpu_count() or 1, _MOST_COMPUTING))
        return self._computing.do(work)

    def _from_thread(self, future: Future, value: Any, error: Optional[BaseException]) -> None:
        self._finished.append((future, value, error))
        with self._lock, contextlib.suppress(OSError):
            if not self._closed:  # the number may belong to another file by now
                os.write(self._wake_write, b"x")

    def resolve(self, future: Future, value: Any = None, error: Optional[BaseException] = None) -> None:
        """Give a future its result and go on with who waits for it; from the loop's own thread only."""
        if future.done:
            return
        future.done, future.value, future.error = True, value, error
        waiters, future.waiters = future.waiters, []
        for task in waiters:
            if isinstance(task.wait, Pending) and task.wait.future is future:
                self._resume(task, True)

    def run(self) -> None:
        """Drive all tasks to their ends."""
        while self._live:
            # Few at a time: what arrives meanwhile is to be timed when it arrives.
            for _turn in range(_TURNS):
                if self._runnable:
                    self._advance(*self._runnable.popleft())
                elif self._may_begin():
                    self._advance(self._fresh.popleft(), None)
            if self._live:
                self._poll()

    def _may_begin(self) -> bool:
        """Whether a task may begin: not while others wait for a processor, whose time would be told as the server's."""
        return bool(self._fresh) and (self._computing is None or not self._computing.full)

    def _poll(self) -> None:
        now = self.clock()
        while self._timers and (self._timers[0][2].serial != self._timers[0][3]):
            heapq.heappop(self._timers)
        timeout: Optional[float] = max(0.0, self._timers[0][0] - now) if self._timers else None
        if self._runnable or self._may_begin():
            timeout = 0.0
        if timeout is not None and timeout > 3600:
            timeout = 3600.0
        ready: Dict[int, Tuple[_Task, List[Any]]] = {}
        for key, _mask in self._selector.select(timeout):
            if key.data is None:
                self._take_finished()
            else:
                ready.setdefault(id(key.data), (key.data, []))[1].append(key.fileobj)
        for task, files in ready.values():
            self._resume(task, files)
        now = self.clock()
        while self._timers and self._timers[0][0] <= now:
            _until, _order, task, serial = heapq.heappop(self._timers)
            if task.serial == serial:
                self._resume(task, [] if isinstance(task.wait, Ready) else False)

    def _take_finished(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._wake_read, 4096)
        while self._finished:
            self.resolve(*self._finished.popleft())

    def _resume(self, task: _Task, answer: Any) -> None:
        if isinstance(task.wait, Ready):
            for file, _mask in task.wait.events:
                self._selector.unregister(file)
        task.wait = None
        task.serial += 1
        self._runnable.append((task, answer))

    def _advance(self, task: _Task, answer: Any) -> None:
        try:
            wait = task.steps.send(answer)
        except StopIteration as end:
            self._end(task, end.value, None)
            return
        except Exception as error:  # noqa: BLE001 - told to whoever started the task
            self._end(task, None, error)
            return
        task.wait = wait
        if isinstance(wait, Ready):
            for file, mask in wait.events:
                self._selector.register(file, mask, task)
        elif wait.future.done:
            task.wait = None
            self._runnable.append((task, True))
            return
        else:
            wait.future.waiters.append(task)
        heapq.heappush(self._timers, (wait.until, next(self._count), task, task.serial))

    def _end(self, task: _Task, value: Any, error: Optional[BaseException]) -> None:
        if task.done is not None:
            self._live -= 1
            task.done(value, error)


class _Threads:
    """Daemon threads that are started as they are needed; one that hangs does not keep the process from ending."""

    def __init__(self, report: Callable[[Future, Any, Optional[BaseException]], None], most: int) -> None:
        import queue

        self._report = report
        self._most = most
        self._jobs: Any = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = 0  # jobs waiting or under way
        self._started = 0

    @property
    def full(self) -> bool:
        """Whether more jobs wait than it takes to keep the threads at work."""
        return self._open >= self._most + 2

    def do(self, work: Callable[[], Any]) -> Future:
        future = Future()
        with self._lock:
            self._open += 1
            more = self._started < min(self._most, self._open)
            self._started += more
        self._jobs.put((future, work))
        if more:
            threading.Thread(target=self._serve, daemon=True).start()
        return future

    def _serve(self) -> None:
        while True:
            future, work = self._jobs.get()
            try:
                value, error = work(), None
            except Exception as caught:  # noqa: BLE001 - raised again where the result is taken
                value, error = None, caught
            with self._lock:
                self._open -= 1
            self._report(future, value, error)


def sleep(loop: Loop, until: float) -> Steps[None]:
    """Wait until a time on the loop's clock."""
    if until > loop.clock():
        yield Ready((), until)


def result_of(future: Future, until: float) -> Steps[Any]:
    """The result of a future, or its error raised. Raises TimeoutError when the time is over."""
    if not (yield Pending(future, until)):
        raise TimeoutError
    if future.error is not None:
        raise future.error
    return future.value


def wait_for(file: Any, mask: int, until: float) -> Steps[None]:
    """Wait until a file can be read or written. Raises TimeoutError when the time is over."""
    if not (yield Ready(((file, mask),), until)):
        raise TimeoutError


class Child:
    """A forked process that does what may hang for good, one thread per job; it is killed at the end.

    Make it before any thread is started. ``jobs[n]()`` gives data for JSON; an exception becomes its text.
    """

    def __init__(self, loop: Loop, jobs: Sequence[Callable[[], Any]]) -> None:
        self._loop = loop
        self._waiting: Dict[int, Future] = {}
        request_read, self._request = os.pipe()
        self._answers, answer_write = os.pipe()
        self._buffer = b""
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._request)
                os.close(self._answers)
                _serve_jobs(jobs, request_read, answer_write)
            finally:
                os._exit(0)
        os.close(request_read)
        os.close(answer_write)
        os.set_blocking(self._answers, False)

    def call(self, index: int) -> Future:
        """Have a job done."""
        future = self._waiting[index] = Future()
        try:
            os.write(self._request, b"%d\n" % index)
        except OSError as error:
            self._loop.resolve(future, error=error)
        return future

    def read(self) -> Steps[None]:
        """Hand over answers as they come; to be spawned once, without ``done``."""
        import json

        while True:
            yield Ready(((self._answers, selectors.EVENT_READ),), self._loop.clock() + 3600)
            data = os.read(self._answers, 65536)
            if not data:
                for future in self._waiting.values():
                    self._loop.resolve(future, error=OSError("the helper process ended"))
                return
            lines = (self._buffer + data).split(b"\n")
            self._buffer = lines.pop()
            for line in lines:
                index, value, error = json.loads(line)
                if index in self._waiting:
                    self._loop.resolve(self._waiting.pop(index), value, None if error is None else OSError(error))

    def close(self) -> None:
        """Kill the child. One that hangs in the kernel is left behind."""
        import signal

        os.close(self._request)
        os.close(self._answers)
        try:
            os.kill(self.pid, signal.SIGKILL)
            for _attempt in range(20):
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    break
                time.sleep(0.001)
        except OSError:
            pass


def _serve_jobs(jobs: Sequence[Callable[[], Any]], requests: int, answers: int) -> None:
    """In the child: hold none of the parent's files, whose reader would wait for them, and answer until the requests end."""
    import json

    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    lock = threading.Lock()

    def do(index: int) -> None:
        try:
            answer = json.dumps([index, jobs[index](), None])
        except Exception as error:  # noqa: BLE001 - told to the parent
            answer = json.dumps([index, None, "%s: %s" % (type(error).__name__, error)])
        data = answer.encode("ascii") + b"\n"
        with lock:
            while data:
                data = data[os.write(answers, data) :]

    with open(requests, "rb", buffering=0) as lines:
        pending = b""
        while True:
            data = lines.read(4096)
            if not data:
                return
            *numbers, pending = (pending + data).split(b"\n")
            for number in numbers:
                threading.Thread(target=do, args=(int(number),), daemon=True).start()
