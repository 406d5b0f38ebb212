# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of sets off this host, and back: what is sent, what the far end proved, what is written down.

``<set>/copies.json`` tells where a set is: ``{"schema": 1, "copies": [{"name": …, "at": …, "objects": …, "bytes": …}]}``.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message, utc_now
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream

from .. import disk as backup_disk
from .. import ledger as backup_ledger
from .. import manifest as backup_manifest
from .. import sets as backup_sets
from ..options import Backup
from ..plan import Copy
from .store import CopyError, Item, Store

COPIES = "copies.json"
MANIFEST = backup_manifest.MANIFEST
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
        return {str(item["name"]): times.parse_time(item["at"]) for item in _entries(folder)}
    except (ValueError, KeyError, TypeError):
        return {}


def _entries(folder: str) -> List[Dict[str, Any]]:
    try:
        told = json.loads(backup_manifest.read_file(os.path.join(folder, COPIES)))["copies"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, backup_manifest.ManifestError):
        return []
    return [item for item in told if isinstance(item, dict)] if isinstance(told, list) else []


def record(folder: str, entry: Mapping[str, Any]) -> None:
    """Write down where a set is; an entry with ``removed`` tells when it was removed there by its ``keep``. Raises OSError."""
    known = [item for item in _entries(folder) if item.get("name") != entry["name"]] + [dict(entry)]
    told = json.dumps({"schema": 1, "copies": known}, indent=1).encode() + b"\n"
    durable.write_synced(os.path.join(folder, COPIES), told)


def forget(folder: str, copy: str, at: float) -> None:
    """Write down that a set was removed at a copy, so that it is not sent there again. Raises OSError."""
    entry = next((item for item in _entries(folder) if item.get("name") == copy), {"name": copy, "at": utc_now(at)})
    record(folder, {**entry, "removed": utc_now(at)})


def _removed(folder: str, copy: str) -> bool:
    return any(item.get("name") == copy and item.get("removed") for item in _entries(folder))


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
    """Send every whole set that a copy does not have, the newest first. One copy that fails stops no other."""
    sending = [_Sending(backup, copy, store, check_mode, now) for backup in backups for copy in backup.plan.copies]
    findings = [one.run() for one in sending]
    return Report(any(one.done for one in sending), findings, [told for one in sending for told in one.done])


class _Sending:
    """What one copy of a backup lacks, and what became of it."""

    def __init__(
        self, backup: Backup, copy: Copy, store: Callable[[Backup, Copy], Store], check_mode: bool, now: Callable[[], float]
    ) -> None:
        self.backup, self.copy, self.store, self.check_mode, self.now = backup, copy, store, check_mode, now
        self.done: List[Dict[str, Any]] = []
        self.lost: List[str] = []
        self.broken: List[str] = []
        self.problems: List[str] = []
        self.busy = False

    def run(self) -> Finding:
        """Send, and tell."""
        started = time.monotonic()
        try:
            backup_disk.check(self.backup)
            if self.check_mode:
                self._all()
            else:
                with backup_sets.locked(self.backup.root, "the copying of %s" % self.backup.name, lock=backup_sets.COPYING):
                    self._all()
        except backup_sets.BackupError as error:
            self.busy = error.code == "busy"
            self.problems.append(str(error))
        except CopyError as error:
            self.problems.append(str(error))
        except OSError as error:
            self.problems.append(reason_of(error))
        return self._told(time.monotonic() - started)

    def _all(self) -> None:
        sets = backup_sets.listed(self.backup.root)
        if not sets:
            return
        far = self.store(self.backup, self.copy)
        # What was written down is not believed: the far end may have lost it since.
        present = set(far.present())
        for found in sets:
            known = self.copy.name in recorded(found.path)
            if _removed(found.path, self.copy.name) or (known and found.name in present):
                continue
            if known:
                self.lost.append(found.name)
            if found.manifest is None or not found.sound:
                self.broken.append(found.name)
                continue
            told = {"backup": self.backup.name, "copy": self.copy.name, "set": found.name, "bytes": found.size}
            try:
                self.done.append(told if self.check_mode else {**told, **self._send(far, found)})
            except CopyError as error:
                if error.code != "differs":  # what is wrong with one set is no reason to keep the others here
                    raise
                self.problems.append("%s: %s" % (found.name, error))

    def _send(self, far: Store, found: backup_sets.SetFolder) -> Dict[str, Any]:
        sent = far.send(found.name, _items(found))
        at = self.now()
        record(found.path, {"name": self.copy.name, "at": utc_now(at), "objects": sent.objects, "bytes": sent.bytes})
        backup_ledger.append(self.backup.root, "copied", found.name, at, copy=self.copy.name, bytes=sent.bytes, proof=sent.proof)
        return {"bytes": sent.bytes, "sent": sent.sent}

    def _told(self, took: float) -> Finding:
        evidence = {
            "copied_sets": [item["set"] for item in self.done],
            "copy_kind": self.copy.kind,
            "copy_broken": self.broken,
            "copy_lost": self.lost,
        }
        count = len(self.done)
        words = {"name": self.backup.name, "copy": self.copy.name, "count": count, "bytes": sum(item["bytes"] for item in self.done)}
        if self.problems:
            status, text = "warning" if self.busy else "critical", message("backup_copy.failed", reason="; ".join(self.problems), **words)
        elif self.broken:
            status, text = "warning", message("backup_copy.broken", broken=len(self.broken), **words)
        elif self.lost:
            status, text = "warning", message("backup_copy.lost", lost=len(self.lost), **words)
        elif self.check_mode and self.done:
            status, text = "ok", message("backup_copy.would", **words)
        else:
            status, text = "ok", message("backup_copy.done" if self.done else "backup_copy.nothing", **words)
        return finding(
            "backup.%s.copy.%s" % (self.backup.name, self.copy.name),
            "backup",
            status,
            text,
            value=count,
            unit="",
            evidence={name: value for name, value in evidence.items() if value},
            remedy=self.backup.remedy,
            duration_ms=took * 1000,
        )


