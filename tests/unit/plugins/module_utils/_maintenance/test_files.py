# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cleanup takes what a rule means, and nothing else."""

from __future__ import annotations

import gzip
import os
import time

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import folders, tree
from ansible_collections.opsrunner.runbook.plugins.module_utils._maintenance import files as cleanup

DAY = 86400


@pytest.fixture
def root(tmp_path):
    """A folder that no link leads to, where files can be made with an age in days."""
    folder = tmp_path.resolve() / "logs"
    folder.mkdir()

    def make(path, days=0.0, text="x" * 5000):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        then = time.time() - days * DAY
        os.utime(file, (then, then))
        return file

    make.path = folder
    return make


def run(root, /, check_mode=False, confirm=("cleanup",), **rule):
    given = {"name": "old", "root": str(root.path), "patterns": ["*.log"], "min_age": "7d", **rule}
    options = cleanup.parse({"rules": [given], "confirm": list(confirm), "open_files": "seen"})
    return cleanup.run(options, check_mode)[0]


def left(root):
    return sorted(str(path.relative_to(root.path)) for path in root.path.rglob("*") if path.is_symlink() or not path.is_dir())


def test_only_old_files_that_match_go(root):
    root("a.log", 8), root("b.log", 6), root("c.txt", 90), root("deep/d.log", 8)
    result = run(root)
    assert left(root) == ["b.log", "c.txt"]
    assert sorted(path.rsplit("/", 1)[1] for path, _won in result.done) == ["a.log", "d.log"]
    assert result.found["status"] == "ok"
    assert result.found["value"] == 2 * 8192


def test_check_mode_names_exactly_what_would_go_and_touches_nothing(root):
    root("a.log", 8), root("b.log", 6)
    before = left(root)
    result = run(root, check_mode=True)
    assert [path for path, _won in result.done] == [str(root.path / "a.log")]
    assert result.dry
    assert left(root) == before
    assert result.found["message"] == "cleanup.would_remove"
    assert [path for path, _won in run(root).done] == [path for path, _won in result.done]


def test_nothing_is_deleted_without_confirmation(root):
    root("a.log", 8)
    result = run(root, confirm=())
    assert left(root) == ["a.log"]
    assert (result.found["status"], result.found["message"]) == ("warning", "cleanup.unconfirmed")


def test_protected_names_stay_however_old_they_are(root):
    root("persistence-1.log", 400), root("keep/a.log", 400), root("a.log", 400)
    run(root, protect=["persistence-*.log", "keep"])
    assert left(root) == ["keep/a.log", "persistence-1.log"]


def test_the_newest_that_match_are_kept_by_count(root):
    for days in (1, 2, 3, 4):
        root("report-%d.log" % days, days)
    run(root, keep=2, min_age="0")
    assert left(root) == ["report-1.log", "report-2.log"]


