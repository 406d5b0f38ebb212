# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as runs leave them, for the tests of reports, index and comparison."""

from __future__ import annotations

import math
import random
import time

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import finding, message, utc_now, worst
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import complete_finding
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs

#: 2026-11-20 21:30:00 UTC
NOW = 1_795_210_200.0


def found(host, check, kind, status, text, **more):
    return complete_finding(finding(check, kind, status, text, observed_at=utc_now(NOW), **more), host, set())


def record(findings, at=NOW, state="complete", system="logcaster", runbook="daily", **more):
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    return {
        "schema": 1,
        "id": f"{stamp}-{system}-{runbook}-{int(at) % 65536:04x}",
        "runbook": runbook,
        "system": system,
        "title": "LogCaster",
        "state": state,
        "start": utc_now(at),
        "started_at": at,
        "end": utc_now(at + 14),
        "seconds": 14.2,
        "process": {"host": "control1", "pid": 1, "start": "1"},
        "who": {"user": "oncall", "controller": "control1"},
        "via": "opsrunner",
        "revision": "8a73e53c01d2-dirty",
        "arguments": {"limit": "app*", "forks": 10, "extra_vars": ["release"]},
        "expected_hosts": sorted({item["host"] for item in findings} - {"-"}),
        "problems": [],
        "notes": [],
        "findings": findings,
        "counts": runs.count(findings),
        "status": worst(item["status"] for item in findings),
        "hosts": runs.by_host(findings),
        **more,
    }


def disk(host, mount, percent):
    status = "critical" if percent > 90 else "warning" if percent > 80 else "ok"
    total = 120 * 2**30
    free = int(total * (100 - percent) / 100)
    return found(
        host,
        f"disk.{mount}",
        "disk",
        status,
        message("host.disk.ok" if status == "ok" else "host.disk", mount=mount, value=percent, free=free),
        value=percent,
        unit="%",
        warning="80",
        critical="90",
        evidence={"mount_source": "/dev/vdb1", "filesystem_type": "ext4", "bytes_total": total, "bytes_free": free},
        duration_ms=0.8,
    )


def memory(host, percent):
    status = "critical" if percent > 95 else "warning" if percent > 85 else "ok"
    total = 32 * 2**30
    left = int(total * (100 - percent) / 100)
    return found(
        host,
        "memory",
        "memory",
        status,
        message("host.memory.ok" if status == "ok" else "host.memory", value=percent, available=left, total=total),
        value=percent,
        unit="%",
        warning="85",
        critical="95",
        evidence={
            "top_processes": ["java (pid 2211) 18.2 GiB", "opensearch (pid 901) 8.1 GiB", "postgres (pid 1440) 1.2 GiB"],
            "bytes_available": left,
            "memory_estimated": False,
        },
        duration_ms=1.1,
    )


def load(host, per_core):
    status = "warning" if per_core > 1.5 else "ok"
    text = message("host.load.ok" if status == "ok" else "host.load", load=per_core * 8, cores=8, value=per_core)
    return found(host, "load", "load", status, text, value=per_core, warning="1.5", critical="3", evidence={"cores": 8})


def reachable(host, reason=None):
    text = message("host.unreachable", reason=reason) if reason else message("host.reachable")
    return found(host, "host.reachable", "reachable", "critical" if reason else "ok", text, duration_ms=10003.2 if reason else None)


def oom(host, count):
    text = message("host.oom" if count else "host.oom.ok", value=count, window=86400)
    return found(host, "oom", "oom", "warning" if count else "ok", text, value=count, warning="0", evidence={"victims": ["java"] * count})


def example(day=0, hosts=4, at=NOW):
    """A run of ``day`` days before: a disk that fills, a busy host, from the second day on a host that is away."""
    chance = random.Random(day)
    when = at - day * 86400
    items = []
    for number in range(1, hosts + 1):
        host = f"app{number}"
        if number == 3 and day < 1:
            items.append(reachable(host, "ssh: connect to host 10.20.0.13 port 22: Connection timed out"))
            continue
        wave = math.sin((day + number) / 4)
        items += [
            reachable(host),
            disk(host, "/", 41.0 + number + chance.random()),
            disk(host, "/var/lib/opensearch", (96.4 - day * 1.1 if number == 1 else 55.0 + number * 2 + wave)),
            memory(host, round((89.5 if number == 2 else 61) + 4 * wave + chance.random(), 1)),
            load(host, round(0.6 + 0.3 * wave + (1.3 if number == 4 and day < 3 else 0), 2)),
            oom(host, 2 if number == 2 and day == 1 else 0),
        ]
    items.append(
        found("app4", "task.log_stats", "task", "unknown", message("task.failed", task="log_stats", reason="/var/log/app/app.log: EACCES"))
    )
    return record(items, when)


def history(days=30, **more):
    points = {}
    for day in range(days, 0, -1):
        past = example(day, **more)
        for item in past["findings"]:
            points.setdefault((item["host"], item["check"]), []).append((past["started_at"], item["value"], item["status"]))
    return points
