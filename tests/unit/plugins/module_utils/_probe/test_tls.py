# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ssl
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import tls as probe_tls
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.options import read_probes
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.run import run_probes
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.tls import name_matches, read_certificate, read_certificates
from tests.helpers.probe_servers import Authority, Server, answer, find, reason, saying


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "Somebody Else")


@pytest.fixture
def serve():
    servers = []

    def start(context, handle=None):
        servers.append(Server(handle or answer(), context=context, reads=handle is None))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_a_good_certificate_is_ok_with_its_days_left(authority, serve):
    item = find(type="tls", address=serve(authority.context("127.0.0.1")).address, ca_file=str(authority.file), names=["127.0.0.1"])
    assert (item["status"], item["unit"], item["warning"], item["critical"]) == ("ok", "d", "30:", "7:")
    assert 59.8 < item["value"] <= 60
    assert item["evidence"]["certificate_names"] == ["127.0.0.1"]
    assert item["evidence"]["issuer"] == "O=Tests, CN=Test CA"


@pytest.mark.skipif(sys.version_info < (3, 10), reason="this Python does not tell the chain")
def test_a_chain_lasts_no_longer_than_what_signs_the_servers_certificate(authority, serve, tmp_path):
    between = authority.below(tmp_path, days=20)
    server = serve(between.chained("127.0.0.1", between.file, days=60))
    item = find(type="tls", address=server.address, ca_file=str(authority.file), names=["127.0.0.1"])
    assert (item["status"], item["message"]) == ("warning", "probe.tls.ends")
    assert 19.8 < item["value"] <= 20
    # What ends first is told, with the names of what the server shows of itself.
    assert (item["evidence"]["subject"], item["evidence"]["certificate_names"]) == ("CN=Between", ["127.0.0.1"])


def test_what_a_server_sends_and_nobody_needs_may_have_ended(authority, serve):
    old, _key = authority.issue("old.example.org", days=-2)
    item = find(type="tls", address=serve(authority.chained("127.0.0.1", old)).address, ca_file=str(authority.file))
    assert (item["status"], item["message"]) == ("ok", "probe.tls.ok")


@pytest.mark.parametrize(("days", "status"), [(20, "warning"), (3, "critical")])
def test_a_certificate_that_ends_soon_breaks_the_thresholds(authority, serve, days, status):
    item = find(type="tls", address=serve(authority.context("127.0.0.1", days=days)).address, ca_file=str(authority.file))
    assert (item["status"], item["message"]) == (status, "probe.tls.ends")
    assert days - 0.2 < item["value"] <= days


BAD = [
    ({"name": "127.0.0.1", "days": -2}, {}, "tls_expired", -2),
    ({"name": "127.0.0.1", "begins": 2}, {}, "tls_not_yet", 60),
    ({"name": "127.0.0.1", "sign": False}, {}, "tls_self_signed", 60),
    ({"name": "192.0.2.1"}, {}, "tls_other_name", 60),
    ({"name": "other.example.org"}, {"server_name": "api.example.org"}, "tls_other_name", 60),
]


@pytest.mark.parametrize("kind", ["tls", "http", "tcp"])
@pytest.mark.parametrize(("certificate", "options", "expected", "days"), BAD)
def test_a_bad_certificate_is_named_and_its_days_left_are_told_nonetheless(authority, serve, kind, certificate, options, expected, days):
    server = serve(authority.context(**certificate))
    target = {"url": server.url()} if kind == "http" else {"address": server.address}
    item = find(type=kind, ca_file=str(authority.file), **target, **options, **({"tls": True} if kind == "tcp" else {}))
    assert (item["status"], reason(item)) == ("critical", expected)
    assert days - 0.3 < item["evidence"]["days_left"] <= days
    if kind == "tls":
        assert item["value"] == item["evidence"]["days_left"]


def test_a_certificate_of_a_foreign_authority_is_told(authority, stranger, serve):
    item = find(type="http", url=serve(stranger.context("127.0.0.1")).url(), ca_file=str(authority.file))
    assert (item["status"], reason(item)) == ("critical", "tls_foreign")
    assert item["evidence"]["issuer"] == "O=Tests, CN=Somebody Else"


def test_without_verification_only_the_end_counts(stranger, serve):
    assert find(type="tls", address=serve(stranger.context("x.example.org")).address, verify=False)["status"] == "ok"
    ended = find(type="tls", address=serve(stranger.context("x.example.org", days=-1)).address, verify=False)
    assert (ended["status"], ended["message"]) == ("critical", "probe.tls.expired")


