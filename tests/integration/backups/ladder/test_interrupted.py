# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that are killed, or hang, while they read a sound set: the set keeps what was verified."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import needs

from opsrunner.find.collection import backup_sets
from opsrunner.selftest import backup as selftest_backup

#: What a program does instead of its work. Its version is still told: who asks for it is not the reader.
HOW = {
    "killed": "kill -KILL $$",
    "killed by its wrapper": "exit 137",
    "terminated": "kill -TERM $$",
    "killed in the middle": 'REAL "$@" | head -c 200; kill -KILL $$',
    "hung": "exec sleep 1000",
}
#: By engine: programs that read its sets, and the level of verification at which they do.
READERS = {
    "postgresql": [("zstd", 3), ("pg_restore", 3), ("pg_restore", 4), ("psql", 4)],
    "mysql": [("zstd", 3), ("mariadb", 4)],
    "redis": [("zstd", 3), ("redis-check-rdb", 3), ("redis-server", 4)],
}


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose programs come before all others, for any user."""
    folder = Path(tempfile.mkdtemp(prefix="shims-"))
    folder.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    yield folder
    shutil.rmtree(folder)


def shim(folder: Path, program: str, how: str) -> None:
    """Put a program in the place of another one."""
    real = needs(program)
    file = folder / program
    script = f'case " $* " in *" --version "*) exec {real} "$@" ;; esac\n{HOW[how]}\n'
    file.write_text("#!/bin/sh\n" + script.replace("REAL", real))
    file.chmod(0o755)


def keeps_its_level(backup: selftest_backup.Backup, folder: Path, program: str, rung: int, how: str) -> None:
    """Verify with the program as it is, then with what is in its place."""
    assert selftest_backup.verify(backup.options, 5).status == "ok"
    if how == "hung":  # long enough to make the server of a drill on a busy machine
        backup = backup._replace(options={**backup.options, "program_timeout": "12s"})
    shim(folder, program, how)
    verdict = selftest_backup.verify(backup.options, rung)
    (folder / program).unlink()
    assert verdict.status in ("warning", "unknown"), verdict
    assert verdict.rung is None
    assert program in verdict.reason
    told = "its time limit|no answer within 12 seconds" if how == "hung" else "was killed by signal"
    assert re.search(told, verdict.reason), verdict
    newest = backup_sets.listed(str(backup.root))[0]
    assert newest.sound, newest.failed  # sets that are not sound are not copied
    assert newest.rung == 5
    assert backup_sets.choose([newest], backup_sets.NEWEST_PROVED, 5) == newest


@pytest.mark.parametrize("how", HOW)
def test_a_set_of_a_server_keeps_its_level(backup, instead, how):
    for program, rung in READERS[backup.options["artifacts"][0]["engine"]]:
        if program == "redis-server" and how == "killed in the middle":
            continue  # it has no output to break off
        keeps_its_level(backup, instead, program, rung, how)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> selftest_backup.Backup:
    """Files and a database of SQLite, each compressed and encrypted."""
    for program in ("age", "zstd", "tar"):
        needs(program)
    return selftest_backup.make_backup(tmp_path_factory.mktemp("encrypted"), random.Random(1), count=1, encrypted=True)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("program", "rung"), [("age", 3), ("zstd", 3), ("tar", 3), ("tar", 4)])
def test_a_set_of_files_keeps_its_level(encrypted, instead, program, rung, how):
    keeps_its_level(encrypted, instead, program, rung, how)


def test_a_reader_that_crashes_has_found_damage(encrypted, instead, tmp_path):
    """Its crash may be the data's doing."""
    shutil.copytree(encrypted.root, tmp_path / "sets")
    shim(instead, "tar", "killed")
    (instead / "tar").write_text((instead / "tar").read_text().replace("-KILL", "-SEGV"))
    verdict = selftest_backup.verify(encrypted.at(tmp_path / "sets"), 3)
    assert (verdict.status, verdict.rung) == ("critical", 3), verdict


@pytest.mark.parametrize("how", [how for how in HOW if how != "hung"])
@pytest.mark.parametrize("program", ["gzip", "tar"])
def test_a_file_of_another_tool_is_not_called_damaged(instead, tmp_path, program, how):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(__file__, "file")
    assert selftest_backup.verify_foreign(tmp_path / "before", "app.tar.gz", data.getvalue()).status == "ok"
    shim(instead, program, how)
    verdict = selftest_backup.verify_foreign(tmp_path / "after", "app.tar.gz", data.getvalue())
    assert verdict.status in ("warning", "unknown"), verdict
    assert f"{program} was killed by signal" in verdict.reason
