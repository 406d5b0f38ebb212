# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be run: the runbooks of the folder one stands in, of the checkout, and of the collection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from opsrunner.find import collection as _collection


class Runbook(NamedTuple):
    """A playbook that can be run. ``target``: what ansible-playbook is given."""

    name: str
    path: Path
    target: str

    @property
    def title(self) -> str:
        """What the runbook says of itself: the first sentence of the comment at its head, else the name of its first play."""
        return _title(self.path)


def find() -> dict[str, Runbook]:
    """Every runbook by name; one in ``./playbooks`` comes before the collection's of the same name."""
    found: dict[str, Runbook] = {}
    shipped = _collection.root() / "playbooks"
    own = Path.cwd() / "playbooks"
    for folder in [own, shipped] if not _same(own, shipped) else [shipped]:
        for path in sorted(folder.glob("*.yml")) if folder.is_dir() else ():
            target = f"{_collection.NAME}.{path.stem}" if folder == shipped else str(path)
            if path.stem not in found and _is_playbook(path):
                found[path.stem] = Runbook(path.stem, path, target)
    return found


def tags(runbook: Runbook) -> set[str]:
    """The tags that a runbook's plays and the files they import name; Ansible's own ones are none of them."""
    found: set[str] = set()
    left, seen = [runbook.path], set()
    while left:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        for key, value in _pairs(_load(path)):
            if key == "tags":
                found.update(tag.strip() for entry in (value if isinstance(value, list) else [value]) for tag in str(entry).split(","))
            elif key.rpartition(".")[2] in ("import_playbook", "import_tasks", "include_tasks"):
                name = value if isinstance(value, str) else (value or {}).get("file", "") if isinstance(value, dict) else ""
                left += [path.parent / name] if name and "{{" not in name and (path.parent / name).is_file() else []
    return found - {"always", "never", ""}


def _pairs(data: object) -> Iterator[tuple[str, object]]:
    """Every key of a structure with its value, however deep."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield str(key), value
            yield from _pairs(value)
    elif isinstance(data, list):
        for item in data:
            yield from _pairs(item)


def from_file(path: Path) -> Runbook:
    """A playbook named by its path."""
    return Runbook(path.stem, path, str(path.absolute()))


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.resolve() == other.resolve()


def _load(path: Path) -> object:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _is_playbook(path: Path) -> bool:
    """Whether the file is a list of plays; one that cannot be read is shown, so that running it says why."""
    data = _load(path)
    if not isinstance(data, list):
        return data is None
    return any(isinstance(play, dict) and {"hosts", "import_playbook"} & play.keys() for play in data)


_LICENCE = ("# Copyright", "# GNU", "# SPDX")


def _title(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    told: list[str] = []
    for line in lines:
        if line.startswith("# ") and not line.startswith(_LICENCE):
            told.append(line[2:].strip())
        elif told or (line.strip() and not line.startswith(("#", "---"))):
            break
    if told:
        sentence, dot, _rest = " ".join(told).partition(". ")
        return sentence + dot.strip()
    data = _load(path)
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    return str(first.get("name") or "")
