# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checkout's collection importable, with and without ansible in the environment."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

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
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

# A slow or busy machine is no failure. CI tries the same examples each time; more and others are for make test-slow.
_patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("here", **_patient)
settings.register_profile("same", derandomize=True, **_patient)
settings.register_profile("slow", max_examples=2000, **_patient)
settings.load_profile("same" if os.environ.get("CI") or os.environ.get("STRICT") else "here")
