# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders are dumped, read, drilled and restored as they were."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import file_trees as trees
import pytest
from engine_tools import Bench

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.engine import ConfigEngine, FilesEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A place for artifacts."""
    (tmp_path / "bench").mkdir()
    return Bench(tmp_path / "bench", FilesEngine())


def restore(
    bench: Bench, made: tuple, *, ident: str = "r1", part: tuple[str, ...] = (), target: str | None = None, exclude: tuple[str, ...] = ()
) -> None:
    """All steps of a restore."""
    artifact, stored = made
    with bench.engine.restorer(
        {"exclude": exclude, "special": ["*"]}, artifact, stored, Request(ident, part, target), bench.work()
    ) as restorer:
        restorer.check()
        staged = restorer.stage()
        restorer.swap()
        restorer.finish()
        assert restorer.count() == staged
        if not part:
            assert staged == artifact.counts


def test_everything_comes_back_as_it_was(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "srv" / "app"
    trees.plant(data)
    before, space = trees.seen(data), trees.taken(data)
    time.sleep(0.1)  # files that may have changed since the dump began are no samples
    made = artifact, stored = bench.make(paths=[str(data)], compression="zstd", special=[str(data / "*")])
    assert artifact.size < 2_000_000  # holes are not stored
    bench.engine.read_through(artifact, stored, bench.work())
    drilled = bench.engine.drill(None, artifact, stored, bench.work())
    assert drilled.counts == artifact.counts
    assert artifact.samples
    assert drilled.samples == artifact.samples
    shutil.rmtree(data)
    restore(bench, made)
    assert trees.seen(data) == before
    assert trees.taken(data) <= space + 65536  # neither are they filled
    assert sorted(os.listdir(data.parent)) == [f".opsrunner-aside-r1-{artifact.name}", "app"]
    assert bench.warned == []


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_compressions(bench: Bench, tmp_path: Path, compression: str) -> None:
    data = tmp_path / "data"
    trees.plant(data, sparse=1 << 20)
    before = trees.seen(data)
    made = bench.make(compression, paths=[str(data)])
    shutil.rmtree(data)
    restore(bench, made)
    assert trees.seen(data) == before


def test_present_data_goes_aside_and_comes_back(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "srv" / "data"
    trees.plant(data, sparse=1 << 20)
    old = trees.seen(data)
    artifact, stored = bench.make(paths=[str(data)])
    (data / "plain").write_text("newer")
    (data / "added").write_text("added")
    newer = trees.seen(data)
    with bench.engine.restorer({"special": ["*"]}, artifact, stored, Request("a1"), bench.work()) as restorer:
        restorer.stage()
        assert trees.seen(data) == newer
        restorer.swap()
        restorer.swap()
        assert trees.seen(data) == old
        assert restorer.aside() == [str(tmp_path / "srv" / f".opsrunner-aside-a1-{artifact.name}" / "data")]
        assert trees.seen(Path(restorer.aside()[0])) == newer
        restorer.unswap()
        restorer.unswap()
        assert trees.seen(data) == newer
        restorer.unstage()
        assert os.listdir(data.parent) == ["data"]
        restorer.stage()
        restorer.swap()
        restorer.finish()
        restorer.discard()
        restorer.discard()
        assert trees.seen(data) == old
        assert os.listdir(data.parent) == ["data"]


def test_single_files_and_folders_of_several_parents(bench: Bench, tmp_path: Path) -> None:
    one, two, three = tmp_path / "a" / "one.conf", tmp_path / "a" / "two", tmp_path / "b" / "three.conf"
    for path in (one, two / "inner", three):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    os.link(one, tmp_path / "b" / "linked")
    made = bench.make(paths=[str(one), str(two), str(three), str(tmp_path / "b" / "linked")])
    before = trees.seen(tmp_path / "a"), trees.seen(tmp_path / "b")
    for path in (one, two / "inner", three):
        path.write_text("changed")
    restore(bench, made)
    for path in (one, two / "inner", three):
        assert path.read_text() == path.name
    assert os.stat(tmp_path / "b" / "linked").st_ino == os.stat(one).st_ino
    assert before[0].keys() <= trees.seen(tmp_path / "a").keys()


def test_part_alone_is_changed(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "data"
    trees.plant(data, sparse=1 << 20)
    old = trees.seen(data / "sub")
    made = bench.make(paths=[str(data)])
    (data / "sub" / "dir" / "file").write_text("changed")
    (data / "plain").write_text("changed too")
    restore(bench, made, part=(str(data / "sub"),))
    found = trees.seen(data / "sub")
    assert {name: told[:-1] for name, told in found.items()} == {name: told[:-1] for name, told in old.items()}
    assert (data / "plain").read_text() == "changed too"
    assert (data / "sub" / "hard").read_bytes() == b"plain\n" * 1000  # its other names are not in the part


def test_part_that_is_a_hard_link_to_another(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a", "b", "c"):
        if name == "a":
            (data / name).write_text("content")
        else:
            os.link(data / "a", data / name)
    made = bench.make(paths=[str(data)])
    for name in ("a", "b", "c"):
        (data / name).unlink()
        (data / name).write_text("changed")
        restore(bench, made, ident="part" + name, part=(str(data / name),))
        assert (data / name).read_text() == "content"
    assert sorted(name for name in os.listdir(data) if not name.startswith(".")) == ["a", "b", "c"]


def test_other_folder_as_target(bench: Bench, tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "made" / "on" / "the" / "way"
    trees.plant(data, sparse=1 << 20)
    made = bench.make(paths=[str(data)])
    before = trees.seen(data)
    restore(bench, made, target=str(target))
    assert trees.seen(target / str(data)[1:]) == before == trees.seen(data)


def test_parents_that_were_made_are_gone_after_an_undo(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "x" / "y" / "data"
    data.mkdir(parents=True)
    (data / "file").write_text("x")
    artifact, stored = bench.make(paths=[str(data)])
    shutil.rmtree(tmp_path / "x")
    with bench.engine.restorer({"special": ["*"]}, artifact, stored, Request("a1"), bench.work()) as restorer:
        restorer.stage()
        restorer.swap()
        assert (data / "file").read_text() == "x"
        restorer.unswap()
        restorer.unstage()
    assert not (tmp_path / "x").exists()


def test_empty_folder_and_empty_file(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    artifact, stored = made = bench.make(paths=[str(tmp_path / "empty"), str(tmp_path / "file")])
    assert artifact.counts == {"files": 1, "folders": 1, "links": 0, "others": 0, "bytes": 0}
    bench.engine.read_through(artifact, stored, bench.work())
    shutil.rmtree(tmp_path / "empty")
    restore(bench, made)
    assert os.listdir(tmp_path / "empty") == []


def test_excludes(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("keep", "a.log", "deep/b.log", "deep/cache/x", "cache/y", "deep/keep", "[x]"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    cases = {
        ("*.log",): {"keep", "deep", "deep/cache", "deep/cache/x", "cache", "cache/y", "deep/keep", "[x]"},
        ("cache",): {"keep", "a.log", "deep", "deep/b.log", "deep/keep", "[x]"},
        (f"{data}/cache",): {"keep", "a.log", "deep", "deep/b.log", "deep/cache", "deep/cache/x", "deep/keep", "[x]"},
        (f"{data}/*.log", f"{data}/*/cache/"): {"keep", "deep", "deep/b.log", "cache", "cache/y", "deep/keep", "[x]"},
    }
    for exclude, wanted in cases.items():
        artifact, stored = bench.make(paths=[str(data)], exclude=list(exclude))
        listed = subprocess.run(f"zstd -dc {stored.path} | tar -t", shell=True, check=True, capture_output=True, text=True).stdout
        assert {line.rstrip("/") for line in listed.splitlines()} == {str(data)[1:], *(f"{str(data)[1:]}/{name}" for name in wanted)}
        bench.engine.read_through(artifact, stored, bench.work())
    with pytest.raises(EngineError, match="nothing is left"):
        bench.make(paths=[str(data)], exclude=["data"])


def test_star_of_an_exclude_is_within_one_name(bench: Bench, tmp_path: Path) -> None:
    """Else log*.gz would leave out logs/data/important.gz."""
    data = tmp_path / "data"
    (data / "logs" / "data").mkdir(parents=True)
    for name in ("logs/data/important.gz", "log1.gz", "logs/log2.gz"):
        (data / name).write_text("x")
    for exclude in (["log*.gz"], [f"{data}/nothing", "log*.gz"]):
        artifact, _stored = bench.make(paths=[str(data)], exclude=exclude)
        assert (artifact.counts["files"], artifact.counts["folders"]) == (1, 3)


def test_path_that_would_not_be_in_the_archive_fails_the_backup(bench: Bench, tmp_path: Path) -> None:
    """A set that lacks a path it names could be proved and not be restored."""
    for name in ("data", "cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with pytest.raises(EngineError, match="cache is not in the archive: exclude leaves it out"):
        bench.make(paths=[str(tmp_path / "data"), str(tmp_path / "cache")], exclude=["cache"])
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s.sock"))
        with pytest.raises(EngineError, match=r"s\.sock is not in the archive"):
            bench.make(paths=[str(tmp_path / "data"), str(tmp_path / "s.sock")])
        # What a pattern finds may be left out.
        made = bench.make(paths=[f"{tmp_path}/*a*", f"{tmp_path}/*.sock"], exclude=["cache"])
    assert made[0].source["paths"] == [str(tmp_path / "data")]
    bench.engine.drill(None, *made, bench.work())


def test_path_in_another_one_on_the_same_file_system(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "inner").mkdir(parents=True)
    (data / "inner" / "file").touch()
    made = bench.make(paths=[str(data), str(data / "inner")], one_file_system=True)
    bench.engine.read_through(*made, bench.work())
    assert made[0].counts["files"] == 1


def test_paths_too_long_to_be_unpacked_fail_the_backup(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for depth, fails in ((700, False), (2100, True)):
        data.mkdir()
        nest(data, depth)
        if fails:
            with pytest.raises(EngineError, match="too long to be unpacked"):
                bench.make(paths=[str(data)])
        else:
            made = bench.make(paths=[str(data)])
            bench.engine.drill(None, *made, bench.work())
            restore(bench, made)
            with bench.engine.restorer({"special": ["*"]}, *made, Request("r1"), bench.work()) as restorer:
                restorer.discard()
            assert not [name for name in os.listdir(tmp_path) if name.startswith(".opsrunner")]
        subprocess.run(["rm", "-rf", data], check=True)


def nest(folder: Path, depth: int) -> None:
    """Folders in one another."""
    handle = os.open(folder, os.O_RDONLY)
    for _level in range(depth):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)


def test_what_is_left_out_stays_or_is_told(bench: Bench, tmp_path: Path) -> None:
    """Right in the folder it stays, deeper it goes aside, and who restores is told before."""
    data = tmp_path / "data"
    for name in ("cache/x", "file", "sub/file", "sub/cache/y"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    os.makedirs(os.path.join(os.fsencode(data), b"sub", b"odd\xff", b"cache"))
    exclude = (f"{tmp_path}/*/cache", f"{tmp_path}/*/sub/cache", f"{tmp_path}/*/sub/odd*/cache")
    made = bench.make(paths=[str(data)], exclude=list(exclude))
    restore(bench, made, exclude=exclude)
    assert sorted(name for name in os.listdir(data) if not name.startswith(".")) == ["cache", "file", "sub"]
    assert (data / "cache" / "x").read_text() == "cache/x"
    assert bench.warned == [
        f"{data}/sub/cache, {data}/sub/odd\\xff/cache: no backup has it, and it goes aside with the folder that holds it"
    ]
    assert not (data / "sub" / "cache").exists()


def test_what_a_restore_set_aside_is_in_no_backup(bench: Bench, tmp_path: Path) -> None:
    """In a folder that is restored inside it would be in the next set, which could then not be put in place."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("file", "kept"):
        (data / name).write_text("old")
    exclude = ("kept",)
    restore(bench, bench.make(paths=[str(data)], exclude=list(exclude)), exclude=exclude, ident="one")
    assert [name for name in os.listdir(data) if name.startswith(".opsrunner-aside-")]
    made = bench.make(paths=[str(data)], exclude=list(exclude))
    assert made[0].counts == {"files": 1, "folders": 1, "links": 0, "others": 0, "bytes": 3}
    restore(bench, made, exclude=exclude, ident="two")


