"""What a user declares about the kind of model and its parameters."""

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from orchestrai.core import plugins
from orchestrai.core.yaml.declaration import Declaration

Share = Annotated[float, Field(gt=0, le=1)]


class XGBoostParams(Declaration):
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
        Literal[
            "binary:logistic",
            "multi:softprob",
            "reg:squarederror",
            "reg:absoluteerror",
            "reg:quantileerror",
            "count:poisson",
            "rank:ndcg",
            "rank:pairwise",
        ]
        | None
    ) = None
    quantile_alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    nthread: int = Field(default=1, ge=1, le=256)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _quantile(self) -> Self:
        if (self.objective == "reg:quantileerror") != (self.quantile_alpha is not None):
            raise ValueError("quantile_alpha: expected it beside objective: reg:quantileerror, and only there")
        return self


class LightGBMParams(Declaration):
    """Gradient-boosted trees by LightGBM, which grows them leaf by leaf; names are LightGBM's own, and those of scikit-learn too.

    `scale_pos_weight: balanced` weighs the positives by negatives / positives. With `early_stopping_rounds` the last tenth of the training
    rows (by the split's own order) decides how many rounds are kept. One thread, by which the bytes do not depend on the machine.
    """

    num_boost_round: int = Field(
        default=200, ge=1, le=100_000, validation_alias=AliasChoices("num_boost_round", "num_iterations", "n_estimators")
    )
    early_stopping_rounds: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=0.1, gt=0, le=1, validation_alias=AliasChoices("learning_rate", "eta"))
    num_leaves: int = Field(default=31, ge=2, le=131_072)
    max_depth: int = Field(default=-1, ge=-1, le=64)
    min_data_in_leaf: int = Field(default=20, ge=0, validation_alias=AliasChoices("min_data_in_leaf", "min_child_samples"))
    min_sum_hessian_in_leaf: float = Field(default=0.001, ge=0)
    min_gain_to_split: float = Field(default=0.0, ge=0)
    lambda_l1: float = Field(default=0.0, ge=0, validation_alias=AliasChoices("lambda_l1", "reg_alpha"))
    lambda_l2: float = Field(default=0.0, ge=0, validation_alias=AliasChoices("lambda_l2", "reg_lambda"))
    bagging_fraction: Share = Field(default=1.0, validation_alias=AliasChoices("bagging_fraction", "subsample"))
    feature_fraction: Share = Field(default=1.0, validation_alias=AliasChoices("feature_fraction", "colsample_bytree"))
    max_bin: int = Field(default=255, ge=2, le=65_535)
    cat_smooth: float = Field(default=10.0, ge=0)
    cat_l2: float = Field(default=10.0, ge=0)
    max_cat_to_onehot: int = Field(default=4, ge=1)
    scale_pos_weight: float | Literal["balanced"] = 1.0
    monotone_constraints: dict[str, Literal[-1, 0, 1]] = Field(default_factory=dict)
    objective: Literal["binary", "multiclass", "regression", "regression_l1", "quantile", "poisson"] | None = None
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    num_threads: int = Field(default=1, ge=1, le=256)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _quantile(self) -> Self:
        if (self.objective == "quantile") != (self.alpha is not None):
            raise ValueError("alpha: expected it beside objective: quantile, and only there")
        return self


class LogisticParams(Declaration):
    """L2-regularised logistic regression on standardised numbers and one-hot categories; `c` is the inverse penalty."""

    c: float = Field(default=1.0, gt=0)
    max_iter: int = Field(default=1000, ge=1)
    class_weight: Literal["balanced"] | None = None


class CooccurrenceParams(Declaration):
    """Item-to-item counts: who had A in `history` went on to B; the plain baseline of a recommendation.

    `history` is the feature column whose positive value says that the entity already holds the item.
    """

    history: str
    neighbours: int = Field(default=50, ge=1)
    shrink: float = Field(default=10.0, ge=0)


SKLEARN_CLASSES: dict[str, Literal["classifier", "regressor"]] = {
    "sklearn.ensemble.ExtraTreesClassifier": "classifier",
    "sklearn.ensemble.ExtraTreesRegressor": "regressor",
    "sklearn.ensemble.GradientBoostingClassifier": "classifier",
    "sklearn.ensemble.GradientBoostingRegressor": "regressor",
    "sklearn.ensemble.HistGradientBoostingClassifier": "classifier",
    "sklearn.ensemble.HistGradientBoostingRegressor": "regressor",
    "sklearn.ensemble.RandomForestClassifier": "classifier",
    "sklearn.ensemble.RandomForestRegressor": "regressor",
    "sklearn.linear_model.ElasticNet": "regressor",
    "sklearn.linear_model.LogisticRegression": "classifier",
    "sklearn.linear_model.Ridge": "regressor",
    "sklearn.naive_bayes.GaussianNB": "classifier",
    "sklearn.tree.DecisionTreeClassifier": "classifier",
    "sklearn.tree.DecisionTreeRegressor": "regressor",
}
SklearnValue = str | int | float | bool | None


class SklearnParams(Declaration):
    """A class of scikit-learn with its own parameters, kept by skops; only classes whose files hold known types are taken.

    Missing numbers become the mean and a flag, numbers are standardised, categories become a column each. Classes that keep
    training rows in the model (neighbours, support vectors) are left out: a model must not hold anybody's data.
    """

    class_name: str = Field(alias="class")
    params: dict[str, SklearnValue] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0)

    @field_validator("class_name")
    @classmethod
    def _allowed(cls, name: str) -> str:
        if name not in SKLEARN_CLASSES:
            raise ValueError(f"expected one of {', '.join(sorted(SKLEARN_CLASSES))}, found {name}")
        return name

    @property
    def quantile(self) -> float | None:
        """The quantile that is asked for, under the name that its class has for it."""
        if self.params.get("loss") != "quantile":
            return None
        named = self.params.get("quantile", self.params.get("alpha", 0.9))
        return float(named) if isinstance(named, int | float) else None

    @field_validator("params")
    @classmethod
    def _ours(cls, params: dict[str, SklearnValue]) -> dict[str, SklearnValue]:
        taken = sorted({"random_state", "n_jobs", "warm_start", "verbose"} & set(params))
        if taken:
            raise ValueError(f"expected parameters of the model, found {', '.join(taken)}: one thread is used, and `seed`")
        return params


class AddedParams(Declaration):
    """An estimator that an installed package adds, by its name, with parameters of its own."""

    name: str = Field(pattern=r"^[a-z][a-z0-9._-]*$")
    params: dict[str, SklearnValue] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0)

    @property
    def plugin(self) -> plugins.Plugin:
        """The package's entry point; raises ConfigError where it is not installed."""
        return plugins.required("estimators", self.name)


class Estimator(Declaration):
    """Exactly one kind of model with its parameters."""

    xgboost: XGBoostParams | None = None
    lightgbm: LightGBMParams | None = None
    logistic: LogisticParams | None = None
    cooccurrence: CooccurrenceParams | None = None
    sklearn: SklearnParams | None = None
    plugin: AddedParams | None = None

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
