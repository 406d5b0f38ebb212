# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of backup_copy: read once, on the controller to refuse bad ones and on the target to use them."""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_words, unknown_name

from .. import options_with_engines as backup_options
from ..options_with_engines import Backup
from ..plan import Copy
from . import prune as backup_copy_prune

STATES = ("sent", "fetched", "pruned")


class Asked(NamedTuple):
    """What is to be done. ``fetch``: the backup and the copy that a set is fetched from; ``prune``: remove old sets at the copies, if
    ``confirmed``; neither: send."""

    backups: List[Backup]
    fetch: Optional[Tuple[Backup, Copy]] = None
    prune: bool = False
    confirmed: bool = False


def parse(args: Mapping[str, Any]) -> Asked:
    """Read the options. Raises OptionError."""
    backups = backup_options.parse(args.get("backups"))
    names = [backup.name for backup in backups]
    only = read.texts(args["only"], "only") if args.get("only") else names
    for at, name in enumerate(only):
        if name not in names:
            raise unknown_name("only[%d]" % at, name, names, "backup")
    chosen = [backup for backup in backups if backup.name in only]
    confirm = parse_words(args.get("confirm"), "confirm")
    state = read.choice(*STATES)(args.get("state") or "sent", "state")
    if state == "sent":
        return Asked(chosen)
    if state == "pruned":
        return Asked(chosen, prune=True, confirmed=backup_copy_prune.STEP in confirm)
    if len(chosen) != 1 or "only" not in args or not args["only"]:
        raise OptionError("only", "name the one backup that a set is fetched for; there are: " + ", ".join(names))
    copies = chosen[0].plan.copies
    if not args.get("copy"):
        raise OptionError("copy", "name the copy to fetch from; there are: " + (", ".join(copy.name for copy in copies) or "none"))
    for copy in copies:
        if copy.name == args["copy"]:
            return Asked(chosen, (chosen[0], copy))
    raise unknown_name("copy", str(args["copy"]), [copy.name for copy in copies], "copy")
