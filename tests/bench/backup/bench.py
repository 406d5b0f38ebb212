#!/usr/bin/env python3
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets made and verified by this collection, against ``tar -czf`` and ``tar -tzf``, with restic and borg side by side.

All ways take turns in every round, so that what else the machine does hits them alike; medians are told, each of a whole process
from its start to its end. Ours are the code that the modules ``backup`` and ``backup_verify`` run: a set with its manifest, synced and
in the ledger; a climb to rung 3, which is the sum and the whole listing. The last line is JSON: ``create_vs_targz`` and
``verify_vs_tartzf`` (their time over ours), ``size_vs_targz`` (our size over theirs), ``mib_peak_small`` and ``mib_peak_large`` (all
processes of a backup together), ``create_vs_restic`` and ``create_vs_borg``, null where the program is not installed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
WORDS = [word for line in (ROOT / "LICENSE").read_text(encoding="utf-8").splitlines() for word in line.split()]


def text(dice: random.Random) -> bytes:
    """Prose or source: words of a small language."""
    return " ".join(dice.choices(WORDS, k=2000)).encode()


def log(dice: random.Random) -> bytes:
    """Lines of a log in JSON."""
    lines = []
    at = dice.randrange(1_700_000_000, 1_800_000_000)
    for _line in range(120):
        at += dice.randrange(3)
        record = {"time": at, "level": dice.choice(["info"] * 8 + ["error"]), "path": f"/api/{dice.choice(WORDS)}/{dice.randrange(10**6)}"}
        lines.append(json.dumps({**record, "ms": round(dice.expovariate(0.02), 3), "id": f"{dice.getrandbits(64):016x}"}))
    return "\n".join(lines).encode()


def table(dice: random.Random) -> bytes:
    """Pages of a database: numbers and short texts."""
    return b"".join(
        struct.pack("<IdH20s", n, dice.gauss(100, 15), dice.randrange(50), dice.choice(WORDS).encode()[:20]) for n in range(400)
    )


def noise(dice: random.Random) -> bytes:
    """What is compressed already."""
    return dice.randbytes(14_000)


def blocks(seed: int) -> Iterator[bytes]:
    """Content without end: half logs, the rest prose, tables and what is compressed already."""
    dice = random.Random(seed)
    kinds = [log] * 5 + [text] * 2 + [table] * 2 + [noise]
    while True:
        yield dice.choice(kinds)(dice)


