# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at in files and ``/proc``: listening ports and who holds them, processes, files. Blocking; run in the engine's child.

Each ``see_*`` function looks and returns data for JSON; the ``judge_*`` function of the same name makes an outcome of it.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import cut, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge

from .options import Probe, safe_url
from .outcome import Outcome

_LISTEN = "0A"  # state of a TCP socket in /proc/net/tcp
_BOUND = "07"  # and of a UDP socket without a peer
#: Matches of one pattern that are looked at; a folder of millions must not eat the time of the others.
MAX_MATCHES = 10000


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


# -- ports ---------------------------------------------------------------------------------------------------------------


def see_port(probe: Probe, root: str = "/") -> Dict[str, Any]:
    """Where a port is listened on and by which processes. Raises OSError when the kernel's table cannot be read."""
    inodes: Dict[str, str] = {}
    tables = 0
    for suffix in ("", "6"):
        try:
            text = _read(os.path.join(root, "proc/net", probe["protocol"] + suffix))
        except FileNotFoundError:  # a kernel without IPv6
            continue
        tables += 1
        for line in text.splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == (_LISTEN if probe["protocol"] == "tcp" else _BOUND):
                address, _colon, port = fields[1].partition(":")
                if int(port, 16) == probe["port"]:
                    inodes[fields[9]] = _kernel_address(address)
    if not tables:
        raise OSError("/proc/net/%s is not there" % probe["protocol"])
    holders, hidden = _holders(set(inodes), root) if inodes else ([], False)
    return {"addresses": sorted(set(inodes.values())), "holders": holders, "hidden": hidden}


def _kernel_address(text: str) -> str:
    """An address of /proc/net/tcp: words in the byte order of the machine."""
    import sys

    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    raw = b"".join(words)
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def _holders(inodes: Any, root: str) -> Tuple[List[Dict[str, Any]], bool]:
    """The processes that hold sockets, and whether some could not be looked into."""
    links = {"socket:[%s]" % inode for inode in inodes}
    found: List[Dict[str, Any]] = []
    held = set()
    hidden = False
    for pid in _pids(root):
        folder = os.path.join(root, "proc", pid, "fd")
        try:
            names = os.listdir(folder)
        except OSError as error:
            hidden = hidden or isinstance(error, PermissionError)
            continue
        for name in names:
            try:
                link = os.readlink(os.path.join(folder, name))
            except OSError:
                continue
            if link in links:
                held.add(link)
                process = _process(pid, root)
                if process and process not in found:
                    found.append(process)
    return found, hidden and held != links


def _shown(process: Dict[str, Any]) -> str:
    """A process without most of its arguments, which may hold secrets: its program and, for an interpreter, the script."""
    words = process["cmdline"].split()
    kept = words[:2] if words[1:] and not words[1].startswith("-") and "/" in words[1] and "=" not in words[1] else words[:1]
    return "%s, %s: %s" % (process["pid"], process["user"], safe_url(" ".join(kept)) or process["process"])


def judge_port(probe: Probe, seen: Dict[str, Any], evidence: Dict[str, Any]) -> Outcome:
    """Listening or free as wanted; held by the process that is wanted."""
    common: Dict[str, Any] = {"name": probe["name"], "port": "%d/%s" % (probe["port"], probe["protocol"])}
    holders = ["%s (%s)" % (item["process"], item["pid"]) for item in seen["holders"]]
    evidence["listens_on"] = seen["addresses"]
    evidence["holders"] = [_shown(item) for item in seen["holders"]]
    if not seen["addresses"]:
        status, text = ("ok", "probe.port.free") if probe["state"] == "free" else ("critical", "probe.port.closed")
        return Outcome(status, message(text, **common))
    if not holders and (seen["hidden"] or probe["process"] or probe["state"] == "free"):
        if probe["process"]:
            return Outcome("unknown", message("probe.port.hidden", **common))
        if probe["state"] == "free":
            return Outcome("critical", message("probe.port.taken_hidden", **common))
        return Outcome("ok", message("probe.port.ok_hidden", **common))
    common["holders"] = holders
    if probe["state"] == "free":
        return Outcome("critical", message("probe.port.taken", **common))
    if probe["process"] and not all(
        re.search(probe["process"], item["process"]) or re.search(probe["process"], item["cmdline"]) for item in seen["holders"]
    ):
        return Outcome("critical", message("probe.port.other", wanted=probe["process"], **common))
    return Outcome("ok", message("probe.port.ok" if holders else "probe.port.ok_kernel", **common))


