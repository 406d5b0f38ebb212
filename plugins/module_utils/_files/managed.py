# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a role owns: looked at, compared, replaced as a whole, and put back when the change does not hold.

The usual way of a module::

    undone = recover("sysctl", undo={"values": put_values_back})   # what a killed run left half-made; None: nothing
    before = read(path)
    after = desired(before, b"...", mode=0o644)
    result["diff"] = [diff(before, after)] if differs(before, after) else []
    if differs(before, after) and not check_mode:
        with Transaction("sysctl", undo={"values": put_values_back}) as change:
            change.put(after)                       # journalled first, then written atomically
            change.note("values", {"vm.swappiness": "60"})   # before a change that is no file: how to take it back
            ...                                     # any exception from here on: all is put back, then raised again
            change.keep()                           # only if a later module call is to confirm() or recover()

The journal is a file per transaction name under :data:`FOLDER` (JSON lines, mode 0600, flocked while its transaction
lives, synced before each step it announces, removed when the change holds). A journal without a living owner is a change
that was interrupted: :func:`recover` takes it back, and a new transaction of that name is refused before.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from base64 import b64decode, b64encode
from types import TracebackType
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Type, Union

from .folders import exchangeable, open_trusted

#: Where the journals are kept on the target; its files are readable by their owner only.
FOLDER = "/var/lib/opsrunner/transactions"

Undo = Mapping[str, Callable[[Any], None]]


class FileError(Exception):
    """A file that cannot be managed, or a change that could not be made or taken back. The text says which and why."""


class FileState(NamedTuple):
    """A file as it is or as it is to be.

    ``kind``: ``file``, ``absent``, ``link`` (``content`` is its target) or ``other``. ``mtime_ns`` None: now, when written.
    ``xattrs``: extended attributes, SELinux label and ACL among them. ``place``: device and inode of the folder it was read in; it is
    written into no other one.
    """

    path: str
    kind: str
    content: bytes = b""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: Optional[int] = None
    xattrs: Tuple[Tuple[str, bytes], ...] = ()
    place: Optional[Tuple[int, int]] = None


class Undone(NamedTuple):
    """What was taken back: ``files`` put back, ``notes`` undone (their kinds), ``aside`` copies of what others had written since."""

    files: List[str]
    notes: List[str]
    aside: List[str]


@contextlib.contextmanager
def _held(path: str, place: Optional[Tuple[int, int]] = None) -> Iterator[Tuple[str, Tuple[int, int]]]:
    """A way to a file that goes through its folder as it is now, whatever is done to the names above it, and which folder that is.

    ``place``: the folder it must be, unless nobody but the host's owner can have exchanged it. Raises OSError.
    """
    folder, name = os.path.split(os.path.abspath(path))
    handle = open_trusted(folder)
    try:
        found = os.fstat(handle)
        here = (found.st_dev, found.st_ino)
        if place is not None and here != place and exchangeable(folder):
            raise OSError(errno.ESTALE, "its folder is another one than before, and nothing was written there: look who has exchanged it")
        yield "/proc/self/fd/%d/%s" % (handle, name), here
    finally:
        os.close(handle)


def read(path: str) -> FileState:
    """The state of ``path``, links not followed. Raises FileError when it cannot be read."""
    try:
        with _held(path) as (held, place):
            try:
                return _read(path, held)._replace(place=place)
            except FileNotFoundError:
                return FileState(path, "absent", place=place)
    except (FileNotFoundError, NotADirectoryError):
        return FileState(path, "absent")
    except OSError as error:
        raise _file_error(path, error) from error


def _read(path: str, held: str) -> FileState:
    for _try in range(_TRIES):
        try:
            # What is opened is what is judged: the file may be exchanged for a link or a pipe at any moment.
            handle = os.open(held, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP):
                raise
            state = _read_other(path, held)
            if state:
                return state
            continue
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            os.close(handle)
            return FileState(path, "other", b"", *_owner(found))
        with open(handle, "rb") as file:
            return FileState(path, "file", file.read(), *_owner(found), xattrs=_xattrs(handle))
    raise OSError(errno.EBUSY, "it is exchanged all the time")


#: How often a file that was exchanged while it was looked at is looked at again.
_TRIES = 1000


def _read_other(path: str, held: str) -> Optional[FileState]:
    """What cannot be opened as a file; None when it is a file by now."""
    found = os.lstat(held)
    if stat.S_ISLNK(found.st_mode):
        try:
            return FileState(path, "link", os.fsencode(os.readlink(held)), *_owner(found))
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise
    return None if stat.S_ISREG(found.st_mode) else FileState(path, "other", b"", *_owner(found))


def _owner(found: os.stat_result) -> Tuple[int, int, int, int]:
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns


