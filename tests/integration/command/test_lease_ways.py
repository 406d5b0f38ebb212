# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways around the lease of a system: with another run's lease in place none of them restores."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from .conftest import ROOT
from .test_open_restore import Shop, shop  # noqa: F401  # a fixture
from .test_run import wait_until

sys.path.insert(0, str(ROOT / "collections"))
from ansible_collections.opsrunner.runbook.plugins.module_utils._lease import store

WAYS = {
    "list": ["-e", json.dumps({"confirm": ["restore"]})],
    "text": ["-e", "confirm=restore"],
    "text with two words": ["-e", "confirm=restore_discard,restore"],
    "json as text": ["-e", json.dumps({"confirm": '["restore"]'})],
    "the role's own variable": ["-e", json.dumps({"restore_confirm": ["restore"]})],
    "an internal variable of the playbook": ["-e", json.dumps({"confirm": ["restore"], "restore_changes": False})],
    "an internal variable of the role": ["-e", json.dumps({"confirm": ["restore"], "lease_needed": False})],
    "tags": ["-e", json.dumps({"confirm": ["restore"]}), "--skip-tags", "lease"],
    "start at the task": ["-e", json.dumps({"confirm": ["restore"]}), "--start-at-task", "Restore the backup"],
}


def playbook(shop: Shop, *words: str) -> list[str]:  # noqa: F811
    """The restore by ansible-playbook itself."""
    inventory = str(shop.folder / "inventories" / "shop")
    return [
        *(sys.executable, "-m", "ansible", "playbook", str(ROOT / "playbooks/restore.yml"), "-i", inventory),
        *("-e", "restore_set=newest", *words),
    ]


def test_with_another_runs_lease_no_way_restores(shop: Shop) -> None:  # noqa: F811
    store.take(str(shop.folder / "leases"), "shop", "another-run", "a change", 3600, time.time())
    restored = []
    for name, words in WAYS.items():
        done = subprocess.run(
            playbook(shop, *words), cwd=ROOT, env=shop.environment, capture_output=True, text=True, timeout=200, check=False
        )
        if done.returncode == 0 and name != "json as text" or shop.word() != "new" or shop.phase() is not None:
            restored.append((name, done.stdout[-2000:]))
    assert restored == []
    held = store.look(str(shop.folder / "leases"), "shop", time.time())
    assert held is not None
    assert held.holder == "another-run"


@pytest.mark.parametrize("way", ["text", "list"])
def test_with_the_lease_free_the_restore_takes_it_however_it_was_confirmed(shop: Shop, way: str) -> None:  # noqa: F811
    argv, quiet = playbook(shop, *WAYS[way]), subprocess.DEVNULL
    child = subprocess.Popen(argv, cwd=ROOT, env=shop.environment, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        wait_until(lambda: shop.phase() == "starting", 120)
        held = store.look(str(shop.folder / "leases"), "shop", time.time())
        assert held is not None
        assert held.purpose == "restore"
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=60)
