# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cursor loses no line and counts none twice, whatever happens to the files between two calls."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ansible_collections.opsrunner.runbook.plugins.module_utils._log import cursor as log_cursor
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import options as log_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import work as log_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._log.stats import log_stats

LIMITS = log_options.Limits(0, 0, 100.0, 4 << 30, 60.0)


class Log:
    """A log with a writer, a rotator and a reader that remembers its place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "app.log"
        self.state = folder / "state"
        self.path.touch()
        self.writer = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self.written = 0
        self.half: bytes = b""
        self.read: Counter[str] = Counter()
        self.gone: list[str] = []
        self.other = 0
        self.unrecorded = False

    def append(self, lines: int) -> None:
        """Write whole lines, the rest of a half one first."""
        data = self.half
        self.half = b""
        for _ in range(lines):
            data += self._line()
        os.write(self.writer, data)

    def append_half(self) -> None:
        """Write a line but for its end."""
        self.append(0)
        line = self._line()
        os.write(self.writer, line[:7])
        self.half = line[7:]

    def _line(self) -> bytes:
        self.written += 1
        return (json.dumps({"n": f"line-{self.written:06d}", "pad": "x" * (self.written * 7 % 60)}) + "\n").encode()

    def shift(self) -> None:
        """Make room at ``.1``."""
        for number in range(40, 0, -1):
            for suffix in ("", ".gz"):
                old = self.folder / f"app.log.{number}{suffix}"
                if old.exists():
                    old.rename(self.folder / f"app.log.{number + 1}{suffix}")

    def rotate(self, keep_writing: bool) -> None:
        """Rename and make anew; the writer may go on in the renamed file until it has ended its line."""
        if not keep_writing:
            self.append(0)
        self.shift()
        self.path.rename(self.folder / "app.log.1")
        self.path.touch()
        if keep_writing:
            self.append(1)
        os.close(self.writer)
        self.writer = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def copy(self) -> None:
        """The first half of copytruncate."""
        self.append(0)
        self.shift()
        shutil.copyfile(self.path, self.folder / "app.log.1")

    def truncate(self) -> None:
        """The second half of copytruncate."""
        os.truncate(self.path, 0)

    def compress(self, leave: bool = False) -> None:
        """Compress the newest rotated file that is not, as gzip does: the old one goes last."""
        for number in range(1, 42):
            plain = self.folder / f"app.log.{number}"
            if plain.exists():
                with gzip.open(f"{plain}.gz", "wb") as packed:
                    packed.write(plain.read_bytes())
                if not leave:
                    plain.unlink()
                return

    def look(self, saved: bool = True, recorded: bool = True) -> None:
        """One call; when it crashes before it saves, its result is lost too. ``recorded``: its result came to the controller."""
        options = {"name": "app", "paths": [str(self.path)], "format": "json", "count_by": ["n"], "cursor": True}
        spec = log_options.parse_logs([options], time.time(), {})
        call_id = uuid.uuid4().hex
        (outcome,) = log_run.read_logs(
            spec, LIMITS, time.time(), state_dir=str(self.state), keep_state=saved, workers=0, range_size=300, call_id=call_id
        )
        assert not outcome.problems
        assert outcome.state == ("repeated" if self.unrecorded else "")
        if not saved:
            return
        self.unrecorded = not recorded
        if recorded:
            state = log_cursor.State(str(self.state), "app")
            assert state.confirm(call_id)
            state.release()
            self.read.update(outcome.summary["counts"]["n"])
            self.other += outcome.summary["unparsed"] + outcome.summary["partial"]
            self.gone += outcome.gone

    def check(self) -> None:
        """All whole lines, each once."""
        whole = self.written - bool(self.half)
        assert self.read == Counter(f"line-{number + 1:06d}" for number in range(whole))
        assert self.other == 0
        assert self.gone == []


class CursorMachine(RuleBasedStateMachine):
    """Any order of writing, rotating, compressing, deleting, reading and crashing."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cursor"))
        self.log = Log(self.folder)
        self.copying = False

    def teardown(self) -> None:
        if self.copying:
            self.log.truncate()
        self.log.look()
        self.log.check()
        os.close(self.log.writer)
        shutil.rmtree(self.folder)

    @rule(lines=st.integers(0, 30))
    @precondition(lambda self: not self.copying)
    def append(self, lines: int) -> None:
        self.log.append(lines)

    @rule()
    @precondition(lambda self: not self.copying)
    def append_half(self) -> None:
        self.log.append_half()

    @rule(keep_writing=st.booleans())
    @precondition(lambda self: not self.copying)
    def rotate(self, keep_writing: bool) -> None:
        self.log.rotate(keep_writing)

    @rule()
    @precondition(lambda self: not self.copying and self.log.path.stat().st_size > 0)
    def begin_copytruncate(self) -> None:
        self.log.copy()
        self.copying = True

    @rule()
    @precondition(lambda self: self.copying)
    def end_copytruncate(self) -> None:
        self.log.truncate()
        self.copying = False

    @rule()
    @precondition(lambda self: not self.copying)
    def compress(self) -> None:
        self.log.compress()

    @rule()
    @precondition(lambda self: not self.copying)
    def read_and_delete_rotated(self) -> None:
        self.log.look()
        for old in self.folder.glob("app.log.*"):
            old.unlink()

    @rule()
    def read(self) -> None:
        self.log.look()

    @rule()
    def read_and_crash(self) -> None:
        self.log.look(saved=False)

    @rule()
    def read_and_lose_the_answer(self) -> None:
        self.log.look(recorded=False)

    @invariant()
    def none_twice(self) -> None:
        if hasattr(self, "log"):
            assert all(count == 1 for count in self.log.read.values())


CursorMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
TestAnyHistory = CursorMachine.TestCase


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """A log with a hundred lines that were read."""
    made = Log(tmp_path)
    made.append(100)
    made.look()
    return made


def test_a_second_call_reads_only_what_is_new(log: Log) -> None:
    log.append(3)
    log.look()
    log.check()
    log.look()
    log.check()


def test_a_half_written_line_waits_for_its_end(log: Log) -> None:
    log.append_half()
    log.look()
    log.append(1)
    log.look()
    log.check()


def test_a_compressed_file_beside_its_source_is_not_counted_twice(log: Log) -> None:
    log.rotate(keep_writing=False)
    log.append(5)
    log.compress(leave=True)
    log.look()
    (log.folder / "app.log.1").unlink()
    log.look()
    log.check()


def test_a_log_that_was_emptied_is_told_as_a_loss(log: Log) -> None:
    log.truncate()
    log.append(2)
    log.look()
    assert log.gone == [str(log.path)]


def test_a_truncated_log_that_grew_beyond_the_old_place_is_read_from_its_beginning(log: Log) -> None:
    log.copy()
    log.truncate()
    log.append(200)
    log.look()
    log.check()


def test_a_rotated_file_that_begins_like_the_live_one_is_not_taken_for_its_copy(log: Log) -> None:
    log.copy()
    log.truncate()
    log.look()
    log.append_half()
    log.look()
    log.append(1)
    log.look()
    log.check()


def test_a_broken_state_is_told_and_everything_is_read_again(log: Log) -> None:
    for content in ("", "{", "[]", '{"version": 1, "files": [{"offset": "x"}]}', '{"version": 99}'):
        (log.state / "app.json").write_text(content)
        spec = log_options.parse_logs([{"name": "app", "paths": [str(log.path)], "format": "json", "cursor": True}], time.time(), {})
        outcome = log_run.read_logs(spec, LIMITS, time.time(), state_dir=str(log.state), workers=0)[0]
        assert (outcome.state, outcome.summary["parsed"]) == ("broken", 100)