def test_names_that_the_certificate_must_cover_are_held_against_it(authority, serve):
    server = serve(authority.context("*.example.org"))
    options = {"address": server.address, "ca_file": str(authority.file), "server_name": "a.example.org"}
    assert find(type="tls", names=["b.example.org"], **options)["status"] == "ok"
    item = find(type="tls", names=["b.example.org", "example.org"], **options)
    assert (item["status"], item["params"]["missing"]) == ("critical", ["example.org"])


def test_the_dot_that_ends_a_whole_name_is_none_of_the_certificates(authority, serve):
    options = {"address": serve(authority.context("a.example.org")).address, "ca_file": str(authority.file)}
    assert find(type="tls", server_name="a.example.org.", **options)["status"] == "ok"


def test_https_tells_the_handshake_apart_and_the_days_left(authority, serve):
    item = find(type="http", url=serve(authority.context("127.0.0.1")).url(), ca_file=str(authority.file))
    assert item["status"] == "ok"
    assert item["evidence"]["tls_version"].startswith("TLSv1")
    stages = [stage["params"]["stage"]["message"] for stage in item["evidence"]["timing"]["params"]["stages"]]
    assert stages == ["stage.name", "stage.connect", "stage.tls", "stage.first_byte", "stage.body", "stage.total"]


def test_whom_a_certificate_is_for_is_told(authority, serve):
    item = find(type="http", url=serve(authority.context("shop.example.org")).url(), ca_file=str(authority.file))
    told = item["params"]["reason"]
    assert (told["message"], told["params"]["names"]) == ("reason.probe_tls_other_name", ["shop.example.org"])


@pytest.mark.parametrize(
    ("days", "options", "status", "text"),
    [
        (40, {}, "ok", "probe.http.ok"),
        (20, {}, "warning", "probe.tls.ends"),
        (5, {}, "critical", "probe.tls.ends"),
        (5, {"verify": False}, "critical", "probe.tls.ends"),
        (5, {"certificate": False}, "ok", "probe.http.ok"),
        (5, {"certificate_warning": "4:", "certificate_critical": "2:"}, "ok", "probe.http.ok"),
        (5, {"certificate_critical": "2:"}, "warning", "probe.tls.ends"),
        (20, {"status": "404"}, "critical", "probe.http.status"),
        (5, {"warning": "0"}, "critical", "probe.tls.ends"),
    ],
)
def test_https_tells_that_a_certificate_ends_soon(authority, serve, days, options, status, text):
    item = find(type="http", url=serve(authority.context("127.0.0.1", days=days)).url(), ca_file=str(authority.file), **options)
    assert (item["status"], item["message"]) == (status, text)
    assert item["unit"] == "ms"


@pytest.mark.parametrize("handle", [None, lambda connection, _request: connection.recv(1)])
def test_a_port_that_speaks_tls_is_asked_for_http(authority, serve, handle):
    server = serve(authority.context("127.0.0.1"), handle)
    item = find(type="http", url=server.url().replace("https:", "http:"))
    assert (item["status"], reason(item)) == ("critical", "tls_port")
    assert item["params"]["reason"]["params"] == {"port": int(server.address.rpartition(":")[2])}


@pytest.mark.parametrize("pieces", [[b"HTTP/1.1 400 Bad\r\n\r\n"], [b"\x15\x03\x01\x00\x02\x02\x28"], []])
def test_a_server_that_speaks_no_tls_is_told(serve, pieces):
    item = find(type="tls", address=serve(None, saying(*pieces)).address)
    assert (item["status"], reason(item)) in [("critical", "tls_protocol"), ("critical", "closed"), ("critical", "reset")]


def test_a_handshake_without_answer_ends_in_time(serve):
    def silent(connection, _request):
        while connection.recv(4096):
            pass

    item = find(type="tls", address=serve(None, silent).address, timeout="200ms")
    assert (item["status"], reason(item)) == ("critical", "timeout")
    assert item["params"]["reason"]["params"]["stage"]["message"] == "stage.tls"


def test_a_ca_file_that_is_not_there_is_unknown(authority, serve, tmp_path):
    item = find(type="http", url=serve(authority.context("127.0.0.1")).url(), ca_file=str(tmp_path / "none.pem"))
    assert (item["status"], reason(item)) == ("unknown", "tls_files")


def test_our_own_slowness_with_certificates_is_not_told_as_the_servers(authority, serve, monkeypatch):
    def slowly(key, make=probe_tls._make_context):
        time.sleep(0.3)
        return make(key)

    monkeypatch.setattr(probe_tls, "_make_context", slowly)
    item = find(type="http", url=serve(authority.context("127.0.0.1")).url(), ca_file=str(authority.file), timeout="250ms")
    assert item["status"] == "ok"
    assert item["value"] < 250


