# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that end with their test."""

from __future__ import annotations

import sys
from pathlib import Path

import programs
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def server(tmp_path):
    """Makes servers; ``server(appendonly="yes")``."""
    from servers import Server

    program = programs.needs("redis-server")
    made = []

    def make(program=program, **settings):
        folder = tmp_path / f"server{len(made)}"
        made.append(Server(folder, program, **{name.replace("_", "-"): value for name, value in settings.items()}))
        return made[-1].start()

    yield make
    for one in made:
        one.stop()
