# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of hosts on its way to a person: one line, nothing in it but what can be seen.

A host chooses its file names, messages and versions; escape sequences in them would act on the reader's terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~]?)|\x9b[0-?]*[ -/]*[@-~]?"
)
_SPACES = re.compile(r"[\s\x85\u2028\u2029]+")
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(value: Any) -> str:
    """``value`` as one line of text without anything but what is to be seen."""
    text = value if isinstance(value, str) else str(value)
    if text.isprintable():
        return text.strip()
    text = _SPACES.sub(" ", _ESCAPES.sub("", text))
    return _SPACES.sub(" ", _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", _HARMFUL.sub("", text))).strip()


def clean_lines(value: Any) -> list[str]:
    """As :func:`clean`, for text that may be several lines."""
    return [line for line in map(clean, str(value).splitlines()) if line]


def show(lines: Iterable[Any], color: str | None = None) -> None:
    """Print lines in the output of ansible-playbook, whatever its verbosity, each cleaned. ``color``: a name that Ansible knows."""
    from ansible.utils.display import Display

    for line in lines:
        Display().display(clean(line), color=color)
