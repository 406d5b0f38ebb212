#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: statistics of logs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: log_stats
short_description: Count, time and judge what logs say
version_added: 0.1.0
author:
  - opsrunner maintainers (@opsrunner)
description:
  - Reads log files (globs, rotated and compressed siblings too), the journal, or what a command prints, in one pass, next to the
    service and in little memory, and returns findings with four states.
  - Counts by level, status and any field, error signatures, quantiles of numeric fields (relative error 1 %), newest errors,
    slow records with their id, rates, and the age of the last line that matches a pattern.
  - A line that cannot be read is counted and shown. A log that cannot be read, whose format fits no line, or that tells no time
    although a window was asked for, is V(unknown) with the reason.
  - The summaries of hosts and days can be merged with the filter P(opsrunner.runbook.log_merge#filter).
extends_documentation_fragment: opsrunner.runbook.check
options:
  logs:
    description:
      - The logs, each a set of options. Unknown names are refused with the nearest valid one.
      - C(name) names the log in its findings, such as C(log.app.errors).
      - One of C(paths) (files and globs), C(journal) (units and globs of units) and C(command) (a program and its arguments,
        such as C([kubectl, logs, -l, app=web, --since=24h, --tail=-1, --prefix])) says where the lines come from.
      - C(rotated) (default V(true)) reads C(log.1), C(log-20260301.gz) and the like as well. C(optional) makes a missing file V(ok).
      - C(format) is V(guess) (the default), V(json), V(combined), V(common), V(batch)
        (C(2026-03-01 02:00:00,123 - name - ERROR - text)), V(leveled), V(nginx_error), V(syslog), V(timed), V(text),
        or V(regex) with C(regex), whose named groups are the fields.
      - C(time_field), C(level_field), C(status_field), C(message_field), C(id_field) are names or lists of names; dots go into objects.
      - C(time_format) is a strptime format. C(zone) is V(local), V(UTC), an offset or a name such as V(Asia/Seoul), for times that
        name none.
      - C(level_map) gives levels other names. C(error_levels) and C(error_statuses) (regular expressions) say what an error is.
      - C(prefix) is a regular expression for what stands before each line; those of compose, kubectl and containerd are known.
      - C(window) (such as V(24h)), or C(since) and C(until), select by event time.
      - C(fields) lists numeric fields, each with C(name), C(unit), C(buckets) (bounds) and C(slow) (records above it are shown).
      - C(count_by) lists fields to count by; C(function+status) counts both together.
      - C(patterns) lists C(name), C(regex) and thresholds C(warning) and C(critical) on the count, C(max_age) since the last match
        (none at all is critical), C(unit). A group C(value) is taken as a number, with mean and quantiles.
      - C(checks) lists C(value), C(warning), C(critical) and C(remedy). Values are V(errors), V(error_rate) (percent), V(rate)
        (per second), V(burst) (most errors within C(burst), default V(5m)), V(records), V(unparsed) (percent), and
        C(p50), C(p95), C(p99), C(mean), C(min), C(max), C(count), C(slow) of a field, such as V(p95.duration_ms),
        and C(count), C(rate), C(age) and the like of a pattern.
        Without a check on errors, more than 10 are a warning.
      - C(newest) and C(top) (default V(10)) say how many errors and signatures are shown.
      - C(cursor) (default V(false)) reads only what is new since the last call that was not in check mode and whose
        findings were recorded.
    type: list
    elements: dict
    required: true
  state_dir:
    description: Where the cursors are kept. Default is C(/var/lib/opsrunner/logs) for root, and below the user's state folder for others.
    type: path
  call_id:
    description:
      - Name of this call, which the action plugin gives it. The next call reads the same lines again, and says so, unless it was
        confirmed with O(recorded) that the findings of this one were recorded. Without it the place where reading ended counts at once.
    type: str
  recorded:
    description:
      - O(call_id) of a call whose findings were recorded. Nothing is read; the logs go on from where that call ended. The action plugin
        does this by itself.
    type: str
  signatures:
    description: How many error signatures each summary keeps; the others are added up.
    type: int
    default: 200
  workers:
    description: Number of processes; V(0) is one for each processor that may be used.
    type: int
    default: 0
  nice:
    description:
      - How much the reading processes give way to others, V(0) to V(19). With V(19) they only run while nothing else wants the
        processor.
    type: int
    default: 10
  cpu:
    description: Percent of one processor that each process may use.
    type: float
    default: 100
  memory_limit:
    description: Memory that each reading process may use, a C(command) excepted. When it is reached the log is V(unknown).
    type: str
    default: 512M
  timeout:
    description: Time for each log. When it is over the log is V(unknown).
    type: str
    default: 15m
  zones:
    description: Offsets of named time zones. Filled in by the action plugin on the controller; not to be set.
    type: dict
"""

EXAMPLES = r"""
- name: Look at the logs of the last day
  opsrunner.runbook.log_stats:
    logs:
      - name: app
        paths: [/opt/app/logs/app.log]
        format: json
        window: 24h
        fields:
          - name: execution_time_ms
            unit: ms
            buckets: [25, 50]
            slow: 50
        count_by: [function+status, error_type]
        checks:
          - value: error_rate
            warning: "0.1"
          - value: p95.execution_time_ms
            warning: "200"
            critical: "500"
      - name: batch
        paths: [/var/log/batch/candidate_generation.log]
        format: batch
        zone: Asia/Seoul
        patterns:
          - name: success
            regex: BATCH PROCESS COMPLETED SUCCESSFULLY
            max_age: 25h
"""

RETURN = r"""
findings:
  description: One finding for each source, format, check, field and pattern.
  returned: always
  type: list
  elements: dict
  sample:
    - check: log.app.errors
      kind: log
      status: warning
      value: 12
summaries:
  description: By name of the log, figures that can be merged with P(opsrunner.runbook.log_merge#filter).
  returned: always
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._log.stats import log_stats


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "logs": {"type": "list", "elements": "dict", "required": True},
            "state_dir": {"type": "path"},
            "call_id": {"type": "str"},
            "recorded": {"type": "str"},
            "signatures": {"type": "int", "default": 200},
            "workers": {"type": "int", "default": 0},
            "nice": {"type": "int", "default": 10},
            "cpu": {"type": "float", "default": 100},
            "memory_limit": {"type": "str", "default": "512M"},
            "timeout": {"type": "str", "default": "15m"},
            "zones": {"type": "dict"},
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **log_stats(module.params, time.time(), module.check_mode))
    except OptionError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="%s: %s" % (error.filename, error.strerror or error))


if __name__ == "__main__":
    main()
