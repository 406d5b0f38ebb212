# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs and ports that tests need."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def leave_out(reason: str) -> None:
    """Leave the test out; with STRICT=1 it fails instead."""
    (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)(reason)


def needs(program: str) -> str:
    """The program's path; the test is left out without it, and fails with STRICT=1."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        leave_out(f"{program} is not installed")
    return str(found)


@contextlib.contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """A file system in memory, mounted at a new folder; the test is left out where nothing can be mounted."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], capture_output=True, check=False)
    if done.returncode:
        leave_out(f"cannot mount: {done.stderr!r}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def free_port() -> int:
    """A port of this host that nobody has: below those that the kernel gives to the next connection that asks."""
    for port in random.sample(range(20000, 32768), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    return pytest.fail("no port is free")


def wait_for(port: int) -> None:
    """Wait until a server answers."""
    for _try in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing answers on port {port}")
