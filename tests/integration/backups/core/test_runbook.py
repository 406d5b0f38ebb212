# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runbook backup as people run it: looked at first, made, one backup failing beside a good one, old sets told and removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plain import names, sound

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.manifest import Rung

ROOT = Path(__file__).resolve().parents[4]
SECRET = "hunter2-very-secret"


class Place:
    """An inventory with one local host and three backups: of the second the server is not there, of the third the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "backups/good"
        self.data = folder / "data"
        self.data.mkdir()
        (self.data / "page.html").write_text("hello")
        self.backups: list[dict[str, Any]] = [
            {
                "name": "good",
                "root": str(self.root),
                "artifacts": [{"name": "data", "engine": "files", "paths": [str(self.data)]}],
                "keep": {"last": 1},
            },
            {
                "name": "bad",
                "root": str(folder / "backups/bad"),
                "artifacts": [{"name": "cache", "engine": "redis", "host": "127.0.0.1", "port": 1, "password": SECRET}],
            },
            {
                "name": "away",
                "root": str(folder / "disk/away"),
                "mount_point": str(folder / "disk"),
                "artifacts": [{"name": "data", "engine": "files", "paths": [str(self.data)]}],
                "keep": {"last": 1},
            },
        ]
        everything = {
            "all": {
                "vars": {
                    "runbook_system": "shop",
                    "runbook_backups": self.backups,
                    "ansible_connection": "local",
                    "ansible_python_interpreter": sys.executable,
                },
                "hosts": {"one": None},
            }
        }
        (folder / "hosts.json").write_text(json.dumps(everything))
        self.output = ""

    def run(self, *words: str, runbook: str = "backup") -> int:
        """Run the runbook; returns the command's exit status."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "OPSRUNNER_"))},
            "OPSRUNNER_STATE": str(self.folder / "state"),
            "PYTHONPATH": str(ROOT / "src"),
        }
        command = [sys.executable, "-m", "opsrunner", runbook, "-i", str(self.folder / "hosts.json"), *words]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
        self.output = done.stdout + done.stderr
        return done.returncode

    def make(self) -> None:
        """A set of the good one, without a run."""
        assert backup_make.run(backup_options.parse(self.backups[:1]), "shop").made[0].set

    def findings(self) -> dict[str, dict[str, Any]]:
        """Of the last run, by their check."""
        newest = max((self.folder / "state/runs").iterdir())
        lines = (newest / "findings.jsonl").read_text(encoding="utf-8").splitlines()
        told = [line["finding"] for line in map(json.loads, lines) if "finding" in line]
        return {found["check"]: found for found in told}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A new one for each test."""
    return Place(tmp_path)


def test_first_it_is_looked_at(place: Place) -> None:
    """What would be made, what cannot be reached, which disk is not mounted; nothing is written."""
    assert place.run("--check", "--tags", "backup") == 2, place.output
    found = place.findings()
    assert (found["backup.good.made"]["status"], found["backup.bad.made"]["status"]) == ("ok", "critical")
    assert found["backup.good.made"]["summary"] == "good: a set of 1 artifacts would be made"
    assert found["backup.away.made"]["status"] == "critical"
    assert f"nothing is mounted at {place.folder}/disk" in found["backup.away.made"]["summary"]
    assert not place.root.exists()


def test_a_set_is_made_beside_one_that_fails(place: Place) -> None:
    """The exit status is that of a critical finding; the password is nowhere."""
    assert place.run("--tags", "backup") == 2, place.output
    found = place.findings()
    assert (found["backup.good.made"]["status"], found["backup.bad.made"]["status"]) == ("ok", "critical")
    assert found["backup.good.made"]["evidence"]["backup_set"].startswith(str(place.root))
    assert "cache: " in found["backup.bad.made"]["summary"]
    assert len(sound(place.root)) == 1
    assert names(place.folder / "backups/bad") == []
    assert found["backup.away.made"]["status"] == "critical"
    assert not (place.folder / "disk").exists()
    kept = [path for path in (place.folder / "state").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
    assert SECRET not in place.output


def test_old_sets_are_told_with_the_reason_and_go_when_that_is_confirmed(place: Place) -> None:
    """Unproved ones stay all; a proved one lets the others go."""
    place.make()
    assert place.run("--tags", "backup", "-e", '{"backup_only": ["good"]}') == 0, place.output
    assert len(sound(place.root)) == 2
    only = ("--tags", "prune", "-e", '{"backup_only": ["good"]}')
    assert place.run(*only, "-e", '{"confirm": ["backup_prune"]}') == 0, place.output
    assert place.findings()["backup.good.prune"]["message"] == "backup.prune.unproved"
    newest = backup_sets.listed(str(place.root))[0]
    backup_sets.write_verified(newest, [Rung(3, newest.at)])
    assert place.run(*only) == 0, place.output
    assert place.findings()["backup.good.prune"]["message"] == "backup.prune.unconfirmed"
    assert len(sound(place.root)) == 2
    assert place.run(*only, "-e", '{"confirm": ["backup_prune"]}') == 0, place.output
    assert sound(place.root) == [newest.name]


def test_options_that_cannot_be_used_are_refused_before_anything_is_made(place: Place) -> None:
    """With the nearest name."""
    assert place.run("--tags", "backup", "-e", '{"backup_only": ["godo"]}') == 3, place.output
    assert "only[0]: unknown backup 'godo' (did you mean good?)" in place.findings()["task.backup"]["summary"]
    assert not place.root.exists()


def test_the_daily_look_takes_the_same_backups(place: Place) -> None:
    """With all that is said about how they are made; the one that could not be made is missed, and so is a disk."""
    place.make()
    assert place.run("--tags", "backups", runbook="daily") == 2, place.output
    found = place.findings()
    assert (found["backup.good.age"]["status"], found["backup.good.complete"]["status"]) == ("ok", "ok")
    assert found["backup.bad.age"]["status"] == "critical"
    assert (found["backup.away.age"]["status"], found["backup.away.age"]["message"]) == ("critical", "backup.unmounted")
