# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the process that holds a lease is gone: with real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import lease_holder


def of(pid):
    """The identity of a process that is there."""
    return f"{lease_holder._here()}/{pid}/{lease_holder._start(pid)}"


@pytest.fixture
def process():
    """A process that does nothing."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as made:
        yield made
        made.kill()


def test_a_process_is_alive_until_it_is_killed_and_also_before_its_parent_has_noticed(process):
    told = of(process.pid)
    assert lease_holder.state(told) == lease_holder.ALIVE and lease_holder.pid(told) == str(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended and still has its number
    assert lease_holder.state(told) == lease_holder.DEAD
    process.wait()
    assert lease_holder.state(told) == lease_holder.DEAD


def test_another_process_with_its_number_is_another_one(process):
    boot, space, pid, start = of(process.pid).split("/")
    assert lease_holder.state(f"{boot}/{space}/{pid}/{int(start) - 1}") == lease_holder.DEAD


def test_elsewhere_nothing_can_be_told(process):
    boot, space, pid, start = of(process.pid).split("/")
    process.kill()
    process.wait()
    other = "0" * 8 + boot[8:]
    for told in (
        f"{other}/{space}/{pid}/{start}",
        f"{boot}/{int(space) + 1}/{pid}/{start}",
        "",
        "x",
        f"{boot}/{space}/{pid}/",
        f"{boot}/{space}/0/1",
    ):
        assert lease_holder.state(told) == lease_holder.UNKNOWN, told


def test_a_worker_tells_of_the_process_that_started_it():
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    worker = context.Process(target=lambda: theirs.send(lease_holder.identity()))
    worker.start()
    told = mine.recv()
    worker.join()
    assert lease_holder.pid(told) == str(os.getpid()) and lease_holder.state(told) == lease_holder.ALIVE
