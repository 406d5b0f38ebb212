# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import stat

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import message
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import chart as report_chart
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import html as report_html
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import json as report_json
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import markdown as report_markdown
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import model as report_model
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import prometheus as report_prometheus
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import terminal as report_terminal
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue
from tests.helpers import report_records as records

RENDERERS = {
    "terminal": lambda report: report_terminal.render(report, 80, False),
    "markdown": report_markdown.render,
    "json": report_json.render,
    "html": report_html.render,
    "prometheus": lambda report: report_prometheus.render(report.record),
}
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`<!--&lt;",
    "\x1b[2J\x1b]0;owned\x07\x9b31m\x00\x08",
    "\u202egnp.exe\u2066\u200b\u2028next",
    "line one\nline two\r\n| cell | **bold** [link](javascript:alert(3)) @everyone",
    "lone \udce4 byte",
    '{label="x"} \\ 1\n# TYPE evil counter',
)


def full(language="en", **more):
    return report_model.build(records.example(), records.history(), records.example(1), language, **more)


def hostile(language="en"):
    items = []
    for number, text in enumerate(HOSTILE):
        for status in ("critical", "ok"):
            item = records.found(
                f"h{number}{text}",
                f"c{number}{text}{status}",
                f"k{text}",
                status,
                message("task.failed", task=text, reason=text),
                value=1,
                warning=text,
                evidence={text: text, "top_processes": [text, {text: text}]},
                remedy=text,
            )
            items.append(item)
    past = records.record([{**item, "status": "ok" if item["status"] != "ok" else "critical"} for item in items], at=records.NOW - 60)
    record = records.record(items, problems=list(HOSTILE), notes=list(HOSTILE), title=HOSTILE[0], arguments={HOSTILE[0]: list(HOSTILE)})
    history = {(item["host"], item["check"]): [(records.NOW - 60, 2.0, "ok")] for item in items}
    return report_model.build(record, history, past, language)


class Page(html.parser.HTMLParser):
    """A page's elements, checked for being closed in order."""

    VOID = {"meta", "input", "path"}  # noqa: RUF012

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.elements = []
        self.texts = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


@pytest.mark.parametrize("language", catalogue.LANGUAGES)
@pytest.mark.parametrize("name", RENDERERS)
def test_hostile_text_is_harmless_in_every_format(name, language):
    text = RENDERERS[name](hostile(language))
    text.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2028\u2029\u2066-\u2069]", text)


def test_hostile_text_makes_no_element_and_no_attribute():
    page = Page(report_html.render(hostile()))
    assert [tag for tag, _attributes in page.elements].count("script") == 2
    assert "img" not in {tag for tag, _attributes in page.elements}
    assert not [name for _tag, attributes in page.elements for name in attributes if name.startswith("on") or name == "style"]
    data = json.loads(page.texts["script"][0])
    assert any("</script>" in text for text in data["text"])


def test_hostile_text_makes_no_markup_in_markdown():
    text = report_markdown.render(hostile())
    assert not re.search(r"(?<!\\)[<>`]|<script", text.replace("> **", "").replace("\n> ", "\n"))
    assert not re.search(r"(?<!\\)\]\(", text)
    rows = [line for line in text.splitlines() if line.startswith("| ✖")]
    assert len(rows) == len(HOSTILE)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_hostile_text_makes_no_series_of_its_own():
    lines = report_prometheus.render(hostile().record).splitlines()
    series = re.compile(r'opsrunner_\w+\{(?:\w+="(?:[^"\\\n]|\\[\\"n])*",?)*\} [-+\w.]+\Z')
    assert [line for line in lines if not line.startswith("# ") and not series.match(line)] == []
    assert "# TYPE evil counter" not in lines


