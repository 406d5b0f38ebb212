# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis server of the test's own, as its unit would be: started, stopped, its folder kept."""

from __future__ import annotations

import json
import subprocess
import time

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.redis.client import Address, Client, RedisError, connected

PASSWORD = "sEcr3t w0rd"
WORDS = ("save", "replicaof")


class Server:
    """``settings``: what differs from a server that saves as it is installed."""

    def __init__(self, folder, program, **settings):
        self.folder = folder
        self.program = program
        self.settings = settings
        self.socket = str(folder / "redis.sock")
        self.process = None
        folder.mkdir(exist_ok=True)

    @property
    def spec(self):
        """How a backup reaches it."""
        return {"socket": self.socket, "password": PASSWORD, "unit": "redis-server", "timeout": 10.0}

    def start(self):
        """Start it and wait until it has loaded its data."""
        settings = {
            "port": "0",
            "unixsocket": self.socket,
            "dir": str(self.folder),
            "requirepass": PASSWORD,
            "repl-diskless-sync-delay": "0",
            "enable-debug-command": "yes",
            "save": "3600 1",
            **self.settings,
        }
        conf = self.folder.parent / f"{self.folder.name}.conf"
        # Several words are told without quotes.
        conf.write_text("".join(f"{name} {value if name in WORDS and value else json.dumps(value)}\n" for name, value in settings.items()))
        with open(self.folder.parent / "redis.log", "ab") as log:
            self.process = subprocess.Popen([self.program, conf], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        for _try in range(400):
            try:
                with self.client() as client:
                    client.ask("PING")
                return self
            except RedisError:
                time.sleep(0.01)
        raise AssertionError((self.folder.parent / "redis.log").read_text())

    def stop(self):
        """As systemd does: ask it to end, which saves."""
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def kill(self):
        """As the kernel does when memory is short."""
        self.process.kill()
        self.process.wait()

    def client(self):
        """A connection for a block."""
        return connected(Address(socket=self.socket, password=self.settings.get("requirepass", PASSWORD) or None))

    def digest(self):
        """Of all keys, values and whether they expire."""
        with self.client() as client:
            return client.ask("DEBUG", "DIGEST")


def fill(client: Client, seed: bytes = b"") -> None:
    """All types in their small and their large form, binary keys, several databases, keys that expire."""
    client.ask("SET", b"\x00\xff\r\n$5\r\n" + seed, bytes(range(256)) * 20)
    client.ask("SET", "empty" + seed.decode(), "")
    client.ask("SET", "number", "-12345")
    client.ask("SET", "compressed", "abc" * 10000)
    client.ask("SET", "k" * 3000, "a long name that is compressed")
    client.ask("SET", "유니코드", "값")
    client.ask("RPUSH", "list", *(b"item %d" % number + seed for number in range(5)))
    client.ask("RPUSH", "longlist", *(b"%d" % number * 50 for number in range(2000)))
    client.ask("SADD", "intset", *range(-20, 20))
    client.ask("SADD", "set", "a", b"\x00")
    client.ask("SADD", "bigset", *(b"m%d" % number for number in range(1000)))
    client.ask("ZADD", "zset", "1.5", "a", "-inf", "b", "+inf", "c")
    client.ask("ZADD", "bigzset", *(word for number in range(500) for word in (number / 3, b"m%d" % number)))
    client.ask("HSET", "hash", "f", "v", b"\x00", "")
    client.ask("HSET", "bighash", *(word for number in range(1000) for word in (b"f%d" % number, b"v%d" % number)))
    client.ask("PFADD", "hll", *range(100))
    client.ask("GEOADD", "geo", "126.97", "37.56", "Seoul")
    for number in range(300):
        client.ask("XADD", "stream", "%d-1" % (number + 1), "f", b"v%d" % number)
    client.ask("XGROUP", "CREATE", "stream", "group", "0")
    client.ask("XREADGROUP", "GROUP", "group", "me", "COUNT", "20", "STREAMS", "stream", ">")
    client.ask("XDEL", "stream", "7-1")
    client.ask("FUNCTION", "LOAD", "REPLACE", "#!lua name=mylib\nredis.register_function('f', function() return 1 end)")
    client.ask("SET", "session", "x", "EX", "3600")
    client.ask("SELECT", "9")
    client.ask("MSET", *(word for number in range(3000) for word in (b"key:%d" % number, b"value %d" % number)))
    client.ask("SET", "expiring", "x", "EX", "7200")
    client.ask("SELECT", "0")
