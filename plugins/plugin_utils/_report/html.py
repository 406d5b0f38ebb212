# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one HTML file that needs nothing else: styles, script and charts are inside, nothing is fetched.

What is not ok is plain HTML, readable without JavaScript. What is fine is kept in columns of JSON and shown when it is
opened, so that a thousand hosts fit into a page that opens at once.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import chart as report_chart
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report.model import (
    GLYPHS,
    WORST_FIRST,
    Group,
    Item,
    Point,
    Report,
    time_text,
)
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import clean

ASSETS = Path(__file__).parent / "assets"
#: Characters of findings in full; those beyond are told in a line each.
DETAIL_BUDGET = 1_200_000
#: Characters of lines for what is fine, and what is fine with its evidence.
SPARK_BUDGET, SEEN_LIMIT = 700_000, 1_000
#: Hosts with problems that are shown at once, and rows of a shared problem with a text of their own.
HOSTS_SHOWN = 24


@functools.cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def render(report: Report) -> str:
    """The report as one HTML document."""
    style, script = _asset("report.css"), _asset("report.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    overall = report.overall
    word = report.text(f"status.{overall}")
    parts = [
        f'<!DOCTYPE html>\n<html lang="{report.language}">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{GLYPHS[overall]} {escape(word)}: {escape(report.title)} · {escape(report.runbook)}</title>",
        f"<style>{style}</style>\n</head>\n<body>",
        f'<a class="skip" href="#findings">{report.text("skip")}</a>',
        *_head(report),
        "<main>",
        _tools(report),
        *_hosts(report),
        *_findings(report),
        *_changes(report),
        *_fine(report),
        *_run(report),
        "</main>",
        f"<footer>{escape(report.text('made', id=report.id))}</footer>",
        f'<script type="application/json" id="data">{_data(report)}</script>',
        f"<script>{script}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _head(report: Report) -> Iterable[str]:
    overall = report.overall
    took = f" · {catalogue.duration(report.seconds, report.language)}" if report.seconds is not None else ""
    yield (
        f'<header class="top"><div class="title"><div><h1>{escape(report.title)} · {escape(report.runbook)}</h1>'
        f"<p>{escape(report.start)}{took} · {escape(report.totals())}</p></div>"
        f'<span class="badge {overall}"><i aria-hidden="true">{GLYPHS[overall]}</i>{report.text(f"status.{overall}")}</span></div>'
    )
    if report.state != "complete":
        state = f"state.{report.state}"
        yield f'<p class="banner critical" role="alert"><strong>{report.text(state)}</strong> · {report.text(f"{state}.text")}</p>'
    if report.problems:
        yield f'<div class="banner critical" role="alert"><strong>{report.text("problems")}</strong>{_plain_list(report.problems)}</div>'
    yield '<div class="tiles">'
    for status in WORST_FIRST:
        count = report.counts.get(status, 0)
        word = report.text(f"status.{status}")
        yield (
            f'<button type="button" class="tile {status}{"" if count else " none"}" data-s="{status}" aria-pressed="false">'
            f'<b>{catalogue.number(count)}</b><span><span aria-hidden="true">{GLYPHS[status]}</span> {word}</span></button>'
        )
    yield "</div>"
    if report.difference is None:
        yield f'<p class="since">{report.text("first")}</p>'
    else:
        pills = "".join(f'<span class="pill">{escape(text)}</span>' for text in report.change_texts())
        yield f'<p class="since">{escape(report.text("since", time=report.previous_start))} {pills}</p>'
    yield "</header>"


def _tools(report: Report) -> str:
    hint = report.text("filter.text")
    return (
        f'<div class="tools" role="search" aria-label="{report.text("filter")}">'
        f'<input id="text" type="search" placeholder="{hint}" aria-label="{hint}" autocomplete="off">'
        f'<select id="host" aria-label="{report.text("host")}"><option value="">{report.text("filter.all_hosts")}</option></select>'
        f'<button type="button" class="plain" id="clear" hidden>{report.text("filter.clear")}</button>'
        f'<button type="button" class="plain" id="open">{report.text("open_all")}</button>'
        '<output id="shown" aria-live="polite"></output></div>'
    )


def _hosts(report: Report) -> Iterable[str]:
    order = sorted(report.hosts, key=lambda host: (WORST_FIRST.index(report.hosts[host]["status"]), host))
    if len(order) < 2:
        return
    bad = [host for host in order if report.hosts[host]["status"] != "ok"]
    first = order if len(order) <= HOSTS_SHOWN else bad[:HOSTS_SHOWN]
    rest = order[len(first) :]
    count = catalogue.number(report.host_count)
    yield f'<section aria-labelledby="h-hosts"><h2 id="h-hosts">{report.text("hosts")} <small>{count}</small></h2>'
    yield f'<div class="hosts">{"".join(_host(report, host) for host in first)}</div>'
    if rest:
        yield f'<details class="more-hosts"><summary>{report.text("more", count=len(rest))}</summary>'
        yield f'<div class="hosts">{"".join(_host(report, host) for host in rest)}</div></details>'
    yield "</section>"


def _host(report: Report, host: str) -> str:
    facts = report.hosts[host]
    counts = " ".join(
        f'<i class="{status}" title="{report.text(f"status.{status}")}">{GLYPHS[status]}</i>{facts[status]}'
        for status in WORST_FIRST
        if facts.get(status)
    )
    name = escape(report.host_text(host))
    return (
        f'<button type="button" class="host {facts["status"]}" data-host="{escape(host)}" aria-pressed="false" title="{name}">'
        f"<b>{name}</b><span>{counts}</span></button>"
    )


def _findings(report: Report) -> Iterable[str]:
    yield '<section id="findings" tabindex="-1" aria-labelledby="h-findings">'
    yield f'<h2 id="h-findings">{report.text("findings")}</h2><div class="list">'
    if not report.bad:
        yield f'<p><span class="st ok"><i>{GLYPHS["ok"]}</i></span>{report.text("all_ok" if report.fine else "nothing")}</p>'
    used = 0
    left: list[Item] = []
    for group in _ordered(report):
        if used > DETAIL_BUDGET:
            left += group.items
            continue
        for card in [_shared(report, group)] if not group.host else [_card(report, item) for item in group.items]:
            used += len(card)
            yield card
    if left:
        yield from _short(report, left)
    yield f'<p id="nothing" hidden>{report.text("filter.none")}</p></div></section>'


def _ordered(report: Report) -> Iterable[Group]:
    """Shared problems and single ones, strictly the worst first."""
    groups = [
        part for group in report.groups() for part in ([group] if not group.host else [Group(item.host, (item,)) for item in group.items])
    ]
    return sorted(groups, key=lambda group: (WORST_FIRST.index(group.status), 0 if not group.host else 1))


def _status(report: Report, status: str) -> str:
    return f'<span class="st"><i aria-hidden="true">{GLYPHS[status]}</i>{report.text(f"status.{status}")}</span>'


def _tag(report: Report, item: Item) -> str:
    if item.change not in ("new", "worse", "better", "still"):
        return ""
    return f'<span class="tag {item.change}">{report.text(f"change.{item.change}")}</span>'


def _points(report: Report, item: Item) -> tuple[Point, ...]:
    """The earlier numbers and this one; empty when that makes no line."""
    if item.value is None or not item.history:
        return ()
    now = runs.seconds_of(report.record.get("start")) or item.history[-1][0] + 1
    return (*item.history, (now, float(item.value), item.status))


def _card(report: Report, item: Item) -> str:
    points = _points(report, item)
    remedy = f'<span class="do">→ {escape(item.remedy)}</span>' if item.remedy else ""
    return (
        f'<details class="f {item.status}" data-s="{item.status}" data-h="{escape(item.host)}"><summary>{_status(report, item.status)}'
        f'<span class="what"><b>{escape(item.summary)}</b>'
        f'<span class="id"><strong>{escape(report.host_text(item.host))}</strong> {escape(item.check)}</span>'
        f"{_tag(report, item)}{remedy}</span>"
        f'{report_chart.spark(points) if points else "<span></span>"}<span class="val">{escape(item.value_text)}</span></summary>'
        f'<div class="body">{_remedy(report, item)}{_chart(report, item, points)}{_facts(report, item)}</div></details>'
    )


def _remedy(report: Report, item: Item) -> str:
    return f'<div class="todo"><h3>{report.text("do")}</h3><p>{escape(item.remedy)}</p></div>' if item.remedy else ""


def _chart(report: Report, item: Item, points: Sequence[Point]) -> str:
    if not points:
        return ""

    def told(value: float) -> str:
        return catalogue.with_unit(value, item.unit, report.language)

    values = [value for _at, value, _status in points]
    since, until = time_text(points[0][0]), time_text(points[-1][0])
    part = slice(11, None) if since[:10] == until[:10] else slice(10)
    caption = escape(report.text("history.caption", count=len(points), time=since, low=told(min(values)), high=told(max(values))))
    svg, low, high = report_chart.chart(points, item.warning, item.critical, caption)
    keys = "".join(f'<span class="key {status}">{report.text(f"status.{status}")} {escape(text)}</span>' for status, text in item.limits)
    return (
        f'<figure class="chart"><h3>{report.text("history")}</h3><div class="plot">{svg}'
        f'<span class="y hi">{escape(told(high))}</span><span class="y lo">{escape(told(low))}</span></div>'
        f'<div class="x"><span>{since[part]}</span><span>{until[part]}</span></div>'
        f"<figcaption><span>{caption}</span>{keys}</figcaption></figure>"
    )


def _facts(report: Report, item: Item) -> str:
    rows = []
    if item.limits:
        limits = ", ".join(f"{report.text(f'status.{status}')} {text}" for status, text in item.limits)
        rows.append((report.text("limits"), [limits]))
    rows += item.evidence
    seen_at = item.observed_at
    if item.duration_ms is not None:
        seen_at += f" ({report.text('took')} {catalogue.duration(item.duration_ms / 1000, report.language)})"
    rows.append((report.text("observed"), [seen_at]))
    told = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(lines[0]) if len(lines) == 1 else _items(lines)}</dd>" for label, lines in rows if lines
    )
    return f"<dl>{told}</dl>"


