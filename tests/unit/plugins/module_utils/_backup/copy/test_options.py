# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of backup_copy: what is to be done, and how bad ones are refused."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import options as backup_copy_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError

BACKUPS = [
    {"name": "shop", "root": "/backup/shop", "copies": [{"name": "vault", "kind": "rsync", "host": "vault", "path": "/srv/vault"}]},
    {"name": "other", "root": "/backup/other"},
]


@pytest.mark.parametrize(
    ("args", "path", "hint"),
    [
        ({"only": ["shp"]}, "only[0]", "shop"),
        ({"state": "fetch"}, "state", "fetched"),
        ({"state": "fetched"}, "only", ""),
        ({"state": "fetched", "only": ["shop", "other"], "copy": "vault"}, "only", ""),
        ({"state": "fetched", "only": ["shop"]}, "copy", ""),
        ({"state": "fetched", "only": ["shop"], "copy": "valt"}, "copy", "vault"),
    ],
)
def test_bad_options_are_refused_by_path(args, path, hint):
    with pytest.raises(OptionError) as caught:
        backup_copy_options.parse({"backups": BACKUPS, **args})
    assert caught.value.path == path
    assert not hint or caught.value.hint == hint


def test_all_are_sent_unless_some_are_named():
    assert [backup.name for backup in backup_copy_options.parse({"backups": BACKUPS}).backups] == ["shop", "other"]
    assert [backup.name for backup in backup_copy_options.parse({"backups": BACKUPS, "only": ["other"]}).backups] == ["other"]


def test_a_fetch_names_the_backup_and_the_copy():
    asked = backup_copy_options.parse({"backups": BACKUPS, "state": "fetched", "only": ["shop"], "copy": "vault"})
    assert asked.fetch is not None
    assert (asked.fetch[0].name, asked.fetch[1].name) == ("shop", "vault")


def test_pruning_is_confirmed_by_its_own_step():
    assert backup_copy_options.parse({"backups": BACKUPS, "state": "pruned"})[2:] == (True, False)
    assert backup_copy_options.parse({"backups": BACKUPS, "state": "pruned", "confirm": ["backup_prune"]})[2:] == (True, False)
    assert backup_copy_options.parse({"backups": BACKUPS, "state": "pruned", "confirm": ["backup_copy_prune"]})[2:] == (True, True)


def test_a_copy_that_keeps_nothing_is_refused():
    copy = {**BACKUPS[0]["copies"][0], "keep": {"last": 0}}
    with pytest.raises(OptionError) as caught:
        backup_copy_options.parse({"backups": [{**BACKUPS[0], "copies": [copy]}]})
    assert caught.value.path == "backups[0].copies[0].keep"
