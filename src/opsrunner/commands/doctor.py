# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is everything there that runs need? One line per thing looked at, with what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import locale
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from opsrunner.commands import validate
from opsrunner.find import collection as _collection
from opsrunner.find.collection import runs
from opsrunner.find.systems import System
from opsrunner.play import runner

_PYTHON_SINCE = (3, 11)
_DISK_WARNING = 200 * 1024**2
_DISK_CRITICAL = 20 * 1024**2
_PING = 60


class Line(NamedTuple):
    """One thing looked at. ``advice``: what to do when it is not ok."""

    status: str
    what: str
    seen: str
    advice: str = ""


def look(known: dict[str, System], system: System | None = None) -> Iterator[Line]:
    """Look at everything; with ``system`` also whether its hosts can be logged in to."""
    looks: list[Callable[[], Line]] = [_python, _ansible, _runner, _collection_found, _jmespath, _ssh, _locale, _state, _disk]
    for one in looks:
        yield one()
    for item in [system] if system else known.values():
        yield _inventory(item)
    if system:
        yield from _connections(system)


def _python() -> Line:
    seen = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info < _PYTHON_SINCE:
        return Line("critical", "python", seen, f"use Python {_PYTHON_SINCE[0]}.{_PYTHON_SINCE[1]} or later")
    return Line("ok", "python", seen)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ansible() -> Line:
    version = _version("ansible-core")
    if not version:
        return Line("critical", "ansible-core", "not installed", "pip install ansible-core")
    supported = SpecifierSet(yaml.safe_load((_collection.root() / "meta" / "runtime.yml").read_text("utf-8"))["requires_ansible"])
    if supported.contains(version, prereleases=True):
        return Line("ok", "ansible-core", version)
    newer = all(Version(version) >= Version(one.version) for one in supported if one.operator == ">=")
    # A newer one may well do; an older one is refused by ansible-core itself.
    return Line("warning" if newer else "critical", "ansible-core", version, f"supported is ansible-core {supported}")


def _runner() -> Line:
    version = _version("ansible-runner")
    return (
        Line("ok", "ansible-runner", version)
        if version
        else Line("critical", "ansible-runner", "not installed", "pip install ansible-runner")
    )


def _collection_found() -> Line:
    root = _collection.root()
    others = [path for path in _collection.elsewhere() if path.resolve() != root.resolve()]
    seen = f"{_collection.NAME} in {root}" + (" (checkout)" if _collection.CHECKOUT else "")
    if others:
        told = ", ".join(map(str, others))
        return Line("warning", "collection", f"{seen}; also in {told}", "plain ansible-playbook may take the other one: remove it")
    return Line("ok", "collection", seen)


def _jmespath() -> Line:
    if importlib.util.find_spec("jmespath"):
        return Line("ok", "jmespath", str(_version("jmespath") or "installed"))
    return Line("warning", "jmespath", "not installed", "pip install jmespath, or probes with json conditions are refused")


def _ssh() -> Line:
    program = shutil.which("ssh")
    if not program:
        return Line("warning", "ssh client", "not installed", "install openssh-client; without it only this machine can be looked at")
    done = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=10, check=False)
    return Line("ok", "ssh client", (done.stderr or done.stdout).strip().partition(",")[0])


def _locale() -> Line:
    encoding = locale.getpreferredencoding(False)
    if "utf" in encoding.lower():
        return Line("ok", "locale", encoding)
    return Line("warning", "locale", encoding, "set LC_ALL=C.UTF-8; ansible-playbook by itself refuses to start")


def _state() -> Line:
    folder = runs.state_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Line("critical", "state folder", f"{folder}: {error.strerror or error}", f"make it writable, or set {runs.STATE_VARIABLE}")
    if folder.stat().st_mode & 0o077:
        return Line("warning", "state folder", f"{folder} is open to others", f"chmod 700 {folder}")
    return Line("ok", "state folder", str(folder))


def _disk() -> Line:
    folder = runs.state_dir()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    seen = f"{_collection.catalogue.size(free)} free in {folder}"
    if free < _DISK_WARNING:
        return Line("critical" if free < _DISK_CRITICAL else "warning", "disk space", seen, "make room: runs could not be kept")
    return Line("ok", "disk space", seen)


def _inventory(system: System) -> Line:
    found = validate.problems(system)
    if not found:
        return Line("ok", f"inventory {system.name}", str(system.path))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Line("critical", f"inventory {system.name}", found[0] + more, f"opsrunner validate {system.name} tells all of it")


def _connections(system: System) -> Iterator[Line]:
    """Log in to every host, all at once, and start its Python."""
    given = {**os.environ, **runner.surroundings(), "ANSIBLE_STDOUT_CALLBACK": "minimal", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1"}
    command = [sys.executable, "-P", "-m", "ansible", "adhoc", "all", "-i", str(system.path), "-m", "ansible.builtin.ping", "--one-line"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=given, timeout=_PING, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        yield Line("critical", "hosts", f"no answer within {_PING} s", "try ssh to the hosts by hand")
        return
    lines = [line for line in done.stdout.splitlines() if " | " in line]
    for line in lines:
        host, _bar, rest = line.partition(" | ")
        if rest.startswith("SUCCESS"):
            yield Line("ok", f"host {host}", "answers, and its Python starts")
        else:
            yield Line("critical", f"host {host}", " ".join(rest.split())[:200], "try ssh to it by hand; check user, key and Python")
    if not lines:
        yield Line("critical", "hosts", " ".join((done.stderr or done.stdout).split())[:300] or "none", "correct the inventory")
