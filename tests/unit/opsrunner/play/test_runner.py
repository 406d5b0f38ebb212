# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the run keeps of its command line and of Ansible's words, and where it is while it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opsrunner.play import runner
from opsrunner.play.progress import Progress


def follow(*events: tuple[str, dict[str, Any]]) -> Progress:
    progress = Progress()
    for kind, data in events:
        progress.take({"event": kind, "event_data": data})
    return progress


def test_the_open_hosts_are_those_that_have_begun_the_task_and_not_ended_it() -> None:
    progress = follow(
        ("playbook_on_task_start", {"name": "first"}),
        ("runner_on_start", {"host": "a"}),
        ("runner_on_ok", {"host": "a"}),
        ("playbook_on_task_start", {"name": "tuning : second", "role": "tuning"}),
        ("runner_on_start", {"host": "a"}),
        ("runner_on_start", {"host": "b"}),
        ("runner_on_start", {"host": "c"}),
        ("runner_on_unreachable", {"host": "b"}),
    )
    assert (progress.task, list(progress.open_hosts), progress.done_hosts) == ("second", ["a", "c"], {"b"})


def test_a_failure_that_is_ignored_is_none() -> None:
    failed = ("runner_on_failed", {"host": "a", "ignore_errors": True, "res": {"msg": "no"}})
    assert follow(("playbook_on_task_start", {"name": "t"}), failed).failure == ""


def test_task_counts_are_kept_per_host() -> None:
    progress = follow(("playbook_on_stats", {"processed": {"b": 1, "a": 1}, "ok": {"a": 3}, "dark": {"b": 1}}))
    assert progress.stats["a"]["ok"] == 3
    assert progress.stats["b"] == {"ok": 0, "changed": 0, "failed": 0, "unreachable": 1, "skipped": 0, "rescued": 0, "ignored": 0}


@pytest.mark.parametrize(
    ("tail", "failure", "expected"),
    [
        (
            ["usage: ansible-playbook …", "ansible-playbook: error: unrecognized arguments: --x", "more"],
            "",
            "ansible-playbook: error: unrecognized arguments: --x",
        ),
        (["", "[ERROR]: no such file", "Origin: x.yml:1"], "", "[ERROR]: no such file Origin: x.yml:1"),
        (["[ERROR]: Task failed"], "web1: Copy: no space", "web1: Copy: no space"),
        (["one", "two"], "", "one two"),
        ([], "", "it said nothing"),
    ],
)
def test_the_reason_is_ansibles_own_word(tail: list[str], failure: str, expected: str) -> None:
    assert runner._reason(Progress(failure=failure), tail) == expected


@pytest.mark.parametrize(
    ("given", "hidden", "shown"),
    [
        (["release=2026.11 db_password=hunter2"], {"hunter2", "2026.11"}, set()),
        (['{"api": {"token": "abc"}, "count": 3}'], {"abc"}, {"3"}),
        (["note='a long text' x=y"], {"a long text"}, {"y"}),
        (["broken='unclosed"], {"'unclosed"}, set()),
    ],
)
def test_values_of_extra_variables_are_hidden(given: list[str], hidden: set[str], shown: set[str]) -> None:
    found = runner.hidden_values([], given)
    assert hidden <= found
    assert not shown & found


def test_of_options_behind_the_dashes_only_the_names_are_kept() -> None:
    kept = runner.arguments(
        {"subset": "web*", "extra_vars": ["a=secret"]}, ["--become-user=root", "--start-at-task", "Secret", "-efoo=secret"]
    )
    assert kept == {"subset": "web*", "extra_vars": ["a"], "options": ["--become-user", "--start-at-task", "-e"]}


@pytest.mark.parametrize(
    ("variable", "configured", "expected"),
    [
        (None, None, ["~/.ansible/collections", "/usr/share/ansible/collections"]),
        ("/one:/two", None, ["/one", "/two"]),
        (None, "mine:/abs", ["HERE/mine", "/abs"]),
    ],
)
def test_the_commands_collection_comes_first_and_the_users_folders_stay(
    variable: str | None, configured: str | None, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANSIBLE_COLLECTIONS_PATH", raising=False)
    if variable:
        monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", variable)
    configuration = None
    if configured:
        configuration = tmp_path / "ansible.cfg"
        configuration.write_text(f"[defaults]\ncollections_path = {configured}\n", encoding="utf-8")
    first, *others = runner._collections_path(configuration).split(":")
    assert (Path(first) / "ansible_collections" / "opsrunner" / "runbook").is_dir()
    assert others == [entry.replace("HERE", str(tmp_path)) for entry in expected]


def test_the_ansible_cfg_of_the_folder_one_stands_in_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert runner._configuration() != tmp_path / "ansible.cfg"
    (tmp_path / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    assert runner._configuration() == tmp_path / "ansible.cfg"
    tmp_path.chmod(0o777)  # Ansible leaves such a file alone, anybody could have put it there
    assert runner._configuration() != tmp_path / "ansible.cfg"
