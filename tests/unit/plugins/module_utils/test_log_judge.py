# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of ``log_stats`` against the plain reference, on nasty lines, for every block size, split and number of processes."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[4]))
from tests.reference import log_judge, nasty_logs

FORMS = ("json", "combined", "common", "batch")


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**9),
    plain=st.sampled_from((0.2, 0.7, 0.95)),
    window=st.booleans(),
    block=st.sampled_from((64, 500, 4096, 262144)),
    range_size=st.sampled_from((100, 3000, 1 << 24)),
    max_line=st.sampled_from((600, 1 << 20)),
)
def test_every_figure_is_that_of_the_reference(
    tmp_path: Path, form: str, seed: int, plain: float, window: bool, block: int, range_size: int, max_line: int
) -> None:
    data = nasty_logs.nasty_log(form, seed, 120, plain)
    log_judge.compare(form, data, tmp_path / "log", window, min(block, max_line), 0, range_size, max_line)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("workers", [1, 3])
def test_figures_do_not_depend_on_the_number_of_processes(tmp_path: Path, form: str, workers: int) -> None:
    data = nasty_logs.nasty_log(form, 7, 3000, 0.9)
    log_judge.compare(form, data, tmp_path / "log", False, 4096, workers, 20000)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=st.lists(st.binary(max_size=60) | st.sampled_from([b'{"level":"ERROR","ms":1}', b'{"ms":2}', b"{}"]), max_size=25),
    last=st.booleans(),
)
def test_any_bytes_at_all_are_counted_as_the_reference_counts_them(tmp_path: Path, lines: list[bytes], last: bool) -> None:
    log_judge.compare("json", b"\n".join(lines) + (b"\n" if last else b""), tmp_path / "log", False, 64, 0, 50)


def test_lines_of_ten_megabytes_are_counted_and_shown_in_their_beginning(tmp_path: Path) -> None:
    r = random.Random(1)
    lines = [nasty_logs.json_line(r, 1.0).encode() for _ in range(50)]
    lines[20] = b'{"level": "ERROR", "message": "' + b"x" * 10_000_000 + b'"}'
    log_judge.compare("json", b"\n".join(lines) + b"\n", tmp_path / "log", False, 262144, 0, 100000)
