# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that speaks MongoDB's protocol (mongo-java-server: not MongoDB itself), and the real mongodump and mongorestore."""

from __future__ import annotations

import os
import subprocess
import time

import programs
import pytest


@pytest.fixture(scope="session")
def lab():
    """What tests/lab/mongodb.sh has built: a dictionary of tools and classes."""
    for program in ("java", "javac", "mvn", "go"):
        programs.needs(program)
    script = programs.__file__.replace("integration/backups/programs.py", "lab/mongodb.sh")
    done = subprocess.run([script], capture_output=True, text=True)
    if done.returncode:
        (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)(f"{script}: {done.stderr[-500:]}")
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    os.environ["PATH"] = found["tools"] + os.pathsep + os.environ["PATH"]
    return found


class Server:
    """One server; everything in it is lost when it ends."""

    def __init__(self, classes):
        self.port = programs.free_port()
        words = ["java", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes, "Server", str(self.port)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        programs.wait_for(self.port)

    def end(self):
        """Kill it."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


@pytest.fixture(scope="session")
def shared(lab):
    """A server for tests that keep to a database of their own."""
    server = Server(lab["classes"])
    yield server
    server.end()


@pytest.fixture
def lonely(lab):
    """A server that the test may kill."""
    server = Server(lab["classes"])
    yield server
    server.end()


@pytest.fixture
def spec(shared, request):
    """How a backup reaches a database of the test's own."""
    name = "t%d_%s" % (time.monotonic_ns(), request.node.name[:20].split("[")[0])
    return {"database": name, "host": "127.0.0.1", "port": shared.port}
