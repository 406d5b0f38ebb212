# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the engine files, which members they mean, trees counted as archives are. Whole archives: tests/integration/backups/files."""

from __future__ import annotations

import os

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import artifacts as backup_artifacts
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import plan as backup_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Request, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files import archive as engine_files_archive
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files import engine as engine_files
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files import listing as engine_files_listing
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files import members as engine_files_members
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.files import tree as engine_files_tree


def _parse(**keys):
    item = {"name": "data", "engine": "files", **keys}
    return backup_plan.parse({"artifacts": [item]}, "backups[0]", backup_artifacts.read_all).artifacts[0].spec


def _artifact(*paths, **keys):
    source = {"paths": list(paths)} if paths else {}
    return Artifact("files", "data.tar", 1, "0" * 64, "tar", 0.0, 0.0, source=source, name="data", **keys)


@pytest.mark.parametrize(
    ("keys", "path", "text"),
    [
        ({}, "paths", "is required"),
        ({"paths": ["data"]}, "paths[0]", "no absolute path"),
        ({"paths": ["/srv", "/srv/../etc"]}, "paths[1]", "no absolute path"),
        ({"paths": ["/"]}, "paths[0]", "is the whole host"),
        ({"paths": ["/srv"], "exclude": ["cache/tmp"]}, "exclude[0]", "did you mean /cache/tmp?"),
        ({"paths": ["/srv"], "exclude": ["a", "/srv/**/x"]}, "exclude[1]", "** is not known"),
        ({"paths": ["/srv"], "exclude": ["/*"]}, "exclude[0]", "leaves nothing"),
        ({"paths": ["/srv"], "exclude": ["a\\*"]}, "exclude[0]", "a star itself is [*]"),
        ({"paths": ["/srv"], "exclude": ["[^a]"]}, "exclude[0]", "[!...]"),
        ({"paths": ["/srv"], "exclude": ["[[:digit:]]"]}, "exclude[0]", "classes are not known"),
        ({"paths": ["/srv"], "after": "true"}, "after", "there is none"),
        ({"paths": ["/srv"], "before": "sh -c 'open"}, "before", "cannot be split"),
        ({"paths": ["/srv"], "snapshot_root": "snap"}, "snapshot_root", "no absolute path"),
        ({"paths": ["/srv"], "one_file_sytem": True}, "one_file_sytem", "did you mean one_file_system?"),
        ({"paths": ["/srv"], "database": "x"}, "database", "unknown"),
    ],
)
def test_options_that_are_refused(keys, path, text):
    with pytest.raises(OptionError) as caught:
        _parse(**keys)
    assert caught.value.path == "backups[0].artifacts[0]." + path
    assert text in str(caught.value)


def test_options():
    spec = _parse(paths=["/srv//app/", "/etc/x"], exclude=["*.log", "/srv/*/cache/", "*/tmp"], before="sync -f /srv", after=["a", "b c"])
    assert spec == {
        "paths": ["/srv/app", "/etc/x"],
        "exclude": ["*.log", "/srv/*/cache/", "*/tmp"],
        "before": ["sync", "-f", "/srv"],
        "after": ["a", "b c"],
    }


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a", "a/b", "a/b/c"], ["a"]),
        (["a", "ab", "a.b"], ["a", "ab", "a.b"]),
        (["a/b", "a/c"], ["a/b", "a/c"]),
        ([], []),
    ],
)
def test_outermost(names, wanted):
    assert engine_files_members.outermost(names) == wanted


def test_very_many_paths(tmp_path):
    """Each is looked at by itself, and not held against all others."""
    names = ["d/f%05d" % number for number in range(40_000)]
    assert engine_files_members.outermost(names) == names
    listing = engine_files_listing.Listing([name.encode() for name in names])
    listing.feed("".join('-rw-r--r-- 0/0 1 2026-01-31 04:05 "%s"\n' % name for name in names).encode())
    listing.finish()
    assert (listing.total.files, listing.problems) == (40_000, [])


def test_members(tmp_path):
    base = str(tmp_path)
    for name in ("srv/app/a.conf", "srv/app/b.conf", "srv/app/[x]", "srv/appendix", "etc/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    cases = {
        ("/srv/app", "/etc"): ["etc", "srv/app"],
        ("/srv", "/srv/app/a.conf"): ["srv"],
        ("/srv/app/*.conf", "/srv/app/*.none"): ["srv/app/a.conf", "srv/app/b.conf"],
        ("/srv/app/[x]",): ["srv/app/[x]"],
        ("/srv/ap*",): ["srv/app", "srv/appendix"],
    }
    for paths, wanted in cases.items():
        assert engine_files_members.members({"paths": list(paths)}, base) == wanted
    # Only below another file system's root a path of its own is needed, when its name is there already.
    assert engine_files_members.members({"paths": ["/srv", "/srv/app"], "one_file_system": True}, base) == ["srv"]
    for paths, code in ((["/srv/none"], "unreachable"), (["/none/*"], "unreachable")):
        with pytest.raises(EngineError) as caught:
            engine_files_members.members({"paths": paths}, base)
        assert caught.value.code == code


def test_tree_counts_hard_links_once(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("12345")
    os.link(str(tmp_path / "file"), str(tmp_path / "folder" / "other"))
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(str(tmp_path / "pipe"))
    tree = engine_files_tree.Tree()
    tree.add(str(tmp_path))
    tree.add(str(tmp_path / "none"))
    assert tree.counts() == {"files": 2, "folders": 2, "links": 1, "others": 1, "bytes": 5}
    assert tree.problems == ["%s: No such file or directory" % (tmp_path / "none")]


def test_samples_are_only_of_files_that_stood_still(tmp_path):
    (tmp_path / "file").write_text("x")
    name = os.fsencode(str(tmp_path / "file"))[1:]
    changed = os.stat(str(tmp_path / "file")).st_ctime
    assert list(engine_files._live_samples("/", [name, b"none", b"bad\xff"], changed + 1)) == [str(tmp_path / "file")]
    assert engine_files._live_samples("/", [name], changed) == {}


@pytest.mark.parametrize("paths", [(), ("srv",), ("/",), ("/srv/../etc",), ("/srv//x",), ("/srv/",), (5,)])
def test_manifests_that_are_not_trusted(paths):
    with pytest.raises(EngineError):
        engine_files_archive.manifest_paths(_artifact(*paths))


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request("r", ("/srv/other",)), "holds /srv/app"),
        (Request("r", ("/srv",)), "holds /srv/app"),
        (Request("r", ("/srv/app/../x",)), "holds /srv/app"),
        (Request("r", ("",)), "holds /srv/app"),
        (Request("r", (), "elsewhere"), "absolute"),
        (Request("r", (), "/tmp/../etc"), "absolute"),
    ],
)
def test_requests_that_are_refused(request_, text, tmp_path):
    engine = engine_files.FilesEngine()
    with pytest.raises(EngineError, match=text), engine.restorer({}, _artifact("/srv/app"), Stored("x"), request_, Work(str(tmp_path))):
        pass


def test_busybox_tar_is_refused(tmp_path, monkeypatch):
    (tmp_path / "tar").write_text("#!/bin/sh\necho 'tar (busybox) 1.36.1'\n")
    (tmp_path / "tar").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + ":" + os.environ["PATH"])
    with pytest.raises(EngineError, match=r"GNU tar is needed, this is tar \(busybox\) 1\.36\.1") as caught:
        engine_files.FilesEngine().reach({"paths": [str(tmp_path)]}, Work(str(tmp_path)))
    assert caught.value.code == "version"