def desired(
    before: FileState, content: bytes, mode: Optional[int] = None, uid: Optional[int] = None, gid: Optional[int] = None
) -> FileState:
    """The file as it is to be: ``content``, and owner and mode as given, else as before, else the caller's own and 0644.

    Raises FileError for a link, folder or device: what is not a file of ours is not replaced by one.
    """
    if before.kind == "link":
        raise FileError("%s is a symbolic link to %s: name the file itself" % (before.path, os.fsdecode(before.content)))
    if before.kind == "other":
        raise FileError("%s is there already and is no regular file" % before.path)
    was = before if before.kind == "file" else before._replace(mode=0o644, uid=os.geteuid(), gid=os.getegid())
    return FileState(
        before.path,
        "file",
        content,
        was.mode if mode is None else mode,
        was.uid if uid is None else uid,
        was.gid if gid is None else gid,
        None,
        was.xattrs,
        before.place,
    )


def absent(before: FileState) -> FileState:
    """The same path with nothing there. Raises FileError for a folder or device."""
    if before.kind == "other":
        raise FileError("%s is no regular file: it is not removed" % before.path)
    return FileState(before.path, "absent", place=before.place)


def differs(before: FileState, after: FileState) -> bool:
    """Whether ``after`` asks for anything that ``before`` is not; times do not count."""
    if before.kind != after.kind:
        return True
    return before.kind != "absent" and (before.content, before.mode, before.uid, before.gid) != (
        after.content,
        after.mode,
        after.uid,
        after.gid,
    )


def diff(before: FileState, after: FileState, secret: bool = False) -> Dict[str, Any]:
    """The change in Ansible's ``diff`` format; with ``secret`` only that the content changes, not what it is."""
    shown = []
    for state in (before, after):
        text = _shown(state)
        if secret and text:
            text = "(hidden, %s)\n" % ("as before" if before.content == after.content else "before" if state is before else "after")
        if before.kind == after.kind == "file" and before[3:6] != after[3:6]:
            text = "# mode %04o, owner %d, group %d\n%s" % (state.mode, state.uid, state.gid, text)
        shown.append(text)
    return {
        "before": shown[0],
        "after": shown[1],
        "before_header": before.path if before.kind != "absent" else "%s (absent)" % before.path,
        "after_header": after.path if after.kind != "absent" else "%s (absent)" % after.path,
    }


def write(state: FileState, validate: Optional[Callable[[str], None]] = None) -> None:
    """Make the path be as ``state`` says, in one step: readers see the old file or the new one, never a part.

    ``validate``: called with the path of the finished temporary file before it takes the place; raises to refuse it.
    Raises FileError; then the path is as it was.
    """
    try:
        with _held(state.path, state.place) as (held, _place):
            _write(state, held, validate)
    except OSError as error:
        raise _file_error(state.path, error) from error


def _write(state: FileState, held: str, validate: Optional[Callable[[str], None]]) -> None:
    temporary = _temporary(held)
    try:
        if state.kind == "absent":
            _unlink(held)
        elif state.kind == "link":
            _unlink(temporary)
            os.symlink(os.fsdecode(state.content), temporary)
            os.chown(temporary, state.uid, state.gid, follow_symlinks=False)
            os.utime(temporary, ns=(state.mtime_ns or 0,) * 2, follow_symlinks=False)
            os.replace(temporary, held)
        else:
            _write_temporary(temporary, state)
            if validate:  # by its own name: the program that looks at it is another process
                validate(os.path.join(os.path.dirname(state.path), os.path.basename(temporary)))
            os.replace(temporary, held)
            _label(state)
        _sync_folder(os.path.dirname(held))
    finally:
        with contextlib.suppress(OSError):  # a folder that cannot be written has no temporary file of ours
            _unlink(temporary)


def interrupted(name: str, folder: str = FOLDER) -> bool:
    """Whether a change of this name is waiting to be confirmed or taken back. Changes nothing."""
    return os.path.exists(_journal_path(folder, name))


def confirm(name: str, folder: str = FOLDER) -> bool:
    """Let a kept change stand: its journal goes. False when there is none. Raises FileError while its owner lives."""
    handle = _open_journal(_journal_path(folder, name))
    if handle is None:
        return False
    try:
        os.unlink(_journal_path(folder, name))
        _sync_folder(folder)
    finally:
        os.close(handle)
    return True


