# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two million nasty lines, 250 000 of every format, against the plain reference."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.reference import log_judge, nasty_logs

#: 9 formats × 25 logs × 10 000 lines.
LINES = 10_000


@pytest.mark.parametrize("form", sorted(nasty_logs.MAKERS))
@pytest.mark.parametrize("seed", range(25))
def test_a_million_nasty_lines(tmp_path: Path, form: str, seed: int) -> None:
    data = nasty_logs.nasty_log(form, 1000 + seed, LINES, (0.3, 0.7, 0.95, 0.995, 0.9)[seed % 5])
    block = (262144, 4096, 65536, 1000)[seed % 4]
    log_judge.compare(form, data, tmp_path / "log", seed % 3 == 0, block, (0, 2)[seed % 2], (1 << 24, 50_000)[seed % 2])
