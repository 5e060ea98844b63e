"""A small HTTP endpoint that scores rows with the champion and follows promotions and rollbacks."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrai.errors import ModelError, OrchestraiError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import Scorer, load_dataset
from orchestrai.models.ports import KnownFeatures
from orchestrai.models.rows import Floats

if TYPE_CHECKING:
    import pyarrow as pa
    from fastapi import FastAPI

MAX_ROWS = 10_000
CHECK_SECONDS = 5.0


class ScoreRequest(BaseModel):
    """Rows to score: one object per row, feature values by name; a missing or null value counts as missing.

    `views` may say which definition of each view computed them, by the `definition` in the answers of `/features/VIEW`.
    """

    model_config = ConfigDict(extra="forbid")
    rows: list[dict[str, float | int | bool | str | None]] = Field(min_length=1, max_length=MAX_ROWS)
    views: dict[str, str] = Field(default_factory=dict)


class ScoreResponse(BaseModel):
    """One score per row, and the version that gave them.

    Of a multiclass a score is the probability of its row's label, and `probabilities` has that of every class.
    """

    task: str
    scores: list[float]
    labels: list[str] | None = None
    probabilities: list[dict[str, float]] | None = None
    model_version: str
    training_set: str


class ServingModel:
    """The champion in memory, re-read when the log of champions has moved; safe to share between threads.

    A new champion that fails its checks is not served: the one in memory stays, and `problem` says why. Where `known` tells
    which definition of a view computed the newest features, a champion that learned from another one does not serve.
    """

    def __init__(
        self,
        ledger: Ledger,
        champion: str,
        *,
        known: KnownFeatures | None = None,
        every: float = CHECK_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger = ledger
        self.champion = champion
        self.problem = ""
        self._known = known
        self._changed = ""
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
                self._look_at_views()
                self._checked = now
            if self._scorer is None:
                raise ModelError(
                    self.problem or f"expected a champion in {self.champion}, found none: promote a candidate first"
                )
            if self._changed:
                raise ModelError(self._changed)
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

    def _look_at_views(self) -> None:
        """Note when the newest features are of another definition than the model learned from."""
        views = self._scorer.info.views if self._scorer is not None else None
        if self._known is None or views is None:
            self._changed = ""
            return
        try:
            now = {view.asset: self._known.definition(view.asset) for view in views}
        except OrchestraiError as exc:
            # what was seen last holds until it can be seen again
            self.problem = exc.message
            return
        # a table that is not there serves nobody anything
        made = {asset: digest for asset, digest in now.items() if digest is not None}
        self._changed = "; ".join(
            f"expected features of {view.name} of definition {view.hash[:12]}, which {self.champion} learned from, found them "
            f"computed by {made[view.asset][:12]}: train the model again, or restore the view's definition"
            for view in views
            if view.asset in made and made[view.asset] != view.hash
        )


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


def require_same_views(scorer: Scorer, given: Mapping[str, str]) -> None:
    """Raises ModelError for features that another definition of a view computed than the model learned from."""
    learned = {view.name: view.hash for view in scorer.info.views or ()}
    for name, digest in sorted(given.items()):
        if learned and learned.get(name) != digest:
            raise ModelError(
                f"expected features of {name} of definition {learned.get(name, 'none: no view of this model')[:12]}, found "
                f"{digest[:12]}: train the model again, or restore the view's definition"
            )


def scored(scorer: Scorer, scores: Floats) -> ScoreResponse:
    """Scores as an answer, by the task of the model."""
    classes, info = scorer.info.classes, scorer.info
    answer = ScoreResponse(
        task=info.task, scores=[], model_version=scorer.version, training_set=info.training_set["version"]
    )
    if not classes:
        answer.scores = scores.tolist()
        return answer
    answer.scores = scores.max(axis=1).tolist()
    answer.labels = [classes[place] for place in scores.argmax(axis=1)]
    answer.probabilities = [dict(zip(classes, row, strict=True)) for row in scores.tolist()]
    return answer


def scoring_app(
    ledger: Ledger, champion: str, *, known: KnownFeatures | None = None, every: float = CHECK_SECONDS
) -> "FastAPI":
    """The application: POST /score, GET /model (what serves), GET /health (503 until a champion serves).

    Who asks gives the values of the features: nothing is joined here. With `known`, nothing is scored while the newest features
    are of another definition than the champion learned from. Answers 422 for rows that cannot be scored and 503 without a
    champion that may serve. It has no authentication: put it behind what has.
    """
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    app = FastAPI(title="orchestrai scoring", docs_url=None, redoc_url=None)
    serving = ServingModel(ledger, champion, known=known, every=every)

    def unavailable(exc: OrchestraiError) -> JSONResponse:
        return JSONResponse({"detail": exc.message}, status_code=503)

    @app.post("/score", response_model=ScoreResponse, response_model_exclude_none=True)
    def score(request: ScoreRequest) -> Any:
        try:
            scorer = serving.current()
        except ModelError as exc:
            return unavailable(exc)
        try:
            require_same_views(scorer, request.views)
            scores = scorer.score(table_of(request.rows, scorer))
        except ModelError as exc:
            return JSONResponse({"detail": exc.message}, status_code=422)
        return scored(scorer, scores)

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
            "task": scorer.info.task,
            "classes": list(scorer.info.classes),
            "features": [column.as_json() for column in scorer.info.columns],
            "views": [view.as_json() for view in scorer.info.views or ()],
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
