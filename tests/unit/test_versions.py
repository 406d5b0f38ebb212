# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One supported range of ansible-core, and requirements with hashes."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("versions", ROOT / "tests" / "lint" / "versions.py")
versions = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(versions)


@pytest.fixture
def copy(tmp_path):
    for name in ("meta/runtime.yml", "pyproject.toml", "requirements/run.in", "roles/backup/meta/main.yml", *versions.PINNED):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_all_agree():
    assert versions.problems() == []


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("meta/runtime.yml", "<2.22.0", "<2.23.0", "meta/runtime.yml says"),
        ("meta/runtime.yml", "<2.22.0", "<2.21.0", "ansible-core 2.21.5 is not supported"),
        ("meta/runtime.yml", ">=2.19.0", ">=2.20.0", "min_ansible_version is 2.19, not 2.20"),
        ("pyproject.toml", "jmespath>=1.0,<2", "jmespath>=1.0", "jmespath has no upper bound"),
        ("requirements/run.in", "pyyaml>=6.0,<7", "pyyaml>=6.0,<8", "not those of requirements/run.in"),
        ("requirements/run.txt", "ansible-runner==2.4.3", "ansible-runner>=2.4.3", "is not pinned"),
        ("requirements/run.txt", "jmespath==1.1.0", "other==1\njmespath==1.1.0", "other has no hash"),
        ("requirements/dev.txt", "# This file", "--index-url https://packages.example/simple\n# This file", "names a host"),
    ],
)
def test_what_does_not_agree_is_named(copy, name, old, new, said):
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1))
    assert any(said in line for line in versions.problems(copy)), versions.problems(copy)
