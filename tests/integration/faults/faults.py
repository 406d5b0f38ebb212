# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults: what is broken, and exactly what must be found then."""

from __future__ import annotations

from bed import FRONT, Fault

SETUP = "python3 /opt/standin/setup.py"


def answer(port: int, behaviour: str) -> str:
    """Let a stand-in's port answer otherwise."""
    return f"echo '{behaviour}' > /run/standin/{port}.json"


def certificate(names: str, days: str) -> str:
    """Give LogCaster's gateway another certificate."""
    return f"{SETUP} cert /etc/logcaster/tls {names} {days}; systemctl restart logcaster-gateway"


def lines(name: str, count: int, span: int, template: str) -> str:
    """Append lines to a log, spread over the last ``span`` seconds."""
    return f"{SETUP} lines {name} {count} {span} '{template}'"


def unknown(*checks: str) -> dict[str, str]:
    """Checks that could not be made."""
    return dict.fromkeys(checks, "unknown")


#: What is told of LogCaster's own log.
SERVICE_VALUES = tuple(f"log.service.{value}" for value in ("burst", "error_rate", "errors", "p95.duration_ms", "rate", "slow.duration_ms"))
SERVICE_LOG = "/var/log/logcaster/logcaster.log"
ERROR_LOG = "/var/log/logcaster/error.log"
ACCESS_LOG = "/var/log/logcaster/access.log"
BATCH_LOG = "/var/log/batch/candidate_generation.log"
LOGS = ("/var/log/logcaster",)
BATCH_LOGS = ("/var/log/batch",)
RECORD = '{"timestamp": "@utc@", "level": "%s", "message": "%s", "request_id": "req-x@n@", "duration_ms": %s, "status": 200}'
NORMAL = "rm -f /run/standin/*.json"
OWN_NAMES = "logcaster.com,$(hostname),$(hostname -i)"
NEWEST = "newest=$(ls -d /backup/daily/2* | tail -n 1)"
DUMP = "newest=$(ls -d /backup/mongodb/*.gz | tail -n 1)"

