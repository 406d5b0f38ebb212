# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup sets are kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import plan as backup_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import retention
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as item_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._core import times
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names

DOCUMENTATION = r"""
name: backup_retention
short_description: Which backup sets are kept and which may go, with the reasons
description:
  - Decides for each set, and removes nothing; M(opsrunner.runbook.backup_prune) does, by the same rules.
  - Of each hour, day, ISO week, month and year (UTC) that has whole sets the newest one stands for it.
  - The newest whole set, the newest proved one and the newest one proved by a trial restore stay whatever is asked for; while
    nothing is proved nothing goes; a set dated later than now stays.
positional: keep
options:
  _input:
    description:
      - The sets, each with C(name), and C(at) (UTC, ISO 8601) where that is not the time in the name, C(whole) (true unless said
        otherwise) and C(rung) (0 unless said otherwise), as M(opsrunner.runbook.backup_status) tells them.
    type: list
    elements: dict
    required: true
  keep:
    description: How many are kept, by V(last), V(hourly), V(daily), V(weekly), V(monthly), V(yearly). Empty keeps all.
    type: dict
    required: true
  now:
    description: The time (UTC, ISO 8601) that is taken for now.
    type: str
  verified_rung:
    description: The rung that counts as proof.
    type: int
    default: 3
author:
  - opsrunner contributors
"""

EXAMPLES = r"""
# What would be kept of a set a day for two months
plan: "{{ sets | opsrunner.runbook.backup_retention({'daily': 7, 'weekly': 4, 'monthly': 12}) }}"
# The names of those that may go
names: "{{ plan | rejectattr('keep') | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description: For each set, newest first, C(name), C(keep) and C(reasons).
  type: list
  elements: dict
"""


def backup_retention(sets: Any, keep: Any, now: str | None = None, verified_rung: int = 3) -> list[dict[str, Any]]:
    """Decide for each set."""
    if not isinstance(sets, (list, tuple)):
        raise AnsibleFilterError(f"backup_retention: the sets are to be a list, not {sets!r}")
    try:
        limits = backup_plan.READERS["keep"](keep or {}, "keep")
        at = time.time() if now is None else times.parse_time(now)
        rung = item_options.whole(verified_rung, "verified_rung")
        held = [_held(one, f"[{number}]") for number, one in enumerate(sets)]
        backup_plan.named(held, "")
    except (OptionError, ValueError) as error:
        raise AnsibleFilterError(f"backup_retention: {error}") from None
    decided = retention.decide(held, limits, at, rung)
    return [{"name": one.name, "keep": one.keep, "reasons": list(one.reasons)} for one in decided]


def _held(one: Any, path: str) -> retention.Held:
    if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
        raise OptionError(path, f"is to be a set with a name, not {one!r}")
    told = one.get("at")
    at = set_names.name_time(one["name"]) if told is None else times.parse_time(str(told))
    if at is None:
        raise OptionError(path + ".at", f"is missing, and {one['name']!r} tells no time")
    whole = item_options.boolean(one.get("whole", True), path + ".whole")
    return retention.Held(one["name"], at, whole, item_options.whole(one.get("rung") or 0, path + ".rung"))


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """By name."""
        return {"backup_retention": backup_retention}
