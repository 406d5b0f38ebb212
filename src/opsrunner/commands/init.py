# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the inventory of a new system: valid as it is, with comments that say what belongs where."""

from __future__ import annotations

import os
import re
from pathlib import Path

from opsrunner.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")

_FILES = {
    "hosts.yml": """\
---
# The hosts of @NAME@, in groups that say what they do. See group_vars/all for what is looked at on them.
all:
  children:
    @GROUP@:
      hosts:
        localhost:
          # This machine, to start with. For a host that is reached over ssh write its name instead, and if need be:
          # ansible_host: 192.0.2.10
          # ansible_user: operator
          ansible_connection: local
          ansible_python_interpreter: "{{ ansible_playbook_python }}"
""",
    "group_vars/all/system.yml": """\
---
# The system's name, as runs and reports are kept under it; and as people say it.
runbook_system: @NAME@
runbook_title: @TITLE@

# Language of reports (en, ko), and the least status with which a run ends as failed.
runbook_report_language: en
runbook_report_fail_on: unknown
""",
    "group_vars/all/probes.yml": """\
---
# What is probed from each host. Types: http, tcp, tls, dns, port, process, unit, file, command.
# A probe's warning and critical are threshold ranges: 80 (above 80), 10: (below 10), 5:10 (outside), @5:10 (inside).
runbook_probes:
  - name: resolver
    type: file
    path: /etc/resolv.conf

  # - name: api
  #   type: http
  #   url: http://127.0.0.1:8080/health
  #   remedy: "Runbook, section 2.1"

# What is probed once for the whole system, from the machine that runs opsrunner.
runbook_system_probes: []
  # - name: website
  #   type: tls
  #   address: www.example.org:443
  #   warning: "30:"
  #   critical: "7:"
""",
    "group_vars/all/resources.yml": """\
---
# Limits of the hosts' resources; what is not named here keeps its default. In percent, and load per core.
runbook_limits:
  cpu:
    warning: "80"
    critical: "95"
  memory:
    warning: "80"
    critical: "90"
  disk:
    warning: "80"
    critical: "90"

# Local ports whose established connections are counted.
runbook_ports: []
""",
    "group_vars/all/logs.yml": """\
---
# The logs, and what is looked for in them. A log that not every host has is optional.
runbook_logs: []
  # - name: app
  #   paths: [/var/log/@NAME@/*.log]
  #   format: json
  #   window: 24h
  #   optional: true
""",
    "group_vars/all/backups.yml": """\
---
# The backups: where they are, and how old they may be. Kinds: set (with a manifest), file, folder.
runbook_backups: []
  # - name: database
  #   root: /backup/@NAME@
  #   kind: file
  #   pattern: "*.sql.gz"
  #   max_age:
  #     warning: 26h
  #     critical: 50h
""",
}


def write(name: str) -> Path:
    """Make ``./inventories/<name>``. Raises UsageError for a name that cannot be used, or that is there already."""
    if not _NAME.match(name):
        raise UsageError(f"{name!r} cannot be a system's name: small letters, digits, - and _, a letter first")
    folder = Path("inventories") / name
    if os.path.lexists(folder):
        raise UsageError(f"{folder} is there already; nothing was changed")
    words = {"@NAME@": name, "@GROUP@": name.replace("-", "_") + "_hosts", "@TITLE@": name.replace("-", " ").replace("_", " ").capitalize()}
    try:
        folder.mkdir(parents=True)
        for path, text in _FILES.items():
            for mark, word in words.items():
                text = text.replace(mark, word)
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from None
    return folder
