# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets that others could have written: they restore nothing that the inventory does not name, and nothing unasked."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import outcome as restore_outcome
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import plan as restore_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import run as restore_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.systemd import SystemdRuntime

ATTACKER = 64001
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another user")


class Case:
    """A backup of a folder with its root, and a folder of root that is none of the backup's."""

    def __init__(self, folder: Path, engine: str = "files") -> None:
        self.engine = engine
        self.root, self.live, self.private = folder / "backups", folder / "srv" / "shop", folder / "rootonly"
        self.journals, self.scratch = folder / "journals", folder / "scratch"
        for path in (self.root, self.live, self.private, self.scratch):
            path.mkdir(parents=True, mode=0o700)
        (self.live / "data").write_text("shop\n")

    def options(self, paths: list[Path], **artifact: Any) -> dict[str, Any]:
        """The module's options, with the paths of the inventory."""
        one = {"name": "data", "engine": self.engine, "paths": [str(path) for path in paths], **artifact}
        more = {"nice": 0, "io_class": "none", "drill": {"scratch": str(self.scratch)}}
        return {"backups": [{"name": "shop", "root": str(self.root), "artifacts": [one], **more}], "system": "shop"}

    def make(self, *paths: Path, **artifact: Any) -> Path:
        """Make a set; its folder."""
        (made,) = backup_make.run(backup_make.parse(self.options(list(paths), **artifact)), "shop").made
        assert made.set, made.found
        return self.root / made.set

    def restore(self, *confirm: str, check_mode: bool = False, **artifact: Any) -> restore_run.Outcome:
        """Restore the newest set by an inventory that names the folder of the shop alone."""
        options = {**self.options([self.live], **artifact), "set": "newest", "confirm": list(confirm)}
        options["journal_folder"] = str(self.journals)
        means = restore_run.Means(SystemdRuntime(), lambda _probes, _deadline: [], scratch=str(self.scratch), settle=0.0)
        return restore_run.run(restore_plan.parse(options), check_mode, means)

    def forge(self) -> Path:
        """A set of another user, made elsewhere, whose manifest leads into the folder of root with a setuid program."""
        payload = self.private / "payload"
        shutil.copy("/bin/true", payload)
        payload.chmod(0o4755)
        forged = self.make(self.private, special=[str(self.private / "*")])
        payload.unlink()
        for name in (backup_ledger.LEDGER, backup_ledger.HEAD):
            (self.root / name).unlink()
        for path in [self.root, *self.root.rglob("*")]:
            os.chown(path, ATTACKER, ATTACKER, follow_symlinks=False)
        return forged


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """The backup."""
    return Case(tmp_path.resolve())


def told(outcome: restore_run.Outcome) -> tuple[str, str]:
    """Status and message of the only finding."""
    (found,) = outcome.found
    return found["status"], found["message"]


def doubts(outcome: restore_run.Outcome) -> str:
    """What must be confirmed."""
    assert told(outcome) == ("critical", "backup.restore.doubted"), outcome
    return "; ".join(outcome.found[0]["params"]["doubts"])


@as_root
def test_a_forged_set_puts_no_setuid_program_into_a_folder_that_the_inventory_does_not_name(case: Case) -> None:
    case.forge()
    plan = case.restore()
    said = "; ".join(plan.found[0]["evidence"]["restore_doubts"])
    assert plan.found[0]["status"] == "critical" and "restore_untrusted" in said and "restore_outside" in said
    assert str(case.private) in said and str(case.root) in said and str(ATTACKER) in said
    for confirm in (["restore"], ["restore", "restore_untrusted"], ["restore", "restore_outside"]):
        outcome = case.restore(*confirm)
        assert doubts(outcome) and outcome.failed and not outcome.changed
        assert os.listdir(case.private) == []
    # Even where all of that is confirmed: which programs get rights of their own is the inventory's to say.
    outcome = case.restore("restore", "restore_untrusted", "restore_outside")
    assert told(outcome) == ("critical", "backup.restore.refused") and "payload" in outcome.failed and "special" in outcome.failed
    assert os.listdir(case.private) == []


@as_root
@pytest.mark.parametrize("spoil", ["root", "folder", "artifact", "manifest", "ledger", "mode", "above", "forgotten"])
def test_a_set_that_others_could_have_written_must_be_confirmed(case: Case, spoil: str) -> None:
    made = case.make(case.live)
    assert doubts_of(case.restore()) == ""
    where = {
        "root": case.root,
        "folder": made,
        "artifact": made / "data.tar.zst",
        "manifest": made / "manifest.json",
        "ledger": case.root / "ledger.jsonl",
        "mode": made / "data.tar.zst",
        "above": case.root.parent,
        "forgotten": made,
    }[spoil]
    if spoil == "forgotten":
        (case.root / "ledger.jsonl").unlink()
        (case.root / ".ledger.head").unlink()
    elif spoil in ("mode", "above"):
        where.chmod(0o777)
    else:
        os.chown(where, ATTACKER, -1)
    (case.live / "data").write_text("newer\n")
    assert str(where if spoil != "forgotten" else where.name) in doubts(case.restore())
    assert doubts(case.restore("restore")) and (case.live / "data").read_text() == "newer\n"
    assert told(case.restore("restore", "restore_untrusted")) == ("ok", "backup.restore.done")
    assert (case.live / "data").read_text() == "shop\n"


