#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove or compress old files below listed folders."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cleanup
short_description: Remove or compress old files below listed folders, and tell the space won
version_added: 0.1.0
description:
  - Removes or compresses the files below a rule's root that match its patterns and are old enough, and nothing else.
  - Links are never followed, a root is never removed itself, other file systems are not entered, open files stay, and so does
    everything that a protected pattern names.
  - Files are removed only with V(cleanup) in O(confirm). Without it, and in check mode, it is told exactly what would go.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
options:
  rules:
    description: What may go.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the rule; its finding is C(cleanup.<name>).
        type: str
        required: true
      root:
        description: Folder below which the rule works. It is reached without any symbolic link; system folders are refused.
        type: str
        required: true
      patterns:
        description:
          - Globs of the files meant. One without a slash is matched against the file's name in any folder below the root, one with
            a slash against the whole path below the root, where V(**) goes through any number of folders.
        type: list
        elements: str
        required: true
      protect:
        description: Globs of files and folders that stay in any case, besides those in the module's own O(protect).
        type: list
        elements: str
      action:
        description: V(compress) replaces a file by its C(.gz) with the same owner, mode and times; it needs no confirmation.
        type: str
        choices: [delete, compress]
        default: delete
      min_age:
        description: How long ago a file was last written at least, such as V(7d). This or O(rules[].keep) is required.
        type: str
      min_size:
        description: How large a file is at least, such as V(100M).
        type: str
      keep:
        description: How many of the newest matching files stay, however old they are.
        type: int
      max_depth:
        description: How many folders deep is looked; V(1) is the root itself. Without it there is no limit.
        type: int
      cross_mounts:
        description: Whether other file systems mounted below the root are entered.
        type: bool
        default: false
      empty_folders:
        description: Whether folders that become empty by this are removed too.
        type: bool
        default: false
      remedy:
        description: Runbook or section shown to the operator when something is wrong.
        type: str
  protect:
    description: Globs of files and folders that no rule touches.
    type: list
    elements: str
    default: []
  only:
    description: Names of the rules to carry out; without it all.
    type: list
    elements: str
    default: []
  confirm:
    description: Names of the confirmed steps; V(cleanup) lets files be removed.
    type: list
    elements: str
    default: []
  open_files:
    description:
      - Which files count as not open. With V(strict) nothing goes while there are processes whose open files cannot be seen (which
        takes root); V(seen) trusts what can be seen.
    type: str
    choices: [strict, seen]
    default: strict
"""

EXAMPLES = r"""
- name: Show what would go
  opsrunner.runbook.cleanup:
    protect: ["persistence-*.log*"]
    rules:
      - name: old-logs
        root: /var/log/shop
        patterns: ["*.log"]
        min_age: 7d
  check_mode: true

- name: Keep the newest three reports, compress logs of more than a week
  opsrunner.runbook.cleanup:
    confirm: [cleanup]
    rules:
      - {name: reports, root: /srv/reports, patterns: ["weekly-*.txt"], keep: 3}
      - {name: logs, root: /opt/app/logs, patterns: ["*.log"], min_age: 7d, action: compress}
"""

RETURN = r"""
findings:
  description: One per rule, C(cleanup.<name>), its value the bytes won.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "cleanup.old-logs", "kind": "cleanup", "status": "ok", "value": 1048576, "unit": "B"}]
files:
  description: What went, or would go.
  type: list
  elements: dict
  returned: always
  sample: [{"path": "/var/log/shop/app-1.log", "bytes": 4096, "action": "delete", "rule": "old-logs", "dry_run": false}]
bytes_won:
  description: Bytes of disk that were won, or would be by removing.
  type: int
  returned: always
  sample: 4096
"""

from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._maintenance import files as cleanup


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "rules": {"type": "list", "elements": "dict", "default": []},
            "protect": {"type": "list", "elements": "str", "default": []},
            "only": {"type": "list", "elements": "str", "default": []},
            "confirm": {"type": "list", "elements": "str", "default": []},
            "open_files": {"type": "str", "choices": ["strict", "seen"], "default": "strict"},
        },
        supports_check_mode=True,
    )
    try:
        results = cleanup.run(cleanup.parse(module.params), module.check_mode)
    except OptionError as error:
        module.fail_json(msg=str(error))
    files: List[Dict[str, Any]] = [
        {"path": path, "bytes": won, "action": result.rule.action, "rule": result.rule.name, "dry_run": result.dry}
        for result in results
        for path, won in result.done
    ]
    dry = [item for item in files if item["dry_run"]]
    shown = "".join("%s %s\n" % (item["action"], item["path"]) for item in files)
    module.exit_json(
        changed=len(dry) < len(files) or bool(module.check_mode and dry),
        findings=[result.found for result in results],
        files=files,
        bytes_won=sum(item["bytes"] for item in files),
        diff=[{"before": shown, "after": "", "before_header": "files", "after_header": "files"}] if shown else [],
    )


if __name__ == "__main__":
    main()
