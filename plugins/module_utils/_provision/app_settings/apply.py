# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring settings files into force: checked before they replace the old ones, and back again when the service does not come up."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.readers import group_id, user_id
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as files
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import originals
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import run
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime import units as unit_changes

from . import files as settings

#: Name of the transaction.
NAME = "app_settings"
#: A compose project that is made anew may pull and wait for its dependencies.
COMMAND_SECONDS = 600.0


class Host(NamedTuple):
    """Where things are on the host, and how programs are started."""

    root: str = "/"
    state: str = "/var/lib/opsrunner"
    proc: str = "/proc"
    run: Callable[..., Tuple[int, str]] = run.run_command
    wait: Callable[[float], None] = time.sleep

    @property
    def transactions(self) -> str:
        """The folder of the journals."""
        return os.path.join(self.state, "transactions")

    @property
    def originals(self) -> str:
        """The folder of what was there before."""
        return os.path.join(self.state, "originals")


class Plan(NamedTuple):
    """A settings file and its unit's drop-in, each before and after; ``restart``: the unit as it is, when it is to be restarted."""

    one: settings.Settings
    values: Mapping[str, Any]
    file: Tuple[files.FileState, files.FileState]
    drop_in: Optional[Tuple[files.FileState, files.FileState]]
    unit: Optional[unit_changes.Unit]
    pending: List[str]

    @property
    def needed(self) -> bool:
        """Whether a file is to be changed."""
        return files.differs(*self.file) or (self.drop_in is not None and files.differs(*self.drop_in))

    @property
    def restart(self) -> bool:
        """Whether the unit is to be restarted: it runs, and not with what the files say."""
        return bool(self.one.restart and self.unit and self.unit.active == "active" and (self.needed or self.pending))


class Result(NamedTuple):
    """What the module returns."""

    changed: bool
    found: List[Finding]
    diff: List[Dict[str, Any]]
    restarted: List[str]


def carry_out(wanted: Sequence[settings.Settings], host: Host, check_mode: bool) -> Result:
    """Bring the settings into force and tell about them. Raises FileError or OptionError; then all is as it was."""
    found: List[Finding] = []
    if files.interrupted(NAME, host.transactions):
        undone = None if check_mode else files.recover(NAME, host.transactions, _undo(host))
        evidence = {"put_back": undone.files if undone else []}
        found.append(finding("settings.change", "settings", "warning", message("change.interrupted", name=NAME), evidence=evidence))
    try:
        facts = settings.host_facts(host.proc)
        units = unit_changes.show(dict.fromkeys(one.unit for one in wanted if one.unit), host.run)
    except (OSError, unit_changes.UnitError) as error:
        raise files.FileError("the host cannot be looked at: %s" % error) from error
    plans = [plan(one, "settings[%d]" % at, host, facts, units) for at, one in enumerate(wanted)]
    doing = [one for one in plans if one.needed or one.restart]
    restarted: List[str] = []
    if doing and not check_mode:
        restarted = _apply(doing, host)
    for one in plans:
        found.append(_file_finding(one, facts, check_mode))
        effective = _effective_finding(one, host, check_mode)
        found += [effective] if effective else []
    pairs = [(pair, one.one.secret) for one in plans for pair in (one.file, one.drop_in) if pair and files.differs(*pair)]
    return Result(bool(doing), found, [files.diff(before, after, secret) for (before, after), secret in pairs], restarted)


def plan(one: settings.Settings, here: str, host: Host, facts: Mapping[str, int], units: Mapping[str, unit_changes.Unit]) -> Plan:
    """What is to be done for one settings file. Raises FileError or OptionError."""
    path = os.path.join(host.root, one.path.lstrip("/"))
    before = files.read(path)
    unit = units.get(one.unit)
    drop_in: Optional[Tuple[files.FileState, files.FileState]] = None
    if one.unit:
        place = unit_changes.drop_in_path(one.unit, "50-opsrunner-%s.conf" % one.name, host.root)
        old = files.read(place)
        text = settings.HEADER + "[Service]\nEnvironmentFile=%s\n" % one.path.replace("%", "%%")
        keep = one.present and one.environment_file
        drop_in = (old, files.desired(old, text.encode(), 0o644, os.geteuid(), os.getegid()) if keep else files.absent(old))
    if not one.present:
        ours = before.content.startswith(settings.HEADER.encode()) or originals.original(path, host.originals) is not None
        return Plan(one, {}, (before, originals.given_back(path, host.originals) if ours else before), drop_in, unit, [])
    if unit is not None and not unit.exists:
        raise OptionError(here + ".unit", "there is no unit %s on this host" % one.unit)
    if not os.path.isdir(os.path.dirname(path)):
        raise OptionError(here + ".path", "there is no folder %s on this host" % os.path.dirname(one.path))
    empty = next((name for name in one.secret_names if one.values.get(name) in ("", None)), None)
    if empty:
        raise OptionError("%s.secrets.%s" % (here, empty), "is empty: the vault or the variable it comes from gave nothing")
    values = settings.resolve(one.values, facts)
    if one.merge and before.kind == "file":
        text = settings.merge_env(before.content.decode("utf-8", "surrogateescape"), values)
    else:
        text = settings.render(one.format, values)
    # Only what is in the file already is kept as it is; who may read it is for the settings to say.
    owner, group = user_id(one.owner, here + ".owner"), group_id(one.group, here + ".group", one.owner)
    after = files.desired(before, text.encode("utf-8", "surrogateescape"), one.mode, owner, group)
    made = Plan(one, values, (before, after), drop_in, unit, [])
    return made._replace(pending=[] if made.needed else not_in_force(made, host))


