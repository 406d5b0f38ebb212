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


FINDING = {
    "host": "web1",
    "check": "disk./",
    "kind": "disk",
    "status": "critical",
    "message": "host.unreachable",
    "params": {"reason": "r"},
}


def crafted(**change):
    """A record with one finding that was changed."""
    return {"findings": [{**FINDING, **change}]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 9}, "no run record of schema"),
        ({"id": "../../etc"}, "id: '../../etc' is no run's id"),
        ({"id": "20261201T000000Z-a-b-0000\n"}, "is no run's id"),
        ({"started_at": "now"}, "started_at"),
        ({"started_at": 10**400}, "started_at"),
        ({"started_at": True}, "started_at"),
        ({"seconds": "3"}, "seconds"),
        ({"status": "fine"}, "status: 'fine'"),
        ({"state": "fine"}, "state: must be one of"),
        ({"counts": "all"}, "counts: must be a mapping"),
        ({"counts": ["ok"]}, "counts: must be a mapping"),
        ({"counts": {"ok": "1"}}, "counts: must be whole numbers"),
        ({"counts": {"ok": -1, "critical": 1}}, "counts: must be whole numbers"),
        ({"counts": {"fine": 1}}, "counts: must be whole numbers"),
        ({"counts": {"ok": 1000000}, "status": "ok"}, "counts.critical: is 0, but 1 findings have this status"),
        ({"counts": {"ok": 9, "critical": 1}, "status": "ok"}, "status: is ok, but by the counts it is critical"),
        ({"hosts": [1, 2]}, "hosts: must be a mapping"),
        ({"who": 7}, "who: must be a mapping"),
        ({"notes": 7}, "notes: must be a list"),
        ({"title": ["x"]}, "title: must be a text"),
        ({"arguments": "x"}, "arguments: must be a mapping"),
        ({"findings": None}, "findings: is missing"),
        ({"findings": [7]}, r"findings\[0\].a finding must be a mapping"),
        ({"findings": [FINDING, FINDING], "counts": None}, "is there more than once"),
        (crafted(host=None), r"findings\[0\].host"),
        (crafted(check="a\nb"), r"findings\[0\].check"),
        (crafted(status="bad"), r"findings\[0\].status"),
        (crafted(kind=None), r"findings\[0\].kind"),
        (crafted(value=10**400), r"findings\[0\].value"),
        (crafted(value=float("nan")), r"findings\[0\].value: must be a finite number"),
        (crafted(value="9"), r"findings\[0\].value: must be a number"),
        (crafted(duration_ms="soon"), r"findings\[0\].duration_ms"),
        (crafted(evidence=["x"]), r"findings\[0\].evidence"),
        (crafted(evidence={"a": 10**400}), r"findings\[0\].evidence"),
        (crafted(params=["x"]), r"findings\[0\].params"),
        (crafted(params={"0.__class__": 1}), r"findings\[0\].params"),
        (crafted(message={"x": 1}), r"findings\[0\].message"),
        (crafted(unit="furlong"), r"findings\[0\].unit"),
        (crafted(evidence={"a": "x" * 19_000, "b": ["y" * 19_000] * 20}), r"findings\[0\].evidence: is too large"),
    ],
)
def test_what_is_no_record_is_refused_and_nothing_is_kept(record, change, told, tmp_path):
    with pytest.raises(RefusalError, match=told):
        importing.keep(importing.read(json.dumps({**record, **change})))
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("text", ["[" * 200_000, '{"schema": 1, "id": ' + "[" * 5000, "x", "\ud800"])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(RefusalError, match="this is not JSON"):
        importing.read(text)


@pytest.mark.parametrize(
    "change",
    [
        {"title": "\x1b]0;x\x07<script>alert(1)</script>"},
        {"notes": [{"message": "run.imported", "params": {"language": "ko", "identifier": "x"}}, {"message": 7}, 8]},
        crafted(evidence={"a": {"message": "host.reachable", "params": {"language": "x", "identifier": "y"}}}),
        crafted(params={"language": "x", "identifier": "y"}),
        crafted(evidence={"a": {"message": "host.unreachable", "params": "x"}}),
        crafted(evidence={"a": {"b": {"c": [1, 2, {"d": None}]}}}),
        {"task_stats": {"web1": "x"}},
    ],
)
def test_an_odd_record_that_is_kept_can_be_shown(record, change, capsys):
    run = importing.keep(importing.read(json.dumps({**record, **change})))
    assert cli.main(["show", "last"]) == 0
    assert cli.main(["history", "--json"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert (run.path / "report.html").exists()
