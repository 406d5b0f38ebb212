# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a backup set and the record of its verification: one definition for writing, status, verifying, restoring.

A set is a folder ``<UTC timestamp>`` with its artifacts, ``manifest.json`` and, once something was proved, ``verified.json``::

    manifest.json  {"schema": 1, "system": …, "host": …, "start": …, "end": …, "artifacts": [
                     {"engine": "sqlite", "file": "app.db.zst", "size": 123, "sha256": …, "tool": "sqlite3", "tool_version": …,
                      "server_version": …, "counts": {"rows.users": 10}, "start": …, "end": …}]}
    verified.json  {"schema": 1, "manifest_sha256": …, "rungs": [{"rung": 3, "at": …}], "failed": {"rung": 4, "at": …, …}}

Times are UTC, ISO 8601. Rungs of the ladder: 1 present, fresh and of a likely size; 2 checksum; 3 readable to its end by its own
tool; 4 restored into a scratch place; 5 counts equal the manifest's.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.times import format_time, parse_time
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact

SCHEMA = 1
MANIFEST = "manifest.json"
VERIFIED = "verified.json"
RUNGS = (1, 2, 3, 4, 5)
#: A manifest larger than this is none.
SIZE_LIMIT = 16 * 1024 * 1024


class ManifestError(Exception):
    """A manifest or verification record that cannot be used.

    ``code``: ``not_json``, ``newer`` (written by a newer version: it may be right), ``field`` (a field is missing or
    wrong), ``changed`` (it is not what was written).
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Manifest(NamedTuple):
    """What a set holds. ``start``, ``end``: seconds since the epoch; ``host``: the name of the host that made it, where it is known."""

    system: str
    start: float
    end: float
    artifacts: Tuple[Artifact, ...]
    host: Optional[str] = None

    @property
    def size(self) -> int:
        """Bytes of all artifacts."""
        return sum(artifact.size for artifact in self.artifacts)


class Rung(NamedTuple):
    """A rung that a set has passed, and when (seconds since the epoch)."""

    rung: int
    at: float


class Problem(NamedTuple):
    """What is wrong with an artifact: ``code`` is ``missing``, ``size``, ``outside``, ``type`` or ``unreadable``."""

    code: str
    file: str
    detail: str = ""


def _load(data: bytes, what: str) -> Dict[str, Any]:
    import json  # ansible's own code has it loaded already

    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ManifestError("not_json", "%s: %s" % (what, str(error)[:200])) from None
    if not isinstance(value, dict):
        raise ManifestError("not_json", "%s: not an object" % what)
    schema = value.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise ManifestError("field", "%s: schema" % what)
    if schema > SCHEMA:
        raise ManifestError("newer", "%s: schema %d" % (what, schema))
    return value


def _field(value: Mapping[str, Any], name: str, kind: type, path: str, optional: bool = False) -> Any:
    found = value.get(name)
    if found is None and optional:
        return None
    wrong = isinstance(found, bool) or not isinstance(found, kind)
    if wrong or found == "" or (isinstance(found, int) and found < 0):
        raise ManifestError("field", path + name)
    return found


def _time(value: Mapping[str, Any], name: str, path: str) -> float:
    try:
        return parse_time(_field(value, name, str, path))
    except ValueError:
        raise ManifestError("field", path + name) from None


_SHA256 = r"[0-9a-f]{64}\Z"


def _artifact(value: Any, path: str) -> Artifact:
    if not isinstance(value, dict):
        raise ManifestError("field", path.rstrip("."))
    digest = _field(value, "sha256", str, path)
    if not re.match(_SHA256, digest):
        raise ManifestError("field", path + "sha256")
    counts = _field(value, "counts", dict, path, optional=True) or {}
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ManifestError("field", "%scounts.%s" % (path, name))
    file = _field(value, "file", str, path)
    try:
        file.encode("utf-8")  # half a letter, which JSON can spell, could not be told on
    except UnicodeEncodeError:
        raise ManifestError("field", path + "file") from None
    samples = _field(value, "samples", dict, path, optional=True) or {}
    if any(not isinstance(sample, str) for sample in samples.values()):
        raise ManifestError("field", path + "samples")
    return Artifact(
        engine=_field(value, "engine", str, path),
        file=file,
        size=_field(value, "size", int, path),
        sha256=digest,
        tool=_field(value, "tool", str, path),
        start=_time(value, "start", path),
        end=_time(value, "end", path),
        tool_version=_field(value, "tool_version", str, path, optional=True),
        server_version=_field(value, "server_version", str, path, optional=True),
        counts=dict(counts),
        name=_field(value, "name", str, path, optional=True),
        compression=_field(value, "compression", str, path, optional=True),
        encryption=_field(value, "encryption", str, path, optional=True),
        samples=dict(samples),
        source=dict(_field(value, "source", dict, path, optional=True) or {}),
    )


def parse(data: bytes) -> Manifest:
    """Read a manifest; names that this version does not know are left alone. Raises ManifestError.

    A manifest with a ``digest`` must still have it: a single changed character is found even where no ledger is.
    """
    value = _load(data, MANIFEST)
    if "digest" in value and value["digest"] != _digest(value):
        raise ManifestError("changed", "%s: not what was written (digest)" % MANIFEST)
    artifacts = tuple(_artifact(item, "artifacts[%d]." % at) for at, item in enumerate(_field(value, "artifacts", list, "")))
    if not artifacts:
        raise ManifestError("field", "artifacts")
    files = [artifact.file for artifact in artifacts]
    for file in files:
        if files.count(file) > 1:
            raise ManifestError("field", "artifacts: %s twice" % file)
    host = _field(value, "host", str, "", optional=True)
    return Manifest(_field(value, "system", str, ""), _time(value, "start", ""), _time(value, "end", ""), artifacts, host)


def _digest(value: Mapping[str, Any]) -> str:
    import hashlib
    import json

    told = {name: item for name, item in value.items() if name != "digest"}
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


def to_json(manifest: Manifest) -> str:
    """The manifest as it is written, with the digest of all the rest of it."""
    import json

    artifacts = []
    for artifact in manifest.artifacts:
        told = dict(artifact._asdict(), counts=dict(artifact.counts), samples=dict(artifact.samples), source=dict(artifact.source))
        told.update(start=format_time(artifact.start), end=format_time(artifact.end))
        artifacts.append({name: value for name, value in told.items() if value is not None and value != {}})
    whole = {
        "schema": SCHEMA,
        "system": manifest.system,
        **({"host": manifest.host} if manifest.host else {}),
        "start": format_time(manifest.start),
        "end": format_time(manifest.end),
        "artifacts": artifacts,
    }
    whole["digest"] = _digest(whole)
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def parse_verified(data: bytes, manifest_sha256: Optional[str] = None) -> List[Rung]:
    """Read a verification record, the highest rung first. Raises ManifestError.

    ``manifest_sha256``: of the manifest beside it; a record that tells of another manifest is another set's.
    """
    value = _load(data, VERIFIED)
    if manifest_sha256 and value.get("manifest_sha256", manifest_sha256) != manifest_sha256:
        raise ManifestError("changed", "%s: tells of another manifest than the one beside it" % VERIFIED)
    rungs = []
    for at, item in enumerate(_field(value, "rungs", list, "")):
        path = "rungs[%d]." % at
        if not isinstance(item, dict) or _field(item, "rung", int, path) not in RUNGS:
            raise ManifestError("field", path + "rung")
        rungs.append(Rung(int(item["rung"]), _time(item, "at", path)))
    return sorted(rungs, key=lambda rung: (-rung.rung, -rung.at))


def read_file(path: str) -> bytes:
    """A manifest's or record's bytes. Raises OSError, and ManifestError when it is too large to be one."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe in its place is not waited for
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", path)
        with open(handle, "rb", closefd=False) as file:
            data = file.read(SIZE_LIMIT + 1)
    finally:
        os.close(handle)
    if len(data) > SIZE_LIMIT:
        raise ManifestError("not_json", "%s: larger than %d bytes" % (os.path.basename(path), SIZE_LIMIT))
    return data


def check_files(manifest: Manifest, folder: str) -> List[Problem]:
    """Whether each artifact is there, inside the set, a plain file, and of its size. Reads no content."""
    problems = []
    base = os.path.realpath(folder)
    for artifact in manifest.artifacts:
        path = os.path.join(base, artifact.file)
        try:
            if os.path.isabs(artifact.file) or not os.path.realpath(path).startswith(base + os.sep):
                problems.append(Problem("outside", artifact.file, os.path.realpath(path)))
                continue
            told = os.stat(path)
        except FileNotFoundError:
            problems.append(Problem("missing", artifact.file))
            continue
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            problems.append(Problem("unreadable", artifact.file, getattr(error, "strerror", None) or str(error)))
            continue
        if (told.st_mode & 0o170000) != 0o100000:
            problems.append(Problem("type", artifact.file))
        elif told.st_size != artifact.size:
            problems.append(Problem("size", artifact.file, "%d, not %d bytes" % (told.st_size, artifact.size)))
    return problems
