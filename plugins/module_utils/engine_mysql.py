# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine mysql."""

from __future__ import annotations

from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_engine import Engine


class MysqlEngine(Engine):
    """Data of mysql."""

    name = "mysql"
