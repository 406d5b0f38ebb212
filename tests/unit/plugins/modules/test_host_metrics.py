# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module host_metrics from options to result, and its action plugin's part."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("ansible.module_utils.testing")
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opsrunner.runbook.plugins.modules import host_metrics


def run(capsys, **options):
    import json

    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        host_metrics.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_call_returns_findings_and_metrics(capsys):
    code, result = run(capsys, interval=0.1, ports=[1], source="proc")
    assert code == 0
    assert not result["changed"]
    checks = [found["check"] for found in result["findings"]]
    assert {"cpu", "load", "memory", "swap", "disk./", "connections.1", "oom", "core_dumps"} <= set(checks)
    assert len(checks) == len(set(checks))
    assert result["metrics"]["source"] == "proc"


def test_a_bad_option_fails_with_its_path(capsys):
    code, result = run(capsys, limits={"cpuu": {}})
    assert code == 1
    assert result["msg"].startswith("limits.cpuu: unknown limit 'cpuu' (did you mean cpu?)")


def test_without_psutil_proc_is_read(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    _code, result = run(capsys, interval=0.1)
    assert result["metrics"]["source"] == "proc"


def test_psutil_that_was_asked_for_and_is_not_there_is_told(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    code, result = run(capsys, source="psutil")
    assert code == 1
    assert result["msg"].startswith("source: psutil cannot be imported")
