# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small service: answers on port 8123, writes a line a second to its log, opens it anew on SIGHUP, will not start when SICK."""

from __future__ import annotations

import http.server
import os
import signal
import sys
import threading
import time

PATH = "/var/log/shop/shop.log"


def main() -> None:
    """Serve until stopped."""
    if os.environ.get("SICK") == "yes":
        sys.exit("sick")
    log = [open(PATH, "a", buffering=1, encoding="utf-8")]  # noqa: SIM115

    def reopen(*_args: object) -> None:
        log.append(open(PATH, "a", buffering=1, encoding="utf-8"))  # noqa: SIM115
        log.pop(0).close()

    def write() -> None:
        while True:
            log[0].write("alive\n")
            time.sleep(1)

    if os.environ.get("DEAF") != "yes":
        signal.signal(signal.SIGHUP, reopen)
    else:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=write, daemon=True).start()
    http.server.HTTPServer(("127.0.0.1", 8123), http.server.SimpleHTTPRequestHandler).serve_forever()


main()
