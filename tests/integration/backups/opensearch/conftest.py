# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real OpenSearch, one node, started from its jars."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import programs
import pytest


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Its spec: address and folder of snapshots."""
    for program in ("java", "javac", "mvn"):
        programs.needs(program)
    script = programs.__file__.replace("integration/backups/programs.py", "lab/opensearch.sh")
    done = subprocess.run([script], capture_output=True, text=True)
    if done.returncode:
        (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)(f"{script}: {done.stderr[-500:]}")
    classes = next(line.split("=", 1)[1] for line in done.stdout.splitlines() if line.startswith("classes="))
    # In memory where that can be: it syncs after every change.
    shared = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(dir=shared)) if os.access(shared, os.W_OK) else tmp_path_factory.mktemp("opensearch")
    (home / "config").mkdir()
    (home / "repositories").mkdir()
    port, transport = programs.free_port(), programs.free_port()
    options = ["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    words = ["java", *options, "-cp", classes, "Server", str(home), str(port), str(transport)]
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)
    for _try in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                break
        except OSError:
            time.sleep(0.2)
    else:
        pytest.fail((home / "log").read_text()[-2000:])
    yield {"url": f"http://127.0.0.1:{port}", "repository_path": str(home / "repositories"), "timeout": 60.0}
    process.kill()
    process.wait()
    process.stdin.close()
    shutil.rmtree(home, ignore_errors=True)
