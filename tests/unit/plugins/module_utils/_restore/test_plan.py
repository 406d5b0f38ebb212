# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be restored: options read, artifacts matched; journals read back; services of systemd."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.journal import JournalError, Part, State
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.sets import BackupError, SetFolder
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import orphans
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import plan as restore_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.base import ServiceError
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.systemd import SystemdRuntime

DATA = {"name": "data", "engine": "files", "paths": ["/srv/shop"]}
DB = {"name": "db", "engine": "sqlite", "database": "/var/lib/shop.db"}
SHOP = {"name": "shop", "root": "/backup/shop", "artifacts": [DATA, DB]}
FOREIGN = {"name": "foreign", "root": "/backup/foreign", "kind": "file", "pattern": "*.tar.gz"}
OTHER = {**SHOP, "name": "other", "root": "/backup/other"}


def parse(**options):
    """Options of the module, read."""
    return restore_plan.parse({"backups": [SHOP, FOREIGN], **options})


def test_without_a_set_they_are_listed():
    assert parse().action == "list"
    assert parse(set="newest").action == "restore"
    assert [backup.name for backup in parse(backups=[SHOP, FOREIGN, OTHER]).backups] == ["shop", "other"]


@pytest.mark.parametrize(
    ("options", "path", "text"),
    [
        ({"set": "newest", "backup": "shpo"}, "backup", "shop"),
        ({"set": "newest", "backup": "foreign"}, "backup", "another tool makes it"),
        ({"set": "newest", "backups": [SHOP, OTHER]}, "backup", "name the one that is meant; there are: shop, other"),
        ({"action": "undo", "backups": [FOREIGN]}, "backup", "none with artifacts"),
        ({"set": "newest", "part": ["dat"]}, "part[0]", "data"),
        ({"set": "newest", "part": ["db:"]}, "part[0]", "ends with a colon"),
        ({"set": "newest", "part": ["db", "db:users"]}, "part[1]", "whole and in part"),
        ({"set": "newest", "part": ["db:users", "db"]}, "part[1]", "whole and in part"),
        ({"action": "undo", "part": ["db"]}, "part", "journal"),
        ({"action": "undoo"}, "action", "undo"),
        ({"set": "newest", "start": "none"}, "start", "as_before"),
        ({"set": "newest", "journal_folder": "var"}, "journal_folder", "no absolute path"),
    ],
)
def test_bad_options_are_told_by_name(options, path, text):
    with pytest.raises(OptionError) as raised:
        parse(**options)
    assert raised.value.path == path and text in str(raised.value)


def test_a_bad_probe_is_told_with_its_place():
    bad = {**SHOP, "restore": {"health": [{"name": "shop", "type": "htp", "url": "http://127.0.0.1/"}]}}
    with pytest.raises(OptionError) as raised:
        parse(set="newest", backups=[FOREIGN, bad])
    assert raised.value.path.startswith("backups[1].restore.health[0]")


def test_parts_are_artifacts_or_names_in_them():
    assert parse(set="x", part=["db:users", "data", "db:orders", "db:users"]).parts == {"db": ("users", "orders"), "data": ()}
    assert parse(set="x", part=["data:/srv/shop/a:b"]).parts == {"data": ("/srv/shop/a:b",)}


def artifact(name, engine, **more):
    """An artifact of a manifest."""
    return Artifact(engine, name + ".x", 1, "0" * 64, engine, 1.0, 2.0, name=name, **more)


def a_set(*artifacts, problem=None):
    """A set of them."""
    return SetFolder("20260131T000000Z", "/backup/shop/20260131T000000Z", 2.0, Manifest("shop", 1.0, 2.0, artifacts), problem, [], 1)


def test_artifacts_are_matched_with_the_options():
    both = a_set(artifact("data", "files"), artifact("db", "sqlite"))
    assert [(one.name, plan.name, part) for one, plan, part in restore_plan.matched(parse(set="x"), both)] == [
        ("data", "data", ()),
        ("db", "db", ()),
    ]
    found = restore_plan.matched(parse(set="x", part=["db:users"]), both)
    assert [(one.name, part) for one, _plan, part in found] == [("db", ("users",))]


@pytest.mark.parametrize(
    ("one", "options", "text"),
    [
        (a_set(artifact("data", "files"), problem="data.x is missing"), {}, "data.x is missing"),
        (a_set(artifact("data", "files")), {"part": ["db"]}, "has no artifact db"),
        (a_set(artifact("data", "files"), artifact("gone", "files")), {}, "know nothing any more"),
        (a_set(artifact("data", "sqlite")), {}, "made by the engine sqlite"),
        (a_set(artifact("db", "sqlite", source={"content": "schema"})), {"part": ["db"]}, "only a schema"),
        (a_set(artifact("db", "sqlite", source={"content": "schema"})), {}, "only schemas"),
    ],
)
def test_what_does_not_match_is_refused(one, options, text):
    with pytest.raises(BackupError, match=text):
        restore_plan.matched(parse(set="x", **options), one)


