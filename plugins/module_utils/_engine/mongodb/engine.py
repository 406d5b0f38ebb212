# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine mongodb: a database as an archive of mongodump, restored beside the present collections and renamed into place.

Each collection of a dump is consistent for itself as far as the server makes it so; a point in time over all of them is had
only by ``--oplog``, which needs a replica set and a dump of the whole server: stop the writers where it matters.
Staged and set aside collections are in the same database, for renaming there takes no time and copies nothing. Views are not
set aside: a restore adds those that are missing. Time series cannot be renamed and are refused. Users, roles and how collections
are sharded are in no dump.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, nearest
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command, Limits

from ..artifact import Artifact
from ..base import Drilled, Dump, Engine, EngineError, Found, Request, Restorer, Stored, Told, Work, opened, own_ident
from . import bson
from .archive import ArchiveError, Sample, Walker
from .client import DATABASE, Address, Client, MongoError, connected, database_name

#: What names of collections start with that a restore makes.
PREFIX = "opsrunner_"


class MongodbEngine(Engine):
    """A database of a MongoDB server."""

    name = "mongodb"
    ending = ".archive"
    readers: Mapping[str, read.Reader] = {
        "database": database_name,
        "collections": read.texts,
        "host": read.text,
        "port": read.port,
        "user": read.text,
        "password": read.password,
        "auth_database": database_name,
        "ca_file": read.absolute,
        "cert_file": read.absolute,
        "timeout": read.duration,
    }
    required = ("database",)

    def parse(self, item: Mapping[str, Any], path: str) -> Dict[str, Any]:
        """User and password go together. OptionError."""
        for one, other in (("user", "password"), ("password", "user")):
            if item.get(one) and not item.get(other):
                raise OptionError("%s.%s" % (path, other), "is needed with %s" % one)
        if item.get("cert_file") and not item.get("ca_file"):
            raise OptionError(path + ".ca_file", "is needed with cert_file")
        for at, name in enumerate(item.get("collections", ())):
            if name.startswith((PREFIX, "system.")) or "$" in name:
                raise OptionError("%s.collections[%d]" % (path, at), "%r is no collection that can be backed up" % name)
        return dict(item)

    def reach(self, spec: Mapping[str, Any], work: Work) -> None:
        """Whether the server answers, lets us in and has the collections. EngineError."""
        with _told(), connected(_address(spec)) as client:
            _wanted(client, spec)

    @contextlib.contextmanager
    def dump(self, spec: Mapping[str, Any], work: Work) -> Iterator[Dump]:
        """An archive of the database or of some collections."""
        with _told(), connected(_address(spec)) as client:
            version = client.version()
            wanted, others = _wanted(client, spec)
        walker = Walker()
        words = ["--db=%s" % spec["database"]]
        if len(wanted) == 1 and others:
            words += ["--collection=%s" % wanted[0]]
        else:
            words += ["--excludeCollection=%s" % name for name in others]
            words += ["--excludeCollectionsWithPrefix=%s" % PREFIX]
        with _config(spec, work) as config:

            def tap(block: bytes) -> None:
                with _told():
                    walker.feed(block)

            def finish() -> Told:
                with _told():
                    walker.finish()
                found = {item.name for item in walker.collections.values()}
                for name in wanted:
                    if name not in found:
                        raise EngineError("failed", "the dump lacks the collection %s" % name)
                kinds = {item.name: item.kind for item in walker.collections.values() if item.kind != "collection"}
                series = sorted(name for name, kind in kinds.items() if kind == "timeseries")
                if series:
                    work.warn("time series are in the dump, but only mongorestore itself can restore them: %s" % ", ".join(series[:5]))
                source = {"database": spec["database"], "kinds": kinds, "bytes": walker.size, "whole": not spec.get("collections")}
                source["expiring"] = sorted(item.name for item in walker.collections.values() if item.lives)
                samples = {sample.name: sample.digest for sample in walker.samples}
                return Told(walker.counts(), samples, source, "mongodump", walker.tool or None, version or None)

            yield Dump(_dumped(_tool("mongodump", spec, config, *words), spec, work), finish, tap)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """Walk the archive to its end: every document, every sum, every collection's end. EngineError, StreamError."""
        walker = _walk(artifact, stored, work)
        if artifact.counts and dict(artifact.counts) != walker.counts():
            raise EngineError("differs", "the archive does not hold what the manifest tells: %s" % _difference(artifact, walker.counts()))

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """Restore into a database of its own name on the backup's server, which is dropped afterwards."""
        if spec is None:
            raise EngineError("failed", "a MongoDB dump is tried on a server: say how the backup's own is reached")
        walker = _walk(artifact, stored, work, expiring=True)
        source = _source(artifact)
        # Another artifact of this database, or another backup, may be on trial at the same time; the same one is never.
        told = "\0".join((source, os.uname().nodename, os.path.dirname(os.path.dirname(os.path.abspath(stored.path))), artifact.file))
        scratch = "opsrunner_drill_%s" % hashlib.sha256(os.fsencode(told)).hexdigest()[:12]
        if scratch in (source, spec["database"]):
            raise EngineError("same", "the database %s is no place for a trial" % scratch)
        with _told(), connected(_address(spec)) as client:
            _fits(artifact, client)
            client.run(scratch, {"dropDatabase": 1})  # what a trial that was killed has left
            try:
                _restore(spec, artifact, stored, work, ("%s.*" % source, "%s.*" % scratch))
                client.wait(None)
                counts = _with_expired(_live_counts(client, scratch, {name: name for name in _collections(artifact)}), walker)
                return Drilled(counts, _live_samples(client, scratch, walker.samples))
            finally:
                with connected(_address(spec)) as other:  # the first one may be what failed
                    other.run(scratch, {"dropDatabase": 1})

    def restorer(
        self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work
    ) -> contextlib.AbstractContextManager[Restorer]:
        """The database or some of its collections, to where they were or into another database of the server."""
        there = _collections(artifact)
        for name in request.part:
            if name not in there:
                near = nearest(name, there)
                raise EngineError("failed", "the backup has no collection %r%s" % (name, " (did you mean %s?)" % near if near else ""))
        kinds = artifact.source.get("kinds", {})
        if "timeseries" in kinds.values() and not request.part:
            raise EngineError("failed", "time series collections cannot be renamed into place: restore the others by name")
        if request.target is not None and not DATABASE.match(request.target):
            raise EngineError("failed", "%r is no name of a database" % request.target)
        return opened(MongodbRestorer(spec, artifact, stored, request, work))

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """Have the server validate each collection. EngineError."""
        problems: List[str] = []
        counts: Dict[str, int] = {}
        with _told(), connected(_address(spec)) as client:
            wanted, _others = _wanted(client, spec)
            client.wait(None)
            for name in wanted:
                told = client.run(spec["database"], {"validate": name})
                if not told.get("valid", True):
                    problems.append("%s: %s" % (name, "; ".join(str(text) for text in told.get("errors", ())) or "not valid"))
                counts["documents.%s" % name] = client.count(spec["database"], name)
        return Found(not problems, problems, counts)


