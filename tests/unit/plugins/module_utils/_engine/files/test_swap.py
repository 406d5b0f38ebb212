# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names are swapped and swapped back, however often it breaks off on the way."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files import swap as engine_swap
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.swap import Swap, keep_parents, make_parents, remove_parents

NAMES = ("main", "main-wal", "main-shm", "other")


class Broken(BaseException):
    """The end of the process, as far as the code can see."""


def breaking(monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
    """Let the renaming number ``at`` not come about."""
    real = os.rename
    left = [at]

    def rename(*args: object, **keys: object) -> None:
        if left[0] == 0:
            raise Broken
        if left[0] is not None:
            left[0] -= 1
        real(*args, **keys)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", rename)


def contents(folder: Path) -> dict[str, str]:
    """Files by name, without ours."""
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".opsrunner")}


def prepared(folder: Path, old: dict[str, str], new: dict[str, str]) -> Swap:
    """A folder with old files, and new ones staged."""
    for name, text in old.items():
        (folder / name).write_text(text)
    swap = Swap(str(folder), "i")
    swap.prepare()
    for name, text in new.items():
        (Path(swap.stage) / name).write_text(text)
    return swap


FILES = st.sets(st.sampled_from(NAMES)).map(sorted)


@given(
    had=FILES,
    new=FILES.filter(bool),
    together=st.booleans(),
    plan=st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=6),
)
def test_any_order_of_broken_swaps(
    tmp_path_factory: pytest.TempPathFactory, had: list[str], new: list[str], together: bool, plan: list[tuple]
) -> None:
    """After whatever happened, the way back leads to the old files and the way on to the new ones."""
    folder = tmp_path_factory.mktemp("swap")
    old, staged = dict.fromkeys(had, "old"), dict.fromkeys(new, "new")
    swap = prepared(folder, old, staged)
    units = [list(NAMES[:3]), [NAMES[3]]] if together else [[name] for name in NAMES]

    def forward() -> None:
        Swap(str(folder), "i").forward(units)

    def back() -> None:
        Swap(str(folder), "i").back()

    for ahead, at in plan:
        with pytest.MonkeyPatch.context() as patch:
            breaking(patch, at)
            with contextlib.suppress(Broken):
                (forward if ahead else back)()
    back()
    assert contents(folder) == old
    assert swap.set_aside() == []
    forward()
    # What is not in the new ones is aside all the same: a log without its database is no use.
    assert contents(folder) == staged
    back()
    swap.unstage()
    assert contents(folder) == old
    assert sorted(os.listdir(str(folder))) == sorted(old)


def test_nothing_staged_is_refused(tmp_path: Path) -> None:
    swap = prepared(tmp_path, {"main": "old"}, {})
    with pytest.raises(EngineError, match="nothing is staged"):
        swap.forward([["main"]])
    assert contents(tmp_path) == {"main": "old"}


def test_what_was_made_meanwhile_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swap = prepared(tmp_path, {"main": "old"}, {"main": "new"})
    with monkeypatch.context() as patch:
        breaking(patch, 2)  # the journal, the old one; not the new one
        with pytest.raises(Broken):
            swap.forward([["main"]])
    (tmp_path / "main").write_text("by somebody else")
    with pytest.raises(EngineError, match="made anew"):
        swap.forward([["main"]])
    swap.back()
    assert contents(tmp_path) == {"main": "old"}
    assert sorted(os.listdir(swap.stage)) == ["main", "main.1"]


