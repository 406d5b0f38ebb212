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

import base64
import contextlib
import hashlib
import json
import os
import shutil
import tarfile
import time
from typing import IO, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote, urlsplit

from ansible_collections.opsrunner.runbook.plugins.module_utils import backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils import item_options as read
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_engine import (
    Drilled,
    Dump,
    Engine,
    EngineError,
    Found,
    Request,
    Restorer,
    Stored,
    Told,
    Work,
    opened,
    own_ident,
)
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_manifest import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_places import command
from ansible_collections.opsrunner.runbook.plugins.module_utils.options import OptionError, nearest

PREFIX = "opsrunner-"
_SNAPSHOT = "snapshot"
_ABOUT = "opsrunner.json"
_PAUSE = 0.1
#: Seconds that a run waits for another one's repository.
_WAIT = 600.0


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


class Client:
    """The server's interface. ``timeout``: seconds of one answer."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._parts = urlsplit(spec["url"])
        self._timeout: float = spec.get("timeout") or 30.0
        self._ca_file = spec.get("ca_file")
        self._headers = {"Content-Type": "application/json"}
        if spec.get("user"):
            told = "%s:%s" % (spec["user"], spec.get("password") or "")
            self._headers["Authorization"] = "Basic " + base64.b64encode(told.encode("utf-8")).decode("ascii")

    def ask(self, method: str, path: str, body: Any = None, missing: bool = False, slow: bool = False) -> Any:
        """Ask and return the answer; None for what is not there, if ``missing`` says that it may not be. EngineError."""
        import http.client
        import socket
        import ssl

        timeout = None if slow else self._timeout
        where = "OpenSearch at %s port %s" % (self._parts.hostname, self._parts.port or "")
        if self._parts.scheme == "https":
            context = ssl.create_default_context(cafile=self._ca_file)
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                str(self._parts.hostname), self._parts.port or 443, timeout=timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(str(self._parts.hostname), self._parts.port or 80, timeout=timeout)
        try:
            connection.connect()
            # An answer may take hours: a server that has gone without a word is noticed all the same.
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            data = None if body is None else json.dumps(body).encode("utf-8")
            connection.request(method, self._parts.path + path, data, self._headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError("unreachable", "%s: %s" % (where, getattr(error, "strerror", None) or error)) from None
        finally:
            connection.close()
        if answer.status == 404 and missing:
            return None
        try:
            found = json.loads(said) if said else {}
        except ValueError:
            found = {}
        if answer.status in (401, 403):
            raise EngineError("denied", "%s: %s %s was refused (%d)" % (where, method, path, answer.status))
        if answer.status >= 300:
            text = ": ".join(_reasons(found.get("error") if isinstance(found, dict) else None))
            raise EngineError("failed", "%s: %s %s: %s" % (where, method, path, (text or str(answer.status))[:500]))
        return found

    def version(self) -> str:
        """The server's version."""
        return str(self.ask("GET", "/").get("version", {}).get("number", ""))

    def indices(self, patterns: Sequence[str] = ()) -> Dict[str, Any]:
        """Indices with aliases, mappings and settings, by name."""
        wanted = ",".join(_path(name) for name in patterns) or "*"
        found = self.ask("GET", "/%s?expand_wildcards=open,hidden&allow_no_indices=true" % wanted, missing=True) or {}
        return {name: told for name, told in found.items() if not name.startswith(PREFIX) and (patterns or not name.startswith("."))}

    def mappings(self, indices: Sequence[str]) -> Dict[str, Any]:
        """Mappings by index."""
        found = self.ask("GET", "/%s/_mapping" % ",".join(_path(name) for name in indices)) if indices else {}
        return {name: told.get("mappings", {}) for name, told in found.items()}

    def written(self, indices: Sequence[str]) -> Dict[str, Any]:
        """By index what changes with every change of a document: the last number of each primary shard."""
        if not indices:
            return {}
        found = self.ask("GET", "/%s/_stats/docs?level=shards" % ",".join(_path(name) for name in indices))["indices"]
        return {
            name: sorted(
                (number, shard["seq_no"]["max_seq_no"])
                for number, shards in told["shards"].items()
                for shard in shards
                if shard["routing"]["primary"]
            )
            for name, told in found.items()
        }

    def count(self, index: str) -> int:
        """Documents of an index, of all of its shards."""
        self.ask("POST", "/%s/_refresh" % _path(index))
        told = self.ask("GET", "/%s/_count" % _path(index))
        if told["_shards"]["failed"] or told["_shards"]["successful"] < 1:
            raise EngineError("failed", "not all shards of %s can be counted" % index)
        return int(told["count"])

    def exists(self, index: str) -> bool:
        """Whether there is an index of this name."""
        return self.ask("GET", "/%s" % _path(index), missing=True) is not None

    def delete(self, index: str) -> None:
        """Remove an index; one that is not there is no error."""
        self.ask("DELETE", "/%s" % _path(index), missing=True)

    def block(self, index: str, blocked: Optional[bool]) -> None:
        """Let nothing be written to an index, or let it again."""
        self.ask("PUT", "/%s/_settings" % _path(index), {"index.blocks.write": blocked})

    def clone(self, source: str, target: str, aliases: Mapping[str, Any], blocked: Optional[bool] = None) -> None:
        """Make an index of another one, which is blocked for it, and wait until its shards are there. EngineError."""
        self.block(source, True)
        body = {"settings": {"index.blocks.write": blocked}, "aliases": dict(aliases)}
        self.ask("PUT", "/%s/_clone/%s" % (_path(source), _path(target)), body, slow=True)
        self.ready(target)
        if self.count(target) != self.count(source):
            raise EngineError("differs", "the clone %s does not hold what %s does" % (target, source))

    def ready(self, index: str) -> None:
        """Wait until the primary shards of an index are there. EngineError."""
        end = time.monotonic() + max(self._timeout, 60.0)
        while True:
            told = self.ask("GET", "/_cluster/health/%s?level=indices" % _path(index))["indices"].get(index, {})
            if told.get("status") in ("green", "yellow"):
                return
            if time.monotonic() > end:
                raise EngineError("failed", "the shards of %s do not come up" % index)
            time.sleep(_PAUSE)


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
        _folder(spec)
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
        with _repository(client, spec, _own_name(spec, "dump")) as (repository, folder):
            _register(client, repository, folder, False)
            _snapshot(client, repository, sorted(there))
            counts = {name: client.count(name) for name in there}
            after = client.written(sorted(there))
            moved = sorted(name for name in there if after.get(name) != before.get(name))
            if moved:
                # What was written to meanwhile is counted in the snapshot itself.
                prefix = _own_name(spec, "count") + "-"
                with _restored(client, repository, moved, prefix):
                    counts.update({name: client.count(prefix + name) for name in moved})
            about = {
                "indices": {name: {"aliases": told.get("aliases", {})} for name, told in there.items()},
                "templates": client.ask("GET", "/_index_template", missing=True) or {},
                "component_templates": client.ask("GET", "/_component_template", missing=True) or {},
            }
            with open(os.path.join(work.scratch, _ABOUT), "w", encoding="utf-8") as file:
                json.dump(about, file)
            size = sum(os.path.getsize(os.path.join(parent, name)) for parent, _folders, names in os.walk(folder) for name in names)

            def finish() -> Told:
                told = {"documents.%s" % name: number for name, number in counts.items()}
                samples = {"mapping.%s" % name: _digest(item.get("mappings", {})) for name, item in there.items()}
                return Told(told, samples, {"bytes": size, "indices": sorted(there)}, "opensearch-snapshot", None, version or None)

            yield Dump(command("tar", "-cf", "-", "-C", work.scratch, _ABOUT, "-C", folder, "."), finish)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """Read the tar to its end: only plain files with names that stay inside, and a repository's own among them. EngineError."""
        names = set()
        with _members(artifact, stored, work) as members:
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
        names = _indices(artifact)
        prefix = _own_name(spec, "drill") + "-"
        with _unpacked(client, spec, artifact, stored, work, _own_name(spec, "drill")) as repository, _restored(
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
        there = _indices(artifact)
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
        self._names = list(request.part) or _indices(artifact)
        self._part = bool(request.part)
        start = "%s%s-" % (PREFIX, own_ident(request, artifact).lower())
        self._repository, self._new, self._old, self._state = start + "restore", start + "new-", start + "old-", start + "state"

    def needs(self) -> List[Tuple[str, int]]:
        """The repository once more; clones share their files with what they are made of."""
        return [(_folder(self._spec), int(self._artifact.source.get("bytes", 0)))]

    def check(self) -> None:
        """The server answers and is not too old. EngineError."""
        _folder(self._spec)
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
        for name, told in _about(self._artifact, self._stored, self._work).get("indices", {}).items():
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
        with _unpacked(self._client, self._spec, self._artifact, self._stored, self._work, self._repository) as repository:
            _restore(self._client, repository, self._names, self._new)
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
        aliases = _about(self._artifact, self._stored, self._work).get("indices", {})
        for name in self._names:
            if name in state["placed"]:
                continue
            if name in state["present"] and name not in state["kept"]:
                self._client.delete(self._old + name)  # half a clone
                self._client.clone(name, self._old + name, {}, True)
                state["kept"].append(name)
                self._note(state)
            self._client.delete(name)
            self._client.clone(self._new + name, name, aliases.get(name, {}).get("aliases", {}))
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
        found = self._client.ask("GET", "/%s" % _path(name), missing=True) or {}
        return bool(_uuid(found.get(name, {})) == state.get("uuids", {}).get(name, ""))

    def finish(self) -> None:
        """Put back the templates that are missing, first those that others are made of."""
        state = self._noted()
        if self._part or state is None:
            return
        about = _about(self._artifact, self._stored, self._work)
        for kept, kind, inner in (
            ("component_templates", "_component_template", "component_template"),
            ("templates", "_index_template", "index_template"),
        ):
            for item in about.get(kept, {}).get(inner + "s", ()):
                path = "/%s/%s" % (kind, _path(item["name"]))
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
        found = self._client.ask("GET", "/%s/_doc/1" % _path(self._state), missing=True)
        return json.loads(found["_source"]["told"]) if found else None

    def _note(self, state: Mapping[str, Any]) -> None:
        if not self._client.exists(self._state):
            body = {"settings": {"number_of_replicas": 0, "number_of_shards": 1}, "mappings": {"enabled": False}}
            self._client.ask("PUT", "/%s" % _path(self._state), body)
        self._client.ask("PUT", "/%s/_doc/1?refresh=true" % _path(self._state), {"told": json.dumps(state)})


def _reasons(why: Any) -> List[str]:
    """What went wrong, and what that came from."""
    if not isinstance(why, dict):
        return [str(why)] if why else []
    return list(dict.fromkeys([str(why.get("reason")), *_reasons(why.get("caused_by"))]))


def _path(name: str) -> str:
    return quote(name, safe="*")


def _folder(spec: Mapping[str, Any]) -> str:
    path = str(spec["repository_path"])
    if not os.path.isdir(path):
        raise EngineError("unreachable", "%s is not there: the folder of snapshots is to be seen by this host" % path)
    return path


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
    wanted = ",".join(_path(name) for name in patterns) or "*"
    closed = client.ask("GET", "/%s/_settings/index.uuid?expand_wildcards=closed&allow_no_indices=true&ignore_unavailable=true" % wanted)
    names = sorted(name for name in closed if name not in there and not name.startswith((".", PREFIX)))
    if names:
        work.warn("closed indices are not in the backup: %s" % ", ".join(names[:10]))
    streams = (client.ask("GET", "/_data_stream", missing=True) or {}).get("data_streams", ())
    if streams and not patterns:
        work.warn("data streams are not in the backup: %s" % ", ".join(str(item.get("name")) for item in streams[:10]))


def _blocked(told: Mapping[str, Any]) -> bool:
    return str(told.get("settings", {}).get("index", {}).get("blocks", {}).get("write", "false")) == "true"


def _indices(artifact: Artifact) -> List[str]:
    return sorted(str(name) for name in artifact.source.get("indices", ()))


def _fits(artifact: Artifact, client: Client) -> None:
    here, there = (
        [int(part) for part in text.split(".")[:2] if part.isdigit()] for text in (client.version(), artifact.server_version or "")
    )
    if here < there:
        raise EngineError("version", "OpenSearch %s is older than the one of the snapshot" % ".".join(str(part) for part in here))


@contextlib.contextmanager
def _repository(client: Client, spec: Mapping[str, Any], name: str) -> Iterator[Tuple[str, str]]:
    """A repository in a folder of its own; it is unregistered and the folder removed at the end."""
    root = _folder(spec)
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
                time.sleep(_PAUSE)
        yield


def _own(path: str, root: str) -> None:
    """Have the server own what is below its folder."""
    if os.geteuid() == 0:
        about = os.stat(root)
        os.chown(path, about.st_uid, about.st_gid, follow_symlinks=False)


def _register(client: Client, name: str, folder: str, readonly: bool) -> None:
    body = {"type": "fs", "settings": {"location": folder, "compress": True, "readonly": readonly}}
    client.ask("PUT", "/_snapshot/%s" % name, body)


def _snapshot(client: Client, name: str, indices: Sequence[str]) -> None:
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
        time.sleep(_PAUSE)


def _restore(client: Client, repository: str, indices: Sequence[str], prefix: str) -> None:
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
def _restored(client: Client, repository: str, indices: Sequence[str], prefix: str) -> Iterator[None]:
    """Restored indices that are gone at the end."""
    for name in indices:
        client.delete(prefix + name)
    try:
        _restore(client, repository, indices, prefix)
        yield
    finally:
        for name in indices:
            client.delete(prefix + name)


@contextlib.contextmanager
def _members(artifact: Artifact, stored: Stored, work: Work) -> Iterator[Any]:
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
def _unpacked(client: Client, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, work: Work, name: str) -> Iterator[str]:
    """The artifact as a repository that is only read; gone at the end."""
    root = _folder(spec)
    needed = int(artifact.source.get("bytes", 0))
    free = shutil.disk_usage(root).free
    if free < needed:
        raise EngineError("space", "%s has %d bytes free, %d are needed" % (root, free, needed))
    with _repository(client, spec, name) as (_name, folder):
        with _members(artifact, stored, work) as members:
            for inner, content in members:
                path = os.path.join(folder, inner)
                if inner in (".", _ABOUT):
                    continue
                if content is None:
                    os.makedirs(path, 0o750, exist_ok=True)
                else:
                    _copy(content, path)
                _own(path, root)
        _register(client, name, folder, True)
        yield name


def _copy(content: IO[bytes], path: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
    with os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)


def _about(artifact: Artifact, stored: Stored, work: Work) -> Dict[str, Any]:
    """What the artifact tells of aliases and templates; it is its first file."""
    with _members(artifact, stored, work) as members:
        for name, content in members:
            if name == _ABOUT and content is not None:
                found = json.loads(content.read(64 << 20))
                return found if isinstance(found, dict) else {}
            break
    return {}
