# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every check module documents."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation shared by the check modules."""

    DOCUMENTATION = r"""
options:
  scope:
    description:
      - Whose findings these are.
      - With V(system) they are recorded under the host name C(-), for a check that is made once for the whole system.
    type: str
    choices: [host, system]
    default: host
attributes:
  check_mode:
    support: full
    description: Can run in check mode, and looks just as it does without.
  diff_mode:
    support: none
    description: Nothing is changed, so there is nothing to show.
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
