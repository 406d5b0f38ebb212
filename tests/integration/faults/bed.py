# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plant a fault on a host, run the daily runbook, see what it found that it did not find before, take the fault away.

To be quick, each round plants one fault on every host at once: hosts do not see one another, so each has its one fault.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import hosts  # noqa: E402

#: The hosts of each system.
HOSTS = {
    "logcaster": ["logcaster1", "logcaster2", "logcaster3", "logcaster4"],
    "simplers": ["batch1", "batch2"],
}
#: Down all the time: the first one, which is also the one that a step made once for all hosts begins with.
DOWN = "logcaster1"
#: Where the probe made once for the whole system goes to.
FRONT = "logcaster2"
#: The lab runs on a busy test machine: how busy it is, and what that does to answers that are not slowed on purpose, is not
#: what is looked at.
QUIET = {
    "host_resources_limits": "{{ runbook_limits | combine({'cpu': {'warning': '101', 'critical': '101'},"
    " 'load_per_core': {'warning': '999', 'critical': '999'}}, recursive=true) }}",
    "health_check_probes": "{{ runbook_probes | rejectattr('type', 'eq', 'http') + runbook_probes | selectattr('type', 'eq', 'http')"
    " | map('combine', {'warning': '1500', 'critical': '3500'}) }}",
}
RUN_SECONDS = 180

Key = tuple[str, str]


@dataclass(frozen=True)
class Fault:
    """A fault that can be planted on a host of a system, and what the daily runbook must find then."""

    name: str
    system: str
    #: Run on the host as root.
    plant: str
    #: Check to status: all that is not ok now and was ok before. A leading ``-/`` is a check of the whole system.
    found: dict[str, str]
    #: What the first one's summary says.
    says: str = ""
    #: Files and folders that are put back afterwards.
    keeps: tuple[str, ...] = ()
    #: Run on the host as root to take the fault away, before the files are put back.
    undo: str = "true"
    #: Units that are started again afterwards.
    units: tuple[str, ...] = ()
    #: Checks that cannot be made any more, because another finding says why.
    gone: frozenset[str] = frozenset()
    #: Variables of the host while the fault is there.
    variables: dict[str, Any] = field(default_factory=dict)
    #: The only host it can be planted on.
    on: str | None = None


@dataclass
class Outcome:
    """What changed on the host of a fault, and on those that had none."""

    worse: dict[str, str]
    gone: set[str]
    summaries: dict[str, str]
    strays: list[str]


