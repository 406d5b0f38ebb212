# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are units of systemd."""

from __future__ import annotations

from typing import Callable, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils import unit_changes
from ansible_collections.opsrunner.runbook.plugins.module_utils.runtimes import Runtime, ServiceError

#: systemd gives a stop 90 seconds and then kills; a unit may say more.
_LONG = 900.0
_UP = ("active", "activating", "reloading", "refreshing")

Run = Callable[[Sequence[str]], Tuple[int, str]]


def _run(argv: Sequence[str]) -> Tuple[int, str]:
    return unit_changes.run_command(argv, _LONG)


class SystemdRuntime(Runtime):
    """``run``: starts a program, for tests."""

    def __init__(self, run: Run = _run) -> None:
        self._run = run

    def is_up(self, service: str) -> bool:
        """Whether the unit is active or becoming so."""
        try:
            unit = unit_changes.show([service], self._run)[service]
        except unit_changes.UnitError as error:
            raise ServiceError(str(error)) from None
        if not unit.exists:
            raise ServiceError("there is no unit %s on this host" % service)
        return unit.active in _UP

    def stop(self, service: str) -> None:
        """``systemctl stop``, and a look whether something has started it again."""
        self._systemctl("stop", service)
        self.wait(service, False, 5.0)

    def start(self, service: str) -> None:
        """``systemctl start``. A unit that failed too often is forgiven first."""
        if self.is_up(service):
            return
        self._run(["systemctl", "reset-failed", "--", service])  # fails for one that has not failed
        self._systemctl("start", service)
        if not self.is_up(service):
            raise ServiceError("%s ended as soon as it was started: %s" % (service, self._last_words(service)))

    def _systemctl(self, verb: str, service: str) -> None:
        status, output = self._run(["systemctl", verb, "--", service])
        if status:
            raise ServiceError("systemctl %s %s: %s" % (verb, service, output or "exit status %d" % status))

    def _last_words(self, service: str) -> str:
        _status, output = self._run(["journalctl", "-u", service, "-n", "3", "--no-pager", "-o", "cat"])
        return " ".join(output.split())[:300]
