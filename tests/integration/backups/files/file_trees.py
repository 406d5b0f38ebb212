# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees of files that are awkward to back up, and everything about a tree in a form that can be compared."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
from pathlib import Path


def plant(folder: Path, sparse: int = 3 * 1024**3) -> None:
    """Make a tree with everything that backups get wrong."""
    folder.mkdir(parents=True)
    base = os.fsencode(folder)

    def write(name: bytes, data: bytes) -> bytes:
        path = os.path.join(base, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return path

    write(b"plain", b"plain\n" * 1000)
    write(b"empty", b"")
    write(b"binary", bytes(range(256)) * 500)
    write(b"new\nline", b"name with a newline")
    write(b'bytes\xff\xfe\x01 "quoted" \\back', b"name that is no text")
    write("ünïcödé 한국어 🎉".encode(), b"unicode")
    write(b" -> ", b"looks like a link")
    write(b"--checkpoint-action=exec=false", b"looks like an option")
    write(b"*", b"a star")
    write(b"x" * 255, b"longest name")
    write(b"/".join([b"deep" * 20] * 20)[:3000] + b"/leaf", b"deep")
    write(b"sub/dir/file", b"below")
    os.mkdir(base + b"/nothing", 0o1777)
    os.chmod(base + b"/nothing", 0o1777)
    os.link(base + b"/plain", base + b"/sub/hard")
    os.link(base + b"/plain", base + b"/also hard")
    os.symlink(b"sub/dir", base + b"/inward")
    os.symlink(b"../../../../../etc/passwd", base + b"/outward")
    os.symlink(b'nowhere "to" -> be', base + b"/broken -> link")
    os.link(base + b"/inward", base + b"/hard symlink", follow_symlinks=False)
    with open(base + b"/sparse", "wb") as file:
        file.truncate(sparse)
        for at in range(0, sparse, max(sparse // 7, 1 << 20)):
            os.pwrite(file.fileno(), b"island", at)
    os.mkfifo(base + b"/pipe")
    os.chmod(write(b"setuid", b"#!/bin/sh\n"), 0o4755)
    os.chmod(write(b"secret", b"mode 0"), 0o000 if os.geteuid() == 0 else 0o400)  # only root reads what nobody may
    os.setxattr(write(b"attributes", b"x"), b"user.comment", b"\x00\x01binary\xff")
    os.utime(base + b"/binary", ns=(1_500_000_000_123_456_789, 1_400_000_000_987_654_321))
    if os.geteuid() == 0:
        os.chown(write(b"owned", b"x"), 12345, 54321)
        os.lchown(base + b"/inward", 2345, 2346)
        capable = write(b"capable", b"#!/bin/sh\n")
        os.chmod(capable, 0o755)
        with contextlib.suppress(PermissionError):  # root in a container may lack that right itself
            os.setxattr(capable, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    subprocess.run(["setfacl", "-m", "u:1:r", base + b"/attributes"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "g:2:rx", base + b"/sub"], check=True)


def seen(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything about a tree: kinds, owners, modes, times, content, hard links, extended attributes."""
    found: dict[bytes, tuple[object, ...]] = {}
    inodes: dict[int, list[bytes]] = {}
    base = os.fsencode(folder)
    todo = [base]
    while todo:
        path = todo.pop()
        told = os.lstat(path)
        name = os.path.relpath(path, base)
        inodes.setdefault(told.st_ino, []).append(name)
        content: object = None
        if stat.S_ISREG(told.st_mode):
            with open(path, "rb") as file:
                head = file.read(1 << 20)
                if told.st_size > 1 << 28:
                    file.seek(-(1 << 20), os.SEEK_END)
                    content = (hashlib.sha256(head).hexdigest(), hashlib.sha256(file.read()).hexdigest())
                else:
                    content = hashlib.sha256(head + file.read()).hexdigest()
        elif stat.S_ISLNK(told.st_mode):
            content = os.readlink(path)
        elif stat.S_ISDIR(told.st_mode):
            todo += [os.path.join(path, inner) for inner in os.listdir(path)]
        extra = {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)}
        size = None if stat.S_ISDIR(told.st_mode) else told.st_size
        found[name] = (
            told.st_mode,
            told.st_uid,
            told.st_gid,
            told.st_mtime_ns,
            size,
            content,
            sorted(extra.items()),
        )
    links = {name: tuple(sorted(names)) for names in inodes.values() for name in names if len(names) > 1}
    return {name: (*told, links.get(name)) for name, told in found.items()}


def taken(folder: Path) -> int:
    """Bytes that a tree takes on the disk."""
    return int(subprocess.run(["du", "-s", "-B1", folder], check=True, capture_output=True).stdout.split()[0])
