# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import outcome as probe_outcome
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.http import Reader, first_request, request_bytes, same, unpack
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.options import read_probes
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.outcome import Failure
from tests.helpers.probe_servers import Refusing, Server, answer, find, probe, reason, saying, silent


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


def test_a_right_answer_is_ok_with_its_time_and_where_it_was_spent(serve):
    found, result = probe(type="http", url=serve(answer(b"fine")).url("/health"))
    item = found["http.it"]
    assert (item["status"], item["message"], item["unit"]) == ("ok", "probe.http.ok", "ms")
    assert item["value"] == result["timings"]["total_ms"]
    assert set(result["timings"]) == {"name_ms", "connect_ms", "first_byte_ms", "body_ms", "total_ms"}
    assert item["evidence"]["http_status"] == 200


@pytest.mark.parametrize(
    ("options", "body", "status", "message"),
    [
        ({"contains": ["fine"]}, b"all fine", "ok", None),
        ({"contains": ["fine"]}, b"broken", "critical", "no_text"),
        ({"regex": r"v\d+"}, b"v12", "ok", None),
        ({"regex": r"v\d+\Z"}, b"none", "critical", "no_match"),
        ({"not_regex": "(?i)error"}, b"fine", "ok", None),
        ({"not_regex": "(?i)error"}, b"an Error", "critical", "match"),
        ({"contains": ["\ufffd"]}, b"\xff\xfe\x80", "ok", None),
        ({"contains": "\uc548\ub155"}, "\uc548\ub155".encode(), "ok", None),
    ],
)
def test_the_body_is_matched_as_text(serve, options, body, status, message):
    item = find(type="http", url=serve(answer(body)).url(), **options)
    assert item["status"] == status
    assert (reason(item) or None) == message


@pytest.mark.parametrize(
    ("wanted", "line", "status"),
    [
        (None, "204 No Content", "ok"),
        (None, "302 Found", "critical"),
        (["200-399"], "302 Found", "ok"),
        (["2xx", "404"], "404 Not Found", "ok"),
        ([503], "503 Busy", "ok"),
        (None, "500 Oops", "critical"),
    ],
)
def test_the_status_is_held_against_those_that_are_right(serve, wanted, line, status):
    item = find(type="http", url=serve(answer(b"", line)).url(), status=wanted)
    assert item["status"] == status


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "no_http"),
        ([b"HTTP/1.1 abc what\r\n\r\n"], "no_http"),
        ([b"\x00\xff\x00\xff" * 100], "no_http"),
        ([b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70000], "header_flood"),
        ([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n"], "header_flood"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"], "short_body"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"], "bad_length"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"], "bad_length"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"], "bad_chunk"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n"], "bad_chunk"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"], "short_body"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000], "bad_chunk"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" * 20], "no_http"),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"], "encoding"),
        ([], "closed"),
        ([b"HTTP/1.1 200"], "no_http"),
    ],
)
def test_an_answer_that_is_broken_is_named(serve, pieces, expected):
    item = find(type="http", url=serve(saying(*pieces)).url())
    assert (item["status"], reason(item)) == ("critical", expected)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n"],
        [b"HTTP/1.1 200 OK\nContent-Length: 5\n\nabcde"],
        [b"HTTP/1.0 200 OK\r\n\r\n", b"abc", b"de"],
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 5\r\n\r\nabcdeTOO MUCH"],
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"abcde")],
    ],
)
def test_an_answer_of_any_right_form_is_read(serve, pieces):
    assert find(type="http", url=serve(saying(*pieces)).url(), regex=r"\Aabcde\Z")["status"] == "ok"


def test_a_head_request_waits_for_no_body(serve):
    server = serve(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
    assert find(type="http", url=server.url(), method="head")["status"] == "ok"
    assert server.requests[0].startswith(b"HEAD / HTTP/1.1\r\n")


def test_a_server_that_never_answers_is_critical_and_told_with_the_stage(serve):
    item = find(type="http", url=serve(silent).url(), timeout="200ms")
    assert (item["status"], reason(item)) == ("critical", "timeout")
    assert item["params"]["reason"]["params"]["stage"]["message"] == "stage.first_byte"


def test_a_server_that_drips_is_cut_off_in_time(serve):
    gone = threading.Event()

    def drip(connection, _request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        try:
            while not gone.wait(0.02):
                connection.sendall(b"x")
        except OSError:
            gone.set()

    item = find(type="http", url=serve(drip).url(), timeout="300ms")
    assert (item["status"], reason(item)) == ("critical", "timeout")
    assert item["params"]["reason"]["params"]["stage"]["message"] == "stage.body"
    assert gone.wait(60)  # the connection was closed: it would have dripped for half an hour


def endless(connection, _request):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nbegin")
    while True:
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, "ok"),
        ({"contains": ["begin"]}, "ok"),
        ({"contains": ["never"]}, "unknown"),
        ({"not_regex": "never"}, "unknown"),
        ({"not_regex": "begin"}, "critical"),
        ({"json": [{"expression": "a"}]}, "unknown"),
    ],
)
def test_an_endless_body_is_read_to_the_limit_and_what_it_cannot_prove_is_unknown(serve, options, status):
    item = find(type="http", url=serve(endless).url(), max_body="64K", **options)
    assert item["status"] == status
    assert item["evidence"]["bytes_body"] == 65536
    assert item["evidence"]["body_cut"] is True
    if not options:
        assert (item["message"], item["params"]["bytes"]) == ("probe.http.ok_cut", 65536)  # it says what was not looked at


