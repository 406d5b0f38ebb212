# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: a small service on this machine, some of it sick on purpose, and an inventory that describes it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opsrunner.errors import RefusalError
from opsrunner.find import collection as _collection
from opsrunner.find.collection import runs

#: Where the inventory of the demo finds what the service has told of itself; read by ``inventories/demo``.
VARIABLE = "OPSRUNNER_DEMO"
STATE_FILE = "demo.json"
#: Seconds without a request after which the service ends by itself.
IDLE = 1800
_START = 20.0
_STOP = 10.0


class DemoError(RefusalError):
    """The demo cannot be started or ended."""


def inventory() -> Path:
    """The shipped inventory of the demo."""
    return (_collection.CHECKOUT or Path(__file__).parents[1]) / "inventories" / "demo"


def folder() -> Path:
    """The demo's folder: in the state folder, else in the temporary folder. Raises DemoError."""
    for base in (runs.state_dir(), Path(tempfile.gettempdir()) / f"opsrunner-{os.getuid()}"):
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = base / "demo"
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            continue
        if path.stat().st_uid == os.getuid() and os.access(path, os.W_OK):
            return path
    raise DemoError(f"neither {runs.state_dir()} nor {tempfile.gettempdir()} can be written")


def status(path: Path | None = None) -> dict[str, Any] | None:
    """What the running service tells of itself; None when it does not run."""
    try:
        state: dict[str, Any] = json.loads(((path or folder()) / STATE_FILE).read_text(encoding="utf-8"))
        return state if _runs(state) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _runs(state: dict[str, Any]) -> bool:
    """Whether the process that has told this of itself still runs; one that its parent has not taken leave of does not."""
    pid = int(state["pid"])
    if runs.process_start(pid) != state["started"]:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One at a time: two commands may bring the demo up at once."""
    with open(path / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(idle: float = IDLE) -> dict[str, Any]:
    """Start the service unless it runs, and wait until it answers. Raises DemoError."""
    path = folder()
    with _alone(path):
        running = status(path)
        if running:
            return running
        for old in path.iterdir():
            if old.name != ".lock":
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        environment = {name: value for name, value in os.environ.items() if name != runs.RUN_VARIABLE}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        with open(path / "service.err", "wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "opsrunner.demo.service", str(path), str(idle)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        return _wait(process, path)


def _wait(process: subprocess.Popen[bytes], path: Path) -> dict[str, Any]:
    until = time.monotonic() + _START
    while time.monotonic() < until:
        state = status(path)
        if state:
            return state
        if process.poll() is not None:
            said = (path / "service.err").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise DemoError(f"the demo did not start: {said[-1] if said else f'it ended with {process.returncode}'}")
        time.sleep(0.05)
    process.kill()
    raise DemoError(f"the demo did not start within {_START:.0f} s")


def down() -> bool:
    """End the service and remove its folder; False when there was none. Raises DemoError."""
    path = folder()
    with _alone(path):
        state = status(path)
        if state:
            os.kill(int(state["pid"]), signal.SIGTERM)
            until = time.monotonic() + _STOP
            while _runs(state) and time.monotonic() < until:
                time.sleep(0.05)
            if _runs(state):
                os.kill(int(state["pid"]), signal.SIGKILL)
        shutil.rmtree(path, ignore_errors=True)
    return state is not None
