# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders: one stream of GNU tar, with owners, modes, times, links, holes, extended attributes and ACLs.

Names are kept relative to ``/``. What tar writes it also lists, on standard error: counts are of exactly what is in the stream, and
nothing is read twice. Where the files are, only tar and a shell are needed, and nothing is written. Before anything is unpacked the
whole archive is listed; see ``engine_files_listing.py``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable, folders
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.patterns import entries, left_out
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import orphans
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command, Place

from .. import set_names
from ..artifact import Artifact
from ..base import HELD, Drilled, Dump, Engine, EngineError, Found, Request, Restorer, Stored, Told, Work, compare, from_program
from .listing import BLOCKS, CAPABILITY, ArchiveLimits, ArchiveProblem, Counted, Listing, listing_command, told
from .swap import OURS, Swap, keep_parents, make_parents, open_folder, own_ident, remove_parents

#: Files whose content is sampled.
_SAMPLES = 8
#: Entries that are named one by one in the manifest; of more there is only the sum.
_NAMED = 5000
_GLOB = frozenset("*?[")
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
_EXTRACT = (
    "-p",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--acls",
    "--delay-directory-restore",
    "--keep-old-files",
    "--warning=no-timestamp",
    "--no-wildcards",
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
    }
    required = ("paths",)

    def parse(self, item: Mapping[str, Any], path: str) -> Dict[str, Any]:
        """Paths that can be backed up, patterns that can match."""
        for at, one in enumerate(item["paths"]):
            if one == "/":
                raise OptionError("%s.paths[%d]" % (path, at), "is the whole host: name the folders", hint="/srv")
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
        with _hooks(spec, work):
            base = spec.get("snapshot_root") or "/"
            names = members(spec, base, work.place)
            literal = {path[1:] for path in spec["paths"]}
            listing = Listing([os.fsencode(name) for name in names], sample=4 * _SAMPLES, capable=_capable(base, work.place))
            words = ["tar", "-c", "-b", BLOCKS, "-f", "-", "-vv", *_CREATE]
            words += ["--one-file-system"] if spec.get("one_file_system") else []
            words += _excluded(spec.get("exclude", ()), _own_folder(names, work))
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
            yield Dump(command, lambda: self._finish(listing, names, literal, base, version, said, started, work))

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
            source["special"] = dict(sorted(listing.special.items())) if len(listing.special) <= _NAMED else _sum(listing.special)
        if said:
            source["changed_while_read"] = said[0]
            work.warn("files changed while they were read: %s" % said[0])
        samples = _live_samples(base, listing.samples(), started) if work.place is HOST else {}
        return Told(listing.total.counts(), samples, source, "tar", version)

    def release(self, spec: Mapping[str, Any], work: Work) -> str:
        """Run ``after``, which the killed run did not come to."""
        if "after" not in spec:
            raise EngineError("failed", "after is no longer in its options; the killed run had started before")
        _after(spec, work)
        return "after was run"

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """List the archive to its end and hold it against the manifest."""
        listed(artifact, stored, work)

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """Unpack everything into the scratch folder, count and sample it."""
        scratch = os.path.realpath(work.scratch)
        for path in _paths(artifact):
            if (scratch + "/").startswith(path + "/"):
                raise EngineError("same", "%s is in what was backed up, %s" % (scratch, path))
        listing = listed(artifact, stored, work)
        _check_space({scratch: needed(listing.total)})
        folder = os.path.join(work.scratch, "drill")
        os.mkdir(folder, 0o700)
        names = [path[1:] for path in _paths(artifact)]
        _unpack(artifact, stored, work, folder, names, 0, ())
        found = Tree()
        for name in names:
            found.add(os.path.join(folder, name))
        return Drilled(found.counts(), _digests(folder, artifact.samples))

    @contextlib.contextmanager
    def restorer(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> Iterator[Restorer]:
        """The restore of all paths, or of some, where they were or below another folder."""
        if work.place is not HOST:
            raise EngineError("failed", "files are restored on this host alone: name a folder here as the target")
        yield FilesRestorer(artifact, stored, request, work, spec.get("exclude") or ())

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """Read every file to its end."""
        if work.place is not HOST:
            raise EngineError("failed", "files are looked at on this host alone")
        problems: List[str] = []
        tree = Tree(read=True)
        for path in spec["paths"]:
            found = _matches(path, "/")
            if not found:
                problems += [] if _GLOB & set(path) else ["%s is not there" % path]
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
        said = backup_stream.run(Command(("tar", "--version")), work.place, timeout=30).decode("utf-8", "replace").split("\n")[0]
    except backup_stream.StreamError as error:
        raise from_program(error, "failed") from None
    if "GNU tar" not in said:
        raise EngineError("version", "GNU tar is needed, this is %s" % said[:80])
    return said.split()[-1]


def _matches(path: str, base: str) -> List[str]:
    """Full paths below ``base`` of a path or pattern."""
    full = os.path.join(base, path.lstrip("/"))
    if os.path.lexists(full):
        return [full]
    if not _GLOB & set(path):
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
        if not matches and not _GLOB & set(path):
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
    for full in _matches(path, top):
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


def _excluded(patterns: Sequence[str], own: Sequence[str]) -> List[str]:
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


def _own_folder(names: Sequence[str], work: Work) -> List[str]:
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
def _hooks(spec: Mapping[str, Any], work: Work) -> Iterator[None]:
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
                _after(spec, work)
            except EngineError as error:
                if well:
                    raise
                work.warn(str(error))
            else:
                os.unlink(held)


def _after(spec: Mapping[str, Any], work: Work) -> None:
    try:
        # What it starts again lives on, whatever becomes of this run.
        backup_stream.hook(Command(tuple(spec["after"]), env={orphans.NAME: ""}), work.place, work.limits)
    except backup_stream.StreamError as error:
        raise EngineError("failed", "after: %s" % error) from None


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
            digest = _digest(path)
            if digest and os.stat(path, follow_symlinks=False).st_ctime == changed:
                found["/" + text] = digest
    return found


def _digest(path: Any) -> Optional[str]:
    import hashlib

    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        return hashlib.sha256(file.read()).hexdigest()


def _digests(folder: str, names: Mapping[str, str]) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for name in names:
        with contextlib.suppress(OSError):
            digest = _digest(os.path.join(folder, name.lstrip("/")))
            if digest:
                found[name] = digest
    return found


def _sum(special: Mapping[str, str]) -> Dict[str, str]:
    import hashlib
    import json

    text = json.dumps(special, sort_keys=True, ensure_ascii=True)
    return {"": "%d entries, sha256 %s" % (len(special), hashlib.sha256(text.encode("ascii")).hexdigest())}


def _paths(artifact: Artifact) -> List[str]:
    """The paths that an artifact holds, as the manifest says. EngineError when it does not say it."""
    paths = artifact.source.get("paths")
    if not isinstance(paths, list) or not paths:
        raise EngineError("damaged", "the manifest does not say which paths %s holds" % artifact.file)
    for path in paths:
        if not isinstance(path, str) or not path.startswith("/") or path == "/" or {"", ".", ".."} & set(path[1:].split("/")):
            raise EngineError("unsafe", "the manifest has %r as a path" % (path,))
    return paths


def listed(artifact: Artifact, stored: Stored, work: Work, items: Sequence[str] = ()) -> Listing:
    """List an artifact to its end. EngineError unless it is safe and holds what the manifest counts."""
    counts = artifact.counts
    entries = sum(counts.get(kind, 0) for kind in ("files", "folders", "links", "others"))
    limits = ArchiveLimits(entries, counts.get("bytes", 0))
    listing = Listing([os.fsencode(path[1:]) for path in _paths(artifact)], limits, [os.fsencode(item) for item in items])
    try:
        _feed(artifact, stored, work, listing_command(), listing.feed)
    except backup_stream.StreamError as error:
        raise from_program(error, "failed" if error.status is None else "damaged") from error
    listing.finish()
    known = artifact.source.get("special") or {}
    problems = list(listing.problems)
    if isinstance(known, dict) and "" in known:
        if _sum(listing.special) != known:
            problems.append(
                ArchiveProblem("link", "it holds other links that lead out, devices or setuid files than it did when it was made")
            )
    else:
        problems += listing.unknown(known if isinstance(known, dict) else {})
    if problems:
        raise EngineError("unsafe", "; ".join(problem.text for problem in problems[:5]))
    differing = compare(counts, listing.total.counts())
    if differing:
        raise EngineError("differs", "; ".join(differing))
    return listing


def _feed(artifact: Artifact, stored: Stored, work: Work, command: Command, output: Any = None) -> None:
    # Artifacts lie on this host, wherever their data is from.
    encrypted = artifact.encryption is not None
    backup_stream.feed(stored.path, command, artifact.compression or "zstd", encrypted, stored.identity, work.limits, output=output)


def needed(counted: Counted) -> int:
    """Bytes of disk that a part of an archive needs; holes stay holes."""
    return counted.stored + 4096 * counted.entries


def _check_space(needs: Mapping[str, int]) -> None:
    for path, size in needs.items():
        free = os.statvfs(path)
        if free.f_bavail * free.f_frsize < size:
            raise EngineError("space", "%s: %d bytes are needed and %d free" % (path, size, free.f_bavail * free.f_frsize))


def _unpack(
    artifact: Artifact, stored: Stored, work: Work, folder: str, names: Sequence[str], strip: int, without: Sequence[bytes]
) -> None:
    """Unpack members into a folder of ours; EngineError."""
    names_file = os.path.join(work.scratch, "unpack")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(names_file)
    handle = os.open(names_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:
        file.write(b"".join(os.fsencode(name) + b"\0" for name in names))
    words = ["tar", "-x", "-B", "-b", BLOCKS, "-f", "-", *_EXTRACT, "--same-owner" if os.geteuid() == 0 else "--no-same-owner"]
    words += ["--strip-components=%d" % strip, "--anchored"]
    words += ["--exclude=" + os.fsdecode(name) for name in without]
    words += ["--null", "--verbatim-files-from", "-T", names_file]

    def ended(_status: int, text: str) -> None:
        if text:
            work.warn("tar: " + text)

    try:
        _feed(artifact, stored, work, Command(tuple(words), cwd=folder, ended=ended))
    except backup_stream.StreamError as error:
        full = "No space left" in error.said or "Wrote only" in error.said
        raise from_program(error, "space" if full else "failed") from error
    finally:
        os.unlink(names_file)


def _linked(there: str, here: str) -> None:
    """Give a file another name in a folder that keeps its time."""
    folder = os.path.dirname(here)
    told = os.stat(folder)
    os.link(there, here, follow_symlinks=False)
    os.utime(folder, ns=(told.st_atime_ns, told.st_mtime_ns))


class Tree:
    """Counts what is on the disk as a listing counts what is in an archive."""

    def __init__(self, read: bool = False, without: Sequence[str] = ()) -> None:
        self._counted = Counted()
        self._without = {os.fsencode(path) for path in without}
        self._inodes: Set[Tuple[int, int]] = set()
        self._read = read
        self.problems: List[str] = []
        self.newest: Optional[float] = None

    def counts(self) -> Dict[str, int]:
        """By the manifest's names."""
        return self._counted.counts()

    def add(self, path: str) -> None:
        """Count a path with all below it; links are not followed."""
        folders = [os.fsencode(path)]
        try:
            if not self._one(folders[0], os.lstat(path)):
                return
        except OSError as error:
            self._problem(folders[0], error)
            return
        while folders:
            here = folders.pop()
            try:
                with os.scandir(here) as entries:
                    inner = [entry for entry in entries if entry.path not in self._without]
                folders += [entry.path for entry in inner if self._one(entry.path, entry.stat(follow_symlinks=False))]
            except OSError as error:
                self._problem(here, error)

    def _problem(self, path: bytes, error: OSError) -> None:
        if len(self.problems) < 50:
            self.problems.append("%s: %s" % (told(path), error.strerror or error))

    def _one(self, path: bytes, found: os.stat_result) -> bool:
        """Count one entry; whether it is a folder."""
        counted = self._counted
        mode = found.st_mode
        self.newest = max(self.newest or 0.0, found.st_mtime)
        if stat.S_ISDIR(mode):
            counted.folders += 1
            return True
        if stat.S_ISREG(mode):
            counted.files += 1
            inode = (found.st_dev, found.st_ino)
            if found.st_nlink == 1 or inode not in self._inodes:
                if found.st_nlink > 1:
                    self._inodes.add(inode)
                counted.bytes += found.st_size
                if self._read:
                    self._try(path)
        elif stat.S_ISLNK(mode):
            counted.links += 1
        elif not stat.S_ISSOCK(mode):  # no tar keeps sockets
            counted.others += 1
        return False

    def _try(self, path: bytes) -> None:
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
        except OSError as error:
            self._problem(path, error)


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

    def __init__(self, artifact: Artifact, stored: Stored, request: Request, work: Work, exclude: Sequence[str] = ()) -> None:
        self._artifact, self._stored, self._request, self._work = artifact, stored, request, work
        self._exclude = exclude
        self._ident = own_ident(request.ident, artifact)
        self._target = None if request.target is None else "/" + request.target.strip("/")
        if request.target is not None and (not request.target.startswith("/") or ".." in request.target.split("/")):
            raise EngineError("failed", "%r is no folder's absolute path" % request.target)
        roots = [path[1:] for path in _paths(artifact)]
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
        return self._listing

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
        _check_space(dict(self.needs()))
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
            _unpack(self._artifact, self._stored, self._work, folder, group.members, group.strip, [link.name for link in crossing])
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
            _unpack(self._artifact, self._stored, self._work, extra, sorted({target for _here, target in apart}), 0, ())
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
