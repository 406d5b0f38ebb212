# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS: contexts, handshakes that say what is wrong with a certificate, and certificates read without trusting them."""

from __future__ import annotations

import calendar
import re
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import message, utc_now
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge

from .loop import Future, Loop, Steps, result_of
from .net import Names, Stream, open_stream
from .options import Probe
from .outcome import Failure, Outcome, Trace


class Certificate(NamedTuple):
    """What an operator asks of a certificate. Times are seconds since the epoch."""

    subject: str
    issuer: str
    names: List[str]
    not_before: float
    not_after: float


_OIDS = {b"\x55\x04\x03": "CN", b"\x55\x04\x0a": "O", b"\x55\x04\x0b": "OU", b"\x55\x04\x06": "C"}
_SUBJECT_ALT_NAME = b"\x55\x1d\x11"


def _element(data: bytes, at: int) -> Tuple[int, int, int]:
    """Tag, start and end of the content of the DER element at a place (X.690, section 8.1)."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        if not 0 < size <= 4:
            raise ValueError("a length that DER does not have")
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > len(data):
        raise ValueError("cut short")
    return tag, start, start + length


def _children(data: bytes) -> Iterator[Tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, start, end = _element(data, at)
        yield tag, data[start:end]
        at = end


def _name(data: bytes) -> str:
    parts = []
    for _set_tag, relative in _children(data):
        for _tag, pair in _children(relative):
            (_oid_tag, oid), (value_tag, value) = list(_children(pair))[:2]
            if oid in _OIDS:
                encoding = {0x1E: "utf-16-be", 0x1C: "utf-32-be"}.get(value_tag, "utf-8")
                parts.append("%s=%s" % (_OIDS[oid], value.decode(encoding, "replace")))
    return ", ".join(parts)


def _time(tag: int, value: bytes) -> float:
    text = value.decode("ascii")
    if tag == 0x17:  # UTCTime: years 50 to 99 are of the last century (RFC 5280, section 4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    return float(calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ")))


def _alternative_names(data: bytes) -> Iterator[str]:
    import socket

    # The default: running out inside a generator would be a RuntimeError, which nobody expects of a broken certificate.
    for tag, value in _children(next(_children(data), (0, b""))[1]):
        if tag == 0x82:
            yield value.decode("ascii", "replace")
        elif tag == 0x87 and len(value) in (4, 16):
            yield socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)


def read_certificate(der: bytes) -> Certificate:
    """Read an X.509 certificate (RFC 5280, section 4.1). Raises ValueError."""
    try:
        outer = next(_children(der))[1]
        fields = list(_children(next(_children(outer))[1]))
        at = 1 if fields[0][0] == 0xA0 else 0  # the version may be left out
        issuer, validity, subject = fields[at + 2][1], fields[at + 3][1], fields[at + 4][1]
        before, after = (_time(tag, value) for tag, value in list(_children(validity))[:2])
        names: List[str] = []
        for tag, value in fields[at + 6 :]:
            if tag != 0xA3:
                continue
            for _tag, extension in _children(next(_children(value))[1]):
                parts = list(_children(extension))
                if parts[0][1] == _SUBJECT_ALT_NAME:
                    names += _alternative_names(parts[-1][1])
        return Certificate(_name(subject), _name(issuer), names, before, after)
    except (IndexError, ValueError, StopIteration, OverflowError) as error:
        raise ValueError("not a certificate: %s" % (str(error) or type(error).__name__)) from None


_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


def read_certificates(data: bytes) -> List[Certificate]:
    """The certificates of a PEM or DER file. Raises ValueError when there is none."""
    import base64

    blocks = [base64.b64decode(block) for block in _PEM.findall(data)]
    if not blocks and b"-----BEGIN" in data:
        raise ValueError("no certificate in the file")
    return [read_certificate(block) for block in blocks or [data]]


def name_matches(pattern: str, name: str) -> bool:
    """Whether a certificate's name covers a host's (RFC 6125, section 6.4.3: a star is one whole leftmost label)."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        return pattern[2:] == name.partition(".")[2] and bool(name.partition(".")[0])
    return pattern == name


_VERIFY_CODES = {
    9: "tls_not_yet",
    10: "tls_expired",
    18: "tls_self_signed",
    19: "tls_foreign",
    20: "tls_foreign",
    21: "tls_foreign",
    23: "tls_revoked",
    62: "tls_name",
    64: "tls_name",
}


