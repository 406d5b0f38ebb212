# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis: what is dumped is what is restored, and a restore can be taken back from wherever it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import programs
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from servers import PASSWORD, fill

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import crc64
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request, Restorer, Stored, Work, own_ident
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.redis import client as redis_client
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.redis import engine as engine_redis
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.redis.engine import RedisEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Place
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import steps as restore_steps
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.base import Runtime, ServiceError

ENGINE = RedisEngine()


@pytest.fixture
def work(tmp_path):
    """A scratch folder and what was warned of."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    warned = []
    return Work(str(scratch), warn=warned.append), warned


def _back_up(server, work, tmp_path, name="20260131T040506Z"):
    folder = tmp_path / "root" / name
    folder.mkdir(parents=True)
    path = str(folder / "redis.rdb.zst")
    with ENGINE.dump(server.spec, work) as dump:
        written = backup_stream.write(dump.source, path, tap=dump.tap)
        told = dump.finish()
    artifact = Artifact(
        "redis", "redis.rdb.zst", written.size, written.sha256, told.tool, 0.0, 0.0, None, told.server_version,
        told.counts, "redis", "zstd", None, told.samples, told.source,
    )  # fmt: skip
    return artifact, Stored(path)


def _restorer(server, artifact, stored, work, ident="r1"):
    return ENGINE.restorer(server.spec, artifact, stored, Request(ident), work)


def _nothing_is_left(folder):
    assert [path.name for path in folder.iterdir() if path.name.startswith("opsrunner-")] == []


PERSISTENCE = {
    "saves": {},
    "log": {"appendonly": "yes"},
    "log only": {"appendonly": "yes", "save": "", "appendfilename": 'app "log.aof', "appenddirname": "the logs"},
    "nothing": {"save": ""},
}


@pytest.mark.parametrize("settings", PERSISTENCE.values(), ids=PERSISTENCE.keys())
def test_round_trip(server, work, tmp_path, settings):
    """Every type, binary keys, several databases, keys that expire: equal after a restore; taken back, what was there is there."""
    work, warned = work
    one = server(**settings)
    with one.client() as client:
        fill(client)
    before = one.digest()
    artifact, stored = _back_up(one, work, tmp_path)
    assert artifact.counts["keys"] == 3020 and artifact.counts["expiring.db9"] == 1 and artifact.counts["functions"] == 1
    with one.client() as client:
        client.ask("FLUSHALL")
        client.ask("SET", "later", "this is the present data")
        client.ask("SET", "session", "later")
    present = one.digest()

    with _restorer(one, artifact, stored, work) as restorer:
        assert restorer.units == ("redis-server",)
        restorer.check()
        assert restorer.stage() == artifact.counts
        assert one.digest() == present
        assert bool(warned) == (settings == {"save": ""})
        one.stop()
        restorer.swap()
        restorer.swap()
        one.start()
        restorer.finish()
        assert restorer.count() == artifact.counts
        assert one.digest() == before
        assert restorer.aside()
        one.stop()
        one.start()
        assert one.digest() == before, "the server loads the same again from what it wrote"

    one.stop()
    with _restorer(one, artifact, stored, work) as again:
        again.unswap()
        again.unswap()
    one.start()
    assert one.digest() == present
    with _restorer(one, artifact, stored, work) as again:
        again.discard()
        again.unstage()
        assert again.aside() == []
    _nothing_is_left(one.folder)
    assert list((tmp_path / "root").iterdir()) == [tmp_path / "root" / "20260131T040506Z"]


def test_a_restore_that_is_kept(server, work, tmp_path):
    """After it, only what was set aside is there besides, until it is discarded."""
    work, _warned = work
    one = server(appendonly="yes")
    with one.client() as client:
        fill(client)
    before = one.digest()
    artifact, stored = _back_up(one, work, tmp_path)
    with one.client() as client:
        client.ask("FLUSHALL")
    with _restorer(one, artifact, stored, work) as restorer:
        restorer.stage()
        restorer.stage()
        one.stop()
        restorer.swap()
        one.start()
        restorer.finish()
        restorer.unstage()
        kept = restorer.aside()
        assert [os.path.basename(path) for path in kept] == ["opsrunner-%s.aside" % own_ident(Request("r1"), artifact)]
        restorer.discard()
    assert one.digest() == before
    _nothing_is_left(one.folder)


def test_trial(server, work, tmp_path):
    """A server of its own loads it: the same counts, the same samples, nothing left."""
    work, _warned = work
    one = server()
    with one.client() as client:
        fill(client)
    artifact, stored = _back_up(one, work, tmp_path)
    ENGINE.read_through(artifact, stored, work)
    drilled = ENGINE.drill(None, artifact, stored, work)
    assert drilled.counts == artifact.counts
    assert len(artifact.samples) == 20 and drilled.samples == artifact.samples
    assert any(told.startswith("string:") for told in artifact.samples.values())
    assert os.listdir(work.scratch) == []
    wrong = artifact._replace(counts={**artifact.counts, "keys": 1})
    with pytest.raises(EngineError, match="3020 keys, not 1"):
        ENGINE.read_through(wrong, stored, work)


def test_data_of_a_module_that_the_trial_does_not_have(work, tmp_path):
    """It is read and counted; that this host's server cannot load it says nothing about the dump."""
    body = b"REDIS0010\xfe\x00\x07\x03key" + b"\x81" + (0x2A5B4C3D2A5B4C00).to_bytes(8, "big") + b"\x05\x02hi\x00" + b"\xff"
    (tmp_path / "module.rdb").write_bytes(body + crc64.JONES.update(0, body).to_bytes(8, "little"))
    counts = {"keys": 1, "keys.db0": 1, "expiring.db0": 0}
    artifact = Artifact("redis", "module.rdb", 1, "", "", 0.0, 0.0, counts=counts, compression="none", source={"rdb_version": 10})
    stored = Stored(str(tmp_path / "module.rdb"))
    ENGINE.read_through(artifact, stored, work[0])
    with pytest.raises(EngineError, match="module") as caught:
        ENGINE.drill(None, artifact, stored, work[0])
    assert caught.value.code == "version"


