# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive of files held against its manifest, and unpacked."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.opsrunner.runbook.plugins.module_utils._files.patterns import is_left_out
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Command

from ..artifact import Artifact
from ..base import EngineError, Stored, Work, compare, from_program
from .listing import BLOCKS, ArchiveLimits, ArchiveProblem, Counted, Listing, is_privileged, listing_command

#: Entries that are named one by one in the manifest; of more there is only the sum.
NAMED = 5000
_EXTRACT = (
    "-p",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--acls",
    "--delay-directory-restore",
    "--keep-old-files",
    "--warning=no-timestamp",
    "--no-wildcards",
)


def unpermitted(listing: Listing, permitted: Sequence[str], members: Sequence[str] = ()) -> List[str]:
    """Devices and programs with rights of their own in an archive, or in members of it, that no pattern permits."""
    found = []
    for name, what in sorted(listing.special.items()):
        wanted = not members or any(name == member or name.startswith(member + "/") for member in members)
        if wanted and is_privileged(what) and not is_left_out(permitted, "/" + name):
            found.append("/%s (%s)" % (name, what))
    return found


def special_sum(special: Mapping[str, str]) -> Dict[str, str]:
    import hashlib
    import json

    text = json.dumps(special, sort_keys=True, ensure_ascii=True)
    return {"": "%d entries, sha256 %s" % (len(special), hashlib.sha256(text.encode("ascii")).hexdigest())}


def manifest_paths(artifact: Artifact) -> List[str]:
    """The paths that an artifact holds, as the manifest says. EngineError when it does not say it."""
    paths = artifact.source.get("paths")
    if not isinstance(paths, list) or not paths:
        raise EngineError("damaged", "the manifest does not say which paths %s holds" % artifact.file)
    for path in paths:
        if not isinstance(path, str) or not path.startswith("/") or path == "/" or {"", ".", ".."} & set(path[1:].split("/")):
            raise EngineError("unsafe", "the manifest has %r as a path" % (path,))
    return paths


def listed(artifact: Artifact, stored: Stored, work: Work, items: Sequence[str] = ()) -> Listing:
    """List an artifact to its end. EngineError unless it is safe and holds what the manifest counts."""
    counts = artifact.counts
    entries = sum(counts.get(kind, 0) for kind in ("files", "folders", "links", "others"))
    limits = ArchiveLimits(entries, counts.get("bytes", 0))
    listing = Listing([os.fsencode(path[1:]) for path in manifest_paths(artifact)], limits, [os.fsencode(item) for item in items])
    try:
        _feed(artifact, stored, work, listing_command(), listing.feed)
    except backup_stream.StreamError as error:
        raise from_program(error, "failed" if error.status is None else "damaged") from error
    listing.finish()
    known = artifact.source.get("special") or {}
    problems = list(listing.problems)
    if isinstance(known, dict) and "" in known:
        if special_sum(listing.special) != known:
            problems.append(
                ArchiveProblem("link", "it holds other links that lead out, devices or setuid files than it did when it was made")
            )
    else:
        problems += listing.unknown(known if isinstance(known, dict) else {})
    if problems:
        raise EngineError("unsafe", "; ".join(problem.text for problem in problems[:5]))
    differing = compare(counts, listing.total.counts())
    if differing:
        raise EngineError("differs", "; ".join(differing))
    return listing


def _feed(artifact: Artifact, stored: Stored, work: Work, command: Command, output: Any = None) -> None:
    # Artifacts lie on this host, wherever their data is from.
    encrypted = artifact.encryption is not None
    backup_stream.feed(stored.path, command, artifact.compression or "zstd", encrypted, stored.identity, work.limits, output=output)


def needed(counted: Counted) -> int:
    """Bytes of disk that a part of an archive needs; holes stay holes."""
    return counted.stored + 4096 * counted.entries


def check_space(needs: Mapping[str, int]) -> None:
    for path, size in needs.items():
        free = os.statvfs(path)
        if free.f_bavail * free.f_frsize < size:
            raise EngineError("space", "%s: %d bytes are needed and %d free" % (path, size, free.f_bavail * free.f_frsize))


def unpack_members(
    artifact: Artifact, stored: Stored, work: Work, folder: str, names: Sequence[str], strip: int, without: Sequence[bytes]
) -> None:
    """Unpack members into a folder of ours; EngineError."""
    names_file = os.path.join(work.scratch, "unpack")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(names_file)
    handle = os.open(names_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:
        file.write(b"".join(os.fsencode(name) + b"\0" for name in names))
    words = ["tar", "-x", "-B", "-b", BLOCKS, "-f", "-", *_EXTRACT, "--same-owner" if os.geteuid() == 0 else "--no-same-owner"]
    words += ["--strip-components=%d" % strip, "--anchored"]
    words += ["--exclude=" + os.fsdecode(name) for name in without]
    words += ["--null", "--verbatim-files-from", "-T", names_file]

    def ended(_status: int, text: str) -> None:
        if text:
            work.warn("tar: " + text)

    try:
        _feed(artifact, stored, work, Command(tuple(words), cwd=folder, ended=ended))
    except backup_stream.StreamError as error:
        full = "No space left" in error.said or "Wrote only" in error.said
        raise from_program(error, "space" if full else "failed") from error
    finally:
        os.unlink(names_file)
