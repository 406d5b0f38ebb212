# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``log_stats`` on a journal that a real journald wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/lib/systemd/systemd-journald").exists() or shutil.which("unshare") is None,
    reason="needs root, journald and unshare",
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    argv = ["unshare", "--mount", sys.executable, str(Path(__file__).with_name("journal.py")), str(tmp_path_factory.mktemp("state"))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [{name.replace("log.shop.", ""): item for name, item in answer["findings"].items()} for answer in json.loads(done.stdout)]


def test_entries_of_the_unit_are_read_with_level_time_and_text(answers: list[dict[str, Any]]) -> None:
    first = answers[0]
    assert (first["source"]["status"], first["source"]["value"]) == ("ok", 23)
    assert first["source"]["evidence"]["log_formats"] == ["journal"]
    assert first["unparsed"]["value"] == 0
    assert first["errors"]["evidence"]["log_levels"] == ["INFO: 15", "ERROR: 5", "WARNING: 2", "CRITICAL: 1"]
    assert first["errors"]["evidence"]["log_signatures"] == ["5 × card <n> refused", "1 × no text \ufffd\ufffd"]
    newest = first["errors"]["evidence"]["log_newest"]
    assert "CRITICAL no text \ufffd\ufffd [" in newest[0]
    assert "ERROR card 16 refused [" in newest[1]


def test_patterns_are_searched_in_messages(answers: list[dict[str, Any]]) -> None:
    paid = answers[0]["count.paid"]
    assert (paid["value"], paid["evidence"]["log_line"]) == (16, "Traceback\n" + "  at line\n" * 49)
    assert (paid["evidence"]["log_min"], paid["evidence"]["log_mean"], paid["evidence"]["log_max"]) == (1.0, 15.5625, 99.0)


def test_the_cursor_gives_each_entry_once(answers: list[dict[str, Any]]) -> None:
    assert [answer["source"]["value"] for answer in answers] == [23, 7, 0, 30]
    assert [answer["errors"]["value"] for answer in answers] == [6, 7, 0, 13]
