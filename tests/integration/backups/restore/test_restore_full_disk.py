# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores while a real disk gets full: that of the data, and that of the journals."""

from __future__ import annotations

import contextlib

import pytest
from programs import small_disk
from shop import Shop
from test_restore import PROBE, told


@pytest.fixture
def small(tmp_path):
    """A file system of 4 MiB."""
    with small_disk(tmp_path / "small", "size=4m") as place:
        yield place


@pytest.fixture
def tight(small, tmp_path):
    """A shop whose data and journals are on it."""
    made = Shop(tmp_path / "shop")
    made.live, made.journals = small / "live", small / "journals"
    made.set_up()
    made.open()
    yield made
    made.tear_down()


def fill(place):
    """Take all the space there is."""
    with contextlib.suppress(OSError), open(place / "filler", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("step", ["stage data", "stage pictures", "stop web", "swap data", "swap pictures", "count data", "start web"])
def test_a_disk_that_gets_full_at_a_step_is_taken_back(tight, small, step):
    """Where the journal can no longer be written either: the way back needs no room."""
    before = tight.state()

    def full(seen):
        if seen == step:
            fill(small)

    outcome = tight.run(means=tight.means(full), restore=PROBE)
    assert told(outcome)[1] in ("backup.restore.taken_back", "backup.restore.stuck"), outcome
    assert tight.state() == before
    (small / "filler").unlink()
    assert tight.run(action="undo", restore=PROBE).failed is None
    assert tight.state() == before and tight.journal() is None and not list(tight.live.glob(".*"))
    assert told(tight.run(restore=PROBE)) == ("ok", "backup.restore.done")