def test_certificates_that_hang_are_no_fault_of_the_server(authority, serve, monkeypatch):
    monkeypatch.setattr(probe_tls, "_make_context", lambda key: time.sleep(2))
    probe = {"name": "x", "type": "http", "url": serve(authority.context("127.0.0.1")).url(), "timeout": "100ms"}
    findings, _results = run_probes(read_probes([probe]), deadline=0.3)
    assert findings[0]["status"] == "unknown"


def test_one_context_serves_all_probes_with_the_same_options(authority, serve, monkeypatch):
    made = []

    def counted(key, make=probe_tls._make_context):
        made.append(key)
        return make(key)

    monkeypatch.setattr(probe_tls, "_make_context", counted)
    url = serve(authority.context("127.0.0.1")).url()
    probes = [{"name": str(number), "type": "http", "url": url, "ca_file": str(authority.file)} for number in range(12)]
    findings, _results = run_probes(read_probes([*probes, {"name": "x", "type": "http", "url": url, "verify": False}]))
    assert {item["status"] for item in findings} == {"ok"}
    assert sorted(made) == [(False, None, (None, None)), (True, str(authority.file), (None, None))]


def test_a_client_certificate_is_shown_to_a_server_that_asks(authority, serve):
    context = authority.context("127.0.0.1")
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue("client.example.org")
    options = {"url": serve(context).url(), "ca_file": str(authority.file)}
    assert find(type="http", client_cert=str(certificate), client_key=str(key), **options)["status"] == "ok"
    assert find(type="http", **options)["status"] == "critical"


def test_tcp_over_tls_sends_and_expects(authority, serve):
    server = serve(authority.context("127.0.0.1"), lambda connection, _request: connection.sendall(b"pong:" + connection.recv(9)))
    item = find(type="tcp", address=server.address, tls=True, ca_file=str(authority.file), send="ping", expect="^pong:ping$")
    assert item["status"] == "ok"


# -- files ---------------------------------------------------------------------------------------------------------------


def test_a_certificate_file_is_judged_by_the_one_that_ends_first(authority, tmp_path):
    chain = tmp_path / "chain.pem"
    texts = [authority.issue(name, days=days)[0].read_text() for name, days in (("a.example.org", 90), ("signer", 5))]
    chain.write_text("".join(texts))
    # The first is the server's own, whose names count.
    item = find(type="tls", path=str(chain), names=["a.example.org"])
    assert (item["status"], item["message"]) == ("critical", "probe.tls.ends")
    assert 4.8 < item["value"] <= 5


@pytest.mark.parametrize(
    ("content", "status"), [(None, "unknown"), (b"", "unknown"), (b"no certificate", "unknown"), (b"\x30\x82", "unknown")]
)
def test_a_certificate_file_that_cannot_be_read_is_unknown(tmp_path, content, status):
    if content is not None:
        (tmp_path / "it.pem").write_bytes(content)
    assert find(type="tls", path=str(tmp_path / "it.pem"))["status"] == status


def test_a_certificate_is_read_as_openssl_reads_it(authority):
    path, _key = authority.issue("*.example.org", days=100)
    ours = read_certificates(path.read_bytes())[0]
    theirs = ssl._ssl._test_decode_cert(str(path))
    assert ours.not_after == ssl.cert_time_to_seconds(theirs["notAfter"])
    assert ours.not_before == ssl.cert_time_to_seconds(theirs["notBefore"])
    assert [("DNS", name) for name in ours.names] == list(theirs["subjectAltName"])
    assert ours.subject == "CN=service"


@given(place=st.integers(0, 2000), byte=st.integers(0, 255), length=st.integers(0, 2000))
@settings(max_examples=300, deadline=None)
def test_no_damage_makes_the_reader_fail_otherwise_than_by_value_error(authority, place, byte, length):
    der = bytearray(ssl.PEM_cert_to_DER_cert(authority.file.read_text()))
    der[place % len(der)] = byte
    try:
        read_certificate(bytes(der[: len(der) - length % len(der)] if length > 1000 else der))
    except ValueError:
        return


@pytest.mark.parametrize(
    ("pattern", "name", "covers"),
    [
        ("a.example.org", "A.example.org", True),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.example.org", ".example.org", False),
        ("a.example.org.", "a.example.org", True),
        ("a*.example.org", "ab.example.org", False),
    ],
)
def test_a_star_stands_for_one_whole_label(pattern, name, covers):
    assert name_matches(pattern, name) is covers
