# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove the sets that may go, and tell of each why it stays or goes.

A set is renamed to ``<name>.removing`` and deleted then: one that is half deleted is no set any more, and the next run that is
confirmed finishes it. Root and sets are opened without following links, names are those of the open root, and nothing but a
folder named as a set is touched; what is being written is not looked at.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_words, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import tree

from . import disk as backup_disk
from . import ledger as backup_ledger
from . import options_with_engines as backup_options
from . import retention as backup_retention
from . import sets as backup_sets
from .options_with_engines import Backup
from .sets import REMOVING, BackupError, SetFolder

#: Name of the step that removes; nothing goes unless it is confirmed.
STEP = "backup_prune"


class Options(NamedTuple):
    """What the module was asked for."""

    backups: List[Backup]
    confirmed: bool


class Judged(NamedTuple):
    """A set and what becomes of it. ``action``: ``keep``, ``remove``, or ``finish`` for what a killed run has left half removed;
    ``done``: whether it is gone."""

    name: str
    path: str
    size: int
    action: str
    reasons: Tuple[str, ...]
    done: bool = False


class Pruned(NamedTuple):
    """What became of a backup's sets. ``won``: bytes of disk that were won, or would be."""

    backup: str
    sets: List[Judged]
    won: int
    changed: bool
    found: Finding


def parse(options: Mapping[str, Any]) -> Options:
    """Read the module's options: the backups that say what is kept, of them the ones in O(only). Raises OptionError."""
    backups = backup_options.parse(options.get("backups"))
    for at, backup in enumerate(backups):
        if backup.plan.keep and (backup.kind != "set" or backup.pattern != "*"):
            wrong = "kind" if backup.kind != "set" else "pattern"
            raise OptionError("backups[%d].%s" % (at, wrong), "keep is for sets named by their time, which lie in the root itself")
    kept = [backup.name for backup in backups if backup.plan.keep]
    only = read.texts(options["only"], "only") if options.get("only") else []
    for at, name in enumerate(only):
        if name not in kept:
            if name in [backup.name for backup in backups]:
                raise OptionError("only[%d]" % at, "%r says nothing of what is kept (keep)" % name)
            raise unknown_name("only[%d]" % at, name, kept, "backup")
    confirm = parse_words(options.get("confirm"), "confirm")
    return Options([backup for backup in backups if backup.name in (only or kept)], STEP in confirm)


def run(options: Options, check_mode: bool = False, clock: Callable[[], float] = time.time) -> List[Pruned]:
    """Remove what may go of each backup, or only look: in check mode, and when it is not confirmed."""
    return [_prune(backup, options.confirmed, check_mode, clock) for backup in options.backups]


def judge(backup: Backup, folder: int, now: float) -> List[Judged]:
    """What is to become of each set in an open root, newest first; what is half removed comes last."""
    sets = backup_sets.listed(backup.root)
    held = [backup_retention.Held(one.name, one.at, one.sound, one.rung, one.manifest is not None) for one in sets]
    decided = {one.name: one for one in backup_retention.decide(held, backup.plan.keep, now, backup.verified_rung)}
    return [_judged(one, decided[one.name]) for one in sets] + [
        Judged(name, os.path.join(backup.root, name), 0, "finish", ("half_removed",)) for name in _half_removed(folder)
    ]


def _half_removed(folder: int) -> List[str]:
    return [
        name
        for name in sorted(os.listdir(folder), reverse=True)
        if name.endswith(REMOVING) and set_names.name_time(name[: -len(REMOVING)]) is not None and tree.is_folder(folder, name)
    ]


def _judged(one: SetFolder, decision: backup_retention.Decision) -> Judged:
    return Judged(one.name, one.path, one.size, "keep" if decision.keep else "remove", decision.reasons)


def _prune(backup: Backup, confirmed: bool, check_mode: bool, clock: Callable[[], float]) -> Pruned:
    started = time.monotonic()
    dry = check_mode or not confirmed
    judged: List[Judged] = []
    failures: List[str] = []
    won = 0
    try:
        backup_disk.check(backup)
        if dry:
            folder = backup_sets.open_root(backup.root)
            try:
                judged = judge(backup, folder, clock())
            finally:
                os.close(folder)
            won = sum(one.size for one in judged if one.action != "keep")
        else:
            purpose = "the pruning of %s" % backup.name
            with backup_sets.locked(backup.root, purpose), backup_sets.locked(backup.root, purpose, lock=backup_sets.COPYING):
                folder = backup_sets.open_root(backup.root)
                try:
                    judged, won, failures = _remove(backup, folder, judge(backup, folder, clock()), clock)
                finally:
                    os.close(folder)
        status, text = _say(backup, judged, won, failures, dry, check_mode)
    except BackupError as error:
        if error.code == "missing":  # before the first backup, in check mode say; backup_status tells it otherwise
            status, text = _say(backup, judged, won, failures, dry, check_mode)
        else:
            status = "warning" if error.code == "busy" else "unknown"
            text = message("backup.prune.busy" if error.code == "busy" else "backup.prune.root", name=backup.name, reason=error.text)
    except OSError as error:  # a disk that cannot be read any more
        status, text = "unknown", message("backup.prune.root", name=backup.name, reason=error.strerror or str(error))
    found = finding(
        "backup.%s.prune" % backup.name,
        "backup",
        status,
        text,
        value=won,
        unit="B",
        evidence=evidence(judged, failures),
        remedy=backup.remedy,
        duration_ms=(time.monotonic() - started) * 1000,
    )
    return Pruned(backup.name, judged, won, any(one.done for one in judged) or (check_mode and confirmed and _may_go(judged) > 0), found)


