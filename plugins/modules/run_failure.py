#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: run_failure
short_description: Record the failure that a rescue has caught
version_added: 0.1.0
description:
  - Records the failed task as an V(unknown) finding of the host. A check that has recorded its own failure is not
    recorded twice.
  - For use in the C(rescue) of a runbook. Needs no connection to the host.
options:
  fatal:
    description:
      - The failure is one of the whole run, not of a check.
      - The run's record then says so and cannot be complete.
    type: bool
    default: false
extends_documentation_fragment:
  - opsrunner.runbook.controller
author:
  - opsrunner maintainers (@opsrunner)
"""

EXAMPLES = r"""
- name: Logs
  rescue:
    - name: Record the failure
      opsrunner.runbook.run_failure:
  block:
    - name: Read the logs
      ansible.builtin.import_role:
        name: opsrunner.runbook.log_report
"""

RETURN = r"""
findings:
  description: The finding that was recorded.
  returned: always
  type: list
  elements: dict
  sample: []
"""
