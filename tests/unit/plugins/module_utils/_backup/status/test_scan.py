# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a backup's folder: dates, temporary names, links, files that are not what they say."""

from __future__ import annotations

import bz2
import calendar
import gzip
import io
import lzma
import os
import tarfile
import tempfile
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.status import scan as backup_scan


@pytest.fixture(params=["UTC", "Asia/Seoul"])
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def utc(*fields):
    return float(calendar.timegm((*fields, 0, 0, 0, 0, 0)[:6]))


def local(*fields):
    return time.mktime((*(*fields, 0, 0, 0)[:6], 0, 0, -1))


@pytest.mark.parametrize(
    ("name", "fields", "with_time"),
    [
        ("20260131", (2026, 1, 31), False),
        ("db-2026-01-31.sql.gz", (2026, 1, 31), False),
        ("2026_01_31", (2026, 1, 31), False),
        ("db_20260131_0215.tar.gz", (2026, 1, 31, 2, 15), True),
        ("20260131021500.zip", (2026, 1, 31, 2, 15), True),
        ("2026-01-31_02-15-09", (2026, 1, 31, 2, 15, 9), True),
        ("2026-01-31 02:15:09", (2026, 1, 31, 2, 15, 9), True),
        ("20250101/db-20260131.sql", (2026, 1, 31), False),
        ("20260131-20260231", (2026, 1, 31), False),
    ],
)
def test_dates_in_names_are_local_without_a_zone(zone, name, fields, with_time):
    assert backup_scan.name_date(name) == (local(*fields), with_time)


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("20260131T021500Z", utc(2026, 1, 31, 2, 15)),
        ("app-2026-01-31T02:15:00+09:00.tar", utc(2026, 1, 30, 17, 15)),
        ("app-20260131T021500-0130", utc(2026, 1, 31, 3, 45)),
        ("dump.1769825700.sql", 1769825700.0),
    ],
)
def test_dates_with_a_zone_are_the_same_everywhere(zone, name, at):
    assert backup_scan.name_date(name) == (at, True)


@pytest.mark.parametrize("name", ["backup.tar.gz", "20261301", "120260131", "v1.2.3", "2026", "202601312", ""])
def test_what_is_no_date_is_none(name):
    assert backup_scan.name_date(name) is None


@given(st.text(max_size=60))
def test_any_name_can_be_asked_for_its_date(name):
    told = backup_scan.name_date(name)
    assert told is None or told[0] > 0


DAY = 86400.0


@pytest.mark.parametrize(
    ("name", "mtime", "expected"),
    [
        pytest.param("backup.tar.gz", 1e9, (1e9, "mtime", None), id="no date in the name"),
        pytest.param("20260131T021500Z", utc(2026, 1, 31, 3), (utc(2026, 1, 31, 2, 15), "name", None), id="the name agrees"),
        pytest.param(
            "20260131T021500Z",
            utc(2026, 1, 20),
            (utc(2026, 1, 20), "mtime", ("name", utc(2026, 1, 31, 2, 15))),
            id="a name younger than the content is not believed",
        ),
        pytest.param(
            "20260131T021500Z",
            utc(2026, 3, 1),
            (utc(2026, 1, 31, 2, 15), "name", ("mtime", utc(2026, 3, 1))),
            id="copied later: the name is right and the other date is told",
        ),
    ],
)
def test_the_date_of_a_backup(zone, name, mtime, expected):
    assert backup_scan.date_of(name, mtime) == expected


def test_a_day_alone_takes_the_time_of_the_last_change(zone):
    day = local(2026, 1, 31)
    assert backup_scan.date_of("20260131", day + 8000) == (day + 8000, "name", None)


@pytest.mark.parametrize("name", ["a.partial", "20260131T021500Z.partial", "db.sql.gz.tmp", "db.part", ".db.tar.gz.aB3dE9", "x~", "x.TMP"])
def test_temporary_names(name):
    assert backup_scan.is_temporary(name)


@pytest.mark.parametrize("name", ["a.tar.gz", "20260131", "partial", "tmp.tar", ".hidden", "db.sql.gz"])
def test_names_that_are_not_temporary(name):
    assert not backup_scan.is_temporary(name)


def names(found):
    return [candidate.name for candidate in found]


def test_a_listing_is_newest_first_with_links_and_temporary_ones_apart(tmp_path):
    for name in ("db-20260101.gz", "db-20260103.gz", "db-20260102.gz", "db-20260104.gz.partial", "other.txt", ".db-20260105.gz"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "db-20260109.gz").symlink_to("/etc/passwd")
    (tmp_path / "db-20260108.gz").mkdir()
    os.mkfifo(tmp_path / "db-20260107.gz")
    told = backup_scan.listing(str(tmp_path), "db-*.gz", folders=False)
    assert names(told.found) == ["db-20260103.gz", "db-20260102.gz", "db-20260101.gz"]
    assert names(told.partial) == ["db-20260104.gz.partial"]
    assert told.links == ["db-20260109.gz"]


def test_a_pattern_reaches_into_folders(tmp_path):
    for day in ("20260101", "20260102"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "db.sql").write_bytes(b"x")
        (tmp_path / day / "log").write_bytes(b"x")
    assert names(backup_scan.listing(str(tmp_path), "2026*/*.sql", folders=False).found) == ["20260102/db.sql", "20260101/db.sql"]


