# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: what there is to say, and who does it."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from opsrunner import __version__, output
from opsrunner.commands import handlers, own_options, schedule
from opsrunner.commands import run as running
from opsrunner.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_USAGE, RefusalError, UsageError, unknown
from opsrunner.find import runbooks

#: Parts of a runbook that are asked for often.
SHORTCUTS = {
    "status": ("daily", "health"),
    "stats": ("daily", "resources"),
    "logs": ("daily", "logs"),
    "backups": ("daily", "backups"),
}
FAIL_ON = ("none", "warning", "unknown", "critical")


class Parser(argparse.ArgumentParser):
    """Ends with 64 for wrong usage; 2 means critical here."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong and how to be told more."""
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            nearest = difflib.get_close_matches(choice[1], re.findall(r"[^',\s]+", choice[2]), 1)
            message += f" (did you mean {nearest[0]}?)" if nearest else ""
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _run_options() -> Parser:
    shared = Parser(add_help=False)
    where = shared.add_argument_group("where")
    where.add_argument("--system", metavar="NAME", help="the system: a folder of inventories (see: opsrunner list)")
    where.add_argument("-i", "--inventory", metavar="PATH", help="an inventory by its path")
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
    output.add_argument("--fail-on", choices=FAIL_ON, help="the least status that counts (default: the inventory's, else unknown)")
    output.add_argument("-v", "--verbose", action="count", default=0, help="what Ansible says; up to -vvvv")
    return shared


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


_PASSING = "Everything after -- goes to ansible-playbook."


