# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of other tools: what is read as what, and what is wrong with it."""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import hashlib
import io
import lzma
import os
import shutil
import sqlite3
import struct
import subprocess
import tarfile
import zipfile

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify import foreign as backup_verify_file
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import crc64

#: Without a time in it: names of tests must be the same in every process.
GZIP = functools.partial(gzip.compress, mtime=0)


def tar(files=("a", "b")):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in files:
            member = tarfile.TarInfo(name)
            member.size = 700
            archive.addfile(member, io.BytesIO(b"x" * 700))
    return made.getvalue()


def database(path, tables=1):
    with contextlib.closing(sqlite3.connect(str(path))) as made:
        for table in range(tables):
            made.execute("CREATE TABLE t%d (id INTEGER PRIMARY KEY, data BLOB)" % table)
            made.executemany("INSERT INTO t%d (data) VALUES (?)" % table, [(b"x" * 100,)] * 200)
        made.execute("PRAGMA user_version = 1")
        made.commit()
    return path.read_bytes()


def rdb(body=b"\xfe\x00", summed=True):
    data = b"REDIS0011" + body + b"\xff"
    return data + (struct.pack("<Q", crc64.JONES.update(0, data)) if summed else bytes(8))


def valkey():
    data = b"VALKEY080\xfe\x00\xff"
    return data + struct.pack("<Q", crc64.JONES.update(0, data))


def document(**fields):
    body = b""
    for name, value in fields.items():
        if isinstance(value, bool):
            body += b"\x08" + name.encode() + b"\0" + bytes([value])
        else:
            body += b"\x02" + name.encode() + b"\0" + struct.pack("<i", len(value) + 1) + value.encode() + b"\0"
    return struct.pack("<i", len(body) + 5) + body + b"\0"


END = b"\xff\xff\xff\xff"


def archive(close=True):
    parts = [b"\x6d\xe2\x99\x81", document(version="0.1"), document(db="shop", collection="item"), END]
    parts += [document(db="shop", collection="item", EOF=False), document(name="bolt"), document(name="nut"), END]
    if close:
        parts += [document(db="shop", collection="item", EOF=True), END]
    return b"".join(parts)


MYSQL = b"-- MySQL dump 10.13\nCREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\n-- Dump completed on 2026-01-31\n"
POSTGRESQL = b"--\n-- PostgreSQL database dump\n--\nCREATE TABLE a ();\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n\n"
CLUSTER = (
    b"--\n-- PostgreSQL database cluster dump\n--\nCREATE ROLE a;\n--\n-- PostgreSQL database dump\n--\n"
    b"CREATE TABLE a ();\n--\n-- PostgreSQL database dump complete\n--\n--\n-- PostgreSQL database cluster dump complete\n--\n"
)
SQLITE = b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE a (id);\nCOMMIT;\n"


def read(tmp_path, name, data, asked=3):
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    path = tmp_path / name
    path.write_bytes(data)
    found = backup_verify_file.read_file(str(path), asked, str(scratch))
    assert list(scratch.iterdir()) == []
    return found


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.tar", tar(), "tar"),
        ("a.tar.gz", GZIP(tar()), "tar"),
        ("A.TGZ", GZIP(tar()), "tar"),
        ("a.tar.xz", lzma.compress(tar()), "tar"),
        ("a.tbz2", bz2.compress(tar()), "tar"),
        ("a.sql", MYSQL, "sql"),
        ("a.sql.gz", GZIP(POSTGRESQL), "sql"),
        ("a.sql.bz2", bz2.compress(CLUSTER), "sql"),
        ("a.sql", SQLITE, "sql"),
        ("a.sql", b"CREATE TABLE a (id int);\n", "sql"),
        ("dump.rdb", rdb(), "rdb"),
        ("dump.rdb", rdb(summed=False), "rdb"),
        ("dump.rdb.gz", GZIP(rdb(b"\xfe\x00" + b"x" * 3_000_000)), "rdb"),
        ("a.archive", archive(), "archive"),
        ("a.archive.gz", GZIP(archive()), "archive"),
        ("note.txt", b"anything", "plain"),
        ("a.bin.gz", GZIP(b"anything"), "plain"),
        ("a.sql.gz-20260131", GZIP(POSTGRESQL), "sql"),
        ("nightly.bak", lzma.compress(tar()), "tar"),
        ("nightly", tar(), "tar"),
        ("dump.rdb", valkey(), "rdb"),
        ("aliases.db", b"\0" * 12 + b"\x62\x31\x05\x00" + b"x" * 500, "plain"),
    ],
)
def test_what_is_sound_is_read_to_its_end(tmp_path, name, data, what):
    found = read(tmp_path, name, data)
    assert (found.rung, found.stumble, found.what) == (3, None, what)
    assert found.summed == (not name.endswith((".tar", ".sql", ".rdb", ".archive", ".txt", "nightly", ".db")))


