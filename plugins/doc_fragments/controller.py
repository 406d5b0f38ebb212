# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions that work on the controller alone document."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation shared by the actions around a run."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    support: full
    description: Does the same in check mode; nothing on a target is changed.
  diff_mode:
    support: none
    description: Nothing on a target is changed.
  platform:
    support: full
    platforms: linux
    description: The controller's system.
"""
