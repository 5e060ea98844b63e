"""Training that runs elsewhere: one port for its jobs, and what one cost."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrai.errors import ModelError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.models.estimators.boosting import BoostedTrees
from orchestrai.models.remote.spec import RemoteLimits
from orchestrai.models.rows import Rows
from orchestrai.models.spec import XGBoostParams
from orchestrai.models.task import Task
from orchestrai.storage.cloud.job_wait import Clock, Waiting


@dataclass(frozen=True)
class RemoteJob:
    """A finished job, what it was allowed and what it cost; `usd` is None without a declared price.

    `billable_seconds` are those that the service bills, where it tells, else those that it ran. `limit_seconds` is the declared
    time limit, None where none is.
    """

    name: str
    place: str
    seconds: int
    billable_seconds: int
    limit_seconds: int | None
    instance_type: str
    spot: bool
    per_hour: float | None

    @property
    def usd(self) -> float | None:
        """US dollars of the billable seconds at the declared price."""
        return price(self.billable_seconds, self.per_hour)

    def as_json(self) -> dict[str, Any]:
        """For receipts."""
        return {**self.__dict__, "usd": self.usd}


class Trainer(Protocol):
    """Trains boosted trees somewhere else."""

    def train(
        self, name: str, params: XGBoostParams, task: Task, rows: Rows, stop: Rows | None = None
    ) -> tuple[BoostedTrees, RemoteJob]:
        """Run a job to its end, or take up the one of the same data and parameters; raises ModelError, StorageError."""
        ...


def training_wait(where: RemoteLimits, place: str, machine: str, clock: Clock | None = None) -> Waiting:
    """How to wait for a training job of `train_on.<place>`."""
    remedy = f"raise train_on.{place}.time_limit or take a larger {machine}"
    return Waiting(where.allowed, where.poll, remedy, clock or Clock(), ModelError)


def job_name(name: str, request: Mapping[str, Any], channels: Mapping[str, bytes]) -> str:
    """A name that the same data and parameters always get, so that a second call finds the first one's job."""
    digest = hashlib.sha256(canonical_json(dict(request)))
    for data in channels.values():
        digest.update(hashlib.sha256(data).digest())
    return f"{name.replace('_', '-')[:40]}-{digest.hexdigest()[:20]}"


def price(seconds: float, per_hour: float | None) -> float | None:
    """US dollars of billable seconds."""
    return None if per_hour is None else round(per_hour * seconds / 3600, 6)
