# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server for all tests of a process, and a template database with awkward content."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent)]
from pg_servers import AWKWARD, PASSWORD, Server  # noqa: E402
from programs import free_port  # noqa: E402


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A running server with the roles of the awkward database."""
    found = Server(free_port())
    try:
        found.sql(
            "postgres",
            "CREATE ROLE app_owner; CREATE ROLE reader; SET standard_conforming_strings = on;"
            "CREATE ROLE login SUPERUSER LOGIN PASSWORD '%s';" % PASSWORD.replace("'", "''"),
        )
        found.make("awkward_template")
        found.sql("awkward_template", AWKWARD)
        yield found
    finally:
        found.remove()


@pytest.fixture
def awkward(server: Server) -> str:
    """A database of awkward content."""
    return server.make("awkward", "awkward_template")
