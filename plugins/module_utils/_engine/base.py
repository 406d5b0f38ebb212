# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine is: how one kind of data is dumped, read, counted, restored beside the present data, swapped in and back.

An engine is a class per file ``engine_<name>.py``; ``backup_engines.py`` names them. It is handed a :class:`Work` and says
what to do through ``backup_stream``; writing sets, proving them, journals and findings are not its business.

Life of an artifact::

    backup:   spec = engine.parse(item, path)              # pure; OptionError
              with engine.dump(spec, work) as dump:        # opens the snapshot
                  backup_stream.write(dump.source, …, tap=dump.tap)
                  told = dump.finish()                     # counts and samples of exactly what was dumped
    rung 3:   engine.read_through(artifact, stored, work)  # by its own tool to the end; EngineError when it cannot be
    rung 4/5: engine.drill(artifact, stored, work)         # into a scratch place that is gone afterwards; returns counts
    restore:  with engine.restorer(spec, artifact, stored, request, work) as restorer: …   # see Restorer
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.readers import Reader
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Limits, Place
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import Source, StreamError

from .artifact import Artifact


class EngineError(Exception):
    """Data that cannot be dumped, read or restored. The text says what and why, without secrets.

    ``code``: ``unreachable`` (server or file not there), ``denied``, ``damaged`` (the artifact is not what it should be),
    ``unsafe`` (it holds what is not restored: a path that leads out, a device …), ``differs`` (counts are not the manifest's),
    ``space``, ``version`` (written by a newer server), ``same`` (scratch place and source are one), ``interrupted`` (others ended
    a program before its time, which says nothing about the data), ``failed``.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def from_program(error: StreamError, code: str, text: Optional[str] = None) -> EngineError:
    """A program's failure as an engine's. ``code``: of a program that ended by itself; ``text``: instead of the error's own."""
    return EngineError("interrupted" if error.interrupted else code, str(error) if text is None else text)


class Stored(NamedTuple):
    """Where an artifact lies: ``path`` of its file, ``identity``: the file with the key for age if it is encrypted."""

    path: str
    identity: Optional[str] = None


class Work(NamedTuple):
    """What an engine works with. ``scratch``: an own empty folder of mode 0700 for temporary files, removed afterwards by
    the caller (and by the next run after a kill); ``workers``: programs at the same time; ``warn``: tell something that is no failure;
    ``is_up``, ``stop``, ``start``: a service of the runtime, by its name; ``encrypted``: what is dumped will be, so that it may
    hold secrets such as the hashes of passwords."""

    scratch: str
    place: Place = HOST
    limits: Optional[Limits] = None
    workers: int = 2
    warn: Callable[[str], None] = lambda _text: None
    is_up: Callable[[str], bool] = lambda _unit: False
    stop: Callable[[str], None] = lambda _unit: None
    start: Callable[[str], None] = lambda _unit: None
    encrypted: bool = False


class Told(NamedTuple):
    """What a dump tells when it is finished. ``counts``: by name, such as ``rows.public.users``, ``files``, ``bytes``;
    ``samples``: digests of sampled content by name, compared by a drill; ``source``: what the restore has to know (names,
    encoding …), plain JSON without secrets."""

    counts: Mapping[str, int]
    samples: Mapping[str, str] = {}
    source: Mapping[str, Any] = {}
    tool: str = ""
    tool_version: Optional[str] = None
    server_version: Optional[str] = None


class Dump(NamedTuple):
    """A dump about to be read. ``source``: the command whose output, or the blocks that, are the artifact; ``tap``: sees every
    raw block; ``finish``: called when the stream ended well; raises EngineError when the dump is not whole after all."""

    source: Source
    finish: Callable[[], Told]
    tap: Optional[Callable[[bytes], None]] = None


class Drilled(NamedTuple):
    """What a trial restore gave: the same names as the manifest's counts and samples."""

    counts: Mapping[str, int]
    samples: Mapping[str, str] = {}


class Request(NamedTuple):
    """What is to be restored. ``ident``: of this restore, part of every name it makes (letters, digits); ``part``: names of
    tables, collections, indices or paths, empty for the whole; ``target``: another place than the source's (a database's name,
    a folder), None for the source."""

    ident: str
    part: Tuple[str, ...] = ()
    target: Optional[str] = None


def own_ident(request: Request, artifact: Artifact) -> str:
    """The ident for one artifact: others of the same restore may go into the same place."""
    import hashlib

    return request.ident + hashlib.sha256(artifact.file.encode("utf-8", "surrogateescape")).hexdigest()[:6]


