# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.action import health_probe
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import jmespath_bundle as probe_jmespath
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.options import read_probes
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs

ROOT = Path(__file__).resolve().parents[4]


def test_an_expression_that_does_not_compile_is_refused_with_its_path():
    probes = read_probes([{"name": "a", "type": "http", "url": "http://a/", "json": [{"expression": "a.b"}, {"expression": "a.[b"}]}])
    with pytest.raises(OptionError) as caught:
        health_probe.check_expressions(probes)
    assert caught.value.path == "probes[0].json[1].expression"
    assert "is not a JMESPath expression" in caught.value.problem


def test_jmespath_is_imported_from_what_was_sent_where_there_is_none():
    code = "import sys; sys.path.insert(0, %r)\n" % str(ROOT / "collections")
    code += "from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.jmespath_bundle import searcher\n"
    code += "search = searcher(sys.stdin.read())\nassert 'jmespath' not in sys.modules\n"
    code += "print(search('length(a[?b > `1`])', {'a': [{'b': 1}, {'b': 2}, {'b': 3}]}), sys.modules['jmespath'].__spec__.origin)\n"
    # Without site-packages there is no jmespath but the one that is sent.
    argv = [sys.executable, "-I", "-S", "-c", code]
    ran = subprocess.run(argv, input=health_probe.bundle(), capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.stderr) == (["2", "zip:jmespath/__init__.py"], "")


def test_what_is_sent_is_small():
    assert len(health_probe.bundle()) < 40_000
    assert "jmespath/parser.py" in probe_jmespath.unpack(health_probe.bundle())


# -- the role, carried out by ansible-playbook ---------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "UP", "pool": 85, "seen": dict(self.headers)}).encode()
        self.send_response(200 if self.path.startswith("/health") else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Quiet."""


@pytest.fixture
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "http://127.0.0.1:%d" % server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def play(tmp_path, monkeypatch):
    monkeypatch.setenv("OPSRUNNER_STATE", str(tmp_path / "state"))
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.import_role: {name: opsrunner.runbook.health_check}\n"
    )

    def carry_out(hosts, *more, **variables):
        inventory = {"all": {"hosts": hosts, "vars": {"ansible_python_interpreter": sys.executable, **variables}}}
        (tmp_path / "hosts.yml").write_text(json.dumps(inventory))
        run = runs.create("daily", "demo", os.getpid())
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), *more]
        environment = {
            **os.environ,
            "OPSRUNNER_RUN": str(run.path),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        }
        ran = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return {(item["host"], item["check"]): item for item in run.findings()}, ran, run

    return carry_out


LOCAL = {"ansible_connection": "local"}


def test_findings_of_hosts_and_system_are_in_the_run(play, url, tmp_path):
    probes = [
        {
            "name": "api",
            "type": "http",
            "url": url + "/health",
            "json": [{"expression": "status", "equals": "UP"}, {"expression": "pool", "warning": "80"}],
        },
        {"name": "down", "type": "http", "url": url + "/other"},
    ]
    system = [{"name": "page", "type": "http", "url": url + "/health"}]
    found, ran, _run = play({"h1": LOCAL, "h2": LOCAL}, runbook_probes=probes, runbook_system_probes=system)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    statuses = {key: item["status"] for key, item in found.items()}
    expected = {("-", "http.page"): "ok"}
    for host in ("h1", "h2"):
        checks = {"host.reachable": "ok", "http.api": "ok", "http.api.pool": "warning", "http.down": "critical"}
        expected.update({(host, check): status for check, status in checks.items()})
    assert statuses == expected
    assert found["h1", "http.down"]["summary"] == "down answers 503, expected 200-299"


def test_the_systems_probes_leave_the_settings_of_hosts_alone(play):
    elsewhere = {
        "ansible_connection": "ssh",
        "ansible_host": "192.0.2.1",
        "ansible_port": 2222,
        "ansible_become": True,
        "ansible_become_exe": "/nonexistent/sudo",
        "ansible_python_interpreter": "/nonexistent/python",
    }
    found, ran, _run = play({"h1": elsewhere}, runbook_system_probes=[{"name": "port", "type": "port", "port": 1, "state": "free"}])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert {key: item["status"] for key, item in found.items()} == {("-", "port.port"): "ok"}


def test_bad_options_are_refused_before_anything_runs(play, url):
    probes = [{"name": "api", "type": "http", "url": url + "/health", "json": [{"expression": "a["}]}]
    found, ran, _run = play({"h1": LOCAL}, runbook_probes=probes)
    assert ran.returncode != 0
    assert "probes[0].json[0].expression" in ran.stdout + ran.stderr
    assert [item["status"] for item in found.values()] == ["unknown"]


def test_secrets_are_in_no_output_and_no_record(play, url):
    probes = [
        {
            "name": "one",
            "type": "http",
            "url": url.replace("://", "://user:hidden1@") + "/x?token=hidden2",
            "headers": {"X-Api-Key": "hidden3"},
        },
        {"name": "two", "type": "http", "url": url + "/x", "username": "u", "password": "hidden4", "headers": {"Cookie": "a=hidden5"}},
    ]
    found, ran, run = play({"h1": LOCAL}, "-vvv", runbook_probes=probes)
    assert found["h1", "http.one"]["status"] == "critical"
    assert "hidden" not in (run.path / "findings.jsonl").read_text()
    results = "".join(line for line in ran.stdout.splitlines(keepends=True) if "hidden" in line)
    assert results == ""


def test_check_mode_looks_just_the_same(play, url):
    found, ran, _run = play({"h1": LOCAL}, "--check", runbook_probes=[{"name": "api", "type": "http", "url": url + "/health"}])
    assert ran.returncode == 0
    assert found["h1", "http.api"]["status"] == "ok"
