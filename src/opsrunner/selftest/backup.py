# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Can the verifier fail? Sound backups of real data are damaged in known ways, and each damage is to be found at its rung.

``opsrunner selftest backup`` does it on this machine and prints a table; the project's own tests use the same damages in larger
numbers. What is promised is the rung by which a damage is found at the latest.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opsrunner.errors import EXIT_INVALID, RefusalError
from opsrunner.find.collection import backup_make, backup_manifest, backup_options, backup_verify, set_names

#: The oldest set of a backup is so old; the ones after it are made a day apart.
_DAY = 86400.0
_COUNT = 3
#: Seconds after which a file that nobody writes to may be sampled: clocks of file systems tick coarsely.
_SETTLED = 0.1
#: The first two compress, so that what is found by a compression alone can be tried with them.
COMPRESSIONS = ("zstd", "gzip", "none")


class Backup(NamedTuple):
    """A backup with sound sets. ``options``: as an inventory has them; ``sets``: names, newest first."""

    root: Path
    options: dict[str, Any]
    sets: list[str]

    def at(self, root: Path) -> dict[str, Any]:
        """The options of a copy of it."""
        return {**self.options, "root": str(root)}


class Damage(NamedTuple):
    """``rung``: by which it is found at the latest; ``do``: is given random numbers, a copy of the backup's root, and the name of
    the set, and returns whether it could be done there. With :func:`reseal` sums and ledger agree with the
    damage, as when it came before they were taken."""

    name: str
    rung: int
    do: Callable[[random.Random, Path, str], bool]


class Verdict(NamedTuple):
    """What the verifier said. ``status``: of its finding; ``rung``: at which the set failed, None when it did not."""

    status: str
    rung: int | None
    reason: str


# -- sound backups --------------------------------------------------------------------------------------------------------------


def make_data(folder: Path, numbers: random.Random) -> None:
    """Files of awkward kinds, and a database."""
    files = folder / "files"
    (files / "deep" / "er").mkdir(parents=True)
    (files / "empty").write_bytes(b"")
    (files / "name with space and é").write_text("".join(numbers.choice("abc \n") for _each in range(numbers.randint(100, 3000))))
    (files / "deep" / "random").write_bytes(numbers.randbytes(numbers.randint(2000, 20000)))
    (files / "deep" / "er" / "zeros").write_bytes(b"\0" * numbers.randint(1000, 9000))
    (files / "link").symlink_to("deep/random")
    os.link(files / "deep" / "random", files / "hard")
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as database:
        database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, data BLOB)")
        database.execute("CREATE INDEX item_name ON item (name)")
        rows = (
            (numbers.choice(["bolt", "nut", "wöasher"]), numbers.randbytes(numbers.randint(0, 300)))
            for _each in range(numbers.randint(20, 200))
        )
        database.executemany("INSERT INTO item (name, data) VALUES (?, ?)", rows)
        database.commit()


def make_backup(folder: Path, numbers: random.Random, compression: str = "zstd", count: int = _COUNT, encrypted: bool = False) -> Backup:
    """A backup of changing data: some sets, a day apart. ``encrypted``: with age, and a key made for it."""
    data, root = folder / "data", folder / "sets"
    data.mkdir(parents=True)
    make_data(data, numbers)
    artifacts = [
        {"name": "files", "engine": "files", "paths": [str(data / "files")], "compression": compression},
        {"name": "shop", "engine": "sqlite", "database": str(data / "shop.db"), "compression": compression},
    ]
    scratch = folder / "scratch"
    options: dict[str, Any] = {
        "name": "selftest",
        "root": str(root),
        "artifacts": artifacts,
        "nice": 0,
        "io_class": "none",
        "drill": {"scratch": str(scratch)},
    }
    if encrypted:
        key = folder / "key"
        subprocess.run(["age-keygen", "-o", str(key)], check=True, capture_output=True)
        public = subprocess.run(["age-keygen", "-y", str(key)], check=True, capture_output=True, text=True).stdout.strip()
        options["encryption"] = {"recipients": [public], "identity": str(key)}
    parsed = backup_options.parse([options])
    sets: list[str] = []
    for number in range(count):
        at = time.time() - (count - number) * _DAY
        (data / "files" / f"new-{number}").write_bytes(numbers.randbytes(500))
        with contextlib.closing(sqlite3.connect(data / "shop.db")) as database:
            database.execute("INSERT INTO item (name, data) VALUES (?, ?)", (f"late {number}", numbers.randbytes(50)))
            database.commit()
        time.sleep(_SETTLED)
        made = backup_make.run(parsed, "selftest", clock=functools.partial(float, at)).made[0]
        if made.set is None:
            raise RefusalError(f"no backup could be made to test with: {made.found['params']}")
        sets.insert(0, made.set)
    return Backup(root, options, sets)


