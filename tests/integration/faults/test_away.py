# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host goes away in the middle of a run: it is told, the others are looked at, and the run ends in time."""

from __future__ import annotations

import time

import pytest
from bed import DOWN, HOSTS, Bed

pytestmark = pytest.mark.lab

HOST = "logcaster3"
#: The double makes this file when the run's first module asks it, so that the run is in its middle then.
MARK = "/var/tmp/asked"


def _in_mid_run(bed: Bed) -> None:
    """Wait until the run has reached the host."""
    deadline = time.monotonic() + 60
    while bed.lab.exec(HOST, f"ls {MARK} 2>/dev/null || true").strip() != MARK:
        assert time.monotonic() < deadline, "the run never came to the host"
        time.sleep(0.05)


def _look_while(bed: Bed, leave: str | None) -> tuple[float, dict[tuple[str, str], str]]:
    """Run daily on LogCaster; once it is in its middle the host leaves: by a command on it, or frozen."""
    bed.lab.exec(HOST, f'rm -f {MARK}; echo \'{{"touch": "{MARK}", "delay": 1}}\' > /run/standin/9999.json')
    try:
        process = bed.start_daily("logcaster", {})
        began = time.monotonic()
        _in_mid_run(bed)
        if leave:
            bed.lab.exec(HOST, leave)
        else:
            bed.lab.freeze(HOST)
        output, _nothing = process.communicate(timeout=150)
        took = time.monotonic() - began
    finally:
        process.kill()
        if not leave:
            bed.lab.thaw(HOST)
        bed.lab.exec(HOST, f"systemctl start ssh; rm -f {MARK} /run/standin/9999.json")
    return took, {key: item["status"] for key, item in bed.found("logcaster", output).items()}


def _check(bed: Bed, found: dict[tuple[str, str], str]) -> None:
    assert {check: status for (host, check), status in found.items() if host == HOST} == {"host.reachable": "critical"}
    others = {host for host in HOSTS["logcaster"] if host not in (HOST, DOWN)} | {"-"}
    before = {key: item["status"] for key, item in bed.baseline["logcaster"].items()}
    for other in others:
        assert {key: status for key, status in found.items() if key[0] == other} == {k: s for k, s in before.items() if k[0] == other}


def test_a_host_whose_connections_break_in_mid_run(bed: Bed) -> None:
    took, found = _look_while(bed, "systemctl stop ssh; pkill -KILL sshd || true")
    _check(bed, found)
    assert took < 60


def test_a_host_that_freezes_in_mid_run(bed: Bed) -> None:
    took, found = _look_while(bed, None)
    _check(bed, found)
    assert took < 120
