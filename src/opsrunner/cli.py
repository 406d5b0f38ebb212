# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: what there is to say, and who does it."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from opsrunner import __version__, _collection, live, runbooks, systems

EXIT_INCOMPLETE = 4
EXIT_USAGE = 64
EXIT_INTERRUPTED = 130
FAIL_ON = ("none", "warning", "unknown", "critical")


class UsageError(Exception):
    """The command was given something that it cannot use."""


class Parser(argparse.ArgumentParser):
    """Ends with 64 for wrong usage; 2 means critical here."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong and how to be told more."""
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\nSee {self.prog} --help.\n")


def nearest(name: str, names: Sequence[str] | dict[str, Any], what: str) -> UsageError:
    """The error for a name that is not there, with the one that was meant."""
    from opsrunner._collection import options

    return UsageError(str(options.unknown_name("", name, names, what=what)))


# -- running a runbook ---------------------------------------------------------------------------------------------------


def _run_options() -> Parser:
    shared = Parser(add_help=False)
    where = shared.add_argument_group("where")
    where.add_argument("--system", metavar="NAME", help="the system: a folder of inventories (see: opsrunner list)")
    where.add_argument("-i", "--inventory", metavar="PATH", help="an inventory by its path, or hosts with commas")
    where.add_argument("--limit", "-l", metavar="HOSTS", dest="subset", help="only these of its hosts")
    what = shared.add_argument_group("what")
    what.add_argument("--tags", "-t", action="append", metavar="TAGS", help="only these concerns")
    what.add_argument("--skip-tags", action="append", metavar="TAGS", help="not these concerns")
    what.add_argument("--check", "-C", action="store_true", help="change nothing, say what would change")
    what.add_argument("--diff", "-D", action="store_true", help="show what changes in files")
    what.add_argument("-e", "--extra-vars", action="append", metavar="VARS", help="variables: name=value, JSON, @file")
    what.add_argument("--forks", "-f", type=_positive, metavar="N", help="hosts at once")
    access = shared.add_argument_group("access")
    access.add_argument("-u", "--user", metavar="NAME", dest="remote_user", help="log in as this user")
    access.add_argument("--private-key", metavar="FILE", help="log in with this key")
    access.add_argument("-k", "--ask-pass", action="store_true", help="ask for the login password")
    access.add_argument("-b", "--become", action="store_true", help="become root (or --become-user after --)")
    access.add_argument("-K", "--ask-become-pass", action="store_true", help="ask for the password for that")
    access.add_argument("--vault-id", action="append", metavar="ID", help="a vault identity: label@source")
    access.add_argument("--vault-password-file", action="append", metavar="FILE", help="file with the vault password")
    access.add_argument("--ask-vault-pass", "-J", action="store_true", help="ask for the vault password")
    output = shared.add_argument_group("output")
    output.add_argument("--language", choices=("en", "ko"), help="language of the report (default: the inventory's, else en)")
    output.add_argument("--json", action="store_true", help="the run's record on standard output, nothing else")
    output.add_argument("--quiet", "-q", action="store_true", help="say nothing unless something is wrong")
    output.add_argument("--fail-on", choices=FAIL_ON, default="unknown", help="the least status that counts (default: %(default)s)")
    output.add_argument("-v", "--verbose", action="count", default=0, help="what Ansible says; up to -vvvv")
    return shared


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


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
    words: list[str] = []
    for name, option in _PASSED.items():
        value = getattr(given, name)
        for item in value if isinstance(value, list) else [value]:
            if item is True:
                words.append(option)
            elif item not in (None, False):
                words += [option, str(item)]
    if given.language:
        words += ["-e", f"run_report_language={given.language}"]
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


def choose_system(given: argparse.Namespace) -> systems.System:
    """The system that the command names. Raises UsageError."""
    if given.system and given.inventory:
        raise UsageError("give --system or -i, not both")
    if given.inventory:
        if "," not in given.inventory and not Path(given.inventory).exists():
            raise UsageError(f"there is no inventory {given.inventory}")
        return systems.from_path(given.inventory)
    known = systems.find()
    if not given.system:
        raise UsageError("which system? Give --system NAME" + (f"; there are: {', '.join(sorted(known))}" if known else " or -i INVENTORY"))
    if given.system not in known:
        raise nearest(given.system, known, "system")
    return known[given.system]


def run_runbook(given: argparse.Namespace, extra: Sequence[str]) -> int:
    """Run a runbook and tell what was found."""
    from opsrunner import runner
    from opsrunner._collection import run_arguments, runs

    system = choose_system(given)
    runbook: runbooks.Runbook = given.runbook
    passwords = ask_passwords(given)
    job = runner.Job(
        runbook=runbook,
        system=system,
        options=ansible_options(given, extra),
        arguments=runner.arguments(vars(given), list(extra)),
        passwords=passwords,
        hidden=runner.hidden_values(passwords.values(), given.extra_vars or ()),
    )
    run = runs.create(
        runbook.name,
        system.name,
        os.getpid(),
        arguments=job.arguments,
        revision=run_arguments.revision(runbook.path.resolve().parent),
        via="command",
    )
    watcher = _watcher(given, run, f"{runbook.name} on {system.name}")
    try:
        record = runner.carry_out(job, run, watcher, given.language)
    finally:
        watcher.close()
    status = runs.exit_status(record, given.fail_on)
    _tell(given, run, record, status)
    return status


def _watcher(given: argparse.Namespace, run: Any, title: str) -> live.Silent | live.Plain | live.Screen:
    if given.quiet or (given.json and not live.is_terminal(sys.stderr)):
        return live.Silent()
    if given.verbose or not live.is_terminal(sys.stderr):
        return live.Plain(sys.stderr, verbose=bool(given.verbose))
    return live.Screen(sys.stderr, run, title, color=live.colored(sys.stderr))


def _tell(given: argparse.Namespace, run: Any, record: dict[str, Any], status: int) -> None:
    if given.json:
        print(json.dumps(record, ensure_ascii=False))
        return
    if given.quiet and not status:
        return
    print(f"{record['state']} {record['status']} {record['problems']} {run.path}")


# -- the command line ----------------------------------------------------------------------------------------------------


_PASSING = "Everything after -- goes to ansible-playbook."


def parser(known: dict[str, runbooks.Runbook]) -> Parser:
    """The whole command line; every runbook is a command."""
    top = Parser(prog="opsrunner", description="Run operation runbooks on systems, keep every run, show what was found.")
    top.add_argument("--version", action="version", version=f"opsrunner {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    shared = _run_options()
    for name, runbook in known.items():
        title = runbook.title.replace("%", "%%")
        one = commands.add_parser(name, parents=[shared], help=title, description=title, epilog=_PASSING)
        one.set_defaults(handler=run_runbook, runbook=runbook)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    extra: list[str] = []
    if "--" in words:
        cut = words.index("--")
        words, extra = words[:cut], words[cut + 1 :]
    try:
        known = runbooks.find()
        top = parser(known)
        name = next((word for word in words if not word.startswith("-")), None)
        commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
        if name is not None and name not in commands.choices:
            raise nearest(name, list(commands.choices), "command or runbook")
        given = top.parse_args(words)
        status: int = given.handler(given, extra)
        return status
    except UsageError as error:
        print(f"opsrunner: {error}", file=sys.stderr)
        return EXIT_USAGE
    except _collection.CollectionMissingError as error:
        print(f"opsrunner: {error}", file=sys.stderr)
        return EXIT_INCOMPLETE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else EXIT_USAGE
