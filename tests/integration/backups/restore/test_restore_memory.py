# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores with hardly any memory: the real module in a process of its own, its address space limited by the kernel."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets

#: The module as Ansible runs it, its arguments on standard input, with so many more megabytes than it has taken when it begins.
MODULE = """
import json, resource, sys
more = float(sys.argv[1])
args = sys.stdin.read()
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = args.encode()
basic._ANSIBLE_PROFILE = "legacy"
from ansible_collections.opsrunner.runbook.plugins.modules import restore
if more:
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + int(more * (1 << 20))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
restore.main()
"""


def run(shop, more, **options):
    """Status, answer and error output of the module."""
    given = {
        **shop.options(restore={"services": []}),
        **options,
        "_ansible_remote_tmp": str(shop.folder),
        "_ansible_tmpdir": str(shop.folder),
    }
    return subprocess.run(
        [sys.executable, "-c", MODULE, str(more)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("more", [0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48])
def test_a_restore_with_too_little_memory_ends_with_a_finding_and_untouched_data(shop, more):
    before = shop.state()
    done = run(shop, more)
    assert "Traceback" not in done.stderr + done.stdout, done.stderr + done.stdout
    answer = json.loads(done.stdout)
    (found,) = answer["findings"]
    assert found["check"] == "backup.shop.restore"
    (one,) = backup_sets.listed(str(shop.root))
    assert one.failed is None, "the set is not to blame"
    if answer.get("failed"):
        assert found["status"] == "critical" and shop.state() == before and shop.journal() is None
    else:
        assert found["message"] == "backup.restore.done" and shop.holds("old")


def test_the_same_restore_with_enough_memory_is_done(shop):
    done = run(shop, 0)
    assert json.loads(done.stdout)["findings"][0]["message"] == "backup.restore.done", done.stdout + done.stderr
    assert shop.holds("old")
