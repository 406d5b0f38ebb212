# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters are set whole, held, told when they do not hold, and given back."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision import sysctl, sysctl_values

DROP_IN = "etc/sysctl.d/90-opsrunner-tuning.conf"
BEFORE = {
    "vm/swappiness": "60",
    "vm/dirty_ratio": "20",
    "vm/dirty_bytes": "0",
    "net/core/somaxconn": "4096",
    "net/ipv4/tcp_rmem": "4096\t131072\t6291456",
    "net/ipv4/tcp_fin_timeout": "60",
    "fs/file-max": "9223372036854775807",
}


@pytest.fixture
def root(tmp_path):
    """A host's root with live values and an empty sysctl.d."""
    for key, value in BEFORE.items():
        path = tmp_path / "proc/sys" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    return tmp_path


def live(root: Path) -> dict[str, str]:
    return {key: " ".join((root / "proc/sys" / key).read_text().split()) for key in BEFORE}


ORIGINAL = {key: " ".join(value.split()) for key, value in BEFORE.items()}


def etc(root: Path) -> dict[str, tuple]:
    return {str(p.relative_to(root)): (p.read_bytes() if p.is_file() else None, p.stat().st_mode) for p in (root / "etc").rglob("*")}


def tune(root: Path, check_mode: bool = False, **args: object) -> dict:
    return sysctl.tune(args, check_mode, str(root))


def told(result: dict) -> dict[str, str]:
    """What was said, by check, without what is well."""
    return {item["check"]: item["message"] for item in result["findings"] if item["status"] != "ok"}


VALUES = {"vm.swappiness": 10, "net.ipv4.tcp_rmem": "4096 87380 16777216"}


def test_values_are_set_live_and_on_disk_and_again_nothing_changes(root):
    first = tune(root, values=VALUES)
    assert first["changed"]
    assert told(first) == {}
    assert live(root)["vm/swappiness"] == "10"
    assert (root / DROP_IN).read_text().splitlines()[1:] == ["vm.swappiness = 10", "net.ipv4.tcp_rmem = 4096 87380 16777216"]
    assert (root / DROP_IN).stat().st_mode & 0o7777 == 0o644
    second = tune(root, values=VALUES)
    assert not second["changed"]
    assert second["diff"] == []


@pytest.mark.parametrize(
    ("state", "args", "kept", "values"),
    [
        ("replaced", {"values": {"net.core.somaxconn": 128}}, ["net.core.somaxconn"], {"vm/swappiness": "60"}),
        (
            "set",
            {"values": {"net.core.somaxconn": 128}},
            ["vm.swappiness", "net.ipv4.tcp_rmem", "net.core.somaxconn"],
            {"vm/swappiness": "10"},
        ),
        ("set", {"values": {"vm.swappiness": None}}, ["net.ipv4.tcp_rmem"], {"vm/swappiness": "60"}),
        ("absent", {"values": {"vm.swappiness": 10}}, ["net.ipv4.tcp_rmem"], {"vm/swappiness": "60"}),
    ],
    ids=["replaced: what is not listed goes", "set: is added", "set: null takes one away", "absent: what is listed goes"],
)
def test_each_state_keeps_and_gives_back_what_it_says(root, state, args, kept, values):
    tune(root, values=VALUES)
    tune(root, state=state, **args)
    assert re.findall(r"^(\S+) =", (root / DROP_IN).read_text(), re.MULTILINE) == kept
    assert {key: live(root)[key] for key in values} == values


def test_removal_leaves_the_host_as_it_was(root):
    was = etc(root)
    tune(root, values=VALUES)
    tune(root, values={**VALUES, "vm.swappiness": 20})
    assert tune(root, state="absent")["changed"]
    assert etc(root) == was
    assert live(root) == ORIGINAL
    assert not tune(root, state="absent")["changed"]


