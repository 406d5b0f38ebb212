# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore that is killed at any moment is taken back or finished by another process; so is one that finds the disk full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import file_trees as trees
import pytest
from engine_tools import Bench, killed

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request, Restorer
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.engine import FilesEngine


class Case:
    """Present data, a backup of older data, and how it is restored."""

    def __init__(self, folder: Path, data: list[Path], fresh: bool = False) -> None:
        (folder / "bench").mkdir()
        self.folder, self.data = folder, data
        self.bench = Bench(folder / "bench", FilesEngine())
        for number, path in enumerate(data):
            trees.plant(path / "tree", sparse=1 << 20)
            (path / f"old{number}").write_text("old")
        self.old = self.seen()
        self.artifact, self.stored = self.bench.make(paths=[str(path) for path in data])
        for number, path in enumerate(data):
            (path / f"old{number}").write_text("changed")
            (path / "added").mkdir()
            (path / "added" / "file").write_text("added")
            (path / "tree" / "plain").unlink()
        self.present = self.seen()
        assert self.old != self.present

    def seen(self) -> list[dict[bytes, tuple[object, ...]]]:
        """All of the data, without our own folders in it, and but for the time of a mount point, in which we have folders."""
        found = [{name: told for name, told in trees.seen(path).items() if not name.startswith(b".opsrunner")} for path in self.data]
        for told in found:
            if os.path.ismount(self.data[0]):
                told[b"."] = (*told[b"."][:3], *told[b"."][4:])
        return found

    def restorer(self) -> Iterator[Restorer]:
        """As each process makes it anew."""
        return self.bench.engine.restorer({"special": ["*"]}, self.artifact, self.stored, Request("k1"), self.bench.work())

    def left(self) -> list[str]:
        """Names of ours that are left."""
        return [name for path in [self.folder, *self.data] for name in os.listdir(path) if name.startswith(".opsrunner")]


