# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSearch: what is in a snapshot is what is restored, and a restore can be taken back from wherever it stopped."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.opensearch import client as opensearch_client
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.opensearch import engine as engine_opensearch
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.opensearch import snapshots as opensearch_snapshots
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.opensearch.engine import Client, OpensearchEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream

ENGINE = OpensearchEngine()
#: Each step takes seconds: only every third is tried, OPENSEARCH_STRIDE=1 tries all.
STRIDE = int(os.environ.get("OPENSEARCH_STRIDE", "3"))
MAPPING = {"properties": {"name": {"type": "keyword"}, "값": {"type": "text"}, "at": {"type": "date"}, "where": {"type": "geo_point"}}}


@pytest.fixture
def work(tmp_path):
    """A scratch folder."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    return Work(str(scratch))


@pytest.fixture
def client(server):
    """An empty server."""
    client = Client(server)
    _clear(client)
    yield client
    _clear(client)


def _clear(client):
    for index in client.ask("GET", "/*?expand_wildcards=all"):
        client.delete(index)


def _fill(client):
    settings = {"number_of_shards": 2, "number_of_replicas": 0}
    aliases = {"people": {}, "anns": {"filter": {"term": {"name": "ann"}}}}
    client.ask("PUT", "/users", {"settings": settings, "mappings": MAPPING, "aliases": aliases})
    client.ask("PUT", "/empty", {"settings": {"number_of_replicas": 0, "index.blocks.write": True}})
    client.ask("PUT", "/%EC%BD%94%EB%93%9C", {"settings": {"number_of_replicas": 0}})
    for number in range(25):
        told = {"값": "유니코드 %d" % number, "at": "2026-01-31T04:05:06Z", "deep": {"a": [1, None]}}
        document = {"name": "ann" if number % 2 else "bob", **told}
        client.ask("PUT", f"/users/_doc/{number}", document)
    client.ask("PUT", "/%EC%BD%94%EB%93%9C/_doc/1?refresh=true", {"big": "x" * 1_000_000})
    client.ask("PUT", "/_component_template/small", {"template": {"settings": {"number_of_replicas": 0}}})
    client.ask("PUT", "/_index_template/shop", {"index_patterns": ["shop-*"], "composed_of": ["small"]})
    client.ask("POST", "/_refresh")


def _content(client):
    """Documents, mappings, aliases and whether it can be written to, by index."""
    found = {}
    for name, told in client.indices().items():
        hits = client.ask("POST", f"/{opensearch_client.quoted(name)}/_search", {"size": 1000, "version": False})["hits"]["hits"]
        documents = sorted((hit["_id"], str(hit["_source"])) for hit in hits)
        found[name] = (documents, told["mappings"], told["aliases"], engine_opensearch._blocked(told))
    return found


def _back_up(spec, work, tmp_path, name="20260131T040506Z"):
    folder = tmp_path / "root" / name
    folder.mkdir(parents=True)
    path = str(folder / "search.tar.zst")
    with ENGINE.dump(spec, work) as dump:
        written = backup_stream.write(dump.source, path, tap=dump.tap)
        told = dump.finish()
    artifact = Artifact(
        "opensearch", "search.tar.zst", written.size, written.sha256, told.tool, 0.0, 0.0, None, told.server_version,
        told.counts, "search", "zstd", None, told.samples, told.source,
    )  # fmt: skip
    return artifact, Stored(path)


def _destroy(client):
    client.delete("users")
    client.ask("PUT", "/users/_doc/present?refresh=true", {"other": 1})
    client.ask("POST", "/_aliases", {"actions": [{"add": {"index": "users", "alias": "now"}}]})
    client.delete("empty")
    client.ask("PUT", "/other/_doc/1?refresh=true", {"not": "in the backup"})
    client.ask("DELETE", "/_index_template/shop")
    client.ask("DELETE", "/_component_template/small")


def _nothing_is_left(client, server):
    assert [name for name in client.ask("GET", "/*?expand_wildcards=all") if name.startswith("opsrunner-")] == []
    assert client.ask("GET", "/_snapshot") == {} and os.listdir(server["repository_path"]) == []


def test_round_trip(server, client, work, tmp_path):
    """Documents, mappings, aliases, templates: equal after a restore; taken back, what was there is there."""
    _fill(client)
    before = _content(client)
    artifact, stored = _back_up(server, work, tmp_path)
    assert artifact.counts == {"documents.users": 25, "documents.empty": 0, "documents.코드": 1}
    _nothing_is_left(client, server)
    ENGINE.read_through(artifact, stored, work)
    drilled = ENGINE.drill(server, artifact, stored, work)
    assert drilled.counts == artifact.counts and drilled.samples == artifact.samples and len(artifact.samples) == 3
    _nothing_is_left(client, server)
    _destroy(client)
    present = _content(client)

    with ENGINE.restorer(server, artifact, stored, Request("R1"), work) as restorer:
        restorer.check()
        assert restorer.stage() == artifact.counts
        assert _content(client) == present
        restorer.swap()
        restorer.swap()
        restorer.finish()
        assert restorer.count() == artifact.counts
        assert _content(client) == {**before, "other": present["other"]}
        assert client.ask("GET", "/_index_template/shop")["index_templates"][0]["name"] == "shop"
        assert [name.partition("-old-")[2] for name in restorer.aside()] == ["users", "코드"]
        restorer.unswap()
        restorer.unswap()
        restorer.unstage()
        assert _content(client) == present
        assert client.ask("GET", "/_index_template/shop", missing=True) is None, "what the restore put back is taken back too"
        _nothing_is_left(client, server)
        restorer.stage()
        restorer.swap()
        restorer.unstage()
        restorer.discard()
        assert _content(client) == {**before, "other": present["other"]}
        _nothing_is_left(client, server)


def test_two_backups_of_one_server_in_one_restore(server, client, work, tmp_path):
    """Each has its own notes: what is there of the second's is set aside too, and comes back."""
    for name in ("a", "b"):
        client.ask("PUT", f"/{name}/_doc/1?refresh=true", {"v": 1})
    first, at_first = _back_up({**server, "indices": ["a"]}, work, tmp_path)
    second, at_second = _back_up({**server, "indices": ["b"]}, work, tmp_path, "20260131T050506Z")
    second = second._replace(file="second.tar.zst")
    for name in ("a", "b"):
        client.ask("PUT", f"/{name}/_doc/2?refresh=true", {"v": 2})
    present = _content(client)
    request = Request("t1")
    with ENGINE.restorer(server, first, at_first, request, work) as one, ENGINE.restorer(server, second, at_second, request, work) as two:
        one.stage()
        two.stage()
        one.swap()
        two.swap()
        assert one.count() == {"documents.a": 1} and two.count() == {"documents.b": 1}
        assert len(one.aside()) == len(two.aside()) == 1
        two.unswap()
        one.unswap()
        one.unstage()
        two.unstage()
    assert _content(client) == present
    _nothing_is_left(client, server)


