# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log statistics against the pipelines and tools that they replace.

Makes its inputs from a seed, runs ours and the peers in turn, prints a table of medians with the ratio of each peer's time to
ours, and as its last line one JSON object. Peers that are not installed are left out (null). duckdb is looked for in this
interpreter and in the one that OPSRUNNER_BENCH_PYTHON names. Nothing is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
DAY = 1767225600.0

OURS = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import stats as log_main
job = json.load(sys.stdin)
started = time.perf_counter()
result = log_main.log_stats(job, 1767400000.0)
took = time.perf_counter() - started
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"s": took, "mib": max(own, child) / 1024}))
"""

LOADS = """
import json, sys
from collections import Counter
values, functions, kinds, errors, slow, total, wrong = [], Counter(), Counter(), [], [], 0, 0
for line in open(sys.argv[1], encoding="utf-8"):
    try:
        row = json.loads(line)
    except ValueError:
        continue
    if row.get("level") == "ERROR":
        errors.append((row["timestamp"], row["message"]))
        kinds[row.get("error_type")] += 1
    value = row.get("execution_time_ms")
    if value is not None:
        values.append(value)
        if value > 50:
            slow.append((value, row["timestamp"], row["request_id"]))
    if row.get("status") is not None:
        total += 1
        wrong += row["status"] == "error"
    functions[row.get("function"), row.get("status")] += 1
