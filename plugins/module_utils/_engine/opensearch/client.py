# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of OpenSearch's interface: indices, what is in them, clones."""

from __future__ import annotations

import base64
import json
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence
from urllib.parse import quote, urlsplit

from ..base import EngineError

#: What names start with that are ours.
PREFIX = "opsrunner-"
#: Seconds between two looks at what is not ready.
PAUSE = 0.1


class Client:
    """The server's interface. ``timeout``: seconds of one answer."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._parts = urlsplit(spec["url"])
        self._timeout: float = spec.get("timeout") or 30.0
        self._ca_file = spec.get("ca_file")
        self._headers = {"Content-Type": "application/json"}
        if spec.get("user"):
            told = "%s:%s" % (spec["user"], spec.get("password") or "")
            self._headers["Authorization"] = "Basic " + base64.b64encode(told.encode("utf-8")).decode("ascii")

    def ask(self, method: str, path: str, body: Any = None, missing: bool = False, slow: bool = False) -> Any:
        """Ask and return the answer; None for what is not there, if ``missing`` says that it may not be. EngineError."""
        import http.client
        import socket
        import ssl

        timeout = None if slow else self._timeout
        where = "OpenSearch at %s port %s" % (self._parts.hostname, self._parts.port or "")
        if self._parts.scheme == "https":
            context = ssl.create_default_context(cafile=self._ca_file)
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                str(self._parts.hostname), self._parts.port or 443, timeout=timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(str(self._parts.hostname), self._parts.port or 80, timeout=timeout)
        try:
            connection.connect()
            # An answer may take hours: a server that has gone without a word is noticed all the same.
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            data = None if body is None else json.dumps(body).encode("utf-8")
            connection.request(method, self._parts.path + path, data, self._headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError("unreachable", "%s: %s" % (where, getattr(error, "strerror", None) or error)) from None
        finally:
            connection.close()
        if answer.status == 404 and missing:
            return None
        try:
            found = json.loads(said) if said else {}
        except ValueError:
            found = {}
        if answer.status in (401, 403):
            raise EngineError("denied", "%s: %s %s was refused (%d)" % (where, method, path, answer.status))
        if answer.status >= 300:
            text = ": ".join(_reasons(found.get("error") if isinstance(found, dict) else None))
            raise EngineError("failed", "%s: %s %s: %s" % (where, method, path, (text or str(answer.status))[:500]))
        return found

    def version(self) -> str:
        """The server's version."""
        return str(self.ask("GET", "/").get("version", {}).get("number", ""))

    def indices(self, patterns: Sequence[str] = ()) -> Dict[str, Any]:
        """Indices with aliases, mappings and settings, by name."""
        wanted = ",".join(quoted(name) for name in patterns) or "*"
        found = self.ask("GET", "/%s?expand_wildcards=open,hidden&allow_no_indices=true" % wanted, missing=True) or {}
        return {name: told for name, told in found.items() if not name.startswith(PREFIX) and (patterns or not name.startswith("."))}

    def mappings(self, indices: Sequence[str]) -> Dict[str, Any]:
        """Mappings by index."""
        found = self.ask("GET", "/%s/_mapping" % ",".join(quoted(name) for name in indices)) if indices else {}
        return {name: told.get("mappings", {}) for name, told in found.items()}

    def written(self, indices: Sequence[str]) -> Dict[str, Any]:
        """By index what changes with every change of a document: the last number of each primary shard."""
        if not indices:
            return {}
        found = self.ask("GET", "/%s/_stats/docs?level=shards" % ",".join(quoted(name) for name in indices))["indices"]
        return {
            name: sorted(
                (number, shard["seq_no"]["max_seq_no"])
                for number, shards in told["shards"].items()
                for shard in shards
                if shard["routing"]["primary"]
            )
            for name, told in found.items()
        }

    def count(self, index: str) -> int:
        """Documents of an index, of all of its shards."""
        self.ask("POST", "/%s/_refresh" % quoted(index))
        told = self.ask("GET", "/%s/_count" % quoted(index))
        if told["_shards"]["failed"] or told["_shards"]["successful"] < 1:
            raise EngineError("failed", "not all shards of %s can be counted" % index)
        return int(told["count"])

    def exists(self, index: str) -> bool:
        """Whether there is an index of this name."""
        return self.ask("GET", "/%s" % quoted(index), missing=True) is not None

    def delete(self, index: str) -> None:
        """Remove an index; one that is not there is no error."""
        self.ask("DELETE", "/%s" % quoted(index), missing=True)

    def block(self, index: str, blocked: Optional[bool]) -> None:
        """Let nothing be written to an index, or let it again."""
        self.ask("PUT", "/%s/_settings" % quoted(index), {"index.blocks.write": blocked})

    def clone(self, source: str, target: str, aliases: Mapping[str, Any], blocked: Optional[bool] = None) -> None:
        """Make an index of another one, which is blocked for it, and wait until its shards are there. EngineError."""
        self.block(source, True)
        body = {"settings": {"index.blocks.write": blocked}, "aliases": dict(aliases)}
        self.ask("PUT", "/%s/_clone/%s" % (quoted(source), quoted(target)), body, slow=True)
        self.ready(target)
        if self.count(target) != self.count(source):
            raise EngineError("differs", "the clone %s does not hold what %s does" % (target, source))

    def ready(self, index: str) -> None:
        """Wait until the primary shards of an index are there. EngineError."""
        end = time.monotonic() + max(self._timeout, 60.0)
        while True:
            told = self.ask("GET", "/_cluster/health/%s?level=indices" % quoted(index))["indices"].get(index, {})
            if told.get("status") in ("green", "yellow"):
                return
            if time.monotonic() > end:
                raise EngineError("failed", "the shards of %s do not come up" % index)
            time.sleep(PAUSE)


def _reasons(why: Any) -> List[str]:
    """What went wrong, and what that came from."""
    if not isinstance(why, dict):
        return [str(why)] if why else []
    return list(dict.fromkeys([str(why.get("reason")), *_reasons(why.get("caused_by"))]))


def quoted(name: str) -> str:
    return quote(name, safe="*")
