# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Climbing the ladder: what is due, what is written down, what is in the way. The engine is a double, named so."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import plan as backup_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.manifest import Rung
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.status import run as backup_status
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify import run as backup_verify
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.verify import state as backup_verify_state
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.times import parse_time
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Drilled, EngineError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import durable
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import space as host_space
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from tests.helpers.shell_engine import ShellEngine, backup, exit_status

NOW = 1_800_000_000.0
DAY = 86400.0
pytestmark = pytest.mark.skipif(not shutil.which("zstd"), reason="zstd is not installed")


class Engine(ShellEngine):
    """A test double: reads to the end, and restores what it is told to."""

    def __init__(self, problem=None, counts=None, samples=None):
        self.problem, self.counts = problem, counts or {"rows.a": 2, "rows.b": 3, "files": 1}
        self.samples = samples or {"a": "ff"}
        self.scratches = []

    def read_through(self, artifact, stored, work):
        """To its end."""
        self.scratches.append(os.listdir(work.scratch))
        if self.problem:
            raise self.problem
        with backup_stream.read(stored.path, artifact.compression) as file:
            file.read()

    def drill(self, spec, artifact, stored, work):
        """What was told."""
        return Drilled(self.counts, self.samples)


def made(root, days=(0,), **plan):
    """A backup with sets so many days ago, the oldest first."""
    plan.setdefault("drill", backup_plan.Drill(scratch=str(root) + "-scratch"))
    one = backup(root, **plan)
    for day in days:
        found = backup_make.run([one], "test", clock=lambda at=day: NOW - at * DAY, engines=lambda _name: ShellEngine()).made[0].found
        assert found["status"] == "ok", found
    return one


def verify(one, rung=None, sets=("newest",), force=False, check_mode=False, now=NOW, engine=None):
    asked = backup_verify.Asked([one], rung, list(sets), force)
    engine = engine or Engine()
    return backup_verify.run(asked, check_mode, lambda: now, lambda _name: engine)


def told(results):
    found = results.findings[0]
    return found["status"], found["message"], found["value"]


def rungs(root):
    return [one.rung for one in backup_sets.listed(str(root))]


def lines(root, what="verified"):
    return [entry for entry in backup_ledger.read(str(root)).entries if entry["what"] == what]


# -- what is due ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        ([], 5),
        ([(5, 0)], 0),
        ([(5, 2)], 2),
        ([(5, 8)], 3),
        ([(5, 40)], 5),
        ([(5, 40), (3, 2)], 5),
        ([(5, 20), (3, 2)], 2),
        ([(5, 20), (3, 8), (2, 0.5)], 3),
        ([(5, 0.97)], 2),
        ([(5, -5)], 5),
    ],
)
def test_the_highest_rung_whose_time_has_come_is_due(passed, expected):
    known = [Rung(rung, NOW - days * DAY) for rung, days in passed]
    assert backup_verify.due({2: DAY, 3: 7 * DAY, 5: 30 * DAY}, known, NOW) == expected


@given(
    st.dictionaries(st.integers(2, 5), st.floats(0, 1e7)),
    st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1e7))),
    st.floats(0, 1e6),
)
def test_what_is_due_stays_due_until_it_is_climbed(verify_every, passed, later):
    known = [Rung(rung, NOW - ago) for rung, ago in passed]
    now = backup_verify.due(verify_every, known, NOW)
    assert now in {0, *verify_every}
    assert backup_verify.due(verify_every, known, NOW + later) >= now
    if now and verify_every[now] > 0:
        assert backup_verify.due(verify_every, [*known, Rung(now, NOW)], NOW) < now


def test_only_what_is_due_is_climbed_and_a_second_run_changes_nothing(tmp_path):
    root = tmp_path / "sets"
    one = made(root, verify={2: DAY, 3: 7 * DAY, 5: 30 * DAY})
    first = verify(one)
    assert (told(first), first.changed) == (("ok", "backup_verify.passed", 5), True)
    again = verify(one, now=NOW + 60)
    assert (told(again), again.changed) == (("ok", "backup_verify.not_due", 5), False)
    assert verify(one, now=NOW + 2 * DAY).proved[0].asked == 2
    assert verify(one, now=NOW + 9 * DAY).proved[0].asked == 3
    assert verify(one, now=NOW + 9 * DAY + 60, force=True).proved[0].asked == 5
    assert [(line["rung"], line["passed"]) for line in lines(root)] == [(5, True), (2, True), (3, True), (5, True)]
    assert backup_ledger.read(str(root)).broken is None


def test_a_rung_is_due_for_the_backup_not_for_each_set(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (1,), verify={2: DAY, 3: 7 * DAY})
    verify(one, now=NOW - DAY)
    made(root, (0,))
    assert verify(one, now=NOW).proved[0].asked == 2
    assert rungs(root) == [2, 3]
    assert [item.asked for item in verify(one, sets=["all"], now=NOW + 60).proved] == [3, 2]


