# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have what a module imports compiled once. To be imported before all else of this collection; it only matters in a module.

Ansible ships a module as a zip file of sources. Python compiles each source in a zip file twice: to tell the name of its file
(``zipimporter.get_filename``), and to run it. Here the name is told without compiling; all else is left to the importer of zip files.
"""

from __future__ import annotations

import os
import sys
import zipimport
from importlib.machinery import ModuleSpec
from typing import Any, Optional, Sequence

#: The package that all rooms lie in.
_PACKAGE = __name__.rsplit(".", 2)[0] + "."


def _importer(folder: str) -> Any:
    """The importer of a room's folder, kept as Python's own finder would keep it after the first look."""
    try:
        importer = sys.path_importer_cache[folder] = zipimport.zipimporter(folder)
    except zipimport.ZipImportError:
        return None
    return importer


class Finder:
    """Finds the sources of the rooms in a zip file."""

    @staticmethod
    def find_spec(name: str, path: Optional[Sequence[str]] = None, _target: Any = None) -> Optional[ModuleSpec]:
        """What Python's own finder would tell; None where it is to be asked."""
        if not path or not name.startswith(_PACKAGE):
            return None
        importer: Any = sys.path_importer_cache.get(path[0]) or _importer(path[0])
        if not isinstance(importer, zipimport.zipimporter):
            return None
        try:
            if importer.is_package(name):
                return None
        except ImportError:
            return None
        spec = ModuleSpec(name, importer, origin=os.path.join(path[0], name.rpartition(".")[2] + ".py"))  # type: ignore[arg-type]
        spec.has_location = True
        return spec


if isinstance(globals().get("__loader__"), zipimport.zipimporter):
    sys.meta_path.insert(0, Finder)
