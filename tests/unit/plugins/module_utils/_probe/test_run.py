# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import system as probe_system
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.loop import Child, Loop, Pending, result_of, sleep
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.net import interleave
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.options import read_probes
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.run import run_probes
from tests.helpers.probe_servers import Refusing, Server, answer, find, reason, saying, silent


@pytest.fixture
def serve():
    servers = []

    def start(handle, **more):
        servers.append(Server(handle, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def dead():
    with contextlib.closing(Refusing()) as refusing:
        yield refusing


def http(name, url, **more):
    return {"name": name, "type": "http", "url": url, **more}


# -- the call as a whole ---------------------------------------------------------------------------------------------------


def test_probes_run_at_once_and_are_told_in_the_order_given(serve):
    together = threading.Barrier(10)

    def slow(connection, request):
        together.wait(60)  # one after another none would be answered
        answer()(connection, request)

    slow_url, quick_url = serve(slow).url(), serve(answer()).url()
    probes = read_probes([http(str(number), slow_url if number % 2 else quick_url, timeout="60s") for number in range(20)])
    found, results = run_probes(probes)
    assert {item["status"] for item in found} == {"ok"}
    assert [item["check"] for item in found] == ["http.%d" % number for number in range(20)]
    assert [item["name"] for item in results] == [str(number) for number in range(20)]


def test_the_deadline_ends_the_call_and_tells_who_had_all_its_time(serve):
    url = serve(silent).url()
    probes = [
        http("short", url, timeout="500ms"),
        http("long", url, timeout="60s"),
        http("cut", url, timeout="1500ms", retries=5, retry_delay=0),
    ]
    found, _results = run_probes(read_probes(probes), deadline=2)
    assert [item["status"] for item in found] == ["critical", "critical", "unknown"]
    assert found[2]["message"] == "probe.missed"


def test_a_probe_whose_turn_never_came_is_unknown(serve):
    url = serve(silent).url()
    found, _results = run_probes(read_probes([http("a", url), http("b", url)]), deadline=0.2, concurrency=1)
    assert [item["message"] for item in found] == ["probe.failed", "probe.not_begun"]
    assert [item["status"] for item in found] == ["critical", "unknown"]


def test_a_few_at_once_do_as_well_as_all(serve):
    url = serve(answer()).url()
    found, _results = run_probes(read_probes([http(str(number), url) for number in range(30)]), concurrency=3)
    assert {item["status"] for item in found} == {"ok"}


def test_no_probes_yield_no_findings():
    assert run_probes([]) == ([], [])


def test_no_file_is_left_open_by_a_call(serve, tmp_path):
    url = serve(answer()).url()
    probes = read_probes(
        [http("a", url), {"name": "f", "type": "file", "path": str(tmp_path)}, {"name": "c", "type": "command", "argv": ["true"]}]
    )
    run_probes(probes)
    before = len(os.listdir("/proc/self/fd"))
    for _call in range(3):
        run_probes(probes)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_look_that_hangs_holds_up_nothing_else(serve, tmp_path, monkeypatch):
    see_file = probe_system.see_file
    monkeypatch.setattr(probe_system, "see_file", lambda probe: time.sleep(60) if probe["name"] == "dead mount" else see_file(probe))
    probes = [{"name": name, "type": "file", "path": str(tmp_path), "timeout": "300ms"} for name in ("dead mount", "fine")]
    found, _results = run_probes(read_probes(probes))
    assert [item["status"] for item in found] == ["unknown", "ok"]
    assert reason(found[0]) == "timeout"


def test_an_error_of_our_own_is_one_unknown_finding(serve, monkeypatch):
    monkeypatch.setattr(probe_system, "judge_file", lambda *_arguments: 1 / 0)
    probes = [{"name": "f", "type": "file", "path": "/"}, http("a", serve(answer()).url())]
    found, _results = run_probes(read_probes(probes))
    assert [item["status"] for item in found] == ["unknown", "ok"]
    assert "ZeroDivisionError" in str(found[0]["params"])


# -- TCP -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "expect", "status", "expected"),
    [
        ([b"SSH-2.0-x\r\n"], r"^SSH-2\.", "ok", ""),
        ([b"+PO", b"NG\r\n"], r"\+PONG", "ok", ""),
        ([b"-NOAUTH\r\n"], r"\+PONG", "critical", "no_match"),
        ([], r"\+PONG", "critical", "closed"),
        ([b"x" * 200000], "y", "critical", "no_match"),
        ([b"\xff\xfe"], "a", "critical", "no_match"),
    ],
)
def test_what_a_server_says_is_held_against_what_is_expected(serve, pieces, expect, status, expected):
    item = find(type="tcp", address=serve(saying(*pieces), reads=False).address, expect=expect)
    assert (item["status"], reason(item)) == (status, expected)


def test_a_connection_is_all_that_is_asked_without_an_expectation(serve):
    server = serve(silent, reads=False)
    item = find(type="tcp", address=server.address)
    assert (item["status"], item["unit"], item["params"]["address"]) == ("ok", "ms", server.address)


def test_what_came_before_the_time_was_over_is_shown(serve):
    def half(connection, _request):
        connection.sendall(b"loading")
        connection.recv(1)

    item = find(type="tcp", address=serve(half, reads=False).address, expect="ready", timeout="200ms")
    assert (item["status"], item["evidence"]["answer"]) == ("critical", "loading")


def test_addresses_are_tried_in_order(serve, dead):
    good = serve(silent, reads=False)
    item = find(type="tcp", addresses=[dead.address, good.address])
    assert (item["status"], item["evidence"]["target"]) == ("ok", good.address)
    assert item["evidence"]["failed_targets"][0]["params"]["target"] == dead.address


def test_a_full_backlog_is_a_time_out_in_connecting():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        fillers = [socket.socket() for _number in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        item = find(type="tcp", address="127.0.0.1:%d" % server.getsockname()[1], timeout="200ms")
        for filler in fillers:
            filler.close()
    assert (item["status"], reason(item)) == ("critical", "timeout")
    assert item["params"]["reason"]["params"]["stage"]["message"] == "stage.connect"


def test_families_take_turns():
    v4, v6 = socket.AF_INET, socket.AF_INET6
    mixed = interleave([(v6, ("a", 1)), (v6, ("b", 1)), (v4, ("c", 1)), (v4, ("d", 1)), (v4, ("e", 1)), (v6, ("a", 1))])
    assert [address[1][0] for address in mixed] == ["a", "c", "b", "d", "e"]


# -- the engine ------------------------------------------------------------------------------------------------------------


def drive(loop, *steps):
    ended = []
    for one in steps:
        loop.spawn(one, lambda value, error: ended.append((value, error)))
    loop.run()
    loop.close()
    return ended


def test_tasks_end_in_the_order_of_their_waits():
    loop = Loop()

    def wait(seconds):
        yield from sleep(loop, loop.clock() + seconds)
        return seconds

    assert [value for value, _error in drive(loop, wait(0.06), wait(0.02), wait(0))] == [0, 0.02, 0.06]


def test_work_in_threads_gives_its_result_its_error_or_a_time_out():
    loop = Loop()

    def call(work, seconds):
        return (yield from result_of(loop.call(work), loop.clock() + seconds))

    ended = drive(loop, call(lambda: 5, 5), call(lambda: 1 / 0, 5), call(lambda: time.sleep(3), 0.05))
    assert (5, None) in ended
    assert {type(error) for _value, error in ended} == {type(None), ZeroDivisionError, TimeoutError}


def test_computing_is_done_by_few_threads_and_others_begin_when_they_keep_up():
    loop = Loop()
    threads, begun, done = set(), [], []

    def work():
        threads.add(threading.get_ident())
        time.sleep(0.002)
        done.append(1)

    def compute():
        begun.append(1)
        behind = len(begun) - len(done)
        yield from result_of(loop.compute(work), loop.clock() + 5)
        return behind

    ended = drive(loop, *(compute() for _number in range(40)))
    assert [error for _value, error in ended] == [None] * 40
    assert len(threads) <= 4
    assert max(behind for behind, _error in ended) <= 8


def test_many_share_one_future():
    loop = Loop()
    future = loop.call(lambda: "found")

    def wait():
        yield Pending(future, loop.clock() + 5)
        return future.value

    assert drive(loop, *(wait() for _number in range(5))) == [("found", None)] * 5


def test_a_child_that_dies_is_an_error_and_not_a_wait():
    loop = Loop()
    child = Child(loop, [lambda: os._exit(3), lambda: {"a": 1}])
    loop.spawn(child.read())

    def call(index):
        return (yield from result_of(child.call(index), loop.clock() + 5))

    ended = drive(loop, call(0))
    assert isinstance(ended[0][1], OSError)
    child.close()