@pytest.mark.parametrize(
    ("name", "data", "rung", "said"),
    [
        pytest.param("a.tar", b"", 1, "is empty", id="empty"),
        pytest.param("a.tar.gz", b"PK\x03\x04", 2, "is not what its name says", id="another format"),
        pytest.param("a.tar.gz", GZIP(tar())[:-4], 2, "unexpected end of file", id="gzip cut"),
        pytest.param("a.tar.xz", lzma.compress(tar())[:-4], 2, "xz", id="xz cut"),
        pytest.param("a.tar.bz2", bz2.compress(tar())[:-4], 2, "bzip2", id="bzip2 cut"),
        pytest.param("a.tar", tar(())[:1024], 3, "without a file", id="tar of nothing"),
        pytest.param("a.tar.gz", GZIP(b""), 3, "tar archive", id="nothing in it"),
        pytest.param("a.tar", tar()[:1536], 3, "its end is missing", id="tar cut between files"),
        pytest.param("a.tar", tar()[:1000], 3, "tar", id="tar cut in a file"),
        pytest.param("a.tar", tar().replace(b"ustar", b"xxxxx", 1), 3, "tar", id="tar header broken"),
        pytest.param("a.sql", MYSQL[:60], 3, "half a dump", id="half of mysqldump"),
        pytest.param("a.sql.gz", GZIP(POSTGRESQL[:55]), 3, "half a dump", id="half of pg_dump"),
        pytest.param("a.sql", CLUSTER[:170], 3, "half a dump", id="half of pg_dumpall, after a database"),
        pytest.param("a.sql", SQLITE.replace(b"COMMIT;", b"ROLLBACK; -- due to errors"), 3, "half a dump", id="sqlite3 met errors"),
        pytest.param("a.sql", b"-- MySQL dump 10.13\n-- Dump completed on x\n", 3, "dump of nothing", id="dump of nothing"),
        pytest.param("a.sql", b"CREATE TABLE a (id int);\nINSERT INTO a VAL", 3, "half a dump", id="half a statement"),
        pytest.param("a.sql", b"\0" * 5000, 3, "dump of nothing", id="zeros"),
        pytest.param("dump.rdb", rdb()[:-3], 3, "its end is missing", id="RDB cut"),
        pytest.param("dump.rdb", rdb().replace(b"\xfe\x00", b"\xfe\x01"), 3, "another sum", id="RDB flipped"),
        pytest.param("dump.rdb", b"x" * 50, 3, "no RDB file", id="no RDB"),
        pytest.param("a.archive", archive(False), 3, "the end of shop.item is missing", id="archive without its end"),
        pytest.param("a.archive", archive()[:-6], 3, "ends in the middle", id="archive cut"),
        pytest.param("a.archive", b"x" * 50, 3, "no archive of mongodump", id="no archive"),
        pytest.param("a.archive", archive()[:4] + b"\x01\0\0\0", 3, "a document of 1 bytes", id="archive with nonsense"),
        pytest.param("a.db", b"x" * 5000, 3, "no SQLite database", id="no database"),
        pytest.param("a.img.gz", GZIP(b"\0" * 5000), 3, "nothing but zeros", id="zeros, compressed"),
        pytest.param("a.sql.gz-20260131", GZIP(MYSQL)[:-4], 2, "unexpected end of file", id="gzip cut, rotated name"),
        pytest.param("a.sql.gz-20260131", GZIP(MYSQL[:60]), 3, "half a dump", id="half a dump, rotated name"),
        pytest.param("a.dump", MYSQL[:60], 3, "half a dump", id="half a dump, another ending"),
        pytest.param("nightly", tar()[:1536], 3, "its end is missing", id="tar cut, no ending"),
    ],
)
def test_what_is_damaged_is_told_with_its_rung(tmp_path, name, data, rung, said):
    found = read(tmp_path, name, data)
    assert found.stumble is not None
    assert (found.stumble.rung, found.stumble.hindered) == (rung, False)
    assert found.rung < rung
    assert said in found.stumble.reason


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + b"x" * 100),
        ("a.sql.gpg", b"\x85\x02\x0c" + b"x" * 100),
        ("a.tar.age", b"age-encryption.org/v1\n" + b"x" * 100),
        ("a.backup", b"Salted__" + b"x" * 100),
        ("a.tar.gz.aa", GZIP(tar())[:50]),
        ("a.tar.gz.ab", b"x" * 50),
        ("a.zip.001", b"PK\x03\x04" + b"x" * 50),
    ],
)
def test_what_cannot_be_looked_into_is_not_called_whole(tmp_path, name, data):
    found = read(tmp_path, name, data)
    assert (found.rung, found.stumble.rung, found.stumble.hindered) == (1, 3, True)
    (tmp_path / (name + ".sha256")).write_text(hashlib.sha256(data).hexdigest())
    found = read(tmp_path, name, data)
    assert (found.rung, found.stumble.rung, found.stumble.hindered) == (2, 3, True)
    among = backup_verify_file.read_file(str(tmp_path / name), 3, str(tmp_path), alone=False)
    assert (among.rung, among.stumble) == (3, None)  # keys and pictures in a folder are what they are


