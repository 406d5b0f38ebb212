# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs and ports that tests need."""

from __future__ import annotations

import os
import shutil
import socket
import time

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


def free_port() -> int:
    """A port of this host that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a server answers."""
    for _try in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing answers on port {port}")