def test_names_that_are_no_utf8_are_listed(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.gz", "wb"):
        pass
    assert names(backup_scan.listing(str(tmp_path), "*.gz", folders=False).found) == [os.fsdecode(b"caf\xe9.gz")]


def test_ten_thousand_entries_take_no_time(tmp_path):
    # In memory where that is possible: making the files is what takes long on a slow disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        for number in range(10_000):
            os.close(os.open("%s/db-%d.sql.gz" % (folder, 1_600_000_000 + number), os.O_CREAT | os.O_WRONLY))
        started = time.process_time()
        told = backup_scan.listing(folder, "*.sql.gz", folders=False)
        assert time.process_time() - started < 10  # seconds of the processor: each entry is looked at once
    assert told.entries == 10_000
    assert told.found[0].name == "db-1600009999.sql.gz"


def test_contents_of_a_folder_are_counted_without_following_links(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"x" * 100)
    (tmp_path / "a/empty").touch()
    (tmp_path / "a/x.tmp").write_bytes(b"x")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    told = backup_scan.contents(str(tmp_path), time.monotonic() + 5)
    assert (told.size, told.files, told.empty, told.temporary, told.whole) == (101, 3, 1, ("a/x.tmp",), True)


def test_counting_stops_at_its_deadline(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    assert not backup_scan.contents(str(tmp_path), time.monotonic() - 1).whole


def archive(mode):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as tar:
        info = tarfile.TarInfo("file")
        info.size = 100_000
        tar.addfile(info, io.BytesIO(os.urandom(100_000)))
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        pytest.param("a.tar.gz", lambda: archive("w:gz"), None, id="a good archive"),
        pytest.param("a.TGZ", lambda: archive("w:gz"), None, id="in capitals"),
        pytest.param("a.tar.xz", lambda: archive("w:xz"), None, id="a good xz archive"),
        pytest.param("a.tar.bz2", lambda: archive("w:bz2"), None, id="a good bzip2 archive"),
        pytest.param("a.tar", lambda: archive("w:"), None, id="a good tar"),
        pytest.param("a.tar", lambda: b"\0" * 10240, None, id="a tar without members"),
        pytest.param("a.sql.gz", lambda: gzip.compress(b"CREATE TABLE"), None, id="a good dump"),
        pytest.param("a.sql.bz2", lambda: bz2.compress(b"CREATE TABLE"), None, id="a good bzip2 dump"),
        pytest.param("a.sql.zst", lambda: b"\x28\xb5\x2f\xfdxxxx", None, id="a zstd frame"),
        pytest.param("a.sql", lambda: b"CREATE TABLE", None, id="a plain dump"),
        pytest.param("a.zip", lambda: b"PK\x03\x04xxxx", None, id="a zip"),
        pytest.param("a.tar.gz", lambda: b"", "empty", id="an empty file"),
        pytest.param("a.sql", lambda: b"", "empty", id="an empty plain dump"),
        pytest.param("a.tar.gz", lambda: b"<html>error</html>", "magic", id="an error page"),
        pytest.param("a.sql.zst", lambda: b"CREATE TABLE", "magic", id="a dump that is not compressed"),
        pytest.param("a.tar", lambda: b"x" * 2000, "magic", id="no tar"),
        pytest.param("a.tar.gz", lambda: b"\x1f\x8b\x08\x00" + b"\xff" * 70000, "magic", id="no gzip after its first bytes"),
        pytest.param("a.sql.gz", lambda: gzip.compress(b""), "holds_nothing", id="the dump failed, gzip did not"),
        pytest.param("a.sql.xz", lambda: lzma.compress(b"x" * 1000)[:-20], "cut", id="a cut xz file"),
        pytest.param("a.tar.gz", lambda: gzip.compress(b"CREATE TABLE" * 100), "no_tar", id="no tar in the gzip"),
    ],
)
def test_a_file_is_what_its_name_says(tmp_path, name, data, problem):
    (tmp_path / name).write_bytes(data())
    assert backup_scan.check_file(str(tmp_path / name)).problem == problem


@given(st.binary(max_size=600), st.sampled_from([".tar.gz", ".gz", ".xz", ".tar.bz2", ".tar", ".zip", ".sql"]))
def test_no_content_breaks_the_check(data, ending):
    with tempfile.NamedTemporaryFile(suffix=ending) as file:
        file.write(data)
        file.flush()
        backup_scan.check_file(file.name)


def test_sums_and_signatures_are_no_backups(tmp_path):
    for name in ("a.tar.gz", "a.tar.gz.sha256", "a.tar.gz.MD5", "SHA256SUMS", "a.tar.gz.asc", "b.tar.asc"):
        (tmp_path / name).write_bytes(b"x")
    assert sorted(item.name for item in backup_scan.listing(str(tmp_path), "*", False).found) == ["a.tar.gz", "b.tar.asc"]
    (tmp_path / "2026.md5").mkdir()
    assert [item.name for item in backup_scan.listing(str(tmp_path), "*", True).found] == ["2026.md5"]
