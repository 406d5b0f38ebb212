# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs killed with SIGKILL while they make and prune sets: at random moments, and instead of each single step they take.

After each: every set that is listed is whole to the last byte, those that were there before still are, and the next run
tidies up and comes to its end.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from plain import DAY, NOW, PlainEngine, backup, data, die_at, ended, forked, holds_the_data, make, names, real_backup, sound

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import prune as backup_prune
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.manifest import Rung
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names

#: Random moments of each; more in the slow tests.
MOMENTS = int(os.environ.get("OPSRUNNER_KILLS", "50"))
#: No run has so many steps.
FAR = 10_000


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data that is backed up."""
    return data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def one_set(tmp_path_factory: pytest.TempPathFactory, original: Path) -> Path:
    """A root with one set."""
    root = tmp_path_factory.mktemp("backups") / "one"
    assert make(backup(root, original), NOW).set
    return root


@pytest.fixture(scope="module")
def six_sets(tmp_path_factory: pytest.TempPathFactory, original: Path) -> Path:
    """A root with six sets, of which the last two are kept, and the third oldest is the newest proved one."""
    root = tmp_path_factory.mktemp("backups") / "six"
    for day in range(6):
        assert make(backup(root, original), NOW + day * DAY).set
    backup_sets.write_verified(backup_sets.listed(str(root))[3], [Rung(3, NOW + 3 * DAY)])
    return root


def _copied(root: Path, place: Path) -> Path:
    if place.exists():
        shutil.rmtree(place)
    return Path(shutil.copytree(root, place))


def _after_making(root: Path, before: list[str], original: Path) -> None:
    """What must hold after a run that makes a set was killed, and after the next one."""
    there = sound(root)
    assert set(before) <= set(there)
    assert len(there) <= len(before) + 1
    left = [name for name in names(root) if name.endswith(".partial")]
    assert len(left) <= 1
    made = make(backup(root, original), NOW + 1000)
    assert made.set is not None, made.found
    assert made.found["status"] == "ok", made.found
    assert made.found["evidence"].get("backup_tidied", []) == left
    assert sound(root) == [made.set, *there]
    assert names(root) == sorted([made.set, *there])
    lines = [line for line in backup_ledger.read(str(root)).entries if line["what"] == "made"]
    assert sorted(line["set"] for line in lines) == sorted([made.set, *there])


def _after_pruning(root: Path) -> None:
    """What must hold after a run that prunes was killed, and after the next one."""
    there = sound(root)
    kept = {set_names.set_name(NOW + day * DAY) for day in (5, 4, 2)}
    assert kept <= set(there)
    assert not [name for name in names(root) if not name.endswith(".removing") and name not in there]
    pruned = _prune(root)
    assert pruned.found["status"] == "ok", pruned.found
    assert set(names(root)) == set(sound(root)) == kept
    lines = [line["set"] for line in backup_ledger.read(str(root)).entries if line["what"] == "pruned"]
    assert sorted(set(lines)) == [set_names.set_name(NOW + day * DAY) for day in (0, 1, 3)]


def _prune(root: Path) -> backup_prune.Pruned:
    options = backup_prune.parse({"backups": [{"name": "app", "root": str(root), "keep": {"last": 2}}], "confirm": ["backup_prune"]})
    return backup_prune.run(options, clock=lambda: NOW + 6 * DAY)[0]


def _killed_after(do: Callable[[], object], delay: float) -> int:
    child = forked(do)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return ended(child)


def _how_long(do: Callable[[], object]) -> float:
    started = time.monotonic()
    assert ended(forked(do)) == 0
    return time.monotonic() - started


def test_making_killed_at_random_moments(tmp_path: Path, one_set: Path, original: Path) -> None:
    """The stream is throttled, so that most moments are in the middle of it."""
    before = sound(one_set)
    what = backup(tmp_path / "root", original, bandwidth=4_000_000)
    _copied(one_set, tmp_path / "root")
    took = _how_long(lambda: make(what, NOW + 500))
    moments = random.Random(20270115)
    ends = []
    for _moment in range(MOMENTS):
        root = _copied(one_set, tmp_path / "root")
        ends.append(_killed_after(lambda: make(what, NOW + 500), moments.uniform(0, took * 1.1)))
        took *= 1.0 if ends[-1] else 0.9  # a run takes as long as the machine lets it
        _after_making(root, before, original)
    assert ends.count(-signal.SIGKILL) > MOMENTS // 2, "most runs had ended before they were killed"
    holds_the_data(tmp_path / "root", before[0], original)


@pytest.mark.parametrize("by_half", [False, True], ids=["before each step", "in the middle of each write"])
def test_making_killed_instead_of_each_step(tmp_path: Path, one_set: Path, original: Path, by_half: bool) -> None:
    """Every file that is opened, written, synced, renamed, removed: the run ends right there."""
    before = sound(one_set)
    root = tmp_path / "root"

    def dying(number: int) -> None:
        die_at(number, by_half)
        make(backup(root, original), NOW + 500)

    for number in range(1, FAR):
        _copied(one_set, root)
        if ended(forked(dying, number)) == 0:
            break
        _after_making(root, before, original)
    assert (5 if by_half else 30) < number < FAR, "the run was not stopped at its steps"
    assert sound(root) == [set_names.set_name(NOW + 500), *before]


def test_pruning_killed_at_random_moments(tmp_path: Path, six_sets: Path) -> None:
    """Some are left half removed."""
    root = _copied(six_sets, tmp_path / "root")
    took = _how_long(lambda: _prune(root))
    moments = random.Random(20270116)
    ends = []
    for _moment in range(MOMENTS):
        _copied(six_sets, root)
        ends.append(_killed_after(lambda: _prune(root), moments.uniform(0, took)))
        took *= 1.0 if ends[-1] else 0.9
        _after_pruning(root)
    assert ends.count(-signal.SIGKILL) > MOMENTS // 4, "most runs had ended before they were killed"


@pytest.mark.parametrize("by_half", [False, True], ids=["before each step", "in the middle of each write"])
def test_pruning_killed_instead_of_each_step(tmp_path: Path, six_sets: Path, by_half: bool) -> None:
    """Every set that is renamed, every file that is removed, every line of the ledger."""
    root = tmp_path / "root"

    def dying(number: int) -> None:
        die_at(number, by_half)
        _prune(root)

    for number in range(1, FAR):
        _copied(six_sets, root)
        if ended(forked(dying, number)) == 0:
            break
        _after_pruning(root)
    assert (5 if by_half else 30) < number < FAR, "the run was not stopped at its steps"


def test_making_with_the_real_engines_killed_at_random_moments(tmp_path: Path, original: Path) -> None:
    """Files and SQLite: nothing of theirs is left either, in the root or beside the data."""
    root = tmp_path / "root"
    what = real_backup(root, original, bandwidth=4_000_000)
    beside = sorted(path.name for path in original.rglob("*"))
    first = make(what, NOW)
    assert first.set is not None, first.found
    took = _how_long(lambda: make(what, NOW + 500))
    moments = random.Random(20270117)
    for moment in range(10):
        before = sound(root)
        _killed_after(lambda: make(what, NOW + 1000), moments.uniform(0, took))
        assert set(before) <= set(sound(root))
        made = make(what, NOW + 2000 + moment)
        assert made.found["status"] in ("ok", "warning"), made.found  # a clock that stands still
        assert names(root) == sorted(sound(root))
        assert made.set in names(root)
        assert sorted(path.name for path in original.rglob("*")) == beside


def test_a_run_killed_twice_leaves_no_more_than_one(tmp_path: Path, one_set: Path, original: Path) -> None:
    """The second tidies what the first left, and is killed in that too."""
    root = tmp_path / "root"
    before = sound(one_set)

    def dying(number: int) -> None:
        die_at(number, False)
        make(backup(root, original), NOW + 500)

    for number in (20, 25, 30):
        _copied(one_set, root)
        for again in range(2):
            assert ended(forked(dying, number)) == -signal.SIGKILL, again
        _after_making(root, before, original)


def test_sigterm_leaves_nothing(tmp_path: Path, one_set: Path, original: Path) -> None:
    """At any moment of the stream: the run ends by itself, with nothing half-made and no lock held."""
    what = backup(tmp_path / "root", original, bandwidth=1_000_000)
    for delay in (0.0, 0.05, 0.1):
        root = _copied(one_set, tmp_path / "root")

        def run() -> None:
            results = backup_make.run([what], "shop", clock=lambda: NOW + 500, engines=lambda _name: PlainEngine())
            assert results.signal == "SIGTERM"
            assert results.made[0].set is None

        child = forked(run)
        while not list(root.glob("*.partial/files.dump.zst")):
            time.sleep(0.005)
        time.sleep(delay)
        os.kill(child, signal.SIGTERM)
        assert ended(child) == 0
        assert names(root) == sound(one_set)
