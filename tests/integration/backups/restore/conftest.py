# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop to restore."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from shop import Shop


@pytest.fixture
def shop(tmp_path):
    """A shop with a set of old data and new data in place."""
    made = Shop(tmp_path)
    made.set_up()
    yield made
    made.tear_down()
