# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 (RFC 9112) for probes: a reader that nothing a server sends can overwhelm, redirects, and what an answer is judged by."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Message, cut, message, worst
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge

from .loop import Loop, Steps
from .net import Names, Stream, open_stream
from .options import Probe, read_url, safe_url
from .outcome import Failure, Outcome, Trace, basic_credentials
from .outcome import search as search_text

Search = Callable[[str, Any], Any]
#: Gives the TLS contexts: what speaks no TLS is not to import it.
Contexts = Callable[[], Any]

#: Bytes of a status line and headers together; what common servers themselves allow a client.
MAX_HEAD = 65536
MAX_HEADERS = 200
_MAX_LINE = 4096  # of a chunk size with its extensions
#: A body in more pieces than this is taken as cut here: they cost time, not memory.
_MAX_CHUNKS = 20000
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\Z")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/(\d\.\d) (\d{3})(?: .*)?\Z")
#: Characters of a body shown when it is not what was wanted.
_EXCERPT = 200
#: What a server that speaks TLS says to those who do not.
_TLS_ALERT = b"\x15"


class Answer(NamedTuple):
    """A whole answer. ``cut``: more followed than was read."""

    status: int
    headers: List[Tuple[str, str]]
    body: bytes
    cut: bool

    def header(self, name: str) -> str:
        """The first header of a name, empty when there is none."""
        return next((value for key, value in self.headers if key == name), "")


class Reader:
    """Reads an answer as its bytes come, in whatever pieces. Raises Failure for what is no HTTP."""

    def __init__(self, method: str = "GET", max_body: int = 1 << 20) -> None:
        self.done = False
        self._method = method
        self._max_body = max_body
        self._buffer = bytearray()  # taking from its front costs nothing
        self._body = bytearray()
        self._status = 0
        self._version = b""
        self._headers: List[Tuple[str, str]] = []
        self._left: Optional[int] = None  # bytes until the body or chunk ends; None: until the connection does
        self._cut = False
        self._step: Callable[[], bool] = self._read_head
        self._interim = 0
        self._chunks = 0

    @property
    def began(self) -> bool:
        """Whether the headers are there."""
        return self._step != self._read_head

    def feed(self, data: bytes) -> None:
        """Take in what came."""
        self._buffer += data
        while not self.done and self._step():
            pass

    def end(self) -> None:
        """The connection ended."""
        if self.done:
            return
        if not self.began:
            raise Failure(message("reason.probe_no_http" if self._buffer else "reason.probe_closed"))
        if self._step != self._read_rest or self._left is not None:
            raise Failure(message("reason.probe_short_body", bytes=len(self._body)))
        self.done = True

    def answer(self) -> Answer:
        """What was read, unpacked."""
        body, was_cut = unpack(bytes(self._body), self._header("content-encoding"), self._max_body)
        return Answer(self._status, self._headers, body, self._cut or was_cut)

    def _header(self, name: str) -> str:
        return next((value for key, value in self._headers if key == name), "")

    def _read_head(self) -> bool:
        if self._buffer[:5] != b"HTTP/"[: len(self._buffer)]:
            raise Failure(message("reason.probe_no_http"))
        end = _END_OF_HEAD.search(self._buffer, 0, MAX_HEAD)
        if end is None:
            if len(self._buffer) >= MAX_HEAD:
                raise Failure(message("reason.probe_header_flood", bytes=MAX_HEAD))
            return False
        size = end.start()
        lines = bytes(self._buffer[:size]).replace(b"\r\n", b"\n").split(b"\n")
        after = end.end()
        del end  # it would keep the buffer from being resized
        del self._buffer[:after]
        found = _STATUS_LINE.match(lines[0])
        if not found:
            raise Failure(message("reason.probe_no_http"))
        if len(lines) > MAX_HEADERS:
            raise Failure(message("reason.probe_header_flood", bytes=size))
        self._version, self._status = found.group(1), int(found.group(2))
        self._headers = [
            (name.strip().lower().decode("latin-1"), value.strip().decode("latin-1"))
            for name, colon, value in (line.partition(b":") for line in lines[1:])
            if colon
        ]
        if 100 <= self._status < 200:
            self._interim += 1
            if self._interim > 10 or self._status == 101:
                raise Failure(message("reason.probe_no_http"))
            return True
        self._choose_body()
        return True

    def _choose_body(self) -> None:
        """How long the body is (RFC 9112, section 6.3)."""
        self._step = self._read_rest
        if self._method == "HEAD" or self._status in (204, 304):
            self.done = True
        elif "chunked" in self._header("transfer-encoding").lower():
            self._step = self._read_chunk_size
        elif self._header("content-length"):
            lengths = {value.strip() for key, text in self._headers if key == "content-length" for value in text.split(",")}
            if len(lengths) != 1 or not re.match(r"\d{1,18}\Z", next(iter(lengths))):
                raise Failure(message("reason.probe_bad_length"))
            self._left = int(lengths.pop())
            self.done = self._left == 0

    def _take(self, most: Optional[int]) -> int:
        """Move bytes from the buffer to the body; ends the reading when the body has its fill."""
        piece = self._buffer[: len(self._buffer) if most is None else most]
        del self._buffer[: len(piece)]
        room = self._max_body - len(self._body)
        self._body += piece[:room]
        if len(piece) > room:
            self._cut = self.done = True
        return len(piece)

    def _read_rest(self) -> bool:
        taken = self._take(self._left)
        if self._left is not None:
            self._left -= taken
            if self._left == 0:
                self.done = True
        return False

    def _line(self) -> Optional[bytes]:
        """The next line, None while it has no end."""
        end = self._buffer.find(b"\n", 0, _MAX_LINE)
        if end < 0:
            if len(self._buffer) >= _MAX_LINE:
                raise Failure(message("reason.probe_bad_chunk"))
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.rstrip(b"\r")

    def _read_chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        found = _CHUNK_SIZE.match(line)
        if not found:
            raise Failure(message("reason.probe_bad_chunk"))
        self._chunks += 1
        if self._chunks > _MAX_CHUNKS:
            self._cut = self.done = True
            return False
        self._left = int(found.group(1), 16)
        self._step = self._read_chunk if self._left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        assert self._left is not None
        self._left -= self._take(self._left)
        if self._left or self.done:
            return False
        self._step = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            raise Failure(message("reason.probe_bad_chunk"))
        self._step = self._read_chunk_size
        return True

    def _read_trailer(self) -> bool:
        line = self._line()
        self.done = line == b""
        return line is not None and not self.done


