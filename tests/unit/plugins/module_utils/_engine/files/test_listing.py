# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tar lists is understood: names, kinds, sizes, what is unsafe. tests/integration/backups/files has whole archives."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.listing import (
    ArchiveLimits,
    Crossing,
    Listing,
    listing_command,
    told,
    unquoted,
)

#: Names as file systems allow them: any bytes but a slash and NUL, not a dot or two.
PARTS = st.binary(min_size=1, max_size=30).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_")).filter(lambda raw: raw.strip(b"."))
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])


def read(lines: str, **options: object) -> Listing:
    """A listing of some lines."""
    listing = Listing(**options)  # type: ignore[arg-type]
    for at in range(0, len(lines), 7):  # blocks end anywhere
        listing.feed(lines[at : at + 7].encode("utf-8"))
    listing.finish()
    return listing


def line(name: str, kind: str = "-", size: int = 1, mode: str = "rw-r--r--", to: str = "") -> str:
    """A line as tar writes it."""
    target = {"l": ' -> "%s"', "h": ' link to "%s"'}.get(kind, "%.0s") % to
    return '%s%s 0/0 %12d 2026-01-31 04:05 "%s"%s\n' % (kind, mode, size, name, target)


@given(
    st.lists(
        st.tuples(st.lists(PARTS, min_size=1, max_size=4), KINDS, st.integers(0, 5000)), max_size=12, unique_by=lambda one: tuple(one[0])
    )
)
def test_archives_of_any_names_are_read_as_tarfile_wrote_them(entries: list[tuple[list[bytes], bytes, int]]) -> None:
    wanted = {"files": 0, "folders": 0, "links": 0, "others": 0, "bytes": 0}
    names: dict[bytes, str] = {}
    with tempfile.NamedTemporaryFile() as made:
        with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
            for parts, kind, size in entries:
                name = b"/".join(parts)
                entry = tarfile.TarInfo(os.fsdecode(name))
                entry.type = kind
                entry.size = size if kind == tarfile.REGTYPE else 0
                entry.linkname = os.fsdecode(parts[0]) if kind == tarfile.SYMTYPE else ""
                archive.addfile(entry, io.BytesIO(bytes(entry.size)))
                kinds = {tarfile.REGTYPE: "files", tarfile.DIRTYPE: "folders", tarfile.SYMTYPE: "links", tarfile.FIFOTYPE: "others"}
                wanted[kinds[kind]] += 1
                wanted["bytes"] += entry.size
                if kind == tarfile.FIFOTYPE:
                    names[name] = "fifo"
        made.flush()
        command = listing_command(made.name)
        lines = subprocess.run(
            list(command.argv), env={**os.environ, **command.env, "LC_ALL": "C.UTF-8"}, stdout=subprocess.PIPE, check=True
        ).stdout
    listing = Listing()
    listing.feed(lines)
    listing.finish()
    assert listing.total.counts() == wanted
    found = {name: what for name, what in listing.special.items() if what == "fifo"}
    assert found == {told(name): what for name, what in names.items()}
    assert not [problem for problem in listing.problems if problem.code not in ("link", "duplicate")]


def test_a_listing_is_told_from_messages() -> None:
    """Names are quoted, so that none looks like a line of its own."""
    messages = ["tar: file: file changed as we read it\n", "nice: no\n", 'tar: "x\\n-rw-r--r-- 0/0 1": File removed\n', "- odd\n", "\n"]
    text = line("a") + messages[0] + line("d/", "d") + "".join(messages[1:4]) + line("l", "l", to="a") + messages[4] + "tar: end"
    for size in (1, 7, 1000):
        listing = Listing()
        said = [listing.heard(text[at : at + size].encode()) for at in range(0, len(text), size)]
        said.append(listing.heard(b""))
        listing.finish()
        assert b"".join(said).decode() == "".join(messages) + "tar: end"
        assert listing.total.counts() == {"files": 1, "folders": 1, "links": 1, "others": 0, "bytes": 1}


