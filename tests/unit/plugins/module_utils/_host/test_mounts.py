# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts: which are real, and which are asked together."""

from __future__ import annotations

from ansible_collections.opsrunner.runbook.plugins.module_utils._host import mounts as host_mounts
from ansible_collections.opsrunner.runbook.plugins.module_utils._host.options import Selection

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
