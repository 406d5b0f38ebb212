# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is backed up: the paths of an artifact's options looked up, what they leave out, the hooks around."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator, List, Mapping, NamedTuple, Sequence, Set

from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.patterns import alike
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import orphans
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command, Place

from .. import set_names
from ..base import HELD, EngineError, Work
from .swap import OURS

GLOB = frozenset("*?[")


def covers(pattern: str, name: str) -> bool:
    """Whether a path or pattern of the options means a name, or a folder that it is in."""
    head = "/".join(name.split("/")[: pattern.count("/") + 1])
    return head == pattern or alike(pattern, head)


def path_matches(path: str, base: str) -> List[str]:
    """Full paths below ``base`` of a path or pattern."""
    full = os.path.join(base, path.lstrip("/"))
    if os.path.lexists(full):
        return [full]
    if not GLOB & set(path):
        return []
    import glob

    return sorted(glob.glob(os.path.join(glob.escape(base), path.lstrip("/"))))


class _Member(NamedTuple):
    """What a path means. ``name``: relative to the base; ``real``: the same without links on the way; ``leads``: where it leads to if it
    is a link to a folder."""

    name: str
    real: str
    leads: str


def members(spec: Mapping[str, Any], base: str, place: Place = HOST) -> List[str]:
    """Names of what is backed up, relative to ``/``. EngineError for a path that is not there or that a link leads to."""
    found: List[str] = []
    for path in spec["paths"]:
        matches = _look(path, base) if place is HOST else _look_there(path, base, place)
        if not matches and not GLOB & set(path):
            raise EngineError("unreachable", "%s is not there" % os.path.join(base, path[1:]))
        for one in matches:
            if one.name != one.real:
                raise EngineError("failed", "/%s is reached by a link; name /%s" % (one.name, one.real))
            if one.name == path[1:] and one.leads:
                raise EngineError("failed", "%s is a link to a folder; name /%s" % (path, one.leads))
            try:
                one.name.encode("utf-8")
            except UnicodeEncodeError:
                raise EngineError("failed", "%r is no UTF-8; name the folder that holds it" % one.name) from None
            found.append(one.name)
    if not found:
        raise EngineError("unreachable", "none of %s is there" % ", ".join(spec["paths"]))
    found = sorted(set(found))
    outer = outermost(found)
    if not spec.get("one_file_system") or outer == found:
        return outer
    if place is not HOST:
        raise EngineError("failed", "one path in another one and one_file_system: make them artifacts of their own")
    real = os.path.realpath(base)
    known = set(found)
    return [name for name in found if not _covered(name, known, real)]


def _look(path: str, base: str) -> List[_Member]:
    top = os.path.realpath(base)
    found = []
    for full in path_matches(path, top):
        real = os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))
        leads = os.path.relpath(os.path.realpath(full), top) if os.path.islink(full) and os.path.isdir(full) else ""
        found.append(_Member(os.path.relpath(full, top), os.path.relpath(real, top), leads))
    return found


#: The same where the place has but a shell.
_LOOK = r"""
cd -P -- "$1" || exit
top=$PWD; [ "$top" != / ] || top=
IFS=
one() {
  case $1 in */*) folder=${1%/*} ;; *) folder=. ;; esac
  real=$(cd -P -- "$folder" && echo "$PWD") || exit
  leads=
  if [ -L "$1" ] && [ -d "$1" ]; then leads=$(cd -P -- "$1" && echo "$PWD") || exit; fi
  printf '%s\0%s\0%s\0' "$1" "${real#"$top"}/${1##*/}" "${leads#"$top"}"
}
if [ -e "./$2" ] || [ -L "./$2" ]; then one "$2"
else for found in $2; do if [ -e "./$found" ] || [ -L "./$found" ]; then one "$found"; fi; done
fi
"""


def _look_there(path: str, base: str, place: Place) -> List[_Member]:
    try:
        told = backup_stream.run(Command(("sh", "-c", _LOOK, "sh", base, path[1:])), place)
    except backup_stream.StreamError as error:
        raise EngineError("failed", "%s cannot be looked at: %s" % (path, error)) from None
    texts = [os.fsdecode(text) for text in told.split(b"\0")[:-1]]
    return [_Member(name, real.strip("/"), leads.strip("/")) for name, real, leads in zip(texts[::3], texts[1::3], texts[2::3])]


def _covered(name: str, names: Set[str], base: str) -> bool:
    """Whether a name comes with another one that holds it, for all between them is on one file system."""
    device = os.lstat(os.path.join(base, name)).st_dev
    for outer in _above(name):
        if os.lstat(os.path.join(base, outer)).st_dev != device:
            return False
        if outer in names:
            return True
    return False


def outermost(names: Sequence[str]) -> List[str]:
    """The names that are below none of the others."""
    known = set(names)
    return [name for name in names if not any(above in known for above in _above(name))]


def _above(name: str) -> Iterator[str]:
    """Names of the folders that a name is in, the nearest first."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def exclude_words(patterns: Sequence[str], own: Sequence[str]) -> List[str]:
    words: List[str] = []
    for pattern in patterns:
        if "/" in pattern.rstrip("/"):
            words += ["--anchored", "--wildcards", "--no-wildcards-match-slash", "--exclude=" + pattern.strip("/")]
        else:
            words += ["--no-anchored", "--wildcards", "--no-wildcards-match-slash", "--exclude=" + pattern.rstrip("/")]
    # What a restore has set aside is no part of the data; in a set it could not be put in place.
    words += ["--no-anchored", "--wildcards", "--no-wildcards-match-slash", *("--exclude=%s*" % prefix for prefix in OURS)]
    for name in own:
        words += ["--anchored", "--no-wildcards", "--exclude=" + name]
    return words


def sets_folder(names: Sequence[str], work: Work) -> List[str]:
    """The root of the sets, when it is in what is backed up: a set does not hold sets."""
    if work.place is not HOST:
        return []
    place = os.path.realpath(work.scratch)
    parts = place.split("/")
    partial = set_names.PARTIAL
    at = next((at for at, part in enumerate(parts) if part.endswith(partial) and set_names.name_time(part[: -len(partial)])), len(parts))
    own = "/".join(parts[1:at])
    inside = [own for name in names if (own + "/").startswith(name + "/")]
    if inside:
        work.warn("/%s is left out: it holds the backups" % own)
    return inside[:1]


@contextlib.contextmanager
def between_hooks(spec: Mapping[str, Any], work: Work) -> Iterator[None]:
    """Between ``before`` and ``after``, which runs in any case once ``before`` was started."""
    if "before" not in spec:
        yield
        return
    held = os.path.join(work.scratch, HELD)
    if "after" in spec:
        durable.write_synced(held, b"")
    well = False
    try:
        try:
            backup_stream.hook(Command(tuple(spec["before"])), work.place, work.limits)
        except backup_stream.StreamError as error:
            raise EngineError("failed", "before: %s" % error) from None
        yield
        well = True
    finally:
        if "after" in spec:
            try:
                run_after(spec, work)
            except EngineError as error:
                if well:
                    raise
                work.warn(str(error))
            else:
                os.unlink(held)


def run_after(spec: Mapping[str, Any], work: Work) -> None:
    try:
        # What it starts again lives on, whatever becomes of this run.
        backup_stream.hook(Command(tuple(spec["after"]), env={orphans.NAME: ""}), work.place, work.limits)
    except backup_stream.StreamError as error:
        raise EngineError("failed", "after: %s" % error) from None