def test_inside_a_folder(tmp_path: Path) -> None:
    """As for a mount point: all that is in it, and its own mode; not what file systems have for themselves."""
    tmp_path.chmod(0o750)
    (tmp_path / "lost+found").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    swap = Swap(str(tmp_path), "i", "data")
    swap.prepare()
    staged = Path(swap.stage) / "data"
    staged.mkdir()
    staged.chmod(0o711)
    for name in ("b", "c"):
        (staged / name).write_text("new")
    swap.forward()
    (tmp_path / "lost+found").rmdir()
    assert contents(tmp_path) == {"b": "new", "c": "new"}
    assert tmp_path.stat().st_mode & 0o777 == 0o711
    assert swap.set_aside() == [os.path.join(swap.kept, "data")]
    swap.back()
    assert contents(tmp_path) == {"a": "old", "b": "old"}
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_prepare_does_not_wipe_what_a_swap_needs(tmp_path: Path) -> None:
    swap = prepared(tmp_path, {"main": "old"}, {"main": "new"})
    swap.forward([["main"]])
    with pytest.raises(EngineError, match="has set data aside already"):
        swap.prepare()
    swap.discard()
    swap.prepare()
    assert contents(tmp_path) == {"main": "new"}


def test_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    swap = Swap(str(tmp_path / "link"), "i")
    steps: list[Callable[[], object]] = [swap.prepare, lambda: swap.forward([["a"]]), swap.back, swap.unstage, swap.discard]
    for step in steps:
        with pytest.raises(EngineError, match="by a link"):
            step()
    assert os.listdir(str(tmp_path / "real")) == []


def test_parents(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b" / "c")
    make_parents(path, "i")
    make_parents(path, "i")
    assert (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777 == 0o755
    remove_parents(path, "other")
    assert os.path.isdir(path)
    (tmp_path / "a" / "b" / "kept").touch()
    remove_parents(path, "i")
    assert sorted(os.listdir(str(tmp_path / "a" / "b"))) == ["kept"]
    (tmp_path / "a" / "b" / "kept").unlink()
    make_parents(path, "i")
    remove_parents(path, "i")
    assert os.listdir(str(tmp_path)) == []
    make_parents(path, "i")
    keep_parents(path, "i")
    remove_parents(path, "i")
    assert os.listdir(str(tmp_path / "a")) == ["b"]


def test_parents_that_were_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a" / "b")
    with monkeypatch.context() as patch:
        breaking(patch, 0)
        with pytest.raises(Broken):
            make_parents(path, "i")
    assert len(os.listdir(str(tmp_path))) == 1
    remove_parents(path, "i")
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize(("name", "wanted"), [("data", "r-data"), ("../x", "r-.._x"), ("a b\n", "r-a_b_"), ("x" * 300, "r-" + "x" * 100)])
def test_own_ident(name: str, wanted: str) -> None:
    from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact

    assert engine_swap.own_ident("r", Artifact("files", "f", 1, "0" * 64, "tar", 0.0, 0.0, name=name)) == wanted


@given(plan=st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=6))
def test_what_is_not_of_the_backup_stays_where_it_is(tmp_path_factory: pytest.TempPathFactory, plan: list[tuple]) -> None:
    folder = tmp_path_factory.mktemp("kept")
    for name in ("one", "two", "data.db", "data.db-wal", ".opsrunner-new-i-database"):
        (folder / name).write_text("old")
    swap = Swap(str(folder), "i", folder.name, ["data.db*"])
    swap.prepare()
    staged = Path(swap.stage) / folder.name
    staged.mkdir()
    for name in ("one", "three"):
        (staged / name).write_text("new")
    before, after = {"one": "old", "two": "old"}, {"one": "new", "three": "new"}
    kept = {"data.db": "old", "data.db-wal": "old"}
    for forward, at in [*plan, (True, -1), (False, -1)]:
        with pytest.MonkeyPatch.context() as patch:
            breaking(patch, None if at < 0 else at)
            with contextlib.suppress(Broken):
                (swap.forward if forward else swap.back)()
        assert {name: (folder / name).read_text() for name in kept} == kept
        assert (folder / ".opsrunner-new-i-database").read_text() == "old"
        if at < 0:
            assert contents(folder) == {**kept, **(after if forward else before)}
            if forward:
                assert {os.path.basename(path) for path in swap.not_ours()} >= set(kept)