FAULTS = [
    # -- LogCaster: units and endpoints
    Fault(
        "a unit was stopped",
        "logcaster",
        "systemctl stop logcaster-stream",
        {"unit.logcaster": "critical", "http.health 6667": "critical"},
        units=("logcaster-stream",),
        says="logcaster-stream",
    ),
    Fault(
        "a unit was killed",
        "logcaster",
        "systemctl kill -s KILL logcaster-api; sleep 0.3",
        {"unit.logcaster": "critical", "http.health 8998": "critical", "http.health 8999": "critical"},
        units=("logcaster-api",),
        says="logcaster-api",
    ),
    Fault(
        "an endpoint answers 500",
        "logcaster",
        answer(9999, '{"status": 500}'),
        {"http.health 9999": "critical"},
        undo=NORMAL,
        says="500",
    ),
    Fault("an endpoint is slow", "logcaster", answer(9998, '{"delay": 2}'), {"http.health 9998": "warning"}, undo=NORMAL),
    Fault("an endpoint is very slow", "logcaster", answer(8999, '{"delay": 4}'), {"http.health 8999": "critical"}, undo=NORMAL),
    Fault(
        "an endpoint accepts and never answers",
        "logcaster",
        answer(9999, '{"hang": true}'),
        {"http.health 9999": "critical"},
        undo=NORMAL + "; systemctl restart logcaster",
    ),
    Fault("an endpoint drips bytes", "logcaster", answer(6667, '{"drip": true}'), {"http.health 6667": "critical"}, undo=NORMAL),
    Fault(
        "a firewall rejects a port that is listened on",
        "logcaster",
        "iptables -I INPUT -p tcp --dport 8998 -j REJECT --reject-with tcp-reset",
        {"http.health 8998": "critical"},
        undo="iptables -D INPUT -p tcp --dport 8998 -j REJECT --reject-with tcp-reset",
        says="refused",
    ),
    Fault(
        "a firewall swallows what is sent to a port",
        "logcaster",
        "iptables -I INPUT -p tcp --dport 6667 -j DROP",
        {"http.health 6667": "critical"},
        undo="iptables -D INPUT -p tcp --dport 6667 -j DROP",
    ),
    Fault(
        "a stranger holds the service's port",
        "logcaster",
        "systemctl stop logcaster; systemd-run -q --unit stranger -p User=nobody python3 -m http.server -d /usr/share 9999; sleep 0.5",
        {
            "port.9999": "critical",
            "port.9998": "critical",
            "unit.logcaster": "critical",
            "http.health 9999": "critical",
            "http.health 9998": "critical",
        },
        undo="systemctl stop stranger",
        units=("logcaster",),
        says="python3",
    ),
    # -- LogCaster: certificate
    Fault(
        "the certificate ends in 20 days",
        "logcaster",
        certificate(OWN_NAMES, "-70 20"),
        {"-/tls.certificate": "warning"},
        keeps=("/etc/logcaster",),
        units=("logcaster-gateway",),
        on=FRONT,
    ),
    Fault(
        "the certificate ends in 3 days",
        "logcaster",
        certificate(OWN_NAMES, "-87 3"),
        {"-/tls.certificate": "critical"},
        keeps=("/etc/logcaster",),
        units=("logcaster-gateway",),
        on=FRONT,
    ),
    Fault(
        "the certificate has expired",
        "logcaster",
        certificate(OWN_NAMES, "-91 -1"),
        {"-/tls.certificate": "critical"},
        keeps=("/etc/logcaster",),
        units=("logcaster-gateway",),
        on=FRONT,
        says="expired",
    ),
    Fault(
        "the certificate is for another name",
        "logcaster",
        certificate("elsewhere.example.com", "-10 80"),
        {"-/tls.certificate": "critical"},
        keeps=("/etc/logcaster",),
        units=("logcaster-gateway",),
        on=FRONT,
    ),
    Fault(
        "the certificate is signed by nobody",
        "logcaster",
        "cd /etc/logcaster/tls; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 80 -subj /CN=x"
        " -addext subjectAltName=IP:$(hostname -i) -keyout key.pem -out cert.pem 2>/dev/null;"
        " chmod 644 key.pem; systemctl restart logcaster-gateway",
        {"-/tls.certificate": "critical"},
        keeps=("/etc/logcaster",),
        units=("logcaster-gateway",),
        on=FRONT,
    ),
    # -- LogCaster: files
    Fault(
        "the data folder is open to everybody",
        "logcaster",
        "chmod 0777 /var/lib/logcaster",
        {"file.data folder": "critical"},
        undo="chmod 0750 /var/lib/logcaster",
    ),
    Fault(
        "the data folder belongs to root",
        "logcaster",
        "chown root:root /var/lib/logcaster",
        {"file.data folder": "critical"},
        undo="chown logcaster:logcaster /var/lib/logcaster",
    ),
    Fault(
        "the database is missing",
        "logcaster",
        "rm /var/lib/logcaster/data.db",
        {"file.database": "critical"},
        keeps=("/var/lib/logcaster",),
    ),
    Fault(
        "the database is empty",
        "logcaster",
        ": > /var/lib/logcaster/data.db",
        {"file.database": "critical"},
        keeps=("/var/lib/logcaster",),
    ),
    # -- LogCaster: hosts
    Fault(
        "/tmp is filling",
        "logcaster",
        "mount -t tmpfs -o size=20M tmpfs /tmp; head -c 17500k /dev/zero > /tmp/filler",
        {"disk./tmp": "warning"},
        undo="umount /tmp",
    ),
    Fault(
        "/tmp is full",
        "logcaster",
        "mount -t tmpfs -o size=1M tmpfs /tmp; head -c 2M /dev/zero > /tmp/filler || true",
        {"disk./tmp": "critical"},
        undo="umount /tmp",
    ),
    Fault(
        "/tmp has no inodes left",
        "logcaster",
        "mount -t tmpfs -o size=20M,nr_inodes=40 tmpfs /tmp; for n in $(seq 60); do touch /tmp/$n || true; done 2>/dev/null",
        {"inodes./tmp": "critical"},
        undo="umount /tmp",
    ),
    Fault(
        "a program has dumped core",
        "logcaster",
        "mkdir -p /var/crash; head -c 100k /dev/zero > /var/crash/core.logcaster.4711",
        {"core_dumps": "warning"},
        undo="rm /var/crash/core.logcaster.4711",
        says="1",
    ),
    # -- LogCaster: backups
    Fault(
        "the newest backup is from the day before yesterday's evening",
        "logcaster",
        "rm -r /backup/daily/2*; for hours in 30 54 78 102; do %s backup /backup/daily $hours; done" % SETUP,
        {"backup.daily.age": "warning"},
        keeps=("/backup",),
    ),
    Fault(
        "backups have ended three days ago",
        "logcaster",
        "rm -r /backup/daily/2*; for hours in 74 98 122; do %s backup /backup/daily $hours; done" % SETUP,
        {"backup.daily.age": "critical"},
        keeps=("/backup",),
    ),
    Fault(
        "the backup folder is missing",
        "logcaster",
        "mv /backup/daily /backup/elsewhere",
        {"backup.daily.age": "critical"},
        keeps=("/backup",),
        gone=frozenset(f"backup.daily.{what}" for what in ("complete", "copies", "drill", "ledger", "size", "space", "verified")),
    ),
    Fault(
        "an artifact of the newest backup is cut short",
        "logcaster",
        f"{NEWEST}; truncate -s 100000 $newest/app-data.tar.gz",
        {"backup.daily.complete": "critical"},
        keeps=("/backup",),
        says="app-data.tar.gz",
    ),
    Fault(
        "an artifact of the newest backup is missing",
        "logcaster",
        f"{NEWEST}; rm $newest/config.tar.gz",
        {"backup.daily.complete": "critical"},
        keeps=("/backup",),
        says="config.tar.gz",
    ),
    Fault(
        "the newest backup's manifest is cut short",
        "logcaster",
        f"{NEWEST}; truncate -s 100 $newest/manifest.json",
        {"backup.daily.complete": "critical"},
        keeps=("/backup",),
        says="manifest",
    ),
    Fault(
        "the newest backup is ten times as large as those before",
        "logcaster",
        f"{NEWEST}; rm -r $newest; {SETUP} backup /backup/daily 2 2000000",
        {"backup.daily.size": "warning"},
        keeps=("/backup",),
    ),
    Fault(
        "the last backup was never finished",
        "logcaster",
        f"{NEWEST}; mv $newest $newest.partial; touch -d '-20 hours' $newest.partial $newest.partial/*",
        {"backup.daily.complete": "warning", "backup.daily.age": "warning"},
        keeps=("/backup",),
    ),
    Fault(
        "no backup was proved for longer than a week",
        "logcaster",
        "rm /backup/daily/*/verified.json",
        {"backup.daily.verified": "warning"},
        keeps=("/backup",),
    ),
    Fault(
        "no copy off the host for two days",
        "logcaster",
        "for set in $(ls -d /backup/daily/2* | tail -n 2); do rm $set/copies.json; done",
        {"backup.daily.copies": "warning"},
        keeps=("/backup",),
        says="backup-server",
    ),
    Fault(
        "the last trial restore was two months ago",
        "logcaster",
        f"{SETUP} drilled /backup/daily 1500",
        {"backup.daily.drill": "warning"},
        keeps=("/backup",),
    ),
    Fault(
        "somebody has edited the ledger of backups",
        "logcaster",
        """sed -i 's/"previous": ""/"previous": "0"/' /backup/daily/ledger.jsonl""",
        {"backup.daily.ledger": "critical"},
        keeps=("/backup",),
    ),
    # -- LogCaster: logs
    Fault(
        "errors over the day",
        "logcaster",
        lines(ERROR_LOG, 20, 40000, "@plain@ ERROR [sink] peer 10.0.0.@n@:5140 timed out"),
        {"log.error.errors": "warning"},
        keeps=LOGS,
        says="23 errors",
    ),
    Fault(
        "very many errors over the day",
        "logcaster",
        lines(ERROR_LOG, 150, 40000, "@plain@ ERROR [sink] peer 10.0.0.@n@:5140 timed out"),
        {"log.error.errors": "critical"},
        keeps=LOGS,
        says="153 errors",
    ),
    Fault(
        "a burst of errors",
        "logcaster",
        lines(SERVICE_LOG, 15, 200, RECORD % ("ERROR", "buffer is full", "21.5")),
        {"log.service.burst": "warning", "log.service.errors": "warning"},
        keeps=LOGS,
        says="15 errors within 5 min",
    ),
    Fault(
        "slow requests",
        "logcaster",
        lines(SERVICE_LOG, 7, 30000, RECORD % ("INFO", "stored 9 records", "2500.25")),
        {"log.service.slow.duration_ms": "warning"},
        keeps=LOGS,
        says="7 of 3,007",
    ),
    Fault(
        "the access log has many failed requests",
        "logcaster",
        lines(ACCESS_LOG, 100, 40000, '10.0.0.9 - - [@clf@] "POST /log HTTP/1.1" 503 210 "-" "agent/1.2"'),
        {"log.access.error_rate": "warning"},
        keeps=LOGS,
    ),
    Fault(
        "lines that are not of the log's format",
        "logcaster",
        lines(SERVICE_LOG, 400, 40000, "Traceback (most recent call last): @n@"),
        {"log.service.unparsed": "warning"},
        keeps=LOGS,
        says="400 of 3,400",
    ),
    Fault(
        "a log that is binary",
        "logcaster",
        f"head -c 300000 /dev/urandom > {SERVICE_LOG}",
        {"log.service.format": "unknown", **unknown(*SERVICE_VALUES)},
        gone=frozenset({"log.service.unparsed"}),
        keeps=LOGS,
    ),
    Fault(
        "a log that is missing",
        "logcaster",
        f"rm {ERROR_LOG}",
        unknown("log.error.source", "log.error.errors"),
        gone=frozenset({"log.error.unparsed"}),
        keeps=LOGS,
        says=ERROR_LOG,
    ),
    Fault(
        "a log file of more than 100 MB",
        "logcaster",
        "truncate -s 150M /var/log/logcaster/core.log",
        {"file.log size": "warning"},
        keeps=LOGS,
        says="core.log",
    ),
    Fault(
        "errors with a time that lies far ahead",
        "logcaster",
        lines(ERROR_LOG, 50, 100, "2031-01-01 00:00:00 ERROR [sink] the clock jumped"),
        {"log.error.errors": "warning"},
        keeps=LOGS,
    ),
    # -- what must not raise an alarm
    Fault(
        "a last line that is being written",
        "logcaster",
        f"printf '%s' '{{\"timestamp\": \"2026-' >> {SERVICE_LOG}",
        {},
        keeps=LOGS,
    ),
    Fault("lines that end as on Windows", "logcaster", f"sed -i 's/$/\\r/' {SERVICE_LOG} {ERROR_LOG} {ACCESS_LOG}", {}, keeps=LOGS),
    Fault(
        "a line of 10 MB",
        "logcaster",
        f"head -c 10M /dev/zero | tr '\\0' x >> {SERVICE_LOG}; echo >> {SERVICE_LOG}",
        {},
        keeps=LOGS,
    ),
    Fault(
        "a log that was rotated and compressed just now",
        "logcaster",
        f"gzip -c {SERVICE_LOG} > {SERVICE_LOG}.1.gz; touch -r {SERVICE_LOG} {SERVICE_LOG}.1.gz; : > {SERVICE_LOG};"
        + lines(SERVICE_LOG, 3, 10, RECORD % ("INFO", "stored 9 records", "20.25")),
        {},
        keeps=LOGS,
    ),
    # -- LogCaster: rights
    Fault(
        "the user that looks has no rights",
        "logcaster",
        "true",
        unknown(
            "file.database",
            "port.9998",
            "port.9999",
            *("log.access.source", "log.access.errors", "log.access.error_rate", "log.access.rate"),
            *("log.error.source", "log.error.errors", "log.service.source", *SERVICE_VALUES),
        ),
        gone=frozenset({"log.access.unparsed", "log.error.unparsed", "log.service.unparsed"}),
        variables={"ansible_user": "watch", "ansible_become": False},
    ),
    # -- SimpleRS
    Fault(
        "the batch has not succeeded for 27 hours",
        "simplers",
        f"mv {BATCH_LOG}.1 {BATCH_LOG}",
        {"log.batch.age.success": "critical"},
        keeps=BATCH_LOGS,
        says="1 d 3 h",
    ),
    Fault(
        "the batch has never succeeded",
        "simplers",
        "cd /var/log/batch; gunzip *.gz; sed -i 's/COMPLETED SUCCESSFULLY/ENDED/' *",
        {"log.batch.age.success": "critical"},
        keeps=BATCH_LOGS,
    ),
    Fault(
        "the batch says that it failed",
        "simplers",
        lines(BATCH_LOG, 1, 1, "@plain@,000 - candidate_generation - INFO - BATCH PROCESS FAILED"),
        {"log.batch.count.failure": "warning"},
        keeps=BATCH_LOGS,
    ),
    Fault(
        "errors in the batch's log",
        "simplers",
        lines(BATCH_LOG, 12, 3000, "@plain@,000 - candidate_generation - ERROR - no answer for USER@n@"),
        {"log.batch.errors": "warning"},
        keeps=BATCH_LOGS,
    ),
    Fault(
        "the external API was slow for the batch",
        "simplers",
        lines(BATCH_LOG, 200, 3000, "@plain@,000 - candidate_generation - INFO - portfolio API response time: 1500 ms"),
        {"log.batch.p95.api": "warning"},
        keeps=BATCH_LOGS,
    ),
    Fault(
        "the batch has failed",
        "simplers",
        "systemctl reset-failed; echo 'raise SystemExit(3)' > /opt/SimpleRS/batch/candidate_generation.py;"
        " systemctl start batch-candidate-generation || true",
        {"unit.batch": "critical"},
        keeps=("/opt/SimpleRS",),
        undo="systemctl reset-failed",
        says="batch-candidate-generation",
    ),
    Fault(
        "two batches run at once",
        "simplers",
        "echo 'import time; time.sleep(999)' > /opt/SimpleRS/batch/candidate_generation.py;"
        " for n in 1 2; do systemd-run -q --unit twice$n -p WorkingDirectory=/opt/SimpleRS python3 batch/candidate_generation.py; done",
        {"process.batch process": "warning"},
        keeps=("/opt/SimpleRS",),
        undo="systemctl stop twice1 twice2",
        says="2",
    ),
    Fault(
        "MongoDB is down",
        "simplers",
        "systemctl stop mongodb-double",
        {"tcp.mongodb": "critical"},
        units=("mongodb-double",),
        says="refused",
    ),
    Fault(
        "OpenSearch is red",
        "simplers",
        answer(9200, '{"body": "{\\"status\\": \\"red\\"}"}'),
        {"http.opensearch": "critical"},
        undo=NORMAL,
    ),
    Fault(
        "OpenSearch answers something that is no JSON",
        "simplers",
        answer(9200, '{"body": "<html>gateway</html>"}'),
        {"http.opensearch": "critical"},
        undo=NORMAL,
    ),
    Fault(
        "OpenSearch never ends its answer",
        "simplers",
        answer(9200, '{"endless": true}'),
        {"http.opensearch": "unknown"},
        undo=NORMAL,
    ),
    Fault("the external API is slow", "simplers", answer(443, '{"delay": 2}'), {"http.portfolio api": "warning"}, undo=NORMAL),
    Fault(
        "the external API's certificate has expired",
        "simplers",
        f"{SETUP} cert /etc/standin/tls api.internal.com -91 -1; systemctl restart portfolio-double",
        {"http.portfolio api": "critical"},
        keeps=("/etc/standin",),
        units=("portfolio-double",),
        says="expired",
    ),
    Fault(
        "the external API's name does not resolve",
        "simplers",
        "cp /etc/hosts /run/hosts; grep -v api.internal /run/hosts > /etc/hosts",
        {"http.portfolio api": "critical"},
        undo="cat /run/hosts > /etc/hosts",
    ),
    Fault(
        "the environment file with secrets can be read by everybody",
        "simplers",
        "chmod 0644 /etc/simplers/batch.env",
        {"file.environment file": "critical"},
        undo="chmod 0600 /etc/simplers/batch.env",
    ),
    Fault(
        "the newest dump is cut short",
        "simplers",
        f"{DUMP}; truncate -s 0 $newest",
        {"backup.mongodb.complete": "critical", "backup.mongodb.min_size": "critical", "backup.mongodb.size": "warning"},
        keeps=("/backup",),
    ),
    Fault(
        "there is no dump at all",
        "simplers",
        "rm /backup/mongodb/*",
        {"backup.mongodb.age": "critical"},
        keeps=("/backup",),
        gone=frozenset({"backup.mongodb.complete", "backup.mongodb.size", "backup.mongodb.space", "backup.mongodb.min_size"}),
    ),
]
