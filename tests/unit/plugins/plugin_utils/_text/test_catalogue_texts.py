# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue against itself and against the source that uses it."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest
import yaml

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

PLUGINS = Path(__file__).resolve().parents[5] / "plugins"
#: What is the same in every language; a Korean text may consist of these, signs and parameters alone.
NAMES = {"CPU", "fs.nr_open", "ms", "p50", "p95", "p99", "s", "URL", "kernel.core_pattern", "opsrunner"}
ENTRIES = catalogue.entries()


def _fields(text):
    return {name for _text, name, _format, _conversion in string.Formatter().parse(text) if name is not None}


def _formats(text):
    return sorted((name, form) for _text, name, form, _conversion in string.Formatter().parse(text) if name is not None)


def _calls():
    """Every ``message("id", …)``, ``told("id")`` of evidence and the like in the collection: file, line, call."""
    for path in sorted(PLUGINS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path, node


def _name(call):
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_every_text_is_there_in_every_language_and_in_no_other():
    wrong = [name for name, texts in ENTRIES.items() if not isinstance(texts, dict) or set(texts) != set(catalogue.LANGUAGES)]
    assert wrong == []


def test_no_text_is_empty_or_anything_but_text():
    wrong = [name for name, texts in ENTRIES.items() if not all(isinstance(text, str) and text.strip() for text in texts.values())]
    assert wrong == []


def test_both_languages_use_the_same_parameters_and_know_how_to_write_them():
    wrong = [name for name, texts in ENTRIES.items() if _fields(texts["en"]) != _fields(texts["ko"])]
    wrong += [name for name, texts in ENTRIES.items() if not all(field.isidentifier() for field in _fields(texts["en"]))]
    assert wrong == []


def test_every_format_is_one_that_the_catalogue_has():
    known = {"", "bytes", "duration", "number", "list"}
    used = {(name, form) for name, texts in ENTRIES.items() for text in texts.values() for _field, form in _formats(text)}
    assert [pair for pair in sorted(used) if pair[1] not in known] == []


def test_korean_texts_are_korean_and_english_texts_are_not():
    def hangul(text):
        return any("가" <= character <= "힣" for character in text)

    def has_words(text):
        return any(word.strip(",:·()=") not in {*NAMES, ""} for word in re.sub(r"\{\w*(?::\w+)?\}", "", text).split())

    assert [name for name, texts in ENTRIES.items() if not hangul(texts["ko"]) and has_words(texts["ko"])] == []
    assert [name for name, texts in ENTRIES.items() if hangul(texts["en"])] == []


def test_every_remedy_belongs_to_a_message_and_uses_its_parameters():
    remedies = [name for name in ENTRIES if name.endswith(".remedy")]
    assert [name for name in remedies if name.removesuffix(".remedy") not in ENTRIES] == []


def test_no_id_is_defined_twice_in_a_file():
    for path in catalogue.FOLDER.glob("*.yml"):
        keys = [key.value for key, _value in yaml.compose(path.read_text(encoding="utf-8")).value]
        assert [key for key in keys if keys.count(key) > 1] == [], path.name


def test_every_message_in_the_source_is_in_the_catalogue():
    missing = [
        f"{path.relative_to(PLUGINS)}:{call.lineno} {call.args[0].value}"
        for path, call in _calls()
        if _name(call) == "message" and call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value not in ENTRIES
    ]
    assert missing == []


def test_every_piece_of_evidence_in_the_source_has_a_label():
    missing = []
    for path, call in _calls():
        if _name(call) != "finding":
            continue
        for keyword in call.keywords:
            if keyword.arg == "evidence" and isinstance(keyword.value, ast.Dict):
                missing += [
                    f"{path.relative_to(PLUGINS)}:{key.lineno} {key.value}"
                    for key in keyword.value.keys
                    if isinstance(key, ast.Constant) and f"evidence.{key.value}" not in ENTRIES
                ]
    assert missing == []


def test_every_kind_in_the_source_has_a_name():
    kinds = {
        call.args[1].value
        for _path, call in _calls()
        if _name(call) == "finding" and len(call.args) > 1 and isinstance(call.args[1], ast.Constant) and call.args[1].value
    }
    assert sorted(kind for kind in kinds if f"kind.{kind}" not in ENTRIES) == []


@pytest.mark.parametrize(
    ("identifier", "language", "expected"),
    [("host.reachable", "en", "The host answers"), ("no.such.id", "en", "no.such.id a=1"), ("no.such.id", "ko", "no.such.id a=1")],
)
def test_an_id_that_is_not_there_is_shown_as_itself(identifier, language, expected):
    assert catalogue.text(identifier, language, a=1) == expected


@pytest.mark.parametrize(
    ("seconds", "en", "ko"),
    [
        (0, "0 s", "0초"),
        (0.25, "250 ms", "250 ms"),
        (61, "1 min 1 s", "1분 1초"),
        (90000, "1 d 1 h", "1일 1시간"),
        (-3600, "-1 h", "-1시간"),
    ],
)
def test_durations_are_told_in_their_two_largest_spans(seconds, en, ko):
    assert (catalogue.duration(seconds, "en"), catalogue.duration(seconds, "ko")) == (en, ko)


def test_a_parameter_may_be_a_message_and_is_told_in_the_same_language():
    text = {"message": "host.unreachable", "params": {"reason": {"message": "host.reachable", "params": {}}}}
    assert catalogue.tell(text, "ko").endswith("호스트가 응답합니다")


def test_templates_reach_no_attributes_of_parameters():
    assert "__class__" not in catalogue.text("host.unreachable", reason="{0.__class__}").replace("{0.__class__}", "")
