# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module imports out of Ansible's zip file is compiled once, and is otherwise as Python's own finder has it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[5]
PACKAGE = "ansible_collections.opsrunner.runbook.plugins.module_utils"
LOOK = """
import builtins, importlib, json, sys, traceback
sys.path.insert(0, sys.argv[1])
compiled, compiling = [], compile

def noting(source, name, *rest, **more):
    compiled.append(str(name).rpartition("/")[2])
    return compiling(source, name, *rest, **more)

if sys.argv[3] == "first":
    importlib.import_module(sys.argv[2] + "._core.compile_once")
builtins.compile = noting
ranges = importlib.import_module(sys.argv[2] + "._core.thresholds")
builtins.compile = compiling
missing = ""
try:
    importlib.import_module(sys.argv[2] + "._core.no_such_thing")
except ImportError as error:
    missing = type(error).__name__
try:
    ranges.parse_range("not a range", "here")
except Exception:
    trace = traceback.format_exc()
print(json.dumps([compiled.count("thresholds.py"), ranges.__file__, repr(type(ranges.__loader__)), missing, trace]))
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip file like the one that Ansible makes."""
    path = tmp_path_factory.mktemp("zip") / "payload.zip"
    folder = PACKAGE.replace(".", "/")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        parts = [*folder.split("/"), "_core"]
        for size in range(1, len(parts) + 1):
            file.writestr("/".join([*parts[:size], "__init__.py"]), "")
        for name in ("compile_once", "options", "thresholds"):
            file.write(ROOT / "plugins" / "module_utils" / "_core" / f"{name}.py", f"{folder}/_core/{name}.py")
    return path


def look(archive: Path, first: str) -> list[object]:
    """How often a source was compiled, the name of its file, who imported it, what is missing, and an error out of it."""
    argv = [sys.executable, "-S", "-c", LOOK, str(archive), PACKAGE, first]
    return list(json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout))


def test_a_source_in_a_zip_file_is_compiled_once_and_all_else_is_the_same(archive: Path) -> None:
    ours, theirs = look(archive, "first"), look(archive, "never")
    assert ours[0] == 1
    assert ours[1:] == theirs[1:]
    assert ours[3] == "ModuleNotFoundError"
    assert "raise OptionError" in str(ours[4])


@pytest.mark.parametrize("path", sorted((ROOT / "plugins" / "modules").glob("*.py")), ids=lambda path: path.stem)
def test_modules_import_it_before_all_else_of_the_collection(path: Path) -> None:
    imports = re.findall(r"^(?:from|import) (ansible_collections\.\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert imports[:1] in ([], [f"{PACKAGE}._core.compile_once"])
