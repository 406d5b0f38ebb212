# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was at a path before a role took it over, kept on the target until the role gives the path back.

A transaction takes back a change that failed; this takes back a change that held, months later, byte for byte.
"""

from __future__ import annotations

import json
import os
from typing import List, Optional

from . import managed as files

#: Where they are kept; readable by their owner only.
FOLDER = "/var/lib/opsrunner/originals"


def _store(path: str, folder: str) -> str:
    return os.path.join(folder, path.strip("/").replace("%", "%25").replace("/", "%2F"))


def original(path: str, folder: str = FOLDER) -> Optional[files.FileState]:
    """What was at ``path`` before it was taken over; None when it is not a path of ours. Raises FileError."""
    kept = files.read(_store(path, folder))
    if kept.kind != "file":
        return None
    try:
        return files.unpacked(json.loads(kept.content))
    except (ValueError, KeyError, TypeError) as error:
        raise files.FileError("%s cannot be read: %s" % (kept.path, error)) from error


def take_over(change: files.Transaction, after: files.FileState, folder: str = FOLDER, ours: bool = False) -> None:
    """Put ``after`` in place, keeping what was there unless that was ours already. Raises FileError.

    ``ours``: what is there is seen to be ours, though nothing was kept; then there was nothing before it.
    """
    store = files.read(_store(after.path, folder))
    if store.kind == "absent":
        before = files.FileState(after.path, "absent") if ours else files.read(after.path)
        data = json.dumps(files.packed(before)).encode()
        change.put(files.desired(store, data, mode=0o600))
    change.put(after)


def give_back(change: files.Transaction, path: str, folder: str = FOLDER) -> None:
    """Put back what was at ``path`` before, or nothing, and forget it. Raises FileError."""
    change.put(given_back(path, folder))
    store = files.read(_store(path, folder))
    if store.kind != "absent":
        change.put(files.absent(store))


def given_back(path: str, folder: str = FOLDER) -> files.FileState:
    """The state in which :func:`give_back` leaves ``path``. Raises FileError."""
    return original(path, folder) or files.absent(files.read(path))


def taken(below: str, folder: str = FOLDER) -> List[str]:
    """The paths directly in the folder ``below`` that were taken over."""
    prefix = os.path.basename(_store(below, folder)) + "%2F"
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [name[len(prefix) :] for name in names if name.startswith(prefix) and "%2F" not in name[len(prefix) :]]
    return sorted(os.path.join(below, name.replace("%25", "%")) for name in found)
