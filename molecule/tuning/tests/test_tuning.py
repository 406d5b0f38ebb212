# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in force on the host, whatever our own modules say of it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("net.core.somaxconn", "1024"),
        ("net.ipv4.tcp_fin_timeout", "15"),
        ("net.ipv4.tcp_rmem", "4096 87380 16777216"),
    ],
)
def test_kernel_parameters_are_in_force_and_on_disk(host: Any, key: str, value: str) -> None:
    assert " ".join(host.check_output(f"sysctl -n {key}").split()) == value
    drop_in = host.file("/etc/sysctl.d/90-opsrunner-tuning.conf")
    assert f"{key} = {value}\n" in drop_in.content_string
    assert (drop_in.user, drop_in.mode) == ("root", 0o644)


def test_a_key_the_container_does_not_have_is_not_on_disk(host: Any) -> None:
    assert "netdev_max_backlog" not in host.file("/etc/sysctl.d/90-opsrunner-tuning.conf").content_string


def test_a_new_session_of_the_user_has_its_limits(host: Any) -> None:
    assert host.check_output("su -s /bin/sh -c 'ulimit -Hn; ulimit -Sn; grep processes /proc/self/limits' svc").split()[:6] == [
        "16000",
        "16000",
        "Max",
        "processes",
        "2000",
        "4000",
    ]


def test_the_process_of_the_unit_has_its_limits_and_its_place(host: Any) -> None:
    pid = host.check_output("systemctl show --value --property MainPID svc")
    assert host.check_output(f"grep 'open files' /proc/{pid}/limits").split()[3:5] == ["15000", "15000"]
    assert host.check_output(f"grep Cpus_allowed_list /proc/{pid}/status").split()[1] == "0"
    assert host.service("svc").is_running


def test_no_journal_is_left(host: Any) -> None:
    assert host.check_output("find /var/lib/opsrunner/transactions -type f") == ""