def test_what_is_not_backed_up_is_told(server, client, tmp_path):
    """Closed indices, data streams, a pattern that nothing is called by."""
    client.ask("PUT", "/users/_doc/1?refresh=true", {"v": 1})
    client.ask("PUT", "/closed/_doc/1?refresh=true", {"v": 1})
    client.ask("POST", "/closed/_close")
    client.ask("PUT", "/_index_template/logs", {"index_patterns": ["logs*"], "data_stream": {}})
    client.ask("PUT", "/_data_stream/logs")
    try:
        for indices, told in (
            (None, ["closed indices are not in the backup: closed", "data streams are not in the backup: logs"]),
            (["us*", "person*"], ["no index is called person*"]),
            (["*"], ["closed indices are not in the backup: closed"]),
        ):
            warned = []
            (tmp_path / f"scratch{indices}").mkdir()
            work = Work(str(tmp_path / f"scratch{indices}"), warn=warned.append)
            spec = {**server, "indices": indices} if indices else server
            with ENGINE.dump(spec, work) as dump:
                backup_stream.write(dump.source, str(tmp_path / f"x{indices}"))
                assert "documents.users" in dump.finish().counts
            assert warned == told
        with pytest.raises(EngineError, match="closed"), ENGINE.dump({**server, "indices": ["closed"]}, work):
            pass
    finally:
        client.ask("DELETE", "/_data_stream/logs")
        client.ask("DELETE", "/_index_template/logs")


def test_a_user_that_may_not_see_templates(server, client, tmp_path, monkeypatch):
    """The indices are backed up all the same, and it is told. The server knows no users: a double refuses."""
    client.ask("PUT", "/users/_doc/1?refresh=true", {"v": 1})
    real = Client.ask

    def refused(self, method, path, *rest, **options):
        if "template" in path or "data_stream" in path:
            raise EngineError("denied", f"{path} was refused (403)")
        return real(self, method, path, *rest, **options)

    monkeypatch.setattr(Client, "ask", refused)
    warned = []
    artifact, _stored = _back_up(server, Work(str(tmp_path), warn=warned.append), tmp_path)
    assert artifact.counts == {"documents.users": 1} and len(warned) == 3


