# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are replaced as a whole, and a change that does not hold leaves no trace, not even after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import originals

NS = 1_600_000_000_123_456_789


def tree(folder: Path) -> dict[str, tuple]:
    """Everything below ``folder`` that must come back: content, mode, owner, and the times of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path)] = (content, state.st_mode, state.st_uid, state.st_gid, None if path.is_dir() else state.st_mtime_ns)
    return found


@pytest.fixture
def etc(tmp_path):
    """A small /etc: a file with a mode and time of its own, a link, a folder."""
    folder = tmp_path / "etc"
    folder.mkdir()
    old = folder / "old.conf"
    old.write_bytes(b"old\r\n\xff")
    old.chmod(0o640)
    os.utime(old, ns=(NS, NS))
    (folder / "link.conf").symlink_to("old.conf")
    (folder / "d").mkdir()
    return folder


@pytest.fixture
def journals(tmp_path):
    return str(tmp_path / "lib" / "transactions")


def test_a_file_is_written_with_the_mode_it_had_or_is_given(etc):
    before = files.read(str(etc / "old.conf"))
    files.write(files.desired(before, b"new"))
    assert (etc / "old.conf").read_bytes() == b"new"
    assert (etc / "old.conf").stat().st_mode & 0o7777 == 0o640
    files.write(files.desired(files.read(str(etc / "secret")), b"s", mode=0o600))
    assert (etc / "secret").stat().st_mode & 0o7777 == 0o600
    assert sorted(os.listdir(etc)) == ["d", "link.conf", "old.conf", "secret"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"content": b"other"}, True),
        ({"mode": 0o644}, True),
        ({"uid": 12345}, True),
        ({"mtime_ns": 1}, False),
        ({}, False),
    ],
)
def test_content_mode_and_owner_make_a_difference_and_time_does_not(etc, change, expected):
    before = files.read(str(etc / "old.conf"))
    assert files.differs(before, before._replace(**change)) is expected


@pytest.mark.parametrize("name", ["link.conf", "d"])
def test_what_is_no_regular_file_is_not_replaced(etc, name):
    with pytest.raises(files.FileError, match=name):
        files.desired(files.read(str(etc / name)), b"x")


def test_a_file_that_its_validator_refuses_never_takes_the_place(etc):
    seen = []

    def refuse(path: str) -> None:
        seen.append(Path(path).read_bytes())
        raise files.FileError("not this one")

    was = tree(etc)
    with pytest.raises(files.FileError, match="not this one"):
        files.write(files.desired(files.read(str(etc / "old.conf")), b"bad"), refuse)
    assert seen == [b"bad"]
    assert tree(etc) == was


@pytest.mark.parametrize(
    ("secret", "before", "after"),
    [
        (False, "a\n", "b\n"),
        (True, "(hidden, before)\n", "(hidden, after)\n"),
    ],
)
def test_the_diff_tells_the_change_and_hides_secrets(tmp_path, secret, before, after):
    path = tmp_path / "f"
    path.write_text("a\n")
    state = files.read(str(path))
    shown = files.diff(state, files.desired(state, b"b\n"), secret=secret)
    assert shown == {"before": before, "after": after, "before_header": str(path), "after_header": str(path)}


def test_the_diff_tells_a_new_file_a_mode_and_binary_content(etc):
    new = files.read(str(etc / "new"))
    assert files.diff(new, files.desired(new, b"x"))["before_header"].endswith("(absent)")
    old = files.read(str(etc / "old.conf"))
    shown = files.diff(old, old._replace(mode=0o600))
    assert shown["before"].startswith("# mode 0640")
    assert shown["after"].startswith("# mode 0600")
    assert "(binary, 6 bytes" in shown["before"]


def change_everything(change: files.Transaction, etc: Path) -> None:
    change.put(files.desired(files.read(str(etc / "old.conf")), b"new", mode=0o600))
    change.put(files.desired(files.read(str(etc / "a" / "b" / "new.conf")), b"new"))
    change.put(files.absent(files.read(str(etc / "link.conf"))))
    change.note("values", {"k": "1"})
    change.put(files.desired(files.read(str(etc / "old.conf")), b"newer"))
    change.remove_folder(str(etc / "d"))
    change.remove_folder(str(etc / "a"))


def change_and_fail(etc: Path, journals: str, undo: files.Undo) -> None:
    with files.Transaction("t", journals, undo=undo) as change:
        change_everything(change, etc)
        raise RuntimeError("boom")


def test_a_change_that_holds_stays_and_leaves_no_journal(etc, journals):
    with files.Transaction("t", journals) as change:
        change_everything(change, etc)
        assert os.stat(journals).st_mode & 0o777 == 0o700
        assert os.stat(journals + "/t.journal").st_mode & 0o777 == 0o600
    assert (etc / "old.conf").read_bytes() == b"newer"
    assert (etc / "a" / "b" / "new.conf").read_bytes() == b"new"
    assert not (etc / "link.conf").is_symlink()
    assert not (etc / "d").exists()
    assert os.listdir(journals) == []


def test_an_exception_puts_every_file_folder_and_note_back(etc, journals):
    was, undone = tree(etc), []
    with pytest.raises(RuntimeError, match="boom"):
        change_and_fail(etc, journals, {"values": undone.append})
    assert tree(etc) == was
    assert undone == [{"k": "1"}]
    assert os.listdir(journals) == []


KILLED = """
import os, sys, signal
sys.path[:0] = {path!r}
import ansible_collections
ansible_collections.__path__.append({collections!r})
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
etc, steps = sys.argv[1], int(sys.argv[3])
real, count = os.fsync, 0
def fsync(handle):
    global count
    real(handle)
    count += 1
    if count == steps:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
