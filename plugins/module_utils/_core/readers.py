# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that are lists of named things: each key read by its own reader, what is wrong told by its path.

A reader takes a value and its path and returns what the code works with, or raises OptionError. A table of readers is the
whole specification of an item::

    _RULE = {"name": name, "root": path, "min_age": duration, "patterns": texts}
    rules = read_items(options.get("rules"), "rules", _RULE, required=("name", "root"))
"""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from .options import OptionError, parse_duration, parse_size, unknown_name

Reader = Callable[[Any, str], Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*\Z")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?\Z|\d+\Z")
_TRUE, _FALSE = ("yes", "true", "on", "1", "y", "t"), ("no", "false", "off", "0", "n", "f")
#: A control character in a generated file is a line of its own to whatever reads it.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read_items(value: Any, path: str, readers: Mapping[str, Reader], required: Sequence[str] = ("name",)) -> List[Dict[str, Any]]:
    """Read a list of items with unique names; keys that are None or not given are absent. Raises OptionError."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise OptionError(path, "is to be a list, not %s" % _shown(value))
    items: List[Dict[str, Any]] = []
    seen: Dict[str, int] = {}
    for index, given in enumerate(value):
        here = "%s[%d]" % (path, index)
        item = read_item(given, here, readers, required)
        if "name" in item:
            if item["name"] in seen:
                raise OptionError(here + ".name", "%r is the name of %s[%d] already" % (item["name"], path, seen[item["name"]]))
            seen[item["name"]] = index
        items.append(item)
    return items


def read_item(value: Any, path: str, readers: Mapping[str, Reader], required: Sequence[str] = ()) -> Dict[str, Any]:
    """Read one mapping. Raises OptionError."""
    if not isinstance(value, Mapping):
        raise OptionError(path, "is to be a mapping, not %s" % _shown(value))
    for key in value:
        if key not in readers:
            raise unknown_name("%s.%s" % (path, key), str(key), readers, what="key")
    for key in required:
        if value.get(key) is None:
            raise OptionError("%s.%s" % (path, key), "is required and is missing")
    return {key: readers[key](item, "%s.%s" % (path, key)) for key, item in value.items() if item is not None}


def name(value: Any, path: str) -> str:
    """A word that can be part of a file name."""
    found = text(value, path)
    if not _NAME.match(found) or len(found) > 100:
        raise OptionError(path, "%r is no name: letters, digits, _ . @ and -, up to 100" % found)
    return found


def text(value: Any, path: str) -> str:
    """One line of text that is not empty."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise OptionError(path, "is to be a text, not %s" % _shown(value))
    found = str(value)
    if not found.strip():
        raise OptionError(path, "is empty")
    if _CONTROL.search(found):
        raise OptionError(path, "holds a line break or another control character: %s" % _shown(found))
    return found


def lines(value: Any, path: str) -> List[str]:
    """Lines of a script: a text of one or more lines, or a list of them."""
    given = value.splitlines() if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not given:
        raise OptionError(path, "is to be a script: a text or a list of lines, not %s" % _shown(value))
    return [text(line, "%s[%d]" % (path, at)) for at, line in enumerate(given) if not (isinstance(line, str) and not line.strip())]


def texts(value: Any, path: str) -> List[str]:
    """A list of texts; one text stands for a list of it."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not given:
        raise OptionError(path, "is to be a list of texts, not %s" % _shown(value))
    return [text(item, "%s[%d]" % (path, at)) for at, item in enumerate(given)]


def argv(value: Any, path: str) -> List[str]:
    """A command as a list of its words; a text is split as a shell would, nothing is expanded."""
    if isinstance(value, str):
        import shlex

        try:
            value = shlex.split(text(value, path))
        except ValueError as error:
            raise OptionError(path, "%s cannot be split into words: %s" % (_shown(value), error)) from None
    return texts(value, path)


def boolean(value: Any, path: str) -> bool:
    """True or false, also as the words YAML and INI have for them."""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if isinstance(value, (str, int)) and word in _TRUE + _FALSE:
        return word in _TRUE
    raise OptionError(path, "%s is neither true nor false" % _shown(value))


