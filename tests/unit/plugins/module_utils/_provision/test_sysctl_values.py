# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.sysctl_values import same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("9000-9100,8080", "8080,9000-9100"),
        ("8080,8081,8082", "8080-8082"),
        ("1-5,3-9", "1-9"),
        ("8080,8080", "8080"),
        ("8080-8080", "8080"),
        ("0x3", "3"),
        ("010", "8"),
        ("4096 0x20000 6291456", "4096 131072 6291456"),
        ("-1", "-1"),
    ],
)
def test_values_that_mean_the_same_are_the_same(one, other):
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("8080", "8080,8081"), ("1-5", "1-6"), ("", "8080"), (None, ""), ("1 2", "1"), ("a", "b"), ("0x3", "30")]
)
def test_values_that_mean_something_else_are_not(one, other):
    assert not same(one, other)