def test_a_state_folder_that_cannot_be_made_is_told_and_the_log_is_read_all_the_same(log: Log) -> None:
    (log.folder / "file").touch()
    spec = log_options.parse_logs([{"name": "app", "paths": [str(log.path)], "format": "json", "cursor": True}], time.time(), {})
    outcome = log_run.read_logs(spec, LIMITS, time.time(), state_dir=str(log.folder / "file" / "x"), workers=0)[0]
    assert (outcome.state, outcome.summary["parsed"]) == ("unwritable", 100)


def test_two_runs_at_once_do_not_share_a_cursor(log: Log) -> None:
    held = log_cursor.State(str(log.state), "app")
    spec = log_options.parse_logs([{"name": "app", "paths": [str(log.path)], "format": "json", "cursor": True}], time.time(), {})
    assert log_run.read_logs(spec, LIMITS, time.time(), state_dir=str(log.state), workers=0)[0].state == "busy"
    held.release()
    log.look()
    log.check()


def test_an_answer_that_did_not_arrive_is_given_again(log: Log) -> None:
    """However often it is lost, and it does not count twice once it has arrived."""
    log.append(5)
    log.look(recorded=False)
    log.append(2)
    log.look(recorded=False)
    log.look()
    log.check()
    log.append(1)
    log.look()
    log.check()


def test_another_call_cannot_be_confirmed(log: Log) -> None:
    log.append(5)
    log.look(recorded=False)
    state = log_cursor.State(str(log.state), "app")
    assert not state.confirm("another")
    state.release()
    log.look()
    log.check()
    state = log_cursor.State(str(log.state), "other")
    assert not state.confirm("any")  # nothing was saved there
    state.release()


def _stats(state: Path, *logs: dict[str, Any], **more: str) -> dict[str, Any]:
    """What the module answers, in this process."""
    args = {"logs": list(logs), "state_dir": str(state), "workers": 1, "nice": 0, "cpu": 100, "memory_limit": "4G", "timeout": "60s"}
    return log_stats({**args, **more}, time.time())


def _cursor_finding(answer: dict[str, Any]) -> tuple[str, str, int]:
    found = next(item for item in answer["findings"] if item["check"] == "log.app.cursor")
    return found["status"], found["message"], answer["summaries"]["app"]["lines"]


def test_a_module_that_is_killed_while_it_reads_another_log_loses_no_line(tmp_path: Path) -> None:
    """The place is saved when all is read."""
    (tmp_path / "app.log").write_text("ERROR gone\n" * 50)
    app = {"name": "app", "paths": [str(tmp_path / "app.log")], "format": "text", "cursor": True}
    script = f"touch {tmp_path}/reading; until [ -e {tmp_path}/over ]; do sleep 0.1; done"
    slow = {"name": "slow", "command": ["sh", "-c", script], "format": "text"}
    child = os.fork()
    if child == 0:
        _stats(tmp_path / "state", app, slow, call_id="one")
        os._exit(0)
    while not (tmp_path / "reading").exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (tmp_path / "over").touch()
    with (tmp_path / "state" / ".app.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until what it has started is gone, which goes with it
    assert _cursor_finding(_stats(tmp_path / "state", app, call_id="two")) == ("ok", "log.cursor", 50)


def test_what_was_not_recorded_is_said(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("ERROR gone\n" * 50)
    app = {"name": "app", "paths": [str(tmp_path / "app.log")], "format": "text", "cursor": True}
    state = tmp_path / "state"
    assert _cursor_finding(_stats(state, app, call_id="one")) == ("ok", "log.cursor", 50)
    assert _cursor_finding(_stats(state, app, call_id="two")) == ("warning", "log.cursor_repeated", 50)
    assert _stats(state, app, recorded="two") == {"findings": [], "summaries": {}}
    assert _cursor_finding(_stats(state, app, call_id="three")) == ("ok", "log.cursor", 0)
    # Who calls the module without a name for the call is taken to keep the answer.
    _stats(state, app, recorded="three")
    _stats(state, app)
    assert _cursor_finding(_stats(state, app)) == ("ok", "log.cursor", 0)
