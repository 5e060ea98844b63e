"""Training by a script in a container of one's own choice: what is the same on Azure ML and on Vertex AI.

What leaves is the encoded matrix with its labels (no entity, no event time), the recipe and the script; what comes back is
the model in UBJ. A job's folder is named by a digest of all of that, and so is the job.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from orchestrai.errors import ModelError, ObjectNotFound
from orchestrai.ledger.manifest import canonical_json
from orchestrai.models.estimators import boosting
from orchestrai.models.estimators.boosting import BoostedTrees, centre, feature_types, settings
from orchestrai.models.remote.spec import RemoteLimits, is_trained_by
from orchestrai.models.remote.training_job import RemoteJob, job_name
from orchestrai.models.rows import Rows
from orchestrai.models.spec import XGBoostParams
from orchestrai.models.task import Task
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.job_wait import Phase, Waiting
from orchestrai.storage.url import open_store

SCRIPT = "train.py"
TRIES = 100


class Service(Protocol):
    """A cloud's training jobs."""

    def phase(self, job: str) -> tuple[Phase, str] | None:
        """How a job of this name stands; None when there is none."""
        ...

    def start(self, job: str, folder: str) -> None:
        """Start a job over the files in `folder` of the staging store."""
        ...

    def cancel(self, job: str) -> None:
        """Ask for its end; no error when it has ended."""
        ...

    def seconds(self, job: str) -> float | None:
        """How long its machine ran, where the service tells."""
        ...


class ScriptTrainer:
    """Trains boosted trees as jobs of a service; one that runs or completed is taken up instead of paid for twice."""

    def __init__(
        self,
        service: Service,
        where: RemoteLimits,
        *,
        place: str,
        staging: str,
        machine: str,
        image: str,
        waiting: Waiting,
    ) -> None:
        self.service, self.where, self.place = service, where, place
        self.staging, self.machine, self.image = staging, machine, image
        self.waiting = waiting

    def train(
        self, name: str, params: XGBoostParams, task: Task, rows: Rows, stop: Rows | None = None
    ) -> tuple[BoostedTrees, RemoteJob]:
        """Run the job to its end; raises ModelError when it fails or passes its time limit, StorageError for the cloud."""
        chosen = settings(params, task, rows)
        if not is_trained_by(self.place, str(chosen["objective"])):
            raise ModelError(
                f"expected an objective without groups in a training job, found {chosen['objective']}: train locally"
            )
        offset = centre(chosen["objective"], rows.label)
        files = _files(params, chosen, rows, stop, offset)
        job = job_name(name, {"image": self.image}, files)
        store = open_store(self.staging)
        attempt, there = self._attempt(job)
        if not there:
            self._start(attempt, store, files)
        self.waiting.until_done(attempt, lambda: self._phase(attempt), lambda: self.service.cancel(attempt))
        booster, report = _fetched(store, f"{attempt}/output", rows, offset)
        seconds = self.service.seconds(attempt)
        spent = float(report.get("seconds", 0.0)) if seconds is None else seconds
        limit = round(self.where.time_limit.total_seconds())
        ran = round(spent)
        return booster, RemoteJob(
            attempt, self.place, ran, ran, limit, self.machine, self.where.spot, self.where.price_per_hour
        )

    def _phase(self, attempt: str) -> tuple[Phase, str]:
        return self.service.phase(attempt) or ("ended", "no such job")

    def _attempt(self, job: str) -> tuple[str, bool]:
        """The attempt that runs or completed, else the first name that is free; and whether the job is there."""
        for number in range(1, TRIES + 1):
            status = self.service.phase(f"{job}-{number}")
            if status is None or status[0] != "ended":
                return f"{job}-{number}", status is not None
        raise ModelError(
            f"expected one of {TRIES} attempts at {job} to complete, found all of them ended: see their logs, change the image"
        )

    def _start(self, attempt: str, store: Store, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            store.write(f"{attempt}/{name}", data)
        self.service.start(attempt, attempt)


def _files(
    params: XGBoostParams, chosen: Mapping[str, Any], rows: Rows, stop: Rows | None, offset: float
) -> dict[str, bytes]:
    early = params.early_stopping_rounds if stop is not None else None
    body = {
        "settings": {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()},
        "num_boost_round": params.num_boost_round,
        "early_stopping_rounds": early,
        "feature_names": [column.name for column in rows.columns],
        "feature_types": feature_types(rows.columns),
    }
    files = {"job.json": canonical_json(body), SCRIPT: (Path(__file__).parent / "container_train.py").read_bytes()}
    parts = {"train": rows} if early is None or stop is None else {"train": rows, "stop": stop}
    for part, held in parts.items():
        files[f"{part}_matrix.npy"] = _array(held.matrix)
        files[f"{part}_label.npy"] = _array(held.label - offset)
    return files


def _array(values: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, values, allow_pickle=False)
    return sink.getvalue()


def _fetched(store: Store, folder: str, rows: Rows, offset: float) -> tuple[BoostedTrees, dict[str, Any]]:
    try:
        data, done = store.read(f"{folder}/model.ubj"), store.read(f"{folder}/done.json")
        report: dict[str, Any] = json.loads(done)
    except ObjectNotFound as exc:
        raise ModelError(
            f"expected the job to leave model.ubj and done.json in {folder}, found: {exc.message}: see its log"
        ) from exc
    except ValueError as exc:
        raise ModelError(f"expected JSON in {folder}/done.json, found something else ({exc}): see the job's log") from exc
    return boosting.decode(data, rows.columns, offset, len(rows.classes)), report
