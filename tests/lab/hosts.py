#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Systemd hosts in podman, reached over real ssh.

    hosts.py up FOLDER NAME[=KIND]...   start hosts; KIND (logcaster, simplers, shop, vault) sets its stand-ins up
    hosts.py down FOLDER                remove them and the folder
    hosts.py exec FOLDER NAME COMMAND   run a shell command on a host, past ssh

FOLDER gets ``id`` (the key), ``ca.pem`` and an inventory ``KIND.yml`` (``hosts.yml`` for hosts without a kind), which holds
nothing but how to connect: give it as the last ``-i``, after the inventory of a system. Needs root and podman; see docs/lab.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NETWORK = "opsrunner-lab"
#: Starting a container is mostly the kernel's work; more at once gains nothing.
PARALLEL = 4
BOOT_SECONDS = 120
#: The group that a kind's hosts are in, in the inventory of their system.
GROUPS = {"logcaster": "logcaster", "simplers": "batch", "shop": "shop", "vault": "vault"}
#: Kinds whose hosts hold databases, and so have the larger image.
DATA = ("shop",)

Connection = dict[str, str]


def _podman(*args: str, stdin: bytes | None = None, check: bool = True, timeout: float = 180) -> str:
    environment = {**os.environ, "CONTAINERS_CONF": str(HERE / "containers.conf")}
    done = subprocess.run(["podman", *args], input=stdin, env=environment, capture_output=True, timeout=timeout, check=False)
    if check and done.returncode:
        told = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise RuntimeError(f"podman {' '.join(args[:4])}: exit status {done.returncode}: {told}")
    return done.stdout.decode(errors="replace")


def _boot_options() -> tuple[str, ...]:
    """What another release (LAB_RELEASE) needs to boot: systemd 256 and later refuses the old cgroup layout unless it is told."""
    if not os.environ.get("LAB_RELEASE"):
        return ()
    return ("--env", "SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")


def _image(data: bool) -> str:
    made = subprocess.run([HERE / "image.sh", *(["data"] if data else [])], stdout=subprocess.PIPE, text=True, check=True)
    return made.stdout.strip()


