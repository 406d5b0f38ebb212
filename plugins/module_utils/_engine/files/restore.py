# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One restore of files: staged beside the present ones, swapped by renaming."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._files import folders
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.patterns import entries, left_out
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Command

from ..artifact import Artifact
from ..base import EngineError, Request, Restorer, Stored, Work, compare
from .archive import check_space, listed, manifest_paths, needed, unpack_members, unpermitted
from .listing import Listing, told
from .members import outermost
from .swap import OURS, Swap, keep_parents, make_parents, open_folder, own_ident, remove_parents
from .tree import Tree


def _linked(there: str, here: str) -> None:
    """Give a file another name in a folder that keeps its time."""
    folder = os.path.dirname(here)
    told = os.stat(folder)
    os.link(there, here, follow_symlinks=False)
    os.utime(folder, ns=(told.st_atime_ns, told.st_mtime_ns))


class _Group(NamedTuple):
    """Members that are unpacked into one folder: ``names`` of their places there, ``strip`` components before it."""

    swap: Swap
    parent: str
    members: List[str]
    names: List[str]
    strip: int


class FilesRestorer(Restorer):
    """One restore of files. What is staged lies in ``.opsrunner-new-<ident>`` beside each path, what was there before in
    ``.opsrunner-aside-<ident>``; both are inside a path that is a mount point, or has entries that are excluded: those stay as they
    are, for no backup has them. What is excluded deeper is set aside with the folder that holds it."""

    def __init__(self, artifact: Artifact, stored: Stored, request: Request, work: Work, spec: Optional[Mapping[str, Any]] = None) -> None:
        self._artifact, self._stored, self._request, self._work = artifact, stored, request, work
        self._exclude: Sequence[str] = (spec or {}).get("exclude") or ()
        self._permitted: Sequence[str] = (spec or {}).get("special") or ()
        self._ident = own_ident(request.ident, artifact)
        self._target = None if request.target is None else "/" + request.target.strip("/")
        if request.target is not None and (not request.target.startswith("/") or ".." in request.target.split("/")):
            raise EngineError("failed", "%r is no folder's absolute path" % request.target)
        roots = [path[1:] for path in manifest_paths(artifact)]
        wanted = [part.strip("/") for part in request.part] or roots
        for part in wanted:
            if not part or {"", ".", ".."} & set(part.split("/")) or not any(part == root or part.startswith(root + "/") for root in roots):
                raise EngineError("failed", "%r is not in the backup; it holds %s" % (part, ", ".join("/" + root for root in roots)))
        self._members = outermost(sorted(set(wanted)))
        self._groups = self._grouped()
        self._listing: Optional[Listing] = None

    def _place(self, member: str) -> str:
        return (self._target or "").rstrip("/") + "/" + member

    def _grouped(self) -> List[_Group]:
        mounts = folders.mount_points()
        groups: Dict[str, _Group] = {}
        for member in self._members:
            place = self._place(member)
            parent, name = os.path.split(place)
            strip = member.count("/")
            inside = Swap(place, self._ident, name, entries(self._exclude, member))
            # Where an earlier process of this restore has begun, it goes on in the same way.
            begun = inside.known() or not Swap(parent, self._ident).concerns(name)
            if begun and os.path.isdir(place) and (place in mounts or inside.keep):
                groups[place] = _Group(inside, place, [member], [name], strip)
                continue
            group = groups.setdefault(parent + "/", _Group(Swap(parent, self._ident), parent, [], [], strip))
            group.members.append(member)
            group.names.append(name)
        return list(groups.values())

    def _list(self) -> Listing:
        if self._listing is None:
            self._listing = listed(self._artifact, self._stored, self._work, self._members)
            missing = [member for member in self._members if os.fsencode(member) not in self._listing.found]
            if missing:
                raise EngineError("failed", "/%s is not in the backup" % missing[0])
            refused = unpermitted(self._listing, self._permitted, self._members)
            if refused:
                # Who made the set says what was in it; what may get rights on this host is the inventory's to say.
                text = "it holds %d entries with rights of their own that special in the artifact's options does not name: %s"
                raise EngineError("unsafe", text % (len(refused), "; ".join(refused[:5])))
        return self._listing

    def places(self) -> List[str]:
        """The paths that are replaced."""
        return [self._place(member) for group in self._groups for member in group.members]

    def needs(self) -> List[Tuple[str, int]]:
        """Free bytes beside each path."""
        listing = self._list()
        needs: Dict[str, int] = {}
        for group in self._groups:
            there = group.parent
            while not os.path.lexists(there):
                there = os.path.dirname(there)
            needs[there] = needs.get(there, 0) + sum(needed(listing.items[os.fsencode(member)]) for member in group.members)
        return sorted(needs.items())

    def check(self) -> None:
        """The archive is safe and holds what is wanted, and each place can be changed by renaming."""
        mounts = folders.mount_points()
        for group in self._groups:
            there = group.parent
            while not os.path.lexists(there):
                there = os.path.dirname(there)
            os.close(open_folder(there))
            if not os.access(there, os.W_OK):
                raise EngineError("denied", "%s cannot be written to" % there)
            for member in group.members:
                place = self._place(member)
                below = sorted(point for point in mounts if point.startswith(place + "/"))
                if below:
                    raise EngineError("failed", "%s is mounted below %s: restore the paths beside it as parts" % (below[0], place))
                if place in mounts and not os.path.isdir(place):
                    raise EngineError("failed", "%s is a mounted file, which cannot be replaced" % place)
                self._tell_of_excluded(place, member, group.swap.inside is not None)
        self._list()

    def _tell_of_excluded(self, place: str, member: str, inside: bool) -> None:
        if self._exclude and os.path.isdir(place) and not os.path.islink(place):
            found = list(itertools.islice(left_out(self._exclude, place, member, inside, OURS), 4))
            if found:
                more = ", among others" if len(found) > 3 else ""
                text = "%s%s: no backup has it, and it goes aside with the folder that holds it"
                self._work.warn(text % (", ".join(told(os.fsencode(path)) for path in found[:3]), more))

    def stage(self) -> Mapping[str, int]:
        """Unpack beside the present data."""
        listing = self._list()
        check_space(dict(self.needs()))
        try:
            for group in self._groups:
                make_parents(group.parent, self._ident)
                group.swap.prepare()
            for group in self._groups:
                self._unpack(group, listing)
            return self._staged_counts(listing)
        except BaseException:
            self.unstage()
            raise

    def _unpack(self, group: _Group, listing: Listing) -> None:
        crossing = [link for member in group.members for link in listing.items[os.fsencode(member)].crossing]
        own = tuple(os.fsencode(member) for member in group.members)
        # A hard link between two of the group's own members finds its file.
        crossing = [link for link in crossing if not any(link.target == name or link.target.startswith(name + b"/") for name in own)]
        if len(crossing) > 1000:
            raise EngineError("failed", "%d hard links lead out of %s" % (len(crossing), ", ".join(group.members)))
        with group.swap.staged() as handle:
            folder = "/proc/%d/fd/%d" % (os.getpid(), handle)
            unpack_members(self._artifact, self._stored, self._work, folder, group.members, group.strip, [link.name for link in crossing])
            if crossing:
                self._join(group, [(os.fsdecode(link.name), os.fsdecode(link.target)) for link in crossing], folder)
        with contextlib.suppress(backup_stream.StreamError):
            backup_stream.run(Command(("sync", "-f", group.swap.stage)), limits=self._work.limits)

    def _join(self, group: _Group, links: Sequence[Tuple[str, str]], folder: str) -> None:
        """Hard links to files that are unpacked elsewhere, or are not wanted themselves."""
        apart: List[Tuple[str, str]] = []
        for name, target in links:
            here = os.path.join(folder, *name.split("/")[group.strip :])
            there = self._staged(target)
            try:
                if there is None:
                    raise FileNotFoundError
                _linked(there, here)
            except OSError:
                apart.append((here, target))
        if apart:
            extra = os.path.join(folder, ".opsrunner-links")
            os.mkdir(extra, 0o700)
            unpack_members(self._artifact, self._stored, self._work, extra, sorted({target for _here, target in apart}), 0, ())
            for here, target in apart:
                _linked(os.path.join(extra, target), here)
            import shutil

            shutil.rmtree(extra)

    def _staged(self, member: str) -> Optional[str]:
        for group in self._groups:
            for own in group.members:
                if member == own or member.startswith(own + "/"):
                    return os.path.join(group.swap.stage, *member.split("/")[group.strip :])
        return None

    def _staged_counts(self, listing: Listing) -> Mapping[str, int]:
        tree = Tree()
        for group in self._groups:
            for name in group.names:
                tree.add(os.path.join(group.swap.stage, name))
        if tree.problems:
            raise EngineError("failed", "; ".join(tree.problems[:5]))
        found = tree.counts()
        wanted: Dict[str, int] = {}
        crossing = False
        for item in listing.items.values():
            crossing = crossing or bool(item.crossing)
            for kind, count in item.counts().items():
                wanted[kind] = wanted.get(kind, 0) + count
        if crossing:
            wanted["bytes"] = found["bytes"]
        differing = compare(wanted, found)
        if differing:
            raise EngineError("differs", "staged: " + "; ".join(differing))
        return self._whole(found)

    def _whole(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """The manifest counts the whole: of a part there is nothing to compare with, and staging has compared it with the archive."""
        return {} if self._request.part else counts

    def swap(self) -> None:
        """Rename what is there aside and what is staged into its place."""
        for group in self._groups:
            group.swap.forward(None if group.swap.inside is not None else [[name] for name in group.names])

    def unswap(self) -> None:
        """Rename back; one folder that cannot be had back does not keep the others."""
        problems: List[EngineError] = []
        for group in reversed(self._groups):
            if os.path.isdir(group.parent):
                try:
                    group.swap.back()
                except EngineError as error:
                    problems.append(error)
        if problems:
            raise EngineError(problems[0].code, "; ".join(str(problem) for problem in problems))

    def finish(self) -> None:
        """Remove the folders that were staged in."""
        for group in self._groups:
            group.swap.unstage()
            if not group.swap.set_aside():
                keep_parents(group.parent, self._ident)

    def count(self) -> Mapping[str, int]:
        """Count what is in the places now."""
        without = [path for group in self._groups for path in (group.swap.stage, group.swap.kept)]
        for group in self._groups:
            without += group.swap.not_ours()
        tree = Tree(without=without)
        for group in self._groups:
            for member in group.members:
                tree.add(self._place(member))
        if tree.problems:
            raise EngineError("failed", "; ".join(tree.problems[:5]))
        return self._whole(tree.counts())

    def unstage(self) -> None:
        """Remove what was staged, and the folders made for it."""
        for group in self._groups:
            group.swap.unstage()
            if not group.swap.begun():
                remove_parents(group.parent, self._ident)

    def aside(self) -> List[str]:
        """Where the present data of before is."""
        return [path for group in self._groups for path in group.swap.set_aside()]

    def discard(self) -> None:
        """Remove it."""
        for group in self._groups:
            if os.path.isdir(group.parent):
                group.swap.discard()
                keep_parents(group.parent, self._ident)
