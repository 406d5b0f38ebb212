# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders changed against staged ones by renaming, and back, however far it came before it was killed.

In the folder that holds them are two of ours: ``.opsrunner-new-<ident>`` with what was staged, and ``.opsrunner-aside-<ident>`` with
what was set aside and a journal that says which names there were when the swap began. Both are of mode 0700, and no pattern such as
``conf.d/*`` finds them. Where each name is tells what was done; nothing is ever written over and nothing removed but by
:meth:`Swap.discard`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Union

from ansible_collections.opsrunner.runbook.plugins.module_utils._files import folders, tree
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.folders import FOLDER_FLAGS

from ..artifact import Artifact
from ..base import EngineError

_JOURNAL = ".opsrunner-swap.json"
#: Mode of a folder that is missing and not in the backup.
_USUAL = 0o755
#: The file system's own, where it has one: it stays unless the backup has one, too.
_LOST = "lost+found"
#: How names of ours begin.
OURS = (".opsrunner-new-", ".opsrunner-aside-", ".opsrunner-made-")


def own_ident(ident: str, artifact: Artifact) -> str:
    """The ident of one artifact's restore: others of the same set may be restored into the same folder."""
    import re

    return "%s-%s" % (ident, re.sub(r"[^A-Za-z0-9_.@-]", "_", artifact.name or artifact.file)[:100])


class _Unit(NamedTuple):
    """Names that belong together, the main one first: ``had`` were there before, ``new`` are to be there."""

    names: List[str]
    had: List[str]
    new: List[str]


class Swap:
    """The names of one folder that one restore changes.

    ``inside``: all that is in the folder is changed, not the folder itself, which is a mount point or holds what is not of the backup;
    what is staged and set aside then lies in a folder of that name. ``keep``: patterns of names in it that stay as they are.
    """

    def __init__(self, folder: str, ident: str, inside: Optional[str] = None, keep: Sequence[str] = ()) -> None:
        self.folder = folder
        self.inside = inside
        self.keep = tuple(keep)
        self.new = ".opsrunner-new-" + ident
        self.aside = ".opsrunner-aside-" + ident

    @property
    def stage(self) -> str:
        """Path of the folder for what is staged."""
        return os.path.join(self.folder, self.new)

    @property
    def kept(self) -> str:
        """Path of the folder for what is set aside."""
        return os.path.join(self.folder, self.aside)

    def prepare(self) -> None:
        """Make the folder for what is staged; what an earlier try left in it is removed. EngineError after a swap has begun."""
        with self._opened() as folder:
            if _read(folder, self.aside) is not None:
                raise EngineError("failed", "%s: a restore of this name has set data aside already" % self.kept)
            with contextlib.suppress(FileNotFoundError):
                tree.remove_tree(folder, self.new)
            os.mkdir(self.new, 0o700, dir_fd=folder)

    @contextlib.contextmanager
    def staged(self) -> Iterator[int]:
        """A handle of the folder for what is staged."""
        with self._opened() as folder:
            handle = os.open(self.new, FOLDER_FLAGS, dir_fd=folder)
            try:
                yield handle
            finally:
                os.close(handle)

    def known(self) -> bool:
        """Whether anything of this restore is in the folder."""
        return any(os.path.lexists(os.path.join(self.folder, name)) for name in (self.new, self.aside))

    def concerns(self, name: str) -> bool:
        """Whether a name of the folder was staged or is being changed, or all that was set aside is being removed."""
        if any(os.path.lexists(os.path.join(path, name)) for path in (self.stage, self.kept)):
            return True
        if not os.path.lexists(self.kept):
            return False
        with self._opened() as folder:
            journal = _read(folder, self.aside)
        return journal is None or any(name in unit.names for unit in journal)

    def not_ours(self) -> List[str]:
        """Paths in the folder that the swap has left alone; none without ``inside``."""
        if self.inside is None:
            return []
        with self._opened() as folder:
            placed = {name for unit in _read(folder, self.aside) or () for name in unit.new}
            left = [*self._kept_names(folder), *([_LOST] if _there(folder, _LOST) else [])]
            return [os.path.join(self.folder, name) for name in left if name not in placed]

    def _kept_names(self, folder: int) -> List[str]:
        """Names in the open folder that are not of the backup: excluded ones, and those of other restores."""
        import fnmatch

        return [
            name for name in os.listdir(folder) if name.startswith(OURS) or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.keep)
        ]

    def begun(self) -> bool:
        """Whether data may have been set aside."""
        try:
            with self._opened() as folder:
                return _read(folder, self.aside) is not None
        except EngineError:
            return False

    def forward(self, units: Optional[Sequence[Sequence[str]]] = None) -> None:
        """Put in place what is staged of the units, lists of names with the main one first; all there is with ``inside``."""
        with self._opened() as folder:
            journal = _read(folder, self.aside)
            if journal is None:
                journal = self._begin(folder, units)
            new, aside = self._handle(folder, self.new), self._handle(folder, self.aside)
            try:
                for unit in journal:
                    _forward(unit, folder, new, aside)
                if self.inside is not None:
                    _dress(new, folder)
                for handle in (new, aside, folder):
                    os.fsync(handle)
            finally:
                os.close(new)
                os.close(aside)

    def back(self) -> None:
        """Have what was set aside in place again, and what had taken its place with what is staged."""
        with self._opened() as folder:
            journal = _read(folder, self.aside)
            if journal is None:
                with contextlib.suppress(FileNotFoundError):
                    self._drop_aside(folder)
                return
            new, aside = self._handle(folder, self.new), self._handle(folder, self.aside)
            try:
                for unit in journal:
                    _back(unit, folder, new, aside)
                if self.inside is not None:
                    _dress(aside, folder)
                for handle in (new, aside, folder):
                    os.fsync(handle)
            finally:
                os.close(new)
                os.close(aside)
            os.unlink(os.path.join(self.aside, _JOURNAL), dir_fd=folder)
            self._drop_aside(folder)
            os.fsync(folder)

    def unstage(self) -> None:
        """Remove what is staged and not in place."""
        if os.path.lexists(self.folder):
            with self._opened() as folder, contextlib.suppress(FileNotFoundError):
                tree.remove_tree(folder, self.new)

    def set_aside(self) -> List[str]:
        """Paths of what is set aside."""
        path = self.kept if self.inside is None else os.path.join(self.kept, self.inside)
        try:
            names = sorted(os.listdir(path))
        except OSError:
            return []
        found = [os.path.join(path, name) for name in names if not name.startswith(_JOURNAL)]
        return found if self.inside is None else [path] * bool(found)

    def discard(self) -> None:
        """Remove what is set aside. From its first step on there is no way back."""
        with self._opened() as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.aside, _JOURNAL), dir_fd=folder)
                os.fsync(folder)
            with contextlib.suppress(FileNotFoundError):
                tree.remove_tree(folder, self.aside)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        handle = open_folder(self.folder)
        try:
            yield handle
        except OSError as error:
            raise EngineError("failed", "%s: %s" % (self.folder, _said(error))) from error
        finally:
            os.close(handle)

    def _handle(self, folder: int, name: str) -> int:
        """The folder of staged or set-aside names, made if it is not there."""
        handle = _ensured(folder, name)
        if self.inside is None:
            return handle
        try:
            return _ensured(handle, self.inside)
        finally:
            os.close(handle)

    def _begin(self, folder: int, units: Optional[Sequence[Sequence[str]]]) -> List[_Unit]:
        new, aside = self._handle(folder, self.new), self._handle(folder, self.aside)
        try:
            if units is None:
                names = set(os.listdir(new)) | (set(os.listdir(folder)) - set(self._kept_names(folder)))
                if not _there(new, _LOST):
                    names.discard(_LOST)
                units = [[name] for name in sorted(names) if not name.startswith(OURS)]
            journal = []
            for unit in units:
                had, staged = [name for name in unit if _there(folder, name)], [name for name in unit if _there(new, name)]
                journal.append(_Unit(list(unit), had, staged))
            if not any(one.new for one in journal) and self.inside is None:
                raise EngineError("failed", "%s: nothing is staged there" % self.stage)
            if self.inside is not None:
                _dress(folder, aside)
        finally:
            os.close(new)
            os.close(aside)
        _write(folder, self.aside, journal)
        return journal

    def _drop_aside(self, folder: int) -> None:
        """Remove the empty folder of set-aside names."""
        partial = os.path.join(self.aside, _JOURNAL + ".partial")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=folder)
        try:
            if self.inside is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(os.path.join(self.aside, self.inside), dir_fd=folder)
            os.rmdir(self.aside, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise EngineError("failed", "%s: what was set aside is being removed already and is not whole" % self.kept) from None


def _forward(unit: _Unit, folder: int, new: int, aside: int) -> None:
    for name in unit.had:
        if not _there(aside, name) and _there(folder, name):
            os.rename(name, name, src_dir_fd=folder, dst_dir_fd=aside)
    for name in reversed(unit.new):
        if not _there(new, name):
            continue
        if _there(folder, name):
            raise EngineError("failed", "%r was made anew while it was being replaced" % name)
        os.rename(name, name, src_dir_fd=new, dst_dir_fd=folder)


def _back(unit: _Unit, folder: int, new: int, aside: int) -> None:
    # Where nothing was there before, nothing is aside either.
    if not (any(_there(aside, name) for name in unit.had) if unit.had else any(not _there(new, name) for name in unit.new)):
        return
    for name in reversed(unit.names):
        # The name is the new one's when the old one is aside or there was none.
        if _there(folder, name) and (name not in unit.had or _there(aside, name)):
            os.rename(name, _free(new, name), src_dir_fd=folder, dst_dir_fd=new)
    for name in reversed(unit.had):
        if _there(aside, name):
            os.rename(name, name, src_dir_fd=aside, dst_dir_fd=folder)


def _free(folder: int, name: str) -> str:
    """The name, or one like it that nothing has."""
    found, number = name, 0
    while _there(folder, found):
        number += 1
        found = "%s.%d" % (name[:200], number)
    return found


def _there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _ensured(folder: int, name: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    return os.open(name, FOLDER_FLAGS, dir_fd=folder)


def _dress(source: int, target: int) -> None:
    """Give one open folder the owner, mode, times and extended attributes, ACLs among them, of another."""
    told = os.fstat(source)
    os.fchown(target, told.st_uid, told.st_gid)
    os.fchmod(target, stat.S_IMODE(told.st_mode))
    wanted = attributes(source)
    for name in attributes(target):
        if name not in wanted:
            with contextlib.suppress(OSError):
                os.removexattr(target, name)
    for name, value in wanted.items():
        os.setxattr(target, name, value)
    os.utime(target, ns=(told.st_atime_ns, told.st_mtime_ns))


def attributes(of: Union[int, str]) -> Dict[str, bytes]:
    """The extended attributes of a path or an open file. FileNotFoundError."""
    try:
        return {name: os.getxattr(of, name) for name in os.listxattr(of)}
    except FileNotFoundError:
        raise
    except OSError:  # the file system has none
        return {}


def _read(folder: int, aside: str) -> Optional[List[_Unit]]:
    import json

    try:
        handle = os.open(os.path.join(aside, _JOURNAL), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with open(handle, encoding="ascii") as file:
        told: List[Dict[str, Any]] = json.load(file)
    return [_Unit(list(unit["names"]), list(unit["had"]), list(unit["new"])) for unit in told]


def _write(folder: int, aside: str, journal: Sequence[_Unit]) -> None:
    """Have the journal on the disk before the first name is changed."""
    import json

    within = os.open(aside, FOLDER_FLAGS, dir_fd=folder)
    try:
        partial = _JOURNAL + ".partial"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=within)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=within)
        with open(handle, "w", encoding="ascii") as file:
            json.dump([unit._asdict() for unit in journal], file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, _JOURNAL, src_dir_fd=within, dst_dir_fd=within)
        os.fsync(within)
    finally:
        os.close(within)
    os.fsync(folder)


def _said(error: OSError) -> str:
    text = error.strerror or str(error)
    if not isinstance(error.filename, (str, bytes)):
        return text
    return "%s: %s" % (os.fsencode(error.filename).decode("utf-8", "backslashreplace"), text)


def open_folder(path: str) -> int:
    """A handle of a folder that no link leads to. EngineError."""
    try:
        return folders.open_folder(path)
    except FileNotFoundError:
        raise EngineError("unreachable", "%s is not there" % path) from None
    except OSError as error:
        text = "%s is no folder, or is reached by a link: %s" % (path, error.strerror or error)
        raise EngineError("denied" if error.errno == errno.EACCES else "failed", text) from None


def make_parents(path: str, ident: str) -> None:
    """Make a folder with those above it that are missing, marked as made by this restore. EngineError."""
    missing: List[str] = []
    there = path
    while not os.path.lexists(there):
        missing.insert(0, os.path.basename(there))
        there = os.path.dirname(there)
    if not missing:
        return
    mark = ".opsrunner-made-" + ident
    handle = open_folder(there)
    try:
        with contextlib.suppress(FileNotFoundError):
            tree.remove_tree(handle, mark)
        os.mkdir(mark, 0o700, dir_fd=handle)
        inner = mark
        for name in missing[1:]:
            inner = os.path.join(inner, name)
            os.mkdir(inner, _USUAL, dir_fd=handle)
            os.chmod(inner, _USUAL, dir_fd=handle)
        os.close(os.open(os.path.join(mark, mark), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=handle))
        os.chmod(mark, _USUAL, dir_fd=handle)
        os.rename(mark, missing[0], src_dir_fd=handle, dst_dir_fd=handle)
        os.fsync(handle)
    except OSError as error:
        raise EngineError("failed", "%s cannot be made: %s" % (path, error.strerror or error)) from error
    finally:
        os.close(handle)


def remove_parents(path: str, ident: str) -> None:
    """Remove the folders that :func:`make_parents` made, as far as nothing else is in them."""
    mark = ".opsrunner-made-" + ident
    below: List[str] = []
    there = path
    while there != "/":
        found = os.path.join(there, mark)
        if os.path.isdir(found) and not os.path.islink(found):  # killed before it had its name
            with contextlib.suppress(EngineError, OSError):
                handle = open_folder(there)
                try:
                    tree.remove_tree(handle, mark)
                finally:
                    os.close(handle)
        elif os.path.lexists(found):
            with contextlib.suppress(OSError):
                for folder in below:
                    with contextlib.suppress(FileNotFoundError):
                        os.rmdir(folder)
                if os.listdir(there) == [mark]:
                    os.unlink(found)
                    os.rmdir(there)
        below.append(there)
        there = os.path.dirname(there)


def keep_parents(path: str, ident: str) -> None:
    """Take the marks off the folders that :func:`make_parents` made."""
    while path != "/":
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(path, ".opsrunner-made-" + ident))
        path = os.path.dirname(path)
