# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores that are interrupted through the command: what is said, what is done, what the next look finds."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Place
from .test_run import wait_until

INVENTORY = """
all:
  vars:
    runbook_system: shop
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    lease_folder: FOLDER/leases
    restore_journal_folder: FOLDER/journals
    backup_status_journal_folder: FOLDER/journals
    runbook_backups:
      - name: shop
        root: FOLDER/sets
        artifacts: [{name: orders, engine: sqlite, database: FOLDER/live/shop.db}]
        drill: {scratch: FOLDER/scratch}
        restore: {health: [{name: api, type: http, url: "http://127.0.0.1:9/"}], health_timeout: 120s}
  hosts: {one: }
"""
STATUS = """
- hosts: all
  gather_facts: false
  tasks:
    - opsrunner.runbook.run_start: {runbook: status, system: "{{ runbook_system }}"}
    - ansible.builtin.import_role: {name: opsrunner.runbook.backup_status}
    - ansible.builtin.import_role: {name: opsrunner.runbook.run_report}
"""


LOST = """#!/bin/sh
for last; do :; done
case $last in
*python*) echo "connection lost" >&2; exit 255 ;;
*) exec sh -c "$last" ;;
esac
"""


class Shop(Place):
    """A database with a set of old rows, and other rows in place."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("sets", "live", "scratch", "journals", "inventories/shop", "playbooks"):
            (folder / name).mkdir(parents=True)
        text = INVENTORY.replace("FOLDER", str(folder))
        (folder / "inventories/shop/hosts.yml").write_text(text, encoding="utf-8")
        (folder / "playbooks/status.yml").write_text(STATUS, encoding="utf-8")
        self.write("old")
        made = self.wait("backup", "--system", "shop")
        assert made.returncode == 0, made.stdout + made.stderr
        self.write("new")

    def wait(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )

    def write(self, word: str) -> None:
        """Have rows of this word alone."""
        with closing(sqlite3.connect(self.folder / "live/shop.db")) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS orders (word TEXT)")
            database.execute("DELETE FROM orders")
            database.execute("INSERT INTO orders VALUES (?)", (word,))

    def word(self) -> str:
        """The word in place."""
        with closing(sqlite3.connect(self.folder / "live/shop.db")) as database:
            (found,) = database.execute("SELECT word FROM orders").fetchone()
        return str(found)

    def phase(self) -> str | None:
        """The phase in the journal, None without one."""
        try:
            told: dict[str, Any] = json.loads((self.folder / "journals/shop.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return str(told["phase"])

    def restoring(self) -> subprocess.Popen[str]:
        """A restore whose service does not get healthy, at that moment."""
        child = self.start("restore", "--system", "shop", "--set", "newest", "--confirm", "restore")
        wait_until(lambda: self.phase() == "starting", 120)
        return child

    def last(self) -> dict[str, Any]:
        """The record of the last run."""
        path = max((self.state / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns)
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """The shop."""
    return Shop(tmp_path)


def test_ctrl_c_lets_the_restore_be_taken_back_and_names_the_commands(shop: Shop) -> None:
    child = shop.restoring()
    assert shop.word() == "old"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=200)
    assert (child.returncode, shop.last()["state"]) == (130, "interrupted"), err
    told = " ".join(shop.last()["problems"])
    assert "python -m opsrunner restore --system shop --undo" in told and "restore --system shop --resume" in told
    assert "--undo" in out and "--limit" not in out
    assert shop.word() == "new" and shop.phase() is None


def test_a_killed_restore_is_critical_in_the_next_look_which_names_the_command_that_works(shop: Shop) -> None:
    child = shop.restoring()
    module = (shop.folder / "journals/shop.lock").read_text(encoding="utf-8").split()[1]
    os.kill(int(module), signal.SIGKILL)
    child.communicate(timeout=200)
    assert shop.word() == "old" and shop.phase() == "starting"
    (found,) = [one for one in shop.last()["findings"] if one["check"].endswith("restore")]
    assert (found["check"], found["status"], found["message"]) == ("backup.shop.restore", "unknown", "backup.restore.ended")
    assert "restore --system shop --backup shop --undo" in found["remedy"]
    shop.wait("status", "--system", "shop")
    (found,) = [one for one in shop.last()["findings"] if one["check"] == "backup.shop.restore"]
    assert (found["status"], found["message"]) == ("critical", "backup.restore.interrupted")
    undo, resume = found["params"]["ways"]
    assert "--resume" in resume and undo in found["remedy"]
    words = shlex.split(undo)
    assert words[:3] == ["python", "-m", "opsrunner"]
    done = shop.wait(*words[3:])
    assert (done.returncode, shop.word(), shop.phase()) == (0, "new", None), done.stdout
    shop.wait("status", "--system", "shop")
    assert not [one for one in shop.last()["findings"] if one["check"] == "backup.shop.restore"]


def test_a_connection_that_is_cut_names_the_commands(shop: Shop) -> None:
    """A stand-in for ssh that runs everything here, but loses the connection once the module has begun."""
    ssh = shop.folder / "ssh"
    ssh.write_text(LOST, encoding="utf-8")
    ssh.chmod(0o755)
    far = f"ansible_connection: ssh\nansible_ssh_executable: {ssh}\nansible_ssh_transfer_method: piped\nansible_ssh_retries: 0\n"
    (shop.folder / "inventories/shop/host_vars").mkdir()
    (shop.folder / "inventories/shop/host_vars/one.yml").write_text(far, encoding="utf-8")
    done = shop.wait("restore", "--system", "shop", "--set", "newest", "--confirm", "restore")
    found = {one["check"]: one for one in shop.last()["findings"]}
    assert found["host.reachable"]["status"] == "critical", (done.stdout, found, shop.last())
    assert (found["backup.shop.restore"]["status"], found["backup.shop.restore"]["message"]) == ("unknown", "backup.restore.cut")
    assert "restore --system shop --backup shop --undo" in found["backup.shop.restore"]["remedy"]
    plan = shop.wait("restore", "--system", "shop", "--set", "newest")
    assert "backup.shop.restore" not in {one["check"] for one in shop.last()["findings"]}, plan.stdout


def test_a_plan_that_is_interrupted_leaves_nothing_open(shop: Shop) -> None:
    """Nothing was confirmed, so nothing is said to be open."""
    from opsrunner.find import runbooks, systems
    from opsrunner.find.collection import runs
    from opsrunner.play import runner

    runbook = runbooks.Runbook("restore", ROOT / "playbooks/restore.yml", "opsrunner.runbook.restore")

    def said(**given: Any) -> list[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPSRUNNER_STATE", str(shop.state))
            run = runs.create("restore", "shop", 1)
            job = runner.Job(runbook, systems.System("shop", shop.folder / "inventories/shop"), ["-e", json.dumps(given)])
            return list(runner._left_open(job, run, ["one"]))

    assert said(restore_set="newest") == [] == said(restore_action="list") == said(restore_action="discard")
    assert said(restore_set="newest", confirm="restore") and said(restore_set="newest", confirm=["restore"])
    assert "--backup books --undo" in said(restore_action="undo", restore_backup="books")[0]


def test_one_failure_is_one_finding(shop: Shop) -> None:
    """The module's own finding says why; none beside it advises to read the task's output."""
    done = shop.wait("restore", "--system", "shop", "--set", "2020-01-01", "--confirm", "restore")
    bad = [one for one in shop.last()["findings"] if one["status"] != "ok"]
    assert [(one["check"], one["status"]) for one in bad] == [("backup.shop.restore", "critical")], done.stdout
    assert "there is no set" in bad[0]["summary"] and "-vvv" not in done.stdout
    assert done.returncode == 2
