# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a loss of data, or before one: what is sound, what would be lost by restoring, what can be saved; written down.

The loss that restoring the newest proved set means is the time from the moment of that set to the newest write that is known, or to now
where none is. Live data is only read; salvage copies into a folder of its own, hooks do what their owner wrote.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import scratch as backup_scratch
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.options_with_engines import Backup
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.plan import ArtifactPlan
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError, SetFolder
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, cut, finding, message, utc_now
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Engine, EngineError, Found, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Command

#: Where results and what was saved are kept on the host.
FOLDER = "/var/lib/opsrunner/data_loss"
#: A hook that takes longer is ended.
HOOK_TIMEOUT = 3600.0


class Hook(NamedTuple):
    """A command of the system's own that saves data: a replay of its log, say. ``timeout``: seconds; ``user``: whom it runs as."""

    name: str
    command: Tuple[str, ...]
    timeout: float
    user: Optional[str]


class Asked(NamedTuple):
    """What is to be looked at. ``salvage``: also save what can be saved, and run the hooks; ``folder``: where results go."""

    backups: List[Backup]
    hooks: List[Hook]
    salvage: bool
    folder: str


class Report(NamedTuple):
    """What was found. ``path``: of the written result without its ending, None in check mode."""

    changed: bool
    findings: List[Finding]
    backups: List[Dict[str, Any]]
    hooks: List[Dict[str, Any]]
    path: Optional[str]


def parse(args: Mapping[str, Any]) -> Asked:
    """Read the options. Raises OptionError."""
    readers = {"name": read.name, "command": read.argv, "timeout": read.duration, "user": read.user}
    hooks = [
        Hook(item["name"], tuple(item["command"]), item.get("timeout", HOOK_TIMEOUT), item.get("user"))
        for item in read.read_items(args.get("hooks"), "hooks", readers, required=("name", "command"))
    ]
    for at, hook in enumerate(hooks):
        if not hook.timeout:
            raise OptionError("hooks[%d].timeout" % at, "is to be more than nothing", hint="1h")
    backups = backup_make.chosen(backup_options.parse(args.get("backups")), args.get("only"))
    salvage = args.get("salvage")
    folder = read.absolute(args.get("folder") or FOLDER, "folder")
    return Asked(backups, hooks, False if salvage is None else read.boolean(salvage, "salvage"), folder)


def look(
    asked: Asked,
    check_mode: bool = False,
    clock: Callable[[], float] = time.time,
    engines: Callable[[str], Engine] = backup_engines.engine,
) -> Report:
    """Look at every backup's live data and sets, save what is to be saved, run the hooks, write it all down."""
    now = clock()
    saved_in = os.path.join(asked.folder, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)))
    findings: List[Finding] = []
    told: List[Dict[str, Any]] = []
    for backup in asked.backups:
        job = _Backup(backup, now, engines)
        told.append(job.look())
        if asked.salvage:
            told[-1]["saved"] = job.salvage(saved_in, check_mode)
        findings += job.findings
    hooks = []
    for hook in asked.hooks:
        found, result = _run_hook(hook, asked.salvage and not check_mode)
        findings.append(found)
        hooks.append(result)
    path = None
    if not check_mode and (told or hooks):
        path = _write(saved_in, now, told, hooks, findings)
        findings.append(finding("data_loss.result", "data_loss", "ok", message("data_loss.result", path=path + ".md")))
    return Report(bool(path), findings, told, hooks, path)