def test_a_zip_archive_that_is_encrypted_is_not_called_damaged(tmp_path):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a", b"content")
    data = bytearray(made.getvalue())
    for at in (6, data.index(b"PK\x01\x02") + 8):
        data[at] |= 1  # the flag of encryption
    found = read(tmp_path, "a.zip", bytes(data))
    assert (found.rung, found.stumble.hindered) == (2, True)


def test_databases_of_sqlite(tmp_path):
    data = database(tmp_path / "made")
    assert read(tmp_path, "a.db", data).what == "sqlite"
    assert read(tmp_path, "a.sqlite3.gz", GZIP(data)).rung == 3
    assert "damaged" in read(tmp_path, "a.db", data[:-4096]).stumble.reason
    assert "damaged" in read(tmp_path, "a.db", data[:4096] + b"\x55" * 4096 + data[8192:]).stumble.reason
    nothing = database(tmp_path / "nothing", 0)
    assert "without a table" in read(tmp_path, "b.db", nothing).stumble.reason


def test_zip_archives(tmp_path):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"content " * 500)
    data = made.getvalue()
    assert read(tmp_path, "a.zip", data).rung == 3
    assert read(tmp_path, "a.zip", data[:-30]).stumble.rung == 3
    broken = bytearray(data)
    broken[40] ^= 0xFF
    assert read(tmp_path, "a.zip", bytes(broken)).stumble is not None


def test_a_sum_beside_the_file_is_compared(tmp_path):
    digest = hashlib.sha256(MYSQL).hexdigest()
    (tmp_path / "a.sql.sha256").write_text(digest + "  /backup/a.sql\n")
    found = read(tmp_path, "a.sql", MYSQL, asked=2)
    assert (found.rung, found.summed) == (2, True)
    found = read(tmp_path, "a.sql", MYSQL.replace(b"(1)", b"(2)"), asked=2)
    assert (found.rung, found.stumble.rung) == (1, 2)
    (tmp_path / "SHA256SUMS").write_text("%s *b.sql\n%s *c.sql\n" % ("0" * 64, digest))
    assert read(tmp_path, "c.sql", MYSQL, asked=2).rung == 2
    assert read(tmp_path, "b.sql", MYSQL, asked=2).stumble.rung == 2


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("form", ["{sum}\r\n", "{sum}  {name}\n", "{kind} ({name}) = {sum}\n", "\\{sum} *renamed.sql\n"])
def test_sums_of_other_tools(tmp_path, algorithm, form):
    told = form.format(sum=hashlib.new(algorithm, MYSQL).hexdigest().upper(), kind=algorithm.upper(), name="a.sql")
    (tmp_path / ("a.sql." + algorithm)).write_bytes(told.encode())
    assert read(tmp_path, "a.sql", MYSQL, asked=2).rung == 2
    found = read(tmp_path, "a.sql", MYSQL.replace(b"(1)", b"(2)"))
    assert (found.stumble.rung, found.stumble.hindered) == (2, False)


