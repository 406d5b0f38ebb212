#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import JSON files that an application wrote while MongoDB was away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongodb_import
short_description: Import JSON files into MongoDB, all documents of an import or none
version_added: 0.1.0
description:
  - Imports the files that an application wrote while MongoDB was away. Every document is checked before the first is inserted.
    One that is wrong keeps the whole import out.
  - Documents that are there already, by their id or by the keys of the import, are told and left alone, so that importing again
    changes nothing. A document without C(_id) gets one made of its content.
  - When the server refuses a document or goes away, what was inserted is taken back, but for documents that somebody has changed since.
  - What JSON says and cannot be kept - a key that is twice in an object, a number that is too large, half a character - is an error.
  - All documents are held in memory. The files of an import may have 256 MiB together. One import of a folder at a time.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
options:
  imports:
    description: What is imported.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the import; its finding is C(mongodb_import.<name>).
        type: str
        required: true
      files:
        description:
          - Absolute paths or globs of files on the host. Each holds a list of objects, one object, or an object a line; extended
            JSON is understood, of both versions. A path that is not there is an error, a glob that finds nothing is not.
        type: list
        elements: str
        required: true
      database:
        description: Database.
        type: str
        required: true
      collection:
        description: Collection; it is made if it is not there.
        type: str
        required: true
      fields:
        description:
          - Fields that each document must have, and their types - V(any), V(string), V(number), V(integer), V(boolean), V(date),
            V(objectid), V(object) or V(array). Texts become dates and ids where those are wanted.
        type: dict
      keys:
        description: Fields that together identify a document.
        type: list
        elements: str
      duplicates:
        description: Whether documents that are there already are left out, or keep the whole import out.
        type: str
        choices: [skip, fail]
        default: skip
      remedy:
        description: Runbook or section shown to the operator when something is wrong.
        type: str
  login_host:
    description: Host of the server.
    type: str
    default: 127.0.0.1
  login_port:
    description: Port of the server.
    type: int
    default: 27017
  login_user:
    description: User on the server.
    type: str
  login_password:
    description: Password of the user.
    type: str
  login_database:
    description: Database that knows the user.
    type: str
    default: admin
  ca_file:
    description: Certificates that the server's is checked with; with them the connection is made by TLS.
    type: path
  timeout:
    description: Time for the server to answer.
    type: str
    default: 30s
"""

EXAMPLES = r"""
- name: Import what could not be saved
  opsrunner.runbook.mongodb_import:
    imports:
      - name: candidates
        files: [/srv/batch/candidate_results_*.json]
        database: recommendation
        collection: user_candidate
        fields: {user_id: string, created_at: date}
        keys: [user_id, created_at]
"""

RETURN = r"""
findings:
  description: One per import, C(mongodb_import.<name>), its value the documents inserted, or that would be.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "mongodb_import.candidates", "kind": "mongodb_import", "status": "ok", "value": 120}]
imports:
  description: What each import did.
  type: list
  elements: dict
  returned: always
  sample: [{"name": "candidates", "inserted": 120, "duplicates": 3}]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mongodb import imports as mongo_import


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "imports": {"type": "list", "elements": "dict", "default": []},
            "login_host": {"type": "str", "default": "127.0.0.1"},
            "login_port": {"type": "int", "default": 27017},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
            "login_database": {"type": "str", "default": "admin"},
            "ca_file": {"type": "path"},
            "timeout": {"type": "str", "default": "30s"},
        },
        supports_check_mode=True,
    )
    try:
        results = mongo_import.run(mongo_import.parse(module.params), module.check_mode)
    except OptionError as error:
        module.fail_json(msg=str(error))
    shown = "".join(
        "%d documents into %s.%s\n" % (result.inserted, result.what.database, result.what.collection)
        for result in results
        if result.inserted
    )
    module.exit_json(
        changed=any(result.inserted for result in results),
        findings=[result.found for result in results],
        imports=[{"name": result.what.name, "inserted": result.inserted, "duplicates": result.duplicates} for result in results],
        diff=[{"before": "", "after": shown, "before_header": "imports", "after_header": "imports"}] if shown else [],
    )


if __name__ == "__main__":
    main()
