# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are down or oddly named, checks without number, parts of a run: what is told, and how it ends."""

from __future__ import annotations

import json
import re

import pytest

from .conftest import SOUND, Place, found

DOWN = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-o ConnectTimeout=2"}


@pytest.mark.parametrize("alone", [False, True], ids=["command", "ansible-playbook"])
def test_with_all_hosts_down_there_is_a_report_of_each(alone: bool, place: Place) -> None:
    place.system({"one": DOWN, "two": DOWN}, runbook_probes=SOUND)
    done = place.run(place.playbook()) if alone else place.daily()
    record = place.record()
    assert done.returncode == 2, done.stdout + done.stderr
    assert record["state"] == "complete"
    assert found(record) == {"one host.reachable": "critical", "two host.reachable": "critical"}
    assert "one" in done.stdout
    assert len(list(place.state.glob("runs/*/report.html"))) == 1


def test_under_a_limit_the_others_are_neither_asked_nor_told(place: Place) -> None:
    place.system({"one": DOWN, "two": None}, runbook_probes=SOUND)
    done = place.daily("--limit", "two", "--tags", "health")
    assert done.returncode == 0, done.stdout
    assert set(place.record()["hosts"]) == {"two"}
    assert place.record()["expected_hosts"] == ["two"]


ODD_HOSTS = ["호스트", "x<script>alert(1)</script> $(touch pwned)", "'quoted\"%s%n", ".."]
ODD_CHECKS = ["../../etc", "이름 있는 검사", "<b>&amp;", "a|b`c`", "\u202egnp", "x" * 300, "{ { 7 * 7 }", "%(path)s {0}", "-n"]


def test_odd_names_of_hosts_and_checks_steer_nothing(place: Place) -> None:
    probes = [{"name": name, "type": "file", "path": "/nowhere/at/all"} for name in ODD_CHECKS]
    place.system(dict.fromkeys(ODD_HOSTS), runbook_probes=probes)
    done = place.daily("--tags", "health", "--json")
    record = json.loads(done.stdout)
    assert done.returncode == 2
    assert record["state"] == "complete", record["problems"]
    assert len(found(record)) == len(ODD_HOSTS) * len(ODD_CHECKS)
    assert not list(place.folder.rglob("pwned"))
    (html,) = place.state.glob("runs/*/report.html")
    text = html.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<b>&amp;<" not in text
    assert "<script>alert" not in place.run(place.command("show", "--markdown", "-")).stdout
    shown = place.run(place.command("show"))
    assert "\u202e" not in shown.stdout


def test_very_many_findings_are_kept_and_the_terminal_stays_readable(place: Place) -> None:
    probes = [{"name": f"p{number}", "type": "file", "path": f"/nowhere/{number}"} for number in range(700)]
    place.system({"one": None}, runbook_probes=probes)
    done = place.daily("--tags", "health")
    record = place.record()
    assert done.returncode == 2
    assert record["counts"]["critical"] == 700
    assert len(done.stdout.splitlines()) < 400
    assert re.search(r"701 checks on 1 host", done.stdout)
    (html,) = place.state.glob("runs/*/report.html")
    assert html.stat().st_size < 5_000_000


def test_numbers_since_the_run_before_are_those_of_the_two_runs(place: Place) -> None:
    flag = place.folder / "flag"
    flag.touch()
    probes = [{"name": name, "type": "file", "path": str(place.folder / name)} for name in ("flag", "other")]
    place.system({"one": None}, runbook_probes=probes)
    place.daily("--tags", "health")
    flag.unlink()
    (place.folder / "other").touch()
    place.daily("--tags", "health")
    second = json.loads(place.run(place.command("diff", "--json")).stdout)
    assert {(change["change"], change["check"]) for change in second["changes"]} == {("new", "file.flag"), ("solved", "file.other")}
    assert "1 new, 1 solved" in place.run(place.command("show")).stdout


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (["--tags", "morning"], {"file", "reachable", "disk", "backup"}),
        (["--tags", "evening"], {"file", "reachable", "disk"}),
        (["--tags", "backups", "--check", "--diff"], {"backup", "reachable"}),
        (["--skip-tags", "resources,backups", "--check"], {"file", "reachable"}),
    ],
)
def test_tags_and_check_mode_of_plain_ansible_playbook(words: list[str], kinds: set[str], place: Place) -> None:
    backups = [{"name": "db", "root": str(place.folder), "kind": "file", "pattern": "*.gz"}]
    place.system({"one": None}, runbook_probes=SOUND, runbook_backups=backups)
    done = place.run(place.playbook(*words, "-e", "runbook_report_fail_on=none"))
    assert done.returncode == 0, done.stdout
    record = place.record()
    seen = {item["kind"] for item in record["findings"]} & {"file", "reachable", "disk", "backup"}
    assert (record["state"], seen) == ("complete", kinds)


def test_a_run_that_starts_in_the_middle_is_recorded_by_the_command_and_told_not_to_be_without(place: Place) -> None:
    done = place.run(place.playbook("--start-at-task", "Look at the host's resources"))
    assert done.returncode == 2, done.stdout
    assert "--start-at-task skips it" in done.stdout
    done = place.daily("--fail-on", "none", "--", "--start-at-task", "Look at the host's resources")
    assert done.returncode == 0, done.stdout
    record = place.record()
    assert record["arguments"]["options"] == ["--start-at-task"]
    assert {"disk", "file"} & {item["kind"] for item in record["findings"]} == {"disk"}


def test_a_new_system_is_valid_and_runs(place: Place) -> None:
    assert place.run(place.command("init", "new-shop")).returncode == 0
    assert place.run(place.command("validate", "new-shop")).returncode == 0
    done = place.run(place.command("daily", "--system", "new-shop", "--limit", "localhost", "--fail-on", "none", "--language", "ko"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.record()["state"] == "complete"
    words = {line for line in done.stdout.splitlines() if str(place.folder) not in line and re.search(r"\b(the|is|are|not|of|on)\b", line)}
    assert words == set(), "English in a Korean report"
