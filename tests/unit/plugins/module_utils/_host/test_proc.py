# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells in /proc and /sys, parsed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import printable
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import proc as host_proc

CPU_TIMES = st.tuples(*[st.integers(0, 2**40)] * 8).map(lambda fields: host_proc.Cpu(*fields))


def plant(root, files):
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(root)


@given(CPU_TIMES, CPU_TIMES)
def test_cpu_shares_are_percent_whatever_the_counters_do(first, second):
    shares = host_proc.cpu_shares(first, second)
    assert all(0 <= value <= 100 for value in shares.values())
    assert shares["busy"] + shares["idle"] + shares["iowait"] == pytest.approx(100, abs=0.05) or not any(shares.values())


def test_busy_is_all_but_idle_and_waiting_for_disks():
    first = host_proc.Cpu(0, 0, 0, 0, 0, 0, 0, 0)
    shares = host_proc.cpu_shares(first, host_proc.Cpu(user=10, nice=5, system=10, idle=50, iowait=10, irq=5, softirq=5, steal=5))
    assert shares["busy"] == 40
    assert shares["user"] == 10
    assert shares["steal"] == 5


def test_less_than_one_percent_is_not_rounded_away():
    first = host_proc.Cpu(0, 0, 0, 0, 0, 0, 0, 0)
    assert host_proc.cpu_shares(first, first._replace(user=3, idle=9997))["busy"] == 0.03


@pytest.mark.parametrize(
    ("text", "available", "estimated"),
    [
        pytest.param("MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable: 60 kB\n", 60 * 1024, False, id="the kernel tells"),
        pytest.param(
            "MemTotal: 100 kB\nMemFree: 10 kB\nBuffers: 5 kB\nCached: 30 kB\nShmem: 10 kB\n", 35 * 1024, True, id="an old kernel does not"
        ),
        pytest.param("MemTotal: 100 kB\nMemFree: 90 kB\nCached: 30 kB\n", 100 * 1024, True, id="an estimate is at most all"),
    ],
)
def test_available_memory(text, available, estimated):
    memory = host_proc.parse_meminfo(text)
    assert (memory.total, memory.available, memory.estimated) == (102400, available, estimated)


def test_a_process_name_with_brackets_and_spaces_is_read(tmp_path):
    fields = " ".join(["S", *["0"] * 10, "7", "3", *["0"] * 6, "99", "0", "0", "0"])
    files = {"proc/12/stat": "12 (a) b (c)) %s\n" % fields, "proc/12/statm": "100 5 1", "proc/13/stat": b"", "proc/self/stat": "x"}
    source = host_proc.ProcSource(plant(tmp_path, files))
    assert source.processes(memory=True) == {12: host_proc.Process(10, 5 * host_proc.PAGE, 99.0)}


def sample(at, processes):
    return host_proc.Sample(at, host_proc.Cpu(*[0] * 8), {}, processes, None)


def test_the_busiest_processes_are_those_of_the_interval():
    process = host_proc.Process
    first = sample(10.0, {1: process(1000, 0, 1.0), 2: process(50, 0, 1.0), 3: process(90, 0, 5.0), 9: process(1, 0, 1.0)})
    second = sample(12.0, {1: process(1000, 0, 1.0), 2: process(150, 0, 1.0), 3: process(20, 0, 8.0), 4: process(10, 0, 9.0)})
    per_core = 100.0 / host_proc.TICKS / 2
    assert host_proc.busiest(first, second, 5) == [(2, 100 * per_core), (3, 20 * per_core), (4, 10 * per_core)]


def test_established_connections_by_local_port_on_both_families():
    with socket.create_server(("127.0.0.1", 0)) as four, socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
        ports = [four.getsockname()[1], six.getsockname()[1]]
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            free = unused.getsockname()[1]
            clients = [socket.create_connection(("127.0.0.1", ports[0])) for _ in range(3)]
            clients += [socket.create_connection(("::1", ports[1]))]
            served = [four.accept()[0] for _ in range(3)] + [six.accept()[0]]
            served[0].close()
            counts = host_proc.connections([*ports, free])
            for connection in [*clients, *served]:
                connection.close()
    assert counts[ports[0]]["established"] == 2
    assert counts[ports[1]]["established"] == 1
    assert counts[ports[0]]["listening"] == 1
    assert counts[free] == {"established": 0, "time_wait": 0, "close_wait": 0, "listening": 0}


def test_a_host_without_ipv6_has_connections_too(tmp_path):
    line = "   0: 0100007F:270F 0100007F:9886 01 00000000:00000000\n"
    assert host_proc.connections([9999], plant(tmp_path, {"proc/net/tcp": "head\n" + line}))[9999]["established"] == 1


def test_without_net_tcp_there_is_no_count(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        host_proc.connections([1], str(tmp_path))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"operstate": "up\n", "speed": "10000\n"}, ("up", 10000.0), id="a card"),
        pytest.param({"operstate": "up\n", "speed": "-1\n"}, ("up", None), id="a virtual card"),
        pytest.param({"operstate": "down\n"}, ("down", None), id="refused"),
        pytest.param({}, (None, None), id="nothing told"),
    ],
)
def test_link_state_and_speed(tmp_path, files, expected):
    root = plant(tmp_path, {"sys/class/net/eth0/" + name: text for name, text in files.items()})
    assert host_proc.link("eth0", root) == expected


VERSION_2 = {
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/memory.max": "1000\n",
    "sys/fs/cgroup/memory.current": "900\n",
    "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 300\n",
    "sys/fs/cgroup/memory.events": "oom 3\noom_kill 2\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
}
VERSION_1 = {
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "900\n",
    "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 300\n",
    "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1], ids=["version 2", "version 1"])
def test_limits_of_a_container(tmp_path, files):
    assert host_proc.cgroup(2000, plant(tmp_path, files)) == (1000, 600, 1.5, 2)


@pytest.mark.parametrize(
    "files",
    [
        {**VERSION_2, "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/cpu.max": "max 100000\n"},
        {**VERSION_1, "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096), "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"},
    ],
    ids=["version 2", "version 1"],
)
def test_no_limit_is_no_limit(tmp_path, files):
    told = host_proc.cgroup(2000, plant(tmp_path, files))
    assert (told.memory_limit, told.cpus) == (None, None)


def test_the_owner_of_a_process_is_told_without_its_command_line():
    owner = host_proc.owner(os.getpid())
    assert owner is not None
    assert owner.name == Path("/proc/self/comm").read_text().strip()
    assert host_proc.owner(2**30) is None


def test_the_unit_of_a_process(tmp_path):
    files = {"proc/5/status": "Name:\tjava\nUid:\t99999999\t0\t0\t0\n", "proc/5/cgroup": "0::/system.slice/app.service/worker\n"}
    assert host_proc.owner(5, plant(tmp_path, files)) == ("java", "99999999", "app.service")


def test_names_that_are_no_utf8_are_shown_with_escapes():
    assert printable(os.fsdecode(b"caf\xe9 \xc3\xa9")) == "caf\\xe9 é"