class _Backup:
    """What is to be told of one backup."""

    def __init__(self, backup: Backup, now: float, engines: Callable[[str], Engine]) -> None:
        self.backup, self.now, self.engines = backup, now, engines
        self.findings: List[Finding] = []

    def add(self, what: str, status: str, text: str, params: Mapping[str, Any], evidence: Mapping[str, Any], **more: Any) -> None:
        """A finding about the backup."""
        said: Message = message("data_loss." + text, name=self.backup.name, **params)
        seen = {name: value for name, value in evidence.items() if value not in (None, [], {})}
        check = "backup.%s.%s" % (self.backup.name, what)
        self.findings.append(finding(check, "data_loss", status, said, evidence=seen, remedy=self.backup.remedy, **more))

    def look(self) -> Dict[str, Any]:
        """Integrity of each artifact's data, then the loss."""
        artifacts = []
        remains = self._remains()
        writes: List[float] = []
        sound: Optional[bool] = True
        for plan in self.backup.plan.artifacts:
            found, problem, notes = self._integrity(plan)
            less = [] if found is None else _less(found.counts, remains.get(plan.name, {}))
            artifacts.append(
                {
                    "artifact": plan.name,
                    "engine": plan.engine,
                    "sound": None if found is None else found.ok,
                    "problems": [problem] if found is None else list(found.problems),
                    "counts": {} if found is None else dict(found.counts),
                    "less": less,
                    "last_write": None if found is None or found.last_write is None else utc_now(found.last_write),
                }
            )
            self._tell_integrity(plan, found, problem, notes, less)
            if found is None:
                sound = None if sound else sound
            elif not found.ok:
                sound = False
            if found is not None and found.last_write is not None:
                writes.append(min(found.last_write, self.now))
        return {"backup": self.backup.name, "artifacts": artifacts, **self._loss(max(writes, default=None), sound)}

    def _integrity(self, plan: ArtifactPlan) -> Tuple[Optional[Found], str, List[str]]:
        notes: List[str] = []
        try:
            with backup_scratch.place(self.backup.plan.drill.scratch, notes.append) as scratch:
                work = Work(scratch, limits=self.backup.plan.limits, workers=self.backup.plan.workers, warn=notes.append)
                return self.engines(plan.engine).integrity(plan.spec, work), "", notes
        except (EngineError, BackupError, backup_stream.StreamError, OSError) as error:
            return None, cut(" ".join(str(error).split()), 500), notes

    def _remains(self) -> Dict[str, Dict[str, int]]:
        """What the newest proved set holds; nothing where there is none, which is told with the loss."""
        try:
            proved = backup_sets.proved(backup_sets.listed(self.backup.root), self.backup.verified_rung)
        except (BackupError, OSError):
            return {}
        return {} if proved is None else _remains(proved)

    def _tell_integrity(self, plan: ArtifactPlan, found: Optional[Found], problem: str, notes: Sequence[str], less: Sequence[str]) -> None:
        params = {"artifact": plan.name}
        check = "integrity." + plan.name
        if found is None:
            self.add(check, "unknown", "integrity.unknown", {**params, "reason": problem}, {"backup_notes": list(notes)})
            return
        evidence = {
            "data_loss_problems": list(found.problems)[:20],
            "data_loss_last_write": None if found.last_write is None else utc_now(found.last_write),
            "backup_notes": list(notes),
        }
        if found.ok and less:
            # Whole and empty is what a deletion leaves.
            few = [*less[:8], *(["and %d more" % (len(less) - 8)] if len(less) > 8 else [])]
            self.add(check, "warning", "integrity.less", {**params, "less": few}, evidence, value=len(less))
        elif found.ok:
            self.add(check, "ok", "integrity.ok", params, evidence)
        else:
            self.add(check, "critical", "integrity.broken", {**params, "count": len(found.problems)}, evidence, value=len(found.problems))

    def _loss(self, last_write: Optional[float], sound: Optional[bool]) -> Dict[str, Any]:
        """What restoring the newest proved set would lose."""
        rpo = self.backup.plan.drill.rpo
        warning = None if rpo is None else "%.15g" % rpo
        try:
            sets = backup_sets.listed(self.backup.root)
        except (BackupError, OSError) as error:
            self.add("loss", "unknown", "loss.unknown", {"reason": str(error)}, {}, unit="s", warning=warning)
            return {"set": None, "loss_minutes": None}
        proved = backup_sets.proved(sets, self.backup.verified_rung)
        whole = next((one for one in sets if one.problem is None), None)
        evidence: Dict[str, Any] = {
            "data_loss_newest": None if whole is None else "%s, rung %d" % (whole.path, whole.rung),
            "data_loss_last_write": None if last_write is None else utc_now(last_write),
            "data_loss_set": None if proved is None else proved.path,
        }
        if proved is None or proved.manifest is None:
            text = "loss.unproved" if whole else "loss.none"
            self.add("loss", "critical", text, {"rung": self.backup.verified_rung}, evidence, unit="s", warning=warning)
            return {"set": None, "newest": None if whole is None else whole.name, "loss_minutes": None}
        lost = max(0.0, (self.now if last_write is None else last_write) - proved.manifest.start)
        status = judge(lost, warning)
        params = {"set": proved.name, "loss": round(lost), "minutes": round(lost / 60, 1)}
        text = "loss.since_write" if last_write is not None else "loss"
        if sound is False and status == "ok":
            # It is no longer a question of what if.
            status = "warning"
        self.add("loss", status, text, params, evidence, value=round(lost), unit="s", warning=warning)
        return {
            "set": proved.name,
            "set_from": utc_now(proved.manifest.start),
            "newest": None if whole is None else whole.name,
            "loss_minutes": round(lost / 60, 1),
            "remains": _remains(proved),
        }

    def salvage(self, folder: str, check_mode: bool) -> List[Dict[str, Any]]:
        """Save what each engine can still read."""
        told = []
        for plan in self.backup.plan.artifacts:
            own = os.path.join(folder, self.backup.name, plan.name)
            if check_mode:
                self.add("salvage." + plan.name, "ok", "salvage.would", {"artifact": plan.name, "folder": own}, {})
                continue
            saved: List[str] = []
            notes: List[str] = []
            try:
                os.makedirs(own, mode=0o700)
                with backup_scratch.place(self.backup.plan.drill.scratch, notes.append) as scratch:
                    work = Work(scratch, limits=self.backup.plan.limits, workers=self.backup.plan.workers, warn=notes.append)
                    saved = self.engines(plan.engine).salvage(plan.spec, own, work)
                status, text, reason = "ok", "salvage.ok", ""
            except (EngineError, BackupError, backup_stream.StreamError, OSError) as error:
                status, text, reason = "warning", "salvage.failed", cut(" ".join(str(error).split()), 500)
            params = {"artifact": plan.name, "count": len(saved), "folder": own, "reason": reason}
            self.add("salvage." + plan.name, status, text, params, {"data_loss_saved": saved[:20], "backup_notes": notes})
            told.append({"artifact": plan.name, "folder": own, "saved": saved, "problem": reason or None})
        return told


