# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of sets off this host, and back: what is sent, what the far end proved, what is written down.

``<set>/copies.json`` tells where a set is: ``{"schema": 1, "copies": [{"name": …, "at": …, "objects": …, "bytes": …}]}``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils import (
    backup_disk,
    backup_ledger,
    backup_manifest,
    backup_sets,
    backup_stream,
)
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_looks import Backup
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_plan import Copy
from ansible_collections.opsrunner.runbook.plugins.module_utils.copy_base import CopyError, Item, Store
from ansible_collections.opsrunner.runbook.plugins.module_utils.findings import Finding, finding, message, utc_now

COPIES = "copies.json"
#: Ending of a folder that a set is fetched into.
FETCHING = ".partial"


class Report(NamedTuple):
    """What one call did."""

    changed: bool
    findings: List[Finding]
    copies: List[Dict[str, Any]]


def recorded(folder: str) -> Dict[str, float]:
    """Where a set is, by the copies' names: when (seconds since the epoch). What cannot be read counts as not copied."""
    try:
        told = json.loads(backup_manifest.read_file(os.path.join(folder, COPIES)))
        return {str(item["name"]): backup_manifest.parse_time(item["at"]) for item in told["copies"]}
    except (OSError, ValueError, KeyError, TypeError, backup_manifest.ManifestError):
        return {}


def _record(folder: str, entry: Mapping[str, Any]) -> None:
    path = os.path.join(folder, COPIES)
    try:
        known = json.loads(backup_manifest.read_file(path))["copies"]
    except (OSError, ValueError, KeyError, TypeError, backup_manifest.ManifestError):
        known = []
    known = [item for item in known if isinstance(item, dict) and item.get("name") != entry["name"]] + [dict(entry)]
    backup_sets.write_synced(path, json.dumps({"schema": 1, "copies": known}, indent=1).encode() + b"\n")


def _items(found: Any) -> List[Item]:
    """The files of a set as they go over: the artifacts, then the manifest."""
    items = [
        Item(artifact.file, os.path.join(found.path, artifact.file), artifact.size, artifact.sha256)
        for artifact in found.manifest.artifacts
    ]
    path = os.path.join(found.path, backup_manifest.MANIFEST)
    told = backup_stream.digest(path)
    return [*items, Item(backup_manifest.MANIFEST, path, told.size, told.sha256)]


def send(
    backups: Sequence[Backup],
    store: Callable[[Backup, Copy], Store],
    check_mode: bool = False,
    now: Callable[[], float] = time.time,
) -> Report:
    """Send every whole set that a copy does not have yet, the newest first. One copy that fails stops no other."""
    changed, findings, told = False, [], []
    for backup in backups:
        for copy in backup.plan.copies:
            started = time.monotonic()
            done: List[Dict[str, Any]] = []
            try:
                backup_disk.check(backup)
                with backup_sets.locked(backup.root, "the copying of %s" % backup.name, lock=backup_sets.COPYING):
                    missing = [found for found in backup_sets.listed(backup.root) if copy.name not in recorded(found.path)]
                    broken = [
                        found.name
                        for found in missing
                        if found.manifest is None or not found.sound or backup_manifest.check_files(found.manifest, found.path)
                    ]
                    missing = [found for found in missing if found.name not in broken]
                    far = store(backup, copy) if missing and not check_mode else None
                    for found in missing:
                        if far is None:
                            done.append({"backup": backup.name, "copy": copy.name, "set": found.name, "bytes": found.size})
                            continue
                        sent = far.send(found.name, _items(found))
                        entry = {"name": copy.name, "at": utc_now(now()), "objects": sent.objects, "bytes": sent.bytes}
                        _record(found.path, entry)
                        backup_ledger.append(backup.root, "copied", found.name, now(), copy=copy.name, bytes=sent.bytes, proof=sent.proof)
                        done.append({"backup": backup.name, "copy": copy.name, "set": found.name, "bytes": sent.bytes, "sent": sent.sent})
                problem: Optional[str] = None
            except (CopyError, backup_sets.BackupError) as error:
                problem = str(error)
            except OSError as error:
                problem = "%s: %s" % (error.filename, error.strerror)
            changed = changed or bool(done)
            told += done
            findings.append(_told(backup, copy, done, problem, broken if problem is None else [], check_mode, time.monotonic() - started))
    return Report(changed, findings, told)


