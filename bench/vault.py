"""The vault against restic and borg: one JSON object a line, exit code 1 if any is not ok.

python -m bench.vault [--rounds 5] [--shape 40x10MB --shape 10000x20KB --shape real --shape places --shape 4x250MB --shape 100k
                      --shape million --shape history --shape recovery]
                      [--folder FOLDER] [--data FOLDER]

Every measure is a whole command: start of the interpreter, imports and all. Rounds are interleaved: in each, ours and the peers do
the same step one after the other. Unencrypted is held against borg without encryption, encrypted against restic, all of them with zstd.
Without borg or restic nothing is run. rclone copies, keeps no history and proves nothing: it is held against the plain vault without a
target, and where it is missing its line fails. `make bench-vault DATA=FOLDER` runs all.
Files of 250 MB are held against `cp -r` alone. The shape "real" is
what the bytes look like that people keep: the files of --data (CSV), a SQLite database of their rows that grows by a tenth a snapshot, the
same as Parquet beside a model, and 120 MB in which a byte changes, then one comes in.
"places" takes the files of --data (days of the shop that ships) through raw events, snapshot and restore: bytes by place.
`recovery` is what a person types on an empty machine, each command timed, for both kinds of vault (bench/vault_recovery.py).
`history` has no peer: each step after 3,650 daily snapshots is held against itself after 10 (bench/vault_history.py).
Snapshots of ours are committed and signed; verify reads every byte back; restore proves every hash.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.vault_engines import OURS, Borg, Measured, Ours, Rclone, Restic, line, size_of
from bench.vault_places import places
from bench.vault_real import real

# objects of which one in a thousand changes; the smaller says in a minute what the larger does in ten
MANY = {"100k": 100_000, "million": 1_000_000}
SHAPES = {"40x10MB": (40, 10_000_000), "10000x20KB": (10_000, 20_000)}
LARGE = {"4x250MB": (4, 250_000_000)}
OF_DATA = {"real": real, "places": places}
PIECE = 100_000
WITHOUT_PEER = ("history", "recovery")
STEPS = ("snapshot", "verify", "restore", "1% changed", "nothing changed")


def main() -> int:
    """Run what was asked for; everything unless told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", action="append", choices=[*SHAPES, *LARGE, *MANY, *OF_DATA, *WITHOUT_PEER])
    parser.add_argument("--data", type=Path, help="a folder of CSV files of one kind, for the shape real")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    asked = parser.parse_args()
    missing = [name for name in ("borg", "restic") if not shutil.which(name)]
    if missing and not {*(asked.shape or [""])} <= {*WITHOUT_PEER}:
        parser.error(
            f"expected borg and restic to compare with, found no {missing[0]}: `make bench-setup` says how to get them"
        )
    shapes = asked.shape or [*SHAPES, *(OF_DATA if asked.data else []), *LARGE, "million"]
    if asked.data is None and (lacking := [shape for shape in shapes if shape in OF_DATA]):
        parser.error(f"expected --data FOLDER with CSV files for the shape {lacking[0]}, found none")
    ok = True
    with tempfile.TemporaryDirectory(prefix="bench-vault-", dir=asked.folder) as name:
        for shape in shapes:
            of_data = OF_DATA.get(shape)
            lines_of = of_data(Path(name), asked.data) if of_data else measured(Path(name), shape, asked.rounds)
            for found in lines_of:
                ok &= tell(found | {"rounds": asked.rounds, "load": round(os.getloadavg()[0], 1)})
    return 0 if ok else 1


def measured(folder: Path, shape: str, rounds: int) -> Iterator[dict[str, object]]:
    """The lines of one shape."""
    if shape in MANY:
        yield from many(folder, MANY[shape])
    elif shape == "history":
        from bench import vault_history

        yield from vault_history.lines(folder / "history")
    elif shape == "recovery":
        from bench import vault_recovery

        yield from vault_recovery.lines(folder / "recovery")
    elif shape in LARGE:
        yield from large(folder, shape, rounds)
    else:
        yield from compare(folder, shape, rounds)


def tell(line: dict[str, object]) -> bool:
    """Print one line; true when it is ok."""
    print(json.dumps({"bench": "vault", **line}), flush=True)
    return bool(line["ok"])


def compare(folder: Path, shape: str, rounds: int) -> Iterator[dict[str, object]]:
    """Interleaved rounds of all steps, then a line for each cell."""
    engines = [Ours(folder, False), Ours(folder, True)]
    copier = [Rclone(folder)] if shutil.which("rclone") else []
    peers = [Borg(folder), Restic(folder), *copier]
    cells: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    stored: dict[str, int] = {}
    copies: list[Measured] = []
    warm_up(folder, engines)
    for turn in range(rounds):
        source = make_source(folder / "source", shape, turn)
        for engine in [*engines, *peers]:
            engine.init()
        for step in STEPS:
            if step == "1% changed":
                change(source, shape, turn)
            for engine in [*engines, *peers]:
                if step == "restore" and engine.name == "plain":
                    # beside the restore that it is compared with: what else runs on the machine slows both
                    copies.append(Measured(["cp", "-r", str(source), str(fresh(folder / "target"))]))
                cells[engine.name, step].append(run_step(engine, step, source, fresh(folder / "target")))
                if step == "snapshot":
                    stored[engine.name] = size_of(engine.repo)
    for ours, theirs in (("plain", "borg"), ("sealed", "restic")):
        yield from lines(shape, ours, theirs, cells, stored)
    if copier:
        yield from (one | {"target": None, "ok": True} for one in lines(shape, "plain", "rclone", cells, stored))
    else:
        yield {"case": f"{shape} (plain)", "peer": "rclone", "missing": True, "ok": False}
    yield from against_copy(shape, cells["plain", "restore"], copies, size_of(source))


