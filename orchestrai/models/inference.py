"""Batch inference: the champion over the newest features, each prediction traceable to both."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrai.core.code_identity import Producer
from orchestrai.errors import ModelError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.models.drift import drift, drift_verdict
from orchestrai.models.estimators.artifact import Scorer, load_dataset
from orchestrai.models.plots import draw_drift
from orchestrai.models.rows import EVENT_TIME, WHOLE, Floats, Rows
from orchestrai.models.spec import ModelSpec

PRODUCER = Producer("predictions", __name__)

if TYPE_CHECKING:
    import pyarrow as pa


def predict(
    ledger: Ledger,
    spec: ModelSpec,
    *,
    champion: str,
    features: Sequence[str],
    asset: str,
    partition: str | None = None,
    event_time: Mapping[str, str] | None = None,
) -> StageReport:
    """Score one partition (by default the newest all feature assets have) with the champion and publish it under `asset`.

    Columns: the entity, event_time, score, model_version. Several feature assets are joined by entity, each row taking the
    newest values not later than its own event_time. `event_time` names the time column of a feature asset where it is not
    the only timestamp. Raises ModelError when a feature the model needs is missing.
    """
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        current = ledger.open(champion)
        scorer = load_dataset(current)
        sources = [ledger.open(name) for name in features]
        chosen = partition or newest_common(spec, sources)
        named = event_time or {}
        tables = [_timed(_read(source, chosen, meter), source.asset, named.get(source.asset)) for source in sources]
        table = join_features(spec, tables)
        rows = scorer.rows(table)
        scores, job = _scores(spec, scorer, rows)
        data = _predictions(spec, table, scorer, scores)
        session.add_bytes(chosen, "part-0.parquet", data, rows=len(rows))
        meter.written += len(data)
        found = drift(scorer.info.profile, rows)
        moved = drift_verdict(found, f"champion {current.version[7:19]} was trained")
        report = session.commit(
            {chosen: [moved]},
            inputs=[
                InputRef(champion, current.version, current.roots([WHOLE])),
                *(InputRef(source.asset, source.version, source.roots([chosen])) for source in sources),
            ],
            cost=meter.cost(),
            facts={
                "partition": chosen,
                "rows": len(rows),
                "model_version": current.version,
                "training_set": dict(scorer.info.training_set),
                **({"job": job} if job else {}),
            },
        )
    return replace(report, plots=draw_drift(found))


def newest_common(spec: ModelSpec, sources: Sequence[Dataset]) -> str:
    """The newest partition key that every feature asset has; keys sort as time does."""
    common = set.intersection(*(set(source.partitions) for source in sources)) if sources else set()
    if not common:
        names = ", ".join(source.asset for source in sources) or "none"
        raise ModelError(
            f"{spec.name}: expected a partition that all features share, found none in {names}: materialize them"
        )
    return max(common)


def _read(source: Dataset, partition: str, meter: Meter) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    with source.fetched([partition]) as files:
        meter.read += sum(file.entry.size for file in files[partition])
        tables = [pq.read_table(file.path) for file in files[partition]]
    if not tables:
        raise ModelError(f"expected rows in {source.asset}@{partition}, found no file: materialize the features again")
    return pa.concat_tables(tables)


def _timed(table: "pa.Table", asset: str, column: str | None) -> "pa.Table":
    """The table with its time column as `event_time`, microseconds UTC."""
    import pyarrow as pa

    stamps = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    usual = [name for name in (EVENT_TIME, "as_of") if name in stamps]
    found = [column] if column else usual[:1] or stamps
    if len(found) != 1 or found[0] not in stamps:
        raise ModelError(
            f"{asset}: expected one timestamp column {column or EVENT_TIME}, found {', '.join(stamps) or 'none'}: name the view's time"
        )
    place = table.column_names.index(found[0])
    return table.set_column(place, EVENT_TIME, table.column(place).cast(pa.timestamp("us", "UTC")))


def join_features(spec: ModelSpec, tables: Sequence["pa.Table"]) -> "pa.Table":
    """One row per row of the first table, with the columns of the others as known at its event_time."""
    for table in tables:
        missing = [name for name in (*spec.entity, EVENT_TIME) if name not in table.column_names]
        if missing:
            raise ModelError(
                f"{spec.name}: expected feature columns {', '.join(missing)}, found none: check the view's entity"
            )
    if len(tables) == 1:
        return tables[0]
    import pandas as pd
    import pyarrow as pa

    joined: Any = tables[0].to_pandas().sort_values(EVENT_TIME, kind="stable")
    for table in tables[1:]:
        other = table.to_pandas().sort_values(EVENT_TIME, kind="stable")
        fresh = [name for name in other.columns if name in (*spec.entity, EVENT_TIME) or name not in joined.columns]
        joined = pd.merge_asof(joined, other[fresh], on=EVENT_TIME, by=list(spec.entity), direction="backward")
    return pa.Table.from_pandas(joined, preserve_index=False)


def _scores(spec: ModelSpec, scorer: Scorer, rows: Rows) -> tuple[Floats, dict[str, Any]]:
    """Scores from this process, or where it is declared from a batch transform job, and what that cost."""
    if spec.serve_on is None or not spec.serve_on.sagemaker.batch or not len(rows):
        return scorer.model.score(rows), {}
    from orchestrai.models.remote.sagemaker_batch import BatchTransform

    scores, job = BatchTransform(spec.serve_on.sagemaker).score(scorer, rows)
    return scores, job.as_json()


def _predictions(spec: ModelSpec, table: "pa.Table", scorer: Scorer, scores: Floats) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not np.isfinite(scores).all():
        raise ModelError(
            f"{spec.name}: expected finite scores, found {int((~np.isfinite(scores)).sum())} others: train again"
        )
    kept = table.select([*spec.entity, EVENT_TIME]).replace_schema_metadata(None)
    kept = kept.append_column("score", pa.array(scores, pa.float64()))
    kept = kept.append_column("model_version", pa.array([scorer.version] * len(scores), pa.string()))
    kept = kept.sort_by([(name, "ascending") for name in (*spec.entity, EVENT_TIME)])
    sink = io.BytesIO()
    pq.write_table(kept, sink)
    return sink.getvalue()
