# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine opensearch: indices as a snapshot in a repository of its own, whose folder is the artifact.

The folder is below ``path.repo`` of the server and is seen by this host too. Each set has a fresh repository, so that it
stands alone. Without ``indices`` all are taken that do not start with a dot. Indices cannot be renamed: a restore clones the
present one aside, checks the clone, deletes the index and clones the staged one into its place; each step is written down in
an index of the restore's own. Indices that the backup does not have are not touched; templates that are missing are put back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple
from urllib.parse import urlsplit

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, nearest
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import command

from ..artifact import Artifact
from ..base import Drilled, Dump, Engine, EngineError, Found, Request, Restorer, Stored, Told, Work, opened, own_ident
from . import snapshots
from .client import PREFIX, Client, quoted


def _url(value: Any, path: str) -> str:
    found = read.text(value, path).rstrip("/")
    try:
        parts = urlsplit(found)
        parts.port  # noqa: B018 - ValueError when it is none
    except ValueError as error:
        raise OptionError(path, "%r is no address of a server: %s" % (found, error), hint="https://localhost:9200") from None
    if parts.username or parts.password:
        raise OptionError(path, "holds a user or a password: say them by user and password")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise OptionError(path, "%r is no address of a server" % found, hint="https://localhost:9200")
    return found