def test_a_schema_is_left_out_of_a_whole_restore():
    both = a_set(artifact("data", "files"), artifact("db", "sqlite", source={"content": "schema"}))
    assert [one.name for one, _plan, _part in restore_plan.matched(parse(set="x"), both)] == ["data"]


def test_space_is_added_up_by_file_system(tmp_path):
    (one,) = restore_plan.free_space([(str(tmp_path), 5), (str(tmp_path / "not" / "there"), 7)])
    assert one["need"] == 12 and one["free"] > 0 and len(one["paths"]) == 2


STATE = State(
    "shop",
    "abc1",
    "20260131T000000Z",
    "/backup/shop/20260131T000000Z",
    restore_journal.SWAPPING,
    (Part(artifact("db", "sqlite", counts={"rows.u": 1}, source={"content": "whole"}), ("users",), "00ff", ("db.service",)),),
    (("web", True), ("mail", False)),
    3.0,
)


def test_a_journal_gives_back_what_was_written(tmp_path):
    folder = str(tmp_path / "restores")
    assert restore_journal.read(folder, "shop") is None and restore_journal.states(folder) == []
    with restore_journal.held(folder, "shop") as journal:
        journal.write(STATE)
        assert journal.read() == STATE and STATE.interrupted
        journal.put_by(STATE)
        assert journal.read() is None and journal.put_by_states() == [STATE]
        journal.write(STATE._replace(ident="abc2", started=4.0))
        assert [state.ident for state in journal.put_by_states()] == ["abc1"]
        journal.remove("abc1")
        assert journal.put_by_states() == []


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 2}', '{"schema": 1, "phase": "x"}'])
def test_a_file_that_is_no_journal_is_told(tmp_path, content):
    (tmp_path / "shop.json").write_text(content)
    with pytest.raises(JournalError) as raised:
        restore_journal.read(str(tmp_path), "shop")
    assert raised.value.code == "unreadable"


def test_passwords_do_not_count_in_the_sum_of_options():
    one = restore_journal.digest({"host": "a", "password": "one"}, "mysql")
    assert one == restore_journal.digest({"host": "a", "password": "two"}, "mysql")
    assert one != restore_journal.digest({"host": "b", "password": "one"}, "mysql")
    assert one != restore_journal.digest({"host": "a", "password": "one"}, "postgresql")


def test_programs_with_the_mark_are_ended_and_no_others():
    import subprocess

    with orphans.marked("test-of-this"):
        marked = subprocess.Popen(["sleep", "60"])
    other = subprocess.Popen(["sleep", "60"])
    try:
        assert orphans.end("test-of-this") == [marked.pid]
        assert marked.wait() == -9 and other.poll() is None
        assert orphans.end("test-of-this") == []
    finally:
        other.kill()
        other.wait()


class Systemd:
    """A stand-in for ``systemctl`` and ``journalctl``: units with their states. ``dies``: units that end at once."""

    def __init__(self, dies=(), **units):
        self.units, self.dies, self.calls = {name + ".service": state for name, state in units.items()}, dies, []

    def __call__(self, argv):
        verb, name = argv[1], argv[-1]
        if argv[0] == "journalctl":
            return 0, "no such table\nusers\n"
        if verb == "show":
            state = self.units.get(name)
            return 0, "LoadState=%s\nActiveState=%s" % ("loaded" if state else "not-found", state or "inactive")
        self.calls.append(verb)
        if verb == "reset-failed":
            return 1, "not loaded"
        self.units[name] = "active" if verb == "start" and name not in self.dies else "inactive"
        return 0, ""


@pytest.mark.parametrize(
    ("state", "up"),
    [("active", True), ("activating", True), ("reloading", True), ("inactive", False), ("failed", False), ("deactivating", False)],
)
def test_a_unit_is_up_or_down(state, up):
    assert SystemdRuntime(Systemd(web=state)).is_up("web.service") is up


def test_units_are_stopped_and_started():
    systemd = Systemd(web="active")
    runtime = SystemdRuntime(systemd)
    runtime.stop("web.service")
    assert not runtime.is_up("web.service")
    runtime.start("web.service")
    runtime.start("web.service")
    assert runtime.is_up("web.service") and systemd.calls == ["stop", "reset-failed", "start"]


def test_a_unit_that_is_not_there_or_ends_at_once_is_told():
    with pytest.raises(ServiceError, match=r"there is no unit nope\.service"):
        SystemdRuntime(Systemd()).is_up("nope.service")
    with pytest.raises(ServiceError, match="ended as soon as it was started: no such table users"):
        SystemdRuntime(Systemd(dies=["web.service"], web="failed")).start("web.service")