def recover(name: str, folder: str = FOLDER, undo: Optional[Undo] = None) -> Optional[Undone]:
    """Take back a change that was interrupted, or kept and not confirmed. None when there is none.

    ``undo``: per kind of note, the function that takes it back. Raises FileError while the change's owner lives, and when
    something could not be taken back; the journal then stays.
    """
    path = _journal_path(folder, name)
    handle = _open_journal(path)
    if handle is None:
        return None
    try:
        with open(path, "rb") as file:
            # A last line without its end was being written when the run was killed: its step had not begun.
            entries = [json.loads(line) for line in file.read().split(b"\n")[:-1]]
        undone = _take_back(entries, folder, name, undo or {})
        os.unlink(path)
        _sync_folder(folder)
        return undone
    except OSError as error:
        raise _file_error(path, error) from error
    except ValueError as error:
        raise FileError("the journal %s cannot be read: %s" % (path, error)) from error
    finally:
        os.close(handle)


class Transaction:
    """Several files, and what goes with them, changed all or not at all (see the module's own words for the use).

    ``name``: one word; two changes of the same name never run at once. ``undo``: how each kind of :meth:`note` is taken back.
    """

    def __init__(self, name: str, folder: str = FOLDER, undo: Optional[Undo] = None) -> None:
        self.name, self.folder, self._undo = name, folder, undo or {}
        self._entries: List[Dict[str, Any]] = []
        self._handle = -1
        self._kept = False

    def __enter__(self) -> Transaction:
        """Open the journal. Raises FileError when one of that name is there already."""
        path = _journal_path(self.folder, self.name)
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._journal({"transaction": self.name, "pid": os.getpid(), "started": time.time()})
            _sync_folder(self.folder)
        except FileExistsError:
            raise FileError("another change of %s is under way or was interrupted: %s" % (self.name, path)) from None
        except (OSError, FileError) as error:
            if self._handle >= 0:
                self._close()
            raise error if isinstance(error, FileError) else _file_error(path, error) from error
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        """Let the change stand, or take it back when there was an exception, which is then raised again."""
        if self._kept and error is None:
            os.close(self._handle)
            return
        if error is not None:
            try:
                _take_back(self._entries, self.folder, self.name, self._undo)
            except FileError as second:
                os.close(self._handle)  # the journal stays: the next run tries again
                raise FileError("%s; and not everything could be put back: %s" % (error, second)) from error
        self._close()

    def put(self, after: FileState, validate: Optional[Callable[[str], None]] = None) -> None:
        """Make a file be as ``after`` says (from :func:`desired` or :func:`absent`); folders it lacks are made (0755).

        Raises FileError.
        """
        before = read(after.path)
        if before.kind == "other":
            raise FileError("%s is no regular file" % after.path)
        if after.kind != "absent":
            self._make_folders(os.path.dirname(after.path))
        if before.place is None:  # its folder was made just now
            before = before._replace(place=read(after.path).place)
        after = after._replace(place=after.place or before.place)
        self._journal({"file": packed(before), "after": _digest(after)})
        write(after, validate)

    def remove_folder(self, path: str) -> None:
        """Remove a folder if it is empty, such as that of a unit's drop-ins once the last one is gone. Raises FileError."""
        try:
            found = os.lstat(path)
            if not stat.S_ISDIR(found.st_mode) or os.listdir(path):
                return
            self._journal({"emptied": path, "mode": stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid})
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _file_error(path, error) from error

    def note(self, kind: str, data: Any) -> None:
        """Announce a change that is no file, with the data (JSON) from which ``undo[kind]`` takes it back."""
        self._journal({"note": kind, "data": data})

    def keep(self) -> None:
        """Leave the journal when the transaction ends: a later :func:`confirm` or :func:`recover` decides."""
        self._journal({"kept": time.time()})
        self._kept = True

    def _make_folders(self, folder: str) -> None:
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            self._journal({"folder": path})
            try:
                os.mkdir(path)
                os.chmod(path, 0o755)  # noqa: S103 - whatever the umask: drop-in folders are for all to read
            except OSError as error:
                raise _file_error(path, error) from error

    def _journal(self, entry: Dict[str, Any]) -> None:
        data = json.dumps(entry).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._handle, data) :]
            os.fsync(self._handle)
        except OSError as error:
            raise _file_error(_journal_path(self.folder, self.name), error) from error
        self._entries.append(entry)

    def _close(self) -> None:
        _unlink(_journal_path(self.folder, self.name))
        os.close(self._handle)
        _sync_folder(self.folder)


def _take_back(entries: List[Dict[str, Any]], folder: str, name: str, undo: Undo) -> Undone:
    """Undo the journal's steps, the last first. Raises FileError naming what failed, after trying all of them."""
    undone = Undone([], [], [])
    failures: List[str] = []
    for entry in reversed(entries):
        try:
            if "file" in entry:
                _put_back(entry, os.path.join(folder, name), undone)
            elif "folder" in entry:
                _remove_folder(entry["folder"])
            elif "emptied" in entry and not os.path.isdir(entry["emptied"]):
                os.mkdir(entry["emptied"])
                os.chown(entry["emptied"], entry["uid"], entry["gid"])
                os.chmod(entry["emptied"], entry["mode"])
            elif "note" in entry:
                if entry["note"] not in undo:
                    raise FileError("nothing is known that takes back %r" % entry["note"])
                undo[entry["note"]](entry["data"])
                undone.notes.append(entry["note"])
        except (OSError, FileError) as error:
            failures.append(str(error))
    if failures:
        raise FileError("; ".join(failures))
    return undone


