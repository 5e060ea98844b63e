"""What may befall the ninth day of the small shop: each fault is done to a home that was published up to one stage."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from orchestrai_tests.defs.shop import FIFTH, GOOD, KEPT, NINTH, Base, csv_of


def _landed(home: Path) -> Path:
    return home / "landing" / "readings" / f"{NINTH}.csv"


def _flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    path.unlink()
    path.write_bytes(data)


def _pick(base: Base, home: Path, chance: random.Random, *inside: str, suffix: str = "") -> Path:
    found = [name for name in base.made if name.startswith(inside) and name.endswith(suffix)]
    assert found, (base.stage, inside, base.made)
    return home / chance.choice(found)


def _bytes_of(base: Base, home: Path, chance: random.Random) -> Path:
    """A file of the ninth day that the next stage reads."""
    if base.stage == KEPT:
        return _pick(base, home, chance, "vault/vault/packs/", "vault/vault/objects/")
    return _pick(base, home, chance, f"lake/data/{base.stage}/", suffix=".parquet")


def flipped(base: Base, home: Path, chance: random.Random) -> None:
    _flip(_bytes_of(base, home, chance), chance)


def truncated(base: Base, home: Path, chance: random.Random) -> None:
    path = _bytes_of(base, home, chance)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: chance.randrange(len(data))])


def missing(base: Base, home: Path, chance: random.Random) -> None:
    _bytes_of(base, home, chance).unlink()


def swapped(base: Base, home: Path, chance: random.Random) -> None:
    """An older day's file lies where the ninth's should: right format, right schema, stale bytes."""
    path = _bytes_of(base, home, chance)
    older = sorted(other for other in path.parent.parent.parent.rglob(path.name) if FIFTH in str(other))
    if base.stage == KEPT:
        older = sorted(other for other in path.parent.parent.rglob("*") if other.is_file() and other != path)
    data = chance.choice(older).read_bytes()
    assert data != path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def extra(base: Base, home: Path, chance: random.Random) -> None:
    """A file nobody published lies beside the published ones."""
    path = _bytes_of(base, home, chance)
    (path.parent / f"part-{chance.randrange(10, 99):05d}{path.suffix}").write_bytes(path.read_bytes())


def receipt_flipped(base: Base, home: Path, chance: random.Random) -> None:
    _flip(_pick(base, home, chance, "lake/receipts/"), chance)


def manifest_flipped(base: Base, home: Path, chance: random.Random) -> None:
    _flip(_pick(base, home, chance, "lake/manifests/"), chance)


def head_flipped(base: Base, home: Path, chance: random.Random) -> None:
    _flip(_heads(base, home)[-1], chance)


def head_replayed(base: Base, home: Path, chance: random.Random) -> None:
    """An older head lies where the newest should."""
    heads = _heads(base, home)
    data = chance.choice(heads[:-1]).read_bytes()
    heads[-1].unlink()
    heads[-1].write_bytes(data)


def head_ahead(base: Base, home: Path, chance: random.Random) -> None:
    """An older head is put after the newest, as one who wants the old version back would."""
    heads = _heads(base, home)
    number = int(heads[-1].stem) + 1
    heads[-1].with_name(f"{number:012d}.json").write_bytes(chance.choice(heads).read_bytes())


def head_removed(base: Base, home: Path, chance: random.Random) -> None:
    """The log is cut: the version before the ninth day would be current again."""
    _heads(base, home)[-1].unlink()


def verdict_forged(base: Base, home: Path, chance: random.Random) -> None:
    """A receipt is rewritten to say what somebody wishes, under its old signature."""
    path = _pick(base, home, chance, "lake/receipts/")
    envelope = json.loads(path.read_bytes())
    text = json.dumps(envelope).replace(envelope["payload"][:8], envelope["payload"][8:16], 1)
    path.unlink()
    path.write_text(text)


def _heads(base: Base, home: Path) -> list[Path]:
    return sorted((home / "lake" / "heads" / base.stage).glob("*.json"))


def schema_break(base: Base, home: Path, chance: random.Random) -> None:
    text = _landed(home).read_text()
    column = chance.choice(["device_id", "ts", "level", "failed"])
    _landed(home).write_text(text.replace(column, f"{column}_v2", 1))


def stale_file(base: Base, home: Path, chance: random.Random) -> None:
    _landed(home).write_text(csv_of(chance.choice(GOOD)))


def volume_drop(base: Base, home: Path, chance: random.Random) -> None:
    kept = sorted(chance.sample(range(30), chance.randrange(0, 8)))
    lines = csv_of(NINTH).splitlines()
    _landed(home).write_text("\n".join([lines[0], *(lines[1 + at] for at in kept)]) + "\n")


def landing_truncated(base: Base, home: Path, chance: random.Random) -> None:
    data = _landed(home).read_bytes()
    _landed(home).write_bytes(data[: chance.randrange(len(data) // 2)])


def landing_missing(base: Base, home: Path, chance: random.Random) -> None:
    _landed(home).unlink()


def wrong_types(base: Base, home: Path, chance: random.Random) -> None:
    lines = csv_of(NINTH).splitlines()
    for at in chance.sample(range(1, len(lines)), 3):
        fields = lines[at].split(",")
        fields[2] = chance.choice(["high", "-1", "1001", "1.5.2", ""])
        lines[at] = ",".join(fields)
    _landed(home).write_text("\n".join(lines) + "\n")


def nothing(base: Base, home: Path, chance: random.Random) -> None:
    """Clean data."""


Fault = Callable[[Base, Path, random.Random], None]
LANDING_FAULTS: list[Fault] = [schema_break, stale_file, volume_drop, landing_truncated, landing_missing, wrong_types]
STORED_FAULTS: list[Fault] = [
    flipped,
    truncated,
    missing,
    swapped,
    receipt_flipped,
    verdict_forged,
    manifest_flipped,
    head_flipped,
    head_replayed,
    head_ahead,
    head_removed,
]
HARMLESS: list[Fault] = [nothing, extra]
