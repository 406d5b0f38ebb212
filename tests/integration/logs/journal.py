# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a real journal: starts a journald of its own, writes to it, and prints what ``log_stats`` finds after each step.

To be run in a mount namespace of its own (``unshare --mount``): the journald of the machine is neither seen nor touched.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "collections"))
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import stats as log_main  # noqa: E402

SOCKET = Path("/run/systemd/journal/socket")
UNIT = "shop.service"


def send(message: bytes, priority: int, unit: str = UNIT) -> None:
    """Write one entry by the native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL). Root may name the unit that it is about."""
    fields = b"PRIORITY=%d\nOBJECT_SYSTEMD_UNIT=%s\nMESSAGE\n%s%s\n" % (priority, unit.encode(), struct.pack("<Q", len(message)), message)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(fields, str(SOCKET))


def settle(marker: str) -> None:
    """Wait until everything sent so far can be read."""
    send(marker.encode(), 6, "marker.service")
    for _attempt in range(200):
        told = subprocess.run(["journalctl", "-q", "-u", "marker", "-o", "cat"], capture_output=True, text=True, check=False)
        if marker in told.stdout:
            return
        time.sleep(0.05)
    raise TimeoutError(marker)


def look(**more: Any) -> dict[str, Any]:
    """The findings on the unit."""
    log = {"name": "shop", "journal": [UNIT], "zone": "UTC", "patterns": [{"name": "paid", "regex": r"paid (?P<value>\d+)"}], **more}
    result = log_main.log_stats({"logs": [log], "state_dir": sys.argv[1]}, time.time())
    return {"findings": {item["check"]: item for item in result["findings"]}}


def main() -> None:
    """Entry point."""
    for place in ("/run", "/var/log/journal"):
        Path(place).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    SOCKET.parent.mkdir(parents=True)
    with subprocess.Popen(["/lib/systemd/systemd-journald"], stderr=subprocess.DEVNULL) as journald:
        try:
            for _attempt in range(200):
                if SOCKET.exists():
                    break
                time.sleep(0.05)
            answers = []
            for number in range(20):
                send(b"paid %d" % number if number % 4 else b"card %d refused" % number, 6 if number % 4 else 3)
            send("두 줄\nand its second".encode(), 4)
            send(b"Traceback\n" + b"  at line\n" * 2000 + b"paid 99", 4)
            send(b"no text \xff\xfe", 2)
            send(b"of another unit", 3, "other.service")
            settle("first")
            answers.append(look(cursor=True))
            for number in range(7):
                send(b"again %d" % number, 3)
            settle("second")
            answers.append(look(cursor=True))
            answers.append(look(cursor=True))
            answers.append(look())
            print(json.dumps(answers))
        finally:
            journald.terminate()


if __name__ == "__main__":
    main()
