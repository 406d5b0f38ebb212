# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: names, options handed on, passwords, wrong usage."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from opsrunner.cli import main as cli
from opsrunner.commands import run as running

PLAY = "- name: {name}\n  hosts: all\n  gather_facts: false\n  tasks: []\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two playbooks and two systems."""
    for name in ("tidy", "restore"):
        (tmp_path / "playbooks").mkdir(exist_ok=True)
        (tmp_path / "playbooks" / f"{name}.yml").write_text(PLAY.format(name=name.title()), encoding="utf-8")
    (tmp_path / "playbooks" / "vars.yml").write_text("a: 1\n", encoding="utf-8")
    for name in ("shop", "mill"):
        (tmp_path / "inventories" / name).mkdir(parents=True)
        (tmp_path / "inventories" / name / "hosts.yml").write_text("all: {hosts: {one: }}\n", encoding="utf-8")
    monkeypatch.setenv("OPSRUNNER_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(*words: str) -> argparse.Namespace:
    return cli._run_options().parse_args(words)


@pytest.mark.parametrize(
    ("words", "extra", "expected"),
    [
        ([], [], []),
        (["--limit", "web*"], [], ["--limit", "web*"]),
        (["--tags", "a", "-t", "b,c"], [], ["--tags", "a", "--tags", "b,c"]),
        (["--check", "--diff"], [], ["--check", "--diff"]),
        (["-e", "a=1 b=2", "-e", "@file.yml"], [], ["--extra-vars", "a=1 b=2", "--extra-vars", "@file.yml"]),
        (["--forks", "40"], [], ["--forks", "40"]),
        (["--vault-id", "prod@prompt", "--vault-password-file", "f"], [], ["--vault-id", "prod@prompt", "--vault-password-file", "f"]),
        (["-b", "-K", "-u", "ops", "--private-key", "k"], [], ["--user", "ops", "--private-key", "k", "--become", "--ask-become-pass"]),
        (["--language", "ko"], [], ["-e", "run_report_language=ko"]),
        (["--fail-on", "none"], [], ["-e", "run_report_fail_on=none"]),
        (["-vv"], ["--step"], ["-vv", "--step"]),
    ],
)
def test_options_are_handed_on_to_ansible_playbook(words: list[str], extra: list[str], expected: list[str]) -> None:
    assert running.ansible_options(options(*words), extra) == expected


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], []),
        (["-k"], ["SSH password: "]),
        (["-K"], ["BECOME password: "]),
        (["-k", "-K"], ["SSH password: ", "BECOME password[defaults to SSH password]: "]),
        (["--ask-vault-pass"], ["Vault password: "]),
        (["--vault-id", "prod@prompt", "--vault-id", "dev@file"], ["Vault password (prod): "]),
    ],
)
def test_what_ansible_playbook_asks_for_is_asked_for_first(words: list[str], asked: list[str]) -> None:
    questions: list[str] = []
    answers = running.ask_passwords(options(*words), lambda prompt: questions.append(prompt) or "word")  # type: ignore[func-returns-value]
    assert questions == asked
    assert list(answers.values()) == ["word"] * len(asked)


def test_an_empty_become_password_is_the_login_password() -> None:
    replies = iter(["login", ""])
    answers = running.ask_passwords(options("-k", "-K"), lambda _prompt: next(replies))
    assert list(answers.values()) == ["login", "login"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tydi", "--system", "shop"], "unknown command or runbook 'tydi' (did you mean tidy?)"),
        (["vars", "--system", "shop"], "unknown command or runbook 'vars'"),
        (["histori"], "unknown command or runbook 'histori' (did you mean history?)"),
        (["tidy", "--system", "shpo"], "unknown system 'shpo' (did you mean shop?)"),
        (["tidy"], "which system? Name it behind the runbook; there are: "),
        (["tidy", "--system", "shop", "-i", "x"], "give --system or -i, not both"),
        (["tidy", "-i", "nowhere"], "there is no inventory nowhere"),
        (["tidy", "--system", "shop", "--fail-on", "bad"], "invalid choice: 'bad'"),
        (["tidy", "--system", "shop", "--fail-on", "criticl"], "(did you mean critical?)"),
        (["tidy", "--sytem", "shop"], "tidy: unknown option --sytem (did you mean --system?)"),
        (["tidy", "--system", "shop", "shop"], "give shop or --system shop, not both"),
        (["--system", "shop", "tidy"], "the command comes before its options"),
        (["history", "--", "x"], "history takes nothing after --"),
        (["tidy", "--system", "shop", "--forks", "0"], "'0' is not a whole number above 0"),
        (["tidy", "--system", "shop", "--nonsense"], "tidy: unknown option --nonsense; an option of ansible-playbook goes behind --"),
        (["show"], "no run is kept"),
        (["show", "2026"], "there is no run '2026'"),
        (["diff"], "no run is kept"),
        (["validate", "shpo"], "unknown system 'shpo' (did you mean shop?)"),
        (["init", "Shop Floor"], "cannot be a system's name"),
        (["init", "shop"], "is there already"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_told_in_a_line_and_ends_with_64(
    words: list[str], told: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 64
    seen = capsys.readouterr()
    assert told in seen.err
    assert seen.out == ""


def test_list_tells_runbooks_and_systems_in_a_line_each(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["tidy", "Tidy"] for line in lines)
    assert any(line.startswith("  daily ") for line in lines)
    assert any(line.split()[0] == "mill" for line in lines if line.strip())
    assert not any(line.split()[:1] == ["vars"] for line in lines)


def test_help_names_every_runbook_and_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    for name in ("daily", "tidy", "restore", "show", "history", "diff", "list", "validate", "init", "doctor", "demo", "status", "logs"):
        assert f"\n    {name}" in told


def test_a_shortcut_changes_no_other_command(place: Path) -> None:
    from opsrunner.find import runbooks

    top = cli.parser(runbooks.find())
    assert top.parse_args(["status", "--system", "shop"]).tags == ["health"]
    assert top.parse_args(["daily", "--system", "shop"]).tags is None


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    from opsrunner import __version__

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"opsrunner {__version__}\n"


def test_the_version_is_the_collections() -> None:
    import yaml

    from opsrunner import __version__
    from opsrunner.find import collection as _collection

    assert yaml.safe_load((_collection.root() / "galaxy.yml").read_text(encoding="utf-8"))["version"] == __version__
