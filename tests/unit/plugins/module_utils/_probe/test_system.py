# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.options import read_probes
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.system import judge_port, judge_process, see_port, see_process
from tests.helpers.probe_servers import find


def read(**options):
    return read_probes([{"name": "it", **options}])[0]


# -- ports ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_port_is_listened_on_and_its_holder_is_named(listener):
    item = find(type="port", port=listener.getsockname()[1], process="python|pytest")
    assert item["status"] == "ok"
    assert item["evidence"]["listens_on"] == ["127.0.0.1"]
    assert any(holder.startswith("%d, " % os.getpid()) for holder in item["evidence"]["holders"])


def test_a_port_of_the_wrong_process_names_who_holds_it(listener):
    item = find(type="port", port=listener.getsockname()[1], process="no-such-server")
    assert (item["status"], item["message"]) == ("critical", "probe.port.other")
    assert str(os.getpid()) in str(item["params"]["holders"])


def test_a_port_that_is_to_be_free_and_is_not_names_who_holds_it():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        assert find(type="port", port=port, state="free")["status"] == "ok"
        assert find(type="port", port=port)["message"] == "probe.port.closed"
        holder.listen()
        assert find(type="port", port=port, state="free")["message"] == "probe.port.taken"


def test_udp_and_ipv6_ports_are_seen():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("::1", 0), family=socket.AF_INET6) as tcp6:
        udp.bind(("127.0.0.1", 0))
        assert find(type="port", port=udp.getsockname()[1], protocol="udp")["status"] == "ok"
        assert find(type="port", port=udp.getsockname()[1], protocol="tcp")["status"] == "critical"
        assert find(type="port", port=tcp6.getsockname()[1])["evidence"]["listens_on"] == ["::1"]


@pytest.mark.parametrize(
    ("options", "seen", "status", "text"),
    [
        ({}, {"addresses": ["::"], "holders": [], "hidden": True}, "ok", "probe.port.ok_hidden"),
        ({"process": "redis"}, {"addresses": ["::"], "holders": [], "hidden": True}, "unknown", "probe.port.hidden"),
        ({"state": "free"}, {"addresses": ["::"], "holders": [], "hidden": True}, "critical", "probe.port.taken_hidden"),
        ({}, {"addresses": ["::"], "holders": [], "hidden": False}, "ok", "probe.port.ok_kernel"),
        ({"process": "redis"}, {"addresses": ["::"], "holders": [], "hidden": False}, "unknown", "probe.port.hidden"),
    ],
)
def test_a_holder_that_cannot_be_seen_is_said_to_need_root(options, seen, status, text):
    outcome = judge_port(read(type="port", port=6379, **options), seen, {})
    assert (outcome.status, outcome.text["message"]) == (status, text)


def test_a_host_without_the_table_of_ports_is_told(tmp_path):
    with pytest.raises(OSError, match="is not there"):
        see_port(read(type="port", port=1), str(tmp_path))


# -- processes -----------------------------------------------------------------------------------------------------------


def process(folder, pid, name, cmdline="", state="S (sleeping)", uid=0):
    home = folder / "proc" / str(pid)
    home.mkdir(parents=True)
    (home / "comm").write_text(name[:15] + "\n")
    (home / "cmdline").write_text(cmdline.replace(" ", "\0"))
    (home / "status").write_text("Name:\t%s\nState:\t%s\nUid:\t%d\t%d\t%d\t%d\n" % (name, state, uid, uid, uid, uid))


@pytest.mark.parametrize(
    ("options", "pids"),
    [
        ({"process": "java"}, [10, 11]),
        ({"cmdline": r"-jar app\.jar"}, [10]),
        ({"process": "java", "user": "root"}, [10]),
        ({"process": "java", "user": "54321"}, [11]),
        ({"process": "a-very-long-program-name"}, [14]),
        ({"process": "zombie"}, []),
        ({"cmdline": "nothing like it"}, []),
    ],
)
def test_processes_are_found_by_name_command_line_and_user(tmp_path, options, pids):
    process(tmp_path, 1, "init")
    process(tmp_path, 10, "java", "java %s -jar app.jar" % ("-Dx=y " * 200))
    process(tmp_path, 11, "java", "java -cp x", uid=54321)
    process(tmp_path, 12, "zombie", state="Z (zombie)")
    process(tmp_path, 13, "a-very-long-pro-other", "/bin/a-very-long-pro-other")
    process(tmp_path, 14, "a-very-long-program-name", "/bin/a-very-long-program-name")
    seen = see_process(read(type="process", **options), str(tmp_path))
    assert [item["pid"] for item in seen["processes"]] == pids
    assert seen["hidden"] is False


