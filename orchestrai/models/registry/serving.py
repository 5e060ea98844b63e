"""A small HTTP endpoint that scores rows with the champion and follows promotions and rollbacks."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrai.errors import ModelError, OrchestraiError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import Scorer, load_dataset

if TYPE_CHECKING:
    import pyarrow as pa
    from fastapi import FastAPI

MAX_ROWS = 10_000
CHECK_SECONDS = 5.0


class ScoreRequest(BaseModel):
    """Rows to score: one object per row, feature values by name; a missing or null value counts as missing."""

    model_config = ConfigDict(extra="forbid")
    rows: list[dict[str, float | int | bool | str | None]] = Field(min_length=1, max_length=MAX_ROWS)


class ScoreResponse(BaseModel):
    """One score per row, and the version that gave them."""

    scores: list[float]
    model_version: str
    training_set: str


class ServingModel:
    """The champion in memory, re-read when the log of champions has moved; safe to share between threads.

    A new champion that fails its checks is not served: the one in memory stays, and `problem` says why.
    """

    def __init__(
        self, ledger: Ledger, champion: str, *, every: float = CHECK_SECONDS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.ledger = ledger
        self.champion = champion
        self.problem = ""
        self._every = every
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._scorer: Scorer | None = None
        self._seq = 0
        self._checked: float | None = None

    def current(self) -> Scorer:
        """The model that serves; looks for a promotion at most once per `every` seconds. Raises when there is none."""
        with self._lock:
            now = self._monotonic()
            if self._checked is None or now - self._checked >= self._every:
                self._refresh()
                self._checked = now
            if self._scorer is None:
                raise ModelError(
                    self.problem or f"expected a champion in {self.champion}, found none: promote a candidate first"
                )
            return self._scorer

    def _refresh(self) -> None:
        try:
            head = self.ledger.head(self.champion)
            if head is None or (head.seq == self._seq and self._scorer is not None and not self.problem):
                return
            self._scorer = load_dataset(self.ledger.dataset(head))
            self._seq, self.problem = head.seq, ""
        except OrchestraiError as exc:
            self.problem = exc.message


def table_of(rows: list[dict[str, Any]], scorer: Scorer) -> "pa.Table":
    """Rows of a request as a table; raises ModelError for an unknown feature or a value of another kind."""
    import pyarrow as pa

    columns = scorer.info.columns
    entity = scorer.info.entity if scorer.info.kind == "cooccurrence" else []
    unknown = sorted({name for row in rows for name in row} - {*(column.name for column in columns), *scorer.info.entity})
    if unknown:
        known = ", ".join(column.name for column in columns)
        raise ModelError(f"expected features of {known}, found {', '.join(unknown)}: remove them")
    data = {}
    for column in columns:
        values = [row.get(column.name) for row in rows]
        wanted = str if column.kind == "category" else (bool, int, float)
        wrong = next((value for value in values if value is not None and not isinstance(value, wanted)), None)
        if wrong is not None:
            raise ModelError(f"expected {column.name} to be a {column.kind}, found {wrong!r}")
        numbers = [None if value is None else float(value) for value in values] if column.kind != "category" else values
        data[column.name] = pa.array(numbers, pa.string() if column.kind == "category" else pa.float64())
    for name in entity:
        if any(row.get(name) is None for row in rows):
            raise ModelError(f"expected {name} in every row, found rows without: name the entity")
        data[name] = pa.array([str(row[name]) for row in rows], pa.string())
    return pa.table(data)


def scoring_app(ledger: Ledger, champion: str, *, every: float = CHECK_SECONDS) -> "FastAPI":
    """The application: POST /score, GET /model (what serves), GET /health (503 until a champion serves).

    Answers 422 for rows that cannot be scored and 503 without a champion. It has no authentication: put it behind what has.
    """
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    app = FastAPI(title="orchestrai scoring", docs_url=None, redoc_url=None)
    serving = ServingModel(ledger, champion, every=every)

    def unavailable(exc: OrchestraiError) -> JSONResponse:
        return JSONResponse({"detail": exc.message}, status_code=503)

    @app.post("/score", response_model=ScoreResponse)
    def score(request: ScoreRequest) -> Any:
        try:
            scorer = serving.current()
        except ModelError as exc:
            return unavailable(exc)
        try:
            scores = scorer.score(table_of(request.rows, scorer))
        except ModelError as exc:
            return JSONResponse({"detail": exc.message}, status_code=422)
        return ScoreResponse(
            scores=scores.tolist(), model_version=scorer.version, training_set=scorer.info.training_set["version"]
        )

    @app.get("/model")
    def model() -> Any:
        try:
            scorer = serving.current()
        except ModelError as exc:
            return unavailable(exc)
        return {
            "asset": scorer.asset,
            "version": scorer.version,
            "training_set": dict(scorer.info.training_set),
            "kind": scorer.info.kind,
            "features": [column.as_json() for column in scorer.info.columns],
            "problem": serving.problem,
        }

    @app.get("/health")
    def health() -> Any:
        try:
            version = serving.current().version
            return {"status": "degraded" if serving.problem else "ok", "version": version}
        except ModelError as exc:
            return unavailable(exc)

    return app
