#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold every command line in the documentation against the real parser and the playbooks that there are.

Looked at are lines of code blocks and code spans that begin with ``opsrunner``, ``./opsrunner``, ``python -m opsrunner`` or
``ansible-playbook``. A span that is a synopsis (with square brackets outside of quotes) is left out.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from opsrunner.cli import main as cli  # noqa: E402
from opsrunner.commands import run  # noqa: E402
from opsrunner.errors import RefusalError  # noqa: E402
from opsrunner.find import runbooks  # noqa: E402

_FENCE = re.compile(r"^\s*```")
_SPAN = re.compile(r"`([^`]+)`")
_OURS = re.compile(r"(?:\$ )?(?:\./)?(?:python3? -m )?opsrunner (?P<words>.+)")
_PLAYBOOK = re.compile(r"(?:\$ )?ansible-playbook (?P<words>.+)")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every command line in a file."""
    fenced = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if _FENCE.match(line):
            fenced = not fenced
        elif fenced:
            yield number, line.strip()
        else:
            yield from ((number, span.strip()) for span in _SPAN.findall(line))


def problem(text: str) -> str | None:
    """What is wrong with a line; None for what is right or no command line."""
    ours, playbook = _OURS.match(text), _PLAYBOOK.match(text)
    if not ours and not playbook:
        return None
    try:
        words = shlex.split((ours or playbook)["words"], comments=True)  # type: ignore[index]
    except ValueError as error:
        return str(error)
    if not words or any(word.startswith("[") or word in ("…", "...") for word in words):
        return None
    return _ours(words) if ours else _playbook(words)


def _ours(words: list[str]) -> str | None:
    known = runbooks.find()
    extra = words.index("--") if "--" in words else len(words)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            given, left = cli.parser(known).parse_known_args(words[:extra])
        if left:
            return f"{left[0]} is not known"
        if isinstance(getattr(given, "runbook", None), runbooks.Runbook):
            run.check_words(given, given.runbook)
    except SystemExit as ended:
        return said.getvalue().strip() if ended.code else None
    except RefusalError as error:
        return str(error)
    return None


def _playbook(words: list[str]) -> str | None:
    name = words[0]
    stems = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    if name.startswith("opsrunner.runbook."):
        return None if name.rpartition(".")[2] in stems else f"there is no playbook {name}"
    if name.startswith("playbooks/"):
        return None if (ROOT / name).is_file() else f"there is no {name}"
    return None


def main() -> int:
    """Print what is wrong; 1 when there is anything."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "roles").glob("*/README.md"))]
    wrong = 0
    for path in files:
        for number, text in lines(path):
            told = problem(text)
            if told:
                wrong += 1
                print(f"{path.relative_to(ROOT)}:{number}: {text}: {told}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
