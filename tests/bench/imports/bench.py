# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each module costs over a bare one before it does any work.

Shipped: the payload that Ansible makes is run with an option that no module has, so that it ends once its imports are done and its
arguments are read; a target compiles the sources in each call. Cached: the module is imported where its bytecode is there. Both are
times of the processor, which other work on the machine disturbs least, and medians of interleaved rounds; the bare module has
only AnsibleModule. Prints a table; the last line is JSON, ``import_cost_ms`` the dearest module's shipped cost.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
COLLECTIONS = ROOT / "collections"
COLLECTION = "opsrunner.runbook"
BARE = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
AnsibleModule(argument_spec={}).exit_json()
"""
CACHED = """
import sys
sys.path.insert(0, sys.argv[1])
import ansible.module_utils.basic
if sys.argv[2]:
    __import__("ansible_collections.%s.plugins.modules.%s" % tuple(sys.argv[2:]))
"""


def payloads(folder: Path, modules: list[str], python: str) -> dict[str, Path]:
    """What Ansible would send to a target for each module, and for a bare one (under the empty name)."""
    from ansible.executor.module_common import modify_module
    from ansible.plugins.loader import init_plugin_loader, module_loader
    from ansible.template import Templar

    init_plugin_loader([str(COLLECTIONS)])
    (folder / "bare.py").write_text(BARE)
    made: dict[str, Path] = {}
    for module in ("", *modules):
        name = f"{COLLECTION}.{module}" if module else "bare"
        path = module_loader.find_plugin_with_context(name).plugin_resolved_path if module else str(folder / "bare.py")
        built = modify_module(
            module_name=name,
            module_path=path,
            module_args={"no_such_option": True},
            templar=Templar(),
            task_vars={"ansible_python_interpreter": python},
            module_compression="ZIP_DEFLATED",
        )
        made[module] = folder / f"{module or 'bare'}.payload"
        made[module].write_bytes(built.b_module_data)
    return made


def cost(argv: list[str], environment: dict[str, str], expected: str) -> float:
    """Milliseconds of processor time that a process takes."""
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        said = process.stdout.read()
        _pid, _status, used = os.wait4(process.pid, 0)
        process.returncode = 0
    if expected not in said:
        raise SystemExit(f"{argv}: {said}")
    return (used.ru_utime + used.ru_stime) * 1000


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", default=sys.executable, help="the target's Python; cached imports need ansible-core there")
    parser.add_argument("modules", nargs="*", help="all modules of the collection unless given")
    arguments = parser.parse_args()
    modules = arguments.modules or sorted(
        path.stem for path in (ROOT / "plugins" / "modules").glob("[a-z]*.py") if "AnsibleModule(" in path.read_text()
    )
    has_core = subprocess.run([arguments.python, "-c", "import ansible"], capture_output=True, check=False).returncode == 0
    shipped: dict[str, list[float]] = {module: [] for module in ("", *modules)}
    cached: dict[str, list[float]] = {module: [] for module in ("", *modules)}
    with tempfile.TemporaryDirectory() as name:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(name) / "bytecode")
        environment["ANSIBLE_LOCAL_TEMP"] = name
        made = payloads(Path(name), modules, arguments.python)
        for number in range(arguments.rounds + 1):
            for module, payload in made.items():
                took = cost([arguments.python, str(payload)], environment, '"failed": true')
                importing = [arguments.python, "-c", CACHED, str(COLLECTIONS), COLLECTION if module else "", module]
                again = cost(importing, environment, "") if has_core else 0.0
                if number:  # the first fills the caches
                    shipped[module].append(took)
                    cached[module].append(again)
    bare = [statistics.median(times[""]) for times in (shipped, cached)]
    print(f"Milliseconds over a bare module (shipped {bare[0]:.0f}, cached {bare[1]:.0f}), medians of {arguments.rounds} rounds\n")
    print(f"{'module':<20} {'shipped':>8} {'cached':>8}")
    over: dict[str, tuple[float, float]] = {}
    for module in modules:
        over[module] = (statistics.median(shipped[module]) - bare[0], statistics.median(cached[module]) - bare[1])
        print(f"{module:<20} {over[module][0]:8.1f} {over[module][1]:8.1f}")
    figures = {
        "import_cost_ms": round(max(times[0] for times in over.values()), 1),
        "import_cost_ms_by_module": {module: round(times[0], 1) for module, times in over.items()},
        "import_cached_ms_by_module": {module: round(times[1], 1) for module, times in over.items()},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
