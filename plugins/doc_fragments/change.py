# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module documents that changes a host and tells findings."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation shared by the modules that change a host."""

    DOCUMENTATION = r"""
options:
  scope:
    description:
      - Whose findings these are.
      - With V(system) they are recorded under the host name C(-), for a change that is made once for the whole system.
    type: str
    choices: [host, system]
    default: host
attributes:
  check_mode:
    support: full
    description: Can run in check mode, and tells exactly what would change.
  diff_mode:
    support: full
    description: Shows files before and after; not the content of those that hold secrets.
  platform:
    support: full
    platforms: linux
    description: Target systems.
  action:
    support: full
    description: Has an action plugin that refuses bad options on the controller and records the findings in the run.
  async:
    support: none
    description: Findings are recorded when the task ends.
"""
