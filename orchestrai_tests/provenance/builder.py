"""A small world: landed objects to predictions, through the real vault and restore, with stand-ins for computed stages."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.core.verdict import Verdict
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef, Material
from orchestrai.ledger.report import Cost, StageReport
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.storage.base import Store
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.vault import Vault
from orchestrai_tests.producers import producer
from orchestrai_tests.running import restore, snapshot

ORDERS = "churn/orders"
VIEW = "churn/customer_rfm/features"
MODEL = "churn/churn"
GOOD = (Verdict("schema", True), Verdict("row_volume", True))


def ticking(start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> Iterator[datetime]:
    while True:
        yield start
        start += timedelta(seconds=1)


@dataclass(frozen=True)
class Remembering(Keyring):
    """A keyring that checks each envelope once: verification is a pure function of type and bytes."""

    @lru_cache(maxsize=100_000)  # noqa: B019 - lives as long as the test
    def open(self, payload_type: str, envelope: bytes) -> bytes:
        return Keyring.open(self, payload_type, envelope)

    def __hash__(self) -> int:
        return id(self)


@dataclass
class World:
    lake: Store = field(default_factory=MemoryStore)
    store: Store = field(default_factory=MemoryStore)
    signer: Signer = field(default_factory=lambda: Signer(Ed25519PrivateKey.generate()))
    start: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        ids, moments = iter(range(1, 10**9)), ticking(self.start)
        self.ledger = Ledger(
            self.lake, self.signer, vault=self.store, clock=lambda: next(moments), new_id=lambda: f"{next(ids):024x}"
        )
        self.vault = Vault(self.store, self.signer, clock=self.ledger.clock, new_id=self.ledger.new_id, workers=0)

    @property
    def keyring(self) -> Keyring:
        return self.signer.keyring()

    def land(self, days: dict[str, bytes], dataset: str = ORDERS) -> StageReport:
        session = self.ledger.session(f"{dataset}/raw_events", producer("raw_events"))
        materials = []
        for day, data in days.items():
            session.add_bytes(day, "part-00000.parquet", b"parquet of " + data, rows=len(data))
            session.add_bytes(day, f"landed/{day}.csv", data, role="landed")
            digest = hashlib.sha256(data).hexdigest()
            materials.append(Material(uri(day, dataset), digest, len(data), "etag", f"{day}T06:00:00+00:00", day))
        return session.commit(dict.fromkeys(days, GOOD), materials=materials, cost=Cost(0.5, 0.25, 100, 50))

    def back_up(self, days: Sequence[str], dataset: str = ORDERS) -> StageReport:
        return snapshot(
            self.ledger, self.vault, source=f"{dataset}/raw_events", asset=f"{dataset}/snapshot", partitions=list(days)
        )

    def restore(self, days: Sequence[str], dataset: str = ORDERS) -> StageReport:
        return restore(
            self.ledger,
            self.vault,
            snapshot=f"{dataset}/snapshot",
            asset=f"{dataset}/restored",
            partitions=list(days),
            audit=lambda partition, files, sound: GOOD,
        )

    def prove(self, days: dict[str, bytes], dataset: str = ORDERS) -> None:
        self.land(days, dataset)
        self.back_up(list(days), dataset)
        self.restore(list(days), dataset)

    def derive(
        self, asset: str, data: bytes, inputs: Sequence[str], path: str = "part-00000.parquet", partition: str = "all"
    ) -> StageReport:
        session = self.ledger.session(asset, producer(asset.rsplit("/", 1)[-1]))
        session.add_bytes(partition, path, data, rows=10)
        opened = [self.ledger.open(name) for name in inputs]
        return session.commit(
            {partition: GOOD},
            inputs=[InputRef(found.asset, found.version, found.roots()) for found in opened],
            cost=Cost(1.0, 1.0, 10, 10),
        )

    def features(self, days: Sequence[str], salt: bytes = b"", dataset: str = ORDERS, asset: str = VIEW) -> StageReport:
        """A view whose partition of a day reads that day alone, as features/compute records it."""
        session = self.ledger.session(asset, producer("features"))
        source = self.ledger.open(f"{dataset}/restored")
        for day in days:
            root = source.partitions[day].root
            session.add_bytes(day, "part-00000.parquet", salt + f"features of {root}".encode(), rows=5)
            session.add_stats(day, inputs={source.asset: {day: root}})
        roots = source.roots(sorted(days))
        return session.commit(dict.fromkeys(days, GOOD), inputs=[InputRef(source.asset, source.version, roots)])

    def train(
        self, data: bytes = b"model", *, promote: bool = True, features: Sequence[str] = (VIEW,), model: str = MODEL
    ) -> bytes:
        """Training set to champion; returns the model file's bytes."""
        self.derive(f"{model}/training_set", b"rows for " + data, features)
        self.derive(f"{model}/candidate", data, [f"{model}/training_set"], "model.ubj")
        served = [f"{model}/champion"] if self.ledger.find(f"{model}/champion") else []
        self.derive(f"{model}/evaluation", b"metrics of " + data, [f"{model}/candidate", f"{model}/training_set", *served])
        if promote:
            self.derive(f"{model}/champion", data, [f"{model}/candidate", f"{model}/evaluation"], "model.ubj")
        return data

    def predict(self, data: bytes = b"scores", features: Sequence[str] = (VIEW,), model: str = MODEL) -> StageReport:
        return self.derive(f"{model}/predictions", data, [f"{model}/champion", *features])

    def whole(self, days: Sequence[str] = ("2026-01-01", "2026-01-02", "2026-01-03")) -> bytes:
        """Everything once, a day at a time as a schedule would."""
        for day in days:
            self.prove({day: f"orders of {day}".encode()})
        self.features(days)
        return self.train()


def uri(day: str, dataset: str = ORDERS) -> str:
    return f"s3://landing/{dataset}/{day}.csv"


def written(folder: Path, data: bytes) -> Path:
    path = folder / "model.ubj"
    path.write_bytes(data)
    return path
