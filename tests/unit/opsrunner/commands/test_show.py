# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of runs."""

from __future__ import annotations

import argparse
import json
import subprocess

import pytest

from opsrunner.commands import handlers, show
from opsrunner.find.collection import runs


def _killed(status):
    """A run whose process is killed, when it has found that or nothing."""
    with subprocess.Popen(["sleep", "60"]) as child:
        run = runs.create("daily", "shop", pid=child.pid)
        if status:
            run.append([{"host": "h1", "check": "load", "kind": "host", "status": status, "message": "x", "params": {}, "summary": "x"}])
        child.kill()


@pytest.mark.parametrize(("found", "status"), [(None, "unknown"), ("ok", "unknown"), ("critical", "critical")])
def test_a_run_that_was_killed_is_not_ok(capsys, found, status):
    _killed(found)
    row = show.history("shop", None, 10)[0]
    assert (row["state"], row["status"]) == ("killed", status)
    handlers.history(argparse.Namespace(system="shop", runbook_name=None, number=10, json=True), ())
    assert json.loads(capsys.readouterr().out)[0]["status"] == status