class MongodbRestorer(Restorer):
    """A restore by renaming collections of one database::

    opsrunner_<ident>_new_<collection>   staged; the ident is the artifact's own
    opsrunner_<ident>_old_<collection>   set aside
    opsrunner_<ident>_state             which there were, written before anything is renamed
    """

    def __init__(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> None:
        self._spec, self._artifact, self._stored, self._work, self._request = spec, artifact, stored, work, request
        self._database = request.target or str(spec["database"])
        start = PREFIX + own_ident(request, artifact)
        self._new, self._old, self._state = start + "_new_", start + "_old_", start + "_state"
        self._names = list(request.part) or _collections(artifact)
        # Of a backup of some collections nothing else is put aside: the others were never meant to be in it.
        self._whole = not request.part and bool(artifact.source.get("whole", not spec.get("collections")))

    def check(self) -> None:
        """The server takes changes and is not too old. EngineError."""
        with self._client() as client:
            if not client.is_writable():
                raise EngineError("failed", "the MongoDB server is a secondary: restore on the primary")
            there = client.collections(self._database)
            for name in self._names:
                if there.get(name, {}).get("type", "collection") != "collection":
                    raise EngineError("failed", "%s is a %s on the server, and a collection in the backup" % (name, there[name]["type"]))
            _fits(self._artifact, client)

    def stage(self) -> Mapping[str, int]:
        """The collections under names of their own."""
        with self._client() as client:
            if self._present(client) is not None:
                raise EngineError("failed", "the collections of this restore are in place already")
            self._drop(client, self._new)
        source = _source(self._artifact)
        _restore(
            self._spec, self._artifact, self._stored, self._work, ("%s.*" % source, "%s.%s*" % (self._database, self._new)), self._names
        )
        with self._client() as client:
            return self._counted(client, {name: self._new + name for name in self._names})

    def swap(self) -> None:
        """Collection by collection: present aside, staged in place; the whole leaves none behind that the backup does not have."""
        with self._client() as client:
            present = self._present(client)
            there = client.collections(self._database)
            if present is None:
                if not all(self._new + name in there for name in self._names):
                    raise EngineError("failed", "not all of the collections are staged")
                present = [name for name in self._meant(there) if there[name].get("type", "collection") == "collection"]
                client.insert(self._database, self._state, [{"_id": "present", "names": present}])
            for name in self._names:
                if self._new + name in there:
                    if name in there:
                        # One that came up in the middle of it (an application that writes) is not what was there.
                        client.rename(self._database, name, self._free(there, self._old + name))
                    client.rename(self._database, self._new + name, name)
            for name in present:
                if name not in self._names and self._old + name not in there and name in there:
                    client.rename(self._database, name, self._old + name)

    def unswap(self) -> None:
        """Collection by collection: what is in place back to the stage, what was set aside back in place."""
        with self._client() as client:
            present = self._present(client)
            if present is None:
                return  # nothing was renamed
            there = client.collections(self._database)
            for name in sorted({*self._names, *present}):
                kept, staged = self._old + name in there, self._new + name in there
                if kept or (name not in present and not staged):
                    if name in there:
                        client.rename(self._database, name, self._free(there, self._new + name))
                    if kept:
                        client.rename(self._database, self._old + name, name)
            client.drop(self._database, self._state)

    def finish(self) -> None:
        """Make the views that are missing; indexes have come with the collections."""
        if self._request.part:
            return
        kinds = self._artifact.source.get("kinds", {})
        if not kinds:
            return
        views = [item for item in _walk(self._artifact, self._stored, self._work).collections.values() if item.kind == "view"]
        with self._client() as client:
            there = client.collections(self._database)
            for item in views:
                if item.name not in there:
                    options = bson.from_json(item.options, operators=True)
                    client.run(self._database, {"create": item.name, **options})

    def count(self) -> Mapping[str, int]:
        """Documents, counted one by one, and indexes."""
        with self._client() as client:
            return self._counted(client, {name: name for name in {*self._names, *self._meant(client.collections(self._database))}})

    def _counted(self, client: Client, names: Mapping[str, str]) -> Dict[str, int]:
        counts = _live_counts(client, self._database, names)
        if not set(self._artifact.source.get("expiring", ())).intersection(names):
            return counts
        return _with_expired(counts, _walk(self._artifact, self._stored, self._work, expiring=True))

    def unstage(self) -> None:
        """Remove the staged collections."""
        with self._client() as client:
            self._drop(client, self._new)

    def aside(self) -> List[str]:
        """The collections set aside."""
        with self._client() as client:
            found = [name for name in client.collections(self._database) if name.startswith(self._old)]
        return ["%s.%s" % (self._database, name) for name in sorted(found)]

    def discard(self) -> None:
        """Remove the collections set aside."""
        with self._client() as client:
            self._drop(client, self._old)
            client.drop(self._database, self._state)

    @contextlib.contextmanager
    def _client(self) -> Iterator[Client]:
        with _told(), connected(_address(self._spec)) as client:
            client.wait(None)  # counting and renaming wait for locks
            yield client

    def _meant(self, there: Mapping[str, Mapping[str, Any]]) -> List[str]:
        """The present collections that the restore exchanges."""
        if not self._whole:
            return [name for name in self._names if name in there]
        return sorted(name for name in there if not name.startswith(PREFIX) and there[name].get("type", "collection") == "collection")

    def _present(self, client: Client) -> Optional[List[str]]:
        """The collections there were when the exchange began; None before it."""
        for document in client.find(self._database, self._state, {"_id": "present"}):
            return [str(name) for name in document["names"]]
        return None

    def _free(self, there: Mapping[str, Any], name: str) -> str:
        """A name that no collection has."""
        number = 0
        found = name
        while found in there:
            number += 1
            found = "%s_late%d" % (name, number)
        return found

    def _drop(self, client: Client, prefix: str) -> None:
        for name in client.collections(self._database):
            if name.startswith(prefix):
                client.drop(self._database, name)


def _address(spec: Mapping[str, Any]) -> Address:
    return Address(
        spec.get("host") or "127.0.0.1",
        spec.get("port") or 27017,
        spec.get("user"),
        spec.get("password"),
        spec.get("auth_database") or "admin",
        spec.get("ca_file"),
        spec.get("timeout") or 30.0,
        spec.get("cert_file"),
    )


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The errors of the parts as the engine's own."""
    try:
        yield
    except (MongoError, ArchiveError) as error:
        raise EngineError(error.code, str(error)) from None
    except bson.BsonError as error:
        raise EngineError("damaged", "what the archive tells cannot be read: %s" % error) from None


def _wanted(client: Client, spec: Mapping[str, Any]) -> Tuple[List[str], List[str]]:
    """The collections that are backed up, and the others. EngineError when one is not there."""
    there = [name for name in client.collections(spec["database"]) if not name.startswith(PREFIX)]
    wanted = list(spec.get("collections") or there)
    for name in wanted:
        if name not in there:
            near = nearest(name, there)
            raise EngineError(
                "unreachable", "%s has no collection %r%s" % (spec["database"], name, " (did you mean %s?)" % near if near else "")
            )
    return sorted(wanted), sorted(set(there) - set(wanted))


@contextlib.contextmanager
def _config(spec: Mapping[str, Any], work: Work) -> Iterator[Optional[str]]:
    """A file with the password, which only we can read; None without one."""
    if not spec.get("password"):
        yield None
        return
    path = os.path.join(work.scratch, "mongo-%s.yml" % hashlib.sha256(os.urandom(16)).hexdigest()[:12])
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("password: %s\n" % _yaml(spec["password"]))
        yield path
    finally:
        os.unlink(path)


def _yaml(text: str) -> str:
    """A text in YAML, which unlike JSON writes a character beyond the first 65536 as one."""
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(one if " " <= one <= "~" else ("\\u%04x" if ord(one) < 1 << 16 else "\\U%08x") % ord(one) for one in plain)


def _tool(program: str, spec: Mapping[str, Any], config: Optional[str], *words: str) -> Command:
    address = _address(spec)
    # The tools wait 30 s for a server that has gone, unless their address says otherwise.
    host = "[%s]" % address.host if ":" in address.host else address.host
    options = ["--uri", "mongodb://%s:%d/?serverSelectionTimeoutMS=%d" % (host, address.port, address.timeout * 1000), "--archive"]
    if address.user:
        options += ["--username=%s" % address.user, "--authenticationDatabase=%s" % address.auth_database]
    if config:
        options.append("--config=%s" % config)
    if address.ca_file:
        options += ["--ssl", "--sslCAFile=%s" % address.ca_file]
    if address.cert_file:
        options.append("--sslPEMKeyFile=%s" % address.cert_file)
    return Command((program, *options, *words))


def _dumped(what: Command, spec: Mapping[str, Any], work: Work) -> Iterator[bytes]:
    """What mongodump writes. It can hang for ever when its server dies: when nothing comes, the server is asked whether it is there."""
    import select
    import subprocess
    import tempfile

    if work.place is HOST and not shutil.which(what.argv[0]):
        raise EngineError("failed", "%s is not installed" % what.program)
    started = work.place.wrap(what, work.limits)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            started.argv, env=started.env, cwd=started.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
        )
        output = process.stdout
        seconds = (work.limits or Limits()).seconds
        until = time.monotonic() + seconds
        try:
            while output:
                if time.monotonic() > until:
                    raise backup_stream.too_late(what.program, seconds)
                if not select.select([output], [], [], max(2.0, _address(spec).timeout))[0]:
                    with _told(), connected(_address(spec)) as client:
                        client.version()
                    continue
                block = os.read(output.fileno(), 1 << 20)
                if not block:
                    break
                yield block
            status = process.wait()
            if status:
                said.seek(max(0, said.seek(0, os.SEEK_END) - backup_stream.TAIL))
                text = " ".join(said.read().decode("utf-8", "replace").split())
                raise backup_stream.StreamError(what.program, status, text)
        finally:
            process.kill()
            process.wait()
            if output:
                output.close()


