# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove old sets at copies that have ``keep``, by the rules of backup_prune, and tell of each why it stays or goes.

A set at the far end goes only when it is known to be this backup's own: its manifest there has the sum that the ledger here has
for a set of that name. What was proved of it is what the ledger tells. The order is: it is made no set, written down, removed;
what a killed run has left is finished by the next one, as are copies that were cut of sets that are not here any more.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names

from .. import disk as backup_disk
from .. import ledger as backup_ledger
from .. import prune as backup_prune
from .. import retention as backup_retention
from .. import sets as backup_sets
from ..ledger import Ledger
from ..options import Backup
from ..plan import Copy
from ..prune import Judged, Pruned
from ..sets import BackupError
from . import run as backup_copy
from .store import CopyError, Store

#: Name of the step that removes; nothing goes unless it is confirmed.
STEP = "backup_copy_prune"


class Known(NamedTuple):
    """What the ledger tells of this backup's own sets. ``manifests``: their manifests' sums; ``rungs``: the highest that each has
    passed; ``sizes``: bytes that each took at the copy; ``removed``: those that were removed there."""

    manifests: Dict[str, str]
    rungs: Dict[str, int]
    sizes: Dict[str, int]
    removed: Set[str]


def run(
    backups: Sequence[Backup],
    store: Callable[[Backup, Copy], Store],
    confirmed: bool,
    check_mode: bool = False,
    clock: Callable[[], float] = time.time,
) -> List[Pruned]:
    """Remove what may go at each copy that has ``keep``, or only look: in check mode, and when it is not confirmed."""
    return [
        _Pruning(backup, copy, confirmed, check_mode, clock).run(store) for backup in backups for copy in backup.plan.copies if copy.keep
    ]


def known(ledger: Ledger, copy: str) -> Known:
    """Read the ledger for a copy."""
    names = {entry["set"] for entry in ledger.entries}
    found = Known({}, {}, {}, set())
    for name in names:
        digest = backup_ledger.manifest_sha256(ledger, name)
        if digest:
            found.manifests[name] = digest
    for entry in ledger.entries:
        name, what, rung, size = entry["set"], entry["what"], entry.get("rung"), entry.get("bytes")
        if what in ("verified", "drilled") and isinstance(rung, int):
            found.rungs[name] = max(rung, found.rungs.get(name, 0))
        elif what == "copied" and entry.get("copy") == copy:
            found.removed.discard(name)
            found.sizes[name] = size if isinstance(size, int) else 0
        elif what == "unkept" and entry.get("copy") == copy:
            found.removed.add(name)
    return found


def judge(backup: Backup, copy: Copy, held: Dict[str, str], leftovers: Sequence[str], ledger: Ledger, now: float) -> List[Judged]:
    """What is to become of each set at a copy, newest first; what is half there comes last.

    ``held``: the sets there with the sums of their manifests; ``leftovers``: names of what is no set there.
    """
    told = known(ledger, copy.name)
    # A set whose content was found wrong here is as it was at the copy, which had it summed; one that could not be read is no set.
    failed = {name for name, rung in backup_ledger.failed_rungs(ledger).items() if rung > 2}
    own = [name for name, digest in held.items() if told.manifests.get(name) == digest]
    sets = [backup_retention.Held(name, set_names.name_time(name) or 0.0, name not in failed, told.rungs.get(name, 0)) for name in own]
    decided = {one.name: one for one in backup_retention.decide(sets, copy.keep, now, backup.verified_rung)}
    judged = []
    for name in sorted(held, reverse=True):
        one = decided.get(name)
        action, reasons = ("keep", ("foreign",)) if one is None else ("keep" if one.keep else "remove", one.reasons)
        judged.append(Judged(name, "%s:%s" % (copy.name, name), told.sizes.get(name, 0), action, reasons))
    # What was cut of a set that is still here is gone on with; of an unknown one nobody here knows whose it is.
    half = [name for name in sorted(leftovers, reverse=True) if name not in held and name in told.manifests]
    half = [name for name in half if name in told.removed or not os.path.lexists(os.path.join(backup.root, name))]
    return judged + [Judged(name, "%s:%s" % (copy.name, name), 0, "finish", ("half_removed",)) for name in half]


