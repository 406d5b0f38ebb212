# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor says of what is installed."""

from __future__ import annotations

import pytest

from opsrunner.commands import doctor


@pytest.mark.parametrize(
    ("version", "status"),
    [("2.17.9", "critical"), ("2.18.0", "critical"), ("2.19.0", "ok"), ("2.21.5", "ok"), ("2.22.0", "warning"), (None, "critical")],
)
def test_the_supported_ansible_core_is_that_of_the_collection(monkeypatch, version, status):
    monkeypatch.setattr(doctor, "_version", lambda _package: version)
    line = doctor._ansible()
    assert line.status == status
    if version and status != "ok":
        assert ">=2.19" in line.advice
        assert "<2.22" in line.advice
