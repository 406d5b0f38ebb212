# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run many probes at once under one deadline, and make findings of what they saw."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, finding, message

from .loop import Child, Loop, Steps, result_of, sleep
from .net import Names, shown
from .options import CONCURRENCY, DEADLINE, Probe, safe_url
from .outcome import Failure, Masker, Outcome, Trace, system_reason, timeout_reason

#: Probes whose looking may hang in the kernel: done in the child.
_BLOCKING = ("port", "process", "file")


class _Attempt:
    __slots__ = ("answered", "outcome", "trace")

    def __init__(self, outcome: Outcome, trace: Trace, answered: bool) -> None:
        self.outcome = outcome
        self.trace = trace
        self.answered = answered


class _Call:
    """One call of the module: what its probes share."""

    def __init__(self, probes: Sequence[Probe], until: float, deadline: float, loop: Loop, bundle: Optional[str]) -> None:
        self.loop = loop
        self.until = until
        self.deadline = deadline
        self.names = Names(loop)
        self._units: Any = None
        self._probes = probes
        self._jobs: Dict[int, int] = {}
        _load({probe["type"] for probe in probes}, any(_uses_tls(probe) for probe in probes))
        jobs: List[Callable[[], Any]] = []
        for index, probe in enumerate(probes):
            job = _blocking_job(probe)
            if job is not None:
                self._jobs[index] = len(jobs)
                jobs.append(job)
        self.child = Child(loop, jobs) if jobs else None  # before any thread is there
        if self.child is not None:
            loop.spawn(self.child.read())
        self._contexts: Any = None
        self._bundle = bundle
        self._search: Optional[Callable[[str, Any], Any]] = None
        for index, probe in enumerate(probes):
            if _uses_tls(probe) and index not in self._jobs:
                self.contexts.begin(probe)

    @property
    def contexts(self) -> Any:
        """The TLS contexts."""
        if self._contexts is None:
            from .tls import Contexts

            self._contexts = Contexts(self.loop)
        return self._contexts

    def search(self, expression: str, data: Any) -> Any:
        """Evaluate a JMESPath expression."""
        if self._search is None:
            from .jmespath_bundle import searcher

            self._search = searcher(self._bundle)
        return self._search(expression, data)

    def close(self) -> None:
        """End what is left of it."""
        if self.child is not None:
            self.child.close()
        self.loop.close()

    def look(self, index: int, target: Any, trace: Trace, again: bool) -> Steps[Outcome]:
        """One attempt at one target of a probe. Raises Failure, TimeoutError, OSError."""
        probe = self._probes[index]
        kind = probe["type"]
        if index in self._jobs:
            return (yield from self._look_in_child(index, trace))
        if kind == "http":
            from .http import probe_http

            return (yield from probe_http(self.loop, self.names, lambda: self.contexts, self.search, probe, target, trace))
        if kind == "tcp":
            from .tcp import probe_tcp

            return (yield from probe_tcp(self.loop, self.names, lambda: self.contexts, probe, target, trace))
        if kind == "tls":
            from .tls import probe_tls

            return (yield from probe_tls(self.loop, self.names, self.contexts, probe, target, trace))
        if kind == "dns":
            from .dns import probe_dns

            return (yield from probe_dns(self.loop, self.names, probe, target, trace))
        from . import programs as probe_programs

        if kind == "command":
            return (yield from probe_programs.probe_command(self.loop, probe, trace))
        trace.enter("program")
        if self._units is None:
            patterns = [pattern for other in self._probes if other["type"] == "unit" for pattern in other["units"]]
            self._units = probe_programs.Units(self.loop, patterns)
        units = yield from self._units.see(trace.until, again)
        trace.leave()
        return probe_programs.judge_units(probe, units, trace.evidence)

    def _look_in_child(self, index: int, trace: Trace) -> Steps[Outcome]:
        from . import system as probe_system

        assert self.child is not None
        trace.enter("local")
        probe = self._probes[index]
        try:
            seen = yield from result_of(self.child.call(self._jobs[index]), trace.until)
        except TimeoutError:
            raise
        except OSError as error:
            raise Failure(message("reason.probe_system", error=str(error)), "unknown") from None
        trace.leave()
        if probe["type"] == "tls":
            from . import tls as probe_tls

            trace.evidence["certificate_file"] = probe["path"]
            if "error" in seen:
                raise Failure(message("reason.probe_system", error=seen["error"]), "unknown")
            certificate = probe_tls.earliest([probe_tls.Certificate(*item) for item in seen["certificates"]])
            probe_tls.note(certificate, trace)
            return probe_tls.judge_certificate(probe, certificate)
        judges = {"port": probe_system.judge_port, "process": probe_system.judge_process, "file": probe_system.judge_file}
        return judges[probe["type"]](probe, seen, trace.evidence)

    def probe(self, index: int) -> Steps[Tuple[Probe, _Attempt, Dict[str, Any]]]:
        """All attempts at a probe; the last one counts."""
        probe = self._probes[index]
        attempt: Optional[_Attempt] = None
        tried = 0
        evidence: Dict[str, Any] = {}
        for number in range(probe["retries"] + 1):
            if number:
                pause = self.loop.clock() + probe["retry_delay"]
                if pause >= self.until:
                    break
                yield from sleep(self.loop, pause)
            evidence = {}
            attempt = yield from self._round(index, number > 0, evidence)
            tried += 1
            if attempt.outcome.status in ("ok", "warning"):
                break
        assert attempt is not None
        if tried > 1:
            evidence["attempts"] = tried
        return probe, attempt, evidence

    def _round(self, index: int, again: bool, evidence: Dict[str, Any]) -> Steps[_Attempt]:
        """Every target until one answers; without an answer the first target's failure stands."""
        probe = self._probes[index]
        first: Optional[_Attempt] = None
        failed: List[Any] = []
        targets = probe.get("targets") or [None]
        for target in targets:
            attempt = yield from self._attempt(index, target, again)
            if attempt.answered:
                if failed:
                    evidence["failed_targets"] = failed
                return _Attempt(attempt.outcome, _named(attempt.trace, target), True)
            failed.append(
                message("probe.target_failed", target=_shown_target(target), reason=attempt.outcome.text["params"].get("reason", ""))
            )
            if first is None:
                first = _Attempt(attempt.outcome, _named(attempt.trace, target), False)
            if self.loop.clock() >= self.until:
                break
        assert first is not None
        if len(failed) > 1:
            evidence["failed_targets"] = failed
        return first

    def _attempt(self, index: int, target: Any, again: bool) -> Steps[_Attempt]:
        probe = self._probes[index]
        now = self.loop.clock()
        trace = Trace(self.loop.clock, min(now + probe["timeout"], self.until), self.until)
        if now >= self.until:
            return _Attempt(Outcome("unknown", message("probe.not_begun", name=probe["name"], deadline=self.deadline)), trace, False)
        try:
            outcome = yield from self.look(index, target, trace, again)
            trace.end()
            return _Attempt(outcome, trace, True)
        except TimeoutError:
            waited = self.loop.clock() - trace.started
            # Only a probe that had all its time can say that there is no answer.
            had_its_time = waited >= 0.95 * min(probe["timeout"], self.deadline)
            blind = trace.stage in ("local", "program")
            trace.end()
            failure = Failure(timeout_reason(trace), "critical" if had_its_time and not blind else "unknown")
            if not had_its_time:
                text = message(
                    "probe.missed", name=probe["name"], deadline=self.deadline, stage=message("stage." + trace.stage), reason=failure.reason
                )
                return _Attempt(Outcome("unknown", text), trace, False)
        except Failure as caught:
            failure = caught
        except OSError as error:
            failure = Failure(system_reason(error))
        trace.end()
        unit = "d" if probe["type"] == "tls" else ""
        about_tls = failure.reason["message"].startswith("reason.probe_tls_")
        blind_text = "probe.unseen" if failure.status == "unknown" else "probe.failed_tls" if about_tls else "probe.failed"
        value = failure.value if probe["type"] == "tls" else None
        return _Attempt(Outcome(failure.status, message(blind_text, name=probe["name"], reason=failure.reason), value, unit), trace, False)


