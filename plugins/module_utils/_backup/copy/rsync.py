# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies by rsync over ssh: sent to ``<set>.partial``, summed by the far host's own sha256sum, synced, renamed."""

from __future__ import annotations

import contextlib
import re
import shlex
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import set_names
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Limits, command

from .. import manifest as backup_manifest
from .. import sets as backup_sets
from .store import CopyError, Item, Sent, Store, other, seconds_for

#: Seconds after which a connection that says nothing is given up.
SILENCE = 60
#: Seconds in which a connection is there, with all that is said before anything is asked.
CONNECT = 15
#: Seconds in which what reads and writes next to nothing there must have ended.
SHORT = 300.0
_REST = (set_names.PARTIAL, backup_sets.REMOVING)


class RsyncStore(Store):
    """A folder on another host."""

    def __init__(self, options: Mapping[str, Any], limits: Limits, bandwidth: Optional[int]) -> None:
        self._path = str(options["path"])
        user = options.get("user")
        host = str(options["host"])
        if host.startswith("-"):
            raise CopyError("failed", "%r is no host" % host)
        self._where = "%s@%s" % (user, host) if user else host
        at = "[%s]" % host if ":" in host else host
        self._rsync = "%s@%s" % (user, at) if user else at
        self._limits, self._bandwidth = limits, bandwidth
        self._ssh = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=%d" % CONNECT]
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
        return sorted(self.held(), reverse=True)

    def held(self) -> Dict[str, str]:
        """Those folders with the sum that sha256sum has for their manifests."""
        script = 'cd -- %s 2>/dev/null || exit 0; for set in [0-9]*Z; do [ -d "$set" ] && [ ! -L "$set" ] && [ -f "$set/%s" ] || continue; '
        script += 'printf "%%s " "$set"; sha256sum < "$set/%s" || exit; done; exit 0'
        told = self._there(script % (self._quoted(), backup_manifest.MANIFEST, backup_manifest.MANIFEST)).decode("utf-8", "replace")
        lines = [line.split() for line in told.splitlines()]
        return {line[0]: line[1] for line in lines if len(line) == 3 and set_names.name_time(line[0]) is not None}

    def send(self, name: str, items: Sequence[Item]) -> Sent:
        """Send, sum, sync, rename."""
        partial = "%s/%s%s" % (self._path, name, set_names.PARTIAL)
        final = "%s/%s" % (self._path, name)
        size = sum(item.size for item in items)
        there = self._sum(name)
        if there == items[-1].sha256:  # a run that was killed before it could write down what it had done, or a damaged copy
            with contextlib.suppress(CopyError):
                self._compare(final, items)
                return Sent(len(items), size, 0, "sha256sum")
        elif there:
            raise other(name)
        self._there("umask 077; mkdir -p -- %s" % shlex.quote(partial))
        words = ["rsync", "-t", "-s", "--chmod=F600", "--inplace", "--stats", *self._limit(), *(item.path for item in items)]
        told = self._local([*words, "%s:%s/" % (self._rsync, partial)], seconds_for(size, self._bandwidth))
        match = re.search(rb"Literal data: ([\d.,]+)", told)
        sent = int(re.sub(rb"[.,]", b"", match.group(1))) if match else size
        self._compare(partial, items)
        files = " ".join(shlex.quote("%s/%s" % (partial, item.name)) for item in items)
        script = "sync -- {3} {0} && {{ [ ! -e {1} ] || rm -rf -- {1}; }} && mv -T -- {0} {1} && sync -- {2}"
        self._there(script.format(shlex.quote(partial), shlex.quote(final), self._quoted(), files), seconds_for(size))
        return Sent(len(items), size, sent, "sha256sum")

    def manifest(self, name: str) -> bytes:
        """The manifest as it is there."""
        path = "%s/%s/%s" % (self._path, name, backup_manifest.MANIFEST)
        return self._there("head -c %d -- %s" % (backup_manifest.SIZE_LIMIT + 1, shlex.quote(path)))

    def fetch(self, name: str, files: Sequence[str], folder: str) -> None:
        """Fetch plain files of a set."""
        words = ["rsync", "-t", "-s", "--no-links", "--no-devices", "--no-specials", "--chmod=F600", *self._limit()]
        base = "%s:%s/%s/" % (self._rsync, self._path, name)
        self._local([*words, *(base + file for file in files), folder + "/"])

    def remove(self, name: str, manifest: str) -> None:
        """Rename it to ``<set>.removing``."""
        if self._sum(name) != manifest:
            raise other(name)
        script = "cd -P -- {0} && [ ! -L {1} ] && {{ [ ! -e {1}{2} ] || rm -rf -- {1}{2}; }} && mv -T -- {1} {1}{2} && sync ."
        self._there(script.format(self._quoted(), name, backup_sets.REMOVING), SHORT * 4)

    def leftovers(self) -> List[str]:
        """Sets with a folder that ends in ``.partial`` or ``.removing``."""
        script = 'cd -- %s 2>/dev/null || exit 0; for set in [0-9]*Z.*; do [ -d "$set" ] && printf "%%s\\n" "$set"; done; exit 0'
        names = self._there(script % self._quoted()).decode("utf-8", "replace").splitlines()
        split = [name.partition(".") for name in names]
        return sorted({name for name, dot, end in split if dot + end in _REST and set_names.name_time(name) is not None})

    def discard(self, name: str) -> None:
        """Remove those folders."""
        self._there("cd -P -- %s && rm -rf -- %s" % (self._quoted(), " ".join(name + end for end in _REST)), SHORT * 4)

    def _sum(self, name: str) -> str:
        """The sum of a set's manifest; empty when there is none."""
        path = shlex.quote("%s/%s/%s" % (self._path, name, backup_manifest.MANIFEST))
        told = self._there("[ ! -f %s ] || sha256sum < %s" % (path, path)).decode("ascii", "replace").split()
        return told[0] if told else ""

    def _quoted(self) -> str:
        return shlex.quote(self._path)

    def _limit(self) -> List[str]:
        limit = ["--bwlimit=%d" % max(1, self._bandwidth // 1024)] if self._bandwidth else []
        return [*limit, "--timeout=%d" % SILENCE, "-e", self._shell()]

    def _compare(self, folder: str, items: Sequence[Item]) -> None:
        names = " ".join(shlex.quote(item.name) for item in items)
        script = "cd -- %s && sha256sum -b -- %s" % (shlex.quote(folder), names)
        told = self._there(script, seconds_for(sum(item.size for item in items))).decode("utf-8", "replace")
        found: Dict[str, str] = {}
        for line in told.splitlines():
            digest, _space, name = line.partition(" ")
            found[name[1:]] = digest
        for item in items:
            if found.get(item.name) != item.sha256:
                raise CopyError("differs", "%s is not at the far end what it is here: sha256 %s" % (item.name, found.get(item.name, "-")))

    def _shell(self) -> str:
        return " ".join(shlex.quote(word) for word in self._ssh)

    def _there(self, script: str, timeout: float = SHORT) -> bytes:
        # The far user's own shell may be another one, which may expand words in its own ways.
        return self._local([*self._ssh, "--", self._where, "exec sh -c " + shlex.quote(script)], timeout)

    def _local(self, words: Sequence[str], timeout: Optional[float] = None) -> bytes:
        try:
            return backup_stream.run(command(*words), limits=self._limits, timeout=timeout)
        except backup_stream.StreamError as error:
            said = error.said
            if said.startswith("no answer within"):
                raise CopyError("unreachable", "%s: %s" % (self._where, error)) from error
            if error.status == 255 or "ssh:" in said or "onnection" in said:
                code = "denied" if re.search("(?i)permission denied|host key", said) else "unreachable"
                raise CopyError(code, str(error)) from error
            raise CopyError("program" if error.status is None else "failed", str(error)) from error
