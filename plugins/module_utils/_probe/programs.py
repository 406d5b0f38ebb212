# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs: monitoring plugins with their performance data, and systemd's units through one ``systemctl`` call."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import selectors
import signal
import subprocess
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import cut, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge

from .loop import Future, Loop, Ready, Steps, result_of, sleep
from .options import Probe
from .outcome import Failure, Outcome, Trace, system_reason

#: Bytes of a program's output that are kept; it may go on writing.
MAX_OUTPUT = 1 << 20


class Ended(NamedTuple):
    """A program that ended by itself. ``code``: its exit status, negative for a signal."""

    code: int
    output: str
    errors: str


def run_program(
    loop: Loop, argv: Sequence[str], until: float, chdir: Optional[str] = None, environment: Optional[Mapping[str, str]] = None
) -> Steps[Ended]:
    """Run a program in a process group of its own, which is killed when the time is over. Raises Failure, TimeoutError."""
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=chdir,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else message("reason.probe_system", error=str(error))
        raise Failure(message("reason.probe_not_started", program=argv[0], reason=reason), "unknown") from None
    assert process.stdout is not None
    assert process.stderr is not None
    kept: Dict[Any, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    open_pipes = list(kept)
    for pipe in open_pipes:
        os.set_blocking(pipe.fileno(), False)
    try:
        pause = 0.001
        while open_pipes:
            # A program may end while a child of its own keeps the pipes open: look at both.
            ready = yield Ready([(pipe, selectors.EVENT_READ) for pipe in open_pipes], min(until, loop.clock() + 0.05))
            ended = process.poll() is not None
            for pipe in list(open_pipes) if ended else ready:
                if _drain(pipe, kept[pipe], once=not ended):
                    open_pipes.remove(pipe)
            if ended:
                break
            if loop.clock() >= until:
                raise TimeoutError
        while process.poll() is None:
            if loop.clock() >= until:
                raise TimeoutError
            yield from sleep(loop, loop.clock() + pause)
            pause = min(pause * 2, 0.05)
        output, errors = (kept[pipe].decode("utf-8", "replace") for pipe in (process.stdout, process.stderr))
        return Ended(process.returncode, output, errors)
    finally:
        if process.returncode is None:
            _kill(process)
        process.stdout.close()
        process.stderr.close()


def _drain(pipe: Any, kept: bytearray, once: bool) -> bool:
    """Take what is there; whether the pipe has ended."""
    for _round in range(1 if once else 64):
        try:
            data = os.read(pipe.fileno(), 65536)
        except BlockingIOError:
            return False
        if not data:
            return True
        kept += data[: MAX_OUTPUT - len(kept)]
    return False


def _kill(process: Any) -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in the kernel
        process.wait(0.2)


# -- monitoring plugins --------------------------------------------------------------------------------------------------


class Measure(NamedTuple):
    """One item of performance data, in a unit of the findings. Thresholds are None where they could not be kept as they are."""

    label: str
    value: float
    unit: str
    warning: Optional[str]
    critical: Optional[str]


_PERFORMANCE = re.compile(r"(?:'((?:[^']|'')+)'|([^\s='|]+))=(-?[\d.]+(?:[eE][+-]?\d+)?)([A-Za-z%]*)((?:;[^;\s]*){0,4})(?=\s|\Z)")
_UNITS = {"": ("", 1.0), "s": ("s", 1.0), "ms": ("ms", 1.0), "us": ("ms", 0.001), "%": ("%", 1.0), "c": ("", 1.0)}
_BYTES = {"B": 0, "KB": 1, "MB": 2, "GB": 3, "TB": 4, "KIB": 1, "MIB": 2, "GIB": 3, "TIB": 4}


def read_performance(output: str) -> List[Measure]:
    """The performance data of a monitoring plugin's output (Monitoring Plugins Development Guidelines, "Performance data")."""
    texts = [part.partition("|")[2] for part in output.splitlines()[:1]]
    rest = "\n".join(output.splitlines()[1:])
    if "|" in rest:
        texts.append(rest.partition("|")[2])
    found = []
    for match in _PERFORMANCE.finditer("\n".join(texts)):
        unit, factor = _UNITS.get(match.group(4), ("", 1.0))
        if match.group(4).upper() in _BYTES:
            unit, factor = "B", float(1024 ** _BYTES[match.group(4).upper()])
        try:
            value = float(match.group(3)) * factor
        except ValueError:
            continue
        limits = [text or None for text in match.group(5).split(";")[1:]] + [None, None]
        if factor != 1.0:
            limits = [None, None]
        found.append(Measure((match.group(1) or match.group(2)).replace("''", "'"), value, unit, limits[0], limits[1]))
    return found


def probe_command(loop: Loop, probe: Probe, trace: Trace) -> Steps[Outcome]:
    """Run a monitoring plugin and take over its state."""
    trace.enter("program")
    trace.evidence["command"] = cut(" ".join(probe["argv"]), 200)
    ended = yield from run_program(loop, probe["argv"], trace.until, probe["chdir"])
    trace.leave()
    return judge_command(probe, ended, trace.evidence)


def judge_command(probe: Probe, ended: Ended, evidence: Dict[str, Any]) -> Outcome:
    """The outcome for a monitoring plugin's exit status and output."""
    status = {0: "ok", 1: "warning", 2: "critical", 3: "unknown"}.get(ended.code)
    line = ended.output.strip().partition("\n")[0].partition("|")[0].strip() or ended.errors.strip().partition("\n")[0]
    evidence["exit_status"] = ended.code
    if ended.output.strip():
        evidence["output"] = cut(ended.output.strip(), 1000)
    if ended.errors.strip():
        evidence["error_output"] = cut(ended.errors.strip(), 500)
    measures = read_performance(ended.output)
    evidence["performance"] = ["%s=%g%s" % (item.label, item.value, item.unit) for item in measures]
    if not measures:
        del evidence["performance"]
    value, unit = (measures[0].value, measures[0].unit) if measures else (None, "")
    if status is None:
        return Outcome("unknown", message("probe.command.exit", name=probe["name"], code=ended.code, output=cut(line, 200)), value, unit)
    text = message("probe.command." + ("said" if line else status), name=probe["name"], output=cut(line, 200))
    return Outcome(status, text, value, unit)


# -- systemd units -------------------------------------------------------------------------------------------------------

_SUFFIXES = ("service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope")
_PROPERTIES = "Id,Names,Type,LoadState,ActiveState,SubState,Result,UnitFileState,NRestarts,ExecMainStatus,StateChangeTimestamp"


def full_name(unit: str) -> str:
    """A unit's name or pattern with its suffix; a service without one."""
    return unit if unit.rpartition(".")[2] in _SUFFIXES else unit + ".service"


def _is_pattern(unit: str) -> bool:
    return any(sign in unit for sign in "*?[")


class Units:
    """The units of all probes, seen with one call of ``systemctl`` (and one for enabled units that are not loaded)."""

    def __init__(self, loop: Loop, patterns: Sequence[str], program: str = "systemctl") -> None:
        self._loop = loop
        self._program = program
        self._patterns = list(dict.fromkeys(full_name(pattern) for pattern in patterns))
        self._seen: Optional[Future] = None

    def see(self, until: float, again: bool = False) -> Steps[List[Dict[str, str]]]:
        """The properties of the units that match. Raises Failure, TimeoutError."""
        if self._seen is None or (again and self._seen.done):
            self._seen = Future()
            self._loop.spawn(self._look(self._seen, until))
        units: List[Dict[str, str]] = yield from result_of(self._seen, until)
        return units

    def _look(self, future: Future, until: float) -> Steps[None]:
        try:
            show = [self._program, "show", "--no-pager", "--property=" + _PROPERTIES, "--", *self._patterns]
            ended = yield from run_program(self._loop, show, until)
            if ended.code:
                text = (ended.errors or ended.output).strip().partition("\n")[0]
                raise Failure(message("reason.probe_no_systemd", error=cut(text, 200)), "unknown")
            units = parse_units(ended.output)
            globs = [pattern for pattern in self._patterns if _is_pattern(pattern)]
            if globs:
                listing = [self._program, "list-unit-files", "--no-pager", "--no-legend", "--plain", "--", *globs]
                files = yield from run_program(self._loop, listing, until)
                units += _not_loaded(files.output, units)
        except (Failure, TimeoutError) as error:
            self._loop.resolve(future, error=error)
        else:
            self._loop.resolve(future, units)


def parse_units(text: str) -> List[Dict[str, str]]:
    """The units in the output of ``systemctl show``: blocks of ``Name=value`` with an empty line between."""
    units: Dict[str, Dict[str, str]] = {}
    for block in text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit.get("Id"):
            units.setdefault(unit["Id"], unit)
    return list(units.values())


def _not_loaded(listing: str, units: List[Dict[str, str]]) -> List[Dict[str, str]]:
    """Enabled units that systemd has not in memory: they match a pattern, and do not run."""
    known = {name for unit in units for name in (unit["Id"], *unit.get("Names", "").split())}
    found = []
    for line in listing.splitlines():
        name, state = (*line.split(), "", "")[:2]
        if state.startswith("enabled") and "@." not in name and name not in known:
            found.append({"Id": name, "LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": state})
    return found


def _is_right(unit: Dict[str, str], wanted: str) -> bool:
    state = unit.get("ActiveState", "")
    if wanted == "inactive":
        return state in ("inactive", "")
    if wanted == "not_failed":
        return state != "failed" and unit.get("SubState") != "auto-restart"
    if unit.get("Type") == "oneshot" and unit.get("Result") == "success":
        # It is at work while "activating", and rests until it is started again when that went well.
        return state in ("active", "activating", "inactive")
    return state in ("active", "reloading", "refreshing")


def judge_units(probe: Probe, units: List[Dict[str, str]], evidence: Dict[str, Any]) -> Outcome:
    """The outcome for the units of one probe: each pattern matches something, each unit is in the state that is wanted."""
    mine: Dict[str, Dict[str, str]] = {}
    missing: List[str] = []
    for given in probe["units"]:
        pattern = full_name(given)
        matched = [
            unit
            for unit in units
            if unit.get("LoadState") != "not-found"
            and any(fnmatch.fnmatchcase(name, pattern) for name in (unit["Id"], *unit.get("Names", "").split()))
        ]
        mine.update((unit["Id"], unit) for unit in matched)
        if not matched and probe["state"] != "inactive":
            missing.append(given)
    wrong = {name: unit for name, unit in mine.items() if not _is_right(unit, probe["state"])}
    right = len(mine) - len(wrong)
    evidence["units"] = [_describe(name, unit) for name, unit in [*wrong.items(), *((n, u) for n, u in mine.items() if n not in wrong)]]
    if not mine:
        del evidence["units"]
    common: Dict[str, Any] = {"name": probe["name"], "count": right, "total": len(mine)}
    if missing:
        return Outcome("critical", message("probe.unit.missing", missing=missing, **common), right)
    if wrong:
        told = ["%s (%s)" % (name, _state(unit)) for name, unit in sorted(wrong.items())]
        starting = all(unit.get("ActiveState") == "activating" and unit.get("SubState") != "auto-restart" for unit in wrong.values())
        text = "probe.unit.running" if probe["state"] == "inactive" else "probe.unit.starting" if starting else "probe.unit.down"
        return Outcome("warning" if starting and probe["state"] == "active" else "critical", message(text, wrong=told, **common), right)
    status = judge(right, probe["warning"], probe["critical"])
    text = "probe.unit.count" if status != "ok" else "probe.unit.off" if probe["state"] == "inactive" else "probe.unit.ok"
    return Outcome(status, message(text, **common), right)


def _state(unit: Dict[str, str]) -> str:
    state, sub, result = (unit.get(key, "") for key in ("ActiveState", "SubState", "Result"))
    return state + (
        ", " + (result if state == "failed" and result else sub) if sub and sub != state or state == "failed" and result else ""
    )


def _describe(name: str, unit: Dict[str, str]) -> str:
    words = [name, _state(unit)]
    if unit.get("LoadState") not in ("loaded", "", None):
        words.append(unit["LoadState"])
    if unit.get("UnitFileState"):
        words.append(unit["UnitFileState"])
    if unit.get("NRestarts", "0") not in ("0", ""):
        words.append("NRestarts=" + unit["NRestarts"])
    if unit.get("ExecMainStatus", "0") not in ("0", ""):
        words.append("ExecMainStatus=" + unit["ExecMainStatus"])
    if unit.get("StateChangeTimestamp"):
        words.append(unit["StateChangeTimestamp"])
    return ", ".join(words)