#: Whether it verifies, with which certificates, and the files of the client's own.
_ContextKey = Tuple[bool, Optional[str], Tuple[Optional[str], Optional[str]]]


class Contexts:
    """TLS contexts, one for all probes that have the same options. They are made in threads: to read the system's certificates takes tens
    of milliseconds, in which connections can be under way."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._made: Dict[_ContextKey, Future] = {}

    def begin(self, probe: Probe, verify: Optional[bool] = None, credentials: bool = True) -> Future:
        """Begin to make a probe's context; ``verify`` and ``credentials`` (client certificate) may be turned off."""
        verify = probe["verify"] if verify is None else verify
        client = (probe.get("client_cert"), probe.get("client_key")) if credentials else (None, None)
        key = (verify, probe.get("ca_file") if verify else None, client)
        future = self._made.get(key)
        if future is None or future.error is not None:  # files that were missing may be there by now
            future = self._made[key] = self._loop.call(lambda: _make_context(key))
        return future

    def get(self, probe: Probe, until: float, verify: Optional[bool] = None, credentials: bool = True) -> Steps[Any]:
        """The context for a probe. Raises Failure, TimeoutError."""
        future = self.begin(probe, verify, credentials)
        return future.value if future.done else (yield from result_of(future, until))


def _make_context(key: _ContextKey) -> Any:
    import ssl

    verify, ca_file, client = key
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
        elif verify:
            context.load_default_certs()
        if client[0]:
            # An encrypted key must not ask for its passphrase on a terminal.
            context.load_cert_chain(client[0], client[1], password=lambda: "")
    except (OSError, ValueError) as error:
        files = ", ".join(str(name) for name in (ca_file, *client) if name)
        raise Failure(message("reason.probe_tls_files", files=files, error=str(error)), "unknown") from None
    return context


def start_tls(
    loop: Loop, names: Names, contexts: Contexts, stream: Stream, probe: Probe, host: str, port: int, trace: Trace, credentials: bool = True
) -> Steps[Optional[Certificate]]:
    """Shake hands on a stream and note in the trace what the certificate says. Raises Failure with the days left as its value."""
    import ssl

    # A certificate knows neither the dot that ends a whole name nor the interface of an address.
    server_name = (probe.get("server_name") or host.partition("%")[0]).rstrip(".")
    trace.enter("local")
    began = trace.clock()
    context = yield from contexts.get(probe, trace.limit, credentials=credentials)
    trace.leave_out(trace.clock() - began)
    trace.enter("tls")
    try:
        yield from stream.start_tls(context, server_name)
    except ssl.SSLCertVerificationError as error:
        certificate = yield from _look_again(loop, names, contexts, probe, host, port, trace)
        trace.stage = "tls"
        note(certificate, trace)
        code = _VERIFY_CODES.get(error.verify_code)
        reason = (
            message("reason.probe_" + code, host=server_name) if code else message("reason.probe_tls_verify", error=error.verify_message)
        )
        if code == "tls_name" and certificate is not None and certificate.names:
            reason = message("reason.probe_tls_other_name", host=server_name, names=certificate.names[:5])
        raise Failure(reason, value=days_left(certificate)) from None
    except ssl.SSLError as error:
        text = (error.reason or str(error)).replace("_", " ").lower()
        closed = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        raise Failure(message("reason.probe_closed") if closed else message("reason.probe_tls_protocol", error=text)) from None
    except ValueError:  # a server name that is no host name
        raise Failure(message("reason.probe_tls_name", host=server_name)) from None
    trace.leave()
    trace.evidence["tls_version"] = stream.sock.version()
    certificate = earliest(peer_certificates(stream.sock, bool(context.verify_mode)))
    note(certificate, trace)
    return certificate


def speaks_tls(loop: Loop, names: Names, contexts: Contexts, probe: Probe, host: str, port: int, trace: Trace) -> Steps[bool]:
    """Whether a port that gave no answer without TLS gives one with it."""
    import ssl

    quiet = Trace(loop.clock, trace.until)
    stream: Optional[Stream] = None
    try:
        stream = yield from open_stream(loop, names, host, port, quiet)
        context = yield from contexts.get(probe, trace.until, verify=False, credentials=False)
        yield from stream.start_tls(context, probe.get("server_name") or host)
        return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it wants a certificate of ours, say
    except (Failure, OSError, ValueError):
        return False
    finally:
        if stream is not None:
            stream.close()


