# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases: one holder at a time, for a time."""

from __future__ import annotations

import os
import signal
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._lease import run as lease_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._lease import store as lease
from ansible_collections.opsrunner.runbook.plugins.module_utils._lease.store import LeaseError

NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path):
    """A folder of leases that is not there yet."""
    return str(tmp_path / "leases")


def test_a_lease_is_had_by_one_at_a_time(folder):
    lease.take(folder, "shop", "ada", "restore", 60, NOW)
    with pytest.raises(
        LeaseError, match=r"in the hands of ada \(restore\) since 2027-01-15T08:00:00Z, until 2027-01-15T08:01:00Z"
    ) as raised:
        lease.take(folder, "shop", "bob", "tune", 60, NOW + 30)
    assert raised.value.code == "held"
    lease.take(folder, "other", "bob", "tune", 60, NOW + 30)
    assert lease.look(folder, "shop", NOW + 30).holder == "ada"


def test_it_ends_by_itself(folder):
    lease.take(folder, "shop", "ada", "restore", 60, NOW)
    assert lease.look(folder, "shop", NOW + 59.9) is not None
    assert lease.look(folder, "shop", NOW + 60) is None
    assert lease.take(folder, "shop", "bob", "tune", 60, NOW + 60).before is None


def test_its_holder_renews_it_and_gives_it_back(folder):
    lease.take(folder, "shop", "ada", "restore", 60, NOW)
    again = lease.take(folder, "shop", "ada", "restore", 60, NOW + 30)
    assert again.renewed and again.lease.since == NOW and again.lease.until == NOW + 90
    assert lease.renew(folder, "shop", "ada", 60, NOW + 80).until == NOW + 140
    for act in (lambda: lease.renew(folder, "shop", "bob", 60, NOW + 81), lambda: lease.release(folder, "shop", "bob", NOW + 81)):
        with pytest.raises(LeaseError) as raised:
            act()
        assert raised.value.code == "lost"
    assert lease.release(folder, "shop", "ada", NOW + 82)
    assert not lease.release(folder, "shop", "ada", NOW + 82)
    assert lease.look(folder, "shop", NOW + 82) is None


def test_one_that_has_ended_cannot_be_renewed(folder):
    lease.take(folder, "shop", "ada", "restore", 60, NOW)
    with pytest.raises(LeaseError, match="ended at 2027-01-15T08:01:00Z"):
        lease.renew(folder, "shop", "ada", 60, NOW + 61)


def test_taking_it_over_is_asked_for(folder):
    lease.take(folder, "shop", "ada", "restore", 60, NOW)
    taken = lease.take(folder, "shop", "bob", "tune", 60, NOW + 1, take_over=True)
    assert taken.before.holder == "ada" and lease.look(folder, "shop", NOW + 2).holder == "bob"
    with pytest.raises(LeaseError) as raised:
        lease.renew(folder, "shop", "ada", 60, NOW + 3)
    assert raised.value.code == "lost"


def test_it_is_taken_from_the_process_that_is_gone_and_from_no_other(folder):
    lease.take(folder, "shop", "ada", "restore", 60, NOW, process="boot/1/2/3")
    for dead in ("", "boot/1/2/4"):
        with pytest.raises(LeaseError, match="ada") as raised:
            lease.take(folder, "shop", "bob", "restore", 60, NOW + 1, dead=dead)
        assert raised.value.lease.process == "boot/1/2/3"
    taken = lease.take(folder, "shop", "bob", "restore", 60, NOW + 1, process="boot/1/5/6", dead="boot/1/2/3")
    assert taken.before.holder == "ada"
    with pytest.raises(LeaseError, match="bob"):  # of two that know it the first has it
        lease.take(folder, "shop", "eve", "restore", 60, NOW + 1, dead="boot/1/2/3")
    assert lease.renew(folder, "shop", "bob", 60, NOW + 2).process == "boot/1/5/6"


def test_a_lease_that_tells_no_process_is_taken_from_nobody(folder):
    lease.take(folder, "shop", "ada", "restore", 60, NOW)
    with pytest.raises(LeaseError):
        lease.take(folder, "shop", "bob", "restore", 60, NOW + 1, dead="")


def test_check_mode_writes_nothing(folder):
    assert lease.take(folder, "shop", "ada", "restore", 60, NOW, change=False).lease.holder == "ada"
    assert not lease.release(folder, "shop", "ada", NOW, change=False)
    assert not os.path.exists(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"holder": "ada"}', b"\xff"])
def test_a_file_that_is_no_lease_is_refused(folder, content):
    lease.take(folder, "shop", "ada", "restore", 60, NOW)
    with open(os.path.join(folder, "shop.json"), "wb") as file:
        file.write(content)
    with pytest.raises(LeaseError, match="is no lease") as raised:
        lease.take(folder, "shop", "bob", "tune", 60, NOW)
    assert raised.value.code == "failed"


