# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole daily runbook on a small system of this machine, run where things are not as they should be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
SOUND = [{"name": "passwd", "type": "file", "path": "/etc/passwd"}]


class Place:
    """A folder with an inventory, a state folder and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.home = folder / "home"
        self.home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "OPSRUNNER_", "XDG_", "PYTHON"))}
        self.environment = {
            **kept,
            "HOME": str(self.home),
            "OPSRUNNER_STATE": str(self.state),
            "PYTHONPATH": str(ROOT / "src"),
            "TMPDIR": str(folder),
        }

    def system(self, hosts: dict[str, Any], **variables: Any) -> None:
        """Write the inventory; a host without variables is this machine."""
        data = {"all": {"vars": {"runbook_system": "sample", **variables}, "hosts": {name: own or LOCAL for name, own in hosts.items()}}}
        (self.folder / "inventories" / "sample").mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
        (self.folder / "inventories" / "sample" / "hosts.yml").write_text(text, encoding="utf-8")

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "opsrunner", *words]

    def playbook(self, *words: str, runbook: str = "daily") -> list[str]:
        inventory = str(self.folder / "inventories" / "sample")
        return [sys.executable, "-m", "ansible", "playbook", str(ROOT / "playbooks" / f"{runbook}.yml"), "-i", inventory, *words]

    def run(self, words: list[str], env: dict[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
        more.setdefault("cwd", ROOT if "ansible" in words else self.folder)
        given = {**self.environment, **(env or {})}
        quiet = {"stdin": subprocess.DEVNULL, "text": True, "errors": "replace"}
        return subprocess.run(words, env=given, timeout=120, check=False, capture_output=True, **quiet, **more)

    def daily(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.run(self.command("daily", "--system", "sample", *words), **more)

    def start(self, words: list[str], **more: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True, **more}
        return subprocess.Popen(words, cwd=ROOT if "ansible" in words else self.folder, env=self.environment, **pipes)

    def records(self, state: Path | None = None) -> list[dict[str, Any]]:
        found = sorted(((state or self.state) / "runs").glob("*/run.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in found]

    def record(self) -> dict[str, Any]:
        """The record of the last run."""
        return self.records()[-1]


def found(record: dict[str, Any]) -> dict[str, str]:
    """Host, check and status of what is not ok, resources left out: this machine may be busy."""
    return {f"{item['host']} {item['check']}": item["status"] for item in record["findings"] if item["status"] != "ok"}


def written_in(folder: Path) -> bytes:
    """All that is written anywhere in a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def wait_until(reached: Callable[[], Any], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.system({"one": None}, runbook_probes=SOUND)
    return made


class Server:
    """An HTTP server that says 200 to everything; ``gate``: nothing is answered while it is shut. Counts what it is asked."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append({**dict(self.headers), "path": self.path})
                outer.gate.wait(30)
                body = b'{"status": "up"}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


@pytest.fixture
def listener() -> Iterator[tuple[int, Callable[[], int]]]:
    """A port, and how many connections it has been given so far; each one is closed at once."""
    listening = socket.create_server(("127.0.0.1", 0))
    count = [0]

    def accept() -> None:
        while True:
            try:
                listening.accept()[0].close()
            except OSError:
                return
            count[0] += 1

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()[1], lambda: count[0]
    listening.close()
