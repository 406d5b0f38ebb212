# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are taken over: their interpreter answers what an attacker wants, and only they themselves may look bad for it.

Each host of the inventory has one answer. The first hosts are the ones whose variables a task with ``run_once`` would use.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import LOCAL, Place, found

MISSING = [{"name": "missing", "type": "file", "path": "/nowhere/at/all"}]
FINE = {"check": "file.missing", "kind": "file", "status": "ok", "message": "host.reachable", "params": {}}
HUGE = 10**400


def one(**change: Any) -> dict[str, Any]:
    """An answer with one finding that was changed."""
    return {"changed": False, "findings": [{**FINE, **change}]}


def with_facts(**facts: Any) -> dict[str, Any]:
    """An answer that tries to set variables."""
    return {"changed": False, "findings": [FINE], "ansible_facts": facts, "_ansible_facts_cacheable": True}


def deep(levels: int) -> Any:
    """A list in a list, and so on."""
    value: Any = "x"
    for _level in range(levels):
        value = [value]
    return value


def steering(folder: Path) -> list[dict[str, Any]]:
    """Answers that try to make the controller do something; ``folder`` must stay empty."""
    run = ["/bin/sh", "-c", f"id > {shlex.quote(str(folder / 'ran'))}"]
    probe = [{"name": "x", "type": "command", "argv": run}]
    pipe = "{{ lookup('pipe', 'id > %s') }}" % (folder / "piped")
    return [
        with_facts(health_check_system_probes=probe, runbook_system_probes=probe),
        with_facts(run_report_textfile=str(folder / ".bashrc"), run_report_fail_on="none", run_report_language="ko"),
        with_facts(run_report_keep_days=1, preflight_system="other", runbook_system="other"),
        with_facts(ansible_connection="local", ansible_python_interpreter=str(folder / "python"), ansible_host="127.0.0.9"),
        with_facts(confirm=["restore", "cleanup"], lease_needed=False, restore_confirm=["restore"]),
        with_facts(inventory_hostname="good", hostvars={"good": {}}, groups={}, ansible_play_hosts_all=["good"]),
        with_facts(ansible_facts={"run_report_fail_on": "none"}, run_report_fail_on="none"),
        {"changed": False, "findings": [], "ansible_stats": {"data": {"opsrunner_run": {"status": "ok"}}, "aggregate": False}},
        {
            "changed": True,
            "findings": [],
            "add_host": {"host_name": "evil", "groups": ["all"], "host_vars": {"ansible_connection": "local"}},
        },
        {"changed": True, "findings": [], "add_group": "evil", "parent_groups": ["all"]},
        {"changed": False, "findings": [], "_ansible_no_log": False, "_ansible_delegated_vars": {"ansible_host": "x"}},
        {"changed": False, "findings": [], "invocation": {"module_args": {"x": pipe}}, "stdout": pipe, "msg": pipe},
        {"changed": False, "findings": [], "include": "/etc/passwd", "include_args": {}, "_ansible_notify": ["all"]},
        one(summary=pipe, remedy=pipe, params={"reason": pipe}, evidence={"x": pipe}),
        one(check=f"x$(id > {folder}/check)", kind="file"),
        {"changed": False, "findings": [], "diff": {"before": pipe, "after": pipe}, "exception": pipe},
        {"changed": False, "findings": [], "warnings": [pipe, "\x1b]0;owned\x07"], "deprecations": [{"msg": pipe}]},
        {"changed": False, "findings": [], "unreachable": "yes", "skipped": "yes", "failed": "no"},
    ]


PRETENDING: list[Any] = [
    one(host="good"),
    one(host="-"),
    one(host="good", status="ok", summary="all is well"),
    one(check="host.reachable", host="good"),
    {"findings": [{**FINE, "host": "good"}, {**FINE, "host": "good", "status": "critical"}]},
    {"findings": [{**FINE, "status": "critical"}, FINE]},
    {"changed": False, "findings": [{**FINE, "host": "호스트"}], "inventory_hostname": "good"},
]
BROKEN: list[Any] = [
    *(one(value=value) for value in (HUGE, -HUGE, 1e400, float("nan"), "9", [9], {"a": 9}, True)),
    *(one(evidence=value) for value in (["x"], "x", 7, {"a": HUGE}, {"a": deep(50)}, {"a": {"message": "host.reachable", "params": "x"}})),
    one(evidence={"a": {"message": "host.reachable", "params": {"language": "x", "identifier": "y"}}}),
    one(evidence={str(number): "x" for number in range(30_000)}),
    one(evidence={"a": "x" * 1_000_000, "b": ["y" * 19_000] * 50}),
    *(one(params=value) for value in (["x"], "x", {"language": "x", "identifier": "y"}, {"reason": HUGE}, {"0.__class__": 1}, {"self": 1})),
    *(one(message=value) for value in (None, {}, [], 7, "{0.__class__}", "host.unreachable\n", "x" * 500)),
    *(one(status=value) for value in (None, "fine", 0, ["ok"], "OK")),
    *(one(kind=value) for value in (None, "", 7, "a b", "\x1b[31m")),
    *(one(check=value) for value in (None, "", 7, "a\nb", "x" * 5000, "\x1b]0;owned\x07")),
    *(one(duration_ms=value) for value in ("soon", float("nan"), HUGE)),
    *(one(unit=value) for value in ("furlong", 7)),
    one(warning=7, critical=["x"]),
    one(observed_at=HUGE),
    one(remedy=7),
    {"findings": "none"},
    {"findings": {"a": 1}},
    {"findings": [None, 7, "x", [], FINE]},
    {"findings": deep(200)},
    {},
    [],
    "no json",
    "",
]


