# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine redis, its trials and its restores have in common: connections, the walk through a dump, what a server has."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import IO, Any, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST

from ..artifact import Artifact
from ..base import EngineError, Stored, Work
from .client import Address, Client, RedisError
from .rdb import RdbError, Walker, readable_by

#: A server that loads is given this time, and more for large files.
_LOADING = 60.0
#: Seconds between two looks at a server that loads.
PAUSE = 0.05


def address(spec: Mapping[str, Any], work: Work) -> Address:
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
def errors_told() -> Iterator[None]:
    """The errors of the parts as the engine's own."""
    try:
        yield
    except RedisError as error:
        raise EngineError("unreachable" if error.code == "loading" else error.code, str(error)) from None
    except RdbError as error:
        raise EngineError(error.code, str(error)) from None


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError("failed", "%s: %s" % (error.filename, error.strerror or error)) from None


def feed(file: IO[bytes], walker: Walker, copy: Optional[IO[bytes]] = None) -> None:
    while True:
        block = file.read(1 << 20)
        if not block:
            return
        walker.feed(block)
        if copy:
            copy.write(block)


def walk(artifact: Artifact, stored: Stored, work: Work, copy: Optional[IO[bytes]]) -> Walker:
    """Walk through an artifact, writing it to ``copy`` on the way. EngineError, StreamError."""
    walker = Walker()
    compression = artifact.compression or "none"
    with errors_told(), backup_stream.read(
        stored.path, compression, bool(artifact.encryption), stored.identity, work.limits
    ) as stream, file_errors():
        feed(stream, walker, copy)
        walker.finish()
        if copy:
            copy.flush()
    return walker


def counts_of(walker: Walker) -> Dict[str, int]:
    counts = {"keys": sum(walker.keys.values()), **walker.counts()}
    if walker.functions:
        counts["functions"] = walker.functions
    return counts


def live_counts(client: Client, walker: Walker) -> Dict[str, int]:
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


def fits(rdb_version: int, server: str) -> None:
    if rdb_version > readable_by(server):
        raise EngineError("version", "Redis %s reads RDB files up to version %d, not %d" % (server, readable_by(server), rdb_version))


def patience(size: int) -> float:
    """How long a server may take to load a file; 5 MB a second is slow even for a poor disk."""
    return _LOADING + size / 5e6


class Facts(NamedTuple):
    """What has to be known of the server while it is down."""

    folder: str
    file: str
    log: Optional[str]  # the append-only file's name, None when there is none
    log_folder: Optional[str]  # the folder of it since Redis 7
    persisted: bool
    owner: Tuple[int, int]
    mode: int


def ask_facts(client: Client) -> Facts:
    try:
        folder, file = client.config("dir"), client.config("dbfilename")
        log = (client.config("appendfilename") or "appendonly.aof") if client.config("appendonly") == "yes" else None
        log_folder = client.config("appenddirname") if log else None
        saves = bool(client.config("save"))
    except RedisError as error:
        raise EngineError(error.code, "where Redis keeps its files cannot be asked, CONFIG GET is needed: %s" % error) from None
    if not folder or not file:
        raise EngineError("failed", "Redis does not tell where it keeps its files")
    with file_errors():
        about = os.stat(folder)
        mode = 0o640
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(os.path.join(folder, file)).st_mode)
    return Facts(folder, file, log, log_folder, saves or log is not None, (about.st_uid, about.st_gid), mode)


def is_here(about: Mapping[str, str], folder: str) -> bool:
    """Whether the server's folder is this host's: it is where its process works."""
    try:
        return os.path.samefile("/proc/%d/cwd" % int(about.get("process_id", "0")), folder)
    except PermissionError:
        return os.path.isdir(folder)
    except (OSError, ValueError):
        return False


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
