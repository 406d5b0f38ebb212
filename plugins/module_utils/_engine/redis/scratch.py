# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis server of our own for a trial: it loads a dump, has only a socket, writes nothing and dies with us."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from typing import IO, Dict, Iterator, List, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command, Limits, command
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError, too_late

from ..base import EngineError, Work, from_program
from .client import Address, Client, RedisError
from .rdb import Sample
from .shared import PAUSE, patience

_TYPES = ("string", "list", "set", "zset", "hash", "stream")


def version_of(server: str) -> str:
    said = backup_stream.run(command(server, "--version"), timeout=30).decode("utf-8", "replace")
    return next((word[2:] for word in said.split() if word.startswith("v=")), "")


def space(needs: Sequence[Tuple[str, int]]) -> None:
    for path, size in needs:
        free = shutil.disk_usage(path).free
        if free < size:
            raise EngineError("space", "%s has %d bytes free, %d are needed" % (path, free, size))


def memory(needed: int) -> None:
    """The data is loaded into memory, beside everything else of this host."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo", encoding="ascii") as file:
        free = next((int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")), None)
        if free is not None and needed > free * 0.8:
            raise EngineError("space", "%d bytes of memory are available, the data took %d" % (free, needed))


@contextlib.contextmanager
def running(server: str, folder: str, databases: int, size: int, work: Work) -> Iterator[Client]:
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
    started = HOST.wrap(Command((*_unprivileged(folder), *words), cwd=folder), work.limits)
    with open(os.path.join(folder, "log"), "w+b") as log:
        process = subprocess.Popen(
            started.argv, env=started.env, cwd=started.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        # Addresses of sockets have 107 bytes at most, paths of scratch places may have more.
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            limit = min(patience(size), (work.limits or Limits()).seconds)
            yield from _when_loaded(process, "/proc/self/fd/%d/redis.sock" % handle, log, limit)
        finally:
            os.close(handle)
            process.kill()  # it has nothing to save
            process.wait()


def _when_loaded(process: subprocess.Popen[bytes], path: str, log: IO[bytes], patience: float) -> Iterator[Client]:
    end = time.monotonic() + patience
    while True:
        if process.poll() is not None:
            raise _not_loaded(process.returncode, log)
        if time.monotonic() > end:
            raise from_program(too_late("redis-server", patience), "failed")
        try:
            client = Client(Address(socket=path))
        except RedisError:
            time.sleep(PAUSE)
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
        time.sleep(PAUSE)


def _not_loaded(status: int, log: IO[bytes]) -> EngineError:
    """Why a server has ended before it had loaded its file."""
    log.seek(0)
    said = log.read().decode("utf-8", "replace").splitlines()
    why = "; ".join(line for line in said if " # " in line)[-500:] or "; ".join(said[-3:])
    error = StreamError("redis-server", status, why)
    if error.interrupted:
        return from_program(error, "failed")
    # Data of a module that this server does not have says nothing about the dump.
    return EngineError("version" if "module" in why.lower() else "damaged", "redis-server did not load the dump: %s" % why)


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


def live_samples(client: Client, samples: Sequence[Sample]) -> Dict[str, str]:
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
