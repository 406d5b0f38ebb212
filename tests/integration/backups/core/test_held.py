# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that ``before`` has stop and ``after`` go on, and runs that are killed in between: the next run lets it go.

The service is a process, stopped by SIGSTOP and continued by SIGCONT.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plain import NOW, data, ended, forked, make, names, sound

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options as backup_looks
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.options_with_engines import Backup
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.status import run as backup_status
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue


@pytest.fixture
def service() -> Iterator[int]:
    """The number of a process that runs until it is stopped."""
    process = subprocess.Popen(["sleep", "3600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is backed up."""
    return data(tmp_path / "data")


def _stopped(service: int) -> bool:
    return Path(f"/proc/{service}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def _backup(folder: Path, before: Any, after: Any, bandwidth: int | None = None) -> Backup:
    artifact = {"name": "files", "engine": "files", "paths": [str(folder / "files")], "before": before, "after": after}
    item = {"name": "app", "root": str(folder.parent / "root"), "artifacts": [artifact], "nice": 0, "io_class": "none"}
    return backup_options.parse([{**item, "bandwidth": bandwidth}])[0]


def _stopping(folder: Path, service: int, bandwidth: int | None = None) -> Backup:
    return _backup(folder, f"kill -STOP {service}", f"kill -CONT {service}", bandwidth)


def _held(root: Path) -> Any:
    """What the daily look tells of it."""
    item = {"name": "app", "root": str(root), "artifacts": [{"name": "files", "engine": "files"}]}
    found = backup_status.look(backup_looks.parse([item]))[0]
    return next((one for one in found if one["check"] == "backup.app.held"), None)


def _killed_when(do: Callable[[], object], when: Callable[[], object], root: Path | None = None) -> None:
    child = forked(do)
    while not when():
        assert not root or _held(root) is None, "its run is alive"
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it could be killed"
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL


def test_a_service_that_a_killed_run_has_stopped_goes_on_with_the_next_run(folder: Path, service: int) -> None:
    """And that is named, in the finding and in the ledger; check mode says what would be done and leaves it."""
    root = folder.parent / "root"
    _killed_when(lambda: make(_stopping(folder, service, 200_000), NOW), lambda: list(root.glob("*.partial/files.tar.zst")), root)
    assert _stopped(service)
    (partial,) = names(root)
    what = _stopping(folder, service)
    held = _held(root)
    assert held["status"] == "critical"
    assert f"{partial} was killed, and what it had stopped for files stands still" in catalogue.tell(held)
    look = backup_make.run([what], "shop", check_mode=True, clock=lambda: NOW + 5).made[0]
    assert look.found["evidence"]["backup_notes"] == [f"{partial}/files: what it holds would be let go"]
    assert _stopped(service)
    assert names(root) == [partial]
    made = make(what, NOW + 10)
    assert made.found["status"] == "ok", made.found
    assert made.found["evidence"]["backup_released"] == [f"{partial}, files: after was run"]
    assert not _stopped(service)
    assert _held(root) is None
    assert names(root) == sound(root) == [made.set]
    assert "backup_released" not in make(what, NOW + 20).found["evidence"]
    assert [line["what"] for line in backup_ledger.read(str(root)).entries] == ["tidied", "made", "made"]


def test_runs_killed_at_random_moments_leave_no_service_stopped(folder: Path, service: int) -> None:
    """Before it is stopped, while it is, and after."""
    root = folder.parent / "root"
    what = _stopping(folder, service, bandwidth=3_000_000)
    started = time.monotonic()
    assert ended(forked(lambda: make(what, NOW))) == 0
    took = time.monotonic() - started
    moments = random.Random(20270118)
    stopped = 0
    for moment in range(int(os.environ.get("OPSRUNNER_KILLS", "20"))):
        child = forked(lambda: make(what, NOW + 100))
        time.sleep(moments.uniform(0, took * 1.1))
        os.kill(child, signal.SIGKILL)
        took *= 1.0 if ended(child) else 0.9  # a run takes as long as the machine lets it
        left = _stopped(service)
        stopped += left
        made = make(_stopping(folder, service), NOW + 200 + moment)
        assert made.set is not None, made.found
        assert not _stopped(service)
        assert not left or made.found["evidence"]["backup_released"]
        assert names(root) == sorted(sound(root))
    assert stopped, "no run was killed while the service was stopped"


def test_a_command_that_outlives_its_run_is_ended_before_its_undoing(folder: Path) -> None:
    """Else it would have the service stop after it was let go."""
    root, here = folder.parent / "root", folder.parent
    script = here / "before.sh"
    script.write_text('[ -e "$0.once" ] && exit 0\ntouch "$0.once"\necho $$ > "$0.pid.new"; mv "$0.pid.new" "$0.pid"\nsleep 3600\n')
    what = _backup(folder, ["sh", str(script)], ["touch", str(here / "undone")])
    _killed_when(lambda: make(what, NOW), (here / "before.sh.pid").exists)
    process = int((here / "before.sh.pid").read_text())
    os.kill(process, 0)
    made = make(what, NOW + 10)
    assert made.found["status"] == "ok", made.found
    assert made.found["evidence"]["backup_released"]
    with contextlib.suppress(FileNotFoundError):  # it is nobody's child here, and may wait for its new parent
        assert Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    assert names(root) == [made.set]


def test_what_after_starts_is_not_waited_for_and_lives_on(folder: Path) -> None:
    """A service that keeps the output of the command that started it, through a killed run and the next."""
    here = folder.parent
    started = here / "started"
    after = ["sh", "-c", f"echo going on; sleep 3600 & echo $! >> {started}"]
    assert make(_backup(folder, "true", after), NOW).found["status"] == "ok"
    slow = _backup(folder, "true", after, 200_000)
    _killed_when(lambda: make(slow, NOW + 10), lambda: list((here / "root").glob("*.partial/files.tar.zst")))
    try:
        made = make(_backup(folder, "true", after), NOW + 20)
        assert made.found["evidence"]["backup_released"]
        processes = [int(line) for line in started.read_text().split()]
        assert len(processes) == 3
        for process in processes:
            os.kill(process, 0)
    finally:
        for line in started.read_text().split():
            os.kill(int(line), signal.SIGKILL)


def test_what_cannot_be_let_go_is_a_warning_and_a_set_is_made(folder: Path, service: int) -> None:
    """The command fails, or is gone from the options; the partial is removed all the same, and it is told once."""
    root = folder.parent / "root"
    for at, (then, reason) in enumerate(
        [
            (_backup(folder, "true", "false"), "after: false ended with status 1"),
            (_backup(folder, "true", None), "after is no longer in its options"),
            (_backup(folder, "true", None)._replace(plan=_renamed(folder)), "the backup has no artifact of that name any more"),
        ]
    ):
        when = NOW + at * 100
        _killed_when(
            lambda when=when: make(_stopping(folder, service, 200_000), when),  # type: ignore[misc]
            lambda: list(root.glob("*.partial/files.tar.zst")),
        )
        made = make(then, when + 10)
        if "status 1" in reason:  # what fails here fails after the dump too
            assert (made.set, made.found["status"]) == (None, "critical")
        else:
            assert (made.found["message"], made.found["status"]) == ("backup.made.unreleased", "warning")
            assert reason in catalogue.tell(made.found)
        assert reason in str(made.found["evidence"]["backup_unreleased"])
        assert _stopped(service)
        os.kill(service, signal.SIGCONT)
        assert names(root) == sorted(sound(root))


def _renamed(folder: Path) -> Any:
    plan = _backup(folder, "true", None).plan
    return plan._replace(artifacts=(plan.artifacts[0]._replace(name="other"),))