class Restorer:
    """One restore of one artifact. Steps come in this order; each can be made again after a kill, and does nothing when it is done.

    Names of what it makes derive from :func:`own_ident` alone, so that another process finds them again, and other artifacts do not.
    """

    #: The engine's own services that must be down for :meth:`swap` (a Redis that rewrites its file, say). The caller stops
    #: them before and starts them after, as it does with the services of the backup.
    units: Sequence[str] = ()

    def needs(self) -> List[Tuple[str, int]]:
        """Free bytes needed: (path on this host, bytes)."""
        return []

    def check(self) -> None:
        """Whether the restore can work: target reachable, versions fit, no leftovers in the way. Changes nothing. EngineError."""

    def places(self) -> List[str]:
        """Paths on this host that :meth:`swap` replaces; none where a server has the files of the data."""
        return []

    def stage(self) -> Mapping[str, int]:
        """Load the data beside the present data, of which nothing is touched; returns its counts. EngineError. What an earlier
        try of this ident has left is removed first."""
        raise NotImplementedError

    def swap(self) -> None:
        """Put the staged data in place and the present data aside. EngineError."""
        raise NotImplementedError

    def unswap(self) -> None:
        """Have the present data back as it was, however far :meth:`swap` came. EngineError."""
        raise NotImplementedError

    def finish(self) -> None:
        """After the swap, with the services up again where they are the engine's own: ownership, indexes, statistics. EngineError."""

    def count(self) -> Mapping[str, int]:
        """Counts of what is in place now, by the manifest's names (of the part that was asked for)."""
        raise NotImplementedError

    def unstage(self) -> None:
        """Remove what :meth:`stage` made and is not in place."""
        raise NotImplementedError

    def aside(self) -> List[str]:
        """Where the data is that was set aside, for people; empty when there is none."""
        raise NotImplementedError

    def discard(self) -> None:
        """Remove the data set aside: destructive, only when confirmed."""
        raise NotImplementedError


class Found(NamedTuple):
    """What an integrity check of the live data found. ``ok``: sound; ``problems``: what is wrong; ``counts``: what is there;
    ``last_write``: time of the newest data in seconds since the epoch where it can be told."""

    ok: bool
    problems: Sequence[str] = ()
    counts: Mapping[str, int] = {}
    last_write: Optional[float] = None


class Engine:
    """Base of the engines."""

    name = ""
    #: Ending of the artifact's file, before that of the compression.
    ending = ""
    #: The engine's own keys of an artifact (``backup_options.ARTIFACT`` has the common ones) and which are required.
    readers: Mapping[str, Reader] = {}
    required: Sequence[str] = ()

    def parse(self, item: Mapping[str, Any], path: str) -> Dict[str, Any]:
        """What goes beyond the single keys (one excludes another …); ``item`` has been read by ``readers``. OptionError."""
        return dict(item)

    def reach(self, spec: Mapping[str, Any], work: Work) -> None:
        """Whether the data can be reached, for check mode: quick, changes nothing, starts no hook. EngineError.

        The base looks for files that are absolute paths and connects to a socket or to a host's port where the spec has one.
        """
        for path in [*spec.get("paths", ()), spec.get("database") or "", spec.get("socket") or ""]:
            if str(path).startswith("/") and not os.path.exists(path):
                raise EngineError("unreachable", "%s is not there" % path)
        if spec.get("socket") and not os.path.isdir(spec["socket"]):  # PostgreSQL's is a folder
            _connect(spec["socket"])
        elif spec.get("host") and spec.get("port"):
            _connect((spec["host"], int(spec["port"])))

    def dump(self, spec: Mapping[str, Any], work: Work) -> contextlib.AbstractContextManager[Dump]:
        """Open what the dump needs; leaving the block closes it, whether it went well or not. EngineError."""
        raise NotImplementedError

    def release(self, spec: Mapping[str, Any], work: Work) -> str:
        """Let go of what a killed dump has held: ``backup_left.HELD`` is in its scratch folder. Says what was done. EngineError."""
        raise EngineError("failed", "%s holds nothing that can be let go of" % self.name)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """Rung 3: read the artifact to its end with its own tool, refuse what is unsafe. EngineError, StreamError."""
        raise NotImplementedError

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """Rungs 4 and 5: restore into a scratch place that is no part of the source, count, remove it. ``spec``: how the
        backup's own server is reached if the scratch place is on it (a database of its own name); None: only ``work.scratch``."""
        raise NotImplementedError

    def outside(self, spec: Mapping[str, Any], artifact: Artifact, part: Sequence[str] = ()) -> List[str]:
        """What of an artifact, or of a part of it, the options do not name: it would go where the manifest says. EngineError."""
        return []

    def restorer(
        self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work
    ) -> contextlib.AbstractContextManager[Restorer]:
        """The restore of an artifact. EngineError when part or target cannot be had from it."""
        raise NotImplementedError

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """Look whether the live data is sound (data loss). Changes nothing. EngineError when it cannot be told."""
        raise NotImplementedError

    def salvage(self, spec: Mapping[str, Any], folder: str, work: Work) -> List[str]:
        """Copy what can be read of damaged live data into ``folder``; returns what was saved. EngineError."""
        raise EngineError("failed", "nothing can be salvaged from %s by itself: restore from a backup" % self.name)


def _connect(address: Any) -> None:
    import socket  # only what makes backups needs it

    try:
        if isinstance(address, str):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
                made.settimeout(5)
                made.connect(address)
        else:
            socket.create_connection(address, timeout=5).close()
    except OSError as error:
        where = address if isinstance(address, str) else "%s port %d" % address
        raise EngineError("unreachable", "%s does not answer: %s" % (where, error.strerror or error)) from None


@contextlib.contextmanager
def opened(restorer: Restorer) -> Iterator[Restorer]:
    """A restorer that has nothing to close, as a context."""
    yield restorer


def compare(wanted: Mapping[str, int], found: Mapping[str, int], part: Sequence[str] = ()) -> List[str]:
    """Where counts differ, one text each; names the manifest has and the other has not count as 0 there."""
    names = sorted(set(wanted) | set(found)) if not part else sorted(found)
    return [
        "%s: %d, not %d" % (name, found.get(name, 0), wanted.get(name, 0)) for name in names if found.get(name, 0) != wanted.get(name, 0)
    ]


#: In the scratch folder of an artifact from before its dump holds something, such as a service that stands still, until that is let go.
HELD = ".held"