def doubts_of(outcome: restore_run.Outcome) -> str:
    """What the plan says must be confirmed, empty for nothing."""
    assert outcome.plan is not None
    return "; ".join("%s: %s" % tuple(one) for one in outcome.plan["doubts"])


@pytest.mark.parametrize("engine", ["files", "config"])
def test_paths_of_a_manifest_that_the_inventory_does_not_name_are_refused(case: Case, engine: str) -> None:
    case.engine = engine
    (case.private / "file").write_text("old\n")
    case.make(case.live, case.private)
    (case.private / "file").write_text("new\n")
    plan = case.restore()
    assert "restore_outside" in doubts(plan) and str(case.private) in doubts(plan) and str(case.live) not in doubts(plan)
    assert doubts(case.restore("restore")) and (case.private / "file").read_text() == "new\n"
    assert told(case.restore("restore", "restore_outside")) == ("ok", "backup.restore.done")
    assert (case.private / "file").read_text() == "old\n"


def test_a_set_that_was_only_fetched_is_restored_and_said_to_be_no_work_of_this_host(case: Case) -> None:
    made = case.make(case.live)
    digest = backup_sets.sha256((made / "manifest.json").read_bytes())
    assert "fetched" not in repr(case.restore().found[0]["evidence"])
    for name in (backup_ledger.LEDGER, backup_ledger.HEAD):
        (case.root / name).unlink()
    backup_ledger.append(str(case.root), "fetched", made.name, 0.0, copy="vault", manifest_sha256=digest)
    plan = case.restore()
    assert told(plan) == ("warning", "backup.restore.unconfirmed") and "fetched from vault" in repr(plan.found[0]["evidence"])
    assert told(case.restore("restore")) == ("ok", "backup.restore.done")


def test_a_path_below_one_of_the_inventory_is_inside(case: Case) -> None:
    (case.live / "deep").mkdir()
    (case.live / "deep" / "file").write_text("old\n")
    case.make(case.live / "deep")
    (case.live / "deep" / "file").write_text("new\n")
    assert told(case.restore("restore")) == ("ok", "backup.restore.done")
    assert (case.live / "deep" / "file").read_text() == "old\n" and (case.live / "data").exists()


@as_root
def test_programs_with_rights_of_their_own_come_back_only_where_the_inventory_permits_them(case: Case) -> None:
    program = case.live / "program"
    shutil.copy("/bin/true", program)
    program.chmod(0o4755)
    (made,) = backup_make.run(backup_make.parse(case.options([case.live])), "shop").made
    assert "special" in repr(made.found)  # before it is needed
    program.unlink()
    refused = case.restore("restore")
    assert told(refused) == ("critical", "backup.restore.refused") and str(program) in refused.failed and not program.exists()
    assert told(case.restore("restore", special=["/elsewhere/*"])) == ("critical", "backup.restore.refused")
    assert told(case.restore("restore", special=[str(case.live / "prog*")])) == ("ok", "backup.restore.done")
    assert stat.S_IMODE(program.stat().st_mode) == 0o4755


def test_a_plan_names_every_path_that_is_replaced(case: Case) -> None:
    more = [case.live.parent / f"more-{number:02}" for number in range(30)]
    for path in more:
        path.mkdir()
    case.make(case.live, *more)
    options = {**case.options([case.live, *more]), "set": "newest"}
    means = restore_run.Means(SystemdRuntime(), lambda _probes, _deadline: [], scratch=str(case.scratch))
    plan = restore_run.run(restore_plan.parse(options), False, means).plan
    assert plan is not None and sorted(plan["artifacts"][0]["places"]) == sorted(str(path) for path in (case.live, *more))
    lines = [line for line in restore_outcome.told_plan(plan) if line.startswith("replace ")]
    assert f"replace {more[0]}" in lines and lines[-1] == "replace 11 more paths of data" and len(lines) == 21


def test_patterns_of_what_is_permitted_are_whole_paths(case: Case) -> None:
    with pytest.raises(OptionError, match=r"special\[0\]"):
        backup_make.parse(case.options([case.live], special=["program"]))


def test_another_database_of_sqlite_than_the_inventory_s_must_be_confirmed(case: Case) -> None:
    subprocess.run(["sqlite3", case.private / "other.db", "create table t (a)"], check=True)

    def options(database: Path, *confirm: str) -> dict[str, Any]:
        one = {"name": "db", "engine": "sqlite", "database": str(database)}
        given = {"name": "shop", "root": str(case.root), "artifacts": [one], "drill": {"scratch": str(case.scratch)}}
        return {"backups": [given], "set": "newest", "confirm": list(confirm), "journal_folder": str(case.journals)}

    backup_make.run(backup_make.parse({**options(case.private / "other.db"), "system": "shop"}), "shop")
    means = restore_run.Means(SystemdRuntime(), lambda _probes, _deadline: [], scratch=str(case.scratch), settle=0.0)
    outcome = restore_run.run(restore_plan.parse(options(case.live / "own.db", "restore")), False, means)
    assert str(case.private / "other.db") in doubts(outcome)
    outcome = restore_run.run(restore_plan.parse(options(case.live / "own.db", "restore", "restore_outside")), False, means)
    assert told(outcome) == ("ok", "backup.restore.done") and (case.live / "own.db").exists()


def test_a_set_is_chosen_as_before(case: Case) -> None:
    """The looks at a set do not change it."""
    made = case.make(case.live)
    before = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    case.restore()
    assert {path: path.stat().st_mtime_ns for path in made.iterdir()} == before
    assert backup_sets.listed(str(case.root))[0].name == made.name