# -- processes -----------------------------------------------------------------------------------------------------------


def _pids(root: str) -> List[str]:
    return sorted((name for name in os.listdir(os.path.join(root, "proc")) if name.isdigit()), key=int)


def _process(pid: str, root: str) -> Optional[Dict[str, Any]]:
    """One process, None when it is gone or was never more than a row of the table (a zombie)."""
    folder = os.path.join(root, "proc", pid)
    try:
        status = dict(line.split(":", 1) for line in _read(os.path.join(folder, "status")).splitlines() if ":" in line)
        cmdline = _read(os.path.join(folder, "cmdline")).replace("\0", " ").strip()
        name = _read(os.path.join(folder, "comm")).rstrip("\n")
    except OSError:
        return None
    if status.get("State", "").strip().startswith("Z"):
        return None
    return {"pid": int(pid), "process": name, "cmdline": cmdline, "user": _user_name(status.get("Uid", "").split())}


def _user_name(uids: List[str]) -> str:
    if len(uids) < 2:
        return "?"
    import pwd

    try:
        return pwd.getpwuid(int(uids[1])).pw_name
    except (KeyError, ValueError):
        return uids[1]


def see_process(probe: Probe, root: str = "/", not_these: Tuple[int, ...] = ()) -> Dict[str, Any]:
    """The processes that match; ``hidden``: other users' are not shown to this one (``hidepid``)."""
    found = list(_matching(probe, root, not_these))
    return {
        "count": len(found),
        "processes": [{**item, "cmdline": cut(item["cmdline"], 1000)} for item in found[:20]],
        "hidden": not os.path.exists(os.path.join(root, "proc/1/status")),
    }


def _matching(probe: Probe, root: str, not_these: Tuple[int, ...]) -> Iterator[Dict[str, Any]]:
    pattern = re.compile(probe["cmdline"]) if probe["cmdline"] else None
    for pid in _pids(root):
        if int(pid) in not_these:
            continue
        if probe["process"] and not _named(pid, root, probe["process"]):
            continue
        process = _process(pid, root)
        if process is None or (probe["user"] and process["user"] != probe["user"]):
            continue
        if pattern is None or pattern.search(process["cmdline"]):
            yield process


def _named(pid: str, root: str, wanted: str) -> bool:
    """Whether a process has a name; the kernel keeps 15 bytes of it, so a longer one is looked for in the command line."""
    try:
        name = _read(os.path.join(root, "proc", pid, "comm")).rstrip("\n")
        if name == wanted:
            return True
        if len(wanted.encode()) > 15 and name == wanted[:15]:
            words = _read(os.path.join(root, "proc", pid, "cmdline")).split("\0")
            return any(os.path.basename(word) == wanted for word in words[:2])
    except OSError:
        pass
    return False


def judge_process(probe: Probe, seen: Dict[str, Any], evidence: Dict[str, Any]) -> Outcome:
    """The number of processes against the thresholds."""
    count = seen["count"]
    wanted = " ".join(str(probe[key]) for key in ("process", "cmdline", "user") if probe[key])
    if seen["processes"]:
        evidence["processes"] = [_shown(item) for item in seen["processes"]]
    status = judge(count, probe["warning"], probe["critical"])
    common: Dict[str, Any] = {"name": probe["name"], "count": count, "wanted": wanted}
    if status == "ok":
        return Outcome("ok", message("probe.process.ok", **common), count)
    if seen["hidden"]:
        return Outcome("unknown", message("probe.process.hidden", **common), count)
    return Outcome(status, message("probe.process.count" if count else "probe.process.none", **common), count)


# -- files ---------------------------------------------------------------------------------------------------------------


