# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that change settings of units document."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation shared by the modules that write drop-ins of units."""

    DOCUMENTATION = r"""
options:
  name:
    description: Name of our files, C(<priority>-opsrunner-<name>); a host may have several.
    type: str
    default: tuning
  priority:
    description: Number in front of our files' names; files are read in the order of their names and the last one wins.
    type: int
    default: 90
  state:
    description:
      - V(replaced), what is listed is set and nothing else of ours; what is no longer listed goes.
      - V(absent), all that is ours under this name goes.
      - V(confirmed), a change that was held stands.
      - V(reverted), a change that was held is taken back.
    type: str
    choices: [replaced, absent, confirmed, reverted]
    default: replaced
  restart:
    description:
      - Whether a unit is restarted when its process was started before the setting and does not have it.
      - Without it such a unit is a finding. A unit that does not come up is put back and started with what it had.
    type: bool
    default: false
  settle:
    description: Seconds that a restarted unit must stay up.
    type: float
    default: 3.0
  hold:
    description:
      - Whether the change waits for a later call with O(state=confirmed) or O(state=reverted).
      - A change that nobody confirms is taken back by the next call.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Tells what would be changed and changes nothing.
  diff_mode:
    support: full
    description: Shows the files before and after.
"""
