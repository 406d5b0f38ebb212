# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long 200 endpoints of at most 50 ms take in one health_probe call, from the options given to the findings.

Runs, interleaved: all over http, all over https (a P-256 certificate), half and half, each also by curl --parallel where curl is
installed. The endpoints are
another process of this machine and share its processors: their time is told beside ours. What a call compiles and imports is in
its time, as it is on a target. Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
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
import ansible.module_utils.basic
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import run as probe
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import options as probe_options
job = json.load(sys.stdin)
used, started = time.process_time(), time.perf_counter()
findings, results = probe.run_probes(probe_options.read_probes(job))
took, used = time.perf_counter() - started, time.process_time() - used
assert all(item["status"] == "ok" for item in findings), [item for item in findings if item["status"] != "ok"][0]
told = max(item["timings"]["total_ms"] for item in results)
print(json.dumps({"took": took * 1000, "cpu": used * 1000, "slowest told": told}))
"""

OTHERS = "import ansible.module_utils.basic, calendar, encodings.idna, heapq, queue, resource, selectors, ssl, urllib.parse"


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


def processor_ms(pid: int) -> float:
    """Milliseconds of processor time that a process has used (proc(5), schedstat)."""
    return int(Path("/proc/%d/schedstat" % pid).read_text().split()[0]) / 1e6


def call(job: object, bytecode: Path) -> dict[str, float]:
    """One call in a fresh Python, which compiles our sources as a target does, and has the bytecode of everything else."""
    argv = [sys.executable, "-c", PROBE, str(ROOT / "collections")]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    if not bytecode.exists():
        subprocess.run([sys.executable, "-c", OTHERS], check=True, env={**environment, "PYTHONDONTWRITEBYTECODE": ""})
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(argv, input=json.dumps(job), text=True, stdout=subprocess.PIPE, check=True, env=environment)
    return dict(json.loads(done.stdout))


def curl(listing: Path) -> float:
    """Milliseconds that curl takes for the URLs of a file."""
    argv = ["curl", "-s", "--no-progress-meter", "--parallel", "--parallel-max", str(COUNT), "--parallel-immediate", "-K", str(listing)]
    started = time.perf_counter()
    subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def go_first() -> None:
    """Have the scheduler prefer this session (sched(7), autogroup), so that other work of the machine disturbs less; needs root."""
    if os.getpid() != os.getsid(0):
        os.setsid()
    Path("/proc/self/autogroup").write_text("-20")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--first", action="store_true", help="go before other work of this machine; needs root")
    arguments = parser.parse_args()
    if arguments.first:
        if not os.fork():
            go_first()
            measure_all(arguments.rounds)
            return
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
    measure_all(arguments.rounds)


def measure_all(rounds: int) -> None:
    """Start the endpoints, measure, print."""
    with tempfile.TemporaryDirectory() as name:
        certificate(Path(name))
        argv = [sys.executable, str(Path(__file__).with_name("endpoints.py")), name]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
            try:
                measure(Path(name), server.pid, [int(port) for port in server.stdout.readline().split()], rounds)
            finally:
                server.terminate()


def measure(folder: Path, server: int, ports: list[int], rounds: int) -> None:
    """Take all figures and print them."""
    delays = [20 + (SLOWEST_MS - 20) * number / (COUNT - 1) for number in range(COUNT)]
    random.Random(7).shuffle(delays)
    plain = [f"http://127.0.0.1:{ports[0]}/{delay:.2f}" for delay in delays]
    secure = [f"https://127.0.0.1:{ports[1]}/{delay:.2f}" for delay in delays]
    kinds = {
        "http": plain,
        "half https": [pair[number % 2] for number, pair in enumerate(zip(plain, secure, strict=True))],
        "https": secure,
    }
    listings = {kind: folder / kind for kind in kinds}
    for kind, urls in kinds.items():
        listings[kind].write_text(f'cacert = "{folder}/it.pem"\n' + "".join(f"url = {url}\noutput = /dev/null\n" for url in urls))
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    curls: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _round in range(rounds):
        for kind, urls in kinds.items():
            before = processor_ms(server)
            job = [{"name": str(number), "type": "http", "url": url, "ca_file": str(folder / "it.pem")} for number, url in enumerate(urls)]
            runs[kind].append(call(job, folder / "bytecode"))
            runs[kind][-1]["server cpu"] = processor_ms(server) - before
            if shutil.which("curl"):
                curls[kind].append(curl(listings[kind]))
    medians = {kind: {name: statistics.median(run[name] for run in told) for name in told[0]} for kind, told in runs.items()}
    print(f"{COUNT} endpoints of 20 to {SLOWEST_MS:g} ms, medians of {rounds} interleaved rounds on {os.cpu_count()} processors, in ms")
    print("Slowest told: the longest time that the module tells of an endpoint.\n")
    print(f"{'':<16} {'over slowest':>12} {'took':>7} {'least':>7} {'own cpu':>8} {'server cpu':>10} {'slowest told':>12}")
    for kind, told in medians.items():
        least = min(run["took"] for run in runs[kind])
        print(f"{kind:<16} {told['took'] - SLOWEST_MS:+12.1f} {told['took']:7.1f} {least:7.1f} {told['cpu']:8.1f}", end="")
        print(f" {told['server cpu']:10.1f} {told['slowest told']:12.1f}")
    peers = {kind: statistics.median(took) for kind, took in curls.items() if took}
    for kind, took in peers.items():
        print(f"{'curl, ' + kind:<16} {took - SLOWEST_MS:+12.1f} {took:7.1f} {min(curls[kind]):7.1f}")
    figures = {
        "probe_200_over_slowest_ms": round(medians["half https"]["took"] - SLOWEST_MS, 1),
        "probe_200_http_over_slowest_ms": round(medians["http"]["took"] - SLOWEST_MS, 1),
        "probe_200_https_over_slowest_ms": round(medians["https"]["took"] - SLOWEST_MS, 1),
        "probe_200_cpu_ms": round(medians["half https"]["cpu"], 1),
        "server_cpu_ms": round(medians["half https"]["server cpu"], 1),
        "vs_curl_parallel": round(medians["http"]["took"] / peers["http"], 2) if peers else None,
        "vs_curl_parallel_half_https": round(medians["half https"]["took"] / peers["half https"], 2) if peers else None,
        "vs_curl_parallel_https": round(medians["https"]["took"] / peers["https"], 2) if peers else None,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
