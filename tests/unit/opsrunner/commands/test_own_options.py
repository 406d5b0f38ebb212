# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of single runbooks become the variables of their roles."""

from __future__ import annotations

import json

import pytest
import yaml

from opsrunner.cli import main as cli
from opsrunner.commands import own_options, run
from opsrunner.commands import run as running
from opsrunner.find import collection as _collection
from opsrunner.find import runbooks


def words(*given):
    """The words for ansible-playbook."""
    options = cli.parser(runbooks.find()).parse_args(list(given))
    return running.ansible_options(options, [])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["restore"], {}),
        (["restore", "--list"], {"restore_action": "list"}),
        (["restore", "--undo", "--take-over"], {"restore_action": "undo", "lease_take_over": True}),
        (
            ["restore", "--backup", "shop", "--set", "2026-01-31", "--part", "db:users", "--part", "data", "--confirm", "restore"],
            {"restore_backup": "shop", "restore_set": "2026-01-31", "restore_part": ["db:users", "data"], "confirm": ["restore"]},
        ),
        (["restore", "--discard", "--confirm", "restore_discard"], {"restore_action": "discard", "confirm": ["restore_discard"]}),
        (["restore", "--set", "newest", "--start-all"], {"restore_set": "newest", "restore_start": "all"}),
    ],
)
def test_options_become_variables(given, wanted):
    found = words(*given)
    assert found == (["-e", json.dumps(wanted)] if wanted else []), found
    assert json.loads(found[1]) == wanted if wanted else True


def test_what_cannot_be_done_together_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        words("restore", "--undo", "--resume")
    assert ended.value.code == 64
    assert "not allowed with" in capsys.readouterr().err


def test_extra_variables_win():
    found = words("restore", "--set", "newest", "-e", "restore_set=2026")
    assert found.index("--extra-vars") > found.index("-e")


def test_other_runbooks_have_no_such_options():
    assert words("daily") == []


def test_every_variable_is_one_of_a_role():
    known = set()
    for path in (_collection.root() / "roles").glob("*/defaults/main.yml"):
        known |= set(yaml.safe_load(path.read_text()) or {})
    missing = [own.variable for options in own_options.OPTIONS.values() for own in options if own.variable not in known | {"confirm"}]
    assert missing == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["daily", "--tags", "healt"], "unknown --tags 'healt' (did you mean health?)"),
        (["daily", "--tags", "health,log"], "unknown --tags 'log' (did you mean logs?)"),
        (["daily", "--skip-tags", "bakups"], "unknown --skip-tags 'bakups' (did you mean backups?)"),
        (["restore", "--confirm", "restor"], "unknown --confirm 'restor' (did you mean restore?)"),
        (["cleanup", "--confirm", "restore"], "unknown --confirm 'restore'"),
        (["backup", "--confirm", "prune"], "unknown --confirm 'prune' (did you mean backup_prune?)"),
    ],
)
def test_a_word_that_ansible_would_take_silently_is_refused_before_anything_runs(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--system", "logcaster"]) == 64
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", ["daily", "restore", "cleanup", "backup", "tune"])
def test_words_that_a_runbook_knows_are_taken(name: str) -> None:
    runbook = runbooks.find()[name]
    given = cli.parser(runbooks.find()).parse_args([name, "--system", "x", "--tags", ",".join([*runbooks.tags(runbook), "always"])])
    run.check_words(given, runbook)
