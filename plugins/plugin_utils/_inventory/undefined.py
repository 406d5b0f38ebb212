# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates in an inventory's values that use a variable which nothing defines.

Only what the files themselves show is judged: a name that any file of the inventory has as a key, a name of Ansible's, and a name with
a ``default`` are taken as defined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, TemplateError, meta

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, nearest

#: What Ansible itself defines, besides what begins with ``ansible_``; functions of its templates among them.
_OF_ANSIBLE = frozenset(
    (
        *("inventory_hostname", "inventory_hostname_short", "inventory_dir", "inventory_file", "playbook_dir", "role_path", "role_name"),
        *("groups", "group_names", "hostvars", "vars", "environment", "omit", "play_hosts", "item", "undef", "lookup", "query", "q", "now"),
        *("range", "dict", "lipsum", "cycler", "joiner", "namespace", "finalize", "true", "false", "none", "True", "False", "None"),
    )
)


def names(data: Any) -> Iterator[str]:
    """Every key of a structure, however deep."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield str(key)
            yield from names(value)
    elif isinstance(data, list):
        for item in data:
            yield from names(item)


def templates(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path (such as ``a[1].b``) and text of every template in a structure."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from templates(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from templates(item, f"{path}[{index}]")
    elif isinstance(data, str) and ("{{" in data or "{%" in data):
        yield path, data


def errors(data: Any, defined: set[str]) -> Iterator[OptionError]:
    """What is wrong with the templates of one file. ``defined``: names that all files of the inventory have."""
    environment = Environment(autoescape=True)
    for path, text in templates(data):
        if "default(" in text or " is defined" in text or "d(" in text:
            continue
        try:
            used = meta.find_undeclared_variables(environment.parse(text))
        except TemplateError:
            continue  # filters and tests of Ansible's are not known here; the run says what is wrong
        for name in sorted(used):
            if name not in defined and name not in _OF_ANSIBLE and not name.startswith("ansible_"):
                yield OptionError(path, f"uses the variable {name}, which nothing in this inventory defines", nearest(name, defined))


def is_read(path: Path) -> bool:
    """Whether a file of an inventory holds variables in YAML."""
    return path.is_file() and path.suffix in (".yml", ".yaml", ".json", "")
