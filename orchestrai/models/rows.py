"""Rows a model learns from or scores: read from a table, checked, and encoded as one float matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.partition_key import WHOLE
from orchestrai.errors import ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.models.ports import LearnedView, read_views
from orchestrai.models.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]
EVENT_TIME = "event_time"
LABEL = "label"
BLOCK_ROWS = 2048
MAX_CLASSES = 200


@dataclass(frozen=True)
class Column:
    """A feature as the model knows it; the code of a category is its place in `categories`, unknown ones are missing."""

    name: str
    kind: Literal["number", "bool", "category"]
    categories: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The form kept in model.json."""
        return {"name": self.name, "kind": self.kind, "categories": list(self.categories)}


@dataclass(frozen=True)
class Rows:
    """Encoded rows; missing values are NaN, `event_time` is microseconds since 1970 UTC, `label` is empty when unknown.

    A label of several `classes` is the number of its class.
    """

    columns: tuple[Column, ...]
    matrix: Matrix
    entity: tuple[npt.NDArray[np.object_], ...]
    event_time: Ints
    label: Floats
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, index: npt.NDArray[np.intp]) -> "Rows":
        """The rows at these places."""
        return replace(
            self,
            matrix=self.matrix[index],
            entity=tuple(values[index] for values in self.entity),
            event_time=self.event_time[index],
            label=self.label[index] if len(self.label) else self.label,
        )

    def groups(self) -> npt.NDArray[np.intp]:
        """A number per row, equal for rows of the same first entity at the same moment: one list to rank."""
        _, who = np.unique(self.entity[0].astype(str), return_inverse=True)
        _, when = np.unique(self.event_time, return_inverse=True)
        _, group = np.unique(who.astype(np.int64) * (int(when.max(initial=0)) + 1) + when, return_inverse=True)
        return np.asarray(group, dtype=np.intp)


@dataclass(frozen=True)
class TrainingSet:
    """A training set, read: its rows, its pinned version, the bytes read, and the views it holds where its receipt says.

    `incomplete` is what the receipt says of rows whose windows or horizons lacked something, None where none did; `second_clock` what it
    says of rows that were known too late, empty where no view looks at that. `values` are those of a dimension that it was made of,
    with their rows.
    """

    table: "pa.Table"
    ref: InputRef
    size: int
    views: tuple[LearnedView, ...] | None
    incomplete: Mapping[str, JsonValue] | None = None
    second_clock: str = ""
    values: Mapping[str, JsonValue] | None = None


def read_training_set(ledger: Ledger, spec: ModelSpec, asset: str, version: str | None = None) -> TrainingSet:
    """Open a training set through the ledger; raises ModelError for one without entity, time or label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    dataset = ledger.open(asset, version)
    with dataset.fetched([WHOLE]) as files:
        parquet_files = files[WHOLE]
        tables = [pq.read_table(file.path) for file in parquet_files]
        size = sum(file.entry.size for file in parquet_files)
    table = pa.concat_tables(tables)
    _require(table, [*spec.entity, EVENT_TIME, LABEL], asset)
    receipt = dataset.receipt(WHOLE)
    views, incomplete = read_views(receipt.parameters.get("views")), receipt.facts.get("incomplete")
    ref = InputRef(asset, dataset.version, dataset.roots([WHOLE]))
    kept_out = next((given.message for given in receipt.verdicts.get(WHOLE, ()) if given.check == "second_clock"), "")
    values = receipt.facts.get("values")
    return TrainingSet(
        table,
        ref,
        size,
        views,
        incomplete if isinstance(incomplete, dict) else None,
        kept_out,
        values if isinstance(values, dict) else None,
    )


def _require(table: "pa.Table", names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ModelError(
            f"{where}: expected columns {', '.join(names)}, found none named {', '.join(missing)}: correct the declaration"
        )


def infer_columns(table: "pa.Table", spec: ModelSpec) -> tuple[Column, ...]:
    """The features of a training set, in its order; raises ModelError for a column no model can use."""
    import pyarrow as pa

    taken = {*spec.entity, EVENT_TIME, LABEL, *spec.exclude}
    names = [name for name in table.column_names if name not in taken]
    if not names:
        raise ModelError(f"{spec.name}: expected at least one feature column in the training set, found none")
    columns = []
    for name in names:
        kind = table.schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if any(character in name for character in "[]<"):
            raise ModelError(
                f"{spec.name}: expected a feature name without [, ] or <, found {name!r}: rename it in the view"
            )
        if pa.types.is_boolean(kind):
            columns.append(Column(name, "bool"))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            columns.append(Column(name, "number"))
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            values = table.column(name).unique().to_pylist()
            columns.append(Column(name, "category", tuple(sorted(str(value) for value in values if value is not None))))
        else:
            raise ModelError(
                f"{spec.name}: expected feature {name} to be a number, boolean or string, found {kind}: "
                "turn it into a number in the view or list it under exclude"
            )
    return tuple(columns)


def encode(
    table: "pa.Table",
    columns: Sequence[Column],
    entity: Sequence[str],
    *,
    classes: tuple[str, ...] = (),
    where: str = "rows",
) -> Rows:
    """Encode a table's rows for a model, a label of `classes` as the number of its class.

    Raises ModelError for a missing column, another type, an infinite value or a label of no known class.
    """
    _require(table, [column.name for column in columns], where)
    matrix = _side_by_side([_values(table.column(column.name), column, where) for column in columns], table.num_rows)
    return Rows(
        columns=tuple(columns),
        matrix=matrix,
        entity=tuple(_texts(table.column(name)) for name in entity if name in table.column_names),
        event_time=_micros(table),
        label=_class_numbers(table, classes, where) if classes and LABEL in table.column_names else _labels(table, where),
        classes=classes,
    )


def infer_classes(table: "pa.Table", spec: ModelSpec) -> tuple[str, ...]:
    """The classes of a label in their order (whole numbers by value), none for a task without; raises ModelError for too many."""
    import pyarrow as pa

    if spec.task != "multiclass":
        return ()
    texts = _class_texts(table.column(LABEL), spec.name).unique().to_pylist()
    named = [text for text in texts if text is not None]
    whole = pa.types.is_integer(table.schema.field(LABEL).type)
    if len(named) > MAX_CLASSES:
        raise ModelError(
            f"{spec.name}: expected at most {MAX_CLASSES} classes, found {len(named)}: declare task: regression, or group them in the label"
        )
    return tuple(sorted(named, key=int) if whole else sorted(named))


def _class_texts(data: "pa.ChunkedArray", where: str) -> "pa.ChunkedArray":
    import pyarrow as pa

    kind = data.type.value_type if pa.types.is_dictionary(data.type) else data.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise ModelError(
            f"{where}: expected {LABEL} to be text or a whole number for the task multiclass, found {data.type}: fix the label's SQL"
        )
    return data.cast(pa.string())


def _class_numbers(table: "pa.Table", classes: tuple[str, ...], where: str) -> Floats:
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.index_in(_class_texts(table.column(LABEL), where), value_set=pa.array(classes, pa.string()))
    if codes.null_count:
        raise ModelError(
            f"{where}: expected a {LABEL} of {', '.join(classes[:5])} in every row, found {codes.null_count} without: fix the label's SQL"
        )
    return np.asarray(codes.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _side_by_side(values: Sequence[npt.NDArray[Any]], count: int) -> Matrix:
    """Columns as one matrix, row after row; written block by block, each of which stays in the processor's cache."""
    matrix = np.empty((count, len(values)), dtype=np.float32, order="C")
    for start in range(0, count, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, count)
        for place, column in enumerate(values):
            matrix[start:stop, place] = column[start:stop]
    return matrix


