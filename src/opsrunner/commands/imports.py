# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take over the record of a run that was made elsewhere: in a job of AWX, whose folder is thrown away, or on another controller."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from typing import Any

from opsrunner.errors import RefusalError
from opsrunner.find.collection import findings, reader, reports, runs

#: Larger input is no record.
LIMIT = 64 * 1024 * 1024
#: Seconds since the epoch that no run starts after: the end of the year 9999.
LATEST = 253402300799
#: Keys of a record that are kept; all others are dropped.
_KEYS = (
    *("schema", "id", "runbook", "system", "title", "state", "start", "started_at", "end", "seconds", "status", "counts", "hosts"),
    *("expected_hosts", "revision", "job", "via", "problems", "notes", "findings", "who", "arguments", "task_stats", "language", "fail_on"),
)
_KINDS = {"counts": Mapping, "hosts": Mapping, "who": Mapping, "arguments": Mapping, "notes": list, "problems": list}
_STATES = ("complete", "failed", "interrupted", "refused", "running", "killed")
_TEXTS = ("id", "runbook", "system", "state", "start", "status")
_NAME = re.compile(r"[^\x00-\x1f]{1,300}\Z")


def read(text: str) -> runs.Record:
    """The record in ``text``: a ``run.json``, the artifact ``opsrunner_run`` of a job, or a job with its ``artifacts``.

    Raises RefusalError that says what is wrong with it.
    """
    if len(text) > LIMIT:
        raise RefusalError("this is no record: it is larger than 64 MiB")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusalError(f"this is not JSON: {error}") from None
    for name in ("artifacts", "opsrunner_run"):
        if isinstance(data, Mapping) and isinstance(data.get(name), Mapping):
            data = data[name]
    if not isinstance(data, Mapping) or data.get("schema") != runs.SCHEMA:
        raise RefusalError(f"this is no run record of schema {runs.SCHEMA}, and holds none under artifacts.opsrunner_run")
    for key in _TEXTS:
        if not isinstance(data.get(key), str):
            raise RefusalError(f"{key}: is missing or no text")
    if not runs.RUN_ID.match(data["id"]):
        raise RefusalError(f"id: {data['id']!r} is no run's id")
    for key in ("started_at", "seconds"):
        value = data.get(key)
        if value is None and key == "seconds":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LATEST:
            raise RefusalError(f"{key}: must be a number of seconds between 0 and {LATEST}")
    if data["status"] not in findings.STATUSES:
        raise RefusalError(f"status: {data['status']!r} is none of {', '.join(findings.STATUSES)}")
    return _complete(dict(data))


def _complete(given: dict[str, Any]) -> runs.Record:
    try:
        record = {
            key: reader.bounded(given[key], key, reader.Budget(1_000_000, LIMIT)) for key in _KEYS if key in given and key != "findings"
        }
    except reader.FindingError as error:
        raise RefusalError(str(error)) from None
    if record["state"] not in _STATES:
        raise RefusalError(f"state: must be one of {', '.join(_STATES)}")
    for key, kind in _KINDS.items():
        if record.get(key) is not None and not isinstance(record[key], kind):
            raise RefusalError(f"{key}: must be a {'list' if kind is list else 'mapping'}")
    for key in ("title", "end", "revision", "via", "language"):
        if record.get(key) is not None and not isinstance(record[key], str):
            raise RefusalError(f"{key}: must be a text")
    found = _findings(given.get("findings"))
    left_out = _left_out(record, found)
    notes = [note for note in record.get("notes") or () if isinstance(note, str) or _is_message(note)]
    if left_out:
        notes.append(findings.message("run.imported", count=left_out))
    hosts = record.get("expected_hosts")
    return {
        **record,
        "counts": record.get("counts") or runs.count(found),
        "hosts": runs.by_host(found),
        "findings": found,
        "notes": notes,
        "problems": [str(problem) for problem in record.get("problems") or ()],
        "expected_hosts": [str(host) for host in hosts] if isinstance(hosts, list) else sorted({item["host"] for item in found} - {"-"}),
        # A run that was going on when it was sent away cannot be followed from here.
        "state": "killed" if record["state"] == "running" else record["state"],
    }


def _findings(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list):
        raise RefusalError("findings: is missing or no list")
    found = []
    for index, item in enumerate(given):
        try:
            read = reader.read(item)
        except reader.FindingError as error:
            raise RefusalError(f"findings[{index}].{error}") from None
        if not isinstance(read.get("host"), str) or not _NAME.match(read["host"]):
            raise RefusalError(f"findings[{index}].host: is missing or not valid")
        found.append(read)
    seen: set[tuple[str, str]] = set()
    for item in found:
        key = (item["host"], item["check"])
        if key in seen:
            raise RefusalError(f"findings: {key[1]} of host {key[0]} is there more than once")
        seen.add(key)
    return found


def _left_out(record: Mapping[str, Any], found: list[dict[str, Any]]) -> int:
    """How many findings the counts have beyond those that were sent. Raises RefusalError when the two contradict each other."""
    counted = runs.count(found)
    counts = record.get("counts") or counted
    if set(counts) - set(findings.STATUSES) or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 10**9 for n in counts.values()
    ):
        raise RefusalError(f"counts: must be whole numbers for {', '.join(findings.STATUSES)}")
    for status in findings.STATUSES:
        if counts.get(status, 0) < counted[status]:
            raise RefusalError(f"counts.{status}: is {counts.get(status, 0)}, but {counted[status]} findings have this status")
    status = findings.worst(status for status in findings.STATUSES if counts.get(status, 0))
    if record["status"] != status:
        raise RefusalError(f"status: is {record['status']}, but by the counts it is {status}")
    return sum(counts.values()) - len(found)


def _is_message(note: Any) -> bool:
    return isinstance(note, Mapping) and isinstance(note.get("message"), str) and isinstance(note.get("params", {}), Mapping)


def keep(record: runs.Record, language: str = "en") -> runs.Run:
    """Keep the record among this user's runs, with its reports. Raises RefusalError when it is there already, OSError."""
    folder = runs.state_dir() / "runs" / record["id"]
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise RefusalError(f"run {record['id']} is kept here already") from None
    run = runs.Run(folder)
    try:
        run.write(record)
        run.append(record["findings"])
        reports.publish(run, record, language)
        run.read()
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise
        raise RefusalError(f"this record cannot be reported, and is not kept: {type(error).__name__}: {error}") from error
    return run