@pytest.fixture(params=["folders", "mount point"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """Two folders beside one another; a folder that is a file system of its own."""
    if request.param == "folders":
        yield Case(tmp_path, [tmp_path / "one", tmp_path / "two"])
        return
    place = tmp_path / "mounted"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", place], check=False, capture_output=True).returncode:
        (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)("file systems cannot be mounted here")
    try:
        os.setxattr(place, "user.probe", b"x")
        os.removexattr(place, "user.probe")
        plain = True
    except OSError:
        plain = False
    if not plain:
        subprocess.run(["umount", place], check=True)
        image = tmp_path / "image"
        subprocess.run(["truncate", "-s", "64M", image], check=True)
        made = subprocess.run(f"mkfs.ext4 -q {image} && mount -o loop {image} {place}", shell=True, check=False, capture_output=True)
        if made.returncode:
            (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)("no file system with attributes can be mounted here")
    try:
        yield Case(tmp_path, [place])
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_swap_killed_at_each_step(case: Case) -> None:
    """Then taken back by another process, which is killed as well; then swapped and finished."""
    at = 0
    with case.restorer() as restorer:
        restorer.stage()
    assert case.seen() == case.present

    def swap() -> None:
        with case.restorer() as restorer:
            restorer.swap()

    def unswap() -> None:
        with case.restorer() as restorer:
            restorer.unswap()

    while killed(swap, at):
        if at % 2:
            again = at // 2
            while killed(unswap, again):  # each time a little further
                again += 1
        unswap()
        assert case.seen() == case.present, at
        at += 1
    assert at >= 10
    assert case.seen() == case.old
    back = 0
    while killed(unswap, back):
        swap()
        assert case.seen() == case.old, back
        back += 1
    assert at + back >= 20
    assert case.seen() == case.present
    with case.restorer() as restorer:
        restorer.unstage()
    assert case.left() == []


def test_swap_killed_and_resumed(case: Case) -> None:
    with case.restorer() as restorer:
        staged = restorer.stage()

    def swap() -> None:
        with case.restorer() as restorer:
            restorer.swap()

    at = 0
    while killed(swap, at):
        at += 1
    assert at >= 2
    assert case.seen() == case.old
    with case.restorer() as restorer:
        restorer.finish()
        assert restorer.count() == staged == case.artifact.counts
        assert len(restorer.aside()) == len(case.data)
        restorer.discard()
    assert case.left() == []


def test_stage_killed(case: Case) -> None:
    """What it has left is removed by the next, or by an undo."""

    def stage() -> None:
        with case.restorer() as restorer:
            restorer.stage()

    at = 0
    while killed(stage, at):
        assert case.seen() == case.present
        if at % 3 == 0:
            with case.restorer() as restorer:
                restorer.unswap()
                restorer.unstage()
            assert case.left() == []
        at += 1
    assert at >= 4


def test_stage_killed_goes_on_in_the_same_way(tmp_path: Path) -> None:
    """A folder beside a file whose staging had begun is still changed inside: what is left out of the backup stays in it."""
    data = tmp_path / "z"
    data.mkdir()
    for name in ("file", "kept"):
        (data / name).write_text(name)
    (tmp_path / "one.conf").write_text("x")
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench", FilesEngine())
    artifact, stored = bench.make(paths=[str(tmp_path / "one.conf"), str(data)], exclude=["kept"])

    def do(*steps: str) -> None:
        with bench.engine.restorer({"exclude": ["kept"]}, artifact, stored, Request("k"), bench.work()) as restorer:
            for step in steps:
                getattr(restorer, step)()

    at = 0
    while killed(lambda: do("stage"), at):
        do("stage", "swap")
        assert (data / "kept").read_text() == "kept", at
        do("unswap", "unstage")
        at += 1
    assert at >= 4
    do("unstage")
    assert sorted(os.listdir(tmp_path)) == ["bench", "one.conf", "z"]


def test_one_folder_that_does_not_come_back_does_not_keep_the_others(tmp_path: Path) -> None:
    case = Case(tmp_path, [tmp_path / "a" / "one", tmp_path / "b" / "two"])
    with case.restorer() as restorer:
        restorer.stage()
        restorer.swap()
    (tmp_path / "b").rename(tmp_path / "elsewhere")
    (tmp_path / "b").symlink_to("elsewhere")
    with case.restorer() as restorer, pytest.raises(EngineError, match="by a link"):
        restorer.unswap()
    assert trees.seen(tmp_path / "a" / "one") == case.present[0]
    (tmp_path / "b").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "b")
    with case.restorer() as restorer:
        restorer.unswap()
    assert case.seen() == case.present


def test_new_disk_with_its_own_lost_and_found(tmp_path: Path) -> None:
    """The disk that is put in for a broken one has a folder of its own, which the backup may have or not."""
    place = tmp_path / "mounted"
    for had in (False, True):
        (place / "lost+found" if had else place).mkdir(parents=True)
        (place / "file").write_text("x")
        folder = tmp_path / f"bench{had}"
        folder.mkdir()
        bench = Bench(folder, FilesEngine())
        artifact, stored = bench.make(paths=[str(place)])
        shutil.rmtree(place)
        place.mkdir()
        image = tmp_path / f"image{had}"
        subprocess.run(["truncate", "-s", "16M", image], check=True)
        made = subprocess.run(f"mkfs.ext4 -q {image} && mount -o loop {image} {place}", shell=True, check=False, capture_output=True)
        if made.returncode:
            (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)("no file system can be mounted here")
        try:
            with bench.engine.restorer({"special": ["*"]}, artifact, stored, Request("r"), bench.work()) as restorer:
                restorer.check()
                restorer.stage()
                restorer.swap()
                restorer.finish()
                assert restorer.count() == artifact.counts
            assert sorted(name for name in os.listdir(place) if not name.startswith(".")) == ["file", "lost+found"]
        finally:
            subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()


def test_discard_killed_cannot_be_taken_back_by_half(case: Case) -> None:
    with case.restorer() as restorer:
        restorer.stage()
        restorer.swap()

    def discard() -> None:
        with case.restorer() as restorer:
            restorer.discard()

    assert killed(discard, 6)
    with case.restorer() as restorer, pytest.raises(EngineError, match="is being removed already"):
        restorer.unswap()
    assert case.seen() == case.old
    discard()
    assert case.seen() == case.old


def test_disk_full_at_stage(tmp_path: Path) -> None:
    """Whether it is known before or comes in the middle: the present data is as it was, and nothing is left."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=False, capture_output=True).returncode:
        (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)("file systems cannot be mounted here")
    try:
        data = place / "data"
        data.mkdir()
        (data / "file").write_bytes(os.urandom(3 << 20))
        (tmp_path / "bench").mkdir()
        bench = Bench(tmp_path / "bench", FilesEngine())
        artifact, stored = bench.make(paths=[str(data)])
        before = trees.seen(data)
        with bench.engine.restorer({"special": ["*"]}, artifact, stored, Request("r"), bench.work()) as restorer:
            (need,) = restorer.needs()
            assert need[0] == str(place)
            assert 0 <= need[1] - (3 << 20) <= 4 * 4096
            with pytest.raises(EngineError) as caught:
                restorer.stage()
        assert caught.value.code == "space"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.restore.check_space", lambda _needs: None
            )
            with (
                bench.engine.restorer({"special": ["*"]}, artifact, stored, Request("r"), bench.work()) as restorer,
                pytest.raises(EngineError) as caught,
            ):
                restorer.stage()
        assert caught.value.code == "space", str(caught.value)
        assert trees.seen(data) == before
        assert os.listdir(place) == ["data"]
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_mounts_below_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "inner").mkdir(parents=True)
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench", FilesEngine())
    artifact, stored = bench.make(paths=[str(data)])
    if subprocess.run(["mount", "-t", "tmpfs", "none", data / "inner"], check=False, capture_output=True).returncode:
        (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)("file systems cannot be mounted here")
    try:
        with (
            bench.engine.restorer({"special": ["*"]}, artifact, stored, Request("r"), bench.work()) as restorer,
            pytest.raises(EngineError, match="is mounted below"),
        ):
            restorer.check()
    finally:
        subprocess.run(["umount", "-l", data / "inner"], check=True)


def test_links_on_the_way_are_refused(tmp_path: Path) -> None:
    """A parent that became a link is not followed, neither by the check nor by the stage."""
    data, elsewhere = tmp_path / "parent" / "data", tmp_path / "elsewhere"
    data.mkdir(parents=True)
    elsewhere.mkdir()
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench", FilesEngine())
    artifact, stored = bench.make(paths=[str(data)])
    os.rename(tmp_path / "parent", tmp_path / "real")
    (tmp_path / "parent").symlink_to(elsewhere)
    for step in ("check", "stage"):
        with (
            bench.engine.restorer({"special": ["*"]}, artifact, stored, Request("r"), bench.work()) as restorer,
            pytest.raises(EngineError, match="by a link"),
        ):
            getattr(restorer, step)()
    assert os.listdir(elsewhere) == []
