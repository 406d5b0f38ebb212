# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a place off this host is: where copies of sets are sent to, checked and fetched from.

A class per kind in ``copy_<kind>.py``. A set is whole at the far end only when its manifest is there: it goes last, or the folder
gets its name last.
"""

from __future__ import annotations

from typing import List, NamedTuple, Sequence


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
    """A place that sets are copied to."""

    def present(self) -> List[str]:
        """Names of the sets that are whole there, the newest first. CopyError."""
        raise NotImplementedError

    def send(self, name: str, items: Sequence[Item]) -> Sent:
        """Send a set, the manifest being the last item. CopyError.

        It goes on where an earlier try stopped, and has the far end prove what it holds.
        """
        raise NotImplementedError

    def fetch(self, name: str, folder: str) -> None:
        """Fetch a set into an empty folder; its sums are checked by the caller. CopyError."""
        raise NotImplementedError
