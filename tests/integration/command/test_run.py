# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs through the command, from the exit status to what is left on the disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from .conftest import Place, has_ended

ON_SAMPLE = ("--system", "sample")


def wait_until(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def sleepers() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == b"sleep\x004711\x00":
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def is_running(place: Place) -> bool:
    return bool([pid for pid in sleepers() if str(place.state).encode() in Path("/proc", pid, "environ").read_bytes()])


# -- exit status and record ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), 0),
        (("-e", "warning=~:1"), 0),
        (("-e", "warning=~:1", "--fail-on", "warning"), 1),
        (("-e", "path=/nowhere/at/all"), 2),
        (("-e", "path=/nowhere/at/all", "--fail-on", "none"), 0),
        (("--limit", "nobody"), 4),
        (("--tags", "nothing"), 4),
        (("--", "--nonsense"), 4),
    ],
)
def test_the_exit_status_is_that_of_the_findings(words: tuple[str, ...], expected: int, place: Place) -> None:
    done = place.run("look", *ON_SAMPLE, *words)
    assert done.returncode == expected, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("runbook", "words", "told"),
    [
        ("fail", (), r"ansible-playbook ended with 2: \w+: Copy the thing: no thing: none"),
        ("broken", (), "ansible-playbook ended with [14]: .*ERROR"),
        ("look", ("--limit", "nobody"), "ansible-playbook ended with 1: .*limit"),
        ("look", ("--", "--nonsense"), "unrecognized arguments: --nonsense"),
        ("look", ("--tags", "nothing"), "No host or no task was left"),
    ],
)
def test_a_run_that_does_not_come_to_its_end_is_kept_as_failed_with_the_reason(
    runbook: str, words: tuple[str, ...], told: str, place: Place
) -> None:
    done = place.run(runbook, *ON_SAMPLE, *words)
    record = place.record()
    assert (done.returncode, record["state"]) == (4, "failed")
    assert re.search(told, " ".join(record["problems"])), record["problems"]
    assert re.search(told, " ".join(done.stdout.split()))


def test_the_record_says_how_the_run_was_started_and_what_the_hosts_did(place: Place) -> None:
    place.run("look", *ON_SAMPLE, "--limit", "one", "--check", "-e", "path=/etc/hosts", "--", "--become-user=nobody")
    record = place.record()
    assert record["arguments"] == {"subset": "one", "check": True, "extra_vars": ["path"], "options": ["--become-user"]}
    assert (record["runbook"], record["system"], record["via"]) == ("look", "sample", "command")
    assert record["task_stats"]["one"]["ok"] == 2
    assert record["task_stats"].keys() == {"one"}


def test_with_json_the_record_is_all_there_is_on_standard_output(place: Place) -> None:
    done = place.run("look", *ON_SAMPLE, "--json")
    assert json.loads(done.stdout)["counts"]["ok"] == 6
    assert done.stderr == ""


@pytest.mark.parametrize(("words", "silent"), [((), True), (("-e", "path=/nowhere"), False)])
def test_quiet_says_something_only_when_something_is_wrong(words: tuple[str, ...], silent: bool, place: Place) -> None:
    done = place.run("look", *ON_SAMPLE, "--quiet", *words)
    assert (done.stdout == "") is silent
    assert done.stderr == ""


def test_the_report_and_the_path_of_the_full_one_are_told(place: Place) -> None:
    done = place.run("look", *ON_SAMPLE, "-e", "path=/nowhere")
    path = re.search(r"^Full report: (.+)$", done.stdout, re.MULTILINE)
    assert path
    assert Path(path.group(1)).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_nothing_of_ansible_runner_is_left_behind(place: Place) -> None:
    place.run("look", *ON_SAMPLE)
    (run,) = (place.state / "runs").iterdir()
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(".") or path.is_dir()) == []
    assert not list(Path(place.folder).glob("artifacts"))