def reason_of(error: OSError) -> str:
    """An error of the system, for people."""
    reason = error.strerror or str(error)
    return "%s: %s" % (error.filename, reason) if error.filename else reason


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
    problem: Optional[str] = None
    try:
        far = store(backup, copy)
        backup_disk.check(backup)
        present = far.present()
        name = (present[0] if present else "") if wanted == "newest" else wanted
        if name not in present:
            raise CopyError("missing", "the copy has no set %s; it has %s" % (wanted, ", ".join(present[:5]) or "none"))
        changed = not os.path.lexists(os.path.join(backup.root, name))
        if not changed:
            _check_same(backup, name, far)
        elif not check_mode:
            _fetch(backup, copy, far, name, now)
        status, text = "ok", message("backup_copy.fetched" if changed else "backup_copy.here", name=backup.name, copy=copy.name, set=name)
        told = [{"backup": backup.name, "copy": copy.name, "set": name}] if changed else []
    except (CopyError, backup_sets.BackupError, backup_manifest.ManifestError) as error:
        problem = str(error)
    except OSError as error:
        problem = reason_of(error)
    if problem is not None:
        changed, told = False, []
        status, text = "critical", message("backup_copy.not_fetched", name=backup.name, copy=copy.name, set=wanted, reason=problem)
    check = "backup.%s.fetch.%s" % (backup.name, copy.name)
    return Report(
        changed, [finding(check, "backup", status, text, remedy=backup.remedy, duration_ms=(time.monotonic() - started) * 1000)], told
    )


def _check_same(backup: Backup, name: str, far: Store) -> None:
    """CopyError unless the set that is here is whole, and the one that the copy has. Its content is for backup_verify."""
    here = backup_sets.look(backup.root, name)
    if here.problem or os.path.islink(here.path):
        raise CopyError("differs", "a folder of that name is here, and is no whole set (%s): move it away" % (here.problem or "a link"))
    if backup_sets.sha256(far.manifest(name)) != backup_sets.sha256(backup_manifest.read_file(os.path.join(here.path, MANIFEST))):
        raise CopyError("differs", "another set of that name is here, with another manifest")


def _fetch(backup: Backup, copy: Copy, far: Store, name: str, now: Callable[[], float]) -> None:
    os.makedirs(backup.root, mode=0o700, exist_ok=True)
    with backup_sets.locked(backup.root, "fetch"):
        partial = os.path.join(backup.root, name + FETCHING)
        if os.path.lexists(partial):
            shutil.rmtree(partial)
        os.mkdir(partial, 0o700)
        try:
            data = far.manifest(name)
            manifest = backup_manifest.parse(data)
            digest = backup_sets.sha256(data)
            if backup_ledger.manifest_sha256(backup_ledger.read(backup.root), name) not in (None, digest):
                raise CopyError("differs", "the manifest is not the one that was made here")
            files = [artifact.file for artifact in manifest.artifacts]
            for file in files:
                if file != os.path.basename(file) or file.startswith(".") or not file or file == MANIFEST:
                    raise CopyError("differs", "the manifest names a file that is in no set: %r" % file)
            free = os.statvfs(partial)
            if manifest.size > free.f_bavail * free.f_frsize:
                raise CopyError("failed", "%d bytes are needed, %d are free" % (manifest.size, free.f_bavail * free.f_frsize))
            far.fetch(name, files, partial)
            for wrong in backup_manifest.check_files(manifest, partial):
                raise CopyError("differs", "%s: %s %s" % (wrong.file, wrong.code, wrong.detail))
            for artifact in manifest.artifacts:
                if backup_stream.digest(os.path.join(partial, artifact.file)).sha256 != artifact.sha256:
                    raise CopyError("differs", "%s has not the manifest's sha256" % artifact.file)
                _sync_file(os.path.join(partial, artifact.file))
            durable.write_synced(os.path.join(partial, MANIFEST), data)
            record(partial, {"name": copy.name, "at": utc_now(now()), "objects": len(files) + 1, "bytes": manifest.size})
            os.rename(partial, os.path.join(backup.root, name))
            durable.sync_folder(backup.root)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        backup_ledger.append(backup.root, "fetched", name, now(), copy=copy.name, manifest_sha256=digest)


def _sync_file(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
