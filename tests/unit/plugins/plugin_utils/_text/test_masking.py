# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import masking as secrets


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"password": "hunter22"}, {"hunter22"}),
        ({"headers": {"Authorization": "Bearer abcdefgh"}}, {"Bearer abcdefgh", "abcdefgh"}),
        ({"probes": [{"url": "https://ops:s3cr%21t@host/x"}]}, {"s3cr%21t", "s3cr!t"}),
        ({"name": "hunter22", "url": "https://host/x"}, set()),
        ({"token": 5, "api_key": ""}, set()),
    ],
)
def test_secrets_are_found_by_name_and_in_urls(options, expected):
    assert secrets.collect(options) == expected


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET https://ops:pw@host/a failed", "GET https://********@host/a failed"),
        ("https://host/a?user=1&api_key=abc&x=2", "https://host/a?user=1&api_key=********&x=2"),
        ("said hunter22 twice: hunter22", "said ******** twice: ********"),
        ("nothing here", "nothing here"),
    ],
)
def test_texts_are_masked(text, masked):
    assert secrets.mask_text(text, {"hunter22"}) == masked


def test_masking_keeps_the_structure():
    value = {"a": ["hunter22", 1, None, {"b": "x hunter22"}], "c": True}
    assert secrets.mask(value, {"hunter22"}) == {"a": ["********", 1, None, {"b": "x ********"}], "c": True}


def test_a_vaulted_value_is_a_secret_whatever_its_name():
    from ansible._internal._datatag._tags import VaultedValue

    assert secrets.collect({"greeting": VaultedValue(ciphertext="x").tag("good morning")}) >= {"good morning"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"shop_password": "abcdef1"}, {"abcdef1"}),
        ({"shop_password": "shop"}, set()),
        ({"shop_password": "{{ sealed }}"}, set()),
        ({"shop_token_file": "/etc/shop/token"}, set()),
        ({"shop": {"users": [{"name": "operator", "password": "abcdef1"}]}}, {"abcdef1"}),
        ({"shop_url": "http://operator:abcdef1@shop"}, set()),
        ({"shop_pin_secret": 918273}, {"918273"}),
        ({"hostvars": {"shop_password": "abcdef1"}}, set()),
        ({"registered": {"changed": False, "token": "abcdef1"}}, set()),
    ],
)
def test_of_a_hosts_variables_those_with_secret_names_are_secrets(variables: dict[str, object], expected: set[str]) -> None:
    assert secrets.of_variables(variables) == expected
