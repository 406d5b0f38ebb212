# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import of files that were written while the server was away: all or nothing, and once."""

from __future__ import annotations

import fcntl
import json
import os

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import bson
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import client as mongo_client
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import imports as mongo_import
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb.client import Address, Client, MongoError, connected


@pytest.fixture
def imported(spec, tmp_path):
    """``imported(documents, dry=…, **changes)``: write a file and import it; the result and the documents that are there."""

    def run(documents, dry=False, text=None, **changes):
        (tmp_path / "candidate_results_1.json").write_text(json.dumps(documents) if text is None else text)
        item = {
            "name": "candidates",
            "files": [str(tmp_path / "candidate_results_*.json")],
            "database": spec["database"],
            "collection": "user candidate",
            "fields": {"user": "string", "at": "date"},
            "keys": ["user", "at"],
            **changes,
        }
        (result,) = mongo_import.run(mongo_import.parse({"imports": [item], "login_port": spec["port"]}), dry)
        return result, there()

    def there():
        with connected(Address(port=spec["port"])) as client:
            return list(client.find(spec["database"], "user candidate", {}))

    run.there = there
    return run


def _documents(count):
    return [
        {"user": f"사용자 {number}", "at": "2026-01-31T04:05:06Z", "rank": number, "scores": [number, 0.5, None]} for number in range(count)
    ]


def test_import_and_again(imported):
    """All documents, with times as times; the second time nothing."""
    result, there = imported(_documents(1200), dry=True)
    assert (result.inserted, there, result.found["message"]) == (1200, [], "mongodb_import.would")
    result, there = imported(_documents(1200))
    assert (result.inserted, result.duplicates, len(there), result.found["status"]) == (1200, 0, 1200, "ok")
    assert {type(item["at"]) for item in there} == {bson.DateTime}
    result, again = imported(_documents(1200))
    assert (result.inserted, result.duplicates, again) == (0, 1200, there)
    result, there = imported(_documents(1203))
    assert (result.inserted, result.duplicates, len(there)) == (3, 1200, 1203)


def test_lines_and_extended_json(imported):
    """An object a line; ids and times as tools write them."""
    lines = [
        {"_id": {"$oid": "0123456789abcdef01234567"}, "user": "a", "at": {"$date": "2026-01-31T04:05:06Z"}},
        {"_id": {"$oid": "0123456789abcdef01234568"}, "user": "b", "at": {"$date": {"$numberLong": "5"}}},
    ]
    result, there = imported(None, text="\n".join(json.dumps(line) for line in lines) + "\n")
    assert result.inserted == 2 and there[0]["_id"] == bson.ObjectId(bytes.fromhex("0123456789abcdef01234567"))


def test_duplicates(imported):
    """In the file itself and on the server, by the keys; they can also be what keeps all out."""
    result, there = imported([*_documents(3), {**_documents(1)[0], "scores": "another"}])
    assert (result.inserted, result.duplicates, len(there)) == (3, 1, 3)
    result, there = imported(_documents(5), duplicates="fail")
    assert (result.found["message"], result.found["params"]["count"], len(there)) == ("mongodb_import.duplicates", 3, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"user": "a", "at": "2026-01-31T04:05:06Z"}, {"user": 5, "at": "2026-01-31T04:05:06Z"}]', "invalid"),
        ('[{"user": "a", "at": "yesterday"}]', "invalid"),
        ('[{"user": "a"}]', "invalid"),
        ("[1]", "invalid"),
        ('[{"user": "a", "at": "2026-01-31T04:05:06Z", "x": {"$oid": "no"}}]', "invalid"),
        ('[{"user": "a", "at": "2026-01-31T04:05:06Z", "x": 99999999999999999999}]', "invalid"),
        ('[{"user": "a", "at": "2026-01-31T04:05:06Z"', "unreadable"),
        ('{"user": "a", "at": "2026-01-31T04:05:06Z"}\n{"user": "b", "at', "unreadable"),
        ('[{"user": "a", "at": "2026-01-31T04:05:06Z", "x": NaN}]', "unreadable"),
        ("", "unreadable"),
        ('[{"user": "a", "at": "2026-01-31T04:05:06Z", "x": {"y": 1, "y": 2}}]', "unreadable"),
        ('{"user": "a", "at": "2026-01-31T04:05:06Z", "user": "b"}\n{"user": "c", "at": "2026-01-31T04:05:06Z"}', "unreadable"),
        ('[{"user": "a", "at": "2026-01-31T04:05:06Z", "x": 1e999}]', "unreadable"),
        ('[{"user": "a\\ud800", "at": "2026-01-31T04:05:06Z"}]', "invalid"),
        ('[{"user": "a", "at": "0000-01-01T00:00:00Z"}]', "invalid"),
        ('[{"user": "a", "at": {"$date": {"$numberLong": "9223372036854775808"}}}]', "invalid"),
        ('[{"user": "a", "at": "2026-01-31T04:05:06Z", "x": ' + "[" * 600 + "]" * 600 + "}]", "invalid"),
        ('[{"user": "a", "at": "2026-01-31T04:05:06Z", "x": "' + "x" * (1 << 24) + '"}]', "invalid"),
    ],
    ids=range(18),
)
def test_wrong_documents_keep_all_out(imported, text, message):
    """Each is named, and nothing is inserted."""
    result, there = imported(None, text=text)
    assert (result.found["status"], result.found["message"], there) == ("critical", f"mongodb_import.{message}", [])