def _load(kinds: Set[str], tls: bool) -> None:
    """Import what the probes need before the first of them is timed."""
    if kinds & {"http", "dns", "tcp", "tls"}:
        "a".encode("idna")  # the first look-up of a name would pay for loading the codec
    if "http" in kinds:
        from . import http as probe_http  # noqa: F401
    if "tcp" in kinds:
        from . import tcp as probe_tcp  # noqa: F401
    if tls:
        import ssl  # noqa: F401
    if kinds & {"command", "unit"}:
        from . import programs as probe_programs  # noqa: F401


def _blocking_job(probe: Probe) -> Optional[Callable[[], Any]]:
    kind = probe["type"]
    if kind not in _BLOCKING and not (kind == "tls" and probe["path"]):
        return None
    from . import system as probe_system

    if kind == "port":
        return lambda: probe_system.see_port(probe)
    if kind == "process":
        return lambda: probe_system.see_process(probe, not_these=(os.getpid(), os.getppid()))
    if kind == "file":
        return lambda: probe_system.see_file(probe)
    return lambda: probe_system.see_certificate(probe)


def _shown_target(target: Any) -> str:
    return "" if target is None else safe_url(target) if isinstance(target, str) else shown(*target)


def _named(trace: Trace, target: Any) -> Trace:
    """The trace with its target first in the evidence."""
    if target is not None:
        trace.evidence = {"url" if isinstance(target, str) else "target": _shown_target(target), **trace.evidence}
    return trace