@pytest.mark.parametrize(
    ("quoted", "name"),
    [
        (b"plain", b"plain"),
        (b"a\\nb", b"a\nb"),
        (b'q\\"q', b'q"q'),
        (b"back\\\\slash", b"back\\slash"),
        (b"\\377\\001", b"\xff\x01"),
        (b"\\\\n", b"\\n"),
        (b"\\t\\r\\a\\b\\f\\v", b"\t\r\a\b\f\v"),
        (b"\\?", b"?"),
    ],
)
def test_unquoted(quoted: bytes, name: bytes) -> None:
    assert unquoted(quoted) == name


def test_counts() -> None:
    listing = read(
        line("d/", "d", 0)
        + line("d/a", size=10)
        + line("d/b", "h", 0, to="d/a")
        + line("d/l", "l", 0, to="a")
        + line("d/k", "h", 0, to="d/l")
        + line("d/p", "p", 0)
    )
    assert listing.total.counts() == {"files": 2, "folders": 1, "links": 2, "others": 1, "bytes": 10}
    assert listing.problems == []


@pytest.mark.parametrize(
    ("lines", "roots", "codes"),
    [
        (line("/a"), (), ["path"]),
        (line("../a"), (), ["path"]),
        (line("a/.."), (), ["path"]),
        (line("a/../b"), (), ["path"]),
        (line("a..b") + line("...") + line("..a/b"), (), []),
        (line("./") + line("./a") + line("./b/"), (), []),
        (line("a") + line("./a"), (), ["duplicate"]),
        (line("a/", "d") + line("a/", "d"), (), []),
        (line("a/", "d") + line("a"), (), ["duplicate"]),
        (line("other/a"), (b"data",), ["path"]),
        (line("data") + line("database"), (b"data",), ["path"]),
        (line("l", "l", to="x") + line("l/a"), (), ["link"]),
        (line("l/a/b") + line("l", "l", to="x"), (), ["link"]),
        (line("h", "h", to="a"), (), ["link"]),
        (line("a") + line("h", "h", to="../a"), (), ["link"] * 2),
        (line("V", "V"), (), ["kind"]),
    ],
)
def test_problems(lines: str, roots: tuple[bytes, ...], codes: list[str]) -> None:
    assert [problem.code for problem in read(lines, roots=roots).problems] == codes


@pytest.mark.parametrize(
    ("name", "to", "roots", "out"),
    [
        ("a/l", "b", (), False),
        ("a/l", "../b", (), False),
        ("a/l", "../../b", (), True),
        ("l", "..", (), True),
        ("l", "/etc", (), True),
        ("a/l", "x/../b", (), True),
        ("srv/a/l", "./.././b", (b"srv",), False),
        ("srv/a/l", "/srv/b/../c", (b"srv",), True),
        ("srv/l", "/srv/x", (b"srv",), False),
        ("srv/l", "/srv", (b"srv",), False),
        ("srv/l", "/srvx", (b"srv",), True),
        ("srv/l", "../etc", (b"srv",), True),
        ("srv/l", "../etc", (b"srv", b"etc"), False),
        ("srv/l", "../../srv/x", (b"srv",), True),
    ],
)
def test_links_that_lead_out(name: str, to: str, roots: tuple[bytes, ...], out: bool) -> None:
    listing = read(line(name, "l", 0, to=to), roots=roots)
    assert listing.special == ({name: "link to " + to} if out else {})
    assert [problem.code for problem in listing.unknown({})] == ["link"] * out
    assert listing.unknown(listing.special) == []


