# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts about backups whose ids are put together."""

from __future__ import annotations

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import retention as backup_retention
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import message
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue


def test_every_reason_to_keep_or_remove_a_set_has_its_words():
    ids = ["backup.keep." + reason for reason in (*backup_retention.REASONS, "half_removed")]
    assert [name for name in ids if name not in catalogue.entries()] == []


def test_every_kind_of_count_has_its_words():
    assert ["backup.counted." + kind for kind in backup_make._COUNTED if "backup.counted." + kind not in catalogue.entries()] == []


def test_a_set_that_was_made_is_told_with_what_is_in_it():
    what = [message("backup.counted.rows", count=12345), message("backup.counted.bytes", count=1 << 20)]
    text = message("backup.made.ok", name="shop", set="20260131T021500Z", size=2048, seconds=61.5, what=what)
    assert catalogue.tell(text) == "shop: set 20260131T021500Z made, 2 KiB in 1 min 2 s (12,345 rows, 1 MiB of data)"


def test_each_text_of_the_making_and_pruning_names_the_backup():
    texts = {name: texts for name, texts in catalogue.entries().items() if name.startswith(("backup.made.", "backup.prune."))}
    assert len(texts) > 20
    assert [name for name, told in texts.items() if not name.endswith(".remedy") and not told["en"].startswith("{name}: ")] == []
