# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups are scheduled by data alone, as the role's README shows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import yaml

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from opsrunner.commands import schedule
from opsrunner.find import runbooks, systems

README = Path(__file__).resolve().parents[4] / "roles/backup/README.md"
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)]


def test_the_readmes_calendar_starts_the_runbook_with_its_confirmation(tmp_path):
    """The unit's words are the command with what the inventory says, quoted as systemd reads it."""
    file = tmp_path / "shop/group_vars/all/calendar.yml"
    file.parent.mkdir(parents=True)
    (calendar,) = [example for example in EXAMPLES if "runbook_calendar" in example]
    file.write_text(yaml.safe_dump(calendar))
    (entry,) = schedule.from_inventory(systems.System("shop", tmp_path / "shop"))
    assert entry.runbook in runbooks.find()
    texts = {name: text.decode() for name, text in schedule.units(entry).items()}
    assert "OnCalendar=*-*-* 02:15:00" in texts["opsrunner-shop-backup.timer"].splitlines()
    (start,) = [line for line in texts["opsrunner-shop-backup.service"].splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(start.partition("=")[2])
    assert words[words.index("backup") :][:2] == ["backup", "-i"]
    assert json.loads(words[words.index("-e") + 1]) == {"confirm": ["backup_prune"]}


def test_the_readmes_backups_are_valid():
    """With their artifacts and limits."""
    (example,) = [example for example in EXAMPLES if "runbook_backups" in example]
    (backup,) = backup_options.parse(example["runbook_backups"])
    assert [plan.engine for plan in backup.plan.artifacts] == ["files", "postgresql"]
    assert backup.plan.keep == {"daily": 7, "weekly": 4, "monthly": 12}