def parser(known: dict[str, runbooks.Runbook]) -> Parser:
    """The whole command line; every runbook is a command."""
    top = Parser(prog="opsrunner", description="Run operation runbooks on systems, keep every run, show what was found.")
    top.add_argument("--version", action="version", version=f"opsrunner {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    _add_keeping(commands)
    _add_inventories(commands)
    title = "run runbooks on a schedule (systemd timers)"
    schedule.add_commands(commands.add_parser("schedule", help=title, description=title), Parser)
    for name, runbook in known.items():
        if name not in commands.choices:  # a playbook of such a name is run by its path
            _add_run(commands, name, runbook, runbook.title)
    for name, (of, tags) in SHORTCUTS.items():
        if of in known and name not in commands.choices:
            _add_run(commands, name, known[of], f"Short for: {of} --tags {tags}").set_defaults(tags=[tags])
    return top


def _add_run(commands: Any, name: str, runbook: runbooks.Runbook, title: str) -> argparse.ArgumentParser:
    title = title.replace("%", "%%")
    one: argparse.ArgumentParser = commands.add_parser(name, parents=[_run_options()], help=title, description=title, epilog=_PASSING)
    one.add_argument("system_name", nargs="?", metavar="SYSTEM", help="the system; not needed where there is only one of your own")
    own_options.add(one, runbook.name)
    one.set_defaults(handler=running.run_runbook, runbook=runbook)
    return one


def _command(commands: Any, name: str, handler: Callable[[argparse.Namespace, Sequence[str]], int], text: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    one.set_defaults(handler=handler)
    return one


def _add_keeping(commands: Any) -> None:
    one = _command(commands, "show", handlers.show, "show a run")
    one.add_argument("run", nargs="?", default="last", metavar="RUN", help="its id or the beginning of it, last, previous (default: last)")
    form = one.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="its record")
    form.add_argument("--markdown", metavar="PATH", help="write it as Markdown (- for standard output)")
    form.add_argument("--html", metavar="PATH", help="write it as one HTML file")
    one.add_argument("--language", choices=("en", "ko"), help="language of the report")
    _add_which(one)
    one = _command(commands, "history", handlers.history, "list earlier runs")
    one.add_argument("-n", "--number", type=_positive, default=20, metavar="N", help="so many (default: %(default)s)")
    one.add_argument("--json", action="store_true", help="as data")
    _add_which(one)
    one = _command(commands, "import", handlers.import_run, "keep the record of a run made elsewhere, as in a job of AWX")
    one.add_argument("file", metavar="FILE", help="a run.json, a job's artifacts or the whole job as JSON; - for standard input")
    one.add_argument("--language", choices=("en", "ko"), default="en", help="language of its reports")
    one = _command(commands, "diff", handlers.diff, "what changed between two runs")
    one.add_argument("run", nargs="?", default="previous", metavar="RUN", help="as for show (default: previous)")
    one.add_argument("other", nargs="?", default="last", metavar="RUN", help="as for show (default: last)")
    one.add_argument("--json", action="store_true", help="as data")
    _add_which(one)


def _add_which(one: argparse.ArgumentParser) -> None:
    one.add_argument("--system", metavar="NAME", help="only runs on this system")
    one.add_argument("--runbook", metavar="NAME", dest="runbook_name", help="only runs of this runbook")


def _add_inventories(commands: Any) -> None:
    _command(commands, "list", handlers.list_all, "list runbooks and systems")
    one = _command(commands, "validate", handlers.validate_inventories, "check the inventories of systems")
    one.add_argument("system", nargs="*", metavar="SYSTEM|PATH", help="only these")
    one = _command(commands, "init", handlers.initialise, "write the inventory of a new system into ./inventories")
    one.add_argument("name", metavar="NAME")
    one = _command(commands, "doctor", handlers.examine, "check that everything a run needs is installed and reachable")
    one.add_argument("--system", metavar="NAME", help="also log in to the hosts of this system")
    one.add_argument("-i", "--inventory", metavar="PATH", help="the same for an inventory by its path")
    one = _command(commands, "selftest", handlers.selftest, "test the backup verifier: is every damage of sample backups detected?")
    one.add_argument("what", choices=("backup",))
    one.add_argument("--seed", type=_positive, default=1, metavar="N", help="other data and other damages (default: %(default)s)")
    one = _command(commands, "demo", handlers.run_demo, "start a small demo service with deliberate faults")
    one.add_argument("what", choices=("up", "down", "status"))
    one.add_argument("--idle", type=_positive, default=30, metavar="MINUTES", help="ends after so long without a request (default: 30)")


def _stand() -> None:
    """Raises RefusalError when the folder one stands in is gone: nothing can be found or run from there."""
    try:
        os.getcwd()
    except OSError as error:
        raise RefusalError(f"the folder you stand in cannot be used ({error.strerror}): change to another one") from None


def _give_ansible_a_home() -> None:
    """Where ``~/.ansible`` cannot be made, give Ansible a temporary folder: it does not start without one."""
    if os.environ.get("ANSIBLE_HOME"):
        return
    try:
        place = Path("~/.ansible").expanduser()
    except RuntimeError:  # a user without a name and without HOME
        place = Path("/nowhere")
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        from opsrunner.find.collection import runs

        with contextlib.suppress(OSError):  # then Ansible says what it needs
            os.environ["ANSIBLE_HOME"] = str(runs.fallback_folder() / "ansible")


def _unexpected(command: argparse.ArgumentParser, given: argparse.Namespace, word: str) -> UsageError:
    if not word.startswith("-"):
        return UsageError(f"{given.command}: {word!r} is one word too many")
    name = word.partition("=")[0]
    options = [option for action in command._actions for option in action.option_strings]
    nearest = difflib.get_close_matches(name, options, 1)
    told = f" (did you mean {nearest[0]}?)" if nearest else ""
    passed = "; an option of ansible-playbook goes behind --" if hasattr(given, "runbook") else ""
    return UsageError(f"{given.command}: unknown option {name}{told}{passed}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    output.prepare()
    try:
        return _main(argv)
    finally:
        output.close()


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    extra: list[str] = []
    if "--" in words:
        cut = words.index("--")
        words, extra = words[:cut], words[cut + 1 :]
    try:
        _stand()
        _give_ansible_a_home()
        known = runbooks.find()
        name = next((word for word in words if not word.startswith("-")), None)
        if name and words[0].startswith("-") and words[0] not in ("-h", "--help", "--version"):
            raise UsageError("the command comes before its options: opsrunner COMMAND " + words[0] + " …")
        if name and name.endswith((".yml", ".yaml")) and Path(name).is_file():
            known[name] = runbooks.from_file(Path(name))
        top = parser(known)
        commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
        if name is not None and name not in commands.choices:
            raise unknown(name, list(commands.choices), "command or runbook")
        given, left = top.parse_known_args(words)
        if left:
            raise _unexpected(commands.choices[given.command], given, left[0])
        if extra and not hasattr(given, "runbook"):
            raise UsageError(f"{given.command} takes nothing after --")
        status: int = given.handler(given, extra)
        sys.stdout.flush()
        return status
    except OSError as error:
        if not output.is_lost(error):
            raise
        return output.lost(error)
    except RefusalError as error:
        print(f"opsrunner: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else EXIT_USAGE
    except Exception:  # noqa: BLE001  # whatever it is: a scheduler must not take it for a status of findings
        traceback.print_exc()
        print("opsrunner: this is a fault of opsrunner; what was found up to here is kept (opsrunner show last)", file=sys.stderr)
        return EXIT_INCOMPLETE
