#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: check_variables
short_description: Refuse misspelt and malformed runbook variables
version_added: 0.1.0
description:
  - Checks every C(runbook_*) variable of every host of the play, nested keys included, and fails naming the file, the
    key and the nearest valid name.
  - Run it once, before anything else, with C(run_once). Needs no connection to the hosts.
options: {}
extends_documentation_fragment:
  - opsrunner.runbook.controller
author:
  - opsrunner maintainers (@opsrunner)
"""

EXAMPLES = r"""
- name: Refuse variables that are misspelt or malformed
  opsrunner.runbook.check_variables:
  run_once: true
"""

RETURN = r"""
hosts:
  description: Number of hosts whose variables were checked.
  returned: success
  type: int
  sample: 3
problems:
  description: What is wrong, one text each.
  returned: always
  type: list
  elements: str
  sample: ["group_vars/all/probes.yml:7: runbook_probes[0].tiemout: unknown key 'tiemout' (did you mean timeout?)"]
"""
