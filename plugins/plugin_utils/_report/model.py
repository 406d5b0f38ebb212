# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report says, told in one language: the model that every format draws from.

All text that came from hosts is made harmless here: terminal escapes, control characters and marks that turn the
direction of writing are taken out, so that no format can be tricked by what a server answers.
"""

from __future__ import annotations

import datetime
import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import STATUSES
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import parse_range
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import diff as run_diff
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import clean, clean_lines

#: A status is told by sign and word, never by colour alone.
GLYPHS = {"ok": "✔", "warning": "!", "unknown": "?", "critical": "✖"}
WORST_FIRST = tuple(reversed(STATUSES))
#: From this many hosts on, the same problem is told once for all of them.
SHARED_FROM = 3

#: Seconds since the epoch, value, status.
Point = tuple[float, float, str]
History = Mapping[tuple[str, str], Sequence[tuple[float, "float | None", str]]]


@dataclass(frozen=True, slots=True)
class Item:
    """One finding as it is told. ``change``: one of ``run_diff.CHANGES`` or empty. ``limits``: (status, text)."""

    host: str
    check: str
    kind: str
    status: str
    summary: str
    value: float | None
    unit: str
    value_text: str
    warning: str | None
    critical: str | None
    change: str
    history: tuple[Point, ...]
    observed_at: str
    duration_ms: float | None
    message: str
    language: str
    finding: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The check without its kind, where the id starts with it."""
        return self.check[len(self.kind) + 1 :] if self.check.startswith(f"{self.kind}.") else self.check

    @property
    def remedy(self) -> str:
        """What to do next; empty when there is nothing to say."""
        return clean(catalogue.remedy(self.finding, self.language))

    @property
    def limits(self) -> list[tuple[str, str]]:
        """The thresholds in words, for ``warning`` and ``critical``."""
        pairs = (("warning", self.warning), ("critical", self.critical))
        return [(status, _range(text, self.unit, self.language)) for status, text in pairs if text is not None]

    @property
    def evidence(self) -> list[tuple[str, list[str]]]:
        """What was seen: label and lines."""
        seen = self.finding.get("evidence") or {}
        told = [(_label(str(name), self.language), _lines(str(name), value, self.language)) for name, value in seen.items()]
        return [(label, lines) for label, lines in told if lines]


@dataclass(frozen=True, slots=True)
class Group:
    """The same problem on many hosts, or the problems of one host. ``host``: empty for a shared problem."""

    host: str
    items: tuple[Item, ...]

    @property
    def status(self) -> str:
        """The worst of its items, which come worst first."""
        return self.items[0].status


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a format needs. ``bad``: worst first; ``fine``: by kind and check; ``path``: the full report, if it is kept."""

    language: str
    id: str
    title: str
    system: str
    runbook: str
    state: str
    status: str
    start: str
    previous_start: str
    previous_id: str
    seconds: float | None
    counts: Mapping[str, int]
    hosts: Mapping[str, Mapping[str, Any]]
    bad: tuple[Item, ...]
    fine: tuple[Item, ...]
    difference: run_diff.Difference | None
    facts: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    path: str
    record: Mapping[str, Any] = field(repr=False)

    def text(self, identifier: str, **params: Any) -> str:
        """A text of the catalogue in the report's language; ids are given without ``report.``."""
        return catalogue.text(f"report.{identifier}", self.language, **params)

    def host_text(self, host: str) -> str:
        """A host's name; the whole system has a word of its own."""
        return self.text("system_host") if host == "-" else host

    def kind_text(self, kind: str) -> str:
        """What a kind of check is called."""
        identifier = f"kind.{kind}"
        return catalogue.text(identifier, self.language) if identifier in catalogue.entries() else kind

    @property
    def host_count(self) -> int:
        """Hosts that were looked at, the whole system not counted."""
        return len([host for host in self.hosts if host != "-"])

    @property
    def overall(self) -> str:
        """The status at the top: a run that is not complete is never better than ``unknown``."""
        return self.status if self.state == "complete" else max(self.status, "unknown", key=STATUSES.index)

    def totals(self) -> str:
        """How much was looked at."""
        checks, hosts = sum(self.counts.values()), self.host_count
        return self.text("totals.one" if hosts == 1 else "totals", checks=checks, hosts=hosts)

    def count_texts(self) -> list[str]:
        """Findings per status, worst first, those that there are."""
        return [self.text(f"count.{status}", count=self.counts[status]) for status in WORST_FIRST if self.counts.get(status)]

    def change_texts(self) -> list[str]:
        """What changed since the run before, in counts."""
        if self.difference is None:
            return []
        counts = {**self.difference.counts(), "gone": len(self.gone())}
        told = [
            self.text(f"count.{what}", count=counts[what]) for what in ("new", "worse", "better", "still", "solved", "gone") if counts[what]
        ]
        return told or [self.text("since.same")]

    def solved(self) -> list[run_diff.Change]:
        """What was not fine before and is now."""
        return self.difference.of("solved") if self.difference else []

    def gone(self) -> list[run_diff.Change]:
        """What was not fine before and was not checked this time."""
        return [change for change in self.difference.of("gone") if (change.before or {}).get("status") != "ok"] if self.difference else []

    def told(self, finding: Mapping[str, Any]) -> str:
        """The summary of any finding in the report's language."""
        return tell(finding, self.language)

    def groups(self) -> list[Group]:
        """The problems, worst first: the same one on many hosts together, the others by host."""
        alike: dict[tuple[str, str, str], list[Item]] = {}
        for item in self.bad:
            alike.setdefault((item.status, item.check, item.message), []).append(item)
        shared = [Group("", tuple(items)) for items in alike.values() if len(items) >= SHARED_FROM]
        apart: dict[str, list[Item]] = {}
        for item in self.bad:
            if len(alike[item.status, item.check, item.message]) < SHARED_FROM:
                apart.setdefault(item.host, []).append(item)
        groups = [*shared, *(Group(host, tuple(items)) for host, items in apart.items())]
        return sorted(groups, key=lambda group: (WORST_FIRST.index(group.status), -len(group.items) if not group.host else 0, group.host))

    def fine_by_kind(self) -> dict[str, list[Item]]:
        """What is fine, by kind, in the order of the kinds' names."""
        kinds: dict[str, list[Item]] = {}
        for item in self.fine:
            kinds.setdefault(item.kind, []).append(item)
        return dict(sorted(kinds.items(), key=lambda pair: self.kind_text(pair[0])))