@pytest.mark.parametrize("killed", [True, False])
def test_a_server_that_is_killed_instead_of_stopped(server, work, tmp_path, killed):
    """What it had not saved is gone, and that is told."""
    work, warned = work
    one = server()
    with one.client() as client:
        client.ask("SET", "a", "1")
        client.ask("SAVE")
    artifact, stored = _back_up(one, work, tmp_path)
    with one.client() as client:
        client.ask("SET", "b", "1")
    with _restorer(one, artifact, stored, work) as restorer:
        restorer.stage()
        if killed:
            one.kill()
        else:
            one.stop()
        restorer.swap()
        restorer.swap()
        assert ["has not saved" in text for text in warned] == [True] * killed
        restorer.unswap()
    one.start()


def test_a_trial_that_is_killed_leaves_no_server(server, work, tmp_path):
    """The server of the trial dies with whoever started it."""
    work, _warned = work
    one = server()
    artifact, stored = _back_up(one, work, tmp_path)
    child = os.fork()
    if child == 0:
        try:
            engine_redis.live_counts = lambda *_args: time.sleep(60)
            ENGINE.drill(None, artifact, stored, work)
        finally:
            os._exit(0)
    path = os.path.join(work.scratch, "redis", "redis.sock")
    for _try in range(200):
        if os.path.exists(path):
            break
        time.sleep(0.02)
    running = _working_in(work.scratch)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for _try in range(100):
        if not _working_in(work.scratch):
            break
        time.sleep(0.02)
    assert len(running) == 1 and _working_in(work.scratch) == []


def _working_in(folder):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = os.readlink(process / "cwd")
        except OSError:
            continue
        if where.startswith(folder):
            found.append(int(process.name))
    return found


def test_an_empty_server(server, work, tmp_path):
    """Nothing is a backup too, and it counts 0 keys."""
    work, _warned = work
    one = server()
    artifact, stored = _back_up(one, work, tmp_path)
    assert artifact.counts == {"keys": 0}
    ENGINE.read_through(artifact, stored, work)
    assert ENGINE.drill(None, artifact, stored, work).counts == {"keys": 0}
    with one.client() as client:
        client.ask("SET", "key", "value")
    with _restorer(one, artifact, stored, work) as restorer:
        restorer.stage()
        one.stop()
        restorer.swap()
        one.start()
        assert restorer.count() == {"keys": 0}


