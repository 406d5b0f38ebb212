# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be confirmed by its own name before a set is restored: who could have written it, and where it leads.

A restore runs as root. A set decides what is written, so who can write to the root of the sets decides it, too.
"""

from __future__ import annotations

import os
import stat
from typing import Iterator, List, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import SetFolder
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import printable

from .plan import OPEN_STEP, OUTSIDE_STEP, UNTRUSTED_STEP

#: Doubts of one kind that are named one by one.
_NAMED = 5


class Doubt(NamedTuple):
    """Why a restore must be confirmed once more. ``step``: the name that confirms it; ``text``: why."""

    step: str
    text: str

    def __str__(self) -> str:
        return "%s: %s" % (self.step, self.text)


def of_set(root: str, one: SetFolder, ledger: backup_ledger.Ledger) -> List[Doubt]:
    """Doubts about a set: root, set or files that others own or can write, and a set that the ledger does not know."""
    found = list(_writable(root, one))
    if backup_ledger.manifest_sha256(ledger, one.name) is None:
        found.append("the ledger does not know the set %s" % one.name)
    return [Doubt(UNTRUSTED_STEP, few(found))] if found else []


def only_fetched(one: SetFolder, ledger: backup_ledger.Ledger) -> Optional[str]:
    """The copy that a set came from which was never made here; None for one that was, or that the ledger does not know."""
    copy: Optional[str] = None
    for entry in ledger.entries:
        if entry["set"] == one.name and entry["what"] == "made":
            return None
        if entry["set"] == one.name and entry["what"] == "fetched":
            copy = str(entry.get("copy"))
    return copy


def of_paths(name: str, paths: Sequence[str]) -> List[Doubt]:
    """The doubt about paths of an artifact that the inventory does not name."""
    text = "%s holds what its options do not name: %s"
    return [Doubt(OUTSIDE_STEP, text % (name, few([printable(path) for path in paths])))] if paths else []


def of_open(holders: Sequence[object]) -> List[Doubt]:
    """The doubt about processes that have files of the present data open while nothing stops them."""
    text = "no service is stopped for it, and these have files of the present data open: %s"
    return [Doubt(OPEN_STEP, text % few([str(holder) for holder in holders]))] if holders else []


def few(texts: Sequence[str], most: int = _NAMED) -> str:
    """The first texts, and how many more there are."""
    return ", ".join(texts[:most]) + (" and %d more" % (len(texts) - most) if len(texts) > most else "")


def _writable(root: str, one: SetFolder) -> Iterator[str]:
    """What others than root and this user own or can write: the root with all above it, the set, its files."""
    above = os.path.dirname(root)
    while True:
        yield from _wrong(above, above=True)
        if above == os.path.dirname(above):
            break
        above = os.path.dirname(above)
    yield from _wrong(root)
    ledger = os.path.join(root, backup_ledger.LEDGER)
    if os.path.lexists(ledger):
        yield from _wrong(ledger)
    yield from _wrong(one.path)
    files = [artifact.file for artifact in one.manifest.artifacts] if one.manifest else []
    for file in (backup_manifest.MANIFEST, *files):
        yield from _wrong(os.path.join(one.path, file))


def _wrong(path: str, above: bool = False) -> Iterator[str]:
    try:
        found = os.lstat(path)
    except OSError:  # reading the set reports it
        return
    if found.st_uid not in (0, os.geteuid()):
        yield "%s belongs to %s" % (printable(path), _user(found.st_uid))
    elif _others_write(found) and not (above and found.st_mode & stat.S_ISVTX):
        yield "%s can be written to by others" % printable(path)


def _others_write(found: os.stat_result) -> bool:
    if stat.S_ISLNK(found.st_mode):  # its mode means nothing
        return False
    group = bool(found.st_mode & stat.S_IWGRP) and found.st_gid not in (0, os.getegid())
    return group or bool(found.st_mode & stat.S_IWOTH)


def _user(number: int) -> str:
    import pwd

    try:
        return "user %s" % pwd.getpwuid(number).pw_name
    except KeyError:
        return "user id %d" % number
