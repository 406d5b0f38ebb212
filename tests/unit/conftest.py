# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checkout's collection importable, with and without ansible in the environment."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / "collections"

# ansible-test brings its own collection loader and its own copy of the tree.
if importlib.util.find_spec("ansible_collections") is None:
    sys.path.insert(0, str(COLLECTIONS))
import ansible_collections  # noqa: E402

_folder = str(COLLECTIONS / "ansible_collections")
if COLLECTIONS.is_dir() and _folder not in list(ansible_collections.__path__):
    # The ansible package's own ansible_collections is a regular package and would win over this folder.
    ansible_collections.__path__.append(_folder)
sys.path.insert(0, str(ROOT / "src"))