def test_check_mode_shows_exactly_the_drift_and_touches_nothing(root):
    tune(root, values=VALUES)
    (root / "proc/sys/vm/swappiness").write_text("60\n")
    was = etc(root)
    result = tune(root, check_mode=True, values=VALUES)
    assert result["changed"]
    assert told(result) == {"sysctl.vm.swappiness": "sysctl.drift"}
    assert result["live"] == {"vm.swappiness": {"before": "60", "after": "10"}}
    assert [item["before"] for item in result["diff"]] == ["vm.swappiness = 60\n"]
    assert (etc(root), live(root)["vm/swappiness"]) == (was, "60")


def test_a_key_this_kernel_does_not_have_is_told_and_left_out(root):
    result = tune(root, values={"net.core.somaxcon": 1, "net.ipv4.tcp_tw_recycle": 1, "vm.swappiness": 10})
    assert told(result) == {"sysctl.net.core.somaxcon": "sysctl.absent", "sysctl.net.ipv4.tcp_tw_recycle": "sysctl.removed"}
    assert next(item["evidence"]["nearest"] for item in result["findings"] if "somaxcon" in item["check"]) == "net.core.somaxconn"
    assert "somaxcon" not in (root / DROP_IN).read_text()
    assert live(root)["vm/swappiness"] == "10"
    assert not tune(root, values={"net.core.somaxcon": 1, "net.ipv4.tcp_tw_recycle": 1, "vm.swappiness": 10})["changed"]


def test_nothing_is_changed_when_missing_keys_are_refused(root):
    was = etc(root)
    with pytest.raises(OptionError, match=r"net\.core\.nope; nothing was changed"):
        tune(root, values={"net.core.nope": 1, "vm.swappiness": 10}, missing="refuse")
    assert (etc(root), live(root)) == (was, ORIGINAL)


@pytest.mark.parametrize("refused", ["vm.swappiness", "net.core.somaxconn", "net.ipv4.tcp_rmem"])
def test_a_value_the_kernel_refuses_leaves_everything_as_before(root, monkeypatch, refused):
    tune(root, values={"net.ipv4.tcp_fin_timeout": 30})
    was, values = etc(root), live(root)
    write = sysctl.Kernel.write

    def kernel(self, key, value):
        if key == refused and value in ("10", "128", "4096 87380 16777216"):
            raise sysctl.KernelError(key, value, "Invalid argument")
        write(self, key, value)

    monkeypatch.setattr(sysctl.Kernel, "write", kernel)
    with pytest.raises(sysctl.KernelError, match="Invalid argument"):
        tune(root, values={**VALUES, "net.core.somaxconn": 128})
    assert (etc(root), live(root)) == (was, values)
    assert os.listdir(root / "var/lib/opsrunner/transactions") == []


@pytest.mark.parametrize("step", [1, 2])
def test_a_file_that_cannot_be_written_leaves_everything_as_before(root, monkeypatch, step):
    was, count, write = etc(root), [0], files.write

    def full(state, validate=None):
        count[0] += 1
        if count[0] == step:
            raise files.FileError("No space left on device")
        write(state, validate)

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(files.FileError, match="No space"):
        tune(root, values=VALUES)
    assert (etc(root), live(root)) == (was, ORIGINAL)


@pytest.mark.parametrize(
    ("file", "text", "overrides"),
    [
        ("etc/sysctl.d/99-local.conf", "vm.swappiness=30", True),
        ("etc/sysctl.d/99-local.conf", "vm/swappiness = 30", True),
        ("run/sysctl.d/91-a.conf", "-vm.swappiness = 30", True),
        ("usr/lib/sysctl.d/99-x.conf", "# vm.swappiness = 1\n; x\nvm.swappiness = 30", True),
        ("lib/sysctl.d/99-x.conf", "vm.swappiness = 30", True),
        ("etc/sysctl.conf", "vm.swappiness = 30", True),
        ("etc/sysctl.d/10-early.conf", "vm.swappiness = 30", False),
        ("etc/sysctl.d/99-local.conf", "vm.swappiness = 10", False),
        ("etc/sysctl.d/99-local.conf", "vm.swap* = 30", False),
        ("etc/sysctl.d/99-local.conf", "-vm.swappiness", False),
        ("etc/sysctl.d/99-local.txt", "vm.swappiness = 30", False),
    ],
    ids=lambda value: str(value).replace("\n", " "),
)
def test_an_override_by_another_file_is_named(root, file, text, overrides):
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    result = tune(root, values={"vm.swappiness": 10})
    assert told(result) == ({"sysctl.vm.swappiness": "sysctl.overridden"} if overrides else {})
    if overrides:
        place = next(item["evidence"]["overridden_by"] for item in result["findings"])
        assert place == "%s:%d" % (path, len(text.splitlines()))


