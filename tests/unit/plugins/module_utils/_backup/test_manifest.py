# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and verification records: written and read back, refused when they are wrong, compared with what is there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact

TIMES = st.integers(0, 4_000_000_000).map(float)
WORDS = st.text(min_size=1, max_size=20)
ARTIFACTS = st.builds(
    Artifact,
    engine=WORDS,
    file=WORDS,
    size=st.integers(0, 2**60),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    tool=WORDS,
    start=TIMES,
    end=TIMES,
    tool_version=st.none() | WORDS,
    server_version=st.none() | WORDS,
    counts=st.dictionaries(WORDS, st.integers(0, 2**60), max_size=4),
    name=st.none() | WORDS,
    compression=st.none() | WORDS,
    encryption=st.none() | WORDS,
    samples=st.dictionaries(WORDS, WORDS, max_size=2),
    source=st.dictionaries(WORDS, WORDS | st.lists(WORDS, max_size=2), max_size=2),
)
MANIFESTS = st.builds(
    backup_manifest.Manifest,
    system=WORDS,
    start=TIMES,
    end=TIMES,
    artifacts=st.lists(ARTIFACTS, min_size=1, max_size=4, unique_by=lambda artifact: artifact.file).map(tuple),
    host=st.none() | WORDS,
)


@given(MANIFESTS)
def test_a_manifest_is_read_back_as_it_was_written(manifest):
    assert backup_manifest.parse(backup_manifest.to_json(manifest).encode("utf-8", "surrogatepass")) == manifest


@given(MANIFESTS, st.data())
def test_a_changed_manifest_is_refused(manifest, data):
    text = backup_manifest.to_json(manifest)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters(codec="utf-8").filter(lambda other: other != text[at])) + text[at + 1 :]
    try:
        read = backup_manifest.parse(changed.encode())
    except backup_manifest.ManifestError:
        return
    assert read == manifest  # another spacing, or another way to write the same


@given(st.binary(max_size=200))
def test_anything_else_is_refused_and_never_breaks_the_check(data):
    with pytest.raises(backup_manifest.ManifestError):
        backup_manifest.parse(data)


ARTIFACT = {
    "engine": "sqlite",
    "file": "app.db",
    "size": 3,
    "sha256": "0" * 64,
    "tool": "sqlite3",
    "start": "2026-01-31T02:15:00Z",
    "end": "2026-01-31T02:15:09Z",
    "counts": {"rows.users": 10},
}
MANIFEST = {"schema": 1, "system": "app", "start": ARTIFACT["start"], "end": ARTIFACT["end"], "artifacts": [ARTIFACT]}


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        pytest.param({"schema": 2}, "newer", "schema 2", id="a newer schema"),
        pytest.param({"schema": True}, "field", "schema", id="a schema that is no number"),
        pytest.param({"schema": None}, "field", "schema", id="no schema"),
        pytest.param({"artifacts": []}, "field", "artifacts", id="no artifacts"),
        pytest.param({"artifacts": [ARTIFACT, ARTIFACT]}, "field", "app.db twice", id="an artifact twice"),
        pytest.param({"artifacts": ["app.db"]}, "field", "artifacts[0]", id="an artifact that is no object"),
        pytest.param({"artifacts": [{**ARTIFACT, "size": -1}]}, "field", "artifacts[0].size", id="a negative size"),
        pytest.param({"artifacts": [{**ARTIFACT, "size": "3"}]}, "field", "artifacts[0].size", id="a size that is a text"),
        pytest.param({"artifacts": [{**ARTIFACT, "sha256": "x"}]}, "field", "artifacts[0].sha256", id="a checksum that is none"),
        pytest.param({"artifacts": [{**ARTIFACT, "counts": {"a": -1}}]}, "field", "artifacts[0].counts.a", id="a negative count"),
        pytest.param({"end": "2026-02-30T00:00:00Z"}, "field", "end", id="a day that does not exist"),
        pytest.param({"end": "2026-01-31 02:15"}, "field", "end", id="a time without zone"),
        pytest.param({"system": ""}, "field", "system", id="an empty name"),
    ],
)
def test_a_wrong_field_is_named(change, code, detail):
    with pytest.raises(backup_manifest.ManifestError) as caught:
        backup_manifest.parse(json.dumps({**MANIFEST, **change}).encode())
    assert caught.value.code == code
    assert detail in caught.value.detail


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1'])
def test_what_is_no_json_object_is_told_as_such(data):
    with pytest.raises(backup_manifest.ManifestError) as caught:
        backup_manifest.parse(data)
    assert caught.value.code == "not_json"


def test_names_that_this_version_does_not_know_are_left_alone():
    assert backup_manifest.parse(json.dumps({**MANIFEST, "host": "db1"}).encode()).size == 3


@pytest.mark.parametrize(
    ("file", "prepare", "codes"),
    [
        pytest.param("app.db", lambda folder: (folder / "app.db").write_bytes(b"abc"), [], id="there and of its size"),
        pytest.param("app.db", lambda folder: None, ["missing"], id="missing"),
        pytest.param("app.db", lambda folder: (folder / "app.db").write_bytes(b"ab"), ["size"], id="too short"),
        pytest.param("app.db", lambda folder: (folder / "app.db").mkdir(), ["type"], id="a folder"),
        pytest.param("../app.db", lambda folder: (folder.parent / "app.db").write_bytes(b"abc"), ["outside"], id="outside by its name"),
        pytest.param("/etc/passwd", lambda folder: None, ["outside"], id="an absolute path"),
        pytest.param("app.db", lambda folder: (folder / "app.db").symlink_to("/etc/passwd"), ["outside"], id="a link out"),
        pytest.param("db/app.db", lambda folder: [(folder / "db").mkdir(), (folder / "db/app.db").write_bytes(b"abc")], [], id="below"),
        pytest.param("a\0b", lambda folder: None, ["unreadable"], id="a name that cannot be"),
    ],
)
def test_artifacts_are_compared_with_what_is_there(tmp_path, file, prepare, codes):
    folder = tmp_path / "20260131T021500Z"
    folder.mkdir()
    prepare(folder)
    manifest = backup_manifest.parse(json.dumps({**MANIFEST, "artifacts": [{**ARTIFACT, "file": file}]}).encode())
    assert [problem.code for problem in backup_manifest.check_files(manifest, str(folder))] == codes


def test_rungs_are_read_the_highest_first():
    rungs = [{"rung": 2, "at": "2026-01-31T03:00:00Z"}, {"rung": 5, "at": "2026-01-31T04:00:00Z"}]
    told = backup_manifest.parse_verified(json.dumps({"schema": 1, "rungs": rungs}).encode())
    assert [rung.rung for rung in told] == [5, 2]
    assert times.format_time(told[0].at) == "2026-01-31T04:00:00Z"


@pytest.mark.parametrize("rung", [{"rung": 6, "at": "2026-01-31T03:00:00Z"}, {"rung": True}, {"rung": 3}, 3])
def test_a_wrong_rung_is_refused(rung):
    with pytest.raises(backup_manifest.ManifestError):
        backup_manifest.parse_verified(json.dumps({"schema": 1, "rungs": [rung]}).encode())


def test_a_manifest_too_large_to_be_one_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(backup_manifest, "SIZE_LIMIT", 10)
    (tmp_path / "manifest.json").write_bytes(b" " * 11)
    with pytest.raises(backup_manifest.ManifestError, match="larger than 10 bytes"):
        backup_manifest.read_file(str(tmp_path / "manifest.json"))
