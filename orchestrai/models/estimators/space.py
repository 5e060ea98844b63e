"""What a user declares about a search over parameters."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from orchestrai.core.time.duration_cron import Duration
from orchestrai.core.yaml.declaration import Declaration
from orchestrai.models.estimators.spec import LightGBMParams, XGBoostParams

Boosting = XGBoostParams | LightGBMParams
SEARCHED: dict[str, type[Boosting]] = {"xgboost": XGBoostParams, "lightgbm": LightGBMParams}
# what is asked, and how it is computed: nothing to choose by a metric
FIXED = ("monotone_constraints", "objective", "quantile_alpha", "alpha", "device", "nthread", "num_threads", "seed")
Value = float | int | str


class Range(Declaration):
    """Numbers from `low` to `high`, both included; whole numbers when both are. `log` looks at orders of magnitude."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"expected low below high, found {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log: expected a low above 0 and no step")
        return self


class Search(Declaration):
    """Values of the parameters of XGBoost or LightGBM to choose from: lists, or ranges such as {low: 0.01, high: 0.3, log: true}.

    All combinations of lists are tried where `trials` covers them, else Optuna draws `trials` by `seed`. Each is judged by
    promote_when's metric on a tenth of the training rows; the best trains the candidate. `timeout` ends the search after the
    trial that passes it: what was chosen then depends on the machine, and the check `search_complete` says so.
    """

    space: dict[str, list[Value] | Range] = Field(min_length=1)
    trials: int = Field(default=20, ge=1, le=1000)
    timeout: Duration | None = None
    seed: int = Field(default=0, ge=0)

    @field_validator("space")
    @classmethod
    def _known(cls, space: dict[str, list[Value] | Range]) -> dict[str, list[Value] | Range]:
        for name, values in space.items():
            if not isinstance(values, Range) and not values:
                raise ValueError(f"{name}: expected values to choose from, found none")
            kinds = [kind for kind in SEARCHED if _tunes(kind, name)]
            if not kinds:
                raise ValueError(f"expected a tuning parameter of {' or '.join(SEARCHED)}, found {name}")
            # one that both have is held against the estimator's own bounds when that is known
            if len(kinds) == 1:
                _check(kinds[0], name, values)
        return space

    def check(self, kind: str) -> None:
        """Raises ValueError for what the estimator of this kind does not have, or does not take."""
        for name, values in self.space.items():
            if not _tunes(kind, name):
                raise ValueError(f"search.space: expected a tuning parameter of {kind}, found {name}")
            _check(kind, name, values)


def _tunes(kind: str, name: str) -> bool:
    return name in SEARCHED[kind].model_fields and name not in FIXED


def _check(kind: str, name: str, values: list[Value] | Range) -> None:
    for value in [values.low, values.high] if isinstance(values, Range) else values:
        SEARCHED[kind].model_validate({name: value})
