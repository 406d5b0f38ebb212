# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a run is, followed from Ansible's events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]


@dataclass
class Progress:
    """Where the run is: the task at hand and the hosts that have not ended it yet."""

    task: str = ""
    open_hosts: dict[str, None] = field(default_factory=dict)
    done_hosts: set[str] = field(default_factory=set)
    stats: dict[str, dict[str, int]] = field(default_factory=dict)
    failure: str = ""

    def take(self, event: Event) -> None:
        """Follow one event."""
        kind, data = event.get("event", ""), event.get("event_data") or {}
        if kind in ("playbook_on_task_start", "playbook_on_handler_task_start"):
            self.task = str(data.get("name") or data.get("task") or "").rpartition(" : ")[2]
            self.open_hosts, self.done_hosts = {}, set()
        elif kind == "runner_on_start":
            self.open_hosts[str(data.get("host"))] = None
        elif kind in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable", "runner_on_skipped"):
            host = str(data.get("host"))
            self.open_hosts.pop(host, None)
            self.done_hosts.add(host)
            if kind == "runner_on_failed" and not data.get("ignore_errors"):
                reason = str((data.get("res") or {}).get("msg") or "")
                self.failure = f"{host}: {self.task}: {reason}"
        elif kind == "playbook_on_stats":
            self.stats = _stats_by_host(data)


_STATS = {
    "ok": "ok",
    "changed": "changed",
    "failures": "failed",
    "dark": "unreachable",
    "skipped": "skipped",
    "rescued": "rescued",
    "ignored": "ignored",
}


def _stats_by_host(data: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    hosts = sorted(data.get("processed") or {})
    return {host: {name: int((data.get(key) or {}).get(host, 0)) for key, name in _STATS.items()} for host in hosts}