def test_links_are_neither_followed_nor_removed(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.log").write_text("x")
    os.utime(outside / "precious.log", (0, 0))
    (root.path / "way").symlink_to(outside)
    (root.path / "file.log").symlink_to(outside / "precious.log")
    os.utime(root.path / "file.log", (0, 0), follow_symlinks=False)
    run(root)
    assert (outside / "precious.log").exists()
    assert left(root) == ["file.log", "way"]


def test_a_root_behind_a_link_is_left_alone(root, tmp_path):
    root("a.log", 8)
    (tmp_path / "link").symlink_to(root.path)
    result = run(root, root=str(tmp_path / "link"))
    assert left(root) == ["a.log"]
    assert result.found["message"] == "cleanup.link"


def test_a_file_that_is_open_stays_and_is_named(root):
    file = root("a.log", 8)
    with open(file):
        result = run(root)
        assert left(root) == ["a.log"]
    assert result.found["evidence"]["cleanup_open"] == [str(file)]


def test_a_file_that_changes_after_it_was_looked_at_stays(root):
    file = root("a.log", 8)
    rule = cleanup.parse({"rules": [{"name": "r", "root": str(root.path), "patterns": ["*"], "keep": 0, "min_age": "7d"}]}).rules[0]
    handle = folders.open_folder(str(root.path))
    seen = cleanup.walk(rule, handle, set(), time.time())
    file.write_text("new")
    with pytest.raises(OSError, match="changed meanwhile"):
        cleanup.remove(handle, seen.files[0])
    os.close(handle)
    assert file.exists()


def test_a_folder_exchanged_for_a_link_after_the_look_gains_nothing(root, tmp_path):
    root("sub/a.log", 8)
    rule = cleanup.parse({"rules": [{"name": "r", "root": str(root.path), "patterns": ["*"], "min_age": "7d"}]}).rules[0]
    handle = folders.open_folder(str(root.path))
    seen = cleanup.walk(rule, handle, set(), time.time())
    os.rename(root.path / "sub", tmp_path / "elsewhere")
    (root.path / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):  # noqa: PT011
        cleanup.remove(handle, seen.files[0])
    os.close(handle)
    assert (tmp_path / "elsewhere" / "a.log").exists()


def test_another_file_system_below_the_root_is_not_entered(root):
    root("mnt/a.log", 8)
    rule = cleanup.Rule("r", str(root.path), ("*.log",), min_age=DAY)
    handle = folders.open_folder(str(root.path))
    seen = cleanup.walk(rule, handle, {str(root.path / "mnt")}, time.time())
    os.close(handle)
    assert (seen.files, seen.mounts) == ([], ["mnt"])


def test_compressing_keeps_content_times_and_mode_and_an_existing_gz(root):
    file, other = root("a.log", 8, "line\n" * 3000), root("b.log", 8)
    os.chmod(file, 0o640)
    root("b.log.gz", 1, "older")
    before = file.stat()
    result = run(root, action="compress", confirm=())
    packed = root.path / "a.log.gz"
    assert gzip.decompress(packed.read_bytes()) == b"line\n" * 3000
    after = packed.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert other.exists()
    assert (root.path / "b.log.gz").read_text() == "older"
    assert left(root) == ["a.log.gz", "b.log", "b.log.gz"]
    assert result.found["status"] == "warning"


def test_a_second_run_finds_nothing(root):
    root("a.log", 8)
    run(root)
    assert run(root).found["message"] == "cleanup.nothing"


def test_folders_left_empty_go_only_when_asked_and_never_the_root(root):
    root("one/two/a.log", 8)
    run(root, empty_folders=True)
    assert root.path.is_dir()
    assert not (root.path / "one").exists()


def test_a_root_that_is_not_there_is_a_warning(root):
    result = run(root, root=str(root.path / "gone"))
    assert (result.found["status"], result.found["message"]) == ("warning", "cleanup.no_root")


def test_without_a_view_of_all_processes_files_stay(root, tmp_path):
    root("a.log", 8)
    proc = tmp_path / "proc"
    (proc / "1").mkdir(parents=True)
    (proc / "1" / "fd").mkdir(mode=0o000)
    options = cleanup.parse(
        {"rules": [{"name": "r", "root": str(root.path), "patterns": ["*.log"], "min_age": "7d"}], "confirm": ["cleanup"]}
    )
    if os.geteuid() == 0:  # root reads everything, so the view is taken away by hand
        cleanup_open, cleanup.open_files = cleanup.open_files, lambda proc: cleanup.Open(set(), set(), False)
        try:
            result = cleanup.run(options, False)[0]
        finally:
            cleanup.open_files = cleanup_open
    else:
        result = cleanup.run(options, False, proc=str(proc))[0]
    assert left(root) == ["a.log"]
    assert (result.found["status"], result.found["message"]) == ("unknown", "cleanup.blind")


@pytest.mark.parametrize(
    ("path", "patterns", "expected"),
    [
        ("a.log", ["*.log"], True),
        ("x/y/a.log", ["*.log"], True),
        ("x/a.log", ["x/*.log"], True),
        ("x/y/a.log", ["x/*.log"], False),
        ("x/y/a.log", ["x/**/*.log"], True),
        ("x/a.log", ["x/**/*.log"], True),
        ("x/y/a.log", ["x/**"], True),
        ("a.log.1", ["*.log"], False),
        ("logs/b7", ["logs/[ab]?"], True),
        ("logs/b7", ["logs/[!ab]?"], False),
        ("a+b.log", ["x/a+b.log", "a+*"], True),
    ],
)
def test_patterns(path, patterns, expected):
    assert cleanup.matches(path, patterns) is expected


RULE = {"name": "r", "root": "/var/log/app", "patterns": ["*.log"], "min_age": "7d"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"root": "/"}, "rules[0].root: nothing is cleaned up in /"),
        ({"root": "/etc/app"}, "rules[0].root: nothing is cleaned up in /etc/app"),
        ({"root": "/var/../etc"}, "rules[0].root: '/var/../etc' is no absolute path"),
        ({"root": "logs"}, "rules[0].root: 'logs' is no absolute path"),
        ({"root": "/tmp", "patterns": ["*"]}, "rules[0].patterns: '*' in /tmp, which many share: say whose files are meant"),
        ({"patterns": ["../x"]}, "rules[0].patterns[0]: '../x' leads out of the root: patterns are below it"),
        ({"patterns": ["/etc/*"]}, "rules[0].patterns[0]: '/etc/*' leads out of the root: patterns are below it"),
        ({"min_age": None}, "rules[0].min_age: say how old files must be (min_age) or how many of the newest stay (keep)"),
        ({"min_age": "seven"}, "rules[0].min_age: 'seven' is not a duration (did you mean 30, 250ms, 5m, 25h, 30d or 1w?)"),
        ({"keep": -1}, "rules[0].keep: -1 is no whole number of 0 or more"),
        ({"action": "delet"}, "rules[0].action: unknown choice 'delet' (did you mean delete?)"),
        ({"min_agee": "1d"}, "rules[0].min_agee: unknown key 'min_agee' (did you mean min_age?)"),
        ({"patterns": {}}, "rules[0].patterns: is to be a list of texts, not {}"),
        ({"name": "a/b"}, "rules[0].name: 'a/b' is no name: letters, digits, _ . @ and -, up to 100"),
    ],
)
def test_bad_rules_are_refused_with_one_clear_message(change, expected):
    with pytest.raises(OptionError) as caught:
        cleanup.parse({"rules": [{**RULE, **change}]})
    assert str(caught.value) == expected


