#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``meta/runtime.yml`` says which ansible-core is supported; whatever repeats it must agree. Requirements have hashes."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PINNED = ("requirements/run.txt", "requirements/dev.txt", "tests/unit/old_python.txt")


def problems(root: Path = ROOT) -> list[str]:
    """What does not agree, one line each."""
    found: list[str] = []
    supported = SpecifierSet(yaml.safe_load((root / "meta/runtime.yml").read_text())["requires_ansible"])
    first = min(Version(one.version) for one in supported if one.operator == ">=")
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    run = [line for line in (root / "requirements/run.in").read_text().splitlines() if line and not line.startswith("#")]
    if sorted(map(_told, project)) != sorted(map(_told, run)):
        found.append("pyproject.toml: dependencies are not those of requirements/run.in")
    for text in project:
        one = Requirement(text)
        if not any(limit.operator in ("<", "==", "~=") for limit in one.specifier):
            found.append(f"pyproject.toml: {one.name} has no upper bound")
        if one.name == "ansible-core" and _bounds(one.specifier) != _bounds(supported):
            found.append(f"pyproject.toml: ansible-core{one.specifier}, and meta/runtime.yml says {supported}")
    for path in sorted(root.glob("roles/*/meta/main.yml")):
        least = yaml.safe_load(path.read_text())["galaxy_info"]["min_ansible_version"]
        if Version(least) != first:
            found.append(f"{path.relative_to(root)}: min_ansible_version is {least}, not {first.major}.{first.minor}")
    for name in PINNED:
        found += _pinned(name, (root / name).read_text(), supported)
    return found


def _pinned(name: str, text: str, supported: SpecifierSet) -> list[str]:
    found: list[str] = []
    for entry in re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^\s*#.*\n", "", text)):
        pin = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", entry)
        if not pin:
            found.append(f"{name}: {entry.strip()[:60]!r} is not pinned")
        elif "--hash=sha256:" not in entry:
            found.append(f"{name}: {pin[1]} has no hash")
        elif pin[1] == "ansible-core" and pin[2] not in supported:
            found.append(f"{name}: ansible-core {pin[2]} is not supported: {supported}")
    if "://" in text:
        found.append(f"{name}: names a host that packages are fetched from")
    return found


def _told(text: str) -> str:
    one = Requirement(text)
    return f"{one.name} {sorted(map(str, one.specifier))}"


def _bounds(specifier: SpecifierSet) -> set[tuple[str, Version]]:
    return {(one.operator, Version(one.version)) for one in specifier}


if __name__ == "__main__":
    wrong = problems()
    print("\n".join(wrong), end="\n" if wrong else "")
    sys.exit(bool(wrong))