def test_a_file_of_the_same_name_hides_the_one_further_down(root):
    for folder, value in (("run", "30"), ("usr/lib", "40")):
        path = root / folder / "sysctl.d/99-x.conf"
        path.parent.mkdir(parents=True)
        path.write_text("vm.swappiness = %s\n" % value)
    found = sysctl.configured("vm.swappiness", sysctl.configuration(str(root)))
    assert found is not None
    assert (found.value, "run/" in found.file) == ("30", True)
    (root / "etc/sysctl.d/99-x.conf").symlink_to("/dev/null")
    assert sysctl.configured("vm.swappiness", sysctl.configuration(str(root))) is None


def test_sysctl_conf_that_is_linked_in_is_read_once_at_the_end(root):
    (root / "etc/sysctl.conf").write_text("vm.swappiness = 30\n")
    (root / "etc/sysctl.d/00-sysctl.conf").symlink_to("../sysctl.conf")
    found = sysctl.configuration(str(root))
    assert [(item.file, item.value) for item in found] == [(str(root / "etc/sysctl.conf"), "30")]


def test_a_held_change_stands_when_confirmed_and_goes_when_reverted(root):
    was = etc(root)
    assert tune(root, values=VALUES, hold=True)["pending"]
    assert live(root)["vm/swappiness"] == "10"
    result = tune(root, state="reverted", values=VALUES)
    assert told(result) == {"change.sysctl": "change.reverted"}
    assert (etc(root), live(root)) == (was, ORIGINAL)
    tune(root, values=VALUES, hold=True)
    assert tune(root, state="confirmed")["changed"]
    assert not tune(root, values=VALUES)["changed"]
    assert not tune(root, state="reverted")["changed"]


def test_a_held_change_nobody_confirmed_is_taken_back_by_the_next_run(root):
    tune(root, values=VALUES, hold=True)
    result = tune(root, values={"net.core.somaxconn": 128})
    assert told(result) == {"change.sysctl": "change.interrupted"}
    assert live(root) == {**ORIGINAL, "net/core/somaxconn": "128"}


def test_of_a_pair_the_one_in_force_is_given_back(root, monkeypatch):
    write = sysctl.Kernel.write

    def kernel(self, key, value):  # as the kernel does: one of the pair makes the other zero, and zero is refused
        if key.startswith("vm.dirty_") and value == "0":
            raise sysctl.KernelError(key, value, "Invalid argument")
        write(self, key, value)
        if key in sysctl.PAIRS and (root / "proc/sys" / sysctl.key_path(sysctl.PAIRS[key])).exists():
            write(self, sysctl.PAIRS[key], "0")

    monkeypatch.setattr(sysctl.Kernel, "write", kernel)
    tune(root, values={"vm.dirty_bytes": 1000000})
    assert (live(root)["vm/dirty_ratio"], live(root)["vm/dirty_bytes"]) == ("0", "1000000")
    tune(root, values={"vm.dirty_bytes": 1000000, "vm.swappiness": 1}, hold=True)
    tune(root, state="reverted")
    assert live(root)["vm/dirty_bytes"] == "1000000"
    tune(root, state="absent")
    assert (live(root)["vm/dirty_ratio"], live(root)["vm/dirty_bytes"]) == ("20", "0")


def test_profiles_are_merged_and_conflicts_told(root):
    result = tune(root, profiles=["database", "batch"])
    assert live(root)["vm/swappiness"] == "10"
    assert told(result)["sysctl.conflict.vm.swappiness"] == "sysctl.conflict"
    own = tune(root, profiles=["database", "batch"], values={"vm.swappiness": 5, "vm.dirty_ratio": 20})
    assert not any(check.startswith("sysctl.conflict.vm.s") for check in told(own))


