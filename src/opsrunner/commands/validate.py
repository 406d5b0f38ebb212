# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the inventories of systems and tell what is wrong with them: file, line, key, nearest valid name."""

from __future__ import annotations

from collections.abc import Iterable

from opsrunner.find import runbooks
from opsrunner.find.collection import variables
from opsrunner.find.systems import System


def problems(system: System) -> list[str]:
    """What is wrong with a system's inventory, each thing once."""
    found = [*variables.check_inventory(system.path), *variables.check_runbooks(system.path, runbooks.find())]
    return variables.unique(found)


def warnings(system: System) -> list[str]:
    """What is valid in a system's inventory and may still hurt, each thing once."""
    return [f"warning: {text}" for text in variables.unique(variables.warn_inventory(system.path))]


def report(chosen: Iterable[System]) -> tuple[list[str], bool]:
    """A line per system that is valid, per problem and per warning; whether all are valid. A warning makes nothing invalid."""
    lines: list[str] = []
    valid = True
    for system in chosen:
        found = problems(system)
        valid = valid and not found
        lines += [*(found or [f"{system.path}: valid"]), *warnings(system)]
    return lines, valid