def test_keys_that_expire_meanwhile_are_known_one_by_one(server, work, tmp_path):
    """They count as there, and one key more that is missing does not."""
    work, _warned = work
    one = server()
    with one.client() as client:
        for number in range(50):
            client.ask("SET", "short%d" % number, "x", "PX", "1500")
        client.ask("MSET", "a", "1", "b", "2")
    artifact, stored = _back_up(one, work, tmp_path)
    assert artifact.counts == {"keys": 52, "keys.db0": 52, "expiring.db0": 50}
    time.sleep(1.6)
    assert ENGINE.drill(None, artifact, stored, work).counts == artifact.counts
    with _restorer(one, artifact, stored, work) as restorer:
        restorer.stage()
        one.stop()
        restorer.swap()
        one.start()
        with one.client() as client:
            assert client.ask("DBSIZE") < 52
            assert restorer.count() == artifact.counts
            client.ask("DEL", "a")
            assert restorer.count() != artifact.counts


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_a_server_that_dies_in_the_middle_fails_the_dump(server, work, tmp_path, diskless):
    """Half a dump is never a dump."""
    work, _warned = work
    one = server(repl_diskless_sync=diskless, rdbcompression="no")
    with one.client() as client:
        client.ask("DEBUG", "POPULATE", "20000", "key", "2000")

    def cut(blocks):
        for at, block in enumerate(blocks):
            if at == 3:
                one.kill()
            yield block

    with ENGINE.dump(one.spec, work) as dump, pytest.raises(EngineError, match=r"closed the connection|reset"):
        backup_stream.write(cut(dump.source), str(tmp_path / "x.zst"))
    with pytest.raises(EngineError, match="cut off"):
        dump.finish()
    one.process = None