def build(
    record: runs.Record,
    history: History | None = None,
    previous: Mapping[str, Any] | None = None,
    language: str = "en",
    folder: Path | None = None,
) -> Report:
    """The report of a run.

    ``history``: earlier numbers by host and check, oldest first (see ``run_index.history``). ``previous``: the record to
    compare with. ``language``: one of ``catalogue.LANGUAGES``. ``folder``: where the run's reports are kept.
    Works on any record, also that of a run that never ended.
    """
    found = record.get("findings") or ()
    difference = run_diff.compare(previous, record) if previous else None
    changes = {(change.host, change.check): change.what for change in difference.changes} if difference else {}
    items = [_item(finding, changes, history or {}, language) for finding in found]
    bad = sorted((item for item in items if item.status != "ok"), key=_worst_first)
    fine = sorted((item for item in items if item.status == "ok"), key=lambda item: (item.kind, item.check, item.host))
    hosts = {clean(host): facts for host, facts in (record.get("hosts") or runs.by_host(found)).items()}
    report = (record.get("artifacts") or {}).get("html", "report.html")
    return Report(
        language=language,
        id=clean(record["id"]),
        title=clean(record.get("title") or record["system"]),
        system=clean(record["system"]),
        runbook=clean(record["runbook"]),
        state=record["state"],
        status=record.get("status", "unknown"),
        start=_time(record.get("start")),
        previous_start=_time((previous or {}).get("start")),
        previous_id=clean((previous or {}).get("id", "")),
        seconds=record.get("seconds"),
        counts=record.get("counts") or runs.count(found),
        hosts=hosts,
        bad=tuple(bad),
        fine=tuple(fine),
        difference=difference,
        facts=tuple(_facts(record, previous, language)),
        problems=tuple(_texts(record.get("problems"), language)),
        notes=tuple(_texts(record.get("notes"), language)),
        path=str(folder / report) if folder else "",
        record=record,
    )


def tell(finding: Mapping[str, Any], language: str) -> str:
    """A finding's line in ``language``; its recorded summary where the catalogue does not know its message."""
    if finding.get("message") in catalogue.entries():
        return clean(catalogue.tell(finding, language))
    return clean(finding.get("summary") or catalogue.tell(finding, language))


def _worst_first(item: Item) -> tuple[int, int, str, str]:
    fresh = 0 if item.change in ("new", "worse") else 1
    return WORST_FIRST.index(item.status), fresh, item.host, item.check


def _item(finding: Mapping[str, Any], changes: Mapping[tuple[str, str], str], history: History, language: str) -> Item:
    key = finding["host"], finding["check"]
    value, unit = _finite(finding.get("value")), finding.get("unit") or ""
    points = [(at, seen, status) for at, seen, status in history.get(key, ()) if seen is not None and -math.inf < seen < math.inf]
    return Item(
        host=clean(key[0]),
        check=clean(key[1]),
        kind=clean(finding["kind"]),
        status=finding["status"],
        summary=tell(finding, language),
        value=value,
        unit=unit,
        value_text="" if value is None else catalogue.with_unit(value, unit, language),
        warning=finding.get("warning"),
        critical=finding.get("critical"),
        change=changes.get(key, ""),
        history=tuple(points),
        observed_at=_time(finding.get("observed_at")),
        duration_ms=finding.get("duration_ms"),
        message=str(finding.get("message")),
        language=language,
        finding=finding,
    )


