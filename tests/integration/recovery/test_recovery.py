# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LogCaster and a shop are backed up, copied, drilled, destroyed, restored whole and in part, by the commands of the README."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from bed import HOSTS, Bed

pytestmark = pytest.mark.lab

BACKUP = {"shop": "shop", "logcaster": "daily"}
ROOTS = {"shop": "/backup/shop", "logcaster": "/backup/daily"}
#: Somebody's bad day.
DESTROY = {
    "shop": "runuser -u postgres -- psql -qd shop -c 'drop table orders cascade' -c 'delete from customers where id > 10';"
    " redis-cli flushall; rm -r /srv/shop/uploads/3; echo SHOP_CURRENCY= > /etc/shop/shop.env",
    "logcaster": "sqlite3 /var/lib/logcaster/data.db 'delete from events'; echo '' > /etc/logcaster/logcaster.yml",
}
UP = {"shop": ["shop"], "logcaster": ["logcaster", "logcaster-api", "logcaster-stream", "logcaster-gateway"]}


def is_up(bed: Bed, system: str) -> bool:
    states = bed.on(system, f"systemctl is-active {' '.join(UP[system])} || true").split()
    return states == ["active"] * len(UP[system])


def restored(bed: Bed, system: str, *options: str, confirm: str = "restore", **variables: object):
    return bed.run(system, "restore", *options, confirm=[confirm], **variables)


@pytest.fixture(params=sorted(HOSTS))
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sound(bed: Bed, system: str) -> Iterator[str]:
    """The print of a system that is backed up, proved, and at the other host; what a test has set aside is removed after it."""
    if system not in bed.backed_up:
        made = bed.run(system, "backup")
        assert made.status == 0, made.said
        found = made.findings()
        name = BACKUP[system]
        copies = {check for check in found if check.startswith(f"backup.{name}.copy.")}
        assert {found[f"backup.{name}.made"], found[f"backup.{name}.rung"], *(found[check] for check in copies)} == {"ok"}, found
        assert copies
        bed.backed_up.add(system)
    before = bed.data(system)
    yield before
    discarded = restored(bed, system, "--discard", confirm="restore_discard")
    assert discarded.status == 0, discarded.said
    assert bed.data(system) == before
    assert is_up(bed, system)


def test_a_drill_proves_the_set_without_touching_the_source(bed: Bed, system: str, sound: str):
    outcome = bed.run(system, "restore_drill")
    assert outcome.status == 0, outcome.said
    name = BACKUP[system]
    assert set(outcome.findings(f"backup.{name}.drill", f"backup.{name}.rto", f"backup.{name}.rpo").values()) == {"ok"}
    assert bed.data(system) == sound
    leftovers = bed.on(system, "ls -d /var/tmp/opsrunner-scratch-* 2>/dev/null || true")
    assert leftovers == ""
    if system == "shop":
        assert (
            bed.on(system, "runuser -u postgres -- psql -Atc \"select count(*) from pg_database where datname like 'opsrunner%'\"") == "0\n"
        )


def test_what_was_destroyed_is_restored_whole(bed: Bed, system: str, sound: str):
    bed.on(system, DESTROY[system])
    assert bed.data(system) != sound
    planned = bed.run(system, "restore", "--set", "newest-proved")
    assert planned.findings(f"backup.{BACKUP[system]}.restore") == {f"backup.{BACKUP[system]}.restore": "warning"}
    assert bed.data(system) != sound
    outcome = restored(bed, system, "--set", "newest-proved")
    assert outcome.status == 0, outcome.said
    assert bed.data(system) == sound
    assert is_up(bed, system)


def test_a_loss_is_told_in_minutes(bed: Bed, system: str, sound: str):
    outcome = bed.run(system, "data_loss")
    name = BACKUP[system]
    found = outcome.findings()
    assert found[f"backup.{name}.loss"] == "ok", outcome.said
    assert {status for check, status in found.items() if check.startswith(f"backup.{name}.integrity.")} == {"ok"}
    assert "minutes" in outcome.summary(f"backup.{name}.loss")
    assert bed.data(system) == sound


def test_a_restore_whose_service_does_not_come_up_healthy_is_taken_back(bed: Bed, system: str, sound: str):
    port = {"shop": 8080, "logcaster": 9999}[system]
    bed.on(system, {"shop": "redis-cli set written after-the-backup", "logcaster": "echo new > /etc/logcaster/new.yml"}[system])
    now = bed.data(system)
    assert now != sound
    bed.on(system, f"mkdir -p /run/standin; echo '{{\"status\": 503}}' > /run/standin/{port}.json")
    try:
        outcome = restored(bed, system, "--set", "newest-proved")
    finally:
        bed.on(system, f"rm /run/standin/{port}.json")
    assert outcome.findings()[f"backup.{BACKUP[system]}.restore"] == "critical", outcome.said
    assert outcome.status != 0
    assert bed.data(system) == now
    assert is_up(bed, system)
    bed.on(system, {"shop": "redis-cli del written", "logcaster": "rm /etc/logcaster/new.yml"}[system])


