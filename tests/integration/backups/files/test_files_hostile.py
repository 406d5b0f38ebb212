# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that would do harm are refused before a byte is written."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from engine_tools import Bench

from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_engine import EngineError, Request, Stored
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_manifest import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_files import ArchiveLimits, FilesEngine, check_archive


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644, data: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    """An entry of an archive."""
    told = tarfile.TarInfo(name)
    told.type, told.linkname, told.mode, told.size = kind, link, mode, len(data)
    return told, data


def file(name: str, data: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    """A plain file."""
    return entry(name, data=data)


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    """A folder."""
    return entry(name, tarfile.DIRTYPE, mode=0o755)


def pax(name: str, real: str) -> tuple[tarfile.TarInfo, bytes]:
    """A file whose true name is in an extended header."""
    told, data = file(name)
    told.pax_headers = {"path": real}
    return told, data


#: What is wrong, the entries, the code of check_archive. All are below BASE, as a manifest says.
HOSTILE = {
    "absolute path": ("path", lambda base: [file("/" + base + "/x")]),
    "absolute path elsewhere": ("path", lambda base: [file("/etc/cron.d/x")]),
    "dots in front": ("path", lambda base: [file("../" + base + "/x")]),
    "dots within": ("path", lambda base: [file(base + "/a/../../x")]),
    "dots at the end": ("path", lambda base: [folder(base + "/a/..")]),
    "dots in an extended header": ("path", lambda base: [pax(base + "/x", base + "/../../x")]),
    "absolute link": ("link", lambda base: [entry(base + "/l", tarfile.SYMTYPE, "/etc/shadow")]),
    "link that leads out": ("link", lambda base: [entry(base + "/l", tarfile.SYMTYPE, "../" * 30 + "etc")]),
    "file through a link": ("link", lambda base: [entry(base + "/l", tarfile.SYMTYPE, "/etc"), file(base + "/l/x")]),
    "file through a link within": (
        "link",
        lambda base: [folder(base + "/d"), entry(base + "/l", tarfile.SYMTYPE, "d"), file(base + "/l/x")],
    ),
    "file before the link it goes through": ("link", lambda base: [file(base + "/l/x"), entry(base + "/l", tarfile.SYMTYPE, "d")]),
    "hard link out": ("link", lambda base: [entry(base + "/h", tarfile.LNKTYPE, "/etc/shadow")]),
    "hard link by dots": ("link", lambda base: [entry(base + "/h", tarfile.LNKTYPE, base + "/../../../../etc/shadow")]),
    "hard link to what is not there": ("link", lambda base: [entry(base + "/h", tarfile.LNKTYPE, base + "/none")]),
    "hard link to what comes later": ("link", lambda base: [entry(base + "/h", tarfile.LNKTYPE, base + "/f"), file(base + "/f")]),
    "hard link to a link, then a file": (
        "link",
        lambda base: [entry(base + "/l", tarfile.SYMTYPE, "/etc/x"), entry(base + "/h", tarfile.LNKTYPE, base + "/l"), file(base + "/h")],
    ),
    "device": ("device", lambda base: [entry(base + "/d", tarfile.CHRTYPE)]),
    "block device": ("device", lambda base: [entry(base + "/d", tarfile.BLKTYPE)]),
    "fifo": ("device", lambda base: [entry(base + "/p", tarfile.FIFOTYPE)]),
    "setuid": ("setuid", lambda base: [entry(base + "/s", mode=0o4755, data=b"x")]),
    "setgid": ("setuid", lambda base: [entry(base + "/s", mode=0o2755, data=b"x")]),
    "setuid without a right to run": ("setuid", lambda base: [entry(base + "/s", mode=0o4644, data=b"x")]),
    "the same name twice": ("duplicate", lambda base: [file(base + "/x"), file(base + "/x", b"other")]),
    "one name in two spellings": ("duplicate", lambda base: [file(base + "/x"), file(base + "//./x", b"other")]),
    "link in place of a folder": ("duplicate", lambda base: [folder(base + "/d"), entry(base + "/d", tarfile.SYMTYPE, "/etc")]),
    "file in place of a file's name by pax": ("duplicate", lambda base: [file(base + "/x"), pax(base + "/y", base + "/x")]),
}


def write(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> None:
    """Write an archive."""
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:
        for told, data in entries:
            archive.addfile(told, io.BytesIO(data))


def everything(folder: Path) -> list[tuple[str, int, int]]:
    """All that is in a folder, with sizes and times."""
    found = []
    for here, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            told = os.lstat(os.path.join(here, name))
            found.append((os.path.join(here, name), told.st_size, told.st_mtime_ns))
    return sorted(found)


@pytest.mark.parametrize("what", HOSTILE)
def test_refused_before_a_byte_is_written(what: str, tmp_path: Path) -> None:
    code, entries = HOSTILE[what]
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    (target / "sub" / "present").write_text("present")
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench", FilesEngine())
    base = str(target)[1:]
    path = tmp_path / "bench" / "bad.tar"
    write(path, [folder(base), file(base + "/good"), *entries(base)])
    counts = {"files": 100, "folders": 100, "links": 100, "others": 100, "bytes": 10_000}
    artifact = Artifact(
        "files", "bad.tar", 1, "0" * 64, "tar", 0.0, 0.0, counts=counts, compression="none", source={"paths": [str(target)]}
    )
    work = bench.work()
    with pytest.raises(EngineError) as caught:
        bench.engine.read_through(artifact, Stored(str(path)), work)
    assert caught.value.code == "unsafe"
    before = everything(tmp_path)
    for step in ("check", "stage"):
        with bench.engine.restorer({}, artifact, Stored(str(path)), Request("r"), work) as restorer, pytest.raises(EngineError) as caught:
            getattr(restorer, step)()
        assert caught.value.code == "unsafe"
    with pytest.raises(EngineError):
        bench.engine.drill(None, artifact, Stored(str(path)), work)
    assert everything(tmp_path) == before
    checked = check_archive(str(path))
    assert code in [problem.code for problem in checked.problems]


def test_what_is_known_at_making_is_allowed(tmp_path: Path) -> None:
    """And only that: another target, another mode is not."""
    (tmp_path / "bench").mkdir()
    data = tmp_path / "data"
    data.mkdir()
    (data / "program").write_text("x")
    (data / "program").chmod(0o4755)
    (data / "link").symlink_to("/etc/hosts")
    bench = Bench(tmp_path / "bench", FilesEngine())
    artifact, stored = bench.make(paths=[str(data)])
    bench.engine.read_through(artifact, stored, bench.work())
    known = dict(artifact.source["special"])
    assert known == {f"{str(data)[1:]}/program": "rwsr-xr-x", f"{str(data)[1:]}/link": "link to /etc/hosts"}
    for name in known:
        for other in ({**known, name: "rwsr-sr-x"}, {key: value for key, value in known.items() if key != name}):
            wrong = artifact._replace(source={**artifact.source, "special": other})
            with pytest.raises(EngineError) as caught:
                bench.engine.read_through(wrong, stored, bench.work())
            assert caught.value.code == "unsafe"


def test_very_many_special_files_are_known_by_their_sum(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    data = tmp_path / "data"
    data.mkdir()
    for number in range(5001):
        (data / f"l{number}").symlink_to(f"/etc/{number}")
    bench = Bench(tmp_path / "bench", FilesEngine())
    artifact, stored = bench.make(paths=[str(data)])
    assert len(artifact.source["special"]) == 1
    bench.engine.read_through(artifact, stored, bench.work())
    wrong = artifact._replace(source={**artifact.source, "special": {"": "5001 entries, sha256 0"}})
    with pytest.raises(EngineError, match="other links"):
        bench.engine.read_through(wrong, stored, bench.work())


@pytest.mark.parametrize("kind", ["entries", "bytes", "one large"])
def test_bomb(kind: str, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench", FilesEngine())
    path = tmp_path / "bomb.tar.gz"
    if kind == "one large":
        told = tarfile.TarInfo("data/bomb")
        told.size = 3 << 30
        with gzip.open(path, "wb", compresslevel=1) as out:
            out.write(told.tobuf())
            for _block in range(64):
                out.write(bytes(1 << 20))
    else:
        write(path, [file(f"data/{number}", b"x" * (10 if kind == "bytes" else 0)) for number in range(2000)], "w:gz")
    counts = {"files": 1999 if kind == "entries" else 2000, "folders": 0, "links": 0, "others": 0, "bytes": 100}
    artifact = Artifact("files", path.name, 1, "0" * 64, "tar", 0.0, 0.0, counts=counts, compression="gzip", source={"paths": ["/data"]})
    with pytest.raises(EngineError, match="it holds more than the") as caught:
        bench.engine.read_through(artifact, Stored(str(path)), bench.work())
    assert caught.value.code == "unsafe"
    limits = ArchiveLimits(counts["files"], counts["bytes"])
    assert [problem.code for problem in check_archive(str(path), limits).problems] == ["bomb"]
    if kind == "one large":
        assert [problem.code for problem in check_archive(str(path)).problems] == ["bomb"]  # by its ratio


@pytest.mark.parametrize("tool", ["tar", "tar.gz", "tar.zst", "tar.bz2", "tar.xz", "v7.tar", "gnu.tar.gz"])
def test_archives_of_other_tools(tool: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "file").write_bytes(os.urandom(50_000))
    (data / "sub" / "other").write_text("x")
    (data / "link").symlink_to("sub/other")
    flags = {"gz": "-z", "zst": "--zstd", "bz2": "-j", "xz": "-J"}.get(tool.rpartition(".")[2], "")
    style = {"v7": "--format=v7", "gnu": "--format=gnu"}.get(tool.partition(".")[0], "")
    path = tmp_path / tool
    subprocess.run(f"tar {style} {flags} -cf {path} -C {tmp_path} data", shell=True, check=True)
    checked = check_archive(str(path))
    assert (checked.kind, list(checked.problems)) == ("tar", [])
    assert checked.totals == {"files": 2, "folders": 2, "links": 1, "others": 0, "bytes": 50_001}
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert [problem.code for problem in check_archive(str(path)).problems] == ["damaged"]


@pytest.mark.parametrize("program", ["gzip", "zstd", "bzip2", "xz"])
def test_single_compressed_files(program: str, tmp_path: Path) -> None:
    path = tmp_path / "dump.sql"
    path.write_bytes(b"INSERT INTO t VALUES (1);\n" * 20_000)
    packed = tmp_path / "packed"
    with packed.open("wb") as out:
        subprocess.run([program, "-c", path], stdout=out, check=True)
    checked = check_archive(str(packed))
    assert (checked.kind, list(checked.problems), checked.totals) == ("stream", [], {"bytes": path.stat().st_size})
    assert [problem.code for problem in check_archive(str(packed), ArchiveLimits(bytes=1000)).problems] == ["bomb"]
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-20])
    assert [problem.code for problem in check_archive(str(packed)).problems] == ["damaged"]


@pytest.mark.parametrize("content", [b"", b"text", bytes(10_240), b"\x1f\x8bno gzip at all"])
def test_what_is_no_archive(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert [problem.code for problem in check_archive(str(path)).problems] == ["damaged"]
