# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters over the summaries that ``log_stats`` returns."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_duration
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import summary as log_summary


def log_merge(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge summaries of hosts, logs or days into one."""
    try:
        merged = log_summary.merge(summaries)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"log_merge: these are no summaries of log_stats: {error!r}") from error
    if merged is None:
        raise AnsibleFilterError("log_merge: there is no summary to merge")
    return merged


def log_figures(summary: dict[str, Any], burst: str = "5m") -> dict[str, Any]:
    """The figures of a summary."""
    try:
        return log_summary.figures(summary, parse_duration(burst, "burst"))
    except (AttributeError, KeyError, TypeError, OptionError) as error:
        raise AnsibleFilterError(f"log_figures: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """By name."""
        return {"log_merge": log_merge, "log_figures": log_figures}
