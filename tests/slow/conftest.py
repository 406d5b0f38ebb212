# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slow tests import the collection just as the unit tests do."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_found = importlib.util.spec_from_file_location("unit_conftest", Path(__file__).parents[1] / "unit" / "conftest.py")
assert _found is not None and _found.loader is not None
_found.loader.exec_module(importlib.util.module_from_spec(_found))
