# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator's own regular expression finds the same in blocks of lines as in one line after another."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import options as log_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import own_regex as log_text_regex
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import work as log_run
from tests.reference import log_judge, nasty_logs

OWN = {
    "batch": [
        r"^(?P<time>[^ ]+ [^ ]+) - (?P<logger>\S+) - (?P<level>\w+)\s*-\s*(?P<message>.*)$",
        r"(?P<time>[\d:, -]+?) - .*? - (?P<level>[A-Z]+) - (?:.*?after (?P<ms>\S+) ms)?.*",
        r"(?i)(?P<time>\S+\s\S+) - (?P<logger>[a-z.]+) - (?P<level>info|error|warning)\b(?P<message>.+)",
        r".* - (?P<level>[^-\s]+) - (?P<message>[\w\s]+).*",
    ],
    "combined": [
        r'(?P<address>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<message>[^"]*)" (?P<status>\d{3}) (?P<ms>\d+|-).*',
        r'^(?P<address>[^\s]*) .*\] "\w+ (?P<message>\S*?)(?: HTTP/[\d.]+)?" (?P<status>\S+) (?P<ms>\S+).*',
    ],
    "leveled": [
        r"\W*(?P<time>\d+\D[^A-Z\s]+[T ]\S+?)\]?\W+(?P<level>[A-Z]+)\W+(?P<message>.*)",
        r"(?P<message>.*?(?P<level>ERROR|INFO|WARN).*)",
    ],
}
CASES = [(form, number) for form, sources in OWN.items() for number in range(len(sources))]


def summary(form: str, regex: str, path: Path, window: bool, block: int) -> dict[str, Any]:
    """What is counted with a regular expression."""
    names = re.compile(regex).groupindex
    item: dict[str, Any] = {"name": "own", "paths": [str(path)], "regex": regex, "zone": "UTC", "rotated": False}
    item["count_by"] = [name for name in ("logger", "address") if name in names]
    item["fields"] = [{"name": "ms", "slow": 400}] if "ms" in names else []
    item["patterns"] = [{"name": name, "regex": source} for name, source in log_judge.PATTERNS.items()]
    if window:
        item.update(log_judge.WINDOW)
    specs = log_options.parse_logs([item], log_judge.NOW, {})
    return log_run.read_logs(specs, log_judge.LIMITS, log_judge.NOW, workers=0, block=block)[0].summary


@pytest.mark.parametrize(("form", "number"), CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_blocks_say_the_same_as_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, number: int, seed: int) -> None:
    regex = OWN[form][number]
    assert log_text_regex.bulk_source(re.compile(regex)) is not None
    data = nasty_logs.nasty_log(form, 40 + seed, 4000, (0.6, 0.97)[seed % 2])
    # Whatever fits all, blank lines are blank; what separates lines for a str separates none here.
    (tmp_path / "log").write_bytes(data + b"\n \t\n\n\x1c\n\x0b\x0c\n-\n" + data[:3000] + b"\n")
    args = (form, regex, tmp_path / "log", seed == 2, (4096, 262144)[number % 2])
    blocks = summary(*args)
    monkeypatch.setattr(log_text_regex, "bulk_source", lambda _regex: None)
    lines = summary(*args)
    assert blocks["parsed"] > 1000
    for found in (blocks, lines):
        assert len(found.pop("samples")) <= 3  # any of the lines that do not fit
        for numbers in found["fields"].values():
            numbers["sum"] = pytest.approx(numbers["sum"], rel=1e-9)
    assert blocks == lines


@pytest.mark.parametrize(
    "regex",
    [
        r"(?P<level>\w+)\n(?P<message>.*)",
        r"(?P<level>\w+) (?=x)(?P<message>.*)",
        r"(?P<level>\w+) (?P<message>(?P<a>.)(?P=a).*)",
        r"(?P<level>a$|b)(?P<message>.*)",
        r"(?P<level>[\s\S]+)",
        r"(?x) (?P<level> \w+ )",
        r"(?P<level>오류|정보) (?P<message>.*)",
        r"(?P<level>\u0041)",
        r"(?P<level>\w+)(?# a [ in a comment)",
        r"(?P<level>\w+)\B.*",
    ],
)
def test_what_could_find_something_else_in_blocks_is_left_alone(regex: str) -> None:
    assert log_text_regex.bulk_source(re.compile(regex)) is None


SETS = [
    *(r"[^]]", r"[]a]+", r"[\]a-c]?", r"[^-a]", r"[a\s-]", r"[^\s\]]*", r"\s+", r"\S+?", r"\W*", r"\D{0,3}"),
    *(r".*?", r"[\w\s.]+", r"(?:a|b\b)*", r"\[", r"\.", r"^", r"$"),
]


@given(st.lists(st.sampled_from(SETS), min_size=1, max_size=5), st.sampled_from(["", "(?i)", "(?s)", "(?a)", "(?im)"]), st.data())
def test_groups_of_a_line_of_ascii_are_the_same(parts: list[str], flags: str, data: Any) -> None:
    regex = re.compile(flags + "".join("(%s)" % part for part in parts) + "(?P<message>.*)$")
    made = log_text_regex.bulk_source(regex)
    if made is None:
        assert {"^", "$"} & set(parts)
        return
    text = data.draw(st.lists(st.text("ab]A .-[\t\x1c\r1^", max_size=12), max_size=3))
    found = re.findall(b"(?m:^)(%s)\n" % made.encode("ascii"), "".join(line + "\n" for line in text).encode("ascii"))
    wanted = [regex.fullmatch(line) for line in text]
    assert [tuple(group.decode("ascii") for group in row[1:]) for row in found] == [
        tuple(group or "" for group in one.groups()) for one in wanted if one is not None
    ]