class OpensearchEngine(Engine):
    """Indices of an OpenSearch server."""

    name = "opensearch"
    ending = ".tar"
    readers: Mapping[str, read.Reader] = {
        "url": _url,
        "indices": read.texts,
        "user": read.user,
        "password": read.password,
        "ca_file": read.absolute,
        "repository": read.name,
        "repository_path": read.absolute,
        "timeout": read.duration,
    }
    required = ("url", "repository_path")

    def parse(self, item: Mapping[str, Any], path: str) -> Dict[str, Any]:
        """User and password go together. OptionError."""
        for one, other in (("user", "password"), ("password", "user")):
            if item.get(one) and not item.get(other):
                raise OptionError("%s.%s" % (path, other), "is needed with %s" % one)
        for at, name in enumerate(item.get("indices", ())):
            if name.startswith((PREFIX, "-", "_")) or "," in name:
                raise OptionError("%s.indices[%d]" % (path, at), "%r is no index that can be backed up" % name)
        return dict(item)

    def reach(self, spec: Mapping[str, Any], work: Work) -> None:
        """Whether the server answers and the folder is there. EngineError."""
        snapshots.folder_of(spec)
        Client(spec).version()

    @contextlib.contextmanager
    def dump(self, spec: Mapping[str, Any], work: Work) -> Iterator[Dump]:
        """A snapshot in a repository of its own, as a tar of its folder."""
        client = Client(spec)
        version = client.version()
        there = client.indices(spec.get("indices", ()))
        if spec.get("indices") and not there:
            raise EngineError("unreachable", "there is no index %s" % ", ".join(spec["indices"]))
        _warn_of_missing(client, spec, there, work)
        before = client.written(sorted(there))
        with snapshots.repository(client, spec, _own_name(spec, "dump")) as (repository, folder):
            snapshots.register(client, repository, folder, False)
            snapshots.snapshot(client, repository, sorted(there))
            counts = {name: client.count(name) for name in there}
            after = client.written(sorted(there))
            moved = sorted(name for name in there if after.get(name) != before.get(name))
            if moved:
                # What was written to meanwhile is counted in the snapshot itself.
                prefix = _own_name(spec, "count") + "-"
                with snapshots.restored(client, repository, moved, prefix):
                    counts.update({name: client.count(prefix + name) for name in moved})
            about = {
                "indices": {name: {"aliases": told.get("aliases", {}), "blocked": _blocked(told)} for name, told in there.items()},
                "templates": _where_allowed(client, "/_index_template", work),
                "component_templates": _where_allowed(client, "/_component_template", work),
            }
            with open(os.path.join(work.scratch, snapshots.ABOUT), "w", encoding="utf-8") as file:
                json.dump(about, file)
            size = sum(os.path.getsize(os.path.join(parent, name)) for parent, _folders, names in os.walk(folder) for name in names)

            def finish() -> Told:
                told = {"documents.%s" % name: number for name, number in counts.items()}
                samples = {"mapping.%s" % name: _digest(item.get("mappings", {})) for name, item in there.items()}
                return Told(told, samples, {"bytes": size, "indices": sorted(there)}, "opensearch-snapshot", None, version or None)

            yield Dump(command("tar", "-cf", "-", "-C", work.scratch, snapshots.ABOUT, "-C", folder, "."), finish)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """Read the tar to its end: only plain files with names that stay inside, and a repository's own among them. EngineError."""
        names = set()
        with snapshots.members_of(artifact, stored, work) as members:
            for name, content in members:
                if content is not None:
                    names.add(name)
                    while content.read(1 << 20):
                        pass
        tops = {name for name in names if "/" not in name}
        for start in ("index-", "snap-", "meta-"):
            if not any(name.startswith(start) for name in tops):
                raise EngineError("damaged", "the snapshot lacks its %s file" % start)
        wanted = len(artifact.source.get("indices", ()))
        found = len({name.split("/")[1] for name in names if name.startswith("indices/")})
        if found != wanted:
            raise EngineError("damaged", "the snapshot holds %d indices, not %d" % (found, wanted))

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """Restore under names of its own on the backup's server; they are deleted afterwards."""
        if spec is None:
            raise EngineError("failed", "an OpenSearch snapshot is tried on a server: say how the backup's own is reached")
        client = Client(spec)
        _fits(artifact, client)
        names = snapshots.indices_of(artifact)
        prefix = _own_name(spec, "drill") + "-"
        with snapshots.unpacked(client, spec, artifact, stored, work, _own_name(spec, "drill")) as repository, snapshots.restored(
            client, repository, names, prefix
        ):
            counts = {"documents.%s" % name: client.count(prefix + name) for name in names}
            found = client.mappings([prefix + name for name in names])
            samples = {"mapping.%s" % name: _digest(found[prefix + name]) for name in names}
            return Drilled(counts, samples)

    def restorer(
        self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work
    ) -> contextlib.AbstractContextManager[Restorer]:
        """All indices of the snapshot or some, to where they were."""
        there = snapshots.indices_of(artifact)
        for name in request.part:
            if name not in there:
                near = nearest(name, there)
                raise EngineError("failed", "the backup has no index %r%s" % (name, " (did you mean %s?)" % near if near else ""))
        if request.target is not None:
            raise EngineError("failed", "indices are restored to the server of the backup; for another one give its address")
        return opened(OpensearchRestorer(spec, artifact, stored, request, work))

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """Whether all shards are there and every index can be counted. EngineError."""
        client = Client(spec)
        problems: List[str] = []
        counts: Dict[str, int] = {}
        health = client.ask("GET", "/_cluster/health?level=indices")["indices"]
        for name in client.indices(spec.get("indices", ())):
            if health.get(name, {}).get("status") == "red":
                problems.append("%s lacks primary shards" % name)
                continue
            counts["documents.%s" % name] = client.count(name)
        return Found(not problems, problems, counts)


