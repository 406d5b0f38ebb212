# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: every change of what was written is found, what a kill leaves is not taken for one."""

from __future__ import annotations

import os
import pathlib
import tempfile
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError
from tests.helpers.shell_engine import exit_status

NOW = 1_800_000_000.0
#: Each line is synced; hundreds of examples need not wait for a disk.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(backup_ledger.KINDS),
        st.sampled_from(["20270115T080000Z", "20270116T080000Z"]),
        st.dictionaries(st.sampled_from(["size", "rung", "note"]), st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3))),
    ),
    min_size=1,
    max_size=6,
)


def _written(root, entries):
    for at, (what, name, data) in enumerate(entries):
        backup_ledger.append(root, what, name, NOW + at, **data)
    return pathlib.Path(root, backup_ledger.LEDGER)


def test_what_was_appended_is_read_back(tmp_path):
    """Lines come back in order with their data; the chain holds; both files are the owner's alone."""
    path = _written(str(tmp_path), [("made", "a", {"size": 3, "manifest_sha256": "ff"}), ("verified", "a", {"rung": 3})])
    ledger = backup_ledger.read(str(tmp_path))
    assert [(entry["what"], entry["set"]) for entry in ledger.entries] == [("made", "a"), ("verified", "a")]
    assert ledger.entries[0]["at"] == "2027-01-15T08:00:00Z"
    assert (ledger.broken, ledger.torn) == (None, False)
    assert backup_ledger.manifest_sha256(ledger, "a") == "ff"
    assert backup_ledger.manifest_sha256(ledger, "b") is None
    assert {oct(file.stat().st_mode & 0o777) for file in (path, tmp_path / backup_ledger.HEAD)} == {"0o600"}


def test_no_ledger_is_an_empty_one(tmp_path):
    """A root that nothing was written down of."""
    assert backup_ledger.read(str(tmp_path)) == backup_ledger.Ledger([])


@given(ENTRIES, st.data())
def test_any_changed_byte_is_found(entries, data):
    """Whatever byte of whatever line becomes another one, the ledger tells so."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        path = _written(root, entries)
        whole = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(whole) - 1))
        line = bytes(whole[:at]).count(b"\n") + 1
        whole[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(whole)
        found = backup_ledger.read(root).broken
        assert found is not None
        assert line <= found <= line + 1


@given(ENTRIES, st.data())
def test_any_removed_line_is_found(entries, data):
    """Also the last one, and all of them."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        path = _written(root, entries)
        lines = path.read_bytes().splitlines(keepends=True)
        first = data.draw(st.integers(0, len(lines) - 1))
        last = data.draw(st.integers(first, len(lines) - 1))
        path.write_bytes(b"".join(lines[:first] + lines[last + 1 :]))
        assert backup_ledger.read(root).broken == first + 1


@given(ENTRIES.filter(lambda entries: len(entries) > 1), st.data())
def test_any_other_order_is_found(entries, data):
    """Two lines that change places, whichever they are."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        path = _written(root, entries)
        lines = path.read_bytes().splitlines(keepends=True)
        one = data.draw(st.integers(0, len(lines) - 2))
        other = data.draw(st.integers(one + 1, len(lines) - 1))
        lines[one], lines[other] = lines[other], lines[one]
        path.write_bytes(b"".join(lines))
        assert backup_ledger.read(root).broken == one + 1


@given(ENTRIES, st.data())
def test_what_was_broken_stays_so(entries, data):
    """Lines that are written after a line was removed do not hide it."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        path = _written(root, entries)
        lines = path.read_bytes().splitlines(keepends=True)
        gone = data.draw(st.integers(0, len(lines) - 1))
        path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
        for _line in range(2):
            backup_ledger.append(root, "copied", "later", NOW)
        found = backup_ledger.read(root)
        assert found.broken is not None
        assert [entry["set"] for entry in found.entries[-2:]] == ["later", "later"]