def see_file(probe: Probe, now: Optional[float] = None) -> Dict[str, Any]:
    """The files a path or pattern names: how many, the newest, those with another owner, group or mode."""
    import glob
    import itertools

    path = probe["path"]
    problems: List[Tuple[str, str]] = []
    if glob.has_magic(path) and not os.path.lexists(path):
        paths = list(itertools.islice(glob.iglob(path, recursive=True), MAX_MATCHES))
    else:
        paths = [path]
    newest: Optional[Tuple[float, str, int]] = None
    count = 0
    odd: List[str] = []
    for match in paths:
        try:
            found = os.stat(match)
        except FileNotFoundError:
            if os.path.islink(match):
                problems.append((match, "dangling"))
            continue
        except OSError as error:
            problems.append((match, "forbidden" if isinstance(error, PermissionError) else error.strerror or str(error)))
            continue
        count += 1
        if newest is None or found.st_mtime > newest[0]:
            newest = (found.st_mtime, match, found.st_size)
        odd += _odd(probe, match, found)
    seen: Dict[str, Any] = {"count": count, "problems": problems[:20], "odd": odd[:20], "more": len(paths) >= MAX_MATCHES}
    if newest:
        seen.update(newest=newest[1], age=(time.time() if now is None else now) - newest[0], size=newest[2])
    return seen


def _odd(probe: Probe, path: str, found: os.stat_result) -> List[str]:
    import grp
    import pwd

    have = []
    for key, number, look_up in (("owner", found.st_uid, pwd.getpwuid), ("group", found.st_gid, grp.getgrgid)):
        if probe[key] is None or str(number) == probe[key]:
            continue
        try:
            name = look_up(number)[0]
        except KeyError:
            name = str(number)
        if name != probe[key]:
            have.append(name)
    mode = found.st_mode & 0o7777
    if probe["mode"] is not None and mode != int(probe["mode"], 8):
        have.append("%04o" % mode)
    return ["%s: %s" % (path, " ".join(have))] if have else []


def judge_file(probe: Probe, seen: Dict[str, Any], evidence: Dict[str, Any]) -> Outcome:
    """Present or absent, owner and mode, size and age."""
    common: Dict[str, Any] = {"name": probe["name"], "path": probe["path"]}
    unseen = [path for path, problem in seen["problems"] if problem != "dangling"]
    if probe["state"] == "absent":
        if unseen and not seen["count"]:
            return Outcome("unknown", message("probe.file.unreadable", paths=unseen[:3], **common))
        status = "critical" if seen["count"] or seen["problems"] else "ok"
        return Outcome(status, message("probe.file.there" if status == "critical" else "probe.file.absent", **common), seen["count"])
    if unseen:
        return Outcome("unknown", message("probe.file.unreadable", paths=unseen[:3], **common))
    if not seen["count"]:
        text = "probe.file.dangling" if seen["problems"] else "probe.file.missing"
        return Outcome("critical", message(text, **common), 0 if probe["measure"] == "count" else None)
    age, size = round(seen["age"], 1), seen["size"]
    evidence.update(newest_match=seen["newest"], age=message("probe.age", age=age), bytes_file=size, files=seen["count"])
    value, unit = {"age": (age, "s"), "size": (size, "B"), "count": (seen["count"], "")}[probe["measure"]]
    common["path"] = seen["newest"]
    if seen["odd"]:
        evidence["odd"] = seen["odd"]
        wanted = [probe[key] for key in ("owner", "group", "mode") if probe[key] is not None]
        return Outcome("critical", message("probe.file.odd", odd=seen["odd"][:3], wanted=" ".join(wanted), **common), value, unit)
    if probe["max_age"] is not None and age > probe["max_age"]:
        return Outcome("critical", message("probe.file.old", age=age, limit=probe["max_age"], **common), value, unit)
    if probe["min_size"] is not None and size < probe["min_size"]:
        return Outcome("critical", message("probe.file.small", size=size, limit=probe["min_size"], **common), value, unit)
    if probe["max_size"] is not None and size > probe["max_size"]:
        return Outcome("critical", message("probe.file.large", size=size, limit=probe["max_size"], **common), value, unit)
    status = judge(value, probe["warning"], probe["critical"])
    said = message(
        "probe.file." + ("ok" if status == "ok" else "limit_" + probe["measure"]), age=age, size=size, count=seen["count"], **common
    )
    return Outcome(status, said, value, unit)


def see_certificate(probe: Probe) -> Dict[str, Any]:
    """The certificates of a file, or why there are none."""
    from .tls import read_certificates

    try:
        with open(probe["path"], "rb") as file:
            return {"certificates": [list(item) for item in read_certificates(file.read(1 << 20))]}
    except OSError as error:
        return {"error": error.strerror or str(error)}
    except ValueError as error:
        return {"error": str(error)}
