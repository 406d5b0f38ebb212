# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import textwrap

import pytest

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._inventory import variables

SPEC = {
    "type": "list",
    "elements": "dict",
    "suboptions": {
        "name": {"type": "str", "required": True},
        "timeout": {"type": "float"},
        "retries": {"type": "int"},
        "verify": {"type": "bool"},
        "type": {"type": "str", "choices": ["http", "tcp"]},
        "headers": {"type": "dict"},
        "json": {"type": "list", "elements": "dict", "suboptions": {"expression": {"type": "str"}}},
    },
}


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(variables, "variables", lambda: {"runbook_system": {"type": "str"}, "runbook_things": SPEC})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([{"name": "a", "timeout": 3, "verify": "yes", "retries": "2", "headers": {"X-A": "1"}}], []),
        ([{"name": "a", "tiemout": 3}], ["runbook_things[0].tiemout: unknown key 'tiemout' (did you mean timeout?)"]),
        ([{"timeout": 3}], ["runbook_things[0].name: is required and is missing"]),
        ({"name": "a"}, ["runbook_things: {'name': 'a'} is not a list"]),
        (["a"], ["runbook_things[0]: 'a' is not a mapping"]),
        ([{"name": "a", "retries": "x"}], ["runbook_things[0].retries: 'x' is not a whole number"]),
        ([{"name": "a", "retries": 1.5}], ["runbook_things[0].retries: 1.5 is not a whole number"]),
        ([{"name": "a", "type": "htp"}], ["runbook_things[0].type: unknown choice 'htp' (did you mean http?)"]),
        (
            [{"name": "a"}, {"name": "b", "json": [{"expresion": "x"}]}],
            ["runbook_things[1].json[0].expresion: unknown key 'expresion' (did you mean expression?)"],
        ),
        ([{"name": "{{ x }}", "timeout": "{{ y }}"}], []),
        ("{{ things }}", []),
    ],
)
def test_a_value_is_held_against_its_options(known, value, told):
    assert [str(error) for error in variables.check("runbook_things", value)] == told


def test_a_misspelt_variable_is_told_with_the_nearest_name(known):
    assert [str(error) for error in variables.check("runbook_thing", [])] == [
        "unknown variable 'runbook_thing' (did you mean runbook_things?)"
    ]


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_yml", ".yml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def test_files_are_checked_with_file_and_line_groups_without_hosts_included(known, tmp_path):
    write(
        tmp_path,
        hosts_yml="""
            all:
              children:
                web:
                  hosts:
                    web1:
                      runbook_thing: []
                empty:
            """,
        group_vars__all__main_yml="runbook_system: demo\n",
        group_vars__empty_yml="""
            runbook_things:
              - name: a
                tiemout: 3
            """,
        group_vars__wbe_yml="{}\n",
    )
    told = [str(problem).replace(f"{tmp_path}/", "") for problem in variables.check_inventory(tmp_path)]
    assert told == [
        "hosts.yml:7: unknown variable 'runbook_thing' (did you mean runbook_things?)",
        "group_vars/empty.yml:4: runbook_things[0].tiemout: unknown key 'tiemout' (did you mean timeout?)",
        "group_vars/wbe.yml: there is no group 'wbe' (did you mean web?)",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1\n", "is not YAML"),
        ("runbook_system: a\nrunbook_system: b\n", "is given twice, first in line 1"),
        ("- a\n", "is not a mapping of variables"),
        ("runbook_system: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  00\n", None),
        ("$ANSIBLE_VAULT;1.1;AES256\n00\n", "runbook_system: is not set"),
        ("\n", "runbook_system: is not set"),
    ],
)
def test_files_that_are_no_variables_are_told(known, tmp_path, text, told):
    write(tmp_path, hosts_yml="all: {hosts: {web1: }}\n", group_vars__all_yml=text)
    problems = [str(problem) for problem in variables.check_inventory(tmp_path)]
    assert (problems == []) if told is None else any(told in problem for problem in problems), problems


def test_an_inventory_that_is_not_there_is_told(known, tmp_path):
    assert "no such inventory" in str(variables.check_inventory(tmp_path / "none")[0])
    (tmp_path / "empty").mkdir()
    assert "holds no inventory" in str(variables.check_inventory(tmp_path / "empty")[0])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("runbook_probes", [{"name": "a", "type": "http", "url": "http://x/", "warning": "20:10"}], "runbook_probes[0].warning: "),
        ("runbook_probes", [{"name": "a", "type": "http", "url": "http://x/", "regex": "("}], "runbook_probes[0].regex: "),
        (
            "runbook_probes",
            [{"name": "{{ x }}", "type": "tcp"}, {"name": "b", "type": "http", "url": "http://x/", "json": [{"expression": "a.["}]}],
            "runbook_probes[1].json[0].expression: ",
        ),
        ("runbook_system_probes", [{"name": "a", "type": "tls", "address": "x:443", "timeoutt": 3}], "(did you mean timeout?)"),
        ("runbook_limits", {"cpu": {"warnin": "80"}}, "runbook_limits.cpu.warnin: "),
        ("runbook_logs", [{"name": "a", "paths": ["/x"], "windo": "1h"}], "(did you mean window?)"),
        ("runbook_backups", [{"name": "a", "root": "/x", "max_age": {"warning": "1 year"}}], "runbook_backups[0].max_age"),
    ],
)
def test_thresholds_patterns_and_expressions_are_read_by_the_modules_own_code(name, value, told):
    errors = [str(error) for error in variables.check(name, value)]
    assert len(errors) == 1
    assert told in errors[0]


def test_every_variable_is_bridged_by_a_role_and_every_bridge_is_known():
    import re
    from pathlib import Path

    root = Path(variables.__file__).parents[3]
    texts = [path.read_text() for folder in ("roles", "playbooks") for path in (root / folder).rglob("*.yml")]
    used = {name for text in texts for name in re.findall(r"\brunbook_[a-z_]+", text)}
    assert used <= set(variables.variables())
    # A report's heading, and what "opsrunner schedule" reads.
    assert set(variables.variables()) - used == {"runbook_title", "runbook_calendar"}
