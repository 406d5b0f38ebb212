# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OOM kills and core dumps: from which source they are known, and what is said when they are not."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._host import events as host_events
from ansible_collections.opsrunner.runbook.plugins.module_utils._host.proc import Cgroup

BOOT = 1_000_000.0
DAY = 86400.0
KILL = "Out of memory: Killed process 77 (java) total-vm:9kB, anon-rss:1kB, UID:1000 pgtables:1kB oom_score_adj:0"


def host(root, oom_kill, kmsg=None, boot=BOOT):
    (root / "proc").mkdir()
    (root / "dev").mkdir()
    (root / "proc/stat").write_text("cpu  1 2 3\nbtime %d\n" % boot)
    (root / "proc/vmstat").write_text("" if oom_kill is None else "oom_kill %d\n" % oom_kill)
    if kmsg is not None:
        (root / "dev/kmsg").write_text(kmsg)
    return str(root)


def journal(*entries, status=0, errors=""):
    output = b"".join(json.dumps({"__REALTIME_TIMESTAMP": str(int(at * 1e6)), "MESSAGE": text}).encode() + b"\n" for at, text in entries)
    return lambda command, timeout: (status, output, errors)


def no_journal(command, timeout):
    raise FileNotFoundError(2, "No such file or directory")


HIDDEN = journal(status=1, errors="Hint: You are currently not seeing messages from other users and the system.\n")


def must_not_run(command, timeout):
    raise AssertionError("the counter has settled it")


@pytest.mark.parametrize(
    ("counter", "kmsg", "runner", "since", "kills", "source"),
    [
        pytest.param(0, None, must_not_run, BOOT + DAY, 0, "counter", id="the counter is 0: nothing else is asked"),
        pytest.param(2, None, journal((BOOT + DAY, KILL)), BOOT + 1, 1, "journal", id="the journal knows when"),
        pytest.param(2, None, journal((BOOT + DAY, "Linux version")), BOOT + 1, 0, "journal", id="the journal knows of none"),
        pytest.param(
            1, "6,0,1000000,-;x\n4,9,90000000000,-;%s\n" % KILL, no_journal, BOOT + DAY, 1, "kernel_log", id="the ring buffer knows"
        ),
        pytest.param(1, "4,0,1000000,-;%s\n" % KILL, HIDDEN, BOOT + DAY, 0, "kernel_log", id="the ring buffer goes back to the boot"),
        pytest.param(1, "6,500,99000000000,-;x\n", no_journal, BOOT + DAY, None, "counter", id="the ring buffer was overwritten"),
        pytest.param(1, None, HIDDEN, BOOT + DAY, None, "counter", id="nothing can be read"),
        pytest.param(None, None, no_journal, BOOT + DAY, None, "counter", id="an old kernel without counter"),
        pytest.param(3, None, no_journal, BOOT - DAY, 3, "counter", id="booted within the window: the counter is the count"),
        pytest.param(0, None, no_journal, BOOT - DAY, 0, "counter", id="booted within the window, none since"),
        pytest.param(0, None, journal((BOOT - 10, KILL)), BOOT - DAY, 1, "journal", id="killed, then booted"),
    ],
)
def test_oom_kills(tmp_path, counter, kmsg, runner, since, kills, source):
    told = host_events.oom_kills(since, root=host(tmp_path, counter, kmsg), runner=runner)
    assert (told.kills, told.source) == (kills, source)
    if kills is None:
        assert len(told.problems) == 2
    if told.victims:
        assert (told.victims[0].pid, told.victims[0].name) == (77, "java")


@pytest.mark.parametrize(
    "text",
    [
        KILL,
        "Memory cgroup out of memory: Killed process 77 (java) total-vm:1kB",
        "Memory cgroup out of memory: Kill process 77 (java) score 9 or sacrifice child",
        "[ 12.3] Out of memory: Kill process 77 (java) score 900",
    ],
)
def test_the_kernels_line_for_a_victim_is_known_in_its_forms(tmp_path, text):
    told = host_events.oom_kills(BOOT + 1, root=host(tmp_path, 1), runner=journal((BOOT + 9, text)))
    assert told.victims == (host_events.Victim(BOOT + 9, 77, "java"),)


