# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell of each backup set why it stays or goes."""

from __future__ import annotations

from typing import Any

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue, display


def show(result: dict[str, Any], task_vars: dict[str, Any] | None) -> None:
    """Show each set of a result with its reason, whatever the verbosity."""
    host = (task_vars or {}).get("inventory_hostname", "localhost")
    for item in result.get("sets", ()):
        what = {"keep": "keep", "remove": "would remove", "finish": "would finish removing"}[item["action"]]
        why = ", ".join(catalogue.text("backup.keep." + reason) for reason in item["reasons"])
        color = None if item["action"] == "keep" else "yellow"
        display.show([f"{host}: {what} {item['path']} ({catalogue.size(item['size'])}): {why}"], color)
