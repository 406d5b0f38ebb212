# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores of real files: whole, in part, failing at every step, twice at once."""

from __future__ import annotations

import os
import signal

import pytest
from shop import SERVICES, UP

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files.engine import FilesEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import plan as restore_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import run as restore_run

PROBE = {"health": [{"name": "shop", "type": "http", "url": "http://127.0.0.1:9/"}]}


def told(outcome):
    """Status and message of the only finding."""
    (found,) = outcome.found
    return found["status"], found["message"]


def test_a_set_is_restored_with_what_was_there_set_aside(shop):
    before = shop.state()
    outcome = shop.run()
    assert told(outcome) == ("ok", "backup.restore.done"), outcome
    assert outcome.changed and shop.holds("old")
    assert shop.state()["services"] == before["services"] == {name: name in UP for name in SERVICES}
    aside = outcome.plan["aside"]
    assert aside and all(os.path.exists(path) for path in aside)
    assert backup_ledger.read(str(shop.root)).entries[-1]["what"] == "restored"
    assert backup_ledger.read(str(shop.root)).broken is None
    (one,) = backup_sets.listed(str(shop.root))
    assert one.rung == 3


def test_a_restore_that_the_ledger_does_not_take_is_told(shop, monkeypatch):
    """The data is in place; that nothing says so is a warning."""
    sync = os.fsync

    def fails(handle):
        if os.readlink("/proc/self/fd/%d" % handle).endswith("ledger.jsonl"):
            raise OSError(5, "Input/output error")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fails)
    outcome = shop.run()
    assert told(outcome) == ("warning", "backup.restore.done_unwritten"), outcome
    assert "Input/output error" in outcome.found[0]["params"]["reason"]
    assert outcome.changed and shop.holds("old") and not outcome.failed
    assert backup_ledger.read(str(shop.root)).entries[-1]["what"] != "restored"


def test_a_restore_that_is_done_can_be_taken_back_until_it_is_discarded(shop):
    before = shop.state()
    shop.run()
    undone = shop.run(action="undo")
    assert told(undone) == ("ok", "backup.restore.undo.done")
    assert shop.state() == before and shop.journal() is None
    assert told(shop.run(action="undo")) == ("ok", "backup.restore.undo.nothing")
    aside = shop.run().plan["aside"]
    unconfirmed = shop.run(action="discard")
    assert told(unconfirmed) == ("warning", "backup.restore.discard.unconfirmed") and not unconfirmed.changed
    assert all(os.path.exists(path) for path in aside)
    shop.run(action="discard", confirm=["restore_discard"])
    assert not any(os.path.exists(path) for path in aside) and shop.holds("old")
    assert told(shop.run(action="discard", confirm=["restore_discard"])) == ("ok", "backup.restore.discard.nothing")
    assert told(shop.run(action="undo")) == ("ok", "backup.restore.undo.nothing")
    assert shop.holds("old")
    assert not list(shop.live.glob(".*"))


def test_a_second_restore_keeps_what_the_first_has_set_aside(shop):
    first = shop.run().plan["aside"]
    shop.write("newer")
    # The folders of ours went with the live folder: a restore must not stumble over that.
    second = shop.run()
    assert told(second) == ("ok", "backup.restore.done"), second
    assert not set(first) & set(second.plan["aside"])
    gone = shop.run(action="discard", confirm=["restore_discard"])
    assert told(gone) == ("ok", "backup.restore.discard.done")
    assert not any(os.path.exists(path) for path in [*first, *second.plan["aside"]])