def test_without_frequencies_each_run_climbs(tmp_path):
    one = made(tmp_path / "sets")
    assert [verify(one).proved[0].asked for _time in range(2)] == [3, 3]


def test_a_set_made_just_now_climbs_at_least_to_a_rung(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (1,), verify={2: DAY, 5: 30 * DAY})
    engine = Engine()

    def at_least(now):
        asked = backup_verify.Asked([one], None, ["newest"], False, 3)
        return backup_verify.run(asked, False, lambda: now, lambda _name: engine).proved[0].asked

    assert [at_least(NOW - DAY), at_least(NOW - DAY + 60)] == [5, None]
    made(root, (0,))
    assert [at_least(NOW), at_least(NOW + 60), at_least(NOW + 2 * DAY), at_least(NOW + 31 * DAY)] == [3, None, 2, 5]
    one = one._replace(plan=one.plan._replace(verify={}))
    assert at_least(NOW + 90 * DAY) is None


def test_check_mode_tells_and_writes_nothing(tmp_path):
    root = tmp_path / "sets"
    one = made(root)
    before = (root / "ledger.jsonl").read_bytes()
    results = verify(one, check_mode=True)
    assert (told(results), results.changed) == (("ok", "backup_verify.would", None), True)
    assert (root / "ledger.jsonl").read_bytes() == before
    assert rungs(root) == [0]
    assert not os.path.exists(str(root) + "-scratch")


# -- what is found --------------------------------------------------------------------------------------------------------------


def flip(root, name=None):
    one = backup_sets.listed(str(root))[0]
    path = os.path.join(one.path, "db.dump.zst")
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        data[-1] ^= 1
        file.seek(0)
        file.write(data)


def test_a_set_that_fails_loses_what_it_passed_and_is_tried_again(tmp_path):
    root = tmp_path / "sets"
    one = made(root, verify={3: 7 * DAY})
    verify(one)
    flip(root)
    assert verify(one, now=NOW + DAY).proved[0].asked is None  # not due, and nobody looked
    failed = verify(one, rung=2, now=NOW + DAY)
    assert told(failed) == ("critical", "backup_verify.failed", 1)
    assert failed.findings[0]["params"]["reason"] == "db.dump.zst: has another sum than when it was made"
    assert rungs(root) == [1]
    with pytest.raises(backup_sets.BackupError):
        backup_sets.choose(backup_sets.listed(str(root)), "newest-proved")
    line = lines(root)[-1]
    assert (line["passed"], line["at_rung"], line["artifact"]) == (False, 2, "db.dump.zst")
    assert verify(one, now=NOW + DAY + 60).findings[0]["status"] == "critical"  # although nothing is due
    flip(root)
    assert told(verify(one, now=NOW + 2 * DAY)) == ("ok", "backup_verify.passed", 3)
    assert rungs(root) == [3]
    verified = json.loads((root / backup_sets.listed(str(root))[0].name / "verified.json").read_text())
    assert "failed" not in verified


@pytest.mark.parametrize(
    ("problem", "status", "rung"),
    [
        (EngineError("damaged", "no end"), "critical", 2),
        (EngineError("unsafe", "a device"), "critical", 2),
        (EngineError("failed", "something"), "critical", 2),
        (EngineError("space", "too little"), "warning", 2),
        (EngineError("failed", "mongorestore is not installed on this host"), "warning", 2),
        (backup_stream.StreamError("tar", 2, "broken"), "critical", 2),
        (backup_stream.StreamError("tar", None, "is not installed"), "warning", 2),
        (backup_stream.StreamError("tar", -9, ""), "warning", 2),
        (backup_stream.StreamError("tar", -11, ""), "critical", 2),
        (ZeroDivisionError("what nobody thought of"), "critical", 2),
        (PermissionError(13, "Permission denied", "/x"), "warning", 2),
    ],
)
def test_damage_is_critical_what_is_in_the_way_is_not(tmp_path, problem, status, rung):
    root = tmp_path / "sets"
    one = made(root)
    verify(one)
    results = verify(one, engine=Engine(problem))
    assert (results.findings[0]["status"], results.findings[0]["value"]) == (status, rung)
    # What was only in the way takes nothing from what was proved before.
    assert rungs(root) == [3 if status == "warning" else 2]


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (Engine(), (None, 5)),
        (Engine(counts={"rows.a": 1, "rows.b": 3, "files": 1}), ("rows.a: 1, not 2", 4)),
        (Engine(counts={"rows.a": 2, "rows.b": 3}), ("files: 0, not 1", 4)),
        (Engine(samples={"a": "00"}), ("sample a differs", 4)),
        (Engine(samples={"b": "ff"}), ("sample a differs", 4)),
    ],
)
def test_counts_and_samples_of_a_restore_are_the_manifests(tmp_path, engine, expected):
    one = made(tmp_path / "sets")
    proved = verify(one, rung=5, engine=engine).proved[0]
    assert (proved.problem and proved.problem.partition(": ")[2], proved.rung) == expected


