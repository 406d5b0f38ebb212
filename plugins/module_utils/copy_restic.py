# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies in a restic repository: encrypted and deduplicated there; each artifact is read back through restic and summed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tarfile
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils import backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_places import Command, Limits
from ansible_collections.opsrunner.runbook.plugins.module_utils.copy_base import CopyError, Item, Sent, Store


class ResticStore(Store):
    """A restic repository. ``backup``: its name, with which snapshots are tagged; ``cache``: folder for restic's own cache."""

    def __init__(self, options: Mapping[str, Any], backup: str, limits: Limits, bandwidth: Optional[int], cache: str) -> None:
        self._backup, self._limits, self._bandwidth = backup, limits, bandwidth
        self._known: Optional[Dict[str, str]] = None
        self._env = {
            "RESTIC_REPOSITORY": str(options["repository"]),
            "RESTIC_PASSWORD": str(options["password"]),
            "RESTIC_CACHE_DIR": cache,
        }
        for key, name in (("access_key", "AWS_ACCESS_KEY_ID"), ("secret_key", "AWS_SECRET_ACCESS_KEY")):
            if options.get(key):
                self._env[name] = str(options[key])

    def present(self) -> List[str]:
        """The sets that have a snapshot."""
        return sorted(self._snapshots(), reverse=True)

    # Every start of restic costs the better part of a second, for it derives its key from the password: few are made.
    def _snapshots(self) -> Dict[str, str]:
        """Set names and their newest snapshot's id. A snapshot is written last of all, so one that is there is whole."""
        if self._known is not None:
            return self._known
        found: Dict[str, str] = {}
        told = json.loads(self._restic("snapshots", "--json", "--tag", "backup=" + self._backup) or b"[]") or []
        for item in sorted(told, key=lambda item: str(item["time"])):
            for tag in item.get("tags") or ():
                if tag.startswith("set="):
                    found[tag[4:]] = item["id"]
        self._known = found
        return found

    def send(self, name: str, items: Sequence[Item]) -> Sent:
        """Make a snapshot of the set's folder; what an earlier try has stored is not sent again."""
        self._open()
        snapshot = self._snapshots().get(name)
        sent = 0
        if snapshot is None or not self._same(snapshot, items):
            words = ["backup", "--json", "--tag", "backup=%s,set=%s" % (self._backup, name)]
            if self._bandwidth:
                words += ["--limit-upload", str(max(1, self._bandwidth // 1024))]
            for line in self._restic(*words, "--", *(item.path for item in items)).splitlines():
                told = json.loads(line)
                if told.get("message_type") == "summary":
                    snapshot, sent = told["snapshot_id"], int(told.get("data_added", 0))
            if snapshot is None or not self._same(snapshot, items):
                raise CopyError("differs", "what the repository gives back for %s is not what was sent" % name)
            self._snapshots()[name] = snapshot
        return Sent(len(items), sum(item.size for item in items), sent, "read back from the repository")

    def _same(self, snapshot: str, items: Sequence[Item]) -> bool:
        """Whether the repository gives the items back: the whole folder in one stream, each file of it summed."""
        found: Dict[str, str] = {}

        def summed(name: str, blocks: Iterator[bytes]) -> None:
            digest = hashlib.sha256()
            for block in blocks:
                digest.update(block)
            found[name] = digest.hexdigest()

        try:
            self._files(snapshot, os.path.dirname(os.path.realpath(items[0].path)), summed)
        except CopyError as error:
            if error.code == "failed":
                return False
            raise
        return all(found.get(item.name) == item.sha256 for item in items)

    def _files(self, snapshot: str, folder: str, each: Callable[[str, Iterator[bytes]], None]) -> None:
        """Hand every file of a folder in a snapshot to ``each``."""
        what = self._command("dump", "--archive", "tar", snapshot, folder)
        with self._told(), backup_stream.produced(what, self._limits) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                name = os.path.basename(member.name)
                data = tar.extractfile(member) if member.isreg() and name and not name.startswith(".") else None
                if data is not None:
                    each(name, iter(functools.partial(data.read, 1 << 20), b""))

    def fetch(self, name: str, folder: str) -> None:
        """Dump every file of the set's snapshot."""
        snapshot = self._snapshots().get(name)
        if snapshot is None:
            raise CopyError("missing", "there is no snapshot of the set %s" % name)
        (told,) = [item for item in json.loads(self._restic("snapshots", "--json", snapshot)) if item["id"] == snapshot]

        def written(file: str, blocks: Iterator[bytes]) -> None:
            handle = os.open(os.path.join(folder, file), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as target:
                target.writelines(blocks)

        self._files(snapshot, os.path.dirname(told["paths"][0]), written)

    def _open(self) -> None:
        """Make the repository when there is none yet; a wrong password is told, never answered with a new one."""
        try:
            self._snapshots()
        except CopyError as error:
            if "Is there a repository" not in str(error):
                raise
            self._restic("init")

    def _command(self, *words: str) -> Command:
        return Command(("restic", *(() if words[0] == "backup" else ("--quiet",)), *words), self._env)

    def _restic(self, *words: str) -> bytes:
        with self._told():
            try:
                return backup_stream.run(self._command(*words), limits=self._limits)
            except backup_stream.StreamError as error:
                if "already locked" not in error.said:
                    raise
            backup_stream.run(self._command("unlock"), limits=self._limits)  # removes only locks whose owner is gone
            return backup_stream.run(self._command(*words), limits=self._limits)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except tarfile.TarError as error:
            raise CopyError("failed", "restic gives back no archive: %s" % error) from error
        except backup_stream.StreamError as error:
            said = error.said
            code = "program" if error.status is None else "failed"
            if "wrong password" in said or "no key found" in said:
                code = "denied"
            elif any(word in said for word in ("dial tcp", "connection", "unable to open repository", "unable to open config")):
                code = "unreachable"
            raise CopyError(code, str(error)) from error
