# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Far ends to copy to: a real sshd, a real restic repository, and moto's S3, a double that speaks the real protocol."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from far_ends import STARTED, make_set
from programs import free_port, needs, wait_for

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.options_with_engines import Backup


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two whole sets and what else may lie there."""
    root = tmp_path / "root"
    for number in range(2):
        make_set(root, STARTED + number * 86400)
    (root / "20260101T000000Z.partial").mkdir()
    (root / "notes.txt").write_text("not a set")
    return root


@pytest.fixture
def backup_with(root: Path) -> Callable[..., Backup]:
    """A backup of that root with the copies given."""

    def made(*copies: dict[str, Any]) -> Backup:
        (backup,) = backup_options.parse([{"name": "shop", "root": str(root), "io_class": "none", "copies": list(copies)}])
        return backup

    return made


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An sshd of its own on a port of its own, for the user who runs the tests."""
    sshd, folder = needs("sshd"), tmp_path_factory.mktemp("sshd")
    needs("rsync")
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = free_port()
    (folder / "authorized_keys").write_text((folder / "id.pub").read_text())
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} " + (folder / "host.pub").read_text())
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\n"
        f"PidFile none\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)  # sshd will not start without it
    server = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=(folder / "log").open("w"))
    try:
        wait_for(port)
        yield {
            "kind": "rsync",
            "host": "127.0.0.1",
            "port": port,
            "user": getpass.getuser(),
            "key_file": str(folder / "id"),
            "known_hosts_file": str(folder / "known_hosts"),
        }
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, Any]]:
    """moto's S3 in a process of its own."""
    pytest.importorskip("boto3")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        yield {
            "kind": "s3",
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access_key": "key-of-the-test",
            "secret_key": "secret-of-the-test",
        }
    finally:
        server.kill()
        server.wait()
