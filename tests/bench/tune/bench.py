#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of the tune runbook that changes nothing, against a playbook with one module call per key.

Both take turns in every round; medians are told. The last line is JSON: ``tasks`` (those of the roles that tune, argument checks
included), ``module_tasks`` (those that reach the host), ``all_tasks`` (with opening, checking and reporting the run),
``seconds_per_host`` (wall time with one host) and ``vs_naive`` (our time over theirs).
"""

from __future__ import annotations

import argparse
import json
import os
import re
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

HOST = "tune1"
SET_UP = """set -e
useradd svc
printf '[Service]\\nExecStart=/bin/sleep infinity\\n' > /etc/systemd/system/svc.service
systemctl daemon-reload
systemctl start svc
printf '#!/bin/sh\\necho >> /run/modules\\nexec /usr/bin/python3 "$@"\\n' > /usr/local/bin/counted-python
chmod 755 /usr/local/bin/counted-python
"""


class Bench:
    """One host, and the two ways to hold its settings."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0
        self.lab = lab_hosts.Lab(folder / "lab")

    def up(self) -> None:
        """Start the host."""
        self.lab.up({HOST: None})
        self.lab.exec(HOST, SET_UP)

    def play(self, playbook: str) -> tuple[float, dict[str, int]]:
        """Run a playbook; its seconds, and its recap with the tasks of tuning roles and the modules that ran on the host."""
        self.runs += 1
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / f"cp{self.runs}"),
            "OPSRUNNER_STATE": str(self.folder / "state"),
        }
        command = [str(Path(sys.executable).with_name("ansible-playbook")), playbook, f"-i{self.lab.inventory(None)}"]
        command += [f"-e@{HERE}/values.yml", "-e", "ansible_python_interpreter=/usr/local/bin/counted-python"]
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        took = time.monotonic() - began
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        recap = dict(re.findall(r"(\w+)=(\d+)", done.stdout.rpartition("PLAY RECAP")[2]))
        recap["modules"] = self.lab.exec(HOST, "wc -l < /run/modules; rm -f /run/modules")
        recap["tasks"] = str(len(re.findall(r"^TASK \[opsrunner\.runbook\.(?!preflight|run_report)", done.stdout, re.MULTILINE)))
        return took, {name: int(count) for name, count in recap.items()}


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    ways = {"tune.yml": "playbooks/tune.yml", "a call per key": str(HERE / "naive.yml")}
    times: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="bench-tune-") as made:
        bench = Bench(Path(made))
        try:
            bench.up()
            for playbook in ways.values():  # sets everything; what is measured changes nothing
                bench.play(playbook)
            for _round in range(args.rounds):
                for name, playbook in ways.items():
                    took, recap = bench.play(playbook)
                    if recap["changed"]:
                        raise RuntimeError(f"{name} changed something at the second run")
                    times[name].append(took)
                    if name == "tune.yml":
                        counts = {"tasks": recap["tasks"], "module_tasks": recap["modules"], "all_tasks": recap["ok"]}
        finally:
            bench.lab.down()
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:20} {seconds:6.2f} s  (of {args.rounds}: {min(times[name]):.2f} to {max(times[name]):.2f})")
    result = {
        **counts,
        "seconds_per_host": round(medians["tune.yml"], 2),
        "vs_naive": round(medians["tune.yml"] / medians["a call per key"], 3),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
