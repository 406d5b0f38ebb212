# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of OpenSearch in folders that this host sees: snapshots into them, tars of them, indices out of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tarfile
import time
from typing import IO, Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream

from ..artifact import Artifact
from ..base import EngineError, Stored, Work
from .client import PAUSE, Client

_SNAPSHOT = "snapshot"
#: What the artifact tells of aliases and templates; its first file.
ABOUT = "opsrunner.json"
#: Seconds that a run waits for another one's repository.
_WAIT = 600.0


def folder_of(spec: Mapping[str, Any]) -> str:
    path = str(spec["repository_path"])
    if not os.path.isdir(path):
        raise EngineError("unreachable", "%s is not there: the folder of snapshots is to be seen by this host" % path)
    return path


def indices_of(artifact: Artifact) -> List[str]:
    return sorted(str(name) for name in artifact.source.get("indices", ()))


@contextlib.contextmanager
def repository(client: Client, spec: Mapping[str, Any], name: str) -> Iterator[Tuple[str, str]]:
    """A repository in a folder of its own; it is unregistered and the folder removed at the end."""
    root = folder_of(spec)
    folder = os.path.join(root, name)
    with _alone(folder):
        _forget(client, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder, 0o750)
        _own(folder, root)
        try:
            yield name, folder
        finally:
            with contextlib.suppress(EngineError):  # the next one removes it; what went wrong before is to be told
                _forget(client, name)
            shutil.rmtree(folder, ignore_errors=True)


def _forget(client: Client, name: str) -> None:
    """Unregister a repository, also one that a killed run has left in the middle of a snapshot or without its folder."""
    if client.ask("GET", "/_snapshot/%s" % name, missing=True) is not None:
        with contextlib.suppress(EngineError):
            client.ask("DELETE", "/_snapshot/%s/%s" % (name, _SNAPSHOT), missing=True, slow=True)
        client.ask("DELETE", "/_snapshot/%s" % name, missing=True)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """One at a time: another backup of the same indices has a repository of the same name. EngineError."""
    import socket

    end = time.monotonic() + _WAIT
    # A name that is free again when we end, however that comes; a file would stay.
    mark = "\0opsrunner-repository-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        while True:
            try:
                held.bind(mark)
                break
            except OSError:
                if time.monotonic() > end:
                    raise EngineError("unreachable", "%s is in use by another run" % folder) from None
                time.sleep(PAUSE)
        yield


def _own(path: str, root: str) -> None:
    """Have the server own what is below its folder."""
    if os.geteuid() == 0:
        about = os.stat(root)
        os.chown(path, about.st_uid, about.st_gid, follow_symlinks=False)


def register(client: Client, name: str, folder: str, readonly: bool) -> None:
    body = {"type": "fs", "settings": {"location": folder, "compress": True, "readonly": readonly}}
    client.ask("PUT", "/_snapshot/%s" % name, body)


def snapshot(client: Client, name: str, indices: Sequence[str]) -> None:
    """Make a snapshot and wait until it is whole. EngineError."""
    body = {"indices": list(indices) or ["-*"], "include_global_state": False, "partial": False, "ignore_unavailable": False}
    client.ask("PUT", "/_snapshot/%s/%s" % (name, _SNAPSHOT), body)
    while True:
        told = client.ask("GET", "/_snapshot/%s/%s" % (name, _SNAPSHOT))["snapshots"][0]
        if told["state"] == "SUCCESS" and not told["shards"]["failed"]:
            return
        if told["state"] not in ("IN_PROGRESS", "STARTED"):
            why = "; ".join(str(item.get("reason", item)) for item in told.get("failures", ()))[:300]
            raise EngineError("failed", "the snapshot is %s: %s" % (told["state"], why))
        time.sleep(PAUSE)


def restore(client: Client, repository: str, indices: Sequence[str], prefix: str) -> None:
    """Restore indices under other names and wait until they are there. EngineError."""
    for name in indices:
        body = {
            "indices": name,
            "rename_pattern": "^(.+)$",
            "rename_replacement": prefix + "$1",
            "include_aliases": False,
            "include_global_state": False,
            "partial": False,
        }
        path = "/_snapshot/%s/%s/_restore?wait_for_completion=true" % (repository, _SNAPSHOT)
        told = client.ask("POST", path, body, slow=True)["snapshot"]
        if told["shards"]["failed"] or prefix + name not in told["indices"]:
            raise EngineError("damaged", "%s cannot be restored from the snapshot" % name)
        client.ready(prefix + name)


@contextlib.contextmanager
def restored(client: Client, repository: str, indices: Sequence[str], prefix: str) -> Iterator[None]:
    """Restored indices that are gone at the end."""
    for name in indices:
        client.delete(prefix + name)
    try:
        restore(client, repository, indices, prefix)
        yield
    finally:
        for name in indices:
            client.delete(prefix + name)


@contextlib.contextmanager
def members_of(artifact: Artifact, stored: Stored, work: Work) -> Iterator[Any]:
    """The files of the artifact, each with its content as a file (None: a folder); refuses all that is neither. EngineError."""
    compression = artifact.compression or "none"

    def members(archive: tarfile.TarFile) -> Iterator[Any]:
        for member in archive:
            name = os.path.normpath(member.name)
            if member.name.startswith("/") or ".." in member.name.split("/") or not (member.isfile() or member.isdir()):
                raise EngineError("unsafe", "the snapshot's archive holds %r, which is no file inside it" % member.name)
            yield name, archive.extractfile(member) if member.isfile() else None

    try:
        with backup_stream.read(stored.path, compression, bool(artifact.encryption), stored.identity, work.limits) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                yield members(archive)
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError) as error:
        raise EngineError("damaged", "the snapshot's archive cannot be read: %s" % error) from None


@contextlib.contextmanager
def unpacked(client: Client, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, work: Work, name: str) -> Iterator[str]:
    """The artifact as a repository that is only read; gone at the end."""
    root = folder_of(spec)
    needed = int(artifact.source.get("bytes", 0))
    free = shutil.disk_usage(root).free
    if free < needed:
        raise EngineError("space", "%s has %d bytes free, %d are needed" % (root, free, needed))
    with repository(client, spec, name) as (_name, folder):
        with members_of(artifact, stored, work) as members:
            for inner, content in members:
                path = os.path.join(folder, inner)
                if inner in (".", ABOUT):
                    continue
                if content is None:
                    os.makedirs(path, 0o750, exist_ok=True)
                else:
                    _copy(content, path)
                _own(path, root)
        register(client, name, folder, True)
        yield name


def _copy(content: IO[bytes], path: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
    with os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)


def about_of(artifact: Artifact, stored: Stored, work: Work) -> Dict[str, Any]:
    """What the artifact tells of aliases and templates; it is its first file."""
    with members_of(artifact, stored, work) as members:
        for name, content in members:
            if name == ABOUT and content is not None:
                found = json.loads(content.read(64 << 20))
                return found if isinstance(found, dict) else {}
            break
    return {}