# -- damages --------------------------------------------------------------------------------------------------------------------


def _artifacts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix not in (".json", ".partial"))


def _pick(numbers: random.Random, root: Path, name: str) -> Path:
    return numbers.choice(_artifacts(root / name))


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Turn one bit of a file round."""
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ (1 << bit)]))


def _flip(low: float, high: float) -> Callable[[random.Random, Path, str], bool]:
    def do(numbers: random.Random, root: Path, name: str) -> bool:
        path = _pick(numbers, root, name)
        size = path.stat().st_size
        first = int(size * low)
        flip(path, numbers.randrange(first, max(first + 1, int(size * high))), numbers.randrange(8))
        return True

    return do


def _zero(numbers: random.Random, root: Path, name: str) -> bool:
    path = _pick(numbers, root, name)
    data = bytearray(path.read_bytes())
    start = numbers.randrange(len(data))
    length = min(numbers.choice([16, 512, 4096, len(data)]), len(data) - start)
    if not any(data[start : start + length]):
        return False
    data[start : start + length] = bytes(length)
    path.write_bytes(data)
    return True


def _truncate(numbers: random.Random, root: Path, name: str) -> bool:
    path = _pick(numbers, root, name)
    os.truncate(path, numbers.randrange(path.stat().st_size))
    return True


def _grow(numbers: random.Random, root: Path, name: str) -> bool:
    with _pick(numbers, root, name).open("ab") as file:
        file.write(numbers.randbytes(numbers.randint(1, 4096)))
    return True


def _missing(numbers: random.Random, root: Path, name: str) -> bool:
    _pick(numbers, root, name).unlink()
    return True


def _no_manifest(_numbers: random.Random, root: Path, name: str) -> bool:
    (root / name / backup_manifest.MANIFEST).unlink()
    return True


def _swap(_numbers: random.Random, root: Path, name: str) -> bool:
    one, other, *_rest = _artifacts(root / name)
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    return True


def _same_size(numbers: random.Random, root: Path, name: str) -> bool:
    """Other data of the same size, such as a file of another set that happens to be as large."""
    path = _pick(numbers, root, name)
    path.write_bytes(numbers.randbytes(path.stat().st_size))
    return True


def _others(root: Path, name: str) -> list[str]:
    return sorted(one.name for one in root.iterdir() if set_names.name_time(one.name) is not None and one.name != name)


def _older_artifact(numbers: random.Random, root: Path, name: str) -> bool:
    path = _pick(numbers, root, name)
    shutil.copyfile(root / numbers.choice(_others(root, name)) / path.name, path)
    return True


def _older_set(numbers: random.Random, root: Path, name: str) -> bool:
    """An older set under the newer name, with the ledger as it is."""
    other = numbers.choice(_others(root, name))
    shutil.rmtree(root / name)
    shutil.copytree(root / other, root / name)
    return True


def _older_set_copied(numbers: random.Random, root: Path, name: str) -> bool:
    """The same where there is no ledger, as after a copy by hand."""
    for left in root.glob("*ledger*"):
        left.unlink()
    return _older_set(numbers, root, name)


def _manifest(root: Path, name: str) -> tuple[Path, dict[str, Any]]:
    path = root / name / backup_manifest.MANIFEST
    return path, json.loads(path.read_text())


def _edit(numbers: random.Random, told: dict[str, Any]) -> None:
    artifact = numbers.choice(told["artifacts"])
    what = numbers.choice(["size", "sha256", "counts", "system", "end"])
    if what == "size":
        artifact["size"] += numbers.randint(1, 1000)
    elif what == "sha256":
        artifact["sha256"] = numbers.randbytes(32).hex()
    elif what == "counts":
        count = numbers.choice(sorted(artifact["counts"]))
        artifact["counts"][count] += 1
    elif what == "system":
        told["system"] += "x"
    else:
        told["end"] = "2019-01-01T00:00:00Z"


def _edited(numbers: random.Random, root: Path, name: str) -> bool:
    path, told = _manifest(root, name)
    _edit(numbers, told)
    path.write_text(json.dumps(told))
    return True


def _edited_and_sealed(numbers: random.Random, root: Path, name: str) -> bool:
    """The manifest's own digest is made again, the ledger is as it was."""
    path, told = _manifest(root, name)
    _edit(numbers, told)
    _write_manifest(path, told)
    return True


