# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams that do not come to their end, and commands of the system's own."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command, Limits, command


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("error", [BrokenPipeError, ConnectionResetError])
def test_a_source_whose_connection_breaks_is_no_end(tmp_path, error, compression):
    """It is not taken for the compressor's broken pipe, which the compressor's exit status tells."""

    def blocks():
        yield b"half of it"
        raise error(32, "the server is gone")

    with pytest.raises((OSError, backup_stream.StreamError), match="the server is gone"):
        backup_stream.write(blocks(), str(tmp_path / "dump"), compression)


def test_a_throttled_stream_that_is_stopped_ends_at_once(tmp_path):
    """It would sleep for days."""
    stop = backup_stream.Stop()

    def blocks():
        yield bytes(1 << 20)
        yield b"the rest"

    timer = threading.Timer(0.1, stop.now)
    timer.start()
    with pytest.raises(backup_stream.StreamError, match="stopped"):
        backup_stream.write(blocks(), str(tmp_path / "dump"), "none", limits=Limits(0, None, 1), stop=stop)
    timer.join()


def test_the_end_of_what_a_hook_has_said_is_told():
    """With its status."""
    said = "seq 10000; echo the end >&2; exit 3"
    with pytest.raises(backup_stream.StreamError, match=r"^sh ended with status 3: .* 10000 the end$") as caught:
        backup_stream.hook(command("sh", "-c", said))
    assert len(caught.value.said) <= backup_stream.TAIL
    with pytest.raises(backup_stream.StreamError, match=r"^hook: is not installed$"):
        backup_stream.hook(command("/nowhere/hook"))


def test_a_hook_is_not_waited_for_longer_than_itself(tmp_path):
    """What it has started holds its output open."""
    backup_stream.hook(command("sh", "-c", "sleep 3600 & echo $! > %s" % (tmp_path / "started")))
    os.kill(int((tmp_path / "started").read_text()), signal.SIGKILL)  # it is there still


@pytest.mark.parametrize("status", [0, 3])
def test_what_a_program_says_is_heard_and_its_messages_kept(tmp_path, status):
    heard = []
    told = []

    def hear(block):
        heard.append(block)
        return b"" if block else b"".join(line for line in b"".join(heard).splitlines(True) if line.startswith(b"oh"))

    script = "cat; i=0; while [ $i -lt 20000 ]; do echo entry $i; i=$((i+1)); done >&2; echo oh no >&2; exit $1"
    what = Command(("sh", "-c", script, "sh", str(status)), stdin=b"fed", heard=hear, ended=lambda *said: told.append(said))
    if status:
        with pytest.raises(backup_stream.StreamError, match=r"sh ended with status 3: oh no$"):
            backup_stream.write(what, str(tmp_path / "x"), "none")
    else:
        backup_stream.write(what, str(tmp_path / "x"), "none")
        assert told == [(0, "oh no")]
    assert b"".join(heard).count(b"entry") == 20000
    assert (tmp_path / "x").read_text() == "fed"


def test_who_cannot_hear_fails_the_stream(tmp_path):
    def hear(_block):
        raise ValueError("not understood")

    script = "i=0; while [ $i -lt 20000 ]; do echo a line that fills the pipe $i; i=$((i+1)); done >&2; echo out"
    with pytest.raises(ValueError, match="not understood"):
        backup_stream.write(Command(("sh", "-c", script), heard=hear), str(tmp_path / "x"), "none")
    assert (tmp_path / "x").read_text() == "out\n"


def test_a_command_is_fed(tmp_path):
    assert backup_stream.run(Command(("cat",), stdin=b"fed")) == b"fed"
    with backup_stream.produced(Command(("cat",), stdin=b"fed")) as file:
        assert file.read() == b"fed"


