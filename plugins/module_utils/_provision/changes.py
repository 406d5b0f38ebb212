# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that tune a host have in common: a named change that may be held, confirmed, taken back or cut short."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime import units

STATES = ("replaced", "absent", "confirmed", "reverted")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}\Z")


class Common(NamedTuple):
    """Options of every tuning module. ``settle``: seconds that a restarted unit must stay up."""

    name: str
    priority: int
    state: str
    hold: bool
    restart: bool
    settle: float

    def file_name(self, suffix: str) -> str:
        """The name of a drop-in of ours."""
        return "%02d-opsrunner-%s%s" % (self.priority, self.name, suffix)

    def file_pattern(self, suffix: str) -> str:
        """A glob for our drop-in under any priority."""
        return "[0-9][0-9]-opsrunner-%s%s" % (self.name, suffix)


def parse_common(args: Mapping[str, Any], states: Sequence[str] = STATES) -> Common:
    """Read the options. Raises OptionError."""
    name = str(args.get("name") or "tuning")
    if not _NAME.match(name):
        raise OptionError("name", "%r is no name: lower case letters, digits, - and _" % name)
    priority = args.get("priority", 90)
    if isinstance(priority, bool) or not re.match(r"\d{1,2}\Z", str(priority)):
        raise OptionError("priority", "%r is not a whole number between 0 and 99" % (priority,))
    state = str(args.get("state") or "replaced")
    if state not in states:
        raise unknown_name("state", state, states, what="state")
    settle = args.get("settle", 3.0)
    try:
        settle = float(settle)
    except (TypeError, ValueError):
        raise OptionError("settle", "%r is not a number of seconds" % (settle,)) from None
    if not 0 <= settle <= 600:
        raise OptionError("settle", "%g is not between 0 and 600 seconds" % settle)
    return Common(name, int(priority), state, _flag(args.get("hold")), _flag(args.get("restart")), settle)


def _flag(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")


def new_result() -> Dict[str, Any]:
    """A module's result to begin with."""
    return {"changed": False, "findings": [], "diff": [], "pending": False, "undone": []}


def journal_folder(root: str) -> str:
    """The folder of the journals below ``root``."""
    return os.path.join(root, files.FOLDER.lstrip("/"))


def earlier_change(
    result: Dict[str, Any], common: Common, concern: str, root: str, undo: files.Undo, check_mode: bool, remedy: Optional[str] = None
) -> bool:
    """Confirm or take back an earlier change as the state says, or when it was cut short. True: nothing else is asked for.

    Raises FileError.
    """
    name, folder = "%s-%s" % (concern, common.name), journal_folder(root)
    waiting = files.interrupted(name, folder)
    if common.state == "confirmed":
        result["changed"] = waiting if check_mode else files.confirm(name, folder)
        return True
    if waiting:
        undone = None if check_mode else files.recover(name, folder, undo)
        result["changed"] = True
        result["undone"] = [*undone.files, *undone.aside] if undone else []
        text = message("change.reverted" if common.state == "reverted" else "change.interrupted", name="%s %s" % (concern, common.name))
        evidence = {"put_back": result["undone"]}
        result["findings"].append(finding("change.%s" % concern, "change", "warning", text, evidence=evidence, remedy=remedy))
    return common.state == "reverted"


def leftovers(gone: Sequence[str], change: units.Change, kind: str) -> List[Finding]:
    """What is said of units that are no longer ours and run on with what they had."""
    restarted = {unit.name for unit in change.restart}
    left = [name for name in gone if name not in restarted]
    return [finding("%s.%s.removed" % (kind, name), kind, "ok", message("change.leftover", name=name)) for name in left]


def transaction(common: Common, concern: str, root: str, undo: files.Undo) -> files.Transaction:
    """The transaction of a change."""
    return files.Transaction("%s-%s" % (concern, common.name), journal_folder(root), undo)