def _open_files(concurrency: int) -> int:
    """As many probes at once as the limit of open files allows: a probe may hold three of them."""
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return concurrency if soft == resource.RLIM_INFINITY else max(1, min(concurrency, (soft - 40) // 3))


def run_probes(
    probes: Sequence[Probe],
    deadline: float = DEADLINE,
    concurrency: int = CONCURRENCY,
    bundle: Optional[str] = None,
    clock: Callable[[], float] = time.monotonic,
) -> Tuple[List[Finding], List[Dict[str, Any]]]:
    """Run probes that :func:`probe_options.read_probes` has read; return findings and what was measured, in the order given.

    ``deadline``: seconds for all. ``concurrency``: probes at once. ``bundle``: the jmespath package, see :mod:`probe_jmespath`.
    """
    loop = Loop(clock)
    call = _Call(probes, clock() + deadline, deadline, loop, bundle)
    ended: Dict[int, Tuple[List[Finding], Dict[str, Any]]] = {}
    waiting = deque(sorted(range(len(probes)), key=lambda index: _order(probes[index])))

    def start_next() -> None:
        if waiting:
            index = waiting.popleft()
            loop.spawn(call.probe(index), lambda value, error: end(index, value, error))

    def end(index: int, value: Any, error: Optional[BaseException]) -> None:
        probe = probes[index]
        if error is not None:
            reason = message("reason.probe_system", error="%s: %s" % (type(error).__name__, error))
            outcome = Outcome("unknown", message("probe.unseen", name=probe["name"], reason=reason))
            value = (probe, _Attempt(outcome, Trace(clock, 0), False), {})
        ended[index] = _report(*value)
        start_next()

    try:
        for _slot in range(_open_files(concurrency)):
            start_next()
        loop.run()
    finally:
        call.close()
    reports = [ended[index] for index in range(len(probes))]
    return [item for found, _result in reports for item in found], [result for _found, result in reports]


def _told(timings: Dict[str, float]) -> Message:
    stages = [message("probe.timing.stage", stage=message("stage." + name[: -len("_ms")]), ms=ms) for name, ms in timings.items()]
    return message("probe.timing", stages=stages)


def _order(probe: Probe) -> int:
    """What costs our own time is begun first: it is spent while the others wait, and not while an answer is timed."""
    if probe["type"] in ("command", "unit"):
        return 0
    return 1 if _uses_tls(probe) else 2


def _uses_tls(probe: Probe) -> bool:
    return (
        probe["type"] == "tls" or bool(probe.get("tls")) or any(str(target).startswith("https:") for target in probe.get("targets") or ())
    )


def _report(probe: Probe, attempt: _Attempt, evidence: Dict[str, Any]) -> Tuple[List[Finding], Dict[str, Any]]:
    """The findings of a probe, the secrets of its options taken out, and its entry in the module's results."""
    outcome, trace = attempt.outcome, attempt.trace
    masker = Masker(probe)
    network = probe["type"] in ("http", "tcp", "tls", "dns")
    timings = trace.tell() if network else {}
    seen = {key: masker.anything(value) for key, value in {**trace.evidence, **evidence}.items() if value not in (None, "", [])}
    if timings:
        seen["timing"] = _told(timings)
    took = sum(trace.timings.values()) if trace.timings else None
    check = "%s.%s" % (probe["type"], probe["name"])
    text = masker.anything(outcome.text)
    own = finding(
        check,
        probe["type"],
        outcome.status,
        text,
        value=outcome.value,
        unit=outcome.unit,
        warning=probe.get("warning"),
        critical=probe.get("critical"),
        evidence=seen,
        remedy=probe["remedy"],
        duration_ms=took,
    )
    extra = outcome.extra
    if not attempt.answered and probe["type"] == "http" and probe["json"]:
        from .http import unjudged

        extra = unjudged(probe)
    others = [
        finding(
            kind=probe["type"],
            remedy=probe["remedy"],
            **{key: masker.anything(value) if key in ("text", "evidence") else value for key, value in item.items()},
        )
        for item in extra
    ]
    result = {
        "name": probe["name"],
        "type": probe["type"],
        "check": check,
        "status": outcome.status,
        "value": outcome.value,
        "unit": outcome.unit,
    }
    result["timings"] = timings
    return [own, *others], result
