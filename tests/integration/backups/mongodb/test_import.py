# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import of files that were written while the server was away: all or nothing, and once."""

from __future__ import annotations

import json

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils import bson, mongo_client, mongo_import
from ansible_collections.opsrunner.runbook.plugins.module_utils.mongo_client import Address, Client, MongoError, connected


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
    ],
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


def test_no_file(imported, spec, tmp_path):
    """A glob that finds nothing is fine, a named file that is not there is not."""
    result, _there = imported([], files=[str(tmp_path / "nothing-*.json")])
    assert (result.found["status"], result.found["message"]) == ("ok", "mongodb_import.no_files")
    result, _there = imported([], files=[str(tmp_path / "nothing.json")])
    assert (result.found["status"], result.found["message"]) == ("critical", "mongodb_import.unreadable")
