# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of MongoDB for what the tools cannot do: list, count, rename and drop collections, insert documents.

It speaks OP_MSG, which servers have since 3.6, and logs in by SCRAM (SHA-256, SHA-1 where the server has no other).
"""

from __future__ import annotations

import contextlib
import itertools
import re
import struct
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.wire import Peer, Wire

from . import bson

#: What a name of a database may be.
DATABASE = re.compile(r"[^/\\. \"$*<>:|?\x00]{1,63}\Z")
_LARGEST = 48_000_000 + 16_384
_OP_MSG = 2013
_ROUNDS = 4096
_MOST_ROUNDS = 1_000_000
#: Bytes and number of documents that are sent at once.
_BATCH_SIZE = 8 << 20
_BATCH_COUNT = 1000


class MongoError(Exception):
    """``code``: ``unreachable``, ``denied`` or ``failed``; ``number``: the server's own, 0 for none; ``written``: how many documents
    of an insert are there all the same, None when nobody knows. The text holds no secrets."""

    def __init__(self, code: str, text: str, number: int = 0, written: Optional[int] = None) -> None:
        super().__init__(text)
        self.code = code
        self.number = number
        self.written = written


def database_name(value: Any, path: str) -> str:
    """The name of a database. Raises OptionError."""
    found = read.text(value, path)
    if not DATABASE.match(found):
        raise OptionError(path, "%r is no name of a database" % found)
    return found


class Address(NamedTuple):
    """Where a server is and who asks. ``ca_file``: TLS, and what its certificate is checked with;
    ``cert_file``: what it checks us with, a certificate and its key."""

    host: str = "127.0.0.1"
    port: int = 27017
    user: Optional[str] = None
    password: Optional[str] = None
    auth_database: str = "admin"
    ca_file: Optional[str] = None
    timeout: float = 30.0
    cert_file: Optional[str] = None

    @property
    def shown(self) -> str:
        """For messages."""
        return "%s port %d" % (self.host, self.port)


class Client:
    """One connection."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._ids = itertools.count(1)
        peer = Peer(address.host, address.port, None, address.ca_file, address.cert_file, None, address.timeout)
        self._wire = Wire(peer, lambda why: MongoError("unreachable", "MongoDB at %s: %s" % (address.shown, why)))
        try:
            if address.user:
                self._login()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection."""
        self._wire.close()

    def wait(self, seconds: Optional[float]) -> None:
        """How long answers may take from now on; None: as long as they do."""
        self._wire.wait(seconds)

    def run(self, database: str, command: Mapping[str, Any]) -> Dict[str, Any]:
        """Run a command, whose name is its first key. Raises MongoError."""
        name = next(iter(command))
        answer = self._exchange({**command, "$db": database})
        if answer.get("ok") != 1:
            raise self._refused(name, answer)
        return answer

    def version(self) -> str:
        """The server's version."""
        return str(self.run("admin", {"buildInfo": 1}).get("version", ""))

    def is_writable(self) -> bool:
        """Whether it takes changes: no secondary of a replica set."""
        try:
            answer = self.run("admin", {"hello": 1})
        except MongoError as error:
            if error.code != "failed":
                raise
            answer = self.run("admin", {"isMaster": 1})  # what older servers call it
        return bool(answer.get("isWritablePrimary", answer.get("ismaster")))

    def collections(self, database: str) -> Dict[str, Dict[str, Any]]:
        """What listCollections tells of each, by name; the server's own are left out."""
        found = self._all(database, {"listCollections": 1, "cursor": {}})
        return {str(item["name"]): item for item in found if not str(item["name"]).startswith("system.")}

    def indexes(self, database: str, collection: str) -> List[Dict[str, Any]]:
        """The indexes of a collection."""
        return list(self._all(database, {"listIndexes": collection, "cursor": {}}))

    def count(self, database: str, collection: str) -> int:
        """How many documents there are, counted one by one: the server's own figure can be wrong after a crash."""
        stages = [{"$group": {"_id": None, "count": {"$sum": 1}}}]
        found = list(self._all(database, {"aggregate": collection, "pipeline": stages, "cursor": {}}))
        return int(found[0]["count"]) if found else 0

    def find(
        self, database: str, collection: str, query: Mapping[str, Any], limit: int = 0, fields: Sequence[str] = ()
    ) -> Iterator[Dict[str, Any]]:
        """Documents; of the ``fields`` only these and the id."""
        wanted = {"projection": dict.fromkeys(fields, 1)} if fields else {}
        return self._all(database, {"find": collection, "filter": query, "limit": limit, **wanted})

    def rename(self, database: str, old: str, new: str) -> None:
        """Rename a collection of a database: at once, whatever its size."""
        self.run("admin", {"renameCollection": "%s.%s" % (database, old), "to": "%s.%s" % (database, new)})

    def drop(self, database: str, collection: str) -> None:
        """Remove a collection; one that is not there is no error."""
        try:
            self.run(database, {"drop": collection})
        except MongoError as error:
            if error.number != 26 and "ns not found" not in str(error):
                raise

    def insert(self, database: str, collection: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Insert documents, in order, up to the first that the server refuses. Raises MongoError, which tells how many are there."""
        self._written("insert", self.run(database, {"insert": collection, "ordered": True, "documents": list(documents)}))

    def delete(self, database: str, collection: str, ids: Sequence[Any]) -> int:
        """Remove documents by their ids; how many there were."""
        answer = self.run(database, {"delete": collection, "deletes": [{"q": {"_id": {"$in": list(ids)}}, "limit": 0}]})
        self._written("delete", answer)
        return int(answer.get("n", 0))

    def _written(self, name: str, answer: Mapping[str, Any]) -> None:
        for kind in ("writeErrors", "writeConcernError"):
            told = answer.get(kind)
            if told:
                item = told[0] if isinstance(told, list) else told
                text = "MongoDB at %s: %s: %s" % (self.address.shown, name, str(item.get("errmsg", ""))[:300])
                raise MongoError("failed", text, int(item.get("code", 0)), int(item.get("index", answer.get("n", 0))))

    def _all(self, database: str, command: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
        cursor = self.run(database, command)["cursor"]
        yield from cursor.get("firstBatch", ())
        while cursor.get("id"):
            name = str(cursor["ns"]).split(".", 1)[1]
            cursor = self.run(database, {"getMore": bson.Int64(cursor["id"]), "collection": name})["cursor"]
            yield from cursor.get("nextBatch", ())

    def _exchange(self, document: Mapping[str, Any]) -> Dict[str, Any]:
        number = next(self._ids)
        try:
            body = struct.pack("<I", 0) + b"\x00" + bson.encode(document)
            if len(body) + 16 > _LARGEST:
                raise MongoError("failed", "MongoDB at %s: a message is too large" % self.address.shown)
            self._wire.send(struct.pack("<iiii", len(body) + 16, number, 0, _OP_MSG) + body)
            size, _number, answers, kind = struct.unpack("<iiii", self._receive(16))
            if kind != _OP_MSG or not 21 <= size <= _LARGEST or answers != number:
                raise MongoError("failed", "%s does not speak MongoDB's protocol" % self.address.shown)
            data = self._receive(size - 16)
            flags = struct.unpack_from("<I", data)[0]
            # A sum of the message may follow it.
            end = len(data) - (4 if flags & 1 else 0)
            if data[4] != 0:
                raise MongoError("failed", "%s answers in a form that is not known" % self.address.shown)
            return bson.decode(data[5:end])
        except bson.BsonError as error:
            raise MongoError("failed", "MongoDB at %s: %s" % (self.address.shown, error)) from None

    def _receive(self, size: int) -> bytes:
        parts = []
        while size:
            block = self._wire.receive(min(size, 1 << 20))
            parts.append(block)
            size -= len(block)
        return b"".join(parts)

    def _refused(self, name: str, answer: Mapping[str, Any]) -> MongoError:
        number = int(answer.get("code") or 0)
        text = str(answer.get("errmsg", "refused"))[:300]
        code = "denied" if number in (13, 18, 11, 334) else "failed"
        return MongoError(code, "MongoDB at %s: %s: %s" % (self.address.shown, name, text), number)

    def _login(self) -> None:
        hello = self._exchange({"isMaster": 1, "saslSupportedMechs": "%s.%s" % self._who(), "$db": "admin"})
        known = hello.get("saslSupportedMechs") or []
        mechanism = "SCRAM-SHA-1" if known and "SCRAM-SHA-256" not in known else "SCRAM-SHA-256"
        try:
            self._scram(mechanism)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError):
            raise MongoError("denied", "MongoDB at %s: the login was answered wrongly" % self.address.shown) from None

    def _who(self) -> Any:
        return self.address.auth_database, self.address.user

    def _scram(self, mechanism: str) -> None:
        """Prove that we know the password, and have the server prove that it does."""
        import base64
        import hashlib
        import hmac
        import os

        database, user = self._who()
        password = _prepared(str(self.address.password or ""))
        name = mechanism[len("SCRAM-") :].replace("-", "").lower()
        if name == "sha1":  # what the older form takes for the password
            password = hashlib.md5(("%s:mongo:%s" % (user, self.address.password or "")).encode("utf-8")).hexdigest()
        nonce = base64.b64encode(os.urandom(24)).decode()
        bare = "n=%s,r=%s" % (user.replace("=", "=3D").replace(",", "=2C"), nonce)
        start = {"saslStart": 1, "mechanism": mechanism, "payload": ("n,," + bare).encode(), "options": {"skipEmptyExchange": True}}
        answer = self._answered(database, start)
        first = _payload(answer).decode()
        told = dict(part.split("=", 1) for part in first.split(","))
        rounds = int(told["i"])
        if not told["r"].startswith(nonce) or not _ROUNDS <= rounds <= _MOST_ROUNDS:
            raise ValueError
        salted = hashlib.pbkdf2_hmac(name, password.encode("utf-8"), base64.b64decode(told["s"]), rounds)
        key = hmac.new(salted, b"Client Key", name).digest()
        last = "c=biws,r=%s" % told["r"]
        signed = ("%s,%s,%s" % (bare, first, last)).encode()
        signature = hmac.new(hashlib.new(name, key).digest(), signed, name).digest()
        proof = base64.b64encode(bytes(one ^ other for one, other in zip(key, signature))).decode()
        more = {"saslContinue": 1, "conversationId": answer.get("conversationId", 1), "payload": ("%s,p=%s" % (last, proof)).encode()}
        answer = self._answered(database, more)
        wanted = base64.b64encode(hmac.new(hmac.new(salted, b"Server Key", name).digest(), signed, name).digest())
        if not hmac.compare_digest(_payload(answer), b"v=" + wanted):
            raise ValueError
        while not answer.get("done"):
            answer = self._answered(database, {"saslContinue": 1, "conversationId": answer.get("conversationId", 1), "payload": b""})

    def _answered(self, database: str, command: Mapping[str, Any]) -> Dict[str, Any]:
        answer = self._exchange({**command, "$db": database})
        if answer.get("ok") != 1:
            raise MongoError("denied", "MongoDB at %s: the login was refused" % self.address.shown)
        return answer


def _prepared(password: str) -> str:
    """A password in the one form that it is stored in, however it was typed (RFC 4013)."""
    import stringprep
    import unicodedata

    mapped = (" " if stringprep.in_table_c12(one) else one for one in password if not stringprep.in_table_b1(one))
    return unicodedata.normalize("NFKC", "".join(mapped))


def _payload(answer: Mapping[str, Any]) -> bytes:
    found = answer["payload"]
    return bytes(found.value if isinstance(found, bson.Binary) else found)


def batches(documents: Sequence[Mapping[str, Any]]) -> Iterator[List[Mapping[str, Any]]]:
    """Documents in portions that fit into a message."""
    batch: List[Mapping[str, Any]] = []
    size = 0
    for document in documents:
        length = len(bson.encode(document))
        if batch and (size + length > _BATCH_SIZE or len(batch) >= _BATCH_COUNT):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += length
    if batch:
        yield batch


@contextlib.contextmanager
def connected(address: Address) -> Iterator[Client]:
    """A connection for a block. Raises MongoError."""
    client = Client(address)
    try:
        yield client
    finally:
        client.close()
