# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS: look-ups through the system's resolver, and of any record from a named server (RFC 1035)."""

from __future__ import annotations

import re
import selectors
import socket
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge

from .loop import Loop, Steps, wait_for
from .net import Address, Names, Stream, connect, literal_family, shown
from .options import Probe
from .outcome import Failure, Outcome, Trace, system_reason

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
_RESEND = 1.0  # a datagram may be lost: ask again after this many seconds


class Reply(NamedTuple):
    """``code``: 0 is no error, 2 the server's failure, 3 no such name, 5 refused. ``truncated``: ask again over TCP."""

    code: int
    truncated: bool
    values: List[str]


def encode_query(name: str, record: str, identifier: int) -> bytes:
    """The message that asks for a record. Raises ValueError for a name that DNS cannot hold."""
    packet = identifier.to_bytes(2, "big") + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    for label in name.rstrip(".").split("."):
        raw = label.encode("ascii") if label.isascii() else label.encode("idna")
        if not 0 < len(raw) < 64:
            raise ValueError("a label of %d bytes" % len(raw))
        packet += bytes([len(raw)]) + raw
    return packet + b"\x00" + TYPES[record].to_bytes(2, "big") + b"\x00\x01"


def _read_name(packet: bytes, at: int) -> Tuple[str, int]:
    labels: List[str] = []
    after: Optional[int] = None
    for _jump in range(128):  # a name may point into itself for ever
        size = packet[at]
        if size & 0xC0 == 0xC0:
            after = at + 2 if after is None else after
            at = ((size & 0x3F) << 8) | packet[at + 1]
        elif size:
            labels.append(packet[at + 1 : at + 1 + size].decode("ascii", "backslashreplace"))
            at += size + 1
        else:
            return ".".join(labels) or ".", at + 1 if after is None else after
    raise ValueError("a name without end")


def decode_reply(packet: bytes, identifier: int, record: str) -> Reply:
    """Read a reply. Raises ValueError for what is none to this query."""
    try:
        if len(packet) < 12 or int.from_bytes(packet[:2], "big") != identifier or not packet[2] & 0x80:
            raise ValueError("not the reply to this query")
        at = 12
        for _question in range(int.from_bytes(packet[4:6], "big")):
            at = _read_name(packet, at)[1] + 4
        values = []
        for _answer in range(int.from_bytes(packet[6:8], "big")):
            at = _read_name(packet, at)[1]
            kind, size = int.from_bytes(packet[at : at + 2], "big"), int.from_bytes(packet[at + 8 : at + 10], "big")
            at += 10
            if at + size > len(packet):
                raise ValueError("cut short")
            if kind == TYPES[record]:
                values.append(_read_value(packet, at, size, record))
            at += size
    except IndexError:
        raise ValueError("cut short") from None
    return Reply(packet[3] & 0x0F, bool(packet[2] & 0x02), values)


def _read_value(packet: bytes, at: int, size: int, record: str) -> str:
    data = packet[at : at + size]
    if record in ("A", "AAAA"):
        return socket.inet_ntop(socket.AF_INET if record == "A" else socket.AF_INET6, data)
    if record == "TXT":
        parts, place = [], 0
        while place < len(data):
            parts.append(data[place + 1 : place + 1 + data[place]].decode("utf-8", "replace"))
            place += data[place] + 1
        return "".join(parts)
    if record == "MX":
        return "%d %s" % (int.from_bytes(data[:2], "big"), _read_name(packet, at + 2)[0])
    if record == "SRV":
        priority, weight, port = (int.from_bytes(data[place : place + 2], "big") for place in (0, 2, 4))
        return "%d %d %d %s" % (priority, weight, port, _read_name(packet, at + 6)[0])
    if record == "SOA":
        primary, after = _read_name(packet, at)
        _mailbox, after = _read_name(packet, after)
        return "%s %d" % (primary, int.from_bytes(packet[after : after + 4], "big"))
    return _read_name(packet, at)[0]


