#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print all of /etc, a line per file: path, mode, owner, group, content or target; and the live values that are tuned."""

import hashlib
import os

#: Written by the container engine at every start.
OTHERS = ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/mtab", "/etc/machine-id")
KEYS = ("net/core/somaxconn", "net/ipv4/tcp_fin_timeout", "net/ipv4/tcp_rmem", "net/ipv4/tcp_keepalive_time")

for folder, folders, files in os.walk("/etc"):
    folders.sort()
    for name in sorted(folders + files):
        path = os.path.join(folder, name)
        state = os.lstat(path)
        if os.path.islink(path):
            content = os.readlink(path)
        elif name in files:
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
        else:
            content = "folder"
        if path not in OTHERS:
            print(path, oct(state.st_mode), state.st_uid, state.st_gid, content)
for key in KEYS:
    with open("/proc/sys/" + key) as file:
        print(key, *file.read().split())
