# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be restored: the options read, the set chosen, its artifacts matched with the backup's."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.options_with_engines import Backup
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.plan import ArtifactPlan
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import SetFolder
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_words, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import options as probe_options

ACTIONS = ("restore", "list", "undo", "resume", "discard")
STARTS = ("as_before", "all")
#: Names of the destructive steps, which run only when they are confirmed.
RESTORE_STEP, DISCARD_STEP, EARLIER_STEP = "restore", "restore_discard", "restore_undo_earlier"
#: Names of what is refused unless it is confirmed as well: a set that others could have written, paths that the options do not name,
#: data that a process has open.
UNTRUSTED_STEP, OUTSIDE_STEP, OPEN_STEP = "restore_untrusted", "restore_outside", "restore_open"


class Job(NamedTuple):
    """``wanted``: the set, as :func:`backup_sets.choose` takes it, None to list; ``parts``: of each artifact by its name what of
    it, empty for the whole; no artifacts at all for everything the set holds; ``probes``: that must be ok in the end."""

    action: str
    backups: Sequence[Backup]
    wanted: Optional[str]
    parts: Mapping[str, Tuple[str, ...]]
    confirmed: Tuple[str, ...]
    start: str
    folder: str
    probes: Sequence[Any]

    @property
    def backup(self) -> Backup:
        """The one backup that is meant."""
        return self.backups[0]


def parse(options: Mapping[str, Any]) -> Job:
    """Read the module's options. Raises OptionError."""
    backups = backup_options.parse(options.get("backups"))
    action = read.choice(*ACTIONS)(options.get("action") or "restore", "action")
    wanted = None if options.get("set") in (None, "") else read.text(options["set"], "set")
    if action == "restore" and wanted is None:
        action = "list"
    chosen = _chosen(backups, options.get("backup"), action)
    parts = _parts(options.get("part") or (), chosen, action)
    folder = read.absolute(options.get("journal_folder") or restore_journal.FOLDER, "journal_folder")
    probes: Sequence[Any] = ()
    if action != "list" and chosen:
        at = next(at for at, backup in enumerate(backups) if backup.name == chosen[0].name)
        health = [dict(probe) for probe in chosen[0].plan.restore.health]
        probes = probe_options.read_probes(health, "backups[%d].restore.health" % at) if health else ()
    start = read.choice(*STARTS)(options.get("start") or STARTS[0], "start")
    confirmed = tuple(parse_words(options.get("confirm"), "confirm"))
    return Job(action, chosen, wanted, parts, confirmed, start, folder, probes)


def _chosen(backups: Sequence[Backup], name: Any, action: str) -> List[Backup]:
    made = [backup for backup in backups if backup.plan.artifacts]
    if name not in (None, ""):
        found = [backup for backup in made if backup.name == name]
        if not found and any(backup.name == name for backup in backups):
            raise OptionError("backup", "%r has no artifacts: another tool makes it, and that one restores it" % name)
        if not found:
            raise unknown_name("backup", str(name), [backup.name for backup in made], "backup")
        return found
    if action == "list":
        return made
    if len(made) != 1:
        there = ", ".join(backup.name for backup in made) or "none with artifacts"
        raise OptionError("backup", "name the one that is meant; there are: %s" % there)
    return made


def _parts(given: Any, chosen: Sequence[Backup], action: str) -> Dict[str, Tuple[str, ...]]:
    parts: Dict[str, List[str]] = {}
    whole = set()
    words = [given] if isinstance(given, str) else list(given)
    if words and action != "restore":
        raise OptionError("part", "is for a restore, which needs a set: what %s works on is in its journal" % action)
    for at, word in enumerate(words):
        here = "part[%d]" % at
        name, colon, inner = read.text(word, here).partition(":")
        names = [artifact.name for artifact in chosen[0].plan.artifacts] if chosen else []
        if name not in names:
            raise unknown_name(here, name, names, "artifact")
        if colon and not inner:
            raise OptionError(here, "ends with a colon: behind it is a table, a collection or a path")
        if not colon:
            whole.add(name)
        parts.setdefault(name, []).extend([inner] if colon else [])
        if name in whole and parts[name]:
            raise OptionError(here, "%s is there whole and in part" % name)
    return {name: tuple(dict.fromkeys(inner)) for name, inner in parts.items()}