values.sort()
print(len(values), sum(values) / len(values), values[0], values[-1], values[len(values) // 2], values[len(values) * 95 // 100],
      values[len(values) * 99 // 100], sum(v < 25 for v in values), sum(v >= 50 for v in values), total, wrong, kinds, functions, len(slow))
"""

DUCKDB = """
import duckdb, sys
source = '''read_json(%r, format='newline_delimited', ignore_errors=true, columns={timestamp: 'TIMESTAMP', level: 'VARCHAR',
  "function": 'VARCHAR', message: 'VARCHAR', execution_time_ms: 'DOUBLE', status: 'VARCHAR', request_id: 'VARCHAR',
  error_type: 'VARCHAR'})''' % sys.argv[1]
con = duckdb.connect()
con.sql("set threads=2")
con.sql("create table t as select * from " + source)
for query in (
    "select count(execution_time_ms), avg(execution_time_ms), min(execution_time_ms), max(execution_time_ms), "
    "approx_quantile(execution_time_ms, [0.5, 0.95, 0.99]), count(*) filter (execution_time_ms < 25), "
    "count(*) filter (execution_time_ms >= 50), count(status), count(*) filter (status = 'error'), min(timestamp), max(timestamp) from t",
    "select level, count(*) from t group by 1",
    "select error_type, count(*) from t where level = 'ERROR' group by 1",
    "select \\"function\\", status, count(*) from t group by 1, 2",
    "select timestamp, message from t where level = 'ERROR' order by timestamp desc limit 10",
    "select regexp_replace(message, '[0-9]+', 'n', 'g'), count(*) from t where level = 'ERROR' group by 1 order by 2 desc limit 10",
    "select execution_time_ms, timestamp, request_id from t where execution_time_ms > 50 order by 1 desc limit 10",
):
    con.sql(query).fetchall()
"""

MERGE = """
import json, random, sys, time
sys.path.insert(0, sys.argv[1])
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import options as log_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import summary as log_summary
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import tally as log_tally
r = random.Random(1)
spec = log_options.parse_logs([{"name": "app", "paths": ["/x"], "format": "json", "fields": ["f%d" % n for n in range(5)]}], 0.0, {})[0]
hosts = []
for host in range(200):
    tally = log_tally.Tally(spec)
    for n in range(2000):
        tally.add(log_tally.Record(1.7e9 + n, ("INFO", None), [r.lognormvariate(3, 1) for _ in range(5)], "m", None))
    summary = tally.summary()
    summary["hosts"] = ["host%d" % host]
    summary["signatures"] = {"signature %d of %s" % (n, "abcdefghij"[r.randrange(10)]): [n + 1, 1.7e9] for n in range(1000)}
    hosts.append(json.loads(json.dumps(summary)))
started = time.perf_counter()
merged = log_summary.merge(hosts)
log_summary.figures(merged, 300.0)
print(json.dumps({"s": time.perf_counter() - started, "signatures": len(merged["signatures"])}))
"""

#: A service that works for a third of a millisecond for each request.
NEIGHBOUR = """
import json, socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
rows = [{"id": number, "name": "item %d" % number} for number in range(300)]
client = server.accept()[0]
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while client.recv(1):
    client.sendall(b"%8d" % len(json.dumps(json.loads(json.dumps(rows)))))
"""

#: All that the last line tells; what could not be measured is null.
FIGURES = (
    "json_vs_runbook", "json_vs_jq", "json_vs_loads", "json_vs_duckdb", "lines_per_s", "cpu_s_per_million", "mib_per_process_1m",
    "mib_per_process_5m", "mib_per_process_50_files", "decimals_cost", "access_vs_goaccess", "access_vs_lnav", "batch_vs_grep",
    "batch_vs_grep_big", "gzip_cost", "zstd_cost", "cursor_ms", "cursor_gb", "merge_200_hosts_s", "neighbour_latency_ratio",
    "neighbour_latency_ratio_without_caps", "probe_200_over_slowest_ms", "import_cost_ms", "import_log_stats_ms",
    "import_log_stats_cached_ms",
)  # fmt: skip

#: The figures of the weekly review and the daily look, each by its own pipeline, as the runbook has them.
RUNBOOK = r"""
f=$1
jq -r 'select(.execution_time_ms) | .execution_time_ms' "$f" |
  awk '{s+=$1;c++;if($1>m)m=$1;if(n==""||$1<n)n=$1;if($1<25)a++;else if($1<50)b++;else d++} END {print c,s/c,n,m,a,b,d}'
jq -r 'select(.level=="ERROR") | .error_type' "$f" | sort | uniq -c | sort -nr
jq -r 'select(.status) | .status' "$f" | wc -l
jq -r 'select(.status=="error") | .status' "$f" | wc -l
jq -r 'select(.level=="ERROR") | "\(.timestamp) \(.message)"' "$f" | tail -10
jq -r 'select(.function=="analyze_peg_data") | .status' "$f" | sort | uniq -c
jq -r 'select(.execution_time_ms > 50) | "\(.timestamp) \(.execution_time_ms)ms \(.request_id)"' "$f" | tail -10
"""
ONE_JQ = r"""
jq -r '[.timestamp,.level,.function,.status,.execution_time_ms,.error_type,.message,.request_id]|@tsv' "$1" | awk -F'\t' '
$5!=""{s+=$5;c++;if($5>m)m=$5;if(n==""||$5<n)n=$5;if($5<25)a++;else if($5<50)b++;else d++;if($5>50)slow++}
$2=="ERROR"{e[$6]++;l[$2]++;last=$1" "$7} $4!=""{t++} $4=="error"{w++} {k[$3" "$4]++}
END {print c,s/c,n,m,a,b,d,slow,t,w,last;for(x in e)print x,e[x];for(x in k)print x,k[x]}'
"""
#: What the runbook of the batch does with its log. Output goes into pipes as it does there: straight to /dev/null grep stops at a match.
GREP = r"""
f=$1
grep -i error "$f" | tail -20
grep "BATCH PROCESS COMPLETED" "$f" | wc -l
grep "BATCH PROCESS FAILED" "$f" | wc -l
grep "Total duration" "$f" | tail -10
grep "Processed.*users with candidates" "$f" | tail -5
grep "response time" "$f" | tail -10
echo "$(grep -c "ERROR\|CRITICAL" "$f" | tail -1)"
grep "BATCH PROCESS COMPLETED SUCCESSFULLY" "$f" | tail -1 | awk '{print $1" "$2}'
"""

MAWK = r"""
mawk '/BATCH PROCESS COMPLETED SUCCESSFULLY/ {s++; at=$1" "$2}
/BATCH PROCESS FAILED/ {f++}
/Total duration/ {d=$0}
/users with candidates/ {u=$0}
/response time/ {r=$0; c++}
{l[$6]++}
$6=="ERROR"||$6=="CRITICAL" {e=$0}
END {print NR,s,at,f,d,u,r,c,e; for(x in l) print x,l[x]}' "$1"
"""

JSON_OPTIONS: dict[str, Any] = {
    "format": "json",
    "zone": "UTC",
    "fields": [{"name": "execution_time_ms", "unit": "ms", "buckets": [25, 50], "slow": 50}],
    "count_by": ["function+status", "error_type"],
}
ACCESS_OPTIONS: dict[str, Any] = {"format": "combined", "zone": "UTC", "fields": ["bytes"]}
BATCH_OPTIONS: dict[str, Any] = {
    "format": "batch",
    "zone": "UTC",
    "patterns": [
        {"name": "success", "regex": "BATCH PROCESS COMPLETED SUCCESSFULLY"},
        {"name": "failure", "regex": "BATCH PROCESS FAILED"},
        {"name": "duration", "regex": r"Total duration: (?P<value>[0-9.]+)"},
        {"name": "users", "regex": r"Processed (?P<value>\d+) users with candidates"},
        {"name": "api", "regex": r"response time: (?P<value>\d+)"},
    ],
}


def write_json(path: Path, lines: int, decimals: int = 1) -> None:
    """JSON lines of about 190 bytes."""
    r = random.Random(1)
    at = DAY
    functions = ("analyze_peg_data", "load_measurements", "store_result", "report")
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, lines, 10000):
            rows = []
            for _ in range(min(10000, lines - start)):
                at += r.random() * 0.04
                wrong = r.random() < 0.02
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
                level = "ERROR" if wrong else "WARNING" if r.random() < 0.03 else "INFO"
                text = f"could not reach 10.0.0.{r.randrange(250)} after {r.randrange(1000)} ms" if wrong else "request done"
                more = f', "error_type": "{r.choice(("Timeout", "ValueError", "DatabaseError"))}"' if wrong else ""
                rows.append(
                    f'{{"timestamp": "{stamp}.{int(at % 1 * 1000):03d}Z", "level": "{level}", '
                    f'"function": "{r.choice(functions)}", "message": "{text}", "execution_time_ms": {r.expovariate(1 / 30):.{decimals}f}, '
                    f'"status": "{"error" if wrong else "success"}", "request_id": "req-{r.getrandbits(32):08x}"{more}}}\n'
                )
            file.write("".join(rows))


def write_access(path: Path, lines: int) -> None:
    """An access log in the combined format."""
    r = random.Random(2)
    at = DAY
    with path.open("w", encoding="utf-8") as file:
        for _ in range(lines):
            at += r.random() * 0.04
            stamp = time.strftime("%d/%b/%Y:%H:%M:%S", time.gmtime(at))
            file.write(
                f'10.0.{r.randrange(4)}.{r.randrange(250)} - - [{stamp} +0000] "GET /api/v1/item/{r.randrange(500)} HTTP/1.1" '
                f'{r.choices(("200", "404", "503"), (95, 4, 1))[0]} {r.randrange(20000)} "-" "Mozilla/5.0 (X11; Linux x86_64)"\n'
            )


def write_batch(path: Path, lines: int) -> None:
    """A batch log: most lines tell of one user, some of an API call, few of a whole run."""
    r = random.Random(3)
    at = DAY
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            at += r.random() * 0.08
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) + f",{int(at % 1 * 1000):03d}"
            level, text = "INFO", f"Candidates stored for USER{r.randrange(100000)}: {r.randrange(50)} items"
            pick = r.random()
            if number % 50000 == 49999:
                text = "BATCH PROCESS COMPLETED SUCCESSFULLY"
            elif number % 50000 == 49998:
                text = f"Total duration: {r.random() * 900:.2f} seconds"
            elif number % 5000 == 4000:
                text = f"Processed {r.randrange(5000)} users with candidates"
            elif pick < 0.01:
                level, text = "ERROR", f"could not store USER{r.randrange(100000)}: timeout after {r.randrange(900)} ms"
            elif pick < 0.04:
                text = f"Portfolio API response time: {r.randrange(500)} ms"
            file.write(f"{stamp} - candidate_generation - {level} - {text}\n")


#: Byte code is kept in the folder of the bench (what compiling costs is a figure of its own).
OUR_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
#: The locale of a usual host.
PEERS_ENVIRONMENT = {**{name: value for name, value in os.environ.items() if not name.startswith("LC_")}, "LANG": "C.UTF-8"}


def timed(argv: list[str]) -> float:
    """Seconds of a command."""
    started = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=PEERS_ENVIRONMENT)
    return time.perf_counter() - started


def ours(paths: list[Path], options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One call of ours in a process of its own; ``s`` is all of it, the start of Python included, with byte code at hand."""
    job = {"logs": [{"name": "bench", "paths": [str(path) for path in paths], "rotated": False, **options}], "nice": 0, **more}
    started = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-c", OURS, str(ROOT / "collections")],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
        env=OUR_ENVIRONMENT,
    )
    return {**json.loads(answer.stdout), "s": time.perf_counter() - started, "call": json.loads(answer.stdout)["s"]}


def duckdb_python() -> str | None:
    """An interpreter that has duckdb."""
    for python in (os.environ.get("OPSRUNNER_BENCH_PYTHON"), sys.executable):
        if python and subprocess.run([python, "-c", "import duckdb"], capture_output=True, check=False).returncode == 0:
            return python
    return None


class Bench:
    """Collects times and prints them."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.figures: dict[str, Any] = dict.fromkeys(FIGURES)
        self.processor: dict[str, float] = {}

    def race(self, title: str, runners: dict[str, Callable[[], float] | None]) -> dict[str, float]:
        """Run all in turn; medians by name."""
        times: dict[str, list[float]] = {name: [] for name, run in runners.items() if run is not None}
        used: dict[str, list[float]] = {name: [] for name in times}
        for _ in range(self.rounds):
            for name, seconds in times.items():
                run = runners[name]
                if run is not None:
                    before = os.times()
                    seconds.append(run())
                    after = os.times()
                    used[name].append(after.children_user + after.children_system - before.children_user - before.children_system)
        medians = {name: statistics.median(seconds) for name, seconds in times.items()}
        processor = {name: statistics.median(seconds) for name, seconds in used.items()}
        self.processor = processor
        base, own = next(iter(medians.values())), next(iter(processor.values()))
        print(f"\n{title:<32}  wall clock, ours = 1   processor, ours = 1")
        for name, run in runners.items():
            told = "      not here"
            if run is not None:
                told = f"{medians[name]:9.3f} s {medians[name] / base:7.2f}  {processor[name]:9.3f} s {processor[name] / own:7.2f}"
            print(f"  {name:<30}{told}", flush=True)
        return medians

    def keep(self, name: str, value: float | None, digits: int = 2) -> None:
        """Note a figure for the last line."""
        self.figures[name] = None if value is None else round(value, digits)


def shell(script: str, path: Path) -> Callable[[], float]:
    """A shell script over a file."""
    return lambda: timed(["bash", "-c", script, "bench", str(path)])


def ratio(medians: dict[str, float], peer: str, own: str = "log_stats") -> float | None:
    """A peer's time over ours."""
    return medians[peer] / medians[own] if peer in medians else None


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of the logs that all are run on")
    parser.add_argument("--big", type=int, default=5_000_000, help="lines of the big log")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1, help="rounds of the jq pipelines, which take minutes")
    parser.add_argument("--cursor-gb", type=float, default=10, help="size of the log that the cursor is tried on")
    parser.add_argument("--only-logs", action="store_true", help="leave out the benches of probes and imports")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="opsrunner-bench-"))
    bench = Bench(arguments.rounds)
    OUR_ENVIRONMENT["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    try:
        write_json(folder / "first.json", 10)
        ours([folder / "first.json"], JSON_OPTIONS)
        run_all(bench, folder, arguments)
    finally:
        shutil.rmtree(folder)
    load = os.getloadavg()[0]
    print(f"\nLoad at the end {load:.1f}; other work on the machine disturbs the wall clock of what uses all processors most")
    print(json.dumps(bench.figures))


def run_all(bench: Bench, folder: Path, arguments: argparse.Namespace) -> None:
    """All rows of the table."""
    lines, big_lines = arguments.lines, arguments.big
    small, big, six = folder / "small.json", folder / "big.json", folder / "six.json"
    print(f"{lines:,} and {big_lines:,} lines, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    write_json(small, lines)
    peak: dict[str, float] = {}

    def own(name: str, paths: list[Path], options: dict[str, Any], **more: Any) -> Callable[[], float]:
        def call() -> float:
            answer = ours(paths, options, **more)
            peak[name] = max(peak.get(name, 0.0), answer["mib"])
            return float(answer["s"])

        return call

    python = duckdb_python()
    medians = bench.race(
        f"JSON lines, {lines:,}",
        {
            "log_stats": own("1m", [small], JSON_OPTIONS),
            "json.loads loop": lambda: timed([sys.executable, "-c", LOADS, str(small)]),
            "duckdb": (lambda: timed([python, "-c", DUCKDB, str(small)])) if python else None,
        },
    )
    bench.keep("json_vs_loads", ratio(medians, "json.loads loop"))
    has_jq = shutil.which("jq") is not None
    rounds, bench.rounds = bench.rounds, arguments.slow_rounds
    medians = bench.race(
        f"JSON lines against jq, {lines:,}",
        {
            "log_stats": own("1m", [small], JSON_OPTIONS),
            "jq and awk, one pass": shell(ONE_JQ, small) if has_jq else None,
            "the runbook's jq pipelines": shell(RUNBOOK, small) if has_jq else None,
        },
    )
    bench.rounds = rounds
    bench.keep("json_vs_runbook", ratio(medians, "the runbook's jq pipelines"))
    bench.keep("json_vs_jq", ratio(medians, "jq and awk, one pass"))

    write_json(six, lines, 6)
    medians = bench.race("Six decimals", {"log_stats": own("1m", [small], JSON_OPTIONS), "six decimals": own("six", [six], JSON_OPTIONS)})
    bench.keep("decimals_cost", ratio(medians, "six decimals"))
    six.unlink()

    write_json(big, big_lines)
    medians = bench.race(
        f"JSON lines, {big_lines:,}",
        {
            "log_stats": own("5m", [big], JSON_OPTIONS),
            "duckdb": (lambda: timed([python, "-c", DUCKDB, str(big)])) if python else None,
        },
    )
    bench.keep("json_vs_duckdb", ratio(medians, "duckdb"))
    bench.keep("lines_per_s", big_lines / medians["log_stats"], 0)
    bench.keep("cpu_s_per_million", bench.processor["log_stats"] / big_lines * 1e6)
    bench.keep("mib_per_process_1m", peak["1m"], 1)
    bench.keep("mib_per_process_5m", peak["5m"], 1)

    split = folder / "split"
    split.mkdir()
    subprocess.run(["split", "-n", "l/50", str(big), str(split / "part")], check=True)
    medians = bench.race(
        "Fifty files", {"log_stats": own("5m", [big], JSON_OPTIONS), "fifty files": own("files", [split / "part*"], JSON_OPTIONS)}
    )
    bench.keep("mib_per_process_50_files", peak["files"], 1)
    shutil.rmtree(split)

    neighbour(bench, big)
    cursor(bench, folder, big, arguments.cursor_gb)
    big.unlink()
    packed(bench, folder, small, own)
    small.unlink()
    texts(bench, folder, lines, big_lines, own)

    answer = json.loads(
        subprocess.run([sys.executable, "-c", MERGE, str(ROOT / "collections")], capture_output=True, text=True, check=True).stdout
    )
    bench.keep("merge_200_hosts_s", answer["s"], 3)
    print(f"\n200 host summaries merged in {answer['s']:.3f} s")
    if not arguments.only_logs:
        bench.keep("probe_200_over_slowest_ms", last_line("probes")["probe_200_over_slowest_ms"], 1)
        costs = last_line("imports", "--rounds", "5")
        bench.keep("import_cost_ms", costs["import_cost_ms"], 1)
        bench.keep("import_log_stats_ms", costs["import_cost_ms_by_module"]["log_stats"], 1)
        bench.keep("import_log_stats_cached_ms", costs["import_cached_ms_by_module"]["log_stats"], 1)


def last_line(name: str, *options: str) -> dict[str, Any]:
    """What another bench tells in its last line."""
    bench = ROOT / "tests" / "bench" / name / "bench.py"
    told = subprocess.run([sys.executable, str(bench), *options], stdout=subprocess.PIPE, text=True, check=True).stdout
    print(f"\n{told.rpartition(chr(10) + '{')[0].strip()}", flush=True)
    found: dict[str, Any] = json.loads(told.strip().splitlines()[-1])
    return found


def latencies(client: socket.socket, is_over: Callable[[], bool]) -> list[float]:
    """Milliseconds of requests that are made a hundred times a second."""
    found = []
    due = time.perf_counter()
    while not is_over():
        started = time.perf_counter()
        client.sendall(b"x")
        got = 0
        while got < 8:
            got += len(client.recv(8 - got))
        found.append((time.perf_counter() - started) * 1000)
        due = max(due + 0.01, time.perf_counter())
        time.sleep(due - time.perf_counter() if due > time.perf_counter() else 0)
    return found


def neighbour(bench: Bench, big: Path) -> None:
    """The latency of a service on the same host while a log is read, over that while none is."""
    settings = yaml.safe_load((ROOT / "inventories/logcaster/group_vars/logcaster/logs.yml").read_text())
    caps = {option: settings[f"runbook_log_{name}"] for name, option in
            (("workers", "workers"), ("nice", "nice"), ("cpu", "cpu"), ("memory", "memory_limit"))}  # fmt: skip
    print(f"\n{'A service next door':<32}  median ms   95 % ms   over alone")
    with subprocess.Popen([sys.executable, "-c", NEIGHBOUR], stdout=subprocess.PIPE, text=True) as server:
        client = socket.create_connection(("127.0.0.1", int(server.stdout.readline())))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for name, options in (("without caps", {"nice": 0}), ("with the caps of production", caps)):
            ratios, times = [], []
            for _ in range(bench.rounds):
                end = time.perf_counter() + 4
                alone = latencies(client, lambda end=end: time.perf_counter() > end)
                job = {"logs": [{"name": "bench", "paths": [str(big)], "rotated": False, **JSON_OPTIONS}], **options}
                reader = subprocess.Popen(
                    [sys.executable, "-c", OURS, str(ROOT / "collections")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
                )
                reader.stdin.write(json.dumps(job))
                reader.stdin.close()
                times += latencies(client, lambda reader=reader: reader.poll() is not None)
                end = time.perf_counter() + 4
                alone += latencies(client, lambda end=end: time.perf_counter() > end)
                ratios.append(high(times) / high(alone))
            print(f"  {name:<30} {statistics.median(times):10.2f} {high(times):9.2f} {statistics.median(ratios):12.2f}", flush=True)
            bench.keep("neighbour_latency_ratio" + ("" if options is caps else "_without_caps"), statistics.median(ratios), 3)
        client.close()


def high(times: list[float]) -> float:
    """What 95 % of the times are below."""
    return sorted(times)[len(times) * 95 // 100]


def cursor(bench: Bench, folder: Path, big: Path, size_gb: float) -> None:
    """A second call with one percent of new data: what it costs beyond one percent of the first."""
    room = shutil.disk_usage(folder).free / 1e9 - 2
    size_gb = min(size_gb, room)
    log = folder / "cursor.json"
    with log.open("wb") as target, big.open("rb") as source:
        while target.tell() < size_gb * 1e9:
            source.seek(0)
            shutil.copyfileobj(source, target, 1 << 20)
    options = {**JSON_OPTIONS, "cursor": True}
    state = str(folder / "state")
    first = ours([log], options, state_dir=state)
    over, seconds = [], []
    for _ in range(bench.rounds):
        with big.open("rb") as source, log.open("ab") as target:
            data = source.read(log.stat().st_size // 100)
            target.write(data[: data.rfind(b"\n") + 1])
        second = ours([log], options, state_dir=state)
        seconds.append(second["call"])
        over.append((second["call"] - first["call"] / 100) * 1000)
    bench.keep("cursor_ms", statistics.median(over), 1)
    bench.keep("cursor_gb", log.stat().st_size / 1e9, 1)
    print(f"\nCursor, {log.stat().st_size / 1e9:.1f} GB: first call {first['call']:.2f} s, second with 1 % new data", end=" ")
    print(f"{statistics.median(seconds):.2f} s: {statistics.median(over):.0f} ms more than 1 % of the first", flush=True)
    log.unlink()


def packed(bench: Bench, folder: Path, small: Path, own: Callable[..., Callable[[], float]]) -> None:
    """Compressed rotated files."""
    runners: dict[str, Callable[[], float] | None] = {"log_stats": own("plain", [small], JSON_OPTIONS)}
    for program, suffix in (("gzip", "gz"), ("zstd", "zst")):
        if shutil.which(program) is None:
            runners[f"{program}, two files"] = None
            continue
        parts = folder / program
        parts.mkdir()
        subprocess.run(["split", "-n", "l/2", "--additional-suffix=.log", str(small), str(parts / "part")], check=True)
        for part in list(parts.iterdir()):
            subprocess.run([program, "-q", "--rm" if program == "zstd" else "-f", str(part)], check=True)
        runners[f"{program}, two files"] = own(program, [parts / f"*.{suffix}"], JSON_OPTIONS)
    medians = bench.race("Compressed files", runners)
    for program in ("gzip", "zstd"):
        bench.keep(f"{program}_cost", ratio(medians, f"{program}, two files"))


def texts(bench: Bench, folder: Path, lines: int, big_lines: int, own: Callable[..., Callable[[], float]]) -> None:
    """Access logs and batch logs."""
    access, batch = folder / "access.log", folder / "batch.log"
    write_access(access, lines)
    panels = ["REQUESTS_STATIC", "NOT_FOUND", "HOSTS", "OS", "BROWSERS", "VISIT_TIMES", "REFERRERS", "REFERRING_SITES", "KEYPHRASES",
              "GEO_LOCATION",
              "CACHE_STATUS", "MIME_TYPE", "TLS_TYPE", "VIRTUAL_HOSTS", "REMOTE_USER", "ASN"]  # fmt: skip
    goaccess = ["goaccess", str(access), "--log-format=COMBINED", "-o", str(folder / "goaccess.json"), "--no-global-config"]
    goaccess += [f"--ignore-panel={panel}" for panel in panels[:-1]]
    query = ";select count(*), avg(sc_bytes), min(sc_bytes), max(sc_bytes), min(log_time), max(log_time) from access_log"
    lnav = ["lnav", "-n", "-c", query, "-c", ";select sc_status, count(*) from access_log group by 1", str(access)]
    medians = bench.race(
        f"Access log, {lines:,}",
        {
            "log_stats": own("access", [access], ACCESS_OPTIONS),
            "GoAccess, two panels": (lambda: timed(goaccess)) if shutil.which("goaccess") else None,
            "lnav": (lambda: timed(lnav)) if shutil.which("lnav") else None,
        },
    )
    bench.keep("access_vs_goaccess", ratio(medians, "GoAccess, two panels"))
    bench.keep("access_vs_lnav", ratio(medians, "lnav"))
    access.unlink()
    for name, size in (("batch_vs_grep", lines), ("batch_vs_grep_big", big_lines)):
        write_batch(batch, size)
        medians = bench.race(
            f"Batch log, {size:,}",
            {
                "log_stats": own("batch", [batch], BATCH_OPTIONS),
                "the runbook's grep pipelines": shell(GREP, batch),
                "the same figures by one mawk": shell(MAWK, batch) if shutil.which("mawk") else None,
            },
        )
        bench.keep(name, ratio(medians, "the runbook's grep pipelines"))
    batch.unlink()


if __name__ == "__main__":
    main()
