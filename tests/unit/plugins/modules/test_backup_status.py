# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module backup_status from options to result."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("ansible.module_utils.testing")
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opsrunner.runbook.plugins.modules import backup_status


def run(capsys, **options):
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        backup_status.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_call_returns_findings_and_data(capsys, tmp_path):
    (tmp_path / "db.sql").write_text("CREATE TABLE")
    backups = [{"name": "db", "root": str(tmp_path), "kind": "file", "pattern": "*.sql"}, {"name": "none", "root": str(tmp_path / "x")}]
    code, result = run(capsys, backups=backups)
    assert code == 0
    assert {found["check"]: found["status"] for found in result["findings"]} == {
        "backup.db.age": "ok",
        "backup.db.size": "ok",
        "backup.db.complete": "ok",
        "backup.none.age": "critical",
    }
    assert result["backups"]["db"]["newest"]["size"] == 12


def test_a_bad_option_fails_with_its_path(capsys):
    code, result = run(capsys, backups=[{"name": "db", "root": "/b", "max_age": {"warning": "soon"}}])
    assert code == 1
    assert result["msg"].startswith("backups[0].max_age.warning: 'soon' is not a duration")
