# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long 200 endpoints of at most 50 ms take in one health_probe call, and what importing the module costs.

Runs, interleaved: all over http, all over https, half and half, and curl --parallel over http where curl is installed. The
endpoints are served by another process of this machine, so its work is in the figures. Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
COUNT = 200
SLOWEST_MS = 50.0

PROBE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from ansible_collections.opsrunner.runbook.plugins.module_utils import probe, probe_options
job = json.load(sys.stdin)
started = time.perf_counter()
findings, results = probe.run_probes(probe_options.read_probes(job))
took = (time.perf_counter() - started) * 1000
assert all(item["status"] == "ok" for item in findings), [item for item in findings if item["status"] != "ok"][0]
print(json.dumps({"ms": took, "slowest_seen": max(item["timings"]["total_ms"] for item in results)}))
"""

IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
import ansible.module_utils.basic
started = time.perf_counter()
if sys.argv[2] != "bare":
    import ansible_collections.opsrunner.runbook.plugins.modules.health_probe
print((time.perf_counter() - started) * 1000)
"""


async def serve(folder: Path) -> None:
    """Answer /<milliseconds> after that time, over http and https; write the ports to standard output."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(float(request.split(b" ", 2)[1][1:]) / 1000)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{"status":"UP"}')
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "it.pem", folder / "it.key")
    plain = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
    secure = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024, ssl=context)
    print(*(server.sockets[0].getsockname()[1] for server in (plain, secure)), flush=True)
    await asyncio.gather(plain.serve_forever(), secure.serve_forever())


def certificate(folder: Path) -> None:
    """A self-signed certificate for 127.0.0.1."""
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        "it.key",
        "-out",
        "it.pem",
    ]
    argv += ["-days", "60", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)


def run(code: str, *arguments: str, job: object = None) -> str:
    """A fresh Python's answer to a piece of code."""
    argv = [sys.executable, "-c", code, str(ROOT / "collections"), *arguments]
    return subprocess.run(argv, input=json.dumps(job), text=True, capture_output=True, check=True).stdout


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.serve))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate(folder)
        with subprocess.Popen([sys.executable, __file__, "--serve", name], stdout=subprocess.PIPE, text=True) as server:
            try:
                measure(folder, [int(port) for port in server.stdout.readline().split()], arguments.rounds)
            finally:
                server.terminate()


def measure(folder: Path, ports: list[int], rounds: int) -> None:
    """Take all figures and print them."""
    delays = [20 + (SLOWEST_MS - 20) * number / (COUNT - 1) for number in range(COUNT)]
    random.Random(7).shuffle(delays)
    plain = [f"http://127.0.0.1:{ports[0]}/{delay:.2f}" for delay in delays]
    secure = [f"https://127.0.0.1:{ports[1]}/{delay:.2f}" for delay in delays]
    kinds = {
        "http": plain,
        "https": secure,
        "half https": [pair[number % 2] for number, pair in enumerate(zip(plain, secure, strict=True))],
    }
    jobs = {
        kind: [{"name": str(number), "type": "http", "url": url, "ca_file": str(folder / "it.pem")} for number, url in enumerate(urls)]
        for kind, urls in kinds.items()
    }
    times: dict[str, list[float]] = {kind: [] for kind in (*jobs, "curl --parallel", "import")}
    for _round in range(rounds):
        for kind, job in jobs.items():
            times[kind].append(json.loads(run(PROBE, job=job))["ms"])
        if shutil.which("curl"):
            listing = folder / "urls"
            listing.write_text("".join(f"url = {url}\noutput = /dev/null\n" for url in plain))
            started = time.perf_counter()
            subprocess.run(
                ["curl", "-s", "--no-progress-meter", "--parallel", "--parallel-max", str(COUNT), "--parallel-immediate", "-K", listing],
                check=True,
                stderr=subprocess.DEVNULL,
            )
            times["curl --parallel"].append((time.perf_counter() - started) * 1000)
        times["import"].append(float(run(IMPORT, "module")) - float(run(IMPORT, "bare")))
    medians = {kind: statistics.median(values) for kind, values in times.items() if values}
    print(f"{COUNT} endpoints of 20 to {SLOWEST_MS:g} ms, medians of {rounds} interleaved rounds\n")
    for kind, median in medians.items():
        over = "" if kind == "import" else f"   slowest endpoint {median - SLOWEST_MS:+7.1f} ms"
        print(f"{kind:<18} {median:8.1f} ms{over}")
    figures = {
        "probe_200_over_slowest_ms": round(medians["half https"] - SLOWEST_MS, 1),
        "probe_200_http_over_slowest_ms": round(medians["http"] - SLOWEST_MS, 1),
        "probe_200_https_over_slowest_ms": round(medians["https"] - SLOWEST_MS, 1),
        "vs_curl_parallel": round(medians["http"] / medians.get("curl --parallel", math.nan), 2),
        "import_cost_ms": round(medians["import"], 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
