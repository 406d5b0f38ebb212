# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess

import pytest

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import arguments as run_arguments


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["password=hunter22 level=3"], ["password", "level"]),
        (['{"token": "abc", "x": {"y": 1}}'], ["token", "x"]),
        (["{token: abc}"], ["token"]),
        (["@/etc/secrets/vars.yml"], ["@vars.yml"]),
        (["a=1", "a=2"], ["a"]),
        (["a='b=c d=e'"], ["a", "d"]),
    ],
)
def test_of_extra_variables_only_names_are_kept(given, names):
    assert run_arguments.extra_variable_names(given) == names


def test_what_a_run_was_about_is_kept_and_nothing_else():
    options = {"subset": "web1", "tags": ("all",), "check": True, "forks": 5, "vault_password_files": ["x"], "extra_vars": ["p=hunter22"]}
    assert run_arguments.from_cli(options) == {"subset": "web1", "check": True, "forks": 5, "extra_vars": ["p"]}


def test_the_revision_says_when_files_differ_from_it(tmp_path):
    assert run_arguments.revision(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-qm", "a"], check=True)
    clean = run_arguments.revision(tmp_path)
    (tmp_path / "a").write_text("2")
    assert len(clean) == 12
    assert run_arguments.revision(tmp_path) == f"{clean}-dirty"
