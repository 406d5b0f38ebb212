# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trial restores: a set is restored into a scratch place, what is there is compared with the manifest, and it is timed.

The time of the restore is the recovery time (RTO), the age of the set's data the loss if the source were gone now (RPO).
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import disk as backup_disk
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import scratch as backup_scratch
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.options_with_engines import Backup
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError, SetFolder
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.status import scan as backup_scan
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify import climb as backup_verify_set
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify.climb import Climb, Means
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Drilled, Engine
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import space as host_space


class Asked(NamedTuple):
    """What is to be drilled. ``set``: as :func:`backup_sets.choose` takes it."""

    backups: List[Backup]
    set: str


class Result(NamedTuple):
    """What became of a backup. ``rto``, ``rpo``: seconds; None when nothing was restored."""

    backup: str
    set: Optional[str]
    rung: int
    rto: Optional[float]
    rpo: Optional[float]
    counts: Dict[str, Dict[str, int]]
    changed: bool
    findings: List[Finding]


def parse(options: Mapping[str, Any]) -> Asked:
    """Read the module's options. Raises OptionError."""
    given = backup_options.parse(options.get("backups"))
    only = list(options.get("only") or ())
    names = [backup.name for backup in given if backup.kind == "set"]
    for at, name in enumerate(only):
        if name not in names:
            if name in [backup.name for backup in given]:
                raise OptionError("only[%d]" % at, "%r has no sets: what another tool has made cannot be restored on trial" % name)
            raise unknown_name("only[%d]" % at, str(name), names, "backup")
    backups = [backup for backup in given if backup.name in (only or names)]
    for at, backup in enumerate(given):
        wrong = backup_verify_set.conflict(backup.root, backup.plan) if backup in backups else None
        if wrong:
            raise OptionError("backups[%d].drill.scratch" % at, wrong)
    return Asked(backups, str(options.get("set") or backup_sets.NEWEST))


def run(
    asked: Asked,
    check_mode: bool = False,
    clock: Callable[[], float] = time.time,
    engines: Callable[[str], Engine] = backup_engines.engine,
) -> List[Result]:
    """Drill each backup; one that fails holds up no other."""
    hanging = host_space.hanging([backup.root for backup in asked.backups], backup_scan.PATIENCE)
    return [_Drill(backup, asked.set, clock, engines).tell(check_mode, backup.root in hanging) for backup in asked.backups]


def kinds(counts: Mapping[str, int]) -> Dict[str, int]:
    """Counts added up by their kind: rows, tables, files."""
    sums: Dict[str, int] = {}
    for name, count in counts.items():
        kind = name.partition(".")[0]
        sums[kind] = sums.get(kind, 0) + count
    return sums


