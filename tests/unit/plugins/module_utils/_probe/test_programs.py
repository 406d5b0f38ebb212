# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.options import read_probes
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.programs import judge_units, parse_units, read_performance
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.run import run_probes
from tests.helpers.probe_servers import find, probe, reason


def shell(script, **options):
    return find(type="command", argv=["sh", "-c", script], **options)


@pytest.mark.parametrize(
    ("script", "status", "text"),
    [
        ("echo OK; exit 0", "ok", "probe.command.said"),
        ("echo slow; exit 1", "warning", "probe.command.said"),
        ("exit 2", "critical", "probe.command.critical"),
        ("echo why >&2; exit 3", "unknown", "probe.command.said"),
        ("echo odd; exit 4", "unknown", "probe.command.exit"),
        ("kill -TERM $$", "unknown", "probe.command.exit"),
        (r"printf '\377\376'; exit 0", "ok", "probe.command.said"),
    ],
)
def test_the_exit_status_of_a_monitoring_plugin_is_the_status(script, status, text):
    item = shell(script)
    assert (item["status"], item["message"]) == (status, text)


def test_performance_data_becomes_value_and_evidence():
    item = shell("echo 'DISK OK | /=2643MB;5948;5958;0;5968 used=80%;85;90'")
    assert (item["value"], item["unit"]) == (2643 * 1024**2, "B")
    assert item["params"]["output"] == "DISK OK"
    assert item["evidence"]["performance"][1] == "used=80%"


@pytest.mark.parametrize(
    ("output", "measures"),
    [
        ("no data", []),
        ("OK | time=0.5s;1;2;0;10", [("time", 0.5, "s", "1", "2")]),
        ("OK | 'a b''c'=5;;10:", [("a b'c", 5.0, "", None, "10:")]),
        ("OK | t=250us x=U y=1.2.3 n=-4c", [("t", 0.25, "ms", None, None), ("n", -4.0, "", None, None)]),
        ("OK | a=1\nlong text\nmore | b=2\nc=3%", [("a", 1.0, "", None, None), ("b", 2.0, "", None, None), ("c", 3.0, "%", None, None)]),
    ],
)
def test_performance_data_is_read_as_the_guidelines_say(output, measures):
    assert [tuple(item) for item in read_performance(output)] == measures


def test_a_program_that_is_not_there_is_unknown(tmp_path):
    item = find(type="command", argv=[str(tmp_path / "none")])
    assert (item["status"], reason(item)) == ("unknown", "not_started")
    assert find(type="command", argv=["true"], chdir=str(tmp_path / "none"))["status"] == "unknown"


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path):
    pids = tmp_path / "pids"
    item = shell("trap '' TERM; sleep 60 & echo $! $$ > %s; wait; sleep 60" % pids, timeout="300ms")
    assert (item["status"], reason(item)) == ("unknown", "timeout")
    for pid in pids.read_text().split():
        for _attempt in range(3000):
            try:
                state = Path("/proc/%s/stat" % pid).read_text().rpartition(")")[2].split()[0]
            except OSError:
                state = "gone"
            if state in ("gone", "Z"):
                break
            time.sleep(0.01)
        assert state in ("gone", "Z")


def test_a_program_that_leaves_a_child_with_its_output_open_is_not_waited_for(tmp_path):
    try:
        item = shell("echo fine; (until [ -e %s ]; do sleep 0.1; done &) ; exit 0" % (tmp_path / "over"), timeout="60s")
    finally:
        (tmp_path / "over").touch()
    assert (item["status"], item["params"]["output"]) == ("ok", "fine")


def test_a_program_that_never_stops_writing_ends_in_time():
    item = shell("yes", timeout="300ms")
    assert item["status"] == "unknown"


# -- units ---------------------------------------------------------------------------------------------------------------


def unit(name, active="active", sub="running", **more):
    found = {
        "Id": name,
        "Names": name,
        "Type": "simple",
        "LoadState": "loaded",
        "ActiveState": active,
        "SubState": sub,
        "Result": "success",
    }
    found.update(more)
    return found


UNITS = [
    unit("web-a.service"),
    unit("web-b.service", "failed", "failed", Result="exit-code", ExecMainStatus="3", NRestarts="5"),
    unit("db.service", Names="db.service mysql.service"),
    unit("batch.service", "inactive", "dead", Type="oneshot"),
    unit("off.service", "inactive", "dead"),
    unit("loop.service", "activating", "auto-restart"),
    unit("slow.service", "activating", "start"),
    unit("gone.service", "inactive", "dead", LoadState="not-found"),
    unit("backup.timer", "active", "waiting"),
]


