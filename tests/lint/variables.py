#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold ``docs/inventory.md`` against the variables that there are (``--write`` writes it)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "collections"))
import ansible_collections  # noqa: E402

_folder = str(ROOT / "collections" / "ansible_collections")
if _folder not in list(ansible_collections.__path__):
    ansible_collections.__path__.append(_folder)
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._inventory import variables  # noqa: E402

PAGE = ROOT / "docs" / "inventory.md"
HEAD = """# The inventory's variables

An inventory describes a system as data: its hosts in `hosts.yml`, everything else in `group_vars/<group>/`, one file per
concern. `opsrunner init NAME` writes one to adapt, `opsrunner validate NAME` checks it, and every run checks it again before
anything runs on a host: names that are misspelt, nested keys that do not exist, values of the wrong type, thresholds, regular
expressions and JMESPath expressions that do not parse are refused with the file, the line, the key and the nearest valid name.

Secrets come from a vault or from environment look-ups. Durations are written `30`, `250ms`, `5m`, `25h`, `30d` or `1w`, sizes
`1024`, `100M` or `10GiB`, thresholds as [ranges](findings-and-runs.md#findings). A variable of your own may have any name that
does not begin with `runbook_`.

<!-- Made by `make docs` from plugins/plugin_utils/_inventory/variables.yml and the documentation of the modules. -->
"""


def text(value: str | list[str]) -> str:
    """Ansible's markup as Markdown, on one line."""
    joined = " ".join(value) if isinstance(value, list) else value
    joined = re.sub(r"\b(?:O|V|C|RV|E|I|B|M|P)\(([^)]*)\)", r"`\1`", " ".join(joined.split()))
    return re.sub(r"`\w+\[\]\.", "`", joined).replace("|", "\\|")


def rows(options: dict[str, Any], prefix: str = "") -> list[str]:
    """A row per nested key."""
    lines = []
    for name, spec in options.items():
        kind = spec.get("type", "str")
        kind = f"list of {spec['elements']}" if kind == "list" and "elements" in spec else kind
        default = "required" if spec.get("required") else f"`{spec['default']}`" if spec.get("default") not in (None, "", [], {}) else ""
        choices = " One of " + ", ".join(f"`{choice}`" for choice in spec["choices"]) + "." if "choices" in spec else ""
        lines.append(f"| `{prefix}{name}` | {kind} | {default} | {text(spec['description'])}{choices} |")
        lines += rows(spec.get("suboptions") or {}, f"{prefix}{name}.")
    return lines


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, entry in variables.variables().items():
        spec = variables.specification(name)
        kind = spec.get("type", "str")
        kind = f"list of {spec['elements']}" if kind == "list" and "elements" in spec else kind
        facts = [f"Type: {kind}."]
        if entry.get("required"):
            facts.append("Required.")
        if "choices" in spec:
            facts.append("One of " + ", ".join(f"`{choice}`" for choice in spec["choices"]) + ".")
        if spec.get("default") not in (None, "", [], {}):
            facts.append(f"Default: `{spec['default']}`.")
        parts.append(f"\n## `{name}`\n\n{text(entry['description'])} {' '.join(facts)}\n")
        if "module" in entry:
            documented = variables.documentation(entry["module"])[entry["option"]]["description"]
            documented = documented if isinstance(documented, list) else [documented]
            parts.append(f"\nOption `{entry['option']}` of the module `{entry['module']}`:\n\n")
            parts += [f"- {text(one)}\n" for one in documented]
        nested = rows(spec.get("suboptions") or {})
        if nested:
            parts.append("\n| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(nested) + "\n")
    return "".join(parts)


def main() -> int:
    """Check or write the page."""
    wanted = page()
    if "--write" in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
        print("docs/inventory.md is not what the variables say: make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