def not_in_force(made: Plan, host: Host) -> List[str]:
    """Why the running service does not have what its file says: names of variables, or the file; none when it has."""
    unit = made.unit
    if unit is None or unit.active != "active" or not unit.pid:
        return []
    if made.one.environment_file:
        try:
            with open(os.path.join(host.proc, str(unit.pid), "environ"), "rb") as file:
                told = dict(entry.partition(b"=")[::2] for entry in file.read().split(b"\0"))
        except OSError:
            return []
        meant = {name: settings.scalar(value).encode("utf-8", "surrogateescape") for name, value in made.values.items()}
        return sorted(name for name, value in meant.items() if told.get(name.encode()) != value)
    changed = (made.file[0].mtime_ns or 0) / 1e9
    # Clocks of boot and files are compared to the second.
    return [made.one.path] if made.file[0].kind == "file" and changed > unit.started + 1 else []


def _undo(host: Host) -> files.Undo:
    def command(data: Any) -> None:
        status, output = host.run(data, COMMAND_SECONDS)
        if status:
            raise files.FileError("%s: %s" % (" ".join(data), output or "exit status %d" % status))

    return {**unit_changes.undo(host.run), "command": command}


def _apply(doing: Sequence[Plan], host: Host) -> List[str]:
    """Change files, restart what uses them, see that it is healthy; all is put back when one is not. Returns what was restarted."""
    header = settings.HEADER.encode()
    restart = {one.one.unit: one for one in doing if one.restart and one.unit}
    commands = dict.fromkeys(one.one.apply_command for one in doing if one.needed and one.one.apply_command)
    reload_needed = any(one.drop_in and files.differs(*one.drop_in) for one in doing)
    try:
        with files.Transaction(NAME, host.transactions, _undo(host)) as change:
            # Announced first, so that they are taken back last: when the files are the old ones again.
            for argv in commands:
                change.note("command", list(argv))
            change.note("units", {"reload": reload_needed, "pids": {name: one.unit.pid for name, one in restart.items() if one.unit}})
            for one in doing:
                before, after = one.file
                if files.differs(before, after) and one.one.present:
                    _check(one, host)
                    originals.take_over(change, after, host.originals, ours=before.content.startswith(header))
                elif files.differs(before, after):
                    originals.give_back(change, after.path, host.originals)
                if one.drop_in and files.differs(*one.drop_in):
                    change.put(one.drop_in[1])
            if reload_needed:
                _run(host, ["systemctl", "daemon-reload"])
            for name in restart:
                _run(host, ["systemctl", "restart", name])
            for argv in commands:
                _run(host, list(argv))
            for one in doing:
                if one.one.unit in restart or one.one.apply_command in commands:
                    wait_healthy(one, host)
    except (files.FileError, unit_changes.UnitError) as error:
        told = "" if "put back" in str(error) else "; the old settings are back"
        raise files.FileError("%s%s" % (error, told)) from error
    for one in doing:
        if one.drop_in and one.drop_in[1].kind == "absent":
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(one.drop_in[1].path))
    return [*restart, *(" ".join(argv) for argv in commands)]


def _run(host: Host, argv: List[str]) -> None:
    status, output = host.run(argv, COMMAND_SECONDS)
    if status:
        raise files.FileError("%s: %s" % (" ".join(argv), output or "exit status %d" % status))


