# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server for all tests of a process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent)]
from my_servers import AWKWARD, PASSWORD, Server  # noqa: E402
from programs import free_port  # noqa: E402


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A running server."""
    found = Server(free_port())
    try:
        quoted = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        found.sql(f"CREATE USER login@'127.0.0.1' IDENTIFIED BY '{quoted}'; GRANT ALL ON *.* TO login@'127.0.0.1';")
        yield found
    finally:
        found.remove()


@pytest.fixture
def awkward(server: Server) -> str:
    """A database of awkward content."""
    return server.make("awkward", AWKWARD)
