# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host looked at as a whole: the same numbers from psutil and /proc, and what is said about them.

``capture.json`` holds the files of a real host, taken twice 0.5 s apart while a process used one core.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._host import events as host_events
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import metrics as host_metrics
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import mounts as host_mounts
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import options as host_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import proc as host_proc
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import space as host_space

CAPTURE = Path(__file__).with_name("capture.json")
SPACE = host_space.Space(total=1000, used=600, available=300, inodes=100, inodes_used=10, folder=True, took_ms=0.1)


@pytest.fixture
def frozen(tmp_path):
    """The captured host; the function lets the interval pass."""
    captures = json.loads(CAPTURE.read_text())
    network = "  eth0: %d 1 0 0 0 0 0 0 %d 1 0 0 0 0 0 0\n"
    captures["before"]["proc/net/dev"] += network % (1000, 500)
    captures["after"]["proc/net/dev"] += network % (126000, 500)
    for name, files in captures.items():
        for path, text in files.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    (tmp_path / "root").mkdir()

    def turn(name):
        (tmp_path / "root/next").symlink_to(tmp_path / name / "proc")
        (tmp_path / "root/next").rename(tmp_path / "root/proc")

    def look(psutil=None, **options):
        turn("before")
        moments = iter([100.0, 100.0, 100.0, 100.5])
        settings = host_options.parse({"interval": 0.5, "ports": [9999, 9998, 1], **options})
        seen = host_metrics.look(
            settings,
            psutil,
            root=str(tmp_path / "root"),
            sleep=lambda seconds: turn("after"),
            clock=lambda: next(moments),
            now=lambda: 2e9,
            ask=lambda path: SPACE,
        )
        return seen, {found["check"]: found for found in host_metrics.judge_all(seen, settings)}

    return look


def test_a_captured_host_gives_its_known_numbers(frozen):
    seen, found = frozen()
    assert seen.seconds == 0.5
    # (40499 + 13694) - (40448 + 13692) ticks of the 103 that passed
    assert found["cpu"]["value"] == pytest.approx(100.0 * 53 / 103, abs=0.01)
    assert found["connections.9999"]["value"] == 3
    assert found["connections.9998"]["value"] == 2
    assert found["connections.1"]["value"] == 0
    assert found["network.eth0"]["value"] == 250000
    assert found["disk./"]["value"] == 66.67
    assert found["inodes./"]["value"] == 10
    assert found["top.cpu"]["params"]["name"] == "python"
    assert found["oom"]["value"] == 0
    assert [check for check in found if check.startswith(("disk", "network"))] == ["disk./", "network.eth0"]


def test_psutil_and_proc_give_exactly_the_same(frozen, monkeypatch):
    psutil = pytest.importorskip("psutil")
    monkeypatch.setattr(psutil, "PROCFS_PATH", psutil.PROCFS_PATH)
    told, plain = host_metrics.metrics(frozen(psutil)[0]), host_metrics.metrics(frozen()[0])
    assert (told.pop("source"), plain.pop("source")) == ("psutil", "proc")
    assert told == plain
    assert told["top"]["cpu"]
    assert told["top"]["memory"]


def test_psutil_and_proc_agree_on_this_host_now():
    psutil = pytest.importorskip("psutil")
    sources = [host_proc.ProcSource(), host_proc.PsutilSource(psutil)]
    (cpu, other_cpu), (memory, other_memory) = ([source.cpu() for source in sources], [source.memory() for source in sources])
    assert all(0 <= getattr(other_cpu, name) - getattr(cpu, name) <= 200 for name in cpu._fields)
    assert memory.total == other_memory.total
    assert memory.available == pytest.approx(other_memory.available, rel=0.1)
    assert (memory.swap_total, sorted(sources[0].interfaces())) == (other_memory.swap_total, sorted(sources[1].interfaces()))
    one, other = (source.processes(memory=True) for source in sources)
    assert len(set(one) ^ set(other)) < 50
    assert len(set(one) & set(other)) > 1


def test_the_host_is_looked_at_for_the_interval():
    started = time.monotonic()
    seen = host_metrics.look(host_options.parse({"interval": 0.2, "source": "proc"}))
    assert time.monotonic() - started >= 0.2  # at least so long, however slow this machine is
    assert 0 <= seen.cpu["busy"] <= 100
    assert any(mount.point == "/" for mount, _answer in seen.mounts)