def test_values_of_extra_variables_are_nowhere_on_the_disk(place: Place, everything_in: Callable[[Path], bytes]) -> None:
    done = place.run("fail", *ON_SAMPLE, "-e", "word=Wonderwall77 api_token=abc9")
    assert b"Wonderwall77" not in everything_in(place.state)
    assert b"abc9" not in everything_in(place.state)
    assert "Wonderwall77" not in done.stdout
    assert place.record()["arguments"] == {"extra_vars": ["word", "api_token"]}


def test_host_keys_are_checked_as_ansible_is_set(place: Place) -> None:
    (place.folder / "playbooks" / "keys.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.fail: {msg: \"{{ lookup('ansible.builtin.env', 'ANSIBLE_HOST_KEY_CHECKING', default='unset') }}\"}\n",
        encoding="utf-8",
    )
    place.run("keys", *ON_SAMPLE, "--limit", "one")
    assert "unset" in place.record()["problems"][0]


# -- passwords -----------------------------------------------------------------------------------------------------------


def test_a_vault_password_is_asked_for_once_and_opens_the_vault(place: Place, everything_in: Callable[[Path], bytes]) -> None:
    secret = place.folder / "inventories" / "sample" / "group_vars"
    secret.mkdir()
    (secret / "all.yml").write_text("path: /etc/hosts\n", encoding="utf-8")
    (place.folder / "word").write_text("Tangerine55\n", encoding="utf-8")
    vault = [str(Path(place.command()[0]).parent / "ansible-vault"), "encrypt", "--vault-password-file", "word", str(secret / "all.yml")]
    subprocess.run(vault, cwd=place.folder, check=True, capture_output=True, env=place.environment)
    (place.folder / "word").unlink()
    child = place.on_terminal("look", *ON_SAMPLE, "--ask-vault-pass")
    child.expect("Vault password: ")
    child.sendline("Tangerine55")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert "Tangerine55" not in (child.before or "")
    assert b"Tangerine55" not in everything_in(place.state)


def test_a_become_password_is_handed_to_ansible_playbook(place: Place) -> None:
    child = place.on_terminal("look", *ON_SAMPLE, "-K")
    child.expect("BECOME password: ")
    child.sendline("Tangerine55")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before


# -- on a terminal -------------------------------------------------------------------------------------------------------


def test_on_a_terminal_the_progress_is_taken_away_before_the_report(place: Place) -> None:
    child = place.on_terminal("look", *ON_SAMPLE, term="xterm")
    child.expect(pexpect.EOF)
    child.close()
    seen = child.before or ""
    assert child.exitstatus == 0
    assert "look on sample  0:0" in seen
    assert seen.index("\x1b[?25l") < seen.rindex("\x1b[?25h") < seen.index("Full report")


# -- being stopped -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_stopped_names_the_step_left_open_and_leaves_no_process(number: signal.Signals, place: Place) -> None:
    child = place.start("wait", *ON_SAMPLE)
    wait_until(lambda: is_running(place))
    child.send_signal(number)
    out, _err = child.communicate(timeout=120)
    record = place.record()
    assert (child.returncode, record["state"]) == (130, "interrupted")
    assert record["open_step"] == {"task": "Wait long", "hosts": ["one", "two"]}
    assert "Wait long" in out
    assert not is_running(place)


def test_a_second_signal_ends_what_does_not_end_by_itself(place: Place) -> None:
    stubborn = WAIT_STUBBORN.replace("MARK", str(place.folder / "mark"))
    (place.folder / "playbooks" / "stubborn.yml").write_text(stubborn, encoding="utf-8")
    child = place.start("stubborn", *ON_SAMPLE, "--limit", "one")
    wait_until((place.folder / "mark").exists)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=120)
    assert child.returncode == 130
    assert place.record()["state"] == "interrupted"
    pid = (place.folder / "mark").read_text(encoding="utf-8").strip()
    wait_until(lambda: has_ended(pid))


