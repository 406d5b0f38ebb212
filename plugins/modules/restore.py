#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore backups so that it can be taken back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore
short_description: Restore a backup set, whole or in part, so that it can be taken back
version_added: 0.1.0
description:
  - Reads the set, or the artifacts of O(part), to the end (rung 3 of the ladder) now, looks at space, versions and other restores,
    loads the data beside the present data and compares its counts with the manifest's. Until then nothing is touched and every
    service is up.
  - Then the services of O(backups[].restore) are stopped, the present data is set aside by renaming, the restored data takes its place, the
    services that were up are started, and their health is looked at. On any failure, or a signal, the data is as before and so
    are the services.
  - Every step is written down on the host before it is made. After the run was killed, O(action=undo) has the data of before back
    and O(action=resume) finishes; until then a new restore is refused. Both can be called again.
  - What was set aside stays until O(action=discard); until then O(action=undo) also takes back a restore that went well.
  - Restores only with V(restore) in O(confirm), and discards only with V(restore_discard). Without it, and in check mode, the plan is
    told and nothing changes.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
  - opsrunner.runbook.backups
options:
  action:
    description:
      - V(restore) restores O(set), or lists the sets when none is named, as V(list) does.
      - V(undo), V(resume) and V(discard) work on the last restore of the backup.
    type: str
    choices: [restore, list, undo, resume, discard]
    default: restore
  backup:
    description: Name of the backup. Needed when there is more than one, except to list.
    type: str
  set:
    description:
      - Name of the set, the beginning of its time such as V(2026-01-31) or V(20260131T02), V(newest), or V(newest-proved).
    type: str
  part:
    description:
      - Names of artifacts to restore, all of the set without it. With a colon and a name behind it only that table, collection, index or
        path of the artifact, such as V(db:public.users) or V(data:/srv/shop/pictures).
    type: list
    elements: str
    default: []
  start:
    description: Start the services that were up (V(as_before)), or all services of the backup (V(all)).
    type: str
    choices: [as_before, all]
    default: as_before
  confirm:
    description:
      - Names of the confirmed steps; V(restore) lets data be restored, V(restore_discard) lets set-aside data be removed.
      - With V(restore_undo_earlier) O(action=undo) takes back an earlier restore where the last one was taken back already.
      - With V(restore_untrusted) a set is restored though root, set or files belong to other users than root and this one or can be
        written to by others, or though the ledger does not know the set.
      - With V(restore_outside) a set is restored though its manifest names paths, or a database of SQLite, that the options of the
        artifact do not name.
      - With V(restore_open) data is swapped, or data set aside is removed, though processes have files of it open.
    type: list
    elements: str
    default: []
  journal_folder:
    description: Folder on the host in which restores are written down.
    type: path
    default: /var/lib/opsrunner/restores
  jmespath:
    description: Set by the action plugin.
    type: str
"""

EXAMPLES = r"""
- name: List the sets of all backups
  opsrunner.runbook.restore:
    backups: "{{ runbook_backups }}"

- name: Restore the newest proved set
  opsrunner.runbook.restore:
    backups: "{{ runbook_backups }}"
    backup: shop
    set: newest-proved
    confirm: [restore]

- name: Restore one table as it was on a day
  opsrunner.runbook.restore:
    backups: "{{ runbook_backups }}"
    backup: shop
    set: "2026-01-31"
    part: ["db:public.users"]
    confirm: [restore]

- name: Take it back
  opsrunner.runbook.restore:
    backups: "{{ runbook_backups }}"
    backup: shop
    action: undo
"""

RETURN = r"""
findings:
  description: One per backup, C(backup.<name>.restore).
  type: list
  elements: dict
  returned: always
  sample: [{"check": "backup.shop.restore", "kind": "backup", "status": "ok"}]
sets:
  description: The sets of a list, newest first, with what is in them.
  type: list
  elements: dict
  returned: when sets are listed
  sample:
    - backup: shop
      set: 20260131T021500Z
      at: "2026-01-31T02:15:09Z"
      size: 1048576
      rungs: [{"rung": 3, "at": "2026-01-31T02:16:00Z"}]
      problem: null
      artifacts: [{"name": "db", "engine": "sqlite", "size": 1048576, "counts": {"rows.users": 10}, "restorable": true}]
plan:
  description: What would be done, or what was set aside where.
  type: dict
  returned: when there is one
  sample: {"set": "20260131T021500Z", "stop": ["shop.service"], "start": ["shop.service"]}
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import spec as backup_spec
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import plan as restore_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import run as restore_run


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "backups": backup_spec.BACKUPS,
            "action": {"type": "str", "choices": ["restore", "list", "undo", "resume", "discard"], "default": "restore"},
            "backup": {"type": "str"},
            "set": {"type": "str"},
            "part": {"type": "list", "elements": "str", "default": []},
            "start": {"type": "str", "choices": ["as_before", "all"], "default": "as_before"},
            "confirm": {"type": "list", "elements": "str", "default": []},
            "journal_folder": {"type": "path", "default": "/var/lib/opsrunner/restores"},
            "jmespath": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        job = restore_plan.parse(module.params)
        outcome = restore_run.run(job, module.check_mode, restore_run.usual_means(module.params["jmespath"]))
    except OptionError as error:
        module.fail_json(msg=str(error))
    except MemoryError:  # within a restore it is caught, and what was done is taken back
        outcome = restore_run.out_of_memory(module.params)
    told = {"changed": outcome.changed, "findings": outcome.found, "sets": list(outcome.sets)}
    if outcome.plan is not None:
        told["plan"] = outcome.plan
    if outcome.failed is not None:
        module.fail_json(msg=outcome.failed, **told)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
