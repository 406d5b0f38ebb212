# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.options import (
    Url,
    argument_spec,
    parse,
    read_address,
    read_probes,
    read_url,
    safe_url,
)

HTTP = {"name": "it", "type": "http", "url": "http://a/"}
TCP = {"name": "it", "type": "tcp", "address": "a:1"}


@pytest.mark.parametrize(
    ("probe", "path", "hint"),
    [
        ("text", "", None),
        ({}, ".name", None),
        ({"name": " ", "type": "http"}, ".name", None),
        ({"name": "it"}, ".type", None),
        ({"name": "it", "type": "htpp"}, ".type", "http"),
        ({**HTTP, "contians": "a"}, ".contians", "contains"),
        ({**HTTP, "expect": "a"}, ".expect", None),
        ({**HTTP, "units": ["a"]}, ".units", None),
        ({"name": "it", "type": "http"}, ".url", None),
        ({**HTTP, "urls": ["http://b/"]}, ".urls", None),
        ({**HTTP, "url": "ftp://a/"}, ".url", None),
        ({**HTTP, "url": "a/health"}, ".url", "http://a/health"),
        ({**HTTP, "url": "http://"}, ".url", None),
        ({**HTTP, "url": "http://a:99999/"}, ".url", None),
        ({**HTTP, "url": "http://a/ b"}, ".url", None),
        ({**HTTP, "url": "http://a/\r\nX: y"}, ".url", None),
        ({**HTTP, "url": "http://[::1/"}, ".url", None),
        ({**HTTP, "url": None, "urls": ["http://a/", "x"]}, ".urls[1]", "http://x"),
        ({**HTTP, "method": "GE T"}, ".method", None),
        ({**HTTP, "method": "HEAD", "contains": "a"}, ".method", "GET"),
        ({**HTTP, "headers": {"A b": "c"}}, ".headers.A b", None),
        ({**HTTP, "headers": {"A": "b\r\nC: d"}}, ".headers.A", None),
        ({**HTTP, "headers": ["a"]}, ".headers", None),
        ({**HTTP, "status": ["20"]}, ".status[0]", "200, 2xx or 200-299"),
        ({**HTTP, "status": [200, "300-200"]}, ".status[1]", "200, 2xx or 200-299"),
        ({**HTTP, "warning": "a"}, ".warning", "80, 10:, ~:10, 10:20 or @10:20"),
        ({**HTTP, "timeout": "5 minutes"}, ".timeout", "30, 250ms, 5m, 25h, 30d or 1w"),
        ({**HTTP, "timeout": 0}, ".timeout", None),
        ({**HTTP, "retries": -1}, ".retries", None),
        ({**HTTP, "retries": "many"}, ".retries", None),
        ({**HTTP, "retries": 101}, ".retries", None),
        ({**HTTP, "regex": "("}, ".regex", None),
        ({**HTTP, "verify": "perhaps"}, ".verify", None),
        ({**HTTP, "password": "x"}, ".username", None),
        ({**HTTP, "client_key": "/x"}, ".client_cert", None),
        ({**HTTP, "json": "a"}, ".json", None),
        ({**HTTP, "json": ["a"]}, ".json[0]", None),
        ({**HTTP, "json": [{"equals": 1}]}, ".json[0].expression", None),
        ({**HTTP, "json": [{"expression": "a", "equal": 1}]}, ".json[0].equal", "equals"),
        ({**HTTP, "json": [{"expression": "a"}, {"expression": "a"}]}, ".json[1].name", None),
        ({**HTTP, "json": [{"expression": "a", "unit": "kg"}]}, ".json[0].unit", None),
        ({**TCP, "address": "a"}, ".address", "host:6379 or [2001:db8::1]:6379"),
        ({**TCP, "address": "a:0"}, ".address", "host:6379 or [2001:db8::1]:6379"),
        ({**TCP, "address": "http://a:1"}, ".address", "a:1"),
        ({"name": "it", "type": "tls", "address": "a", "path": "/b"}, ".path", None),
        ({"name": "it", "type": "dns", "query": "a..b"}, ".query", None),
        ({"name": "it", "type": "dns", "query": "a", "record": "AA"}, ".record", "AAAA"),
        ({"name": "it", "type": "dns", "query": "a", "resolver": "ns.example.org"}, ".resolver", None),
        ({"name": "it", "type": "port", "port": 0}, ".port", None),
        ({"name": "it", "type": "port", "port": 65536}, ".port", None),
        ({"name": "it", "type": "port", "port": 1, "state": "open"}, ".state", None),
        ({"name": "it", "type": "port", "port": 1, "state": "free", "process": "a"}, ".process", None),
        ({"name": "it", "type": "process"}, ".process", None),
        ({"name": "it", "type": "unit", "units": ["a b"]}, ".units[0]", None),
        ({"name": "it", "type": "unit", "units": ["-H"]}, ".units[0]", None),
        ({"name": "it", "type": "file", "path": "a"}, ".path", None),
        ({"name": "it", "type": "file", "path": "/a", "mode": "rw"}, ".mode", '"0640", in quotes'),
        ({"name": "it", "type": "file", "path": "/a", "state": "absent", "max_age": "1h"}, ".max_age", None),
        ({"name": "it", "type": "file", "path": "/a", "max_size": "big"}, ".max_size", "1024, 100M or 10GiB"),
        ({"name": "it", "type": "command"}, ".argv", None),
        ({"name": "it", "type": "command", "argv": ["a", "b\0"]}, ".argv[1]", None),
    ],
)
def test_a_bad_option_is_refused_with_its_path_and_the_nearest_right_one(probe, path, hint):
    with pytest.raises(OptionError) as caught:
        read_probes([{**HTTP, "name": "first"}, probe])
    assert caught.value.path == "probes[1]" + path
    if hint:
        assert caught.value.hint == hint


