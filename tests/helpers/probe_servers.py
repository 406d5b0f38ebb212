# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that tests of probes talk to: real sockets, good and bad behaviour."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import itertools
import shutil
import socket
import ssl
import subprocess
import threading

from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.options import read_probes
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe.run import run_probes


class Server:
    """Calls ``handle(connection, request)`` in a thread for each connection; keeps the requests it was sent."""

    def __init__(self, handle, host="127.0.0.1", context=None, reads=True):
        self.requests = []
        self._handle, self._context, self._reads = handle, context, reads
        self._stop = threading.Event()
        self.socket = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=200)
        self.port = self.socket.getsockname()[1]
        self.address = "[%s]:%d" % (host, self.port) if ":" in host else "%s:%d" % (host, self.port)
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path="/", host=None):
        scheme = "https" if self._context else "http"
        return "%s://%s%s" % (scheme, "%s:%d" % (host, self.port) if host else self.address, path)

    def _accept(self):
        while not self._stop.is_set():
            try:
                connection, _address = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(10)
        with contextlib.suppress(OSError), connection:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            request = b""
            while self._reads and b"\r\n\r\n" not in request:
                data = connection.recv(65536)
                if not data:
                    break
                request += data
            self.requests.append(request)
            self._handle(connection, request)
            if self._context:
                connection.close()

    def close(self):
        self._stop.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Refusing:
    """An address that refuses connections for as long as this lives: its port is taken and nothing listens there.

    The port of a server that was closed will not do: the kernel gives it to whoever asks next.
    """

    def __init__(self, host="127.0.0.1"):
        self._socket = socket.socket()
        self._socket.bind((host, 0))
        self.address = "%s:%d" % (host, self._socket.getsockname()[1])

    def url(self):
        return "http://%s/" % self.address

    def close(self):
        self._socket.close()


def saying(*pieces):
    """A handler that sends the pieces one by one and hangs up."""

    def handle(connection, _request):
        for piece in pieces:
            connection.sendall(piece)

    return handle


def answer(body=b"ok", status="200 OK", **headers):
    """A handler that gives an HTTP answer."""
    lines = ["HTTP/1.1 " + status, "Content-Length: %d" % len(body)]
    lines += ["%s: %s" % (name.replace("_", "-"), value) for name, value in headers.items()]
    return saying(("\r\n".join(lines) + "\r\n\r\n").encode() + body)


def silent(connection, _request):
    """A handler that never answers: it waits until the other side hangs up."""
    connection.recv(1)


def probe(bundle=None, deadline=10.0, **options):
    """Run one probe; its findings by check, and its entry of the results."""
    options.setdefault("name", "it")
    findings, results = run_probes(read_probes([options]), deadline, bundle=bundle)
    return {item["check"]: item for item in findings}, results[0]


def find(**options):
    """The finding of one probe."""
    found, _result = probe(**options)
    return found["%s.it" % options["type"]]


def reason(finding):
    """The id of the reason in a finding."""
    told = finding["params"].get("reason") or finding["params"].get("problem") or {}
    return told.get("message", "").replace("reason.probe_", "")


class Authority:
    """A certificate authority in a folder, made with openssl."""

    def __init__(self, folder, name="Test CA"):
        self.folder = folder
        self._serials = itertools.count(1)
        self.file = folder / "ca.pem"
        self._run("req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/O=Tests/CN=" + name)

    def _run(self, *argv):
        subprocess.run(["openssl", *argv], cwd=self.folder, check=True, capture_output=True)

    def below(self, folder, days):
        """An authority whose own certificate is signed by this one and ends in so many days."""
        made = Authority.__new__(Authority)
        made.folder, made.file, made._serials = folder, folder / "ca.pem", itertools.count(1)
        files = self.issue("between", days=days, extension="basicConstraints=critical,CA:TRUE", subject="/CN=Between")
        for path, name in zip(files, ("ca.pem", "ca.key")):
            shutil.copy(path, folder / name)
        return made

    def issue(self, name, days=60.0, begins=-10.0, sign=True, extension=None, subject="/CN=service"):
        """A certificate and key file for a name or address; ``days`` from now it ends. Self-signed without ``sign``."""
        base = "%s-%s-%s" % (name.replace("*", "star").replace(":", "_"), days, sign)
        key, request, certificate = base + ".key", base + ".csr", base + ".pem"
        try:
            kind = "IP:%s" % ipaddress.ip_address(name)
        except ValueError:
            kind = "DNS:%s" % name
        (self.folder / (base + ".cnf")).write_text((extension or "subjectAltName=%s" % kind) + "\n")
        self._run("req", "-new", *_KEY, "-keyout", key, "-out", request, "-subj", subject)
        now = datetime.datetime.now(datetime.timezone.utc)
        dates = [(now + datetime.timedelta(days=offset)).strftime("%Y%m%d%H%M%SZ") for offset in (begins, days)]
        if not sign:
            self._run(
                "x509", "-req", "-in", request, "-signkey", key, "-out", certificate, "-days", str(int(days)), "-extfile", base + ".cnf"
            )
            return self.folder / certificate, self.folder / key
        # "openssl ca" is what sets both dates in every version of openssl.
        (self.folder / "index.txt").write_text("")
        (self.folder / "serial").write_text("%08x\n" % next(self._serials))
        (self.folder / "ca.cnf").write_text(_CA_CONFIG)
        self._run(
            "ca", "-batch", "-config", "ca.cnf", "-in", request, "-out", certificate, "-extfile", base + ".cnf",
            "-startdate", dates[0], "-enddate", dates[1], "-notext",
        )  # fmt: skip
        return self.folder / certificate, self.folder / key

    def context(self, name, **more):
        """A server's TLS context with such a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name, **more))
        return context

    def chained(self, name, *others, **more):
        """The same, with other certificates sent behind its own."""
        certificate, key = self.issue(name, **more)
        chain = self.folder / "chain.pem"
        chain.write_text("".join(path.read_text() for path in (certificate, *others)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        return context


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_CA_CONFIG = """
[ca]
default_ca = it
[it]
database = index.txt
serial = serial
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""
