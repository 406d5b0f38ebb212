#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy backup sets off the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_copy
short_description: Copy backup sets off the host, fetch one back, remove old ones at the copies
version_added: 0.1.0
description:
  - Sends every whole set that a copy does not have yet - by rsync over ssh, to S3, or into a restic repository - and has the far
    end prove what it holds.
  - Each copy is asked what it has - a set that is gone there is sent again, and that is told. A transfer that was cut is gone on with.
    One copy that fails stops no other.
  - A set of the same name with another manifest, be it at a copy or here, is never overwritten.
  - rsync needs C(rsync) on both hosts and C(sha256sum) at the far end; the host's key must be known. S3 needs boto3 1.21 or later
    on the host, restic its program.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
  - opsrunner.runbook.backups
options:
  state:
    description:
      - V(sent) sends what is missing; V(fetched) fetches one set from a copy into the root.
      - V(pruned) removes at each copy the sets that its O(backups[].copies[].keep) no longer keeps, by the rules of
        P(opsrunner.runbook.backup_retention#filter); copies without it are left alone. Only sets whose manifest is the one that the
        ledger here knows go; without V(backup_copy_prune) in O(confirm), and in check mode, each set is told with the reason.
    type: str
    choices: [sent, fetched, pruned]
    default: sent
  only:
    description: Names of the backups; all without it.
    type: list
    elements: str
    default: []
  copy:
    description: With V(state=fetched), name of the copy.
    type: str
  set:
    description: With V(state=fetched), name of the set, or V(newest).
    type: str
    default: newest
  confirm:
    description: Names of the confirmed steps; with V(state=pruned) V(backup_copy_prune) lets sets be removed.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Copy what is new to another host
  opsrunner.runbook.backup_copy:
    backups:
      - name: app
        root: /backup/app
        copies:
          - {name: vault, kind: rsync, host: vault.example.org, user: backup, path: /srv/backup/app}

- name: Fetch the newest set back
  opsrunner.runbook.backup_copy:
    backups: "{{ backup_copy_backups }}"
    state: fetched
    only: [app]
    copy: vault

- name: Show which sets would go at the copies
  opsrunner.runbook.backup_copy:
    backups: "{{ backup_copy_backups }}"
    state: pruned
  check_mode: true
"""

RETURN = r"""
findings:
  description: What was found; C(backup.<name>.copy.<copy>), C(backup.<name>.fetch.<copy>) or C(backup.<name>.copy.<copy>.prune).
  type: list
  elements: dict
  returned: always
  sample: [{"check": "backup.app.copy.vault", "kind": "backup", "status": "ok"}]
copies:
  description: What was sent or fetched. C(sent) is how many bytes went over, which is less when a transfer was gone on with.
  type: list
  elements: dict
  returned: when sending or fetching
  sample: [{"backup": "app", "copy": "vault", "set": "20260131T021500Z", "bytes": 123456, "sent": 123456}]
sets:
  description:
    - Each set at the copies, with what becomes of it - C(keep), C(remove), or C(finish) for one that is there by half. C(path) tells
      copy and set.
  type: list
  elements: dict
  returned: with V(state=pruned)
  sample: [{"backup": "app", "path": "vault:20260131T021500Z", "set": "20260131T021500Z", "action": "keep", "reasons": ["last"]}]
bytes_won:
  description: Bytes at the copies that were won, or would be.
  type: int
  returned: with V(state=pruned)
  sample: 1048576
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import prune as backup_prune
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import spec as backup_spec
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import options as backup_copy_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import prune as backup_copy_prune
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import run as backup_copy
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy.stores import store_of
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError


def s3_client(options: Any) -> Any:
    """boto3's client for the options of a copy. Imported here: only S3 needs it. Raises ImportError."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=options.get("endpoint"),
        region_name=options.get("region"),
        aws_access_key_id=options.get("access_key"),
        aws_secret_access_key=options.get("secret_key"),
        verify=options.get("ca_file"),
        config=Config(retries={"max_attempts": 5, "mode": "standard"}, connect_timeout=15, read_timeout=60),
    )


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "backups": backup_spec.BACKUPS,
            "state": {"type": "str", "choices": ["sent", "fetched", "pruned"], "default": "sent"},
            "only": {"type": "list", "elements": "str", "default": []},
            "copy": {"type": "str"},
            "set": {"type": "str", "default": "newest"},
            "confirm": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        asked = backup_copy_options.parse(module.params)
        store = store_of(s3_client, missing_required_lib("boto3"))
        if asked.prune:
            pruned = backup_copy_prune.run(asked.backups, store, asked.confirmed, module.check_mode)
            module.exit_json(**backup_prune.result(pruned))
        if asked.fetch is None:
            report = backup_copy.send(asked.backups, store, module.check_mode)
        else:
            report = backup_copy.fetch(*asked.fetch, module.params["set"], store, module.check_mode)
    except OptionError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=report.changed, findings=report.findings, copies=report.copies)


if __name__ == "__main__":
    main()
