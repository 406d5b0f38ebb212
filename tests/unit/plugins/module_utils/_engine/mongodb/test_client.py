# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's login and what it makes of servers that answer wrongly.

Against a double: the server that the integration tests start knows no users. The same login was tried on FerretDB.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import struct
import threading

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import bson
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import client as mongo_client
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb.client import Address, MongoError

USER, PASSWORD, SALT, ROUNDS = "na=me,x", "sEcr3t w0rd", b"saltsaltsalt", 4096


class Double:
    """A server's side of SCRAM: it stores no password, only what the RFC has it store."""

    def __init__(self, mechanism, lies=False):
        self.mechanism, self.lies = mechanism, lies
        self.hash = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}[mechanism]
        password = PASSWORD if self.hash == "sha256" else hashlib.md5(f"{USER}:mongo:{PASSWORD}".encode()).hexdigest()
        salted = hashlib.pbkdf2_hmac(self.hash, password.encode(), SALT, ROUNDS)
        self.stored = hashlib.new(self.hash, hmac.new(salted, b"Client Key", self.hash).digest()).digest()
        self.server_key = hmac.new(salted, b"Server Key", self.hash).digest()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        connection, _peer = self.listener.accept()
        with connection, connection.makefile("rb") as file:
            while True:
                head = file.read(16)
                if len(head) < 16:
                    return
                size, number, _answers, _kind = struct.unpack("<iiii", head)
                answer = bson.encode(self.answer(bson.decode(file.read(size - 16)[5:])))
                connection.sendall(struct.pack("<iiiiIB", len(answer) + 21, 1, number, 2013, 0, 0) + answer)

    def answer(self, command):
        name = next(iter(command))
        if name == "isMaster":
            assert command["saslSupportedMechs"] == f"admin.{USER}"
            return {"ok": 1.0, "saslSupportedMechs": [self.mechanism]}
        if name == "saslStart":
            assert command["mechanism"] == self.mechanism
            self.bare = command["payload"].decode()[3:]
            name, nonce = self.bare.split(",")
            assert name == "n=na=3Dme=2Cx"
            self.first = f"{nonce}more,s={base64.b64encode(SALT).decode()},i={ROUNDS}"
            return {"ok": 1.0, "conversationId": 7, "done": False, "payload": self.first.encode()}
        if name == "saslContinue":
            last, _comma, proof = command["payload"].decode().rpartition(",p=")
            signed = f"{self.bare},{self.first},{last}".encode()
            signature = hmac.new(self.stored, signed, self.hash).digest()
            key = bytes(one ^ other for one, other in zip(base64.b64decode(proof), signature))
            if hashlib.new(self.hash, key).digest() != self.stored:
                return {"ok": 0.0, "code": 18, "errmsg": "Authentication failed."}
            told = base64.b64encode(hmac.new(b"lie" if self.lies else self.server_key, signed, self.hash).digest())
            return {"ok": 1.0, "conversationId": 7, "done": True, "payload": b"v=" + told}
        return {"ok": 1.0, "version": "7.0.1"}


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_login(mechanism):
    """Both forms, with a user whose name has to be escaped."""
    double = Double(mechanism)
    with mongo_client.connected(Address(port=double.port, user=USER, password=PASSWORD, timeout=10)) as client:
        assert client.version() == "7.0.1"


def test_a_password_that_is_typed_otherwise():
    """Half a space, a soft hyphen and letters in pieces are the same password, as the examples of RFC 4013 have it."""
    double = Double("SCRAM-SHA-256")
    typed = PASSWORD.replace(" ", "\u00a0").replace("r3", "r\u00ad3").replace("w", "\uff57")
    mongo_client.Client(Address(port=double.port, user=USER, password=typed, timeout=10)).close()
    assert [mongo_client._prepared(text) for text in ("I\u00adX", "\u00aa", "\u2168", "\u1112\u1161\u11ab")] == ["IX", "a", "IX", "한"]


@pytest.mark.parametrize(("password", "lies"), [("wr0ng", False), (PASSWORD, True)])
def test_a_login_that_fails(password, lies):
    """A wrong password, and a server that does not know it either; no password is told."""
    double = Double("SCRAM-SHA-256", lies)
    with pytest.raises(MongoError) as caught:
        mongo_client.Client(Address(port=double.port, user=USER, password=password, timeout=10))
    assert caught.value.code == "denied" and "wr0ng" not in str(caught.value) and PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack("<iiiiI", 20, 1, 1, 2013, 0),
        struct.pack("<iiiiIB", 26, 1, 1, 2013, 0, 0) + b"\x05\x00\x00\x00\x01",
        struct.pack("<iiiiIB", 26, 1, 9, 2013, 0, 0) + b"\x05\x00\x00\x00\x00",
        struct.pack("<iiiiIB", 26, 1, 1, 2013, 0, 1) + b"\x05\x00\x00\x00\x00",
        struct.pack("<iiii", 1 << 30, 1, 1, 2013) + b"x" * 100,
    ],
)
def test_servers_that_answer_wrongly(said):
    """They are told; nothing else is raised, and nothing waits for ever."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _peer = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(said)

    threading.Thread(target=serve, daemon=True).start()
    with mongo_client.connected(Address(port=listener.getsockname()[1], timeout=5)) as client, pytest.raises(MongoError):
        client.version()


def test_batches_keep_order_and_size():
    """Portions fit into a message."""
    documents = [{"_id": number, "x": "y" * (3 << 20)} for number in range(5)] + [{"_id": number} for number in range(2500)]
    batches = list(mongo_client.batches(documents))
    assert [item for batch in batches for item in batch] == documents
    assert all(len(batch) <= 1000 for batch in batches) and len(batches[0]) == 2
