# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's data: a log, a database, a certificate and backups, healthy and sick ones, dated from now."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import io
import json
import os
import random
import sqlite3
import tarfile
import time
from pathlib import Path

from opsrunner.find.collection import backup_artifact, backup_manifest, set_names

_HOUR = 3600.0
_DAY = 24 * _HOUR
_CERTIFICATE_DAYS = 5
_LOG_HOURS = 2.0
_LOG_EVERY = 4.0
_ROWS = 400


def make(folder: Path) -> dict[str, str]:
    """Make everything in ``folder``; returns the paths by what they are."""
    now = time.time()
    for name in ("log", "tls", "backups/shop/demo", "backups/database", "backups/uploads"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    made = {
        "folder": str(folder),
        "log": str(folder / "log" / "shop.log"),
        "batch_log": str(folder / "log" / "batch.log"),
        "database": str(folder / "shop.db"),
        "certificate": str(folder / "tls" / "shop.pem"),
        "key": str(folder / "tls" / "shop.key"),
        "backups": str(folder / "backups"),
    }
    _make_certificate(Path(made["certificate"]), Path(made["key"]))
    _make_log(Path(made["log"]), now)
    _make_batch_log(Path(made["batch_log"]), now)
    _make_database(Path(made["database"]))
    _make_sets(folder / "backups" / "shop" / "demo", Path(made["database"]), now)
    _make_dumps(folder / "backups" / "database", now)
    _make_archives(folder / "backups" / "uploads", now)
    return made


def _utc(seconds: float, form: str = "%Y-%m-%dT%H:%M:%S") -> str:
    return time.strftime(form, time.gmtime(seconds))


# -- logs ----------------------------------------------------------------------------------------------------------------


def log_line(at: float, chance: random.Random) -> str:
    """One line of the service's log: mostly well, sometimes slow, sometimes an error."""
    dice = chance.random()
    record: dict[str, object] = {
        "timestamp": f"{_utc(at)}.{int(at % 1 * 1000):03}Z",
        "level": "INFO",
        "service": chance.choice(["orders", "search", "payments"]),
        "request_id": f"{chance.getrandbits(48):012x}",
        "status": 200,
        "duration_ms": round(chance.lognormvariate(4.0, 0.6), 1),
        "message": "request done",
    }
    if dice < 0.03:
        record.update(
            level="ERROR",
            service="payments",
            status=503,
            duration_ms=5000.4,
            message=f"gateway timeout for order {chance.randint(1000, 9999)}",
        )
    elif dice < 0.04:
        row = chance.randint(1, _ROWS)
        record.update(
            level="ERROR", service="orders", status=500, message=f"row {row} is locked by transaction 0x{chance.getrandbits(32):08x}"
        )
    elif dice < 0.09:
        record.update(level="WARNING", duration_ms=round(chance.uniform(2000, 6000), 1), message="slow request")
    return json.dumps(record)


def _make_log(path: Path, now: float) -> None:
    chance = random.Random(9999)
    count = int(_LOG_HOURS * _HOUR / _LOG_EVERY)
    lines = [log_line(now - (count - index) * _LOG_EVERY, chance) for index in range(count)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def append_log(path: Path, now: float) -> None:
    """What the service has logged since the last call."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(log_line(now, random.Random()) + "\n")


def _make_batch_log(path: Path, now: float) -> None:
    """A nightly batch that has not ended well for more than a day."""
    nights = [now - 30 * _HOUR - night * _DAY for night in range(4, -1, -1)]
    lines = [line for at in nights for line in (f"{_utc(at - 600)}Z batch started", f"{_utc(at)}Z batch finished: 1200 orders")]
    lines += [f"{_utc(now - 6 * _HOUR)}Z batch started", f"{_utc(now - 5.8 * _HOUR)}Z batch failed: no connection to the payment gateway"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# -- database, certificate -----------------------------------------------------------------------------------------------


def _make_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute("create table orders (id integer primary key, customer text not null, amount integer not null)")
            connection.executemany(
                "insert into orders (customer, amount) values (?, ?)",
                ((f"customer {number % 40}", number * 7 % 500) for number in range(_ROWS)),
            )
    finally:
        connection.close()


def _make_certificate(certificate: Path, key: Path) -> None:
    """A self-signed certificate for ``localhost`` that is about to expire."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=85))
        .not_valid_after(now + datetime.timedelta(days=_CERTIFICATE_DAYS, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


# -- backups -------------------------------------------------------------------------------------------------------------


def _make_sets(root: Path, database: Path, now: float) -> None:
    """Good sets with manifests: three nights, the last one a few hours ago."""
    for age in (51 * _HOUR, 27 * _HOUR, 3 * _HOUR):
        start = now - age
        folder = root / _utc(start, set_names.NAME_FORMAT)
        folder.mkdir()
        artifact = folder / "shop.db"
        source, copy = sqlite3.connect(database), sqlite3.connect(artifact)
        try:
            source.backup(copy)
        finally:
            source.close()
            copy.close()
        content = artifact.read_bytes()
        made = backup_artifact.Artifact(
            engine="sqlite",
            file=artifact.name,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            tool="sqlite3",
            start=start,
            end=start + 4,
            tool_version=sqlite3.sqlite_version,
            counts={"rows.orders": _ROWS},
        )
        manifest = backup_manifest.Manifest("demo", start, start + 4, (made,))
        (folder / backup_manifest.MANIFEST).write_text(backup_manifest.to_json(manifest), encoding="utf-8")
        for path in (*folder.iterdir(), folder):
            os.utime(path, (start + 4, start + 4))


def _make_dumps(root: Path, now: float) -> None:
    """Nightly dumps by another tool, the last one 40 hours old."""
    chance = random.Random(41)
    for night in range(2, 7):
        at = now - night * _DAY + 8 * _HOUR
        rows = "".join(f"{number}\t{chance.getrandbits(64)}\n" for number in range(2000))
        path = root / f"orders-{_utc(at, '%Y%m%d')}.sql.gz"
        path.write_bytes(gzip.compress(rows.encode(), mtime=0))
        os.utime(path, (at, at))


def _make_archives(root: Path, now: float) -> None:
    """Nightly archives of which the last one broke off."""
    chance = random.Random(42)
    for night in range(4, -1, -1):
        at = now - night * _DAY - _HOUR
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for number in range(20):
                content = chance.randbytes(4096)
                entry = tarfile.TarInfo(f"uploads/{number:03}.bin")
                entry.size, entry.mtime = len(content), int(at)
                archive.addfile(entry, io.BytesIO(content))
        content = buffer.getvalue()
        path = root / f"uploads-{_utc(at, '%Y%m%d')}.tar.gz"
        path.write_bytes(content if night else content[: len(content) // 4])
        os.utime(path, (at, at))