def _values(data: "pa.ChunkedArray", column: Column, where: str) -> npt.NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.kind == "category":
        codes = pc.index_in(data.cast(pa.string()), value_set=pa.array(column.categories, pa.string()))
        return np.asarray(codes.cast(pa.float32()).to_numpy(zero_copy_only=False), dtype=np.float32)
    try:
        if pa.types.is_boolean(data.type):
            data = data.cast(pa.int8())
        elif pa.types.is_decimal(data.type):
            data = data.cast(pa.float64(), safe=False)
        values = np.asarray(data.cast(pa.float32(), safe=False).to_numpy(), dtype=np.float32)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise ModelError(f"{where}: expected {column.name} to be a number, found {data.type} ({exc}): fix the view") from exc
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise ModelError(
            f"{where}: expected finite numbers in feature {column.name}, found {infinite} infinite (or beyond 3.4e38): "
            "guard the division in the view with NULLIF"
        )
    return values


def _texts(data: "pa.ChunkedArray") -> npt.NDArray[np.object_]:
    import pyarrow as pa

    return np.asarray(data.cast(pa.string()).to_numpy(), dtype=object)


def _micros(table: "pa.Table") -> Ints:
    import pyarrow as pa

    if EVENT_TIME not in table.column_names:
        return np.zeros(table.num_rows, dtype=np.int64)
    data = table.column(EVENT_TIME)
    if not pa.types.is_timestamp(data.type):
        raise ModelError(f"expected {EVENT_TIME} to be a timestamp, found {data.type}: cast it in the view")
    if data.null_count:
        raise ModelError(f"expected {EVENT_TIME} in every row, found {data.null_count} without: fix the view")
    zone = data.type.tz
    return np.asarray(data.cast(pa.timestamp("us", zone)).cast(pa.int64()).to_numpy(), dtype=np.int64)


def _labels(table: "pa.Table", where: str) -> Floats:
    import pyarrow as pa

    if LABEL not in table.column_names:
        return np.empty(0, dtype=np.float64)
    data = table.column(LABEL)
    if pa.types.is_boolean(data.type):
        data = data.cast(pa.int8())
    if not (pa.types.is_integer(data.type) or pa.types.is_floating(data.type) or pa.types.is_decimal(data.type)):
        raise ModelError(f"{where}: expected {LABEL} to be a number or boolean, found {data.type}: fix the label's SQL")
    values = np.asarray(data.cast(pa.float64()).to_numpy(), dtype=np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ModelError(f"{where}: expected a finite {LABEL} in every row, found {bad} without: fix the label's SQL")
    return values
