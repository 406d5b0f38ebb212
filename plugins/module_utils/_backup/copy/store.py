# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a place off this host is: where copies of sets are sent to, checked and fetched from.

A class per kind in ``copy_<kind>.py``. A set is whole at the far end only when its manifest is there: it goes last, or the folder
gets its name last.
"""

from __future__ import annotations

import time
from typing import Dict, List, NamedTuple, Optional, Sequence

#: Seconds that any answer may take, and bytes a second of a far end that is slow but well.
_PATIENCE = 900.0
_SLOW = 1 << 20


class CopyError(Exception):
    """A copy that could not be made, checked or fetched. ``code``: ``unreachable``, ``denied``, ``differs`` (the far end does not
    hold what was sent), ``missing``, ``archived`` (it must be asked for first), ``program``, ``failed``. The text holds no secret."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Item(NamedTuple):
    """A file of a set. ``path``: on this host; ``size``: bytes; ``sha256``: what it must be at the far end."""

    name: str
    path: str
    size: int
    sha256: str


class Sent(NamedTuple):
    """What a copy took. ``sent``: bytes that really went over, the rest was there already; ``proof``: how the far end told that it
    holds them."""

    objects: int
    bytes: int
    sent: int
    proof: str


class Store:
    """A place that sets are copied to. Names are those of sets; what has another name is not looked at, and never touched."""

    def present(self) -> List[str]:
        """Names of the sets that are whole there, the newest first. CopyError."""
        raise NotImplementedError

    def held(self) -> Dict[str, str]:
        """The sets that are whole there, with the sha256 of the manifest that each has there. CopyError."""
        raise NotImplementedError

    def send(self, name: str, items: Sequence[Item]) -> Sent:
        """Send a set, the manifest being the last item. CopyError.

        It goes on where an earlier try stopped, and has the far end prove what it holds. A set of that name which has another
        manifest is somebody else's: it is left alone, and that is told.
        """
        raise NotImplementedError

    def manifest(self, name: str) -> bytes:
        """The manifest of a set there. CopyError."""
        raise NotImplementedError

    def fetch(self, name: str, files: Sequence[str], folder: str) -> None:
        """Fetch files of a set into a folder; their sums are checked by the caller. CopyError."""
        raise NotImplementedError

    def remove(self, name: str, manifest: str) -> None:
        """Have a set be none any more, if its manifest still has that sha256; what is left of it is for :meth:`discard`. CopyError."""
        raise NotImplementedError

    def leftovers(self) -> List[str]:
        """Names of sets of which there is something that is no set: of a copy that was cut, of one that is removed. CopyError."""
        return []

    def discard(self, name: str) -> None:
        """Remove what :meth:`leftovers` tells of. CopyError."""

    def tidy(self) -> None:
        """Win the space of what was removed, where that is a step of its own. CopyError."""


def other(name: str) -> CopyError:
    """That a set of this name is there which is not ours."""
    return CopyError("differs", "another set named %s is there, with a manifest that is not this one's: it is left alone" % name)


def seconds_for(size: int, bandwidth: Optional[int] = None) -> float:
    """How long an answer may take that is about so many bytes: long enough for slow disks and lines, but not for ever."""
    return _PATIENCE + size / min(_SLOW, (bandwidth or _SLOW) / 2)


class Pace:
    """A limit of bytes a second, over all that is sent or fetched with it."""

    def __init__(self, bandwidth: Optional[int]) -> None:
        self._bandwidth = bandwidth
        self._started: Optional[float] = None
        self._size = 0

    def passed(self, size: int) -> None:
        """So many bytes went over; wait until they may have."""
        if not self._bandwidth:
            return
        now = time.monotonic()
        if self._started is None:
            self._started = now
        self._size += size
        time.sleep(max(0.0, self._size / self._bandwidth - (now - self._started)))