def test_a_compressed_bomb_is_unpacked_to_the_limit_only(serve):
    bomb = gzip.compress(b"\0" * 50_000_000)
    item = find(type="http", url=serve(answer(bomb, Content_Encoding="gzip")).url(), contains=["x"])
    assert (item["status"], reason(item)) == ("unknown", "body_cut")
    assert item["evidence"]["bytes_body"] == 1024 * 1024


def test_a_refused_and_a_reset_connection_are_told_apart(serve, dead):
    assert reason(find(type="http", url=dead.url())) == "refused"

    def reset(connection, _request):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert reason(find(type="http", url=serve(reset).url())) == "reset"


def test_a_slow_answer_breaks_its_thresholds(serve):
    assert find(type="http", url=serve(answer()).url(), warning="@0:5000")["message"] == "probe.http.slow"
    assert find(type="http", url=serve(answer()).url(), critical="@0:5000", warning="@0:5000")["status"] == "critical"


def test_a_pattern_that_backtracks_without_end_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(probe_outcome.search, "__defaults__", (0.1,))
    item = find(type="http", url=serve(answer(b"a" * 60)).url(), regex=r"(a+)+\Zb")
    assert (item["status"], reason(item)) == ("unknown", "regex_slow")


# -- redirects -----------------------------------------------------------------------------------------------------------


def test_a_redirect_is_followed_only_when_that_is_wanted(serve):
    def handle(connection, request):
        path = request.split()[1]
        answer(b"there" if path == b"/there" else b"", "200 OK" if path == b"/there" else "302 Found", Location="/there")(
            connection, request
        )

    server = serve(handle)
    assert find(type="http", url=server.url())["params"]["status"] == 302
    item = find(type="http", url=server.url(), follow_redirects=True, contains="there")
    assert item["status"] == "ok"
    assert item["evidence"]["redirects"] == [server.url("/there")]


@pytest.mark.parametrize(
    ("location", "target"), [("/caf\u00e9", "/caf%C3%A9"), ("/a b?c=d e", "/a%20b?c=d%20e"), ("/a%20b?q=%5B#f", "/a%20b?q=%5B")]
)
def test_a_redirect_is_followed_to_where_the_server_means(serve, location, target):
    def handle(connection, request):
        first = request.startswith(b"GET / ")
        head = "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location if first else "HTTP/1.1 200 OK\r\n\r\n"
        connection.sendall(head.encode("utf-8"))

    server = serve(handle)
    assert find(type="http", url=server.url(), follow_redirects=True)["status"] == "ok"
    assert server.requests[1].split()[1].decode() == target


def test_the_interface_of_an_address_is_not_told_to_the_server():
    request = first_request(
        read_probes([{"name": "it", "type": "http", "url": "http://[fe80::1%eth0]:8080/"}])[0], "http://[fe80::1%eth0]:8080/"
    )
    assert b"\r\nHost: [fe80::1]:8080\r\n" in request_bytes(request)


def test_redirects_in_a_circle_and_without_end_are_stopped(serve):
    circle = serve(answer(b"", "301 Moved", Location="/"))
    assert reason(find(type="http", url=circle.url(), follow_redirects=True)) == "redirect_loop"

    def onward(connection, request):
        answer(b"", "302 Found", Location=request.split()[1].decode() + "x")(connection, request)

    server = serve(onward)
    assert reason(find(type="http", url=server.url(), follow_redirects=True, max_redirects=3)) == "redirects"
    assert len(server.requests) == 4


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://", "http://a b/", "javascript:x"])
def test_a_redirect_to_something_else_than_http_is_not_followed(serve, location):
    server = serve(answer(b"", "302 Found", Location=location))
    assert reason(find(type="http", url=server.url(), follow_redirects=True)) in ("redirect_bad", "redirect_loop")


