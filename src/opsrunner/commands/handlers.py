# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands around runs: list, show, history, diff, validate, init, doctor, selftest, demo."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from opsrunner.errors import EXIT_INVALID, UsageError, unknown
from opsrunner.find import runbooks, systems
from opsrunner.play import live

# -- what was kept -------------------------------------------------------------------------------------------------------


def list_all(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """Every runbook and every system in a line."""
    known = systems.find()
    rows = [(name, runbook.title) for name, runbook in runbooks.find().items()]
    print("Runbooks", *_two_columns(rows), "", "Systems", sep="\n")
    print(*_two_columns([(name, " · ".join(filter(None, [one.title, str(one.path)]))) for name, one in sorted(known.items())]), sep="\n")
    if not known:
        print("  none: make one with opsrunner init NAME")
    return 0


def _two_columns(rows: list[tuple[str, str]]) -> list[str]:
    wide = max((len(name) for name, _text in rows), default=0)
    return [f"  {name:<{wide}}  {text}".rstrip() for name, text in rows]


def show(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """One run, on the terminal or as a file of another format."""
    from opsrunner.commands import show as showing

    run, record = showing.find(given.run, given.system, given.runbook_name)
    if given.json:
        print(json.dumps(record, ensure_ascii=False, indent=1))
        return 0
    report = showing.model(run, record, given.language)
    if given.html or given.markdown:
        from opsrunner.find.collection import report_html, report_markdown

        for path, render in ((given.html, report_html.render), (given.markdown, report_markdown.render)):
            if path:
                _write(path, render(report))
        return 0
    print(showing.terminal(report), end="")
    return 0


def import_run(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """Keep a record that another controller or a job runner has made."""
    from opsrunner.commands import imports as importing

    try:
        text = sys.stdin.read() if given.file == "-" else Path(given.file).read_text(encoding="utf-8")
        run = importing.keep(importing.read(text), given.language)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{given.file}: {getattr(error, 'strerror', None) or error}") from None
    print(run.home / "report.html")
    return 0


def _write(path: str, text: str) -> None:
    if path == "-":
        print(text, end="")
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def history(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """The last runs."""
    from opsrunner.commands import show as showing

    rows = showing.history(given.system, given.runbook_name, given.number)
    if given.json:
        print(
            json.dumps([{name: value for name, value in row.items() if name != "findings"} for row in rows], ensure_ascii=False, indent=1)
        )
    elif rows:
        print(showing.table(rows, live.colored(sys.stdout)), end="")
    else:
        print("No run is kept.")
    return 0


def diff(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """What changed between two runs."""
    from opsrunner.commands import show as showing

    one, other = (showing.find(which, given.system, given.runbook_name)[1] for which in (given.run, given.other))
    if given.json:
        print(json.dumps(showing.as_data(one, other), ensure_ascii=False, indent=1))
    else:
        print(showing.difference(one, other, live.colored(sys.stdout)), end="")
    return 0


# -- inventories ---------------------------------------------------------------------------------------------------------


def validate_inventories(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """Read inventories and tell what is wrong with them."""
    from opsrunner.commands import validate

    known = systems.find()
    chosen = []
    for name in given.system or known:
        if name not in known and not Path(name).exists():
            raise unknown(name, known, "system")
        chosen.append(known[name] if name in known else systems.from_path(name))
    if not chosen:
        raise UsageError("there is no system: make one with opsrunner init NAME")
    lines, valid = validate.report(chosen)
    print(*lines, sep="\n")
    return 0 if valid else EXIT_INVALID


def initialise(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """Write the inventory of a new system."""
    from opsrunner.commands import init as writer

    folder = writer.write(given.name)
    print(f"{folder} describes {given.name}. Put its hosts into {folder / 'hosts.yml'}, then:")
    print(f"  opsrunner validate {given.name}", f"  opsrunner daily --system {given.name}", sep="\n")
    return 0


def examine(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """Is everything there that runs need?"""
    from opsrunner.commands import doctor
    from opsrunner.find.collection import findings

    system = systems.choose(given.system, given.inventory) if given.system or given.inventory else None
    worst = "ok"
    for line in doctor.look(systems.find(), system):
        worst = findings.worst([worst, line.status])
        print(f"{_painted(line.status)}  {line.what}: {line.seen}", *([f"          {line.advice}"] if line.advice else []), sep="\n")
    return {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}[worst]


def selftest(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """Damage backups on purpose: is each damage told?"""
    from opsrunner.selftest import backup as selftest_backup

    return selftest_backup.run(given.seed)


_COLOURS = {"ok": "32", "warning": "33", "unknown": "35", "critical": "31"}


def _painted(status: str) -> str:
    told = f"{status:<8}"
    return f"\x1b[{_COLOURS[status]}m{told}\x1b[0m" if live.colored(sys.stdout) else told


def run_demo(given: argparse.Namespace, _extra: Sequence[str]) -> int:
    """Start, end or show the demo."""
    from opsrunner import demo

    if given.what == "up":
        state = demo.up(given.idle * 60)
        print(f"The demo runs at {state['url']} and ends after {given.idle} minutes without a request.", "Look at it:", sep="\n")
        print("  opsrunner daily --system demo")
    elif given.what == "down":
        print("The demo has ended." if demo.down() else "The demo was not running.")
    else:
        found = demo.status()
        print(f"The demo runs at {found['url']} (process {found['pid']})." if found else "The demo is not running.")
    return 0
