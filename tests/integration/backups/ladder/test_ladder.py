# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of real servers up the ladder: sound ones to its top, damaged ones to where it was promised."""

from __future__ import annotations

import os

import pytest

from opsrunner.find.collection import backup_ledger, restore_drill
from opsrunner.selftest import backup as selftest_backup

#: Each with so many seeds; what takes two artifacts is tried with files and databases in the unit tests.
EACH = 2
DAMAGES = [damage for damage in selftest_backup.DAMAGES if damage.name != "two artifacts swapped"]


def test_a_sound_set_passes_every_rung(backup, tmp_path):
    for rung in range(1, 6):
        for name in backup.sets:
            verdict = selftest_backup.verify(backup.options, rung, name)
            assert verdict.status == "ok", (rung, verdict)
    assert selftest_backup.try_sealed(backup, 0, tmp_path).status == "ok"


def test_a_drill_measures_and_leaves_nothing(backup, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    tmp_path.chmod(0o755)
    for above in tmp_path.parents:  # a server of a drill runs as another user
        if above.owner() == tmp_path.owner() and above.name.startswith(("pytest-", "popen-")):
            above.chmod(0o755)
    options = {**backup.options, "drill": {"scratch": str(scratch), "rto": "5m", "rpo": "1h"}}
    result = restore_drill.run(restore_drill.parse({"backups": [options]}))[0]
    assert {found["check"]: found["status"] for found in result.findings} == {
        "backup.selftest.drill": "ok",
        "backup.selftest.rto": "ok",
        "backup.selftest.rpo": "ok",
    }, result.findings
    assert result.rung == 5
    assert os.listdir(scratch) == []
    line = backup_ledger.read(str(backup.root)).entries[-1]
    assert (line["what"], line["passed"], line["rto"]) == ("drilled", True, result.rto)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_damage_is_found_at_its_rung(backup, damage, tmp_path):
    tried = 0
    for seed in range(EACH):
        verdict = selftest_backup.try_damage(backup, damage, seed, tmp_path)
        if verdict:
            tried += 1
            assert selftest_backup.is_caught(damage, verdict), (seed, verdict)
    assert tried
