# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of what backups leave out, read as tar reads them: those with a slash mean whole paths, others a name at any depth; a star
is within one name."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import Iterator, List, Sequence, Tuple


def alike(pattern: str, name: str) -> bool:
    """Whether a whole name is as the pattern says, part by part."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(fnmatchcase(part, one) for part, one in zip(parts, wanted))


def is_left_out(patterns: Sequence[str], path: str) -> bool:
    """Whether one of the patterns leaves a path out; what is above it is not looked at."""
    whole, name = path.strip("/"), os.path.basename(path)
    return any(alike(pattern.strip("/"), whole if "/" in pattern.rstrip("/") else name) for pattern in patterns)


def entries(patterns: Sequence[str], member: str) -> List[str]:
    """Of patterns of what is left out those that are about entries right in a member."""
    found = []
    for pattern in patterns:
        folder, slash, name = pattern.rstrip("/").rpartition("/")
        if not slash or alike(folder.strip("/"), member):
            found.append(name)
    return found


def left_out(patterns: Sequence[str], folder: str, member: str, deeper: bool, ours: Tuple[str, ...]) -> Iterator[str]:
    """Paths in a folder that patterns leave out of the backup of a member; those right in it not when only the ``deeper`` ones are
    asked for. ``ours``: how names begin that are none of the data."""
    for here, folders, files in os.walk(folder):
        inner = os.path.normpath(os.path.join(member, os.path.relpath(here, folder)))
        going = set()
        for name in sorted(folders) + sorted(files):
            if is_left_out(patterns, inner + "/" + name):
                if not (deeper and here == folder):
                    yield os.path.join(here, name)
            elif not name.startswith(ours):
                going.add(name)
        folders[:] = [name for name in folders if name in going]
