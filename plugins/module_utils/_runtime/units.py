# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drop-ins of systemd units: written, loaded, proved by the running process, and taken back with the unit when it does not come up.

Source: systemd.unit(5) (order of drop-ins), systemctl(1) ``show``.
"""

from __future__ import annotations

import glob
import os
import re
import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.run import Run

#: systemd's own names are longer than this nowhere in practice.
_UNIT = re.compile(r"[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\-]+)?\Z")
PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "MainPID", "NRestarts", "ExecMainStartTimestampMonotonic")


class UnitError(Exception):
    """A unit that could not be looked at, or did not come up. The text says which and why."""


class Unit(NamedTuple):
    """A unit as systemd tells it. ``pid`` 0: no main process. ``started``: seconds since the epoch."""

    name: str
    exists: bool
    active: str
    pid: int
    restarts: int
    started: float
    properties: Dict[str, str]


def unit_name(name: Any, path: str) -> str:
    """The name of a service unit, ``.service`` added where it is left out. Raises OptionError."""
    text = str(name)
    if not _UNIT.match(text):
        raise OptionError(path, "%r is no name of a unit" % (name,), hint="nginx.service")
    kind = text.rpartition(".")[2] if "." in text else ""
    if kind in ("socket", "timer", "mount", "target", "path", "slice", "scope", "swap", "device", "automount"):
        raise OptionError(path, "%s is no service: settings of processes go to the service" % text)
    return text if kind == "service" else text + ".service"


def show(names: Iterable[str], run: Run, properties: Sequence[str] = ()) -> Dict[str, Unit]:
    """The units, in one call. Raises UnitError where systemd cannot be asked."""
    names = list(names)
    if not names:
        return {}
    wanted = [*PROPERTIES, *properties]
    status, output = run(["systemctl", "show", "--no-pager", "--property=" + ",".join(wanted), "--", *names])
    blocks = [block for block in output.split("\n\n") if block.strip()]
    if status or len(blocks) != len(names):
        raise UnitError("systemd cannot be asked: %s" % (output or "exit status %d" % status))
    booted = time.time() - time.monotonic()
    units = {}
    for name, block in zip(names, blocks):
        told = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        units[name] = Unit(
            name,
            told.get("LoadState") not in ("not-found", None),
            told.get("ActiveState", ""),
            int(told.get("MainPID") or 0),
            int(told.get("NRestarts") or 0),
            booted + int(told.get("ExecMainStartTimestampMonotonic") or 0) / 1e6,
            {key: told.get(key, "") for key in properties},
        )
    return units


def require(units: Mapping[str, Unit], path: str) -> None:
    """Refuse units that the host does not have. Raises OptionError naming the first."""
    for unit in units.values():
        if not unit.exists:
            raise OptionError(path, "the unit %s does not exist on this host; nothing was changed" % unit.name)


def drop_in_path(unit: str, file_name: str, root: str = "/") -> str:
    """The path of a drop-in below ``/etc/systemd/system``."""
    return os.path.join(root, "etc/systemd/system", unit + ".d", file_name)


def present(pattern: str, root: str = "/") -> Dict[str, str]:
    """Units with a drop-in whose name matches ``pattern``, and its path."""
    folder = os.path.join(root, "etc/systemd/system")
    found = glob.glob(os.path.join(glob.escape(folder), "*.d", pattern))
    return {os.path.basename(os.path.dirname(path))[:-2]: path for path in sorted(found)}


def released(names: Iterable[str], run: Run) -> List[Unit]:
    """Of the units whose drop-in goes, those that run with it still."""
    return [unit for unit in show(names, run).values() if unit.exists and unit.active == "active" and unit.pid]


def drop_in(header: str, settings: Mapping[str, str]) -> bytes:
    """The text of a drop-in with a ``[Service]`` section."""
    return ("# %s\n[Service]\n" % header + "".join("%s=%s\n" % pair for pair in settings.items())).encode()


class Change(NamedTuple):
    """What is to be done to units and files. ``restart``: units to be restarted, as they are now."""

    files: List[Tuple[files.FileState, files.FileState]]
    restart: List[Unit]

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.restart) or any(files.differs(before, after) for before, after in self.files)

    def touches_units(self) -> bool:
        """Whether systemd has to read its files again."""
        return any("/etc/systemd/system/" in after.path and files.differs(before, after) for before, after in self.files)


def apply(
    change: Change,
    transaction: files.Transaction,
    run: Run,
    settle: float = 3.0,
    prove: Callable[[], None] = lambda: None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Do it within an open transaction: files, daemon-reload, restarts, then ``prove``, which raises when it does not hold.

    ``settle``: seconds that a restarted unit must stay up. Raises FileError or UnitError; the transaction then takes all back.
    """
    reload_needed = change.touches_units()
    if reload_needed or change.restart:
        # Announced first, so that it is taken back last: when the files are the old ones again.
        transaction.note("units", {"reload": reload_needed, "pids": {unit.name: unit.pid for unit in change.restart}})
    for before, after in change.files:
        if files.differs(before, after):
            transaction.put(after)
            if after.kind == "absent" and "/etc/systemd/system/" in after.path:
                transaction.remove_folder(os.path.dirname(after.path))
    if reload_needed:
        _systemctl(run, "daemon-reload")
    for unit in change.restart:
        _systemctl(run, "restart", unit.name)
    _stays_up([unit.name for unit in change.restart], run, settle, wait)
    prove()


def undo(run: Run) -> files.Undo:
    """How a change of units is taken back, for the transaction."""

    def units(data: Any) -> None:
        try:
            if data["reload"]:
                _systemctl(run, "daemon-reload")
            for name, unit in show(data["pids"], run).items():
                if unit.pid != data["pids"][name] or unit.active != "active":
                    run(["systemctl", "reset-failed", "--", name])  # fails for a unit that has not failed
                    _systemctl(run, "restart", name)
        except UnitError as error:
            raise files.FileError(str(error)) from error

    return {"units": units}


def _systemctl(run: Run, *args: str) -> None:
    status, output = run(["systemctl", args[0], "--", *args[1:]] if len(args) > 1 else ["systemctl", *args])
    if status:
        raise UnitError("systemctl %s: %s" % (" ".join(args), output or "exit status %d" % status))


def _stays_up(names: List[str], run: Run, settle: float, wait: Callable[[float], None]) -> None:
    """Wait until the units have been up for ``settle`` seconds. Raises UnitError for one that is not."""
    if not names:
        return
    first = show(names, run)
    left = settle
    while True:
        for name, unit in show(names, run).items():
            if unit.active not in ("active", "reloading", "activating") or unit.restarts > first[name].restarts:
                raise UnitError("%s did not stay up after its restart: it is %s" % (name, unit.active))
            if left <= 0 and unit.active == "activating":
                raise UnitError("%s did not come up within %g s: it is still activating" % (name, settle))
        if left <= 0:
            return
        wait(min(left, 0.5))
        left -= 0.5


def describe(result: Dict[str, Any], change: Change, secret: Optional[bool] = False) -> None:
    """Put what the change is into a module's result: ``changed``, ``diff``, ``restarted``."""
    result["changed"] = result.get("changed", False) or change.needed
    result["diff"] = [files.diff(before, after, bool(secret)) for before, after in change.files if files.differs(before, after)]
    result["restarted"] = [unit.name for unit in change.restart]