def test_every_value_of_a_profile_has_a_reason_and_a_source():
    for name in sysctl.PROFILES:
        for setting in sysctl.parse_options({"profiles": [name]}).settings.values():
            assert setting.reason, (name, setting.key)
            assert setting.source, (name, setting.key)


@pytest.mark.parametrize(
    ("values", "before", "expected"),
    [
        ({"vm.swappiness": "0"}, {}, "sysctl.advice.swappiness_zero"),
        ({"vm.swappiness": "150"}, {}, "sysctl.advice.swappiness_high"),
        ({"vm.overcommit_memory": "2"}, {}, "sysctl.advice.overcommit_strict"),
        ({"vm.dirty_ratio": "10", "vm.dirty_background_ratio": "10"}, {}, "sysctl.advice.dirty_order"),
        ({"net.ipv4.tcp_fin_timeout": "3"}, {}, "sysctl.advice.fin_timeout"),
        ({"fs.file-max": "2097152"}, {"fs.file-max": "9223372036854775807"}, "sysctl.advice.lowered"),
        ({"net.ipv4.tcp_rmem": "4096 16 8"}, {}, "sysctl.advice.three_ascending"),
        ({"vm.swappiness": "10", "vm.overcommit_memory": "1", "fs.file-max": "5"}, {}, None),
    ],
)
def test_known_bad_values_draw_a_warning(values, before, expected):
    assert [text["message"] for _key, text in sysctl.advice(values, before)] == ([expected] if expected else [])


def test_a_lowered_limit_stays_a_warning_at_the_second_run(root):
    for _run in range(2):
        assert told(tune(root, values={"fs.file-max": 2097152})) == {"sysctl.advice.fs.file-max": "sysctl.advice.lowered"}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"name": "A b"}, "name: 'A b' is no name"),
        ({"priority": 100}, "priority: 100 is not a whole number between"),
        ({"state": "gone"}, "unknown state 'gone'"),
        ({"profiles": ["databse"]}, "unknown profile 'databse' (did you mean database?)"),
        ({"values": ["vm.swappiness"]}, "is not a mapping"),
        ({"values": {"swappiness": 1}}, "values[swappiness]: 'swappiness' is no kernel parameter"),
        ({"values": {"../../etc/passwd": 1}}, "is no kernel parameter"),
        ({"values": {"net.ipv4.conf.*.rp_filter": 1}}, "is no kernel parameter"),
        ({"values": {"vm.drop_caches": 3}}, "is no setting"),
        ({"values": {"vm.swappiness": [1]}}, "is no value"),
        ({"values": {"vm.swappiness": 1.5}}, "is no value"),
        ({"values": {"vm.swappiness": ""}}, "is empty"),
        ({"values": {"vm.swappiness": "1\n2"}}, "has a line break"),
        ({"values": {"vm.swappiness": {"valu": 1}}}, "unknown key 'valu' (did you mean value?)"),
        ({"values": {"vm.swappiness": 1, "vm/swappiness": 2}}, "is given twice"),
        ({"values": {"vm.dirty_ratio": 1, "vm.dirty_bytes": 2}}, "cannot both be set"),
    ],
)
def test_bad_input_is_refused_with_one_clear_message(args, expected):
    with pytest.raises(OptionError, match=re.escape(expected)):
        sysctl.parse_options(args)


@pytest.mark.parametrize(
    ("written", "key", "path"),
    [
        ("kernel.domainname", "kernel.domainname", "kernel/domainname"),
        ("kernel/domainname", "kernel.domainname", "kernel/domainname"),
        ("net.ipv4.conf.eth0/200.forwarding", "net.ipv4.conf.eth0/200.forwarding", "net/ipv4/conf/eth0.200/forwarding"),
        ("net/ipv4/conf/eth0.200/forwarding", "net.ipv4.conf.eth0/200.forwarding", "net/ipv4/conf/eth0.200/forwarding"),
    ],
)
def test_both_separators_name_the_same_key(written, key, path):
    assert sysctl.canonical(written) == key
    assert sysctl.key_path(key) == path