def _look_again(
    loop: Loop, names: Names, contexts: Contexts, probe: Probe, host: str, port: int, trace: Trace
) -> Steps[Optional[Certificate]]:
    """A certificate that failed verification is only shown to a client that does not verify: a second, quiet connection."""
    quiet = Trace(loop.clock, trace.until)
    stream: Optional[Stream] = None
    try:
        stream = yield from open_stream(loop, names, host, port, quiet)
        context = yield from contexts.get(probe, trace.until, verify=False, credentials=False)
        yield from stream.start_tls(context, probe.get("server_name") or host)
        return earliest(peer_certificates(stream.sock, False))
    except (Failure, OSError, ValueError):  # TimeoutError and ssl.SSLError are OSErrors
        return None
    finally:
        if stream is not None:
            stream.close()


def peer_certificates(sock: Any, verified: bool) -> List[Certificate]:
    """The server's certificate, and those that vouch for it where they were ``verified`` and Python tells them (3.10).

    What we trust ourselves is left out, and so is what a server sends and nobody needs: it may have ended without harm.
    """
    blocks = [sock.getpeercert(True)]
    if verified:
        blocks += _chain(sock)[1:-1]
    return [certificate for certificate in map(_known, blocks) if certificate is not None]


def _chain(sock: Any) -> List[bytes]:
    if hasattr(sock, "get_verified_chain"):  # Python 3.13
        return list(sock.get_verified_chain())
    inner: Any = getattr(sock, "_sslobj", None)
    if not hasattr(inner, "get_verified_chain"):
        return []
    import _ssl

    return [item.public_bytes(_ssl.ENCODING_DER) for item in inner.get_verified_chain() or ()]


_certificates: Dict[bytes, Optional[Certificate]] = {}  # many endpoints show the same one


def _known(block: bytes) -> Optional[Certificate]:
    if block not in _certificates:
        try:
            _certificates[block] = read_certificate(block)
        except (TypeError, ValueError):
            _certificates[block] = None
    return _certificates[block]


def earliest(certificates: List[Certificate]) -> Optional[Certificate]:
    """The certificate that ends first, as a chain lasts no longer than that, with the names of the first of them."""
    found = min(certificates, key=lambda item: item.not_after, default=None)
    return None if found is None else found._replace(names=certificates[0].names)


def days_left(certificate: Optional[Certificate], now: Optional[float] = None) -> Optional[float]:
    """Days until the certificate ends, negative after that, to a tenth rounded down."""
    if certificate is None:
        return None
    seconds = certificate.not_after - (time.time() if now is None else now)
    return float(seconds // 8640) / 10


def note(certificate: Optional[Certificate], trace: Trace) -> None:
    """Put what an operator asks of a certificate into the evidence."""
    if certificate is not None:
        trace.evidence.update(
            days_left=days_left(certificate),
            not_after=utc_now(certificate.not_after),
            subject=certificate.subject,
            issuer=certificate.issuer,
            certificate_names=certificate.names[:20],
        )


def probe_tls(loop: Loop, names: Names, contexts: Contexts, probe: Probe, target: Tuple[str, int], trace: Trace) -> Steps[Outcome]:
    """Shake hands with a server and judge its certificate."""
    stream = yield from open_stream(loop, names, target[0], target[1], trace)
    try:
        certificate = yield from start_tls(loop, names, contexts, stream, probe, target[0], target[1], trace)
    finally:
        stream.close()
    return judge_certificate(probe, certificate)


def judge_certificate(probe: Probe, certificate: Optional[Certificate], now: Optional[float] = None) -> Outcome:
    """The outcome for a certificate: its end against the thresholds, its names against those wanted."""
    left = days_left(certificate, now)
    if certificate is None or left is None:
        return Outcome("unknown", message("probe.tls.unread", name=probe["name"]))
    missing = [wanted for wanted in probe["names"] if not any(name_matches(name, wanted) for name in certificate.names)]
    if missing:
        return Outcome("critical", message("probe.tls.names", name=probe["name"], missing=missing), left, "d")
    if left < 0:
        return Outcome("critical", message("probe.tls.expired", name=probe["name"], until=utc_now(certificate.not_after)), left, "d")
    status = judge(left, probe["warning"], probe["critical"])
    return Outcome(status, message("probe.tls.ok" if status == "ok" else "probe.tls.ends", name=probe["name"], days=left), left, "d")
