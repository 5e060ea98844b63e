"""Training sets: labels joined to the features that were known, never to the future."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.contracts.verdict import JsonValue, Verdict
from orchestrai.errors import FeatureViewError, NotReceipted
from orchestrai.features.duckdb_engine import DuckDbEngine
from orchestrai.features.engine import Engine, Query, Source, Spine
from orchestrai.features.inputs import Inputs, open_inputs, time_bounds
from orchestrai.features.portable import UTC_MICROS
from orchestrai.features.spec import LabelSpec, parse_moment
from orchestrai.features.table import KeyWatch, write_files
from orchestrai.features.view import AS_OF, FeatureView, load_label
from orchestrai.ledger.ledger import Dataset, Ledger
from orchestrai.ledger.manifest import UNPARTITIONED
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport

STAGE = "training_set"
EVENT_TIME = "event_time"
LABEL = "label"


@dataclass(frozen=True)
class _Part:
    """Labels of one moment, or of all events of a row-level view."""

    label: Path
    rows: int


def training_set(
    ledger: Ledger,
    *,
    asset: str,
    features: Sequence[tuple[FeatureView, str]],
    label: LabelSpec,
    label_inputs: Mapping[str, str],
    folder: Path,
    engine: Engine | None = None,
    as_of_limit: datetime | None = None,
    code_version: str = "",
) -> StageReport:
    """Join labels to feature tables on entity and time, and publish one Parquet partition `all`.

    The first feature view gives the rows. Only moments whose horizon is complete by the end of the label inputs' data (and
    by `as_of_limit`) take part. Columns: the entity's, `event_time`, `label`, then the features. Raises FeatureViewError.
    """
    engine = engine or DuckDbEngine()
    primary, primary_asset = features[0]
    _distinct_columns(features)
    with Meter() as meter, ExitStack() as stack:
        session = ledger.session(asset, STAGE)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-training-")))
        tables = [(view, _open_features(ledger, view, name)) for view, name in features]
        files = [stack.enter_context(_fetched(dataset)) for _, dataset in tables]
        view = _load(ledger, label, label_inputs, folder, primary)
        opened = open_inputs(ledger, view, label_inputs)
        labels = stack.enter_context(opened.fetched({name: list(found) for name, found in opened.spans.items()}))
        end = _data_end(view, opened, {n: [p for paths in part.values() for p in paths] for n, part in labels.items()})
        limit = end - label.horizon if as_of_limit is None else min(end - label.horizon, as_of_limit - label.horizon)
        parts = _label_parts(view, primary, tables[0][1], files[0], opened, labels, label, limit, engine, scratch)
        watch = KeyWatch((*primary.entity, EVENT_TIME), primary.entity)
        schema = _schema(features, view)
        batches = _joined(parts, tables, files, primary, schema, scratch, engine)
        written = write_files(watch.watch(batches), schema, scratch / "out")
        for part in written:
            session.add_file(UNPARTITIONED, part.path.name, part.path, rows=part.rows)
        rows = sum(part.rows for part in written)
        positive = _positives([part.path for part in written])
        filled = Verdict(
            "not_empty",
            rows > 0,
            "" if rows else f"expected labelled rows, found none: no moment has its horizon of {label.horizon} complete by {end}",
        )
        facts: dict[str, JsonValue] = {
            "rows": rows, "label_rate": positive, "moments": len(parts), "data_end": end.isoformat(),
            "last_moment": limit.isoformat(), "engine": engine.name,
        }  # fmt: skip
        refs = [InputRef(dataset.asset, dataset.version, dataset.roots()) for _, dataset in tables]
        refs += opened.refs(opened.spans)
        return session.commit(
            {UNPARTITIONED: [*watch.verdicts(view.name), filled]},
            inputs=refs,
            code_version=code_version,
            parameters={
                "label": label.model_dump(mode="json"), "label_sql": view.sql, "label_hash": view.hash,
                "views": {item.name: item.hash for item, _ in features}, "columns": list(schema.names),
                "as_of_limit": as_of_limit.isoformat() if as_of_limit else None,
            },
            cost=meter.cost(),
            facts=facts,
        )  # fmt: skip


def _distinct_columns(features: Sequence[tuple[FeatureView, str]]) -> None:
    seen: dict[str, str] = {EVENT_TIME: "the training set", LABEL: "the training set"}
    entity = set(features[0][0].entity)
    for view, _ in features:
        if not set(view.entity) <= entity:
            raise FeatureViewError(
                f"{view.name}: expected an entity among {', '.join(features[0][0].entity)}, found {', '.join(view.entity)}"
            )
        for name in view.features:
            if name in seen:
                raise FeatureViewError(f"{view.name}: expected a feature name of its own, found {name} of {seen[name]}: rename it")
            seen[name] = view.name


def _open_features(ledger: Ledger, view: FeatureView, asset: str) -> Dataset:
    dataset = ledger.open(asset)
    for key in dataset.partitions:
        found = dataset.receipt(key).parameters.get("view_hash")
        if found != view.hash:
            raise NotReceipted(
                f"expected {asset}@{key} to come from {view.name} as it is now, found another definition: compute it again"
            )
    return dataset


def _fetched(dataset: Dataset):  # type: ignore[no-untyped-def]
    return dataset.fetched(sorted(dataset.partitions))
