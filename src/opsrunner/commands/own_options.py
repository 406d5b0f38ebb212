# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that some runbooks have beside those of all: a table from the option to the runbook's variable."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class Own(NamedTuple):
    """An option of a runbook. ``value``: what the variable becomes, where the option takes no word; ``group``: options of which one
    is given at most; ``many``: it may be given again."""

    option: str
    variable: str
    help: str
    metavar: str | None = None
    value: Any = None
    group: str | None = None
    many: bool = False


_CONFIRM = Own("--confirm", "confirm", "confirm a destructive step by its name", "STEP", many=True)
_TAKE_OVER = Own("--take-over", "lease_take_over", "take the lease also from a run that holds it", value=True)

#: The destructive steps of each runbook, by the name that confirms them.
STEPS: Mapping[str, tuple[str, ...]] = {
    "restore": ("restore", "restore_discard", "restore_undo_earlier", "restore_untrusted", "restore_outside", "restore_open"),
    "cleanup": ("cleanup",),
    "backup": ("backup_prune", "backup_copy_prune"),
}

OPTIONS: Mapping[str, tuple[Own, ...]] = {
    "restore": (
        Own("--backup", "restore_backup", "the backup, where there is more than one", "NAME"),
        Own("--set", "restore_set", "the set: its name, a date, newest or newest-proved", "WHEN", group="what"),
        Own("--list", "restore_action", "list the sets", value="list", group="what"),
        Own("--undo", "restore_action", "bring back the data from before the restore", value="undo", group="what"),
        Own("--resume", "restore_action", "finish a restore that was interrupted", value="resume", group="what"),
        Own("--discard", "restore_action", "remove what restores have set aside", value="discard", group="what"),
        Own("--part", "restore_part", "only this artifact, or ARTIFACT:TABLE, ARTIFACT:PATH …", "PART", many=True),
        Own("--start-all", "restore_start", "start the backup's services that were down, too", value="all"),
        _CONFIRM,
        _TAKE_OVER,
    ),
    "cleanup": (_CONFIRM, _TAKE_OVER),
    "backup": (_CONFIRM, _TAKE_OVER),
    "fetch": (
        Own("--backup", "backup_copy_only", "the backup, where there is more than one", "NAME", many=True),
        Own("--from", "backup_copy_fetch", "the copy that the set is fetched from", "COPY"),
        Own("--set", "backup_copy_set", "the set: its name, a date or newest", "WHEN"),
        _TAKE_OVER,
    ),
    "data_loss": (
        Own("--backup", "data_loss_only", "only this backup", "NAME", many=True),
        Own("--salvage", "data_loss_salvage", "copy what can be read, and run the hooks", value=True),
    ),
}


def add(one: argparse.ArgumentParser, runbook: str) -> None:
    """Give the parser of a runbook its options."""
    own = one.add_argument_group("of this runbook") if runbook in OPTIONS else None
    groups: dict[str, Any] = {}
    for option in OPTIONS.get(runbook, ()):
        place: Any = own
        if option.group:
            if option.group not in groups:  # argparse cannot print the help of a parser that has an empty group
                groups[option.group] = place.add_mutually_exclusive_group()
            place = groups[option.group]
        name = _name(option)
        if option.value is not None:
            place.add_argument(option.option, dest=name, action="store_true", help=option.help)
        else:
            place.add_argument(
                option.option, dest=name, metavar=option.metavar, action="append" if option.many else "store", help=option.help
            )


def variables(given: argparse.Namespace, runbook: str) -> list[str]:
    """The options that were given as extra variables for ansible-playbook; those of ``-e`` come after them and win."""
    found: dict[str, Any] = {}
    for option in OPTIONS.get(runbook, ()):
        value = getattr(given, _name(option), None)
        if value not in (None, False):
            found[option.variable] = value if option.value is None else option.value
    return ["-e", json.dumps(found)] if found else []


def _name(option: Own) -> str:
    return "own" + option.option.replace("-", "_")
