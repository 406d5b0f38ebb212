# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores killed with SIGKILL at each step and at random moments, and then undone or resumed; those killed in turn, too."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest
from shop import UP, child, killed
from test_restore import PROBE, STEPS, told

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.engine import FilesEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import command

#: Random moments for undo and for resume each; more in the slow tests.
MOMENTS = int(os.environ.get("OPSRUNNER_KILLS", "25"))
BACK = [
    "phase undoing",
    "stop worker",
    "swap back pictures",
    "swap back data",
    "remove what was staged of data",
    "start worker",
    "start web",
]


def die_at(step):
    """Kill this process before a step."""

    def observe(seen):
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return observe


def settle(shop, action, before):
    """Undo or resume what a killed restore has left, twice, and see what is there."""
    state = shop.journal()
    if state is not None and state.interrupted:
        refused = shop.run(restore=PROBE)
        assert told(refused) == ("critical", "backup.restore.refused") and "undo or resume" in refused.failed
        assert told(shop.run(set=None)) == ("critical", "backup.restore.interrupted")
    first = shop.run(action=action, restore=PROBE)
    second = shop.run(action=action, restore=PROBE)
    assert first.failed is None, first
    assert second.failed is None and not second.changed, second
    if action == "undo" or state is None:
        assert shop.state() == before
        assert shop.journal() is None
        assert not list(shop.live.glob(".*"))
    else:
        assert shop.holds("old")
        assert shop.state()["services"] == before["services"]
        assert shop.run(action="undo", restore=PROBE).failed is None
        assert shop.state() == before


@pytest.mark.parametrize("action", ["undo", "resume"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_before_each_step(shop, step, action):
    before = shop.state()
    assert killed(child(shop, die_at(step), restore=PROBE))
    settle(shop, action, before)


@pytest.mark.parametrize("step", BACK)
def test_an_undo_that_is_killed_is_finished_by_the_next(shop, step):
    before = shop.state()
    assert killed(child(shop, die_at("start web"), restore=PROBE))
    assert killed(child(shop, die_at(step), restore=PROBE, action="undo"))
    settle(shop, "undo", before)


@pytest.mark.parametrize("step", ["swap pictures", "phase finishing", "count data", "start worker"])
def test_a_resume_that_is_killed_is_undone(shop, step):
    before = shop.state()
    assert killed(child(shop, die_at("swap data"), restore=PROBE))
    assert killed(child(shop, die_at(step), restore=PROBE, action="resume"))
    settle(shop, "undo", before)


def test_services_that_came_up_after_the_kill_as_in_a_reboot_are_stopped_again(shop):
    before = shop.state()
    assert killed(child(shop, die_at("swap pictures"), restore=PROBE))
    for service in UP:
        shop.runtime().start(service)
    settle(shop, "resume", before)


@pytest.mark.parametrize("action", ["undo", "resume"])
def test_killed_at_random_moments(shop, action):
    random_moments = random.Random(action)
    before = shop.state()
    begun = time.monotonic()
    assert shop.run(restore=PROBE).failed is None
    whole = time.monotonic() - begun
    assert shop.run(action="undo", restore=PROBE).failed is None
    hit = set()
    for _number in range(MOMENTS):
        pid = child(shop, lambda _step: time.sleep(0.004), restore=PROBE)
        if killed(pid, random_moments.uniform(0.1, 1.1) * whole):
            state = shop.journal()
            hit.add(state.phase if state else "before")
        settle(shop, action, before)
        if action == "resume" and shop.journal() is not None:
            assert shop.run(action="undo", restore=PROBE).failed is None
    assert len(hit) >= 2, hit  # else the moments are none


class SlowEngine(FilesEngine):
    """The files engine whose staging goes on in a program, as that of a large archive does."""

    @contextlib.contextmanager
    def restorer(self, spec, artifact, stored, request, work):
        with super().restorer(spec, artifact, stored, request, work) as restorer:
            real = restorer.stage

            def stage():
                real()
                script = "while :; do mkdir -p %s/late; sleep 0.01; done" % restorer._groups[0].swap.stage
                backup_stream.run(command("sh", "-c", script))

            restorer.stage = stage
            yield restorer


def test_a_program_that_outlives_the_killed_run_is_ended_before_anything_is_taken_back(shop):
    before = shop.state()
    pid = child(shop, lambda _step: None, engines=lambda name: SlowEngine() if name == "files" else backup_engines.engine(name))
    late = None
    for _time in range(500):
        late = next(shop.live.glob(".opsrunner-new-*/late"), None)
        if late:
            break
        time.sleep(0.01)
    assert late and killed(pid, 0.0)
    shop.run(action="undo")
    time.sleep(0.1)
    assert shop.state() == before and not late.parent.exists()
