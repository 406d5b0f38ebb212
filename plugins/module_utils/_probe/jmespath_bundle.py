# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JMESPath on the target: the controller's own package, sent along as a small zip and imported from memory."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import message

from .outcome import Failure

PACKAGE = "jmespath"


class _FromZip:
    """Imports one package out of a zip archive held in memory: nothing is written on the target, whose disk may be full."""

    def __init__(self, files: Dict[str, bytes]) -> None:
        self._files = files

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, target: Any = None) -> Any:
        """The import system's question."""
        from importlib.util import spec_from_loader

        base = name.replace(".", "/")
        for file, is_package in ((base + "/__init__.py", True), (base + ".py", False)):
            if file in self._files:
                return spec_from_loader(name, self, origin="zip:" + file, is_package=is_package)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> None:
        """The usual kind of module."""

    def exec_module(self, module: Any) -> None:
        """Run the source."""
        origin = module.__spec__.origin
        exec(compile(self._files[origin[len("zip:") :]], origin, "exec"), module.__dict__)  # noqa: S102 - the controller's own package


def unpack(bundle: str) -> Dict[str, bytes]:
    """The files of a zip archive in base64. Raises ValueError."""
    import base64
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(bundle))) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(str(error)) from None


def searcher(bundle: Optional[str]) -> Callable[[str, Any], Any]:
    """A function that evaluates an expression: with what was sent along, else with the target's own package.

    It raises Failure when there is neither. Nothing is imported before it is needed.
    """
    compiled: Dict[str, Any] = {}

    def search(expression: str, data: Any) -> Any:
        if expression not in compiled:
            compiled[expression] = _package(bundle).compile(expression)
        return compiled[expression].search(data)

    return search


def _package(bundle: Optional[str]) -> Any:
    from importlib import import_module

    if bundle and PACKAGE not in sys.modules:
        finder = _FromZip(unpack(bundle))
        sys.meta_path.insert(0, finder)
        try:
            return import_module(PACKAGE)
        except (ImportError, SyntaxError):  # a package too new for the target's Python
            for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
                del sys.modules[name]
        finally:
            sys.meta_path.remove(finder)
    try:
        return import_module(PACKAGE)
    except ImportError:
        raise Failure(message("reason.probe_no_jmespath"), "unknown") from None
