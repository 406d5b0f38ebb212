# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cursor counts once the controller has recorded what was found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Runs the module by ansible-playbook: what was recorded of the cursor, and the process."""
    monkeypatch.setenv("OPSRUNNER_STATE", str(tmp_path / "state"))
    log = {"name": "app", "paths": [str(tmp_path / "app.log")], "format": "text", "cursor": True}
    task = {"opsrunner.runbook.log_stats": {"logs": [log], "state_dir": str(tmp_path / "cursors")}}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))

    def carry_out(*more, interpreter=sys.executable):
        hosts = {"h1": {"ansible_connection": "local", "ansible_python_interpreter": str(interpreter)}}
        (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
        run = runs.create("daily", "demo", os.getpid())
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), *more]
        environment = {
            **os.environ,
            "OPSRUNNER_RUN": str(run.path),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        }
        ran = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        found = {item["check"]: item for item in run.findings()}.get("log.app.cursor")
        return (found["status"], found["message"], found["params"].get("lines")) if found else None, ran

    return carry_out


def interpreter(tmp_path, which, script):
    """A Python for which the calls of the module go wrong whose names ``which`` matches."""
    file = tmp_path / "python"
    text = f'#!/bin/sh\nfor last; do :; done\nif [ -f "$last" ] && grep -q {which} "$last"; then {script}; fi\nexec {sys.executable} "$@"\n'
    file.write_text(text)
    file.chmod(0o755)
    return file


def test_lines_are_new_once(look, tmp_path):
    (tmp_path / "app.log").write_text("ERROR one\n" * 3)
    assert look("--check")[0] == ("ok", "log.cursor", 3)
    assert look()[0] == ("ok", "log.cursor", 3)
    assert look()[0] == ("ok", "log.cursor", 0)
    with (tmp_path / "app.log").open("a") as file:
        file.write("ERROR two\n")
    assert look()[0] == ("ok", "log.cursor", 1)


def test_an_answer_that_is_lost_on_its_way_is_given_again(look, tmp_path):
    """The connection ends after the module has."""
    (tmp_path / "app.log").write_text("ERROR one\n" * 3)
    found, ran = look(interpreter=interpreter(tmp_path, "log_stats", f'{sys.executable} "$@" >/dev/null; exit 1'))
    assert ran.returncode != 0
    assert found is None
    assert os.listdir(tmp_path / "cursors")  # the module had come to its end
    assert look()[0] == ("warning", "log.cursor_repeated", 3)
    assert look()[0] == ("ok", "log.cursor", 0)


def test_a_host_that_cannot_be_told_is_a_warning(look, tmp_path):
    """The findings are there; the next call says that it reads the lines again."""
    (tmp_path / "app.log").write_text("ERROR one\n" * 3)
    once = f"[ ! -e {tmp_path}/first ] && touch {tmp_path}/first || {{ echo the line is cut >&2; exit 1; }}"
    found, ran = look(interpreter=interpreter(tmp_path, "log_stats", once))
    assert found == ("ok", "log.cursor", 3)
    assert ran.returncode == 0
    assert "the next call reads the same lines again" in " ".join((ran.stdout + ran.stderr).split())
    assert look()[0] == ("warning", "log.cursor_repeated", 3)
