# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data stores that can be backed up, by name."""

from __future__ import annotations

#: Names of the engines; ``config`` is ``files`` for configuration.
ENGINES = ("files", "config", "sqlite", "postgresql", "mysql", "redis", "mongodb", "opensearch")
