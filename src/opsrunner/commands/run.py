# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that run a runbook: from the command line to a job, and what was found told."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from opsrunner import output
from opsrunner.commands import own_options
from opsrunner.errors import RefusalError, UsageError, unknown
from opsrunner.find import runbooks, systems
from opsrunner.play import live

_PASSED = {
    "subset": "--limit",
    "tags": "--tags",
    "skip_tags": "--skip-tags",
    "check": "--check",
    "diff": "--diff",
    "extra_vars": "--extra-vars",
    "forks": "--forks",
    "remote_user": "--user",
    "private_key": "--private-key",
    "ask_pass": "--ask-pass",
    "become": "--become",
    "ask_become_pass": "--ask-become-pass",
    "vault_id": "--vault-id",
    "vault_password_file": "--vault-password-file",
    "ask_vault_pass": "--ask-vault-pass",
}


def ansible_options(given: argparse.Namespace, extra: Sequence[str]) -> list[str]:
    """The options of ansible-playbook for what the command was given."""
    words = own_options.variables(given, given.runbook.name) if getattr(given, "runbook", None) else []
    for name, option in _PASSED.items():
        value = getattr(given, name)
        for item in value if isinstance(value, list) else [value]:
            if item is True:
                words.append(option)
            elif item not in (None, False):
                words += [option, str(item)]
    if given.language:
        words += ["-e", f"run_report_language={given.language}"]
    if given.fail_on:
        words += ["-e", f"run_report_fail_on={given.fail_on}"]
    if given.verbose:
        words.append("-" + "v" * given.verbose)
    return [*words, *extra]


def ask_passwords(given: argparse.Namespace, ask: Callable[[str], str] = getpass.getpass) -> dict[str, str]:
    """Ask for what ansible-playbook is going to ask for; answers by the pattern of its prompt."""
    answers: dict[str, str] = {}
    if given.ask_pass:
        answers[r"SSH password:\s*?$"] = ask("SSH password: ")
    if given.ask_become_pass:
        prompt = "BECOME password"
        default = answers.get(r"SSH password:\s*?$", "")
        answers[r"BECOME password.*:\s*?$"] = ask(f"{prompt}{'[defaults to SSH password]' if given.ask_pass else ''}: ") or default
    if given.ask_vault_pass:
        answers[r"Vault password:\s*?$"] = ask("Vault password: ")
    for identity in given.vault_id or ():
        label, _at, source = identity.rpartition("@")
        if source in ("prompt", "prompt_ask_vault_pass"):
            answers[rf"Vault password \({re.escape(label or 'default')}\):\s*?$"] = ask(f"Vault password ({label or 'default'}): ")
    return answers


#: Words of Ansible's own for --tags.
_TAG_WORDS = frozenset({"all", "always", "never", "tagged", "untagged"})


def check_words(given: argparse.Namespace, runbook: runbooks.Runbook) -> None:
    """Refuse tags and confirmations that the runbook does not know; Ansible takes them silently. Raises UsageError."""
    known = runbooks.tags(runbook)
    for name in ("tags", "skip_tags"):
        for tag in (tag.strip() for entry in getattr(given, name) or () for tag in entry.split(",")):
            if tag and known and tag not in known | _TAG_WORDS:
                raise unknown(tag, known, f"--{name.replace('_', '-')}")
    steps = own_options.STEPS.get(runbook.name, ())
    for step in getattr(given, "own__confirm", None) or ():
        if step not in steps:
            raise unknown(step, steps, "--confirm")


def run_runbook(given: argparse.Namespace, extra: Sequence[str]) -> int:
    """Run a runbook and tell what was found."""
    from opsrunner.find.collection import run_arguments, runs
    from opsrunner.play import runner

    if given.system_name and given.system:
        raise UsageError(f"give {given.system_name} or --system {given.system}, not both")
    system = systems.choose(given.system_name or given.system, given.inventory)
    runbook: runbooks.Runbook = given.runbook
    check_words(given, runbook)
    passwords = ask_passwords(given)
    own = own_options.variables(given, runbook.name)
    job = runner.Job(
        runbook=runbook,
        system=system,
        options=ansible_options(given, extra),
        arguments=runner.arguments({**vars(given), "extra_vars": [*own[1:], *(given.extra_vars or ())]}, list(extra)),
        passwords=passwords,
        environment=_demo(system),
        hidden=runner.hidden_values(passwords.values(), given.extra_vars or ()),
    )
    revision = run_arguments.revision(runbook.path.resolve().parent)
    try:
        run = runs.create(runbook.name, system.name, os.getpid(), arguments=job.arguments, revision=revision, via="command")
    except OSError as error:
        raise RefusalError(f"no run can be kept: {error}; set {runs.STATE_VARIABLE} to a folder that can be written") from error
    watcher = _watcher(given, run, f"{runbook.name} on {system.name}")
    said: list[str] = []
    try:
        record = runner.carry_out(job, run, watcher, given.language, None if given.verbose else said)
    except (OSError, ValueError) as error:
        raise RefusalError(f"the record of run {run.id} cannot be kept: {error}") from error
    finally:
        watcher.close()
    status = runs.exit_status(record, given.fail_on or record.get("fail_on") or "unknown")
    output.say(lambda: _tell(given, run, record, status, said))
    return status


def _demo(system: systems.System) -> dict[str, str]:
    """Bring the demo up when it is what is to be looked at."""
    from opsrunner import demo

    if not system.path.exists() or system.path.resolve() != demo.inventory().resolve():
        return {}
    demo.up()
    return {demo.VARIABLE: str(demo.folder() / demo.STATE_FILE)}


def _watcher(given: argparse.Namespace, run: Any, title: str) -> live.Silent | live.Plain | live.Screen:
    if given.quiet or (given.json and not live.is_terminal(sys.stderr)):
        return live.Silent()
    if given.verbose or not live.is_terminal(sys.stderr):
        return live.Plain(sys.stderr, verbose=bool(given.verbose))
    return live.Screen(sys.stderr, run, title, color=live.colored(sys.stderr))


def _tell(given: argparse.Namespace, run: Any, record: dict[str, Any], status: int, said: Sequence[str]) -> None:
    if given.json:
        print(json.dumps(record, ensure_ascii=False))
    elif not given.quiet or status:
        from opsrunner.commands import show as showing

        for line in said:
            print("".join(char if char.isprintable() else " " for char in line))
        print(showing.terminal(showing.model(run, record, given.language)), end="")
