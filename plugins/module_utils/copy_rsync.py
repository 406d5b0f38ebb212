# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies by rsync over ssh: sent to ``<set>.partial``, summed by the far host's own sha256sum, synced, renamed."""

from __future__ import annotations

import contextlib
import re
import shlex
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils import backup_manifest, backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_places import Limits, command
from ansible_collections.opsrunner.runbook.plugins.module_utils.copy_base import CopyError, Item, Sent, Store

#: Seconds after which a connection that says nothing is given up.
SILENCE = 60
_SET = re.compile(r"\d{8}T\d{6}Z\Z")


class RsyncStore(Store):
    """A folder on another host."""

    def __init__(self, options: Mapping[str, Any], limits: Limits, bandwidth: Optional[int]) -> None:
        self._path = str(options["path"])
        user = options.get("user")
        host = str(options["host"])
        if host.startswith("-"):
            raise CopyError("failed", "%r is no host" % host)
        self._where = "%s@%s" % (user, host) if user else host
        self._limits, self._bandwidth = limits, bandwidth
        self._ssh = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=15"]
        self._ssh += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=%d" % (SILENCE // 15)]
        for key, word in (("key_file", "IdentityFile"), ("known_hosts_file", "UserKnownHostsFile")):
            if options.get(key):
                self._ssh += ["-o", "%s=%s" % (word, options[key])]
        if options.get("key_file"):
            self._ssh += ["-o", "IdentitiesOnly=yes"]
        if options.get("port"):
            self._ssh += ["-p", str(options["port"])]

    def present(self) -> List[str]:
        """Folders with a set's name that hold a manifest."""
        script = 'cd -- %s 2>/dev/null || exit 0; for set in *; do [ -f "$set/%s" ] && printf "%%s\\n" "$set"; done; exit 0'
        told = self._there(script % (shlex.quote(self._path), backup_manifest.MANIFEST)).decode("utf-8", "replace")
        return sorted((name for name in told.splitlines() if _SET.match(name)), reverse=True)

    def send(self, name: str, items: Sequence[Item]) -> Sent:
        """Send, sum, sync, rename."""
        partial = "%s/%s%s" % (self._path, name, backup_manifest.PARTIAL)
        final = "%s/%s" % (self._path, name)
        there = self._there("[ -f %s ] && echo yes || echo no" % shlex.quote("%s/%s" % (final, backup_manifest.MANIFEST)))
        if there.strip() == b"yes":  # a run that was killed before it could write down what it had done
            with contextlib.suppress(CopyError):
                self._compare(final, items)
                return Sent(len(items), sum(item.size for item in items), 0, "sha256sum")
        self._there("umask 077; mkdir -p -- %s" % shlex.quote(partial))
        words = ["rsync", "-t", "-s", "--chmod=F600", "--inplace", "--stats", "--timeout=%d" % SILENCE, "-e", self._shell()]
        if self._bandwidth:
            words.append("--bwlimit=%d" % max(1, self._bandwidth // 1024))
        told = self._local([*words, *(item.path for item in items), "%s:%s/" % (self._where, partial)])
        match = re.search(rb"Literal data: ([\d.,]+)", told)
        sent = int(re.sub(rb"[.,]", b"", match.group(1))) if match else sum(item.size for item in items)
        self._compare(partial, items)
        script = "sync -f -- {0} && {{ [ ! -e {1} ] || rm -rf -- {1}; }} && mv -T -- {0} {1} && sync -f -- {2}"
        self._there(script.format(shlex.quote(partial), shlex.quote(final), shlex.quote(self._path)))
        return Sent(len(items), sum(item.size for item in items), sent, "sha256sum")

    def fetch(self, name: str, folder: str) -> None:
        """Fetch a whole set."""
        words = ["rsync", "-t", "-s", "-r", "--no-links", "--no-devices", "--chmod=F600", "--timeout=%d" % SILENCE, "-e", self._shell()]
        self._local([*words, "%s:%s/%s/" % (self._where, self._path, name), folder + "/"])

    def _compare(self, folder: str, items: Sequence[Item]) -> None:
        names = " ".join(shlex.quote(item.name) for item in items)
        told = self._there("cd -- %s && sha256sum -b -- %s" % (shlex.quote(folder), names)).decode("utf-8", "replace")
        found: Dict[str, str] = {}
        for line in told.splitlines():
            digest, _space, name = line.partition(" ")
            found[name[1:]] = digest
        for item in items:
            if found.get(item.name) != item.sha256:
                raise CopyError("differs", "%s is not at the far end what it is here: sha256 %s" % (item.name, found.get(item.name, "-")))

    def _shell(self) -> str:
        return " ".join(shlex.quote(word) for word in self._ssh)

    def _there(self, script: str) -> bytes:
        return self._local([*self._ssh, "--", self._where, script])

    def _local(self, words: Sequence[str]) -> bytes:
        try:
            return backup_stream.run(command(*words), limits=self._limits)
        except backup_stream.StreamError as error:
            said = error.said
            if error.status == 255 or "ssh:" in said or "onnection" in said:
                code = "denied" if re.search("(?i)permission denied|host key", said) else "unreachable"
                raise CopyError(code, str(error)) from error
            raise CopyError("program" if error.status is None else "failed", str(error)) from error
