# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each planted fault is found on its host, by the right check with the right status, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bed import DOWN, HOSTS, Bed, Fault, Outcome
from faults import FAULTS

pytestmark = pytest.mark.lab


def test_the_host_that_is_down_is_found_and_the_others_are_looked_at(bed: Bed) -> None:
    down = {check: item["status"] for (host, check), item in bed.baseline["logcaster"].items() if host == DOWN}
    assert down == {"host.reachable": "critical"}
    for system, names in HOSTS.items():
        for host in names:
            made = [check for name, check in bed.baseline[system] if name == host]
            assert host == DOWN or len(made) >= 20, (host, made)


def test_a_host_without_faults_has_no_findings_that_are_not_ok(bed: Bed) -> None:
    bad = {
        key: item["summary"] for found in bed.baseline.values() for key, item in found.items() if item["status"] != "ok" and key[0] != DOWN
    }
    # The machine that the lab runs on may itself be full.
    assert {key: text for key, text in bad.items() if not key[1].startswith(("disk", "memory", "swap"))} == {}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(fault: Fault, outcome_of: Callable[[Fault], Outcome]) -> None:
    outcome = outcome_of(fault)
    assert outcome.worse == fault.found, outcome.summaries
    assert outcome.gone == fault.gone
    assert outcome.strays == []
    assert fault.says in "".join(outcome.summaries[check] for check in list(fault.found)[:1])


def test_after_all_that_everything_is_as_it_was(bed: Bed) -> None:
    now = bed.look({})
    for system, before in bed.baseline.items():
        assert {key: item["status"] for key, item in now[system].items()} == {key: item["status"] for key, item in before.items()}