class _Pruning:
    """One copy of a backup."""

    def __init__(self, backup: Backup, copy: Copy, confirmed: bool, check_mode: bool, clock: Callable[[], float]) -> None:
        self.backup, self.copy, self.clock = backup, copy, clock
        self.check_mode, self.confirmed = check_mode, confirmed
        self.judged: List[Judged] = []
        self.failures: List[str] = []

    def run(self, store: Callable[[Backup, Copy], Store]) -> Pruned:
        """Look and remove."""
        started = time.monotonic()
        problem: Optional[str] = None
        try:
            backup_disk.check(self.backup)
            if self.check_mode or not self.confirmed:
                self._look(store(self.backup, self.copy))
            else:
                purpose = "the pruning of %s at %s" % (self.backup.name, self.copy.name)
                with backup_sets.locked(self.backup.root, purpose, lock=backup_sets.COPYING):
                    far = store(self.backup, self.copy)
                    self._look(far)
                    self._remove(far)
        except (CopyError, BackupError) as error:
            problem = str(error)
        except OSError as error:
            problem = backup_copy.reason_of(error)
        gone = sum(one.action != "keep" for one in self.judged)
        changed = any(one.done for one in self.judged) or (self.check_mode and self.confirmed and gone > 0)
        return Pruned(self.backup.name, self.judged, self._won(), changed, self._told(problem, time.monotonic() - started))

    def _look(self, far: Store) -> None:
        ledger = backup_ledger.read(self.backup.root)
        if ledger.broken is not None:
            raise BackupError("failed", "the ledger does not hold from line %d on: it does not tell which sets are ours" % ledger.broken)
        self.judged = judge(self.backup, self.copy, far.held(), far.leftovers(), ledger, self.clock())

    def _remove(self, far: Store) -> None:
        """The oldest first: who is killed has removed what was needed least."""
        told = known(backup_ledger.read(self.backup.root), self.copy.name)
        for at in range(len(self.judged) - 1, -1, -1):
            one = self.judged[at]
            if one.action == "keep":
                continue
            try:
                if one.action == "remove":
                    far.remove(one.name, told.manifests[one.name])
                    self._write_down(one)
                far.discard(one.name)
                self.judged[at] = one._replace(done=True)
            except (CopyError, BackupError) as error:
                self.failures.append("%s: %s" % (one.name, error))
                if isinstance(error, CopyError) and error.code == "unreachable":
                    return
        try:
            far.tidy()
        except CopyError as error:
            self.failures.append(str(error))

    def _write_down(self, one: Judged) -> None:
        at = self.clock()
        data = {"copy": self.copy.name, "bytes": one.size, "reasons": list(one.reasons)}
        backup_ledger.append(self.backup.root, "unkept", one.name, at, **data)
        folder = os.path.join(self.backup.root, one.name)
        if os.path.isdir(folder) and not os.path.islink(folder):
            try:
                backup_copy.forget(folder, self.copy.name, at)
            except OSError as error:
                raise BackupError("failed", backup_copy.reason_of(error)) from None

    def _won(self) -> int:
        dry = self.check_mode or not self.confirmed
        return sum(one.size for one in self.judged if one.action != "keep" and (dry or one.done))

    def _told(self, problem: Optional[str], took: float) -> Finding:
        dry = self.check_mode or not self.confirmed
        count = sum(one.action != "keep" and (dry or one.done) for one in self.judged)
        kept = sum(one.action == "keep" for one in self.judged)
        unproved = sum("nothing_proved" in one.reasons for one in self.judged)
        words: Dict[str, Any] = {
            "name": self.backup.name,
            "copy": self.copy.name,
            "count": count,
            "kept": kept,
            "bytes": self._won(),
        }
        if problem is not None:
            status, text = "unknown", message("backup_copy.prune.hindered", reason=problem, **words)
        elif self.failures:
            status, text = "warning", message("backup_copy.prune.partly", failed=len(self.failures), **words)
        elif unproved:
            rung = self.backup.verified_rung
            status, text = "warning", message("backup_copy.prune.unproved", unproved=unproved, rung=rung, **words)
        elif not count:
            status, text = "ok", message("backup_copy.prune.nothing", **words)
        elif not dry:
            status, text = "ok", message("backup_copy.prune.done", **words)
        elif self.check_mode:
            status, text = "ok", message("backup_copy.prune.would", **words)
        else:
            status, text = "warning", message("backup_copy.prune.unconfirmed", **words)
        return finding(
            "backup.%s.copy.%s.prune" % (self.backup.name, self.copy.name),
            "backup",
            status,
            text,
            value=self._won(),
            unit="B",
            evidence=backup_prune.evidence(self.judged, self.failures),
            remedy=self.backup.remedy,
            duration_ms=took * 1000,
        )
