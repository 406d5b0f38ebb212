# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the engines redis, mongodb and opensearch: what is wrong is told by its path."""

from __future__ import annotations

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import artifacts as backup_artifacts
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.redis.rdb import Walker
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.redis.restore import _quoted
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.redis.shared import live_counts

_SEARCH = {"engine": "opensearch", "url": "https://localhost:9200", "repository_path": "/srv/snapshots"}


def _plan(**artifact):
    return backup_artifacts.read_all([{"name": "data", **artifact}], "backups[0].artifacts")[0]


@pytest.mark.parametrize(
    ("artifact", "path"),
    [
        ({"engine": "redis", "socket": "/run/redis.sock", "host": "x"}, "socket"),
        ({"engine": "redis", "socket": "/run/redis.sock", "ca_file": "/x"}, "ca_file"),
        ({"engine": "redis", "user": "me"}, "user"),
        ({"engine": "redis", "ca_file": "/x", "cert_file": "/y"}, "key_file"),
        ({"engine": "redis", "cert_file": "/y", "key_file": "/z"}, "ca_file"),
        ({"engine": "mongodb", "database": "app", "cert_file": "/y"}, "ca_file"),
        ({"engine": "redis", "port": 70000}, "port"),
        ({"engine": "redis", "password": ""}, "password"),
        ({"engine": "redis", "database": "x"}, "database"),
        ({"engine": "mongodb"}, "database"),
        ({"engine": "mongodb", "database": "a.b"}, "database"),
        ({"engine": "mongodb", "database": "app", "user": "me"}, "password"),
        ({"engine": "mongodb", "database": "app", "password": "x"}, "user"),
        ({"engine": "mongodb", "database": "app", "collections": ["a", "system.users"]}, "collections[1]"),
        ({"engine": "mongodb", "database": "app", "collections": ["opsrunner_x_old_a"]}, "collections[0]"),
        ({"engine": "opensearch", "url": "https://localhost:9200"}, "repository_path"),
        ({**_SEARCH, "url": "localhost:9200"}, "url"),
        ({**_SEARCH, "url": "https://me:secret@localhost"}, "url"),
        ({**_SEARCH, "url": "http://localhost:99999"}, "url"),
        ({**_SEARCH, "url": "http://[::1"}, "url"),
        ({**_SEARCH, "url": "http://localhost/#x"}, "url"),
        ({**_SEARCH, "indices": ["-x"]}, "indices[0]"),
        ({**_SEARCH, "indices": ["a,b"]}, "indices[0]"),
        ({**_SEARCH, "user": "me"}, "password"),
    ],
)
def test_what_is_wrong_is_told(artifact, path):
    """By the option's path."""
    with pytest.raises(OptionError) as caught:
        _plan(**artifact)
    assert caught.value.path == "backups[0].artifacts[0]." + path
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "artifact",
    [
        {"engine": "redis"},
        {"engine": "redis", "host": "cache", "port": 6380, "user": "backup", "password": "a b\n'\"", "unit": "redis-server@1"},
        {"engine": "mongodb", "database": "앱", "collections": ["with spaces", "컬렉션"], "user": "me", "password": "x"},
        {**_SEARCH, "indices": ["screen*"], "user": "me", "password": "x", "ca_file": "/etc/ca.pem"},
    ],
)
def test_what_is_right(artifact):
    """It is taken as it is."""
    spec = _plan(**artifact).spec
    assert {key: spec[key] for key in artifact if key != "engine"} == {key: item for key, item in artifact.items() if key != "engine"}


class _Has:
    """Stands for a server, for hashes with fields that expire take Redis 7.4 or later."""

    def __init__(self, keys, expires):
        self.keys, self.expires = keys, expires

    def sizes(self):
        return {0: {"keys": self.keys, "expires": self.expires}}


@pytest.mark.parametrize(
    ("keys", "expires", "whole"),
    [
        (20, 5, True),
        (18, 3, True),
        (16, 3, True),
        (15, 2, True),
        (14, 2, False),
        (18, 5, True),
        (17, 5, False),
        (20, 4, False),
        (19, 2, False),
    ],
)
def test_keys_that_may_be_gone(keys, expires, whole):
    """20 keys, 3 of 5 that expire have, 2 are hashes with fields that do."""
    walker = Walker()
    walker.keys, walker.fading, walker.expires = {0: 20}, {0: 2}, {0: [1, 2, 3, 1 << 60, 1 << 60]}
    found = live_counts(_Has(keys, expires), walker)
    assert (found == {"keys": 20, "keys.db0": 20, "expiring.db0": 5}) == whole


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("appendonly.aof.1.base.rdb", "appendonly.aof.1.base.rdb"), ("a b", '"a b"'), ('a"\\', '"a\\"\\\\"'), ("값", '"\\xea\\xb0\\x92"')],
)
def test_names_in_the_listing_of_append_only_files(name, quoted):
    """As Redis writes and reads them."""
    assert _quoted(name) == quoted
