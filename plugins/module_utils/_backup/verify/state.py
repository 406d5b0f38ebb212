# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what was proved of other tools' backups: ``.opsrunner-verified.json`` in their root."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable

from .. import manifest as backup_manifest
from ..manifest import Rung
from ..status import scan as backup_scan

STATE = ".opsrunner-verified.json"


def looks(path: str, folder: bool) -> List[int]:
    """What changes when a backup does: its size and its last change. Raises OSError."""
    if not folder:
        told = os.stat(path)
        return [told.st_size, int(told.st_mtime)]
    counted = backup_scan.contents(path, time.monotonic() + 60)
    return [counted.size, int(counted.latest)]


class State:
    """What was proved of another tool's backups."""

    def __init__(self, root: str) -> None:
        self.path = os.path.join(root, STATE)
        self.files: Dict[str, Dict[str, Any]] = {}
        import json

        try:
            told = json.loads(backup_manifest.read_file(self.path).decode("utf-8"))
            self.files = {name: item for name, item in told["files"].items() if isinstance(item["looks"], list) and self._rungs(item)}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, backup_manifest.ManifestError):
            self.files = {}  # it is written anew

    @staticmethod
    def _rungs(item: Mapping[str, Any]) -> List[Rung]:
        return [Rung(int(rung["rung"]), times.parse_time(rung["at"])) for rung in item["rungs"]] or [Rung(0, 0.0)]

    def of(self, name: str, looks: List[int]) -> Tuple[List[Rung], Optional[str]]:
        """What a backup has passed as it is now, and why it failed the last time, if it did."""
        item = self.files.get(name)
        if not item or item["looks"] != looks:
            return [], None
        failed = item.get("failed")
        why = "rung %s was not passed: %s" % (failed.get("rung"), failed.get("reason")) if isinstance(failed, dict) else None
        return self._rungs(item), why

    def proved(self, one: backup_scan.Candidate, rung: int) -> bool:
        """Whether a backup, as it is now, has passed a rung and did not fail since."""
        try:
            rungs, failed = self.of(one.name, looks(one.path, one.folder))
        except OSError:
            return False
        return failed is None and any(passed.rung >= rung for passed in rungs)

    def sound(self) -> List[Tuple[int, float, str]]:
        """Rung, time and name of what was proved and did not fail since."""
        return [(rung.rung, rung.at, name) for name, item in self.files.items() if not item.get("failed") for rung in self._rungs(item)]

    def everything(self, but: str) -> List[Rung]:
        """What all others have passed."""
        return [rung for name, item in self.files.items() if name != but for rung in self._rungs(item)]

    def put(self, name: str, looks: List[int], rung: int, failed: Optional[Tuple[int, str]], now: float) -> None:
        """Keep what a backup reached. ``failed``: the rung it failed at, and why.

        As long as the backup is the same one, higher rungs that it passed before stay when it did not fail, and a failure stays until
        its rung is passed.
        """
        at = times.format_time(now)
        item: Dict[str, Any] = {"looks": looks, "rungs": [{"rung": number, "at": at} for number in range(1, rung + 1)]}
        before = self.files.get(name, {})
        if failed:
            item["failed"] = {"rung": failed[0], "at": at, "reason": failed[1]}
        elif before.get("looks") == looks:
            item["rungs"] += [told for told in before["rungs"] if told["rung"] > rung]
            known = before.get("failed")
            if isinstance(known, dict) and not (isinstance(known.get("rung"), int) and known["rung"] <= rung):
                item["failed"] = known
        self.files[name] = item

    def write(self, there: Sequence[str]) -> None:
        """Write it down, of the backups that are still there. Raises OSError."""
        import json

        told = {"schema": 1, "files": {name: self.files[name] for name in sorted(self.files) if name in set(there)}}
        durable.write_synced(self.path, (json.dumps(told, ensure_ascii=True, indent=1) + "\n").encode("ascii"))
