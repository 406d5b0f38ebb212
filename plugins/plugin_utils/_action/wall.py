# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wall between a managed host's answer and the controller.

What a module returns becomes a task's result, and Ansible acts on some keys of a result: ``ansible_facts`` become variables that
outrank the inventory, ``add_host`` changes it, ``ansible_stats`` reaches the job runner. Only a fixed list of keys passes.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import reader
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import clean, clean_lines

#: Keys of any module's answer that pass.
COMMON = frozenset(
    {"changed", "failed", "msg", "skipped", "skip_reason", "unreachable", "diff", "findings", "warnings", "deprecations", "exception"}
)
#: Made by Ansible itself; what they hold are objects of its own.
_OF_ANSIBLE = frozenset({"warnings", "deprecations", "exception"})
#: Values inside one key of an answer, and its characters, at most.
_ITEMS, _CHARACTERS, _DEPTH = 2_000_000, 64 * 1024 * 1024, 30

#: Warnings of one answer, and characters of each, at most.
_MESSAGES, _MESSAGE = 100, 4000

_PLUGINS = Path(__file__).resolve().parents[2]


@functools.cache
def returned(module: str) -> frozenset[str]:
    """The keys that a module of this collection documents under RETURN."""
    tree = ast.parse((_PLUGINS / "modules" / f"{module}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "RETURN":
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            return frozenset(yaml.load(ast.literal_eval(node.value), Loader=loader) or ())  # noqa: S506
    return frozenset()


def passed(answer: Mapping[str, Any], module: str) -> dict[str, Any]:
    """The keys of a module's answer that Ansible and this collection may see, each as plain data of a bounded size.

    A key that is too deep, too large or no plain data makes the answer a failed one that says so.
    """
    allowed = COMMON | returned(module)
    kept: dict[str, Any] = {}
    problems = []
    for key, value in answer.items():
        if key not in allowed:
            continue
        if key in _OF_ANSIBLE:
            kept[key] = _messages(value)
            continue
        if key == "findings":  # each is read by itself, so that one that is broken does not hide the others
            kept[key] = value if isinstance(value, list) else []
            if value is not None and not isinstance(value, list):
                problems.append("findings: must be a list")
            continue
        try:
            kept[key] = reader.bounded(value, key, reader.Budget(_ITEMS, _CHARACTERS), _DEPTH)
        except reader.FindingError as error:
            problems.append(str(error))
    for key in ("changed", "failed", "unreachable", "skipped"):
        if key in kept:
            kept[key] = kept[key] is True
    if problems:
        kept.update(failed=True, msg=f"the host's answer is not valid: {'; '.join(problems)}")
    if "msg" in kept:
        kept["msg"] = "\n".join(clean_lines(kept["msg"]))
    return kept


def _messages(value: Any) -> Any:
    """Warnings and errors: objects of Ansible's own as they are, text and plain data of the host cleaned and bounded."""
    if isinstance(value, (list, tuple)):
        return [_messages(item) for item in value[:_MESSAGES]]
    if isinstance(value, str):
        return "\n".join(clean_lines(value[:_MESSAGE]))
    if isinstance(value, Mapping):
        return {clean(name): _messages(item) for name, item in list(value.items())[:_MESSAGES]}
    return value


@functools.cache
def _prefixes() -> tuple[str, ...]:
    roles = [folder.name for folder in (_PLUGINS.parent / "roles").iterdir() if folder.is_dir()]
    return ("runbook_", "confirm", "opsrunner_", "lease_", *(f"{role}_" for role in roles))


def variables_from_facts(task_vars: Mapping[str, Any]) -> list[str]:
    """Names of this collection's variables that a host has set by its facts; the inventory alone sets them."""
    facts = task_vars.get("ansible_facts")
    if not isinstance(facts, Mapping):
        return []
    return sorted(name for name in map(str, facts) if name.startswith(_prefixes()))


def refusal(task_vars: Mapping[str, Any]) -> str | None:
    """Why a task must not go on: a host has set variables of this collection by its facts. None when all is well."""
    names = variables_from_facts(task_vars)
    if not names:
        return None
    host = task_vars.get("inventory_hostname", "localhost")
    shown = ", ".join(clean(name)[:80] for name in names[:5])
    return f"host {host} set {shown} by its facts; these variables are taken from the inventory and the command line only"
