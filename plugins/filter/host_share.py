# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that are a share of what a host has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, unknown_name
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.app_settings import files as settings_files

DOCUMENTATION = r"""
name: host_share
short_description: A share of what a host has, as a whole number
description:
  - Rounds down, not below O(min) and not above O(max).
positional: share
options:
  _input:
    description: What the host has, cores or bytes of memory.
    type: float
    required: true
  share:
    description: The share, such as V(0.5) or V(1%).
    type: raw
    default: 1
  unit:
    description: Unit of the result for bytes.
    type: str
    choices: [B, KiB, MiB, GiB]
    default: B
  min:
    description: The least.
    type: float
    default: 1
  max:
    description: The most.
    type: float
author:
  - opsrunner contributors
"""

EXAMPLES = r"""
# As many workers as cores, eight at most
workers: "{{ ansible_facts.processor_nproc | opsrunner.runbook.host_share(max=8) }}"
# 1 % of memory in KiB
buffer: "{{ (ansible_facts.memtotal_mb * 1024 * 1024) | opsrunner.runbook.host_share('1%', unit='KiB') }}"
"""

RETURN = r"""
_value:
  description: The share.
  type: int
"""


def host_share(total: Any, share: Any = 1, unit: str = "B", min: float | None = None, max: float | None = None) -> int:  # noqa: A002
    """``share`` of ``total`` in whole units."""
    try:
        if unit not in settings_files.UNITS:
            raise unknown_name("unit", unit, settings_files.UNITS, what="unit")
        return settings_files.host_share(float(total), settings_files.parse_share(share, "share"), settings_files.UNITS[unit], min, max)
    except (OptionError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"host_share: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {"host_share": host_share}
