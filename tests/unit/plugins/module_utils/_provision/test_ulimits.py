# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits are written for users and units, proved by what is in force, and put back when a unit does not come up."""

from __future__ import annotations

import getpass
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision import ulimits
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime import units

ME = getpass.getuser()
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max processes             {nproc}                 {nproc}                processes
Max open files            {nofile}                 {nofile}                 files
Max locked memory         8388608              unlimited            bytes
"""
WANTED = {"users": [{"name": ME, "nofile": 16000}], "units": [{"name": "svc", "nofile": 15000}]}


class Systemd:
    """A host whose systemd and su do what a real one does with our files; ``fails``: a command that does not succeed."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls, self.fails = root, [], ""
        self.pid, self.started, self.active, self.clamp = 100, 50.0, "active", 10**9
        for path in ("etc/security/limits.d", "etc/systemd/system", "proc/sys/fs", "proc/1"):
            (root / path).mkdir(parents=True)
        (root / "proc/sys/fs/nr_open").write_text("1048576\n")
        (root / "proc/1/limits").write_text(LIMITS.format(nproc=4096, nofile=20000))
        self.boot()

    def boot(self) -> None:
        folder = self.root / f"proc/{self.pid}"
        folder.mkdir()
        (folder / "limits").write_text(LIMITS.format(nproc=4096, nofile=min(self.clamp, self.find("systemd/system", r"NOFILE=(\d+)"))))

    def find(self, folder: str, pattern: str) -> int:
        texts = "".join(path.read_text() for path in (self.root / "etc" / folder).rglob("*.conf"))
        found = re.search(pattern, texts)
        return int(found.group(1)) if found else 1024

    def run(self, argv):
        self.calls.append(" ".join(argv))
        command = argv[1] if argv[0] == "systemctl" else argv[0]
        if command == self.fails:
            return 1, "%s failed" % command
        if command == "show":
            exists = [name for name in argv[5:] if name == "svc.service"]
            return 0, "\n\n".join(
                "Id=%s\nLoadState=%s\nActiveState=%s\nMainPID=%d\nNRestarts=0\nExecMainStartTimestampMonotonic=%d"
                % (name, "loaded" if name in exists else "not-found", self.active, self.pid, self.started * 1e6)
                for name in argv[5:]
            )
        if command == "restart":
            self.pid, self.started = self.pid + 1, time.monotonic() + 60
            self.boot()
            if self.fails == "stay up":
                self.active = "failed" if self.find("systemd/system", r"NOFILE=(\d+)") == 15000 else "active"
        if command == "su":
            return 0, LIMITS.format(nproc=4096, nofile=min(self.clamp, self.find("security", r"soft nofile (\d+)")))
        return 0, ""

    def tune(self, check_mode: bool = False, limits: object = WANTED, **args: object) -> dict:
        return ulimits.tune({"limits": limits, "settle": 0, **args}, check_mode, ulimits.Host(str(self.root), self.run))

    def etc(self) -> dict[str, tuple]:
        return {str(p): (p.read_bytes() if p.is_file() else None, p.stat().st_mode) for p in (self.root / "etc").rglob("*")}


@pytest.fixture
def host(tmp_path):
    return Systemd(tmp_path)


def told(result: dict) -> dict[str, str]:
    return {item["check"]: item["message"] for item in result["findings"]}


USER, UNIT = f"ulimit.{ME}.nofile", "ulimit.svc.service.nofile"


def test_limits_are_written_and_a_running_unit_waits_for_its_restart(host):
    result = host.tune()
    assert result["changed"]
    assert told(result) == {USER: "ulimit.ok", UNIT: "ulimit.restart"}
    assert (host.root / "etc/security/limits.d/90-opsrunner-tuning.conf").read_text().splitlines()[1:] == [
        f"{ME} soft nofile 16000",
        f"{ME} hard nofile 16000",
    ]
    drop_in = host.root / "etc/systemd/system/svc.service.d/90-opsrunner-tuning-limits.conf"
    assert drop_in.read_text().splitlines()[1:] == ["[Service]", "LimitNOFILE=15000:15000"]
    assert "systemctl daemon-reload" in host.calls
    assert not any("restart" in call for call in host.calls)


