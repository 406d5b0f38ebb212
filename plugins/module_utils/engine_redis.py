# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine redis: all data of a server as an RDB file, taken over the wire, restored by exchanging the server's files.

The counts are of the very stream that was written (``rdb_walk``). Nothing is ever flushed: a restore puts the server's files
aside and its own in their place while the server is down.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import time
from typing import IO, Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

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
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_places import HOST, Command, command
from ansible_collections.opsrunner.runbook.plugins.module_utils.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils.rdb_walk import RdbError, Sample, Walker, readable_by
from ansible_collections.opsrunner.runbook.plugins.module_utils.redis_client import Address, Client, RedisError, connected

_TYPES = ("string", "list", "set", "zset", "hash", "stream")
#: Seconds between two looks at a server that loads.
_PAUSE = 0.05
#: A server that loads is given this time, and more for large files.
_LOADING = 60.0


class RedisEngine(Engine):
    """Data of a Redis server."""

    name = "redis"
    ending = ".rdb"
    readers: Mapping[str, read.Reader] = {
        "host": read.text,
        "port": read.port,
        "socket": read.absolute,
        "user": read.text,
        "password": read.password,
        "ca_file": read.absolute,
        "cert_file": read.absolute,
        "key_file": read.absolute,
        "unit": read.name,
        "timeout": read.duration,
    }

    def parse(self, item: Mapping[str, Any], path: str) -> Dict[str, Any]:
        """One way to the server. OptionError."""
        if item.get("socket") and (item.get("host") or item.get("port")):
            raise OptionError(path + ".socket", "excludes host and port")
        if item.get("socket") and item.get("ca_file"):
            raise OptionError(path + ".ca_file", "a socket has no certificate")
        for one, other in (("cert_file", "ca_file"), ("cert_file", "key_file"), ("key_file", "cert_file")):
            if item.get(one) and not item.get(other):
                raise OptionError("%s.%s" % (path, other), "is needed with %s" % one)
        if item.get("user") and not item.get("password"):
            raise OptionError(path + ".user", "needs a password")
        return dict(item)

    def reach(self, spec: Mapping[str, Any], work: Work) -> None:
        """Whether the server answers and lets us in. EngineError."""
        with _told(), connected(_address(spec, work)) as client:
            client.info("server")

    @contextlib.contextmanager
    def dump(self, spec: Mapping[str, Any], work: Work) -> Iterator[Dump]:
        """The RDB file that a replica would be given."""
        with _told(), connected(_address(spec, work)) as client:
            version = client.info("server").get("redis_version", "")
            walker = Walker()

            def blocks() -> Iterator[bytes]:
                with _told():
                    for block in client.dump():
                        walker.feed(block)
                        yield block

            def finish() -> Told:
                with _told():
                    walker.finish()
                if walker.unsummed:
                    work.warn("the Redis server writes no checksums (rdbchecksum no): damage in its dump would not be found by it")
                source = {"rdb_version": walker.version, "bytes": walker.size, "used_memory": int(walker.aux.get("used-mem", 0))}
                source["summed"] = not walker.unsummed
                samples = {sample.name: sample.told for sample in walker.samples}
                return Told(_counts(walker), samples, source, "redis-sync", None, version or None)

            yield Dump(blocks(), finish)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """Walk it to its end, and let redis-check-rdb do so where that is installed. EngineError, StreamError."""
        checker = shutil.which("redis-check-rdb")
        path = os.path.join(work.scratch, "check.rdb") if checker else os.devnull
        if checker:
            _space([(work.scratch, int(artifact.source.get("bytes", 0)))])
        try:
            with open(path, "wb") as file:
                walker = _walk(artifact, stored, work, file)
            _same_counts(artifact, walker)
            if not checker:
                return
            try:
                backup_stream.run(command(checker, path), limits=work.limits)
            except backup_stream.StreamError as error:
                if "handle RDB format version" in error.said:
                    work.warn("redis-check-rdb of this host is too old for the dump: only the walk through it was made")
                    return
                raise EngineError("damaged", str(error)) from None
        finally:
            if checker:
                _remove(path)

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """Load it into a server of its own, without a port, that is gone afterwards."""
        server = shutil.which("redis-server")
        if not server:
            raise EngineError("failed", "redis-server is not installed on this host: the dump cannot be loaded on trial")
        version = _version_of(server)
        _fits(int(artifact.source.get("rdb_version", 0)), version)
        size = int(artifact.source.get("bytes", 0))
        _space([(work.scratch, size)])
        _memory(int(artifact.source.get("used_memory", 0)))
        folder = os.path.join(work.scratch, "redis")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder, 0o700)
        try:
            path = os.path.join(folder, "dump.rdb")
            with open(path, "wb") as file:
                walker = _walk(artifact, stored, work, file)
            with _scratch_server(server, folder, max([0, *walker.keys]) + 1, size, work) as client, _told():
                return Drilled(_live_counts(client, walker), _live_samples(client, walker.samples))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def restorer(
        self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work
    ) -> contextlib.AbstractContextManager[Restorer]:
        """The whole of it, to the server it came from or another of this host."""
        if request.part:
            raise EngineError(
                "failed",
                "no part of a Redis dump can be restored: restore it whole, or load it into a second server and copy keys (DUMP, RESTORE)",
            )
        if request.target is not None:
            raise EngineError("failed", "a Redis dump is restored to the server of the backup; for another one give its address and unit")
        if work.place is not HOST:
            raise EngineError("failed", "the files of a Redis server are exchanged on its own host only")
        if not spec.get("unit"):
            raise EngineError("failed", "the server is stopped for a restore: say its unit")
        return opened(RedisRestorer(spec, artifact, stored, request, work))

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """What the server says of its own files, and a walk through its RDB file where that is on this host. EngineError."""
        problems: List[str] = []
        with _told(), connected(_address(spec, work)) as client:
            told = client.info("persistence")
            states = ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")
            problems += ["%s is %s" % (name, told[name]) for name in states if told.get(name, "ok") != "ok"]
            counts = {"keys": sum(found["keys"] for found in client.sizes().values())}
            # What was changed since the last save was changed nobody knows when.
            saved = told.get("rdb_changes_since_last_save") == "0" and told.get("rdb_last_save_time", "").isdigit()
            last = float(told["rdb_last_save_time"]) if saved else None
            try:
                about = client.info("server")
                facts = _ask_facts(client)
            except EngineError:
                return Found(not problems, problems, counts, last)
        if work.place is not HOST or not _is_here(about, facts.folder):
            return Found(not problems, problems, counts, last)  # a file of this path is another server's
        path = os.path.join(facts.folder, facts.file)
        try:
            with open(path, "rb") as file:
                walker = Walker()
                _feed(file, walker)
                walker.finish()
        except OSError:
            pass  # never saved, or another host's
        except RdbError as error:
            if error.code == "version":
                work.warn("%s was not looked at: %s" % (path, error))
            else:
                problems.append("%s: %s" % (path, error))
        return Found(not problems, problems, counts, last)

    def salvage(self, spec: Mapping[str, Any], folder: str, work: Work) -> List[str]:
        """What a server that answers can still give. EngineError."""
        path = os.path.join(folder, "redis.rdb")
        with self.dump(spec, work) as dump:
            backup_stream.write(dump.source, path, "none", limits=work.limits)
            told = dump.finish()
        return ["%s: %d keys" % (path, told.counts["keys"])]


