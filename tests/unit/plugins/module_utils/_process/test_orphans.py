# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of a killed run are found by their mark and ended, and no others."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import orphans


@pytest.mark.parametrize(
    "name", ["plain", "a b\n-c", "유니코드", os.fsdecode(b"no \xff text")], ids=["plain", "words", "unicode", "no text"]
)
def test_what_is_marked_is_ended_with_what_it_has_started(tmp_path, name):
    """Programs of another mark live on, and so do those that were started without one."""
    ident = "%s %d" % (name, os.getpid())
    pipe = tmp_path / "pipe"
    os.mkfifo(str(pipe))
    with orphans.marked(ident):
        marked = subprocess.Popen(["sh", "-c", "echo there > %s; sleep 3600 & wait" % pipe])
        freed = subprocess.Popen(["sleep", "3600"], env={**os.environ, orphans.NAME: ""})
    with orphans.marked(ident + " other"):
        other = subprocess.Popen(["sleep", "3600"])
    try:
        assert pipe.read_text() == "there\n"
        assert marked.pid in orphans.end(ident)
        assert marked.wait() == -signal.SIGKILL
        assert (freed.poll(), other.poll()) == (None, None)
        assert orphans.end(ident) == []
    finally:
        for process in (marked, freed, other):
            process.kill()
            process.wait()


def test_marks_do_not_stay():
    """Nor does one within another replace it for good."""
    assert orphans.NAME not in os.environ
    with orphans.marked("outer"):
        with orphans.marked("inner"):
            assert os.environ[orphans.NAME] == "inner"
        assert os.environ[orphans.NAME] == "outer"
    assert orphans.NAME not in os.environ