@given(ENTRIES, st.data())
def test_a_line_written_by_half_is_told_and_gives_way(entries, data):
    """A run killed in its write: what was there before holds, the next line is a clean one."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        path = _written(root, entries)
        head = pathlib.Path(root, backup_ledger.HEAD).read_bytes()
        before = len(path.read_bytes())
        backup_ledger.append(root, "made", "killed", NOW, size=1)
        whole = path.read_bytes()
        cut = data.draw(st.integers(before + 1, len(whole) - 2))
        path.write_bytes(whole[:cut])
        pathlib.Path(root, backup_ledger.HEAD).write_bytes(head)  # it is written after the line
        assert backup_ledger.read(root) == backup_ledger.Ledger(backup_ledger.read(root).entries, None, True)
        assert len(backup_ledger.read(root).entries) == len(entries)
        backup_ledger.append(root, "made", "next", NOW)
        after = backup_ledger.read(root)
        assert (after.broken, after.torn) == (None, False)
        assert [entry["set"] for entry in after.entries] == [name for _what, name, _data in entries] + ["next"]


@pytest.mark.parametrize("cut", [0, 1], ids=["head not written", "end of the line not written"])
def test_a_line_whose_head_was_not_written_counts(tmp_path, cut):
    """A run killed between the line and the head has written the line."""
    path = _written(str(tmp_path), [("made", "a", {})])
    head = (tmp_path / backup_ledger.HEAD).read_bytes()
    backup_ledger.append(str(tmp_path), "made", "b", NOW)
    path.write_bytes(path.read_bytes()[: -1 if cut else None])
    (tmp_path / backup_ledger.HEAD).write_bytes(head)
    (tmp_path / (backup_ledger.HEAD + ".partial")).write_bytes(b"4")
    assert [entry["set"] for entry in backup_ledger.read(str(tmp_path)).entries] == ["a", "b"]
    backup_ledger.append(str(tmp_path), "made", "c", NOW)
    assert [entry["set"] for entry in backup_ledger.read(str(tmp_path)).entries] == ["a", "b", "c"]
    assert backup_ledger.read(str(tmp_path)).broken is None


def test_the_end_cut_off_a_written_line_is_no_kill(tmp_path):
    """The head knows that the line was whole."""
    path = _written(str(tmp_path), [("made", "a", {}), ("made", "b", {})])
    path.write_bytes(path.read_bytes()[:-9])
    found = backup_ledger.read(str(tmp_path))
    assert (found.broken, found.torn) == (2, True)


def test_many_writers_make_one_chain(tmp_path):
    """Lines of threads that write at the same time are all there, and the chain holds."""
    todo = [
        threading.Thread(target=lambda: [backup_ledger.append(str(tmp_path), "copied", "s", NOW) for _line in range(10)]) for _ in range(4)
    ]
    for thread in todo:
        thread.start()
    for thread in todo:
        thread.join()
    found = backup_ledger.read(str(tmp_path))
    assert (len(found.entries), found.broken) == (40, None)


def test_a_ledger_that_is_a_link_is_refused(tmp_path):
    """Nothing is appended to what it leads to."""
    (tmp_path / "root").mkdir()
    other = tmp_path / "other"
    other.write_text("")
    (tmp_path / "root" / backup_ledger.LEDGER).symlink_to(other)
    with pytest.raises(BackupError) as caught:
        backup_ledger.append(str(tmp_path / "root"), "made", "a", NOW)
    assert caught.value.code == "denied"
    assert other.read_text() == ""


def test_a_line_that_does_not_fit_leaves_the_ledger_as_it_was(tmp_path):
    """A full disk: told, and the chain goes on when there is space again."""
    import resource
    import signal

    path = _written(str(tmp_path), [("made", "a", {})])
    before = path.read_bytes()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, resource.RLIM_INFINITY))
        try:
            backup_ledger.append(str(tmp_path), "made", "b", NOW)
        except BackupError as error:
            os._exit(7 if error.code == "failed" else 1)
        os._exit(1)
    assert exit_status(child) == 7
    assert path.read_bytes() == before
    backup_ledger.append(str(tmp_path), "made", "c", NOW)
    assert backup_ledger.read(str(tmp_path)).broken is None


@pytest.mark.parametrize("gone", ["removed", "garbled", "a folder"])
def test_without_a_head_nobody_knows_whether_the_last_line_was_cut(tmp_path, gone):
    """That is said, and goes on being said: a later line makes no new head by itself."""
    root = str(tmp_path)
    path = _written(root, [("made", "a", {}), ("made", "b", {})])
    head = tmp_path / backup_ledger.HEAD
    head.unlink()
    if gone == "garbled":
        head.write_text("not a number")
    elif gone == "a folder":
        head.mkdir()
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert backup_ledger.read(root)[1:] == (None, False, True)
    backup_ledger.append(root, "made", "c", NOW)
    assert backup_ledger.read(root)[1:] == (None, False, True)
    if gone == "a folder":
        head.rmdir()
    head.write_text("")  # somebody has looked
    assert backup_ledger.read(root).unheld
    backup_ledger.append(root, "made", "d", NOW)
    assert [entry["set"] for entry in backup_ledger.read(root).entries] == ["a", "c", "d"]
    assert backup_ledger.read(root)[1:] == (None, False, False)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert backup_ledger.read(root).broken == 3


def test_a_first_line_whose_head_was_not_written_is_held_from_the_next_one_on(tmp_path):
    """A run that was killed in between."""
    root = str(tmp_path)
    _written(root, [("made", "a", {})])
    (tmp_path / backup_ledger.HEAD).write_text("")  # as it is made before the line
    assert backup_ledger.read(root)[1:] == (None, False, True)
    backup_ledger.append(root, "made", "b", NOW)
    assert backup_ledger.read(root)[1:] == (None, False, False)
