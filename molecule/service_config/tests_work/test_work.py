# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left after the work."""

from __future__ import annotations

from typing import Any


def test_only_old_files_that_nobody_needs_are_gone(host: Any) -> None:
    left = host.check_output("cd /srv/old && find . -type f | sort").split()
    assert left == ["./held.log", "./keep.txt", "./mnt/c.log", "./new.log", "./persistence-1.log"]
    assert host.file("/srv/outside.log").exists


def test_two_jobs_of_one_lock_ran_one_after_the_other(host: Any) -> None:
    def times(name: str) -> list[int]:
        lines = host.check_output(f"cat /var/lib/opsrunner/schedule/{name}.runs").splitlines()
        return [int(line.split()[1]) for line in lines[-2:]]

    assert times("rebuild")[0] >= times("nightly")[1]


def test_the_job_wrote_its_own_log(host: Any) -> None:
    log = host.file("/var/log/jobs/nightly.log")
    assert log.content_string == "50% of batch\n"
    assert (log.user, log.mode) == ("batch", 0o640)