def unpack(body: bytes, encoding: str, most: int) -> Tuple[bytes, bool]:
    """The body without its content encoding (gzip, deflate), at most ``most`` bytes, and whether more followed. Raises Failure."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body, False
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Failure(message("reason.probe_encoding", encoding=encoding), "unknown")
    import zlib

    for bits in (47,) if encoding != "deflate" else (15, -15):  # many servers send deflate without the zlib header
        unpacker = zlib.decompressobj(bits)
        try:
            unpacked = unpacker.decompress(body, most + 1)
        except zlib.error:
            continue
        return unpacked[:most], len(unpacked) > most
    raise Failure(message("reason.probe_encoding", encoding=encoding))


class _Request(NamedTuple):
    method: str
    url: str
    headers: Dict[str, str]
    body: bytes
    trusted: bool  # the server that the options name: gets headers, body and credentials


def first_request(probe: Probe, url: str) -> _Request:
    """The request that a probe's options describe."""
    headers = dict(probe["headers"])
    body = probe["body"]
    if body is None:
        data = b""
    elif isinstance(body, str):
        data = body.encode("utf-8")
    else:
        import json

        data = json.dumps(body).encode("utf-8")
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
    if not any(name.lower() == "authorization" for name in headers):
        userinfo = read_url(url)[4]
        if probe["username"]:
            headers["Authorization"] = "Basic " + basic_credentials(probe["username"], probe["password"] or "")
        elif userinfo:
            from urllib.parse import unquote

            user, _colon, password = userinfo.partition(":")
            headers["Authorization"] = "Basic " + basic_credentials(unquote(user), unquote(password))
    return _Request(probe["method"], url, headers, data, True)


