# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as Markdown (GitHub's kind), for tickets, chats and wikis."""

from __future__ import annotations

import re

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report.model import GLYPHS, Item, Report
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import clean

_SPECIAL = re.compile(r"([\\`*_{}\[\]|~#$])")
#: Findings with their evidence; beyond it a table row each is enough, and tickets have limits.
_DETAILED = 50


def escape(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no mention of a user."""
    text = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(?<![\w.])@(?=\w)", "@\u2060", _SPECIAL.sub(r"\\\1", text))


def render(report: Report) -> str:
    """The report as one Markdown document."""
    overall = report.overall
    lines = [
        f"# {GLYPHS[overall]} {escape(report.text(f'status.{overall}'))}: {escape(report.title)} · {escape(report.runbook)}",
        "",
        escape(report.start) + (f", {catalogue.duration(report.seconds, report.language)}" if report.seconds is not None else ""),
        "",
        f"{escape(report.totals())}: " + ", ".join(f"**{text}**" for text in report.count_texts()),
        "",
    ]
    if report.state != "complete":
        lines += [f"> **{report.text(f'state.{report.state}')}** {report.text(f'state.{report.state}.text')}", ""]
    if report.difference is not None:
        lines += [f"{report.text('since', time=report.previous_start)}: {', '.join(report.change_texts())}", ""]
    lines += _list(report.text("problems"), report.problems)
    lines += _bad(report)
    for title, changes in (("solved", report.solved()), ("gone", report.gone())):
        told = [
            f"{report.host_text(clean(change.host))} {clean(change.check)}: {report.told(change.after or change.before or {})}"
            for change in changes
        ]
        lines += _list(report.text(title), told)
    lines += _fine(report)
    lines += _list(report.text("notes"), report.notes)
    lines += [f"## {report.text('run')}", "", *_table(["", ""], [[name, value] for name, value in report.facts])]
    return "\n".join(lines).rstrip() + "\n"


def _list(title: str, texts: list[str] | tuple[str, ...]) -> list[str]:
    return [f"## {title}", "", *(f"- {escape(text)}" for text in texts), ""] if texts else []


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *([escape(cell) for cell in row] for row in rows)]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _bad(report: Report) -> list[str]:
    if not report.bad:
        return [report.text("all_ok" if report.fine else "nothing"), ""]
    head = [report.text(name) for name in ("status", "host", "check", "summary", "change")]
    rows = [
        [
            f"{GLYPHS[item.status]} {report.text(f'status.{item.status}')}",
            report.host_text(item.host),
            item.check,
            item.summary,
            report.text(f"change.{item.change}") if item.change else "",
        ]
        for item in report.bad
    ]
    lines = [f"## {report.text('findings')}", "", *_table(head, rows)]
    for item in report.bad[:_DETAILED]:
        lines += _detail(report, item)
    return lines


def _detail(report: Report, item: Item) -> list[str]:
    body = []
    if item.remedy:
        body.append(f"- **{report.text('do')}:** {escape(item.remedy)}")
    if item.limits:
        limits = ", ".join(f"{report.text(f'status.{status}')} {text}" for status, text in item.limits)
        body.append(f"- {report.text('limits')}: {escape(limits)}")
    for label, seen in item.evidence:
        body += (
            [f"- {escape(label)}: {escape(seen[0])}"]
            if len(seen) == 1
            else [f"- {escape(label)}:", *(f"  - {escape(line)}" for line in seen)]
        )
    return [f"### {GLYPHS[item.status]} {escape(report.host_text(item.host))} · {escape(item.check)}", "", *body, ""] if body else []


def _fine(report: Report) -> list[str]:
    kinds = report.fine_by_kind()
    if not kinds:
        return []
    rows = [[report.kind_text(kind), str(len(items)), str(len({item.host for item in items}))] for kind, items in kinds.items()]
    return [f"## {report.text('fine')}", "", *_table([report.text(name) for name in ("kind", "count", "hosts")], rows)]