def test_what_cannot_be_exchanged_is_told_before(server, client, work, tmp_path):
    """A block that keeps an index from being deleted, an alias that an index is called."""
    client.ask("PUT", "/users", {"aliases": {"people": {}}})
    artifact, stored = _back_up(server, work, tmp_path)
    with ENGINE.restorer(server, artifact, stored, Request("c1"), work) as restorer:
        restorer.check()
        client.ask("PUT", "/users/_settings", {"index.blocks.read_only": True})
        with pytest.raises(EngineError, match="read_only"):
            restorer.check()
        client.ask("PUT", "/users/_settings", {"index.blocks.read_only": None})
        client.delete("users")
        client.ask("PUT", "/people/_doc/1", {"v": 1})
        with pytest.raises(EngineError, match="people is an index"):
            restorer.check()


def test_an_index_that_cannot_be_deleted_stays_as_it_is(server, client, work, tmp_path, monkeypatch):
    """Another snapshot has it: what was there is not made again from the clone, for it is still there."""
    client.ask("PUT", "/users/_doc/1?refresh=true", {"v": 1})
    artifact, stored = _back_up(server, work, tmp_path)
    client.ask("PUT", "/users/_doc/2?refresh=true", {"v": 2})
    present, uuid = _content(client), engine_opensearch._uuid(client.indices()["users"])
    real = Client.delete

    def refused(self, index):
        if index == "users":
            raise EngineError("failed", "cannot delete indices that are being snapshotted")
        real(self, index)

    monkeypatch.setattr(Client, "delete", refused)
    with ENGINE.restorer(server, artifact, stored, Request("d1"), work) as restorer:
        restorer.stage()
        with pytest.raises(EngineError, match="being snapshotted"):
            restorer.swap()
        restorer.unswap()
        restorer.unstage()
    assert _content(client) == present and engine_opensearch._uuid(client.indices()["users"]) == uuid
    _nothing_is_left(client, server)


def test_an_index_that_is_written_to_and_has_as_many_documents(server, client, work, tmp_path, monkeypatch):
    """The snapshot fell between a document that came and one that went: it is counted in the snapshot itself."""
    client.ask("PUT", "/users/_doc/1?refresh=true", {"v": 1})
    real = opensearch_snapshots.snapshot

    def between(*words):
        client.ask("PUT", "/users/_doc/2?refresh=true", {"v": 2})
        real(*words)
        client.ask("DELETE", "/users/_doc/2?refresh=true")

    monkeypatch.setattr(opensearch_snapshots, "snapshot", between)
    artifact, _stored = _back_up(server, work, tmp_path)
    assert artifact.counts == {"documents.users": 2} and client.count("users") == 1


def test_two_runs_at_once(server, client, work, tmp_path, monkeypatch):
    """The second waits for the repository of the first, and fails when that takes too long."""
    client.ask("PUT", "/users/_doc/1?refresh=true", {"v": 1})
    monkeypatch.setattr(opensearch_snapshots, "_WAIT", 0.2)
    with ENGINE.dump(server, work), pytest.raises(EngineError, match="in use"), ENGINE.dump(server, work):
        pass
    _back_up(server, work, tmp_path)


def test_a_folder_that_the_server_does_not_know(server, client, work, tmp_path):
    """It is told, and nothing is left."""
    client.ask("PUT", "/users/_doc/1?refresh=true", {"v": 1})
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(EngineError, match=r"path\.repo"), ENGINE.dump({**server, "repository_path": str(tmp_path / "elsewhere")}, work):
        pass
    assert os.listdir(tmp_path / "elsewhere") == [] and client.ask("GET", "/_snapshot") == {}


def test_a_part(server, client, work, tmp_path):
    """Only the index asked for; one that is not there is told with the nearest."""
    _fill(client)
    artifact, stored = _back_up({**server, "indices": ["us*", "empty"]}, work, tmp_path)
    assert sorted(artifact.counts) == ["documents.empty", "documents.users"]
    _destroy(client)
    with ENGINE.restorer(server, artifact, stored, Request("p1", ("users",)), work) as restorer:
        assert restorer.stage() == {"documents.users": 25}
        restorer.swap()
        assert restorer.count() == {"documents.users": 25}
        assert not client.exists("empty")
        restorer.discard()
        restorer.unstage()
    with pytest.raises(EngineError, match="did you mean users"):
        ENGINE.restorer(server, artifact, stored, Request("p2", ("user",)), work)
    with pytest.raises(EngineError, match="no index nothing"), ENGINE.dump({**server, "indices": ["nothing"]}, work):
        pass


