#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daily runbook on hosts over ssh, against a shell script that looks at the same things over plain ssh.

All ways take turns in every round, so that what else the machine does hits them alike; medians are told. The connections that
Ansible keeps open are not carried from one run to the next: a daily run begins without any. The last line is JSON:
``vs_ssh_serial`` and ``vs_ssh_parallel`` (our time over theirs), ``module_tasks_per_host``, ``checks_per_host`` and
``ansible_share``, the part of the runbook's time in which no module runs on any host, and ``vs_ansible_floor``, our time over
that of a playbook with as many modules that do nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import hosts as lab_hosts  # noqa: E402

#: Stands for Python on the hosts and notes when each module ran there.
TIMED = """#!/bin/sh
begin=$(date +%s.%N)
/usr/bin/python3 "$@"
status=$?
echo "$begin $(date +%s.%N)" >> /run/modules
exit $status
"""


class Bench:
    """The hosts and the ways to look at them."""

    def __init__(self, lab: lab_hosts.Lab, count: int, folder: Path) -> None:
        self.lab = lab
        self.names = [f"logcaster{number}" for number in range(1, count + 1)]
        self.folder = folder
        self.runs = 0

    def up(self) -> None:
        """Start the hosts."""
        self.lab.up(dict.fromkeys(self.names, "logcaster"))
        for name in self.names:
            self.lab.exec(name, "cat > /usr/local/bin/timed-python; chmod 755 /usr/local/bin/timed-python", TIMED.encode())

    def _ssh(self, name: str) -> subprocess.Popen[bytes]:
        settings = self.lab.connections("logcaster")[name]
        target = [
            "-i",
            settings["ansible_ssh_private_key_file"],
            *settings["ansible_ssh_common_args"].split(),
            f"root@{settings['ansible_host']}",
        ]
        with (HERE / "look.sh").open("rb") as script:
            return subprocess.Popen(["ssh", *target, "bash", "-s"], stdin=script, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        _nothing, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(errors.decode())

    def serial(self) -> None:
        """The script, one host after another."""
        for name in self.names:
            self._end(self._ssh(name))

    def parallel(self) -> None:
        """The script, on all hosts at once."""
        for process in [self._ssh(name) for name in self.names]:
            self._end(process)

    def runbook(self) -> None:
        """The daily runbook."""
        self._play("playbooks/daily.yml")

    def floor(self) -> None:
        """As many modules that do nothing."""
        self._play(str(HERE / "floor.yml"))

    def _play(self, playbook: str) -> None:
        self.runs += 1
        more = self.folder / "variables.yml"
        address = next(iter(self.lab.connections("logcaster").values()))["ansible_host"]
        settings = {"ansible_python_interpreter": "/usr/local/bin/timed-python", "logcaster_address": f"{address}:443"}
        more.write_text(json.dumps({"all": {"hosts": dict.fromkeys(self.names, settings)}}), encoding="utf-8")
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / f"cp{self.runs}"),
            "OPSRUNNER_STATE": str(self.folder / "state"),
            "SSL_CERT_FILE": str(self.lab.folder / "ca.pem"),
        }
        command = [str(Path(sys.executable).with_name("ansible-playbook")), playbook, f"-i{ROOT}/inventories/logcaster"]
        command += [f"-i{self.lab.inventory('logcaster')}", f"-i{more}", "-e", "runbook_report_fail_on=none"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def modules(self) -> dict[str, list[tuple[float, float]]]:
        """When modules ran on each host since this was asked last."""
        noted = {}
        for name in self.names:
            lines = self.lab.exec(name, "cat /run/modules 2>/dev/null; rm -f /run/modules").splitlines()
            noted[name] = [(float(begin), float(end)) for begin, end in map(str.split, lines)]
        return noted

    def checks(self) -> int:
        """Findings per host of the last run."""
        newest = max((self.folder / "state" / "runs").iterdir())
        record = json.loads((newest / "run.json").read_text(encoding="utf-8"))
        return min(sum(item["host"] == name for item in record["findings"]) for name in self.names)


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of time spans."""
    total, until = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-daily-") as made:
        bench = Bench(lab_hosts.Lab(Path(made) / "lab"), args.hosts, Path(made))
        try:
            bench.up()
            ways = {
                "daily.yml": bench.runbook,
                "ssh, one after another": bench.serial,
                f"ssh, {args.hosts} at once": bench.parallel,
                "four empty modules": bench.floor,
            }
            for way in ways.values():  # once without a clock: first connections, caches
                way()
            bench.modules()
            times: dict[str, list[float]] = {name: [] for name in ways}
            shares, tasks = [], []
            for _round in range(args.rounds):
                for name, way in ways.items():
                    began = time.monotonic()
                    way()
                    times[name].append(time.monotonic() - began)
                    if name == "daily.yml":
                        noted = bench.modules()
                bench.modules()  # forget those of the empty ones
                tasks.append(max(map(len, noted.values())))
                shares.append(1 - covered([span for spans in noted.values() for span in spans]) / times["daily.yml"][-1])
            checks = bench.checks()
        finally:
            bench.lab.down()
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    ours = medians["daily.yml"]
    print(f"{args.hosts} hosts, {args.rounds} rounds, {checks} checks a host\n")
    print(f"{'':<26}{'median':>9}{'fastest':>9}{'slowest':>9}{'ours is':>10}")
    for name, taken in times.items():
        print(f"{name:<26}{medians[name]:>8.2f}s{min(taken):>8.2f}s{max(taken):>8.2f}s{ours / medians[name]:>9.2f}x")
    result = {
        "vs_ssh_serial": round(ours / medians["ssh, one after another"], 2),
        "vs_ssh_parallel": round(ours / medians[f"ssh, {args.hosts} at once"], 2),
        "module_tasks_per_host": statistics.median(tasks),
        "checks_per_host": checks,
        "vs_ansible_floor": round(ours / medians["four empty modules"], 2),
        "ansible_share": round(statistics.median(shares), 2),
        "seconds": round(ours, 2),
    }
    print(f"\nIn {result['ansible_share']:.0%} of the runbook's time no module runs on any host: that is Ansible itself.")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