def test_names_are_unique_and_only_names_rules():
    with pytest.raises(OptionError, match=r"rules\[1\].name: 'r' is the name of rules\[0\] already"):
        cleanup.parse({"rules": [RULE, RULE]})
    with pytest.raises(OptionError, match=r"only\[0\]: unknown rule 'q'"):
        cleanup.parse({"rules": [RULE], "only": ["q"]})


def test_each_folder_is_opened_once_and_what_is_too_deep_is_named(root, monkeypatch):
    root("top.log", 8)
    folder = os.open(root.path, os.O_RDONLY)
    for level in range(600):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        if level in (100, 500):
            os.close(os.open("old.log", os.O_WRONLY | os.O_CREAT, dir_fd=inner))
            os.utime("old.log", (0, 0), dir_fd=inner)
        os.close(folder)
        folder = inner
    os.close(folder)
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest, **more: opened.append(path) or real(path, *rest, **more))
    result = run(root, check_mode=True)
    monkeypatch.undo()
    folder = os.open(root.path, os.O_RDONLY)
    tree.remove_tree(folder, "d")
    os.close(folder)
    assert opened.count("d") == cleanup.DEPTH_LIMIT - 1
    assert sorted(path.rsplit("/", 1)[1] for path, _won in result.done) == ["old.log", "top.log"]
    assert result.found["status"] == "warning"
    assert any("deeper than 256 folders" in text for text in result.found["evidence"]["cleanup_failures"])


def test_a_rule_ends_when_its_time_is_over_and_says_so(root, monkeypatch):
    for name in "abcdef":
        root(name + "/old.log", 8)
    monkeypatch.setattr(cleanup, "TIME_LIMIT", 2.5)
    ticks = iter(range(100))
    (rule,) = cleanup.parse({"rules": [{"name": "old", "root": str(root.path), "patterns": ["*.log"], "min_age": "7d"}]}).rules
    handle = os.open(root.path, os.O_RDONLY)
    try:
        seen = cleanup.walk(rule, handle, set(), time.time(), lambda: float(next(ticks)))
    finally:
        os.close(handle)
    assert len(seen.files) == 2
    assert seen.errors == [f"{root.path}: not everything was read within 2.5 s"]