def _items(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _plain_list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _shared(report: Report, group: Group) -> str:
    first = group.items[0]
    same = len({item.summary for item in group.items}) == 1
    names = ", ".join(report.host_text(item.host) for item in group.items[:6])
    if len(group.items) > 6:
        names += f", {report.text('more', count=len(group.items) - 6)}"
    rows = "".join(
        f'<li data-h="{escape(item.host)}"><strong>{escape(report.host_text(item.host))}</strong>'
        f"<span>{escape(item.summary)}{_tag(report, item)}</span><span>{escape(item.value_text)}</span></li>"
        for item in group.items
    )
    remedy = f'<span class="do">→ {escape(first.remedy)}</span>' if first.remedy else ""
    count = report.text("on_hosts", count=len(group.items))
    code = f'<span class="id">{escape(first.check)}</span>' if same else ""
    return (
        f'<details class="f {first.status}" data-s="{first.status}" data-c="{escape(first.check)}"><summary>{_status(report, first.status)}'
        f'<span class="what"><b>{escape(first.summary if same else first.check)}</b>'
        f'<span class="names">{escape(names)}</span>{code}{remedy}</span>'
        f'<span></span><span class="val">{count}</span></summary>'
        f'<div class="body">{_remedy(report, first)}<ul class="rows">{rows}</ul></div></details>'
    )


def _short(report: Report, items: Sequence[Item]) -> Iterable[str]:
    yield f"<p>{report.text('findings.more', count=len(items))}</p>"
    alike: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        alike.setdefault((item.status, item.check), []).append(item)
    for (status, check), members in alike.items():
        rows = "".join(
            f'<li data-h="{escape(item.host)}"><b>{escape(item.host)}</b><span>{escape(item.summary)}</span></li>' for item in members
        )
        yield (
            f'<details class="f {status}" data-s="{status}" data-c="{escape(check)}"><summary>{_status(report, status)}'
            f'<span class="what"><b>{escape(check)}</b></span><span></span><span class="val">{len(members)}</span></summary>'
            f'<div class="body"><ul class="rows">{rows}</ul></div></details>'
        )


def _changes(report: Report) -> Iterable[str]:
    for title, changes in (("solved", report.solved()), ("gone", report.gone())):
        if changes:
            rows = "".join(
                f"<li><strong>{escape(report.host_text(clean(change.host)))}</strong>"
                f"<span>{escape(report.told(change.after or change.before or {}))} "
                f'<span class="id soft">{escape(clean(change.check))}</span></span></li>'
                for change in changes[:200]
            )
            sign = f' <small class="ok">{catalogue.number(len(changes))}</small>'
            yield f'<section><h2>{report.text(title)}{sign}</h2><div class="run"><ul class="rows">{rows}</ul></div></section>'
    moved = report.difference.of("moved")[:10] if report.difference else []
    if moved:
        rows = "".join(_moved(report, change.host, change.check, change.before or {}, change.after or {}) for change in moved)
        yield f'<section><h2>{report.text("moved")}</h2><div class="run"><ul class="rows">{rows}</ul></div></section>'


def _moved(report: Report, host: str, check: str, before: Any, after: Any) -> str:
    values = [catalogue.with_unit(side.get("value"), side.get("unit") or "", report.language) for side in (before, after)]
    return (
        f'<li><strong>{escape(report.host_text(clean(host)))}</strong><span class="id">{escape(clean(check))}</span>'
        f"<span>{escape(values[0])} → <strong>{escape(values[1])}</strong></span></li>"
    )


def _fine(report: Report) -> Iterable[str]:
    kinds = report.fine_by_kind()
    if not kinds:
        return
    yield f'<section id="fine"><h2>{report.text("fine")} <small>{catalogue.number(len(report.fine))}</small></h2><div class="list">'
    for number, (kind, items) in enumerate(kinds.items()):
        hosts = len({item.host for item in items})
        told = report.text("fine.line.one" if hosts == 1 else "fine.line", count=len(items), hosts=hosts)
        names = list(dict.fromkeys(item.name for item in items))[:8]
        if len(names) > 1 or names[0] not in (kind, items[0].check):
            told += f": {', '.join(names)}"
        yield (
            f'<details class="k ok" data-kind="{number}"><summary>'
            f'<i aria-hidden="true">{GLYPHS["ok"]}</i><b>{escape(report.kind_text(kind))}</b>'
            f'<span data-count="{escape(told)}">{escape(told)}</span></summary><div></div></details>'
        )
    yield f"</div><noscript><p>{report.text('noscript')}</p></noscript></section>"


def _run(report: Report) -> Iterable[str]:
    if report.notes:
        yield f'<section><h2>{report.text("notes")}</h2><div class="run notes">{_plain_list(report.notes)}</div></section>'
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in report.facts)
    yield f'<section><h2>{report.text("run")}</h2><div class="run"><dl>{rows}</dl></div></section>'