def test_a_hook_runs_where_no_temporary_file_can_be_made(tmp_path, monkeypatch):
    """A full disk is when a service must not be left standing still."""

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_stream.tempfile, "TemporaryFile", full)
    backup_stream.hook(command("sh", "-c", "echo; touch %s" % (tmp_path / "done")))
    assert (tmp_path / "done").exists()
    with pytest.raises(backup_stream.StreamError, match=r"^sh ended with status 3$"):
        backup_stream.hook(command("sh", "-c", "echo; exit 3"))


def test_the_environment_adds_no_options(tmp_path, monkeypatch):
    """Of root's cron, say: tar would leave out files and end well."""
    (tmp_path / "app.db").write_text("rows")
    monkeypatch.setenv("TAR_OPTIONS", "--exclude=*.db")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=other")
    monkeypatch.setenv("KEPT", "yes")
    assert b"app.db" in backup_stream.run(command("tar", "-cf", "-", "-C", str(tmp_path), "."))
    started = HOST.wrap(command("true", env={"PGPASSWORD": "own"}))
    assert {name: value for name, value in started.env.items() if name in ("TAR_OPTIONS", "PGOPTIONS", "PGPASSWORD", "KEPT")} == {
        "PGPASSWORD": "own",
        "KEPT": "yes",
    }


KILLED = "echo half; kill -KILL $$"


@pytest.mark.parametrize(
    ("status", "interrupted"),
    [(-9, True), (137, True), (-15, True), (143, True), (-24, True), (-11, False), (139, False), (1, False), (None, False)],
)
def test_who_was_killed_by_others_is_told_from_who_failed(status, interrupted):
    error = backup_stream.StreamError("reader", status, "")
    assert error.interrupted is interrupted
    if interrupted:
        assert str(error) == "reader was killed by signal %d" % (abs(status) % 128)


def _understood(path, encrypted, wrong):
    with backup_stream.read(str(path), "zstd" if encrypted else "none", encrypted, "key") as file:
        if encrypted:
            file.read()
        raise ValueError(wrong)


@pytest.mark.parametrize("program", ["age", "zstd"])
def test_a_text_that_breaks_off_is_the_killed_programs_fault(tmp_path, monkeypatch, program):
    """Not that of the file: who read it could not make sense of half of it."""
    shims = tmp_path / "shims"
    shims.mkdir()
    for name in ("age", "zstd"):
        (shims / name).write_text("#!/bin/sh\n%s\n" % (KILLED if name == program else "cat"))
        (shims / name).chmod(0o755)
    monkeypatch.setenv("PATH", "%s:%s" % (shims, os.environ["PATH"]))
    (tmp_path / "file").write_text("whole")
    with pytest.raises(backup_stream.StreamError, match="^%s was killed by signal 9" % program):
        _understood(tmp_path / "file", True, "half a text")


def test_a_text_that_is_wrong_is_the_files_fault(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="wrong"):
        _understood(tmp_path / "file", False, "wrong")


HUNG = Limits(0, None, None, 0.2)
ENDLESS = command("sh", "-c", "sleep 1000 & wait")


def _read_all(limits):
    with backup_stream.produced(ENDLESS, limits) as file:
        file.read()


@pytest.mark.parametrize(
    "do",
    [
        lambda folder: backup_stream.run(ENDLESS, limits=HUNG),
        lambda folder: backup_stream.hook(ENDLESS, limits=HUNG),
        lambda folder: backup_stream.write(ENDLESS, str(folder / "x"), "none", limits=HUNG),
        lambda folder: backup_stream.feed(__file__, ENDLESS, "none", limits=HUNG),
        lambda folder: _read_all(HUNG),
    ],
    ids=["run", "hook", "write", "feed", "produced"],
)
def test_a_program_that_hangs_is_ended_and_named(tmp_path, do):
    """With all that it has started, which would keep its output open."""
    with pytest.raises(
        backup_stream.StreamError, match=r"^sh: did not end within 0\.2 seconds, its time limit \(program_timeout\)$"
    ) as caught:
        do(tmp_path)
    assert caught.value.interrupted
