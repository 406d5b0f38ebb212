# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database is either its own artifact or none: with its logs it is left out of the files around it."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import artifacts as backup_artifacts
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError


def _read(paths, exclude, engine="files"):
    files = {"name": "files", "engine": engine, "paths": paths, **({"exclude": exclude} if exclude else {})}
    return backup_artifacts.read_all([files, {"name": "db", "engine": "sqlite", "database": "/srv/app/app.db"}], "artifacts")


@pytest.mark.parametrize(
    ("paths", "exclude"),
    [
        (["/srv/app"], ["app.db*"]),
        (["/srv/app"], ["*.db*"]),
        (["/srv/app"], ["/srv/*/app.db*"]),
        (["/srv/app"], ["app.db", "app.db-*"]),
        (["/srv/*"], ["app.db*"]),
        (["/srv/app/*"], ["app.db*"]),
        (["/srv/app/conf", "/srv/apps", "/srv/ap", "/srv/app/*.conf", "/srv/app/app.db.old"], []),
    ],
)
def test_apart(paths, exclude):
    assert [one.name for one in _read(paths, exclude)] == ["files", "db"]


@pytest.mark.parametrize(
    ("paths", "exclude", "key", "text"),
    [
        (["/srv/app"], [], "exclude", "app.db is the database of 'db': leave it out (did you mean app.db*?)"),
        # A log of another time beside the database would ruin it.
        (["/srv/app"], ["app.db"], "exclude", "app.db-wal is a log of the database of 'db'"),
        (["/srv/app"], ["app.db", "app.db-wal"], "exclude", "app.db-shm is a log"),
        (["/srv/app"], ["/srv/app.db*"], "exclude", "app.db is the database"),
        (["/srv/app/*"], [], "exclude", "app.db is the database"),
        (["/srv/*"], [], "exclude", "app.db is the database"),
        (["/srv/app/app.*"], [], "exclude", "app.db is the database"),
        (["/srv/app/app.db"], [], "paths", "app.db is the database of 'db', which keeps it"),
        (["/srv"], ["app.db*"], "paths", "name the folders beside /srv/app"),
    ],
)
@pytest.mark.parametrize("engine", ["files", "config"])
def test_not_apart(paths, exclude, key, text, engine):
    with pytest.raises(OptionError) as caught:
        _read(paths, exclude, engine)
    assert caught.value.path == "artifacts[0]." + key
    assert text in str(caught.value)
