# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several runs in one root, clocks that jump, and sources that go away while they are dumped."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from plain import NOW, PlainEngine, backup, data, ended, forked, make, names, sound

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import plan as backup_plan
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue


def test_the_second_of_two_runs_says_who_runs_and_the_first_is_not_disturbed(tmp_path: Path) -> None:
    """It changes nothing and takes nothing for what a kill has left."""
    root = tmp_path / "root"
    what = backup(root, data(tmp_path / "data"), bandwidth=1_500_000)
    first = forked(lambda: _made(what))
    while not list(root.glob("*.partial/files.dump.zst")):
        time.sleep(0.005)
    second = make(what, NOW + 1)
    assert (second.set, second.changed, second.found["status"]) == (None, False, "warning")
    assert f"in use by the backup of app, process {first}" in catalogue.tell(second.found)
    assert ended(first) == 0
    assert len(sound(root)) == 1
    assert names(root) == sound(root)


def _made(what: backup_make.Backup) -> None:
    assert make(what, NOW).set is not None


def test_many_runs_at_once_make_sets_or_say_that_they_did_not(tmp_path: Path) -> None:
    """Each set is whole and written down once, whoever was first."""
    root = tmp_path / "root"
    what = backup(root, data(tmp_path / "data", 3000))

    def run() -> None:
        for _time in range(4):
            made = make(what, NOW)
            assert made.set or made.found["message"] == "backup.made.busy", made.found

    assert [ended(child) for child in [forked(run) for _child in range(6)]] == [0] * 6
    assert names(root) == sorted(sound(root))
    lines = backup_ledger.read(str(root)).entries
    assert sorted(line["set"] for line in lines) == names(root)
    assert len(names(root)) >= 4


def test_a_clock_that_jumps_writes_over_nothing(tmp_path: Path) -> None:
    """Forward by years, back by years, standing still: each set is the last by its name and keeps its content."""
    root = tmp_path / "root"
    original = data(tmp_path / "data", 300)
    jumps = random.Random(7)
    clock, order, contents = NOW, [], {}
    for _set in range(25):
        made = make(backup(root, original), clock)
        assert made.set is not None
        order.append(made.set)
        contents[made.set] = (root / made.set / "manifest.json").read_bytes()
        clock += jumps.choice([0, 0.5, 60, -60, -86400, 86400 * 400, -86400 * 400])
    assert sorted(order) == order
    assert sound(root) == order[::-1]
    assert {name: (root / name / "manifest.json").read_bytes() for name in order} == contents


#: A server and its dump: it is killed when it has sent some of the rows. The dump of the first ends with status 1 as most do; that
#: of the second takes the end of the connection for the end of the data, and ends with 0.
SERVED = """
import os, signal, sys, time
for number in range(int(sys.argv[1])):
    os.write(1, b"INSERT INTO users VALUES (%d);\\n" % number)
    if number == int(sys.argv[2]):
        {end}
os.write(1, b"COMMIT;\\n")
"""


class _ServedEngine(PlainEngine):
    """Tells from the stream's end whether the dump is whole, as engines do whose tool does not."""

    def dump(self, spec, work):  # type: ignore[no-untyped-def]
        """The tap keeps the end."""
        import contextlib

        from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError

        tail = bytearray()

        def tap(block: bytes) -> None:
            tail[:] = (bytes(tail) + block)[-20:]

        @contextlib.contextmanager
        def opened():  # type: ignore[no-untyped-def]
            with super(_ServedEngine, self).dump(spec, work) as dump:

                def finish():  # type: ignore[no-untyped-def]
                    if not tail.endswith(b"COMMIT;\n"):
                        raise EngineError("failed", "the dump ends before its end")
                    return dump.finish()

                yield dump._replace(finish=finish, tap=tap)

        return opened()


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize(
    ("end", "reason"),
    [("sys.exit(1)", "ended with status 1"), ("sys.exit(0)", "the dump ends before its end"), ("os.kill(os.getpid(), 9)", "signal 9")],
)
def test_a_database_that_goes_away_in_mid_dump_leaves_the_last_set(tmp_path: Path, end: str, reason: str, compression: str) -> None:
    """Wherever it goes away, at the first row or at the last."""
    root = tmp_path / "root"
    moments = random.Random(11)
    rows = 20_000
    good = backup(root, data(tmp_path / "data", 300))
    first = make(good, NOW).set
    for at in (0, rows - 1, *(moments.randrange(rows) for _moment in range(2))):
        argv = ["python3", "-c", SERVED.format(end=end), str(rows), str(at)]
        plan = backup_plan.ArtifactPlan("db", "plain", compression, None, {"argv": argv})
        what = good._replace(plan=good.plan._replace(artifacts=(plan,)))
        (made,) = backup_make.run([what], "shop", clock=lambda: NOW + 500, engines=lambda _name: _ServedEngine()).made
        assert (made.set, made.found["status"]) == (None, "critical")
        assert reason in catalogue.tell(made.found)
        assert names(root) == sound(root) == [first]


def test_files_that_are_gone_make_no_empty_set(tmp_path: Path) -> None:
    """What tar says is told."""
    folder = data(tmp_path / "data", 300)
    first = make(backup(tmp_path / "root", folder), NOW).set
    (folder / "files").rename(folder / "elsewhere")
    made = make(backup(tmp_path / "root", folder), NOW + 500)
    assert (made.set, made.found["status"]) == (None, "critical")
    assert "files: Cannot stat: No such file or directory" in catalogue.tell(made.found)
    assert names(tmp_path / "root") == [first]


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    """However that ends."""
    what = backup(tmp_path / "root", data(tmp_path / "data"), bandwidth=500_000)
    child = forked(lambda: make(what, NOW))
    while not list((tmp_path / "root").glob("*.partial/files.dump.zst")):
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    ended(child)
    made = make(backup(tmp_path / "root", tmp_path / "data"), NOW + 500)
    assert made.found["status"] == "ok"
    assert names(tmp_path / "root") == [made.set]