def test_credentials_go_to_the_server_that_is_named_and_to_no_other(serve):
    other = serve(answer(b"fine"))
    first = serve(answer(b"", "307 Elsewhere", Location=other.url("/x")))
    options = {"headers": {"Cookie": "session=abcdef", "X-Api-Key": "keykeykey"}, "username": "u", "password": "secretpass"}
    assert find(type="http", url=first.url(), follow_redirects=True, host_header="named", **options)["status"] == "ok"
    assert b"Cookie: session=abcdef" in first.requests[0]
    assert b"Authorization: Basic dTpzZWNyZXRwYXNz" in first.requests[0]
    assert b"Host: named" in first.requests[0]
    for word in (b"Cookie", b"Authorization", b"Api", b"named"):
        assert word not in other.requests[0]


def test_a_body_is_not_carried_to_another_server(serve):
    other = serve(answer(b"fine"))
    first = serve(answer(b"", "307 Elsewhere", Location=other.url()))
    item = find(type="http", url=first.url(), method="POST", body={"a": 1}, follow_redirects=True)
    assert reason(item) == "redirect_body"
    assert other.requests == []


def test_a_post_becomes_a_get_after_303_and_loses_its_body(serve):
    def handle(connection, request):
        if request.startswith(b"POST"):
            answer(b"", "303 See", Location="/done")(connection, request)
        else:
            answer(b"done")(connection, request)

    server = serve(handle)
    assert find(type="http", url=server.url(), method="POST", body={"a": 1}, follow_redirects=True)["status"] == "ok"
    assert b"Content-Type: application/json" in server.requests[0]
    assert server.requests[1].startswith(b"GET /done ")
    assert b"Content-" not in server.requests[1]


# -- JSON ----------------------------------------------------------------------------------------------------------------

BODY = {"status": "UP", "pool": {"active": 85, "name": "main"}, "ok": True, "none": None, "text": "12.5"}


@pytest.mark.parametrize(
    ("item", "status"),
    [
        ({"expression": "status", "equals": "UP"}, "ok"),
        ({"expression": "status", "equals": "DOWN"}, "critical"),
        ({"expression": "status", "one_of": ["UP", "OK"]}, "ok"),
        ({"expression": "status", "regex": "^U"}, "ok"),
        ({"expression": "status", "regex": "^D"}, "critical"),
        ({"expression": "ok", "equals": True}, "ok"),
        ({"expression": "ok", "equals": 1}, "critical"),
        ({"expression": "pool.active", "equals": 85.0}, "ok"),
        ({"expression": "pool.active", "equals": "85"}, "critical"),
        ({"expression": "pool.active > `80`"}, "ok"),
        ({"expression": "pool.active > `90`"}, "critical"),
        ({"expression": "missing"}, "critical"),
        ({"expression": "pool", "equals": {"active": 85, "name": "main"}}, "ok"),
        ({"expression": "sum(status)"}, "critical"),
    ],
)
def test_an_expression_is_held_against_the_json_body(serve, item, status):
    url = serve(answer(json.dumps(BODY).encode())).url()
    assert find(type="http", url=url, json=[item])["status"] == status


