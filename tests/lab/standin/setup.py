# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make this host one of an operated system: units, logs, certificates, data and backups as of now.

setup.py logcaster|simplers|shop|vault
setup.py cert FOLDER NAMES FROM_DAYS TO_DAYS    issue a certificate, valid between these days from now
setup.py backup ROOT AGE_HOURS [SIZE]           make one backup set
setup.py drilled ROOT AGE_HOURS                 a ledger with a trial restore as old as that
setup.py archive ROOT AGE_HOURS [SIZE]          make one compressed dump
setup.py lines FILE COUNT SPAN TEMPLATE         append lines to a log, spread over the last SPAN seconds; @utc@, @plain@,
                                                @clf@ and @n@ in them become the time and the number
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOUR = 3600.0
DAY = 24 * HOUR

UNIT = """[Unit]
Description={description}
After=network.target
[Service]
Type={type}
User={user}
{more}
ExecStart=/usr/bin/python3 {here}/service.py {arguments}
[Install]
WantedBy=multi-user.target
"""


def run(*argv: str) -> None:
    """Run a program; its failure ends the setup with what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}: {done.stderr or done.stdout}")


def write(path: str, text: str, mode: int = 0o644, owner: str | None = None) -> Path:
    """Write a file and make its folders."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    if owner:
        shutil.chown(file, owner, owner)
    return file


def stamp(seconds: float) -> str:
    """A time as plain logs write it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def utc(seconds: float) -> str:
    """A time as manifests write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def user(name: str) -> None:
    """A system user."""
    subprocess.run(
        ["useradd", "--system", "--home-dir", f"/var/lib/{name}", "--shell", "/usr/sbin/nologin", name], check=False, capture_output=True
    )


