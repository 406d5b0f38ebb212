# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of every origin are used, and are in no record, report, log, output or list of processes."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from .conftest import LOCAL, Place, Server, wait_until, written_in

IN_URL, IN_QUERY, IN_HEADER, IN_VAULT, IN_FILE, IN_VARIABLE, IN_ENVIRONMENT, IN_NUMBER = (
    "UrlPart-7261",
    "QueryPart-8822",
    "HeaderPart-1193",
    "VaultPart-4417",
    "FilePart-9034",
    "VariablePart-5520",
    "EnvironPart-6648",
    91827364,
)
SECRETS = [IN_URL, IN_QUERY, IN_HEADER, IN_VAULT, IN_FILE, IN_VARIABLE, IN_ENVIRONMENT, str(IN_NUMBER), "LockPart-3351"]


def vaulted(place: Place, text: str) -> str:
    (place.folder / "lock").write_text("LockPart-3351\n", encoding="utf-8")
    words = [sys.executable, "-m", "ansible", "vault", "encrypt_string", "--vault-password-file", str(place.folder / "lock"), text]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=place.environment)
    return done.stdout.split("\n", 1)[1]


def write_system(place: Place, port: int) -> None:
    probes: list[dict[str, Any]] = [
        {"name": "url", "type": "http", "url": f"http://operator:{IN_URL}@127.0.0.1:{port}/url?api_key={IN_QUERY}"},
        {"name": "header", "type": "http", "url": f"http://127.0.0.1:{port}/header", "headers": {"X-Api-Token": IN_HEADER}},
        {"name": "vault", "type": "http", "url": f"http://127.0.0.1:{port}/{{{{ sealed }}}}"},
        {"name": "file", "type": "http", "url": f"http://127.0.0.1:{port}/file", "username": "x", "password": "{{ file_password }}"},
        {"name": "variable", "type": "http", "url": f"http://127.0.0.1:{port}/e", "username": "x", "password": "{{ given_word }}"},
        {"name": "number", "type": "http", "url": f"http://127.0.0.1:{port}/n", "username": "x", "password": IN_NUMBER},
        {
            "name": "environment",
            "type": "http",
            "url": f"http://127.0.0.1:{port}/v",
            "headers": {"Authorization": "Bearer {{ lookup('ansible.builtin.env', 'SHOP_TOKEN') }}"},
        },
    ]
    for probe in probes:
        probe["status"] = [418]  # never answered, so that each one is told at length
    place.system({"one": {**LOCAL, "ansible_become_password": "{{ sealed }}"}}, runbook_probes=probes)
    folder = place.folder / "inventories" / "sample" / "group_vars"
    folder.mkdir()
    (folder / "all.yml").write_text(f"sealed: !vault |\n{vaulted(place, IN_VAULT)}\n", encoding="utf-8")
    (place.folder / "given.yml").write_text(f"file_password: {IN_FILE}\ngiven_word: {IN_VARIABLE}\n", encoding="utf-8")


def processes() -> str:
    """Every command line there is now; ps reads the same."""
    told = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(told)


@pytest.mark.parametrize("alone", [False, True], ids=["command", "ansible-playbook"])
def test_a_secret_is_used_and_told_nowhere(alone: bool, place: Place, server: Server) -> None:
    write_system(place, server.port)
    place.environment["SHOP_TOKEN"] = IN_ENVIRONMENT
    words = ["--tags", "health", "-vvv", "-e", f"@{place.folder / 'given.yml'}", "--vault-password-file", str(place.folder / "lock")]
    server.gate.clear()
    child = place.start(place.playbook(*words) if alone else place.command("daily", "--system", "sample", *words))
    threading.Timer(60, server.gate.set).start()
    wait_until(lambda: len(server.asked) >= 7)
    seen = processes()
    kept = written_in(place.state)
    server.gate.set()
    out, err = child.communicate(timeout=60)
    asked = repr(server.asked)
    for secret in (IN_QUERY, IN_HEADER, IN_VAULT, IN_ENVIRONMENT):
        assert secret in asked, f"{secret} was not used"
    for login in (f"operator:{IN_URL}", f"x:{IN_FILE}", f"x:{IN_VARIABLE}", f"x:{IN_NUMBER}"):
        assert base64.b64encode(login.encode()).decode() in asked, f"{login} was not used"
    encoded = [base64.b64encode(f"{user}:{secret}".encode()).decode() for secret in SECRETS for user in ("x", "operator")]
    for secret in [*SECRETS, *encoded]:
        assert secret not in seen, f"{secret} in the list of processes"
        assert secret not in out + err, f"{secret} in the output: {[line[:400] for line in out.splitlines() if secret in line]}"
        assert secret.encode() not in kept, f"{secret} in what is kept while it runs"
        assert secret.encode() not in written_in(place.state), f"{secret} in what is kept"
        assert secret.encode() not in written_in(place.home), f"{secret} in the home"
    assert {item["check"] for item in place.record()["findings"] if item["status"] == "critical"} >= {"http.url", "http.vault"}


def test_what_a_failed_task_says_of_a_file_of_variables_is_masked(place: Place) -> None:
    (place.folder / "playbooks").mkdir()
    task = '- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.fail: {msg: "no: {{ given_word }} {{ other_word }}"}\n'
    (place.folder / "playbooks" / "fail.yml").write_text(task, encoding="utf-8")
    (place.folder / "given.yml").write_text(f"given_word: {IN_VARIABLE}\n", encoding="utf-8")
    done = place.run(place.command("fail", "--system", "sample", "-e", "@given.yml", "-e", f"{{other_word: {IN_FILE}}}"))
    assert done.returncode == 4
    for secret in (IN_VARIABLE, IN_FILE):
        assert secret not in done.stdout
        assert secret.encode() not in written_in(place.state)
