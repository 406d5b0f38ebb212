# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database whose owner put code into it: a drill does not run it as a superuser of the live server, nor as its user of the host."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from pg_servers import Server, make_set

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import EngineError, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.postgresql.engine import PostgresqlEngine

ENGINE = PostgresqlEngine()
ATTACK = """
CREATE ROLE attacker LOGIN; GRANT ALL ON SCHEMA public TO attacker; SET ROLE attacker;
CREATE FUNCTION f(i int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''id > MARK''' ; END IF;
  RETURN true;
END $$;
CREATE TABLE t (a int CHECK (f(a))); INSERT INTO t VALUES (1);
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a server run as another user")
def test_code_of_a_databases_owner_is_run_as_nobody_in_a_server_of_the_drills_own(server: Server) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        os.mkdir(folder + "/open", 0o777)
        os.chmod(folder + "/open", 0o777)
        mark = Path(folder) / "open" / "mark"
        server.make("attacked")
        server.sql("attacked", ATTACK.replace("MARK", str(mark)))
        made = make_set(server.spec("attacked", drill_server="own"), Path(folder) / "set")
        with pytest.raises(EngineError, match="has all rights on the server"):
            ENGINE.drill(server.spec("attacked", drill_server="live"), made.artifact, made.stored, Work(folder))
        assert not mark.exists()
        os.mkdir(folder + "/scratch", 0o700)
        ENGINE.drill(made.spec, made.artifact, made.stored, Work(folder + "/scratch"))
        # It runs there, where it is nobody.
        assert "(nobody)" in mark.read_text()
        assert mark.owner() == "nobody"
        assert not [found for found in server.databases() if "drill" in found]
