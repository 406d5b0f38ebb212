# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs without which SQLite cannot be tried."""

from __future__ import annotations

import pytest
from programs import needs


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Left out without them."""
    for program in ("zstd", "gzip"):
        needs(program)
