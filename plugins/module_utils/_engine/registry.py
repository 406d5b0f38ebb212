# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines by name. Each is imported only when it is used; written out, for Ansible ships what it finds imported."""

from __future__ import annotations

from .base import Engine
from .names import ENGINES

NAMES = ENGINES


def engine(name: str) -> Engine:
    """The engine of a name. Raises KeyError."""
    if name == "files":
        from .files.engine import FilesEngine

        return FilesEngine()
    if name == "config":
        from .files.engine import ConfigEngine

        return ConfigEngine()
    if name == "sqlite":
        from .sqlite.engine import SqliteEngine

        return SqliteEngine()
    if name == "postgresql":
        from .postgresql.engine import PostgresqlEngine

        return PostgresqlEngine()
    if name == "mysql":
        from .mysql.engine import MysqlEngine

        return MysqlEngine()
    if name == "redis":
        from .redis.engine import RedisEngine

        return RedisEngine()
    if name == "mongodb":
        from .mongodb.engine import MongodbEngine

        return MongodbEngine()
    if name == "opensearch":
        from .opensearch.engine import OpensearchEngine

        return OpensearchEngine()
    raise KeyError(name)
