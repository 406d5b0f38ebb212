# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What validate says besides what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsrunner.commands import validate
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