class _Drill:
    """The drill of one backup."""

    def __init__(self, backup: Backup, wanted: str, clock: Callable[[], float], engines: Callable[[str], Engine]) -> None:
        self.backup, self.wanted, self.clock = backup, wanted, clock
        self.means = Means(backup.plan, backup.plan.drill.scratch, engines=engines)
        self.findings: List[Finding] = []
        self.notes: List[str] = []

    def text(self, identifier: str, **params: Any) -> Message:
        """A message that names the backup."""
        return message("drill." + identifier, name=self.backup.name, **params)

    def add(self, what: str, status: str, text: Message, **more: Any) -> None:
        """A finding about the backup."""
        check = "backup.%s.%s" % (self.backup.name, what)
        self.findings.append(finding(check, "backup", status, text, remedy=self.backup.remedy, **more))

    def tell(self, check_mode: bool, hangs: bool = False) -> Result:
        """Drill, and tell what became of it."""
        try:
            if hangs:
                raise BackupError("denied", "%s does not answer within %d seconds" % (self.backup.root, backup_scan.PATIENCE))
            backup_disk.check(self.backup)
            sets = backup_sets.listed(self.backup.root)
            one = backup_sets.choose(sets, self.wanted, self.backup.verified_rung)
            backup_verify_set.room(one.path, one.manifest, self.means)
            if check_mode:
                return self._would(one)
            return self._drill(one)
        except BackupError as error:
            self.add("drill", "unknown" if error.code in ("denied", "space") else "critical", self.text("not", reason=error.text))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other backups are still to be drilled
            self.add("drill", "unknown", self.text("not", reason=backup_verify_set.told(error)))
        return Result(self.backup.name, None, 0, None, None, {}, False, self.findings)

    def _would(self, one: SetFolder) -> Result:
        scratch = self.backup.plan.drill.scratch
        left = [os.path.join(scratch, name) for name in backup_scratch.sweep(scratch, look_only=True)]
        artifacts = [
            "%s (%s, %d B)" % (artifact.file, artifact.engine, artifact.size)
            for artifact in (one.manifest.artifacts if one.manifest else ())
        ]
        evidence = {"drill_scratch": scratch, "drill_left": left, "drill_artifacts": artifacts}
        self.add(
            "drill",
            "ok",
            self.text("would", set=one.name, count=len(artifacts), scratch=scratch),
            evidence={name: seen for name, seen in evidence.items() if seen},
        )
        return Result(self.backup.name, one.name, 0, None, None, {}, True, self.findings)

    def _drill(self, one: SetFolder) -> Result:
        ledger = backup_ledger.read(self.backup.root)
        climbed = backup_verify_set.climb(one, ledger, 5, self.means)
        if climbed.gone:
            raise BackupError("denied", "%s went away while it was read" % one.name)
        now = self.clock()
        self.notes += climbed.notes
        rto = round(climbed.restore_seconds, 2) if climbed.rung >= 4 else None
        rpo = round(max(0.0, now - climbed.manifest.start)) if climbed.manifest else None
        if climbed.manifest and climbed.manifest.start - now > backup_scan.FUTURE:
            rpo = None  # by a clock that was wrong: how old the data is cannot be told
            self.add("rpo", "unknown", self.text("rpo.future", set=one.name, ahead=round(climbed.manifest.start - now)), unit="s")
        counts = {file: dict(drilled.counts) for file, drilled in climbed.drilled.items()}
        self._judge(one, climbed, rto, ledger.broken)
        self._judge_targets(one, rto, rpo)
        self._write_down(one, climbed, now, rto, rpo)
        return Result(self.backup.name, one.name, climbed.rung, rto, rpo, counts, True, self.findings)

    def _judge(self, one: SetFolder, climbed: Climb, rto: Optional[float], broken: Optional[int]) -> None:
        stumble = climbed.stumble
        evidence: Dict[str, Any] = {
            "backup_set": one.path,
            "drill_counts": [_told(file, drilled) for file, drilled in sorted(climbed.drilled.items())],
            "verify_tools": ["%s %s" % pair for pair in sorted(climbed.tools.items())],
            "backup_notes": self.notes,
        }
        evidence = {name: seen for name, seen in evidence.items() if seen}
        if broken is not None:
            status, text = "critical", message("backup_verify.ledger", name=self.backup.name, line=broken)
        elif stumble is None:
            status, text = "ok", self.text("ok", set=one.name, seconds=rto, count=len(climbed.drilled))
        elif stumble.hindered:
            # Restored without a failure, but with nothing to compare with.
            status = "warning" if climbed.rung >= 4 else "unknown"
            text = self.text("hindered", set=one.name, at=stumble.rung, reason=stumble.text)
        else:
            status, text = "critical", self.text("failed", set=one.name, at=stumble.rung, reason=stumble.text)
        self.add("drill", status, text, value=climbed.rung, evidence=evidence, duration_ms=climbed.seconds * 1000)

    def _judge_targets(self, one: SetFolder, rto: Optional[float], rpo: Optional[float]) -> None:
        drill = self.backup.plan.drill
        pairs: Sequence[Tuple[str, Optional[float], Optional[float]]] = (("rto", rto, drill.rto), ("rpo", rpo, drill.rpo))
        for what, value, target in pairs:
            if value is None:
                continue
            limit = None if target is None else "%.15g" % target
            status = judge(value, limit)
            if target is None:
                text = self.text(what + ".known", set=one.name, value=value)
            else:
                text = self.text(what + ".ok" if status == "ok" else what, set=one.name, value=value, target=target)
            self.add(what, status, text, value=value, unit="s", warning=limit)

    def _write_down(self, one: SetFolder, climbed: Climb, now: float, rto: Optional[float], rpo: Optional[float]) -> None:
        stumble = climbed.stumble
        sums: Dict[str, int] = {}
        for drilled in climbed.drilled.values():
            for kind, count in kinds(drilled.counts).items():
                sums[kind] = sums.get(kind, 0) + count
        data: Dict[str, Any] = {"passed": stumble is None, "rung": climbed.rung, "rto": rto, "rpo": rpo, "counts": sums}
        data["seconds"] = round(climbed.seconds, 2)
        if climbed.tools:
            data["tools"] = climbed.tools
        if stumble:
            data.update(at_rung=stumble.rung, artifact=stumble.artifact, reason=stumble.reason, hindered=stumble.hindered)
        reasons = []
        try:
            backup_ledger.append(self.backup.root, "drilled", one.name, now, **data)
        except BackupError as error:
            reasons.append(str(error))
        try:
            backup_verify_set.record(one, climbed.rung, stumble, now)
        except OSError as error:
            if os.path.isdir(one.path):  # else it was removed meanwhile
                reasons.append(str(error))
        if reasons:
            text = message("backup_verify.unwritten", name=self.backup.name, set=one.name, reason="; ".join(reasons))
            self.add("drill.record", "warning", text)


def _told(file: str, drilled: Drilled) -> str:
    return "%s: %s" % (file, ", ".join("%s %d" % pair for pair in sorted(kinds(drilled.counts).items())))
