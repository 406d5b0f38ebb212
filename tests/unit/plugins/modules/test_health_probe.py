# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
import yaml

from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import options as probe_options
from ansible_collections.opsrunner.runbook.plugins.modules import health_probe
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

ROOT = Path(__file__).resolve().parents[4]
DOCUMENTATION = yaml.safe_load(health_probe.DOCUMENTATION)
SOURCES = sorted((ROOT / "plugins/module_utils/_probe").glob("*.py"))


def same_options(documented, spec):
    assert set(documented) == set(spec)
    for name, option in spec.items():
        told = documented[name]
        assert told["type"] == option["type"], name
        assert told.get("elements") == option.get("elements"), name
        assert told.get("choices") == option.get("choices"), name
        assert bool(told.get("required")) == bool(option.get("required")), name
        if "options" in option:
            same_options(told["suboptions"], option["options"])


def test_the_documented_options_of_a_probe_are_those_it_has():
    same_options(DOCUMENTATION["options"]["probes"]["suboptions"], probe_options.argument_spec())


@pytest.mark.parametrize("block", yaml.safe_load(health_probe.EXAMPLES))
def test_the_examples_can_be_used(block):
    probe_options.parse(block["opsrunner.runbook.health_probe"])


def test_the_example_of_the_role_can_be_used():
    text = (ROOT / "roles/health_check/README.md").read_text()
    variables = yaml.safe_load(re.search(r"```yaml\n(.+?)```", text, re.DOTALL).group(1))
    for probes in variables.values():
        probe_options.read_probes(probes)


def used(prefixes):
    """The ids of the catalogue that stand in the sources, those put together from parts left out."""
    text = "\n".join(path.read_text() for path in SOURCES)
    return {name for name in re.findall(r'"((?:%s)[a-z_.]+[a-z])"' % "|".join(prefixes), text) if name in text}


def test_every_text_that_is_used_is_in_the_catalogue():
    missing = {name for name in used([r"probe\.", r"reason\.probe_", r"stage\."]) if name not in catalogue.entries()}
    assert missing == set()


def test_every_finding_that_is_not_ok_says_what_to_do():
    own = yaml.safe_load((ROOT / "plugins/plugin_utils/_text/catalogue/probe.yml").read_text())
    fine = re.compile(r"probe\.(?:\w+\.ok\w*|\w+\.free|\w+\.absent|unit\.off|timing.*|target_failed|age|command\.\w+)\Z")
    lacking = [
        name
        for name in own
        if name.startswith("probe.") and not name.endswith(".remedy") and not fine.match(name) and name + ".remedy" not in own
    ]
    assert lacking == []


def test_texts_have_the_same_parameters_in_every_language():
    own = yaml.safe_load((ROOT / "plugins/plugin_utils/_text/catalogue/probe.yml").read_text())
    for name, texts in own.items():
        assert set(texts) == {"en", "ko"}, name
        english, korean = (
            {field for _text, field, _spec, _how in string.Formatter().parse(texts[language]) if field} for language in ("en", "ko")
        )
        assert english - {"status"} == korean - {"status"} or english == korean, name


def test_every_piece_of_evidence_has_a_label():
    text = "\n".join(path.read_text() for path in SOURCES)
    names = set(re.findall(r'evidence\["(\w+)"\]', text)) | {
        "newest_match",
        "age",
        "bytes_file",
        "files",
        "days_left",
        "subject",
        "expression",
    }
    assert {name for name in names if "evidence." + name not in catalogue.entries()} == set()
