# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two systems on real hosts, and a host for copies; runbooks are run on them by the command, as an operator would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import hosts  # noqa: E402

HOSTS = {"shop": "shop1", "logcaster": "logcaster1"}
INVENTORIES = {"shop": HERE / "shop", "logcaster": ROOT / "inventories" / "logcaster"}
#: What a system's data is, as one text: equal before and after means that nothing was lost and nothing is mixed up.
PRINTS = {
    "shop": """
        runuser -u postgres -- pg_dump --no-owner --exclude-schema 'opsrunner*' -d shop | grep -v '^.restrict\\|^.unrestrict' | sha256sum
        redis-cli eval "local r = {};
          for _, k in ipairs(redis.call('keys', '*')) do r[#r + 1] = k .. redis.sha1hex(redis.call('dump', k)) end;
          table.sort(r); return #r .. redis.sha1hex(table.concat(r))" 0; redis-cli config get appendonly
        find /srv/shop /etc/shop -not -path '*/.opsrunner-*' -printf '%p %m %U %G %y\\n' | sort | sha256sum
        find /srv/shop /etc/shop -not -path '*/.opsrunner-*' -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum
    """,
    "logcaster": """
        sqlite3 /var/lib/logcaster/data.db .dump | sha256sum
        cd /; find etc/logcaster var/lib/logcaster -not -path '*/.opsrunner-*' -not -name 'data.db*' -printf '%p %m %U %G %y\\n' |
          sort | sha256sum
        stat -c '%U %G %a' /var/lib/logcaster/data.db
        find /etc/logcaster -not -path '*/.opsrunner-*' -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum
    """,
}
RUN_SECONDS = 300


class Outcome:
    """What a run of the command left: exit status, what it said, its record."""

    def __init__(self, status: int, said: str, record: dict[str, Any] | None) -> None:
        self.status, self.said, self.record = status, said, record

    def findings(self, *checks: str) -> dict[str, str]:
        """Status by check of all findings, or of those named."""
        found = {item["check"]: item["status"] for item in (self.record or {}).get("findings", ())}
        return {check: status for check, status in found.items() if not checks or check in checks}

    def summary(self, check: str) -> str:
        """What a finding says."""
        return next(str(item["summary"]) for item in (self.record or {}).get("findings", ()) if item["check"] == check)


class Bed:
    """The lab with both systems."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = hosts.Lab(folder / "lab")
        self.containers_conf = hosts.HERE / "containers.conf"
        self.backed_up: set[str] = set()

    def up(self) -> None:
        """Start the hosts; let those with data reach the one for copies."""
        self.lab.up({"shop1": "shop", "logcaster1": "logcaster", "vault1": "vault"})
        address = self.lab.connections("vault")["vault1"]["ansible_host"]
        host_key = " ".join(self.lab.exec("vault1", "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
        for system, host in HOSTS.items():
            key = self.lab.exec(host, "ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/vault; cat /root/.ssh/vault.pub")
            self.lab.exec(host, "cat > /root/.ssh/vault_hosts", stdin=f"{address} {host_key}\nbackup-server {host_key}\n".encode())
            self.lab.exec(host, f"echo '{address} backup-server' >> /etc/hosts; rm -rf /backup")
            self.lab.exec("vault1", "cat >> /root/.ssh/authorized_keys", stdin=key.encode())
            variables = {
                "shop_vault": address,
                "logcaster_health_timeout": "8s",
                "logcaster_backup_key": "/root/.ssh/vault",
                "logcaster_backup_hosts": "/root/.ssh/vault_hosts",
            }
            (self.folder / f"{system}.json").write_text(json.dumps({"all": {"hosts": {host: variables}}}))

    def start(self, system: str, runbook: str, *options: str, **variables: Any) -> subprocess.Popen[str]:
        """Start ``python -m opsrunner RUNBOOK`` on a system."""
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "OPSRUNNER_STATE": str(self.folder / f"state-{system}"),
            "PYTHONPATH": str(ROOT / "src"),
        }
        more = ["-e", json.dumps(variables)] if variables else []
        inventories = ["-i", str(self.lab.inventory(system)), "-i", str(self.folder / f"{system}.json")]
        command = [
            sys.executable,
            "-m",
            "opsrunner",
            runbook,
            "-i",
            str(INVENTORIES[system]),
            "--limit",
            HOSTS[system],
            *options,
            *more,
            "--",
            *inventories,
        ]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, system: str, runbook: str, *options: str, **variables: Any) -> Outcome:
        """Run it to its end."""
        state = self.folder / f"state-{system}"
        before = set(state.glob("runs/*/run.json"))
        with self.start(system, runbook, *options, **variables) as process:
            said, _nothing = process.communicate(timeout=RUN_SECONDS)
        made = sorted(set(state.glob("runs/*/run.json")) - before)
        record = json.loads(made[-1].read_text(encoding="utf-8")) if made else None
        return Outcome(process.returncode, said, record)

    def on(self, system: str, script: str) -> str:
        """Run a shell script on a system's host as root."""
        return self.lab.exec(HOSTS[system], "set -e; " + script)

    def data(self, system: str) -> str:
        """The print of a system's data."""
        return self.on(system, PRINTS[system])
