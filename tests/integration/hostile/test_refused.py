# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not parse is refused before any host is contacted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .conftest import SOUND, Place

HTTP = {"name": "api", "type": "http", "url": "http://127.0.0.1:9/"}
LOG = {"name": "app", "paths": ["/var/log/app.log"]}
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("a threshold", {"runbook_probes": [{**HTTP, "warning": "eighty"}]}, r"runbook_probes[0].warning: "),
    ("a threshold the wrong way round", {"runbook_limits": {"cpu": {"warning": "90:10"}}}, "runbook_limits.cpu.warning: "),
    ("a pattern", {"runbook_probes": [{**HTTP, "regex": "(open"}]}, "runbook_probes[0].regex: "),
    ("an expression", {"runbook_probes": [{**HTTP, "json": [{"expression": "a..b"}]}]}, "runbook_probes[0].json[0].expression: "),
    ("a pattern of a log", {"runbook_logs": [{**LOG, "format": "regex", "pattern": "(?P<x"}]}, "runbook_logs[0].pattern: "),
    ("a duration", {"runbook_probes": [{**HTTP, "timeout": "soon"}]}, "runbook_probes[0].timeout: "),
    ("a misspelt key", {"runbook_probes": [{**HTTP, "waring": "1"}]}, "(did you mean warning?)"),
    ("a misspelt variable", {"runbook_prbes": SOUND}, "(did you mean runbook_probes?)"),
    ("a list that is none", {"runbook_backups": "daily"}, "runbook_backups: "),
]


def test_all_that_does_not_parse_is_told_at_once_and_no_host_is_contacted(place: Place, listener: tuple[int, Callable[[], int]]) -> None:
    port, count = listener
    hosts: dict[str, Any] = {}
    for number, (_what, variables, _told) in enumerate(CASES):
        hosts[f"host{number}"] = {"ansible_host": "127.0.0.1", "ansible_port": port, **variables}
    place.system(hosts)
    done = place.daily()
    record = place.record()
    assert (done.returncode, record["state"], count()) == (4, "failed", 0), done.stdout
    told = "\n".join(record["problems"])
    for what, _variables, expected in CASES:
        assert expected in told, f"{what}: {told}"
        assert expected.split(":")[0] in " ".join(done.stdout.split())


def test_ansible_playbook_alone_refuses_as_well(place: Place, listener: tuple[int, Callable[[], int]]) -> None:
    port, count = listener
    place.system({"one": {"ansible_host": "127.0.0.1", "ansible_port": port}}, **CASES[0][1])
    done = place.run(place.playbook())
    assert (done.returncode, count()) == (2, 0)
    assert "runbook_probes[0].warning" in done.stdout
    assert place.record()["state"] == "failed"


def test_the_proof_itself_sees_a_contact(place: Place, listener: tuple[int, Callable[[], int]]) -> None:
    port, count = listener
    place.system({"one": {"ansible_host": "127.0.0.1", "ansible_port": port}}, runbook_probes=SOUND)
    done = place.daily("--tags", "health")
    assert done.returncode == 2
    assert count() > 0
    assert [item["check"] for item in place.record()["findings"] if item["status"] == "critical"] == ["host.reachable"]


def test_validate_tells_it_with_file_and_line(place: Place) -> None:
    place.system({f"host{number}": dict(variables) for number, (_what, variables, _told) in enumerate(CASES)})
    done = place.run(place.command("validate", "sample"))
    assert done.returncode == 2
    for what, _variables, expected in CASES:
        assert [line for line in done.stdout.splitlines() if expected in line and "hosts.yml:" in line], f"{what}: {done.stdout}"
