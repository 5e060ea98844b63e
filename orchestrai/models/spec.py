"""What a user declares about a model."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrai.core.declaration import Declaration, FormerNames, field_reader
from orchestrai.core.former_names import first_name
from orchestrai.core.time.duration_cron import Cron, Duration, DurationOrZero
from orchestrai.models.estimators.space import Range, Search
from orchestrai.models.estimators.spec import (
    SKLEARN_CLASSES,
    CooccurrenceParams,
    Estimator,
    LogisticParams,
    SklearnParams,
    XGBoostParams,
)
from orchestrai.models.registry.registry_urls import parse_address
from orchestrai.models.remote.spec import SageMakerServing, SageMakerTraining, ServeOn, SparkTraining, TrainOn

__all__ = [
    "METRICS_OF",
    "SMALLER_IS_BETTER",
    "CooccurrenceParams",
    "Estimator",
    "LogisticParams",
    "Metric",
    "ModelSpec",
    "PromotionRule",
    "Range",
    "SageMakerServing",
    "SageMakerTraining",
    "Search",
    "ServeOn",
    "SklearnParams",
    "SparkTraining",
    "Split",
    "Task",
    "TrainOn",
    "XGBoostParams",
]

TOPIC = re.compile(r"sns://arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
Task = Literal["classification", "regression", "ranking"]
Metric = Literal["auc", "pr_auc", "log_loss", "accuracy", "rmse", "mae", "recall_at_10", "ndcg_at_10"]
SMALLER_IS_BETTER = frozenset({"log_loss", "rmse", "mae", "brier"})
METRICS_OF: dict[Task, frozenset[str]] = {
    "classification": frozenset({"auc", "pr_auc", "log_loss", "accuracy"}),
    "regression": frozenset({"rmse", "mae"}),
    "ranking": frozenset({"recall_at_10", "ndcg_at_10", "auc", "pr_auc"}),
}


class Split(Declaration):
    """Which rows are held out.

    by: time (default)   the latest as-of moments, about `test_share` of the rows; training ends `gap` before them, so that
                         a label that looks ahead by its horizon does not overlap the test (set `gap` to the horizon)
    test: earliest       holds out the earliest moments instead, for data whose test period lies first
    by: entity           a seeded hash of the entity decides, so an entity is never on both sides, in no later training either
    folds: k             k folds by entity, stratified by label; the candidate itself is trained on all rows
    `disjoint_entities` also drops from training every entity of the test, for a split by time.
    """

    by: Literal["time", "entity"] = "time"
    test: Literal["latest", "earliest"] = "latest"
    test_share: float = Field(default=0.25, gt=0, lt=1)
    gap: DurationOrZero = timedelta(0)
    disjoint_entities: bool = False
    folds: int | None = Field(default=None, ge=2, le=50)
    seed: int = Field(default=0, ge=0)


class PromotionRule(Declaration):
    """When a candidate may replace the champion; every bound that is set must hold.

    `better_than_champion_by` is in the metric's own unit, towards better (smaller for log_loss, rmse, mae).
    """

    metric: Metric = "auc"
    at_least: float | None = None
    at_most: float | None = None
    better_than_champion_by: float | None = None


class ModelSpec(Declaration):
    """A model declared over feature views. `features` names views; every column they add to the training set is used.

    `baseline` names a feature whose value alone is scored beside the model. An AUC above `alarm_above` is taken for a leak
    and refused. `sla` is the time one training may take; `retrain` a cron expression.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    renamed_from: FormerNames = ()
    features: list[str] = Field(min_length=1)
    entity: list[str] = Field(min_length=1)
    task: Task = "classification"
    estimator: Estimator = Estimator(xgboost=XGBoostParams())
    split: Split = Split()
    promote_when: PromotionRule = PromotionRule()
    baseline: str | None = None
    exclude: list[str] = Field(default_factory=list, description="columns of the training set that are no features")
    slices: list[str] = Field(default_factory=list, description="categorical features reported value by value")
    retrain: Cron | None = None
    sla: Duration | None = None
    search: Search | None = None
    train_on: TrainOn | None = None
    serve_on: ServeOn | None = None
    registry: list[str] = Field(default_factory=list, description="URLs of registries that follow the champion")
    notify: list[str] = Field(default_factory=list, description="sns:// topics told of a candidate that is not promoted")
    alarm_above: float = Field(default=0.999, gt=0.5, le=1)

    @field_validator("entity", mode="before")
    @classmethod
    def _entity(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("registry", "notify", mode="before")
    @classmethod
    def _urls(cls, value: Any) -> Any:
        # a variable that is not set leaves an empty text: nothing to tell
        urls = [value] if isinstance(value, str) else value
        return [url for url in urls if url != ""] if isinstance(urls, list) else urls

    @field_validator("registry")
    @classmethod
    def _registries(cls, urls: list[str]) -> list[str]:
        for url in urls:
            field_reader(parse_address)(url)
        return urls

    @field_validator("notify")
    @classmethod
    def _topics(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if not TOPIC.fullmatch(url):
                raise ValueError(f"expected a topic such as sns://arn:aws:sns:us-east-1:123456789012:models, found {url!r}")
        return urls

    @property
    def deployed(self) -> bool:
        """True when the champion goes anywhere besides the lake."""
        return bool(self.registry) or self.serve_on is not None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        allowed = METRICS_OF[self.task]
        if self.promote_when.metric not in allowed:
            raise ValueError(
                f"promote_when.metric: expected one of {', '.join(sorted(allowed))} for {self.task}, found {self.promote_when.metric}"
            )
        if self.estimator.kind == "logistic" and self.task == "regression":
            raise ValueError(
                "estimator: expected another than logistic for the task regression, found logistic: use xgboost"
            )
        if self.estimator.kind == "cooccurrence" and (self.task != "ranking" or len(self.entity) != 2):
            raise ValueError(
                "estimator: expected the task ranking and two entity columns (who, what) for cooccurrence, found others"
            )
        if self.train_on is not None and self.estimator.kind != "xgboost":
            raise ValueError(
                f"train_on: expected the estimator xgboost, which alone trains elsewhere, found {self.estimator.kind}: remove train_on"
            )
        chosen = self.estimator.sklearn
        if chosen is not None and (SKLEARN_CLASSES[chosen.class_name] == "regressor") != (self.task == "regression"):
            raise ValueError(f"estimator: expected a class for {self.task}, found {chosen.class_name}")
        if self.search is not None and (self.estimator.kind != "xgboost" or self.train_on is not None):
            raise ValueError(
                "search: expected the estimator xgboost, trained in the step itself, found another: remove search or train_on"
            )
        if self.task == "ranking" and len(self.entity) < 2:
            raise ValueError(f"entity: expected two columns (who, what) for a ranking, found {', '.join(self.entity)}")
        return self

    @property
    def first_name(self) -> str:
        """The name that it was given first, which is what is stored of it."""
        return first_name(self.name, self.renamed_from)

    def recipe(self) -> dict[str, Any]:
        """The part of the declaration that decides the model's bytes, as JSON."""
        fields = {"name", "features", "entity", "task", "estimator", "split", "exclude", "search"}
        body = self.model_dump(mode="json", include=fields, exclude_none=True)
        return body | {"name": self.first_name}


@dataclass(frozen=True)
class ModelAssets:
    """The assets of one model, stage by stage."""

    training_set: str
    candidate: str
    evaluation: str
    champion: str
    deployment: str = ""
    predictions: str = ""