def test_all_artifacts_are_read_and_the_lowest_failure_is_told(tmp_path):
    root = tmp_path / "sets"
    artifacts = {name: {"script": "echo " + name} for name in ("a", "b", "c", "d")}
    one = made(root, artifacts=artifacts, workers=3)
    engine = Engine()
    assert verify(one, engine=engine).proved[0].rung == 3
    assert engine.scratches == [[]] * 4  # each has its own empty folder
    path = os.path.join(backup_sets.listed(str(root))[0].path, "c.dump.zst")
    with open(path, "r+b") as file:
        file.write(b"xxxx")
    proved = verify(one, engine=Engine(EngineError("damaged", "no end"))).proved[0]
    assert proved.problem == "c.dump.zst: has another sum than when it was made"
    assert os.listdir(str(root) + "-scratch") == []


def test_an_encrypted_artifact_without_the_key_is_proved_to_rung_2_and_that_is_told(tmp_path):
    root = tmp_path / "sets"
    one = made(root)
    folder = backup_sets.listed(str(root))[0].path
    path = os.path.join(folder, "manifest.json")
    manifest = backup_manifest.parse(backup_manifest.read_file(path))
    artifact = manifest.artifacts[0]._replace(encryption="age")
    with open(path, "w") as file:
        file.write(backup_manifest.to_json(manifest._replace(artifacts=(artifact,))))
    os.unlink(str(root / "ledger.jsonl"))
    os.unlink(str(root / ".ledger.head"))
    results = verify(one)
    assert told(results) == ("warning", "backup_verify.hindered", 2)
    assert "is encrypted, and no identity is given" in results.findings[0]["params"]["reason"]
    assert rungs(root) == [2]
    assert told(verify(one, rung=2)) == ("ok", "backup_verify.passed", 2)


@pytest.mark.parametrize("later", [{"rung": 2}, {"engine": Engine(EngineError("space", "too little"))}], ids=["lower", "hindered"])
def test_a_failure_is_forgotten_only_when_its_rung_is_passed(tmp_path, later):
    root = tmp_path / "sets"
    one = made(root, verify={2: DAY})
    assert verify(one, rung=5, engine=Engine(samples={"a": "00"})).findings[0]["status"] == "critical"
    verify(one, now=NOW + 60, **{"rung": 4, **later})
    found = backup_sets.listed(str(root))[0]
    assert (found.sound, found.failed_rung, found.rung) == (False, 5, 4)
    os.unlink(str(root / "ledger.jsonl"))  # the record beside the set is enough
    os.unlink(str(root / ".ledger.head"))
    again = verify(one, now=NOW + 120, engine=Engine(samples={"a": "00"}))
    assert (again.proved[0].asked, again.findings[0]["status"]) == (5, "critical")
    verify(one, now=NOW + 180)
    assert backup_sets.listed(str(root))[0].sound
    assert verify(one, now=NOW + 240).proved[0].asked is None


def test_a_record_from_the_future_proves_nothing(tmp_path):
    root = tmp_path / "sets"
    one = made(root, verify={2: DAY, 3: 30 * DAY})
    verify(one, now=NOW + 900 * DAY)
    assert verify(one, now=NOW + DAY).proved[0].asked == 3
    assert [rung.at for rung in backup_sets.listed(str(root))[0].rungs] == [NOW + DAY] * 3
    assert verify(one, now=NOW + DAY + 60).proved[0].asked is None


def test_a_record_of_another_set_proves_nothing(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (1,), verify={3: 30 * DAY})
    verify(one, now=NOW - DAY)
    made(root, (0,))
    newest, before = backup_sets.listed(str(root))
    shutil.copy(os.path.join(before.path, "verified.json"), newest.path)
    assert rungs(root) == [0, 3]
    assert verify(one, sets=["all"]).proved[0].asked == 3
    found, _data = backup_status.look([one], now=lambda: NOW)
    assert [item["params"]["verified"] for item in found if item["check"].endswith("verified")] == [newest.name]


def test_a_newest_set_that_is_visibly_damaged_is_told_though_nothing_is_due(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (1,), verify={3: 30 * DAY})
    verify(one, now=NOW - DAY)
    made(root, (0,))
    results = verify(one)
    assert (told(results), results.proved[0].rung) == (("ok", "backup_verify.not_due", 0), 0)  # its own rung, not the older set's
    os.truncate(os.path.join(backup_sets.listed(str(root))[0].path, "db.dump.zst"), 3)
    assert told(verify(one)) == ("critical", "backup_verify.failed", 0)