def large(folder: Path, shape: str, rounds: int) -> Iterator[dict[str, object]]:
    """Restores of large files and copies of them in turn."""
    source = make_source(folder / "source", shape, 0)
    ours = Ours(folder, False)
    ours.init()
    ours.snapshot(source)
    restored: list[Measured] = []
    copies: list[Measured] = []
    for _ in range(rounds):
        copies.append(Measured(["cp", "-r", str(source), str(fresh(folder / "target"))]))
        restored.append(run_step(ours, "restore", source, fresh(folder / "target")))
    yield from against_copy(shape, restored, copies, size_of(source))
    for used in (source, folder / "target", ours.repo):
        fresh(used)


def against_copy(shape: str, restored: list[Measured], copies: list[Measured], size: int) -> Iterator[dict[str, object]]:
    """Restore with full proof against a plain copy."""
    for metric, measure, target in (("bytes_per_s", "wall_s", 0.8), ("bytes_per_cpu_s", "cpu_s", None)):
        mine, other = (size / statistics.median(getattr(m, measure) for m in found) for found in (restored, copies))
        wanted = None if shape == "10000x20KB" else target
        yield line(f"{shape} restore, full proof", metric, mine, "cp -r", other, wanted, more_is_better=True)


def run_step(engine: Ours | Restic | Borg | Rclone, step: str, source: Path, target: Path) -> Measured:
    """One step of one engine."""
    if step == "verify":
        return engine.verify()
    if step != "restore":
        return engine.snapshot(source)
    found = engine.restore(target)
    same(source, target)
    return found


def fresh(folder: Path) -> Path:
    """The folder, gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def warm_up(folder: Path, engines: list[Ours]) -> None:
    """Run each of our commands once, unmeasured, so that its modules are compiled."""
    (folder / "one").mkdir(exist_ok=True)
    (folder / "one" / "file").write_bytes(b"x" * 300_000)
    for engine in engines:
        engine.init()
        engine.snapshot(folder / "one")
        engine.verify()
        engine.restore(folder / f"warm-{engine.name}")
        shutil.rmtree(folder / f"warm-{engine.name}")


def lines(
    shape: str, ours: str, theirs: str, cells: dict[tuple[str, str], list[Measured]], stored: dict[str, int]
) -> Iterator[dict[str, object]]:
    """The cells of one pairing."""
    for step in STEPS:
        for metric, target in (("cpu_s", 0.5), ("wall_s", 1.0), ("peak_mib", None)):
            mine, other = (statistics.median(getattr(m, metric) for m in cells[name, step]) for name in (ours, theirs))
            yield line(f"{shape} {step} ({ours})", metric, mine, theirs, other, target)
    yield line(f"{shape} snapshot ({ours})", "stored_bytes", stored[ours], theirs, stored[theirs], 1.02)


def make_source(folder: Path, shape: str, seed: int) -> Path:
    """Fresh random files."""
    shutil.rmtree(folder, ignore_errors=True)
    count, size = (SHAPES | LARGE)[shape]
    rng = random.Random(seed)
    for number in range(count):
        path = folder / f"{number % 100:02d}" / f"{number:06d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(path, rng, size)
    return folder


def fill(path: Path, rng: random.Random, size: int) -> None:
    """Write random bytes, in pieces: what this process needs at most is counted into the peak of every command that it starts."""
    with path.open("wb") as file:
        for start in range(0, size, PIECE):
            file.write(rng.randbytes(min(PIECE, size - start)))


def change(folder: Path, shape: str, seed: int) -> None:
    """Rewrite 1 % of the files."""
    count, size = SHAPES[shape]
    rng = random.Random(seed + 1000)
    for number in rng.sample(range(count), max(1, count // 100)):
        fill(folder / f"{number % 100:02d}" / f"{number:06d}.bin", rng, size)


def same(one: Path, other: Path) -> None:
    """Exit when two trees differ."""
    subprocess.run(["diff", "-rq", str(one), str(other)], check=True)


def many(folder: Path, count: int) -> Iterator[dict[str, object]]:
    """Many objects, 0.1 % changed: the incremental snapshot in a process of its own, against what a million may cost, in proportion."""
    base = [*OURS, str(folder / f"many-{count}"), str(folder / "keys"), "plain", "many"]
    Measured([*base, "0", str(count)])
    found = Measured([*base, "1", str(count)])
    case, part = f"{count:,} objects, 0.1% changed, incremental snapshot", count / MANY["million"]
    yield line(case, "cpu_s", found.cpu_s, "target", 60 * part, 1.0)
    yield line(case, "wall_s", found.wall_s, "target", 60 * part, None)
    yield line(case, "peak_mib", found.peak_mib, "target", 500, 1.0)


if __name__ == "__main__":
    sys.exit(main())
