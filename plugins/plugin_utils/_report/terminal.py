# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on a terminal: worst first, what to do next, what is fine in one line per kind."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report.model import GLYPHS, Group, Item, Report
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import clean

_COLOURS = {"critical": "1;31", "unknown": "1;35", "warning": "1;33", "ok": "32", "faint": "2", "strong": "1"}
#: Hosts with a text of their own under a shared problem, pieces of evidence, and hosts named in a row.
_OWN_LINES, _EVIDENCE, _NAMES = 4, 3, 12
#: Problems told here, the same one on many hosts being one; the full report has them all.
_PROBLEMS = 40
_INDENT = "    "


def render(report: Report, width: int = 80, color: bool = False) -> str:
    """The report as lines of at most ``width`` columns, ended by a line break; ``color`` adds ANSI colours."""
    page = _Page(max(width, 40), color)
    _head(report, page)
    told = 0
    for group in report.groups():
        if told >= _PROBLEMS:
            break
        page.blank()
        told += (_host if group.host else _shared)(report, group, page, _PROBLEMS - told)
    left = len(report.bad) - page.findings
    if left:
        page.blank()
        page.add(report.text("rest", count=left), "strong")
    if not report.bad:
        page.blank()
        page.add(report.text("all_ok" if report.fine else "nothing"))
    _changes(report, page)
    _fine(report, page)
    for title, texts in (("problems", report.problems), ("notes", report.notes)):
        if texts:
            page.blank()
            page.add(report.text(title), "strong")
            for text in texts:
                page.add(text, first="  - ", indent="    ")
    if report.path:
        page.blank()
        page.lines.append(f"{report.text('full')}: {report.path}")  # never wrapped: it is to be copied
    return "\n".join(page.lines) + "\n"


class _Page:
    def __init__(self, width: int, color: bool) -> None:
        self.width = width
        self.color = color
        self.lines: list[str] = []
        self.findings = 0

    def paint(self, text: str, style: str = "") -> str:
        return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if self.color and style else text

    def blank(self) -> None:
        self.lines.append("")

    def add(self, text: str, style: str = "", first: str = "", indent: str | None = None) -> None:
        """A paragraph; ``first`` leads its first line, ``indent`` the others."""
        indent = " " * columns(first) if indent is None else indent
        for number, line in enumerate(wrap(text, self.width - columns(indent))):
            self.lines.append((first if number == 0 else indent) + self.paint(line, style))

    def rule(self, left: str, style: str = "") -> None:
        """A heading with a line to the right edge."""
        dashes = "─" * max(0, self.width - columns(left) - 1)
        self.lines.append(f"{self.paint(left, style)} {self.paint(dashes, 'faint')}".rstrip())


