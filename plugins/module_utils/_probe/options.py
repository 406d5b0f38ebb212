# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a probe: one table that the module's argument spec, its checks and its defaults come from."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import (
    OptionError,
    check_regex,
    parse_duration,
    parse_size,
    unknown_name,
)
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import check_order, parse_range

TYPES = ("http", "tcp", "tls", "dns", "port", "process", "unit", "file", "command")
#: Total time for all probes of a call, in seconds.
DEADLINE = 30.0
#: Probes under way at once; above this a probe waits for its turn.
CONCURRENCY = 250
#: Bytes of an answer that are read, and of what it unpacks to.
MAX_BODY = 1024 * 1024
RECORDS = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT")

Probe = Dict[str, Any]

_TLS_CLIENTS = ("http", "tcp", "tls")
_NETWORK = (*_TLS_CLIENTS, "dns")


class _Option:
    """``kind``: how the value is read; ``types``: the probes that have it; ``default``: when it is not given."""

    __slots__ = ("choices", "default", "kind", "types")

    def __init__(self, kind: str, types: Tuple[str, ...] = TYPES, default: Any = None, choices: Tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.types = types
        self.default = default
        self.choices = choices


#: Days that a certificate must be good for, else it is a warning, or critical.
CERTIFICATE = ("30:", "7:")

_OPTIONS: Dict[str, _Option] = {
    "name": _Option("text"),
    "type": _Option("text", choices=TYPES),
    "remedy": _Option("text"),
    "warning": _Option("range", ("http", "tcp", "tls", "dns", "process", "unit", "file")),
    "critical": _Option("range", ("http", "tcp", "tls", "dns", "process", "unit", "file")),
    "timeout": _Option("duration", default=5.0),
    "retries": _Option("int", default=0),
    "retry_delay": _Option("duration", default=1.0),
    "url": _Option("text", ("http",)),
    "urls": _Option("texts", ("http",)),
    "method": _Option("text", ("http",), "GET"),
    "headers": _Option("mapping", ("http",), {}),
    "body": _Option("raw", ("http",)),
    "username": _Option("text", ("http",)),
    "password": _Option("secret", ("http",)),
    "status": _Option("texts", ("http",), ["200-299"]),
    "contains": _Option("texts", ("http",), []),
    "regex": _Option("regex", ("http",)),
    "not_regex": _Option("regex", ("http",)),
    "json": _Option("json", ("http",), []),
    "follow_redirects": _Option("bool", ("http",), False),
    "max_redirects": _Option("int", ("http",), 5),
    "host_header": _Option("text", ("http",)),
    "max_body": _Option("size", ("http",), MAX_BODY),
    "certificate": _Option("bool", ("http",), True),
    "certificate_warning": _Option("range", ("http",), CERTIFICATE[0]),
    "certificate_critical": _Option("range", ("http",), CERTIFICATE[1]),
    "address": _Option("text", ("tcp", "tls")),
    "addresses": _Option("texts", ("tcp", "tls")),
    "send": _Option("text", ("tcp",)),
    "expect": _Option("regex", ("tcp",)),
    "tls": _Option("bool", ("tcp",), False),
    "server_name": _Option("text", _TLS_CLIENTS),
    "ca_file": _Option("text", _TLS_CLIENTS),
    "client_cert": _Option("text", _TLS_CLIENTS),
    "client_key": _Option("text", _TLS_CLIENTS),
    "verify": _Option("bool", _TLS_CLIENTS, True),
    "names": _Option("texts", ("tls",), []),
    "query": _Option("text", ("dns",)),
    "record": _Option("text", ("dns",), "A", RECORDS),
    "expected": _Option("texts", ("dns",), []),
    "resolver": _Option("text", ("dns",)),
    "port": _Option("int", ("port",)),
    "protocol": _Option("text", ("port",), "tcp", ("tcp", "udp")),
    "process": _Option("text", ("port", "process")),
    "cmdline": _Option("regex", ("process",)),
    "user": _Option("text", ("process",)),
    "units": _Option("texts", ("unit",)),
    "state": _Option("text", ("port", "unit", "file")),
    "path": _Option("text", ("file", "tls")),
    "owner": _Option("text", ("file",)),
    "group": _Option("text", ("file",)),
    "mode": _Option("text", ("file",)),
    "min_size": _Option("size", ("file",)),
    "max_size": _Option("size", ("file",)),
    "max_age": _Option("duration", ("file",)),
    "measure": _Option("text", ("file",), "age", ("age", "size", "count")),
    "argv": _Option("texts", ("command",)),
    "chdir": _Option("text", ("command",)),
}
_STATES = {"port": ("listening", "free"), "unit": ("active", "inactive", "not_failed"), "file": ("present", "absent")}
_THRESHOLDS = {"tls": CERTIFICATE, "process": (None, "1:")}
_REQUIRED = {
    "http": (("url", "urls"),),
    "tcp": (("address", "addresses"),),
    "tls": (("address", "addresses", "path"),),
    "dns": (("query",),),
    "port": (("port",),),
    "process": (("process", "cmdline"),),
    "unit": (("units",),),
    "file": (("path",),),
    "command": (("argv",),),
}
_SLOW_TYPES = {"command": 10.0, "unit": 10.0}

_JSON_OPTIONS = {
    "name": _Option("text"),
    "expression": _Option("text"),
    "equals": _Option("raw"),
    "one_of": _Option("raws"),
    "regex": _Option("regex"),
    "warning": _Option("range"),
    "critical": _Option("range"),
    "unit": _Option("text", default="", choices=("", "%", "B", "B/s", "ms", "s", "d", "1/s")),
}

_ANSIBLE_TYPES: Dict[str, Dict[str, Any]] = {
    "text": {"type": "str"},
    "secret": {"type": "str", "no_log": True},
    "range": {"type": "str"},
    "duration": {"type": "str"},
    "size": {"type": "str"},
    "regex": {"type": "str"},
    "int": {"type": "int"},
    "bool": {"type": "bool"},
    "raw": {"type": "raw"},
    "raws": {"type": "list", "elements": "raw"},
    "texts": {"type": "list", "elements": "str"},
    "mapping": {"type": "dict"},
}


def argument_spec() -> Dict[str, Any]:
    """The suboptions of ``probes`` for a module's argument spec. Defaults depend on the type: :func:`read_probes` sets them."""
    spec = {name: _spec_of(option) for name, option in _OPTIONS.items()}
    spec["name"]["required"] = spec["type"]["required"] = True
    spec["client_key"]["no_log"] = False  # the path of a key, not the key
    return spec


def _spec_of(option: _Option) -> Dict[str, Any]:
    if option.kind == "json":
        items = {name: _spec_of(item) for name, item in _JSON_OPTIONS.items()}
        items["expression"]["required"] = True
        return {"type": "list", "elements": "dict", "options": items}
    spec = dict(_ANSIBLE_TYPES[option.kind])
    if option.choices:
        spec["choices"] = list(option.choices)
    return spec


class Settings:
    """The module's options, read."""

    __slots__ = ("concurrency", "deadline", "probes")

    def __init__(self, probes: List[Probe], deadline: float, concurrency: int) -> None:
        self.probes = probes
        self.deadline = deadline
        self.concurrency = concurrency


def parse(args: Mapping[str, Any]) -> Settings:
    """Read the module's options, all or some of them. Raises OptionError."""
    probes = read_probes(args.get("probes") or [])
    return Settings(probes, read_deadline(args.get("deadline")), read_concurrency(args.get("concurrency")))


def read_deadline(value: Any, path: str = "deadline") -> float:
    """Seconds for all probes together. Raises OptionError."""
    seconds = DEADLINE if value is None else parse_duration(value, path)
    if not 0 < seconds <= 3600:
        raise OptionError(path, "%r is not between 0 and one hour" % (value,))
    return seconds


def read_concurrency(value: Any, path: str = "concurrency") -> int:
    """Probes at once. Raises OptionError."""
    return _read_int(CONCURRENCY if value is None else value, path, 1, 10000)


def read_probes(probes: Any, path: str = "probes") -> List[Probe]:
    """Check the probes and fill in the defaults of their types.

    Durations become seconds, sizes bytes, ``status`` pairs of numbers, ``url``/``urls`` and ``address``/``addresses`` one
    list ``targets``. Raises OptionError that names the option by its path.
    """
    if not isinstance(probes, (list, tuple)):
        raise OptionError(path, "is not a list of probes")
    read: List[Probe] = []
    seen: Dict[Tuple[str, str], int] = {}
    for index, given in enumerate(probes):
        here = "%s[%d]" % (path, index)
        probe = _read_probe(given, here)
        before = seen.setdefault((probe["type"], probe["name"]), index)
        if before != index:
            raise OptionError(here + ".name", "%r is the name of %s[%d] as well" % (probe["name"], path, before))
        read.append(probe)
    return read


def _read_probe(given: Any, path: str) -> Probe:
    if not isinstance(given, Mapping):
        raise OptionError(path, "is not a probe with a name and a type")
    given = {str(key): value for key, value in given.items() if value is not None}
    for key in given:
        if key not in _OPTIONS:
            raise unknown_name("%s.%s" % (path, key), key, _OPTIONS)
    for key in ("name", "type"):
        if not str(given.get(key, "")).strip():
            raise OptionError("%s.%s" % (path, key), "is required and is missing")
    kind = str(given["type"])
    if kind not in TYPES:
        raise unknown_name(path + ".type", kind, TYPES, what="type of probe")
    probe: Probe = dict(_defaults(kind))
    for key, value in given.items():
        here = "%s.%s" % (path, key)
        if kind not in _OPTIONS[key].types:
            raise OptionError(here, "a %s probe has no such option" % kind, hint=_near_option(key, kind))
        probe[key] = _read_value(value, _OPTIONS[key], here)
    if kind in _THRESHOLDS and not ("warning" in given or "critical" in given):
        probe["warning"], probe["critical"] = _THRESHOLDS[kind]
    check_order(given.get("warning"), given.get("critical"), path)
    _check_common(probe, path)
    _CHECKS[kind](probe, path)
    return probe


_made_defaults: Dict[str, Probe] = {}


def _defaults(kind: str) -> Probe:
    """What the options of a type are when they are not given."""
    if kind not in _made_defaults:
        _made_defaults[kind] = {key: option.default for key, option in _OPTIONS.items() if kind in option.types}
        _made_defaults[kind]["timeout"] = _SLOW_TYPES.get(kind, _OPTIONS["timeout"].default)
    return _made_defaults[kind]


def _near_option(key: str, kind: str) -> Optional[str]:
    from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import nearest

    return nearest(key, [name for name, option in _OPTIONS.items() if kind in option.types])


def _read_int(value: Any, path: str, least: int, most: int) -> int:
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        number = int(value)
    except (TypeError, ValueError):
        raise OptionError(path, "%r is not a whole number" % (value,)) from None
    if not least <= number <= most:
        raise OptionError(path, "%d is not between %d and %d" % (number, least, most))
    return number


_BOOLEANS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


def _read_value(value: Any, option: _Option, path: str) -> Any:
    kind = option.kind
    if kind == "raw":
        return value
    if kind == "json":
        return _read_json(value, path)
    if kind in ("texts", "raws"):
        items = [value] if isinstance(value, (str, int)) and not isinstance(value, bool) else value
        if not isinstance(items, (list, tuple)):
            raise OptionError(path, "is not a list")
        return list(items) if kind == "raws" else [_read_text(item, "%s[%d]" % (path, at)) for at, item in enumerate(items)]
    if kind == "mapping":
        if not isinstance(value, Mapping):
            raise OptionError(path, "is not a dictionary")
        return {_read_text(key, path): _read_text(item, "%s.%s" % (path, key)) for key, item in value.items()}
    if kind == "int":
        return _read_int(value, path, 0, 65535)
    if kind == "bool":
        text = str(value).strip().lower()
        if text not in _BOOLEANS:
            raise OptionError(path, "%r is neither true nor false" % (value,))
        return _BOOLEANS[text]
    if kind == "range":
        parse_range(value, path)
        return str(value).strip()
    if kind == "duration":
        return parse_duration(value, path)
    if kind == "size":
        return parse_size(value, path)
    text = _read_text(value, path)
    if kind == "regex":
        check_regex(text, path)
    if option.choices and text not in option.choices:
        raise unknown_name(path, text, option.choices, what="choice")
    return text


def _read_text(value: Any, path: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise OptionError(path, "is not a text")
    return str(value)


def _read_json(value: Any, path: str) -> List[Dict[str, Any]]:
    if not isinstance(value, (list, tuple)):
        raise OptionError(path, "is not a list of expressions")
    items: List[Dict[str, Any]] = []
    for index, given in enumerate(value):
        here = "%s[%d]" % (path, index)
        if not isinstance(given, Mapping):
            raise OptionError(here, "is not a dictionary with an expression")
        item: Dict[str, Any] = {}
        for key, found in given.items():
            if key not in _JSON_OPTIONS:
                raise unknown_name("%s.%s" % (here, key), str(key), _JSON_OPTIONS)
            if found is not None:
                item[key] = _read_value(found, _JSON_OPTIONS[key], "%s.%s" % (here, key))
        if not item.get("expression"):
            raise OptionError(here + ".expression", "is required and is missing")
        item.setdefault("name", item["expression"])
        if any(item["name"] == other["name"] for other in items):
            raise OptionError(here + ".name", "%r is there already" % item["name"])
        items.append(item)
    return items


def _check_common(probe: Probe, path: str) -> None:
    if not 0 < probe["timeout"] <= 3600:
        raise OptionError(path + ".timeout", "is not between 0 and one hour")
    if probe["retries"] > 100:
        raise OptionError(path + ".retries", "%d is more than 100" % probe["retries"])
    for names in _REQUIRED[probe["type"]]:
        given = [name for name in names if probe.get(name)]
        if not given:
            raise OptionError(
                "%s.%s" % (path, names[0]), "is required and is missing" if len(names) == 1 else "one is needed of: " + ", ".join(names)
            )
        if len(given) > 1 and probe["type"] != "process":
            raise OptionError("%s.%s" % (path, given[1]), "cannot stand beside %s" % given[0])
    if probe["type"] in _STATES:
        choices = _STATES[probe["type"]]
        probe["state"] = probe["state"] or choices[0]
        if probe["state"] not in choices:
            raise unknown_name(path + ".state", probe["state"], choices, what="state")


_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z"  # RFC 9110, section 5.6.2
_CONTROL = r"[\x00-\x20\x7f]"
_HEADER_VALUE = r"[\x00-\x08\x0a-\x1f\x7f]"


class Url(NamedTuple):
    """A URL of http or https. ``target``: path and query as they are sent; ``userinfo``: ``user:password``, still quoted."""

    scheme: str
    host: str
    port: int
    target: str
    userinfo: Optional[str]


_read_urls: Dict[str, Url] = {}  # each is read several times on its way, and 200 of them add up
_PLAIN_TARGET = r"(?a)[\w/%:@!$&'()*+,;=~.?-]*\Z"


def read_url(url: str, path: str = "url") -> Url:
    """Take a URL of http or https apart. Raises OptionError."""
    if url not in _read_urls:
        if len(_read_urls) > 10000:
            _read_urls.clear()
        _read_urls[url] = _take_apart(url, path)
    return _read_urls[url]


def _take_apart(url: str, path: str) -> Url:
    from urllib.parse import quote, urlsplit

    if re.search(_CONTROL, url):
        raise OptionError(path, "%r holds a space or control character" % safe_url(url))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OptionError(path, "%r is not a URL: %s" % (safe_url(url), error)) from None
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https"):
        raise OptionError(
            path, "%r is not a URL of http or https" % safe_url(url), hint="http://" + safe_url(url) if "://" not in url else None
        )
    if not parts.hostname or port == 0:
        raise OptionError(path, "%r names no host or no usable port" % safe_url(url))
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    if not re.match(_PLAIN_TARGET, target):
        target = quote(target, safe="/%:@!$&'()*+,;=~-._?")
    userinfo = parts.netloc.rpartition("@")[0] or None
    return Url(scheme, parts.hostname, port or (443 if scheme == "https" else 80), target, userinfo)


_USERINFO = r"(?<=://)[^/?#\s]*@"
_QUERY_TO_MASK = r"(?i)([?&;][^=&;\s]*(?:passw|secret|token|key|sig|auth|cred)[^=&;\s]*=)[^&;\s#\"']+"
MASK = "********"


def safe_url(text: str) -> str:
    """The text with user names and passwords of URLs, and query parameters with secret names, replaced."""
    if "://" in text and "@" in text:
        text = re.sub(_USERINFO, MASK + "@", text)
    return re.sub(_QUERY_TO_MASK, r"\g<1>" + MASK, text) if "=" in text else text


def read_address(text: str, path: str, port: Optional[int] = None) -> Tuple[str, int]:
    """Host and port of ``host:port``, ``[::1]:443``, or ``host`` where there is a usual ``port``. Raises OptionError."""
    found = re.match(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\[\]\s/]+))(?::(\d{1,5}))?\Z", text)
    number = int(found.group(3)) if found and found.group(3) else port
    if not found or not number or number > 65535:
        hint = text.partition("://")[2].strip("/") or None
        raise OptionError(
            path, "%r is not an address with a port" % text, hint=hint or "host:%d or [2001:db8::1]:%d" % (port or 6379, port or 6379)
        )
    return found.group(1) or found.group(2), number


