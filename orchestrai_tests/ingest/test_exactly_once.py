"""Killed at any write, told twice, out of order, late, overwritten, cleaned away: each row lands exactly once."""

import random
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.errors import ConcurrentCommit, TransientStorageError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.discovery.listing import discover
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.conftest import NOW
from orchestrai_tests.ingest.judging import whole
from orchestrai_tests.ingest.test_ingestion import HEADER, RAW, Shop, lines
from orchestrai_tests.running import ingest

DAYS = ["2011-03-01", "2011-03-02", "2011-03-03"]


class Mortal(LocalStore):
    """A lake whose writes fail now and then, before or after they took effect."""

    def __init__(self, root: Path, rng: random.Random, share: float) -> None:
        super().__init__(root)
        self.rng, self.share, self.deaths = rng, share, 0

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        fate = self.rng.random()
        if fate < self.share / 2:
            self.deaths += 1
            raise TransientStorageError(f"expected {key} to be written, found a crash before")
        info = super().write(key, data, create=create)
        if fate < self.share:
            self.deaths += 1
            raise TransientStorageError(f"expected {key} to be written, found a crash after")
        return info


@pytest.mark.parametrize(
    "seed", [2, 3, *(pytest.param(seed, marks=pytest.mark.thorough("the other seeds say the same")) for seed in (0, 1))]
)
def test_each_row_is_in_the_raw_events_or_the_dead_letters_exactly_once(
    seed: int, tmp_path: Path, landing: LocalStore, orders: Contract, csv_source: SourceSpec
) -> None:
    rng = random.Random(seed)
    lake = Mortal(tmp_path / "lake", rng, 0.12)
    ledger = Ledger(lake, load_or_create_signer(tmp_path / "keys"))
    shop = Shop(ledger, landing, orders, csv_source.model_copy(update={"max_refused_share": 0.5}))
    waiting = [(day, n) for n in range(7) for day in DAYS]
    rng.shuffle(waiting)
    good, bad = Counter[str](), 0
    cursor, todo = None, set[str]()
    while waiting or todo:
        for day, number in [waiting.pop() for _ in range(min(len(waiting), rng.randint(1, 5)))]:
            start = (DAYS.index(day) * 7 + number) * 20
            shop.put(f"{day}-{number}.csv", HEADER + lines(20, day, start) + "torn,row\n")
            good.update(str(536000 + i) for i in range(start, start + 20))
            bad += 1
        found = discover(landing, shop.source, "day", cursor, now=NOW + timedelta(days=1))
        todo |= set(found.partitions)
        cursor = found.cursor if rng.random() < 0.8 else cursor
        try:
            batch = [*todo, *rng.sample(DAYS, 1)] if rng.random() < 0.2 else list(todo)
            report = ingest(
                ledger, asset=RAW, landing=landing, source=shop.source, contract=orders, grain="day",
                partitions=batch, now=NOW,
            )  # fmt: skip
        except (TransientStorageError, ConcurrentCommit):
            continue
        todo -= {outcome.partition for outcome in report.outcomes}
        # a producer cleans up what was taken
        for day in {o.partition for o in report.outcomes if o.published}:
            for info in list(landing.list(day)):
                if rng.random() < 0.3:
                    landing.delete(info.key)
    assert lake.deaths > 0
    lake.share = 0
    rows = Counter(name for day in DAYS for name in shop.table(tmp_path / "t", day)["invoice_no"].to_pylist())
    assert rows == good
    letters = list_letters(ledger, RAW)
    assert len(letters) == len({letter.id for letter in letters}) == bad
    assert whole(ledger, RAW, landing, shop.source).due == {}
