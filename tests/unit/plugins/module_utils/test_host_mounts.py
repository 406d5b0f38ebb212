# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts: which are real, and how those that hang are named without being waited for."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils import host_mounts
from ansible_collections.opsrunner.runbook.plugins.module_utils.host_options import Selection

MOUNTINFO = r"""
20 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw
21 20 0:20 / /proc rw - proc proc rw
22 20 0:21 / /sys rw - sysfs sysfs rw
23 20 0:5 / /dev rw - devtmpfs devtmpfs rw
24 20 0:30 / /run rw - tmpfs tmpfs rw
25 20 0:31 / /run/user/1000 rw - tmpfs tmpfs rw
26 20 0:32 / /dev/shm rw - tmpfs tmpfs rw
27 20 254:2 / /var/log rw shared:5 - xfs /dev/vdb rw
28 20 254:2 /app /srv/app\040logs rw - xfs /dev/vdb rw
29 20 0:40 / /var/lib/docker/overlay2/abc/merged rw - overlay overlay rw
30 20 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro
31 20 0:50 / /mnt/nas ro - nfs4 nas:/export rw,vers=4.2
32 20 0:51 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
33 20 0:52 /@home /home rw - btrfs /dev/vdc rw
34 20 0:52 /@snap /snapshots rw - btrfs /dev/vdc rw
broken line
"""


def points(selection=None):
    groups = host_mounts.select(host_mounts.parse_mountinfo(MOUNTINFO), selection or Selection())
    return [group[0].point for group in groups]


def test_only_mounts_that_hold_files_are_looked_at_once_each():
    assert points() == ["/", "/home", "/mnt/nas", "/run", "/var/log"]


def test_excluded_mounts_are_left_out():
    assert points(Selection(exclude=("/mnt/*", "/run"))) == ["/", "/home", "/var/log"]


def test_included_mounts_are_looked_at_whatever_they_are():
    included = points(Selection(include=("/dev/shm", "/snap/*", "/srv/app logs")))
    assert included == ["/", "/dev/shm", "/home", "/mnt/nas", "/run", "/snap/core/1", "/srv/app logs"]


def test_a_mount_named_that_is_not_there_is_missing():
    mounts = host_mounts.parse_mountinfo(MOUNTINFO)
    assert host_mounts.missing(mounts, Selection(include=("/backup", "/none*", "/var/log"))) == ["/backup"]


def test_a_mount_over_another_hides_it():
    mounts = host_mounts.parse_mountinfo("1 0 8:1 / /data rw - ext4 /dev/a rw\n2 1 8:2 / /data rw - ext4 /dev/b ro\n")
    assert [(mount.source, mount.read_only) for mount in mounts] == [("/dev/b", True)]


def test_remote_mounts_are_asked_each_by_its_own_child():
    groups = host_mounts.by_risk(group[0] for group in host_mounts.select(host_mounts.parse_mountinfo(MOUNTINFO), Selection()))
    assert groups == [["/", "/home", "/run", "/var/log"], ["/mnt/nas"]]


def ask_some(path):
    if "hang" in path:
        time.sleep(60)
    if "stale" in path:
        raise OSError(116, "Stale file handle")
    return host_mounts.space("/")


def test_mounts_that_hang_are_named_and_the_others_answer():
    started = time.monotonic()
    groups = [["/a", "/hang1", "/b", "/hang2", "/stale"], ["/hang3"], ["/c"]]
    answers = host_mounts.Spaces(groups, 0.3, ask_some).collect()
    assert time.monotonic() - started < 2
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
    answers = host_mounts.Spaces([["/hang%d" % number] for number in range(40)], 0.2, ask_some).collect()
    assert [answer.reason for answer in answers.values()] == ["hangs"] * 40


def test_a_child_that_dies_is_no_answer():
    answers = host_mounts.Spaces([["/a", "/b"]], 2, lambda path: os._exit(1)).collect()
    assert [answers[point].reason for point in ("/a", "/b")] == ["no answer", "no answer"]


def test_no_child_is_left_behind():
    host_mounts.Spaces([["/hang"], ["/a"]], 0.2, ask_some).collect()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_hanging_child_holds_no_open_file_of_ours():
    """A child that the kernel cannot kill would otherwise keep the ssh connection open for ever."""
    code = textwrap.dedent(
        """
        import os, signal, time
        from ansible_collections.opsrunner.runbook.plugins.module_utils import host_mounts
        os.kill = lambda pid, number: None  # as if it could not be killed
        print(host_mounts.Spaces([["/x"]], 0.2, lambda path: time.sleep(5)).collect()["/x"].reason)
        """
    )
    root = Path(__file__).resolve().parents[4] / "collections"
    environment = dict(os.environ, PYTHONPATH=str(root))
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    assert done.stdout.strip() == b"hangs"
    assert time.monotonic() - started < 3


def test_space_is_what_df_tells(tmp_path):
    told = host_mounts.space(str(tmp_path))
    row = subprocess.run(["df", "-B1", "--output=size,used,avail", str(tmp_path)], stdout=subprocess.PIPE).stdout.split()[-3:]
    assert told.total == int(row[0])
    assert told.used == pytest.approx(int(row[1]), rel=0.05)
    assert told.available == pytest.approx(int(row[2]), rel=0.05)
    assert told.folder


def test_a_file_system_without_size_or_inodes_has_no_shares():
    empty = host_mounts.Space(0, 0, 0, 0, 0, True, 0.1)
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
        assert host_mounts.Spaces([[mount.point]], 0.3).collect()[mount.point].reason == "hangs"
    finally:
        os.close(handle)
        libc.umount2(str(tmp_path).encode(), 2)
