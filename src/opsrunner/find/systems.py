# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where inventories are: one folder per system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import yaml

from opsrunner.errors import UsageError, unknown
from opsrunner.find import collection as _collection

#: Folders with inventories besides ``./inventories``, separated by colons.
VARIABLE = "OPSRUNNER_INVENTORIES"
_SOURCES = ("hosts.yml", "hosts.yaml", "hosts", "hosts.ini", "inventory.yml")


class System(NamedTuple):
    """A system that is operated: its name and its inventory."""

    name: str
    path: Path

    @property
    def title(self) -> str:
        """The system's name as people say it (``runbook_title``), when its inventory tells it."""
        return _variable(self.path, "runbook_title")


def shipped() -> Path:
    """The folder of the inventories that come with the command."""
    return _collection.CHECKOUT / "inventories" if _collection.CHECKOUT else Path(__file__).parents[1] / "inventories"


def folders() -> list[Path]:
    """Where inventories are looked for, in order: here, as the environment says, the user's own, the shipped ones."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "opsrunner" / "inventories"
    named = [Path(entry).expanduser() for entry in os.environ.get(VARIABLE, "").split(":") if entry]
    found: dict[Path, Path] = {}
    for folder in (Path.cwd() / "inventories", *named, own, shipped()):
        if folder.is_dir():
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def find() -> dict[str, System]:
    """Every system by name; the first folder that has it decides."""
    found: dict[str, System] = {}
    for folder in folders():
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith(".") and any((path / source).is_file() for source in _SOURCES):
                found.setdefault(path.name, System(path.name, path))
    return found


def from_path(path: str) -> System:
    """The system of an inventory given by its path."""
    folder = Path(path)
    place = folder if folder.is_dir() else folder.parent
    name = _variable(folder, "runbook_system") or (place.absolute().name if folder.exists() else "none")
    return System(name, folder)


def choose(name: str | None, inventory: str | None) -> System:
    """The system meant by its name or ``-i``; without either the only one that is the user's own. Raises UsageError."""
    if name and inventory:
        raise UsageError("give --system or -i, not both")
    if inventory:
        if "," not in inventory and not Path(inventory).exists():
            raise UsageError(f"there is no inventory {inventory}")
        if "," in inventory and not Path(inventory).exists():
            raise UsageError(f"-i {inventory}: a list of hosts has no runbook_system; write an inventory (opsrunner init NAME)")
        return from_path(inventory)
    known = find()
    if not name:
        theirs = shipped().resolve()
        own = [system for system in known.values() if system.path.resolve().parent != theirs]
        if len(own) == 1:
            return own[0]
        raise UsageError(
            "which system? Name it behind the runbook" + (f"; there are: {', '.join(sorted(known))}" if known else " or -i INVENTORY")
        )
    if name not in known:
        raise unknown(name, known, "system")
    return known[name]


def _variable(path: Path, name: str) -> str:
    """A plain text variable of all hosts, read from the inventory's files; empty when it is not there."""
    place = path if path.is_dir() else path.parent
    group = place / "group_vars"
    files = [*sorted(group.glob("all/*.yml")), group / "all.yml", *([path] if path.is_file() else sorted(place.glob("hosts.y*ml")))]
    for file in files:
        try:
            data = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        if isinstance(data, dict) and isinstance(data.get("all"), dict):
            data = data["all"].get("vars")
        if isinstance(data, dict) and isinstance(data.get(name), str) and "{{" not in data[name]:
            return str(data[name])
    return ""
