#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what a loss of data means."""

from __future__ import annotations

DOCUMENTATION = r"""
module: data_loss
short_description: Tell what is sound, what restoring would lose, and save what can be saved
version_added: 0.1.0
description:
  - Checks the integrity of the live data of each backup with the engine's own means, only reading.
  - Tells where the live data is sound and there is less of it than in the newest proved set, as after a deletion.
  - Estimates the loss - the time from the newest proved set to the newest write that is known, or to now where none is.
  - With O(salvage) copies what can still be read into a folder of its own and runs the O(hooks).
  - Writes the result as Markdown and JSON below O(folder). It never says that all is well while a check failed or could not be made.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
  - opsrunner.runbook.backups
options:
  only:
    description: Names of the backups; all that have artifacts without it.
    type: list
    elements: str
    default: []
  salvage:
    description: Save what can be read, and run the hooks. Without it they are only told.
    type: bool
    default: false
  hooks:
    description: Commands of the system's own that save data, such as a replay of its log. Their exit status counts.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the hook, unique.
        type: str
        required: true
      command:
        description: The command, a text or a list of words; no shell.
        type: raw
        required: true
      timeout:
        description: Time it may take, V(1h) unless said otherwise.
        type: str
      user:
        description: User it runs as.
        type: str
  folder:
    description: Folder on the host for the result and for what is saved.
    type: path
    default: /var/lib/opsrunner/data_loss
"""

EXAMPLES = r"""
- name: Tell what would be lost
  opsrunner.runbook.data_loss:
    backups: "{{ data_loss_backups }}"

- name: Save what can be saved
  opsrunner.runbook.data_loss:
    backups: "{{ data_loss_backups }}"
    salvage: true
    hooks:
      - {name: replay, command: [/opt/app/bin/replay-log, --to, /var/lib/opsrunner/replayed], user: app}
"""

RETURN = r"""
findings:
  description: What was found; C(backup.<name>.integrity.<artifact>), C(backup.<name>.loss), C(backup.<name>.salvage.<artifact>),
    C(data_loss.hook.<name>).
  type: list
  elements: dict
  returned: always
  sample: [{"check": "backup.app.loss", "kind": "data_loss", "status": "ok", "value": 1260, "unit": "s"}]
backups:
  description: The same as data.
  type: list
  elements: dict
  returned: always
  sample: [{"backup": "app", "set": "20260131T021500Z", "loss_minutes": 21.0, "artifacts": [{"artifact": "db", "sound": true}]}]
hooks:
  description: What became of the hooks.
  type: list
  elements: dict
  returned: always
  sample: [{"hook": "replay", "run": true, "problem": null}]
path:
  description: The written result, without C(.md) or C(.json).
  type: str
  returned: when it was written
  sample: /var/lib/opsrunner/data_loss/20260131T091500Z
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import spec as backup_spec
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import loss as data_loss


def main() -> None:
    """Entry point."""
    hook = {
        "name": {"type": "str", "required": True},
        "command": {"type": "raw", "required": True},
        "timeout": {"type": "str"},
        "user": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "backups": backup_spec.BACKUPS,
            "only": {"type": "list", "elements": "str", "default": []},
            "salvage": {"type": "bool", "default": False},
            "hooks": {"type": "list", "elements": "dict", "default": [], "options": hook},
            "folder": {"type": "path", "default": "/var/lib/opsrunner/data_loss"},
        },
        supports_check_mode=True,
    )
    try:
        report = data_loss.look(data_loss.parse(module.params), module.check_mode)
    except OptionError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="the result cannot be written: %s" % error)
    module.exit_json(changed=report.changed, findings=report.findings, backups=report.backups, hooks=report.hooks, path=report.path)


if __name__ == "__main__":
    main()
