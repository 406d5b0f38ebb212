# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How services are stopped and started: the seam between what changes a system and what runs it.

A runtime is a class in ``runtime_<name>.py``. What uses one asks for nothing else than is here, so that another runtime is one more file.
"""

from __future__ import annotations

import time
from typing import List, Sequence


class ServiceError(Exception):
    """A service that cannot be looked at, stopped or started. The text says which and why."""


class Runtime:
    """What services run under. Each call raises ServiceError when it cannot do what it says."""

    def is_up(self, service: str) -> bool:
        """Whether it runs, or is coming up. A service that the runtime does not know is a ServiceError."""
        raise NotImplementedError

    def is_down(self, service: str) -> bool:
        """Whether nothing of it runs any more; one that is just ending is neither up nor down."""
        return not self.is_up(service)

    def stop(self, service: str) -> None:
        """Stop it and wait until it is down; nothing to do when it is down."""
        raise NotImplementedError

    def start(self, service: str) -> None:
        """Start it and wait until it is up; nothing to do when it is up."""
        raise NotImplementedError

    def woken_by(self, services: Sequence[str]) -> List[str]:
        """What can start one of them again at any time while they are down, and is none of them: text for people."""
        return []

    def stay_up(self, services: Sequence[str], seconds: float) -> None:
        """Look for so long whether they stay up. ServiceError for one that does not, or that is started again and again."""
        until = time.monotonic() + seconds
        while True:
            for service in services:
                if not self.is_up(service):
                    raise ServiceError("%s is down again" % service)
            if time.monotonic() >= until:
                return
            time.sleep(min(0.2, seconds))

    def wait(self, service: str, up: bool, timeout: float, interval: float = 0.2) -> None:
        """Wait until it is up, or down. ServiceError when it is not in time."""
        until = time.monotonic() + timeout
        while self.is_up(service) != up:
            if time.monotonic() >= until:
                raise ServiceError("%s is not %s after %g seconds" % (service, "up" if up else "down", timeout))
            time.sleep(interval)