def test_two_probes_of_a_type_have_two_names():
    with pytest.raises(OptionError, match=r"probes\[1\].name: 'it' is the name of probes\[0\] as well"):
        read_probes([HTTP, HTTP])
    assert len(read_probes([HTTP, TCP])) == 2


def test_defaults_are_those_of_the_type():
    http, tls, process, unit = read_probes(
        [
            HTTP,
            {"name": "it", "type": "tls", "address": "a"},
            {"name": "it", "type": "process", "cmdline": "a"},
            {"name": "it", "type": "unit", "units": "a"},
        ]
    )
    assert (http["timeout"], http["status"], http["max_body"], http["targets"]) == (5.0, [(200, 299)], 1048576, ["http://a/"])
    assert (tls["warning"], tls["critical"], tls["targets"]) == ("30:", "7:", [("a", 443)])
    assert (process["critical"], unit["state"], unit["timeout"], unit["units"]) == ("1:", "active", 10.0, ["a"])


def test_a_threshold_that_is_given_takes_the_place_of_both_defaults():
    probe = read_probes([{"name": "it", "type": "tls", "address": "a", "critical": "3:"}])[0]
    assert (probe["warning"], probe["critical"]) == (None, "3:")


def test_values_are_taken_as_inventories_write_them():
    probe = read_probes([{**HTTP, "retries": "2", "warning": 500, "timeout": 2, "status": 204, "verify": "no", "headers": {"X": 1}}])[0]
    assert (probe["retries"], probe["warning"], probe["timeout"], probe["status"]) == (2, "500", 2.0, [(204, 204)])
    assert (probe["verify"], probe["headers"]) == (False, {"X": "1"})


@pytest.mark.parametrize(
    ("args", "path"), [({"deadline": "0"}, "deadline"), ({"deadline": "2h"}, "deadline"), ({"concurrency": 0}, "concurrency")]
)
def test_a_deadline_and_concurrency_that_make_no_sense_are_refused(args, path):
    with pytest.raises(OptionError) as caught:
        parse({"probes": [], **args})
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://a", Url("http", "a", 80, "/", None)),
        ("HTTPS://A.b:8443/x?y=z#f", Url("https", "a.b", 8443, "/x?y=z", None)),
        ("http://u:p%40@[::1]:1/\uac00", Url("http", "::1", 1, "/%EA%B0%80", "u:p%40")),
    ],
)
def test_a_url_is_taken_apart(url, read):
    assert read_url(url) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [("a:1", ("a", 1)), ("[::1]:65535", ("::1", 65535)), ("10.0.0.1:80", ("10.0.0.1", 80)), ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1))],
)
def test_an_address_is_taken_apart(text, read):
    assert read_address(text, "address") == read


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("http://u:p@a/", "http://********@a/"),
        ("see http://u@a/?token=x&b=c#d", "see http://********@a/?token=********&b=c#d"),
        ("http://a/?X-Api-Key=abc", "http://a/?X-Api-Key=********"),
        ("http://a/b@c", "http://a/b@c"),
    ],
)
def test_secrets_of_a_url_are_replaced(text, safe):
    assert safe_url(text) == safe


def test_a_url_with_a_secret_is_refused_without_it():
    with pytest.raises(OptionError) as caught:
        read_probes([{**HTTP, "url": "http://u:hidden@a:99999/?token=hidden"}])
    assert "hidden" not in str(caught.value)


def test_the_argument_spec_has_every_option_and_hides_the_password():
    spec = argument_spec()
    assert spec["password"] == {"type": "str", "no_log": True}
    assert spec["json"]["options"]["expression"]["required"] is True
    assert all("default" not in option for option in spec.values())
