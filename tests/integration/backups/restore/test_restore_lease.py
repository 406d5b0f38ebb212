# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of a run that was killed, with real runs of ansible-playbook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  connection: local
  tasks:
    - opsrunner.runbook.run_start: {runbook: sample, system: shop}
    - opsrunner.runbook.lease: {system: shop, purpose: restore, folder: FOLDER, again: [--undo]}
      register: taken
    - debug: {msg: "was had"}
    - wait_for: {path: "{{ until }}", timeout: 60}
"""


class Runs:
    """Runs that take the lease, and do not give it back."""

    def __init__(self, folder):
        self.folder = folder
        self.leases = folder / "leases"
        self.playbook = folder / "sample.yml"
        self.playbook.write_text(PLAYBOOK.replace("FOLDER", str(self.leases)))

    def start(self, until):
        """A run that goes on until there is such a path."""
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "OPSRUNNER_STATE": str(self.folder / "state")}
        playbook = str(Path(sys.executable).with_name("ansible-playbook"))
        command = [playbook, "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable} until={until}", str(self.playbook)]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def holding(self):
        """A run that holds the lease now."""
        process = self.start(self.folder / "never")
        said = ""
        for line in process.stdout:
            said += line
            if "was had" in line:
                return process
        raise AssertionError(said)

    def ended(self):
        """What a run says that is not kept up."""
        with self.start(self.playbook) as process:
            said, _nothing = process.communicate(timeout=120)
        return process.returncode, said

    def finding(self):
        """What the last run told of the lease."""
        folder = max((self.folder / "state" / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        lines = [json.loads(line)["finding"] for line in (folder / "findings.jsonl").read_text().splitlines() if '"finding"' in line]
        return next(item for item in lines if item["check"] == "system.lease")

    def held(self):
        """The lease as it is written down."""
        return json.loads((self.leases / "shop.json").read_text())


@pytest.fixture
def runs(tmp_path):
    """Runs with leases of their own."""
    return Runs(tmp_path)


def test_the_lease_of_a_living_run_is_refused_and_that_of_a_killed_one_is_taken(runs):
    first = runs.holding()
    try:
        status, said = runs.ended()
        found = runs.finding()
        assert status and (found["status"], found["message"]) == ("critical", "system.lease.alive"), said
        assert f"kill {first.pid}" in found["remedy"] and found["params"]["pid"] == str(first.pid)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    status, said = runs.ended()
    found = runs.finding()
    assert (status, found["status"], found["message"]) == (0, "ok", "system.lease.after"), said
    assert "its process %d is gone" % first.pid in said


def test_where_it_cannot_be_known_the_command_is_told(runs):
    first = runs.holding()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    lease = runs.held()
    lease["process"] = "0" * 8 + lease["process"][8:]  # of another boot
    (runs.leases / "shop.json").write_text(json.dumps(lease))
    status, said = runs.ended()
    found = runs.finding()
    assert status and (found["status"], found["message"]) == ("critical", "system.lease.held"), said
    assert "the same ansible-playbook command with -e lease_take_over=true" in found["remedy"]
    assert runs.held() == lease
