# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What passes from a host's answer to the controller."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import wall


def test_only_common_keys_and_those_that_the_module_documents_pass():
    answer = {
        "changed": True,
        "findings": [],
        "lease": {"system": "shop"},
        "ansible_facts": {"a": 1},
        "add_host": {},
        "_ansible_no_log": 1,
        "x": 2,
    }
    assert wall.passed(answer, "lease") == {"changed": True, "findings": [], "lease": {"system": "shop"}}
    assert "lease" not in wall.passed(answer, "cleanup")


@pytest.mark.parametrize("value", ["yes", 1, [], {"a": 1}, None])
def test_what_ansible_decides_by_is_true_or_false(value):
    assert wall.passed({"failed": value, "unreachable": value}, "cleanup") == {"failed": False, "unreachable": False}


@pytest.mark.parametrize(("value", "told"), [(10**400, "the number is too large"), (float("inf"), "finite"), (object(), "not plain data")])
def test_an_answer_that_is_no_plain_data_is_a_failure_that_says_so(value, told):
    passed = wall.passed({"lease": {"held": value}}, "lease")
    assert passed["failed"] is True
    assert told in passed["msg"]
    assert "lease" not in passed


def test_findings_that_are_no_list_are_a_failure():
    assert wall.passed({"findings": {"a": 1}}, "cleanup")["failed"] is True


def test_texts_of_warnings_are_cleaned_and_bounded():
    passed = wall.passed({"warnings": ["\x1b]0;x\x07\x1b[31mred"] * 500, "msg": "a\x1b[2J\nb"}, "cleanup")
    assert passed["warnings"] == ["red"] * 100
    assert passed["msg"] == "a\nb"


def test_variables_of_this_collection_that_a_host_sets_are_refused_by_name():
    facts = {"distribution": "Debian", "run_report_textfile": "/x", "runbook_system": "y", "health_check_system_probes": []}
    refused = wall.refusal({"inventory_hostname": "web1", "ansible_facts": facts})
    assert refused is not None
    assert "host web1 set health_check_system_probes, run_report_textfile, runbook_system by its facts" in refused
    assert wall.refusal({"ansible_facts": {"distribution": "Debian"}}) is None
