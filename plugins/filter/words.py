# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words that a person, a survey or an inventory has given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_words

DOCUMENTATION = r"""
name: words
short_description: Words from a list, or from text with commas or spaces between them
description:
  - Reads what O(ignore:confirm) of the runbooks may be - a list, the text that a person types or a survey sends, or a list as JSON.
options:
  _input:
    description: The words.
    type: raw
    required: true
author:
  - opsrunner contributors
"""

EXAMPLES = r"""
confirmed: "{{ 'restore,restore_open' | opsrunner.runbook.words }}"
"""

RETURN = r"""
_value:
  description: The words.
  type: list
  elements: str
"""


def words(value: Any) -> list[str]:
    """The words of ``value``."""
    try:
        return parse_words(value, "confirm")
    except OptionError as error:
        raise AnsibleFilterError(f"words: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {"words": words}
