# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder with small playbooks and an inventory, and the command run in it as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

ROOT = Path(__file__).resolve().parents[3]

HOSTS = """
all:
  vars:
    runbook_system: sample
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  hosts:
    one:
    two:
"""
LOOK = """
# Looks at what it is told to.
- name: Look
  hosts: all
  gather_facts: false
  tasks:
    - name: Open the run
      opsrunner.runbook.run_start: {runbook: look, system: "{{ runbook_system }}"}
      run_once: true
    - name: Look at files
      opsrunner.runbook.health_probe:
        probes:
          - {name: there, type: file, path: /etc/passwd}
          - {name: wanted, type: file, path: "{{ path | default('/etc/passwd') }}", warning: "{{ warning | default('~:') }}"}
"""
WAIT = """
- name: Wait
  hosts: all
  gather_facts: false
  tasks:
    - name: Begin
      ansible.builtin.command: "true"
    - name: Wait long
      ansible.builtin.command: sleep 4711
"""
FAIL = """
- name: Fail
  hosts: all
  gather_facts: false
  tasks:
    - name: Copy the thing
      ansible.builtin.fail: {msg: "no thing: {{ word | default('none') }}"}
"""
BROKEN = "- hosts: all\n  tasks:\n    - nonsense: {\n"


class Place:
    """Where the command is run. ``state``: its state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "OPSRUNNER_"))},
            "OPSRUNNER_STATE": str(self.state),
            "PYTHONPATH": str(ROOT / "src"),
            "TMPDIR": str(folder),
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "opsrunner", *words]

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **more.pop("env", {})}
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            **more,
        )

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "stdin": subprocess.DEVNULL, **more}
        return subprocess.Popen(self.command(*words), cwd=self.folder, env=self.environment, **pipes)

    def on_terminal(self, *words: str, term: str = "dumb") -> pexpect.spawn[str]:
        """The command on a terminal of 80 columns."""
        program, *rest = self.command(*words)
        given = {**self.environment, "TERM": term}
        return pexpect.spawn(program, rest, cwd=str(self.folder), env=given, encoding="utf-8", timeout=120, dimensions=(24, 80))

    def record(self) -> dict[str, Any]:
        """The record of the only run."""
        (path,) = (self.state / "runs").glob("*/run.json")
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record


def has_ended(pid: str) -> bool:
    """Whether the process is gone, or waits only for its parent to notice."""
    try:
        state = Path("/proc", pid, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "playbooks").mkdir()
    for name, text in {"look": LOOK, "wait": WAIT, "fail": FAIL, "broken": BROKEN}.items():
        (tmp_path / "playbooks" / f"{name}.yml").write_text(text, encoding="utf-8")
    (tmp_path / "inventories" / "sample").mkdir(parents=True)
    (tmp_path / "inventories" / "sample" / "hosts.yml").write_text(HOSTS, encoding="utf-8")
    return Place(tmp_path)


@pytest.fixture
def everything_in() -> Callable[[Path], bytes]:
    """All that is written anywhere in a folder."""

    def read(folder: Path) -> bytes:
        return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())

    return read
