# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings are recorded by real ansible-playbook runs under everything a play can do with a task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

INVENTORY = """
all:
  vars:
    runbook_system: sample
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  hosts:
    one:
    two:
    away:
      ansible_connection: ssh
      ansible_host: 127.0.0.1
      ansible_port: 1
"""

PLAYBOOK = """
- hosts: all
  gather_facts: false
  ignore_unreachable: true
  tasks:
    - opsrunner.runbook.run_start: {runbook: sample, system: sample}
      run_once: true
    - opsrunner.runbook.backup_status:
        backups: [{name: "{{ item }}", root: "ROOT", kind: file, pattern: "*.gz"}]
      loop: [a, b, c]
    - opsrunner.runbook.backup_status:
        backups: [{name: shared, root: "ROOT", kind: file, pattern: "*.gz"}]
        scope: system
      run_once: true
    - opsrunner.runbook.backup_status:
        backups: [{name: hidden, root: "/nowhere/secretplace", kind: file, pattern: "*.gz"}]
      no_log: true
    - opsrunner.runbook.backup_status:
        backups: [{name: delegated, root: "ROOT", kind: file, pattern: "*.gz"}]
      delegate_to: localhost
    - block:
        - opsrunner.runbook.backup_status:
            backups: [{name: "{{ item }}", root: "ROOT", kind: file, pattern: "*.gz", max_agee: 1h}]
          loop: [x]
      rescue:
        - opsrunner.runbook.run_failure:
    - block:
        - ansible.builtin.debug: {msg: "{{ not_there }}"}
      rescue:
        - opsrunner.runbook.run_failure:
    - block:
        - opsrunner.runbook.backup_status:
            backups: [{name: late, root: "ROOT", kind: file, pattern: "*.gz"}]
          async: 10
          poll: 1
      rescue:
        - opsrunner.runbook.run_failure:
    - block:
        - block:
            - name: Ask once for all
              ansible.builtin.fail: {msg: nobody answered}
              run_once: true
      rescue:
        - opsrunner.runbook.run_failure:
    - opsrunner.runbook.run_report: {fail_on: none}
      run_once: true
"""


@pytest.fixture(scope="module", params=[[], ["--check"]], ids=["run", "check mode"])
def run(request, tmp_path_factory):
    """A finished run of the playbook above: its record, and what was printed."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "copies").mkdir()
    (folder / "inventory.yml").write_text(INVENTORY)
    (folder / "play.yml").write_text(PLAYBOOK.replace("ROOT", str(folder / "copies")))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "inventory.yml",
            "play.yml",
            "-e",
            "token=hunter22",
            *request.param,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "OPSRUNNER_STATE": str(folder / "state"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_TIMEOUT": "3"},
    )
    records = list((folder / "state" / "runs").glob("*/run.json"))
    assert len(records) == 1, done.stdout + done.stderr
    return json.loads(records[0].read_text()), done, records[0].parent


def checks(record, host):
    return {item["check"]: item["status"] for item in record["findings"] if item["host"] == host}


def test_every_item_of_a_loop_is_recorded_on_every_host(run):
    record = run[0]
    for host in ("one", "two"):
        assert {"backup.a.age", "backup.b.age", "backup.c.age"} <= set(checks(record, host))


def test_a_check_of_the_whole_system_is_recorded_once_under_no_host(run):
    record = run[0]
    assert "backup.shared.age" in checks(record, "-")
    assert not any(item["check"].startswith("backup.shared") for item in record["findings"] if item["host"] != "-")


def test_under_no_log_the_finding_is_kept_and_what_was_seen_is_not(run):
    record, done, folder = run
    hidden = [item for item in record["findings"] if item["check"].startswith("backup.hidden")]
    assert len(hidden) >= 2
    everything = "".join(path.read_text(errors="replace") for path in folder.iterdir() if path.is_file())
    assert "secretplace" not in everything
    assert "secretplace" not in done.stdout


def test_a_delegated_check_belongs_to_the_host_it_was_made_for(run):
    assert "backup.delegated.age" in checks(run[0], "one")


def test_an_unreachable_host_is_critical_and_said_once(run):
    record, done, _folder = run
    found = checks(record, "away")
    assert found["host.reachable"] == "critical"
    assert done.stdout.count("was not reachable earlier in this run") >= 2


def test_options_that_are_refused_are_a_finding_that_names_the_nearest(run):
    found = [item for item in run[0]["findings"] if item["check"] == "task.backup_status" and item["host"] == "one"]
    assert len(found) == 1
    assert found[0]["status"] == "unknown"


def test_a_task_that_fails_outside_the_checks_is_unknown(run):
    assert any(
        check.startswith("task.") and status == "unknown" and "backup" not in check for check, status in checks(run[0], "one").items()
    )


def test_what_failed_once_for_all_is_told_on_each_host_with_its_reason(run):
    """Ansible tells it to one host; the other one still has the failure of an earlier block."""
    found = {item["host"]: item for item in run[0]["findings"] if item["check"] == "task.ask_once_for_all"}
    assert {host: (item["status"], item["message"], item["params"]["reason"]) for host, item in found.items()} == {
        "one": ("unknown", "task.failed", "nobody answered"),
        "two": ("unknown", "task.failed_elsewhere", "nobody answered"),
        "away": ("unknown", "task.failed_elsewhere", "nobody answered"),
    }
    assert found["two"]["params"]["where"] == "one"
    assert not any("no message" in item["summary"] for item in run[0]["findings"])


def test_values_of_extra_variables_are_in_no_file(run):
    record, _done, folder = run
    assert record["arguments"]["extra_vars"] == ["token"]
    assert not [path for path in folder.rglob("*") if path.is_file() and "hunter22" in path.read_text(errors="replace")]


def test_the_run_says_how_it_came(run):
    record = run[0]
    assert (record["state"], record["via"], record["system"], record["runbook"]) == ("complete", "ansible-playbook", "sample", "sample")
    assert sorted(record["expected_hosts"]) == ["away", "one", "two"]