def _restore(
    spec: Mapping[str, Any], artifact: Artifact, stored: Stored, work: Work, names: Tuple[str, str], collections: Sequence[str] = ()
) -> None:
    source = _source(artifact)
    words = ["--nsFrom=%s" % names[0], "--nsTo=%s" % names[1], "--stopOnError", "--nsExclude=%s.%s*" % (source, PREFIX)]
    wanted = collections or _collections(artifact)
    words += ["--nsInclude=%s.%s" % (source, name.replace("\\", "\\\\").replace("*", "\\*")) for name in wanted]
    if not wanted:
        return
    with _config(spec, work) as config:
        backup_stream.feed(
            stored.path,
            _tool("mongorestore", spec, config, *words),
            artifact.compression or "none",
            bool(artifact.encryption),
            stored.identity,
            work.limits,
            work.place,
        )


def _walk(artifact: Artifact, stored: Stored, work: Work, expiring: bool = False) -> Walker:
    walker = Walker(expiring)
    compression = artifact.compression or "none"
    with _told(), backup_stream.read(stored.path, compression, bool(artifact.encryption), stored.identity, work.limits) as stream:
        while True:
            block = stream.read(1 << 20)
            if not block:
                break
            walker.feed(block)
        walker.finish()
    return walker


def _source(artifact: Artifact) -> str:
    found = artifact.source.get("database")
    if not isinstance(found, str) or not DATABASE.match(found):
        raise EngineError("damaged", "the manifest does not tell the database's name")
    return found


