# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain or TLS connection: say something, look at what comes back."""

from __future__ import annotations

from typing import Any, Callable, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import cut, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.thresholds import judge

from .loop import Loop, Steps
from .net import Names, Stream, open_stream
from .options import Probe
from .outcome import Failure, Outcome, Trace, search

#: Bytes of an answer that ``expect`` is looked for in; a banner or a status line is far below.
MAX_ANSWER = 65536


def probe_tcp(loop: Loop, names: Names, contexts: Callable[[], Any], probe: Probe, target: Tuple[str, int], trace: Trace) -> Steps[Outcome]:
    """Connect, send, and wait for what is expected."""
    stream = yield from open_stream(loop, names, target[0], target[1], trace)
    try:
        if probe["tls"]:
            from .tls import start_tls

            yield from start_tls(loop, names, contexts(), stream, probe, target[0], target[1], trace)
        trace.enter("answer")
        if probe["send"] is not None:
            yield from stream.send(probe["send"].encode("utf-8"))
        if probe["expect"] is not None:
            yield from _expect(stream, probe, trace)
            trace.leave()
    finally:
        stream.close()
    trace.end()
    took = round(trace.total_ms(), 1)
    status = judge(took, probe["warning"], probe["critical"])
    text = message("probe.tcp.ok" if status == "ok" else "probe.tcp.slow", name=probe["name"], ms=took, address=trace.evidence["address"])
    return Outcome(status, text, took, "ms")


def _expect(stream: Stream, probe: Probe, trace: Trace) -> Steps[None]:
    seen = b""
    while True:
        try:
            data = yield from stream.receive()
        except TimeoutError:
            if seen:
                trace.evidence["answer"] = cut(seen.decode("utf-8", "replace"), 200)
            raise
        seen += data
        text = seen.decode("utf-8", "replace")
        if search(probe["expect"], text):
            return
        if not data or len(seen) >= MAX_ANSWER:
            if text:
                trace.evidence["answer"] = cut(text, 200)
            raise Failure(message("reason.probe_no_match" if text else "reason.probe_closed", regex=cut(probe["expect"], 100)))