def test_hooks_and_snapshot(bench: Bench, tmp_path: Path) -> None:
    data, snapshot, log = tmp_path / "data", tmp_path / "snapshot", tmp_path / "log"
    data.mkdir()
    (data / "file").write_text("steady")
    copy = f"mkdir -p {snapshot}{data.parent} && cp -a {data} {snapshot}{data.parent}/ && echo newer > {data}/file && echo before >> {log}"
    keys = {
        "paths": [str(data)],
        "before": ["sh", "-c", copy],
        "after": f"sh -c 'rm -r {snapshot}; echo after >> {log}'",
        "snapshot_root": str(snapshot),
    }
    artifact, stored = bench.make(**keys)
    assert log.read_text() == "before\nafter\n"
    restore(bench, (artifact, stored))
    assert (data / "file").read_text() == "steady"
    with pytest.raises(EngineError, match="before: sh ended with status 3"):
        bench.make(paths=[str(data)], before="sh -c 'exit 3'", after=f"sh -c 'echo after2 >> {log}'")
    assert log.read_text().endswith("after2\n")
    with pytest.raises(EngineError, match="after: sh ended with status 4"):
        bench.make(paths=[str(data)], before="true", after="sh -c 'exit 4'")


@pytest.mark.parametrize("steady", [False, True])
def test_file_that_changes_while_it_is_read(bench: Bench, tmp_path: Path, steady: bool) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "big").write_bytes(os.urandom(1 << 20) * 24)
    work = bench.work()
    spec = bench.spec(paths=[str(data)], **({"before": "true"} if steady else {}))
    with bench.engine.dump(spec, work) as dump:
        # It shrinks once tar has begun to read it.
        feed = backup_stream.produced(dump.source)
        with pytest.raises(StreamError) if steady else open(os.devnull), feed as file:
            file.read(4 << 20)
            os.truncate(data / "big", 1000)
            while file.read(1 << 20):
                pass
        if not steady:
            told = dump.finish()
            assert "shrank" in told.source["changed_while_read"]
            assert told.counts["bytes"] == 24 << 20
            assert "shrank" in bench.warned[0]