def test_hidden_processes_make_a_wrong_count_unknown(tmp_path):
    process(tmp_path, 10, "java")
    probe = read(type="process", process="redis-server")
    outcome = judge_process(probe, see_process(probe, str(tmp_path)), {})
    assert (outcome.status, outcome.text["message"]) == ("unknown", "probe.process.hidden")


@pytest.mark.parametrize(("thresholds", "status"), [({}, "ok"), ({"critical": "2:"}, "critical"), ({"warning": "~:0"}, "warning")])
def test_the_number_of_processes_is_held_against_the_thresholds(tmp_path, thresholds, status):
    script = tmp_path / "sleeper_7351.py"
    script.write_text("input()")
    with subprocess.Popen([sys.executable, str(script), "--password=hidden"], stdin=subprocess.PIPE) as child:
        deadline = time.monotonic() + 5
        while b"sleeper_7351" not in Path("/proc/%d/cmdline" % child.pid).read_bytes() and time.monotonic() < deadline:
            time.sleep(0.005)
        item = find(type="process", cmdline=r"sleeper_7351\.py", **thresholds)
        child.communicate(b"\n")
    assert (item["status"], item["value"]) == (status, 1)
    assert "sleeper_7351.py" in item["evidence"]["processes"][0]
    assert "hidden" not in repr(item)


def test_no_process_is_critical():
    assert find(type="process", process="no-such-process")["message"] == "probe.process.none"


# -- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        ({}, "ok", "probe.file.ok"),
        ({"max_age": "2h"}, "ok", "probe.file.ok"),
        ({"max_age": "30m"}, "critical", "probe.file.old"),
        ({"warning": "1800"}, "warning", "probe.file.limit_age"),
        ({"min_size": "1K"}, "critical", "probe.file.small"),
        ({"max_size": 5}, "critical", "probe.file.large"),
        ({"measure": "size", "critical": "100:"}, "critical", "probe.file.limit_size"),
        ({"measure": "count", "critical": "2:"}, "critical", "probe.file.limit_count"),
        ({"mode": "0640"}, "ok", "probe.file.ok"),
        ({"mode": "600"}, "critical", "probe.file.odd"),
        ({"owner": str(os.getuid())}, "ok", "probe.file.ok"),
        ({"owner": "nobody"}, "critical", "probe.file.odd"),
        ({"group": "no-such-group"}, "critical", "probe.file.odd"),
        ({"state": "absent"}, "critical", "probe.file.there"),
    ],
)
def test_a_file_is_held_against_what_is_wanted(tmp_path, options, status, text):
    path = tmp_path / "export.csv"
    path.write_text("0123456789")
    path.chmod(0o640)
    os.utime(path, (time.time() - 3600,) * 2)
    item = find(type="file", path=str(path), **options)
    assert (item["status"], item["message"]) == (status, text)


def test_the_newest_match_of_a_glob_counts(tmp_path):
    for name, hours, size in (("a.gz", 50, 5), ("b.gz", 1, 100), ("c.gz", 20, 5)):
        (tmp_path / name).write_bytes(b"x" * size)
        os.utime(tmp_path / name, (time.time() - hours * 3600,) * 2)
    item = find(type="file", path=str(tmp_path / "*.gz"), max_age="2h", min_size=50)
    assert (item["status"], item["evidence"]["newest_match"], item["evidence"]["files"]) == ("ok", str(tmp_path / "b.gz"), 3)
    assert 3590 < item["value"] < 3700


def test_a_path_that_is_not_there_is_critical_or_right(tmp_path):
    assert find(type="file", path=str(tmp_path / "none"))["message"] == "probe.file.missing"
    assert find(type="file", path=str(tmp_path / "*.none"))["message"] == "probe.file.missing"
    assert find(type="file", path=str(tmp_path / "none"), state="absent")["status"] == "ok"
    (tmp_path / "link").symlink_to("nowhere")
    assert find(type="file", path=str(tmp_path / "link"))["message"] == "probe.file.dangling"


def test_a_name_with_signs_of_a_glob_is_found_as_it_stands(tmp_path):
    (tmp_path / "a[1].log").write_text("x")
    assert find(type="file", path=str(tmp_path / "a[1].log"))["status"] == "ok"
