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
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Command, Limits

from .. import manifest as backup_manifest
from .store import CopyError, Item, Sent, Store, other, seconds_for

#: Seconds that restic may take for what moves next to no data. It tries again for a quarter of an hour itself.
SHORT = 1200.0
_WHOLE = 1 << 40
_WHOLE_SECONDS = 86400.0
#: What restic says of a place that can be reached and holds no repository, and of one that cannot be.
_NO_REPOSITORY = ("Is there a repository", "repository does not exist")
_NO_WAY = ("dial tcp", "connection", "no such host", "timeout", "denied", "server response unexpected")


class ResticStore(Store):
    """A restic repository. ``backup``: its name, with which snapshots are tagged; ``cache``: folder for restic's own cache."""

    def __init__(self, options: Mapping[str, Any], backup: str, limits: Limits, bandwidth: Optional[int], cache: str) -> None:
        self._backup, self._limits, self._bandwidth = backup, limits, bandwidth
        self._forgotten = False
        self._known: Optional[Dict[str, str]] = None
        self._folders: Dict[str, str] = {}
        self._manifests: Dict[str, str] = {}
        self._snapshots_of: Dict[str, List[Tuple[str, str]]] = {}
        self._env = {
            "RESTIC_REPOSITORY": str(options["repository"]),
            "RESTIC_PASSWORD": str(options["password"]),
            "RESTIC_CACHE_DIR": cache,
        }
        for key, name in (("access_key", "AWS_ACCESS_KEY_ID"), ("secret_key", "AWS_SECRET_ACCESS_KEY")):
            if options.get(key):
                self._env[name] = str(options[key])

    def present(self) -> List[str]:
        """The sets that have a snapshot; none when there is no repository yet."""
        try:
            return sorted(self._snapshots(), reverse=True)
        except CopyError as error:
            if error.code != "missing":
                raise
            return []

    def held(self) -> Dict[str, str]:
        """The sets whose snapshots tell of their manifests' sums, as those do that are made here."""
        self.present()
        return dict(self._manifests)

    # Every start of restic costs the better part of a second, for it derives its key from the password: few are made.
    def _snapshots(self) -> Dict[str, str]:
        """Set names and their newest snapshot's id. A snapshot is written last of all, so one that is there is whole."""
        if self._known is not None:
            return self._known
        told = json.loads(self._restic("snapshots", "--json", "--tag", "backup=" + self._backup) or b"[]") or []
        self._known = {}
        for item in sorted(told, key=lambda item: str(item["time"])):
            tags = dict(tag.partition("=")[::2] for tag in item.get("tags") or ())
            name = tags.get("set", "")
            if set_names.name_time(name) is not None:
                self._remember(name, item["id"], os.path.dirname(item["paths"][0]), tags.get("manifest", ""))
        return self._known

    def _remember(self, name: str, snapshot: str, folder: str, manifest: str) -> None:
        if self._known is None:
            self._known = {}
        self._known[name], self._folders[name], self._manifests[name] = snapshot, folder, manifest
        self._snapshots_of.setdefault(name, []).append((snapshot, manifest))

    def send(self, name: str, items: Sequence[Item]) -> Sent:
        """Make a snapshot of the set's folder; what an earlier try has stored is not sent again."""
        self._open()
        snapshot = self._snapshots().get(name)
        if snapshot is not None and self._manifests[name] != items[-1].sha256:
            raise other(name)
        sent = 0
        size = sum(item.size for item in items)
        if snapshot is None or not self._same(snapshot, self._folders[name], items):
            words = ["backup", "--json", "--tag", "backup=%s,set=%s,manifest=%s" % (self._backup, name, items[-1].sha256)]
            if self._bandwidth:
                words += ["--limit-upload", str(max(1, self._bandwidth // 1024))]
            paths = [item.path for item in items]
            for line in self._restic(*words, "--", *paths, seconds=seconds_for(size, self._bandwidth)).splitlines():
                told = json.loads(line)
                if told.get("message_type") == "summary":
                    snapshot, sent = told["snapshot_id"], int(told.get("data_added", 0))
            folder = os.path.dirname(items[0].path)
            if snapshot is None or not self._same(snapshot, folder, items):
                raise CopyError("differs", "what the repository gives back for %s is not what was sent" % name)
            self._remember(name, snapshot, folder, items[-1].sha256)
        return Sent(len(items), size, sent, "read back from the repository")

    def _same(self, snapshot: str, folder: str, items: Sequence[Item]) -> bool:
        """Whether the repository gives the items back: the whole folder, as it was called then, in one stream, each file of it summed."""
        found: Dict[str, str] = {}

        def summed(name: str, blocks: Iterator[bytes]) -> None:
            digest = hashlib.sha256()
            for block in blocks:
                digest.update(block)
            found[name] = digest.hexdigest()

        try:
            self._files(snapshot, folder, summed, sum(item.size for item in items))
        except CopyError as error:
            if error.code == "failed":
                return False
            raise
        return all(found.get(item.name) == item.sha256 for item in items)

    def _files(self, snapshot: str, folder: str, each: Callable[[str, Iterator[bytes]], None], size: int) -> None:
        """Hand every file of a folder in a snapshot to ``each``."""
        limit = ("--limit-download", str(max(1, self._bandwidth // 1024))) if self._bandwidth else ()
        what = self._command("dump", *limit, "--archive", "tar", snapshot, folder, seconds=seconds_for(size, self._bandwidth))
        with self._told(), backup_stream.produced(what, self._limits) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                name = os.path.basename(member.name)
                data = tar.extractfile(member) if member.isreg() and name and not name.startswith(".") else None
                if data is not None:
                    each(name, iter(functools.partial(data.read, 1 << 20), b""))

    def _held(self, name: str) -> str:
        """The snapshot of a set. CopyError."""
        snapshot = self._snapshots().get(name)
        if snapshot is None:
            raise CopyError("missing", "there is no snapshot of the set %s" % name)
        return snapshot

    def manifest(self, name: str) -> bytes:
        """The manifest out of the set's snapshot."""
        snapshot = self._held(name)
        return self._restic("dump", snapshot, os.path.join(self._folders[name], backup_manifest.MANIFEST))

    def fetch(self, name: str, files: Sequence[str], folder: str) -> None:
        """Dump files of the set's snapshot."""

        def written(file: str, blocks: Iterator[bytes]) -> None:
            if file in files:
                handle = os.open(os.path.join(folder, file), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(handle, "wb") as target:
                    target.writelines(blocks)

        self._files(self._held(name), self._folders[name], written, _WHOLE)

    def remove(self, name: str, manifest: str) -> None:
        """Forget every snapshot of the set."""
        self._held(name)
        if any(told != manifest for _id, told in self._snapshots_of[name]):
            raise other(name)
        self._restic("forget", *(snapshot for snapshot, _told in self._snapshots_of[name]))
        self._forgotten = True

    def tidy(self) -> None:
        """Prune the repository when something was forgotten."""
        if self._forgotten:
            self._restic("prune", seconds=_WHOLE_SECONDS)

    def _open(self) -> None:
        """Make the repository when there is none yet; a wrong password is told, never answered with a new one."""
        try:
            self._snapshots()
        except CopyError as error:
            if error.code != "missing":
                raise
            self._restic("init")

    def _command(self, *words: str, seconds: float = 0.0) -> Command:
        quiet = () if words[0] == "backup" else ("--quiet",)
        # restic waits for ever for a far end that says nothing; what it has started (ssh) is ended with it.
        return Command(("timeout", "--kill-after=10", "%d" % (seconds or SHORT), "restic", *quiet, *words), self._env)

    def _restic(self, *words: str, seconds: float = 0.0) -> bytes:
        with self._told():
            try:
                return backup_stream.run(self._command(*words, seconds=seconds), limits=self._limits)
            except backup_stream.StreamError as error:
                if "already locked" not in error.said:
                    raise
            backup_stream.run(self._command("unlock"), limits=self._limits)  # removes only locks whose owner is gone
            return backup_stream.run(self._command(*words, seconds=seconds), limits=self._limits)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except tarfile.TarError as error:
            raise CopyError("failed", "restic gives back no archive: %s" % error) from error
        except OSError as error:
            raise CopyError("failed", "%s: %s" % (error.filename or "a file", error.strerror or error)) from error
        except backup_stream.StreamError as error:
            said = self._masked(error.said)
            bare = error.said.replace(self._env["RESTIC_REPOSITORY"], "")
            if error.status in (124, 137, -9):
                raise CopyError("unreachable", "restic gave no answer in time" + (": " + said if said else "")) from None
            code = "program" if error.status in (None, 127) else "failed"
            if "wrong password" in said or "no key found" in said:
                code = "denied"
            elif any(word in bare for word in _NO_REPOSITORY) and not any(word in bare for word in _NO_WAY):
                code = "missing"
            elif any(word in bare for word in (*_NO_WAY, "unable to open repository", "unable to open config")):
                code = "unreachable"
            ended = "is not installed" if code == "program" else "ended with status %s: %s" % (error.status, said)
            raise CopyError(code, "restic " + ended) from None

    def _masked(self, said: str) -> str:
        """Without what a repository's address may hold: a user and a password."""
        address = self._env["RESTIC_REPOSITORY"]
        user, at, _rest = address.partition("//")[2].rpartition("@")
        for secret in [user, *user.split(":")] if at else []:
            said = said.replace(secret, "***") if len(secret) > 3 else said
        return said