def test_an_earlier_restore_is_taken_back_only_when_that_is_meant(shop):
    """After a second restore that failed, or was taken back, the first can still be."""
    before = shop.state()
    assert told(shop.run()) == ("ok", "backup.restore.done")
    first = shop.state()
    assert told(shop.run(means=shop.means(healthy=lambda: False), restore=PROBE)) == ("critical", "backup.restore.taken_back")
    assert shop.state() == first and shop.journal() is None
    for _twice in range(2):
        kept = shop.run(action="undo")
        assert told(kept) == ("warning", "backup.restore.undo.earlier") and not kept.changed
        assert kept.found[0]["evidence"]["restore_aside"] and shop.state() == first
    assert told(shop.run(True, action="undo", confirm=["restore_undo_earlier"])) == ("ok", "backup.restore.undo.would")
    assert shop.state() == first
    assert told(shop.run(action="undo", confirm=["restore_undo_earlier"])) == ("ok", "backup.restore.undo.done")
    assert shop.state() == before
    assert told(shop.run(action="undo", confirm=["restore_undo_earlier"])) == ("ok", "backup.restore.undo.nothing")
    assert not list(shop.live.glob(".*"))


def test_what_was_being_discarded_cannot_be_taken_back_any_more(shop):
    from shop import child, killed

    shop.run()
    shop.run()
    assert told(shop.run(action="undo")) == ("ok", "backup.restore.undo.done")
    after = shop.state()

    def die(step):
        if step.startswith("discard "):
            os.kill(os.getpid(), signal.SIGKILL)

    assert killed(child(shop, die, action="discard", confirm=["restore_discard"]))
    assert told(shop.run(action="undo", confirm=["restore_undo_earlier"])) == ("critical", "backup.restore.refused")
    assert shop.state() == after
    assert told(shop.run(action="discard", confirm=["restore_discard"])) == ("ok", "backup.restore.discard.done")
    assert shop.holds("old") and not list(shop.live.glob(".*"))


@pytest.mark.parametrize("action", ["undo", "discard"])
def test_the_way_back_and_the_end_need_no_set(shop, action):
    """It may have been pruned since, or the disk of the backups is what was lost."""
    import shutil

    before = shop.state()
    assert shop.run().failed is None
    shutil.rmtree(shop.root)
    outcome = shop.run(action=action, confirm=["restore_discard"])
    assert told(outcome) == ("ok", "backup.restore.%s.done" % action), outcome
    assert shop.state() == before if action == "undo" else shop.holds("old")
    assert not list(shop.live.glob(".*"))


@pytest.mark.parametrize(("step", "goes_on"), [("stage pictures", False), ("swap pictures", True), ("start web", True)])
def test_a_killed_restore_of_a_set_that_is_gone_goes_on_once_all_is_staged(shop, step, goes_on):
    import shutil

    from shop import child, killed

    def die(seen):
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    before = shop.state()
    assert killed(child(shop, die, restore=PROBE))
    shutil.rmtree(shop.root / shop.journal().set)
    resumed = shop.run(action="resume", restore=PROBE)
    if goes_on:
        assert told(resumed) == ("ok", "backup.restore.done") and shop.holds("old")
    else:
        assert told(resumed) == ("critical", "backup.restore.refused") and "undo the restore" in resumed.failed
    assert told(shop.run(action="undo", restore=PROBE)) == ("ok", "backup.restore.undo.done")
    assert shop.state() == before


def test_no_data_is_swapped_while_a_backup_of_it_is_made(shop):
    assert shop.run().failed is None
    after = shop.state()
    with backup_sets.locked(str(shop.root), "a backup"):
        for options in ({}, {"action": "undo"}):
            outcome = shop.run(**options)
            assert told(outcome) == ("critical", "backup.restore.refused") and "a backup, process" in outcome.failed, outcome
            assert shop.state() == after
    assert told(shop.run(action="undo")) == ("ok", "backup.restore.undo.done")


def test_a_service_that_does_not_stay_up_is_taken_back(shop):
    """Without any probe: it comes up, and ends a moment later."""

    class Flapping(type(shop.runtime())):
        def stay_up(self, services, seconds):
            if shop.holds("old"):
                self.stop("web")
            super().stay_up(services, seconds)

    before = shop.state()
    outcome = shop.run(means=shop.means()._replace(runtime=Flapping(shop.running)))
    assert told(outcome) == ("critical", "backup.restore.taken_back") and "web is down again" in outcome.failed
    assert shop.state() == before