def test_what_was_inserted_is_taken_back(imported, spec, monkeypatch):
    """The server refuses one in the middle, or the line is cut; what was there stays."""
    imported(_documents(3))
    monkeypatch.setattr(mongo_client, "_BATCH_COUNT", 10)
    with connected(Address(port=spec["port"])) as client:
        index = {"key": {"rank": 1}, "name": "unique", "unique": True}
        client.run(spec["database"], {"createIndexes": "user candidate", "indexes": [index]})
    clash = {"user": "other", "at": "2026-01-31T04:05:06Z", "rank": 1}
    result, there = imported([*_documents(35)[3:], clash])
    assert (result.found["message"], len(there)) == ("mongodb_import.failed", 3)

    real = Client.insert
    calls = []

    def cut(self, *words):
        calls.append(words)
        if len(calls) == 3:
            real(self, *words)  # the documents are there, but nobody is told
            raise MongoError("unreachable", "the line was cut")
        real(self, *words)

    monkeypatch.setattr(Client, "insert", cut)
    result, there = imported(_documents(60))
    assert (result.found["message"], len(there), len(calls)) == ("mongodb_import.failed", 3, 3)


def test_texts_as_other_programs_write_them(imported):
    """A mark of the byte order, ends of lines of Windows, a line separator within a text, keys in any order."""
    lines = ['{"user": "a\u2028b\u0085", "at": "2026-01-31T04:05:06Z", "_id": 1}', '{"user": "c", "at": "2026-01-31T04:05:06Z", "_id": 2}']
    result, there = imported(None, text="\ufeff" + "\r\n".join(lines) + "\r\n\r\n")
    assert result.inserted == 2 and [item["user"] for item in there] == ["a\u2028b\u0085", "c"]
    assert imported(None, text="\n".join(lines))[0].duplicates == 2


def test_what_somebody_else_inserts_meanwhile_stays(imported, spec, monkeypatch):
    """The application is back, and saves one of the documents itself: ours are taken back, its own is not."""
    real = Client.insert
    calls = []

    def late(self, database, collection, documents):
        calls.append(documents)
        if len(calls) == 2:
            with connected(Address(port=spec["port"])) as other:
                real(other, database, collection, [{"_id": documents[3]["_id"], "by": "the application"}])
        real(self, database, collection, documents)

    monkeypatch.setattr(mongo_client, "_BATCH_COUNT", 10)
    monkeypatch.setattr(Client, "insert", late)
    result, there = imported(_documents(30))
    assert (result.found["message"], [item.get("by") for item in there]) == ("mongodb_import.failed", ["the application"])


def test_what_was_changed_since_stays_and_is_told(imported, spec, monkeypatch):
    """The line is cut after a batch, of which the application has changed a document."""
    real = Client.insert

    def cut(self, database, collection, documents):
        real(self, database, collection, documents)
        with connected(Address(port=spec["port"])) as other:
            change = {"q": {"_id": documents[0]["_id"]}, "u": {"$set": {"rank": -1}}}
            other.run(database, {"update": collection, "updates": [change]})
        raise MongoError("unreachable", "the line was cut")

    monkeypatch.setattr(Client, "insert", cut)
    result, there = imported(_documents(5))
    assert (result.found["message"], result.found["params"]["left"], result.inserted) == ("mongodb_import.half", 1, 1)
    assert [item["rank"] for item in there] == [-1]


def test_two_imports_at_once(imported, tmp_path):
    """The second is refused, for each would take the other's documents for its own; looking is fine."""
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        result, there = imported(_documents(2))
        assert (result.found["message"], there) == ("mongodb_import.unreadable", [])
        assert "another import" in result.found["params"]["error"]
        assert imported(_documents(2), dry=True)[0].found["message"] == "mongodb_import.would"
    finally:
        os.close(handle)
    assert imported(_documents(2))[0].inserted == 2


def test_files_that_are_too_large_together(imported, monkeypatch):
    """They are told before they are read."""
    monkeypatch.setattr(mongo_import, "_LARGEST", 100)
    result, there = imported(_documents(5))
    assert (result.found["message"], there) == ("mongodb_import.unreadable", [])
    assert "an import may have 100" in result.found["params"]["error"]


def test_no_file(imported, spec, tmp_path):
    """A glob that finds nothing is fine, a named file that is not there is not."""
    result, _there = imported([], files=[str(tmp_path / "nothing-*.json")])
    assert (result.found["status"], result.found["message"]) == ("ok", "mongodb_import.no_files")
    result, _there = imported([], files=[str(tmp_path / "nothing.json")])
    assert (result.found["status"], result.found["message"]) == ("critical", "mongodb_import.unreadable")
