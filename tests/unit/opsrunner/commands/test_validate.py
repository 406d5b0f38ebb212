# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What validate says besides what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsrunner.commands import schedule, validate
from opsrunner.errors import UsageError
from opsrunner.find.systems import System

HOSTS = """
all:
  vars:
    runbook_system: shop
    runbook_backups:
      - name: shop
        root: /backup/shop
        artifacts: [{name: data, engine: ENGINE, KEY}]
        RESTORE
  hosts: {one: }
"""
FILES = ("files", "paths: [/srv/shop]")


@pytest.mark.parametrize(
    ("engine", "restore", "warned"),
    [
        (FILES, "restore: {health_timeout: 10s}", True),
        (("sqlite", "database: /srv/shop.db"), "restore: {services: []}", True),
        (FILES, "restore: {services: [shop.service]}", False),
        (FILES, "", False),
        (("redis", "host: localhost"), "restore: {health_timeout: 10s}", False),
    ],
)
def test_a_restore_that_stops_nobody_is_warned_of_and_valid(tmp_path: Path, engine: tuple[str, str], restore: str, warned: bool) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(HOSTS.replace("ENGINE", engine[0]).replace("KEY", engine[1]).replace("RESTORE", restore), encoding="utf-8")
    lines, valid = validate.report([System("shop", tmp_path)])
    assert valid and lines[0] == f"{tmp_path}: valid", lines
    assert [line.startswith(f"warning: {path}:9: runbook_backups[0].restore: names no services") for line in lines[1:]] == [True] * warned


def test_group_variables_are_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {hosts: {one: }}\n", encoding="utf-8")
    (tmp_path / "group_vars").mkdir()
    text = (
        "runbook_system: shop\nrunbook_backups:\n  - name: shop\n    root: /b\n    artifacts: [{name: d, engine: files, paths: [/srv/d]}]\n"
    )
    (tmp_path / "group_vars" / "all.yml").write_text(text + "    restore: {health_timeout: 10s}\n", encoding="utf-8")
    lines, valid = validate.report([System("shop", tmp_path)])
    assert valid and len(lines) == 2 and "all.yml:6: runbook_backups[0].restore" in lines[1]


def inventory(folder: Path, **files: str) -> System:
    """An inventory of one host with more files in ``group_vars/all``."""
    (folder / "group_vars" / "all").mkdir(parents=True)
    (folder / "hosts.yml").write_text("all:\n  hosts:\n    one:\n")
    (folder / "group_vars" / "all" / "main.yml").write_text("runbook_system: shop\nshop_hosts: x\n")
    for name, text in files.items():
        (folder / "group_vars" / "all" / f"{name}.yml").write_text(text)
    return System("shop", folder)


def test_a_variable_that_nothing_defines_is_named_with_its_place_and_the_nearest(tmp_path: Path) -> None:
    text = 'runbook_probes:\n  - name: web\n    type: http\n    url: "http://{{ shop_host }}/health"\n'
    (told,) = validate.problems(inventory(tmp_path, probes=text))
    assert told == (
        f"{tmp_path}/group_vars/all/probes.yml:4: runbook_probes[0].url: uses the variable shop_host, which nothing in this inventory "
        "defines (did you mean shop_hosts?)"
    )


@pytest.mark.parametrize(
    "value",
    [
        "http://{{ shop_hosts }}/",
        "http://{{ ansible_host }}:{{ hostvars[inventory_hostname].port }}/",
        "http://{{ other | default('x') }}/",
        "http://{{ lookup('ansible.builtin.env', 'HOME') }}/",
        "http://{% if other is defined %}{{ other }}{% endif %}/",
        "http://{{ shop_hosts | ansible.builtin.mandatory }}/",
    ],
)
def test_a_variable_that_may_be_defined_is_taken(tmp_path: Path, value: str) -> None:
    text = f'runbook_probes:\n  - name: web\n    type: http\n    url: "{value}"\n'
    assert validate.problems(inventory(tmp_path, probes=text)) == []


def test_an_inventory_without_hosts_is_refused(tmp_path: Path) -> None:
    system = inventory(tmp_path)
    (tmp_path / "hosts.yml").write_text("all:\n  children:\n    web:\n      vars: {x: 1}\n")
    assert validate.problems(system) == [f"{tmp_path}/hosts.yml: all.hosts: the inventory has no hosts"]


def test_a_calendar_names_runbooks_that_exist(tmp_path: Path) -> None:
    text = "runbook_calendar:\n  - {runbook: daily, calendar: daily}\n  - {runbook: dayly, calendar: daily}\n"
    system = inventory(tmp_path, calendar=text)
    (told,) = validate.problems(system)
    assert told == f"{tmp_path}/group_vars/all/calendar.yml:3: runbook_calendar[1].runbook: unknown runbook 'dayly' (did you mean daily?)"
    with pytest.raises(UsageError, match=r"unknown .*calendar.yml: runbook_calendar: runbook 'dayly' \(did you mean daily\?\)"):
        list(schedule.from_inventory(system))


def test_a_warning_beyond_its_critical_limit_is_refused(tmp_path: Path) -> None:
    text = 'runbook_probes:\n  - {name: web, type: http, url: "http://localhost/", warning: "2000", critical: "1000"}\n'
    (told,) = validate.problems(inventory(tmp_path, probes=text))
    assert told.startswith(f"{tmp_path}/group_vars/all/probes.yml:2: runbook_probes[0].warning: '2000' can never be reported")
