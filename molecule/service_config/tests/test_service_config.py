# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in force on the host, whatever our own modules say of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml


def test_the_service_runs_with_its_settings(host: Any) -> None:
    pid = host.check_output("systemctl show --value --property MainPID shop")
    told = dict(entry.partition("=")[::2] for entry in host.check_output(f"tr '\\0' '\\n' < /proc/{pid}/environ").splitlines())
    assert told["THREADS"] == host.check_output("nproc")
    assert int(told["BUFFER"]) == int(host.check_output("awk '/MemTotal/{print $2}' /proc/meminfo")) // 100
    assert (told["GREETING"], told["API_KEY"]) == ("it's $HOME", "not to be shown")
    file = host.file("/etc/shop/shop.env")
    assert (file.user, file.mode) == ("root", 0o600)
    assert host.socket("tcp://127.0.0.1:8123").is_listening


def test_settings_are_readable_yaml(host: Any) -> None:
    found = host.check_output("cat /etc/shop/tuning.yml")
    assert yaml.safe_load(found) == {"pool": {"size": 10, "names": ["a", "no"]}}


def test_logrotate_accepts_its_whole_configuration(host: Any) -> None:
    done = host.run("logrotate -d /etc/logrotate.conf")
    assert (done.rc, "error:" in done.stderr) == (0, False)
    assert "/var/log/shop/*.log" in host.file("/etc/logrotate.d/shop").content_string


@pytest.mark.parametrize(("timer", "day"), [("nightly", None), ("rebuild", "Sun"), ("slow", None)])
def test_timers_are_active_and_start_at_boot(host: Any, timer: str, day: str | None) -> None:
    assert host.check_output(f"systemctl is-active {timer}.timer; systemctl is-enabled {timer}.timer").split() == ["active", "enabled"]
    following = host.check_output(f"systemctl show --value --property NextElapseUSecRealtime {timer}.timer")
    assert day is None or following.startswith(day)


def test_a_job_is_not_started_at_boot_as_well(host: Any) -> None:
    assert not host.file("/etc/systemd/system/multi-user.target.wants/nightly.service").exists


def test_cron_has_its_line(host: Any) -> None:
    assert (
        host.file("/etc/cron.d/by-cron")
        .content_string.splitlines()[-1]
        .startswith("17 * * * * batch /usr/local/lib/opsrunner/job -n by-cron ")
    )


def test_no_journal_is_left(host: Any) -> None:
    assert host.check_output("find /var/lib/opsrunner/transactions -type f") == ""
