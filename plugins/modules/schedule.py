#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put scheduled jobs in force, and tell what became of their runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: schedule
short_description: Put scheduled jobs in force as systemd timers or cron lines, and tell what became of their runs
version_added: 0.1.0
description:
  - Makes each job a service and a timer of systemd, or a line of cron. Two runs under the same lock never overlap, each ends at its
    time limit, and its start, end and exit status are recorded on the host.
  - Calendars, users, folders and programs are checked before anything is changed. All jobs are changed or none.
  - A job that is V(absent) leaves nothing behind; what was at its paths before comes back byte for byte.
  - Tells failed runs, runs that were cut short or skipped, and runs that were missed.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
options:
  jobs:
    description: The jobs.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the job, its units and its files.
        type: str
        required: true
      state:
        description: Whether the job is to be there.
        type: str
        choices: [present, absent]
        default: present
      description:
        description: What it is, for people.
        type: str
      command:
        description: The program by its whole path, and its arguments; a list, or a text that is split as a shell would. No shell runs it.
        type: raw
      calendar:
        description: When, one or more calendars of systemd (see C(systemd.time(7))); makes a timer. This or O(jobs[].cron).
        type: list
        elements: str
      cron:
        description: When, the five fields of cron; makes a line of cron, on hosts that have no systemd timers.
        type: str
      timeout:
        description: Time limit of a run, such as V(1h); required.
        type: str
      lock:
        description: Name of the lock a run holds; jobs that must not overlap share one. Without it the job's own name.
        type: str
      lock_wait:
        description: How long a run waits for the lock before it is skipped.
        type: str
        default: 0s
      user:
        description: Who runs it.
        type: str
        default: root
      group:
        description: Under which group; without it the user's own.
        type: str
      working_dir:
        description: Folder it runs in.
        type: str
      env_file:
        description: File with its environment.
        type: str
      environment:
        description: Variables of its environment; no secrets, which everybody could read here.
        type: dict
      random_delay:
        description: Start up to this much later, at random.
        type: str
      persistent:
        description: Make up for a run that was missed while the host was down, as soon as it is up. Cron cannot.
        type: bool
        default: true
      enabled:
        description: With V(false) the service is there and nothing starts it.
        type: bool
        default: true
      after:
        description: Units that are started before it, such as V(network-online.target).
        type: list
        elements: str
      log_file:
        description: File its output is appended to; without it the journal, or cron's mail.
        type: str
      log_rotate:
        description: Days that file is kept, rotated daily; V(0) when another policy rotates it.
        type: int
        default: 0
      max_age:
        description: How long after a success the next one is missed; without it the longest gap of its calendar and up to an hour.
        type: str
      remedy:
        description: Runbook or section shown to the operator when something is wrong.
        type: str
  run:
    description: Names of jobs to run now, waited for.
    type: list
    elements: str
    default: []
  exclusive:
    description: Take away the jobs that were put in force here before and are no longer listed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A nightly batch and a weekly rebuild that never overlap
  opsrunner.runbook.schedule:
    jobs:
      - name: nightly
        command: /opt/app/bin/batch --all
        calendar: ["*-*-* 02:00:00"]
        user: batch
        timeout: 1h
        lock: batch
      - name: rebuild
        command: /opt/app/bin/rebuild
        calendar: ["Sun *-*-* 03:00:00"]
        user: batch
        timeout: 4h
        lock: batch
        lock_wait: 2h
"""

RETURN = r"""
findings:
  description: C(schedule.<name>) per job, C(job.<name>.result) its last run, C(job.<name>.age) the time since its last success.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "job.nightly.age", "kind": "job", "status": "critical", "value": 93600, "unit": "s", "critical": "90000"}]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.managed import FileError
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.schedule import apply as schedule_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.schedule import jobs as schedule_jobs


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "jobs": {"type": "list", "elements": "dict", "default": []},
            "run": {"type": "list", "elements": "str", "default": []},
            "exclusive": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = schedule_run.carry_out(schedule_jobs.parse(module.params), schedule_run.Host(), module.check_mode)
    except (OptionError, FileError) as error:
        module.fail_json(msg="%s; nothing was changed" % error)
    module.exit_json(changed=result.changed, findings=result.found, diff=result.diff)


if __name__ == "__main__":
    main()
