# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that are full, read-only, corrupt or not there, outputs that are closed: the run goes on and says so."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Place


def may_mount() -> bool:
    return os.getuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def as_root() -> None:
    if not may_mount():
        told = "needs root and unshare, to mount small file systems and to be another user"
        if os.environ.get("STRICT") == "1":
            pytest.fail(told)
        pytest.skip(told)


def on_small(place: Place, mounted: Path, words: list[str], size: str = "64k", env: dict[str, str] | None = None) -> Any:
    """Run with a file system of that size, filled to its end, at ``mounted``."""
    mounted.mkdir(exist_ok=True)
    at = shlex.quote(str(mounted))
    script = f"mount -t tmpfs -o size={size} tmpfs {at}; cat /dev/zero > {at}/fill 2>/dev/null; {shlex.join(words)}"
    return place.run(["unshare", "-m", "bash", "-c", script], cwd=ROOT if "ansible" in words else place.folder, env=env)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("alone", [False, True], ids=["command", "ansible-playbook"])
def test_without_space_in_the_state_folder_the_run_is_kept_in_a_temporary_one(alone: bool, place: Place) -> None:
    words = place.playbook("--tags", "health") if alone else place.command("daily", "--system", "sample", "--tags", "health")
    done = on_small(place, place.state, words)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = place.records(place.folder / f"opsrunner-{os.getuid()}")
    assert (record["state"], record["counts"]["ok"]) == ("complete", 2)
    assert "cannot be written (No space left on device)" in " ".join(done.stdout.split())
    assert list(place.folder.glob("opsrunner-*/runs/*/report.html"))
    assert not list(place.folder.glob("opsrunner-*/runs/*/.runner"))


@pytest.mark.usefixtures("as_root")
def test_a_full_temporary_folder_stops_nothing(place: Place) -> None:
    full = place.folder / "tmp"
    done = on_small(place, full, place.command("daily", "--system", "sample", "--tags", "health"), env={"TMPDIR": str(full)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.record()["state"] == "complete"


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("lost", ["state", "all"])
def test_with_read_only_folders_it_runs_all_the_same(lost: str, place: Place) -> None:
    place.state.mkdir()
    temporary = place.folder / "tmp"
    temporary.mkdir()
    for folder in [place.state] if lost == "state" else [place.state, place.home, place.folder / "inventories"]:
        folder.chmod(0o555)
    words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner"]  # root is then bound by modes
    assert place.run([*words, "touch", str(place.state / "x")]).returncode == 1
    env = {"TMPDIR": str(temporary)}
    done = place.run([*words, *place.command("daily", "--system", "sample", "--tags", "health")], env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = place.records(temporary / f"opsrunner-{os.getuid()}")
    assert record["state"] == "complete"
    assert "cannot be written" in " ".join(done.stdout.split())
    assert record["id"] in place.run([*words, *place.command("history")], env=env).stdout


RUBBISH: dict[str, bytes] = {
    "empty": b"",
    "zeros": b"\0" * 300,
    "cut": b'{"schema": 1, "id": "x", "findings": [{"host"',
    "a number": b"17",
    "a list": b"[[[]]]",
    "deep": b"[" * 100_000,
    "without what a record has": b'{"schema": 1}',
    "of wrong types": b'{"schema": 1, "id": 3, "runbook": [], "system": {}, "state": 1, "started_at": "x", "findings": 7, "start": null}',
    "findings that are none": b'{"schema": 1, "id": "a", "runbook": "b", "system": "sample", "state": "complete", "start": "x",'
    b' "started_at": 1, "status": "fine", "findings": [1, {"host": 2}]}',
}


def test_a_state_folder_full_of_rubbish_hides_no_run_that_is_whole(place: Place) -> None:
    for number, content in enumerate(RUBBISH.values()):
        folder = place.state / "runs" / f"20260101T00000{number}Z-sample-daily-000{number}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(content)
        (folder / "findings.jsonl").write_bytes(content)
    (place.state / "index.db").write_bytes(os.urandom(4096))
    (place.state / "live").mkdir()
    (place.state / "live" / "1-1").write_bytes(os.urandom(50))
    (place.state / "live" / "rubbish").write_bytes(b"")
    done = place.daily("--tags", "health")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (("show", "last"), ("history",), ("show", "--json"), ("diff",), ("show", "20260101T000003Z-sample-daily-0003")):
        told = place.run(place.command(*words))
        assert "Traceback" not in told.stderr, told.stderr
        if words[0] == "history":
            assert " complete " in told.stdout
        if words == ("show", "--json"):
            assert json.loads(told.stdout)["state"] == "complete"


SPOIL = """
- hosts: all
  gather_facts: false
  tasks:
    - opsrunner.runbook.run_start: {runbook: spoil, system: sample}
      register: opened
    - ansible.builtin.copy: {src: rubbish, dest: "{{ opened.path }}/findings.jsonl"}
    - opsrunner.runbook.health_probe:
        probes: [{name: a, type: file, path: /etc/passwd}, {name: b, type: file, path: /etc/group}]
    - opsrunner.runbook.run_report:
"""


def test_findings_torn_or_foreign_in_mid_run_do_not_end_it(place: Place) -> None:
    (place.folder / "playbooks").mkdir()
    (place.folder / "playbooks" / "spoil.yml").write_text(SPOIL, encoding="utf-8")
    (place.folder / "playbooks" / "rubbish").write_bytes(b'17\n[]\n\xff\n{"finding": 3}\n{"finding": {"host": 1}}\n{"fin')
    done = place.run(place.command("spoil", "--system", "sample"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [item["check"] for item in place.record()["findings"]] == ["file.a", "file.b", "host.reachable"]


def test_what_is_read_no_further_closed_or_full_changes_no_status(place: Place) -> None:
    place.system({"one": None}, runbook_probes=[{"name": "gone", "type": "file", "path": "/nowhere"}])
    words = shlex.join(place.command("daily", "--system", "sample", "--tags", "health"))
    for behind in ("2> /dev/full | true; exit ${PIPESTATUS[0]}", "> /dev/full", ">&- 2>&-"):
        done = place.run(["bash", "-c", f"{words} {behind}"])
        assert done.returncode == 2, behind + done.stderr
        assert "Traceback" not in done.stderr
    show = shlex.join(place.command("show"))
    for behind, expected in (("| true; exit ${PIPESTATUS[0]}", 0), ("> /dev/full", 4), (">&-", 0)):
        done = place.run(["bash", "-c", f"{show} {behind}"])
        assert (done.returncode, "Traceback" in done.stderr) == (expected, False), behind + done.stderr


def test_a_folder_that_is_gone_is_told_in_a_line(place: Place) -> None:
    words = shlex.join(place.command("list"))
    done = place.run(["bash", "-c", f"mkdir x && cd x && rmdir ../x && {words}"])
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "change to another one" in done.stderr


def test_with_next_to_nothing_in_the_environment_it_runs(place: Place) -> None:
    bare = {"PYTHONPATH": str(ROOT / "src"), "OPSRUNNER_STATE": str(place.state), "LANG": "C"}
    words = ["env", "-i", *[f"{name}={value}" for name, value in bare.items()]]
    done = place.run([*words, *place.command("daily", "--system", "sample", "--tags", "health", "--language", "ko")])
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.record()["language"] == "ko"
