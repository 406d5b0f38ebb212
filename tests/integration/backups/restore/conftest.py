# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop to restore."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from shop import Shop


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A shop with a set of old data and new data in place, kept to be copied: the set knows the paths."""
    folder = tmp_path_factory.mktemp("shop")
    Shop(folder / "shop").set_up()
    (folder / "shop").rename(folder / "saved")
    return folder


@pytest.fixture
def shop(saved):
    """The shop, open."""
    subprocess.run(["rm", "-rf", saved / "shop"], check=True)
    subprocess.run(["cp", "-a", saved / "saved", saved / "shop"], check=True)
    made = Shop(saved / "shop")
    made.open()
    yield made
    made.tear_down()
