#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: run_report
short_description: End the run and report what was found
version_added: 0.1.0
description:
  - Writes the record of the run that M(opsrunner.runbook.run_start) has opened and its reports (HTML, Markdown, JSON,
    Prometheus) into the run's folder, tells the worst first on the terminal, and forgets runs that are past their time.
  - In a job of AWX a compact record goes out as the job's artifact C(opsrunner_run).
  - Needs no connection to the host.
options:
  language:
    description: Language of the reports.
    type: str
    choices: [en, ko]
    default: en
  fail_on:
    description: The least status that makes RV(failing) true, in the order ok, warning, unknown, critical.
    type: str
    choices: [none, warning, unknown, critical]
    default: unknown
  textfile:
    description: File on the controller for Prometheus' node exporter, replaced at once.
    type: path
  keep_days:
    description: Days a run is kept.
    type: int
    default: 90
extends_documentation_fragment:
  - opsrunner.runbook.controller
author:
  - opsrunner maintainers (@opsrunner)
"""

EXAMPLES = r"""
- name: End the run and report it
  opsrunner.runbook.run_report:
    language: ko
  run_once: true
  register: report
"""

RETURN = r"""
id:
  description: The run's id.
  returned: always
  type: str
  sample: 20261121T020000Z-logcaster-daily-3fa1
status:
  description: The worst status found.
  returned: always
  type: str
  sample: warning
counts:
  description: Findings per status.
  returned: always
  type: dict
  sample: {"ok": 41, "warning": 1, "unknown": 0, "critical": 0}
state:
  description: V(complete), or V(failed) when something outside the checks went wrong.
  returned: always
  type: str
  sample: complete
problems:
  description: What went wrong outside the checks.
  returned: always
  type: list
  elements: str
  sample: []
report:
  description: The HTML report on the controller.
  returned: always
  type: str
  sample: /home/ops/.local/state/opsrunner/runs/20261121T020000Z-logcaster-daily-3fa1/report.html
failing:
  description: Whether the run is to end as failed.
  returned: always
  type: bool
  sample: false
"""
