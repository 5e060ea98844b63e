"""The contest: candidate, champion, the declared baseline and the naive one, scored on the same held-out rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrai.models.baselines.column_alone import column_alone
from orchestrai.models.baselines.naive import naive, season_scale
from orchestrai.models.estimators.artifact import Estimation, Scorer
from orchestrai.models.metrics.scored import Index, Scored
from orchestrai.models.rows import Floats, Rows, encode
from orchestrai.models.spec import Estimator, ModelSpec, Split
from orchestrai.models.splitting import HeldOut, who
from orchestrai.models.task import Task
from orchestrai.models.training import fit

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Contest:
    """Who was scored on which rows: parts by name ("candidate", "champion", "baseline", "naive"), and the rows held out.

    `without_season` counts rows whose naive forecast had to be a mean.
    """

    task: Task
    parts: Mapping[str, Sequence[Scored]]
    tested: Rows
    without_season: int = 0

    def pooled(self, name: str = "candidate") -> Scored:
        """The parts of a contestant as one, in the order of the rows that were held out."""
        parts = self.parts[name]
        return Scored(
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.score for part in parts]),
            self.tested.groups() if self.task == "ranking" else np.zeros(len(self.tested), dtype=np.intp),
            scale=np.concatenate([part.scale for part in parts if part.scale is not None])
            if parts[0].scale is not None
            else None,
        )


def hold_contest(
    spec: ModelSpec,
    rows: Rows,
    table: "pa.Table",
    splits: Sequence[HeldOut],
    challenger: Scorer,
    incumbent: Scorer | None,
) -> Contest:
    """Score everybody on each test; raises ModelError for scores that are no finite numbers."""
    parts: dict[str, list[Scored]] = {"candidate": []}
    rival = None
    if incumbent is not None:
        rival = encode(table, incumbent.info.columns, spec.entity, classes=rows.classes, where="champion")
    without_season = 0
    for split in splits:
        test, common = rows.take(split.test), _common(spec, rows, split)
        # where each test has a fit of its own the recipe is fitted anew without it; so is the champion's
        scores = fit(spec, rows, split.train)[0].score(test) if spec.split.anew else challenger.model.score(test)
        parts["candidate"].append(common.scored(scores))
        if incumbent is not None and rival is not None:
            scorer = _refit(spec, incumbent, rival, split) if spec.split.anew else incumbent.model
            scores = _same_classes(scorer.score(rival.take(split.test)), incumbent, challenger, anew=spec.split.anew)
            parts.setdefault("champion", []).append(common.scored(scores))
        if spec.baseline is not None:
            parts.setdefault("baseline", []).append(common.scored(column_alone(spec, rows, split)))
        plain = naive(spec, rows, split)
        parts.setdefault("naive", []).append(common.scored(plain.score))
        without_season += plain.without_season
    tested = rows.take(np.concatenate([split.test for split in splits]))
    return Contest(spec.task, parts, tested, without_season)


@dataclass(frozen=True)
class _Common:
    """What all contestants of a test share."""

    label: Floats
    groups: Index
    cluster: Index | None
    scale: Floats | None

    def scored(self, scores: Floats) -> Scored:
        return Scored(self.label, scores, self.groups, self.cluster, self.scale)


def _common(spec: ModelSpec, rows: Rows, split: HeldOut) -> _Common:
    test = rows.take(split.test)
    groups = test.groups() if spec.task == "ranking" else np.zeros(len(test), dtype=np.intp)
    scale = season_scale(spec, rows, split.train)
    return _Common(test.label, groups, _cluster(spec, test), None if scale is None else scale[split.test])


def _cluster(spec: ModelSpec, test: Rows) -> Index | None:
    """What hangs together: the series of one moment in a forecast, else the rows of one entity; None where each row is one of its own."""
    together = test.event_time if spec.task == "forecast" else who(test, spec).astype(str)
    distinct, cluster = np.unique(together, return_inverse=True)
    # with one cluster alone nothing could be drawn but that one
    return np.asarray(cluster, dtype=np.intp) if 1 < len(distinct) < len(test) else None


def _same_classes(scores: Floats, incumbent: Scorer, challenger: Scorer, *, anew: bool) -> Floats:
    """A champion's probabilities in the order of the candidate's classes; one that it does not know has none."""
    learned, wanted = incumbent.info.classes, challenger.info.classes
    if anew or learned == wanted:
        return scores
    places = {name: number for number, name in enumerate(learned)}
    columns = [scores[:, places[name]] if name in places else np.zeros(len(scores)) for name in wanted]
    return np.column_stack(columns)


def _refit(spec: ModelSpec, incumbent: Scorer, rows: Rows, split: HeldOut) -> Estimation:
    champion_recipe = incumbent.info.recipe
    recipe = {
        "estimator": Estimator.model_validate_json(json.dumps(champion_recipe["estimator"])),
        "split": Split.model_validate_json(json.dumps(champion_recipe["split"])),
    }
    return fit(spec.model_copy(update=recipe), rows, split.train)[0]
