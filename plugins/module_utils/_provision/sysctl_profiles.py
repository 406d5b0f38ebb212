# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters by the work that a host does: data, each value with its reason and where that is written."""

from __future__ import annotations

from typing import Dict, Union

#: By profile and key: ``value``, ``reason``, ``source``.
PROFILES: Dict[str, Dict[str, Dict[str, Union[str, int]]]] = {
    "network_server": {
        "net.core.somaxconn": {
            "value": 4096,
            "reason": "Connections that wait to be accepted; a burst is not turned away while the service is busy",
            "source": "kernel Documentation/networking/ip-sysctl.rst, somaxconn",
        },
        "net.ipv4.tcp_max_syn_backlog": {
            "value": 8192,
            "reason": "Half-open connections that are remembered before syncookies begin",
            "source": "kernel Documentation/networking/ip-sysctl.rst, tcp_max_syn_backlog",
        },
        "net.ipv4.tcp_syncookies": {
            "value": 1,
            "reason": "Connections are still accepted when the backlog overflows",
            "source": "kernel Documentation/networking/ip-sysctl.rst, tcp_syncookies",
        },
        "net.core.netdev_max_backlog": {
            "value": 16384,
            "reason": "Packets that wait for the kernel when they arrive faster than they are handled",
            "source": "kernel Documentation/admin-guide/sysctl/net.rst, netdev_max_backlog",
        },
        "net.ipv4.tcp_fin_timeout": {
            "value": 30,
            "reason": "Orphaned connections are dropped sooner than after 60 s",
            "source": "kernel Documentation/networking/ip-sysctl.rst, tcp_fin_timeout",
        },
        "net.ipv4.tcp_keepalive_time": {
            "value": 300,
            "reason": "Peers that are gone are noticed before the usual idle limits of firewalls",
            "source": "kernel Documentation/networking/ip-sysctl.rst, tcp_keepalive_time",
        },
        "net.ipv4.tcp_keepalive_intvl": {
            "value": 30,
            "reason": "A peer that is gone is dropped after intvl times probes",
            "source": "kernel Documentation/networking/ip-sysctl.rst, tcp_keepalive_intvl",
        },
        "net.ipv4.tcp_keepalive_probes": {
            "value": 3,
            "reason": "A peer that is gone is dropped after intvl times probes",
            "source": "kernel Documentation/networking/ip-sysctl.rst, tcp_keepalive_probes",
        },
    },
    "bulk_transfer": {
        "net.core.rmem_max": {
            "value": 16777216,
            "reason": "Receive buffer that a program may ask for; one long fast connection needs bandwidth times delay",
            "source": "kernel Documentation/admin-guide/sysctl/net.rst, rmem_max",
        },
        "net.core.wmem_max": {
            "value": 16777216,
            "reason": "Send buffer that a program may ask for",
            "source": "kernel Documentation/admin-guide/sysctl/net.rst, wmem_max",
        },
        "net.ipv4.tcp_rmem": {
            "value": "4096 131072 16777216",
            "reason": "Receive buffer of TCP, smallest, first and largest; grows by itself up to the largest",
            "source": "kernel Documentation/networking/ip-sysctl.rst, tcp_rmem",
        },
        "net.ipv4.tcp_wmem": {
            "value": "4096 16384 16777216",
            "reason": "Send buffer of TCP, smallest, first and largest; grows by itself up to the largest",
            "source": "kernel Documentation/networking/ip-sysctl.rst, tcp_wmem",
        },
    },
    "database": {
        "vm.swappiness": {
            "value": 1,
            "reason": "The database's own cache is kept in memory; swapping stays possible as a last resort",
            "source": "kernel Documentation/admin-guide/sysctl/vm.rst, swappiness",
        },
        "vm.dirty_background_ratio": {
            "value": 5,
            "reason": "Writing out begins early, so that a checkpoint does not stall",
            "source": "kernel Documentation/admin-guide/sysctl/vm.rst, dirty_background_ratio",
        },
        "vm.dirty_ratio": {
            "value": 15,
            "reason": "Less can pile up before writers are made to wait",
            "source": "kernel Documentation/admin-guide/sysctl/vm.rst, dirty_ratio",
        },
    },
    "search": {
        "vm.max_map_count": {
            "value": 262144,
            "reason": "The search engine maps its index files and refuses to start below this",
            "source": "OpenSearch installation guide, important settings",
        },
        "vm.swappiness": {
            "value": 1,
            "reason": "A heap that is swapped out makes every collection slow",
            "source": "OpenSearch installation guide, important settings",
        },
    },
    "cache": {
        "vm.overcommit_memory": {
            "value": 1,
            "reason": "A snapshot forks the server; without this the fork fails when memory is half used",
            "source": "Redis administration guide, Linux",
        },
        "net.core.somaxconn": {
            "value": 4096,
            "reason": "The server asks for a backlog of 511, which the kernel's limit cuts",
            "source": "Redis administration guide, Linux",
        },
    },
    "batch": {
        "vm.swappiness": {
            "value": 10,
            "reason": "What the job works on stays in memory; what sleeps may go",
            "source": "kernel Documentation/admin-guide/sysctl/vm.rst, swappiness",
        },
        "vm.dirty_background_ratio": {
            "value": 10,
            "reason": "Long writes are spread over the job's time",
            "source": "kernel Documentation/admin-guide/sysctl/vm.rst, dirty_background_ratio",
        },
        "vm.dirty_ratio": {
            "value": 30,
            "reason": "The job may run ahead of the disk, for a bounded time",
            "source": "kernel Documentation/admin-guide/sysctl/vm.rst, dirty_ratio",
        },
    },
}
