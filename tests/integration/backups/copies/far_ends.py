# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets to copy."""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact

STARTED = 1_767_000_000.0


def make_set(root: Path, at: float, sizes: tuple[int, ...] = (300_000, 0, 20)) -> Path:
    """A whole set as making lays it down, its content from its time."""
    folder = root / time.strftime(set_names.NAME_FORMAT, time.gmtime(at))
    folder.mkdir(parents=True, mode=0o700)
    artifacts = []
    for number, size in enumerate(sizes):
        data = random.Random(f"{at}{number}").randbytes(size)
        (folder / f"part {number}'s.bin").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        artifacts.append(Artifact("files", f"part {number}'s.bin", size, digest, "tar", at, at))
    manifest = backup_manifest.Manifest("shop", at, at, tuple(artifacts))
    (folder / backup_manifest.MANIFEST).write_text(backup_manifest.to_json(manifest))
    return folder
