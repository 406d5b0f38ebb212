# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services under systemd; systemctl is a double that answers from a table, the real one is tried in the lab."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.base import ServiceError
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.systemd import SystemdRuntime


class Systemctl:
    """A double of systemctl. ``states``: of each unit the states it tells one after another, the last one for ever; a number is of
    its restarts."""

    def __init__(self, **states):
        self.states = {name + ".service": list(told) for name, told in states.items()}
        self.states.update({"shop.timer": ["active"], "shop.socket": ["inactive"]})
        self.asked = []

    def __call__(self, argv):
        self.asked.append(" ".join(argv[1:]))
        verb, service = argv[1], argv[-1]
        if verb == "list-unit-files":
            return 0, "\n".join(name + " enabled" for name in self.states)
        if verb != "show":
            return 0, ""
        told = self.states.get(service)
        if told is None:
            return 0, "Id=%s\nLoadState=not-found\nActiveState=inactive" % service
        state = told.pop(0) if len(told) > 1 else told[0]
        name, _space, restarts = state.partition(" ")
        text = "Id=%s\nLoadState=loaded\nActiveState=%s\nNRestarts=%s\nTriggeredBy=shop.timer shop.socket"
        return 0, text % (service, name, restarts or "0")


def test_a_unit_that_is_ending_is_neither_up_nor_down():
    runtime = SystemdRuntime(Systemctl(shop=["deactivating"]))
    assert not runtime.is_up("shop.service") and not runtime.is_down("shop.service")
    with pytest.raises(ServiceError, match="does not come to its end: it is deactivating"):
        runtime.stop("shop.service")


@pytest.mark.parametrize(
    ("state", "up"), [("active", True), ("activating", True), ("reloading", True), ("inactive", False), ("failed", False)]
)
def test_other_units_are_one_of_both(state, up):
    runtime = SystemdRuntime(Systemctl(shop=[state]))
    assert runtime.is_up("shop.service") == up and runtime.is_down("shop.service") != up


def test_a_unit_that_is_not_there_is_told_with_the_nearest_one():
    with pytest.raises(ServiceError, match=r"no unit shop-wed on this host; is shop-web.service meant\?"):
        SystemdRuntime(Systemctl(**{"shop-web": ["active"]})).is_up("shop-wed")


@pytest.mark.parametrize("states", [["active", "failed"], ["active", "active 1"], ["active", "activating"], ["activating"]])
def test_a_unit_that_ends_or_is_started_again_does_not_stay_up(states):
    with pytest.raises(ServiceError, match=r"shop.service (did not stay up|is still coming up)"):
        SystemdRuntime(Systemctl(shop=states)).stay_up(["shop.service"], 0.02)


def test_a_unit_that_stays_up_does():
    SystemdRuntime(Systemctl(shop=["activating", "active"])).stay_up(["shop.service"], 0.02)


def test_what_can_start_a_unit_meanwhile_is_told():
    runtime = SystemdRuntime(Systemctl(shop=["active"]))
    assert runtime.woken_by(["shop.service"]) == ["shop.service can be started by shop.timer"]
    assert runtime.woken_by(["shop.service", "shop.timer"]) == []
