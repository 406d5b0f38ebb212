# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thousands of seeded damages, as CI tries hundreds of them."""

from __future__ import annotations

import random

import pytest

from opsrunner.selftest import backup as selftest_backup

SEEDS = range(1000, 1100)


@pytest.fixture(scope="module")
def backups(tmp_path_factory):
    numbers = random.Random(11)
    return [selftest_backup.make_backup(tmp_path_factory.mktemp(kind), numbers, kind) for kind in selftest_backup.COMPRESSIONS]


@pytest.mark.parametrize("damage", [*selftest_backup.DAMAGES, *selftest_backup.CONTENT], ids=lambda damage: damage.name)
def test_a_damage_is_found_at_its_rung(backups, damage, tmp_path):
    for seed in SEEDS:
        backup = backups[seed % (2 if damage.do is selftest_backup._bad_memory else 3)]
        verdict = selftest_backup.try_damage(backup, damage, seed, tmp_path)
        assert verdict is None or selftest_backup.is_caught(damage, verdict), (seed, verdict)


@pytest.mark.parametrize("kind", selftest_backup.FOREIGN_DAMAGES)
def test_a_damage_of_another_tools_file_is_found(tmp_path, kind):
    numbers = random.Random("slow " + kind)
    for number in range(30 * len(selftest_backup.FOREIGN)):
        one = selftest_backup.foreign(number, numbers)
        verdict = selftest_backup.verify_foreign(tmp_path / "files", one.name, selftest_backup.damage_foreign(one, kind, numbers))
        assert verdict.status == "critical", (number, one.name, verdict)


def test_nothing_is_found_on_sound_sets(tmp_path):
    for number in range(100):
        kind = selftest_backup.COMPRESSIONS[number % 3]
        backup = selftest_backup.make_backup(tmp_path / str(number), random.Random(1000 + number), kind)
        for name in backup.sets:
            assert selftest_backup.verify(backup.options, 5, name).status == "ok"
