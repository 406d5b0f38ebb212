# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import finding, message
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import model as report_model
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue, display
from tests.helpers import report_records as records


@pytest.mark.parametrize(
    ("given_text", "seen"),
    [
        ("plain", "plain"),
        ("한글 그대로", "한글 그대로"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("a\x1bPq#0\x1b\\b", "ab"),
        ("a\nb\r\nc\td", "a b c d"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\u2066b\u2069c\u200e\u061cd", "abcd"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("\x00\x07\x08bell", "bell"),
        ("lone \udcff surrogate", "lone \ufffd surrogate"),
        ("e\u0301 stays, 👩\u200d💻 too", "e\u0301 stays, 👩\u200d💻 too"),
        (None, "None"),
        (12, "12"),
    ],
)
def test_text_from_hosts_is_made_harmless(given_text, seen):
    assert display.clean(given_text) == seen


@given(st.text())
def test_what_is_clean_stays_as_it_is_and_can_be_written(text):
    seen = display.clean(text)
    assert display.clean(seen) == seen
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in seen)
    seen.encode("utf-8")


def test_problems_come_worst_first_and_new_ones_before_old_ones():
    report = report_model.build(records.example(), previous=records.example(1))
    order = [report_model.WORST_FIRST.index(item.status) for item in report.bad]
    assert order == sorted(order)
    assert (report.bad[0].check, report.bad[0].change) == ("host.reachable", "new")


def test_the_same_problem_on_many_hosts_is_one_group():
    findings = [records.reachable(f"app{number}", "no route") for number in range(5)] + [records.disk("app9", "/", 99.0)]
    groups = report_model.build(records.record(findings)).groups()
    assert [(group.host, len(group.items)) for group in groups] == [("", 5), ("app9", 1)]


def test_two_hosts_with_the_same_problem_are_told_by_host():
    report = report_model.build(records.record([records.reachable(f"app{number}", "no route") for number in range(2)]))
    assert [group.host for group in report.groups()] == ["app0", "app1"]


@pytest.mark.parametrize(
    ("text", "unit", "english", "korean"),
    [
        ("80", "%", "above 80 %", "80 % 초과"),
        ("10:", "%", "below 10 %", "10 % 미만"),
        ("~:10", "ms", "above 10 ms", "10 ms 초과"),
        ("10:20", "", "outside 10 to 20", "10~20 범위 밖"),
        ("@10:20", "", "from 10 to 20", "10~20 범위 안"),
        ("@10:", "", "10 or more", "10 이상"),
        ("@~:10", "", "10 or less", "10 이하"),
        ("1073741824:", "B", "below 1 GiB", "1 GiB 미만"),
        ("14:", "d", "below 14 d", "14일 미만"),
        ("~:", "", "never", "없음"),
        ("none of these", "", "none of these", "none of these"),
    ],
)
def test_thresholds_are_told_in_words(text, unit, english, korean):
    item = records.found("h", "c", "k", "ok", message("host.reachable"), value=1, unit=unit, warning=text)
    for language, expected in (("en", english), ("ko", korean)):
        assert report_model.build(records.record([item]), language=language).fine[0].limits == [("warning", expected)]


def test_evidence_of_every_sort_is_told_in_lines():
    seen = {
        "bytes_free": 5 * 2**30,
        "memory_estimated": True,
        "top_processes": ["a", "b\nc"],
        "cores": 4,
        "since_boot": None,
        "victims": [],
        "tried_sources": message("host.reachable"),
        "not_in_the_catalogue": {"x": 1, "y": [2, 3]},
    }
    report = report_model.build(records.record([{**records.disk("h", "/", 99.0), "evidence": seen}]), language="ko")
    assert [lines for _label, lines in report.bad[0].evidence] == [
        ["5 GiB"],
        ["예"],
        ["a", "b", "c"],
        ["4"],
        ["호스트가 응답합니다"],
        ["x: 1, y: 2, 3"],
    ]
    assert report.bad[0].evidence[0][0] == "여유 바이트"
    assert report.bad[0].evidence[-1][0] == "not_in_the_catalogue"


def test_a_finding_whose_message_the_catalogue_does_not_know_is_told_by_its_summary():
    odd = {**records.disk("h", "/", 99.0), "message": "from.a.newer.version", "summary": "told then"}
    assert report_model.build(records.record([odd]), language="ko").bad[0].summary == "told then"


def test_the_inventorys_own_remedy_is_told_in_every_language():
    own = {**records.disk("h", "/", 99.0), "remedy": "runbook section 7.2"}
    assert {report_model.build(records.record([own]), language=language).bad[0].remedy for language in catalogue.LANGUAGES} == {
        "runbook section 7.2"
    }


def test_a_run_that_is_not_complete_is_never_called_ok():
    for state in ("running", "failed", "interrupted", "killed", "refused"):
        assert report_model.build(records.record([records.reachable("a")], state=state)).overall == "unknown"
    assert report_model.build(records.record([records.reachable("a", "x")], state="killed")).overall == "critical"


def test_the_record_of_a_run_that_never_ended_can_be_reported():
    bare = {
        "schema": 1,
        "id": "i",
        "runbook": "daily",
        "system": "s",
        "state": "killed",
        "start": "2026-11-20T21:30:00Z",
        "started_at": 1.0,
    }
    report = report_model.build(bare)
    assert (report.bad, report.fine, report.seconds) == ((), (), None)


def test_values_that_are_no_numbers_make_no_charts():
    odd = [{**records.disk("h", f"/{value}", 99.0), "value": value} for value in (float("nan"), float("inf"), True, None, "9")]
    assert {item.value for item in report_model.build(records.record(odd)).bad} == {None}


def test_facts_tell_who_when_and_with_what():
    facts = dict(report_model.build(records.example(), previous=records.example(1)).facts)
    assert facts["Started by"] == "oncall on control1"
    assert facts["Arguments"] == "limit: app*; forks: 10; extra_vars: release"
    assert facts["Revision"] == "8a73e53c01d2 with uncommitted changes"
    assert facts["Compared with"] == records.example(1)["id"]


def test_notes_are_told_in_the_reports_language():
    reason = catalogue.tell(message("index.locked"))
    notes = [
        catalogue.tell(message("run.index_problem", reason=reason)),
        message("run.report_unwritten", name="report.md", reason="x"),
        "as it is",
    ]
    report = report_model.build(records.record([], notes=notes), language="ko")
    assert report.notes == (
        "이전 실행 색인을 사용할 수 없습니다: 다른 프로세스가 너무 오래 잠그고 있습니다",
        "report.md을(를) 쓸 수 없습니다: x",
        "as it is",
    )


def test_changes_are_counted_in_words():
    report = report_model.build(records.example(), previous=records.example(1))
    assert report.change_texts() == ["1 new", "4 still there", "1 solved"]
    same = report_model.build(records.record([records.reachable("a")]), previous=records.record([records.reachable("a")]))
    assert same.change_texts() == ["no change"]
    assert report_model.build(records.example()).change_texts() == []


def test_a_finding_as_a_module_makes_it_is_enough():
    bare = {**finding("c", "k", "warning", message("host.reachable")), "host": "h"}
    assert report_model.build(records.record([bare])).bad[0].summary == "The host answers"
