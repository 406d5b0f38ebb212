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

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request, Stored
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.engine import FilesEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.listing import Listing, listing_command
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError


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


def capable(name: str) -> tuple[tarfile.TarInfo, bytes]:
    """A program with rights of the superuser."""
    told, data = entry(name, mode=0o755, data=b"x")
    told.pax_headers = {"SCHILY.xattr.security.capability": "\x01\0\0\x02\0\x20" + "\0" * 14}
    return told, data


#: What is wrong, the entries, the code of the problem. All are below BASE, as a manifest says.
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
    "capabilities": ("setuid", lambda base: [capable(base + "/c")]),
    "link that leads out over another one": (
        "link",
        lambda base: [
            folder(base + "/d"),
            entry(base + "/d/up", tarfile.SYMTYPE, ".."),
            entry(base + "/l", tarfile.SYMTYPE, "d/up/../etc"),
        ],
    ),
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
    listing = Listing([os.fsencode(base)])
    listing.feed(subprocess.run(list(listing_command(str(path)).argv), check=True, capture_output=True).stdout)
    listing.finish()
    assert code in [problem.code for problem in [*listing.problems, *listing.unknown({})]]


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


STYLES = ("v7", "oldgnu", "gnu", "ustar", "posix", "tarfile")
MAKERS = {f"{style} {packed}": (style, packed) for style in STYLES for packed in ("zstd", "gzip", "none")}


@pytest.mark.parametrize("maker", MAKERS)
def test_archives_that_others_made_are_restored(maker: str, tmp_path: Path) -> None:
    style, packed = MAKERS[maker]
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "file").write_bytes(os.urandom(50_000))
    (data / "sub" / "other").write_text("x")
    (data / "link").symlink_to("sub/other")
    (tmp_path / "bench").mkdir()
    path = tmp_path / "bench" / "artifact"
    if style == "tarfile":
        with tarfile.open(path, "w") as archive:
            archive.add(data, str(data)[1:])
    else:
        subprocess.run(["tar", f"--format={style}", "-C", "/", "-cf", path, str(data)[1:]], check=True)
    if packed != "none":
        subprocess.run(f"{packed} -q -c {path} > {path}.packed && mv {path}.packed {path}", shell=True, check=True)
    before = {name: (data / name).read_bytes() for name in ("file", "sub/other", "link")}
    counts = {"files": 2, "folders": 2, "links": 1, "others": 0, "bytes": 50_001}
    artifact = Artifact("files", "artifact", 1, "0" * 64, "x", 0.0, 0.0, counts=counts, compression=packed, source={"paths": [str(data)]})
    bench = Bench(tmp_path / "bench", FilesEngine())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((EngineError, StreamError)):
        bench.engine.read_through(artifact, Stored(str(path)), bench.work())
    if packed == "gzip":
        path.write_bytes(whole + b"something else")
        with pytest.raises((EngineError, StreamError), match="trailing garbage"):
            bench.engine.read_through(artifact, Stored(str(path)), bench.work())
    path.write_bytes(whole)
    bench.engine.read_through(artifact, Stored(str(path)), bench.work())
    subprocess.run(["rm", "-r", data], check=True)
    with bench.engine.restorer({}, artifact, Stored(str(path)), Request("r"), bench.work()) as restorer:
        restorer.check()
        restorer.stage()
        restorer.swap()
        restorer.finish()
        assert restorer.count() == counts
    assert {name: (data / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("packed", ["zstd", "gzip", "none"])
def test_what_comes_after_the_end_is_refused(packed: str, tmp_path: Path) -> None:
    """One archive in several frames is one; a second archive behind it would be seen by some tools and not by others."""
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench", FilesEngine())
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_bytes(bytes(range(256)) * 400)
    artifact, stored = bench.make("none", paths=[str(data)])
    artifact = artifact._replace(compression=packed)
    whole = Path(stored.path).read_bytes()
    second = tmp_path / "second.tar"
    write(second, [file(str(data)[1:] + "/behind", b"x" * 1000)])
    packer = ["cat"] if packed == "none" else [packed, "-q", "-c"]
    for pieces, refused in (
        ([whole[:50_000], whole[50_000:]], False),
        ([whole, bytes(1 << 20)], False),
        ([whole, second.read_bytes()], True),
        ([whole, bytes(16 << 20)], True),
        ([whole[:-100_000]], True),
    ):
        with open(stored.path, "wb") as out:
            out.writelines(subprocess.run(packer, input=piece, check=True, capture_output=True).stdout for piece in pieces)
        with pytest.raises((EngineError, StreamError)) if refused else open(os.devnull):
            bench.engine.read_through(artifact, stored, bench.work())


def test_holes_need_no_space(tmp_path: Path) -> None:
    """What was on a disk can be restored to it."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=False, capture_output=True).returncode:
        (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)("file systems cannot be mounted here")
    try:
        (place / "data").mkdir()
        with open(place / "data" / "image", "wb") as out:
            out.truncate(1 << 30)
            out.seek(1 << 29)
            out.write(os.urandom(500_000))
        (tmp_path / "bench").mkdir()
        bench = Bench(tmp_path / "bench", FilesEngine())
        artifact, stored = bench.make(paths=[str(place / "data")])
        assert artifact.counts["bytes"] == 1 << 30
        for part in ((), (str(place / "data" / "image"),)):
            with bench.engine.restorer({}, artifact, stored, Request("r", part), bench.work()) as restorer:
                ((_path, size),) = restorer.needs()
                assert 500_000 < size < 600_000
                restorer.stage()
                restorer.swap()
                restorer.finish()
                restorer.discard()
    finally:
        subprocess.run(["umount", "-l", place], check=True)
