# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings files of applications: from data and from the host to a text, and back to see that it says what was meant.

Sources: systemd.exec(5) (``EnvironmentFile=``: quoting as a POSIX shell's, nothing expanded between single quotes), the
language references of INI as Python's configparser reads it, JSON and YAML 1.2.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError

HEADER = "# Managed by opsrunner (app_settings): what is written here by hand is replaced.\n"
FORMATS = ("env", "ini", "json", "python", "yaml")
SOURCES = ("cores", "memory")
UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
#: Seconds a restarted service has to become healthy, and to stay up.
HEALTH_SECONDS, SETTLE_SECONDS = 30.0, 3.0

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SAFE = re.compile(r"[A-Za-z0-9_./:,@%+=-]+\Z")


class Share(NamedTuple):
    """A value that is a share of what the host has: ``share`` of its cores, or of its memory in ``unit`` bytes."""

    source: str
    share: float
    unit: int
    least: Optional[float]
    most: Optional[float]

    def of(self, facts: Mapping[str, int]) -> int:
        """The value on a host with these facts (``cores``, ``memory`` in bytes)."""
        return host_share(facts[self.source], self.share, self.unit if self.source == "memory" else 1, self.least, self.most)


def host_share(total: float, share: float = 1.0, unit: int = 1, least: Optional[float] = None, most: Optional[float] = None) -> int:
    """``share`` of ``total`` in whole ``unit``s, rounded down, not below ``least`` (default 1) and not above ``most``."""
    value = math.floor(total * share / unit + 1e-9)
    value = max(value, math.ceil(1 if least is None else least))
    return value if most is None else min(value, math.floor(most))


def parse_share(value: Any, path: str) -> float:
    """A share from ``0.5``, ``2`` or ``"1%"``. Raises OptionError."""
    found = re.match(r"(\d+(?:\.\d+)?)\s*(%?)\Z", str(value).strip())
    if isinstance(value, bool) or not found or float(found.group(1)) <= 0:
        raise OptionError(path, "%r is no share" % (value,), hint="0.5, 2 or 1%")
    return float(found.group(1)) / (100 if found.group(2) else 1)


def _number(value: Any, path: str) -> float:
    try:
        return float("x" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise OptionError(path, "%r is no number" % (value,)) from None


_SHARE: Dict[str, read.Reader] = {
    "from_host": read.choice(*SOURCES),
    "share": parse_share,
    "unit": read.choice(*UNITS),
    "min": _number,
    "max": _number,
}
_HEALTH: Dict[str, read.Reader] = {
    "url": read.text,
    "port": read.whole,
    "command": read.argv,
    "timeout": read.duration,
    "settle": read.duration,
}


def _health(value: Any, path: str) -> Dict[str, Any]:
    found = read.read_item(value, path, _HEALTH)
    if "url" in found and not re.match(r"https?://[^/\s]", found["url"]):
        raise OptionError(path + ".url", "%r is no URL" % found["url"], hint="http://localhost:8000/health")
    if "port" in found and not 1 <= found["port"] <= 65535:
        raise OptionError(path + ".port", "%d is not a port" % found["port"], hint="1 to 65535")
    return found


def _unit(value: Any, path: str) -> str:
    from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.units import unit_name

    return unit_name(value, path)


_ITEM: Dict[str, read.Reader] = {
    "name": read.name,
    "state": read.choice("present", "absent"),
    "path": read.absolute,
    "format": read.choice(*FORMATS),
    "values": read.mapping,
    "secrets": read.mapping,
    "merge": read.boolean,
    "mode": read.mode,
    "owner": read.user,
    "group": read.user,
    "validate": read.argv,
    "unit": _unit,
    "environment_file": read.boolean,
    "restart": read.boolean,
    "apply_command": read.argv,
    "health": _health,
    "remedy": read.text,
}


class Settings(NamedTuple):
    """A settings file. ``values``: what is in it, shares of the host as :class:`Share`; ``secret_names``: which are secret."""

    name: str
    path: str
    present: bool = True
    format: str = "env"
    values: Mapping[str, Any] = {}
    secret_names: Tuple[str, ...] = ()
    merge: bool = False
    mode: int = 0o644
    owner: Optional[str] = None
    group: Optional[str] = None
    validate: Tuple[str, ...] = ()
    unit: str = ""
    environment_file: bool = False
    restart: bool = True
    apply_command: Tuple[str, ...] = ()
    health: Mapping[str, Any] = {}
    remedy: Optional[str] = None

    @property
    def secret(self) -> bool:
        """Whether the file holds secrets."""
        return bool(self.secret_names)


def parse(options: Mapping[str, Any]) -> Tuple[Settings, ...]:
    """Read the module's options. Raises OptionError."""
    found: List[Settings] = []
    for at, item in enumerate(read.read_items(options.get("settings"), "settings", _ITEM, ("name", "path"))):
        one = _settings(item, "settings[%d]" % at)
        for other in found:
            if other.path == one.path:
                raise OptionError("settings[%d].path" % at, "%s is written by %r already" % (one.path, other.name))
        found.append(one)
    return tuple(found)


def _settings(item: Dict[str, Any], here: str) -> Settings:
    present = item.pop("state", "present") == "present"
    values, secrets = item.pop("values", {}), item.pop("secrets", {})
    kind = item.get("format", "env")
    for key in ("validate", "apply_command"):
        if key in item:
            item[key] = tuple(item[key])
    item.setdefault("mode", 0o600 if secrets else 0o644)
    if secrets and item["mode"] & 0o007:
        raise OptionError(here + ".mode", "others could read the secrets with mode %04o" % item["mode"], hint='"0600" or "0640"')
    if present and not values and not secrets:
        raise OptionError(here + ".values", "is required and is missing")
    if item.get("environment_file") and not (item.get("unit") and kind == "env"):
        raise OptionError(here + ".environment_file", "needs a unit and the format env")
    if item.get("merge") and kind != "env":
        raise OptionError(here + ".merge", "only a file of the format env can be merged")
    if item.get("health") and not (item.get("unit") or item.get("apply_command")):
        raise OptionError(here + ".health", "is looked at after a restart: name the unit or the apply_command")
    if item.get("validate") and "%s" not in item["validate"]:
        raise OptionError(here + ".validate", "one of its words is to be %s, the file to be looked at")
    merged = _merge(_values(values, here + ".values"), _values(secrets, here + ".secrets"))
    _check_values(kind, merged, here)
    return Settings(present=present, values=merged, secret_names=tuple(secrets), **item)


def _values(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        if "from_host" in value:
            share = read.read_item(value, path, _SHARE, ("from_host",))
            if share["from_host"] == "memory" and "unit" not in share:
                raise OptionError(path + ".unit", "say the unit of a share of memory", hint="KiB, MiB or GiB")
            return Share(share["from_host"], share.get("share", 1.0), UNITS[share.get("unit", "B")], share.get("min"), share.get("max"))
        return {str(key): _values(item, "%s.%s" % (path, key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_values(item, "%s[%d]" % (path, at)) for at, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value)
    raise OptionError(path, "%r is neither text, number, list nor mapping" % (value,))


def _merge(base: Dict[str, Any], over: Mapping[str, Any]) -> Dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _check_values(kind: str, values: Mapping[str, Any], here: str) -> None:
    if kind in ("env", "python"):
        _check_flat(values, here + ".values", kind == "python")
    elif kind == "ini":
        for section, entries in values.items():
            if not isinstance(entries, Mapping):
                raise OptionError("%s.values.%s" % (here, section), "is to be a section: a mapping of names to values")
            if "]" in section or "\n" in section:
                raise OptionError("%s.values.%s" % (here, section), "%r is no name of a section" % section)
            for name, value in entries.items():
                path = "%s.values.%s.%s" % (here, section, name)
                if re.search(r"[=:\n\[\]#;]|^\s|\s$", name) or isinstance(value, (dict, list)) or "\n" in str(value) or "\r" in str(value):
                    raise OptionError(path, "INI holds names without = : [ ] # ; and values of one line")


def _check_flat(values: Mapping[str, Any], path: str, nested: bool) -> None:
    for name, value in values.items():
        here = "%s.%s" % (path, name)
        if not _VARIABLE.match(name):
            raise OptionError(here, "%r is no name of a variable" % name)
        if nested:
            continue
        if isinstance(value, (dict, list)):
            raise OptionError(here, "an environment holds texts and numbers only")
        if isinstance(value, str) and re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise OptionError(here, "holds a line break or another control character")


# -- the host -----------------------------------------------------------------------------------------------------------------


def host_facts(proc: str = "/proc") -> Dict[str, int]:
    """What the host has: ``cores`` this process may use, ``memory`` in bytes. Raises OSError."""
    with open(os.path.join(proc, "meminfo"), encoding="ascii") as file:
        memory = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemTotal:"))
    return {"cores": len(os.sched_getaffinity(0)), "memory": memory}


def resolve(value: Any, facts: Mapping[str, int]) -> Any:
    """The values with every share of the host worked out."""
    if isinstance(value, Share):
        return value.of(facts)
    if isinstance(value, Mapping):
        return {key: resolve(item, facts) for key, item in value.items()}
    return [resolve(item, facts) for item in value] if isinstance(value, list) else value


def derived(value: Any, facts: Mapping[str, int], path: str = "") -> Iterator[Tuple[str, int]]:
    """The names and values that come from the host."""
    if isinstance(value, Share):
        yield path, value.of(facts)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from derived(item, facts, "%s.%s" % (path, key) if path else key)


# -- texts --------------------------------------------------------------------------------------------------------------------


def render(kind: str, values: Mapping[str, Any]) -> str:
    """The file's text in one of :data:`FORMATS`; ``values`` resolved."""
    if kind == "json":
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    if kind == "env":
        return HEADER + "".join("%s=%s\n" % (name, env_word(scalar(value))) for name, value in values.items())
    if kind == "python":
        return HEADER + "".join("%s = %r\n" % pair for pair in values.items())
    if kind == "ini":
        out = [HEADER]
        for section, entries in values.items():
            out.append("\n[%s]\n" % section + "".join("%s = %s\n" % (name, scalar(value)) for name, value in entries.items()))
        return "".join(out)
    return HEADER + ("".join(_yaml(values, 0)) or "{}\n")


def scalar(value: Union[str, float, bool, None]) -> str:
    """A value as text: true and false in small letters, nothing for None."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def env_word(text: str) -> str:
    """A value of an environment file, the same to systemd, a shell and docker compose."""
    if not text or _SAFE.match(text):
        return text
    if "'" not in text:
        return "'%s'" % text
    return '"%s"' % re.sub(r'(["\\$`])', r"\\\1", text)


def _yaml(value: Any, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield "%s%s:" % (pad, _yaml_scalar(key))
            yield from _yaml_item(item, depth)
    elif isinstance(value, list):
        for item in value:
            yield "%s-" % pad
            yield from _yaml_item(item, depth)


def _yaml_item(item: Any, depth: int) -> Iterator[str]:
    if isinstance(item, (Mapping, list)) and item:
        yield "\n"
        yield from _yaml(item, depth + 1)
    else:
        yield " %s\n" % ("{}" if isinstance(item, Mapping) else "[]" if isinstance(item, list) else _yaml_scalar(item))


def _yaml_scalar(value: Any) -> str:
    if isinstance(value, str):
        # Words that YAML reads as something else than text (no, null, 1e3, 12:30 …) are quoted, and all that is not plain.
        plain = re.match(r"[A-Za-z][A-Za-z0-9_./-]*\Z", value) and value.lower() not in _YAML_WORDS
        return value if plain else _yaml_text(value)
    if isinstance(value, float):
        return ".nan" if math.isnan(value) else ("%s.inf" % ("-" if value < 0 else "")) if math.isinf(value) else _yaml_float(value)
    return json.dumps(value)


def _yaml_text(value: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        sign = found.group()
        return sign if sign.isprintable() else "\\u%04x" % ord(sign) if ord(sign) < 0x10000 else "\\U%08x" % ord(sign)

    return re.sub(r"[^ -~]", escaped, json.dumps(value, ensure_ascii=False))


_YAML_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))


def _yaml_float(value: float) -> str:
    text = repr(value)
    # PyYAML wants a dot and a sign in the exponent to see a number.
    mantissa, exponent, power = text.partition("e")
    return text if not exponent else "%s%se%s" % (mantissa, "" if "." in mantissa else ".0", power if power[0] in "+-" else "+" + power)


def read_env(text: str) -> Dict[str, str]:
    """The variables of an environment file. Raises ValueError naming the line."""
    import shlex

    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(("#", ";")):
            continue
        name, equals, value = line.strip().partition("=")
        name = name[len("export ") :].strip() if name.startswith("export ") else name.strip()
        if not equals or not _VARIABLE.match(name):
            raise ValueError("line %d is no assignment" % number)
        try:
            # A shell's double quotes also escape $ and `; shlex leaves those backslashes standing.
            words = shlex.split(re.sub(r"\\([$`])", lambda found: "\\\\\x00" + found.group(1), value)) if value else [""]
        except ValueError as error:
            raise ValueError("line %d: %s" % (number, error)) from None
        found[name] = " ".join(words).replace("\\\x00", "")
    return found


def merge_env(text: str, values: Mapping[str, Any]) -> str:
    """An environment file with these variables set, its other lines and their order as they were."""
    left = {name: "%s=%s" % (name, env_word(scalar(value))) for name, value in values.items()}
    names = set(left)
    out = []
    for line in text.splitlines():
        name = re.match(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", line)
        if name and name.group(1) in names:
            if name.group(1) in left:
                out.append(left.pop(name.group(1)))
            continue
        out.append(line)
    return "\n".join([*out, *left.values()]) + "\n"


def check_text(kind: str, text: str, values: Mapping[str, Any]) -> Optional[str]:
    """Why a file's text does not say ``values``, read by the format's own parser; None when it does."""
    try:
        if kind == "env":
            told = read_env(text)
            meant = {name: scalar(value) for name, value in values.items()}
            return next(("%s is read as another value" % name for name in meant if told.get(name) != meant[name]), None)
        if kind == "json":
            return None if json.loads(text) == values else "it is read as other values"
        if kind == "ini":
            return _check_ini(text, values)
        if kind == "python":
            import ast

            body = ast.parse(text).body
            names = {
                node.targets[0].id: ast.literal_eval(node.value)
                for node in body
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            }
            return None if names == values else "it is read as other values"
        try:
            import yaml
        except ImportError:
            return None
        return None if yaml.safe_load(text) == values else "it is read as other values"
    except (ValueError, SyntaxError) as error:
        return str(error)


def _check_ini(text: str, values: Mapping[str, Any]) -> Optional[str]:
    import configparser

    parser = configparser.RawConfigParser(strict=True, default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        return " ".join(str(error).split())
    told = {section: dict(parser.items(section)) for section in parser.sections()}
    meant = {section: {name: scalar(value).strip() for name, value in entries.items()} for section, entries in values.items()}
    return None if told == meant else "it is read as other values"


def health_timeout(settings: Settings) -> Tuple[float, float]:
    """Seconds a restarted service has to become healthy, and to stay up."""
    given = settings.health
    return given.get("timeout", HEALTH_SECONDS), given.get("settle", SETTLE_SECONDS)