def test_one_artifact_that_fails_does_not_hide_another(tmp_path):
    root = tmp_path / "sets"
    one = made(root, artifacts={name: {"script": "echo " + name} for name in ("a", "b", "c")})
    path = backup_sets.listed(str(root))[0].path
    for name in ("a", "c"):
        with open(os.path.join(path, name + ".dump.zst"), "r+b") as file:
            file.write(b"xxxx")
    found = verify(one).findings[0]
    assert found["params"]["reason"].startswith("a.dump.zst: ")
    assert found["evidence"]["backup_notes"][0].endswith(": rung 2: c.dump.zst: has another sum than when it was made")
    for name in ("a", "c"):
        os.unlink(os.path.join(path, name + ".dump.zst"))
    assert verify(one).findings[0]["evidence"]["backup_notes"][0].endswith(": rung 1: c.dump.zst: is missing")


def test_what_could_not_be_read_has_not_passed_because_another_failed_higher(tmp_path):
    root = tmp_path / "sets"
    one = made(root, artifacts={"a": {"script": "echo a"}, "b": {"script": "echo b"}})

    class Uneven(Engine):
        def read_through(self, artifact, stored, work):
            raise EngineError("damaged", "no end")

    real = backup_verify.backup_verify_set._Sum.run

    def run(sums):
        real(sums)
        if sums.path.endswith("b.dump.zst"):
            sums.found, sums.error = None, OSError(116, "Stale file handle")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup_verify.backup_verify_set._Sum, "run", run)
        proved = verify(one, engine=Uneven()).proved[0]
    assert (proved.problem, proved.rung) == ("a.dump.zst: no end", 1)
    assert rungs(root) == [1]


@pytest.mark.parametrize(
    "problem",
    [
        OSError(28, "No space left on device"),
        OSError(116, "Stale file handle"),
        OSError(107, "Transport endpoint is not connected"),
        MemoryError(),
        EngineError("damaged", "tar: x: Cannot write: No space left on device"),
        EngineError("failed", "OperationalError: database or disk is full"),
        backup_stream.StreamError("tar", 2, "tar: x: Cannot write: No space left on device"),
        backup_stream.StreamError("runuser", 137, ""),
    ],
    ids=lambda problem: str(problem)[:40] or type(problem).__name__,
)
def test_a_full_disk_and_a_server_that_is_gone_are_no_damage(tmp_path, problem):
    root = tmp_path / "sets"
    one = made(root)
    verify(one)
    assert verify(one, engine=Engine(problem)).findings[0]["status"] == "warning"
    assert rungs(root) == [3]
    assert backup_sets.listed(str(root))[0].sound


def test_a_disk_that_cannot_be_read_is_damage(tmp_path):
    assert told(verify(made(tmp_path / "sets"), engine=Engine(OSError(5, "Input/output error")))) == ("critical", "backup_verify.failed", 2)


@pytest.mark.parametrize("what", ["artifact", "manifest", "folder"])
def test_what_may_not_be_read_is_unknown_not_damaged(tmp_path, what):
    root = tmp_path / "sets"
    one = made(root)
    folder = backup_sets.listed(str(root))[0].path
    verify(made(tmp_path / "other"), rung=3)  # has everything imported: the user without rights may not read this Python either
    locked = {"artifact": os.path.join(folder, "db.dump.zst"), "manifest": os.path.join(folder, "manifest.json"), "folder": folder}[what]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for path in (scratch, root, folder):
        os.chmod(str(path), 0o777)
    for path in ("db.dump.zst", "manifest.json"):
        os.chmod(os.path.join(folder, path), 0o644)
    os.chmod(str(root / "ledger.jsonl"), 0o644)
    os.chmod(locked, 0)
    child = os.fork()
    if not child:
        status = 1
        try:
            for above in (tmp_path, *list(tmp_path.parents)[:3]) if os.geteuid() == 0 else ():
                os.chmod(str(above), os.stat(str(above)).st_mode & 0o7777 | 0o055)  # the highest may be /tmp
            if os.geteuid() == 0:
                os.setuid(65534)
            one = one._replace(plan=one.plan._replace(drill=backup_plan.Drill(scratch=str(scratch))))
            found = verify(one, rung=3).findings[0]
            status = 0 if (found["status"], found["message"]) == ("unknown", "backup_verify.hindered") else 2
        finally:
            os._exit(status)
    try:
        assert exit_status(child) == 0
    finally:
        os.chmod(folder, 0o700)


