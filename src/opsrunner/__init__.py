# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command over the collection ``opsrunner.runbook``: run a runbook on a system, keep the run, show it."""

from __future__ import annotations

__version__ = "0.1.0"
