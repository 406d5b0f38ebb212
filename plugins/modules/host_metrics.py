#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a host's resources."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_metrics
short_description: Judge a host's CPU, memory, disks, connections, network, OOM kills and core dumps
version_added: 0.1.0
description:
  - Looks at the host once, within O(interval), and judges everything against O(limits).
  - Reads C(psutil) where it is installed and C(/proc) where not; the numbers are the same.
  - A mount that does not answer within O(timeout) seconds is reported as V(unknown) by name and holds up nothing else.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.check
options:
  interval:
    description:
      - Seconds over which CPU use and network rates are measured, V(0.1) to V(60).
    type: float
    default: 1.0
  limits:
    description:
      - Limits by name, each a dictionary with V(warning) and V(critical), threshold ranges in the syntax of the monitoring plugins.
        A limit that is not given keeps its default; an empty one or V(null) switches it off.
      - V(cpu), V(memory), V(swap), V(disk), V(inodes), V(network) are in percent, the defaults are 80 and 95, 80 and 90, 50 and 80,
        80 and 90, 80 and 90, 80 and 95. Memory is what is not available to programs. V(network) is of the link's speed.
      - V(load_per_core) is the 5 minute load over the number of cores, default 1.5 and 3.
      - V(oom_kills) and V(core_dumps) are counts since O(since), default warning 0.
      - V(disk_free), V(network_rate) (bytes, bytes per second; V(10G:) may be written) and V(connections) have no default.
      - V(disk), V(disk_free) and V(inodes) take exceptions per mount under V(mounts), V(connections) per port under V(ports),
        V(network) and V(network_rate) per interface under V(interfaces). Names may be globs; an exact name wins, then the last glob.
      - V(hosts) holds limits for some hosts, by inventory name or glob, which are laid over the others.
    type: dict
    default: {}
  mounts:
    description:
      - Which mounts are looked at, as lists of globs under V(include) and V(exclude).
      - Without it all that hold files, each file system once; not kernel interfaces, read-only images, overlays of containers,
        and of memory file systems only C(/tmp), C(/var/tmp) and C(/run).
      - A mount under V(include) is looked at in any case; one that is named there without a glob and is not mounted is critical.
    type: dict
    default: {}
  interfaces:
    description:
      - Which network interfaces are looked at, as lists of globs under V(include) and V(exclude).
      - Without it all that are up, but not the loopback and those of containers and tunnels.
    type: dict
    default: {}
  ports:
    description:
      - Local TCP ports whose established connections are counted, IPv4 and IPv6 together.
      - Connections that are forwarded to a container with its own network are not seen on the host.
    type: list
    elements: int
    default: []
  link_speeds:
    description:
      - Speed of network interfaces in Mbit/s, for those whose driver does not tell it.
    type: dict
    default: {}
  since:
    description:
      - How far back OOM kills and core dumps count, such as V(24h) or V(7d).
    type: str
    default: 24h
    aliases: [oom_since]
  core_dump_dirs:
    description:
      - Folders that hold core dumps. Without it C(/var/lib/systemd/coredump) and C(/var/crash).
      - The folder that C(kernel.core_pattern) names is always looked at.
    type: list
    elements: str
    default: []
  top:
    description:
      - How many processes are named in the evidence. With V(0) processes are not read.
      - Processes are shown by name, never by command line, which may hold secrets.
    type: int
    default: 5
  timeout:
    description:
      - Seconds for everything that may hang - each mount, the journal.
    type: float
    default: 5.0
  source:
    description:
      - Where numbers come from. V(auto) is psutil where it is installed, else C(/proc).
    type: str
    choices: [auto, psutil, proc]
    default: auto
notes:
  - OOM kills come from the kernel's counter, which everybody may read; when it is not 0, their times come from the journal (group
    C(systemd-journal) or root), then from the kernel's ring buffer (root where C(kernel.dmesg_restrict) is set).
    Without either the finding is V(unknown) and says so.
  - In a container, CPU, load and memory are the machine's; the container's own limits are judged as C(cpu.container) and
    C(memory.container).
"""

EXAMPLES = r"""
- name: Look at the host with the runbooks' limits
  opsrunner.runbook.host_metrics:
    ports: [9999, 9998]

- name: Set limits per mount and port
  opsrunner.runbook.host_metrics:
    limits:
      memory: {warning: 85, critical: 95}
      disk:
        mounts:
          /var: {warning: 70, critical: 85}
      disk_free:
        mounts:
          /: {critical: "10G:"}
      connections:
        ports:
          9999: {warning: 400, critical: 500}
      hosts:
        db*:
          memory: {warning: 95, critical: 98}
    mounts:
      include: [/backup]
      exclude: [/mnt/*]
"""

RETURN = r"""
findings:
  description: What was found; C(cpu), C(load), C(memory), C(swap), C(disk.<mount>), C(inodes.<mount>), C(connections.<port>),
    C(network.<interface>), C(oom), C(core_dumps), C(top.cpu), C(top.memory) and where they apply C(disk_free.<mount>),
    C(network_rate.<interface>), C(cpu.container), C(memory.container).
  type: list
  elements: dict
  returned: always
  sample: [{"check": "disk./var", "kind": "disk", "status": "warning", "value": 83.1, "unit": "%", "warning": "80", "critical": "90"}]
metrics:
  description: All numbers, judged or not; C(source) says where they come from.
  type: dict
  returned: always
  sample: {"source": "proc", "cores": 4, "cpu": {"busy": 12.5, "user": 9.1}, "load": [0.4, 0.5, 0.4]}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import metrics as host_metrics
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import options as host_options


def import_psutil(source: str) -> Any:
    """The psutil package as O(source) wants it, or None for /proc. Raises OptionError when it is wanted and not there."""
    if source == "proc":
        return None
    try:
        import psutil
    except ImportError as error:
        if source == "psutil":
            raise OptionError("source", "psutil cannot be imported: %s" % error) from None
        return None
    return psutil


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "interval": {"type": "float", "default": 1.0},
            "limits": {"type": "dict", "default": {}},
            "mounts": {"type": "dict", "default": {}},
            "interfaces": {"type": "dict", "default": {}},
            "ports": {"type": "list", "elements": "int", "default": []},
            "link_speeds": {"type": "dict", "default": {}},
            "since": {"type": "str", "default": "24h", "aliases": ["oom_since"]},
            "core_dump_dirs": {"type": "list", "elements": "str", "default": []},
            "top": {"type": "int", "default": 5},
            "timeout": {"type": "float", "default": 5.0},
            "source": {"type": "str", "choices": ["auto", "psutil", "proc"], "default": "auto"},
        },
        supports_check_mode=True,
    )
    try:
        settings = host_options.parse(module.params)
        seen = host_metrics.look(settings, import_psutil(settings.source))
    except OptionError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="the host does not tell its resources: %s" % error)
    module.exit_json(changed=False, findings=host_metrics.judge_all(seen, settings), metrics=host_metrics.metrics(seen))


if __name__ == "__main__":
    main()
