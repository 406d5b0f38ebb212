# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MongoDB: what is dumped is what is restored, and a restore can be taken back from wherever it stopped.

The server lacks capped collections, some types of values and users; those are tried in the unit tests of the parts.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import bson
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import engine as engine_mongodb
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb.client import Address, Client, MongoError, connected
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb.engine import MongodbEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError

ENGINE = MongodbEngine()
PASSWORD = "sEcr3t: 'w0rd'"


@pytest.fixture
def work(tmp_path):
    """A scratch folder."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    return Work(str(scratch))


def _client(spec):
    return connected(Address(port=spec["port"], timeout=20))


def _fill(spec):
    """Types, unicode names, an empty collection, indexes, large documents."""
    name = spec["database"]
    with _client(spec) as client:
        client.insert(name, "users", [_user(number) for number in range(500)])
        indexes = [
            {"key": {"mail": 1}, "name": "mail_1", "unique": True},
            {"key": {"seen": 1}, "name": "ttl", "expireAfterSeconds": 2_000_000_000},
            {"key": {"a": 1, "b": -1}, "name": "compound"},
        ]
        client.run(name, {"createIndexes": "users", "indexes": indexes})
        client.insert(name, "컬렉션 with spaces", [{"_id": {"part": 1, "other": "x"}, "값": "유니코드"}, {"_id": "text"}])
        client.run(name, {"create": "empty"})
        for number in range(1):
            client.insert(name, "big", [{"_id": number, "data": os.urandom(15_000_000)}])
        client.insert(name, "dotted.name", [{"_id": 1.5}])


def _user(number):
    return {
        "_id": bson.ObjectId(number.to_bytes(12, "big")),
        "mail": f"{number}@example.org",
        "seen": bson.DateTime(1769832306789 + number),
        "wide": bson.Int64(number),
        "wider": 1 << 40,
        "small": number,
        "ratio": number / 7,
        "nothing": None,
        "yes": True,
        "bytes": b"\x00\xff" * number,
        "nested": {"list": [1, "two", {"three": 3.0}], "empty": {}, "none": []},
        "quoted": 'a"b\\c\n\u0001\U0001f600',
    }


def _content(spec, database=None):
    """Everything: documents as bytes and indexes, by collection."""
    database = database or spec["database"]
    with _client(spec) as client:
        return {
            name: (
                sorted(bson.encode(item) for item in client.find(database, name, {})),
                sorted(item["name"] for item in client.indexes(database, name)),
            )
            for name in client.collections(database)
        }


def _back_up(spec, work, tmp_path, name="20260131T040506Z"):
    folder = tmp_path / "root" / name
    folder.mkdir(parents=True)
    path = str(folder / "app.archive.zst")
    with ENGINE.dump(spec, work) as dump:
        written = backup_stream.write(dump.source, path, tap=dump.tap)
        told = dump.finish()
    artifact = Artifact(
        "mongodb", "app.archive.zst", written.size, written.sha256, told.tool, 0.0, 0.0, told.tool_version, told.server_version,
        told.counts, "app", "zstd", None, told.samples, told.source,
    )  # fmt: skip
    return artifact, Stored(path)


def _destroy(spec):
    with _client(spec) as client:
        client.drop(spec["database"], "users")
        client.drop(spec["database"], "empty")
        client.insert(spec["database"], "users", [{"_id": "present"}])
        client.insert(spec["database"], "newer", [{"_id": "not in the backup"}])


def test_round_trip(spec, work, tmp_path):
    """Every document, every index, equal after a restore; old documents do not stay; taken back, what was there is there."""
    _fill(spec)
    before = _content(spec)
    artifact, stored = _back_up(spec, work, tmp_path)
    assert artifact.counts["documents.users"] == 500 and artifact.counts["indexes.users"] == 4
    assert artifact.counts["documents.empty"] == 0 and artifact.counts["documents.big"] == 1
    ENGINE.read_through(artifact, stored, work)
    drilled = ENGINE.drill(spec, artifact, stored, work)
    assert drilled.counts == artifact.counts and drilled.samples == artifact.samples and len(artifact.samples) >= 7
    with _client(spec) as client:
        names = [item["name"] for item in client.run("admin", {"listDatabases": 1})["databases"]]
    assert [name for name in names if name.startswith("opsrunner_drill")] == []
    _destroy(spec)
    present = _content(spec)

    with ENGINE.restorer(spec, artifact, stored, Request("r1"), work) as restorer:
        restorer.check()
        assert restorer.stage() == artifact.counts
        restorer.stage()
        assert {name: item for name, item in _content(spec).items() if not name.startswith("opsrunner_")} == present
        restorer.swap()
        restorer.swap()
        restorer.finish()
        assert restorer.count() == artifact.counts
        assert {name: item for name, item in _content(spec).items() if not name.startswith("opsrunner_")} == before
        assert any(name.startswith(f"{spec['database']}.opsrunner_r1") and name.endswith("_old_newer") for name in restorer.aside())
        # What is set aside is in no backup.
        again, _stored = _back_up(spec, work, tmp_path, "20260131T050506Z")
        assert again.counts == artifact.counts
        restorer.unswap()
        restorer.unswap()
        restorer.unstage()
        assert _content(spec) == present and restorer.aside() == []

        restorer.stage()
        restorer.swap()
        restorer.unstage()
        restorer.discard()
        assert _content(spec) == before
    assert os.listdir(work.scratch) == []


def test_some_collections(spec, work, tmp_path):
    """The others are not touched; a name that is not there is told with the nearest."""
    _fill(spec)
    artifact, stored = _back_up({**spec, "collections": ["users", "컬렉션 with spaces"]}, work, tmp_path)
    assert sorted(artifact.counts) == ["documents.users", "documents.컬렉션 with spaces", "indexes.users", "indexes.컬렉션 with spaces"]
    one, _stored = _back_up({**spec, "collections": ["컬렉션 with spaces"]}, work, tmp_path, "20260131T050506Z")
    assert one.counts["documents.컬렉션 with spaces"] == 2 and len(one.counts) == 2
    before = _content(spec)
    _destroy(spec)
    with ENGINE.restorer(spec, artifact, stored, Request("p1", ("users",)), work) as restorer:
        assert restorer.stage() == {"documents.users": 500, "indexes.users": 4}
        restorer.swap()
        assert restorer.count() == {"documents.users": 500, "indexes.users": 4}
        after = _content(spec)
        assert after["users"] == before["users"] and "newer" in after and "empty" not in after
        restorer.discard()
        restorer.unstage()
    with pytest.raises(EngineError, match="did you mean users"):
        ENGINE.restorer(spec, artifact, stored, Request("p2", ("user",)), work)
    with pytest.raises(EngineError, match="did you mean users"), ENGINE.dump({**spec, "collections": ["userz"]}, work):
        pass


def test_the_whole_of_a_backup_of_some_collections(spec, work, tmp_path):
    """Those that were never meant to be in it are not put aside."""
    _fill(spec)
    artifact, stored = _back_up({**spec, "collections": ["users", "dotted.name"]}, work, tmp_path)
    before = _content(spec)
    with _client(spec) as client:
        client.drop(spec["database"], "users")
    # Also where the collections are no longer named in the inventory.
    with ENGINE.restorer(spec, artifact, stored, Request("w1"), work) as restorer:
        assert restorer.stage() == artifact.counts
        restorer.swap()
        assert restorer.count() == artifact.counts
        restorer.discard()
        restorer.unstage()
    assert _content(spec) == before


def test_two_backups_of_one_database_in_one_restore(spec, work, tmp_path):
    """Each has its own staged and set aside collections, and its own notes; their trials do not meet either."""
    _fill(spec)
    before = _content(spec)
    users, at_users = _back_up({**spec, "collections": ["users"]}, work, tmp_path)
    dotted, at_dotted = _back_up({**spec, "collections": ["dotted.name"]}, work, tmp_path, "20260131T050506Z")
    dotted = dotted._replace(file="dotted.archive.zst")
    with _client(spec) as client:
        client.insert(spec["database"], "users", [{"_id": "present"}])
        client.insert(spec["database"], "dotted.name", [{"_id": "present"}])
    present = _content(spec)
    request = Request("b1")
    with ENGINE.restorer(spec, users, at_users, request, work) as one, ENGINE.restorer(spec, dotted, at_dotted, request, work) as two:
        one.stage()
        two.stage()
        one.swap()
        two.swap()
        assert one.count() == users.counts and two.count() == dotted.counts
        assert len(one.aside()) == len(two.aside()) == 1
        two.unswap()
        one.unswap()
        for restorer in (one, two):
            restorer.unstage()
        assert _content(spec) == present
        for restorer in (one, two):
            restorer.stage()
        for restorer in (one, two):
            restorer.swap()
        for restorer in (one, two):
            restorer.unstage()
            restorer.discard()
        assert _content(spec) == before
    used = []
    real = Client.run

    def noted(self, database, command):
        used.append(database)
        return real(self, database, command)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "run", noted)
        ENGINE.drill(spec, users, at_users, work)
        ENGINE.drill(spec, dotted, at_dotted, work)
    assert len({name for name in used if name.startswith("opsrunner_drill")}) == 2


def test_documents_that_the_server_removes_when_their_time_is_over(spec, work, tmp_path):
    """They count as there, not one more: servers do so once there is the index. This server does not, so the test does."""
    name, old = spec["database"], bson.DateTime(1_000_000_000_000)
    with _client(spec) as client:
        client.insert(name, "sessions", [{"_id": number, "seen": old if number < 30 else bson.DateTime(1 << 45)} for number in range(50)])
        index = {"key": {"seen": 1}, "name": "ttl", "expireAfterSeconds": 3600}
        client.run(name, {"createIndexes": "sessions", "indexes": [index]})
    artifact, stored = _back_up(spec, work, tmp_path)
    assert artifact.counts["documents.sessions"] == 50 and artifact.source["expiring"] == ["sessions"]
    with ENGINE.restorer(spec, artifact, stored, Request("x1"), work) as restorer:
        assert restorer.stage() == artifact.counts
        restorer.swap()
        with _client(spec) as client:
            client.delete(name, "sessions", list(range(20)))
            assert restorer.count() == artifact.counts
            client.delete(name, "sessions", [20, 40])
            assert restorer.count() == artifact.counts, "22 of at most 30"
            client.delete(name, "sessions", list(range(41, 50)))
        assert restorer.count()["documents.sessions"] == 19
        restorer.discard()


def test_names_that_look_like_options(spec, work, tmp_path):
    """They are taken for names by the tools too."""
    with _client(spec) as client:
        client.insert(spec["database"], "--drop", [{"_id": 1}])
        client.insert(spec["database"], "other", [{"_id": 1}])
    spec = {**spec, "collections": ["--drop"]}
    artifact, stored = _back_up(spec, work, tmp_path)
    assert artifact.counts == {"documents.--drop": 1, "indexes.--drop": 1}
    assert ENGINE.drill(spec, artifact, stored, work).counts == artifact.counts


def test_into_another_database(spec, work, tmp_path):
    """The source stays as it is."""
    _fill(spec)
    artifact, stored = _back_up(spec, work, tmp_path)
    before = _content(spec)
    target = spec["database"] + "_copy"
    with ENGINE.restorer(spec, artifact, stored, Request("t1", (), target), work) as restorer:
        restorer.stage()
        restorer.swap()
        assert restorer.count() == artifact.counts
        restorer.discard()
    assert _content(spec) == before and _content(spec, target) == before


def test_an_empty_database(spec, work, tmp_path):
    """Nothing is a backup too."""
    artifact, stored = _back_up(spec, work, tmp_path)
    assert artifact.counts == {}
    ENGINE.read_through(artifact, stored, work)
    assert ENGINE.drill(spec, artifact, stored, work).counts == {}
    with _client(spec) as client:
        client.insert(spec["database"], "users", [{"_id": 1}])
    with ENGINE.restorer(spec, artifact, stored, Request("e1"), work) as restorer:
        restorer.stage()
        restorer.swap()
        assert restorer.count() == {}
        restorer.unswap()
        assert restorer.count() == {"documents.users": 1, "indexes.users": 1}


def test_a_server_that_dies_in_the_middle_fails_the_dump(lonely, work, tmp_path):
    """Half a dump is never a dump."""
    spec = {"database": "app", "port": lonely.port, "timeout": 2.0}
    with _client(spec) as client:
        for number in range(4):
            client.insert("app", "big", [{"_id": number, "data": os.urandom(8_000_000)}])
    with ENGINE.dump(spec, work) as dump:

        def tap(block):
            dump.tap(block)
            lonely.process.kill()

        with pytest.raises((EngineError, StreamError)):
            backup_stream.write(dump.source, str(tmp_path / "x.zst"), tap=tap)
        with pytest.raises(EngineError, match="cut off"):
            dump.finish()


def test_damage_is_found(spec, work, tmp_path):
    """A cut archive, a flipped bit in a document, something else."""
    _fill(spec)
    artifact, stored = _back_up({**spec, "collections": ["users"]}, work, tmp_path)
    with backup_stream.read(stored.path) as stream:
        plain = stream.read()
    artifact = artifact._replace(compression="none")
    middle = len(plain) // 2
    for data in (plain[:-1], plain[:middle], b"", plain[:middle] + bytes([plain[middle] ^ 1]) + plain[middle + 1 :], plain + b"\x05"):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(EngineError) as caught:
            ENGINE.read_through(artifact, Stored(str(tmp_path / "bad")), work)
        assert caught.value.code == "damaged"
    (tmp_path / "good").write_bytes(plain)
    with pytest.raises(EngineError) as caught:
        ENGINE.read_through(artifact._replace(counts={"documents.users": 501}), Stored(str(tmp_path / "good")), work)
    assert caught.value.code == "differs"


def test_a_restore_stopped_at_any_step_can_be_taken_back(spec, work, tmp_path, monkeypatch):
    """Before each command that swap and unswap send: after unswap everything is as it was."""
    with _client(spec) as client:
        for name in ("a", "b", "c"):
            client.insert(spec["database"], name, [{"_id": 1}])
    artifact, stored = _back_up(spec, work, tmp_path)
    with _client(spec) as client:
        client.drop(spec["database"], "c")
        client.insert(spec["database"], "a", [{"_id": 2}])
        client.insert(spec["database"], "newer", [{"_id": 3}])
    present = _content(spec)
    real = Client.run
    left = [0]

    def counted(self, database, command):
        if next(iter(command)) in ("renameCollection", "insert", "drop"):
            if left[0] == 0:
                raise MongoError("unreachable", "the test has cut the line")
            left[0] -= 1
        return real(self, database, command)

    def stopped(action, after):
        monkeypatch.setattr(Client, "run", counted)
        left[0] = after
        try:
            action()
        except EngineError:
            return True
        finally:
            monkeypatch.setattr(Client, "run", real)
        return False

    with ENGINE.restorer(spec, artifact, stored, Request("k1"), work) as restorer:
        after = 0
        restorer.stage()
        while stopped(restorer.swap, after):
            for undo in range(after + 1):
                stopped(restorer.unswap, undo)
            restorer.unswap()
            assert {name: item for name, item in _content(spec).items() if not name.startswith("opsrunner_")} == present, after
            restorer.unstage()
            assert _content(spec) == present
            restorer.stage()
            # What was stopped can also be gone on with.
            stopped(restorer.swap, after)
            restorer.swap()
            assert restorer.count() == artifact.counts
            restorer.unswap()
            restorer.unstage()
            restorer.stage()
            after += 1
        assert after == 7


def test_password_only_in_a_file(spec, work):
    """Neither on a command line nor in the environment; the file is ours alone and gone afterwards."""
    given = {**spec, "user": "me", "password": PASSWORD}
    with engine_mongodb._config(given, work) as path:
        command = engine_mongodb._tool("mongodump", given, path)
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert Path(path).read_text() == "password: \"sEcr3t: 'w0rd'\"\n"
    for password in ("\U0001f511 키\t\u2028\x85\x7f", "%{x}#'\"\\: -"):
        assert yaml.safe_load("password: " + engine_mongodb._yaml(password)) == {"password": password}
    assert not os.path.exists(path)
    assert PASSWORD not in " ".join([*command.argv, *command.env.values()])


def test_a_wrong_server_is_told(work, tmp_path):
    """Where it was looked for."""
    with pytest.raises(EngineError, match="port 1:") as caught:
        ENGINE.reach({"database": "app", "port": 1}, work)
    assert caught.value.code == "unreachable"


def test_a_dump_of_a_newer_server_is_refused(spec, work, tmp_path):
    """Before anything is touched."""
    artifact, stored = _back_up(spec, work, tmp_path)
    newer = artifact._replace(server_version="99.0.1")
    with ENGINE.restorer(spec, newer, stored, Request("v1"), work) as restorer, pytest.raises(EngineError) as caught:
        restorer.check()
    assert caught.value.code == "version"