def _targets(probe: Probe, one: str, many: str) -> List[Tuple[str, str]]:
    """The targets with the option each came from."""
    if probe[one]:
        return [(probe[one], one)]
    return [(target, "%s[%d]" % (many, index)) for index, target in enumerate(probe[many] or [])]


def _check_http(probe: Probe, path: str) -> None:
    targets = _targets(probe, "url", "urls")
    for url, option in targets:
        read_url(url, "%s.%s" % (path, option))
    probe["targets"] = [url for url, _option in targets]
    if not re.match(_HEADER_NAME, probe["method"]):
        raise OptionError(path + ".method", "%r is not a method" % probe["method"])
    probe["method"] = probe["method"].upper()
    for name, value in probe["headers"].items():
        if not re.match(_HEADER_NAME, name):
            raise OptionError("%s.headers.%s" % (path, name), "is not a name of a header")
        if re.search(_HEADER_VALUE, value):
            raise OptionError("%s.headers.%s" % (path, name), "the value holds a line break or control character")
    if probe["host_header"] and re.search(_CONTROL, probe["host_header"]):
        raise OptionError(path + ".host_header", "holds a space or control character")
    if probe["password"] and not probe["username"]:
        raise OptionError(path + ".username", "is needed beside password")
    if probe["method"] == "HEAD" and (probe["contains"] or probe["regex"] or probe["json"]):
        raise OptionError(path + ".method", "HEAD has no body to match", hint="GET")
    probe["status"] = [_read_status(text, "%s.status[%d]" % (path, index)) for index, text in enumerate(probe["status"])]
    _check_client_certificate(probe, path)


