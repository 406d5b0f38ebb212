# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call of restore gives back: findings, and plans in lines for people."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.options_with_engines import Backup
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, Message, finding, message

#: Paths of an artifact that a plan names one by one.
_PLACES = 20


class Outcome(NamedTuple):
    """``plan``: what was, or would be, done; ``sets``: of a list; ``failed``: why the module is to fail, None if it is not."""

    found: List[Finding]
    changed: bool = False
    sets: Sequence[Dict[str, Any]] = ()
    plan: Optional[Dict[str, Any]] = None
    failed: Optional[str] = None


def text(identifier: str, backup: Backup, **params: Any) -> Message:
    return message("backup.restore." + identifier, name=backup.name, **params)


def found(backup: Backup, status: str, text: Message, **more: Any) -> Finding:
    evidence = {name: seen for name, seen in more.pop("evidence", {}).items() if seen}
    return finding("backup.%s.restore" % backup.name, "backup", status, text, evidence=evidence, **more)


def phase(name: str) -> Message:
    """A phase in words."""
    return message("backup.restore.phase." + name)


def told_plan(plan: Mapping[str, Any]) -> List[str]:
    """A plan in lines, for people."""
    which = "read to its end now" if plan["whole"] else "of which only what is restored was read to its end now"
    lines = ["set %s of %s, %s" % (plan["set"], plan["at"], which)]
    for artifact in plan["artifacts"]:
        what = " (%s)" % ", ".join(artifact["part"]) if artifact["part"] else ""
        beside = ", ".join(artifact["beside"])
        lines.append("stage %s%s, then set the present data aside%s" % (artifact["name"], what, ": both in " + beside if beside else ""))
        lines += ["replace %s" % path for path in artifact["places"][:_PLACES]]
        if len(artifact["places"]) > _PLACES:
            lines.append("replace %d more paths of %s" % (len(artifact["places"]) - _PLACES, artifact["name"]))
    lines += ["space in %s: %s needed, %s free" % (", ".join(one["paths"]), size(one["need"]), size(one["free"])) for one in plan["space"]]
    lines += ["stop %s" % service for service in plan["stop"]]
    lines += ["%s is down and stays so" % service for service in plan["down"] if service not in plan["start"]]
    lines += ["start %s" % service for service in plan["start"]]
    if not plan["services"] and any(artifact["places"] for artifact in plan["artifacts"]):
        lines.append("stop nothing: restore.services names no service, so whoever writes to the data goes on")
    if plan["health"]:
        lines.append("look whether the health is ok (probes: %d)" % plan["health"])
    elif plan["start"]:
        lines.append("look only whether the services stay up: the backup names no probes of its restore's health")
    else:
        lines.append("look at no service: none is started, and the backup names no probes of its restore's health")
    lines += ["only with --confirm %s, for %s" % (step, why) for step, why in plan["doubts"]]
    return lines


def few(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (" and %d more" % (len(names) - most) if len(names) > most else "")


def size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return "%.4g %s" % (number, unit)
        number /= 1024
    return "%.4g TiB" % number


def line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
