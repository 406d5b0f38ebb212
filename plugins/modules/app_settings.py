#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put an application's settings in force, and back when it does not come up with them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_settings
short_description: Put an application's settings in force, and back when it does not come up with them
version_added: 0.1.0
description:
  - Writes settings files from data and from what the host has. A file is read by its format's own parser, and by a command of yours,
    before it replaces the old one.
  - A service is restarted only when its settings changed or it does not run with them. When it is not healthy afterwards, the old
    settings return and the service is started with them.
  - What was at a path before is kept, and comes back byte for byte when the settings become V(absent).
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.change
options:
  settings:
    description: The settings files.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the settings; the finding is C(settings.<name>).
        type: str
        required: true
      path:
        description: The file; its folder is there.
        type: str
        required: true
      state:
        description: Whether the settings are to be there. V(absent) touches no file that others have written.
        type: str
        choices: [present, absent]
        default: present
      format:
        description: How it is written. V(env) is an environment file for systemd, shells and docker compose; V(python) holds assignments.
        type: str
        choices: [env, ini, json, python, yaml]
        default: env
      values:
        description:
          - What is in it; V(ini) has sections of values.
          - A value may be a share of what the host has, as a dictionary with V(from_host) (V(cores) or V(memory)), V(share) (such as
            V(1%) or V(0.5)), V(unit) for memory (V(B), V(KiB), V(MiB), V(GiB)), V(min) and V(max).
        type: dict
      secrets:
        description: Values that are secret, laid over O(settings[].values). The file is then 0600 and never shown.
        type: dict
      merge:
        description: Set only these variables of an V(env) file and leave its other lines as they are.
        type: bool
        default: false
      mode:
        description: Permissions in quotes; V("0600") with secrets, V("0644") without.
        type: str
      owner:
        description: Owner.
        type: str
        default: root
      group:
        description: Group; without it the owner's.
        type: str
      validate:
        description: Command that ends with 0 when the file is right; the word C(%s) is the file.
        type: raw
      unit:
        description: Service that uses the file; it is restarted when it runs without these settings.
        type: str
      environment_file:
        description: Give the unit a drop-in with C(EnvironmentFile=), and see in the running process that it has the variables.
        type: bool
        default: false
      restart:
        description: With V(false) the unit is not restarted, and it is told that it waits for one.
        type: bool
        default: true
      apply_command:
        description: Command that makes a change take effect where there is no unit, such as C(docker compose up -d).
        type: raw
      health:
        description: When a restarted service is healthy, besides its unit being up.
        type: dict
        suboptions:
          url:
            description: Answers with 200 to 399.
            type: str
          port:
            description: Local port that accepts connections.
            type: int
          command:
            description: Command that ends with 0.
            type: raw
          timeout:
            description: How long it may take.
            type: str
            default: 30s
          settle:
            description: How long it must stay up at least.
            type: str
            default: 3s
      remedy:
        description: Runbook or section shown to the operator when something is wrong.
        type: str
"""

EXAMPLES = r"""
- name: As many threads as cores, 1 % of memory as buffer, secrets from the vault
  opsrunner.runbook.app_settings:
    settings:
      - name: shop
        path: /etc/shop/shop.env
        values:
          THREAD_POOL_SIZE: {from_host: cores}
          BUFFER_SIZE: {from_host: memory, share: 1%, unit: KiB}
        secrets:
          API_KEY: "{{ vault_api_key }}"
        unit: shop
        environment_file: true
        health: {url: "http://localhost:9999/health", timeout: 30s}
"""

RETURN = r"""
findings:
  description: C(settings.<name>) per file, and C(settings.<name>.effective) whether its unit runs with it.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "settings.shop", "kind": "settings", "status": "ok"}]
restarted:
  description: Units restarted and commands run.
  type: list
  elements: str
  returned: always
  sample: [shop.service]
"""

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.managed import FileError
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.app_settings import apply as settings_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.app_settings import files as settings_files

_ITEM = {
    "name": {"type": "str", "required": True},
    "path": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "format": {"type": "str", "choices": ["env", "ini", "json", "python", "yaml"], "default": "env"},
    "values": {"type": "dict"},
    "secrets": {"type": "dict", "no_log": True},
    "merge": {"type": "bool", "default": False},
    "mode": {"type": "str"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str"},
    "validate": {"type": "raw"},
    "unit": {"type": "str"},
    "environment_file": {"type": "bool", "default": False},
    "restart": {"type": "bool", "default": True},
    "apply_command": {"type": "raw"},
    "health": {
        "type": "dict",
        "options": {
            "url": {"type": "str"},
            "port": {"type": "int"},
            "command": {"type": "raw"},
            "timeout": {"type": "str", "default": "30s"},
            "settle": {"type": "str", "default": "3s"},
        },
    },
    "remedy": {"type": "str"},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "settings": {"type": "list", "elements": "dict", "default": [], "options": _ITEM},
        },
        supports_check_mode=True,
    )
    try:
        result = settings_run.carry_out(settings_files.parse(module.params), settings_run.Host(), module.check_mode)
    except (OptionError, FileError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=result.changed, findings=result.found, diff=result.diff, restarted=result.restarted)


if __name__ == "__main__":
    main()