@pytest.mark.parametrize(
    ("item", "status", "value"),
    [
        ({"expression": "pool.active", "warning": "80", "critical": "95", "unit": "%"}, "warning", 85),
        ({"expression": "pool.active", "critical": "90"}, "ok", 85),
        ({"expression": "text", "critical": "10"}, "critical", 12.5),
        ({"expression": "status", "critical": "10"}, "unknown", None),
        ({"expression": "missing", "critical": "10"}, "critical", None),
    ],
)
def test_an_expression_with_thresholds_yields_its_own_finding(serve, item, status, value):
    found, _result = probe(type="http", url=serve(answer(json.dumps(BODY).encode())).url(), json=[{"name": "x", **item}])
    assert (found["http.it.x"]["status"], found["http.it.x"]["value"]) == (status, value)
    assert found["http.it"]["status"] == "ok"


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff\xfe\xff", b"[" * 100000, b'{"a": '])
def test_a_body_that_is_no_json_is_critical_and_its_values_unknown(serve, body):
    found, _result = probe(type="http", url=serve(answer(body)).url(), json=[{"name": "x", "expression": "a", "critical": "1"}])
    assert (found["http.it"]["status"], reason(found["http.it"])) == ("critical", "no_json")
    assert found["http.it.x"]["status"] == "unknown"


def test_values_are_unknown_when_there_is_no_answer(dead):
    found, _result = probe(type="http", url=dead.url(), json=[{"name": "x", "expression": "a", "critical": "1"}])
    assert [found["http.it"]["status"], found["http.it.x"]["status"]] == ["critical", "unknown"]


# -- secrets -------------------------------------------------------------------------------------------------------------


def test_secrets_of_the_options_are_in_nothing_that_comes_back(serve):
    def echo(connection, request):
        answer(b"denied: " + request, "403 No", Location="http://u:hidden1@x/?token=hidden2")(connection, request)

    url = serve(echo).url("/?api_key=hidden3&a=b").replace("://", "://user:hidden4@")
    headers = {"Authorization": "Bearer hidden5", "Cookie": "sid=hidden6", "X-Auth-Token": "hidden7"}
    found, result = probe(type="http", url=url, headers=headers)
    more, also = probe(type="http", url=url, username="u", password="hidden8")
    text = repr([found, result, more, also])
    assert "hidden" not in text
    assert "user:" not in text
    assert "dTpoaWRkZW44" not in text


# -- failover, both families -----------------------------------------------------------------------------------------------


def test_the_first_address_that_answers_decides_and_the_others_are_told(serve, dead):
    garbage, good = serve(saying(b"what?")), serve(answer())
    item = find(type="http", urls=[dead.url(), garbage.url(), good.url(), "http://never.invalid/"])
    assert item["status"] == "ok"
    assert item["evidence"]["url"] == good.url()
    assert [told["params"]["reason"]["message"] for told in item["evidence"]["failed_targets"]] == [
        "reason.probe_refused",
        "reason.probe_no_http",
    ]


def test_an_answer_that_is_wrong_still_decides(serve):
    bad, good = serve(answer(b"", "500 Oops")), serve(answer())
    assert find(type="http", urls=[bad.url(), good.url()])["status"] == "critical"
    assert good.requests == []


def test_retries_go_on_until_an_answer_is_right(serve):
    seen = []

    def third_time(connection, request):
        seen.append(request)
        answer(b"", "200 OK" if len(seen) == 3 else "503 Busy")(connection, request)

    item = find(type="http", url=serve(third_time).url(), retries=5, retry_delay="10ms")
    assert (item["status"], item["evidence"]["attempts"], len(seen)) == ("ok", 3, 3)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_families_are_spoken(serve, host):
    server = serve(answer(), host=host)
    item = find(type="http", url=server.url())
    assert (item["status"], item["evidence"]["address"]) == ("ok", server.address)


def test_a_name_falls_back_to_the_family_that_listens(serve):
    server = serve(answer())  # on IPv4 only, while localhost may well be ::1 first
    assert find(type="http", url=server.url(host="localhost"))["status"] == "ok"


def test_a_name_that_does_not_exist_is_told():
    item = find(type="http", url="http://no-such-name.invalid/")
    assert item["status"] == "critical"
    assert reason(item) in ("name_unknown", "name_again")


# -- the reader by itself ----------------------------------------------------------------------------------------------------

ANSWERS = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde", b"abcde"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: x\r\n\r\n", b"abcde"),
    (b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n\r\nabc", b"abc"),
    (b"HTTP/1.1 204 None\r\nX: y\r\n\r\n", b""),
]


@pytest.mark.parametrize(("data", "body"), ANSWERS)
@given(cuts=st.lists(st.integers(0, 110), max_size=6))
@settings(max_examples=50, deadline=None)
def test_an_answer_reads_the_same_in_whatever_pieces_it_comes(data, body, cuts):
    reader = Reader()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for at in range(1, len(edges)):
        reader.feed(data[edges[at - 1] : edges[at]])
    reader.end()
    assert reader.answer().body == body


@given(
    data=st.binary(max_size=300),
    head=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
)
@settings(max_examples=200, deadline=None)
def test_no_bytes_make_the_reader_fail_otherwise_than_by_saying_so(data, head):
    reader = Reader(max_body=50)
    try:
        reader.feed(head + data)
        reader.end()
        size = len(reader.answer().body)
    except Failure:
        size = 0
    assert size <= 50


def test_a_body_in_tiny_chunks_ends_in_time():
    reader = Reader(max_body=1 << 20)
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    started = time.process_time()
    for _piece in range(20):
        reader.feed(b"1\r\nx\r\n" * 11000)
    assert reader.done
    assert reader.answer().cut
    assert time.process_time() - started < 20  # seconds of the processor; minutes where each piece is searched from its beginning


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: data[2:-4]])
def test_deflate_is_unpacked_with_and_without_the_zlib_header(wrap):
    import zlib

    assert unpack(wrap(zlib.compress(b"abc")), "deflate", 10) == (b"abc", False)


@pytest.mark.parametrize(
    ("found", "wanted", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (None, None, True),
        ("1", 1, False),
        ([1, True], [1, 1], False),
        ({"a": 1}, {"a": 1}, True),
    ],
)
def test_values_are_equal_as_json_has_it(found, wanted, equal):
    assert same(found, wanted) is equal