def system_resolvers(path: str = "/etc/resolv.conf") -> List[Tuple[str, int]]:
    """The name servers of this host. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return [(address, 53) for address in re.findall(r"^\s*nameserver\s+(\S+)", file.read(), re.MULTILINE)]


def probe_dns(loop: Loop, names: Names, probe: Probe, _target: Any, trace: Trace) -> Steps[Outcome]:
    """Look a name up and compare what is found with what is expected."""
    trace.enter("name")
    record = probe["record"]
    if probe["resolver"] is None and record in ("A", "AAAA"):
        wanted = socket.AF_INET if record == "A" else socket.AF_INET6
        found: List[Address] = yield from Names(loop).addresses(probe["query"], 0, trace.until)
        values = [str(address[0]) for family, address in found if family == wanted]
    else:
        values = yield from _ask_servers(loop, probe, trace)
    trace.leave()
    return judge_values(probe, values, trace)


def judge_values(probe: Probe, values: List[str], trace: Trace) -> Outcome:
    """The outcome for what was found: all that is expected must be there; more is told, and no fault."""
    trace.end()
    took = round(trace.total_ms(), 1)
    common: Dict[str, Any] = {"name": probe["name"], "query": probe["query"], "record": probe["record"]}
    trace.evidence["records"] = values
    if not values:
        return Outcome("critical", message("probe.dns.empty", **common), took, "ms")
    have = {_plain(value) for value in values}
    missing = [wanted for wanted in probe["expected"] if _plain(wanted) not in have]
    if missing:
        return Outcome("critical", message("probe.dns.missing", missing=missing, found=values[:5], **common), took, "ms")
    status = judge(took, probe["warning"], probe["critical"])
    return Outcome(status, message("probe.dns.ok" if status == "ok" else "probe.dns.slow", found=values[:5], ms=took, **common), took, "ms")


def _plain(value: str) -> str:
    family = literal_family(value)
    return socket.inet_ntop(family, socket.inet_pton(family, value)) if family else value.rstrip(".").lower()


def _ask_servers(loop: Loop, probe: Probe, trace: Trace) -> Steps[List[str]]:
    try:
        servers = [probe["resolver"]] if probe["resolver"] else system_resolvers()
    except OSError as error:
        raise Failure(system_reason(error), "unknown") from None
    if not servers:
        raise Failure(message("reason.probe_no_resolver"), "unknown")
    last = Failure(message("reason.probe_name_unknown", host=probe["query"]))
    for number, server in enumerate(servers):
        left = trace.until - loop.clock()
        until = trace.until if number == len(servers) - 1 else loop.clock() + left / (len(servers) - number)
        try:
            return (yield from _ask(loop, server, probe, trace, until))
        except TimeoutError:
            if number == len(servers) - 1:
                raise
        except Failure as failure:
            last = failure
            if failure.reason["message"] == "reason.probe_name_unknown":
                break
    raise last


def _ask(loop: Loop, server: Tuple[str, int], probe: Probe, trace: Trace, until: float) -> Steps[List[str]]:
    import random

    identifier = random.getrandbits(16)
    try:
        query = encode_query(probe["query"], probe["record"], identifier)
        trace.evidence["address"] = shown(*server)
        family = literal_family(server[0]) or socket.AF_INET
        reply = yield from _ask_udp(loop, (family, server), query, identifier, probe["record"], until)
        if reply.truncated:
            reply = yield from _ask_tcp(loop, (family, server), query, identifier, probe["record"], trace)
    except OSError as error:
        if isinstance(error, TimeoutError) and error.errno is None:
            raise
        raise Failure(system_reason(error)) from None
    except ValueError as error:
        raise Failure(message("reason.probe_dns_reply", error=str(error))) from None
    if reply.code == 3:
        raise Failure(message("reason.probe_name_unknown", host=probe["query"]))
    if reply.code:
        codes = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}
        raise Failure(message("reason.probe_dns_reply", error=codes.get(reply.code, str(reply.code))))
    return reply.values


def _ask_udp(loop: Loop, address: Address, query: bytes, identifier: int, record: str, until: float) -> Steps[Reply]:
    sock = socket.socket(address[0], socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect(address[1])  # answers of others, and refusals, are then told apart by the kernel
        while True:
            sock.send(query)
            again = min(until, loop.clock() + _RESEND)
            while True:
                try:
                    yield from wait_for(sock, selectors.EVENT_READ, again)
                except TimeoutError:
                    break
                try:
                    return decode_reply(sock.recv(65535), identifier, record)
                except ValueError:
                    continue  # somebody else's, or forged: the right one may still come
            if loop.clock() >= until:
                raise TimeoutError
    finally:
        sock.close()


def _ask_tcp(loop: Loop, address: Address, query: bytes, identifier: int, record: str, trace: Trace) -> Steps[Reply]:
    sock, _address = yield from connect(loop, [address], trace.until)
    stream = Stream(loop, sock, trace)
    try:
        yield from stream.send(len(query).to_bytes(2, "big") + query)
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            piece = yield from stream.receive()
            if not piece:
                raise ValueError("cut short")
            data += piece
        return decode_reply(data[2:], identifier, record)
    finally:
        stream.close()