def test_an_empty_server(server, client, work, tmp_path):
    """Nothing is a backup too."""
    artifact, stored = _back_up(server, work, tmp_path)
    assert artifact.counts == {}
    ENGINE.read_through(artifact, stored, work)
    assert ENGINE.drill(server, artifact, stored, work).counts == {}


def test_an_index_that_is_written_to_meanwhile_is_counted_in_the_snapshot(server, client, work, tmp_path, monkeypatch):
    """The counts are of what was saved."""
    _fill(client)
    real = opensearch_snapshots.snapshot

    def late(*words):
        real(*words)
        client.ask("PUT", "/users/_doc/late?refresh=true", {"name": "late"})

    monkeypatch.setattr(opensearch_snapshots, "snapshot", late)
    artifact, stored = _back_up(server, work, tmp_path)
    assert client.count("users") == 26 and artifact.counts["documents.users"] == 25
    assert ENGINE.drill(server, artifact, stored, work).counts == artifact.counts
    _nothing_is_left(client, server)


def test_damage_is_found(server, client, work, tmp_path):
    """A cut archive, one without the snapshot's own files, names that lead out."""
    _fill(client)
    artifact, stored = _back_up(server, work, tmp_path)
    with backup_stream.read(stored.path) as stream:
        plain = stream.read()
    artifact = artifact._replace(compression="none")

    def judged(data):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(EngineError) as caught:
            ENGINE.read_through(artifact, Stored(str(tmp_path / "bad")), work)
        return caught.value.code

    assert judged(plain[: len(plain) // 2]) == "damaged" and judged(b"") == "damaged" and judged(plain[:1024]) == "damaged"
    for name, kind in (("../out", tarfile.REGTYPE), ("/out", tarfile.REGTYPE), ("link", tarfile.SYMTYPE), ("device", tarfile.CHRTYPE)):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        assert judged(made.getvalue()) == "unsafe"
        with pytest.raises(EngineError):
            ENGINE.drill(server, artifact, Stored(str(tmp_path / "bad")), work)
    _nothing_is_left(client, server)


def test_a_restore_stopped_at_any_step_can_be_taken_back(server, client, work, tmp_path, monkeypatch):
    """Before each change that swap asks for: after unswap everything is as it was, whether that was stopped too or not."""
    client.ask("PUT", "/a", {"settings": {"number_of_replicas": 0}, "aliases": {"x": {}}})
    client.ask("PUT", "/a/_doc/1?refresh=true", {"v": 1})
    client.ask("PUT", "/b/_doc/1?refresh=true", {"v": 1})
    artifact, stored = _back_up(server, work, tmp_path)
    client.ask("PUT", "/a/_doc/2?refresh=true", {"v": 2})
    client.delete("b")
    present = _content(client)
    real = Client.ask
    left = [0]

    def counted(self, method, path, *rest, **options):
        if method in ("PUT", "DELETE"):
            if left[0] == 0:
                raise EngineError("unreachable", "the test has cut the line")
            left[0] -= 1
        return real(self, method, path, *rest, **options)

    def stopped(action, after):
        monkeypatch.setattr(Client, "ask", counted)
        left[0] = after
        try:
            action()
        except EngineError:
            return True
        finally:
            monkeypatch.setattr(Client, "ask", real)
        return False

    with ENGINE.restorer(server, artifact, stored, Request("k1"), work) as restorer:
        restorer.stage()
        after = 0
        while stopped(restorer.swap, after):
            if after % 2 == 0:
                for undo in range(0, 10, 4):
                    stopped(restorer.unswap, undo)
            restorer.unswap()
            assert _content(client) == present, after
            assert restorer.aside() == []
            after += STRIDE
        assert after > 10
        restorer.unswap()
        assert _content(client) == present


def test_no_secret_is_told(server, work):
    """A server that refuses, and one that is not there."""
    spec = {**server, "user": "me", "password": "sEcr3t", "url": "http://127.0.0.1:1"}
    with pytest.raises(EngineError) as caught:
        ENGINE.reach(spec, work)
    assert caught.value.code == "unreachable" and "sEcr3t" not in str(caught.value)
    with pytest.raises(EngineError, match="is not there"):
        ENGINE.reach({**server, "repository_path": "/nowhere"}, work)
