# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daily roles found on healthy hosts, and that they left nothing behind there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def runs() -> list[dict[str, Any]]:
    """The records, oldest first."""
    folders = sorted((Path(os.environ["OPSRUNNER_STATE"]) / "runs").iterdir())
    return [json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in folders]


def test_every_check_was_made_and_nothing_is_wrong(host: Any) -> None:
    name = host.backend.get_hostname()
    found = {item["check"]: item["status"] for item in runs()[-1]["findings"] if item["host"] == name}
    assert {check for check, status in found.items() if status != "ok"} <= {"swap"}
    wanted = {"host.reachable", "cpu", "memory", "disk./"}
    own = {
        "mol-app": {"unit.app", "http.health", "port.9999", "tls.certificate", "file.settings", "connections.9999", "backup.daily.age"},
        "mol-batch": {"unit.batch", "tcp.store", "http.search", "backup.dumps.age"},
    }
    assert (wanted | own[name]) - set(found) == set()


def test_each_run_has_a_complete_record_and_its_reports(host: Any) -> None:
    kept = runs()
    assert len(kept) == 2  # converge and idempotence
    assert [(run["state"], run["runbook"], run["system"]) for run in kept] == [("complete", "daily", "shop")] * 2
    folder = Path(os.environ["OPSRUNNER_STATE"]) / "runs" / kept[-1]["id"]
    assert {"report.html", "report.md"} <= {path.name for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o077 == 0


def test_nothing_is_left_on_the_host(host: Any) -> None:
    left = host.check_output("find /tmp /var/tmp /root/.ansible -xdev -type f 2>/dev/null || true").split()
    assert left == []


def test_the_units_run_as_before(host: Any) -> None:
    unit = {"mol-app": "logcaster", "mol-batch": "batch-candidate-generation.timer"}[host.backend.get_hostname()]
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled
