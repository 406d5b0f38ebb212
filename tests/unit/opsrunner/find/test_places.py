# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Systems, runbooks, new inventories, and kept runs: found, named, shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opsrunner.commands import init as initialise
from opsrunner.commands import show as showing
from opsrunner.commands import validate
from opsrunner.errors import UsageError
from opsrunner.find import runbooks, systems
from opsrunner.find.collection import findings, runs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPSRUNNER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv(systems.VARIABLE, raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return tmp_path


def make_system(folder: Path, name: str, title: str = "") -> Path:
    path = folder / name
    (path / "group_vars" / "all").mkdir(parents=True)
    (path / "hosts.yml").write_text("all: {hosts: {one: }}\n", encoding="utf-8")
    (path / "group_vars" / "all" / "system.yml").write_text(f"runbook_system: {name}\nrunbook_title: {title}\n", encoding="utf-8")
    return path


def keep(system: str = "shop", runbook: str = "daily", *statuses: str, state: str = "complete", at: float | None = None) -> runs.Run:
    run = runs.create(runbook, system, 1)
    found = []
    for number, status in enumerate(statuses):
        item = findings.finding(f"disk./{number}", "disk", status, findings.message("host.reachable"), value=number, unit="%")
        found.append({**item, "host": "web1", "summary": f"disk {number} is {status}"})
    run.append(found)
    run.finish(state)
    if at is not None:
        run.write({**run.read(), "started_at": at})
    return run


# -- systems and runbooks ------------------------------------------------------------------------------------------------


def test_the_nearest_folder_decides_which_system_a_name_means(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = make_system(place / "named", "shop")
    make_system(place / "config" / "opsrunner" / "inventories", "shop")
    own = make_system(place / "config" / "opsrunner" / "inventories", "mill")
    monkeypatch.setenv(systems.VARIABLE, f"{place / 'none'}:{place / 'named'}")
    found = systems.find()
    assert (found["shop"].path, found["mill"].path) == (named, own)
    here = make_system(place / "here" / "inventories", "shop", "The shop")
    assert systems.find()["shop"].path.resolve() == here
    assert systems.find()["shop"].title == "The shop"


def test_a_system_of_a_path_is_called_as_its_inventory_says(place: Path) -> None:
    path = make_system(place, "folder")
    (path / "group_vars" / "all" / "system.yml").write_text("runbook_system: mill\n", encoding="utf-8")
    assert systems.from_path(str(path)).name == "mill"
    assert systems.from_path(str(path / "hosts.yml")).name == "mill"
    assert systems.from_path("web1,web2").name == "none"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Clean up.\n- name: Play\n  hosts: all\n", "Clean up."),
        ("---\n# Copyright (c) 2026\n# Clean up.\n- hosts: all\n", "Clean up."),
        ("---\n# Clean up what\n# is old. Changes files.\n- hosts: all\n", "Clean up what is old."),
        ("- name: Play\n  hosts: all\n", "Play"),
        ("- hosts: all\n# late\n", ""),
        ("- hosts: [all\n", ""),
    ],
)
def test_a_runbook_is_told_in_a_line(text: str, title: str, place: Path) -> None:
    path = place / "x.yml"
    path.write_text(text, encoding="utf-8")
    assert runbooks.from_file(path).title == title


def test_an_own_playbook_comes_before_the_collections(place: Path) -> None:
    shipped = runbooks.find()["daily"]
    assert shipped.target == "opsrunner.runbook.daily"
    own = place / "here" / "playbooks" / "daily.yml"
    own.parent.mkdir()
    own.write_text("- hosts: all\n", encoding="utf-8")
    assert runbooks.find()["daily"].target == str(own)


# -- inventories ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shop", "big-shop", "shop_2"])
def test_a_new_inventory_is_valid_as_it_is(name: str, place: Path) -> None:
    folder = initialise.write(name)
    assert validate.problems(systems.find()[name]) == []
    assert systems.from_path(str(folder)).name == name
    assert all("#" in path.read_text(encoding="utf-8") for path in folder.rglob("*.yml"))


def test_the_commented_examples_of_a_new_inventory_are_valid_too(place: Path) -> None:
    folder = initialise.write("shop")
    for path in (folder / "group_vars" / "all").iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        with_examples = [line.replace("  # ", "  ", 1) if line.startswith("  # ") else line.replace(": []", ":") for line in lines]
        path.write_text("\n".join(with_examples).replace("runbook_ports:\n", "runbook_ports: []\n") + "\n", encoding="utf-8")
    assert "name: api" in (folder / "group_vars" / "all" / "probes.yml").read_text(encoding="utf-8")
    assert validate.problems(systems.find()["shop"]) == []


def test_an_inventory_that_is_there_is_left_alone(place: Path) -> None:
    hosts = initialise.write("shop") / "hosts.yml"
    hosts.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is there already"):
        initialise.write("shop")
    assert hosts.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["Shop", "9shop", "a b", "../x", "", "a" * 64, "-x"])
def test_a_name_that_cannot_be_a_systems_is_refused(name: str, place: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a system's name"):
        initialise.write(name)


def test_a_mistake_is_told_with_file_line_key_and_the_nearest_name(place: Path) -> None:
    folder = initialise.write("shop")
    path = folder / "group_vars" / "all" / "probes.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("    path: /etc", "    pathh: /etc"), encoding="utf-8")
    (told,) = [line for line in validate.problems(systems.find()["shop"]) if "pathh" in line]
    assert "probes.yml:" in told
    assert "runbook_probes[0].pathh" in told
    assert "did you mean path?" in told


def test_the_shipped_inventories_are_valid(place: Path) -> None:
    lines, valid = validate.report(systems.find().values())
    assert valid, lines


# -- kept runs -----------------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_id_the_beginning_of_it_and_as_the_last(place: Path) -> None:
    run = keep()
    for which in (run.id, run.id[:-2], "last"):
        assert showing.find(which)[0].id == run.id


def test_previous_is_the_run_before_the_last_of_the_same_runbook_and_system(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = iter(["20260101T000000Z", "20260102T000000Z", "20260103T000000Z"])
    monkeypatch.setattr(runs.time, "strftime", lambda *_args: next(stamps))
    monkeypatch.setattr(runs, "utc_now", lambda: "2026-01-01T00:00:00Z")
    first, _other, _last = runs.create("daily", "shop", 1), runs.create("daily", "mill", 1), runs.create("daily", "shop", 1)
    assert showing.find("previous")[0].id == first.id


@pytest.mark.parametrize(("which", "told"), [("2", "is the beginning of 2 runs"), ("1999", "there is no run")])
def test_a_name_of_no_run_or_of_several_is_refused(which: str, told: str, place: Path) -> None:
    keep()
    keep()
    with pytest.raises(showing.NoRunError, match=told):
        showing.find(which)


def test_a_record_that_cannot_be_read_is_told_and_hides_no_other(place: Path) -> None:
    good, bad = keep(), keep()
    (bad.path / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(showing.NoRunError, match="cannot be read"):
        showing.find(bad.id)
    assert showing.find("last")[0].id == good.id
    assert good.id in [row["id"] for row in showing.history(None, None, 10)]


def test_the_list_tells_counts_and_no_status_of_a_run_that_is_not_complete(place: Path) -> None:
    keep("shop", "daily", "ok", "ok", "critical")
    keep("mill", "daily", "ok", state="interrupted")
    told = showing.table(showing.history(None, None, 10), color=False)
    shop, mill = (next(line for line in told.splitlines() if f"  {name} " in line).split() for name in ("shop", "mill"))
    assert shop[-6:] == ["complete", "critical", "1", "0", "0", "2"]
    assert mill[-6:] == ["interrupted", "-", "0", "0", "0", "1"]


def test_the_list_can_be_of_one_system_or_runbook(place: Path) -> None:
    keep("shop", "daily")
    keep("shop", "weekly")
    keep("mill", "daily")
    assert {row["system"] for row in showing.history("shop", None, 10)} == {"shop"}
    assert [row["runbook"] for row in showing.history("shop", "weekly", 10)] == ["weekly"]
    assert len(showing.history(None, None, 2)) == 2


def test_a_broken_index_is_made_up_for_by_the_records(place: Path) -> None:
    keep()
    (place / "state" / "index.db").write_bytes(b"not a database" * 100)
    assert len(showing.history(None, None, 10)) == 1


def as_record(at: float, *statuses: str) -> dict[str, Any]:
    found = [
        {
            "host": "web1",
            "check": f"disk./{number}",
            "kind": "disk",
            "status": status,
            "summary": f"disk {number} {status}",
            "value": 1,
            "unit": "%",
        }
        for number, status in enumerate(statuses)
    ]
    return {"id": f"run{at}", "system": "shop", "runbook": "daily", "started_at": at, "findings": found, "expected_hosts": ["web1"]}


def test_the_difference_is_told_from_the_earlier_to_the_later_run(place: Path) -> None:
    before, after = as_record(1, "ok", "critical", "warning"), as_record(2, "critical", "ok", "warning")
    told = showing.difference(after, before, color=False)
    assert told.splitlines()[0] == "From run1 to run2"
    assert [line for line in told.splitlines() if line.endswith(")") and not line.startswith(" ")] == [
        "New (1)",
        "Still not ok (1)",
        "Solved (1)",
    ]
    assert json.loads(json.dumps(showing.as_data(after, before)))["counts"]["solved"] == 1


def test_two_runs_that_are_alike_are_told_to_be(place: Path) -> None:
    assert "Nothing has changed." in showing.difference(as_record(1, "ok"), as_record(2, "ok"), color=False)


def test_a_list_of_hosts_is_no_inventory_of_a_system() -> None:
    with pytest.raises(UsageError, match=r"-i 127\.0\.0\.1,: a list of hosts has no runbook_system"):
        systems.choose(None, "127.0.0.1,")


def test_the_only_system_of_ones_own_is_the_one_that_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(systems.VARIABLE, raising=False)
    with pytest.raises(UsageError, match="which system"):
        systems.choose(None, None)
    for name in ("shop", "mill"):
        (tmp_path / "inventories" / name).mkdir(parents=True)
        (tmp_path / "inventories" / name / "hosts.yml").write_text("all:\n")
        if name == "shop":
            assert systems.choose(None, None).name == "shop"
    with pytest.raises(UsageError, match="which system"):
        systems.choose(None, None)
