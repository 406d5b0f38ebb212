# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The space of file systems, and how those that hang are named without being waited for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._host import mounts as host_mounts
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import space as host_space


def ask_some(path):
    if "hang" in path:
        time.sleep(60)
    if "stale" in path:
        raise OSError(116, "Stale file handle")
    return host_space.space("/")


def test_mounts_that_hang_are_named_and_the_others_answer():
    groups = [["/a", "/hang1", "/b", "/hang2", "/stale"], ["/hang3"], ["/c"]]
    answers = host_space.Spaces(groups, 0.3, ask_some).collect()
    assert {point: answer.reason for point, answer in answers.items()} == {
        "/a": None,
        "/hang1": "hangs",
        "/b": None,
        "/hang2": "hangs",
        "/stale": "Stale file handle",
        "/hang3": "hangs",
        "/c": None,
    }


def test_more_hanging_mounts_than_children_at_once_are_all_told():
    answers = host_space.Spaces([["/hang%d" % number] for number in range(40)], 0.2, ask_some).collect()
    assert [answer.reason for answer in answers.values()] == ["hangs"] * 40


def test_a_child_that_dies_is_no_answer():
    answers = host_space.Spaces([["/a", "/b"]], 2, lambda path: os._exit(1)).collect()
    assert [answers[point].reason for point in ("/a", "/b")] == ["no answer", "no answer"]


def living_children():
    """Children of this process that still run; those of other tests may be among them."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
            count += parent == str(os.getpid()) and state != "Z"
    return count


def test_no_child_is_left_running():
    before = living_children()
    host_space.Spaces([["/hang"], ["/a"]], 0.2, ask_some).collect()
    until = time.monotonic() + 10
    while living_children() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert living_children() <= before


def test_a_hanging_child_holds_no_open_file_of_ours(tmp_path):
    """A child that the kernel cannot kill would otherwise keep the ssh connection open for ever."""
    code = textwrap.dedent(
        """
        import os, signal, sys, time
        from ansible_collections.opsrunner.runbook.plugins.module_utils._host import space as host_space
        os.kill = lambda pid, number: None  # as if it could not be killed
        def wait(path):
            while not os.path.exists(sys.argv[1]):
                time.sleep(0.05)
        print(host_space.Spaces([["/x"]], 0.2, wait).collect()["/x"].reason)
        """
    )
    root = Path(__file__).resolve().parents[5] / "collections"
    environment = dict(os.environ, PYTHONPATH=str(root))
    argv = [sys.executable, "-c", code, str(tmp_path / "over")]
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, timeout=60, check=False)
    finally:
        (tmp_path / "over").touch()
    assert done.stdout.strip() == b"hangs"


def test_space_is_what_df_tells(tmp_path):
    told = host_space.space(str(tmp_path))
    row = subprocess.run(["df", "-B1", "--output=size,used,avail", str(tmp_path)], stdout=subprocess.PIPE).stdout.split()[-3:]
    assert told.total == int(row[0])
    assert told.used == pytest.approx(int(row[1]), rel=0.05)
    assert told.available == pytest.approx(int(row[2]), rel=0.05)
    assert told.folder


def test_a_file_system_without_size_or_inodes_has_no_shares():
    empty = host_space.Space(0, 0, 0, 0, 0, True, 0.1)
    assert empty.percent is None
    assert empty.inodes_percent is None


def can_mount_fuse():
    return os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


@pytest.mark.skipif(not can_mount_fuse(), reason="needs root and /dev/fuse; the injected hang above covers the logic")
def test_a_real_file_system_whose_server_does_not_answer_hangs(tmp_path):
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open("/dev/fuse", os.O_RDWR)
    options = "fd=%d,rootmode=40000,user_id=0,group_id=0" % handle
    if libc.mount(b"nas:/export", str(tmp_path).encode(), b"fuse.nas", 0, options.encode()):
        os.close(handle)
        pytest.skip("this kernel or container refuses fuse mounts: %s" % os.strerror(ctypes.get_errno()))
    try:
        mounts = host_mounts.parse_mountinfo(Path("/proc/self/mountinfo").read_text())
        mount = next(mount for mount in mounts if mount.point == str(tmp_path))
        assert mount.remote
        assert host_space.Spaces([[mount.point]], 0.3).collect()[mount.point].reason == "hangs"
    finally:
        os.close(handle)
        libc.umount2(str(tmp_path).encode(), 2)
