# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on the host, whatever our own modules say of it: before the loss and after the restore the same."""

from __future__ import annotations

import json
from typing import Any


def test_one_proved_set_is_left_and_nothing_half_made(host: Any) -> None:
    (name,) = host.check_output("ls /backup/shop").replace("ledger.jsonl", "").split()
    assert host.file("/backup/shop").mode == 0o700
    rungs = json.loads(host.file(f"/backup/shop/{name}/verified.json").content_string)["rungs"]
    assert {item["rung"] for item in rungs} >= {2, 3, 4, 5}
    assert (
        host.check_output(f"sha256sum /backup/shop/{name}/orders.dump.zst").split()[0]
        in host.file(f"/backup/shop/{name}/manifest.json").content_string
    )


def test_the_data_is_there(host: Any) -> None:
    counted = "select (select count(*) from orders), (select count(*) from customers), (select round(sum(total)) from spent)"
    assert host.check_output(f"runuser -u postgres -- psql -d shop -Atc '{counted}'") == "5000|500|15628125"
    assert host.check_output("redis-cli get cart:7") == "49"
    assert host.check_output("redis-cli dbsize") == "401"
    assert host.check_output("find /srv/shop/uploads -type f -user shop -not -path '*/.opsrunner-*' | wc -l") == "60"


def test_each_document_was_imported_once(host: Any) -> None:
    command = "mongodump --quiet --db recommendation --collection user_candidate --out - | grep -aoE 'candidate-[0-9]+[.]' | sort"
    assert host.check_output(command).split() == sorted(f"candidate-{number}." for number in range(300))


def test_the_services_are_up(host: Any) -> None:
    for unit in ("shop", "redis-server", "postgresql"):
        assert host.service(unit).is_running
    assert host.check_output("redis-cli config get appendonly").split()[-1] == "yes"


def test_no_scratch_place_is_left(host: Any) -> None:
    assert host.run("ls -d /var/tmp/opsrunner-scratch-*").rc != 0
    assert host.run("mongodump --quiet --archive | grep -aq opsrunner_drill").rc == 1
    databases = host.check_output("runuser -u postgres -- psql -Atc 'select datname from pg_database'").split()
    assert not [name for name in databases if "drill" in name]