def matched(job: Job, one: SetFolder) -> List[Tuple[Artifact, ArtifactPlan, Tuple[str, ...]]]:
    """The artifacts of a set that are to be restored, each with the options by which its data is reached. BackupError.

    Where parts are named, what is wrong with other artifacts of the set is no reason against them.
    """
    if one.manifest is None or (one.problem and not job.parts):
        raise backup_sets.BackupError("failed", "%s cannot be restored: %s" % (one.name, one.problem))
    there = {artifact.name or artifact.file: artifact for artifact in one.manifest.artifacts}
    plans = {plan.name: plan for plan in job.backup.plan.artifacts}
    found = []
    for name in job.parts or there:
        if name not in there:
            raise backup_sets.BackupError("not_found", "%s has no artifact %s; it has %s" % (one.name, name, ", ".join(there)))
        artifact = there[name]
        if not restorable(artifact):
            if name in job.parts:
                raise backup_sets.BackupError("failed", "%s in %s holds no rows, only a schema: nothing to go back to" % (name, one.name))
            continue
        plan = plans.get(name)
        if plan is None:
            text = "%s holds %s, of which the backup's options know nothing any more; name the parts that are wanted: %s"
            raise backup_sets.BackupError("failed", text % (one.name, name, ", ".join(sorted(set(there) & set(plans)))))
        if plan.engine != artifact.engine:
            text = "%s in %s was made by the engine %s, and the options say %s"
            raise backup_sets.BackupError("failed", text % (name, one.name, artifact.engine, plan.engine))
        found.append((artifact, plan, tuple(job.parts.get(name, ()))))
    if not found:
        raise backup_sets.BackupError("failed", "%s holds no data, only schemas" % one.name)
    return found


def listed(backup: Backup) -> List[Dict[str, Any]]:
    """The sets of a backup for people to choose from, newest first. BackupError."""
    told = []
    for one in backup_sets.listed(backup.root):
        artifacts = one.manifest.artifacts if one.manifest else ()
        told.append(
            {
                "backup": backup.name,
                "set": one.name,
                "at": times.format_time(one.at),
                "size": one.size,
                "rungs": [{"rung": rung.rung, "at": times.format_time(rung.at)} for rung in one.rungs],
                "problem": one.problem,
                "artifacts": [
                    {
                        "name": artifact.name or artifact.file,
                        "engine": artifact.engine,
                        "size": artifact.size,
                        "counts": _few(artifact.counts),
                        "restorable": restorable(artifact),
                    }
                    for artifact in artifacts
                ],
            }
        )
    return told


def _few(counts: Mapping[str, int], most: int = 40) -> Dict[str, int]:
    """The counts, those of a kind added up where there are very many."""
    if len(counts) <= most:
        return dict(counts)
    sums: Dict[str, int] = {}
    for name, count in counts.items():
        kind = name.partition(".")[0]
        sums[kind] = sums.get(kind, 0) + count
    return sums


def restorable(artifact: Artifact) -> bool:
    """Whether it holds data: a schema alone is nothing to go back to."""
    return artifact.source.get("content") != "schema"


def free_space(needs: Sequence[Tuple[str, int]]) -> List[Dict[str, Any]]:
    """What is needed and free on each file system. Raises OSError."""
    by_device: Dict[int, Dict[str, Any]] = {}
    for path, size in needs:
        there = path
        while not os.path.exists(there):
            there = os.path.dirname(there)
        told = os.statvfs(there)
        item = by_device.setdefault(os.stat(there).st_dev, {"paths": [], "need": 0, "free": told.f_bavail * told.f_frsize})
        item["need"] += size
        if path not in item["paths"]:
            item["paths"].append(path)
    return list(by_device.values())
