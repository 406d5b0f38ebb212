#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: run_start
short_description: Open the run that checks are recorded in
version_added: 0.1.0
description:
  - Opens a run on the controller, or joins the one that this C(ansible-playbook) has already.
  - Check modules of this collection that are called afterwards record their findings in it.
  - Needs no connection to the host.
options:
  runbook:
    description: Name of the runbook, as it stands in the run's record.
    type: str
    required: true
  system:
    description: Name of the system that is operated.
    type: str
    required: true
extends_documentation_fragment:
  - opsrunner.runbook.controller
author:
  - opsrunner maintainers (@opsrunner)
"""

EXAMPLES = r"""
- name: Open the run
  opsrunner.runbook.run_start:
    runbook: daily
    system: logcaster
  run_once: true
"""

RETURN = r"""
id:
  description: The run's id.
  returned: always
  type: str
  sample: 20261121T020000Z-logcaster-daily-3fa1
path:
  description: The run's folder on the controller.
  returned: always
  type: str
  sample: /home/ops/.local/state/opsrunner/runs/20261121T020000Z-logcaster-daily-3fa1
notes:
  description: What the reader of the record should know of the run itself.
  returned: always
  type: list
  elements: str
  sample: []
"""