@pytest.mark.parametrize("told", [b"", b"no sum\n", b"a" * 64 + b"  b.sql\n" + b"b" * 64 + b"  c.sql\n"])
def test_a_file_of_sums_without_the_files_sum_is_told(tmp_path, told):
    (tmp_path / "a.sql.sha256").write_bytes(told)
    found = read(tmp_path, "a.sql", MYSQL)
    assert (found.rung, found.stumble.rung, found.stumble.hindered) == (1, 2, True)
    assert "a.sql.sha256" in found.stumble.reason
    found = read(tmp_path, "a.sql", MYSQL[:60])
    assert (found.stumble.rung, found.stumble.hindered) == (3, False)  # what is damaged is told first


def test_a_pipe_that_is_called_a_file_of_sums_is_not_waited_for(tmp_path):
    os.mkfifo(str(tmp_path / "SHA256SUMS"))
    assert read(tmp_path, "a.sql", MYSQL).rung == 3


def test_a_reader_that_is_killed_or_has_no_space_says_nothing_about_the_file(tmp_path, monkeypatch):
    def killed(*_arguments):
        raise backup_verify_file.StreamError("gzip", -9, "")

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    for failing in (killed, full):
        monkeypatch.setattr(backup_verify_file._Stream, "blocks", failing)
        assert read(tmp_path, "a.sql.gz", GZIP(MYSQL)).stumble.hindered


def test_without_any_sum_rung_2_cannot_be_had_but_rung_3_can(tmp_path):
    found = read(tmp_path, "a.sql", MYSQL, asked=2)
    assert (found.rung, found.stumble.hindered) == (1, True)
    found = read(tmp_path, "a.sql", MYSQL)
    assert (found.rung, found.summed) == (3, False)


def test_a_program_that_is_missing_says_nothing_about_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    found = read(tmp_path, "a.tar.gz", GZIP(tar()))
    assert found.stumble.hindered
    assert "not installed" in found.stumble.reason


@pytest.mark.skipif(not shutil.which("zstd"), reason="zstd is not installed")
def test_zstd_keeps_a_sum_of_its_own(tmp_path):
    data = subprocess.run(["zstd", "-qc"], input=tar(), stdout=subprocess.PIPE, check=True).stdout
    assert read(tmp_path, "a.tar.zst", data).what == "tar"
    assert read(tmp_path, "a.tar.zst", data[:-1] + bytes([data[-1] ^ 1])).stumble.rung == 2


@pytest.mark.skipif(not shutil.which("zstd"), reason="zstd is not installed")
def test_zstd_with_a_large_window_and_with_skipped_frames(tmp_path):
    command = ["zstd", "-qc", "--ultra", "--long=28"]
    data = subprocess.run(command, input=tar(), stdout=subprocess.PIPE, check=True).stdout
    piped = subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=False)
    assert piped.returncode  # more memory than zstd takes by itself
    assert read(tmp_path, "a.tar.zst", data).rung == 3
    assert read(tmp_path, "a.tar.zst", b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip" + data).rung == 3


def test_an_archive_with_more_behind_its_end_is_read(tmp_path):
    padded = tar() + bytes(3_000_000)
    assert read(tmp_path, "a.tar.gz", GZIP(padded)).rung == 3
    assert read(tmp_path, "a.tar", padded).rung == 3


def test_a_file_that_is_not_there_any_more_cannot_be_read(tmp_path):
    found = backup_verify_file.read_file(str(tmp_path / "gone"), 3, str(tmp_path))
    assert (found.rung, found.stumble.rung) == (0, 1)
