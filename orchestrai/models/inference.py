"""Batch inference: the champion over the newest features, each prediction traceable to both."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.partition_key import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.models.drift import drift, drift_verdict
from orchestrai.models.estimators.artifact import Scorer, load_dataset
from orchestrai.models.ports import FeatureRows, KnownFeatures
from orchestrai.models.presentation.plots import draw_drift
from orchestrai.models.rows import EVENT_TIME, Floats, Rows
from orchestrai.models.spec import ModelSpec
from orchestrai.stage.last_judgement import FACT

PRODUCER = Producer("predictions", __name__)

if TYPE_CHECKING:
    import pyarrow as pa


def predict(
    ledger: Ledger,
    spec: ModelSpec,
    *,
    champion: str,
    features: Sequence[str],
    known: KnownFeatures,
    asset: str,
    partition: str | None = None,
    judged: Callable[[str], Mapping[str, JsonValue]] | None = None,
    noted: Mapping[str, JsonValue] | None = None,
) -> StageReport:
    """Score one partition of the champion's first view (by default the newest) and publish it under `asset`.

    Columns: the entity, event_time, score, model_version; of a multiclass the score is the probability of `label`, and a column
    `probability_<class>` follows for each class. `known` joins what the champion's other views knew at each row's
    moment, as its training set was joined. `features` are the feature assets declared now. Raises ModelError where the champion
    learned from others, NotReceipted where a view's definition is another one by now. `judged` tells of the partition what its receipt
    notes of staleness, which carries what is `noted`, too.
    """
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        current = ledger.open(champion)
        scorer = load_dataset(current)
        given = _rows(ledger, spec, scorer, features, known, partition)
        meter.read += given.size
        rows = scorer.rows(given.table)
        scores, job = _scores(spec, scorer, rows)
        data = _predictions(spec, given.table, scorer, scores)
        session.add_bytes(given.partition, "part-0.parquet", data, rows=len(rows))
        meter.written += len(data)
        shifts = drift(scorer.info.profile, rows)
        moved = drift_verdict(shifts, f"champion {current.version[7:19]} was trained")
        report = session.commit(
            {given.partition: [moved, _windows(given)]},
            inputs=[InputRef(champion, current.version, current.roots([WHOLE])), *given.inputs],
            cost=meter.cost(),
            facts={
                "partition": given.partition,
                "rows": len(rows),
                "model_version": current.version,
                "task": scorer.info.task,
                "training_set": dict(scorer.info.training_set),
                "views": _definitions(scorer),
                **({"job": job} if job else {}),
                **({FACT: dict(judged(given.partition))} if judged is not None else {}),
                **(noted or {}),
            },
        )
    return replace(report, plots=draw_drift(shifts))


def _windows(given: FeatureRows) -> Verdict:
    lacking = [f"{asset}@{key}" for asset, keys in sorted(given.lacks.items()) for key in keys]
    if not lacking:
        return Verdict("windows_complete", True, severity="warn")
    more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    message = (
        f"expected features whose windows lack no partition in which data was due, found windows without {', '.join(lacking[:5])}{more}: "
        "mend these days and compute the features again"
    )
    return Verdict("windows_complete", False, message, "warn", {"lacking": list(lacking)})


def _definitions(scorer: Scorer) -> JsonValue:
    views = scorer.info.views
    return "unknown: the model does not name them" if views is None else {view.name: view.hash for view in views}


def _rows(
    ledger: Ledger,
    spec: ModelSpec,
    scorer: Scorer,
    features: Sequence[str],
    known: KnownFeatures,
    partition: str | None,
) -> FeatureRows:
    """The rows to score; raises ModelError where the champion cannot be given what it learned from."""
    views = scorer.info.views
    if views is None:
        return _of_unknown_view(ledger, spec, scorer, features, partition)
    gone = [view.asset for view in views if view.asset not in features]
    if gone:
        raise ModelError(
            f"{spec.name}: expected the feature views that the champion learned from, found no {', '.join(gone)} among "
            f"{', '.join(features) or 'none'}: train the model again, or restore the view"
        )
    return known.rows(views, partition)


@dataclass(frozen=True)
class _Rows:
    partition: str
    table: "pa.Table"
    inputs: tuple[InputRef, ...]
    size: int
    lacks: Mapping[str, Sequence[str]] = field(default_factory=dict)


def _of_unknown_view(
    ledger: Ledger, spec: ModelSpec, scorer: Scorer, features: Sequence[str], partition: str | None
) -> _Rows:
    """One view's rows as they are, for a model that does not name its views: there is nothing to join them with."""
    if len(features) != 1:
        raise ModelError(
            f"{spec.name}: expected a champion that names the views it learned from, found one that does not beside "
            f"{len(features)} views ({', '.join(features) or 'none'}), whose moments cannot be told: train the model again"
        )
    source = ledger.open(features[0])
    chosen = partition or max(source.partitions, default="")
    if not chosen:
        raise ModelError(f"{spec.name}: expected partitions in {source.asset}, found none: materialize it")
    with source.fetched([chosen]) as files:
        size = sum(file.entry.size for file in files[chosen])
        table = _timed(_read([file.path for file in files[chosen]], f"{source.asset}@{chosen}"), source.asset)
    missing = [name for name in spec.entity if name not in table.column_names]
    if missing:
        raise ModelError(f"{spec.name}: expected feature columns {', '.join(missing)}, found none: check the view's entity")
    return _Rows(chosen, table, (InputRef(source.asset, source.version, source.roots([chosen])),), size)


