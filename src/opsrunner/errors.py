# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command refuses, told in a line."""

from __future__ import annotations

from collections.abc import Iterable

#: Exit statuses besides those of a run's findings.
EXIT_INVALID = 2
EXIT_INCOMPLETE = 4
EXIT_USAGE = 64
EXIT_INTERRUPTED = 130


class RefusalError(Exception):
    """The command cannot do what was asked. ``status``: what it ends with."""

    status = EXIT_INCOMPLETE


class UsageError(RefusalError):
    """The command was given something that it cannot use."""

    status = EXIT_USAGE


def unknown(name: str, names: Iterable[str], what: str) -> UsageError:
    """The error for a name that is not there, with the one that was meant."""
    from opsrunner.find.collection import options

    return UsageError(str(options.unknown_name("", name, names, what=what)))
