# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines, sets and copies against real programs and servers that the tests start themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "src"), str(HERE)]
# For the processes that tests start.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "collections"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]).rstrip(
    os.pathsep
)
import ansible_collections  # noqa: E402

_folder = str(ROOT / "collections" / "ansible_collections")
if _folder not in list(ansible_collections.__path__):
    ansible_collections.__path__.append(_folder)  # the ansible package's own would win over this folder
