"""What a user declares about a model."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

Task = Literal["classification", "regression", "ranking"]
Metric = Literal["auc", "pr_auc", "log_loss", "accuracy", "rmse", "mae", "recall_at_10", "ndcg_at_10"]
SMALLER_IS_BETTER = frozenset({"log_loss", "rmse", "mae", "brier"})
METRICS_OF: dict[Task, frozenset[str]] = {
    "classification": frozenset({"auc", "pr_auc", "log_loss", "accuracy"}),
    "regression": frozenset({"rmse", "mae"}),
    "ranking": frozenset({"recall_at_10", "ndcg_at_10", "auc", "pr_auc"}),
}
Share = Annotated[float, Field(gt=0, le=1)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class XGBoostParams(_Declared):
    """Gradient-boosted trees; names are XGBoost's own, and those of scikit-learn and SageMaker are accepted too.

    `scale_pos_weight: balanced` weighs the positives by negatives / positives. With `early_stopping_rounds` the last
    tenth of the training rows (by the split's own order) decides how many rounds are kept. One thread by default, so that
    the bytes of the model do not depend on the machine.
    """

    num_boost_round: int = Field(
        default=200, ge=1, le=100_000, validation_alias=AliasChoices("num_boost_round", "num_round", "n_estimators")
    )
    early_stopping_rounds: int | None = Field(default=None, ge=1)
    eta: float = Field(default=0.1, gt=0, le=1, validation_alias=AliasChoices("eta", "learning_rate"))
    max_depth: int = Field(default=4, ge=0, le=64)
    max_leaves: int = Field(default=0, ge=0)
    grow_policy: Literal["depthwise", "lossguide"] = "depthwise"
    min_child_weight: float = Field(default=1.0, ge=0)
    gamma: float = Field(default=0.0, ge=0)
    reg_lambda: float = Field(default=1.0, ge=0, validation_alias=AliasChoices("reg_lambda", "lambda"))
    reg_alpha: float = Field(default=0.0, ge=0, validation_alias=AliasChoices("reg_alpha", "alpha"))
    subsample: Share = 1.0
    colsample_bytree: Share = 1.0
    colsample_bylevel: Share = 1.0
    colsample_bynode: Share = 1.0
    max_delta_step: float = Field(default=0.0, ge=0)
    max_bin: int = Field(default=256, ge=2, le=65_536)
    max_cat_to_onehot: int = Field(default=4, ge=1)
    max_cat_threshold: int = Field(default=64, ge=1)
    num_parallel_tree: int = Field(default=1, ge=1)
    scale_pos_weight: float | Literal["balanced"] = 1.0
    monotone_constraints: dict[str, Literal[-1, 0, 1]] = Field(default_factory=dict)
    objective: (
        Literal["binary:logistic", "reg:squarederror", "reg:absoluteerror", "count:poisson", "rank:ndcg", "rank:pairwise"]
        | None
    ) = None
    device: Literal["cpu", "cuda"] = "cpu"
    nthread: int = Field(default=1, ge=1, le=256)
    seed: int = Field(default=0, ge=0)


class LogisticParams(_Declared):
    """L2-regularised logistic regression on standardised numbers and one-hot categories; `c` is the inverse penalty."""

    c: float = Field(default=1.0, gt=0)
    max_iter: int = Field(default=1000, ge=1)
    class_weight: Literal["balanced"] | None = None


class CooccurrenceParams(_Declared):
    """Item-to-item counts: who had A in `history` went on to B; the plain baseline of a recommendation.

    `history` is the feature column whose positive value says that the entity already holds the item.
    """

    history: str
    neighbours: int = Field(default=50, ge=1)
    shrink: float = Field(default=10.0, ge=0)


class Estimator(_Declared):
    """Exactly one kind of model with its parameters."""

    xgboost: XGBoostParams | None = None
    logistic: LogisticParams | None = None
    cooccurrence: CooccurrenceParams | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        named = sorted(self.model_fields_set & {name for name in type(self).model_fields if getattr(self, name) is not None})
        if len(named) != 1:
            raise ValueError(
                f"expected exactly one of {', '.join(type(self).model_fields)}, found {', '.join(named) or 'none'}"
            )
        return self

    @property
    def kind(self) -> str:
        """The name of the declared kind."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)


class Split(_Declared):
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
    gap: timedelta = timedelta(0)
    disjoint_entities: bool = False
    folds: int | None = Field(default=None, ge=2, le=50)
    seed: int = Field(default=0, ge=0)

    @field_validator("gap", mode="before")
    @classmethod
    def _gap(cls, value: Any) -> Any:
        return parse_duration(value)


class Search(_Declared):
    """Values of XGBoost parameters to choose from: all combinations, or `trials` of them drawn by `seed`.

    Each is judged by promote_when's metric on a tenth of the training rows; the best trains the candidate.
    """

    space: dict[str, list[float | int | str]] = Field(min_length=1)
    trials: int = Field(default=20, ge=1, le=1000)
    seed: int = Field(default=0, ge=0)

    @field_validator("space")
    @classmethod
    def _known(cls, space: dict[str, list[float | int | str]]) -> dict[str, list[float | int | str]]:
        for name, values in space.items():
            if name not in XGBoostParams.model_fields or name in ("monotone_constraints", "objective", "device"):
                raise ValueError(f"expected a tuning parameter of xgboost, found {name}")
            if not values:
                raise ValueError(f"{name}: expected values to choose from, found none")
            for value in values:
                XGBoostParams.model_validate({name: value})
        return space


class PromotionRule(_Declared):
    """When a candidate may replace the champion; every bound that is set must hold.

    `better_than_champion_by` is in the metric's own unit, towards better (smaller for log_loss, rmse, mae).
    """

    metric: Metric = "auc"
    at_least: float | None = None
    at_most: float | None = None
    better_than_champion_by: float | None = None


class SageMakerTraining(_Declared):
    """A SageMaker training job in Amazon's built-in XGBoost container (`image`: its ECR address, 3.0 or newer).

    `time_limit` ends the job; with `spot` it may also wait `spot_wait` for a machine. `price_per_hour` (USD) turns billable
    seconds into the cost in the receipt. Categories go as their codes.
    """

    role: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    image: str = Field(pattern=r"^[^\s]+sagemaker-xgboost:[^\s]+$")
    output: str = Field(pattern=r"^s3://[^/\s]+(/[^\s]*)?$")
    region: str | None = None
    instance_type: str = Field(default="ml.m5.xlarge", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")
    volume_gb: int = Field(default=30, ge=1, le=16384)
    time_limit: timedelta = timedelta(hours=2)
    spot: bool = False
    spot_wait: timedelta = timedelta(hours=1)
    kms_key: str | None = None
    price_per_hour: float | None = Field(default=None, gt=0)
    poll: timedelta = timedelta(seconds=15)

    @field_validator("time_limit", "spot_wait", "poll", mode="before")
    @classmethod
    def _durations(cls, value: Any) -> Any:
        return parse_duration(value)


class SageMakerServing(_Declared):
    """The SageMaker Model Registry group and, optionally, the endpoint that follow the champion."""

    role: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    image: str = Field(pattern=r"^[^\s]+sagemaker-xgboost:[^\s]+$")
    output: str = Field(pattern=r"^s3://[^/\s]+(/[^\s]*)?$")
    group: str = Field(pattern=r"^[A-Za-z0-9](-*[A-Za-z0-9]){0,62}$")
    endpoint: str | None = Field(default=None, pattern=r"^[A-Za-z0-9](-*[A-Za-z0-9]){0,40}$")
    region: str | None = None
    instance_type: str = Field(default="ml.m5.large", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")
    instance_count: int = Field(default=1, ge=1)


class ServeOn(_Declared):
    """Where the champion is registered and served besides the lake."""

    sagemaker: SageMakerServing


class TrainOn(_Declared):
    """Where to train when not in the step's own process."""

    sagemaker: SageMakerTraining


class ModelSpec(_Declared):
    """A model declared over feature views. `features` names views; every column they add to the training set is used.

    `baseline` names a feature whose value alone is scored beside the model. An AUC above `alarm_above` is taken for a leak
    and refused. `sla` is the time one training may take; `retrain` a cron expression.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    features: list[str] = Field(min_length=1)
    entity: list[str] = Field(min_length=1)
    task: Task = "classification"
    estimator: Estimator = Estimator(xgboost=XGBoostParams())
    split: Split = Split()
    promote_when: PromotionRule = PromotionRule()
    baseline: str | None = None
    exclude: list[str] = Field(default_factory=list, description="columns of the training set that are no features")
    slices: list[str] = Field(default_factory=list, description="categorical features reported value by value")
    retrain: str | None = None
    sla: timedelta | None = None
    search: Search | None = None
    train_on: TrainOn | None = None
    serve_on: ServeOn | None = None
    alarm_above: float = Field(default=0.999, gt=0.5, le=1)

    @field_validator("sla", mode="before")
    @classmethod
    def _sla(cls, value: Any) -> Any:
        return None if value is None else parse_duration(value)

    @field_validator("entity", mode="before")
    @classmethod
    def _entity(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        allowed = METRICS_OF[self.task]
        if self.promote_when.metric not in allowed:
            raise ValueError(
                f"promote_when.metric: expected one of {', '.join(sorted(allowed))} for {self.task}, found {self.promote_when.metric}"
            )
        if self.estimator.kind == "logistic" and self.task == "regression":
            raise ValueError("estimator: logistic is for classification and ranking, found task regression: use xgboost")
        if self.estimator.kind == "cooccurrence" and (self.task != "ranking" or len(self.entity) != 2):
            raise ValueError("estimator: cooccurrence needs task ranking and two entity columns (who, what)")
        if self.train_on is not None and self.estimator.kind != "xgboost":
            raise ValueError(f"train_on: sagemaker trains xgboost, found {self.estimator.kind}: remove train_on")
        if self.search is not None and (self.estimator.kind != "xgboost" or self.train_on is not None):
            raise ValueError("search: expected estimator xgboost, trained in the step itself: remove search or train_on")
        if self.task == "ranking" and len(self.entity) < 2:
            raise ValueError(f"entity: ranking needs two columns (who, what), found {', '.join(self.entity)}")
        return self

    def recipe(self) -> dict[str, Any]:
        """The part of the declaration that decides the model's bytes, as JSON."""
        fields = {"name", "features", "entity", "task", "estimator", "split", "exclude", "search"}
        return self.model_dump(mode="json", include=fields, exclude_none=True)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: Any) -> Any:
    """Read "90s", "15m", "4h" or "60d"; other values pass through to pydantic."""
    if isinstance(value, str) and value[:-1].isdigit() and value[-1:] in _UNITS:
        return timedelta(seconds=int(value[:-1]) * _UNITS[value[-1]])
    return value
