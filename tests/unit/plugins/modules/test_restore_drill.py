# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module restore_drill from options to result."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("ansible.module_utils.testing")
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opsrunner.runbook.plugins.modules import restore_drill


def run(capsys, **options):
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        restore_drill.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_backup_without_a_set_is_told(capsys, tmp_path):
    (tmp_path / "sets").mkdir()
    code, result = run(capsys, backups=[{"name": "app", "root": str(tmp_path / "sets"), "drill": {"scratch": str(tmp_path / "scratch")}}])
    assert (code, result["changed"]) == (0, False)
    assert [(found["check"], found["status"]) for found in result["findings"]] == [("backup.app.drill", "critical")]
    assert result["drills"] == [{"backup": "app", "set": None, "rung": 0, "rto": None, "rpo": None, "counts": {}}]


def test_a_bad_option_fails_with_its_path(capsys):
    code, result = run(capsys, backups=[{"name": "app", "root": "/b", "drill": {"scratch": "/b/scratch"}}])
    assert code == 1
    assert result["msg"].startswith("backups[0].drill.scratch: /b/scratch is in /b")
