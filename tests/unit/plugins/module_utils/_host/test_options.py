# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits and options of host_metrics: defaults, exceptions, and how bad ones are refused."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import options as host_options


@pytest.mark.parametrize(
    ("options", "path", "hint"),
    [
        pytest.param({"limits": {"cpuu": {}}}, "limits.cpuu", "cpu", id="a misspelt limit"),
        pytest.param({"limits": {"cpu": {"warn": 1}}}, "limits.cpu.warn", "warning", id="a misspelt threshold"),
        pytest.param({"limits": {"cpu": {"warning": "x"}}}, "limits.cpu.warning", "", id="a threshold that is no range"),
        pytest.param({"limits": {"cpu": {"mounts": {}}}}, "limits.cpu.mounts", "", id="exceptions where there are none"),
        pytest.param({"limits": {"cpu": 80}}, "limits.cpu", "", id="a limit that is no dictionary"),
        pytest.param({"limits": {"disk": {"mount": {}}}}, "limits.disk.mount", "mounts", id="misspelt exceptions"),
        pytest.param(
            {"limits": {"disk": {"mounts": {"/var": {"crit": 1}}}}}, "limits.disk.mounts./var.crit", "critical", id="in an exception"
        ),
        pytest.param({"limits": {"disk_free": {"warning": "10X:"}}}, "limits.disk_free.warning", "", id="a size that is none"),
        pytest.param({"limits": {"connections": {"ports": {"http": {}}}}}, "limits.connections.ports.http", "", id="a port by name"),
        pytest.param({"limits": {"hosts": {"db1": {"memry": {}}}}}, "limits.hosts.db1.memry", "memory", id="in a host's limits"),
        pytest.param({"limits": {"hosts": {"db1": {"hosts": {}}}}}, "limits.hosts.db1.hosts", "", id="hosts in hosts"),
        pytest.param({"ports": [0]}, "ports[0]", "", id="port 0"),
        pytest.param({"ports": "9999"}, "ports", "", id="ports that are no list"),
        pytest.param({"mounts": {"includes": []}}, "mounts.includes", "include", id="a misspelt selection"),
        pytest.param({"interval": 0}, "interval", "", id="no interval"),
        pytest.param({"interval": "nan"}, "interval", "", id="an interval that is no number"),
        pytest.param({"since": "yesterday"}, "since", "", id="a duration that is none"),
        pytest.param({"source": "procfs"}, "source", "proc", id="a source that is none"),
        pytest.param({"link_speeds": {"eth0": 0}}, "link_speeds.eth0", "", id="a link without speed"),
    ],
)
def test_bad_options_are_refused_by_path(options, path, hint):
    with pytest.raises(OptionError) as caught:
        host_options.parse(options)
    assert caught.value.path == path
    assert not hint or caught.value.hint == hint


def test_every_default_limit_is_a_range_and_nothing_needs_to_be_set():
    settings = host_options.parse({})
    assert settings.interval == 1.0
    assert settings.since == 86400
    assert settings.limits.of("memory") == ("80", "90", False)
    assert settings.limits.of("disk_free", "/") == (None, None, False)


@pytest.mark.parametrize(
    ("subject", "warning", "critical"),
    [
        pytest.param("/", "80", "90", id="no exception"),
        pytest.param("/data/a", "85", "90", id="a glob keeps what it does not name"),
        pytest.param("/data/db", "70", "75", id="an exact name wins over a later glob"),
        pytest.param("/data/x/y", None, "90", id="the last glob wins, and null switches off"),
    ],
)
def test_exceptions_per_mount(subject, warning, critical):
    mounts = {"/data/db": {"warning": 70, "critical": 75}, "/data/*": {"warning": 85}, "/data/x/*": {"warning": None}}
    limit = host_options.parse({"limits": {"disk": {"mounts": mounts}}}).limits.of("disk", subject)
    assert (limit.warning, limit.critical) == (warning, critical)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10G:", "10737418240:"), ("~:1.5M", "~:1572864"), ("@1K:2K", "@1024:2048"), (4096, "4096"), ("", None), ("10:", "10:")],
)
def test_sizes_in_ranges_become_bytes(text, expected):
    assert host_options.parse({"limits": {"disk_free": {"critical": text}}}).limits.of("disk_free", "/").critical == expected


def test_limits_of_a_host_are_laid_over_the_others():
    limits = {"cpu": {"warning": 70}, "hosts": {"db*": {"cpu": {"critical": 99}}, "db2": {"memory": {"warning": 95}}}}
    assert host_options.for_host(limits, "web1") == {"cpu": {"warning": 70}}
    assert host_options.for_host(limits, "db1") == {"cpu": {"warning": 70, "critical": 99}}
    assert host_options.for_host(limits, "db2") == {"cpu": {"warning": 70, "critical": 99}, "memory": {"warning": 95}}
    assert limits["hosts"]["db*"] == {"cpu": {"critical": 99}}


def test_ports_with_a_limit_are_counted_without_being_named_twice():
    settings = host_options.parse({"ports": [8000, 9999], "limits": {"connections": {"ports": {9999: {"warning": 5}, 6667: {}}}}})
    assert settings.ports == (8000, 9999, 6667)
