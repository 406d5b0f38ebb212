# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup holds: each artifact's keys, read by its engine."""

from __future__ import annotations

import os
from typing import Any, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.names import ENGINES
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.patterns import alike, is_left_out

from .plan import ARTIFACT, ArtifactPlan, listed, named


def read_all(value: Any, path: str) -> Tuple[ArtifactPlan, ...]:
    """Read the key ``artifacts``. Raises OptionError."""
    items = [_artifact(item, "%s[%d]" % (path, at)) for at, item in enumerate(listed(value, path))]
    named(items, path)
    _apart(items, path)
    return tuple(items)


def _apart(items: Sequence[ArtifactPlan], path: str) -> None:
    """Refuse a database file that lies in what is copied as files: copied so it is torn, restored so it is undone; and its log, which
    of another time than the database would ruin it."""
    databases = [(str(item.spec["database"]), item.name) for item in items if item.engine == "sqlite"]
    for at, item in enumerate(items):
        for folder in item.spec.get("paths") or () if item.engine in ("files", "config") else ():
            for database, name in databases:
                if not _holds(folder, database):
                    continue
                here, file = os.path.split(database)
                if folder == database:
                    raise OptionError("%s[%d].paths" % (path, at), "%s is the database of %r, which keeps it" % (folder, name))
                if folder.count("/") < here.count("/"):
                    raise OptionError(
                        "%s[%d].paths" % (path, at), "%s holds the database of %r: name the folders beside %s" % (folder, name, here)
                    )
                for ending in ("", "-wal", "-shm", "-journal"):
                    if not is_left_out(item.spec.get("exclude") or (), database + ending):
                        what = "a log of the database" if ending else "the database"
                        text = "%s is %s of %r: leave it out" % (database + ending, what, name)
                        raise OptionError("%s[%d].exclude" % (path, at), text, hint=file + "*")


def _holds(pattern: str, database: str) -> bool:
    """Whether a path or pattern means a database, or a folder it is in."""
    parts = database.strip("/").split("/")
    return alike(pattern.strip("/"), "/".join(parts[: pattern.strip("/").count("/") + 1])) or database.startswith(pattern + "/")


def _artifact(value: Any, path: str) -> ArtifactPlan:
    given = {key: item for key, item in read.mapping(value, path).items() if item is not None}
    if "engine" not in given:
        raise OptionError(path + ".engine", "is required and is missing; there are: " + ", ".join(ENGINES))
    engine = backup_engines.engine(ARTIFACT["engine"](given["engine"], path + ".engine"))
    item = read.read_item(given, path, {**ARTIFACT, **engine.readers}, ("name", *engine.required))
    if item.get("compression") == "gzip" and item.get("level", 1) > 9:
        raise OptionError(path + ".level", "%d: gzip has levels to 9" % item["level"])
    own = {key: found for key, found in item.items() if key not in ARTIFACT}
    if "/" in item["name"] or item["name"].startswith("."):
        raise OptionError(path + ".name", "%r is no file name" % item["name"])
    return ArtifactPlan(item["name"], item["engine"], item.get("compression", "zstd"), item.get("level"), engine.parse(own, path))