def test_a_service_that_is_just_ending_is_waited_for(shop):
    """Neither up nor down: its processes may still write."""
    stopped = []

    class Ending(type(shop.runtime())):
        def is_down(self, service):
            return super().is_down(service) and (service != "mailer" or service in stopped)

        def stop(self, service):
            stopped.append(service)
            super().stop(service)

    outcome = shop.run(means=shop.means()._replace(runtime=Ending(shop.running)))
    assert told(outcome) == ("ok", "backup.restore.done") and "mailer" in stopped


def test_a_root_that_is_not_there_is_told_with_what_to_do(shop):
    import shutil

    shutil.rmtree(shop.root)
    assert told(shop.run(set=None)) == ("warning", "backup.restore.none")
    assert told(shop.run())[1] == "backup.restore.refused"


@pytest.mark.parametrize("check_mode", [False, True])
def test_no_set_of_the_system_s_disk_is_restored_while_the_backup_s_is_not_mounted(shop, check_mode):
    before = shop.state()
    options = shop.options()
    options["backups"][0]["mount_point"] = str(shop.root)
    for wanted in (options, {**options, "set": None}):
        outcome = restore_run.run(restore_plan.parse(wanted), check_mode, shop.means())
        assert f"nothing is mounted at {shop.root}" in str(outcome.found[0]["params"])
        assert not outcome.changed
    assert shop.state() == before and shop.journal() is None


def test_a_part_is_restored_and_the_rest_is_left_alone(shop):
    path = str(shop.live / "data" / "inner")
    before = shop.state()["files"]
    outcome = shop.run(part=["data:" + path])
    assert told(outcome) == ("ok", "backup.restore.done"), outcome
    assert any("no counts of this part" in note for note in outcome.found[0]["evidence"]["restore_notes"])
    after = shop.state()["files"]
    assert (shop.live / "data/inner/only-in-the-set").exists()
    assert (shop.live / "data/same").read_text() == "new"
    assert {name: seen for name, seen in after.items() if name.startswith("pictures")} == {
        name: seen for name, seen in before.items() if name.startswith("pictures")
    }


def test_without_a_set_they_are_listed(shop):
    outcome = shop.run(set=None)
    assert told(outcome) == ("warning", "backup.restore.listed.unproved")
    (one,) = outcome.sets
    assert [artifact["name"] for artifact in one["artifacts"]] == ["data", "db", "pictures"]
    assert one["artifacts"][0]["counts"]["files"] == 22
    assert not outcome.changed and shop.holds("new")


@pytest.mark.parametrize(("check_mode", "confirm"), [(True, ["restore"]), (True, []), (False, [])])
def test_check_mode_and_an_unconfirmed_run_tell_the_plan_and_change_nothing(shop, check_mode, confirm):
    before, names = shop.state(), sorted(str(path) for path in shop.folder.rglob("*") if "running" not in str(path))
    outcome = shop.run(check_mode, confirm=confirm)
    assert outcome.plan["stop"] == list(UP) and outcome.plan["start"] == list(reversed(UP)) and outcome.plan["down"] == ["mailer"]
    assert outcome.plan["rung"] == 3 and outcome.plan["space"][0]["need"] > 0
    assert outcome.changed == bool(confirm)
    assert shop.state() == before
    assert sorted(str(path) for path in shop.folder.rglob("*") if "running" not in str(path)) == names


STEPS = [
    "stage data",
    "stage db",
    "stage pictures",
    "look at the services",
    "phase stopping",
    "stop web",
    "stop worker",
    "phase swapping",
    "swap data",
    "swap db",
    "swap pictures",
    "phase finishing",
    "finish data",
    "count data",
    "finish db",
    "count db",
    "finish pictures",
    "count pictures",
    "phase starting",
    "start worker",
    "start web",
    "health",
    "phase done",
]


def test_the_steps_are_these(shop):
    seen = []
    shop.run(means=shop.means(seen.append), restore=PROBE)
    assert seen == STEPS