@pytest.mark.parametrize(
    ("options", "status", "text", "value"),
    [
        ({"units": ["web-a", "db"]}, "ok", "probe.unit.ok", 2),
        ({"units": ["mysql"]}, "ok", "probe.unit.ok", 1),
        ({"units": ["web-*"]}, "critical", "probe.unit.down", 1),
        ({"units": ["web-a", "nothing-*"]}, "critical", "probe.unit.missing", 1),
        ({"units": ["gone"]}, "critical", "probe.unit.missing", 0),
        ({"units": ["backup.timer"]}, "ok", "probe.unit.ok", 1),
        ({"units": ["backup"]}, "critical", "probe.unit.missing", 0),
        ({"units": ["batch"]}, "ok", "probe.unit.ok", 1),
        ({"units": ["off"]}, "critical", "probe.unit.down", 0),
        ({"units": ["loop"]}, "critical", "probe.unit.down", 0),
        ({"units": ["slow"]}, "warning", "probe.unit.starting", 0),
        ({"units": ["off"], "state": "inactive"}, "ok", "probe.unit.off", 1),
        ({"units": ["gone"], "state": "inactive"}, "ok", "probe.unit.off", 0),
        ({"units": ["db"], "state": "inactive"}, "critical", "probe.unit.running", 0),
        ({"units": ["off", "db"], "state": "not_failed"}, "ok", "probe.unit.ok", 2),
        ({"units": ["web-b"], "state": "not_failed"}, "critical", "probe.unit.down", 0),
        ({"units": ["web-a"], "critical": "2:"}, "critical", "probe.unit.count", 1),
    ],
)
def test_units_are_held_against_the_wanted_state(options, status, text, value):
    outcome = judge_units(read_probes([{"name": "it", "type": "unit", **options}])[0], UNITS, {})
    assert (outcome.status, outcome.text["message"], outcome.value) == (status, text, value)


def test_what_is_wrong_with_a_unit_is_told():
    evidence = {}
    outcome = judge_units(read_probes([{"name": "it", "type": "unit", "units": ["web-*"]}])[0], UNITS, evidence)
    assert outcome.text["params"]["wrong"] == ["web-b.service (failed, exit-code)"]
    assert evidence["units"][0] == "web-b.service, failed, exit-code, NRestarts=5, ExecMainStatus=3"


def test_the_output_of_systemctl_is_read_with_each_unit_once():
    text = "Id=a.service\nActiveState=active\nX=y=z\n\nId=a.service\nActiveState=active\n\n\nId=b.service\nActiveState=failed\n"
    assert [(item["Id"], item["ActiveState"]) for item in parse_units(text)] == [("a.service", "active"), ("b.service", "failed")]


def systemctl(folder, body):
    path = folder / "systemctl"
    path.write_text('#!/bin/sh\necho "$@" >> %s/calls\n%s\n' % (folder, body))
    path.chmod(0o755)


def test_all_unit_probes_share_one_call_and_enabled_units_that_are_not_loaded_count(tmp_path, monkeypatch):
    systemctl(
        tmp_path,
        'if [ "$1" = show ]; then printf "Id=web-a.service\\nLoadState=loaded\\nActiveState=active\\nSubState=running\\n";'
        ' else printf "web-a.service enabled\\nweb-c.service enabled\\nweb-d.service disabled\\nweb-@.service enabled\\n"; fi',
    )
    monkeypatch.setenv("PATH", "%s:%s" % (tmp_path, os.environ["PATH"]))
    probes = [{"name": name, "type": "unit", "units": [pattern]} for name, pattern in (("a", "web-a"), ("b", "web-*"))]
    found, _results = run_probes(read_probes(probes))
    assert [item["status"] for item in found] == ["ok", "critical"]
    assert found[1]["params"]["wrong"] == ["web-c.service (inactive, dead)"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert calls[0].endswith("-- web-a.service web-*.service")


@pytest.mark.parametrize("body", ["echo 'System has not been booted with systemd' >&2; exit 1", None])
def test_a_host_without_systemd_is_unknown_and_says_so(tmp_path, monkeypatch, body):
    if body:
        systemctl(tmp_path, body)
    monkeypatch.setenv("PATH", str(tmp_path) if body is None else "%s:%s" % (tmp_path, os.environ["PATH"]))
    found, _result = probe(type="unit", units=["a"])
    assert found["unit.it"]["status"] == "unknown"
    assert reason(found["unit.it"]) == ("no_systemd" if body else "not_started")