def test_a_unit_is_restarted_once_when_that_is_allowed(host):
    host.tune()
    assert host.tune(restart=True)["restarted"] == ["svc.service"]
    host.calls.clear()
    again = host.tune(restart=True)
    assert not again["changed"]
    assert told(again) == {USER: "ulimit.ok", UNIT: "ulimit.ok"}
    assert not any(word in call for call in host.calls for word in ("restart", "daemon-reload"))


def test_a_limit_the_host_clamps_is_told_and_not_tried_again_and_again(host):
    host.clamp = 9000
    result = host.tune(restart=True)
    assert told(result) == {USER: "ulimit.clamped", UNIT: "ulimit.clamped"}
    assert result["findings"][0]["evidence"] == {"wanted": "16000", "live": "9000", "host_limit": "20000", "nr_open": 1048576}
    assert not host.tune(restart=True)["changed"]


def test_a_line_of_another_file_that_decides_is_named(host):
    host.clamp = 9000
    (host.root / "etc/security/limits.conf").write_text(f"# nofile\n* hard nofile 9000\n{ME} soft nproc 1\n")
    result = host.tune()
    assert result["findings"][0]["evidence"]["overridden_by"] == [str(host.root / "etc/security/limits.conf") + ":2"]


def test_open_files_above_the_kernels_ceiling_are_left_out_for_users(host):
    result = host.tune(limits={"users": [{"name": ME, "nofile": 2000000, "nproc": 4096}]})
    assert told(result)[USER] == "ulimit.ceiling"
    assert "nofile" not in (host.root / "etc/security/limits.d/90-opsrunner-tuning.conf").read_text()


def test_check_mode_shows_exactly_the_drift_and_touches_nothing(host):
    host.tune(restart=True)
    (host.root / "etc/security/limits.d/90-opsrunner-tuning.conf").unlink()
    was = host.etc()
    result = host.tune(check_mode=True)
    assert result["changed"]
    assert told(result) == {USER: "ulimit.drift", UNIT: "ulimit.ok"}
    assert [item["after_header"].rpartition("/")[2] for item in result["diff"]] == ["90-opsrunner-tuning.conf"]
    assert host.etc() == was


def test_removal_leaves_the_host_as_it_was(host):
    was = host.etc()
    host.tune(restart=True)
    result = host.tune(state="absent", restart=True)
    assert result["restarted"] == ["svc.service"]
    assert host.etc() == was
    assert (host.root / f"proc/{host.pid}/limits").read_text() == LIMITS.format(nproc=4096, nofile=1024)
    assert not host.tune(state="absent")["changed"]


def test_a_unit_that_is_no_longer_listed_is_let_go(host):
    host.tune()
    result = host.tune(limits={"users": WANTED["users"]})
    assert told(result) == {USER: "ulimit.ok", "ulimit.svc.service.removed": "change.leftover"}
    assert not (host.root / "etc/systemd/system/svc.service.d").exists()


@pytest.mark.parametrize("failing", ["daemon-reload", "restart", "stay up", "su"])
def test_a_failure_at_any_step_leaves_everything_as_before(host, failing):
    host.tune(limits={"units": [{"name": "svc", "nofile": 2048}]}, restart=True)
    was = host.etc()
    host.fails = failing
    with pytest.raises((units.UnitError, files.FileError)) as caught:
        host.tune(restart=True)
    assert host.etc() == was
    if failing == "daemon-reload":  # systemd still refuses when it is to read the old files: told, and tried again by the next run
        assert "not everything could be put back" in str(caught.value)
        host.fails = ""
        host.tune(limits={"units": [{"name": "svc", "nofile": 2048}]}, restart=True)
    assert (host.root / f"proc/{host.pid}/limits").read_text() == LIMITS.format(nproc=4096, nofile=2048)
    assert host.active == "active"
    assert os.listdir(host.root / "var/lib/opsrunner/transactions") == []


def test_a_session_that_cannot_be_opened_is_unknown(host):
    host.tune()
    host.fails = "su"
    assert told(host.tune())[f"ulimit.{ME}"] == "ulimit.session"


