# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders: one stream of GNU tar, with owners, modes, times, links, holes, extended attributes and ACLs.

Names are kept relative to ``/``. What tar writes it also lists, on standard error: counts are of exactly what is in the stream, and
nothing is read twice. Where the files are, only tar and a shell are needed, and nothing is written. Before anything is unpacked the
whole archive is listed; see ``listing.py``.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command, Place

from ..artifact import Artifact
from ..base import Drilled, Dump, Engine, EngineError, Found, Request, Restorer, Stored, Told, Work, from_program
from .archive import NAMED, check_space, listed, manifest_paths, needed, special_sum, unpack_members, unpermitted
from .listing import BLOCKS, CAPABILITY, Listing
from .members import GLOB, between_hooks, covers, exclude_words, members, path_matches, run_after, sets_folder
from .restore import FilesRestorer
from .tree import Tree, file_digest, file_digests

#: Files whose content is sampled.
_SAMPLES = 8
_CREATE = (
    "--format=posix",
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--acls",
    "--sparse",
    "--quoting-style=c",
)


class FilesEngine(Engine):
    """Data of files."""

    name = "files"
    ending = ".tar"
    readers: Mapping[str, read.Reader] = {
        "paths": read.absolutes,
        "exclude": read.texts,
        "one_file_system": read.boolean,
        "before": read.argv,
        "after": read.argv,
        "snapshot_root": read.absolute,
        "special": read.texts,
    }
    required = ("paths",)

    def parse(self, item: Mapping[str, Any], path: str) -> Dict[str, Any]:
        """Paths that can be backed up, patterns that can match."""
        for at, one in enumerate(item["paths"]):
            if one == "/":
                raise OptionError("%s.paths[%d]" % (path, at), "is the whole host: name the folders", hint="/srv")
        for at, pattern in enumerate(item.get("special", ())):
            if not pattern.startswith("/"):
                raise OptionError("%s.special[%d]" % (path, at), "%r is no absolute path" % pattern, hint="/" + pattern)
        for at, pattern in enumerate(item.get("exclude", ())):
            here = "%s.exclude[%d]" % (path, at)
            if "/" in pattern.rstrip("/") and not pattern.startswith(("/", "*/")):
                raise OptionError(
                    here, "%r has a slash and so is held against whole paths, which begin with one" % pattern, hint="/" + pattern
                )
            if "**" in pattern:
                raise OptionError(here, "%r: * is within one name, and ** is not known" % pattern)
            if any(piece in pattern for piece in ("\\", "[^", "[[:")):  # what tar and we would read differently
                raise OptionError(here, "%r: a star itself is [*], all but some letters [!...], and classes are not known" % pattern)
            if not pattern.strip("/*"):
                raise OptionError(here, "%r leaves nothing" % pattern)
        if "after" in item and "before" not in item:
            raise OptionError(path + ".after", "undoes before, and there is none")
        return dict(item)

    def reach(self, spec: Mapping[str, Any], work: Work) -> None:
        """Whether the paths are there, and tar is GNU tar."""
        tar_version(work)
        members(spec, "/", work.place)

    @contextlib.contextmanager
    def dump(self, spec: Mapping[str, Any], work: Work) -> Iterator[Dump]:
        """The command that writes the archive, and the listing that it writes beside it."""
        version = tar_version(work)
        with between_hooks(spec, work):
            base = spec.get("snapshot_root") or "/"
            names = members(spec, base, work.place)
            literal = {path[1:] for path in spec["paths"]}
            listing = Listing([os.fsencode(name) for name in names], sample=4 * _SAMPLES, capable=_capable(base, work.place))
            words = ["tar", "-c", "-b", BLOCKS, "-f", "-", "-vv", *_CREATE]
            words += ["--one-file-system"] if spec.get("one_file_system") else []
            words += exclude_words(spec.get("exclude", ()), sets_folder(names, work))
            words += ["-C", base, "--null", "--verbatim-files-from", "-T", "-"]
            steady = "before" in spec or "snapshot_root" in spec
            said: List[str] = []

            def ended(status: int, text: str) -> None:
                if status:
                    said.append(text)

            command = Command(
                tuple(words),
                env={"TZ": "UTC"},
                # Files that change while they are read are told, but where they should stand still that is a failure.
                ok=(0,) if steady else (0, 1),
                ended=ended,
                stdin=b"".join(os.fsencode(name) + b"\0" for name in names),
                heard=listing.heard,
            )
            started = time.time()
            permitted = spec.get("special") or ()

            def finish() -> Told:
                told_of = self._finish(listing, names, literal, base, version, said, started, work)
                privileged = unpermitted(listing, permitted)
                if privileged:
                    text = "a restore will refuse %d entries that special does not name: %s"
                    work.warn(text % (len(privileged), "; ".join(privileged[:3])))
                return told_of

            yield Dump(command, finish)

    def _finish(
        self,
        listing: Listing,
        names: Sequence[str],
        literal: Set[str],
        base: str,
        version: str,
        said: Sequence[str],
        started: float,
        work: Work,
    ) -> Told:
        listing.finish()
        if not listing.total.entries:
            raise EngineError("failed", "nothing is left of %s" % ", ".join("/" + name for name in names))
        if listing.problems:
            raise EngineError("failed", "it could not be restored: " + "; ".join(problem.text for problem in listing.problems[:5]))
        there = [name for name in names if listing.has(os.fsencode(name))]
        for name in names:
            if name not in there and name in literal:
                raise EngineError("failed", "/%s is not in the archive: exclude leaves it out, or it is a socket" % name)
        source: Dict[str, Any] = {"paths": ["/" + name for name in there]}
        if listing.special:
            source["special"] = dict(sorted(listing.special.items())) if len(listing.special) <= NAMED else special_sum(listing.special)
        if said:
            source["changed_while_read"] = said[0]
            work.warn("files changed while they were read: %s" % said[0])
        samples = _live_samples(base, listing.samples(), started) if work.place is HOST else {}
        return Told(listing.total.counts(), samples, source, "tar", version)

    def release(self, spec: Mapping[str, Any], work: Work) -> str:
        """Run ``after``, which the killed run did not come to."""
        if "after" not in spec:
            raise EngineError("failed", "after is no longer in its options; the killed run had started before")
        run_after(spec, work)
        return "after was run"

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """List the archive to its end and hold it against the manifest."""
        listed(artifact, stored, work)

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """Unpack everything into the scratch folder, count and sample it."""
        scratch = os.path.realpath(work.scratch)
        for path in manifest_paths(artifact):
            if (scratch + "/").startswith(path + "/"):
                raise EngineError("same", "%s is in what was backed up, %s" % (scratch, path))
        listing = listed(artifact, stored, work)
        check_space({scratch: needed(listing.total)})
        folder = os.path.join(work.scratch, "drill")
        os.mkdir(folder, 0o700)
        names = [path[1:] for path in manifest_paths(artifact)]
        unpack_members(artifact, stored, work, folder, names, 0, ())
        found = Tree()
        for name in names:
            found.add(os.path.join(folder, name))
        return Drilled(found.counts(), file_digests(folder, artifact.samples))

    @contextlib.contextmanager
    def restorer(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> Iterator[Restorer]:
        """The restore of all paths, or of some, where they were or below another folder."""
        if work.place is not HOST:
            raise EngineError("failed", "files are restored on this host alone: name a folder here as the target")
        yield FilesRestorer(artifact, stored, request, work, spec)

    def outside(self, spec: Mapping[str, Any], artifact: Artifact, part: Sequence[str] = ()) -> List[str]:
        """Paths of the manifest, or of the part, that are neither a path of the options nor below one."""
        names = [one.strip("/") for one in part] or [path[1:] for path in manifest_paths(artifact)]
        return ["/" + name for name in names if not any(covers(path.strip("/"), name) for path in spec["paths"])]

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """Read every file to its end."""
        if work.place is not HOST:
            raise EngineError("failed", "files are looked at on this host alone")
        problems: List[str] = []
        tree = Tree(read=True)
        for path in spec["paths"]:
            found = path_matches(path, "/")
            if not found:
                problems += [] if GLOB & set(path) else ["%s is not there" % path]
            for one in found:
                tree.add(one)
        problems += tree.problems
        return Found(not problems, problems, tree.counts(), tree.newest)


class ConfigEngine(FilesEngine):
    """Configuration files: small, and their paths may be patterns of files that need not be there."""

    name = "config"


def tar_version(work: Work) -> str:
    """Version of tar. EngineError when it is not GNU tar, which alone keeps all that is to be kept."""
    try:
        said = backup_stream.run(Command(("tar", "--version")), work.place, timeout=30).decode("utf-8", "replace").split("\n", 1)[0]
    except backup_stream.StreamError as error:
        raise from_program(error, "failed") from None
    if "GNU tar" not in said:
        raise EngineError("version", "GNU tar is needed, this is %s" % said[:80])
    return said.split()[-1]


def _capable(base: str, place: Place) -> Callable[[bytes], bool]:
    """Whether a program has capabilities, of those that have extended attributes. Elsewhere it cannot be asked; then it may."""

    def asked(name: bytes) -> bool:
        try:
            return bool(os.getxattr(os.path.join(os.fsencode(base), name), CAPABILITY, follow_symlinks=False))
        except OSError:
            return False

    return asked if place is HOST else lambda _name: True


def _live_samples(base: str, names: Sequence[bytes], started: float) -> Dict[str, str]:
    """Sums of files that nobody has changed since the dump began: they are what is in the stream."""
    found: Dict[str, str] = {}
    for name in names:
        if len(found) == _SAMPLES:
            break
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = name.decode("utf-8")
            path = os.path.join(os.fsencode(base), name)
            changed = os.stat(path, follow_symlinks=False).st_ctime
            if changed > started - 0.05:  # the clock of file systems ticks that coarsely
                continue
            digest = file_digest(path)
            if digest and os.stat(path, follow_symlinks=False).st_ctime == changed:
                found["/" + text] = digest
    return found
