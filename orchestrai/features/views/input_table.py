"""A view's inputs as its SQL sees them: columns in portable types, and the clocks of each table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from orchestrai.contracts.contract import Contract
from orchestrai.core.former_names import first_name
from orchestrai.core.sql.quoting import name_fault
from orchestrai.errors import FeatureViewError
from orchestrai.features.spec import ARRIVAL, TableClocks
from orchestrai.features.views.portable_types import UTC_MICROS, readable

SPINE = "spine"
AS_OF = "as_of"


@dataclass(frozen=True)
class Table:
    """One input of a view, as its SQL sees it; `by_arrival` says that a row is known from when it came.

    `former_names` are those that its dataset had before, oldest first.
    """

    name: str
    schema: pa.Schema
    event_time: str | None
    known_at: str | None
    whole: bool
    by_arrival: bool = False
    former_names: tuple[str, ...] = ()

    @property
    def first_name(self) -> str:
        """The name that its dataset was given first."""
        return first_name(self.name, self.former_names)


def _metadata(schema: pa.Schema, name: str) -> str | None:
    value = (schema.metadata or {}).get(name.encode())
    return value.decode() if value else None


def declared_table(contract: Contract, former_names: Sequence[str] = ()) -> pa.Schema:
    """A dataset's columns as its contract declares them, with what the lint of a view goes by: bounds, key, event time, former names.

    A column that is not required may be absent from partitions that are older than it.
    """
    schema = contract.arrow_schema()
    for place, column in enumerate(contract.columns):
        field = schema.field(place).with_nullable(not column.required)
        if isinstance(column.minimum, int | float) and isinstance(column.maximum, int | float):
            field = field.with_metadata({"minimum": str(column.minimum), "maximum": str(column.maximum)})
        schema = schema.set(place, field)
    metadata = {}
    # names with a comma in them cannot be told apart in the list
    if contract.primary_key and not any("," in name for name in contract.primary_key):
        metadata["primary_key"] = ",".join(contract.primary_key)
    if contract.event_time is not None and schema.field(contract.event_time).type == UTC_MICROS:
        metadata["event_time"] = contract.event_time
    if former_names:
        metadata["former_names"] = ",".join(former_names)
    return schema.with_metadata(metadata)


def primary_keys(schemas: Mapping[str, pa.Schema]) -> dict[str, tuple[str, ...]]:
    """The keys that schemas name, by table."""
    keys = {name: _metadata(schema, "primary_key") for name, schema in schemas.items()}
    return {name: tuple(part.strip() for part in key.split(",")) for name, key in keys.items() if key}


def value_bounds(schemas: Mapping[str, pa.Schema]) -> dict[str, dict[str, float]]:
    """The largest absolute value of columns whose field names a `minimum` and a `maximum`."""
    bounds: dict[str, dict[str, float]] = {name: {} for name in schemas}
    for name, schema in schemas.items():
        for field in schema:
            given = field.metadata or {}
            if b"minimum" in given and b"maximum" in given:
                bounds[name][field.name] = max(abs(float(given[b"minimum"])), abs(float(given[b"maximum"])))
    return bounds


def bind_table(name: str, schema: pa.Schema, clocks: TableClocks | None, time: str, view: str) -> Table:
    """A table with its clocks: declared, else the view's time, else what the contract says; raises FeatureViewError."""
    clocks = clocks or TableClocks()
    columns = readable(schema)
    _require_names(name, columns.names, view)
    moments = [field.name for field in columns if pa.types.is_timestamp(field.type)]
    chosen = clocks.event_time or (time if time in moments else None) or _metadata(schema, "event_time")
    if chosen is None and len(moments) == 1:
        chosen = moments[0]
    known = clocks.known_at or _metadata(schema, "known_at")
    by_arrival = clocks.known_at == ARRIVAL
    if by_arrival and ARRIVAL in columns.names:
        raise FeatureViewError(
            f"{view}: expected known_at: arrival to mean when rows came, found a column of that name in {name}: "
            "name another column, or rename that one in the contract"
        )
    known = None if by_arrival else known
    for column in (chosen, known):
        if column is not None and column not in moments:
            raise FeatureViewError(
                f"{view}: expected a timestamp column of {name} ({', '.join(moments) or 'it has none'}), found {column}"
            )
    former = _metadata(schema, "former_names")
    return Table(
        name, columns, chosen, known, clocks.lookback == "all", by_arrival, tuple(former.split(",")) if former else ()
    )


def _require_names(table: str, names: Sequence[str], view: str) -> None:
    """Raises FeatureViewError for columns that SQL cannot name apart: no engine minds the case of a name."""
    spelled: dict[str, str] = {}
    for name in names:
        if (expected := name_fault(name)) is not None:
            raise FeatureViewError(
                f"{view}: expected {expected} in {table}, found {name!r}: rename the column in the contract"
            )
        other = spelled.setdefault(name.casefold(), name)
        if other != name:
            raise FeatureViewError(
                f"{view}: expected names in {table} that differ by more than the case of letters, found {other} and {name}: "
                "rename one in the contract"
            )


def spine_schema(table: Table, entity: tuple[str, ...], view: str) -> pa.Schema:
    """The columns of `spine`: the entity's, as typed in the table that defines it, and `as_of`."""
    missing = [name for name in entity if name not in table.schema.names]
    if missing:
        raise FeatureViewError(
            f"{view}: expected {table.name} to define the entity with {', '.join(missing)}, found {', '.join(table.schema.names)}"
        )
    return pa.schema([*(table.schema.field(name) for name in entity), pa.field(AS_OF, UTC_MICROS)])