def _write_manifest(path: Path, told: dict[str, Any]) -> None:
    told.pop("digest", None)
    # Written by the reader's own code, which makes the digest.
    blank = json.dumps({**told, "digest": backup_manifest._digest(told)})
    path.write_text(backup_manifest.to_json(backup_manifest.parse(blank.encode())))


def _wrong_counts(numbers: random.Random, root: Path, name: str) -> bool:
    """A manifest that counts what the artifact does not hold, from the beginning."""
    path, told = _manifest(root, name)
    artifact = numbers.choice(told["artifacts"])
    count = numbers.choice(sorted(artifact["counts"]))
    artifact["counts"][count] += numbers.randint(1, 5)
    _write_manifest(path, told)
    reseal(root, name)
    return True


def _wrong_engine(numbers: random.Random, root: Path, name: str) -> bool:
    path, told = _manifest(root, name)
    artifact = numbers.choice(told["artifacts"])
    artifact["engine"] = "files" if artifact["engine"] == "sqlite" else "sqlite"
    _write_manifest(path, told)
    reseal(root, name)
    return True


def reseal(root: Path, name: str) -> None:
    """Make sizes, sums, the manifest and the ledger agree with what lies there: as if it had been written like this."""
    path, told = _manifest(root, name)
    for artifact in told["artifacts"]:
        data = (root / name / artifact["file"]).read_bytes()
        artifact["size"], artifact["sha256"] = len(data), hashlib.sha256(data).hexdigest()
    _write_manifest(path, told)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lines, previous = [], ""
    for line in (root / "ledger.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["set"] == name and entry["what"] == "made":
            entry["manifest_sha256"] = digest
        entry["previous"] = previous
        lines.append(json.dumps(entry))
        previous = hashlib.sha256(lines[-1].encode()).hexdigest()
    text = "".join(line + "\n" for line in lines)
    (root / "ledger.jsonl").write_text(text)
    (root / ".ledger.head").write_text(f"{len(text)} {previous}\n")


def _unpacked(path: Path) -> bytes:
    program = {".zst": "zstd", ".gz": "gzip"}.get(path.suffix)
    return subprocess.run([program, "-dc", str(path)], check=True, capture_output=True).stdout if program else path.read_bytes()


def _packed(path: Path, raw: bytes) -> None:
    program = {".zst": "zstd", ".gz": "gzip"}.get(path.suffix)
    path.write_bytes(subprocess.run([program, "-qc"], check=True, capture_output=True, input=raw).stdout if program else raw)


def _empty_dump(numbers: random.Random, root: Path, name: str) -> bool:
    """A dump program that wrote nothing and ended with 0."""
    _packed(_pick(numbers, root, name), b"")
    reseal(root, name)
    return True


def _half_dump(numbers: random.Random, root: Path, name: str) -> bool:
    """A dump that ended early, with a compressor behind it that never knew."""
    path = _pick(numbers, root, name)
    raw = _unpacked(path)
    end = numbers.randrange(1, len(raw))
    if numbers.random() < 0.5:
        end = max(512, end // 512 * 512)  # where a block ends
    if not raw[end:].strip(b"\0"):
        return False  # only the padding of the archive is gone
    _packed(path, raw[:end])
    reseal(root, name)
    return True


def _bad_memory(numbers: random.Random, root: Path, name: str) -> bool:
    """Bits that turned round in a compressed block before its sum was taken."""
    path = _pick(numbers, root, name)
    if path.suffix not in (".zst", ".gz"):
        return False
    size = path.stat().st_size
    flip(path, numbers.randrange(20, size), numbers.randrange(8))
    reseal(root, name)
    return True


def _bad_cipher(numbers: random.Random, root: Path, name: str) -> bool:
    """The same in an encrypted file."""
    path = _pick(numbers, root, name)
    if path.suffix != ".age":
        return False
    flip(path, numbers.randrange(path.stat().st_size), numbers.randrange(8))
    reseal(root, name)
    return True


def _ledger(numbers: random.Random, root: Path, _name: str) -> bool:
    path = root / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    at = numbers.randrange(len(lines))
    if numbers.random() < 0.5:
        del lines[at]
    else:
        entry = json.loads(lines[at])
        entry["size"] = numbers.randrange(10**6)
        lines[at] = json.dumps(entry).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    return True


def _ledger_cut(_numbers: random.Random, root: Path, name: str) -> bool:
    """The end of the ledger is gone, as after a file system check."""
    path = root / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    return True


def _ledger_anew(_numbers: random.Random, root: Path, name: str) -> bool:
    """A ledger whose chain holds and that knows nothing of the set, such as another backup's."""
    path = root / "ledger.jsonl"
    lines, previous = [], ""
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if entry["set"] != name:
            lines.append(json.dumps({**entry, "previous": previous}))
            previous = hashlib.sha256(lines[-1].encode()).hexdigest()
    path.write_text("".join(line + "\n" for line in lines))
    return True


def _blocks_exchanged(numbers: random.Random, root: Path, name: str) -> bool:
    """Two blocks were written in each other's place."""
    path = _pick(numbers, root, name)
    data = path.read_bytes()
    length = min(numbers.choice([64, 512, 4096]), len(data) // 2)
    first = numbers.randrange(len(data) - 2 * length + 1)
    second = numbers.randrange(first + length, len(data) - length + 1)
    one, other = data[first : first + length], data[second : second + length]
    path.write_bytes(data[:first] + other + data[first + length : second] + one + data[second + length :])
    return one != other


def _shifted(numbers: random.Random, root: Path, name: str) -> bool:
    """A byte more somewhere, the last one less."""
    path = _pick(numbers, root, name)
    data = path.read_bytes()
    at = numbers.randrange(len(data))
    shifted = data[:at] + numbers.randbytes(1) + data[at:-1]
    path.write_bytes(shifted)
    return shifted != data


def _never_written(numbers: random.Random, root: Path, name: str) -> bool:
    """The file has its size, but its end never reached the disk."""
    path = _pick(numbers, root, name)
    data = path.read_bytes()
    start = numbers.randrange(len(data))
    path.write_bytes(data[:start] + bytes(len(data) - start))
    return any(data[start:])


def _as_text(numbers: random.Random, root: Path, name: str) -> bool:
    """Sent as text: every byte above 127 became two."""
    path = _pick(numbers, root, name)
    data = path.read_bytes()
    path.write_bytes(data.decode("latin-1").encode("utf-8"))
    return path.stat().st_size != len(data)


def _linked(numbers: random.Random, root: Path, name: str) -> bool:
    """Somebody saved space by a link to another set."""
    path = _pick(numbers, root, name)
    path.unlink()
    path.symlink_to(Path("..", numbers.choice(_others(root, name)), path.name))
    return True


def _pipe(numbers: random.Random, root: Path, name: str) -> bool:
    """Nobody writes into it: who opens it waits for ever."""
    path = _pick(numbers, root, name)
    path.unlink()
    os.mkfifo(path)
    return True


def _older_manifest(numbers: random.Random, root: Path, name: str) -> bool:
    manifest = backup_manifest.MANIFEST
    shutil.copyfile(root / numbers.choice(_others(root, name)) / manifest, root / name / manifest)
    return True


def _struck(numbers: random.Random, root: Path, name: str) -> bool:
    """An artifact is gone, and the manifest, with its digest made again, does not tell of it."""
    path, told = _manifest(root, name)
    artifact = numbers.choice(told["artifacts"])
    (root / name / artifact["file"]).unlink()
    if len(told["artifacts"]) > 1:
        told["artifacts"].remove(artifact)
        _write_manifest(path, told)
    return True


_COMPLAINTS = (
    "pg_dump: error: connection to server failed: FATAL:  password authentication failed\n",
    "tar: /srv/shop: Cannot open: Permission denied\n",
    "<html><head><title>503 Service Unavailable</title></head></html>\n",
)


def _complaint(numbers: random.Random, root: Path, name: str) -> bool:
    """What a program complained of, in the place of a dump."""
    _packed(_pick(numbers, root, name), numbers.choice(_COMPLAINTS).encode())
    reseal(root, name)
    return True


# Those that follow know what is in the sets of make_backup.


def _one(root: Path, name: str, start: str) -> Path:
    return next(path for path in _artifacts(root / name) if path.name.startswith(start))


def _database_changed(statement: str) -> Callable[[random.Random, Path, str], bool]:
    def do(_numbers: random.Random, root: Path, name: str) -> bool:
        path = _one(root, name, "shop.")
        with tempfile.NamedTemporaryFile() as file:
            file.write(_unpacked(path))
            file.flush()
            with contextlib.closing(sqlite3.connect(file.name)) as database:
                database.execute(statement)
                database.commit()
            _packed(path, Path(file.name).read_bytes())
        reseal(root, name)
        return True

    return do


def _archive(change: Callable[[random.Random, list[tuple[tarfile.TarInfo, bytes]]], None]) -> Callable[[random.Random, Path, str], bool]:
    def do(numbers: random.Random, root: Path, name: str) -> bool:
        path = _one(root, name, "files.")
        with tarfile.open(fileobj=io.BytesIO(_unpacked(path))) as archive:
            members = []
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                members.append((member, content.read() if content else b""))
        change(numbers, members)
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for member, data in members:
                archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
        _packed(path, made.getvalue())
        reseal(root, name)
        return True

    return do


def _out(_numbers: random.Random, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """A member that would be written beside what is restored."""
    member = tarfile.TarInfo(members[-1][0].name + "/../../../../../../etc/cron.d/x")
    member.size = 1
    members.append((member, b"x"))


def _device(_numbers: random.Random, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    member = tarfile.TarInfo(members[0][0].name + "/device")
    member.type, member.devmajor, member.devminor = tarfile.BLKTYPE, 8, 0
    members.append((member, b""))


def _emptied(_numbers: random.Random, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """All names are there, and nothing is in the files."""
    for at, (member, _data) in enumerate(members):
        if member.isreg():
            member.size = 0
            members[at] = (member, b"")


def _exchanged(_numbers: random.Random, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """Other content of the same length in each file."""
    for at, (member, data) in enumerate(members):
        members[at] = (member, bytes(byte ^ 1 for byte in data))


def _forgotten(numbers: random.Random, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """A file that vanished while the archive was made."""
    members.remove(numbers.choice([one for one in members if one[0].isreg() and one[0].name.rpartition("/")[2].startswith("new")]))


DAMAGES: tuple[Damage, ...] = (
    Damage("bit flip in the head", 2, _flip(0, 0.1)),
    Damage("bit flip in the middle", 2, _flip(0.1, 0.9)),
    Damage("bit flip in the tail", 2, _flip(0.9, 1)),
    Damage("bits flipped before the sum", 3, _bad_memory),
    Damage("cut off", 1, _truncate),
    Damage("grown", 1, _grow),
    Damage("filled with zeros", 2, _zero),
    Damage("other data of the same size", 2, _same_size),
    Damage("two artifacts swapped", 2, _swap),
    Damage("artifact of an older set", 2, _older_artifact),
    Damage("older set, newer name", 1, _older_set),
    Damage("older set, no ledger", 1, _older_set_copied),
    Damage("manifest edited", 1, _edited),
    Damage("manifest edited, digest made again", 1, _edited_and_sealed),
    Damage("manifest missing", 1, _no_manifest),
    Damage("artifact missing", 1, _missing),
    Damage("empty dump, exit 0", 3, _empty_dump),
    Damage("half a dump, exit 0", 3, _half_dump),
    Damage("wrong engine", 3, _wrong_engine),
    Damage("counts of something else", 5, _wrong_counts),
    Damage("ledger tampered with", 1, _ledger),
    Damage("ledger without its end", 1, _ledger_cut),
    Damage("ledger of something else", 1, _ledger_anew),
    Damage("blocks exchanged", 2, _blocks_exchanged),
    Damage("shifted by a byte", 2, _shifted),
    Damage("end never written", 2, _never_written),
    Damage("sent as text", 1, _as_text),
    Damage("link to another set", 1, _linked),
    Damage("pipe in its place", 1, _pipe),
    Damage("manifest of an older set", 1, _older_manifest),
    Damage("artifact struck from the manifest", 1, _struck),
    Damage("complaint instead of a dump", 3, _complaint),
)

#: For the files and the database of make_backup: what is whole, and not what it should be.
CONTENT = (
    Damage("database: other rows, same count", 5, _database_changed("UPDATE item SET name = name || 'x'")),
    Damage("database: no rows", 5, _database_changed("DELETE FROM item")),
    Damage("database: another table", 5, _database_changed("ALTER TABLE item RENAME TO other")),
    Damage("archive: path that leads out", 3, _archive(_out)),
    Damage("archive: a device", 3, _archive(_device)),
    Damage("archive: names without content", 5, _archive(_emptied)),
    Damage("archive: other content, same length", 5, _archive(_exchanged)),
    Damage("archive: a file forgotten", 5, _archive(_forgotten)),
)

#: For encrypted sets.
ENCRYPTED = (
    Damage("encrypted: bit flip", 2, _flip(0, 1)),
    Damage("encrypted: flipped before the sum", 3, _bad_cipher),
    Damage("encrypted: empty dump", 3, _empty_dump),
)


def verify(options: Mapping[str, Any], rung: int, name: str = "newest") -> Verdict:
    """What backup_verify says of a set."""
    asked = backup_verify.parse({"backups": [options], "rung": rung, "sets": [name]})
    found = backup_verify.run(asked).findings[0]
    at = found["params"].get("at") if found["message"] == "backup_verify.failed" else None
    return Verdict(found["status"], at, str(found["params"].get("reason") or found["message"]))


def try_damage(backup: Backup, damage: Damage, seed: int, folder: Path) -> Verdict | None:
    """Damage a copy of a backup and verify it to the rung that is promised; None where the damage cannot be done."""
    numbers = random.Random(f"{damage.name} {seed}")
    root = folder / f"copy-{seed}"
    shutil.copytree(backup.root, root)
    try:
        if not any(damage.do(numbers, root, backup.sets[0]) for _attempt in range(10)):
            return None
        return verify(backup.at(root), damage.rung)
    finally:
        shutil.rmtree(root)


def is_caught(damage: Damage, verdict: Verdict) -> bool:
    """Whether the damage was told, by the rung that is promised; of the ledger there is no rung."""
    if damage.do in (_ledger, _ledger_cut, _ledger_anew):
        return verdict.status == "critical" and verdict.rung is None
    return verdict.status == "critical" and verdict.rung is not None and verdict.rung <= damage.rung


def try_sealed(backup: Backup, number: int, folder: Path) -> Verdict:
    """A set whose sums and ledger were made again without a damage: it is sound, so what is told of damaged ones is the damage."""
    root = folder / f"sealed-{number}"
    shutil.copytree(backup.root, root)
    try:
        reseal(root, backup.sets[0])
        return verify(backup.at(root), 5)
    finally:
        shutil.rmtree(root)


# -- other tools' backups -------------------------------------------------------------------------------------------------------


def _tar(numbers: random.Random) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for number in range(numbers.randint(2, 6)):
            data = numbers.randbytes(numbers.randint(1, 5000))
            member = tarfile.TarInfo(f"data/file-{number}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def _sql(numbers: random.Random, kind: str) -> bytes:
    values = [(at, numbers.randbytes(20).hex()) for at in range(numbers.randint(5, 300))]
    rows = "".join("INSERT INTO item VALUES (%d, '%s');\n" % pair for pair in values)  # noqa: S608 - a dump is made, none is run
    table = "CREATE TABLE item (id int, name text);\n"
    if kind == "mysql":
        return f"-- MariaDB dump 10.19\n{table}{rows}-- Dump completed on 2026-01-31  2:15:00\n".encode()
    if kind == "sqlite":
        return f"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n{table}{rows}COMMIT;\n".encode()
    return f"--\n-- PostgreSQL database dump\n--\n\n{table}{rows}--\n-- PostgreSQL database dump complete\n--\n\n".encode()


def _database(numbers: random.Random) -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, data BLOB)")
        rows = ((numbers.randbytes(200),) for _each in range(numbers.randint(50, 200)))
        database.executemany("INSERT INTO item (data) VALUES (?)", rows)
        database.commit()
        return bytes(database.serialize())


def _zip(numbers: random.Random) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"file-{number}", numbers.randbytes(2000))
    return made.getvalue()


def _zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout


#: Name, what makes the content, what compresses it, how many bytes of the head a reader does not look at, and the reader.
FOREIGN: tuple[tuple[str, Callable[[random.Random], bytes], Callable[[bytes], bytes], int, str], ...] = (
    ("files.tar.gz", _tar, gzip.compress, 10, "gzip"),
    ("files.tgz", _tar, gzip.compress, 10, "gzip"),
    ("files.tar.zst", _tar, _zstd, 10, "zstd"),
    ("files.tar.xz", _tar, lzma.compress, 0, "xz"),
    ("files.tar.bz2", _tar, bz2.compress, 4, "bzip2"),
    ("postgresql.sql.gz", lambda numbers: _sql(numbers, "postgresql"), gzip.compress, 10, "gzip"),
    ("mysql.sql.zst", lambda numbers: _sql(numbers, "mysql"), _zstd, 10, "zstd"),
    ("shop.sql.xz", lambda numbers: _sql(numbers, "sqlite"), lzma.compress, 0, "xz"),
    ("shop.db.gz", _database, gzip.compress, 10, "gzip"),
    ("shop.sql.gz-20260131", lambda numbers: _sql(numbers, "mysql"), gzip.compress, 10, "gzip"),
)


class Foreign(NamedTuple):
    """A backup of another tool. ``raw``: what is compressed in it."""

    name: str
    raw: bytes
    data: bytes
    pack: Callable[[bytes], bytes]
    head: int


def foreign(number: int, numbers: random.Random) -> Foreign:
    """One of the kinds of :data:`FOREIGN`."""
    name, make, pack, head, _reader = FOREIGN[number % len(FOREIGN)]
    raw = make(numbers)
    return Foreign(name, raw, pack(raw), pack, head)


def damage_foreign(one: Foreign, kind: str, numbers: random.Random) -> bytes:
    """The file, damaged."""
    data = bytearray(one.data)
    if kind == "bit flip":
        at = numbers.randrange(one.head, len(data))
        data[at] ^= 1 << numbers.randrange(8)
        return bytes(data)
    if kind == "cut off":
        return bytes(data[: numbers.randrange(len(data))])
    if kind == "zeros":
        start = numbers.randrange(one.head, len(data) - 8)
        while not any(data[start : start + 64]):
            start -= 1
        data[start : start + 64] = bytes(len(data[start : start + 64]))
        return bytes(data)
    if kind == "empty":
        return one.pack(b"")
    raw = one.raw
    end = numbers.randrange(1, max(2, int(len(raw.rstrip(b"\0")) * 0.8)))
    if raw.rstrip(b"\0\n").endswith((b";", b"complete", b"--")) or b"INSERT" in raw:
        end = raw.rfind(b"\n", 0, end) + 1 or end  # a whole line, so that only the end is missing
    elif end > 512:
        end = end // 512 * 512
    return one.pack(raw[:end])


FOREIGN_DAMAGES = ("bit flip", "cut off", "zeros", "empty", "half")


def verify_foreign(folder: Path, name: str, data: bytes) -> Verdict:
    """What backup_verify says of a file that another tool has made."""
    folder.mkdir()
    try:
        (folder / name).write_bytes(data)
        options = {"name": "foreign", "root": str(folder), "kind": "file", "pattern": "*", "nice": 0, "io_class": "none"}
        return verify({**options, "drill": {"scratch": str(folder.parent / "scratch")}}, 3)
    finally:
        shutil.rmtree(folder)


# -- the command ----------------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A line of the table. ``promised``: rung, None for what is to pass; ``right``: as many verdicts were right."""

    name: str
    promised: int | None
    cases: int
    right: int
    wrong: list[str]


def _judged(name: str, promised: int | None, verdicts: Sequence[tuple[Verdict, bool]]) -> Row:
    wrong = [f"{verdict.status}, {verdict.reason}" for verdict, right in verdicts if not right]
    return Row(name, promised, len(verdicts), len(verdicts) - len(wrong), wrong)


def rows(folder: Path, seed: int, each: int = 2) -> Iterator[Row]:
    """Make sound backups, verify them, damage copies, verify those."""
    numbers = random.Random(seed)
    kinds = [kind for kind in COMPRESSIONS if kind == "none" or shutil.which(kind)]
    foreigners = [number for number, kind in enumerate(FOREIGN) if shutil.which(kind[4])]
    backups = [make_backup(folder / kind, numbers, kind) for kind in kinds]
    compressed = [backup for kind, backup in zip(kinds, backups, strict=True) if kind != "none"]
    sound = [verify(backup.options, rung, name) for backup in backups for name in backup.sets for rung in (3, 5)]
    sound += [try_sealed(backup, number, folder) for number, backup in enumerate(backups)]
    yield _judged("sound sets", None, [(verdict, verdict.status == "ok") for verdict in sound])
    for damage in (*DAMAGES, *CONTENT):
        verdicts = []
        for number in range(each):
            verdict = try_damage(compressed[number % len(compressed)], damage, seed + number, folder)
            if verdict:
                verdicts.append((verdict, is_caught(damage, verdict)))
        yield _judged(damage.name, damage.rung, verdicts)
    if _age():
        yield from _encrypted_rows(folder, seed, numbers, each)
    good = []
    caught: dict[str, list[tuple[Verdict, bool]]] = {kind: [] for kind in FOREIGN_DAMAGES}
    for number in foreigners:
        one = foreign(number, numbers)
        verdict = verify_foreign(folder / "foreign", one.name, one.data)
        good.append((verdict, verdict.status == "ok"))
        for kind in FOREIGN_DAMAGES:
            verdict = verify_foreign(folder / "foreign", one.name, damage_foreign(one, kind, numbers))
            caught[kind].append((verdict, verdict.status == "critical"))
    yield _judged("sound files of other tools", None, good)
    for kind, verdicts in caught.items():
        yield _judged(f"other tools: {kind}", 3, verdicts)


def _encrypted_rows(folder: Path, seed: int, numbers: random.Random, each: int) -> Iterator[Row]:
    backup = make_backup(folder / "age", numbers, encrypted=True)
    sound = [verify(backup.options, rung, name) for name in backup.sets for rung in (3, 5)]
    yield _judged("sound encrypted sets", None, [(verdict, verdict.status == "ok") for verdict in sound])
    for damage in ENCRYPTED:
        tried = [try_damage(backup, damage, seed + number, folder) for number in range(each)]
        yield _judged(damage.name, damage.rung, [(verdict, is_caught(damage, verdict)) for verdict in tried if verdict])


_LEFT_OUT = {
    "zstd": "sets and files compressed with zstd",
    "gzip": "sets and files compressed with gzip",
    "xz": "files of other tools compressed with xz",
    "bzip2": "files of other tools compressed with bzip2",
    "age": "encrypted sets",
}


def _age() -> bool:
    return bool(shutil.which("age") and shutil.which("age-keygen"))


def _there(program: str) -> bool:
    return _age() if program == "age" else bool(shutil.which(program))


def run(seed: int) -> int:
    """Print the table; returns the exit status: 0, 2 when the verifier was wrong, 4 when it could not be tried."""
    missing = [program for program in ("tar", "zstd", "gzip", "xz", "bzip2", "age") if not _there(program)]
    if "tar" in missing or {"zstd", "gzip"} <= set(missing):
        raise RefusalError("cannot be tried here: %s: not installed" % ", ".join(missing))
    started = time.monotonic()
    wrong = cases = 0
    print(f"{'what':<36} {'rung':>4} {'cases':>5}  result")
    with tempfile.TemporaryDirectory(prefix="opsrunner-selftest-") as folder:
        for row in rows(Path(folder), seed):
            what = "passed" if row.promised is None else "caught"
            result = f"all {what}" if not row.wrong else f"{row.right} {what}, {len(row.wrong)} NOT: {row.wrong[0]}"
            if not row.cases:
                result, wrong = "could not be tried", wrong + 1
            print(f"{row.name:<36} {row.promised or '-':>4} {row.cases:>5}  {result}", flush=True)
            wrong += len(row.wrong)
            cases += row.cases
    for program in missing:
        print(f"left out: {_LEFT_OUT[program]}: {program} is not installed")
    print("left out: databases of servers, whose sets the runbook restore_drill proves where they are")
    print(f"{cases} cases in {time.monotonic() - started:.1f} s, {wrong} wrong; seed {seed}")
    return EXIT_INVALID if wrong else 0
