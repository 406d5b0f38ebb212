# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an attempt at a probe is and comes to."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, Match, Optional, Sequence, Union

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Message, cut, message

from .options import MASK, Probe, safe_url


class Failure(Exception):  # noqa: N818 - not a fault of ours: the probe's result
    """An attempt that came to no answer. ``reason``: a message of the catalogue; ``value``: where there is one nonetheless."""

    def __init__(self, reason: Message, status: str = "critical", value: Union[int, float, None] = None) -> None:
        super().__init__(reason["message"])
        self.reason = reason
        self.status = status
        self.value = value


class Outcome:
    """What a probe found: like a finding, without what the probe's options say."""

    __slots__ = ("extra", "status", "text", "unit", "value")

    def __init__(
        self, status: str, text: Message, value: Union[int, float, None] = None, unit: str = "", extra: Sequence[Dict[str, Any]] = ()
    ) -> None:
        self.status = status
        self.text = text
        self.value = value
        self.unit = unit
        self.extra = extra  # findings beside the probe's own: arguments of ``findings.finding``


class Trace:
    """How far an attempt came: the stage it is in, what it saw, how long each stage took (milliseconds)."""

    def __init__(self, clock: Any, until: float, limit: Optional[float] = None) -> None:
        """``until``: when the attempt's own time is over; ``limit``: when that of all probes is."""
        self.clock = clock
        self.until = until
        self.limit = until if limit is None else limit
        self.started = clock()
        self._since = self.started
        self.stage = "start"
        self.timings: Dict[str, float] = {}
        self.evidence: Dict[str, Any] = {}
        self._ended: Optional[float] = None

    def enter(self, stage: str) -> None:
        """A stage begins: ``name``, ``connect``, ``tls``, ``first_byte``, ``body``, …"""
        self.stage = stage
        self._since = self.clock()

    def leave(self) -> None:
        """The stage is over: keep its time (those of the same name add up, as along redirects)."""
        self.timings[self.stage] = self.timings.get(self.stage, 0.0) + (self.clock() - self._since) * 1000

    def leave_out(self, seconds: float) -> None:
        """Time in which nothing was waited for but ourselves: it is neither the answer's nor taken from what the answer has."""
        self.started += seconds
        self._since += seconds
        self.until = min(self.until + seconds, self.limit)

    def total_ms(self) -> float:
        """Milliseconds since the attempt began."""
        return float(((self.clock() if self._ended is None else self._ended) - self.started) * 1000)

    def end(self) -> None:
        """The attempt is over; what is done with its answer takes no more of its time."""
        if self._ended is None:
            self._ended = self.clock()

    def tell(self) -> Dict[str, float]:
        """The timings, to a tenth of a millisecond, as they stand in evidence and result."""
        told = {"%s_ms" % stage: round(value, 1) for stage, value in self.timings.items()}
        told["total_ms"] = round(self.total_ms(), 1)
        return told


_HEADER_TO_MASK = r"(?i)authorization|cookie|token|secret|passw|key|credential|signature"


class Masker:
    """Takes the secrets of one probe out of what it says: passwords, credential headers, user names in URLs, secret queries."""

    def __init__(self, probe: Probe) -> None:
        found = {probe.get("password") or ""}
        for name, value in (probe.get("headers") or {}).items():
            if re.search(_HEADER_TO_MASK, name):
                found.update([value, *value.split()])
        for url in probe.get("targets") or ():
            if isinstance(url, str) and ("@" in url or "?" in url):
                found.update(_secrets_of_url(url))
        if probe.get("username") and probe.get("password"):
            found.add(basic_credentials(probe["username"], probe["password"]))
        self._secrets = sorted((secret for secret in found if len(secret) >= 3), key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text with every secret replaced."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return safe_url(text)

    def anything(self, value: Any) -> Any:
        """The same structure with every text masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.anything(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.anything(item) for item in value]
        return value


def _secrets_of_url(url: str) -> Iterable[str]:
    from urllib.parse import parse_qsl, unquote, urlsplit

    parts = urlsplit(url)
    userinfo = parts.netloc.rpartition("@")[0]
    if userinfo:
        user, _colon, password = userinfo.partition(":")
        yield userinfo
        yield password
        yield unquote(password)
        yield basic_credentials(unquote(user), unquote(password))
    for name, value in parse_qsl(parts.query):
        if re.search(_HEADER_TO_MASK, name) or re.search("sig|auth|cred", name, re.IGNORECASE):
            yield value


def basic_credentials(user: str, password: str) -> str:
    """What HTTP basic authentication sends (RFC 7617)."""
    import base64

    return base64.b64encode(("%s:%s" % (user, password)).encode("utf-8")).decode("ascii")


def system_reason(error: OSError) -> Message:
    """The reason for a failed system call, by its number where the catalogue has words for it."""
    import errno

    known = {
        errno.ECONNREFUSED: "refused",
        errno.ECONNRESET: "reset",
        errno.EPIPE: "reset",
        errno.ECONNABORTED: "reset",
        errno.EHOSTUNREACH: "unreachable",
        errno.ENETUNREACH: "unreachable",
        errno.EADDRNOTAVAIL: "unreachable",
        errno.ETIMEDOUT: "connect_timeout",
        errno.EACCES: "forbidden",
        errno.EPERM: "forbidden",
        errno.ENOENT: "missing",
        errno.EMFILE: "too_many_files",
    }
    code = known.get(error.errno or 0)
    return message("reason.probe_" + code) if code else message("reason.probe_system", error=error.strerror or str(error))


#: A pattern that backtracks without end would hold up every other probe.
MATCH_SECONDS = 1.0


def search(pattern: str, text: str, seconds: float = MATCH_SECONDS) -> Optional[Match[str]]:
    """``re.search`` with a limit of time, which holds in the main thread. Raises Failure when it is over."""
    import signal

    def stop(_number: int, _frame: Any) -> None:
        raise Failure(message("reason.probe_regex_slow", regex=cut(pattern, 100)), "unknown")

    try:
        before = signal.signal(signal.SIGALRM, stop)
    except ValueError:  # not the main thread
        return re.search(pattern, text)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return re.search(pattern, text)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def timeout_reason(trace: Trace, seconds: Optional[float] = None) -> Message:
    """The reason when the time is over: how long was waited, and for what."""
    waited = trace.clock() - trace.started if seconds is None else seconds
    return message("reason.probe_timeout", seconds=round(waited, 2), stage=message("stage." + trace.stage))
