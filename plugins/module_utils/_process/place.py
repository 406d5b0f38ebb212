# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the commands of an engine run. Today on this host; a compose service or a pod is one more class here, and no other change.

A place turns a :class:`Command` into the program that is started on this host: its words and its environment. What goes in and
out of that program (standard input, output) is the same wherever the command itself runs.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple


class Command(NamedTuple):
    """A program to run. ``env``: added to the environment, the only way for secrets; ``user``: the system's user it runs as;
    ``ok``: exit statuses that are a success; ``cwd``: the folder it runs in; ``ended``: told the status and the end of standard
    error of a success in a stream, for programs whose warnings count. ``stdin``: what it reads where no stream feeds it; ``heard``: in a
    stream given what comes on standard error, at its end b"", and returns what of it are messages. Lists go in and out by these two,
    so that the place needs no folder for them."""

    argv: Tuple[str, ...]
    env: Mapping[str, str] = {}
    user: Optional[str] = None
    ok: Tuple[int, ...] = (0,)
    cwd: Optional[str] = None
    ended: Optional[Callable[[int, str], None]] = None
    stdin: bytes = b""
    heard: Optional[Callable[[bytes], bytes]] = None

    @property
    def program(self) -> str:
        """The program's name, for messages."""
        return os.path.basename(self.argv[0])


def command(*argv: str, env: Optional[Mapping[str, str]] = None, user: Optional[str] = None, ok: Sequence[int] = (0,)) -> Command:
    """A command from its words."""
    return Command(tuple(argv), dict(env or {}), user, tuple(ok))


class Limits(NamedTuple):
    """How much of the host a program may take. ``nice``: 0 to 19; ``io_class``: ``idle``, ``best-effort`` or None;
    ``bandwidth``: bytes a second that are written, None for no limit; ``seconds``: within which it must end, or it is killed."""

    nice: int = 10
    io_class: Optional[str] = "idle"
    bandwidth: Optional[int] = None
    seconds: float = 86400.0


class Started(NamedTuple):
    """What is started on this host for a command: its words and its whole environment."""

    argv: List[str]
    env: Dict[str, str]
    cwd: Optional[str]


class Place:
    """Where commands run. Subclasses say :meth:`wrap`."""

    def wrap(self, what: Command, limits: Optional[Limits] = None) -> Started:
        """What is started on this host so that the command runs in the place."""
        raise NotImplementedError


#: What programs take from the environment as if it were on their command line: TAR_OPTIONS may leave out half of the files.
_FOREIGN = ("PG", "MYSQL", "MARIADB", "TAR_OPTIONS", "TAPE", "POSIXLY_CORRECT", "GZIP", "PIGZ", "ZSTD_", "XZ_", "REDISCLI_")


class HostPlace(Place):
    """Commands run on this host."""

    def wrap(self, what: Command, limits: Optional[Limits] = None) -> Started:
        """The command itself, as its user, with its limits."""
        argv: List[str] = []
        if limits and limits.nice:
            argv += ["nice", "-n", str(limits.nice)]
        if limits and limits.io_class:
            argv += ["ionice", "-t", "-c", {"best-effort": "2", "idle": "3"}[limits.io_class]]
        if what.user and what.user != _own_name():
            argv += ["runuser", "-u", what.user, "--"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        environment.update(LC_ALL="C.UTF-8", **what.env)
        return Started(argv + list(what.argv), environment, what.cwd or ("/" if what.user else None))


def _own_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


HOST = HostPlace()