@pytest.mark.parametrize("system", ["shop"])
def test_one_table_and_one_folder_come_back_and_nothing_else_changes(bed: Bed, system: str, sound: str):
    bed.on("shop", 'runuser -u postgres -- psql -qd shop -c "update orders set total = 0"; redis-cli set written after-the-backup')
    outcome = restored(bed, "shop", "--set", "newest-proved", "--part", "orders:public.orders")
    assert outcome.status == 0, outcome.said
    assert bed.on("shop", "redis-cli get written") == "after-the-backup\n"
    bed.on("shop", "redis-cli del written; rm -r /srv/shop/uploads/2; rm /srv/shop/uploads/1/picture-1.bin")
    outcome = restored(bed, "shop", "--set", "newest-proved", "--part", "uploads:/srv/shop/uploads/2")
    assert outcome.status == 0, outcome.said
    assert bed.on("shop", "ls /srv/shop/uploads/2 | wc -l; ls /srv/shop/uploads/1 | wc -l").split() == ["10", "9"]
    outcome = restored(bed, "shop", "--set", "newest-proved", "--part", "uploads:/srv/shop/uploads/1/picture-1.bin")
    assert outcome.status == 0, outcome.said
    assert bed.data("shop") == sound


@pytest.mark.parametrize("system", ["shop"])
def test_a_restore_that_is_killed_is_taken_back_or_finished(bed: Bed, system: str, sound: str):
    for action in ("--undo", "--resume"):
        bed.on("shop", "redis-cli set written after-the-backup; rm /srv/shop/uploads/1/picture-1.bin")
        now = bed.data("shop")
        killer = subprocess.Popen(
            ["podman", "exec", bed.lab.container("shop1"), "sh", "-c", KILLER],
            stdout=subprocess.PIPE,
            env={**os.environ, "CONTAINERS_CONF": str(bed.containers_conf)},
        )
        try:
            outcome = restored(bed, "shop", "--set", "newest-proved")
        finally:
            said, _nothing = killer.communicate(timeout=120)
        assert b"killed" in said, said
        assert outcome.status != 0
        refused = restored(bed, "shop", "--set", "newest-proved", lease_take_over=True)
        assert refused.findings()["backup.shop.restore"] == "critical", refused.said
        outcome = restored(bed, "shop", action, lease_take_over=True)
        assert outcome.status == 0, outcome.said
        assert bed.data("shop") == (now if action == "--undo" else sound)
        assert is_up(bed, "shop")
        bed.on("shop", "redis-cli del written")
        if action == "--undo":
            assert restored(bed, "shop", "--set", "newest-proved").status == 0


#: Waits until the restore has begun to swap, and kills the process that writes the journal.
KILLER = """
for try in $(seq 1 900); do
  if grep -q '"swapping"' /var/lib/opsrunner/restores/shop.json 2>/dev/null; then
    for process in /proc/[0-9]*; do
      if ls -l $process/fd 2>/dev/null | grep -q '/var/lib/opsrunner/restores/'; then kill -9 ${process#/proc/} && echo killed && exit 0; fi
    done
  fi
  sleep 0.02
done
echo never
"""


def test_a_root_that_is_lost_comes_back_from_the_other_host(bed: Bed, system: str, sound: str):
    bed.on(system, f"rm -rf {ROOTS[system]}; {DESTROY[system]}")
    copy = {"shop": "vault", "logcaster": "backup-server"}[system]
    outcome = bed.run(system, "fetch", backup_copy_only=[BACKUP[system]], backup_copy_fetch=copy)
    assert outcome.findings()[f"backup.{BACKUP[system]}.fetch.{copy}"] == "ok", outcome.said
    outcome = restored(bed, system, "--set", "newest")
    assert outcome.status == 0, outcome.said
    assert bed.data(system) == sound


def test_the_daily_run_has_nothing_to_tell_of_these_backups(bed: Bed, system: str, sound: str):
    if bed.run(system, "restore_drill").status:
        pytest.fail("the drill failed")
    assert bed.run(system, "backup", "--tags", "copy").status == 0
    outcome = bed.run(system, "daily", "--tags", "backups")
    found = {check: status for check, status in outcome.findings().items() if check.startswith("backup.")}
    assert set(found.values()) == {"ok"}, outcome.said


def test_an_interrupt_takes_a_restore_back(bed: Bed):
    """Pressing Ctrl-C is a signal to the command here; what the host does then is its own."""
    sound = bed.data("shop")
    process = bed.start("shop", "restore", "--set", "newest", confirm=["restore"])
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=180)
    for _try in range(100):
        if "opsrunner" not in bed.on("shop", "pgrep -af AnsiballZ_restore || true"):
            break
        time.sleep(0.5)
    outcome = restored(bed, "shop", "--undo", lease_take_over=True)
    assert outcome.status in (0, 1), outcome.said
    assert bed.data("shop") == sound
    assert is_up(bed, "shop")
