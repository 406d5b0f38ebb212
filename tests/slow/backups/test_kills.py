# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kills of the integration tests at many more random moments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_runs_killed_at_a_thousand_moments():
    """Of making, also with a service that stands still meanwhile, and of pruning."""
    environment = {**os.environ, "OPSRUNNER_KILLS": "1000"}
    tests = [str(ROOT / "tests/integration/backups/core" / name) for name in ("test_kill.py", "test_held.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-k", "random_moments", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
