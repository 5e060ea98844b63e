"""What follows a champion besides the lake: the port that model registries stand behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrai.core.time.partition_key import WHOLE
from orchestrai.errors import ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import Scorer, load_dataset
from orchestrai.models.metrics.metric import read_measures
from orchestrai.models.registry.versions import serving_champion

RECEIPT_FILE = "receipt.dsse.json"


@dataclass(frozen=True)
class Champion:
    """A verified champion with the very bytes of its files; `receipt` is the signed statement that names its inputs."""

    name: str
    scorer: Scorer
    files: Mapping[str, bytes]
    receipt: bytes
    receipt_digest: str
    metrics: Mapping[str, float]

    def labels(self) -> dict[str, str]:
        """What every registry keeps beside the model."""
        return {
            "orchestrai_version": self.scorer.version,
            "orchestrai_training_set": self.scorer.info.training_set["version"],
            "orchestrai_receipt": self.receipt_digest,
        }


def open_champion(ledger: Ledger, champion: str) -> Champion:
    """The champion that serves, every byte and its golden rows checked; raises ModelError when none does."""
    current = serving_champion(ledger, champion)
    if current is None:
        raise ModelError(f"expected a champion in {champion}, found none that serves: promote a candidate first")
    scorer = load_dataset(current)
    with current.fetched([WHOLE]) as fetched:
        files = {file.entry.path: file.path.read_bytes() for file in fetched[WHOLE]}
    digest = current.partitions[WHOLE].receipt
    measured = current.receipt(WHOLE).facts.get("metrics")
    metrics = {name: metric.value for name, metric in read_measures(measured).values.items()}
    return Champion(".".join(champion.split("/")[:-1]), scorer, files, ledger.blob("receipts", digest), digest, metrics)


@dataclass(frozen=True)
class Registered:
    """Where a target holds the champion; `changed` is False when all of it was there."""

    target: str
    name: str
    version: str
    status: str
    artifact: str
    changed: bool
    endpoint: str = ""

    def as_json(self) -> dict[str, Any]:
        """What stays the same however often the champion is registered."""
        return {key: value for key, value in self.__dict__.items() if key != "changed" and value != ""}


class Target(Protocol):
    """A place that follows the champion."""

    url: str

    def register(self, champion: Champion) -> Registered:
        """Hold this version and mark it as the champion; idempotent. Raises StorageError, ModelError."""
        ...
