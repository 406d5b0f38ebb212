# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument spec of the option O(backups), which all modules about backups share; its words are in the doc fragment ``backups``."""

from __future__ import annotations

from typing import Any, Dict

_ARTIFACT: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "engine": {
        "type": "str",
        "required": True,
        "choices": ["files", "config", "sqlite", "postgresql", "mysql", "redis", "mongodb", "opensearch"],
    },
    "compression": {"type": "str", "choices": ["zstd", "gzip", "none"]},
    "level": {"type": "int"},
    "paths": {"type": "list", "elements": "path"},
    "exclude": {"type": "list", "elements": "str"},
    "special": {"type": "list", "elements": "str"},
    "one_file_system": {"type": "bool"},
    "before": {"type": "raw"},
    "after": {"type": "raw"},
    "snapshot_root": {"type": "path"},
    "database": {"type": "str"},
    "content": {"type": "str", "choices": ["whole", "schema", "tables", "globals"]},
    "tables": {"type": "list", "elements": "str"},
    "collections": {"type": "list", "elements": "str"},
    "indices": {"type": "list", "elements": "str"},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "socket": {"type": "path"},
    "url": {"type": "str"},
    "user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "auth_database": {"type": "str"},
    "ca_file": {"type": "path"},
    "cert_file": {"type": "path"},
    "key_file": {"type": "path"},
    "run_as": {"type": "str"},
    "drill_server": {"type": "str", "choices": ["own", "live", "live_as_superuser"]},
    "unit": {"type": "str"},
    "repository": {"type": "str"},
    "repository_path": {"type": "path"},
    "timeout": {"type": "str"},
}

_KEEP: Dict[str, Any] = {
    "type": "dict",
    "options": {name: {"type": "int"} for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")},
}

_COPY: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "required": True, "choices": ["rsync", "s3", "restic"]},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "user": {"type": "str"},
    "path": {"type": "path"},
    "key_file": {"type": "path"},
    "known_hosts_file": {"type": "path"},
    "bucket": {"type": "str"},
    "prefix": {"type": "str"},
    "endpoint": {"type": "str"},
    "region": {"type": "str"},
    "storage_class": {"type": "str"},
    "access_key": {"type": "str", "no_log": True},
    "secret_key": {"type": "str", "no_log": True},
    "ca_file": {"type": "path"},
    "repository": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "bandwidth": {"type": "str"},
    "max_behind": {"type": "str"},
    "keep": _KEEP,
}

BACKUPS: Dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "required": True,
    "options": {
        "name": {"type": "str", "required": True},
        "root": {"type": "str", "required": True},
        "kind": {"type": "str", "choices": ["set", "file", "folder"], "default": "set"},
        "pattern": {"type": "str"},
        "max_age": {"type": "dict"},
        "size_change": {"type": "dict"},
        "history": {"type": "int", "default": 7},
        "min_count": {"type": "int"},
        "min_size": {"type": "str"},
        "partial_after": {"type": "str", "default": "6h"},
        "max_unverified_age": {"type": "str"},
        "verified_rung": {"type": "int", "default": 3},
        "remedy": {"type": "str"},
        "mount_point": {"type": "path"},
        "artifacts": {"type": "list", "elements": "dict", "options": _ARTIFACT},
        "nice": {"type": "int"},
        "io_class": {"type": "str", "choices": ["idle", "best-effort", "none"]},
        "bandwidth": {"type": "str"},
        "program_timeout": {"type": "str"},
        "workers": {"type": "int"},
        "encryption": {
            "type": "dict",
            "options": {"recipients": {"type": "list", "elements": "str", "required": True}, "identity": {"type": "path"}},
        },
        "keep": _KEEP,
        "copies": {"type": "list", "elements": "dict", "options": _COPY},
        "verify": {"type": "dict"},
        "drill": {
            "type": "dict",
            "options": {
                "every": {"type": "str"},
                "rto": {"type": "str"},
                "rpo": {"type": "str"},
                "scratch": {"type": "path"},
            },
        },
        "restore": {
            "type": "dict",
            "options": {
                "services": {"type": "list", "elements": "str"},
                "health": {"type": "list", "elements": "dict"},
                "health_timeout": {"type": "str"},
            },
        },
    },
}
