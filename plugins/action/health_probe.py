# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad probes, hand jmespath to the target, record what health_probe finds."""

from __future__ import annotations

import base64
import functools
import io
import zipfile
from pathlib import Path
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import options as probe_options
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction


class ActionModule(CheckAction):
    """Action plugin of health_probe."""

    module = "health_probe"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        check_expressions(probe_options.parse(args).probes)

    def module_args(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """With jmespath where an expression needs it: one small text, and no second round trip to ask for it."""
        probes = args.get("probes") or []
        return {**args, "jmespath": bundle()} if any(probe.get("json") for probe in probes) else args


def check_expressions(probes: list[probe_options.Probe]) -> None:
    """Compile every JMESPath expression. Raises OptionError that names the place."""
    for path, expression in probe_options.expressions(probes):
        try:
            import jmespath
        except ImportError:
            raise OptionError(path, "JMESPath needs the Python package jmespath on the controller") from None
        try:
            jmespath.compile(expression)
        except jmespath.exceptions.JMESPathError as error:
            raise OptionError(path, f"{expression!r} is not a JMESPath expression: {' '.join(str(error).split())}") from None


@functools.cache
def bundle() -> str:
    """The controller's own jmespath package as a zip archive in base64; some 20 kB."""
    import jmespath

    folder = Path(jmespath.__file__).parent
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.py")):
            archive.writestr(str(file.relative_to(folder.parent)), file.read_bytes())
    return base64.b64encode(packed.getvalue()).decode("ascii")