@pytest.mark.parametrize("step", [step for step in STEPS if step != "phase done"])
def test_a_failure_at_any_step_is_taken_back(shop, step):
    before = shop.state()

    steps = [step]

    def fail(seen):
        if seen in steps:
            steps.remove(seen)  # the way back has steps of the same names
            raise OSError(28, "No space left on device")

    outcome = shop.run(means=shop.means(fail), restore=PROBE)
    assert told(outcome) == ("critical", "backup.restore.taken_back"), outcome
    assert outcome.failed and "No space" in outcome.failed and not outcome.changed
    assert shop.state() == before and shop.journal() is None
    assert told(shop.run()) == ("ok", "backup.restore.done")


@pytest.mark.parametrize("step", [step for step in STEPS if step != "phase done"])
def test_a_signal_at_any_step_is_taken_back(shop, step):
    before = shop.state()

    def send(seen):
        if seen == step:
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = shop.run(means=shop.means(send), restore=PROBE)
    if step == "health":  # the last step was made already when it was heard
        assert told(outcome)[1] in ("backup.restore.done", "backup.restore.taken_back")
    else:
        assert told(outcome) == ("critical", "backup.restore.taken_back"), outcome
        assert "SIGTERM" in outcome.failed
    if told(outcome)[1] == "backup.restore.taken_back":
        assert shop.state() == before and shop.journal() is None


class BadEngine(FilesEngine):
    """The files engine with one restorer's method that does something else."""

    def __init__(self, method, do, artifact="pictures"):
        self.method, self.do, self.artifact = method, do, artifact

    def restorer(self, spec, artifact, stored, request, work):
        context = super().restorer(spec, artifact, stored, request, work)
        if artifact.name == self.artifact:
            enter = context.__enter__

            def entered():
                restorer = enter()
                real = getattr(restorer, self.method)
                setattr(restorer, self.method, lambda: self.do(real))
                return restorer

            return _Context(entered, context.__exit__)
        return context


def planted(bad):
    """The real engines but for this one in the place of the files'."""
    return lambda name: bad if name == "files" else backup_engines.engine(name)


class _Context:
    def __init__(self, enter, leave):
        self.enter, self.leave = enter, leave

    def __enter__(self):
        return self.enter()

    def __exit__(self, *error):
        return self.leave(*error)


def _fails(_real):
    raise EngineError("failed", "planted")


def _half(real):
    real()
    raise EngineError("failed", "planted")


def _one_less(real):
    counts = dict(real())
    counts["files"] -= 1
    return counts


@pytest.mark.parametrize("method", ["stage", "swap", "finish", "count"])
@pytest.mark.parametrize("how", [_fails, _half])
def test_an_engine_that_fails_before_or_after_its_work_is_taken_back(shop, method, how):
    before = shop.state()
    outcome = shop.run(means=shop.means(engines=planted(BadEngine(method, how))))
    assert told(outcome) == ("critical", "backup.restore.taken_back"), outcome
    assert shop.state() == before and shop.journal() is None


@pytest.mark.parametrize("method", ["stage", "count"])
def test_counts_that_differ_are_taken_back(shop, method):
    before = shop.state()
    outcome = shop.run(means=shop.means(engines=planted(BadEngine(method, _one_less))))
    assert told(outcome) == ("critical", "backup.restore.taken_back")
    assert "files: 21, not 22" in outcome.failed
    assert shop.state() == before


@pytest.mark.parametrize("refuse", [("stop", "worker"), ("start", "web")])
def test_a_service_that_does_not_stop_or_start(shop, refuse):
    before = shop.state()
    outcome = shop.run(means=shop.means(refuse=refuse))
    if refuse[0] == "stop":
        assert told(outcome) == ("critical", "backup.restore.taken_back")
        assert shop.state() == before
        return
    # It does not start with the data of before either: the data is back, the journal tells that the service is not.
    assert told(outcome) == ("critical", "backup.restore.stuck")
    assert shop.state()["files"] == before["files"]
    assert told(shop.run(action="undo")) == ("ok", "backup.restore.undo.done")
    assert shop.state() == before