with files.Transaction("t", sys.argv[2]) as change:
    change.put(files.desired(files.read(etc + "/old.conf"), b"new", mode=0o600))
    change.put(files.desired(files.read(etc + "/a/new.conf"), b"new"))
    change.put(files.absent(files.read(etc + "/link.conf")))
    change.note("values", {{"k": "1"}})
"""


@pytest.mark.parametrize("steps", range(1, 15))
def test_a_kill_at_any_moment_is_undone_by_the_next_run(etc, journals, steps):
    was, undone = tree(etc), []
    script = KILLED.format(path=sys.path, collections=str(Path(__file__).resolve().parents[5] / "collections/ansible_collections"))
    done = subprocess.run([sys.executable, "-S", "-c", script, str(etc), journals, str(steps)], capture_output=True, text=True)
    assert done.returncode in (-signal.SIGKILL, 0), done.stderr
    if files.interrupted("t", journals):
        with pytest.raises(files.FileError, match="interrupted"), files.Transaction("t", journals):
            pass
        assert files.recover("t", journals, undo={"values": undone.append}) is not None
        assert tree(etc) == was
    else:
        assert (etc / "old.conf").read_bytes() == b"new"
    assert files.recover("t", journals) is None
    assert os.listdir(journals) == []


def test_a_kept_change_stands_once_it_is_confirmed(etc, journals):
    with files.Transaction("t", journals) as change:
        change_everything(change, etc)
        change.keep()
    assert files.interrupted("t", journals)
    assert files.confirm("t", journals)
    assert not files.confirm("t", journals)
    assert (etc / "old.conf").read_bytes() == b"newer"


def test_a_kept_change_that_is_not_confirmed_is_taken_back(etc, journals):
    was = tree(etc)
    with files.Transaction("t", journals) as change:
        change_everything(change, etc)
        change.keep()
    undone = files.recover("t", journals, undo={"values": print})
    assert undone is not None
    assert undone.notes == ["values"]
    assert tree(etc) == was


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_left(etc, journals, monkeypatch):
    was, call = tree(etc), {name: getattr(os, name) for name in ("open", "unlink", "replace", "mkdir")}

    def read_only(name):
        def refuse(path, *args, **more):
            real = os.path.join(os.path.realpath(os.path.dirname(str(path))), os.path.basename(str(path)))
            if real.startswith(str(etc)) and (name != "open" or args[0] & os.O_CREAT):
                raise OSError(30, "Read-only file system", path)
            return call[name](path, *args, **more)

        return refuse

    for name in call:
        monkeypatch.setattr(os, name, read_only(name))
    with pytest.raises(files.FileError, match=r"old\.conf: Read-only file system$"):
        change_and_fail(etc, journals, {})
    monkeypatch.undo()
    assert tree(etc) == was
    assert os.listdir(journals) == []


def test_what_others_wrote_since_is_kept_beside_the_journal(etc, journals):
    with files.Transaction("t", journals) as change:
        change.put(files.desired(files.read(str(etc / "old.conf")), b"ours"))
        change.keep()
    (etc / "old.conf").write_bytes(b"an operator's own")
    undone = files.recover("t", journals)
    assert undone is not None
    assert [Path(path).read_bytes() for path in undone.aside] == [b"an operator's own"]
    assert (etc / "old.conf").read_bytes() == b"old\r\n\xff"


def test_a_change_under_way_cannot_be_confirmed_recovered_or_doubled(etc, journals):
    with files.Transaction("t", journals):
        for call in (files.confirm, files.recover):
            with pytest.raises(files.FileError, match="under way"):
                call("t", journals)
        with pytest.raises(files.FileError, match="under way"), files.Transaction("t", journals):
            pass


def test_an_undo_that_fails_is_told_and_tried_again_by_the_next_run(etc, journals):
    def cannot(_data: object) -> None:
        raise OSError(5, "the kernel said no")

    was = tree(etc)
    with pytest.raises(files.FileError, match=r"boom; and not everything .* kernel said no"):
        change_and_fail(etc, journals, {"values": cannot})
    assert tree(etc) == was
    assert files.recover("t", journals, undo={"values": lambda _data: None}) is not None


def test_a_journal_that_cannot_be_kept_leaves_everything_as_it_was(etc, tmp_path):
    (tmp_path / "file").write_text("in the way")
    was = tree(etc)
    with pytest.raises(files.FileError, match="file/transactions"), files.Transaction("t", str(tmp_path / "file/transactions")) as change:
        change_everything(change, etc)
    assert tree(etc) == was


def test_extended_attributes_survive_a_replacement(etc):
    path = str(etc / "old.conf")
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        assert files.read(path).xattrs == ()  # this file system has none: nothing to keep, and nothing breaks
        return
    files.write(files.desired(files.read(path), b"new"))
    assert os.getxattr(path, "user.note") == b"kept"


# What a service's user can do to the folders that its files lie in

USER = 64001
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root works in folders of others")


@pytest.fixture
def place(tmp_path):
    """A folder of a service's user, and one of root with what nobody else may read."""
    for name in ("conf", "rootonly"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "rootonly" / "app.conf").write_text("secret")
    (tmp_path / "rootonly" / "app.conf").chmod(0o600)
    (tmp_path / "conf" / "app.conf").write_text("own")
    for name in ("conf", "conf/app.conf"):
        os.chown(tmp_path / name, USER, USER)
    return tmp_path


