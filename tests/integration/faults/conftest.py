# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab of the fault tests, and their rounds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bed import Bed, Fault, Outcome, plan


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "lab: needs root and podman (docs/lab.md)")


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """The lab, looked at once while nothing is planted."""
    made = Bed(tmp_path_factory.mktemp("faults"))
    try:
        made.up()
        yield made
    finally:
        made.lab.down()


@pytest.fixture(scope="session")
def outcome_of(bed: Bed, request: pytest.FixtureRequest) -> Callable[[Fault], Outcome]:
    """What a fault changed; its round is made when the first of its faults is asked for, of the tests that were chosen."""
    chosen = [item.callspec.params["fault"] for item in request.session.items if "fault" in getattr(item, "fixturenames", ())]
    rounds = plan(chosen)
    known: dict[str, Outcome] = {}

    def outcome(fault: Fault) -> Outcome:
        if fault.name not in known:
            known.update(bed.try_round(next(planted for planted in rounds if fault in planted.values())))
        return known[fault.name]

    return outcome