WAIT_STUBBORN = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Be stubborn
      ansible.builtin.shell: "trap '' INT TERM; echo $$ > MARK; while :; do sleep 0.1; done"
"""


def test_a_command_that_is_killed_leaves_a_run_that_is_told_to_be_killed(place: Place) -> None:
    child = place.start("wait", *ON_SAMPLE)
    wait_until(lambda: is_running(place))
    child.kill()
    child.communicate(timeout=120)
    for pid in sleepers():
        if str(place.state).encode() in Path("/proc", pid, "environ").read_bytes():
            os.kill(int(pid), signal.SIGKILL)
    done = place.run("history", "--json")
    assert [row["state"] for row in json.loads(done.stdout)] == ["killed"]


# -- beside others, and without a state folder -----------------------------------------------------------------------------


def test_two_runs_at_once_are_kept_apart(place: Place) -> None:
    children = [place.start("look", *ON_SAMPLE, "--json") for _number in range(2)]
    records = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert len({record["id"] for record in records}) == 2
    assert [record["counts"]["ok"] for record in records] == [6, 6]


def test_a_state_folder_that_cannot_be_written_is_told_and_the_run_goes_on(place: Place) -> None:
    place.state.write_text("in the way", encoding="utf-8")
    done = place.run("look", *ON_SAMPLE)
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in " ".join(done.stdout.split())  # a long path moves where the line is broken
    assert list(place.folder.glob("opsrunner-*/runs/*/run.json"))


def test_a_state_folder_full_of_rubbish_is_told_and_the_run_goes_on(place: Place) -> None:
    (place.state / "runs" / "20260101T000000Z-a-b-0000").mkdir(parents=True)
    (place.state / "runs" / "20260101T000000Z-a-b-0000" / "run.json").write_text("{rubbish", encoding="utf-8")
    (place.state / "index.db").write_bytes(os.urandom(4096))
    done = place.run("look", *ON_SAMPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(place.state / "runs" / "20260101T000000Z-a-b-0000")
    assert place.record()["state"] == "complete"


# -- what was kept, and doctor ---------------------------------------------------------------------------------------------


def test_runs_are_shown_listed_and_compared(place: Place, tmp_path: Path) -> None:
    place.run("look", *ON_SAMPLE)
    place.run("look", *ON_SAMPLE, "-e", "path=/nowhere")
    history = json.loads(place.run("history", "--json").stdout)
    assert [row["status"] for row in history] == ["critical", "ok"]
    assert "New (2)" in place.run("diff").stdout
    assert place.run("show", "--html", "x.html").returncode == 0
    assert (place.folder / "x.html").stat().st_size > 1000
    assert place.run("show", history[1]["id"], "--markdown", "-").stdout.startswith("# ")
    assert json.loads(place.run("show", "previous", "--json").stdout)["id"] == history[1]["id"]
    assert "치명" in place.run("show", "--language", "ko").stdout or "심각" in place.run("show", "--language", "ko").stdout


def test_doctor_logs_in_to_the_hosts_of_a_system(place: Place) -> None:
    (place.folder / "inventories" / "sample" / "hosts.yml").write_text(HOSTS_WITH_ONE_AWAY, encoding="utf-8")
    done = place.run("doctor", *ON_SAMPLE)
    assert done.returncode == 2
    assert "ok        host one: answers" in done.stdout
    assert "critical  host away: UNREACHABLE" in done.stdout


HOSTS_WITH_ONE_AWAY = """
all:
  vars: {runbook_system: sample}
  hosts:
    one: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
    away: {ansible_host: 127.0.0.1, ansible_port: 1}
"""


@pytest.mark.parametrize("words", [("look", *ON_SAMPLE), ("history",), ("doctor",)])
def test_it_works_in_a_locale_without_utf_8(words: tuple[str, ...], place: Place) -> None:
    done = place.run(*words, env={"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"})
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
