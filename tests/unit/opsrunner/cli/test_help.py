# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command and subcommand prints its help."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from opsrunner.cli import main as cli
from opsrunner.commands import own_options
from opsrunner.find import runbooks


def _parsers(one: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield one
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _parsers(below)


def test_every_command_prints_its_help() -> None:
    known = runbooks.find()
    assert own_options.OPTIONS.keys() <= known.keys()
    found = list(_parsers(cli.parser(known)))
    assert len(found) > len(known)
    for one in found:
        assert one.prog in one.format_help()