def _put_back(entry: Dict[str, Any], prefix: str, undone: Undone) -> None:
    before = unpacked(entry["file"])
    with contextlib.suppress(OSError), _held(before.path, before.place) as (held, _place):
        _unlink(_temporary(held))
    now = read(before.path)
    if not differs(before, now) and before.mtime_ns == now.mtime_ns:
        return
    if now.kind == "file" and _digest(now) != entry["after"] and now.content != before.content:
        # Somebody else has written here since: theirs is kept beside the journals, not lost.
        copy = "%s.%s.%d" % (prefix, os.path.basename(before.path), time.time())
        write(now._replace(path=copy, mode=0o600, place=None))
        undone.aside.append(copy)
    write(before)
    undone.files.append(before.path)


def _remove_folder(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as error:
        # Others may have put something in since.
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


def _journal_path(folder: str, name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise ValueError("%r is no name of a transaction" % name)
    return os.path.join(folder, name + ".journal")


def _open_journal(path: str) -> Optional[int]:
    """The locked journal, None when there is none. Raises FileError while somebody works on it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _file_error(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise FileError("another change is under way: %s is in use" % path) from None
    if os.fstat(handle).st_nlink == 0:  # it ended between the two calls
        os.close(handle)
        return None
    return handle


def _write_temporary(temporary: str, state: FileState) -> None:
    _unlink(temporary)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(handle, "wb") as file:
        file.write(state.content)
        file.flush()
        made = os.fstat(handle)
        if (made.st_uid, made.st_gid) != (state.uid, state.gid):
            os.fchown(handle, state.uid, state.gid)
        os.fchmod(handle, state.mode)
        for name, value in state.xattrs:
            try:
                os.setxattr(handle, name, value)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise
        if state.mtime_ns is not None:
            os.utime(handle, ns=(state.mtime_ns, state.mtime_ns))
        os.fsync(handle)


def _label(state: FileState) -> None:
    """Give a file that had no SELinux label the one its place has by policy, where SELinux is."""
    if "security.selinux" in dict(state.xattrs) or not os.path.exists("/sys/fs/selinux/enforce"):
        return
    import subprocess

    with contextlib.suppress(OSError, subprocess.SubprocessError):  # the label by the folder's own rule stays
        subprocess.run(["restorecon", "-F", state.path], check=False, timeout=30, stdin=subprocess.DEVNULL, capture_output=True)


def _temporary(path: str) -> str:
    # A name of its own for each path, so that a killed write can be tidied; no reader of drop-in folders takes *.swp.
    return os.path.join(os.path.dirname(path), ".%s.opsrunner.swp" % os.path.basename(path))


def _xattrs(path: Union[str, int]) -> Tuple[Tuple[str, bytes], ...]:
    try:
        return tuple((name, os.getxattr(path, name)) for name in sorted(os.listxattr(path)))
    except OSError:
        return ()


def packed(state: FileState) -> Dict[str, Any]:
    """The state as JSON can hold it."""
    data = state._asdict()
    data["content"] = b64encode(state.content).decode()
    data["xattrs"] = {name: b64encode(value).decode() for name, value in state.xattrs}
    return dict(data)


def unpacked(data: Mapping[str, Any]) -> FileState:
    """The state that :func:`packed` made this of."""
    content, xattrs = b64decode(data["content"]), tuple((name, b64decode(value)) for name, value in data["xattrs"].items())
    place = data.get("place")
    return FileState(**{**data, "place": None})._replace(content=content, xattrs=xattrs, place=tuple(place) if place else None)


def _digest(state: FileState) -> str:
    from hashlib import sha256

    return sha256(state.content).hexdigest() if state.kind == "file" else state.kind


def _shown(state: FileState) -> str:
    if state.kind == "absent":
        return ""
    if state.kind == "link":
        return "(symbolic link to %s)\n" % os.fsdecode(state.content)
    try:
        return state.content.decode("utf-8")
    except UnicodeDecodeError:
        return "(binary, %d bytes, sha256 %s)\n" % (len(state.content), _digest(state))


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _sync_folder(folder: str) -> None:
    handle = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(handle)


def _file_error(path: str, error: OSError) -> FileError:
    return FileError("%s: %s" % (path, error.strerror or error))
