"""What a user declares about a model."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrai.core.canonical import JsonValue
from orchestrai.core.former_names import first_name
from orchestrai.core.time.duration_cron import Cron, Duration, DurationOrZero
from orchestrai.core.yaml.declaration import Declaration, FormerNames, field_reader
from orchestrai.models.estimators.space import SEARCHED, Range, Search
from orchestrai.models.estimators.spec import (
    SKLEARN_CLASSES,
    CooccurrenceParams,
    Estimator,
    LogisticParams,
    SklearnParams,
    XGBoostParams,
)
from orchestrai.models.metrics.metric import DEFAULT, METRICS, metric_rule, place_of
from orchestrai.models.metrics.metric_set import MetricSet
from orchestrai.models.registry.registry_urls import parse_address
from orchestrai.models.remote.spec import (
    SageMakerServing,
    SageMakerTraining,
    ServeOn,
    SparkTraining,
    TrainOn,
    image_problem,
)
from orchestrai.models.task import READ, VALUES, Task, spelled

__all__ = [
    "CooccurrenceParams",
    "Estimator",
    "Forecast",
    "LogisticParams",
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
    "TrainOn",
    "XGBoostParams",
]

TOPIC = re.compile(r"sns://arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")


class Split(Declaration):
    """Which rows are held out.

    by: time (default)   the latest as-of moments, about `test_share` of the rows; training ends `gap` before them, so that
                         a label that looks ahead by its horizon does not overlap the test (set `gap` to the horizon)
    test: earliest       holds out the earliest moments instead, for data whose test period lies first
    by: entity           a seeded hash of the entity decides, so an entity is never on both sides, in no later training either
    folds: k             k folds by entity, stratified by label; the candidate itself is trained on all rows
    backtests: n          cuts the latest moments into n tests one after the other; for each the recipe is fitted anew on what came
                         `gap` before it, while the candidate is trained on what came before the first
    `disjoint_entities` also drops from training every entity of the test, for a split by time.
    """

    by: Literal["time", "entity"] = "time"
    test: Literal["latest", "earliest"] = "latest"
    test_share: float = Field(default=0.25, gt=0, lt=1)
    gap: DurationOrZero = timedelta(0)
    disjoint_entities: bool = False
    folds: int | None = Field(default=None, ge=2, le=50)
    backtests: int | None = Field(default=None, ge=2, le=50)
    seed: int = Field(default=0, ge=0)

    @property
    def anew(self) -> bool:
        """True where each test has a fit of its own, since the candidate saw its rows."""
        return self.folds is not None or self.backtests is not None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.backtests is not None and (self.folds is not None or self.by != "time" or self.test != "latest"):
            raise ValueError(
                "backtests: expected by: time over the latest moments and no folds, found others: remove one of them"
            )
        return self


class PromotionRule(Declaration):
    """When a candidate may replace the champion; every bound that is set must hold.

    `better_than_champion_by` is in the metric's own unit, towards better (smaller for losses and errors). Without `metric` it is auc for
    binary and ranking, log_loss for multiclass, rmse for regression, mase for forecast; `ndcg_at_5` looks at five places of a list.
    """

    metric: str = ""
    at_least: float | None = None
    at_most: float | None = None
    better_than_champion_by: float | None = None


class Forecast(Declaration):
    """What a forecast is held against: the value one `season` before, which the seasonal naive forecast repeats.

    `ahead` is how far after its moment the value that a label says has ended. With `step`, an entity column of whole numbers, a row at step
    n ends n times as far ahead, and errors are told step by step.
    """

    season: Duration
    ahead: Duration
    step: str | None = None


class Card(Declaration):
    """What people say of a model, in their own words: what it is for, what it must not be used for, who answers for it."""

    intended_use: str = ""
    limits: str = ""
    owner: str = ""
    contact: str = ""

    def as_recorded(self) -> dict[str, JsonValue]:
        """What was said, as receipts carry it."""
        return {name: text for name, text in self.model_dump().items() if text}


class ModelSpec(Declaration):
    """A model declared over feature views. `features` names views; every column they add to the training set is used.

    `task` is what the label asks: binary (0 or 1), multiclass (names or numbers of classes), regression (a value), ranking (0 or 1 for each
    pair of who and what) or forecast (a value to come, told by `forecast`). A model must beat its task's naive baseline to be promoted.
    `baseline` names a feature whose value alone is scored beside the model too. An AUC above `alarm_above` is taken for a leak
    and refused. `sla` is the time one training may take; `retrain` a cron expression.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    renamed_from: FormerNames = ()
    features: list[str] = Field(min_length=1)
    entity: list[str] = Field(min_length=1)
    task: Task = "binary"
    forecast: Forecast | None = None
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
    card: Card | None = None

    @property
    def card_facts(self) -> dict[str, JsonValue]:
        """What receipts say of the card; nothing where none is declared."""
        return {"card": self.card.as_recorded()} if self.card is not None else {}

    @field_validator("entity", mode="before")
    @classmethod
    def _entity(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("task", mode="before")
    @classmethod
    def _older_spelling(cls, value: Any) -> Any:
        return READ.get(value, value) if isinstance(value, str) else value

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

    @property
    def quantile(self) -> float | None:
        """The quantile that predictions are meant as, where the estimator is asked for one."""
        boosted, light, chosen = self.estimator.xgboost, self.estimator.lightgbm, self.estimator.sklearn
        if boosted is not None:
            return boosted.quantile_alpha
        if light is not None:
            return light.alpha
        return chosen.quantile if chosen is not None else None

    @property
    def asked(self) -> MetricSet:
        """Which metrics are asked of it."""
        return MetricSet(self.task, place_of(self.promote_when.metric), self.quantile)

    @model_validator(mode="after")
    def _metric(self) -> Self:
        rule = self.promote_when
        if not rule.metric:
            # a declaration is frozen for those who use it; what stays away is filled in here alone
            object.__setattr__(self, "promote_when", rule.model_copy(update={"metric": DEFAULT[self.task]}))
            return self
        known = metric_rule(rule.metric)
        if known is None or self.task not in known.tasks:
            of_task = sorted(name for name, one in METRICS.items() if self.task in one.tasks)
            raise ValueError(
                f"promote_when.metric: expected one of {', '.join(of_task)} for {self.task}, found {rule.metric}"
            )
        if rule.metric == "pinball" and self.quantile is None:
            raise ValueError(
                "promote_when.metric: expected an estimator of a quantile for pinball, found none: declare objective: reg:quantileerror of "
                "xgboost, or quantile of lightgbm"
            )
        return self

    @model_validator(mode="after")
    def _forecasts(self) -> Self:
        if (self.task == "forecast") != (self.forecast is not None):
            raise ValueError("forecast: expected {season, ahead} for the task forecast, and for no other task")
        if self.forecast is None:
            return self
        if self.split.by != "time" or self.split.folds is not None or self.split.test != "latest":
            raise ValueError(
                "split: expected by: time over the latest moments for a forecast, found another:"
                " what came later may not train"
            )
        if self.forecast.step is not None and self.forecast.step not in self.entity:
            raise ValueError(
                f"forecast.step: expected one of the entity columns {', '.join(self.entity)}, found {self.forecast.step}"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.estimator.kind == "logistic" and self.task not in ("binary", "ranking"):
            raise ValueError(
                f"estimator: expected another than logistic for the task {self.task}, found logistic: use xgboost or sklearn"
            )
        if self.task == "multiclass":
            self._many_classes()
        if self.estimator.kind == "cooccurrence" and (self.task != "ranking" or len(self.entity) != 2):
            raise ValueError(
                "estimator: expected the task ranking and two entity columns (who, what) for cooccurrence, found others"
            )
        if self.train_on is not None and self.estimator.kind != "xgboost":
            raise ValueError(
                f"train_on: expected the estimator xgboost, which alone trains elsewhere, found {self.estimator.kind}: remove train_on"
            )
        chosen = self.estimator.sklearn
        if chosen is not None and (SKLEARN_CLASSES[chosen.class_name] == "regressor") != (self.task in VALUES):
            raise ValueError(f"estimator: expected a class for {self.task}, found {chosen.class_name}")
        if self.search is not None:
            if self.estimator.kind not in SEARCHED or self.train_on is not None:
                raise ValueError(
                    f"search: expected the estimator {' or '.join(SEARCHED)}, trained in the step itself, found another: remove search "
                    "or train_on"
                )
            self.search.check(self.estimator.kind)
        if self.task == "ranking" and len(self.entity) < 2:
            raise ValueError(f"entity: expected two columns (who, what) for a ranking, found {', '.join(self.entity)}")
        return self

    @model_validator(mode="after")
    def _served_by(self) -> Self:
        images = [
            ("registry", one.options["image"]) for one in map(parse_address, self.registry) if one.scheme == "sagemaker"
        ]
        if self.serve_on is not None and self.serve_on.sagemaker is not None:
            images.append(("serve_on.sagemaker.image", self.serve_on.sagemaker.image))
        for place, image in images:
            wrong = image_problem(self.estimator.kind, image)
            if wrong:
                raise ValueError(f"{place}: {wrong}")
        return self

    @property
    def first_name(self) -> str:
        """The name that it was given first, which is what is stored of it."""
        return first_name(self.name, self.renamed_from)

    def recipe(self) -> dict[str, Any]:
        """The part of the declaration that decides the model's bytes, as JSON."""
        fields = {"name", "features", "entity", "task", "forecast", "estimator", "split", "exclude", "search"}
        recipe = self.model_dump(mode="json", include=fields, exclude_none=True)
        return {**recipe, "task": spelled(self.task), "name": self.first_name}

    def _many_classes(self) -> None:
        """Raises ValueError for what knows one score a row only."""
        if self.baseline is not None:
            raise ValueError(
                "baseline: expected none for multiclass, which one column has no curve for: the class shares are the baseline"
            )
        if self.serve_on is not None and self.serve_on.batch is not None:
            raise ValueError(
                "serve_on: expected no batch transform for multiclass, which gives one score a row, found batch: remove it"
            )


@dataclass(frozen=True)
class ModelAssets:
    """The assets of one model, stage by stage."""

    training_set: str
    candidate: str
    evaluation: str
    champion: str
    deployment: str = ""
    predictions: str = ""
