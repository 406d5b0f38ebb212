# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check found: the one definition that modules, roles, records and reports share."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

#: From best to worst. A check that could not be made is worse than a warning, better than a known failure.
STATUSES = ("ok", "warning", "unknown", "critical")

#: Units a value may carry; ``""`` is a plain number.
UNITS = ("", "%", "B", "B/s", "ms", "s", "d", "1/s")

#: Evidence larger than this many characters in all is cut; a record of 200 hosts must stay readable.
EVIDENCE_LIMIT = 4000
#: One text or one list item of the evidence.
EVIDENCE_ITEM_LIMIT = 1000
SUMMARY_LIMIT = 300

Finding = Dict[str, Any]
#: ``{"message": <catalogue id>, "params": {...}}``; a parameter may itself be a message.
Message = Dict[str, Any]
Evidence = Mapping[str, Union[str, int, float, bool, None, Sequence[Any]]]


def message(identifier: str, **params: Any) -> Message:
    """A reference to a text of the catalogue, told in the reader's language when it is shown."""
    return {"message": identifier, "params": params}


def worst(statuses: Iterable[str]) -> str:
    """The worst of the statuses given; ``ok`` for none."""
    return max(statuses, key=STATUSES.index, default="ok")


def utc_now(seconds: Optional[float] = None) -> str:
    """A time (seconds since the epoch, default: now) as ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def finding(
    check: str,
    kind: str,
    status: str,
    text: Message,
    *,
    value: Union[int, float, None] = None,
    unit: str = "",
    warning: Optional[str] = None,
    critical: Optional[str] = None,
    evidence: Optional[Evidence] = None,
    remedy: Optional[str] = None,
    observed_at: Optional[str] = None,
    duration_ms: Optional[float] = None,
) -> Finding:
    """Build a finding.

    ``check``: stable id, unique per host and run, such as ``disk./var``. ``kind``: what sort of check (``disk``, ``http``).
    ``text``: what is to be said, from :func:`message`; the controller adds the English ``summary`` and the ``host``.
    ``warning``, ``critical``: threshold ranges in the monitoring-plugins syntax. ``evidence``: what was seen, by catalogue
    name (``evidence.<name>``). ``remedy``: runbook or section; without one the catalogue's for this message is used.

    Raises ValueError for a status or unit that does not exist: a programming error, not bad input.
    """
    if status not in STATUSES:
        raise ValueError("status %r is none of %s" % (status, ", ".join(STATUSES)))
    if unit not in UNITS:
        raise ValueError("unit %r is none of %s" % (unit, ", ".join(map(repr, UNITS))))
    return {
        "check": check,
        "kind": kind,
        "status": status,
        "message": text["message"],
        "params": text["params"],
        "value": value,
        "unit": unit,
        "warning": None if warning is None else str(warning),
        "critical": None if critical is None else str(critical),
        "evidence": cut_evidence(evidence or {}),
        "remedy": remedy,
        "observed_at": observed_at or utc_now(),
        "duration_ms": None if duration_ms is None else round(duration_ms, 1),
    }


def printable(name: str) -> str:
    """A file or process name with bytes that are no UTF-8 shown as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def cut(text: str, limit: int = EVIDENCE_ITEM_LIMIT) -> str:
    """``text`` of at most ``limit`` characters, with a mark where it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cut_evidence(evidence: Evidence) -> Dict[str, Any]:
    """The evidence with long texts cut, and items left out (``more`` counts them) once the whole is too large."""
    kept: Dict[str, Any] = {}
    left = EVIDENCE_LIMIT
    dropped = 0
    for name, seen in evidence.items():
        if isinstance(seen, str):
            seen = cut(seen, max(1, min(EVIDENCE_ITEM_LIMIT, left)))
            left -= len(seen)
        elif isinstance(seen, (list, tuple)):
            items: List[Any] = []
            for item in seen:
                item = cut(item) if isinstance(item, str) else item
                size = len(item) if isinstance(item, str) else 8
                if size > left:
                    dropped += 1
                    continue
                left -= size
                items.append(item)
            seen = items
        kept[name] = seen
    if dropped:
        kept["more"] = dropped
    return kept