def _read_status(text: str, path: str) -> Tuple[int, int]:
    found = re.match(r"([1-5]\d\d)(?:\s*-\s*([1-5]\d\d))?\Z", text.strip())
    wild = re.match(r"([1-5])xx\Z", text.strip().lower())
    if wild:
        return int(wild.group(1)) * 100, int(wild.group(1)) * 100 + 99
    if not found or int(found.group(2) or 599) < int(found.group(1)):
        raise OptionError(path, "%r is not a status or a range of them" % text, hint="200, 2xx or 200-299")
    return int(found.group(1)), int(found.group(2) or found.group(1))


def _check_client_certificate(probe: Probe, path: str) -> None:
    if probe["client_key"] and not probe["client_cert"]:
        raise OptionError(path + ".client_cert", "is needed beside client_key")


def _check_addresses(probe: Probe, path: str) -> None:
    port = 443 if probe["type"] == "tls" else None
    probe["targets"] = [read_address(text, "%s.%s" % (path, option), port) for text, option in _targets(probe, "address", "addresses")]
    _check_client_certificate(probe, path)


def _check_dns(probe: Probe, path: str) -> None:
    labels = probe["query"].rstrip(".").split(".")
    if not all(0 < len(label.encode("utf-8")) <= 63 for label in labels) or re.search(_CONTROL, probe["query"]):
        raise OptionError(path + ".query", "%r is not a name to look up" % probe["query"])
    if probe["resolver"]:
        probe["resolver"] = _read_resolver(probe["resolver"], path + ".resolver")