def _read(paths: Sequence[Path], where: str) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not paths:
        raise ModelError(f"expected rows in {where}, found no file: materialize the features again")
    return pa.concat_tables([pq.read_table(path) for path in paths])


def _timed(table: "pa.Table", asset: str) -> "pa.Table":
    """The table with its time column as `event_time`, microseconds UTC."""
    import pyarrow as pa

    stamps = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    usual = [name for name in (EVENT_TIME, "as_of") if name in stamps]
    times = usual[:1] or stamps
    if len(times) != 1:
        raise ModelError(
            f"{asset}: expected one timestamp column {EVENT_TIME}, found {', '.join(stamps) or 'none'}: train the model again"
        )
    place = table.column_names.index(times[0])
    return table.set_column(place, EVENT_TIME, table.column(place).cast(pa.timestamp("us", "UTC")))


def _scores(spec: ModelSpec, scorer: Scorer, rows: Rows) -> tuple[Floats, dict[str, Any]]:
    """Scores from this process, or where it is declared from a batch transform job, and what that cost."""
    if spec.serve_on is None or spec.serve_on.batch is None or not len(rows):
        return scorer.model.score(rows), {}
    from orchestrai.models.remote.sagemaker_batch import BatchTransform

    scores, job = BatchTransform(spec.serve_on.batch).score(scorer, rows)
    return scores, job.as_json()


def _predictions(spec: ModelSpec, table: "pa.Table", scorer: Scorer, scores: Floats) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not np.isfinite(scores).all():
        raise ModelError(
            f"{spec.name}: expected finite scores, found {int((~np.isfinite(scores)).sum())} others: train again"
        )
    predictions = table.select([*spec.entity, EVENT_TIME]).replace_schema_metadata(None)
    columns, classes = predictions.column_names, scorer.info.classes
    if classes:
        best = scores.argmax(axis=1)
        predictions = predictions.append_column("label", pa.array([classes[place] for place in best], pa.string()))
        predictions = predictions.append_column("score", pa.array(scores[np.arange(len(best)), best], pa.float64()))
    else:
        predictions = predictions.append_column("score", pa.array(scores, pa.float64()))
    predictions = predictions.append_column("model_version", pa.array([scorer.version] * len(scores), pa.string()))
    for place, name in enumerate(classes):
        predictions = predictions.append_column(f"probability_{name}", pa.array(scores[:, place], pa.float64()))
    if len(set(predictions.column_names)) != len(predictions.column_names):
        raise ModelError(
            f"{spec.name}: expected entity columns of names of their own, found {', '.join(columns)}: rename them in the view"
        )
    predictions = predictions.sort_by([(name, "ascending") for name in (*spec.entity, EVENT_TIME)])
    sink = io.BytesIO()
    pq.write_table(predictions, sink)
    return sink.getvalue()
