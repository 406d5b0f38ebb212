# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.dns import decode_reply, encode_query
from tests.helpers.probe_servers import find, reason

TYPES = {"A": 1, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "CNAME": 5}


def name(text):
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


class NameServer:
    """Answers every query over UDP and TCP with the same records; ``change`` may alter the packet or drop it (None)."""

    def __init__(self, records=(), code=0, change=None, truncated=False):
        self.records, self.code, self.change, self.truncated, self.queries = records, code, change, truncated, 0
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.udp.getsockname()[1]
        self.tcp = socket.create_server(self.udp.getsockname())
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def _reply(self, query, truncated):
        packet = query[:2] + struct.pack(
            "!HHHHH", 0x8180 | self.code | (0x0200 if truncated else 0), 1, 0 if truncated else len(self.records), 0, 0
        )
        packet += query[12:]
        for kind, data in () if truncated else self.records:
            packet += b"\xc0\x0c" + struct.pack("!HHIH", TYPES[kind], 1, 60, len(data)) + data
        return packet

    def _serve_udp(self):
        while True:
            try:
                query, client = self.udp.recvfrom(4096)
            except OSError:
                return
            if not query:
                return
            self.queries += 1
            packet = self._reply(query, self.truncated)
            packets = [packet] if self.change is None else self.change(self.queries, packet)
            for one in packets:
                self.udp.sendto(one, client)

    def _serve_tcp(self):
        while True:
            try:
                connection, _address = self.tcp.accept()
            except OSError:
                return
            with connection:
                query = connection.recv(4096)[2:]
                packet = self._reply(query, False)
                connection.sendall(struct.pack("!H", len(packet)) + packet)

    def close(self):
        for sock in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture
def serve():
    servers = []

    def start(*args, **more):
        servers.append(NameServer(*args, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


A = ("A", bytes([192, 0, 2, 1]))


@pytest.mark.parametrize(
    ("record", "records", "expected"),
    [
        ("A", [A, ("A", bytes([192, 0, 2, 2]))], ["192.0.2.2", "192.0.2.1"]),
        ("A", [("CNAME", name("b.example.org")), A], ["192.0.2.1"]),
        ("AAAA", [("AAAA", socket.inet_pton(socket.AF_INET6, "2001:db8::1"))], ["2001:0db8:0::1"]),
        ("MX", [("MX", struct.pack("!H", 10) + name("mail.example.org"))], ["10 Mail.example.org."]),
        ("TXT", [("TXT", b"\x03v=s\x02pf")], ["v=spf"]),
        ("SRV", [("SRV", struct.pack("!HHH", 0, 5, 5060) + b"\x03sip\xc0\x0c")], ["0 5 5060 sip.www.example.org"]),
        ("CNAME", [("CNAME", b"\xc0\x10")], ["example.org"]),
    ],
)
def test_records_of_every_kind_are_asked_of_a_named_server(serve, record, records, expected):
    item = find(type="dns", query="www.example.org", record=record, resolver=serve(records).address, expected=expected)
    assert item["status"] == "ok"


@pytest.mark.parametrize(
    ("server", "options", "expected"),
    [
        ({"records": [A]}, {"expected": ["192.0.2.9"]}, "probe.dns.missing"),
        ({"records": []}, {}, "probe.dns.empty"),
        ({"code": 3}, {}, "name_unknown"),
        ({"code": 2}, {}, "dns_reply"),
        ({"code": 5}, {}, "dns_reply"),
        ({"change": lambda _count, _packet: []}, {"timeout": "200ms"}, "timeout"),
        ({"change": lambda _count, packet: [b"", packet[:5], b"\0" * 40]}, {"timeout": "200ms"}, "timeout"),
    ],
)
def test_what_is_wrong_with_a_look_up_is_told(serve, server, options, expected):
    item = find(type="dns", query="www.example.org", resolver=serve(**server).address, **options)
    assert item["status"] == "critical"
    assert expected in (item["message"], reason(item))


def test_a_forged_reply_is_passed_over_and_the_right_one_taken(serve):
    server = serve([A], change=lambda _count, packet: [b"\0\0" + packet[2:-1] + b"\x09", packet])
    assert find(type="dns", query="www.example.org", resolver=server.address, expected=["192.0.2.1"])["status"] == "ok"


def test_a_lost_datagram_is_asked_for_again(serve):
    server = serve([A], change=lambda count, packet: [packet] if count > 1 else [])
    assert find(type="dns", query="www.example.org", resolver=server.address)["status"] == "ok"
    assert server.queries == 2


def test_a_reply_that_is_too_long_for_a_datagram_is_asked_for_over_tcp(serve):
    server = serve([A] * 60, truncated=True)
    assert len(find(type="dns", query="www.example.org", resolver=server.address)["evidence"]["records"]) == 60


def test_a_server_that_is_not_there_is_refused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        # The port stays ours and takes datagrams of nobody but its peer, so the kernel refuses all others.
        taken.bind(("127.0.0.1", 0))
        taken.connect(("127.0.0.1", 9))
        assert reason(find(type="dns", query="www.example.org", resolver="127.0.0.1:%d" % taken.getsockname()[1])) == "refused"


def test_the_systems_resolver_is_asked_without_a_server():
    assert find(type="dns", query="localhost", expected=["127.0.0.1"])["status"] == "ok"
    assert find(type="dns", query="no-such-name.invalid")["status"] == "critical"


@given(tail=st.binary(max_size=200), record=st.sampled_from(sorted(TYPES)))
def test_no_bytes_make_the_reader_fail_otherwise_than_by_value_error(tail, record):
    try:
        decode_reply(b"\0\x01\x81\x80\0\x01\0\x02\0\0\0\0" + tail, 1, record)
    except ValueError:
        return


@given(labels=st.lists(st.from_regex(r"[a-z0-9]{1,63}", fullmatch=True), min_size=1, max_size=4))
def test_a_query_is_read_back_as_the_name_that_was_asked(labels):
    packet = encode_query(".".join(labels), "A", 7)
    assert packet[12:-4] == name(".".join(labels))
