# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove or compress old files below listed folders, and nothing else.

Every folder is opened step by step from ``/`` without following links, and files are looked at and removed by their name in
that open folder (openat, unlinkat): whoever swaps a folder for a link meanwhile gains nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from fnmatch import fnmatchcase
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_words
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.folders import FOLDER_FLAGS, mount_points, open_below, open_folder
from ansible_collections.opsrunner.runbook.plugins.module_utils._host.open_files import Open, open_files

#: Name of the step that deletes; nothing is deleted unless it is confirmed.
STEP = "cleanup"
#: Folders that are no rule's root themselves.
_NEVER_ITSELF = frozenset(("/", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/var", "/var/cache", "/var/lib", "/var/spool"))
#: Folders that are neither a root nor hold one.
_NEVER_BELOW = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")
#: Folders that many share: there a pattern must say whose files are meant.
_SHARED = frozenset(("/tmp", "/var/tmp", "/var/log", "/dev/shm"))  # noqa: S108
_COMPRESSED = (".gz", ".xz", ".zst", ".bz2", ".zip", ".lz4")
#: Paths told in the evidence of a finding.
_TOLD = 20

_RULE: Dict[str, read.Reader] = {
    "name": read.name,
    "root": read.absolute,
    "patterns": read.texts,
    "protect": read.texts,
    "action": read.choice("delete", "compress"),
    "min_age": read.duration,
    "min_size": read.size,
    "keep": read.whole,
    "max_depth": read.whole,
    "cross_mounts": read.boolean,
    "empty_folders": read.boolean,
    "remedy": read.text,
}


class Rule(NamedTuple):
    """What may go: files below ``root`` that match, older than ``min_age`` seconds, but for the ``keep`` newest."""

    name: str
    root: str
    patterns: Tuple[str, ...]
    protect: Tuple[str, ...] = ()
    action: str = "delete"
    min_age: float = 0.0
    min_size: int = 0
    keep: int = 0
    max_depth: Optional[int] = None
    cross_mounts: bool = False
    empty_folders: bool = False
    remedy: Optional[str] = None


class Options(NamedTuple):
    """What the module was asked for. ``strict``: keep files when it cannot be seen whether they are open."""

    rules: Tuple[Rule, ...]
    confirmed: bool
    strict: bool


class File(NamedTuple):
    """A file that may go, by its path below the root. ``won``: bytes of disk that removing it gives back."""

    path: str
    device: int
    inode: int
    size: int
    won: int
    mtime_ns: int


class Seen(NamedTuple):
    """What a walk has found: ``files`` that may go, and why others stay (paths)."""

    files: List[File]
    protected: List[str]
    newest: List[str]
    mounts: List[str]
    errors: List[str]


# -- options ----------------------------------------------------------------------------------------------------------------


def parse(options: Mapping[str, Any]) -> Options:
    """Read the module's options. Raises OptionError."""
    protect = tuple(_patterns(read.texts(options["protect"], "protect"), "protect") if options.get("protect") else ())
    rules = []
    for index, item in enumerate(read.read_items(options.get("rules"), "rules", _RULE, ("name", "root", "patterns"))):
        here = "rules[%d]" % index
        item["patterns"] = tuple(_patterns(item["patterns"], here + ".patterns"))
        item["protect"] = protect + tuple(_patterns(item.get("protect", []), here + ".protect"))
        rule = Rule(**item)
        _check_root(rule, here)
        if not rule.min_age and not rule.keep:
            raise OptionError(here + ".min_age", "say how old files must be (min_age) or how many of the newest stay (keep)")
        if rule.action == "compress" and rule.empty_folders:
            raise OptionError(here + ".empty_folders", "compressing leaves no empty folders")
        rules.append(rule)
    only = read.texts(options["only"], "only") if options.get("only") else []
    for at, word in enumerate(only):
        if word not in [rule.name for rule in rules]:
            from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import unknown_name

            raise unknown_name("only[%d]" % at, word, [rule.name for rule in rules], what="rule")
    confirm = parse_words(options.get("confirm"), "confirm")
    chosen = tuple(rule for rule in rules if not only or rule.name in only)
    open_files = read.choice("strict", "seen")(options.get("open_files") or "strict", "open_files")
    return Options(chosen, STEP in confirm, open_files == "strict")


def _check_root(rule: Rule, here: str) -> None:
    shared_memory = rule.root.startswith("/dev/shm")  # noqa: S108
    below = any(rule.root == folder or rule.root.startswith(folder + "/") for folder in _NEVER_BELOW) and not shared_memory
    if rule.root in _NEVER_ITSELF or below:
        raise OptionError(here + ".root", "nothing is cleaned up in %s" % rule.root)
    wide = [pattern for pattern in rule.patterns if not re.sub(r"[*?./\[\]]", "", pattern)]
    if rule.root in _SHARED and wide:
        raise OptionError(here + ".patterns", "%r in %s, which many share: say whose files are meant" % (wide[0], rule.root))


def _patterns(patterns: Sequence[str], path: str) -> Iterator[str]:
    for at, pattern in enumerate(patterns):
        if pattern.startswith("/") or ".." in pattern.split("/"):
            raise OptionError("%s[%d]" % (path, at), "%r leads out of the root: patterns are below it" % pattern)
        yield pattern


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path below the root fits one of the globs: by its last part, or whole where the glob has a slash.

    In a whole path ``*`` stays within one folder and ``**`` goes through any number of them.
    """
    last = path.rpartition("/")[2]
    return any(_glob(pattern).match(path) is not None if "/" in pattern else fnmatchcase(last, pattern) for pattern in patterns)


def _glob(pattern: str) -> re.Pattern[str]:
    out = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]/]+\])", pattern):
        if part == "**/":
            out.append("(?:.*/)?")
        elif part == "**":
            out.append(".*")
        elif part in ("*", "?"):
            out.append("[^/]" + ("*" if part == "*" else ""))
        elif part.startswith("[") and part.endswith("]") and len(part) > 2:
            inner = part[1:-1].replace("\\", "\\\\")
            out.append("[%s]" % ("^/" + inner[1:] if inner.startswith("!") else inner))
        else:
            out.append(re.escape(part))
    return re.compile("".join(out) + r"\Z", re.DOTALL)


# -- looking ----------------------------------------------------------------------------------------------------------------


#: Folders within each other that are entered, and seconds that one rule may look around. Whoever can make a folder below the root
#: could keep the run busy for hours otherwise.
DEPTH_LIMIT, TIME_LIMIT = 256, 900.0


def walk(rule: Rule, root: int, mounts: Set[str], now: float, clock: Callable[[], float] = time.monotonic) -> Seen:
    """Find what may go below the open folder ``root``; ``mounts``: mount points of this host.

    Each folder is opened once, from the one that holds it. What is too deep, or not reached in time, is named among the errors.
    """
    seen = Seen([], [], [], [], [])
    device = os.fstat(root).st_dev
    until = clock() + TIME_LIMIT
    #: The way down to the folder at hand: its handle, its path, its subfolders that are left.
    way = [(os.dup(root), "", _look_into(rule, root, "", device, mounts, seen))]
    try:
        while way:
            handle, folder, left = way[-1]
            if not left:
                os.close(way.pop()[0])
                continue
            name = left.pop()
            path = "%s/%s" % (folder, name) if folder else name
            if len(way) >= (rule.max_depth or DEPTH_LIMIT):
                if rule.max_depth is None:
                    seen.errors.append("%s: deeper than %d folders" % (_join(rule.root, path)[-200:], DEPTH_LIMIT))
                continue
            if clock() > until:
                seen.errors.append("%s: not everything was read within %g s" % (rule.root, TIME_LIMIT))
                break
            try:
                inner = os.open(name, FOLDER_FLAGS, dir_fd=handle)
            except OSError as error:
                seen.errors.append("%s: %s" % (_join(rule.root, path), error.strerror))
                continue
            way.append((inner, path, _look_into(rule, inner, path, device, mounts, seen)))
    finally:
        for handle, _path, _left in way:
            os.close(handle)
    seen.files.sort(key=lambda file: (-file.mtime_ns, file.path))
    seen.newest.extend(file.path for file in seen.files[: rule.keep])
    oldest = (now - rule.min_age) * 1e9
    seen.files[:] = [file for file in seen.files[rule.keep :] if file.mtime_ns <= oldest]
    return seen


def _look_into(rule: Rule, handle: int, folder: str, device: int, mounts: Set[str], seen: Seen) -> List[str]:
    """Note what is in an open folder; returns the names of its subfolders that are to be entered."""
    inner = []
    try:
        for name in sorted(os.listdir(handle)):
            path = "%s/%s" % (folder, name) if folder else name
            try:
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if matches(path, rule.protect):
                seen.protected.append(path)
            elif stat.S_ISDIR(found.st_mode):
                if (found.st_dev != device or _join(rule.root, path) in mounts) and not rule.cross_mounts:
                    seen.mounts.append(path)
                else:
                    inner.append(name)
            elif stat.S_ISREG(found.st_mode) and _may_go(rule, path, found):
                seen.files.append(_file(path, found))
    except OSError as error:
        seen.errors.append("%s: %s" % (_join(rule.root, folder), error.strerror))
    return inner[::-1]


def _may_go(rule: Rule, path: str, found: os.stat_result) -> bool:
    if rule.action == "compress" and path.endswith(_COMPRESSED):
        return False
    return found.st_size >= rule.min_size and matches(path, rule.patterns)


def _file(path: str, found: os.stat_result) -> File:
    won = found.st_blocks * 512 if found.st_nlink == 1 else 0
    return File(path, found.st_dev, found.st_ino, found.st_size, won, found.st_mtime_ns)


def _join(root: str, path: str) -> str:
    return "%s/%s" % (root, path) if path else root


# -- doing ------------------------------------------------------------------------------------------------------------------


def remove(root: int, file: File) -> None:
    """Remove one file that is still the one that was looked at. Raises OSError; ESTALE when it is another one by now."""
    folder, name = _at(file.path)
    handle = open_below(root, folder)
    try:
        _same(handle, name, file)
        os.unlink(name, dir_fd=handle)
    finally:
        os.close(handle)


def compress(root: int, file: File) -> int:
    """Replace one file by its ``.gz`` with the same owner, mode and times; returns the bytes of disk won.

    Raises OSError; EEXIST when there is such a ``.gz`` already.
    """
    import gzip
    import shutil

    folder, name = _at(file.path)
    handle = open_below(root, folder)
    partial, target = ".%s.gz.opsrunner.swp" % name, name + ".gz"
    try:
        _same(handle, name, file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=handle)
        out = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=handle)
        with open(out, "wb") as sink, open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle), "rb") as source:
            found = os.fstat(source.fileno())
            with gzip.GzipFile(name, "wb", 6, sink, found.st_mtime) as packed:
                shutil.copyfileobj(source, packed, 256 * 1024)
            sink.flush()
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(sink.fileno(), found.st_uid, found.st_gid)
            os.fchmod(sink.fileno(), stat.S_IMODE(found.st_mode))
            os.utime(sink.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
            os.fsync(sink.fileno())
            used = os.fstat(sink.fileno()).st_blocks * 512
        _same(handle, name, file)
        os.link(partial, target, src_dir_fd=handle, dst_dir_fd=handle, follow_symlinks=False)
        os.unlink(name, dir_fd=handle)
        os.fsync(handle)
        return file.won - used
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial, dir_fd=handle)
        os.close(handle)


def _at(path: str) -> Tuple[str, str]:
    folder, _slash, name = path.rpartition("/")
    return folder, name


def _same(handle: int, name: str, file: File) -> None:
    now = os.stat(name, dir_fd=handle, follow_symlinks=False)
    if (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) != (file.device, file.inode, file.size, file.mtime_ns):
        raise OSError(errno.ESTALE, "was changed meanwhile")


def _remove_empty(root: int, folders: Set[str]) -> List[str]:
    """Remove the folders that our removals left empty, and those above them; never the root."""
    gone = []
    todo = sorted(folders, key=lambda path: -path.count("/"))
    while todo:
        folder = todo.pop(0)
        if not folder:
            continue
        parent, name = _at(folder)
        with contextlib.suppress(OSError):
            handle = open_below(root, parent)
            try:
                os.rmdir(name, dir_fd=handle)
                gone.append(folder)
                if parent not in todo:
                    todo.append(parent)
            finally:
                os.close(handle)
    return gone


class Result(NamedTuple):
    """What became of a rule. ``done``: paths that went or would go, with the bytes won by each."""

    rule: Rule
    done: List[Tuple[str, int]]
    dry: bool
    found: Finding


def run(options: Options, check_mode: bool, now: Optional[float] = None, proc: str = "/proc") -> List[Result]:
    """Carry out every rule, or only look: in check mode, and what deletes when it is not confirmed."""
    now = time.time() if now is None else now
    mounts = mount_points(proc)
    opened: Optional[Open] = None
    results = []
    for rule in options.rules:
        started = time.monotonic()
        try:
            root = open_folder(rule.root)
        except OSError as error:
            results.append(Result(rule, [], True, _no_root(rule, error)))
            continue
        try:
            before = os.statvfs(root)
            seen = walk(rule, root, mounts, now)
            if seen.files and opened is None:
                opened = open_files(proc)
            busy = [file for file in seen.files if opened and _is_open(rule, file, opened)]
            # Without a view of all processes, files that are another's to write may be in use.
            blind = bool(seen.files) and opened is not None and not opened.complete and options.strict
            files = [] if blind else [file for file in seen.files if file not in busy]
            dry = check_mode or (rule.action == "delete" and not options.confirmed)
            done, failures, folders = ([(file.path, file.won) for file in files], [], []) if dry else _carry_out(rule, root, files)
            evidence: Dict[str, Any] = {
                "cleanup_paths": [_join(rule.root, path) for path, _won in done[:_TOLD]],
                "cleanup_folders": [_join(rule.root, path) for path in folders[:_TOLD]],
                "cleanup_open": [_join(rule.root, file.path) for file in busy[:_TOLD]],
                "cleanup_protected": len(seen.protected),
                "cleanup_newest": len(seen.newest),
                "cleanup_mounts": [_join(rule.root, path) for path in seen.mounts[:_TOLD]],
                "cleanup_failures": [*failures, *seen.errors][:_TOLD],
                "cleanup_free_before": before.f_bavail * before.f_frsize,
                "cleanup_free_after": os.statvfs(root).f_bavail * before.f_frsize,
            }
        finally:
            os.close(root)
        evidence = {name: item for name, item in evidence.items() if item not in ([], 0)}
        status, text = _say(rule, done, dry, check_mode, blind, len(seen.files), [*failures, *seen.errors])
        took = (time.monotonic() - started) * 1000
        won = sum(won for _path, won in done)
        what = finding(
            "cleanup." + rule.name,
            "cleanup",
            status,
            text,
            value=won,
            unit="B",
            evidence=evidence,
            remedy=rule.remedy,
            duration_ms=took,
        )
        results.append(Result(rule, [(_join(rule.root, path), won) for path, won in done], dry, what))
    return results


def _is_open(rule: Rule, file: File, opened: Open) -> bool:
    return (file.device, file.inode) in opened.inodes or _join(rule.root, file.path) in opened.paths


def _carry_out(rule: Rule, root: int, files: Sequence[File]) -> Tuple[List[Tuple[str, int]], List[str], List[str]]:
    done: List[Tuple[str, int]] = []
    failures: List[str] = []
    for file in files:
        try:
            won = file.won
            if rule.action == "compress":
                won = compress(root, file)
            else:
                remove(root, file)
            done.append((file.path, won))
        except FileNotFoundError:
            continue
        except OSError as error:
            failures.append("%s: %s" % (_join(rule.root, file.path), error.strerror or error))
    folders = _remove_empty(root, {_at(path)[0] for path, _won in done}) if rule.empty_folders else []
    return done, failures, folders


def _say(
    rule: Rule, done: Sequence[Tuple[str, int]], dry: bool, check_mode: bool, blind: bool, found: int, failures: Sequence[str]
) -> Tuple[str, Dict[str, Any]]:
    told = {"root": rule.root, "count": len(done), "bytes": sum(won for _path, won in done), "rule": rule.name}
    if blind:
        return "unknown", message("cleanup.blind", root=rule.root, count=found)
    if failures:
        return "warning", message("cleanup.partly", failed=len(failures), **told)
    if not done:
        return "ok", message("cleanup.nothing", root=rule.root)
    act = "compress" if rule.action == "compress" else "remove"
    if not dry:
        return "ok", message("cleanup.%s" % act, **told)
    if check_mode:
        return "ok", message("cleanup.would_%s" % act, **told)
    return "warning", message("cleanup.unconfirmed", **told)


def _no_root(rule: Rule, error: OSError) -> Finding:
    link = error.errno in (errno.ELOOP, errno.ENOTDIR)
    text = message("cleanup.link", root=rule.root) if link else message("cleanup.no_root", root=rule.root, reason=error.strerror)
    status = "warning" if error.errno == errno.ENOENT else "unknown"
    return finding("cleanup." + rule.name, "cleanup", status, text, remedy=rule.remedy)
