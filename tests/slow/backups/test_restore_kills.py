# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores killed at many more random moments than in the integration tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_restores_killed_at_hundreds_of_moments():
    """Undone, and resumed."""
    environment = {**os.environ, "OPSRUNNER_KILLS": "200"}
    tests = str(ROOT / "tests/integration/backups/restore/test_restore_kill.py")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-k", "random_moments", tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