def whole(value: Any, path: str) -> int:
    """A whole number, 0 or more."""
    if not isinstance(value, bool) and re.match(r"\d{1,9}\Z", str(value).strip()):
        return int(value)
    raise OptionError(path, "%s is no whole number of 0 or more" % _shown(value))


def port(value: Any, path: str) -> int:
    """A port."""
    found = whole(value, path)
    if not 1 <= found <= 65535:
        raise OptionError(path, "%d is no port" % found)
    return found


def password(value: Any, path: str) -> str:
    """A password may hold whatever it likes, and is never shown."""
    if not isinstance(value, str) or not value:
        raise OptionError(path, "is to be a text")
    return value


def duration(value: Any, path: str) -> float:
    """Seconds, from ``5m``, ``25h``, ``30d`` …"""
    return parse_duration(value, path)


def size(value: Any, path: str) -> int:
    """Bytes, from ``100M`` …"""
    return parse_size(value, path)


def absolute(value: Any, path: str) -> str:
    """An absolute path without ``..``, without a slash at its end."""
    found = text(value, path)
    if not found.startswith("/") or ".." in found.split("/"):
        raise OptionError(path, "%r is no absolute path" % found)
    return "/" + "/".join(part for part in found.split("/") if part not in ("", "."))


def absolutes(value: Any, path: str) -> List[str]:
    """A list of absolute paths; may hold globs."""
    return [absolute(item, "%s[%d]" % (path, at)) for at, item in enumerate(texts(value, path))]


def mode(value: Any, path: str) -> int:
    """Permission bits from ``"0640"``; a number is refused, for YAML may have read it as an octal or as a decimal one."""
    if isinstance(value, str) and re.match(r"0?[0-7]{3,4}\Z", value.strip()):
        return int(value, 8)
    raise OptionError(path, "%s is no mode: write it in quotes" % _shown(value), hint='"0640"')


def user(value: Any, path: str) -> str:
    """A user's or group's name; whether it exists is for the target to say."""
    found = text(value, path)
    if not _USER.match(found):
        raise OptionError(path, "%r is no user or group name" % found)
    return found


def choice(*choices: str) -> Reader:
    """A reader of one of ``choices``."""

    def read(value: Any, path: str) -> str:
        found = text(value, path)
        if found not in choices:
            raise unknown_name(path, found, choices, what="choice")
        return found

    return read


def mapping(value: Any, path: str) -> Dict[str, Any]:
    """A mapping with texts as keys, its values as they are."""
    if not isinstance(value, Mapping):
        raise OptionError(path, "is to be a mapping, not %s" % _shown(value))
    return {str(key): item for key, item in value.items()}


def user_id(given: Optional[str], what: str) -> int:
    """The number of a user of this host; the caller's own for None. Raises OptionError when there is none."""
    import pwd

    if given is None:
        return os.geteuid()
    if given.isdigit():
        return int(given)
    try:
        return pwd.getpwnam(given).pw_uid
    except KeyError:
        raise OptionError(what, "there is no user %r on this host" % given) from None


def group_id(given: Optional[str], what: str, of_user: Optional[str] = None) -> int:
    """The number of a group of this host; for None that of ``of_user``, else the caller's own. Raises OptionError."""
    import grp
    import pwd

    if given is None:
        if of_user is None:
            return os.getegid()
        try:
            return pwd.getpwuid(int(of_user)).pw_gid if of_user.isdigit() else pwd.getpwnam(of_user).pw_gid
        except KeyError:
            raise OptionError(what, "there is no user %r on this host" % of_user) from None
    if given.isdigit():
        return int(given)
    try:
        return grp.getgrnam(given).gr_gid
    except KeyError:
        raise OptionError(what, "there is no group %r on this host" % given) from None


def _shown(value: Any) -> str:
    found = repr(value)
    return found if len(found) <= 60 else found[:59] + "…"