QUIET = host_metrics.Seen(
    seconds=1.0,
    source="proc",
    container=None,
    cores=4,
    cpu={"user": 10.0, "busy": 12.0},
    cgroup_cpu=None,
    load=(0.1, 0.2, 0.3),
    memory=host_proc.Memory(1000, 600, 0, 0),
    cgroup=host_proc.Cgroup(None, None, None, None),
    mounts=[(host_mounts.Mount("/", "ext4", "/dev/sda", "8:1", "/", False), host_space.Answer(SPACE))],
    missing=[],
    connections={},
    interfaces={"eth0": {"rx": 100.0, "tx": 200.0, "errors": 0.0, "dropped": 0.0, "speed": 1000.0}},
    oom=host_events.OomKills(0, "counter", since_boot=0),
    cores_dumped=host_events.CoreDumps((), (), {}, "core"),
    since=86400.0,
    top_cpu=[],
    top_memory=[],
    now=2e9,
)
NAS = host_mounts.Mount("/mnt/nas", "nfs4", "nas:/x", "0:50", "/", False)
FAST = {"rx": 9e8 / 8, "tx": 0.0, "errors": 0.0, "dropped": 0.0, "speed": 1000.0}
VICTIM = host_events.Victim(1.9e9, 77, "java")
DUMP = host_events.CoreDump("/var/crash/core", 1.9e9, 10, "java")


def sick(seen, options=None):
    settings = host_options.parse(options or {})
    found = host_metrics.judge_all(seen, settings)
    assert len({item["check"] for item in found}) == len(found)
    return {item["check"]: (item["status"], item["message"]) for item in found if item["status"] != "ok"}


def test_a_quiet_host_is_ok():
    assert sick(QUIET) == {}


@pytest.mark.parametrize(
    ("changes", "options", "expected"),
    [
        pytest.param({"cpu": {"busy": 85.0}}, {}, {"cpu": ("warning", "host.cpu")}, id="a busy CPU"),
        pytest.param({"cpu": {"busy": 96.0}}, {}, {"cpu": ("critical", "host.cpu")}, id="a very busy CPU"),
        pytest.param({"load": (1.0, 8.0, 2.0)}, {}, {"load": ("warning", "host.load")}, id="a load of two per core over 5 minutes"),
        pytest.param({"load": (99.0, 1.0, 2.0)}, {}, {}, id="a short peak of load"),
        pytest.param({"memory": host_proc.Memory(1000, 150, 0, 0)}, {}, {"memory": ("warning", "host.memory")}, id="little memory"),
        pytest.param({"memory": host_proc.Memory(1000, 50, 0, 0)}, {}, {"memory": ("critical", "host.memory")}, id="hardly any memory"),
        pytest.param({"memory": host_proc.Memory(1000, 600, 100, 40)}, {}, {"swap": ("warning", "host.swap")}, id="swap in use"),
        pytest.param(
            {"mounts": [(QUIET.mounts[0][0], host_space.Answer(SPACE._replace(used=850, available=150)))]},
            {},
            {"disk./": ("warning", "host.disk")},
            id="a disk over 80 %",
        ),
        pytest.param(
            {},
            {"limits": {"disk_free": {"critical": "1K:"}}},
            {"disk_free./": ("critical", "host.disk_free")},
            id="less free than the limit in bytes",
        ),
        pytest.param(
            {"mounts": [(QUIET.mounts[0][0], host_space.Answer(SPACE._replace(inodes_used=95)))]},
            {},
            {"inodes./": ("critical", "host.inodes")},
            id="no inodes left",
        ),
        pytest.param(
            {"mounts": [*QUIET.mounts, (NAS, host_space.Answer(None, "hangs"))]},
            {},
            {"disk./mnt/nas": ("unknown", "host.disk.hangs")},
            id="a mount that hangs",
        ),
        pytest.param(
            {"mounts": [*QUIET.mounts, (NAS, host_space.Answer(None, "Stale file handle"))]},
            {},
            {"disk./mnt/nas": ("unknown", "host.disk.unreadable")},
            id="a mount that fails",
        ),
        pytest.param({"missing": ["/backup"]}, {}, {"disk./backup": ("critical", "host.disk.missing")}, id="a mount that is not there"),
        pytest.param(
            {"connections": {9999: {"established": 401, "listening": 1, "close_wait": 0, "time_wait": 0}}},
            {"limits": {"connections": {"ports": {"9999": {"warning": 400}}}}},
            {"connections.9999": ("warning", "host.connections")},
            id="many connections on a port",
        ),
        pytest.param(
            {"connections": PermissionError(13, "Permission denied")},
            {"ports": [9999]},
            {"connections.9999": ("unknown", "host.connections.unreadable")},
            id="connections that cannot be read",
        ),
        pytest.param({"interfaces": {"eth0": FAST}}, {}, {"network.eth0": ("warning", "host.network")}, id="a link at 90 %"),
        pytest.param({"interfaces": {"eth0": {**FAST, "speed": None}}}, {}, {}, id="a link of unknown speed"),
        pytest.param(
            {"interfaces": {"eth0": {**FAST, "speed": None}}},
            {"limits": {"network": {"warning": 80}}},
            {"network.eth0": ("unknown", "host.network.no_speed")},
            id="a limit in percent that cannot be judged",
        ),
        pytest.param(
            {"interfaces": {"eth0": FAST}},
            {"limits": {"network": {"warning": None}, "network_rate": {"critical": "100M"}}},
            {"network_rate.eth0": ("critical", "host.network.rate")},
            id="a rate over its limit in bytes",
        ),
        pytest.param(
            {"oom": host_events.OomKills(1, "journal", (VICTIM,), 1)},
            {},
            {"oom": ("warning", "host.oom.named")},
            id="an OOM kill with a name",
        ),
        pytest.param({"oom": host_events.OomKills(2, "cgroup", (), 2)}, {}, {"oom": ("warning", "host.oom")}, id="OOM kills without names"),
        pytest.param(
            {"oom": host_events.OomKills(None, "counter", (), 3, problems=("a", "b"))},
            {},
            {"oom": ("unknown", "host.oom.when")},
            id="OOM kills at an unknown time",
        ),
        pytest.param(
            {"oom": host_events.OomKills(None, "counter")}, {}, {"oom": ("unknown", "host.oom.no_counter")}, id="OOM kills unknown"
        ),
        pytest.param(
            {"cores_dumped": host_events.CoreDumps((DUMP,), ("/var/crash",), {}, "core")},
            {},
            {"core_dumps": ("warning", "host.core_dumps")},
            id="a core dump",
        ),
        pytest.param(
            {"cores_dumped": host_events.CoreDumps((), (), {"/var/crash": "Permission denied"}, "core")},
            {},
            {"core_dumps": ("unknown", "host.core_dumps.unreadable")},
            id="a folder of core dumps that cannot be read",
        ),
        pytest.param(
            {"container": "podman", "cgroup": host_proc.Cgroup(500, 480, 2.0, 0), "cgroup_cpu": 1.7},
            {},
            {"cpu.container": ("warning", "host.cpu.container"), "memory.container": ("critical", "host.memory.container")},
            id="a container at its limits",
        ),
    ],
)
def test_each_fault_gives_exactly_its_finding(changes, options, expected):
    assert sick(QUIET._replace(**changes), options) == expected