def _told(
    backup: Backup,
    copy: Copy,
    done: Sequence[Mapping[str, Any]],
    problem: Optional[str],
    broken: Sequence[str],
    check_mode: bool,
    took: float,
) -> Finding:
    evidence = {"copied_sets": [item["set"] for item in done], "copy_kind": copy.kind, "copy_broken": list(broken)}
    words = {"name": backup.name, "copy": copy.name, "count": len(done), "bytes": sum(item["bytes"] for item in done)}
    if problem is not None:
        status, text = "critical", message("backup_copy.failed", reason=problem, **words)
    elif broken:
        status, text = "warning", message("backup_copy.broken", broken=len(broken), **words)
    elif check_mode and done:
        status, text = "ok", message("backup_copy.would", **words)
    else:
        status, text = "ok", message("backup_copy.done" if done else "backup_copy.nothing", **words)
    return finding(
        "backup.%s.copy.%s" % (backup.name, copy.name),
        "backup",
        status,
        text,
        value=len(done),
        unit="",
        evidence={name: value for name, value in evidence.items() if value},
        remedy=backup.remedy,
        duration_ms=took * 1000,
    )


def fetch(
    backup: Backup,
    copy: Copy,
    wanted: str,
    store: Callable[[Backup, Copy], Store],
    check_mode: bool = False,
    now: Callable[[], float] = time.time,
) -> Report:
    """Fetch a set from a copy into the root. ``wanted``: a set's name, or ``newest``. Its sums are checked before it gets its name."""
    started = time.monotonic()
    try:
        far = store(backup, copy)
        present = far.present()
        name = (present[0] if present else "") if wanted == "newest" else wanted
        if name not in present:
            raise CopyError("missing", "the copy has no set %s; it has %s" % (wanted, ", ".join(present[:5]) or "none"))
        final = os.path.join(backup.root, name)
        changed = not os.path.lexists(final)
        backup_disk.check(backup)
        if changed and not check_mode:
            _fetch(backup, copy, far, name, final, now)
        status, text = "ok", message("backup_copy.fetched" if changed else "backup_copy.here", name=backup.name, copy=copy.name, set=name)
        told = [{"backup": backup.name, "copy": copy.name, "set": name}] if changed else []
    except (CopyError, backup_sets.BackupError, backup_manifest.ManifestError) as error:
        changed, told = False, []
        status, text = "critical", message("backup_copy.not_fetched", name=backup.name, copy=copy.name, set=wanted, reason=str(error))
    check = "backup.%s.fetch.%s" % (backup.name, copy.name)
    return Report(
        changed, [finding(check, "backup", status, text, remedy=backup.remedy, duration_ms=(time.monotonic() - started) * 1000)], told
    )


def _fetch(backup: Backup, copy: Copy, far: Store, name: str, final: str, now: Callable[[], float]) -> None:
    os.makedirs(backup.root, mode=0o700, exist_ok=True)
    with backup_sets.locked(backup.root, "fetch"):
        partial = os.path.join(backup.root, name + FETCHING)
        shutil.rmtree(partial, ignore_errors=True)
        os.mkdir(partial, 0o700)
        try:
            far.fetch(name, partial)
            data = backup_manifest.read_file(os.path.join(partial, backup_manifest.MANIFEST))
            manifest = backup_manifest.parse(data)
            made = backup_ledger.manifest_sha256(backup_ledger.read(backup.root), name)
            if made not in (None, hashlib.sha256(data).hexdigest()):
                raise CopyError("differs", "the manifest is not the one that was made here")
            for problem in backup_manifest.check_files(manifest, partial):
                raise CopyError("differs", "%s: %s %s" % (problem.file, problem.code, problem.detail))
            for artifact in manifest.artifacts:
                if backup_stream.digest(os.path.join(partial, artifact.file)).sha256 != artifact.sha256:
                    raise CopyError("differs", "%s has not the manifest's sha256" % artifact.file)
            _record(partial, {"name": copy.name, "at": utc_now(now()), "objects": len(manifest.artifacts) + 1, "bytes": manifest.size})
            backup_sets.sync_folder(partial)
            os.rename(partial, final)
            backup_sets.sync_folder(backup.root)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        backup_ledger.append(backup.root, "fetched", name, now(), copy=copy.name, manifest_sha256=hashlib.sha256(data).hexdigest())
