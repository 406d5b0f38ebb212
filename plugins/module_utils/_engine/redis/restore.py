# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restore of a Redis server: its files are put aside and others in their place while it is down. Nothing is ever flushed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from typing import IO, Any, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable

from ..artifact import Artifact
from ..base import EngineError, Request, Restorer, Stored, Work, own_ident
from .client import Client, RedisError, connected
from .rdb import Walker
from .shared import (
    PAUSE,
    Facts,
    address,
    ask_facts,
    counts_of,
    errors_told,
    file_errors,
    fits,
    is_here,
    live_counts,
    patience,
    remove,
    walk,
)


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
        with errors_told(), connected(address(self._spec, self._work)) as client:
            about = client.info("server")
            fits(int(self._artifact.source.get("rdb_version", 0)), about.get("redis_version", ""))
            told = client.info("replication")
            if told.get("role") != "master":
                raise EngineError("failed", "the Redis server is a replica: restore its primary")
            if told.get("connected_slaves", "0") != "0":
                self._work.warn(
                    "the Redis server has replicas: they get its data anew, and a Sentinel may make one of them the primary meanwhile"
                )
            _room(client, int(self._artifact.source.get("used_memory", 0)))
            facts = ask_facts(client)
            if not is_here(about, facts.folder):
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
        with errors_told(), connected(address(self._spec, self._work)) as client:
            facts = ask_facts(client)
            if os.path.exists(os.path.join(self._aside(facts), "state")):
                raise EngineError("failed", "the files of this restore are in place already")
            self._note(facts)
            self._drop_stage(facts)
            folder = self._new(facts)
            os.mkdir(folder, 0o700)
            path = os.path.join(folder, facts.file)
            with open(path, "xb") as file:
                self._walker = walker = walk(self._artifact, self._stored, self._work, file)
                _sync(file)
            if facts.log:
                self._stage_log(facts, folder, path)
            if not facts.persisted:
                self._keep_present(client, facts)
            _give(folder, facts)
            durable.sync_folder(folder)
            durable.sync_folder(facts.folder)
        return counts_of(walker)

    def swap(self) -> None:
        """Name by name: present aside, new in place."""
        facts = self._facts()
        new, aside = self._new(facts), self._aside(facts)
        with file_errors():
            if not os.path.isdir(new):
                raise EngineError("failed", "there is nothing staged in %s" % new)
            os.makedirs(aside, 0o700, exist_ok=True)
            state = os.path.join(aside, "state")
            if not os.path.exists(state):
                self._look_whether_it_saved(facts)
                _write(state, [name for name in _names(facts) if os.path.lexists(os.path.join(facts.folder, name))])
            for name in _names(facts):
                here, staged, kept = (os.path.join(folder, name) for folder in (facts.folder, new, aside))
                if not os.path.lexists(staged):
                    continue  # it is in place
                if os.path.lexists(here):
                    # A server that came up in the middle of it has written one of its own: not what was there.
                    _move(here, kept if not os.path.lexists(kept) else kept + ".late")
                os.rename(staged, here)
                durable.sync_folder(facts.folder)

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
        with file_errors():
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
                        durable.sync_folder(facts.folder)
                os.unlink(state)
            kept = self._present(facts)
            if os.path.exists(kept):
                # The server keeps nothing on disk: what it had is only here.
                here = os.path.join(facts.folder, facts.file)
                if os.path.lexists(here):
                    os.makedirs(aside, 0o700, exist_ok=True)
                    _move(here, os.path.join(aside, facts.file + ".stale"))
                os.rename(kept, here)
                durable.sync_folder(facts.folder)
            with contextlib.suppress(OSError):
                os.rmdir(aside)

    def finish(self) -> None:
        """Wait until the server has loaded what it was given, and kept it. EngineError."""
        with self._loaded() as client, errors_told():
            if client.info("replication").get("role") != "master":
                raise EngineError("failed", "the Redis server was made a replica meanwhile, by a Sentinel perhaps: its data is another's")
            evicted = client.info("stats").get("evicted_keys", "0")
            if evicted != "0":
                raise EngineError("space", "the Redis server has evicted %s keys already: its maxmemory is too small" % evicted)

    def count(self) -> Mapping[str, int]:
        """What the server has; keys that have expired since the dump are counted as there, for they are known one by one."""
        walker = self._known()
        with self._loaded() as client, errors_told():
            return live_counts(client, walker)

    def unstage(self) -> None:
        """Remove the staged files."""
        facts = self._facts_or_none()
        if facts is None:
            return
        self._drop_stage(facts)
        if not os.path.exists(self._aside(facts)):
            with file_errors():
                remove(self._present(facts))
                remove(self._notes)

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
        with file_errors():
            if os.path.exists(self._aside(facts)):
                shutil.rmtree(self._aside(facts))
            remove(self._present(facts))
            if not os.path.exists(self._new(facts)):
                remove(self._notes)

    def _look_whether_it_saved(self, facts: Facts) -> None:
        """A server that saves does so when it is stopped, unless it could not or was killed."""
        here = os.path.join(facts.folder, facts.file)
        if facts.persisted and not facts.log and (not os.path.exists(here) or os.stat(here).st_mtime < os.stat(self._notes).st_mtime):
            self._work.warn("the Redis server has not saved when it was stopped: what it had is gone, but for what %s has" % here)

    def _new(self, facts: Facts) -> str:
        return os.path.join(facts.folder, "opsrunner-%s.new" % self._ident)

    def _aside(self, facts: Facts) -> str:
        return os.path.join(facts.folder, "opsrunner-%s.aside" % self._ident)

    def _present(self, facts: Facts) -> str:
        return os.path.join(facts.folder, "opsrunner-%s.present" % self._ident)

    def _note(self, facts: Facts) -> None:
        with file_errors():
            _write(self._notes, facts._asdict())

    def _facts(self) -> Facts:
        """As they were noted; else as the server tells them."""
        try:
            with open(self._notes, encoding="utf-8") as file:
                noted = json.load(file)
            noted["owner"] = tuple(noted["owner"])
            return Facts(**noted)
        except FileNotFoundError:
            with errors_told(), connected(address(self._spec, self._work)) as client:
                return ask_facts(client)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise EngineError("failed", "%s cannot be read: %s" % (self._notes, error)) from None

    def _facts_or_none(self) -> Optional[Facts]:
        return self._facts() if os.path.exists(self._notes) else None

    def _drop_stage(self, facts: Facts) -> None:
        with file_errors():
            if os.path.lexists(self._new(facts)):
                shutil.rmtree(self._new(facts))

    def _stage_log(self, facts: Facts, folder: str, dump: str) -> None:
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

    def _keep_present(self, client: Client, facts: Facts) -> None:
        """The dump of a server that would lose its data when it is stopped."""
        path = self._present(facts)
        remove(path)
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
            self._walker = walk(self._artifact, self._stored, self._work, None)
        return self._walker

    @contextlib.contextmanager
    def _loaded(self) -> Iterator[Client]:
        """A connection once the server has loaded its data. EngineError."""
        end = time.monotonic() + patience(int(self._artifact.source.get("bytes", 0)))
        with errors_told():
            while True:
                try:
                    client = Client(address(self._spec, self._work))
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
                time.sleep(PAUSE)
        try:
            yield client
        finally:
            client.close()


