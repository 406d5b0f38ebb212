# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine redis: all data of a server as an RDB file, taken over the wire, restored by exchanging the server's files.

The counts are of the very stream that was written (``rdb_walk``). Nothing is ever flushed: a restore puts the server's files
aside and its own in their place while the server is down.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any, Dict, Iterator, List, Mapping, Optional

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, command

from ..artifact import Artifact
from ..base import Drilled, Dump, Engine, EngineError, Found, Request, Restorer, Stored, Told, Work, from_program, opened
from . import scratch as redis_trial
from .client import connected
from .rdb import RdbError, Walker
from .restore import RedisRestorer
from .shared import address, ask_facts, counts_of, errors_told, feed, fits, is_here, live_counts, remove, walk


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
        with errors_told(), connected(address(spec, work)) as client:
            client.info("server")

    @contextlib.contextmanager
    def dump(self, spec: Mapping[str, Any], work: Work) -> Iterator[Dump]:
        """The RDB file that a replica would be given."""
        with errors_told(), connected(address(spec, work)) as client:
            version = client.info("server").get("redis_version", "")
            walker = Walker()

            def blocks() -> Iterator[bytes]:
                with errors_told():
                    for block in client.dump():
                        walker.feed(block)
                        yield block

            def finish() -> Told:
                with errors_told():
                    walker.finish()
                if walker.unsummed:
                    work.warn("the Redis server writes no checksums (rdbchecksum no): damage in its dump would not be found by it")
                source = {"rdb_version": walker.version, "bytes": walker.size, "used_memory": int(walker.aux.get("used-mem", 0))}
                source["summed"] = not walker.unsummed
                samples = {sample.name: sample.told for sample in walker.samples}
                return Told(counts_of(walker), samples, source, "redis-sync", None, version or None)

            yield Dump(blocks(), finish)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """Walk it to its end, and let redis-check-rdb do so where that is installed. EngineError, StreamError."""
        checker = shutil.which("redis-check-rdb")
        path = os.path.join(work.scratch, "check.rdb") if checker else os.devnull
        if checker:
            redis_trial.space([(work.scratch, int(artifact.source.get("bytes", 0)))])
        try:
            with open(path, "wb") as file:
                walker = walk(artifact, stored, work, file)
            _same_counts(artifact, walker)
            if not checker:
                return
            try:
                backup_stream.run(command(checker, path), limits=work.limits)
            except backup_stream.StreamError as error:
                if "handle RDB format version" in error.said:
                    work.warn("redis-check-rdb of this host is too old for the dump: only the walk through it was made")
                    return
                raise from_program(error, "damaged") from None
        finally:
            if checker:
                remove(path)

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """Load it into a server of its own, without a port, that is gone afterwards."""
        server = shutil.which("redis-server")
        if not server:
            raise EngineError("failed", "redis-server is not installed on this host: the dump cannot be loaded on trial")
        version = redis_trial.version_of(server)
        fits(int(artifact.source.get("rdb_version", 0)), version)
        size = int(artifact.source.get("bytes", 0))
        redis_trial.space([(work.scratch, size)])
        redis_trial.memory(int(artifact.source.get("used_memory", 0)))
        folder = os.path.join(work.scratch, "redis")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder, 0o700)
        try:
            path = os.path.join(folder, "dump.rdb")
            with open(path, "wb") as file:
                walker = walk(artifact, stored, work, file)
            with redis_trial.running(server, folder, max([0, *walker.keys]) + 1, size, work) as client, errors_told():
                return Drilled(live_counts(client, walker), redis_trial.live_samples(client, walker.samples))
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
        with errors_told(), connected(address(spec, work)) as client:
            told = client.info("persistence")
            states = ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")
            problems += ["%s is %s" % (name, told[name]) for name in states if told.get(name, "ok") != "ok"]
            counts = {"keys": sum(found["keys"] for found in client.sizes().values())}
            # What was changed since the last save was changed nobody knows when.
            saved = told.get("rdb_changes_since_last_save") == "0" and told.get("rdb_last_save_time", "").isdigit()
            last = float(told["rdb_last_save_time"]) if saved else None
            try:
                about = client.info("server")
                facts = ask_facts(client)
            except EngineError:
                return Found(not problems, problems, counts, last)
        if work.place is not HOST or not is_here(about, facts.folder):
            return Found(not problems, problems, counts, last)  # a file of this path is another server's
        path = os.path.join(facts.folder, facts.file)
        try:
            with open(path, "rb") as file:
                walker = Walker()
                feed(file, walker)
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


def _same_counts(artifact: Artifact, walker: Walker) -> None:
    found = counts_of(walker)
    if walker.unsummed and artifact.source.get("summed"):
        raise EngineError("damaged", "the dump has lost its checksum")
    if artifact.counts and dict(artifact.counts) != found:
        raise EngineError("differs", "the dump holds %d keys, not %d" % (found["keys"], artifact.counts.get("keys", 0)))