def swapped(place):
    """The user's folder, renamed, with a link to root's in its place."""
    (place / "conf").rename(place / "elsewhere")
    (place / "conf").symlink_to(place / "rootonly")
    os.chown(place / "conf", USER, USER, follow_symlinks=False)


@AS_ROOT
def test_a_folder_that_its_user_made_a_link_is_not_followed(place, journals):
    path = str(place / "conf" / "app.conf")
    before = files.read(path)
    swapped(place)
    for call in (
        lambda: files.read(path),
        lambda: files.write(files.desired(before, b"x")),
        lambda: files.write(files.absent(before)),
    ):
        with pytest.raises(files.FileError, match="a link that another user may have made leads there"):
            call()
    assert (place / "rootonly" / "app.conf").read_text() == "secret"


@AS_ROOT
def test_what_is_put_back_does_not_go_where_the_user_has_pointed_meanwhile(place, journals):
    path = str(place / "conf" / "app.conf")
    with pytest.raises(files.FileError), files.Transaction("t", journals) as change:  # noqa: PT012  # it fails at the end of the block
        change.put(files.desired(files.read(path), b"new"))
        swapped(place)
        raise files.FileError("the service is not healthy")
    assert (place / "rootonly" / "app.conf").read_text() == "secret"
    assert os.stat(place / "rootonly" / "app.conf").st_uid == 0
    assert sorted(os.listdir(place / "rootonly")) == ["app.conf"]