def test_damage_is_found(server, work, tmp_path):
    """A cut file, a flipped bit inside, another file."""
    work, _warned = work
    one = server()
    with one.client() as client:
        fill(client)
    artifact, stored = _back_up(one, work, tmp_path)
    with backup_stream.read(stored.path) as stream:
        plain = stream.read()
    artifact = artifact._replace(compression="none")
    for data in (
        plain[:-1],
        plain[: len(plain) // 2],
        b"",
        plain[:5000] + bytes([plain[5000] ^ 1]) + plain[5001:],
        plain[:-8] + bytes(8),
        plain + b"x",
    ):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(EngineError) as caught:
            ENGINE.read_through(artifact, Stored(str(tmp_path / "bad")), work)
        assert caught.value.code == "damaged"
    with pytest.raises((EngineError, StreamError)):
        ENGINE.drill(None, artifact, Stored(str(tmp_path / "bad")), work)


def _steps(action):
    """How many times an action asks the system to change something."""
    return _child(action, None)


def _child(action, stop_at):
    """Run an action in a process that is killed when it is about to change something for the n-th time; returns how many times it did."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            count = 0

            def counted(real):
                def call(*args, **options):
                    nonlocal count
                    if count == stop_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    count += 1
                    return real(*args, **options)

                return call

            for name in ("rename", "mkdir", "unlink", "rmdir", "fsync"):
                setattr(os, name, counted(getattr(os, name)))
            action()
            os.write(writing, b"%d" % count)
        except BaseException as error:
            os.write(writing, b"0 " + str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if stop_at is None:
        assert b" " not in said, said
        return int(said)
    assert said == b"" or b" " not in said, said
    return 0


@pytest.mark.parametrize("settings", [{"appendonly": "yes"}, {"save": ""}], ids=["log", "nothing"])
def test_a_restore_killed_at_any_step_can_be_taken_back(server, work, tmp_path, settings):
    """kill -9 before each change that stage and swap make: after unswap the server has what it had, and nothing of the restore."""
    work, _warned = work
    one = server(**settings)
    with one.client() as client:
        client.ask("SET", "old", "1")
    artifact, stored = _back_up(one, work, tmp_path)
    with one.client() as client:
        client.ask("SET", "present", "2")
    present = one.digest()

    def restore(ident):
        with _restorer(one, artifact, stored, work, ident) as restorer:
            return restorer

    staging = _steps(lambda: restore("count").stage())
    restore("count").unstage()
    assert staging > 8
    for at in range(staging):
        _child(lambda at=at: restore("s%d" % at).stage(), at)
        restore("s%d" % at).unswap()
        restore("s%d" % at).unstage()
    assert one.digest() == present
    _nothing_is_left_but_stale(one.folder)

    restore("r").stage()
    one.stop()
    swapping = _steps(lambda: restore("r").swap())
    restore("r").unswap()
    assert swapping > 6
    for at in range(swapping):
        if not list(one.folder.glob("opsrunner-r*.new")):
            one.start()
            restore("r").stage()
            one.stop()
        _child(lambda: restore("r").swap(), at)
        # Taking it back is killed as well, at every one of its steps.
        for undo in range(0, 12, 1 + at % 3):
            _child(lambda: restore("r").unswap(), undo)
        restore("r").unswap()
        one.start()
        assert one.digest() == present, at
        restore("r").unstage()
        _nothing_is_left_but_stale(one.folder)
        one.stop()
        one.start()
        assert one.digest() == present, at
        restore("r").stage()
        one.stop()


def _nothing_is_left_but_stale(folder):
    """A server that keeps nothing may have an old file, which gives way to the dump of what it had."""
    left = [path.name for path in folder.iterdir() if path.name.startswith("opsrunner-")]
    assert [name for name in left if not name.endswith(".aside")] == []


class _Runtime(Runtime):
    """The server's own start and stop; the other service cannot be stopped."""

    def __init__(self, server):
        self.server = server

    def is_up(self, service):
        return service == "other" or self.server.process is not None

    def stop(self, service):
        if service == "other":
            raise ServiceError("failed", "it does not stop")
        self.server.stop()

    def start(self, service):
        if service != "other" and self.server.process is None:
            self.server.start()


class _Other(Restorer):
    """Something else that is restored with it; a double."""

    units = ("other",)

    def stage(self):
        return {}

    def unstage(self):
        pass


def test_a_restore_that_fails_while_services_are_stopped(server, work, tmp_path):
    """A server that keeps nothing on disk is down by then: it gets back what it had, though nothing was exchanged yet."""
    work, _warned = work
    one = server(save="")
    artifact, stored = _back_up(one, work, tmp_path)
    with one.client() as client:
        fill(client)
    present = one.digest()
    nothing = artifact._replace(engine="files", counts={})
    state = restore_journal.State(
        "cache", "r1", "20260131T040506Z", str(tmp_path), restore_journal.STAGING, (), started=0.0, start="before"
    )
    with _restorer(one, artifact, stored, work) as restorer, restore_journal.held(str(tmp_path / "journal"), "cache") as journal:
        pieces = [
            restore_steps.Piece("cache", restore_journal.Part(artifact, (), ""), restorer),
            restore_steps.Piece("other", restore_journal.Part(nothing, (), ""), _Other()),
        ]
        plan = types.SimpleNamespace(restore=types.SimpleNamespace(services=(), health_timeout=1.0))
        steps = restore_steps.Steps(
            journal, state, pieces, types.SimpleNamespace(runtime=_Runtime(one), observe=lambda _step: None),
            types.SimpleNamespace(backup=types.SimpleNamespace(plan=plan), probes=(), confirmed=()), restore_steps.Asked(), [],
        )  # fmt: skip
        with pytest.raises(ServiceError):
            steps.forward()
        assert steps.state.phase == restore_journal.STOPPING and one.process is None
        assert steps.take_back("it does not stop") == []
    assert one.digest() == present
    _nothing_is_left_but_stale(one.folder)


def test_wrong_password_is_refused_and_not_told(server, work):
    """Neither the right nor the wrong one is in the message."""
    work, _warned = work
    one = server()
    for change in ({"password": "wr0ng"}, {"password": None}, {"user": "nobody", "password": "wr0ng"}):
        with pytest.raises(EngineError) as caught:
            ENGINE.reach({**one.spec, **change}, work)
        assert caught.value.code == "denied"
        assert "wr0ng" not in str(caught.value) and PASSWORD not in str(caught.value)


def test_a_server_that_wants_no_password(server, work):
    """It is told apart from a wrong one."""
    one = server(requirepass="")
    with pytest.raises(EngineError, match="no password is set"):
        ENGINE.reach(one.spec, work[0])
    ENGINE.reach({**one.spec, "password": None}, work[0])


def test_a_server_that_is_not_there(work, tmp_path):
    """It is told where it was looked for."""
    with pytest.raises(EngineError, match=r"nowhere\.sock") as caught:
        ENGINE.reach({"socket": str(tmp_path / "nowhere.sock")}, work[0])
    assert caught.value.code == "unreachable"


def test_the_password_is_on_no_command_line(server, work, tmp_path):
    """Nobody who lists processes sees it, nor their environment."""
    work, _warned = work
    one = server()
    looked = []

    def look_once():
        for process in Path("/proc").glob("[0-9]*"):
            try:
                looked.append((process / "cmdline").read_bytes() + (process / "environ").read_bytes())
            except OSError:
                continue

    def look(blocks):
        patience = time.monotonic() + 60
        for block in blocks:
            # The compressor lives until it has the last block; right after its start it has no command line yet.
            while not any(b"zstd" in words for words in looked) and time.monotonic() < patience:
                look_once()
            look_once()
            yield block

    with ENGINE.dump(one.spec, work) as dump:
        backup_stream.write(look(dump.source), str(tmp_path / "x.zst"))
    assert any(b"zstd" in words for words in looked)
    assert [words for words in looked if PASSWORD.encode() in words] == []


def test_what_cannot_be_restored_is_told_before(server, work, tmp_path):
    """A part, another place, a server that nobody stops, a dump of a newer server."""
    work, _warned = work
    one = server()
    artifact, stored = _back_up(one, work, tmp_path)
    for request, text in ((Request("x", ("key",)), "part"), (Request("x", (), "/elsewhere"), "address")):
        with pytest.raises(EngineError, match=text):
            ENGINE.restorer(one.spec, artifact, stored, request, work)
    with pytest.raises(EngineError, match="unit"):
        ENGINE.restorer({**one.spec, "unit": None}, artifact, stored, Request("x"), work)
    newer = artifact._replace(source={**artifact.source, "rdb_version": 99})
    with _restorer(one, newer, stored, work) as restorer, pytest.raises(EngineError) as caught:
        restorer.check()
    assert caught.value.code == "version"
    with pytest.raises(EngineError) as caught:
        ENGINE.drill(None, newer, stored, work)
    assert caught.value.code == "version"
    replica = server(replicaof="127.0.0.1 1")
    with _restorer(replica, artifact, stored, work) as restorer, pytest.raises(EngineError, match="replica"):
        restorer.check()


def test_two_servers_in_one_restore(server, work, tmp_path):
    """Each finds its own files again while both are down."""
    work, _warned = work
    servers = [server(), server(appendonly="yes")]
    sets = []
    for number, one in enumerate(servers):
        with one.client() as client:
            client.ask("SET", "old", str(number))
        artifact, stored = _back_up(one, work, tmp_path, "20260131T04050%dZ" % number)
        sets.append((artifact._replace(file="redis%d.rdb.zst" % number), stored, one.digest()))
        with one.client() as client:
            client.ask("SET", "present", str(number))
    present = [one.digest() for one in servers]
    restorers = [
        ENGINE.restorer(one.spec, artifact, stored, Request("r1"), work)
        for one, (artifact, stored, _digest) in zip(servers, sets, strict=True)
    ]
    with restorers[0] as first, restorers[1] as second:
        for back in (False, True):
            if not back:
                first.stage()
                second.stage()
            for one in servers:
                one.stop()
            for restorer in (first, second):
                restorer.unswap() if back else restorer.swap()
            for one in servers:
                one.start()
            wanted = present if back else [digest for _artifact, _stored, digest in sets]
            assert [one.digest() for one in servers] == wanted
        first.unstage()
        second.unstage()
    for one in servers:
        _nothing_is_left(one.folder)


def test_what_a_user_needs_as_the_documentation_tells(server, work, tmp_path):
    """No more than that; and for a restore the settings and functions."""
    work, _warned = work
    one = server()
    with one.client() as client:
        fill(client)
        client.ask("ACL", "SETUSER", "backup", "on", ">pw", "+sync", "+replconf", "+info", "+config|get")
    spec = {**one.spec, "user": "backup", "password": "pw"}
    ENGINE.reach(spec, work)
    with ENGINE.dump(spec, work) as dump:
        backup_stream.write(dump.source, str(tmp_path / "x.zst"))
        assert dump.finish().counts["keys"] == 3020
    assert ENGINE.integrity(spec, work).ok
    artifact, stored = _back_up(one, work, tmp_path)
    with ENGINE.restorer(spec, artifact, stored, Request("u1"), work) as restorer:
        restorer.check()
        with one.client() as client:
            client.ask("ACL", "SETUSER", "backup", "+function|list")
        assert restorer.count() == artifact.counts


def _certificates(folder):
    """An authority, and what it has signed for the server and for us."""
    folder.mkdir()
    for name in ("ca", "other"):
        words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=" + name]
        subprocess.run(["openssl", "req", *words, "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"], check=True, stderr=-3)
    for name in ("server", "client"):
        words = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-keyout", folder / f"{name}.key", "-out", folder / "request"]
        subprocess.run(["openssl", "req", *words], check=True, stderr=-3)
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        words = ["-req", "-in", folder / "request", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "2"]
        subprocess.run(["openssl", "x509", *words, "-extfile", folder / "names", "-out", folder / f"{name}.pem"], check=True, stderr=-3)
    return folder


def test_tls(server, work, tmp_path):
    """The server's certificate is checked, and it checks ours, as Redis does unless it is told otherwise."""
    work, _warned = work
    made = _certificates(tmp_path / "tls")
    port = programs.free_port()
    files = {"tls_cert_file": str(made / "server.pem"), "tls_key_file": str(made / "server.key"), "tls_ca_cert_file": str(made / "ca.pem")}
    one = server(tls_port=str(port), **files)
    with one.client() as client:
        fill(client)
        client.ask("SET", "large", "x" * 5_000_000)
    plain = {"host": "127.0.0.1", "port": port, "password": PASSWORD, "timeout": 5.0}
    spec = {**plain, "ca_file": str(made / "ca.pem"), "cert_file": str(made / "client.pem"), "key_file": str(made / "client.key")}
    ENGINE.reach(spec, work)
    with ENGINE.dump(spec, work) as dump:
        backup_stream.write(dump.source, str(tmp_path / "x.zst"))
        assert dump.finish().counts["keys"] == 3021
    for wrong in (
        {**spec, "ca_file": str(made / "other.pem")},
        {**spec, "cert_file": None, "key_file": None},
        {**spec, "cert_file": str(made / "other.pem"), "key_file": str(made / "other.key")},
        {**spec, "host": "localhost"},
        plain,
    ):
        with pytest.raises(EngineError) as caught:
            ENGINE.reach(wrong, work)
        assert caught.value.code == "unreachable" and PASSWORD not in str(caught.value)


class _Elsewhere(Place):
    """A network of its own, as a pod's is: only programs in it reach the server. ``path``: where they are looked for."""

    def __init__(self, process, path=None):
        self.process, self.path = process, path

    def wrap(self, what, limits=None):
        started = HOST.wrap(what, limits)
        there = [] if self.process == os.getpid() else ["nsenter", "--net", "--target", str(self.process)]
        words = [*there, "env", *([f"PATH={self.path}"] if self.path else [])]
        return started._replace(argv=words + started.argv)


@pytest.fixture
def apart(server, tmp_path):
    """A server in a network of its own."""
    if os.geteuid() != 0:
        programs.leave_out("a network of its own takes root")
    wrapper = tmp_path / "apart"
    wrapper.write_text(f'#!/bin/sh\nexec unshare --net sh -c \'ip link set lo up; exec {programs.needs("redis-server")} "$@"\' sh "$@"\n')
    wrapper.chmod(0o755)
    return server(port="6379", program=str(wrapper), rdbcompression="no")


@pytest.mark.parametrize("relay", ["socat", "bash", "nc"])
def test_a_server_that_only_programs_in_its_place_reach(apart, work, tmp_path, relay, monkeypatch):
    """Dumped through whichever program is there that hands bytes on; a cut is a failure, a server that is down is told."""
    monkeypatch.setattr(redis_client, "_QUIET", 2.0)  # nc does not end when the server does
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat", relay):
        (folder / name).symlink_to(programs.needs(name))
    work = work[0]._replace(place=_Elsewhere(apart.process.pid, folder))
    spec = {"host": "127.0.0.1", "port": 6379, "password": PASSWORD, "timeout": 5.0}
    with pytest.raises(EngineError):
        ENGINE.reach(spec, work._replace(place=HOST))
    with apart.client() as client:
        fill(client)
        client.ask("DEBUG", "POPULATE", "15000", "large", "2000")
    ENGINE.reach(spec, work)
    with ENGINE.dump(spec, work) as dump:
        backup_stream.write(dump.source, str(tmp_path / "x.zst"), limits=work.limits)
        assert dump.finish().counts["keys"] == 18020
    assert ENGINE.integrity(spec, work).counts == {"keys": 18020}
    with pytest.raises(EngineError, match="own host"):
        ENGINE.restorer({**spec, "unit": "redis"}, Artifact("redis", "x", 0, "", "", 0.0, 0.0), Stored("x"), Request("x"), work)
    with pytest.raises(EngineError) as caught:
        ENGINE.reach({**spec, "port": 1, "timeout": 2.0}, work)
    assert caught.value.code == "unreachable"
    assert "refused" in str(caught.value).lower() or relay == "nc", "it says nothing"

    def cut(blocks):
        for at, block in enumerate(blocks):
            if at == 1:
                apart.kill()
            yield block

    with ENGINE.dump(spec, work) as dump, pytest.raises(EngineError):
        backup_stream.write(cut(dump.source), str(tmp_path / "y.zst"))
    apart.process = None


def test_a_place_without_a_program_that_hands_bytes_on(work, tmp_path):
    """It is told which are looked for."""
    (tmp_path / "sh").symlink_to(programs.needs("sh"))
    work = work[0]._replace(place=_Elsewhere(os.getpid(), tmp_path))
    with pytest.raises(EngineError, match="none of socat, bash and nc"):
        ENGINE.reach({"timeout": 5.0}, work)


def test_a_server_that_would_evict(server, work, tmp_path):
    """A backup that is larger than the server may be is refused before, and what it evicts all the same is told."""
    work, _warned = work
    one = server()
    with one.client() as client:
        client.ask("DEBUG", "POPULATE", "3000", "key", "1000")
    artifact, stored = _back_up(one, work, tmp_path)
    used = artifact.source["used_memory"]
    with one.client() as client:
        client.ask("FLUSHALL")
        client.ask("CONFIG", "SET", "maxmemory", used - 100_000)
    with _restorer(one, artifact, stored, work) as restorer:
        restorer.check()  # it refuses writes then, but keeps what it has
        with one.client() as client:
            client.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        with pytest.raises(EngineError, match="maxmemory") as caught:
            restorer.check()
        assert caught.value.code == "space"
        restorer.stage()
        one.stop()
        restorer.swap()
        one.settings.update({"maxmemory": str(used // 2), "maxmemory-policy": "allkeys-lru"})
        one.start()
        with pytest.raises(EngineError, match="evicted"):
            restorer.finish()


def test_a_server_that_will_not_start_as_it_runs(server, work, tmp_path):
    """Its append-only file was turned off while it ran: after a start it would come up empty and write that over its data."""
    work, _warned = work
    one = server(appendonly="yes")
    artifact, stored = _back_up(one, work, tmp_path)
    with one.client() as client:
        client.ask("CONFIG", "SET", "appendonly", "no")
    with _restorer(one, artifact, stored, work) as restorer, pytest.raises(EngineError, match="appendonly was turned off"):
        restorer.check()


def test_a_server_that_is_made_a_replica_meanwhile(server, work, tmp_path):
    """As a Sentinel does with a primary that was away: it has another's data then."""
    work, _warned = work
    one = server()
    artifact, stored = _back_up(one, work, tmp_path)
    with _restorer(one, artifact, stored, work) as restorer:
        restorer.stage()
        one.stop()
        restorer.swap()
        one.settings["replicaof"] = "127.0.0.1 1"
        one.start()
        with pytest.raises(EngineError, match="made a replica"):
            restorer.finish()


def test_integrity_and_salvage(server, work, tmp_path):
    """Sound data is sound, a damaged file is told, and what the server has can still be saved."""
    work, _warned = work
    one = server()
    with one.client() as client:
        fill(client)
        client.ask("SAVE")
    found = ENGINE.integrity(one.spec, work)
    assert found.ok and found.counts == {"keys": 3020} and abs(found.last_write - time.time()) < 60
    with one.client() as client:
        client.ask("SET", "unsaved", "x")
    assert ENGINE.integrity(one.spec, work).last_write is None, "nobody knows when that was"
    path = one.folder / "dump.rdb"
    whole = path.read_bytes()
    path.write_bytes(b"REDIS0099" + whole[9:])
    assert ENGINE.integrity(one.spec, work).ok, "a newer form is not damage"
    path.write_bytes(whole)
    path.write_bytes(path.read_bytes()[:-20])
    found = ENGINE.integrity(one.spec, work)
    assert not found.ok and "cut off" in found.problems[0]
    assert ENGINE.salvage(one.spec, str(tmp_path), work) == [f"{tmp_path}/redis.rdb: 3021 keys"]