class Lab:
    """The hosts of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        # Several labs live side by side on one machine.
        self.prefix = f"ol{hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]}"

    def inventory(self, kind: str | None = None) -> Path:
        """The inventory of the hosts of a kind."""
        return self.folder / f"{kind or 'hosts'}.yml"

    def container(self, host: str) -> str:
        """The container that is the host."""
        return f"{self.prefix}-{host}"

    def up(self, hosts: dict[str, str | None]) -> None:
        """Start the hosts (name to kind), wait until they have booted and their stand-ins answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.down(keep_folder=True)
        images = {holds: _image(holds) for holds in {kind in DATA for kind in hosts.values()}}
        if not (self.folder / "id").exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "id"], check=True)
            made = ["-nodes", "-days", "3650", "-subj", "/CN=Lab CA", "-keyout", self.folder / "ca.key", "-out", self.folder / "ca.pem"]
            kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
            subprocess.run(["openssl", "req", "-x509", *kind, *made], check=True, capture_output=True)
        (self.folder / "known_hosts").unlink(missing_ok=True)
        if NETWORK not in _podman("network", "ls", "--format", "{{.Name}}").split():
            _podman("network", "create", NETWORK, check=False)  # another lab may be making it at this moment
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(lambda item: self._start(images[item[1] in DATA], *item), hosts.items()))
        self._write_inventories(hosts)

    def _start(self, image: str, host: str, kind: str | None) -> None:
        name = self.container(host)
        _podman(
            *("run", "-d", "--name", name, "--hostname", host, "--label", f"opsrunner.lab={self.prefix}", "--network", NETWORK),
            *("--systemd=always", "--pull=never", "--security-opt", "unmask=/proc/sys", "--cap-add", "NET_ADMIN,SYS_ADMIN,SYS_PTRACE"),
            *(*_boot_options(), image, "/sbin/init"),
        )
        script = (
            "set -e; cd /; for home in root home/watch; do install -d -m 700 $home/.ssh;"
            " cp /opt/standin/id.pub $home/.ssh/authorized_keys; done;"
            "chown -R watch: /home/watch/.ssh;"
            # Before the bus is there, systemctl does not wait but fails.
            'until state=$(systemctl is-system-running --wait 2>/dev/null) || [ "$state" = degraded ]; do sleep 0.2; done;'
            '[ "$state" = running ] || { systemctl --failed; exit 1; };'
        )
        if kind:
            script += f"python3 /opt/standin/setup.py {kind}"
        _podman("exec", "-i", name, "tar", "-C", "/opt", "-xf", "-", stdin=self._files())
        _podman("exec", name, "timeout", str(BOOT_SECONDS), "sh", "-c", script)

    def _files(self) -> bytes:
        """The stand-ins, the key that may come in, and the CA that signs the hosts' certificates."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for path in [*sorted((HERE / "standin").glob("*.py")), *(self.folder / name for name in ("id.pub", "ca.pem", "ca.key"))]:
                tar.add(path, f"standin/{path.name}", filter=_as_root)
        return data.getvalue()

    def _write_inventories(self, hosts: dict[str, str | None]) -> None:
        found = json.loads(_podman("inspect", *(self.container(host) for host in hosts)))
        groups: dict[str, dict[str, Connection]] = {}
        for (host, kind), info in zip(hosts.items(), found, strict=True):
            settings = {
                "ansible_host": info["NetworkSettings"]["Networks"][NETWORK]["IPAddress"],
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(self.folder / "id"),
                "ansible_python_interpreter": "/usr/bin/python3",
                # New keys at every start, on a network that exists only on this machine.
                "ansible_ssh_common_args": f"-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={self.folder}/known_hosts",
            }
            groups.setdefault(kind or "", {})[host] = settings
        for kind, members in groups.items():
            content = {GROUPS.get(kind, "ungrouped"): {"hosts": members}}
            (self.folder / f"{kind or 'hosts'}.yml").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def connections(self, kind: str | None = None) -> dict[str, Connection]:
        """How to connect to each host of a kind."""
        (content,) = json.loads(self.inventory(kind).read_text(encoding="utf-8")).values()
        hosts: dict[str, Connection] = content["hosts"]
        return hosts

    def exec(self, host: str, command: str, stdin: bytes | None = None, check: bool = True) -> str:
        """Run a shell command as root on the host and return its output; does not need the host's network or sshd."""
        return _podman("exec", "-i", self.container(host), "sh", "-c", command, stdin=stdin, check=check)

    def stop(self, host: str) -> None:
        """Take the host down at once."""
        _podman("stop", "-t", "0", self.container(host))

    def freeze(self, host: str) -> None:
        """Let the host stand still: it answers nothing, and its connections stay open."""
        _podman("pause", self.container(host))

    def thaw(self, host: str) -> None:
        """Let it go on."""
        _podman("unpause", self.container(host), check=False)

    def down(self, keep_folder: bool = False) -> None:
        """Remove the hosts."""
        names = _podman("ps", "-aq", "--filter", f"label=opsrunner.lab={self.prefix}").split()
        if names:
            _podman("rm", "-f", "-t", "0", *names)
        if not keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.mode = 0o600 if info.name.endswith(".key") else 0o644
    return info


def main() -> int:
    """Carry out one command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["up", "down", "exec"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    lab = Lab(args.folder)
    if args.command == "up":
        lab.up({name: kind or None for name, _equals, kind in (word.partition("=") for word in args.words)})
        print(*sorted(map(str, lab.folder.glob("*.yml"))), sep="\n")
    elif args.command == "down":
        lab.down()
    else:
        sys.stdout.write(lab.exec(args.words[0], " ".join(args.words[1:])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