class _Facts(NamedTuple):
    """What has to be known of the server while it is down."""

    folder: str
    file: str
    log: Optional[str]  # the append-only file's name, None when there is none
    log_folder: Optional[str]  # the folder of it since Redis 7
    persisted: bool
    owner: Tuple[int, int]
    mode: int


class RedisRestorer(Restorer):
    """A restore by exchanging files in the server's folder; the ident is the artifact's own::

    <dir>/opsrunner-<ident>.new      the staged files, by the names they will have
    <dir>/opsrunner-<ident>.aside    the present ones, and ``state``: which there were
    <dir>/opsrunner-<ident>.present  dump of a server that keeps nothing on disk, made before it is stopped
    <root>/.opsrunner-<ident>-redis  where all this is, for it is looked up while the server is down
    """

    def __init__(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> None:
        self.units = (spec["unit"],)
        self._spec, self._artifact, self._stored, self._work = spec, artifact, stored, work
        self._ident = own_ident(request, artifact)
        root = os.path.dirname(os.path.dirname(os.path.abspath(stored.path)))
        self._notes = os.path.join(root, ".opsrunner-%s-redis" % self._ident)
        self._walker: Optional[Walker] = None

    def needs(self) -> List[Tuple[str, int]]:
        """The dump once, twice with an append-only file."""
        facts = self._facts()
        return [(facts.folder, int(self._artifact.source.get("bytes", 0)) * (2 if facts.log else 1))]

    def check(self) -> None:
        """The server is up, on this host, no replica, and not too old. EngineError."""
        with _told(), connected(_address(self._spec, self._work)) as client:
            about = client.info("server")
            _fits(int(self._artifact.source.get("rdb_version", 0)), about.get("redis_version", ""))
            told = client.info("replication")
            if told.get("role") != "master":
                raise EngineError("failed", "the Redis server is a replica: restore its primary")
            if told.get("connected_slaves", "0") != "0":
                self._work.warn(
                    "the Redis server has replicas: they get its data anew, and a Sentinel may make one of them the primary meanwhile"
                )
            _room(client, int(self._artifact.source.get("used_memory", 0)))
            facts = _ask_facts(client)
            if not _is_here(about, facts.folder):
                raise EngineError("failed", "the Redis server's folder %s is not on this host: restore it where it runs" % facts.folder)
            if "config_file" in about:
                _as_configured(about["config_file"], facts)
        if not os.access(facts.folder, os.W_OK):
            raise EngineError("denied", "%s cannot be written" % facts.folder)
        for name in _names(facts):
            path = os.path.join(facts.folder, name)
            if os.path.islink(path) or os.path.ismount(path):
                raise EngineError("failed", "%s is a link or a mount: it cannot be exchanged" % path)

    def stage(self) -> Mapping[str, int]:
        """The new files, complete, beside the present ones."""
        with _told(), connected(_address(self._spec, self._work)) as client:
            facts = _ask_facts(client)
            if os.path.exists(os.path.join(self._aside(facts), "state")):
                raise EngineError("failed", "the files of this restore are in place already")
            self._note(facts)
            self._drop_stage(facts)
            folder = self._new(facts)
            os.mkdir(folder, 0o700)
            path = os.path.join(folder, facts.file)
            with open(path, "xb") as file:
                self._walker = walker = _walk(self._artifact, self._stored, self._work, file)
                _sync(file)
            if facts.log:
                self._stage_log(facts, folder, path)
            if not facts.persisted:
                self._keep_present(client, facts)
            _give(folder, facts)
            _sync_folder(folder)
            _sync_folder(facts.folder)
        return _counts(walker)

    def swap(self) -> None:
        """Name by name: present aside, new in place."""
        facts = self._facts()
        new, aside = self._new(facts), self._aside(facts)
        with _files():
            if not os.path.isdir(new):
                raise EngineError("failed", "there is nothing staged in %s" % new)
            os.makedirs(aside, 0o700, exist_ok=True)
            state = os.path.join(aside, "state")
            if not os.path.exists(state):
                _write(state, [name for name in _names(facts) if os.path.lexists(os.path.join(facts.folder, name))])
            for name in _names(facts):
                here, staged, kept = (os.path.join(folder, name) for folder in (facts.folder, new, aside))
                if not os.path.lexists(staged):
                    continue  # it is in place
                if os.path.lexists(here):
                    # A server that came up in the middle of it has written one of its own: not what was there.
                    _move(here, kept if not os.path.lexists(kept) else kept + ".late")
                os.rename(staged, here)
                _sync_folder(facts.folder)

    def unswap(self) -> None:
        """Name by name: new back to the stage, present back in place."""
        try:
            facts = self._facts()
        except EngineError:
            if os.path.exists(self._notes):
                raise
            return  # nothing was staged
        new, aside = self._new(facts), self._aside(facts)
        state = os.path.join(aside, "state")
        with _files():
            if os.path.exists(state):
                with open(state, encoding="utf-8") as file:
                    present = json.load(file)
                os.makedirs(new, 0o700, exist_ok=True)
                for name in _names(facts):
                    here, staged, kept = (os.path.join(folder, name) for folder in (facts.folder, new, aside))
                    if os.path.lexists(kept) or (name not in present and not os.path.lexists(staged)):
                        if os.path.lexists(here):
                            _move(here, staged if not os.path.lexists(staged) else kept + ".late")
                        if os.path.lexists(kept):
                            os.rename(kept, here)
                        _sync_folder(facts.folder)
                os.unlink(state)
            kept = self._present(facts)
            if os.path.exists(kept):
                # The server keeps nothing on disk: what it had is only here.
                here = os.path.join(facts.folder, facts.file)
                if os.path.lexists(here):
                    os.makedirs(aside, 0o700, exist_ok=True)
                    _move(here, os.path.join(aside, facts.file + ".stale"))
                os.rename(kept, here)
                _sync_folder(facts.folder)
            with contextlib.suppress(OSError):
                os.rmdir(aside)

    def finish(self) -> None:
        """Wait until the server has loaded what it was given, and kept it. EngineError."""
        with self._loaded() as client, _told():
            if client.info("replication").get("role") != "master":
                raise EngineError("failed", "the Redis server was made a replica meanwhile, by a Sentinel perhaps: its data is another's")
            evicted = client.info("stats").get("evicted_keys", "0")
            if evicted != "0":
                raise EngineError("space", "the Redis server has evicted %s keys already: its maxmemory is too small" % evicted)

    def count(self) -> Mapping[str, int]:
        """What the server has; keys that have expired since the dump are counted as there, for they are known one by one."""
        walker = self._known()
        with self._loaded() as client, _told():
            return _live_counts(client, walker)

    def unstage(self) -> None:
        """Remove the staged files."""
        facts = self._facts_or_none()
        if facts is None:
            return
        self._drop_stage(facts)
        if not os.path.exists(self._aside(facts)):
            with _files():
                _remove(self._present(facts))
                _remove(self._notes)

    def aside(self) -> List[str]:
        """The folder with the files set aside."""
        facts = self._facts_or_none()
        if facts is None:
            return []
        return [path for path in (self._aside(facts), self._present(facts)) if os.path.exists(path)]

    def discard(self) -> None:
        """Remove the files set aside."""
        facts = self._facts_or_none()
        if facts is None:
            return
        with _files():
            if os.path.exists(self._aside(facts)):
                shutil.rmtree(self._aside(facts))
            _remove(self._present(facts))
            if not os.path.exists(self._new(facts)):
                _remove(self._notes)

    def _new(self, facts: _Facts) -> str:
        return os.path.join(facts.folder, "opsrunner-%s.new" % self._ident)

    def _aside(self, facts: _Facts) -> str:
        return os.path.join(facts.folder, "opsrunner-%s.aside" % self._ident)

    def _present(self, facts: _Facts) -> str:
        return os.path.join(facts.folder, "opsrunner-%s.present" % self._ident)

    def _note(self, facts: _Facts) -> None:
        with _files():
            _write(self._notes, facts._asdict())

    def _facts(self) -> _Facts:
        """As they were noted; else as the server tells them."""
        try:
            with open(self._notes, encoding="utf-8") as file:
                noted = json.load(file)
            noted["owner"] = tuple(noted["owner"])
            return _Facts(**noted)
        except FileNotFoundError:
            with _told(), connected(_address(self._spec, self._work)) as client:
                return _ask_facts(client)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise EngineError("failed", "%s cannot be read: %s" % (self._notes, error)) from None

    def _facts_or_none(self) -> Optional[_Facts]:
        return self._facts() if os.path.exists(self._notes) else None

    def _drop_stage(self, facts: _Facts) -> None:
        with _files():
            if os.path.lexists(self._new(facts)):
                shutil.rmtree(self._new(facts))

    def _stage_log(self, facts: _Facts, folder: str, dump: str) -> None:
        """An append-only file that starts with the dump; without it the server would come up empty."""
        if facts.log_folder is None:
            target = os.path.join(folder, facts.log or "")
        else:
            os.mkdir(os.path.join(folder, facts.log_folder), 0o700)
            base = "%s.1.base.rdb" % facts.log
            target = os.path.join(folder, facts.log_folder, base)
            listing = os.path.join(folder, facts.log_folder, "%s.manifest" % facts.log)
            with open(listing, "x", encoding="utf-8") as file:
                file.write("file %s seq 1 type b\n" % _quoted(base))
                _sync(file)
        with open(dump, "rb") as source, open(target, "xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            _sync(copy)

    def _keep_present(self, client: Client, facts: _Facts) -> None:
        """The dump of a server that would lose its data when it is stopped."""
        path = self._present(facts)
        _remove(path)
        walker = Walker()
        with open(path, "xb") as file:
            for block in client.dump():
                walker.feed(block)
                file.write(block)
            walker.finish()
            _sync(file)
        _own(path, facts)
        self._work.warn("the Redis server keeps nothing on disk: what is written from now on is lost if the restore is taken back")

    def _known(self) -> Walker:
        if self._walker is None:
            self._walker = _walk(self._artifact, self._stored, self._work, None)
        return self._walker

    @contextlib.contextmanager
    def _loaded(self) -> Iterator[Client]:
        """A connection once the server has loaded its data. EngineError."""
        end = time.monotonic() + _patience(int(self._artifact.source.get("bytes", 0)))
        with _told():
            while True:
                try:
                    client = Client(_address(self._spec, self._work))
                    try:
                        if client.info("persistence").get("loading", "0") == "0":
                            break
                    except RedisError:
                        client.close()
                        raise
                    client.close()
                except RedisError as error:
                    if error.code not in ("unreachable", "loading") or time.monotonic() > end:
                        raise
                if time.monotonic() > end:
                    raise EngineError("failed", "the Redis server did not load its data in time")
                time.sleep(_PAUSE)
        try:
            yield client
        finally:
            client.close()


def _address(spec: Mapping[str, Any], work: Work) -> Address:
    return Address(
        spec.get("host") or "127.0.0.1",
        spec.get("port") or 6379,
        spec.get("socket"),
        spec.get("user"),
        spec.get("password"),
        spec.get("ca_file"),
        spec.get("timeout") or 30.0,
        spec.get("cert_file"),
        spec.get("key_file"),
        None if work.place is HOST else work.place,
    )


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The errors of the parts as the engine's own."""
    try:
        yield
    except RedisError as error:
        raise EngineError("unreachable" if error.code == "loading" else error.code, str(error)) from None
    except RdbError as error:
        raise EngineError(error.code, str(error)) from None


@contextlib.contextmanager
def _files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError("failed", "%s: %s" % (error.filename, error.strerror or error)) from None


def _feed(file: IO[bytes], walker: Walker, copy: Optional[IO[bytes]] = None) -> None:
    while True:
        block = file.read(1 << 20)
        if not block:
            return
        walker.feed(block)
        if copy:
            copy.write(block)


def _walk(artifact: Artifact, stored: Stored, work: Work, copy: Optional[IO[bytes]]) -> Walker:
    """Walk through an artifact, writing it to ``copy`` on the way. EngineError, StreamError."""
    walker = Walker()
    compression = artifact.compression or "none"
    with _told(), backup_stream.read(stored.path, compression, bool(artifact.encryption), stored.identity, work.limits) as stream, _files():
        _feed(stream, walker, copy)
        walker.finish()
        if copy:
            copy.flush()
    return walker


def _counts(walker: Walker) -> Dict[str, int]:
    counts = {"keys": sum(walker.keys.values()), **walker.counts()}
    if walker.functions:
        counts["functions"] = walker.functions
    return counts


def _same_counts(artifact: Artifact, walker: Walker) -> None:
    found = _counts(walker)
    if walker.unsummed and artifact.source.get("summed"):
        raise EngineError("damaged", "the dump has lost its checksum")
    if artifact.counts and dict(artifact.counts) != found:
        raise EngineError("differs", "the dump holds %d keys, not %d" % (found["keys"], artifact.counts.get("keys", 0)))


def _live_counts(client: Client, walker: Walker) -> Dict[str, int]:
    """The counts of a server that has loaded the walker's file, where keys that have expired meanwhile count as there.

    Exactly those may be gone: not more than are known to have expired, and as many keys as keys with an expiry; besides them only
    hashes whose fields expire.
    """
    live = client.sizes()
    now = time.time()
    found: Dict[str, int] = {}
    total = 0
    for database in sorted(set(live) | set(walker.keys)):
        keys, expiring = (live.get(database, {}).get(name, 0) for name in ("keys", "expires"))
        gone = walker.keys.get(database, 0) - keys
        known, fading = len(walker.expires.get(database, ())), walker.fading.get(database, 0)
        if 0 <= gone <= walker.expired(database, now) + fading and gone - fading <= known - expiring <= gone:
            keys, expiring = keys + gone, known
        total += keys
        if keys or database in walker.keys:
            found["keys.db%d" % database], found["expiring.db%d" % database] = keys, expiring
    found["keys"] = total
    if walker.functions:
        found["functions"] = len(client.ask("FUNCTION", "LIST"))
    return found


def _live_samples(client: Client, samples: Sequence[Sample]) -> Dict[str, str]:
    import hashlib

    found: Dict[str, str] = {}
    for sample in samples:
        client.ask("SELECT", sample.database)
        kind = client.ask("TYPE", sample.key).decode("utf-8", "replace")
        if kind not in (*_TYPES, "none"):
            kind = "module"
        told = kind
        if sample.digest and kind == "string":
            told += ":" + hashlib.sha256(client.ask("GET", sample.key) or b"").hexdigest()
        found[sample.name] = told
    return found


def _fits(rdb_version: int, server: str) -> None:
    if rdb_version > readable_by(server):
        raise EngineError("version", "Redis %s reads RDB files up to version %d, not %d" % (server, readable_by(server), rdb_version))


def _version_of(server: str) -> str:
    said = backup_stream.run(command(server, "--version"), timeout=30).decode("utf-8", "replace")
    return next((word[2:] for word in said.split() if word.startswith("v=")), "")


def _space(needs: Sequence[Tuple[str, int]]) -> None:
    for path, size in needs:
        free = shutil.disk_usage(path).free
        if free < size:
            raise EngineError("space", "%s has %d bytes free, %d are needed" % (path, free, size))


def _memory(needed: int) -> None:
    """The data is loaded into memory, beside everything else of this host."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo", encoding="ascii") as file:
        free = next((int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")), None)
        if free is not None and needed > free * 0.8:
            raise EngineError("space", "%d bytes of memory are available, the data took %d" % (free, needed))


def _patience(size: int) -> float:
    """How long a server may take to load a file; 5 MB a second is slow even for a poor disk."""
    return _LOADING + size / 5e6


@contextlib.contextmanager
def _scratch_server(server: str, folder: str, databases: int, size: int, work: Work) -> Iterator[Client]:
    """A server that has loaded ``dump.rdb`` of the folder. It has only a socket there, writes nothing, and dies with us.

    As a replica (of nothing) it lets no key expire, so that it has exactly what the file has.
    """
    settings = (
        ("port", "0"),
        ("unixsocket", "redis.sock"),
        ("unixsocketperm", "700"),
        ("dir", "."),
        ("dbfilename", "dump.rdb"),
        ("save", ""),
        ("appendonly", "no"),
        ("databases", str(max(databases, 16))),
        ("daemonize", "no"),
        ("replicaof", "127.0.0.1", "0"),
    )
    words = [server]
    for name, *values in settings:
        words += ["--" + name, *values]
    started = work.place.wrap(Command((*_unprivileged(folder), *words), cwd=folder), work.limits)
    with open(os.path.join(folder, "log"), "w+b") as log:
        process = subprocess.Popen(
            started.argv, env=started.env, cwd=started.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        # Addresses of sockets have 107 bytes at most, paths of scratch places may have more.
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from _when_loaded(process, "/proc/self/fd/%d/redis.sock" % handle, log, _patience(size))
        finally:
            os.close(handle)
            process.kill()  # it has nothing to save
            process.wait()


def _when_loaded(process: subprocess.Popen[bytes], path: str, log: IO[bytes], patience: float) -> Iterator[Client]:
    end = time.monotonic() + patience
    while True:
        if process.poll() is not None or time.monotonic() > end:
            log.seek(0)
            said = log.read().decode("utf-8", "replace").splitlines()
            why = "; ".join(line for line in said if " # " in line)[-500:] or "; ".join(said[-3:])
            code = "damaged" if process.poll() is not None else "failed"
            if "module" in why.lower():
                code = "version"  # data of a module that this server does not have: nothing is said about the dump
            raise EngineError(code, "redis-server did not load the dump: %s" % why)
        try:
            client = Client(Address(socket=path))
        except RedisError:
            time.sleep(_PAUSE)
            continue
        try:
            if client.info("persistence").get("loading") == "0":
                yield client
                return
        except RedisError as error:
            if error.code not in ("loading", "unreachable"):
                raise
        finally:
            client.close()
        time.sleep(_PAUSE)


def _unprivileged(folder: str) -> List[str]:
    """The words before a program that make it die with us, and another user when we are root, who then owns the folder."""
    words = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        import pwd

        for name in ("redis", "nobody"):
            with contextlib.suppress(KeyError):
                user = pwd.getpwnam(name)
                for path in (folder, os.path.join(folder, "dump.rdb")):
                    os.chown(path, user.pw_uid, user.pw_gid)
                words += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
                break
    return words


def _ask_facts(client: Client) -> _Facts:
    try:
        folder, file = client.config("dir"), client.config("dbfilename")
        log = (client.config("appendfilename") or "appendonly.aof") if client.config("appendonly") == "yes" else None
        log_folder = client.config("appenddirname") if log else None
        saves = bool(client.config("save"))
    except RedisError as error:
        raise EngineError(error.code, "where Redis keeps its files cannot be asked, CONFIG GET is needed: %s" % error) from None
    if not folder or not file:
        raise EngineError("failed", "Redis does not tell where it keeps its files")
    with _files():
        about = os.stat(folder)
        mode = 0o640
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(os.path.join(folder, file)).st_mode)
    return _Facts(folder, file, log, log_folder, saves or log is not None, (about.st_uid, about.st_gid), mode)


def _room(client: Client, needed: int) -> None:
    """A server that evicts would do so as soon as it has loaded more than it may. EngineError."""
    most = int(client.config("maxmemory") or 0)
    if 0 < most < needed and client.config("maxmemory-policy") != "noeviction":
        raise EngineError(
            "space", "the Redis server may take %d bytes of memory (maxmemory), the data took %d: it would evict keys" % (most, needed)
        )


def _as_configured(path: str, facts: _Facts) -> None:
    """Whether the server will look for its append-only file after a start as it does now: one that was turned off in the running
    server only comes up with an old one, or with nothing, and writes that over the data. EngineError."""
    found = None
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if len(words) == 2 and words[0].lower() == "appendonly":
                found = words[1].strip("\"'").lower()
    if found == "yes" and not facts.log:
        raise EngineError("failed", "appendonly was turned off in the running Redis, not in %s: make them agree first" % path)


def _is_here(about: Mapping[str, str], folder: str) -> bool:
    """Whether the server's folder is this host's: it is where its process works."""
    try:
        return os.path.samefile("/proc/%d/cwd" % int(about.get("process_id", "0")), folder)
    except PermissionError:
        return os.path.isdir(folder)
    except (OSError, ValueError):
        return False


def _names(facts: _Facts) -> List[str]:
    """What the server loads from its folder; the log first, which goes before the dump where there is one."""
    return [name for name in (facts.log and (facts.log_folder or facts.log), facts.file) if name]


def _quoted(name: str) -> str:
    """A file's name as Redis writes it into the listing of its append-only files: in quotes where it is no plain word."""
    data = os.fsencode(name)
    if all(33 <= byte <= 126 and byte not in b"\"'\\" for byte in data):
        return name
    shown = ("\\" + chr(byte) if byte in b'"\\' else chr(byte) if 32 <= byte <= 126 else "\\x%02x" % byte for byte in data)
    return '"%s"' % "".join(shown)


def _own(path: str, facts: _Facts) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)  # the folder is the server's: it may have put a link there
    try:
        os.fchmod(handle, facts.mode | ((facts.mode & 0o444) >> 2 if os.path.isdir(path) else 0))
        if os.geteuid() == 0:
            os.fchown(handle, *facts.owner)
    finally:
        os.close(handle)


def _give(folder: str, facts: _Facts) -> None:
    """Have the server own what is staged."""
    with _files():
        for parent, folders, files in os.walk(folder):
            for name in folders + files:
                _own(os.path.join(parent, name), facts)
            _sync_folder(parent)


def _write(path: str, value: Any) -> None:
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(value, file)
        _sync(file)
    os.rename(path + ".tmp", path)
    _sync_folder(os.path.dirname(path))


def _move(old: str, new: str) -> None:
    """Rename, over what is there: an earlier try of the same."""
    if os.path.isdir(new) and not os.path.islink(new):
        shutil.rmtree(new)
    elif os.path.lexists(new):
        os.unlink(new)
    os.rename(old, new)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
