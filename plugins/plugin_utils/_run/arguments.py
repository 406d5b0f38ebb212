# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run was started, as its record keeps it: option names and what they select, never a secret."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_KEPT = ("subset", "tags", "skip_tags", "check", "diff", "forks", "inventory", "become", "remote_user", "start_at_task", "verbosity")


def from_cli(options: Mapping[str, Any]) -> dict[str, Any]:
    """The part of ansible-playbook's options that says what a run was about; of extra variables only the names."""
    kept = {name: _plain(options[name]) for name in _KEPT if options.get(name) not in (None, (), [], "", False, 0)}
    if kept.get("tags") == ["all"]:
        del kept["tags"]
    names = extra_variable_names(options.get("extra_vars") or ())
    if names:
        kept["extra_vars"] = names
    return kept


def command(record: Mapping[str, Any], runbook: str, *options: str) -> str:
    """What to type to run a runbook on the system, or with the inventory, of a run."""
    given = record.get("arguments")
    where = given.get("inventory") if isinstance(given, Mapping) else None
    places = [word for path in where or () for word in ("-i", str(path))] or ["--system", str(record.get("system"))]
    return "python -m opsrunner " + shlex.join([runbook, *places, *options])


def _plain(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else value


def extra_variable_names(given: Iterable[Any]) -> list[str]:
    """The names in ``-e`` options: ``a=1 b=2``, JSON, YAML mappings on one line, ``@file``."""
    names: list[str] = []
    for item in given:
        text = str(item).strip()
        if text.startswith("@"):
            names.append(f"@{Path(text[1:]).name}")
            continue
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        if isinstance(data, dict):
            names += [str(name) for name in data]
        elif text.startswith(("{", "[")):
            names += re.findall(r"([A-Za-z_]\w*)\s*:", text)
        else:
            names += re.findall(r"(?:^|\s)([A-Za-z_]\w*)=", text)
    return list(dict.fromkeys(names))


def revision(folder: str | os.PathLike[str]) -> str | None:
    """The git revision of the runbooks, with ``-dirty`` when files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", os.fspath(folder), *arguments], capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "--short=12", "HEAD")
    if not head:
        return None
    return f"{head}-dirty" if git("status", "--porcelain", "--untracked-files=no") else head
