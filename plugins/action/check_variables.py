# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse misspelt and malformed runbook variables before anything runs."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import wall
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._inventory import undefined, variables
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import masking as secrets

try:  # where a value was written is told by ansible-core 2.19 and later
    from ansible._internal._datatag._tags import Origin
except ImportError:  # pragma: no cover - depends on the ansible-core in use
    Origin = None


def _origin(name: str, value: Any) -> str | None:
    """``file:line`` where a value was written, else None."""
    tag = Origin.get_tag(value) if Origin is not None else None
    if tag is None and isinstance(value, (list, dict)):
        items = value.values() if isinstance(value, dict) else value
        return next((found for found in (_origin(name, item) for item in items) if found), None)
    if tag is None or not tag.path:
        return None
    return f"{tag.path}:{tag.line_num}" if tag.line_num else str(tag.path)


def _unusable(host: str, name: str, raw: Any, reason: str) -> variables.Problem:
    """A value whose template has failed, with the place of the part that uses what the reason names."""
    parts = [
        (path, text) for path, text in undefined.templates(raw, name) if any(word in text for word in re.findall(r"'([^']+)'", reason))
    ]
    path, text = parts[0] if parts else (name, raw)
    return variables.Problem(_origin(name, text) or f"host {host}", OptionError(path, reason))


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Action plugin of check_variables; works on the controller only, for all hosts of the play at once."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the variables of every host of the play."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        refused = wall.refusal(task_vars)
        if refused:
            raise AnsibleActionFail(refused)
        problems: list[variables.Problem] = []
        cache: dict[Any, list[variables.Problem]] = {}
        hidden: set[str] = set()
        hosts = list(task_vars.get("ansible_play_hosts_all") or [task_vars["inventory_hostname"]])
        for host in hosts:
            values = task_vars["hostvars"][host]
            own: dict[str, Any] = {}
            for name in [name for name in values if name.startswith(variables.PREFIX)]:
                try:
                    own[name] = values[name]
                    list(undefined.templates(own[name]))  # a template inside of it fails only when it is looked at
                except AnsibleError as error:
                    own.pop(name, None)
                    problems.append(_unusable(host, name, task_vars["hostvars"].raw_get(host).get(name), " ".join(str(error).split())))
            hidden |= secrets.collect(own)
            with contextlib.suppress(AnsibleError):  # a value that cannot be had is reported above, and its text is the file's own
                hidden |= secrets.of_variables(values)
            problems += variables.check_host(host, own, _origin, cache)
        told = [secrets.mask_text(text, hidden) for text in variables.unique(problems)]
        if told:
            run = runs.current()
            if run:
                run.add_problem("\n".join(told))
            raise AnsibleActionFail("nothing was run, because of variables:\n" + "\n".join(told), result={"problems": told})
        return {"changed": False, "hosts": len(hosts), "problems": []}
