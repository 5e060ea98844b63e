"""The declared baseline: one column's value alone, as a logistic curve or, where a value is predicted, a line."""

from dataclasses import replace

import numpy as np

from orchestrai.errors import ModelError
from orchestrai.models.estimators import logistic
from orchestrai.models.rows import Floats, Rows
from orchestrai.models.spec import LogisticParams, ModelSpec
from orchestrai.models.splitting import HeldOut
from orchestrai.models.task import VALUES


def column_alone(spec: ModelSpec, rows: Rows, split: HeldOut) -> Floats:
    """Scores of the test's rows from the one column; raises ModelError where it is no feature."""
    names = [column.name for column in rows.columns]
    if spec.baseline not in names:
        raise ModelError(
            f"{spec.name}: expected baseline to name a feature, found {spec.baseline!r}: choose of {', '.join(names)}"
        )
    place = names.index(spec.baseline)
    narrow = replace(rows, columns=(rows.columns[place],), matrix=rows.matrix[:, place : place + 1])
    train, test = narrow.take(split.train), narrow.take(split.test)
    if spec.task not in VALUES:
        return logistic.fit(LogisticParams(), train).score(test)
    values = train.matrix[:, 0].astype(np.float64)
    known = ~np.isnan(values)
    slope = (
        float(np.cov(values[known], train.label[known])[0, 1] / (values[known].var(ddof=1) or 1.0))
        if known.sum() > 1
        else 0.0
    )
    centre = float(values[known].mean()) if known.any() else 0.0
    asked = test.matrix[:, 0].astype(np.float64)
    return np.asarray(train.label.mean() + slope * (np.where(np.isnan(asked), centre, asked) - centre), dtype=np.float64)
