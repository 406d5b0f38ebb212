# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore in a process of its own, to be killed: python restoring_mysql.py <description>.json"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
runpy.run_path(str(HERE.parent / "conftest.py"))  # the paths
sys.path[:0] = [str(HERE)]
from my_servers import Made, restore  # noqa: E402

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact  # noqa: E402
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Stored  # noqa: E402

told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
made = Made(Artifact(**told["artifact"]), Stored(told["path"]), told["spec"])
with restore(made, told["ident"], Path(told["work"]), tuple(told["part"])) as restorer:
    print("started", flush=True)
    restorer.stage()
    print("staged", flush=True)
    restorer.swap()
    print("swapped", flush=True)
    restorer.finish()
