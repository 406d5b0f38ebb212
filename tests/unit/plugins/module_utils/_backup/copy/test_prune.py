# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sets at a copy may go: what the ledger here knows of them."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import prune as backup_copy_prune

NAMES = ["20260104T000000Z", "20260103T000000Z", "20260102T000000Z", "20260101T000000Z"]
NOW = 1_768_000_000.0


@pytest.fixture
def judged(tmp_path):
    """Judge those sets, newest first; the ledger knows all as made, what is written besides is given."""

    def judge(*entries, held=None, leftovers=(), keep=None):
        copy = {"name": "vault", "kind": "rsync", "host": "vault", "path": "/sets", "keep": keep or {"last": 1}}
        (backup,) = backup_options.parse([{"name": "shop", "root": str(tmp_path), "copies": [copy]}])
        for name in NAMES:
            backup_ledger.append(str(tmp_path), "made", name, NOW, manifest_sha256="of " + name)
        for what, name, data in entries:
            backup_ledger.append(str(tmp_path), what, name, NOW, **data)
        held = {name: "of " + name for name in NAMES} if held is None else held
        found = backup_copy_prune.judge(backup, backup.plan.copies[0], held, leftovers, backup_ledger.read(str(tmp_path)), NOW)
        return [(NAMES.index(one.name), one.action, one.reasons) for one in found]

    return judge


def proof(number, rung=3):
    return ("verified", NAMES[number], {"passed": True, "rung": rung})


def test_the_newest_proved_and_drilled_sets_stay(judged):
    assert judged(proof(1), proof(2, 4)) == [
        (0, "keep", ("last", "newest_whole")),
        (1, "keep", ("newest_proved",)),
        (2, "keep", ("newest_drilled",)),
        (3, "remove", ("expired",)),
    ]


def test_while_nothing_is_proved_nothing_goes(judged):
    assert {action for _number, action, _reasons in judged()} == {"keep"}


def test_a_set_with_another_manifest_stays_and_proves_nothing(judged):
    held = {**{name: "of " + name for name in NAMES}, NAMES[0]: "of another"}
    assert judged(proof(0), proof(2), held=held) == [
        (0, "keep", ("foreign",)),
        (1, "keep", ("last", "newest_whole")),
        (2, "keep", ("newest_proved",)),
        (3, "remove", ("expired",)),
    ]


def test_a_set_that_could_not_be_read_is_no_proof_but_one_whose_bytes_rotted_here_is_sound_there(judged):
    unreadable = ("verified", NAMES[0], {"passed": False, "rung": 2, "at_rung": 3})
    rotten = ("verified", NAMES[1], {"passed": False, "rung": 1, "at_rung": 2})
    assert judged(proof(1), proof(3), unreadable, rotten)[:3] == [
        (0, "keep", ("damaged_newest",)),
        (1, "keep", ("last", "newest_whole", "newest_proved")),
        (2, "remove", ("expired",)),
    ]


def test_only_what_is_left_of_own_sets_that_are_gone_here_is_finished(judged, tmp_path):
    (tmp_path / NAMES[2]).mkdir()  # the next copying goes on with it
    (tmp_path / NAMES[3]).mkdir()
    unkept = ("unkept", NAMES[3], {"copy": "vault"})
    held = {NAMES[0]: "of " + NAMES[0]}
    leftovers = [NAMES[1], NAMES[2], NAMES[3], "20200101T000000Z"]
    assert judged(proof(0), unkept, held=held, leftovers=leftovers) == [
        (0, "keep", ("last", "newest_whole", "newest_proved")),
        (1, "finish", ("half_removed",)),
        (3, "finish", ("half_removed",)),
    ]