def _less(live: Mapping[str, int], saved: Mapping[str, int]) -> List[str]:
    """Of what is counted in the live data too, what there is less of than in the set; what expires is to get less.

    A table that is gone has no count; where tables are counted at all, that is none.
    """
    kinds = {name.partition(".")[0] for name in live if "." in name}
    return [
        "%s %d (in the set %d)" % (name, live.get(name, 0), count)
        for name, count in sorted(saved.items())
        if not name.startswith("expiring")
        and live.get(name, 0) < count
        and (name in live or ("." in name and name.partition(".")[0] in kinds))
    ]


def _remains(proved: SetFolder) -> Dict[str, Dict[str, int]]:
    """Counts of a set by artifact: what there would be after restoring it."""
    artifacts = proved.manifest.artifacts if proved.manifest else ()
    return {artifact.name or artifact.file: dict(artifact.counts) for artifact in artifacts}


def _run_hook(hook: Hook, run: bool) -> Tuple[Finding, Dict[str, Any]]:
    check = "data_loss.hook.%s" % hook.name
    if not run:
        return finding(check, "data_loss", "ok", message("data_loss.hook.would", hook=hook.name)), {"hook": hook.name, "run": False}
    started = time.monotonic()
    try:
        said = backup_stream.run(Command(hook.command, user=hook.user), timeout=hook.timeout)
        status, text = "ok", message("data_loss.hook.ok", hook=hook.name)
        problem = None
    except backup_stream.StreamError as error:
        said, problem = error.said.encode(), str(error)
        status, text = "critical", message("data_loss.hook.failed", hook=hook.name, reason=cut(problem, 300))
    took = (time.monotonic() - started) * 1000
    lines = said[-2000:].decode("utf-8", "replace").strip().splitlines()[-10:]
    found = finding(check, "data_loss", status, text, evidence={"data_loss_said": lines} if lines else {}, duration_ms=took)
    return found, {"hook": hook.name, "run": True, "problem": problem, "said": lines}