@pytest.mark.parametrize("state", ["confirmed", "reverted"])
def test_a_held_change_waits_for_a_word(host, state):
    was = host.etc()
    assert host.tune(hold=True)["pending"]
    changed = host.etc()
    assert host.tune(state=state)["changed"]
    assert host.etc() == (changed if state == "confirmed" else was)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"users": [{"name": "nobody-here", "nofile": 1}]}, "limits.users[0].name: the user nobody-here does not exist on this host"),
        ({"users": [{"name": "@nobody-here", "nofile": 1}]}, "the group nobody-here does not exist"),
        ({"units": [{"name": "gone.service", "nofile": 1}]}, "the unit gone.service does not exist on this host; nothing was changed"),
    ],
)
def test_a_user_or_unit_that_does_not_exist_is_refused_and_nothing_changed(host, limits, expected):
    was = host.etc()
    with pytest.raises(OptionError, match=re.escape(expected)):
        host.tune(limits={**limits, "users": [*WANTED["users"], *limits.get("users", [])][::-1]})
    assert host.etc() == was


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([], None),
        ({"user": []}, "unknown key 'user' (did you mean users?)"),
        ({"users": {"a": 1}}, "limits.users: {'a': 1} is not a list"),
        ({"users": ["a"]}, "limits.users[0]: 'a' is not a mapping"),
        ({"users": [{"nofile": 1}]}, "limits.users[0].name: is required"),
        ({"users": [{"name": "a b", "nofile": 1}]}, "is no user"),
        ({"users": [{"name": "a", "nofiles": 1}]}, "unknown key 'nofiles' (did you mean nofile?)"),
        ({"users": [{"name": "a"}]}, "has no limit"),
        ({"users": [{"name": "a", "nofile": 1}, {"name": "a", "nproc": 1}]}, "limits.users[1].name: a is given twice"),
        ({"users": [{"name": "a", "nofile": "many"}]}, "'many' is no limit"),
        ({"users": [{"name": "a", "nofile": True}]}, "True is no limit"),
        ({"users": [{"name": "a", "nofile": -5}]}, "-5 is no limit"),
        ({"users": [{"name": "a", "nofile": 0}]}, "nothing can start"),
        ({"users": [{"name": "a", "nofile": "unlimited"}]}, "no unlimited number of files"),
        ({"users": [{"name": "a", "nofile": {"soft": 2, "hard": 1}}]}, "soft limit is above"),
        ({"users": [{"name": "a", "nofile": {"soft": 2}}]}, "needs both soft and hard"),
        ({"users": [{"name": "a", "nofile": {"sof": 2}}]}, "unknown key 'sof'"),
        ({"users": [{"name": "a", "memlock": 1000}]}, "not a whole number of KiB"),
        ({"units": [{"name": "a/b", "nofile": 1}]}, "is no name of a unit"),
        ({"units": [{"name": "a.socket", "nofile": 1}]}, "is no service"),
    ],
)
def test_bad_input_is_refused_with_one_clear_message(limits, expected):
    if expected is None:
        assert ulimits.parse_options({"limits": limits}).users == []
        return
    with pytest.raises(OptionError, match=re.escape(expected)):
        ulimits.parse_options({"limits": limits})


def test_sizes_are_written_in_the_unit_of_each_file():
    options = ulimits.parse_options({"limits": {"users": [{"name": "a", "memlock": "64M", "core": "unlimited", "msgqueue": 4096}]}})
    text = ulimits.pam_text(options.users).decode()
    assert "a soft memlock 65536\n" in text
    assert "a hard core unlimited\n" in text
    assert "a hard msgqueue 4096\n" in text
    assert "LimitMEMLOCK=67108864:67108864" in ulimits.unit_text(options.users[0]).decode()


def test_the_limits_of_this_process_are_read():
    import resource

    own = ulimits.Host().process(os.getpid())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert own["nofile"] == (soft, hard)
    assert ulimits.Host().process(2**22 + 1) == {}


@given(st.text(max_size=200))
def test_any_text_can_be_read_as_limits(text):
    assert isinstance(ulimits.read_limits(text), dict)