class Bed:
    """The lab with both systems, and what the daily runbook finds on it when nothing is planted."""

    def __init__(self, folder: Path) -> None:
        self.lab = hosts.Lab(folder / "lab")
        self.folder = folder
        self.baseline: dict[str, dict[Key, dict[str, Any]]] = {}

    def up(self) -> None:
        """Start the hosts, take one down, look once."""
        self.lab.up({host: system for system, names in HOSTS.items() for host in names})
        self.lab.stop(DOWN)
        self.baseline = self.look({})

    def look(self, variables: dict[str, dict[str, Any]]) -> dict[str, dict[Key, dict[str, Any]]]:
        """Run the daily runbook on both systems; what it found, by host and check."""
        with concurrent.futures.ThreadPoolExecutor(len(HOSTS)) as pool:
            return dict(zip(HOSTS, pool.map(lambda system: self.daily(system, variables), HOSTS), strict=True))

    def start_daily(self, system: str, variables: dict[str, dict[str, Any]]) -> subprocess.Popen[str]:
        """Start the daily runbook on a system, with more variables for some hosts."""
        common = {**QUIET, "logcaster_address": f"{self.lab.connections('logcaster')[FRONT]['ansible_host']}:443"}
        more = self.folder / f"{system}-variables.yml"
        more.write_text(json.dumps({"all": {"hosts": {host: {**common, **variables.get(host, {})} for host in HOSTS[system]}}}))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "OPSRUNNER_STATE": str(self.folder / f"state-{system}"),
            # The probe of the certificate is made from here.
            "SSL_CERT_FILE": str(self.lab.folder / "ca.pem"),
        }
        inventories = [f"-i{ROOT}/inventories/{system}", f"-i{self.lab.inventory(system)}", f"-i{more}"]
        command = [str(Path(sys.executable).with_name("ansible-playbook")), *inventories, "playbooks/daily.yml"]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def daily(self, system: str, variables: dict[str, dict[str, Any]]) -> dict[Key, dict[str, Any]]:
        """Run the daily runbook on a system and read its record."""
        process = self.start_daily(system, variables)
        try:
            output, _nothing = process.communicate(timeout=RUN_SECONDS)
        finally:
            process.kill()
        return self.found(system, output)

    def record(self, system: str, output: str = "") -> dict[str, Any]:
        """The newest record of a system."""
        records = sorted((self.folder / f"state-{system}").glob("runs/*/run.json"))
        if not records:
            raise AssertionError(f"no record was kept:\n{output}")
        record: dict[str, Any] = json.loads(records[-1].read_text(encoding="utf-8"))
        return record

    def found(self, system: str, output: str) -> dict[Key, dict[str, Any]]:
        """The findings of a system's newest run, which must be complete."""
        record = self.record(system, output)
        if record["state"] != "complete" or record.get("problems"):
            raise AssertionError(f"the run is {record['state']}: {record.get('problems')}\n{output}")
        # The busiest processes are told for information, and only when there are any.
        return {(item["host"], item["check"]): item for item in record["findings"] if not item["check"].startswith("top.")}

    def plant(self, fault: Fault, host: str) -> None:
        """Keep what the fault will touch, then plant it."""
        keep = f"tar -C / -cf /run/kept.tar {shlex.join(path.lstrip('/') for path in fault.keeps)};" if fault.keeps else ""
        self.lab.exec(host, f"set -e; {keep} {fault.plant}")

    def undo(self, fault: Fault, host: str) -> None:
        """Take the fault away."""
        parts = [fault.undo]
        if fault.keeps:
            parts += [f"rm -rf {shlex.join(fault.keeps)}", "tar -C / -xpf /run/kept.tar", "rm /run/kept.tar"]
        if fault.units:
            units = shlex.join(fault.units)
            parts += [f"systemctl reset-failed {units} 2>/dev/null || true", f"systemctl restart {units}"]
        self.lab.exec(host, "set -e; " + "; ".join(parts))

    def try_round(self, planted: dict[str, Fault]) -> dict[str, Outcome]:
        """Plant the faults (by host), look, take them away; the outcome by the fault's name."""
        with concurrent.futures.ThreadPoolExecutor(len(planted)) as pool:
            try:
                list(pool.map(lambda item: self.plant(item[1], item[0]), planted.items()))
                after = self.look({host: fault.variables for host, fault in planted.items()})
            finally:
                undone = list(pool.map(lambda item: self.undo(item[1], item[0]), planted.items()))
        del undone
        return {fault.name: self._outcome(host, fault, planted, after[fault.system]) for host, fault in planted.items()}

    def _outcome(self, host: str, fault: Fault, planted: dict[str, Fault], after: dict[Key, dict[str, Any]]) -> Outcome:
        before = self.baseline[fault.system]
        outcome = Outcome({}, set(), {}, [])
        for key in sorted({*before, *after}):
            was, is_ = before.get(key), after.get(key)
            status = is_["status"] if is_ else None
            if (was["status"] if was else "ok") == status:
                continue
            # Findings of the whole system belong to the fault that says so.
            name = key[1] if key[0] == host else f"{key[0]}/{key[1]}"
            if key[0] == host or name in fault.found:
                if is_ is None:
                    outcome.gone.add(name)
                else:
                    outcome.worse[name] = is_["status"]
                    outcome.summaries[name] = is_["summary"]
            elif key[0] not in planted and not (key[0] == "-" and any(name in other.found for other in planted.values())):
                outcome.strays.append(f"{name}: {was['status'] if was else None} became {status}: {(is_ or was)['summary']}")
        return outcome


def plan(faults: list[Fault]) -> list[dict[str, Fault]]:
    """Rounds of faults, each on a host of its own."""
    rounds: list[dict[str, Fault]] = []
    # Those that are bound to a host first: the others fill what is left.
    for fault in sorted(faults, key=lambda fault: fault.on is None):
        able = [fault.on] if fault.on else [host for host in HOSTS[fault.system] if host != DOWN]
        for planted in rounds:
            free = [host for host in able if host not in planted]
            if free:
                planted[free[-1]] = fault
                break
        else:
            rounds.append({able[-1]: fault})
    return rounds
