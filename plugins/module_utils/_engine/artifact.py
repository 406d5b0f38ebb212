# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One artifact of a backup set: what an engine has made, as the manifest records it."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional


class Artifact(NamedTuple):
    """One file of a set. ``size``: bytes; ``counts``: what it holds (tables, rows, keys, documents, files), by name.

    ``name``: as the backup's options call it; ``compression``: ``zstd``, ``gzip`` or ``none``; ``encryption``: ``age`` or None;
    ``samples``: digests of sampled content, by name; ``source``: what a restore has to know, without secrets.
    """

    engine: str
    file: str
    size: int
    sha256: str
    tool: str
    start: float
    end: float
    tool_version: Optional[str] = None
    server_version: Optional[str] = None
    counts: Mapping[str, int] = {}
    name: Optional[str] = None
    compression: Optional[str] = None
    encryption: Optional[str] = None
    samples: Mapping[str, str] = {}
    source: Mapping[str, Any] = {}