def test_a_service_that_is_not_healthy_with_the_data_is_taken_back(shop):
    before = shop.state()
    outcome = shop.run(means=shop.means(healthy=lambda: shop.holds("new")), restore=PROBE)
    assert told(outcome) == ("critical", "backup.restore.taken_back")
    assert "not healthy" in outcome.failed
    assert shop.state() == before


def test_a_swap_back_that_fails_is_told_and_undo_finishes_it(shop):
    before = shop.state()
    engines = {"swap": BadEngine("swap", _half), "unswap": BadEngine("unswap", _fails, "data")}

    class Both(FilesEngine):
        def restorer(self, spec, artifact, stored, request, work):
            which = "unswap" if artifact.name == "data" else "swap"
            return engines[which].restorer(spec, artifact, stored, request, work)

    outcome = shop.run(means=shop.means(engines=planted(Both())))
    assert told(outcome) == ("critical", "backup.restore.stuck")
    assert not any(shop.state()["services"].values())  # half of the data is another's
    refused = shop.run()
    assert told(refused) == ("critical", "backup.restore.refused") and "undo" in refused.failed
    assert told(shop.run(action="resume"))[1] == "backup.restore.refused"
    assert told(shop.run(action="undo")) == ("ok", "backup.restore.undo.done")
    assert shop.state() == before


def test_services_that_were_down_are_started_when_that_is_asked_for(shop):
    shop.run(start="all")
    assert shop.state()["services"] == dict.fromkeys(SERVICES, True)


def test_a_damaged_set_is_refused_before_anything_is_touched(shop):
    before = shop.state()
    (one,) = backup_sets.listed(str(shop.root))
    path = os.path.join(one.path, one.manifest.artifacts[-1].file)
    with open(path, "r+b") as file:
        file.seek(200)
        byte = file.read(1)
        file.seek(200)
        file.write(bytes([byte[0] ^ 1]))
    seen = []
    outcome = shop.run(means=shop.means(seen.append))
    assert told(outcome) == ("critical", "backup.restore.unproved")
    assert seen == [] and shop.state() == before and shop.journal() is None


