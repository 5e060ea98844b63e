"""An outside process alters vault objects and restored files whenever they are opened, and puts them back.

What a restore judges is what it publishes: the vault's proven bytes, or nothing. ORCHESTRAI_TEST_TRIALS=1000 runs that many trials.

The guard is the private copy that `_staged_data` of restore/run.py gets from `verified`. `PlainOpens` is a restore without
it: it hashes the same files and has them opened again where they lie. The trial that alters them at just that moment is run
on both, so that it is seen to find what it looks for. The vault's side has another guard: its bytes are hashed as they are
handed on, and never opened again.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import Verdict
from orchestrai.errors import IntegrityError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.base import Store
from orchestrai.storage.disk.sealed import Sealed, SealedFiles
from orchestrai.storage.local import LocalStore
from orchestrai.vault.vault import Vault
from orchestrai_tests.features.attacker import Target, attacked, put
from orchestrai_tests.running import restore, snapshot

TRIALS = int(os.environ.get("ORCHESTRAI_TEST_TRIALS", "0"))
RAW, KEPT, RESTORED = (f"p/readings/{stage}" for stage in ("raw_events", "snapshot", "restored"))
DAYS = ["2026-01-01", "2026-01-02"]


class PlainOpens(SealedFiles):
    """The guard taken away: a file is hashed, closed, and opened again where it lies."""

    @contextmanager
    def of(self, store: Store, key: str, size: int, *, packed: bool = False) -> Iterator[Sealed]:
        path = store.local_path(key)
        assert path is not None
        data = path.read_bytes()
        yield Sealed(path, len(data), hashlib.sha256(data).hexdigest())


class World:
    """Two days in a vault on disk, restored once under names that each restore takes again."""

    def __init__(self, folder: Path, memory: int) -> None:
        self.folder = folder
        (folder / "attack").mkdir(parents=True)
        signer = load_or_create_signer(folder / "keys")
        lake, store = LocalStore(folder / "lake"), LocalStore(folder / "vault")
        self.ledger = Ledger(lake, signer, vault=store, new_id=lambda: "always", sealed=SealedFiles(memory))
        self.vault = Vault(store, signer, self.ledger.keyring)
        session = self.ledger.session(RAW, Producer("raw_events", "orchestrai.ingest.run"))
        for number, day in enumerate(DAYS):
            for name, factor in (("clean", 1), ("altered", 3)):
                rows = pa.table({"value": [n * factor + number for n in range(5000)]})
                pq.write_table(rows, folder / f"{day}.{name}", compression="none", use_dictionary=False)
            session.add_file(day, "part-0.parquet", folder / f"{day}.clean", rows=5000)
        session.commit()
        snapshot(self.ledger, self.vault, source=RAW, asset=KEPT, partitions=DAYS)
        self.seen: list[int] = []
        self.between: dict[str, Target] = {}
        self.by_rename = False
        self.restored()

    def _audit(self, partition: str, files: Sequence[Path], sound: Sequence[Path]) -> Sequence[Verdict]:
        """Read as a gate does, twice, and say what was seen; files in `between` are altered after they were hashed and before."""
        target = self.between.get(partition)
        if target is not None:
            put(str(target.path), target.altered, self.by_rename)
        totals = [sum(pc.sum(pq.read_table(path).column("value")).as_py() for path in files) for _ in range(2)]
        if target is not None:
            put(str(target.path), target.clean, self.by_rename)
        self.seen += totals
        return [Verdict("values", len(set(totals)) == 1, f"{totals[0]}")]

    def restored(self) -> dict[str, str]:
        """The roots of what a restore publishes."""
        restore(self.ledger, self.vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS, audit=self._audit)
        return self.ledger.open(RESTORED).roots()

    def targets(self) -> list[Target]:
        """The restored files with other rows, and the vault's objects with other bytes."""
        listed = []
        for day in DAYS:
            (entry,) = self.ledger.open(RESTORED).files(day).files
            path = self.ledger.lake.local_path(entry.key)
            assert path is not None
            listed.append(Target(path, path.read_bytes(), (self.folder / f"{day}.altered").read_bytes()))
        kept = [
            path for path in (self.folder / "vault").rglob("*") if path.is_file() and {"packs", "objects"} & {*path.parts}
        ]
        assert kept, "the vault holds the rows somewhere"
        return [*listed, *(Target(path, path.read_bytes(), path.read_bytes()[::-1]) for path in kept)]


@pytest.mark.parametrize("by_rename", [True, False])
@pytest.mark.parametrize(
    ("guard", "deceived"),
    [(SealedFiles(), False), (SealedFiles(0), False), (PlainOpens(), True)],
    ids=["memory", "disk", "none"],
)
def test_what_is_altered_between_the_hash_and_the_gate_is_seen_without_the_guard_alone(
    tmp_path: Path, guard: SealedFiles, deceived: bool, by_rename: bool
) -> None:
    """Seen to fail: with `yield [ledger.lake.local_path(e.key) for e in entries]` in `_staged_data` the first two cases are red."""
    world = World(tmp_path, 2**28)
    clean, totals = world.restored(), {*world.seen}
    world.ledger.sealed, world.by_rename = guard, by_rename
    world.between = dict(zip(DAYS, world.targets()[: len(DAYS)], strict=True))
    world.seen.clear()
    # the root that is published is that of the clean rows either way: the gate alone is what was deceived
    assert world.restored() == clean
    assert ({*world.seen} != totals) is deceived
    assert world.seen


@pytest.mark.parametrize("trials", [16, pytest.param(TRIALS, marks=pytest.mark.thorough("some of the same trials"))])
def test_a_process_that_alters_files_at_every_open_has_nothing_else_judged_or_restored(tmp_path: Path, trials: int) -> None:
    attacks = 0
    for number, (name, memory) in enumerate((("memory", 2**28), ("disk", 0))):
        world = World(tmp_path / name, memory)
        clean, totals = world.restored(), {*world.seen}
        with attacked(world.folder / "attack", world.targets(), number) as log:
            for trial in range(trials * 20):
                if trial >= trials // 2 and len(log.read_text().splitlines()) > trials // 8:
                    break
                world.seen.clear()
                try:
                    assert world.restored() == clean
                    assert {*world.seen} == totals
                except IntegrityError:
                    pass
                # whatever came of it, the gate saw clean rows alone
                assert {*world.seen} <= totals
        attacks += len(log.read_text().splitlines())
        assert world.restored() == clean
    assert attacks > trials // 4, "the attacker slept"
