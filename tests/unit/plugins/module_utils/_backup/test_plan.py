# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a backup is made, kept, copied, proved and restored: what is read, and how bad options are refused."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options as backup_looks
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import plan as backup_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import spec as backup_spec
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream

FILES = {"name": "data", "engine": "files", "paths": ["/srv/shop"]}
RSYNC = {"name": "vault", "kind": "rsync", "host": "vault", "path": "/srv/vault"}


def whole(**more):
    return {"name": "shop", "root": "/backup/shop", **more}


@pytest.mark.parametrize(
    ("more", "path", "hint"),
    [
        pytest.param({"artifacts": [{"name": "x"}]}, "artifacts[0].engine", "", id="an artifact without an engine"),
        pytest.param({"program_timeout": "0"}, "program_timeout", "24h", id="no time at all"),
        pytest.param({"artifacts": [{"name": "x", "engine": "postgres"}]}, "artifacts[0].engine", "postgresql", id="no such engine"),
        pytest.param({"artifacts": [{**FILES, "name": "a/b"}]}, "artifacts[0].name", "", id="a name that is a path"),
        pytest.param({"artifacts": [{**FILES, "compression": "zst"}]}, "artifacts[0].compression", "zstd", id="no such compression"),
        pytest.param({"artifacts": [{**FILES, "level": 40}]}, "artifacts[0].level", "", id="a level that is none"),
        pytest.param(
            {"artifacts": [{**FILES, "compression": "gzip", "level": 10}]}, "artifacts[0].level", "", id="a level that gzip has not"
        ),
        pytest.param({"artifacts": [FILES], "name": "../app"}, "name", "", id="the name of a backup that is a path"),
        pytest.param({"artifacts": [FILES, FILES]}, "artifacts[1].name", "", id="two artifacts of a name"),
        pytest.param({"artifacts": [FILES], "kind": "folder"}, "kind", "", id="another kind than a set"),
        pytest.param({"keep": {"dayly": 3}}, "keep.dayly", "daily", id="a misspelt kind of keeping"),
        pytest.param({"keep": {"last": 0, "daily": 0}}, "keep", "last: 1", id="keeping nothing"),
        pytest.param({"copies": [{"name": "x"}]}, "copies[0].kind", "", id="a copy without a kind"),
        pytest.param({"copies": [{"name": "x", "kind": "scp"}]}, "copies[0].kind", "", id="no such kind of copy"),
        pytest.param({"copies": [{"name": "x", "kind": "rsync", "path": "/x"}]}, "copies[0].host", "", id="rsync without a host"),
        pytest.param({"copies": [{**RSYNC, "bucket": "x"}]}, "copies[0].bucket", "", id="a key of another kind of copy"),
        pytest.param({"copies": [{**RSYNC, "port": 70000}]}, "copies[0].port", "", id="a port that is none"),
        pytest.param({"verify": {"6": "1d"}}, "verify.6", "", id="a rung that is none"),
        pytest.param({"verify": {3: "weekly"}}, "verify.3", "", id="a time that is none"),
        pytest.param({"drill": {"evry": "30d"}}, "drill.evry", "every", id="a misspelt key of a drill"),
        pytest.param({"restore": {"servces": []}}, "restore.servces", "services", id="a misspelt key of a restore"),
        pytest.param({"encryption": {"recipients": ["AGE-SECRET-KEY-1XYZ"]}}, "encryption.recipients[0]", "", id="a secret key"),
        pytest.param({"encryption": {"recipients": ["bob"]}}, "encryption.recipients[0]", "", id="no recipient"),
        pytest.param({"encryption": {}}, "encryption.recipients", "", id="encryption for nobody"),
        pytest.param({"nice": 40}, "nice", "", id="a niceness that is none"),
        pytest.param({"io_class": "idel"}, "io_class", "idle", id="a misspelt class"),
        pytest.param({"workers": 0}, "workers", "", id="no workers"),
    ],
)
def test_bad_options_are_refused_by_path(more, path, hint):
    with pytest.raises(OptionError) as caught:
        backup_options.parse([whole(**more)])
    assert caught.value.path == f"backups[0].{path}"
    assert not hint or caught.value.hint == hint


def test_a_secret_key_is_not_shown():
    with pytest.raises(OptionError) as caught:
        backup_options.parse([whole(encryption={"recipients": ["AGE-SECRET-KEY-1XYZ"]})])
    assert "1XYZ" not in str(caught.value)