@pytest.fixture
def hosts(place: Place) -> list[str]:
    """Write an inventory with a host for each answer, and one that is what it says."""
    trap = place.folder / "trap"
    trap.mkdir()
    answers = [*steering(trap), *PRETENDING, *BROKEN]
    assert len(answers) >= 60
    given: dict[str, Any] = {}
    for number, answer in enumerate(answers):
        payload = place.folder / f"answer{number:02}"
        payload.write_text(answer if isinstance(answer, str) else json.dumps(answer), encoding="utf-8")
        program = place.folder / f"python{number:02}"
        program.write_text(f"#!/bin/sh\ncat > /dev/null\ncat {shlex.quote(str(payload))}\n")
        program.chmod(0o755)
        given[f"evil{number:02}"] = {"ansible_connection": "local", "ansible_python_interpreter": str(program)}
    place.system({**given, "good": LOCAL}, runbook_probes=MISSING)
    return list(given)


def test_no_answer_of_a_host_reaches_beyond_that_host(place: Place, hosts: list[str]) -> None:
    done = place.daily("--tags", "health", "--", "--forks", "20")
    record = place.record()
    assert done.returncode == 2, done.stdout + done.stderr
    assert record["state"] == "complete", record["problems"]
    seen = found(record)
    assert seen["good file.missing"] == "critical"
    assert not [name for name in seen if name.startswith("- ")]
    assert set(record["hosts"]) == {*hosts, "good"}
    assert not list((place.folder / "trap").iterdir())
    assert not list(place.home.glob(".bashrc"))
    assert "\x1b" not in done.stdout
    assert (place.state / "runs" / record["id"] / "report.html").exists()
    broken = hosts[-len(BROKEN) :]
    refused = {name.split(" ")[0] for name, status in seen.items() if status == "unknown"}
    # An evidence or parameters that only look odd are shown as they are; all others are refused by name.
    assert len(refused & set(broken)) >= len(broken) - 6
    worse = hosts[-len(BROKEN) - 2]
    assert seen[f"{worse} file.missing"] == "critical"
    # What is kept can be read by all later commands and runs.
    assert place.run(place.command("show", "last")).returncode == 0
    history = place.run(place.command("history", "--system", "sample", "--json"))
    assert history.returncode == 0
    assert json.loads(history.stdout)[0]["id"] == record["id"]
    again = place.daily("--tags", "health", "--limit", "good")
    assert again.returncode == 2, again.stdout + again.stderr
    assert place.record()["state"] == "complete"


def test_facts_of_a_host_that_other_modules_took_do_not_steer_the_controller(place: Place) -> None:
    trap = place.folder / "trap"
    trap.mkdir()
    (payload := place.folder / "answer").write_text(json.dumps(steering(trap)[1]))
    (program := place.folder / "python").write_text(f"#!/bin/sh\ncat > /dev/null\ncat {shlex.quote(str(payload))}\n")
    program.chmod(0o755)
    place.system(
        {"evil": {"ansible_connection": "local", "ansible_python_interpreter": str(program)}, "good": LOCAL}, runbook_probes=MISSING
    )
    play = place.folder / "own.yml"
    play.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n"
        "- ansible.builtin.import_playbook: opsrunner.runbook.daily\n"
    )
    words = [sys.executable, "-m", "ansible", "playbook", str(play), "-i", str(place.folder / "inventories" / "sample")]
    done = place.run(words, env={"ANSIBLE_INJECT_FACT_VARS": "1"})
    assert done.returncode != 0
    assert not list(trap.iterdir())
    assert "by its facts" in done.stdout + done.stderr
