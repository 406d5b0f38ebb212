# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exactly what was broken is found."""

from __future__ import annotations

import json
import os
from pathlib import Path

testinfra_hosts = ["local://"]


def test_exactly_what_was_broken_is_found() -> None:
    newest = max((Path(os.environ["OPSRUNNER_STATE"]) / "runs").iterdir())
    record = json.loads((newest / "run.json").read_text(encoding="utf-8"))
    bad = {
        (item["host"], item["check"]): item["status"] for item in record["findings"] if item["status"] != "ok" and item["check"] != "swap"
    }
    assert bad == {
        ("mol-app", "unit.app"): "critical",
        ("mol-app", "file.settings"): "critical",
        ("mol-app", "backup.daily.age"): "critical",
        ("mol-batch", "host.reachable"): "critical",
    }
    assert record["state"] == "complete"
    assert record["status"] == "critical"


def test_the_report_names_the_worst_and_what_to_do() -> None:
    newest = max((Path(os.environ["OPSRUNNER_STATE"]) / "runs").iterdir())
    text = (newest / "report.md").read_text(encoding="utf-8")
    assert "logcaster-stream" in text
    assert "mol-batch" in text