def _read_resolver(text: str, path: str) -> Tuple[str, int]:
    import socket

    host, port = (text, 53) if text.count(":") > 1 and "]" not in text else read_address(text, path, 53)
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return host, port
    raise OptionError(path, "%r is not the IP address of a name server" % text)


def _check_port(probe: Probe, path: str) -> None:
    if not 0 < probe["port"] < 65536:
        raise OptionError(path + ".port", "%d is not a port" % probe["port"])
    if probe["process"]:
        check_regex(probe["process"], path + ".process")
        if probe["state"] == "free":
            raise OptionError(path + ".process", "cannot stand beside state: free")


def _check_units(probe: Probe, path: str) -> None:
    for index, unit in enumerate(probe["units"]):
        if not re.match(r"[\w:.@\\*?\[\]!-]+\Z", unit) or unit.startswith("-"):
            raise OptionError("%s.units[%d]" % (path, index), "%r is neither a unit nor a pattern of units" % unit)


def _check_file(probe: Probe, path: str) -> None:
    if not probe["path"].startswith("/"):
        raise OptionError(path + ".path", "%r is not an absolute path" % probe["path"])
    mode = probe["mode"]
    if mode is not None and not re.match(r"0?[0-7]{3,4}\Z", mode):
        raise OptionError(path + ".mode", "%r is not an octal mode" % mode, hint='"0640", in quotes')
    if probe["state"] == "absent":
        for key in ("owner", "group", "mode", "min_size", "max_size", "max_age", "warning", "critical"):
            if probe[key] is not None:
                raise OptionError("%s.%s" % (path, key), "cannot stand beside state: absent")


def _check_command(probe: Probe, path: str) -> None:
    for index, word in enumerate(probe["argv"]):
        if "\0" in word:
            raise OptionError("%s.argv[%d]" % (path, index), "holds a NUL")


def _check_nothing(probe: Probe, path: str) -> None:
    """A probe whose options need no more than their kinds."""


_CHECKS = {
    "http": _check_http,
    "tcp": _check_addresses,
    "tls": _check_addresses,
    "dns": _check_dns,
    "port": _check_port,
    "process": _check_nothing,
    "unit": _check_units,
    "file": _check_file,
    "command": _check_command,
}


def expressions(probes: Sequence[Probe], path: str = "probes") -> List[Tuple[str, str]]:
    """Every JMESPath expression of probes that were read, with its path."""
    return [
        ("%s[%d].json[%d].expression" % (path, index, at), item["expression"])
        for index, probe in enumerate(probes)
        for at, item in enumerate(probe.get("json") or ())
    ]