def _write(
    path: str, now: float, told: Sequence[Mapping[str, Any]], hooks: Sequence[Mapping[str, Any]], findings: Sequence[Finding]
) -> str:
    """Write the result as JSON and as text for people. Raises OSError."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    whole = {"schema": 1, "at": utc_now(now), "complete": _complete(findings), "backups": told, "hooks": hooks}
    durable.write_synced(path + ".json", (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape"))
    durable.write_synced(path + ".md", _text(whole, findings).encode("utf-8", "surrogateescape"))
    return path


def _complete(findings: Sequence[Finding]) -> bool:
    """Whether all could be looked at and nothing is broken: no result says that it is done while an integrity check failed."""
    return all(item["status"] in ("ok", "warning") for item in findings)


def _text(whole: Mapping[str, Any], findings: Sequence[Finding]) -> str:
    """The result in Markdown."""
    lines = ["# Loss of data: what was found", "", "At %s." % whole["at"], ""]
    less = any(item["less"] for one in whole["backups"] for item in one["artifacts"])
    word = "All data is sound." if whole["complete"] else "Not all is sound or known: read on before anything is restored."
    if whole["complete"] and less:
        word = "All data can be read, but there is less of it than in the newest proved set: read on."
    lines += ["**%s**" % word, ""]
    for one in whole["backups"]:
        lines += ["## %s" % one["backup"], ""]
        if one["loss_minutes"] is None:
            lines.append("No proved set: what a restore would lose cannot be told. Newest set: %s." % (one.get("newest") or "none"))
        else:
            lines.append("Restoring %s (data as of %s) would lose %s minutes." % (one["set"], one["set_from"], one["loss_minutes"]))
        lines += ["", "| artifact | engine | sound | newest write | problems |", "|---|---|---|---|---|"]
        for item in one["artifacts"]:
            word = {True: "yes", False: "**no**", None: "unknown"}[item["sound"]]
            problems = "; ".join(item["problems"][:5]).replace("|", "\\|")
            lines.append(
                "| %s | %s | %s | %s | %s |" % (item["artifact"], item["engine"], word, item["last_write"] or "-", problems or "-")
            )
        lines.append("")
        for item in one["artifacts"]:
            lines += ["- less of %s: %s" % (item["artifact"], text) for text in item["less"][:50]]
        for item in one.get("saved", ()):
            lines.append("- saved of %s: %s" % (item["artifact"], "; ".join(item["saved"]) or item["problem"]))
        lines.append("")
    if whole["hooks"]:
        lines += ["## Hooks", ""]
        for item in whole["hooks"]:
            lines.append("- %s: %s" % (item["hook"], "not run" if not item["run"] else item.get("problem") or "ran"))
        lines.append("")
    lines += ["## What to do next", ""]
    broken = [item["check"] for item in findings if item["status"] == "critical"]
    if broken:
        lines += [
            "1. Keep the damaged data: a restore sets it aside, do not delete it.",
            "2. Prove the set that is to be restored: `opsrunner restore_drill`.",
            "3. Restore it: `opsrunner restore`; what was saved above is put in by hand afterwards.",
        ]
    elif not whole["complete"]:
        lines.append("1. Find out why some data could not be looked at, then run this again.")
    elif less:
        lines += [
            "1. Was that deleted on purpose? Then nothing has to be restored.",
            "2. Else restore it, whole or in part: `opsrunner restore` lists the sets;",
            "   `--part ARTIFACT:TABLE` or `--part ARTIFACT:PATH` leaves the rest alone.",
        ]
    else:
        lines.append("Nothing has to be restored.")
    return "\n".join(lines) + "\n"