@pytest.mark.parametrize("name", ["", "../shop", ".shop", "a/b"])
def test_no_lease_leads_out_of_the_folder(folder, name):
    with pytest.raises(LeaseError):
        lease.take(folder, name, "ada", "restore", 60, NOW)


def test_files_are_for_their_owner_alone(folder):
    lease.take(folder, "shop", "ada", "restore", 60, NOW)
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(os.path.join(folder, "shop.json")).st_mode & 0o777 == 0o600


def test_of_many_that_ask_at_once_one_has_it(folder):
    """Real processes; each asks once for the same lease and says by its status whether it was had."""
    children = []
    for number in range(24):
        pid = os.fork()
        if not pid:
            try:
                lease.take(folder, "shop", "run %d" % number, "restore", 60, time.time())
                os._exit(0)
            except LeaseError as error:
                os._exit(1 if error.code == "held" else 2)
            finally:
                os._exit(3)
        children.append(pid)
    ended = [os.WEXITSTATUS(os.waitpid(pid, 0)[1]) for pid in children]
    assert sorted(ended) == [0] + [1] * 23


def test_a_writer_that_is_killed_leaves_a_lease_or_none(folder):
    for number in range(30):
        pid = os.fork()
        if not pid:
            while True:
                lease.take(folder, "shop", "ada", "restore", 60, time.time())
        time.sleep(0.001 * (number % 7))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = lease.look(folder, "shop", time.time())
        assert found is None or found.holder == "ada"
        lease.release(folder, "shop", "ada", time.time())


STEP = st.tuples(st.sampled_from(["take", "over", "renew", "release"]), st.sampled_from(["ada", "bob", "eve"]), st.integers(0, 50))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=12))
def test_who_changes_the_system_was_never_two(tmp_path_factory, steps):
    """Against the plain rule: a holder until an end."""
    folder = str(tmp_path_factory.mktemp("leases"))
    now, holder, until = NOW, None, 0.0
    for what, who, later in steps:
        now += later
        held = holder is not None and now < until
        try:
            if what in ("take", "over"):
                lease.take(folder, "shop", who, "x", 60, now, what == "over")
                had = True
            elif what == "renew":
                lease.renew(folder, "shop", who, 60, now)
                had = True
            else:
                lease.release(folder, "shop", who, now)
                had = False
        except LeaseError:
            assert (held and holder != who) or (what == "renew" and not (held and holder == who))
            continue
        assert not held or holder == who or what == "over"
        if had:
            holder, until = who, now + 60
        elif holder == who:
            holder = None
    found = lease.look(folder, "shop", now)
    assert (found.holder if found else None) == (holder if holder and now < until else None)


def wanted(**more):
    """Options of the module, read."""
    return lease_run.parse({"system": "shop", "holder": "ada", "purpose": "restore", **more})


def test_the_findings(folder):
    def run(now=NOW, check_mode=False, **more):
        return lease_run.run(wanted(**more), folder, now, check_mode)

    assert run(check_mode=True).found["message"] == "system.lease.would" and run(check_mode=True).changed
    assert run(action="look").found["message"] == "system.lease.free"
    first = run()
    assert (first.found["status"], first.found["message"], first.held, first.changed) == ("ok", "system.lease.taken", True, True)
    other = run(holder="bob")
    assert (other.found["status"], other.found["message"], other.held) == ("critical", "system.lease.held", False) and other.failed
    assert run(action="look").found["message"] == "system.lease.seen"
    would = run(holder="bob", take_over=True, check_mode=True)
    assert would.found["message"] == "system.lease.would" and run(action="look").lease.holder == "ada"
    over = run(holder="bob", take_over=True)
    assert (over.found["status"], over.held) == ("warning", True)
    lost = run(action="release")
    assert lost.found["message"] == "system.lease.lost" and lost.failed is None
    assert run(action="release", holder="bob").found is None
    run(process="b/1/2/3")
    after = run(holder="bob", dead="b/1/2/3")
    assert (after.found["status"], after.found["message"], after.held) == ("ok", "system.lease.after", True)


def test_a_folder_that_cannot_be_written_is_a_refusal(tmp_path):
    (tmp_path / "file").write_text("")
    done = lease_run.run(wanted(), str(tmp_path / "file"), NOW)
    assert done.failed and done.found["message"] == "system.lease.failed" and not done.held


@pytest.mark.parametrize(
    ("options", "path"),
    [({"duration": "0s"}, "duration"), ({"duration": "8d"}, "duration"), ({"action": "tak"}, "action"), ({"system": "a/b"}, "system")],
)
def test_bad_options_are_told_by_name(options, path):
    with pytest.raises(OptionError) as raised:
        wanted(**options)
    assert raised.value.path == path
