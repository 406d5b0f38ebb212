# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of the tests' own, made with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from programs import needs

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificates(folder: Path) -> Path:
    """``ca`` and ``other`` (.pem, .key) are authorities; ``server`` is signed by ca for 127.0.0.1, ``login`` for the user of that name."""
    openssl = needs("openssl")
    folder.mkdir()
    for name in ("ca", "other"):
        words = ["-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([openssl, "req", *words], cwd=folder, check=True, capture_output=True)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "login"):
        subprocess.run(
            [openssl, "req", *_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "request"],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        words = ["-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", f"{name}.pem"]
        subprocess.run([openssl, "x509", *words, "-extfile", "names"], cwd=folder, check=True, capture_output=True)
    return folder
