#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the imports against the floors of docs/develop/layout.md.

A file imports its own room (relative) and rooms of lower floors (absolute). Only a module or an action plugin brings rooms of one
floor together. What runs on a managed host imports neither a third party, nor ansible, nor the controller's code.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = "ansible_collections.opsrunner.runbook.plugins."
#: Rooms of plugins/module_utils, from the ground up; rooms of one floor know nothing of each other.
TARGET_FLOORS = (
    ("_core",),
    ("_files", "_process"),
    ("_host", "_runtime"),
    ("_probe", "_log", "_maintenance", "_lease", "_window"),
    ("_engine", "_provision"),
    ("_backup",),
    ("_restore",),
)
#: Rooms of plugins/plugin_utils.
CONTROLLER_FLOORS = (("_text",), ("_run", "_inventory"), ("_report",), ("_action",))
#: Rooms of src/opsrunner; files directly in it are its ground floor.
COMMAND_FLOORS = (("find",), ("play",), ("demo", "selftest"), ("commands",), ("cli",))
#: Packages that a file on a managed host may not import; a module imports them and hands them in.
FOREIGN = ("ansible", "psutil", "pymongo", "bson", "boto3", "botocore", "jmespath", "yaml", "requests", "jinja2")
#: Imported where it is there, and done without where it is not.
OPTIONAL = (("_provision/app_settings/files.py", "yaml"),)


def floor_of(room: str, floors: tuple[tuple[str, ...], ...]) -> int | None:
    """The floor of a room, None for one that is on no list."""
    return next((number for number, rooms in enumerate(floors) if room in rooms), None)


def imports(path: Path, package: tuple[str, ...]) -> list[tuple[int, str]]:
    """Line and absolute dotted name of what a file imports; ``package``: the parts of the package that the file is in."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            found += [(node.lineno, f"{module}.{name.name}") for name in node.names]
    return found


def check(folder: Path, prefix: str, floors: tuple[tuple[str, ...], ...], strict_files: bool) -> list[str]:
    """What is wrong with the imports below ``folder``, whose dotted name is ``prefix``."""
    problems = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        shown = path.relative_to(ROOT)
        if len(parts) == 1:
            if strict_files:
                problems.append(f"{shown}: lies outside of the rooms")
            continue
        room = parts[0]
        own = floor_of(room, floors)
        if own is None:
            problems.append(f"{shown}: {room} is on no floor; add it to tests/lint/floors.py and docs/develop/layout.md")
            continue
        for line, name in imports(path, (*prefix.split("."), *parts[:-1])):
            if not name.startswith(prefix + "."):
                continue
            other = name[len(prefix) + 1 :].split(".")[0]
            where = floor_of(other, floors)
            if other != room and where is not None and where >= own:
                problems.append(f"{shown}:{line}: {room} (floor {own}) imports {other} (floor {where}): {name}")
    return problems


def foreign(folder: Path) -> list[str]:
    """Imports of what a managed host need not have, or that belong to the controller."""
    problems = []
    for path in sorted(folder.rglob("*.py")):
        for line, name in imports(path, (*f"{HOME}module_utils".split("."), *path.relative_to(folder).parts[:-1])):
            if (path.relative_to(folder).as_posix(), name.split(".")[0]) in OPTIONAL:
                continue
            if name.split(".")[0] in FOREIGN or name.startswith(HOME + "plugin_utils"):
                problems.append(f"{path.relative_to(ROOT)}:{line}: {name} is imported by the module and handed in")
    return problems


def main() -> int:
    """Print what is wrong; 1 when there is anything."""
    plugins = ROOT / "plugins"
    problems = [
        *check(plugins / "module_utils", HOME + "module_utils", TARGET_FLOORS, strict_files=True),
        *check(plugins / "plugin_utils", HOME + "plugin_utils", CONTROLLER_FLOORS, strict_files=True),
        *check(ROOT / "src" / "opsrunner", "opsrunner", COMMAND_FLOORS, strict_files=False),
        *foreign(plugins / "module_utils"),
    ]
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
