# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What killed runs have left open: a service that a backup holds, a restore in the middle."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Optional

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import message

if TYPE_CHECKING:
    from .run import Judge


def judge_held(judged: Judge) -> None:
    """What killed runs hold, a service that stands still say, until the next run lets it go. Nothing where that may not be read."""
    from .. import partial as backup_left
    from .. import sets as backup_sets

    try:
        folder = backup_sets.open_root(judged.backup.root)
    except backup_sets.BackupError:  # it is told where the root is looked at
        return
    try:
        with contextlib.suppress(OSError):
            for name in backup_left.partials(folder):
                artifacts = [] if backup_left.lives(folder, name) else backup_left.held(folder, name)
                if artifacts:
                    judged.add("held", "critical", judged.text("held", partial=name, artifacts=artifacts))
                    return
    finally:
        os.close(folder)


def judge_restore(judged: Judge, folder: Optional[str]) -> None:
    """A restore that was interrupted and that nobody works on: its data is in the middle of a swap, its services may be down."""
    from .. import journal

    folder, name = folder or journal.FOLDER, judged.backup.name
    try:
        state = journal.read(folder, name)
        if state is None or not state.interrupted or journal.is_held(folder, name):
            return
    except journal.JournalError as error:
        judged.add("restore", "unknown", judged.text("restore.unread", reason=str(error)))
        return
    phase = message("backup.restore.phase." + state.phase)
    text = judged.text("restore.interrupted", set=state.set, phase=phase, ways=state.ways)
    judged.add("restore", "critical", text, {"backup_root": judged.backup.root})