def _room(client: Client, needed: int) -> None:
    """A server that evicts would do so as soon as it has loaded more than it may. EngineError."""
    most = int(client.config("maxmemory") or 0)
    if 0 < most < needed and client.config("maxmemory-policy") != "noeviction":
        raise EngineError(
            "space", "the Redis server may take %d bytes of memory (maxmemory), the data took %d: it would evict keys" % (most, needed)
        )


def _as_configured(path: str, facts: Facts) -> None:
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


def _names(facts: Facts) -> List[str]:
    """What the server loads from its folder; the log first, which goes before the dump where there is one."""
    return [name for name in (facts.log and (facts.log_folder or facts.log), facts.file) if name]


def _quoted(name: str) -> str:
    """A file's name as Redis writes it into the listing of its append-only files: in quotes where it is no plain word."""
    data = os.fsencode(name)
    if all(33 <= byte <= 126 and byte not in b"\"'\\" for byte in data):
        return name
    shown = ("\\" + chr(byte) if byte in b'"\\' else chr(byte) if 32 <= byte <= 126 else "\\x%02x" % byte for byte in data)
    return '"%s"' % "".join(shown)


def _own(path: str, facts: Facts) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)  # the folder is the server's: it may have put a link there
    try:
        os.fchmod(handle, facts.mode | ((facts.mode & 0o444) >> 2 if os.path.isdir(path) else 0))
        if os.geteuid() == 0:
            os.fchown(handle, *facts.owner)
    finally:
        os.close(handle)


def _give(folder: str, facts: Facts) -> None:
    """Have the server own what is staged."""
    with file_errors():
        for parent, folders, files in os.walk(folder):
            for name in folders + files:
                _own(os.path.join(parent, name), facts)
            durable.sync_folder(parent)


def _write(path: str, value: Any) -> None:
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(value, file)
        _sync(file)
    os.rename(path + ".tmp", path)
    durable.sync_folder(os.path.dirname(path))


def _move(old: str, new: str) -> None:
    """Rename, over what is there: an earlier try of the same."""
    if os.path.isdir(new) and not os.path.islink(new):
        shutil.rmtree(new)
    elif os.path.lexists(new):
        os.unlink(new)
    os.rename(old, new)


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