def test_the_mount_that_stands_for_a_file_system_is_a_folder():
    hosts = host_mounts.Mount("/etc/hosts", "ext4", "/dev/sda", "8:1", "/containers/hosts", False)
    data = host_mounts.Mount("/data/volume", "ext4", "/dev/sda", "8:1", "/volumes/x", False)
    answers = {"/etc/hosts": host_space.Answer(SPACE._replace(folder=False)), "/data/volume": host_space.Answer(SPACE)}
    assert host_metrics._chosen([hosts, data], answers) == (data, answers["/data/volume"])
    assert host_metrics._chosen([hosts], answers) is None


def test_counters_that_were_reset_do_not_give_negative_rates():
    cpu, old = host_proc.Cpu(*[0] * 8), host_proc.Interface(1000, 1000, 5, 5, 0, 0)
    first = host_proc.Sample(0.0, cpu, {"eth0": old}, {}, None)
    second = host_proc.Sample(2.0, cpu, {"eth0": host_proc.Interface(100, 1200, 5, 6, 0, 0), "eth1": old, "lo": old}, {}, None)
    rates = host_metrics._rates(first, second, 2.0, host_options.parse({"link_speeds": {"eth0": 100}}), "/nowhere")
    assert rates == {"eth0": {"rx": 50.0, "tx": 100.0, "errors": 1.0, "dropped": 0.0, "speed": 100.0}}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="texts are told on the controller")
def test_every_text_exists_in_both_languages_and_fits_its_parameters():
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

    for seen in (QUIET, QUIET._replace(oom=host_events.OomKills(1, "journal", (VICTIM,), 1), missing=["/b"])):
        for found in host_metrics.judge_all(seen, host_options.parse({})):
            for language in catalogue.LANGUAGES:
                assert "?" not in catalogue.tell(found, language)
                assert found["message"] in catalogue.entries()
            assert all("evidence." + name in catalogue.entries() for name in found["evidence"])
