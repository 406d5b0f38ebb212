#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold each role's files against one another.

For every role: its argument specification names exactly the variables of ``defaults/main.yml`` (and required ones without a
default), every variable carries the role's prefix, no text names a system, the files that a role has are there, and the
table of variables in its README is the one made from the specification (``--write`` writes it).
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = ("defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml", "README.md")
BEGIN = "<!-- variables: made by `make docs` -->"
#: A default that hands on a variable of the inventory.
BRIDGE = re.compile(r"{{\s*(\w+)\s*(?:\|\s*default\((.*?)(?:,\s*true)?\)\s*)?}}\Z", re.DOTALL)
TABLE = re.compile(r"^\| Variable \|.*\n(?:\|.*\n)+", re.MULTILINE)
END = "<!-- end of variables -->"


def load(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def cell(text: str) -> str:
    """Text that can stand in a cell: Ansible's markup as Markdown, no line ends, no bars."""
    text = re.sub(r"\b(?:O|V|C|RV|E|I|B|M|P)\(([^)]*)\)", r"`\1`", " ".join(text.split()))
    return text.replace("|", "\\|")


def bridged(default: Any) -> tuple[str | None, Any]:
    """The inventory variable that a default takes its value from (or None), and the value without one."""
    found = BRIDGE.match(default) if isinstance(default, str) else None
    if not found:
        return None, default
    return found.group(1), None if found.group(2) is None else ast.literal_eval(found.group(2))


def default_cell(spec: dict[str, Any], default: Any) -> str:
    """What a variable is when nobody sets it."""
    if spec.get("required") and default is None:
        return "required"
    variable, value = bridged(default)
    shown = "" if value in (None, "") else f"`{value}`"
    if variable is None:
        return shown
    return f"`{variable}`, else {shown}" if shown else f"`{variable}`"


def table(options: dict[str, Any], defaults: dict[str, Any]) -> str:
    """The table of a role's variables."""
    lines = ["| Variable | Type | Default | Meaning |", "|---|---|---|---|"]
    for name, spec in options.items():
        kind = spec.get("type", "str")
        if kind == "list":
            kind = f"list of {spec.get('elements', 'raw')}"
        described = spec.get("description", "")
        text = " ".join(described) if isinstance(described, list) else described
        if spec.get("choices"):
            text = f"{text} One of {', '.join(f'`{choice}`' for choice in spec['choices'])}."
        lines.append(f"| `{name}` | {kind} | {cell(default_cell(spec, defaults.get(name)))} | {cell(text)} |")
    return "\n".join(lines)


def check_variables(role: Path, spec: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """What is wrong between specification and defaults."""
    problems = []
    options = spec["argument_specs"]["main"].get("options", {})
    for name in sorted({*options, *defaults}):
        where = f"roles/{role.name}: {name}"
        if not name.startswith((f"{role.name}_", f"__{role.name}_")):
            problems.append(f"{where}: lacks the role's prefix")
        if name.startswith("__"):
            continue
        if name not in options:
            problems.append(f"{where}: is in defaults but not in meta/argument_specs.yml")
        elif name not in defaults and not options[name].get("required"):
            problems.append(f"{where}: is neither required nor in defaults")
        elif "default" in options[name] and options[name]["default"] != bridged(defaults.get(name))[1]:
            problems.append(f"{where}: the default differs between defaults and meta/argument_specs.yml")
        if name in options and not options[name].get("description"):
            problems.append(f"{where}: has no description")
    return problems


def check_systems(role: Path) -> list[str]:
    """Places where a role names a system that it happens to be used for."""
    systems = [folder.name for folder in (ROOT / "inventories").iterdir() if folder.is_dir() and folder.name != "demo"]
    problems = []
    for path in sorted(role.rglob("*")):
        if path.is_file():
            text = path.read_text(encoding="utf-8").lower()
            problems += [
                f"{path.relative_to(ROOT)}: names the system {name}" for name in systems if re.search(rf"\b{re.escape(name)}\b", text)
            ]
    return problems


def check_readme(role: Path, wanted: str, write: bool) -> list[str]:
    """Whether the README has the table ``wanted``; with ``write`` it is put there."""
    readme = role / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    block = f"{BEGIN}\n{wanted}\n{END}"
    if write:
        if begin and end:
            made = f"{before}{block}{after}"
        elif TABLE.search(text):  # one that was written by hand
            made = TABLE.sub(lambda _found: f"{block}\n", text, count=1)
        else:
            made = f"{text.rstrip()}\n\n## Variables\n\n{block}\n"
        readme.write_text(made, encoding="utf-8")
        return []
    if not (begin and end):
        return [f"roles/{role.name}/README.md: has no table of variables; make docs writes it"]
    return [] if f"{begin}{_old}{end}" == block else [f"roles/{role.name}/README.md: the table of variables is old; make docs writes it"]


def check_role(role: Path, write: bool) -> list[str]:
    """What is wrong with one role."""
    lacking = [f"roles/{role.name}: has no {name}" for name in FILES if not (role / name).is_file()]
    if lacking:
        return lacking
    spec, defaults = load(role / "meta/argument_specs.yml"), load(role / "defaults/main.yml") or {}
    public = {name: value for name, value in defaults.items() if not name.startswith("__")}
    options = spec["argument_specs"]["main"].get("options", {})
    return check_variables(role, spec, defaults) + check_systems(role) + check_readme(role, table(options, public), write)


def main(words: list[str]) -> int:
    """Check, or write what can be made."""
    roles = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
    problems = [problem for role in roles for problem in check_role(role, "--write" in words)]
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