@given(st.text(max_size=30))
def test_no_key_leads_out_of_proc_sys(text):
    try:
        path = sysctl.key_path(sysctl.canonical(text))
    except OptionError:
        return
    assert ".." not in path.split("/")
    assert not path.startswith("/")


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}\.[a-z_]{1,8}", fullmatch=True), st.integers(0, 10**9), max_size=5))
def test_what_is_written_into_a_drop_in_is_read_from_it(values):
    settings = {key: sysctl.Setting(key, str(value), "a reason") for key, value in values.items()}
    state = files.FileState("x", "file", sysctl.drop_in(settings))
    assert sysctl._present(state) == settings


class LikeTheKernel(sysctl.Kernel):
    """Port lists are sorted and joined; an empty write reaches nobody; ``refused`` holds values that are refused."""

    refused: tuple[str, ...] = ()

    def write(self, key, value):
        if value in self.refused:
            raise sysctl.KernelError(key, value, "Invalid argument")
        super().write(key, value)
        path = Path(self.folder) / sysctl.key_path(key)
        ranges = sysctl_values.port_ranges(value)
        if ranges:
            path.write_text(",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges) + "\n")


PORTS = "net.ipv4.ip_local_reserved_ports"


def test_a_list_of_ports_is_set_kept_and_put_back_to_nothing(root, monkeypatch):
    monkeypatch.setattr(sysctl, "Kernel", LikeTheKernel)
    path = root / "proc/sys/net/ipv4/ip_local_reserved_ports"
    path.write_text("\n")
    values = {PORTS: "9000-9100,8080"}
    assert tune(root, values=values)["changed"]
    assert path.read_text() == "8080,9000-9100\n"
    again = tune(root, values=values)
    assert not again["changed"]
    assert told(again) == {}
    assert tune(root, state="absent")["changed"]
    assert path.read_text() == "\n"


def test_a_value_that_cannot_be_put_back_blocks_no_other_key(root, monkeypatch):
    monkeypatch.setattr(sysctl, "Kernel", LikeTheKernel)
    monkeypatch.setattr(LikeTheKernel, "refused", ("60", "bad"))
    with pytest.raises(
        sysctl.KernelError, match=r"vm.swappiness could not be put back to '60' \(Invalid argument\): set it with sysctl -w"
    ):
        tune(root, values={"vm.swappiness": "10", "net.core.somaxconn": "bad"})
    assert set(etc(root)) == {"etc/sysctl.d"}
    after = tune(root, values={"net.ipv4.tcp_fin_timeout": "30"})
    assert after["changed"]
    assert live(root)["net/ipv4/tcp_fin_timeout"] == "30"


def test_a_killed_change_whose_value_cannot_be_put_back_is_reported_and_over(root, monkeypatch):
    monkeypatch.setattr(sysctl, "Kernel", LikeTheKernel)
    tune(root, values={"vm.swappiness": "10"}, hold=True)
    monkeypatch.setattr(LikeTheKernel, "refused", ("60",))
    first = tune(root, values={"net.ipv4.tcp_fin_timeout": "30"})
    assert told(first)["sysctl.stuck.vm.swappiness"] == "sysctl.stuck"
    assert "sysctl.stuck.vm.swappiness" not in told(tune(root, values={"net.ipv4.tcp_fin_timeout": "30"}))


REAL = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


@pytest.mark.skipif(not os.access(REAL, os.W_OK), reason="the kernel's own list of ports can be written by root only")
def test_the_kernels_own_list_of_ports_is_set_and_put_back(tmp_path):
    before = REAL.read_text()
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/sys").symlink_to("/proc/sys")
    try:
        assert tune(tmp_path, values={PORTS: "61100-61110,61090"})["changed"]
        assert not tune(tmp_path, values={PORTS: "61100-61110,61090"})["changed"]
        tune(tmp_path, state="absent")
        assert REAL.read_text() == before
    finally:
        REAL.write_text(before if before.strip() else "\n")