def request_bytes(request: _Request, host_header: Optional[str] = None) -> bytes:
    """The request as it is sent."""
    scheme, host, port, target, _userinfo = read_url(request.url)
    host = host.encode("idna").decode("ascii") if not host.isascii() else "[%s]" % host.partition("%")[0] if ":" in host else host
    usual = {"http": 80, "https": 443}[scheme]
    headers = {
        "Host": host_header or (host if port == usual else "%s:%d" % (host, port)),
        "User-Agent": "opsrunner",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    given = {name.lower() for name in request.headers}
    lines = ["%s %s HTTP/1.1" % (request.method, target)]
    lines += ["%s: %s" % pair for pair in headers.items() if pair[0].lower() not in given]
    lines += ["%s: %s" % pair for pair in request.headers.items() if pair[0].lower() not in ("content-length", "transfer-encoding")]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append("Content-Length: %d" % len(request.body))
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8") + request.body


def next_request(request: _Request, status: int, location: str) -> _Request:
    """The request a redirect leads to. Another scheme, host or port gets no headers, body or credentials. Raises Failure."""
    from urllib.parse import quote, urldefrag, urljoin

    # Many servers send what they should have written with percent signs: bytes of UTF-8, spaces.
    server = re.match(r"(?:(?:[A-Za-z][\w+.-]*:)?//[^/?#]*)?", location).group()  # type: ignore[union-attr]  # nothing fits as well
    rest = quote(location[len(server) :].encode("latin-1", "replace"), safe="%/:=&?~#+!$,;'@()*[]")
    url = urldefrag(urljoin(request.url, server + rest))[0]
    try:
        there = read_url(url)
    except OptionError:
        raise Failure(message("reason.probe_redirect_bad", location=cut(safe_url(location), _EXCERPT))) from None
    here = read_url(request.url)
    keeps_method = status in (307, 308) or request.method in ("GET", "HEAD")
    method, body = (request.method, request.body) if keeps_method else ("GET", b"")
    headers = request.headers if keeps_method else {k: v for k, v in request.headers.items() if not k.lower().startswith("content-")}
    if there[:3] != here[:3]:
        if body:
            raise Failure(message("reason.probe_redirect_body", location=cut(safe_url(url), _EXCERPT)))
        return _Request(method, url, {}, b"", False)
    return _Request(method, url, headers, body, request.trusted)


def probe_http(loop: Loop, names: Names, contexts: Contexts, search: Search, probe: Probe, url: str, trace: Trace) -> Steps[Outcome]:
    """Ask, follow redirects where that is wanted, and judge the answer."""
    request = first_request(probe, url)
    ends: List[float] = []
    visited = {(request.method, request.url)}
    while True:
        answer = yield from _exchange(loop, names, contexts, probe, request, trace, ends)
        trace.evidence["http_status"] = answer.status
        location = answer.header("location")
        if not (probe["follow_redirects"] and location and answer.status in (301, 302, 303, 307, 308)):
            if location:
                trace.evidence["location"] = cut(safe_url(location), _EXCERPT)
            return judge_certificates(probe, judge_answer(probe, answer, trace, search), ends)
        request = next_request(request, answer.status, location)
        trace.evidence.setdefault("redirects", []).append(cut(safe_url(request.url), _EXCERPT))
        if (request.method, request.url) in visited:
            raise Failure(message("reason.probe_redirect_loop", location=cut(safe_url(request.url), _EXCERPT)))
        if len(visited) > probe["max_redirects"]:
            raise Failure(message("reason.probe_redirects", limit=probe["max_redirects"]))
        visited.add((request.method, request.url))


def judge_certificates(probe: Probe, found: Outcome, ends: Sequence[float]) -> Outcome:
    """The outcome, unless a certificate on the way ends so soon that it is worse. ``ends``: in so many days."""
    if not probe["certificate"] or not ends:
        return found
    status = judge(min(ends), probe["certificate_warning"], probe["certificate_critical"])
    if worst([status, found.status]) == found.status:
        return found
    return Outcome(status, message("probe.tls.ends", name=probe["name"], days=min(ends)), found.value, found.unit, found.extra)


def _exchange(
    loop: Loop, names: Names, contexts: Contexts, probe: Probe, request: _Request, trace: Trace, ends: List[float]
) -> Steps[Answer]:
    scheme, host, port, _target, _userinfo = read_url(request.url)
    stream: Stream = yield from open_stream(loop, names, host, port, trace)
    try:
        if scheme == "https":
            from .tls import days_left, start_tls

            tls_options = probe if request.trusted else {**probe, "server_name": None}
            shown = yield from start_tls(loop, names, contexts(), stream, tls_options, host, port, trace, credentials=request.trusted)
            left = days_left(shown)
            ends += [] if left is None else [left]
        reader = Reader(request.method, probe["max_body"])
        data = yield from _first_bytes(loop, names, contexts, stream, probe, request, trace)
        trace.enter("body")
        while data:
            reader.feed(data)
            if reader.done:
                break
            data = yield from stream.receive()
        reader.end()
        trace.leave()
        return reader.answer()
    finally:
        stream.close()


def _first_bytes(
    loop: Loop, names: Names, contexts: Contexts, stream: Stream, probe: Probe, request: _Request, trace: Trace
) -> Steps[bytes]:
    """Ask, and the beginning of the answer. Raises Failure, also where a port without ``https`` speaks TLS."""
    scheme, host, port, _target, _userinfo = read_url(request.url)
    problem: Optional[Failure] = None
    data = b""
    trace.enter("first_byte")
    try:
        yield from stream.send(request_bytes(request, probe["host_header"] if request.trusted else None))
        data = yield from stream.receive()
    except Failure as failure:
        problem = failure
    if scheme == "http" and (not data or data[:1] == _TLS_ALERT):
        from .tls import speaks_tls

        if (yield from speaks_tls(loop, names, contexts(), probe, host, port, trace)):
            raise Failure(message("reason.probe_tls_port", port=port))
    if problem is not None:
        raise problem
    trace.leave()
    return data


def judge_answer(probe: Probe, answer: Answer, trace: Trace, search: Search) -> Outcome:
    """The outcome for an answer: status, then body, then JSON, then how long it took."""
    trace.end()
    took = round(trace.total_ms(), 1)
    name, status = probe["name"], answer.status
    trace.evidence["bytes_body"] = len(answer.body)
    if answer.cut:
        trace.evidence["body_cut"] = True
    if not any(low <= status <= high for low, high in probe["status"]):
        _excerpt(answer, trace)
        expected = ", ".join(str(low) if low == high else "%d-%d" % (low, high) for low, high in probe["status"])
        return Outcome("critical", message("probe.http.status", name=name, status=status, expected=expected), took, "ms", unjudged(probe))
    wrong = judge_body(probe, answer)
    if wrong is not None:
        _excerpt(answer, trace)
        return Outcome(wrong[0], message("probe.http.body", name=name, problem=wrong[1]), took, "ms", unjudged(probe))
    wrong, extra = judge_json(probe, answer, search)
    if wrong is not None:
        _excerpt(answer, trace)
        return Outcome(wrong[0], message("probe.http.body", name=name, problem=wrong[1]), took, "ms", extra)
    verdict = judge(took, probe["warning"], probe["critical"])
    text = message("probe.http.ok" if verdict == "ok" else "probe.http.slow", name=name, status=status, ms=took)
    if verdict == "ok" and answer.cut:
        text = message("probe.http.ok_cut", name=name, status=status, ms=took, bytes=len(answer.body))
    return Outcome(verdict, text, took, "ms", extra)


def _excerpt(answer: Answer, trace: Trace) -> None:
    text = " ".join(_text(answer)[:2000].split())
    if text:
        trace.evidence["body"] = cut(text, _EXCERPT)


def _text(answer: Answer) -> str:
    found = re.search(r"charset=[\"']?([\w.:-]+)", answer.header("content-type"), re.IGNORECASE)
    try:
        return answer.body.decode(found.group(1) if found else "utf-8", "replace")
    except (LookupError, UnicodeError):  # a charset that does not exist, or is none of text
        return answer.body.decode("utf-8", "replace")


def judge_body(probe: Probe, answer: Answer) -> Optional[Tuple[str, Message]]:
    """What is wrong with the body's text: status and reason, or None. What a cut body cannot prove is ``unknown``."""
    if not (probe["contains"] or probe["regex"] or probe["not_regex"]):
        return None
    text = _text(answer)
    unproved = ("unknown", message("reason.probe_body_cut", bytes=len(answer.body)))
    for wanted in probe["contains"]:
        if wanted not in text:
            return unproved if answer.cut else ("critical", message("reason.probe_no_text", text=cut(wanted, 100)))
    if probe["regex"] and not search_text(probe["regex"], text):
        return unproved if answer.cut else ("critical", message("reason.probe_no_match", regex=cut(probe["regex"], 100)))
    if probe["not_regex"]:
        found = search_text(probe["not_regex"], text)
        if found:
            return "critical", message("reason.probe_match", text=cut(found.group(), 100))
        if answer.cut:
            return unproved
    return None


def judge_json(probe: Probe, answer: Answer, search: Search) -> Tuple[Optional[Tuple[str, Message]], List[Dict[str, Any]]]:
    """What is wrong with the JSON body, and the findings of the expressions that have thresholds."""
    if not probe["json"]:
        return None, []
    if answer.cut:
        return ("unknown", message("reason.probe_body_cut", bytes=len(answer.body))), unjudged(probe)
    import json

    try:
        data = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        text = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return ("critical", message("reason.probe_no_json", error=cut(text, 100))), unjudged(probe)
    wrong: Optional[Tuple[str, Message]] = None
    extra: List[Dict[str, Any]] = []
    for item in probe["json"]:
        problem, own = _judge_expression(probe, item, data, search)
        if own is not None:
            extra.append(own)
        if problem is not None and (wrong is None or problem[0] == "critical" != wrong[0]):
            wrong = problem
    return wrong, extra


def _judge_expression(
    probe: Probe, item: Dict[str, Any], data: Any, search: Search
) -> Tuple[Optional[Tuple[str, Message]], Optional[Dict[str, Any]]]:
    try:
        found = search(item["expression"], data)
    except Failure as failure:
        return (failure.status, failure.reason), None
    except Exception as error:  # noqa: BLE001 - jmespath's own errors, and what odd data makes of an expression
        return ("critical", message("reason.probe_json_error", what=item["name"], error=cut(str(error), 100))), None
    own: Optional[Dict[str, Any]] = None
    if "warning" in item or "critical" in item:
        own = _threshold_finding(probe, item, found)
    shown = cut(_compact(found), 100)
    if "equals" in item and not same(found, item["equals"]):
        reason = message("reason.probe_json_differs", what=item["name"], found=shown, expected=cut(_compact(item["equals"]), 100))
    elif "one_of" in item and not any(same(found, wanted) for wanted in item["one_of"]):
        reason = message("reason.probe_json_differs", what=item["name"], found=shown, expected=cut(_compact(item["one_of"]), 100))
    elif "regex" in item and not (isinstance(found, (str, int, float)) and search_text(item["regex"], _plain(found))):
        reason = message("reason.probe_json_differs", what=item["name"], found=shown, expected=cut(item["regex"], 100))
    elif own is None and not {"equals", "one_of", "regex"} & set(item) and (found is None or found is False):
        reason = message("reason.probe_json_false", what=item["name"], found=shown)
    else:
        return None, own
    return ("critical", reason), own


def _threshold_finding(probe: Probe, item: Dict[str, Any], found: Any) -> Dict[str, Any]:
    value = None if isinstance(found, bool) else found if isinstance(found, (int, float)) else _number(found)
    status = judge(value, item.get("warning"), item.get("critical"))
    common = {"name": probe["name"], "what": item["name"]}
    if value is None:
        text = message("probe.json.no_number", found=cut(_compact(found), 100), **common)
        status = "critical" if found is None else "unknown"
    else:
        text = message("probe.json.ok" if status == "ok" else "probe.json.limit", found=value, **common)
    return {
        "check": "http.%s.%s" % (probe["name"], item["name"]),
        "status": status,
        "text": text,
        "value": value,
        "unit": item.get("unit", ""),
        "warning": item.get("warning"),
        "critical": item.get("critical"),
        "evidence": {"expression": item["expression"]},
    }


def unjudged(probe: Probe) -> List[Dict[str, Any]]:
    """The findings of expressions with thresholds when there was nothing to evaluate them on."""
    return [
        {
            "check": "http.%s.%s" % (probe["name"], item["name"]),
            "status": "unknown",
            "text": message("probe.json.unjudged", name=probe["name"], what=item["name"]),
            "unit": item.get("unit", ""),
            "warning": item.get("warning"),
            "critical": item.get("critical"),
            "evidence": {"expression": item["expression"]},
        }
        for item in probe.get("json") or ()
        if "warning" in item or "critical" in item
    ]


def same(found: Any, wanted: Any) -> bool:
    """Equal as JSON is: a boolean is no number, a number no text."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, list) and isinstance(wanted, (list, tuple)):
        return len(found) == len(wanted) and all(same(one, other) for one, other in zip(found, wanted))
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in found)
    return bool(found == wanted)


def _number(found: Any) -> Optional[float]:
    try:
        return float(found) if isinstance(found, str) else None
    except ValueError:
        return None


def _plain(found: Any) -> str:
    return found if isinstance(found, str) else _compact(found)


def _compact(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, default=str)
