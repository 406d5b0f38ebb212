# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are units of systemd."""

from __future__ import annotations

import time
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import nearest
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import run

from . import units as unit_changes
from .base import Runtime, ServiceError

#: systemd gives a stop 90 seconds and then kills; a unit may say more.
_LONG = 900.0
_UP = ("active", "activating", "reloading", "refreshing")
_DOWN = ("inactive", "failed")

Run = Callable[[Sequence[str]], Tuple[int, str]]


def _run(argv: Sequence[str]) -> Tuple[int, str]:
    return run.run_command(argv, _LONG)


class SystemdRuntime(Runtime):
    """``run``: starts a program, for tests."""

    def __init__(self, run: Run = _run) -> None:
        self._run = run

    def is_up(self, service: str) -> bool:
        """Whether the unit is active or becoming so."""
        return self._look(service).active in _UP

    def is_down(self, service: str) -> bool:
        """Whether the unit is inactive; while it is deactivating its processes may still write."""
        return self._look(service).active in _DOWN

    def _look(self, service: str, properties: Sequence[str] = ()) -> unit_changes.Unit:
        try:
            unit = unit_changes.show([service], self._run, properties)[service]
        except unit_changes.UnitError as error:
            raise ServiceError(str(error)) from None
        if not unit.exists:
            raise ServiceError("there is no unit %s on this host%s" % (service, self._near(service)))
        return unit

    def _near(self, service: str) -> str:
        status, output = self._run(["systemctl", "list-unit-files", "--no-legend", "--no-pager", "--type=service,timer,socket"])
        names = [line.split()[0] for line in output.splitlines() if line.split()] if not status else []
        near = nearest(service, names) or nearest(service + ".service", names)
        return "; is %s meant?" % near if near else ""

    def woken_by(self, services: Sequence[str]) -> List[str]:
        """Sockets, timers and paths that are up and start one of the units."""
        told = []
        for service in services:
            by = self._look(service, ("TriggeredBy",)).properties["TriggeredBy"].split()
            told += ["%s can be started by %s" % (service, one) for one in by if one not in services and self.is_up(one)]
        return told

    def stay_up(self, services: Sequence[str], seconds: float) -> None:
        """systemd starts many a unit again by itself: that counts as not staying up."""
        until = time.monotonic() + seconds
        before: Dict[str, Optional[int]] = dict.fromkeys(services)
        while True:
            over = time.monotonic() >= until
            for service in services:
                unit = self._look(service)
                restarts = before[service]
                if unit.active not in _UP or (restarts is not None and unit.restarts > restarts):
                    raise ServiceError("%s did not stay up: %s" % (service, self._last_words(service)))
                if over and unit.active == "activating":
                    raise ServiceError("%s is still coming up, or ends again and again: %s" % (service, self._last_words(service)))
                before[service] = unit.restarts
            if over:
                return
            time.sleep(min(0.5, seconds))

    def stop(self, service: str) -> None:
        """``systemctl stop``, and a look whether something has started it again."""
        self._systemctl("stop", service)
        self.wait(service, False, 5.0)
        if not self.is_down(service):
            raise ServiceError("%s does not come to its end: it is %s" % (service, self._look(service).active))

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
