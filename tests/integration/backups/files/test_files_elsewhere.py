# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are dumped from a place that shares no file system with this host, and has tar and a shell and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import file_trees as trees
import pytest
from engine_tools import Bench

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.engine import ConfigEngine, FilesEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.sqlite.engine import SqliteEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command, Limits, Place, Started

#: A memory file system that only the namespace of this process has; it is gone with the process.
KEEPER = """
mount -t tmpfs -o size=64m,mode=755 none "$1" && cp -a "$2"/. "$1"/ && echo ready && exec cat
"""


class Elsewhere(Place):
    """Commands run with another root, in a namespace of their own."""

    def __init__(self, keeper: int, root: Path) -> None:
        self.words = ["nsenter", "--mount", "--target", str(keeper), "chroot", str(root)]

    def wrap(self, what: Command, limits: Limits | None = None) -> Started:
        """Nothing of this host's environment goes along."""
        assert what.cwd is None
        return Started([*self.words, *what.argv], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **what.env}, None)


class Far(Bench):
    """Artifacts here of data there."""

    place: Place

    def work(self) -> Work:
        """Commands run there."""
        return super().work()._replace(place=self.place)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    """A tree in /data of the place, which this host does not see; what was planted is beside the artifacts, for comparison."""
    made = tmp_path / "made"
    trees.plant(made / "data", sparse=1 << 20)
    (made / "etc").mkdir()
    for name in ("a.conf", "b.conf", "c d.conf", "-e.conf"):
        (made / "etc" / name).write_text(name)
    (made / "link").symlink_to("data/sub")
    for program in ("tar", "sh"):
        plant_program(made, program)
    root = tmp_path / "root"
    root.mkdir()
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", KEEPER, "sh", str(root), str(made)]
    keeper = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert keeper.stdout is not None
        if keeper.stdout.readline() != b"ready\n":
            (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)("no namespace of its own can be made here")
        assert os.listdir(root) == []
        (tmp_path / "bench").mkdir()
        bench = Far(tmp_path / "bench", FilesEngine())
        bench.place = Elsewhere(keeper.pid, root)
        yield bench
    finally:
        keeper.kill()
        keeper.communicate()


def plant_program(root: Path, name: str) -> None:
    """Copy a program with its libraries."""
    path = shutil.which(name)
    assert path is not None
    listed = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
    libraries = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    for source, target in [(path, f"/bin/{name}"), *((library, library) for library in libraries)]:
        (root / target[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(source), root / target[1:])


def without_attributes(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """What a memory file system keeps; older ones know no attributes of users."""
    return {name: (*told[:6], *told[7:]) for name, told in trees.seen(folder).items()}


def test_a_tree_from_elsewhere_comes_here_as_it_is_there(far: Far, tmp_path: Path) -> None:
    work = far.work()
    with far.engine.dump(far.spec(paths=["/data", "/etc"], exclude=["b.conf"], special=["/data/*"]), work) as dump:
        backup_stream.write(dump.source, str(tmp_path / "out"), place=far.place)
        dump.finish()
    assert os.listdir(work.scratch) == []
    artifact, stored = far.make(paths=["/data", "/etc"], exclude=["b.conf"], special=["/data/*"])
    assert artifact.source["paths"] == ["/data", "/etc"]
    far.engine.read_through(artifact, stored, far.work())
    assert far.engine.drill(None, artifact, stored, far.work()).counts == artifact.counts
    here = far.work()._replace(place=HOST)
    with far.engine.restorer({"special": ["*"]}, artifact, stored, Request("r", target=str(tmp_path / "back")), here) as restorer:
        restorer.check()
        restorer.stage()
        restorer.swap()
        restorer.finish()
        assert restorer.count() == artifact.counts
    assert without_attributes(tmp_path / "back" / "data") == without_attributes(tmp_path / "made" / "data")
    assert sorted(os.listdir(tmp_path / "back" / "etc")) == ["-e.conf", "a.conf", "c d.conf"]
    assert far.warned == []


def test_patterns_and_paths_mean_what_is_there(far: Far) -> None:
    far.engine = ConfigEngine()
    for paths, found in (
        (["/etc/[ab].conf", "/etc/c d.conf", "/etc/*.none"], ["/etc/a.conf", "/etc/b.conf", "/etc/c d.conf"]),
        (["/etc/*.conf"], ["/etc/-e.conf", "/etc/a.conf", "/etc/b.conf", "/etc/c d.conf"]),
        (["/etc", "/etc/a.conf", "/data/*"], ["/etc"]),
    ):
        artifact, stored = far.make(paths=paths)
        assert [path for path in artifact.source["paths"] if path.startswith("/etc")] == found
        far.engine.read_through(artifact, stored, far.work())


@pytest.mark.parametrize(
    ("paths", "code", "text"),
    [
        (["/none"], "unreachable", "/none is not there"),
        (["/none*"], "unreachable", "none of /none"),
        (["/link"], "failed", "/link is a link to a folder; name /data/sub"),
        (["/link/dir"], "failed", "/link/dir is reached by a link; name /data/sub/dir"),
    ],
)
def test_paths_there_are_looked_at_before(far: Far, paths: list[str], code: str, text: str) -> None:
    for do in (lambda: far.make(paths=paths), lambda: far.engine.reach(far.spec(paths=paths), far.work())):
        with pytest.raises(EngineError) as caught:
            do()
        assert caught.value.code == code
        assert text in str(caught.value)


def test_nothing_of_this_host_is_taken_for_what_is_there(far: Far, tmp_path: Path) -> None:
    """Neither written to nor looked at."""
    artifact, stored = far.make(paths=["/etc"])
    work = far.work()
    with pytest.raises(EngineError, match="on this host alone"), far.engine.restorer({}, artifact, stored, Request("r"), work):
        pass
    with pytest.raises(EngineError, match="on this host alone"):
        far.engine.integrity(far.spec(paths=["/etc"]), work)
    with pytest.raises(EngineError, match="on its own host alone"), SqliteEngine().dump({"database": str(tmp_path / "x.db")}, work):
        pass