def columns(text: str) -> int:
    """How many columns a terminal needs: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, with a mark where it was cut."""
    if columns(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + "…"


def wrap(text: str, width: int) -> Iterator[str]:
    """Lines of at most ``width`` columns, broken at spaces; words that are longer are broken where they must."""
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if columns(joined) <= width:
            line = joined
            continue
        if line:
            yield line
        line = word
        while columns(line) > width:
            head = _fit(line, width)
            yield head
            line = line[len(head) :]
    yield line


def _fit(text: str, width: int) -> str:
    used = 0
    for number, character in enumerate(text):
        used += _columns(character)
        if used > width and number:
            return text[:number]
    return text


def _head(report: Report, page: _Page) -> None:
    overall = report.overall
    left = f"{GLYPHS[overall]} {report.text(f'status.{overall}').upper()}"
    page.add(f"{report.title} · {report.runbook}", "strong", first=f"{page.paint(left, overall)}  ", indent=" " * (columns(left) + 2))
    if report.state != "complete":
        page.add(f"{report.text(f'state.{report.state}')}. {report.text(f'state.{report.state}.text')}", "warning")
    took = ""
    if report.seconds is not None:
        took = f", {catalogue.duration(report.seconds, report.language)}"
    page.add(f"{report.start}{took}", "faint")
    page.add(f"{report.totals()}: {', '.join(report.count_texts())}" if report.count_texts() else report.totals())
    if report.difference is not None:
        page.add(f"{report.text('since', time=report.previous_start)}: {', '.join(report.change_texts())}")


def _label(report: Report, item: Item, page: _Page) -> str:
    return page.paint(f"{GLYPHS[item.status]} {report.text(f'status.{item.status}')}", item.status)


def _flag(report: Report, item: Item) -> str:
    return f" [{report.text(f'change.{item.change}')}]" if item.change in ("new", "worse", "better") else ""


def _host(report: Report, group: Group, page: _Page, most: int) -> int:
    page.rule(report.host_text(group.host), "strong")
    items = group.items[:most]
    page.findings += len(items)
    for item in items:
        page.lines.append(f"{_label(report, item, page)}  {cut(item.check + _flag(report, item), page.width - 14)}")
        page.add(item.summary, first=_INDENT)
        _detail(report, item, page)
    return len(items)


def _shared(report: Report, group: Group, page: _Page, _most: int) -> int:
    first = group.items[0]
    page.findings += len(group.items)
    count = report.text("on_hosts", count=len(group.items))
    page.rule(f"{first.check} · {count}", "strong")
    page.lines.append(_label(report, first, page))
    summaries = {item.summary for item in group.items}
    if len(summaries) == 1:
        page.add(first.summary, first=_INDENT)
        page.add(_names(report, [report.host_text(item.host) for item in group.items]), first=_INDENT)
    else:
        for item in group.items[:_OWN_LINES]:
            page.add(f"{report.host_text(item.host)}{_flag(report, item)}: {item.summary}", first=_INDENT, indent=_INDENT + "  ")
        rest = [report.host_text(item.host) for item in group.items[_OWN_LINES:]]
        if rest:
            page.add(f"+ {_names(report, rest)}", first=_INDENT, indent=_INDENT + "  ")
    _detail(report, first, page, evidence=len(summaries) == 1)
    return 1


def _names(report: Report, names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES])
    return shown if len(names) <= _NAMES else f"{shown}, {report.text('more', count=len(names) - _NAMES)}"


def _detail(report: Report, item: Item, page: _Page, evidence: bool = True) -> None:
    if item.limits and item.value is not None:
        limits = ", ".join(f"{report.text(f'status.{status}')} {text}" for status, text in item.limits)
        page.add(f"{report.text('limits')}: {limits}", "faint", first=_INDENT)
    seen = item.evidence if evidence else []
    for label, lines in seen[:_EVIDENCE]:
        more = f" ({report.text('more', count=len(lines) - 3)})" if len(lines) > 3 else ""
        room = page.width - len(_INDENT)
        page.lines.append(_INDENT + page.paint(cut(f"{label}: {' | '.join(lines[:3])}", room - columns(more)) + more, "faint"))
    if item.remedy:
        page.add(item.remedy, "strong", first=f"{_INDENT}→ ")


def _changes(report: Report, page: _Page) -> None:
    for title, changes in (("solved", report.solved()), ("gone", report.gone())):
        if not changes:
            continue
        page.blank()
        page.add(report.text(title), "strong")
        for change in changes[:_NAMES]:
            finding = change.after or change.before or {}
            host = report.host_text(clean(change.host))
            page.add(
                f"{host} {clean(change.check)}: {report.told(finding)}",
                first=f"  {GLYPHS['ok'] if title == 'solved' else '-'} ",
            )
        if len(changes) > _NAMES:
            page.add(report.text("more", count=len(changes) - _NAMES), first="    ")


def _fine(report: Report, page: _Page) -> None:
    kinds = report.fine_by_kind()
    if not kinds:
        return
    page.blank()
    page.add(report.text("fine"), "strong")
    wide = min(24, max(columns(report.kind_text(kind)) for kind in kinds))
    for kind, items in kinds.items():
        name = cut(report.kind_text(kind), wide)
        hosts = len({item.host for item in items})
        told = report.text("fine.line.one" if hosts == 1 else "fine.line", count=len(items), hosts=hosts)
        names = _distinct(item.name for item in items)
        if len(names) > 1 or names[0] != kind:
            told += f": {', '.join(names)}"
        line = f"  {GLYPHS['ok']} {name}{' ' * (wide - columns(name))}  {told}"
        page.lines.append(page.paint(cut(line, page.width), "ok"))


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
