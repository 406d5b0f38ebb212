# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seeded damages: each is found at its rung, and nothing is found on sound sets."""

from __future__ import annotations

import random
import shutil

import pytest

from opsrunner.cli import main as cli
from opsrunner.errors import RefusalError
from opsrunner.find.collection import backup_verify
from opsrunner.selftest import backup as selftest_backup

pytestmark = pytest.mark.skipif(not all(map(shutil.which, ("zstd", "xz", "bzip2"))), reason="zstd, xz and bzip2 are needed")

KINDS = selftest_backup.COMPRESSIONS
#: Of each of the 40 damages; 320 in all.
EACH = 8
DAMAGES = (*selftest_backup.DAMAGES, *selftest_backup.CONTENT)


@pytest.fixture(scope="module")
def backups(tmp_path_factory):
    """A backup of each compression, made once."""
    numbers = random.Random(7)
    return [selftest_backup.make_backup(tmp_path_factory.mktemp(kind), numbers, kind) for kind in KINDS]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_damage_is_found_at_its_rung(backups, damage, tmp_path):
    tried = 0
    for seed in range(EACH):
        # Bits that turn round before the sum is taken are found by the compression alone.
        backup = backups[seed % (2 if damage.do is selftest_backup._bad_memory else 3)]
        verdict = selftest_backup.try_damage(backup, damage, seed, tmp_path)
        if verdict:
            tried += 1
            assert selftest_backup.is_caught(damage, verdict), (seed, verdict)
    assert tried >= EACH - 2


def test_what_is_packed_again_without_a_damage_is_sound(backups, tmp_path):
    """So what is found of the others is the damage, not that a test has packed them."""
    for backup in backups:
        for do in (selftest_backup._archive(lambda _numbers, _members: None), selftest_backup._database_changed("UPDATE item SET id = id")):
            verdict = selftest_backup.try_damage(backup, selftest_backup.Damage("none", 5, do), 1, tmp_path)
            assert verdict.status == "ok", verdict


@pytest.mark.parametrize("kind", selftest_backup.FOREIGN_DAMAGES)
def test_a_damage_of_another_tools_file_is_found(tmp_path, kind):
    numbers = random.Random(kind)
    for number in range(2 * len(selftest_backup.FOREIGN)):
        one = selftest_backup.foreign(number, numbers)
        damaged = selftest_backup.damage_foreign(one, kind, numbers)
        verdict = selftest_backup.verify_foreign(tmp_path / "files", one.name, damaged)
        assert verdict.status == "critical", (number, one.name, verdict)


@pytest.mark.skipif(not shutil.which("age-keygen"), reason="age is not installed")
def test_encrypted_sets(tmp_path):
    backup = selftest_backup.make_backup(tmp_path / "age", random.Random(3), encrypted=True)
    for name in backup.sets:
        assert selftest_backup.verify(backup.options, 5, name).status == "ok"
    for damage in selftest_backup.ENCRYPTED:
        for seed in range(8):
            verdict = selftest_backup.try_damage(backup, damage, seed, tmp_path)
            assert verdict and selftest_backup.is_caught(damage, verdict), (seed, verdict)
    recipients = backup.options["encryption"]["recipients"]
    unkeyed = {**backup.options, "encryption": {"recipients": recipients}}
    verdict = selftest_backup.verify(unkeyed, 3)
    assert verdict.status == "warning"
    assert "only its sum can be checked" in verdict.reason
    assert selftest_backup.verify(unkeyed, 2).status == "ok"
    other = selftest_backup.make_backup(tmp_path / "other", random.Random(4), count=1, encrypted=True)
    verdict = selftest_backup.verify({**backup.options, "encryption": other.options["encryption"]}, 3)
    assert (verdict.status, verdict.rung) == ("critical", 3)


def test_nothing_is_found_on_sound_sets(tmp_path):
    verdicts = []
    for number in range(6):
        backup = selftest_backup.make_backup(tmp_path / str(number), random.Random(number), KINDS[number % 3])
        verdicts += [selftest_backup.verify(backup.options, 5 if number < 3 else 3, name) for name in backup.sets]
        verdicts += [selftest_backup.try_sealed(backup, sealed, tmp_path) for sealed in range(2)]
    numbers = random.Random(9)
    for number in range(8 * len(selftest_backup.FOREIGN)):
        one = selftest_backup.foreign(number, numbers)
        verdicts.append(selftest_backup.verify_foreign(tmp_path / "files", one.name, one.data))
    assert len(verdicts) >= 100
    assert [verdict for verdict in verdicts if verdict.status != "ok"] == []


@pytest.fixture
def few(monkeypatch):
    """Fewer rows than the command has."""
    monkeypatch.setattr(selftest_backup, "COMPRESSIONS", ("zstd",))
    monkeypatch.setattr(selftest_backup, "FOREIGN", selftest_backup.FOREIGN[:1])
    monkeypatch.setattr(selftest_backup, "CONTENT", ())


@pytest.mark.usefixtures("few")
def test_the_command_prints_a_table(capsys, monkeypatch):
    monkeypatch.setattr(selftest_backup, "DAMAGES", selftest_backup.DAMAGES[:2])
    assert cli.main(["selftest", "backup", "--seed", "5"]) == 0
    said = capsys.readouterr().out
    assert "bit flip in the head                    2     2  all caught" in said
    assert ", 0 wrong; seed 5" in said


@pytest.mark.usefixtures("few")
def test_a_verifier_that_finds_nothing_fails_the_test(capsys, monkeypatch):
    monkeypatch.setattr(selftest_backup, "DAMAGES", selftest_backup.DAMAGES[:1])
    monkeypatch.setattr(backup_verify.backup_verify_set._Sum, "judged", lambda _self, _artifact: None)
    assert cli.main(["selftest", "backup"]) == 2
    assert "0 caught, 2 NOT: ok" in capsys.readouterr().out


@pytest.mark.usefixtures("few")
def test_a_verifier_that_finds_too_much_fails_the_test(capsys, monkeypatch):
    stumble = backup_verify.Stumble(3, "x", "no")
    monkeypatch.setattr(selftest_backup, "DAMAGES", ())
    monkeypatch.setattr(backup_verify.backup_verify_set._Climber, "_tried", lambda *_arguments: stumble)
    assert cli.main(["selftest", "backup"]) == 2
    assert "NOT: critical, x: no" in capsys.readouterr().out


def test_what_cannot_be_tried_is_told_and_the_rest_is_tried(capsys, monkeypatch):
    """As on a small host: no zstd, xz, bzip2 or age."""
    real = shutil.which
    without = ("zstd", "xz", "bzip2", "age", "age-keygen")
    monkeypatch.setattr(shutil, "which", lambda name, *more, **others: None if name in without else real(name, *more, **others))
    monkeypatch.setattr(selftest_backup, "DAMAGES", selftest_backup.DAMAGES[3:4])
    monkeypatch.setattr(selftest_backup, "CONTENT", ())
    assert cli.main(["selftest", "backup"]) == 0
    said = capsys.readouterr().out
    assert "bits flipped before the sum             3     2  all caught" in said
    assert "sound files of other tools              -     5  all passed" in said
    for program in ("zstd", "xz", "bzip2", "age"):
        assert f": {program} is not installed" in said
    assert "left out: databases of servers" in said


def test_without_the_programs_nothing_is_said_to_be_tested(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(RefusalError, match="not installed"):
        selftest_backup.run(1)