def test_a_trial_restore_of_the_ladder_keeps_out_of_the_source(tmp_path):
    (tmp_path / "data").mkdir()
    one = made(tmp_path / "sets")
    artifact = one.plan.artifacts[0]._replace(spec={"paths": [str(tmp_path / "data")]})
    inside = backup_plan.Drill(scratch=str(tmp_path / "data" / "scratch"))
    one = one._replace(plan=one.plan._replace(artifacts=(artifact,), drill=inside))
    results = verify(one, rung=5)
    assert told(results) == ("warning", "backup_verify.hindered", 3)
    assert "beside, never into it" in results.findings[0]["params"]["reason"]


def test_an_error_that_nobody_thought_of_holds_up_no_other_backup(tmp_path, monkeypatch):
    first, second = (made(tmp_path / name)._replace(name=name) for name in ("a", "b"))
    monkeypatch.setattr(backup_verify.backup_ledger, "read", lambda root: 1 // 0 if root.endswith("a") else backup_ledger.Ledger([]))
    results = backup_verify.run(backup_verify.Asked([first, second], 2, ["newest"], False), False, lambda: NOW, lambda _name: Engine())
    assert [found["status"] for found in results.findings] == ["unknown", "ok"]


def test_a_root_that_hangs_holds_up_no_other_backup(tmp_path, monkeypatch):
    first, second = (made(tmp_path / name)._replace(name=name) for name in ("a", "b"))
    answers = {first.root: host_space.Answer(None, "hangs"), second.root: host_space.Answer(None)}
    monkeypatch.setattr(host_space.Spaces, "collect", lambda _self: answers)
    results = backup_verify.run(backup_verify.Asked([first, second], 2, ["newest"], False), False, lambda: NOW, lambda _name: Engine())
    assert [found["status"] for found in results.findings] == ["unknown", "ok"]
    assert "does not answer" in results.findings[0]["params"]["reason"]


# -- the ledger -----------------------------------------------------------------------------------------------------------------


def test_a_set_without_a_ledger_is_judged_by_its_digest_and_that_is_said(tmp_path):
    root = tmp_path / "sets"
    one = made(root)
    for name in ("ledger.jsonl", ".ledger.head"):
        os.unlink(str(root / name))
    results = verify(one)
    assert results.findings[0]["status"] == "ok"
    assert "the ledger does not know the set" in results.findings[0]["evidence"]["backup_notes"][0]


def test_a_ledger_that_does_not_hold_is_told_though_the_set_is_sound(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (1, 0))
    path = root / "ledger.jsonl"
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    results = verify(one)
    assert told(results)[:2] == ("critical", "backup_verify.ledger")
    assert results.proved[0].rung == 3


def test_a_ledger_without_its_head_is_told_though_the_set_is_sound(tmp_path):
    one = made(tmp_path / "sets")
    (tmp_path / "sets" / ".ledger.head").unlink()
    assert told(verify(one)) == ("warning", "backup.ledger.unheld", 3)


def test_a_renamed_set_is_known_by_its_manifest(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (2, 1))
    newest = backup_sets.listed(str(root))[0]
    os.rename(newest.path, str(root / set_names.set_name(NOW)))
    problem = verify(one).proved[0].problem
    assert problem == "manifest.json: this is the set %s under another name" % newest.name


def test_a_late_line_of_the_ledger_does_not_vouch_for_a_name(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (2, 1))
    for name in ("ledger.jsonl", ".ledger.head"):
        os.unlink(str(root / name))
    newest = backup_sets.listed(str(root))[0]
    os.rename(newest.path, str(root / set_names.set_name(NOW - DAY / 2)))
    made(root, (0,))  # takes what it finds into the ledger
    proved = verify(one, sets=["all"]).proved
    assert [item.rung for item in proved] == [3, 0, 3]
    assert "which is not what the set is called" in proved[1].problem


def test_a_clock_that_was_set_back_is_known_to_the_ledger(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (0,))
    found = backup_make.run([one], "test", clock=lambda: NOW - 3 * DAY, engines=lambda _name: ShellEngine()).made[0]
    assert parse_time(json.loads((root / found.set / "manifest.json").read_text())["start"]) == NOW - 3 * DAY
    assert verify(one).findings[0]["status"] == "ok"


@pytest.mark.parametrize("pruned", [True, False])
def test_a_set_that_is_removed_meanwhile_is_not_judged(tmp_path, pruned):
    root = tmp_path / "sets"
    one = made(root, (1, 0))

    class Pruning(Engine):
        def read_through(self, artifact, stored, work):
            folder = os.path.dirname(stored.path)
            if pruned:
                backup_ledger.append(str(root), "pruned", os.path.basename(folder), NOW)
            shutil.rmtree(folder)
            raise EngineError("damaged", "it is gone")

    results = verify(one, engine=Pruning())
    assert told(results)[:2] == ("warning", "backup_verify.nothing" if pruned else "backup_verify.gone")
    assert "was removed meanwhile" in results.findings[0]["evidence"]["backup_notes"][0]
    assert lines(root) == []


def test_a_record_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    one = made(tmp_path / "sets")

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "put", full)
    results = verify(one)
    assert told(results)[:2] == ("warning", "backup_verify.unwritten")