def certificate(folder: str, names: list[str], from_days: float, to_days: float) -> None:
    """Issue ``FOLDER/cert.pem`` with its key, signed by the lab's CA."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    work = Path("/run/standin-ca")
    shutil.rmtree(work, ignore_errors=True)
    (work / "new").mkdir(parents=True)
    (work / "index.txt").touch()
    (work / "serial").write_text(f"{random.getrandbits(63) | 1 << 62:X}\n")
    alternatives = ",".join(("IP:" if name[0].isdigit() else "DNS:") + name for name in names)
    (work / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=lab\n[lab]\ndatabase={work}/index.txt\nnew_certs_dir={work}/new\nserial={work}/serial\ndefault_md=sha256\npolicy=any\n"
        f"certificate={HERE}/ca.pem\nprivate_key={HERE}/ca.key\nx509_extensions=ext\n[any]\ncommonName=supplied\n"
        f"[ext]\nsubjectAltName={alternatives}\nbasicConstraints=CA:FALSE\n[req]\ndistinguished_name=dn\n[dn]\n"
    )
    dates = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * DAY)) for days in (from_days, to_days)]
    run(
        *("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", f"{work}/ca.cnf"),
        *("-subj", f"/CN={names[0]}", "-keyout", f"{target}/key.pem", "-out", f"{work}/request.pem"),
    )
    run(
        *("openssl", "ca", "-batch", "-notext", "-config", f"{work}/ca.cnf", "-startdate", dates[0], "-enddate", dates[1]),
        *("-in", f"{work}/request.pem", "-out", f"{target}/cert.pem"),
    )
    (target / "key.pem").chmod(0o644)


def trust_ca() -> None:
    """Let the host's programs trust the lab's CA."""
    shutil.copy(HERE / "ca.pem", "/usr/local/share/ca-certificates/lab.crt")
    run("update-ca-certificates")


def backup(root: str, age: float, size: int = 200_000) -> Path:
    """One backup set as the design lays it down: artifacts and their manifest, ``age`` seconds old."""
    made = time.time() - age
    folder = Path(root) / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(made))
    folder.mkdir(parents=True, exist_ok=True)
    content = folder / "content.bin"
    content.write_bytes(random.Random(int(made)).randbytes(size))
    artifacts = []
    for name in ("app-data.tar.gz", "config.tar.gz", "logs.tar.gz"):
        with tarfile.open(folder / name, "w:gz", compresslevel=1) as tar:
            tar.add(content, "content.bin")
        data = (folder / name).read_bytes()
        artifacts.append(
            {
                "name": name.partition(".")[0],
                "engine": "files",
                "file": name,
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "tool": "tar",
                "tool_version": "1.34",
                "counts": {"files": 1},
                "start": utc(made - 60),
                "end": utc(made),
            }
        )
    content.unlink()
    manifest = {
        "schema": 1,
        "system": "logcaster",
        "start": utc(made - 60),
        "end": utc(made),
        "artifacts": artifacts,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    (folder / "verified.json").write_text(json.dumps({"schema": 1, "rungs": [{"rung": 3, "at": manifest["end"]}]}))
    copy = {"name": "backup-server", "at": manifest["end"], "objects": 4, "bytes": sum(item["size"] for item in artifacts)}
    (folder / "copies.json").write_text(json.dumps({"schema": 1, "copies": [copy]}))
    for path in [*folder.iterdir(), folder]:
        os.utime(path, (made, made))
    return folder


def drilled(root: str, age: float) -> None:
    """A ledger that tells of one trial restore, ``age`` seconds ago."""
    name = min(path.name for path in Path(root).glob("2*"))
    line = {"at": utc(time.time() - age), "what": "drilled", "set": name, "passed": True, "rung": 5, "rto": 2.5, "rpo": 60, "previous": ""}
    text = json.dumps(line).encode()
    (Path(root) / "ledger.jsonl").write_bytes(text + b"\n")
    # The head holds the last line: how far it goes, and its checksum.
    (Path(root) / ".ledger.head").write_text(f"{len(text) + 1} {hashlib.sha256(text).hexdigest()}\n")


def archive(root: str, age: float, size: int = 200_000) -> Path:
    """One compressed dump, ``age`` seconds old."""
    made = time.time() - age
    path = Path(root) / time.strftime("recommendation-%Y%m%dT%H%M%SZ.archive.gz", time.gmtime(made))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(random.Random(int(made)).randbytes(size), 1))
    os.utime(path, (made, made))
    return path


def service(unit: str, description: str, owner: str, arguments: str, more: str = "") -> None:
    """A unit that runs the double of a service."""
    text = UNIT.format(
        description=description,
        type="notify",
        user=owner,
        more=more + "\nNotifyAccess=all\nTimeoutStopSec=2",
        here=HERE,
        arguments=arguments,
    )
    write(f"/etc/systemd/system/{unit}.service", text)


def start(*units: str) -> None:
    """Enable and start units."""
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", *units)


def hosts_entry(*names: str) -> None:
    """Let these names lead to this host."""
    with open("/etc/hosts", "a", encoding="utf-8") as file:
        file.writelines(f"127.0.0.1 {name}\n" for name in names)


def logcaster() -> None:
    """A host of LogCaster."""
    user("logcaster")
    Path("/run/standin").mkdir(exist_ok=True)
    trust_ca()
    hosts_entry("logcaster.com", "logcaster")
    host = socket.gethostname()
    certificate("/etc/logcaster/tls", ["logcaster.com", "logcaster", host, socket.gethostbyname(host), "localhost", "127.0.0.1"], -10, 300)
    write("/etc/logcaster/logcaster.yml", "buffer_size: 10000\nretention_days: 30\n", 0o640, "logcaster")
    service("logcaster", "LogCaster intake (double)", "logcaster", "logcaster 9999 9998")
    service("logcaster-api", "LogCaster API (double)", "logcaster", "logcaster-api 8999 8998")
    service("logcaster-stream", "LogCaster stream (double)", "logcaster", "logcaster-stream 6667")
    tls = "logcaster-gateway 443 --tls /etc/logcaster/tls/cert.pem /etc/logcaster/tls/key.pem"
    service("logcaster-gateway", "LogCaster gateway (double)", "logcaster", tls, "AmbientCapabilities=CAP_NET_BIND_SERVICE")
    data = Path("/var/lib/logcaster")
    data.mkdir(exist_ok=True)
    with sqlite3.connect(data / "data.db") as database:
        database.execute("create table if not exists events (id integer primary key, level text, message text)")
        database.executemany("insert into events (level, message) values (?, ?)", [("INFO", f"event {n}") for n in range(1000)])
    database.close()
    data.chmod(0o750)
    for path in (data, data / "data.db"):
        shutil.chown(path, "logcaster", "logcaster")
    logcaster_logs()
    for hours in (2, 26, 50, 74, 98):
        backup("/backup/daily", hours * HOUR)
    drilled("/backup/daily", 90 * HOUR)
    start("logcaster", "logcaster-api", "logcaster-stream", "logcaster-gateway")


def logcaster_logs() -> None:
    """Twelve quiet hours of logs, up to now."""
    chance = random.Random(1)
    now = time.time()
    access, events = [], []
    count = 3000
    for number in range(count):
        at = now - 12 * HOUR * (1 - number / count)
        moment = time.gmtime(at)
        status = 200 if number % 500 else 404
        access.append(
            f"10.0.{chance.randrange(8)}.{chance.randrange(250)} - - [{time.strftime('%d/%b/%Y:%H:%M:%S +0000', moment)}]"
            f' "POST /log HTTP/1.1" {status} {chance.randrange(200, 900)} "-" "agent/1.{chance.randrange(9)}"'
        )
        events.append(
            json.dumps(
                {
                    "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{number % 1000:03d}Z",
                    "level": "INFO",
                    "message": f"stored {chance.randrange(50)} records",
                    "request_id": f"req-{number:06d}",
                    "duration_ms": round(chance.gauss(20, 4), 2),
                    "status": status,
                }
            )
        )
    errors = [f"{stamp(now - hours * HOUR)} ERROR [sink] peer 10.0.0.7:5140 closed the connection" for hours in (11, 7, 3)]
    for name, lines in (("access.log", access), ("logcaster.log", events), ("error.log", errors)):
        write(f"/var/log/logcaster/{name}", "\n".join(lines) + "\n", 0o640, "logcaster")
    shutil.chown("/var/log/logcaster", "logcaster", "logcaster")


def simplers() -> None:
    """A host of SimpleRS: the nightly batch and what it talks to."""
    user("batch")
    Path("/run/standin").mkdir(exist_ok=True)
    trust_ca()
    hosts_entry("mongo-cluster", "opensearch-cluster", "api.internal.com")
    certificate("/etc/standin/tls", ["api.internal.com", "localhost", "127.0.0.1"], -10, 300)
    answers = {
        "/_cluster/health": {"cluster_name": "simplers", "status": "green", "number_of_nodes": 3, "active_shards_percent_as_number": 100.0},
        "/portfolio/health": {"status": "UP"},
    }
    write("/etc/standin/answers.json", json.dumps(answers))
    more = " --answers /etc/standin/answers.json"
    service("mongodb-double", "Double of MongoDB: accepts connections, speaks HTTP", "batch", "mongodb-double 27017")
    service("opensearch-double", "Double of OpenSearch: cluster health only", "batch", "opensearch-double 9200" + more)
    tls = "portfolio-double 443 --tls /etc/standin/tls/cert.pem /etc/standin/tls/key.pem" + more
    service("portfolio-double", "Double of the portfolio API", "batch", tls, "AmbientCapabilities=CAP_NET_BIND_SERVICE")
    write("/opt/SimpleRS/batch/candidate_generation.py", "print('candidate generation')\n")
    write("/etc/simplers/batch.env", "LOG_LEVEL=INFO\nBATCH_SIZE=1000\n", 0o600, "batch")
    write(
        "/etc/systemd/system/batch-candidate-generation.service",
        "[Unit]\nDescription=SimpleRS candidate generation\n[Service]\nType=oneshot\nUser=batch\nWorkingDirectory=/opt/SimpleRS\n"
        "EnvironmentFile=-/etc/simplers/batch.env\nExecStart=/usr/bin/python3 batch/candidate_generation.py\nTimeoutStartSec=3600\n",
    )
    write(
        "/etc/systemd/system/batch-candidate-generation.timer",
        "[Unit]\nDescription=SimpleRS candidate generation, nightly\n[Timer]\nOnCalendar=*-*-* 02:00:00\n"
        "[Install]\nWantedBy=timers.target\n",
    )
    simplers_logs()
    for hours in (3, 27, 51, 75):
        archive("/backup/mongodb", hours * HOUR)
    start("mongodb-double", "opensearch-double", "portfolio-double", "batch-candidate-generation.timer")


def simplers_logs() -> None:
    """A batch a night for a week; the newest runs in the file, those before in its rotated neighbours."""
    now = time.time()
    for night in range(7):
        began = now - night * DAY - 4 * HOUR
        lines = []

        def say(after: float, level: str, text: str, began: float = began, lines: list[str] = lines) -> None:
            lines.append(f"{stamp(began + after)},{int(after * 7) % 1000:03d} - candidate_generation - {level} - {text}")

        say(0, "INFO", "BATCH PROCESS STARTED")
        for user_number in range(200):
            say(10 + user_number * 5, "INFO", f"portfolio API response time: {40 + user_number % 37} ms")
        say(1100, "WARNING", "retry 1 for USER00042")
        say(1790, "INFO", f"Processed {9800 + night} users with candidates")
        say(1799, "INFO", f"Total duration: {1799 + night} seconds")
        say(1800, "INFO", "BATCH PROCESS COMPLETED SUCCESSFULLY")
        name = "/var/log/batch/candidate_generation.log" + (f".{night}" if night else "")
        path = write(name, "\n".join(lines) + "\n", 0o644, "batch")
        os.utime(path, (began + 1800, began + 1800))
        if night >= 2:
            run("gzip", "-f", str(path))


def shop() -> None:
    """A host of a shop: an application of which a double answers, its real PostgreSQL and Redis, its uploads and settings."""
    user("shop")
    Path("/run/standin").mkdir(exist_ok=True)
    run("systemctl", "enable", "--now", "postgresql", "redis-server")
    service("shop", "Shop (double)", "shop", "shop 8080")
    write("/etc/shop/shop.env", "SHOP_CURRENCY=EUR\nSHOP_TOKEN=not-a-real-token\n", 0o640, "shop")
    chance = random.Random(7)
    for number in range(60):
        path = write(f"/srv/shop/uploads/{number % 6}/picture-{number}.bin", "", 0o640, "shop")
        path.write_bytes(chance.randbytes(chance.randrange(100, 40_000)))
        os.utime(path, (1_760_000_000 + number, 1_760_000_000 + number))
    for folder in [Path("/srv/shop/uploads"), *Path("/srv/shop/uploads").iterdir()]:
        shutil.chown(folder, "shop", "shop")
    statements = """
        create role shop login;
        create database shop owner shop;
        \\connect shop
        set role shop;
        create table customers (id serial primary key, name text not null unique, photo bytea);
        create table orders (
          id bigserial primary key, customer int not null references customers, total numeric(12,2), at timestamptz default now()
        );
        create view spent as select customer, sum(total) as total from orders group by customer;
        insert into customers (name, photo) select 'customer ' || n, decode(md5(n::text), 'hex') from generate_series(1, 500) n;
        insert into orders (customer, total) select 1 + n % 500, n * 1.25 from generate_series(1, 5000) n;
    """
    statements = "\n".join(line.strip() for line in statements.replace("\\\\", "\\").splitlines())
    done = subprocess.run(
        ["runuser", "-u", "postgres", "--", "psql", "-q", "-v", "ON_ERROR_STOP=1"],
        input=statements,
        text=True,
        capture_output=True,
        cwd="/",
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    keys = (
        "".join(f"SET cart:{number} {number * 7}\n" for number in range(400))
        + "HSET session:1 user 5\nEXPIRE session:1 86400\nCONFIG SET appendonly yes\n"
    )
    subprocess.run(["redis-cli"], input=keys, text=True, capture_output=True, check=True)
    subprocess.run(["redis-cli", "config", "rewrite"], capture_output=True, check=True)
    start("shop")


def vault() -> None:
    """A host that copies of backups are sent to."""
    user("backup-vault")
    Path("/srv/vault").mkdir(mode=0o700, parents=True, exist_ok=True)


def lines(path: str, count: int, span: float, template: str) -> None:
    """Append lines to a log, the last one of now."""
    now = time.time()
    with open(path, "a", encoding="utf-8") as file:
        for number in range(count):
            at = now - span * (count - 1 - number) / max(1, count - 1)
            clf = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(at))
            line = template.replace("@utc@", utc(at)).replace("@plain@", stamp(at)).replace("@clf@", clf).replace("@n@", str(number))
            file.write(line + "\n")


def main(words: list[str]) -> None:
    """Carry out one command."""
    if words[0] == "cert":
        certificate(words[1], words[2].split(","), float(words[3]), float(words[4]))
    elif words[0] == "lines":
        lines(words[1], int(words[2]), float(words[3]), words[4])
    elif words[0] == "drilled":
        drilled(words[1], float(words[2]) * HOUR)
    elif words[0] in ("backup", "archive"):
        made = {"backup": backup, "archive": archive}[words[0]]
        print(made(words[1], float(words[2]) * HOUR, *map(int, words[3:4])))
    else:
        {"logcaster": logcaster, "simplers": simplers, "shop": shop, "vault": vault}[words[0]]()


if __name__ == "__main__":
    main(sys.argv[1:])