def _finite(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _time(value: Any) -> str:
    """``2026-11-21 02:30:05 UTC`` from ISO 8601."""
    return re.sub(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)Z", r"\1 \2 UTC", clean(value)) if value else ""


def time_text(seconds: float) -> str:
    """A time in seconds since the epoch as a report writes it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _texts(values: Iterable[Any] | None, language: str) -> list[str]:
    """Notes and problems: messages are told, texts are taken as they are."""
    told = (catalogue.tell(value, language) if isinstance(value, Mapping) else retell(str(value), language) for value in values or ())
    return [text for text in map(clean, told) if text]


@functools.cache
def _told_of_runs() -> list[tuple[str, re.Pattern[str]]]:
    """The English texts about runs and their index, as patterns that give the parameters back."""
    patterns = []
    for identifier, texts in catalogue.entries().items():
        if identifier.startswith(("run.", "index.")) and identifier != "index.failed":
            pieces = re.split(r"\{(\w+)[^}]*\}", texts["en"])
            body = "".join(f"(?P<{piece}>.*)" if number % 2 else re.escape(piece) for number, piece in enumerate(pieces))
            patterns.append((identifier, re.compile(body, re.DOTALL)))
    return patterns


def retell(text: str, language: str) -> str:
    """A note in ``language``: records keep notes as English text; those that the catalogue has made are told anew."""
    if language == "en":
        return text
    for identifier, pattern in _told_of_runs():
        found = pattern.fullmatch(text)
        if found:
            return catalogue.text(identifier, language, **{name: retell(part, language) for name, part in found.groupdict().items()})
    return text


def _range(text: str, unit: str, language: str) -> str:
    try:
        start, end, inside = parse_range(text)
    except OptionError:
        return clean(text)
    low, high = (catalogue.with_unit(side, unit, language) if math.isfinite(side) else "" for side in (start, end))
    if inside:
        what = "range.inside" if low and high else "range.inside.above" if low else "range.inside.below"
    elif not low and not high:
        what = "range.never"
    elif not low or (start == 0 and high):
        what = "range.above"
    else:
        what = "range.outside" if high else "range.below"
    return catalogue.text(f"report.{what}", language, start=low, end=high)


def _label(name: str, language: str) -> str:
    identifier = f"evidence.{name}"
    return clean(catalogue.text(identifier, language) if identifier in catalogue.entries() else name)


def _lines(name: str, value: Any, language: str) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [line for part in value for line in _lines(name, part, language)]
    if isinstance(value, Mapping):
        if "message" in value:
            return [clean(catalogue.tell(value, language))]
        pairs = (f"{clean(key)}: {', '.join(_lines(str(key), part, language))}" for key, part in value.items())
        return [", ".join(pairs)] if value else []
    if value is None:
        return []
    if isinstance(value, bool):
        return [catalogue.text("report.yes" if value else "report.no", language)]
    if isinstance(value, (int, float)):
        return [catalogue.size(value) if name.startswith("bytes_") else catalogue.number(value) if math.isfinite(value) else str(value)]
    return clean_lines(value)


def _facts(record: Mapping[str, Any], previous: Mapping[str, Any] | None, language: str) -> Iterable[tuple[str, str]]:
    def told(identifier: str, **params: Any) -> str:
        return catalogue.text(f"report.{identifier}", language, **params)

    who = record.get("who") or {}
    user = told("fact.user.at", user=who["user"], controller=who.get("controller", "?")) if who.get("user") else None
    revision = record.get("revision")
    if revision and str(revision).endswith("-dirty"):
        revision = told("fact.revision.dirty", commit=str(revision).removesuffix("-dirty"))
    seconds = record.get("seconds")
    for name, value in (
        ("id", record["id"]),
        ("system", record["system"]),
        ("runbook", record["runbook"]),
        ("state", told(f"state.{record['state']}")),
        ("start", _time(record.get("start"))),
        ("end", _time(record.get("end"))),
        ("duration", None if seconds is None else catalogue.duration(seconds, language)),
        ("user", user),
        ("via", record.get("via")),
        ("job", record.get("job")),
        ("arguments", _arguments(record.get("arguments"), told)),
        ("revision", revision),
        ("previous", previous["id"] if previous else None),
    ):
        if value:
            yield told(f"fact.{name}"), clean(value)


def _arguments(arguments: Any, told: Any) -> str:
    if not isinstance(arguments, Mapping):
        return " ".join(map(str, arguments)) if isinstance(arguments, (list, tuple)) else str(arguments or "")

    def part(value: Any) -> str:
        if isinstance(value, bool):
            return str(told("yes" if value else "no"))
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    return "; ".join(f"{name}: {part(value)}" for name, value in arguments.items())
