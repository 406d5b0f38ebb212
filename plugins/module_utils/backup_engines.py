# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines by name. Each is imported only when it is used; written out, for Ansible ships what it finds imported."""

from __future__ import annotations

from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_engine import Engine
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_plan import ENGINES

NAMES = ENGINES


def engine(name: str) -> Engine:
    """The engine of a name. Raises KeyError."""
    if name == "files":
        from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_files import FilesEngine

        return FilesEngine()
    if name == "config":
        from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_files import ConfigEngine

        return ConfigEngine()
    if name == "sqlite":
        from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_sqlite import SqliteEngine

        return SqliteEngine()
    if name == "postgresql":
        from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_postgresql import PostgresqlEngine

        return PostgresqlEngine()
    if name == "mysql":
        from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_mysql import MysqlEngine

        return MysqlEngine()
    if name == "redis":
        from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_redis import RedisEngine

        return RedisEngine()
    if name == "mongodb":
        from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_mongodb import MongodbEngine

        return MongodbEngine()
    if name == "opensearch":
        from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_opensearch import OpensearchEngine

        return OpensearchEngine()
    raise KeyError(name)