# -- which sets -----------------------------------------------------------------------------------------------------------------


def test_sets_are_chosen_by_name_and_time(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (3, 2, 1))
    names = [item.name for item in backup_sets.listed(str(root))]
    assert [item.name for item in verify(one, sets=["all"]).proved] == names
    assert [item.name for item in verify(one, sets=[names[2][:8], names[1], names[1]]).proved] == [names[2], names[1]]
    results = verify(one, sets=["2001-01-01"])
    assert told(results)[:2] == ("unknown", "backup_verify.root")
    assert names[2] in results.findings[0]["params"]["reason"]


def test_a_newest_set_that_is_not_whole_is_told_not_passed_over(tmp_path):
    root = tmp_path / "sets"
    one = made(root, (1, 0))
    os.unlink(os.path.join(backup_sets.listed(str(root))[0].path, "manifest.json"))
    assert told(verify(one)) == ("critical", "backup_verify.failed", 0)


def test_a_root_without_sets_and_no_root(tmp_path):
    one = backup(tmp_path / "sets")
    assert told(verify(one))[:2] == ("unknown", "backup_verify.root")
    (tmp_path / "sets").mkdir()
    assert told(verify(one))[:2] == ("warning", "backup_verify.nothing")


def test_where_no_disk_is_mounted_nothing_is_verified_or_written(tmp_path):
    one = made(tmp_path / "sets")._replace(mount_point=str(tmp_path))
    results = verify(one)
    assert told(results)[:2] == ("unknown", "backup_verify.root")
    assert results.findings[0]["params"]["reason"] == "nothing is mounted at %s" % tmp_path
    assert rungs(tmp_path / "sets") == [0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rung": 6}, "rung: 6 is none of the rungs 1 to 5"),
        ({"at_least": 9}, "at_least: 9 is none of the rungs 1 to 5"),
        ({"rung": 0}, "rung: 0 is none of the rungs 1 to 5"),
        ({"only": ["ap"]}, "only\\[0\\]: .*app"),
        ({"backups": [{"name": "a", "root": "/b", "verify": {"6": "1d"}}]}, "verify"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(OptionError, match=said):
        backup_verify.parse({"backups": [{"name": "app", "root": "/b"}], **options})


# -- other tools ----------------------------------------------------------------------------------------------------------------

DUMP = b"-- MySQL dump 10.13\nCREATE TABLE a (id int);\n-- Dump completed on 2026-01-31\n"


def foreign(root, kind="file", **options):
    more = {"pattern": "*.sql"} if kind == "file" else {}
    scratch = {"scratch": str(root) + "-scratch"}
    return backup_options.parse([{"name": "old", "root": str(root), "kind": kind, "drill": scratch, **more, **options}])[0]


def write(path, data, days=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(str(path), (NOW - days * DAY, NOW - days * DAY))


def test_files_of_other_tools_have_their_record_in_the_root(tmp_path):
    root = tmp_path / "dumps"
    for day in range(3):
        write(root / ("db-%d.sql" % day), DUMP, day)
    one = foreign(root, verify={"3": "7d"})
    results = verify(one)
    assert (told(results), results.changed) == (("ok", "backup_verify.passed", 3), True)
    assert "has no check sum" in results.findings[0]["evidence"]["backup_notes"][0]
    again = verify(one, now=NOW + DAY)
    assert (told(again)[1], again.changed) == ("backup_verify.not_due", False)
    write(root / "db-0.sql", DUMP[:50], 0)
    assert told(verify(one, force=True)) == ("critical", "backup_verify.failed", 1)
    assert told(verify(one, now=NOW + DAY))[0] == "critical"  # not due, but it failed
    assert [item.rung for item in verify(one, sets=["all"]).proved] == [1, 3, 3]
    os.unlink(str(root / "db-2.sql"))
    verify(one, sets=["db-1.sql"], force=True)
    assert sorted(json.loads((root / backup_verify_state.STATE).read_text())["files"]) == ["db-0.sql", "db-1.sql"]


def test_what_is_only_in_the_way_takes_nothing_from_a_file_that_was_proved(tmp_path, monkeypatch):
    root = tmp_path / "dumps"
    write(root / "a.sql", DUMP)
    one = foreign(root)

    def known():
        item = json.loads((root / backup_verify_state.STATE).read_text())["files"]["a.sql"]
        return [rung["rung"] for rung in item["rungs"]], item.get("failed", {}).get("rung")

    verify(one)
    assert known() == ([1, 2, 3], None)
    verify(one, rung=1)
    assert known() == ([1, 2, 3], None)
    real = backup_verify.backup_verify_file._Look.sql

    def lacking(_look):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_verify.backup_verify_file._Look, "sql", lacking)
    assert verify(one).findings[0]["status"] == "unknown"
    assert known() == ([1, 2, 3], None)

    def damaged(_look):
        raise backup_verify.backup_verify_file.ContentError("is half a dump")

    monkeypatch.setattr(backup_verify.backup_verify_file._Look, "sql", damaged)
    verify(one)
    assert known() == ([1], 3)
    monkeypatch.setattr(backup_verify.backup_verify_file._Look, "sql", lacking)
    verify(one)
    assert known() == ([1], 3)
    monkeypatch.setattr(backup_verify.backup_verify_file._Look, "sql", real)
    verify(one)
    assert known() == ([1, 2, 3], None)


def test_a_file_that_changed_is_verified_again(tmp_path):
    root = tmp_path / "dumps"
    write(root / "a.sql", DUMP, 1)
    one = foreign(root, verify={"3": "7d"})
    verify(one)
    write(root / "a.sql", DUMP + b"\n", 0)
    assert verify(one, sets=["all"], now=NOW + 60).proved[0].asked == 3


def test_a_record_that_is_broken_is_written_anew(tmp_path):
    root = tmp_path / "dumps"
    write(root / "a.sql", DUMP)
    (root / backup_verify_state.STATE).write_text('{"files": {"a.sql": 3}}')
    assert verify(foreign(root)).findings[0]["status"] == "ok"
    assert json.loads((root / backup_verify_state.STATE).read_text())["files"]["a.sql"]["rungs"]


def test_dated_folders_of_other_tools(tmp_path):
    root = tmp_path / "daily"
    write(root / "2027-01-14" / "db.sql", DUMP, 1)
    write(root / "2027-01-15" / "db.sql", DUMP, 0)
    write(root / "2027-01-15" / "deep" / "config", b"x", 0)
    write(root / "2027-01-15" / "empty.log", b"", 0)
    one = foreign(root, "folder")
    assert told(verify(one)) == ("ok", "backup_verify.passed", 3)
    write(root / "2027-01-15" / "deep" / "b.sql", DUMP[:40], 0)
    results = verify(one)
    assert told(results) == ("critical", "backup_verify.failed", 1)
    assert results.findings[0]["params"]["reason"].startswith("b.sql: ")
    (root / "2027-01-16").mkdir()
    assert verify(one, sets=["2027-01-16"]).proved[0].problem == "holds nothing"


def test_the_daily_look_tells_what_was_proved_of_them(tmp_path):
    root = tmp_path / "dumps"
    for day in range(3):
        write(root / ("db-%d.sql" % day), DUMP, day)

    def daily(now=NOW):
        found, _data = backup_status.look([foreign(root, max_unverified_age="8d")], now=lambda: now)
        return {item["check"].partition("old.")[2]: (item["status"], item["message"]) for item in found}

    assert daily()["verified"] == ("warning", "backup.verified.none")
    verify(foreign(root))
    assert daily(NOW + DAY)["verified"] == ("ok", "backup.verified.ok")
    assert daily(NOW + 9 * DAY)["verified"] == ("warning", "backup.verified")
    write(root / "db-0.sql", DUMP[:-20], 0)
    verify(foreign(root))
    assert daily()["complete"] == ("critical", "backup.broken")
    write(root / "db-0.sql", DUMP + b"\n", 0)
    assert daily()["complete"] == ("ok", "backup.complete.file.ok")


def test_another_tools_backups_are_chosen_by_time_and_proof(tmp_path):
    root = tmp_path / "dumps"
    for day in range(3):
        write(root / ("db-%d.sql" % day), DUMP, day)
    one = foreign(root)
    assert told(verify(one, sets=["newest-proved"]))[:2] == ("unknown", "backup_verify.root")
    verify(one, sets=["db-1.sql"])
    assert [item.name for item in verify(one, sets=["newest-proved", "2027-01-13", "newest"]).proved] == [
        "db-1.sql",
        "db-2.sql",
        "db-0.sql",
    ]


def test_sums_of_any_kind_are_no_backups(tmp_path):
    root = tmp_path / "dumps"
    write(root / "a.sql", DUMP, 1)
    for name in ("a.sql.md5", "a.sql.SHA512", "b.sql.sha1sum", "sha256sum.txt", "MD5SUMS"):
        write(root / name, b"x", 0)
    assert [item.name for item in verify(foreign(root, pattern="*"), sets=["all"]).proved] == ["a.sql"]


def test_a_file_that_is_still_written_is_not_called_damaged(tmp_path, monkeypatch):
    root = tmp_path / "dumps"
    write(root / "a.sql", DUMP[:40])
    real = backup_verify.backup_verify_file.read_file

    def growing(path, *arguments):
        found = real(path, *arguments)
        with open(path, "ab") as file:
            file.write(DUMP[40:60])
        return found

    one = foreign(root, verify={"3": "7d"})
    with monkeypatch.context() as patch:
        patch.setattr(backup_verify.backup_verify_file, "read_file", growing)
        results = verify(one)
    assert told(results) == ("unknown", "backup_verify.hindered", 1)
    assert "may still be written" in results.findings[0]["params"]["reason"]
    write(root / "a.sql", DUMP)
    assert told(verify(one)) == ("ok", "backup_verify.passed", 3)


def test_a_file_that_goes_away_while_it_is_read(tmp_path, monkeypatch):
    root = tmp_path / "dumps"
    write(root / "a.sql", DUMP, 1)
    write(root / "b.sql", DUMP, 0)
    real = backup_verify.backup_verify_file.read_file

    def removing(path, *arguments):
        if path.endswith("b.sql"):
            os.unlink(path)
        return real(path, *arguments)

    monkeypatch.setattr(backup_verify.backup_verify_file, "read_file", removing)
    results = verify(foreign(root), sets=["all"])
    assert told(results) == ("warning", "backup_verify.gone", 3)
    assert list(json.loads((root / backup_verify_state.STATE).read_text())["files"]) == ["a.sql"]


def test_what_a_list_of_sums_names_must_be_in_the_folder(tmp_path):
    root = tmp_path / "daily"
    for name in ("a.sql", "deep/b.sql"):
        write(root / "2027-01-15" / name, DUMP)
    digest = hashlib.sha256(DUMP).hexdigest()
    lists = root / "2027-01-15" / "SHA256SUMS"
    lists.write_text("%s  ./a.sql\n%s *deep/b.sql\n" % (digest, digest))
    one = foreign(root, "folder")
    results = verify(one)
    assert told(results) == ("ok", "backup_verify.passed", 3)
    assert "backup_notes" not in results.findings[0]["evidence"]  # each has a sum
    write(root / "2027-01-15" / "deep" / "b.sql", DUMP.replace(b"a (id", b"b (id"))
    assert verify(one).findings[0]["params"]["reason"] == "b.sql: has another sum than the one written beside it"
    os.unlink(str(root / "2027-01-15" / "deep" / "b.sql"))
    results = verify(one)
    assert told(results) == ("critical", "backup_verify.failed", 0)
    assert results.findings[0]["params"]["reason"] == "deep/b.sql: is missing; SHA256SUMS has its sum"


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path, monkeypatch):
    root = tmp_path / "daily"
    write(root / "2027-01-15" / "a.sql", DUMP)
    write(root / "2027-01-15" / "deep" / "b.sql", DUMP)
    real = os.scandir

    def scandir(path="."):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    results = verify(foreign(root, "folder"))
    assert told(results) == ("unknown", "backup_verify.hindered", 0)
    assert results.findings[0]["params"]["reason"] == "deep: cannot be listed: Permission denied"


def test_a_record_of_another_tools_backups_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    root = tmp_path / "dumps"
    write(root / "a.sql", DUMP)

    def read_only(*_arguments):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(durable, "write_synced", read_only)
    results = verify(foreign(root))
    assert (told(results), results.changed) == (("warning", "backup_verify.unwritten", 3), False)


def test_a_frequency_of_a_rung_that_cannot_be_had_is_that_of_the_highest(tmp_path):
    root = tmp_path / "dumps"
    write(root / "a.sql", DUMP)
    one = foreign(root, verify={"5": "30d"})
    assert [verify(one, now=NOW + day * DAY).proved[0].asked for day in (0, 20, 31)] == [3, None, 3]


def test_higher_rungs_than_3_cannot_be_had_of_other_tools(tmp_path):
    root = tmp_path / "dumps"
    write(root / "a.sql", DUMP)
    assert verify(foreign(root), rung=5).proved[0].rung == 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="texts are told on the controller")
def test_every_text_exists_in_both_languages_and_fits_its_parameters(tmp_path):
    from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

    root = tmp_path / "sets"
    one = made(root, (1, 0))
    found = [verify(one, **more).findings[0] for more in ({}, {"sets": ["all"]}, {"check_mode": True}, {"sets": ["x"]})]
    found.append(verify(one, engine=Engine(EngineError("damaged", "x"))).findings[0])
    found.append(verify(one, engine=Engine(EngineError("space", "x"))).findings[0])
    found.append(verify(one._replace(plan=one.plan._replace(verify={2: DAY})), now=NOW + 60).findings[0])
    for item in found:
        for language in catalogue.LANGUAGES:
            assert "?" not in catalogue.tell(item, language)
        assert all("evidence." + name in catalogue.entries() for name in item["evidence"])
