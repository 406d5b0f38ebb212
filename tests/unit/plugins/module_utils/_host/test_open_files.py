# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has which files open: real processes, and a process list made by hand for control groups."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._host import open_files

HOLD = """
import mmap, sys
file = open(sys.argv[1], sys.argv[2])
if sys.argv[3] == "mapped":
    seen = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    file.close()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Start processes that hold a file."""
    started = []

    def start(path, mode="rb", how="open"):
        process = subprocess.Popen([sys.executable, "-c", HOLD, path, mode, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def pids(place):
    return [holder.pid for holder in open_files.holders([str(place)]).found if holder.pid]


@pytest.mark.parametrize(("mode", "how"), [("rb", "open"), ("r+b", "open"), ("rb", "mapped")])
def test_a_process_with_a_file_below_a_place_is_found(tmp_path, hold, mode, how):
    (tmp_path / "place" / "deep").mkdir(parents=True)
    file = tmp_path / "place" / "deep" / "file"
    file.write_bytes(b"x" * mmap.PAGESIZE)
    pid = hold(file, mode, how)
    (holder,) = [one for one in open_files.holders([str(tmp_path / "place")]).found if one.pid]
    assert (holder.pid, holder.paths) == (pid, (str(file),))
    assert holder.name.startswith("python") and f"process {pid}" in str(holder)
    assert pids(file) == [pid]
    assert pids(tmp_path / "place" / "deep" / "fil") == [] and pids(tmp_path / "pla") == []


def test_a_file_that_was_moved_into_a_place_is_found_there(tmp_path, hold):
    """As after the swap of a restore."""
    (tmp_path / "aside").mkdir()
    (tmp_path / "file").write_text("x")
    pid = hold(tmp_path / "file")
    assert pids(tmp_path / "aside") == []
    os.rename(tmp_path / "file", tmp_path / "aside" / "file")
    assert pids(tmp_path / "aside") == [pid]


def test_a_second_name_of_an_open_file_is_found_and_one_that_is_gone_is_not(tmp_path, hold):
    (tmp_path / "place").mkdir()
    (tmp_path / "elsewhere").write_text("x")
    os.link(tmp_path / "elsewhere", tmp_path / "place" / "name")
    pid = hold(tmp_path / "elsewhere")
    assert pids(tmp_path / "place") == [pid]
    os.unlink(tmp_path / "place" / "name")
    assert pids(tmp_path / "place") == []
    (tmp_path / "place" / "other").write_text("x")
    hold(tmp_path / "place" / "other")
    os.unlink(tmp_path / "place" / "other")
    assert pids(tmp_path / "place") == []


def test_this_process_is_left_out(tmp_path, hold):
    (tmp_path / "file").write_text("x")
    with open(tmp_path / "file"):
        assert pids(tmp_path) == []
    pid = hold(tmp_path / "file")
    assert pids(tmp_path) == [pid]
    assert open_files.holders([str(tmp_path / "gone")]) == open_files.Holders((), True)


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/shop.service\n", "shop.service"),
        ("0::/system.slice/shop.service/worker\n", "shop.service"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/shop.service\n", "shop.service"),
        ("12:cpu:/\n1:name=systemd:/system.slice/shop.service\n", "shop.service"),
        ("0::/machine.slice/libpod-1234.scope/container\n", "libpod-1234.scope"),
        ("0::/\n", ""),
    ],
)
def test_the_unit_is_that_of_the_control_group(tmp_path, cgroup, unit):
    proc, place = tmp_path / "proc", tmp_path / "place"
    (proc / "77" / "fd").mkdir(parents=True)
    place.mkdir()
    (place / "file").write_text("x")
    (proc / "77" / "fd" / "3").symlink_to(place / "file")
    (proc / "77" / "maps").write_text("")
    (proc / "77" / "comm").write_text("shop\n")
    (proc / "77" / "cgroup").write_text(cgroup)
    (holder,) = open_files.holders([str(place)], str(proc)).found
    assert (holder.pid, holder.name, holder.unit) == (77, "shop", unit)
    assert str(holder) == f"shop (process 77{', ' + unit if unit else ''})"