def _check(one: Plan, host: Host) -> None:
    """Let the format's parser and the settings' own command read the new file, beside the old one. Raises FileError."""
    after = one.file[1]
    wrong = settings.check_text(one.one.format, after.content.decode("utf-8", "surrogateescape"), one.values)
    if wrong:
        raise files.FileError("%s: %s" % (one.one.path, wrong))
    if one.one.validate:
        candidate = os.path.join(os.path.dirname(after.path), ".%s.candidate" % os.path.basename(after.path))
        files.write(after._replace(path=candidate))
        try:
            status, output = host.run([candidate if word == "%s" else word for word in one.one.validate], 60.0)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(candidate)
        if status:
            # What a checker prints may quote the file.
            reason = "exit status %d" % status if one.one.secret or not output else output.splitlines()[-1]
            raise files.FileError("%s is refused by %s: %s" % (one.one.path, one.one.validate[0], reason))


# -- health -------------------------------------------------------------------------------------------------------------------


def wait_healthy(one: Plan, host: Host) -> None:
    """Wait until the service is up, stays up, and answers. Raises FileError with what was wrong at the end of its time."""
    limit, settle = settings.health_timeout(one.one)
    started = time.monotonic()
    first = unit_changes.show([one.one.unit], host.run)[one.one.unit] if one.one.unit else None
    while True:
        wrong = _unhealthy(one.one, first, host)
        passed = time.monotonic() - started
        if wrong is None and (passed >= settle or first is None):
            return
        if passed >= max(limit, settle):
            raise files.FileError(
                "%s is not healthy %d s after its restart: %s" % (one.one.unit or one.one.name, passed, wrong or "not settled")
            )
        host.wait(0.3)


def _unhealthy(one: settings.Settings, first: Optional[unit_changes.Unit], host: Host) -> Optional[str]:
    if first is not None:
        try:
            now = unit_changes.show([one.unit], host.run)[one.unit]
        except unit_changes.UnitError as error:
            return str(error)
        if now.active != "active":
            return "it is %s" % now.active
        if now.restarts > first.restarts:
            return "it was restarted %d times by systemd" % (now.restarts - first.restarts)
    health = one.health
    if "port" in health:
        import socket

        try:
            socket.create_connection(("localhost", health["port"]), 2.0).close()
        except OSError as error:
            return "port %d: %s" % (health["port"], error.strerror or error)
    if "url" in health:
        wrong = _get(health["url"])
        if wrong:
            return "%s: %s" % (health["url"], wrong)
    if "command" in health:
        status, output = host.run(health["command"], 20.0)
        if status:
            return "%s: %s" % (health["command"][0], (output.splitlines() or ["exit status %d" % status])[-1])
    return None


def _get(url: str) -> Optional[str]:
    """Why a URL does not answer with 200 to 399; None when it does."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc.rpartition("@")[2], timeout=5.0)
    try:
        connection.request("GET", (parts.path or "/") + ("?" + parts.query if parts.query else ""), headers={"User-Agent": "opsrunner"})
        status = connection.getresponse().status
        return None if 200 <= status < 400 else "status %d" % status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


# -- findings -----------------------------------------------------------------------------------------------------------------


def _file_finding(one: Plan, facts: Mapping[str, int], check_mode: bool) -> Finding:
    told = {"name": one.one.name, "path": one.one.path}
    evidence = {"settings_derived": ["%s=%d" % pair for pair in settings.derived(one.one.values, facts)]}
    status, what = "ok", "settings.ok"
    if one.needed and check_mode:
        status, what = "warning", "settings.differs" if one.one.present else "settings.would_go"
    elif not one.one.present:
        what = "settings.removed" if one.needed else "settings.absent"
    elif one.needed:
        what = "settings.changed"
    given = evidence if evidence["settings_derived"] and one.one.present else None
    return finding("settings." + one.one.name, "settings", status, message(what, **told), evidence=given, remedy=one.one.remedy)


def _effective_finding(one: Plan, host: Host, check_mode: bool) -> Optional[Finding]:
    """Whether the unit runs with what the file says, once all is done."""
    if not one.one.unit or not one.one.present:
        return None
    told = {"name": one.one.name, "unit": one.one.unit}
    check_id = "settings.%s.effective" % one.one.name
    if one.unit is None or one.unit.active != "active":
        return finding(check_id, "settings", "ok", message("settings.not_running", **told))
    missing = [one.one.path] if one.needed else one.pending
    if not check_mode and one.restart:
        now = unit_changes.show([one.one.unit], host.run)[one.one.unit]
        state = files.read(one.file[1].path)
        missing = not_in_force(one._replace(unit=now, file=(state, state)), host)
    if missing:
        text = message("settings.pending", what=missing, **told)
        return finding(check_id, "settings", "warning", text, remedy=one.one.remedy)
    return finding(check_id, "settings", "ok", message("settings.effective", **told))
