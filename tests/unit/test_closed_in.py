# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests are closed in, and what reaches out is seen."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._log import stats
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs


def test_every_place_is_the_tests_own(closed_in):
    places = [runs.state_dir(), runs.fallback_folder(), Path.home(), Path(tempfile.gettempdir()), Path(tempfile.mkdtemp())]
    places.append(Path(stats.default_state_dir(os.environ, 1000)))
    code = "import pathlib, tempfile; print(pathlib.Path.home(), tempfile.gettempdir())"
    places += [Path(word) for word in subprocess.check_output([sys.executable, "-c", code], text=True).split()]
    assert [place for place in places if closed_in not in [place, *place.parents]] == []


@pytest.mark.parametrize("place", ["{TESTS_REAL_TMPDIR}/opsrunner-{uid}", "/var/lib/opsrunner", "{TESTS_REAL_HOME}/.local/state/opsrunner"])
def test_who_reaches_out_is_seen(touched, place):
    place = place.format(uid=os.getuid(), **os.environ)
    with contextlib.suppress(OSError):
        os.listdir(place)
    assert touched == [f"os.listdir {place}"]
    touched.clear()
