# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Governor and placement are set where the hardware has them, said where it has not, and given back."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision import cpu
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime import units

WANTED = {"governor": "performance", "units": [{"name": "svc", "cpus": "numa", "numa_policy": "bind", "numa_nodes": "1"}]}
GOVERNOR, UNIT = "placement.governor", "placement.svc.service"


class Machine:
    """Two nodes of two CPUs each with a governor, and a systemd that places its one unit as our drop-in says."""

    def __init__(self, root: Path, nodes: str = "0-1", cpufreq: bool = True) -> None:
        self.root, self.pid, self.started, self.fails, self.restarts = root, 100, 50.0, "", 0
        self.write("sys/devices/system/cpu/online", "0-3")
        self.write("sys/devices/system/node/online", nodes)
        self.write("sys/devices/system/node/node1/cpulist", "2-3")
        for number in range(4) if cpufreq else ():
            self.write(f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_governor", "powersave")
            self.write(f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_available_governors", "performance powersave")
        for folder in ("etc/systemd/system", "etc/tmpfiles.d"):
            (root / folder).mkdir(parents=True)
        self.boot()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text + "\n")

    def boot(self) -> None:
        text = "".join(path.read_text() for path in (self.root / "etc/systemd").rglob("*.conf"))
        cpus = re.search(r"CPUAffinity=(\S+)\n", text)
        policy, mask = re.search(r"NUMAPolicy=(\S+)", text), re.search(r"NUMAMask=(\S+)", text)
        placed = "0-3" if not cpus else "2-3" if cpus.group(1) == "numa" else cpus.group(1)
        self.write(f"proc/{self.pid}/status", f"Name:\tsvc\nCpus_allowed_list:\t{placed}")
        self.write(
            f"proc/{self.pid}/numa_maps", f"55d0 {policy.group(1)}:{mask.group(1)} file=x" if policy and mask else "55d0 default file=x"
        )

    def run(self, argv):
        command = argv[1]
        if command == self.fails:
            return 1, "no"
        if command == "show":
            told = "LoadState=%s\nActiveState=active\nMainPID=%d\nNRestarts=0\nExecMainStartTimestampMonotonic=%d"
            return 0, "\n\n".join(
                told % ("loaded" if name == "svc.service" else "not-found", self.pid, self.started * 1e6) for name in argv[5:]
            )
        if command == "restart":
            self.pid, self.started, self.restarts = self.pid + 1, time.monotonic() + 60, self.restarts + 1
            self.boot()
        return 0, ""

    def tune(self, check_mode: bool = False, wanted: object = WANTED, **args: object) -> dict:
        return cpu.tune({"cpu": wanted, "settle": 0, **args}, check_mode, cpu.Host(str(self.root), self.run))

    def governors(self) -> set[str]:
        return {path.read_text().strip() for path in self.root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")}

    def etc(self) -> dict[str, tuple]:
        return {str(p): (p.read_bytes() if p.is_file() else None, p.stat().st_mode) for p in (self.root / "etc").rglob("*")}


def told(result: dict) -> dict[str, str]:
    return {item["check"]: item["message"] for item in result["findings"]}


def test_governor_and_placement_are_set_and_again_nothing_changes(tmp_path):
    machine = Machine(tmp_path)
    result = machine.tune(restart=True)
    assert told(result) == {GOVERNOR: "placement.governor", UNIT: "placement.ok"}
    assert (machine.governors(), machine.restarts) == ({"performance"}, 1)
    boot = (tmp_path / "etc/tmpfiles.d/90-opsrunner-tuning-governor.conf").read_text()
    assert boot.endswith("w /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor - - - - performance\n")
    assert not machine.tune(restart=True)["changed"]
    assert machine.restarts == 1


def test_removal_leaves_the_machine_as_it_was(tmp_path):
    machine = Machine(tmp_path)
    was = machine.etc()
    machine.tune(restart=True)
    assert machine.tune(state="absent", restart=True)["changed"]
    assert (machine.etc(), machine.governors(), machine.restarts) == (was, {"powersave"}, 2)
    assert not machine.tune(state="absent")["changed"]


def test_check_mode_shows_exactly_the_drift_and_touches_nothing(tmp_path):
    machine = Machine(tmp_path)
    machine.tune(restart=True)
    machine.write("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave")
    was = machine.etc()
    result = machine.tune(check_mode=True)
    assert told(result) == {GOVERNOR: "placement.governor_drift", UNIT: "placement.ok"}
    assert [item["before"].count("powersave") for item in result["diff"]] == [1]
    assert (machine.etc(), machine.governors()) == (was, {"performance", "powersave"})


def test_a_running_unit_waits_for_its_restart(tmp_path):
    assert told(Machine(tmp_path).tune())[UNIT] == "placement.restart"


@pytest.mark.parametrize(
    ("machine", "wanted", "expected"),
    [
        ({"cpufreq": False}, {"governor": "performance"}, {GOVERNOR: ("ok", "placement.no_governor")}),
        ({}, {"governor": "schedutil"}, {GOVERNOR: ("warning", "placement.unknown_governor")}),
        ({"nodes": "0"}, {"units": WANTED["units"]}, {UNIT + ".numa": ("ok", "placement.no_numa")}),
        (
            {},
            {"units": [{"name": "svc", "numa_policy": "bind", "numa_nodes": "0-7"}]},
            {UNIT + ".numa": ("warning", "placement.no_such_node")},
        ),
        ({}, {"units": [{"name": "svc", "cpus": "2-9"}]}, {UNIT + ".cpus": ("warning", "placement.no_such_cpu")}),
    ],
    ids=["no frequency control", "an unknown governor", "one node", "nodes it has not", "CPUs it has not"],
)
def test_what_the_hardware_does_not_have_is_said_and_left_out(tmp_path, machine, wanted, expected):
    host = Machine(tmp_path, **machine)
    was = host.etc()
    result = host.tune(wanted=wanted, restart=True)
    assert {item["check"]: (item["status"], item["message"]) for item in result["findings"]} == expected
    assert not result["changed"]
    assert host.etc() == was


@pytest.mark.parametrize("failing", ["daemon-reload", "restart"])
def test_a_failure_leaves_everything_as_before(tmp_path, failing):
    machine = Machine(tmp_path)
    was = machine.etc()
    machine.fails = failing
    with pytest.raises((units.UnitError, files.FileError)):
        machine.tune(restart=True)
    assert (machine.etc(), machine.governors()) == (was, {"powersave"})


def test_a_governor_the_kernel_refuses_leaves_everything_as_before(tmp_path):
    machine = Machine(tmp_path)
    was = machine.etc()
    refusing = tmp_path / "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor"
    refusing.unlink()
    refusing.symlink_to("/dev/full")
    host = cpu.Host(str(tmp_path), machine.run)
    host.text = lambda path: "powersave" if "scaling_governor" in path else cpu.Host.text(host, path)  # type: ignore[method-assign]
    with pytest.raises(files.FileError, match="No space left"):
        cpu.tune({"cpu": WANTED, "settle": 0}, False, host)
    assert machine.etc() == was
    others = [path.read_text() for path in tmp_path.glob("sys/devices/system/cpu/cpu[012]/cpufreq/scaling_governor")]
    assert {text.strip() for text in others} == {"powersave"}


def test_a_held_change_can_be_taken_back(tmp_path):
    machine = Machine(tmp_path)
    was = machine.etc()
    assert machine.tune(hold=True)["pending"]
    assert told(machine.tune(state="reverted")) == {"change.cpu": "change.reverted"}
    assert (machine.etc(), machine.governors()) == (was, {"powersave"})
    assert os.listdir(tmp_path / "var/lib/opsrunner/transactions") == []


def test_a_unit_that_does_not_exist_is_refused_and_nothing_changed(tmp_path):
    machine = Machine(tmp_path)
    was = machine.etc()
    with pytest.raises(OptionError, match=r"gone\.service does not exist on this host; nothing was changed"):
        machine.tune(wanted={"governor": "performance", "units": [{"name": "gone", "cpus": "0"}]})
    assert (machine.etc(), machine.governors()) == (was, {"powersave"})


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["performance"], "cpu: ['performance'] is not a mapping"),
        ({"governer": "x"}, "unknown key 'governer' (did you mean governor?)"),
        ({"governor": "fast"}, "unknown governor 'fast'"),
        ({"units": "svc"}, "cpu.units: 'svc' is not a list"),
        ({"units": [{"cpus": "0"}]}, "cpu.units[0].name: is required"),
        ({"units": [{"name": "svc"}]}, "says neither cpus nor numa_policy"),
        ({"units": [{"name": "svc", "cpu": "0"}]}, "unknown key 'cpu' (did you mean cpus?)"),
        ({"units": [{"name": "svc", "cpus": "3-1"}]}, "'3-1' is no list of numbers"),
        ({"units": [{"name": "svc", "cpus": "a"}]}, "'a' is no list of numbers"),
        ({"units": [{"name": "svc", "cpus": "numa"}]}, "numa takes the CPUs of numa_nodes"),
        ({"units": [{"name": "svc", "numa_policy": "bound", "numa_nodes": 0}]}, "unknown policy 'bound' (did you mean bind?)"),
        ({"units": [{"name": "svc", "numa_policy": "bind"}]}, "numa_nodes: is needed"),
        ({"units": [{"name": "svc", "numa_policy": "local", "numa_nodes": 0}]}, "needs the policy bind"),
        ({"units": [{"name": "svc", "numa_policy": "preferred", "numa_nodes": "0-1"}]}, "takes one node"),
        ({"units": [{"name": "svc", "cpus": "0"}, {"name": "svc.service", "cpus": "1"}]}, "svc.service is given twice"),
    ],
)
def test_bad_input_is_refused_with_one_clear_message(wanted, expected):
    with pytest.raises(OptionError, match=re.escape(expected)):
        cpu.parse_options({"cpu": wanted})


@given(st.sets(st.integers(0, 300), min_size=1))
def test_ranges_are_read_as_they_are_shown(numbers):
    assert cpu.read_list(",".join(cpu._ranges(numbers))) == numbers
