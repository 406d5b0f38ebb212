# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One strict reader of findings: what a host, a file or a job sent is checked before anything uses it.

Managed hosts and imported records are not trusted. A finding that does not follow the contract of
``module_utils/_core/findings.py`` is refused as a whole; keys that the contract does not know are dropped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import STATUSES, UNITS, Finding, cut

#: Keys of a finding that are kept; all others are dropped.
KEYS = (
    *("check", "kind", "status", "message", "params", "value", "unit", "warning", "critical", "evidence", "remedy"),
    *("observed_at", "duration_ms", "host", "summary"),
)
#: A number beyond it cannot be drawn or summed up.
NUMBER_LIMIT = 1e300
#: Mappings and lists within each other, and values in one finding at most.
DEPTH_LIMIT = 8
ITEM_LIMIT = 20_000
#: Characters of one text inside a finding, and of all its texts together.
TEXT_LIMIT = 20_000
TOTAL_LIMIT = 200_000

_CHECK = re.compile(r"[^\x00-\x1f\x7f]{1,300}\Z")
_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,100}\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}\Z")


class FindingError(ValueError):
    """A finding that does not follow the contract. The text names the key and what is wrong with it."""


class Budget:
    """What is left of the size that one finding may have."""

    def __init__(self, items: int = ITEM_LIMIT, characters: int = TOTAL_LIMIT) -> None:
        self.items = items
        self.characters = characters

    def spend(self, path: str, characters: int = 0) -> None:
        """Take a value and its characters off. Raises FindingError when nothing is left."""
        self.items -= 1
        self.characters -= characters
        if self.items < 0 or self.characters < 0:
            raise FindingError(f"{path}: is too large")


def read(item: Any) -> Finding:
    """The finding with the keys of the contract only. Raises FindingError."""
    if not isinstance(item, Mapping):
        raise FindingError("a finding must be a mapping")
    found: Finding = {key: item[key] for key in KEYS if key in item}
    _text(found, "check", _CHECK)
    _text(found, "kind", _WORD)
    _text(found, "message", _WORD)
    if found.get("status") not in STATUSES:
        raise FindingError(f"status: must be one of {', '.join(STATUSES)}")
    if found.setdefault("unit", "") not in UNITS:
        raise FindingError(f"unit: must be one of {', '.join(map(repr, UNITS))}")
    for key in ("params", "evidence"):
        found[key] = {} if found.get(key) is None else found[key]
        if not isinstance(found[key], Mapping) or not all(isinstance(name, str) for name in found[key]):
            raise FindingError(f"{key}: must be a mapping with texts as keys")
    if not all(_NAME.match(name) for name in found["params"]):
        raise FindingError("params: a name is not valid")
    for key in ("warning", "critical", "summary", "observed_at", "host"):
        if found.get(key) is not None and not isinstance(found[key], str):
            raise FindingError(f"{key}: must be a text")
    for key in ("value", "duration_ms"):
        number = found.setdefault(key, None)
        if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
            raise FindingError(f"{key}: must be a number")
    if not isinstance(found.get("remedy"), (str, Mapping, type(None))):
        raise FindingError("remedy: must be a text")
    budget = Budget()
    for key, value in found.items():
        found[key] = bounded(value, key, budget)
    return found


def _text(found: Finding, key: str, pattern: re.Pattern[str]) -> None:
    value = found.get(key)
    if not isinstance(value, str) or not pattern.match(value):
        raise FindingError(f"{key}: is missing or not valid")


def bounded(value: Any, path: str, budget: Budget | None = None, depth: int = DEPTH_LIMIT) -> Any:
    """The same plain data, its texts cut to a size. Raises FindingError for what is too deep, too large or no plain data."""
    budget = budget or Budget()
    if isinstance(value, str):
        # A str of a subclass carries tags of Ansible's; a text of a host is one that nobody trusts.
        text = str.__str__(value) if budget.characters > TOTAL_LIMIT else cut(str.__str__(value), TEXT_LIMIT)
        budget.spend(path, len(text))
        return text
    budget.spend(path)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > NUMBER_LIMIT:
            raise FindingError(f"{path}: the number is too large")
        return value
    if isinstance(value, float):
        if not math.isfinite(value) or abs(value) > NUMBER_LIMIT:
            raise FindingError(f"{path}: must be a finite number")
        return value
    if depth <= 0:
        raise FindingError(f"{path}: is nested too deeply")
    if isinstance(value, Mapping):
        return {cut(str(name), 300): bounded(item, path, budget, depth - 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [bounded(item, path, budget, depth - 1) for item in value]
    raise FindingError(f"{path}: {type(value).__name__} is not plain data")


def is_finding(item: Any) -> bool:
    """Whether a recorded finding can be used: it follows the contract and names its host."""
    try:
        return isinstance(read(item).get("host"), str)
    except FindingError:
        return False


def worst_of_each(found: Iterable[Finding]) -> list[Finding]:
    """Findings of one answer with the worst one of each check, in the order in which the checks came."""
    kept: dict[str, Finding] = {}
    for item in found:
        before = kept.get(item["check"])
        if before is None or STATUSES.index(item["status"]) > STATUSES.index(before["status"]):
            kept[item["check"]] = item
    return list(kept.values())