def _data(report: Report) -> str:
    """What is fine, in columns; and the words the script needs. Safe inside a script element."""
    hosts, checks, limits = _Numbers(), _Numbers(), _Numbers()
    kinds = {kind: number for number, kind in enumerate(report.fine_by_kind())}
    most = min(60, SPARK_BUDGET // max(1, len(report.fine)))
    columns: dict[str, list[Any]] = {name: [] for name in ("kind", "host", "check", "text", "value", "limit", "spark")}
    for item in report.fine:
        points = _points(report, item)
        told = ", ".join(f"{report.text(f'status.{status}')} {text}" for status, text in item.limits)
        row = (
            kinds[item.kind],
            hosts.of(item.host),
            checks.of(item.check),
            item.summary,
            item.value_text,
            limits.of(told),
            report_chart.code(points, most) if len(points) > 1 and most > 1 else 0,
        )
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    data = {
        **columns,
        "hosts": hosts.names,
        "checks": checks.names,
        "limits": limits.names,
        "seen": [item.evidence for item in report.fine] if len(report.fine) <= SEEN_LIMIT else None,
        "choices": [[host, report.host_text(host)] for host in sorted(report.hosts)],
        "total": sum(report.counts.values()),
        "words": {
            "limits": report.text("limits"),
            "system": report.text("system_host"),
            "more": report.text("show_more"),
            "open": report.text("open_all"),
            "close": report.text("close_all"),
            "shown": report.text("filter.shown", shown="{shown}", total="{total}"),
        },
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return (
        text.replace("&", r"\u0026")
        .replace("<", r"\u003c")
        .replace(">", r"\u003e")
        .replace("\u2028", r"\u2028")
        .replace("\u2029", r"\u2029")
    )


class _Numbers:
    """Texts that recur, each kept once."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._known: dict[str, int] = {}

    def of(self, text: str) -> int:
        if text not in self._known:
            self._known[text] = len(self.names)
            self.names.append(text)
        return self._known[text]
