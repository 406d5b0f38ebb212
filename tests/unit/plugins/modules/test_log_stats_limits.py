# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``log_stats`` where it may not read all, or has not enough memory: told with the reason, and the other logs are read."""

from __future__ import annotations

import importlib
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_collections
import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._log import stats as log_main

NOW = 1772366400.0
LINE = "2026-03-01 11:00:00,000 - app - INFO - done\n"
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter (those of pytest are for their owner alone)."""
    path = Path(tempfile.mkdtemp(prefix="opsrunner-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def look(*logs: dict[str, Any], **more: Any) -> dict[str, Any]:
    job = {"logs": [{"zone": "UTC", "rotated": False, "format": "batch", **log} for log in logs], **more}
    return {item["check"]: item for item in log_main.log_stats(job, NOW)["findings"]}


def as_nobody(*logs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The findings of a process that is not root."""
    # Everything is imported before the rights are gone: nobody may not read this Python.
    look(*logs, **more)
    importlib.import_module("resource")
    if os.geteuid() != 0:
        return look(*logs, **more)
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with os.fdopen(into, "w") as answer:
                json.dump(look(*logs, **more), answer)
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return dict(json.loads(text))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_may_not_be_read_is_unknown_with_the_reason_and_the_others_are_read(folder: Path, workers: int) -> None:
    (folder / "secret.log").write_text(LINE * 3)
    (folder / "open.log").write_text(LINE * 5)
    (folder / "secret.log").chmod(0)
    names = [{"name": name, "paths": [str(folder / f"{name}.log")]} for name in ("secret", "open")]
    found = as_nobody(*names, {"name": "both", "paths": [str(folder / "*.log")]}, workers=workers)
    secret = found["log.secret.source"]
    assert (secret["status"], secret["params"]["reason"]["message"]) == ("unknown", "reason.log_denied")
    assert str(folder / "secret.log") in json.dumps(secret)
    assert (found["log.open.source"]["status"], found["log.open.source"]["value"]) == ("ok", 5)
    assert (found["log.both.source"]["status"], found["log.both.source"]["value"]) == ("unknown", 5)


@pytest.mark.parametrize("name", ["a.log", "*.log"])
def test_a_folder_that_may_not_be_entered_is_not_taken_for_an_empty_one(folder: Path, name: str) -> None:
    (folder / "app").mkdir()
    (folder / "app" / "a.log").write_text(LINE)
    (folder / "app").chmod(0)
    found = as_nobody({"name": "app", "paths": [str(folder / "app" / name)], "optional": True})["log.app.source"]
    (folder / "app").chmod(0o755)
    assert (found["status"], found["params"]["reason"]["message"]) == ("unknown", "reason.log_denied")


ALONE = """
import json, sys
sys.path.extend(json.loads(sys.argv[1]))
import ansible_collections
ansible_collections.__path__ = json.loads(sys.argv[2])
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import stats as log_main
job = json.load(sys.stdin)
print(json.dumps({item["check"]: item for item in log_main.log_stats(job, float(sys.argv[3]))["findings"]}))
"""


def alone(*logs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The findings of a process of its own, as a module is: what other tests have in memory does not count."""
    job = {"logs": [{"zone": "UTC", "rotated": False, "format": "batch", **log} for log in logs], **more}
    paths = [json.dumps(sys.path), json.dumps(list(ansible_collections.__path__)), str(NOW)]
    done = subprocess.run([sys.executable, "-c", ALONE, *paths], input=json.dumps(job), capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_memory_limit_is_told_and_is_no_crash(tmp_path: Path) -> None:
    # To unpack this takes a window of 64 MiB, whatever it holds.
    (tmp_path / "big.log.xz").write_bytes(lzma.compress(LINE.encode() * 1000, preset=9))
    (tmp_path / "small.log").write_text(LINE * 5)
    logs = [{"name": "big", "paths": [str(tmp_path / "big.log.xz")]}, {"name": "small", "paths": [str(tmp_path / "small.log")]}]
    found = alone(*logs, memory_limit="64M", workers=1)
    big = found["log.big.source"]
    assert (big["status"], big["params"]["reason"]["message"]) == ("unknown", "reason.log_memory")
    assert (found["log.small.source"]["status"], found["log.small.source"]["value"]) == ("ok", 5)
    assert alone(*logs, memory_limit="512M", workers=1)["log.big.source"]["value"] == 1000