def exchanged(place):
    """The user's folder and root's beside it, which lie in a folder of the user's, have changed their names: no link is there."""
    os.chown(place, USER, USER)
    (place / "conf").rename(place / "x")
    (place / "rootonly").rename(place / "conf")


@AS_ROOT
def test_nothing_is_put_back_into_another_folder_that_took_the_name(place, journals):
    path = str(place / "conf" / "app.conf")
    os.chown(place, USER, USER)
    with pytest.raises(files.FileError, match="its folder is another one than before"), files.Transaction("t", journals) as change:  # noqa: PT012
        change.put(files.desired(files.read(path), b"new"))
        exchanged(place)
        raise files.FileError("the service is not healthy")
    assert (place / "conf" / "app.conf").read_text() == "secret"
    assert os.listdir(place / "conf") == ["app.conf"]


@AS_ROOT
@pytest.mark.parametrize("there", ["a file", "nothing"])
def test_an_original_is_given_back_into_no_other_folder(place, journals, there):
    path, kept = str(place / "conf" / "app.conf"), str(place / "kept")
    if there == "nothing":
        os.unlink(path)
    os.mkdir(kept, 0o700)
    os.chown(place, USER, USER)
    with files.Transaction("t", journals) as change:
        originals.take_over(change, files.desired(files.read(path), b"ours"), kept)
    exchanged(place)
    with pytest.raises(files.FileError, match="its folder is another one than before"), files.Transaction("t", journals) as change:
        originals.give_back(change, path, kept)
    assert (place / "conf" / "app.conf").read_text() == "secret"


def test_a_folder_that_the_hosts_owner_made_again_is_written_to(tmp_path, journals):
    (tmp_path / "d").mkdir()
    before = files.read(str(tmp_path / "d" / "x"))
    (tmp_path / "d").rmdir()
    (tmp_path / "other").mkdir()  # takes the inode, where inodes are used again
    (tmp_path / "d").mkdir()
    files.write(files.desired(before, b"x"))
    assert (tmp_path / "d" / "x").read_bytes() == b"x"


@AS_ROOT
def test_links_of_the_hosts_owner_are_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "run").symlink_to("../run")
    files.write(files.desired(files.read(str(tmp_path / "var/run/x")), b"x"))
    assert (tmp_path / "run" / "x").read_bytes() == b"x"


@AS_ROOT
def test_a_file_that_its_user_exchanges_for_a_link_is_never_read_through(place):
    """The user exchanges file and link as fast as possible, in another process; 2 000 reads see the file or a link."""
    os.symlink(place / "rootonly" / "app.conf", place / "conf" / "link")
    os.chown(place / "conf" / "link", USER, USER, follow_symlinks=False)
    exchange = (
        "import ctypes, os, sys\n"
        "os.setgid(%d); os.setuid(%d)\nc = ctypes.CDLL(None)\na, b = sys.argv[1].encode(), sys.argv[2].encode()\n"
        "while True: c.renameat2(-100, a, -100, b, 2)\n" % (USER, USER)
    )
    for above in place.parents:
        if above.name.startswith(("pytest-", "popen-")):
            above.chmod(0o755)
    place.chmod(0o755)
    argv = [sys.executable, "-c", exchange, str(place / "conf" / "app.conf"), str(place / "conf" / "link")]
    user = subprocess.Popen(argv)
    try:
        kinds = set()
        for _read in range(2000):
            state = files.read(str(place / "conf" / "app.conf"))
            kinds.add(state.kind)
            assert b"secret" not in state.content or state.kind == "link"
            assert state.content in (b"own", os.fsencode(place / "rootonly" / "app.conf"))
    finally:
        user.kill()
        user.wait()
    assert "file" in kinds


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert files.read(str(tmp_path / "pipe")).kind == "other"
