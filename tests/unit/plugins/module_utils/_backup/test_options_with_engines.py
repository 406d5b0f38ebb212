# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of backup_status: defaults, and how bad ones are refused."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError

GOOD = {"name": "app", "root": "/backup"}


@pytest.mark.parametrize(
    ("item", "path", "hint"),
    [
        pytest.param({"root": "/b"}, "backups[0].name", "", id="without a name"),
        pytest.param({"name": "a"}, "backups[0].root", "", id="without a root"),
        pytest.param({**GOOD, "root": "backup"}, "backups[0].root", "/backup", id="a relative root"),
        pytest.param({**GOOD, "kind": "files"}, "backups[0].kind", "file", id="a kind that is none"),
        pytest.param({**GOOD, "kind": "file"}, "backups[0].pattern", "*.tar.gz", id="files without a pattern"),
        pytest.param({**GOOD, "pattern": "../*"}, "backups[0].pattern", "", id="a pattern that leads out"),
        pytest.param({**GOOD, "max_ages": {}}, "backups[0].max_ages", "max_age", id="a misspelt key"),
        pytest.param({**GOOD, "max_age": {"warn": "1h"}}, "backups[0].max_age.warn", "warning", id="a misspelt nested key"),
        pytest.param({**GOOD, "max_age": {"warning": "1 day"}}, "backups[0].max_age.warning", "", id="a duration that is none"),
        pytest.param(
            {**GOOD, "max_age": {"warning": "50h", "critical": "26h"}}, "backups[0].max_age.warning", "", id="warning after critical"
        ),
        pytest.param({**GOOD, "size_change": {"warning": "50:-50"}}, "backups[0].size_change.warning", "", id="a range that is none"),
        pytest.param({**GOOD, "history": 0}, "backups[0].history", "", id="no history"),
        pytest.param({**GOOD, "min_size": "ten"}, "backups[0].min_size", "", id="a size that is none"),
        pytest.param({**GOOD, "verified_rung": 6}, "backups[0].verified_rung", "", id="a rung that is none"),
        pytest.param({**GOOD, "root": "/backup/../etc"}, "backups[0].root", "/etc", id="a root that goes up"),
        pytest.param({**GOOD, "mount_point": "backup"}, "backups[0].mount_point", "", id="a relative mount point"),
        pytest.param({**GOOD, "mount_point": "/back"}, "backups[0].mount_point", "", id="a mount point beside the root"),
        pytest.param({**GOOD, "mount_point": "/"}, "backups[0].mount_point", "", id="the system's disk"),
        pytest.param("app", "backups[0]", "", id="no dictionary"),
    ],
)
def test_bad_options_are_refused_by_path(item, path, hint):
    with pytest.raises(OptionError) as caught:
        backup_options.parse([item])
    assert caught.value.path == path
    assert not hint or caught.value.hint == hint


def test_a_name_there_twice_is_refused():
    with pytest.raises(OptionError, match=r"backups\[1\].name: 'app' is there twice"):
        backup_options.parse([GOOD, GOOD])


@pytest.mark.parametrize("root", ["/backup", "/backup/", "//backup/.", "/./backup"])
def test_two_backups_in_one_root_are_refused(root):
    """Each would take the other's sets for its own, and remove them; files of other tools may lie in one folder."""
    with pytest.raises(OptionError, match=r"backups\[1\].root: /backup is the root of 'app' already"):
        backup_options.parse([GOOD, {"name": "other", "root": root}])
    files = {"kind": "file", "pattern": "*.gz"}
    assert len(backup_options.parse([{**GOOD, **files}, {**GOOD, **files, "name": "other"}])) == 2
    assert len(backup_options.parse([GOOD, {**GOOD, **files, "name": "other"}])) == 2
    assert backup_options.parse([{**GOOD, "root": root, "mount_point": root}])[0].mount_point == "/backup"


@pytest.mark.parametrize(
    ("given", "hours"),
    [
        (None, (26, 50)),
        ({"warning": "30h"}, (30, 50)),
        ({"warning": "7d"}, (168, 336)),
        ({"critical": "12h"}, (12, 12)),
        ({"warning": None}, (None, 50)),
        ({"critical": ""}, (26, None)),
    ],
)
def test_one_age_alone_moves_the_default_of_the_other(given, hours):
    ages = backup_options.parse([{**GOOD, "max_age": given}])[0].max_age
    assert ages == tuple(None if hour is None else hour * 3600.0 for hour in hours)


def test_values_left_empty_by_the_module_take_their_defaults():
    optional = dict.fromkeys(("pattern", "max_age", "size_change", "min_count", "min_size", "max_unverified_age", "remedy"))
    assert backup_options.parse([{**GOOD, **optional}]) == backup_options.parse([GOOD])