def _remove(backup: Backup, folder: int, judged: Sequence[Judged], clock: Callable[[], float]) -> Tuple[List[Judged], int, List[str]]:
    """Remove what may go, the oldest first: who is killed has removed what was needed least."""
    done: Dict[str, Judged] = {}
    failures: List[str] = []
    won = 0
    for one in reversed(judged):
        if one.action == "keep":
            continue
        name = one.name if one.action == "remove" else one.name[: -len(REMOVING)]
        try:
            if one.action == "remove":
                os.rename(name, name + REMOVING, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            # Written down first, so that a kill leaves no set that went for no known reason. On a full disk it is the other way round.
            written = _write_down(backup, name, one, clock)
            won += tree.remove_tree(folder, name + REMOVING)
            done[one.name] = one._replace(done=True)
            if not written and not _write_down(backup, name, one, clock):
                failures.append("%s: removed, but not written down in %s" % (name, backup_ledger.LEDGER))
        except OSError as error:
            failures.append("%s: %s" % (name, error.strerror or error))
    return [done.get(one.name, one) for one in judged], won, failures


def _write_down(backup: Backup, name: str, one: Judged, clock: Callable[[], float]) -> bool:
    """The line of a set that goes; one that a killed run has written is not written again. False when it cannot be written."""
    try:
        if one.action == "finish":
            ledger = backup_ledger.read(backup.root)
            if any(entry["what"] == "pruned" and entry["set"] == name for entry in ledger.entries):
                return True
        backup_ledger.append(backup.root, "pruned", name, clock(), size=one.size, reasons=list(one.reasons))
    except BackupError:
        return False
    return True


def _may_go(judged: Sequence[Judged]) -> int:
    return sum(one.action != "keep" for one in judged)


def _say(backup: Backup, judged: Sequence[Judged], won: int, failures: Sequence[str], dry: bool, check_mode: bool) -> Tuple[str, Message]:
    told: Dict[str, Any] = {
        "name": backup.name,
        "count": _may_go(judged) if dry else sum(one.done for one in judged),
        "kept": sum(one.action == "keep" for one in judged),
        "bytes": won,
    }
    unproved = sum("nothing_proved" in one.reasons for one in judged)
    if failures:
        return "warning", message("backup.prune.partly", failed=len(failures), **told)
    if unproved:
        return "warning", message("backup.prune.unproved", unproved=unproved, rung=backup.verified_rung, **told)
    if not told["count"]:
        return "ok", message("backup.prune.nothing", **told)
    if not dry:
        return "ok", message("backup.prune.done", **told)
    return ("ok", message("backup.prune.would", **told)) if check_mode else ("warning", message("backup.prune.unconfirmed", **told))


def evidence(judged: Sequence[Judged], failures: Sequence[str]) -> Dict[str, Any]:
    """What goes, what stays and why, what failed; also of sets at a copy."""
    told: Dict[str, Any] = {
        "backup_gone": [one.name for one in judged if one.action != "keep"],
        "backup_kept": ["%s: %s" % (one.name, ", ".join(one.reasons).replace("_", " ")) for one in judged if one.action == "keep"],
        "backup_failures": list(failures),
    }
    return {name: seen for name, seen in told.items() if seen}


def result(pruned: Sequence[Pruned]) -> Dict[str, Any]:
    """What a module gives back."""
    shown = diff(pruned)
    return {
        "changed": any(backup.changed for backup in pruned),
        "findings": [backup.found for backup in pruned],
        "sets": [
            {
                "backup": backup.backup,
                "set": one.name,
                "path": one.path,
                "size": one.size,
                "action": one.action,
                "reasons": list(one.reasons),
                "done": one.done,
            }
            for backup in pruned
            for one in backup.sets
        ],
        "bytes_won": sum(backup.won for backup in pruned),
        "diff": [shown] if shown else [],
    }


def diff(pruned: Sequence[Pruned]) -> Optional[Dict[str, str]]:
    """The sets before and after, as a diff of Ansible; None when none goes."""
    lines = [one for backup in pruned for one in backup.sets]
    if not any(one.action != "keep" for one in lines):
        return None
    before = "".join(one.path + "\n" for one in lines)
    after = "".join(one.path + "\n" for one in lines if one.action == "keep")
    return {"before": before, "after": after, "before_header": "sets", "after_header": "sets"}