def plant(folder: Path, size: int, pool: int = 0, seed: int = 1) -> int:
    """Make a tree of files of mixed content and size; returns how many. ``pool``: content repeats after so many bytes."""
    dice = random.Random(seed)
    source = blocks(seed)
    kept: list[bytes] = []
    have = 0
    while have < pool:
        kept.append(next(source))
        have += len(kept[-1])
    made = number = 0
    while made < size:
        wanted = min(int(dice.lognormvariate(9.5, 1.8)) + 1, 64 << 20)
        place = folder / f"d{number % 97:02d}" / f"e{number % 11}"
        place.mkdir(parents=True, exist_ok=True)
        with (place / f"file{number}").open("wb") as file:
            while wanted > 0:
                block = (kept[(number * 7919 + made // 9000) % len(kept)] if kept else next(source))[:wanted]
                file.write(block)
                wanted -= len(block)
                made += len(block)
        number += 1
    return number


def measured(command: list[str], env: dict[str, str] | None = None) -> tuple[float, float]:
    """Seconds that a command takes, and processor seconds of it with all it starts."""
    before = os.times()
    started = time.monotonic()
    done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, check=False)
    seconds = time.monotonic() - started
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout.decode()}{done.stderr.decode()}")
    return seconds, after.children_user + after.children_system - before.children_user - before.children_system


def peak(command: list[str]) -> float:
    """The most MiB that a command and all it starts have together. Shared pages are counted once (PSS)."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
        most = max(most, sum(proportional(pid) for pid in parents if descends(pid, process.pid, parents)))
        time.sleep(0.03)
    if process.returncode:
        raise RuntimeError(str(command))
    return most / 1024


def descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    """Whether a process is another one or was started by it, over however many."""
    while pid and pid != ancestor:
        pid = parents.get(pid, 0)
    return pid == ancestor


def proportional(pid: int) -> int:
    """KiB of memory that a process has, its part of what it shares."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


class Bench:
    """One tree, and the ways to back it up."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data
        self.sets = folder / "sets"
        self.archive = folder / "data.tar.gz"
        self.restic_env = {
            "RESTIC_PASSWORD": "bench",
            "RESTIC_CACHE_DIR": str(folder / "cache"),
            "RESTIC_REPOSITORY": str(folder / "restic"),
        }
        self.borg_env = {
            "BORG_PASSPHRASE": "bench",
            "BORG_BASE_DIR": str(folder / "borg-base"),
            "BORG_REPO": str(folder / "borg"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }

    def ours(self, what: str) -> list[str]:
        """The command that makes or verifies our set."""
        return [sys.executable, str(HERE / "ours.py"), what, str(self.sets), str(self.data)]

    def fresh(self, name: str) -> Path:
        """A folder that is not there."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def create(self) -> tuple[float, float]:
        """Our set."""
        self.fresh("sets")
        return measured(self.ours("make"))

    def create_tar(self) -> tuple[float, float]:
        """What the runbooks do."""
        return measured(["tar", "-C", "/", "-czf", str(self.archive), str(self.data)[1:]])

    def create_restic(self) -> tuple[float, float]:
        """A first snapshot."""
        self.fresh("restic")
        self.fresh("cache")
        measured(["restic", "init"], self.restic_env)
        return measured(["restic", "backup", "-q", str(self.data)], self.restic_env)

    def create_borg(self) -> tuple[float, float]:
        """A first archive."""
        self.fresh("borg")
        self.fresh("borg-base")
        measured(["borg", "init", "-e", "repokey-blake2"], self.borg_env)
        return measured(["borg", "create", "::first", str(self.data)], self.borg_env)

    def verify(self) -> tuple[float, float]:
        """Rung 3 of our set."""
        return measured(self.ours("verify"))

    def verify_tar(self) -> tuple[float, float]:
        """What the runbooks do."""
        return measured(["tar", "-tzf", str(self.archive)])

    def verify_restic(self) -> tuple[float, float]:
        """All that it can."""
        return measured(["restic", "check", "-q", "--read-data"], self.restic_env)

    def verify_borg(self) -> tuple[float, float]:
        """All that it can."""
        return measured(["borg", "check", "--verify-data"], self.borg_env)

    def size(self, name: str) -> int:
        """Bytes of what was made."""
        path = self.folder / name
        files = path.rglob("*") if path.is_dir() else [path]
        return sum(file.lstat().st_size for file in files if file.is_file())


def tell(title: str, ways: dict[str, list[tuple[float, float]]], sizes: dict[str, int]) -> dict[str, float]:
    """Print a table of medians; returns the wall clock's."""
    walls = {name: statistics.median(wall for wall, _cpu in times) for name, times in ways.items()}
    processors = {name: statistics.median(cpu for _wall, cpu in times) for name, times in ways.items()}
    ours = next(iter(walls))
    print(f"\n{title:<34}{'seconds':>9}{'cpu s':>9}{'MiB':>9}{'over ours':>11}{'cpu':>7}")
    for name, wall in walls.items():
        size = f"{sizes[name] / 2**20:9.1f}" if name in sizes else " " * 9
        print(f"{name:<34}{wall:9.2f}{processors[name]:9.2f}{size}{wall / walls[ours]:11.2f}{processors[name] / processors[ours]:7.2f}")
    return walls


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=600, help="MB of the tree that is timed")
    parser.add_argument("--large", type=int, default=5000, help="MB of the tree that memory is measured with; 100 is the small one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to work; a temporary folder without it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-backup-", dir=args.folder) as made:
        folder = Path(made)
        data = folder / "data"
        count = plant(data, args.size * 10**6)
        print(f"{args.size} MB in {count} files, {args.rounds} rounds")
        bench = Bench(folder, data)
        there = {name: shutil.which(name) is not None for name in ("restic", "borg")}
        create: dict[str, Callable[[], tuple[float, float]]] = {"backup": bench.create, "tar -czf": bench.create_tar}
        verify: dict[str, Callable[[], tuple[float, float]]] = {"backup_verify, rung 3": bench.verify, "tar -tzf": bench.verify_tar}
        if there["restic"]:
            create["restic backup"] = bench.create_restic
            verify["restic check --read-data"] = bench.verify_restic
        if there["borg"]:
            create["borg create"] = bench.create_borg
            verify["borg check --verify-data"] = bench.verify_borg
        for way in (*create.values(), *verify.values()):  # once without a clock: what is read comes into memory
            way()
        created: dict[str, list[tuple[float, float]]] = {name: [] for name in create}
        verified: dict[str, list[tuple[float, float]]] = {name: [] for name in verify}
        for _round in range(args.rounds):
            for name, way in create.items():
                created[name].append(way())
            for name, way in verify.items():
                verified[name].append(way())
        sizes = {"backup": bench.size("sets"), "tar -czf": bench.size("data.tar.gz")}
        sizes.update({name: bench.size(name.split()[0]) for name in create if name not in sizes})
        creates = tell("create", created, sizes)
        verifies = tell("verify", verified, {})
        shutil.rmtree(data)
        peaks = {}
        for name, size in (("small", 100), ("large", args.large)):
            bench.fresh("sets")
            plant(data, size * 10**6, pool=128 << 20)
            peaks[name] = peak(bench.ours("make"))
            print(f"{'memory at ' + str(size) + ' MB':<34}{peaks[name]:9.1f} MiB")
            shutil.rmtree(data)
    result = {
        "create_vs_targz": round(creates["tar -czf"] / creates["backup"], 2),
        "size_vs_targz": round(sizes["backup"] / sizes["tar -czf"], 3),
        "verify_vs_tartzf": round(verifies["tar -tzf"] / verifies["backup_verify, rung 3"], 2),
        "mib_peak_small": round(peaks["small"], 1),
        "mib_peak_large": round(peaks["large"], 1),
        "create_vs_restic": round(creates["restic backup"] / creates["backup"], 2) if there["restic"] else None,
        "create_vs_borg": round(creates["borg create"] / creates["backup"], 2) if there["borg"] else None,
    }
    print("\n" + json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