class OpensearchRestorer(Restorer):
    """A restore by clones::

    opsrunner-<ident>-new-<index>   staged; the ident is the artifact's own
    opsrunner-<ident>-old-<index>   set aside
    opsrunner-<ident>-state         what there was, and how far the exchange came
    """

    def __init__(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> None:
        self._spec, self._artifact, self._stored, self._work = spec, artifact, stored, work
        self._client = Client(spec)
        self._names = list(request.part) or snapshots.indices_of(artifact)
        self._part = bool(request.part)
        start = "%s%s-" % (PREFIX, own_ident(request, artifact).lower())
        self._repository, self._new, self._old, self._state = start + "restore", start + "new-", start + "old-", start + "state"

    def needs(self) -> List[Tuple[str, int]]:
        """The repository once more; clones share their files with what they are made of."""
        return [(snapshots.folder_of(self._spec), int(self._artifact.source.get("bytes", 0)))]

    def check(self) -> None:
        """The server answers and is not too old. EngineError."""
        snapshots.folder_of(self._spec)
        _fits(self._artifact, self._client)
        there = self._client.indices()
        aliases = {alias for told in there.values() for alias in told.get("aliases", {})}
        for name in self._names:
            if name in aliases:
                raise EngineError("failed", "%s is an alias on the server, and an index in the backup" % name)
            blocks = there.get(name, {}).get("settings", {}).get("index", {}).get("blocks", {})
            stuck = [kind for kind in ("read_only", "read_only_allow_delete", "metadata") if str(blocks.get(kind)) == "true"]
            if stuck:
                raise EngineError("failed", "%s is blocked (index.blocks.%s): it cannot be exchanged" % (name, stuck[0]))
        for name, told in snapshots.about_of(self._artifact, self._stored, self._work).get("indices", {}).items():
            for alias in told.get("aliases", {}):
                if name in self._names and alias in there and alias not in self._names:
                    raise EngineError("failed", "%s is an index on the server, and an alias of %s in the backup" % (alias, name))
        running = self._client.ask("GET", "/_snapshot/_status").get("snapshots", ())
        if running:
            raise EngineError("failed", "a snapshot is being made (%s): indices in it cannot be exchanged" % running[0].get("snapshot"))

    def stage(self) -> Mapping[str, int]:
        """The indices under names of their own."""
        if self._noted() is not None:
            raise EngineError("failed", "the indices of this restore are in place already")
        self.unstage()
        with snapshots.unpacked(self._client, self._spec, self._artifact, self._stored, self._work, self._repository) as repository:
            snapshots.restore(self._client, repository, self._names, self._new)
        return {"documents.%s" % name: self._client.count(self._new + name) for name in self._names}

    def swap(self) -> None:
        """Index by index: a checked clone aside, then the staged one in place."""
        state = self._noted()
        if state is None:
            there = self._client.indices()
            for name in self._names:
                if not self._client.exists(self._new + name):
                    raise EngineError("failed", "%s is not staged" % name)
            state = {
                "present": {name: there[name].get("aliases", {}) for name in self._names if name in there},
                "uuids": {name: _uuid(there[name]) for name in self._names if name in there},
                "templates": [],
                "blocked": [name for name in self._names if name in there and _blocked(there[name])],
                "kept": [],
                "placed": [],
            }
            self._note(state)
        about = snapshots.about_of(self._artifact, self._stored, self._work).get("indices", {})
        for name in self._names:
            if name in state["placed"]:
                continue
            if name in state["present"] and name not in state["kept"]:
                self._client.delete(self._old + name)  # half a clone
                self._client.clone(name, self._old + name, {}, True)
                state["kept"].append(name)
                self._note(state)
            self._client.delete(name)
            told = about.get(name, {})
            self._client.clone(self._new + name, name, told.get("aliases", {}), True if told.get("blocked") else None)
            state["placed"].append(name)
            self._note(state)

    def unswap(self) -> None:
        """Index by index: what was set aside back in place."""
        state = self._noted()
        if state is None:
            return
        for name in self._names:
            if name in state["kept"] and not self._is_still(name, state):
                self._client.delete(name)
                self._client.clone(self._old + name, name, state["present"][name], True if name in state["blocked"] else None)
                state["kept"].remove(name)
                state["present"].pop(name)
                state.setdefault("back", []).append(name)
                self._note(state)
            elif name in state["present"]:
                if name not in state["blocked"] and self._client.exists(name):
                    self._client.block(name, None)
            elif name not in state.get("back", ()):
                self._client.delete(name)
        for name in self._names:
            self._client.delete(self._old + name)
        for path in reversed(state.get("templates", ())):
            self._client.ask("DELETE", path, missing=True)
        self._client.delete(self._state)

    def _is_still(self, name: str, state: Mapping[str, Any]) -> bool:
        """Whether an index is the one that was there before the exchange, not one of the same name."""
        found = self._client.ask("GET", "/%s" % quoted(name), missing=True) or {}
        return bool(_uuid(found.get(name, {})) == state.get("uuids", {}).get(name, ""))

    def finish(self) -> None:
        """Put back the templates that are missing, first those that others are made of."""
        state = self._noted()
        if self._part or state is None:
            return
        about = snapshots.about_of(self._artifact, self._stored, self._work)
        for kept, kind, inner in (
            ("component_templates", "_component_template", "component_template"),
            ("templates", "_index_template", "index_template"),
        ):
            for item in about.get(kept, {}).get(inner + "s", ()):
                path = "/%s/%s" % (kind, quoted(item["name"]))
                if self._client.ask("GET", path, missing=True) is None:
                    state["templates"].append(path)
                    self._note(state)
                    self._client.ask("PUT", path, item[inner])

    def count(self) -> Mapping[str, int]:
        """Documents of the indices in place."""
        return {"documents.%s" % name: self._client.count(name) for name in self._names if self._client.exists(name)}

    def unstage(self) -> None:
        """Remove the staged indices."""
        for name in self._names:
            self._client.delete(self._new + name)

    def aside(self) -> List[str]:
        """The indices set aside."""
        return [self._old + name for name in self._names if self._client.exists(self._old + name)]

    def discard(self) -> None:
        """Remove the indices set aside."""
        for name in self._names:
            self._client.delete(self._old + name)
        self._client.delete(self._state)

    def _noted(self) -> Optional[Dict[str, Any]]:
        """How far the exchange came; None before it."""
        found = self._client.ask("GET", "/%s/_doc/1" % quoted(self._state), missing=True)
        return json.loads(found["_source"]["told"]) if found else None

    def _note(self, state: Mapping[str, Any]) -> None:
        if not self._client.exists(self._state):
            body = {"settings": {"number_of_replicas": 0, "number_of_shards": 1}, "mappings": {"enabled": False}}
            self._client.ask("PUT", "/%s" % quoted(self._state), body)
        self._client.ask("PUT", "/%s/_doc/1?refresh=true" % quoted(self._state), {"told": json.dumps(state)})


def _own_name(spec: Mapping[str, Any], purpose: str) -> str:
    """The name of what a purpose needs on the server; the same again after a kill, so that what was left is found."""
    told = "%s %s %s" % (spec.get("repository") or "", spec["repository_path"], ",".join(spec.get("indices", ())))
    return "%s%s-%s" % (PREFIX, purpose, hashlib.sha256(told.encode("utf-8")).hexdigest()[:8])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()


def _uuid(told: Mapping[str, Any]) -> Optional[str]:
    found = told.get("settings", {}).get("index", {}).get("uuid")
    return None if found is None else str(found)


def _warn_of_missing(client: Client, spec: Mapping[str, Any], there: Mapping[str, Any], work: Work) -> None:
    """Tell what is on the server, would be meant, and is not backed up."""
    patterns = spec.get("indices", ())
    for pattern in patterns:
        if not client.indices([pattern]):
            work.warn("no index is called %s" % pattern)
    wanted = ",".join(quoted(name) for name in patterns) or "*"
    closed = client.ask("GET", "/%s/_settings/index.uuid?expand_wildcards=closed&allow_no_indices=true&ignore_unavailable=true" % wanted)
    names = sorted(name for name in closed if name not in there and not name.startswith((".", PREFIX)))
    if names:
        work.warn("closed indices are not in the backup: %s" % ", ".join(names[:10]))
    streams = [] if patterns else _where_allowed(client, "/_data_stream", work).get("data_streams", ())
    if streams:
        work.warn("data streams are not in the backup: %s" % ", ".join(str(item.get("name")) for item in streams[:10]))


def _where_allowed(client: Client, path: str, work: Work) -> Dict[str, Any]:
    """What is there besides indices, which the backup's user may not be allowed to see."""
    try:
        return client.ask("GET", path, missing=True) or {}
    except EngineError as error:
        if error.code != "denied":
            raise
        work.warn("not looked at: %s" % error)
        return {}


def _blocked(told: Mapping[str, Any]) -> bool:
    return str(told.get("settings", {}).get("index", {}).get("blocks", {}).get("write", "false")) == "true"


def _fits(artifact: Artifact, client: Client) -> None:
    here, there = (
        [int(part) for part in text.split(".")[:2] if part.isdigit()] for text in (client.version(), artifact.server_version or "")
    )
    if here < there:
        raise EngineError("version", "OpenSearch %s is older than the one of the snapshot" % ".".join(str(part) for part in here))
