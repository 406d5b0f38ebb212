# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns mean to us what they mean to tar."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._files import patterns as file_patterns

TREE = ("app/cache/x", "app/logs/cache/y", "app/log1.gz", "app/logs/data.gz", "app/[x]", "app/-v", "app/.hidden")
PATTERNS = (
    "cache",
    "cache/",
    "log*.gz",
    "*.gz",
    "/srv/app/cache",
    "/srv/*/cache/",
    "*/app/log*",
    "[[]x]",
    "[!a-z]*",
    "-v",
    "*hidden",
    "/srv/*",
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_left_out_as_by_tar(tmp_path, pattern):
    for name in TREE:
        (tmp_path / "srv" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "srv" / name).write_text("x")
    found = set(file_patterns.left_out([pattern], str(tmp_path / "srv"), "srv", False, (".opsrunner-",)))
    anchored = "--anchored" if "/" in pattern.rstrip("/") else "--no-anchored"
    words = ["tar", "-c", anchored, "--wildcards", "--no-wildcards-match-slash", "--exclude=" + pattern.strip("/"), "-C", str(tmp_path)]
    archive = subprocess.run([*words, "srv"], check=True, stdout=subprocess.PIPE).stdout
    listed = subprocess.run(["tar", "-t"], input=archive, check=True, stdout=subprocess.PIPE).stdout
    kept = {str(tmp_path / line.rstrip("/")) for line in listed.decode().splitlines()}
    every = {os.path.join(here, name) for here, folders, files in os.walk(str(tmp_path / "srv")) for name in folders + files}
    out = {path for path in every if any(path == one or path.startswith(one + "/") for one in found)}
    assert every - out == kept - {str(tmp_path / "srv")}


@pytest.mark.parametrize(
    ("patterns", "member", "wanted"),
    [
        (["*.log", "cache"], "srv/app", ["*.log", "cache"]),
        (["/srv/app/cache", "/srv/other/cache"], "srv/app", ["cache"]),
        (["/srv/*/cache/", "*/app/x*"], "srv/app", ["cache", "x*"]),
        (["/srv/*/cache"], "srv/app/deep", []),
        (["/*/cache"], "srv/app", []),
        (["/cache"], "srv", []),
    ],
)
def test_excluded_entries_right_in_a_member(patterns, member, wanted):
    assert file_patterns.entries(patterns, member) == wanted