def test_sets_do_not_hold_sets(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    root = tmp_path / "back.partial" / "ups"
    scratch = root / "20260101T000000Z.partial" / ".scratch" / "files.partial"
    scratch.mkdir(parents=True)
    (root / "20250101T000000Z").mkdir()
    work = bench.work()._replace(scratch=str(scratch))
    with bench.engine.dump(bench.spec(paths=[str(tmp_path)], exclude=["bench"]), work) as dump:
        backup_stream.write(dump.source, str(root / "out"))
        assert dump.finish().counts == {"files": 1, "folders": 2, "links": 0, "others": 0, "bytes": 1}
    assert bench.warned == [f"{root} is left out: it holds the backups"]


@pytest.mark.parametrize(
    ("paths", "code", "text"),
    [
        (["{0}/none"], "unreachable", "none is not there"),
        (["{0}/*.none"], "unreachable", "none of"),
        (["{0}/link"], "failed", "is a link to a folder; name {0}/folder"),
        (["{0}/link/file"], "failed", "is reached by a link; name {0}/folder/file"),
    ],
)
def test_paths_that_are_refused(bench: Bench, tmp_path: Path, paths: list[str], code: str, text: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(EngineError, match=text.format(tmp_path)) as caught:
        bench.make(paths=[path.format(tmp_path) for path in paths])
    assert caught.value.code == code


def test_config_takes_patterns_that_match_nothing(bench: Bench, tmp_path: Path) -> None:
    for name in ("a.conf", "b.conf"):
        (tmp_path / name).write_text(name)
    (tmp_path / "b.link").symlink_to("b.conf")
    bench.engine = ConfigEngine()
    artifact, stored = bench.make(paths=[f"{tmp_path}/*.conf", f"{tmp_path}/*.link", f"{tmp_path}/*.nothing"])
    assert artifact.counts["files"] == 2
    assert artifact.counts["links"] == 1
    bench.engine.read_through(artifact, stored, bench.work())
    (tmp_path / "a.conf").unlink()
    restore(bench, (artifact, stored))
    assert (tmp_path / "a.conf").read_text() == "a.conf"


def test_integrity(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "data"
    trees.plant(data, sparse=1 << 20)
    artifact, _stored = bench.make(paths=[str(data)])
    found = bench.engine.integrity(bench.spec(paths=[str(data)]), bench.work())
    assert (found.ok, dict(found.counts)) == (True, dict(artifact.counts))
    shutil.rmtree(data)
    found = bench.engine.integrity(bench.spec(paths=[str(data)]), bench.work())
    assert (found.ok, found.problems) == (False, [f"{data} is not there"])


def test_damaged_archives_are_found(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "data"
    trees.plant(data, sparse=1 << 20)
    artifact, stored = bench.make("none", paths=[str(data)])
    whole = Path(stored.path).read_bytes()
    for kept in range(0, len(whole.rstrip(b"\0")), 3 * 512):  # cut at members and within them
        Path(stored.path).write_bytes(whole[:kept])
        with pytest.raises((EngineError, StreamError)):
            bench.engine.read_through(artifact, stored, bench.work())
    Path(stored.path).write_bytes(whole)
    bench.engine.read_through(artifact, stored, bench.work())
    wrong = artifact._replace(counts={**artifact.counts, "files": artifact.counts["files"] + 1})
    with pytest.raises(EngineError, match="files"):
        bench.engine.read_through(wrong, stored, bench.work())
