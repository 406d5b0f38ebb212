# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module backup_verify from options to result."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("ansible.module_utils.testing")
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opsrunner.runbook.plugins.modules import backup_verify


def run(capsys, **options):
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        backup_verify.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_call_returns_findings_and_what_was_verified(capsys, tmp_path):
    (tmp_path / "db.sql").write_text("CREATE TABLE a (id int);\n")
    backups = [{"name": "db", "root": str(tmp_path), "kind": "file", "pattern": "*.sql", "verify": {"3": "7d"}}]
    code, result = run(capsys, backups=backups)
    assert (code, result["changed"]) == (0, True)
    assert [(found["check"], found["status"], found["value"]) for found in result["findings"]] == [("backup.db.rung", "ok", 3)]
    assert [(one["set"], one["asked"], one["rung"], one["problem"]) for one in result["verified"]] == [("db.sql", 3, 3, None)]
    code, result = run(capsys, backups=backups)
    assert (code, result["changed"]) == (0, False)
    code, result = run(capsys, backups=backups, rung=3, _ansible_check_mode=True)
    assert (result["changed"], result["findings"][0]["message"]) == (True, "backup_verify.would")


def test_a_bad_option_fails_with_its_path(capsys):
    code, result = run(capsys, backups=[{"name": "db", "root": "/b"}], rung=7)
    assert code == 1
    assert result["msg"].startswith("rung: 7 is none of the rungs")
