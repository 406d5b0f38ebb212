# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The four ways to the collection: a checkout, a wheel, an archive of ansible-galaxy, a job runner."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import ansible_runner
import pytest

ROOT = Path(__file__).resolve().parents[3]
SMALL = """
all:
  vars:
    runbook_system: small
    # However busy the machine is that this runs on.
    never: &never {warning: "~:", critical: "~:"}
    runbook_limits: {cpu: *never, load_per_core: *never, memory: *never, swap: *never, disk: *never, oom_kills: *never, core_dumps: *never}
    runbook_logs:
      - {name: app, paths: [/nowhere/at/all.log], format: json, optional: true}
    runbook_probes:
      - {name: passwd, type: file, path: /etc/passwd}
      - {name: missing, type: file, path: /nowhere/at/all}
  hosts:
    one: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
"""
#: What must not be in an archive of the collection.
FOREIGN = (
    "src",
    "inventories",
    "collections",
    "requirements",
    "molecule",
    ".git",
    ".venv",
    ".cache",
    ".ruff_cache",
    ".hypothesis",
    ".ansible",
)


def plain_environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "OPSRUNNER_", "PYTHONPATH"))}
    return {**kept, "OPSRUNNER_STATE": str(folder / "state"), "HOME": str(folder)}


def run(*words: str | Path, cwd: Path, env: dict[str, str], expected: int = 0) -> str:
    done = subprocess.run([*map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == expected, f"{done.returncode}: {done.stdout[-3000:]} {done.stderr[-3000:]}"
    return done.stdout


def records(state: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((state / "runs").glob("*/run.json"))]


def project(target: Path) -> Path:
    """The checkout as a clone has it: what git knows or would take in."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        source = ROOT / name
        if source.is_symlink() or source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "else" / "inventory").mkdir(parents=True)
    (tmp_path / "else" / "inventory" / "hosts.yml").write_text(SMALL, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; Ansible itself is lent from this one. Returns its Python."""
    base = tmp_path_factory.mktemp("wheel")
    env = plain_environment(base)
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    source = project(base / "source")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *isolation, "-w", base, source, cwd=base, env=env)
    (wheel,) = base.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", base / "venv", cwd=base, env=env)
    python = base / "venv" / "bin" / "python"
    (site,) = (base / "venv" / "lib").glob("python*/site-packages")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=base, env=env)
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def test_the_wheel_holds_the_command_the_collection_and_the_demo_and_nothing_else(installed: Path) -> None:
    (wheel,) = installed.parents[2].glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "opsrunner",
        "ansible_collections",
        "opsrunner-" + wheel.name.split("-")[1] + ".dist-info",
    }
    for name in (
        "opsrunner/ansible.cfg",
        "opsrunner/py.typed",
        "opsrunner/inventories/demo/hosts.yml",
        "ansible_collections/opsrunner/runbook/galaxy.yml",
        "ansible_collections/opsrunner/runbook/meta/runtime.yml",
        "ansible_collections/opsrunner/runbook/playbooks/daily.yml",
        "ansible_collections/opsrunner/runbook/plugins/plugin_utils/_text/catalogue/command.yml",
        "ansible_collections/opsrunner/runbook/plugins/plugin_utils/_inventory/variables.yml",
        "ansible_collections/opsrunner/runbook/roles/run_report/tasks/main.yml",
    ):
        assert name in names
    assert not [name for name in names if name.endswith(".pyc") or "/tests/" in name]


def test_after_an_installation_the_command_works_from_any_folder(installed: Path, folder: Path) -> None:
    env = plain_environment(folder)
    command = installed.parent / "opsrunner"
    listed = run(command, "list", cwd=folder / "else", env=env)
    assert "  daily " in listed
    assert "  demo " in listed
    run(command, "daily", "-i", "inventory", "--quiet", cwd=folder / "else", env=env, expected=2)
    (record,) = records(folder / "state")
    assert (record["via"], record["system"], record["status"]) == ("command", "small", "critical")
    assert {"file", "memory", "disk"} <= {item["kind"] for item in record["findings"]}


def test_after_an_installation_ansible_playbook_finds_the_runbooks_from_any_folder(installed: Path, folder: Path) -> None:
    env = plain_environment(folder)
    words = (installed, "-m", "ansible", "playbook", "opsrunner.runbook.daily", "-i", "inventory")
    out = run(*words, cwd=folder / "else", env=env, expected=2)
    assert "/nowhere/at/all" in out
    (record,) = records(folder / "state")
    assert (record["via"], record["status"]) == ("ansible-playbook", "critical")


def test_the_archive_of_the_collection_holds_no_more_than_a_collection(folder: Path) -> None:
    env = plain_environment(folder)
    galaxy = (sys.executable, "-m", "ansible", "galaxy", "collection")
    source = project(folder / "source")
    run(*galaxy, "build", "--output-path", folder, cwd=source, env=env)
    (archive,) = folder.glob("opsrunner-runbook-*.tar.gz")
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert not [name for name in names if name.split("/")[0] in FOREIGN or name.endswith(".pyc") or "__pycache__" in name]
    assert {"README.md", "meta/runtime.yml", "playbooks/daily.yml", "plugins/modules/health_probe.py"} <= set(names)
    run(*galaxy, "install", "--offline", "--no-deps", "-p", folder / "installed", archive, cwd=folder / "else", env=env)
    env["ANSIBLE_COLLECTIONS_PATH"] = str(folder / "installed")
    words = (sys.executable, "-m", "ansible", "playbook", "opsrunner.runbook.daily", "-i", "inventory")
    run(*words, cwd=folder / "else", env=env, expected=2)
    assert records(folder / "state")[0]["counts"]["critical"] == 1


def test_a_plain_checkout_works_without_anything_installed(folder: Path) -> None:
    source = project(folder / "source")
    env = plain_environment(folder)
    words = (sys.executable, "-m", "ansible", "playbook", "playbooks/daily.yml", "-i", folder / "else" / "inventory")
    run(*words, cwd=source, env=env, expected=2)
    assert records(folder / "state")[0]["counts"]["critical"] == 1


def test_a_job_runner_that_gives_a_project_an_inventory_and_variables_gets_a_record_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = folder / "job"
    project(private / "project")
    (private / "inventory").mkdir()
    (private / "inventory" / "hosts.yml").write_text(SMALL, encoding="utf-8")
    for name in [name for name in os.environ if name.startswith(("ANSIBLE_", "OPSRUNNER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(folder))
    done = ansible_runner.run(
        private_data_dir=str(private),
        playbook="playbooks/daily.yml",
        extravars={"awx_job_id": 4711, "run_report_language": "ko"},
        envvars={"OPSRUNNER_STATE": str(folder / "state")},
        quiet=True,
    )
    (stats,) = [event for event in done.events if event["event"] == "playbook_on_stats"]
    compact = stats["event_data"]["artifact_data"]["opsrunner_run"]
    assert (compact["via"], compact["job"], compact["system"], compact["counts"]["critical"]) == ("awx", "4711", "small", 1)
    assert [item["check"] for item in compact["findings"]] == ["file.missing"]
    assert done.rc == 2
