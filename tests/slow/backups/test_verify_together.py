# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets are verified and drilled by several runs while others are made and removed: nothing is told that is not so."""

from __future__ import annotations

import json
import os
import random
import time

from opsrunner.find.collection import backup_ledger, backup_make, backup_options, backup_sets, backup_verify, restore_drill
from opsrunner.selftest import backup as selftest_backup

SECONDS = 60


def _judge(options, drill: bool, end: float) -> list[str]:
    """What was told that is not ok."""
    bad = []
    while time.monotonic() < end:
        if drill:
            findings = restore_drill.run(restore_drill.parse({"backups": [options]}))[0].findings
        else:
            findings = backup_verify.run(backup_verify.parse({"backups": [options], "sets": ["all"], "rung": 3})).findings
        bad += [json.dumps(found) for found in findings if found["status"] != "ok"]
    return bad


def test_who_verifies_and_who_makes_and_removes_do_not_hinder_each_other(tmp_path):
    from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import (
        prune as backup_prune,  # found when the command's own parts are
    )

    backup = selftest_backup.make_backup(tmp_path / "made", random.Random(1), count=4)
    options = {**backup.options, "keep": {"last": 3}}
    end = time.monotonic() + SECONDS
    children = []
    for number in range(3):
        child = os.fork()
        if not child:
            status = 1
            try:
                bad = _judge(options, number == 2, end)
                (tmp_path / f"bad-{number}").write_text("\n".join(bad))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    made = 0
    while time.monotonic() < end:
        made += backup_make.run(backup_options.parse([options]), "selftest").made[0].set is not None
        backup_prune.run(backup_prune.parse({"backups": [options], "confirm": ["backup_prune"]}))
        time.sleep(1)
    assert [os.WEXITSTATUS(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    # A drill chooses a set, and it may be gone before it is opened.
    told = [line for number in range(3) for line in (tmp_path / f"bad-{number}").read_text().splitlines() if "went away" not in line]
    assert told == []
    assert made > 5
    assert backup_ledger.read(options["root"]).broken is None
    assert all(one.sound for one in backup_sets.listed(options["root"]))
    assert os.listdir(tmp_path / "made" / "scratch") == []