def test_what_is_said_is_read():
    (backup,) = backup_options.parse(
        [
            whole(
                artifacts=[FILES],
                nice=5,
                io_class="none",
                bandwidth="20M",
                program_timeout="6h",
                keep={"last": 3, "daily": 7},
                copies=[{**RSYNC, "max_behind": "2d", "bandwidth": "1M"}],
                verify={"2": "1d", 3: "7d"},
                drill={"every": "30d", "rto": "10m", "rpo": "1d", "scratch": "/srv/scratch"},
                restore={"services": ["shop.service"], "health": [{"name": "http"}], "health_timeout": "30s"},
                encryption={"recipients": ["age1qqq"], "identity": "/root/key"},
            )
        ]
    )
    plan = backup.plan
    assert plan.limits == (5, None, 20 * 1024**2, 6 * 3600)
    assert plan.keep == {"last": 3, "daily": 7}
    assert plan.verify == {2: 86400.0, 3: 604800.0}
    assert plan.drill == (30 * 86400.0, 600.0, 86400.0, "/srv/scratch")
    assert plan.restore == (("shop.service",), ({"name": "http"},), 30.0)
    assert (plan.recipients, plan.identity) == (("age1qqq",), "/root/key")
    (copy,) = plan.copies
    assert (copy.max_behind, copy.bandwidth, dict(copy.options)) == (172800.0, 1024**2, {"host": "vault", "path": "/srv/vault"})


def test_keys_that_ansible_fills_with_none_are_as_if_not_said():
    def filled(options):
        return {name: spec.get("default") for name, spec in options.items()}

    item = {**filled(backup_spec.BACKUPS["options"]), **whole()}
    item["artifacts"] = [{**filled(backup_spec.BACKUPS["options"]["artifacts"]["options"]), **FILES}]
    item["copies"] = [{**filled(backup_spec.BACKUPS["options"]["copies"]["options"]), **RSYNC}]
    assert backup_options.parse([item]) == backup_options.parse([whole(artifacts=[FILES], copies=[RSYNC])])


def test_the_argument_spec_has_every_key_there_is():
    options = backup_spec.BACKUPS["options"]
    assert set(options) == set(backup_looks._NAMES)
    from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines

    keys = set(backup_plan.ARTIFACT).union(*(backup_engines.engine(name).readers for name in backup_engines.NAMES))
    assert set(options["artifacts"]["options"]) == keys
    assert set(options["copies"]["options"]) == set(backup_plan._COPY_COMMON).union(*backup_plan._COPY.values())


def test_who_only_looks_reads_names_and_leaves_the_rest_to_the_engines():
    (light,) = backup_looks.parse([whole(artifacts=[FILES], keep={"last": 3})])
    (full,) = backup_options.parse([whole(artifacts=[FILES], keep={"last": 3})])
    assert [(one.name, one.engine) for one in light.plan.artifacts] == [(one.name, one.engine) for one in full.plan.artifacts]
    assert light._replace(plan=full.plan) == full
    assert backup_plan.COMPRESSIONS == backup_stream.COMPRESSIONS


DATABASE = {"name": "db", "engine": "sqlite", "database": "/srv/shop/data.db"}


@pytest.mark.parametrize(
    ("files", "path", "hint"),
    [
        pytest.param({**FILES}, "artifacts[0].exclude", "data.db*", id="not left out"),
        pytest.param({**FILES, "paths": ["/srv"]}, "artifacts[0].paths", "", id="deep below"),
    ],
)
def test_a_database_in_a_folder_of_files_is_refused(files, path, hint):
    with pytest.raises(OptionError) as caught:
        backup_options.parse([whole(artifacts=[files, DATABASE])])
    assert caught.value.path == f"backups[0].{path}"
    assert not hint or caught.value.hint == hint


@pytest.mark.parametrize(
    "files", [{**FILES, "exclude": ["data.db*"]}, {**FILES, "paths": ["/srv/shop2"]}, {**FILES, "exclude": ["/srv/shop/data.db*"]}]
)
def test_a_database_beside_files_or_left_out_is_fine(files):
    assert len(backup_options.parse([whole(artifacts=[files, DATABASE])])[0].plan.artifacts) == 2