def _collections(artifact: Artifact) -> List[str]:
    return sorted(name[len("documents.") :] for name in artifact.counts if name.startswith("documents."))


def _fits(artifact: Artifact, client: Client) -> None:
    """A server older than the one that was dumped may not know what it has."""
    here, there = (_number(version) for version in (client.version(), artifact.server_version or ""))
    if here < there:
        raise EngineError("version", "MongoDB %d.%d is older than the dumped one, %d.%d" % (*here, *there))


def _number(version: str) -> Tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def _live_counts(client: Client, database: str, names: Mapping[str, str]) -> Dict[str, int]:
    """Counts by the first names, of the collections that have the second ones."""
    there = client.collections(database)
    found: Dict[str, int] = {}
    for name, real in names.items():
        if real in there:
            found["documents.%s" % name] = client.count(database, real)
            found["indexes.%s" % name] = len(client.indexes(database, real))
    return found


def _with_expired(counts: Mapping[str, int], walker: Walker) -> Dict[str, int]:
    """Counts of a server, where documents count as there that it removes by itself when their time is over: not more than those."""
    found = dict(counts)
    expired = walker.expired(time.time())
    for item in walker.collections.values():
        name = "documents.%s" % item.name
        if name in found and 0 < item.documents - found[name] <= expired.get(item.name, 0):
            found[name] = item.documents
    return found


def _live_samples(client: Client, database: str, samples: Sequence[Sample]) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for sample in samples:
        digest = "none"
        for document in client.find(database, sample.collection, {"_id": {"$eq": sample.id}}, 1):
            digest = hashlib.sha256(bson.encode(document)).hexdigest()
        found[sample.name] = digest
    return found


def _difference(artifact: Artifact, found: Mapping[str, int]) -> str:
    names = sorted(name for name in {*artifact.counts, *found} if artifact.counts.get(name) != found.get(name))
    return ", ".join("%s is %s, not %s" % (name, found.get(name, 0), artifact.counts.get(name, 0)) for name in names[:5])