def test_the_page_fetches_nothing_and_runs_only_its_own_script():
    text = report_html.render(full())
    page = Page(text)
    policy = next(attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.texts[tag][-1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not {tag for tag, _attributes in page.elements} & {"link", "iframe", "object", "embed", "base", "form", "img"}
    assert not [attributes for _tag, attributes in page.elements if "src" in attributes]
    assert {attributes["href"] for _tag, attributes in page.elements if "href" in attributes} == {"#findings"}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|eval\(|innerHTML", text)


def test_what_needs_attention_is_in_the_page_itself():
    page = Page(report_html.render(full()))
    seen = " ".join(text for tag, texts in page.texts.items() if tag not in ("script", "style") for text in texts)
    report = full()
    for item in report.bad:
        assert item.summary in seen
        assert item.remedy in seen
    for text in ("/dev/vdb1", "critical above 90 %", "java (pid 2211) 18.2 GiB", "oncall on control1"):
        assert text in seen


def test_every_control_can_be_named_and_no_id_is_used_twice():
    elements = Page(report_html.render(full())).elements
    for tag, attributes in elements:
        if tag in ("input", "select") or attributes.get("role") == "img":
            assert attributes.get("aria-label"), attributes
        if tag == "button":
            assert attributes["type"] == "button"
    names = [attributes["id"] for _tag, attributes in elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert {attributes["for"] for _tag, attributes in elements if "for" in attributes} == set()


def test_charts_show_the_thresholds_and_what_was_not_ok():
    text = report_html.render(full())
    assert 'class="limit warning"' in text
    assert 'class="limit critical"' in text
    assert 'class="dot critical"' in text
    assert "31 runs since 2026-10-21 21:30 UTC, lowest 63.4 %, highest 96.4 %" in text


def test_without_earlier_runs_there_are_no_charts_and_the_page_says_so():
    text = report_html.render(report_model.build(records.example()))
    assert "There is no earlier run to compare with" in text
    assert "<svg" not in text


def _fleet(bad, hosts=1000, checks=30):
    ok, sick = records.disk("h", "/", 40.0), records.disk("h", "/", 97.0)
    items = []
    for host in range(hosts):
        for check in range(checks):
            base = sick if bad(host, check) else ok
            value = round(base["value"] + (host * 7 + check) % 29 / 10, 1)
            params = {**base["params"], "mount": f"/srv/data{check}", "value": value}
            items.append(
                {**base, "host": f"web-{host:04d}.example.net", "check": f"disk./srv/data{check}", "params": params, "value": value}
            )
    return items


@pytest.mark.parametrize(
    ("bad", "with_history"),
    [(lambda host, check: (host * 31 + check) % 20 == 0, True), (lambda host, check: True, False)],
    ids=["one in twenty", "everything"],
)
def test_a_thousand_hosts_fit_into_five_megabytes(bad, with_history):
    items = _fleet(bad)
    line = [(records.NOW - day * 86400, 40.0 + day % 7, "ok") for day in range(30, 0, -1)]
    history = {(item["host"], item["check"]): line for item in items} if with_history else {}
    report = report_model.build(records.record(items), history)
    text = report_html.render(report)
    assert len(text.encode()) < 5_000_000
    shown = len(re.findall(r'<details class="f [a-z]+" data-s="[a-z]+" data-h=|<li data-h=', text))
    assert shown == len(report.bad)
    assert report_terminal.render(report, 80).count("\n") < 500


@pytest.mark.parametrize("language", catalogue.LANGUAGES)
@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_terminal_lines_fit_the_width_whatever_the_script(language, width):
    text = report_terminal.render(full(language), width)
    assert max(map(report_terminal.columns, text.splitlines())) <= width


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("한글", 4), ("e\u0301", 1), ("✖ ok", 4), ("日本", 4), ("ｱ", 1), ("👍", 2), ("", 0)]
)
def test_columns_are_those_of_a_terminal(text, width):
    assert report_terminal.columns(text) == width


def test_long_words_are_broken_where_they_must():
    assert list(report_terminal.wrap("가나다라마바사 ab", 6)) == ["가나다", "라마바", "사 ab"]
    assert list(report_terminal.wrap("", 10)) == [""]


def test_the_terminal_tells_the_worst_first_what_to_do_and_where_the_rest_is(tmp_path):
    text = report_terminal.render(full(folder=tmp_path), 80)
    lines = text.splitlines()
    assert lines[0] == "✖ CRITICAL  LogCaster · daily"
    assert lines[2] == "20 checks on 4 hosts: 2 critical, 1 unknown, 2 warning, 15 ok"
    assert lines[-1] == f"Full report: {tmp_path}/report.html"
    assert text.index("disk./var/lib/opensearch") < text.index("task.log_stats") < text.index("! warning  memory")
    assert f"→ {full().bad[0].remedy[:30]}" in text
    assert sum(line.startswith("  ✔ ") for line in lines) == 1 + len({item.kind for item in full().fine})


def test_colour_changes_nothing_but_colour():
    plain, coloured = report_terminal.render(full(), 80), report_terminal.render(full(), 80, color=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain


def test_the_same_problem_on_many_hosts_is_told_once_on_a_terminal():
    findings = [records.reachable(f"app{number:02d}", "no route to host") for number in range(30)]
    text = report_terminal.render(report_model.build(records.record(findings)), 80)
    assert text.count("no route to host") == 1
    assert "30 hosts" in text
    assert "and 18 more" in text


@pytest.mark.parametrize("language", catalogue.LANGUAGES)
@pytest.mark.parametrize("state", ["running", "failed", "interrupted", "killed", "refused"])
def test_a_run_that_is_not_complete_says_so_in_every_format(state, language):
    report = report_model.build(records.record([], state=state, problems=["no such play"]), language=language)
    told = report.text(f"state.{state}")
    for name in ("terminal", "markdown", "html"):
        text = RENDERERS[name](report)
        assert told in text, name
        assert "no such play" in text, name


def test_korean_reports_hold_no_english_text_of_the_catalogue():
    report = full("ko")
    english = {
        texts["en"]
        for name, texts in catalogue.entries().items()
        if "{" not in texts["en"] and " " in texts["en"] and texts["en"] != texts["ko"]
    }
    for name in ("terminal", "markdown", "html"):
        text = RENDERERS[name](report)
        assert [phrase for phrase in english if phrase in text] == [], name
    assert '<html lang="ko">' in report_html.render(report)


def test_json_keeps_its_schema():
    document = json.loads(report_json.render(full()))
    assert (document["schema"], document["version"], document["exit_status"], document["status"]) == ("opsrunner.report", 1, 2, "critical")
    assert set(document) == {
        *("schema", "version", "run", "language", "status", "exit_status", "counts", "hosts", "findings", "difference", "problems", "notes")
    }
    assert set(document["findings"][0]) == {
        *("host", "check", "kind", "status", "summary", "value", "unit", "warning", "critical", "remedy", "evidence"),
        *("observed_at", "duration_ms", "message", "params", "change"),
    }
    assert document["difference"]["counts"]["new"] == 1
    assert document["difference"]["previous"] == records.example(1)["id"]
    assert len(document["findings"]) == sum(document["counts"].values())


def test_json_knows_no_numbers_that_json_does_not_know():
    odd = {**records.disk("h", "/", 99.0), "value": float("nan"), "evidence": {"cores": float("inf")}}
    text = report_json.render(report_model.build(records.record([odd])))
    assert json.loads(text)["findings"][0]["evidence"] == {"cores": None}
    assert "NaN" not in text


def test_prometheus_metrics_tell_status_value_and_time():
    text = report_prometheus.render(records.example())
    own = 'system="logcaster",runbook="daily"'
    assert f"opsrunner_run_timestamp_seconds{{{own}}} 1795210214.2\n" in text
    assert f"opsrunner_run_duration_seconds{{{own}}} 14.2\n" in text
    assert f'opsrunner_run_findings{{{own},status="critical"}} 2\n' in text
    assert f"opsrunner_run_complete{{{own}}} 1\n" in text
    assert f'opsrunner_check_status{{{own},host="app4",check="task.log_stats",kind="task"}} 3\n' in text
    assert f'opsrunner_check_value{{{own},host="app1",check="disk./var/lib/opensearch",kind="disk",unit="%"}} 96.4\n' in text
    names = re.findall(r"^# TYPE (\w+) gauge$", text, re.MULTILINE)
    assert len(names) == len(set(names)) == 6
    assert names == re.findall(r"^# HELP (\w+) \S", text, re.MULTILINE)


def test_prometheus_writes_each_series_once_and_every_number():
    disk = records.disk("h", "/", 99.0)
    values = {"/nan": float("nan"), "/inf": float("inf"), "/low": float("-inf"), "/whole": 7}
    items = [disk, {**disk, "status": "ok"}, *({**disk, "check": f"disk.{name}", "value": value} for name, value in values.items())]
    text = report_prometheus.render(records.record(items))
    assert text.count('check="disk./",kind="disk"}') == 1
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("opsrunner_check_value")] == [
        "99.0",
        "NaN",
        "+Inf",
        "-Inf",
        "7",
    ]


def test_a_file_is_replaced_at_once_with_its_mode_and_nothing_left_behind(tmp_path):
    path = tmp_path / "opsrunner.prom"
    path.write_text("old")
    report_prometheus.write_atomic(path, "new\n", mode=0o640)
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path):
    path = tmp_path / "folder.prom"
    path.mkdir()
    with pytest.raises(OSError):  # noqa: PT011  # which one depends on the file system
        report_prometheus.write_atomic(path, "new\n")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        report_prometheus.write_atomic(tmp_path / "missing" / "x.prom", "new\n")


@pytest.mark.parametrize(
    ("values", "limits", "expected"),
    [
        ([50, 60], [80], (0.0 if 50 < 0.4 * 80 else 50, 80)),
        ([50, 60], [5000], (50, 60)),
        ([10, 100], [], (0.0, 100)),
        ([7, 7], [], (6.3, 7.7)),
        ([0, 0], [], (-1.0, 1.0)),
        ([-5, 5], [], (-5, 5)),
    ],
)
def test_the_scale_holds_all_points_and_the_thresholds_near_them(values, limits, expected):
    points = [(float(at), value, "ok") for at, value in enumerate(values)]
    assert report_chart.scale(points, limits) == pytest.approx(expected)


def test_a_coded_line_is_as_long_as_it_may_be_and_printable():
    points = [(float(at), float(at), "ok") for at in range(500)]
    code = report_chart.code(points, 20)
    assert (len(code), code[0], code[-1]) == (20, "0", "o")
    assert code.isprintable()


def test_a_threshold_has_the_ends_that_can_be_drawn():
    cases = {"80": [80.0], "10:": [10.0], "~:10": [10.0], "10:20": [10.0, 20.0], "@0:5": [0.0, 5.0], "bad": [], None: []}
    assert {text: report_chart.ends(text) for text in cases} == cases


def _luminance(colour):
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_can_be_read_on_every_ground_it_stands_on(theme):
    block = re.findall(r":root \{(.*?)\}", report_html._asset("report.css"), re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", block))
    pairs = [
        (front, back) for front in ("text", "soft", "critical", "warning", "unknown", "ok", "link") for back in ("page", "card", "sunk")
    ]
    pairs += [(front, f"{status}-soft") for status in ("critical", "warning", "unknown", "ok") for front in ("text", status)]
    for front, back in pairs:
        if front in colours and back in colours:
            light, dark = sorted((_luminance(colours[front]), _luminance(colours[back])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, back)