def test_a_journal_without_pattern_matching_is_read_whole(tmp_path):
    commands = []

    def runner(command, timeout):
        commands.append(command)
        if command[-1].startswith("--grep"):
            return 1, b"", "Compiled without pattern matching support\n"
        return journal((BOOT + 9, "other"), (BOOT + 9, KILL))(command, timeout)

    assert host_events.oom_kills(BOOT + 1, root=host(tmp_path, 1), runner=runner).kills == 1
    assert len(commands) == 2


@pytest.mark.parametrize(
    ("own", "started", "kills"),
    [
        pytest.param(Cgroup(None, None, None, 0), BOOT, 0, id="none"),
        pytest.param(Cgroup(None, None, None, 2), BOOT + 9 * DAY, 2, id="it started within the window"),
        pytest.param(Cgroup(None, None, None, 2), BOOT + DAY, None, id="it started before: nobody knows when"),
    ],
)
def test_a_container_is_told_of_its_own_kills_only(tmp_path, own, started, kills):
    root = host(tmp_path, 99)
    (tmp_path / "proc/1").mkdir()
    ticks = int((started - BOOT) * os.sysconf("SC_CLK_TCK"))
    (tmp_path / "proc/1/stat").write_text("1 (init) S %s %d 0 0\n" % (" ".join(["0"] * 18), ticks))
    told = host_events.oom_kills(BOOT + 8 * DAY, container="podman", cgroup=own, root=root, runner=must_not_run)
    assert told.kills == kills


def plant(folder, name, age, now=2_000_000.0):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name if isinstance(name, str) else os.fsencode(folder) + b"/" + name
    with open(path, "wb") as file:
        file.write(b"x" * 10)
    os.utime(path, (now - age, now - age))


def test_core_dumps_since_a_time_are_found_where_handlers_and_the_kernel_put_them(tmp_path):
    systemd = tmp_path / "var/lib/systemd/coredump"
    plant(systemd, "core.java.1000.0123456789abcdef0123456789abcdef.77.1700000000000000.zst", 60)
    plant(systemd, "core.old.0.0123456789abcdef0123456789abcdef.78.1600000000000000.zst", 2 * DAY)
    plant(systemd, "README", 60)
    plant(tmp_path / "var/crash/202611210203", "vmcore", 90)
    plant(tmp_path / "var/crash", "_usr_bin_app.1000.crash", 70)
    plant(tmp_path / "cores", "dump-app-5", 80)
    plant(tmp_path / "cores", b"dump-\xff", 100)
    plant(tmp_path / "cores", "other", 80)
    plant(tmp_path / "proc/sys/kernel", "core_pattern", 0)
    (tmp_path / "proc/sys/kernel/core_pattern").write_text("/cores/dump-%e-%p\n")
    told = host_events.core_dumps(2_000_000.0 - DAY, root=str(tmp_path))
    assert [dump.program for dump in told.dumps] == ["java", "_usr_bin_app.1000.crash", "dump-app-5", "vmcore", "dump-\\xff"]
    assert told.unreadable == {}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("core", None),
        ("|/usr/lib/systemd/systemd-coredump %P", None),
        ("/var/cores/core.%e", ("/var/cores", "core.")),
        ("/%e/core", None),
        ("/core", ("/", "core")),
        ("", None),
    ],
)
def test_where_the_kernel_puts_core_dumps(pattern, expected):
    assert host_events.pattern_folder(pattern) == expected


def test_a_folder_that_was_asked_for_and_is_not_there_is_told(tmp_path):
    assert host_events.core_dumps(0, ["/dumps"], root=str(tmp_path)).unreadable == {"/dumps": "No such folder"}


def test_a_command_that_hangs_is_ended_at_its_deadline():
    with pytest.raises(OSError, match=r"no answer within 0\.2 s"):
        host_events.run(["sleep", "30"], 0.2)
