# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os

import pytest

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import check as check_action
from opsrunner.cli import main as cli
from opsrunner.commands import imports as importing
from opsrunner.errors import RefusalError
from opsrunner.find.collection import findings, runs


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A finished run of another controller."""
    monkeypatch.setenv("OPSRUNNER_STATE", str(tmp_path / "there"))
    monkeypatch.delenv("OPSRUNNER_RUN", raising=False)
    run = runs.create("daily", "shop", os.getpid())
    text = findings.message("host.unreachable", reason="no route")
    run.append([check_action.complete_finding(findings.finding("host.reachable", "reachable", "critical", text), "web1", set())])
    made = run.finish()
    monkeypatch.setenv("OPSRUNNER_STATE", str(tmp_path / "here"))
    return made


@pytest.mark.parametrize("wrap", [lambda r: r, lambda r: {"opsrunner_run": r}, lambda r: {"id": 7, "artifacts": {"opsrunner_run": r}}])
def test_a_record_is_kept_with_its_reports_and_can_be_shown(record, wrap, tmp_path, capsys):
    (tmp_path / "job.json").write_text(json.dumps(wrap(record)))
    assert cli.main(["import", str(tmp_path / "job.json")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "here" / "runs" / record["id"] / "report.html")
    assert cli.main(["show", "last"]) == 0
    assert "no route" in capsys.readouterr().out


def test_what_was_not_sent_is_told(record, tmp_path):
    record["counts"]["ok"] = 30
    kept = importing.read(json.dumps(record))
    assert kept["notes"] == [findings.message("run.imported", count=30)]


def test_a_run_is_kept_once(record):
    importing.keep(importing.read(json.dumps(record)))
    with pytest.raises(RefusalError, match="is kept here already"):
        importing.keep(importing.read(json.dumps(record)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 9}, "no run record of schema"),
        ({"id": "../../etc"}, "id: '../../etc' is no run's id"),
        ({"findings": None}, "findings: is missing"),
        ({"findings": [{"host": "a"}]}, r"findings\[0\]: has no host or no check"),
        ({"findings": [{"host": "a", "check": "b", "status": "bad"}]}, r"findings\[0\].status: 'bad'"),
        ({"started_at": "now"}, "started_at"),
        ({"status": "fine"}, "status: 'fine'"),
    ],
)
def test_what_is_no_record_is_refused_and_nothing_is_kept(record, change, told, tmp_path):
    with pytest.raises(RefusalError, match=told):
        importing.keep(importing.read(json.dumps({**record, **change})))
    assert not (tmp_path / "here").exists()