def test_a_set_with_a_path_that_leads_out_is_refused_before_anything_is_touched(shop):
    """The manifest and sums are right: the archive itself is hostile."""
    import hashlib
    import io
    import subprocess
    import tarfile

    from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import manifest as backup_manifest

    before = shop.state()
    (one,) = backup_sets.listed(str(shop.root))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("../../../../" + str(shop.live)[1:] + "/data/evil")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"evil"))
    data = subprocess.run(["zstd", "-qc"], input=packed.getvalue(), capture_output=True, check=True).stdout
    artifacts = list(one.manifest.artifacts)
    artifacts[0] = artifacts[0]._replace(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    with open(os.path.join(one.path, artifacts[0].file), "wb") as file:
        file.write(data)
    manifest = backup_manifest.to_json(one.manifest._replace(artifacts=tuple(artifacts)))
    with open(os.path.join(one.path, "manifest.json"), "w") as file:
        file.write(manifest)
    (shop.root / "ledger.jsonl").unlink()
    seen = []
    outcome = shop.run(means=shop.means(seen.append), confirm=["restore", "restore_untrusted"])
    assert told(outcome)[1] == "backup.restore.unproved", outcome
    assert seen == [] and shop.state() == before


def damage(shop, artifact):
    """Turn a bit of an artifact's file."""
    (one,) = backup_sets.listed(str(shop.root))
    path = os.path.join(one.path, next(found.file for found in one.manifest.artifacts if found.name == artifact))
    with open(path, "r+b") as file:
        file.seek(200)
        byte = file.read(1)
        file.seek(200)
        file.write(bytes([byte[0] ^ 1]))
    return path


@pytest.mark.parametrize("remove", [False, True], ids=["damaged", "missing"])
def test_what_is_wrong_with_another_artifact_does_not_keep_a_part_from_being_restored(shop, remove):
    path = damage(shop, "pictures")
    if remove:
        os.unlink(path)
    before = shop.state()
    assert told(shop.run())[1] in ("backup.restore.unproved", "backup.restore.refused") and shop.state() == before
    (one,) = backup_sets.listed(str(shop.root))
    rungs = one.rungs
    name = one.name  # what is known to be unsound is no newest set any more
    planned = shop.run(set=name, part=["data"], confirm=[])
    assert told(planned)[1] == "backup.restore.unconfirmed", planned
    assert any("only what is restored" in line for line in planned.found[0]["evidence"]["restore_plan"])
    outcome = shop.run(set=name, part=["data", "db"])
    assert told(outcome) == ("ok", "backup.restore.done"), outcome
    assert any("not pictures" in note for note in outcome.found[0]["evidence"]["restore_notes"])
    assert shop.words() == {"old"} and (shop.live / "data/same").read_text() == "old" and (shop.live / "pictures/same").read_text() == "new"
    (one,) = backup_sets.listed(str(shop.root))
    assert one.rungs == rungs  # some artifacts are no proof of the set
    assert told(shop.run(set=name, part=["pictures"]))[1] in ("backup.restore.unproved", "backup.restore.refused")


def test_a_part_that_is_damaged_itself_is_refused(shop):
    damage(shop, "pictures")
    before = shop.state()
    assert told(shop.run(part=["pictures"])) == ("critical", "backup.restore.unproved")
    (one,) = backup_sets.listed(str(shop.root))
    assert one.failed and not one.sound
    assert shop.state() == before and shop.journal() is None


def test_too_little_space_is_refused(shop):
    class Greedy(FilesEngine):
        def restorer(self, spec, artifact, stored, request, work):
            return BadEngine("needs", lambda _real: [(str(shop.live), 1 << 60)]).restorer(spec, artifact, stored, request, work)

    before = shop.state()
    outcome = shop.run(means=shop.means(engines=planted(Greedy())))
    assert told(outcome) == ("critical", "backup.restore.space")
    assert shop.state() == before and shop.journal() is None


def test_two_restores_at_once(shop):
    inner = []

    def again(step):
        if step == "stage pictures":
            inner.append(shop.run())
            inner.append(shop.run(True))
            inner.append(shop.run(action="undo"))

    outcome = shop.run(means=shop.means(again))
    assert told(outcome) == ("ok", "backup.restore.done")
    assert [told(one) for one in inner] == [("warning", "backup.restore.busy")] * 3


def test_a_backup_in_the_same_root_waits(shop):
    seen = []

    def make(step):
        if step == "stage data":
            with pytest.raises(backup_sets.BackupError) as raised, backup_sets.locked(str(shop.root), "a backup"):
                pass
            seen.append(raised.value.code)

    shop.run(means=shop.means(make))
    assert seen == ["busy"]


def test_undo_with_other_options_is_refused(shop):
    def fail(step):
        if step == "swap pictures":
            os.kill(os.getpid(), signal.SIGKILL)

    from shop import child, killed

    before = shop.state()
    assert killed(child(shop, fail))
    state = shop.journal()
    options = shop.options(action="undo")
    options["backups"][0]["artifacts"][0]["paths"] = [str(shop.live / "data" / "inner")]
    from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import plan as restore_plan
    from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import run as restore_run

    outcome = restore_run.run(restore_plan.parse(options), False, shop.means())
    assert told(outcome)[1] == "backup.restore.refused" and "options of data" in outcome.failed
    assert shop.journal() == state
    shop.run(action="undo")
    assert shop.state() == before


def test_journals_are_for_their_owner_alone(shop):
    shop.run()
    assert shop.journals.stat().st_mode & 0o777 == 0o700
    for path in shop.journals.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert restore_journal.PHASES[0] in (shop.journals / "shop.log").read_text() or "stage" in (shop.journals / "shop.log").read_text()


def test_the_engines_are_the_real_ones():
    assert isinstance(backup_engines.engine("files"), FilesEngine)
