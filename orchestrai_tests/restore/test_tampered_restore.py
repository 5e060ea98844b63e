"""An outside process alters vault objects and restored files whenever they are opened, and puts them back.

What a restore judges is what it publishes: the vault's proven bytes, or nothing. ORCHESTRAI_TEST_TRIALS=1000 runs that many trials.
"""

import os
from collections.abc import Sequence
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
from orchestrai.storage.disk.sealed import SealedFiles
from orchestrai.storage.local import LocalStore
from orchestrai.vault.vault import Vault
from orchestrai_tests.features.attacker import Target, attacked
from orchestrai_tests.running import restore, snapshot

TRIALS = int(os.environ.get("ORCHESTRAI_TEST_TRIALS", "0"))
RAW, KEPT, RESTORED = (f"p/readings/{stage}" for stage in ("raw_events", "snapshot", "restored"))
DAYS = ["2026-01-01", "2026-01-02"]


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
        self.restored()

    def _audit(self, partition: str, files: Sequence[Path]) -> Sequence[Verdict]:
        """Read as a gate does, twice, and say what was seen."""
        totals = [sum(pc.sum(pq.read_table(path).column("value")).as_py() for path in files) for _ in range(2)]
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
