# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take over the record of a run that was made elsewhere: in a job of AWX, whose folder is thrown away, or on another controller."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from opsrunner.errors import RefusalError
from opsrunner.find.collection import findings, reports, runs

#: Larger input is no record.
LIMIT = 64 * 1024 * 1024
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
    except ValueError as error:
        raise RefusalError(f"this is no JSON: {error}") from None
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
    if not isinstance(data.get("started_at"), (int, float)):
        raise RefusalError("started_at: is missing or no time")
    if data["status"] not in findings.STATUSES:
        raise RefusalError(f"status: {data['status']!r} is none of {', '.join(findings.STATUSES)}")
    return _complete(dict(data))


def _complete(record: dict[str, Any]) -> runs.Record:
    found = record.get("findings")
    if not isinstance(found, list):
        raise RefusalError("findings: is missing or no list")
    for index, item in enumerate(found):
        if not isinstance(item, Mapping) or not all(isinstance(item.get(key), str) and _NAME.match(item[key]) for key in ("host", "check")):
            raise RefusalError(f"findings[{index}]: has no host or no check")
        if item.get("status") not in findings.STATUSES:
            raise RefusalError(f"findings[{index}].status: {item.get('status')!r} is none of {', '.join(findings.STATUSES)}")
    record["counts"] = record.get("counts") or runs.count(found)
    record["hosts"] = record.get("hosts") or runs.by_host(found)
    sent = sum(record["counts"].values())
    notes = list(record.get("notes") or ())
    if sent > len(found):
        notes.append(findings.message("run.imported", count=sent - len(found)))
    return {
        **record,
        "notes": notes,
        "problems": list(record.get("problems") or ()),
        "expected_hosts": record.get("expected_hosts") or sorted(host for host in record["hosts"] if host != "-"),
        # A run that was going on when it was sent away cannot be followed from here.
        "state": "killed" if record["state"] == "running" else record["state"],
    }


def keep(record: runs.Record, language: str = "en") -> runs.Run:
    """Keep the record among this user's runs, with its reports. Raises RefusalError when it is there already, OSError."""
    folder = runs.state_dir() / "runs" / record["id"]
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise RefusalError(f"run {record['id']} is kept here already") from None
    run = runs.Run(folder)
    run.write(record)
    run.append(record["findings"])
    reports.publish(run, record, language)
    return run