@pytest.mark.parametrize(
    ("mode", "kind", "code"),
    [
        ("rwsr-xr-x", "-", "setuid"),
        ("rwxr-sr-x", "-", "setuid"),
        ("rwSr--r--", "-", "setuid"),
        ("rw-r-Sr--", "-", "setuid"),
        ("rwxrwxrwt", "-", None),
        ("rwxr-sr-x", "d", None),
        ("rwxr-xr-x*", "-", "setuid"),
        ("rwsr-xr-x*", "-", "setuid"),
        ("rw-r--r--*", "-", None),
        ("rw-r--r--", "p", "device"),
        ("rw-r--r--", "c", "device"),
        ("rw-r--r--", "b", "device"),
    ],
)
def test_special(mode: str, kind: str, code: str) -> None:
    assert [problem.code for problem in read(line("x", kind, mode=mode)).unknown({})] == ([code] if code else [])


@pytest.mark.parametrize("limits", [ArchiveLimits(entries=2), ArchiveLimits(bytes=29)])
def test_limits(limits: ArchiveLimits) -> None:
    read(line("a", size=10) + line("b", size=10), limits=limits)
    with pytest.raises(EngineError, match="it holds more than the"):
        read(line("a", size=10) + line("b", size=10) + line("c", size=10), limits=limits)


@pytest.mark.parametrize("text", ["nothing quoted\n", "- \n", '-rw "a"\n', 'lrwxrwxrwx 0/0 0 2026-01-31 04:05 "a"\n'])
def test_lines_that_are_none(text: str) -> None:
    with pytest.raises(EngineError, match="cannot be understood"):
        read(text)


def test_items_are_counted_one_by_one() -> None:
    lines = line("d/", "d", 0) + line("d/a/", "d", 0) + line("d/a/x", size=5) + line("d/b", "h", 0, to="d/a/x") + line("d/c/y", size=7)
    listing = read(lines, items=[b"d/a", b"d/b", b"d/none"])
    assert listing.items[b"d/a"].counts() == {"files": 1, "folders": 1, "links": 0, "others": 0, "bytes": 5}
    assert listing.items[b"d/b"].counts() == {"files": 1, "folders": 0, "links": 0, "others": 0, "bytes": 0}
    assert listing.items[b"d/b"].crossing == [Crossing(b"d/b", b"d/a/x")]
    assert listing.found == {b"d/a", b"d/b"}


def test_samples_are_the_same_each_time() -> None:
    lines = [line("f%d" % number) for number in range(500)]
    one = read("".join(lines), sample=8).samples()
    assert len(set(one)) == 8
    assert read("".join(reversed(lines)), sample=8).samples() == one


def test_stored_bytes_are_those_of_the_archive() -> None:
    """Not the sizes of files with holes, in all and of each member."""
    lines = ["block 3: " + line("d/", "d", 0), "block 6: " + line("d/a", size=1 << 40), "block 16: " + line("b", size=5), "block 18: "]
    end = "** Block of NULs **\n"
    listing = read("".join(lines) + end + "block 19: " + end + "block 20: ** End of File **\n", items=[b"d"])
    assert (listing.total.stored, listing.items[b"d"].stored) == (20 * 512, 13 * 512)
    with pytest.raises(EngineError, match="its end is missing"):
        read("".join(lines) + "** End of File **\n")


def test_capabilities_are_asked_for_where_the_listing_does_not_tell_them() -> None:
    lines = line("a", mode="rwxr-xr-x*") + line("b", mode="rwxr-xr-x+") + line("c", mode="rwxr-xr-x ") + line("d", mode="rw-r--r--*")
    asked: list[bytes] = []
    listing = read(lines, capable=lambda name: not asked.append(name) and name == b"b")
    assert asked == [b"a", b"b"]
    assert listing.special == {"b": "capabilities"}


def test_nothing_comes_after_the_end() -> None:
    end = "block 3: ** Block of NULs **\n"
    with pytest.raises(EngineError, match="goes on after its end"):
        read("block 0: " + line("a") + end + "block 4: " + line("b"))
    with pytest.raises(EngineError, match="goes on after its end"):
        read("block 0: " + line("a") + end * 10_000)
