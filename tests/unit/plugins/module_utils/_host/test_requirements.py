# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is held against what is required, and what cannot be told is unknown."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._host import requirements


@pytest.fixture
def host(tmp_path):
    """Four cores, 8 GB as such a host shows it, Ubuntu 20.04, one link of 1 Gbit/s and one that does not tell."""
    for path, text in {
        "proc/cpuinfo": "processor\t: 0\n\nprocessor\t: 1\n\nprocessor\t: 2\n\nprocessor\t: 3\n",
        "proc/meminfo": "MemTotal:        8008056 kB\nMemFree: 1 kB\n",
        "etc/os-release": 'PRETTY_NAME="Ubuntu 20.04.6 LTS"\nID=ubuntu\nVERSION_ID="20.04"\n',
        "sys/class/net/eth0/speed": "1000\n",
        "sys/class/net/eth0/device/vendor": "x",
        "sys/class/net/eth1/speed": "-1\n",
        "sys/class/net/lo/speed": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return requirements.Host(str(tmp_path))


def judged(host: requirements.Host, **asked: object) -> dict[str, tuple[str, str]]:
    found = requirements.check({"requirements": asked}, host)
    return {item["check"]: (item["status"], item["message"]) for item in found}


@pytest.mark.parametrize(
    ("asked", "check", "status"),
    [
        ({"cores": {"minimum": 4}}, "requires.cores", "ok"),
        ({"cores": {"minimum": 4, "recommended": 8}}, "requires.cores", "warning"),
        ({"cores": {"minimum": 5}}, "requires.cores", "critical"),
        ({"memory": {"minimum": "8G"}}, "requires.memory", "ok"),
        ({"memory": {"minimum": "8G", "recommended": "16G"}}, "requires.memory", "warning"),
        ({"memory": {"minimum": "16G"}}, "requires.memory", "critical"),
        ({"disks": [{"name": "/", "minimum": "1M"}]}, "requires.disk/", "ok"),
        ({"disks": [{"name": "/not/there/yet", "minimum": "1M"}]}, "requires.disk/not/there/yet", "ok"),
        ({"disks": [{"name": "/", "minimum": "900P"}]}, "requires.disk/", "critical"),
        ({"os": [{"name": "debian"}, {"name": "ubuntu", "minimum": "20.04"}]}, "requires.os", "ok"),
        ({"os": [{"name": "ubuntu", "minimum": "22.04"}]}, "requires.os", "critical"),
        ({"os": [{"name": "centos"}]}, "requires.os", "critical"),
        ({"network": {"minimum": 1000}}, "requires.network.eth0", "ok"),
        ({"network": {"minimum": 10000}}, "requires.network.eth0", "critical"),
        ({"network": {"minimum": 1000, "interfaces": ["eth1"]}}, "requires.network.eth1", "unknown"),
    ],
)
def test_each_requirement_is_judged(host, asked, check, status):
    found = judged(host, **asked)
    assert {name: state for name, (state, _text) in found.items()} == {check: status}


def program(*words: str, **more: object) -> dict:
    return {"programs": [{"name": "it", "command": list(words), **more}]}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (program(sys.executable, "--version", minimum="3.8"), ("ok", "requires.program.ok")),
        (program(sys.executable, "--version", recommended="99.1"), ("warning", "requires.program.old")),
        (program(sys.executable, "--version", minimum="99.1"), ("critical", "requires.program.old")),
        (program("not-installed-anywhere"), ("critical", "requires.program.missing")),
        (program(sys.executable, "-c", "print('no number')"), ("unknown", "requires.program.unknown")),
        (program(sys.executable, "-c", "raise SystemExit(3)"), ("unknown", "requires.program.unknown")),
        (
            program(sys.executable, "-c", """print('{"number" : "2.11.0"}')""", regex=r'"number"\s*:\s*"([^"]+)"', minimum="1.0"),
            ("ok", "requires.program.ok"),
        ),
    ],
    ids=["new enough", "below recommended", "too old", "not installed", "no version", "fails", "a server's answer"],
)
def test_versions_are_read_from_what_real_programs_say(host, asked, expected):
    assert judged(host, **asked) == {"requires.program.it": expected}


def test_a_program_that_does_not_end_is_unknown():
    host = requirements.Host(run=lambda argv: requirements.run_command(argv, timeout=0.2))
    assert judged(host, **program("sleep", "30"))["requires.program.it"] == ("unknown", "requires.program.unknown")


def test_an_empty_host_is_unknown_and_nothing_breaks(tmp_path):
    found = judged(requirements.Host(str(tmp_path)), memory={"minimum": 1}, os=[{"name": "debian"}], network={"minimum": 1})
    assert {status for status, _text in found.values()} == {"unknown"}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"core": 4}, "unknown key 'core' (did you mean cores?)"),
        ({"cores": 4}, "requirements.cores: 4 is not a mapping"),
        ({"cores": {}}, "has neither minimum nor recommended"),
        ({"cores": {"minimum": "four"}}, "'four' is not a whole number"),
        ({"cores": {"minimum": 8, "recommended": 4}}, "is below the minimum"),
        ({"memory": {"minimum": "lots"}}, "'lots' is not a size"),
        ({"disks": [{"name": "var", "minimum": "1G"}]}, "'var' is no absolute path"),
        ({"disks": {"name": "/"}}, "is not a list"),
        ({"os": [{"minimum": "1"}]}, "requirements.os[0].name: is required"),
        ({"programs": [{"name": "a", "command": "a --version"}]}, "is not a list of words"),
        ({"programs": [{"name": "a", "command": ["a"], "minimum": 3.10}]}, "put the version in quotes"),
        ({"programs": [{"name": "a", "command": ["a"], "minimum": "new"}]}, "'new' is no version"),
        ({"programs": [{"name": "a", "command": ["a"], "regex": "("}]}, "is not a regular expression"),
        ({"programs": [{"name": "a", "command": ["a"], "regex": "v"}]}, "has no group"),
        ({"programs": [{"name": "a", "command": ["a"]}] * 2}, "a is given twice"),
    ],
)
def test_bad_input_is_refused_with_one_clear_message(asked, expected):
    with pytest.raises(OptionError, match=re.escape(expected)):
        requirements.parse_options({"requirements": asked})


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), st.lists(st.integers(0, 50), min_size=1, max_size=4))
def test_versions_compare_as_their_numbers_do(one, other):
    keys = [requirements.version_key(".".join(map(str, parts))) for parts in (one, other)]
    width = max(len(one), len(other))
    padded = [parts + [0] * (width - len(parts)) for parts in (one, other)]
    assert (keys[0] < keys[1]) is (padded[0] < padded[1])
