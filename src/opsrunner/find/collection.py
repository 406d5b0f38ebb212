# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where the command takes code from the collection, wherever that is.

Looked for in this order: the checkout this file is part of, what Python itself finds (the wheel), the folders where
``ansible-galaxy`` installs. The modules are imported when they are first used: ``from opsrunner.find.collection import runs``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsrunner.errors import RefusalError

if TYPE_CHECKING:
    from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
    from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
    from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
    from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
    from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
    from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify import run as backup_verify
    from ansible_collections.opsrunner.runbook.plugins.module_utils._core import findings, options
    from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import artifact as backup_artifact
    from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
    from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as managed_files
    from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.schedule import jobs as schedule_jobs
    from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import drill as restore_drill
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._inventory import variables
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import html as report_html
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import json as report_json
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import markdown as report_markdown
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import model as report_model
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import publish as reports
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import terminal as report_terminal
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import arguments as run_arguments
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import diff as run_diff
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import index as run_index
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import reader
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue, display
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import masking as secrets

__all__ = [
    "backup_artifact",
    "backup_ledger",
    "backup_make",
    "backup_manifest",
    "backup_options",
    "backup_sets",
    "backup_verify",
    "catalogue",
    "display",
    "findings",
    "managed_files",
    "options",
    "reader",
    "report_html",
    "report_json",
    "report_markdown",
    "report_model",
    "report_terminal",
    "reports",
    "restore_drill",
    "run_arguments",
    "run_diff",
    "run_index",
    "runs",
    "schedule_jobs",
    "secrets",
    "set_names",
    "variables",
]

NAME = "opsrunner.runbook"
_PACKAGE = "ansible_collections.opsrunner.runbook"
#: Where the collection has what the command takes from it.
_ROOMS = {
    "backup_artifact": "module_utils._engine.artifact",
    "backup_ledger": "module_utils._backup.ledger",
    "backup_make": "module_utils._backup.make",
    "backup_manifest": "module_utils._backup.manifest",
    "backup_options": "module_utils._backup.options_with_engines",
    "backup_sets": "module_utils._backup.sets",
    "backup_verify": "module_utils._backup.verify.run",
    "catalogue": "plugin_utils._text.catalogue",
    "display": "plugin_utils._text.display",
    "findings": "module_utils._core.findings",
    "managed_files": "module_utils._files.managed",
    "options": "module_utils._core.options",
    "reader": "plugin_utils._run.reader",
    "report_html": "plugin_utils._report.html",
    "report_json": "plugin_utils._report.json",
    "report_markdown": "plugin_utils._report.markdown",
    "report_model": "plugin_utils._report.model",
    "report_terminal": "plugin_utils._report.terminal",
    "reports": "plugin_utils._report.publish",
    "restore_drill": "module_utils._restore.drill",
    "run_arguments": "plugin_utils._run.arguments",
    "run_diff": "plugin_utils._run.diff",
    "run_index": "plugin_utils._run.index",
    "runs": "plugin_utils._run.records",
    "schedule_jobs": "module_utils._provision.schedule.jobs",
    "secrets": "plugin_utils._text.masking",
    "set_names": "module_utils._engine.set_names",
    "variables": "plugin_utils._inventory.variables",
}


class CollectionMissingError(RefusalError):
    """The collection is nowhere to be found."""

    def __init__(self) -> None:
        super().__init__(f"the collection {NAME} is not installed: try ansible-galaxy collection install {NAME}")


def _checkout() -> Path | None:
    root = Path(__file__).resolve().parents[3]
    return root if (root / "galaxy.yml").is_file() and (root / "collections").is_dir() else None


#: The checkout this command runs from, or None when it is installed.
CHECKOUT = _checkout()


def _candidates() -> list[Path]:
    """Folders that may hold ``ansible_collections``, besides those Python knows."""
    named = os.environ.get("ANSIBLE_COLLECTIONS_PATH") or "~/.ansible/collections:/usr/share/ansible/collections"
    return [Path(entry).expanduser() for entry in named.split(":") if entry]


def _search(parent: Path) -> None:
    """Let Python find ``ansible_collections`` in ``parent``; the ansible package's own is a regular package, which hides others."""
    if str(parent) not in sys.path:
        sys.path.insert(0, str(parent))
    package = sys.modules.get("ansible_collections")
    folder = str(parent / "ansible_collections")
    if package is not None and folder not in list(package.__path__):
        package.__path__.insert(0, folder)


def _locate() -> Path:
    if CHECKOUT:
        _search(CHECKOUT / "collections")
        _prefer(CHECKOUT / "collections" / "ansible_collections")
        return CHECKOUT / "collections" / "ansible_collections" / "opsrunner" / "runbook"
    if importlib.util.find_spec("ansible_collections") is None or _spec() is None:
        for parent in _candidates():
            if (parent / "ansible_collections" / "opsrunner" / "runbook" / "plugins").is_dir():
                _search(parent)
                _prefer(parent / "ansible_collections")
                break
    spec = _spec()
    if spec is None or not spec.submodule_search_locations:
        raise CollectionMissingError
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _prefer(folder: Path) -> None:
    """Put ``folder`` first in the search path of the package ``ansible_collections``."""
    package = importlib.import_module("ansible_collections")
    paths = list(package.__path__)
    if str(folder) not in paths:
        package.__path__ = [str(folder), *paths]


def _spec() -> Any:
    try:
        return importlib.util.find_spec(_PACKAGE)
    except ModuleNotFoundError:
        return None


#: The collection's folder; ``None`` until :func:`root` was called.
_ROOT: Path | None = None


def root() -> Path:
    """The folder of the collection. Raises CollectionMissingError."""
    global _ROOT  # noqa: PLW0603  # found once
    if _ROOT is None:
        _ROOT = _locate()
    return _ROOT


def parent() -> Path:
    """The folder that holds ``ansible_collections``, as Ansible wants it named."""
    return root().parents[2]


def elsewhere() -> list[Path]:
    """Every place that holds the collection where Ansible looks: its own folders, then Python's."""
    parents = [*_candidates(), *(Path(entry) for entry in sys.path if entry)]
    found = [parent / "ansible_collections" / "opsrunner" / "runbook" for parent in parents]
    return [path for path in dict.fromkeys(found) if (path / "plugins").is_dir()]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(name)
    root()
    module = importlib.import_module(f"{_PACKAGE}.plugins.{_ROOMS[name]}")
    globals()[name] = module
    return module
