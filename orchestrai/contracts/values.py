"""Rules on values: nulls and ranges from footers; keys, enumerations and patterns from the columns they need, in batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrai.contracts.contract import Column, Contract
from orchestrai.contracts.footers import ColumnStats, Footers, one_line, read_failures
from orchestrai.contracts.rules.column_rules import bounds_of, broken_rules, members_of
from orchestrai.core.verdict import Severity

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule broken, in words."""

    message: str
    severity: Severity = "error"


def value_faults(contract: Contract, footers: Footers) -> list[Fault]:
    """Every rule on values that a partition's files break."""
    faults: list[Fault] = []
    scan: list[Column] = []
    for column in contract.columns:
        stats = footers.columns[column.name]
        faults += _nulls(column, stats, footers)
        faults += _range(column, stats)
        if _needs_scan(column, stats):
            scan.append(column)
    try:
        for column in scan:
            faults += _scan(column, footers)
        unique = [(column.name,) for column in contract.columns if column.unique]
        for key in [contract.primary_key, *unique]:
            if key:
                personal = any(column.personal for column in contract.columns if column.name in key)
                faults += _repeated(key, footers, personal=personal)
    except read_failures() as exc:
        faults.append(Fault(f"expected readable columns, found {one_line(exc)}"))
    return faults


def _nulls(column: Column, stats: ColumnStats, footers: Footers) -> list[Fault]:
    if not column.required:
        return []
    nulls = stats.nulls
    if nulls is None:
        nulls = sum(batch.column(0).null_count for batch in _batches(footers, [column.name]))
    if nulls:
        return [Fault(f"expected {column.name} in every row, found {nulls} rows without", column.severity)]
    return []


def _range(column: Column, stats: ColumnStats) -> list[Fault]:
    faults = []
    low, high = bounds_of(column)
    if low is not None and stats.low is not None and stats.low < low:
        faults.append(
            Fault(f"expected {column.name} from {column.minimum}, found {_told(column, stats.low)}", column.severity)
        )
    if high is not None and stats.high is not None and stats.high > high:
        faults.append(
            Fault(f"expected {column.name} up to {column.maximum}, found {_told(column, stats.high)}", column.severity)
        )
    return faults


def _told(column: Column, value: object) -> object:
    """A value that broke a rule, as a verdict may say it: it goes into receipts and logs, which nobody can erase a person from."""
    return "another, which is personal" if column.personal else value


def _needs_scan(column: Column, stats: ColumnStats) -> bool:
    if column.pattern or column.max_length is not None:
        return True
    if column.allowed and not (stats.bounded and stats.low == stats.high and stats.low in (None, *members_of(column))):
        return True
    return bool((column.minimum is not None or column.maximum is not None) and not stats.bounded)


def _batches(footers: Footers, names: list[str]) -> Iterator["pa.RecordBatch"]:
    import pyarrow.parquet as pq

    for path in footers.files:
        with pq.ParquetFile(path) as file:
            # what is older than a column reads as null in it, and breaks no rule on values
            if set(names) <= set(file.schema_arrow.names):
                yield from file.iter_batches(batch_size=BATCH_ROWS, columns=names)


def _scan(column: Column, footers: Footers) -> list[Fault]:
    import pyarrow.compute as pc

    foreign: dict[str, int] = {}
    for batch in _batches(footers, [column.name]):
        values = batch.column(0)
        masks = [mask for rule, mask in broken_rules(column, values) if rule != "required"]
        if not masks:
            continue
        broken = masks[0]
        for mask in masks[1:]:
            broken = pc.or_(broken, mask)
        for value in pc.filter(values, broken):
            shown = str(value.as_py())[:40]
            foreign[shown] = foreign.get(shown, 0) + 1
            if len(foreign) > 1000:
                break
    if not foreign:
        return []
    first = "" if column.personal else f" such as {', '.join(repr(value) for value in sorted(foreign)[:3])}"
    return [Fault(f"expected {column.name} {_rule(column)}, found {sum(foreign.values())} others{first}", column.severity)]


def _rule(column: Column) -> str:
    if column.allowed:
        return f"to be one of {', '.join(str(value) for value in column.allowed[:8])}"
    if column.pattern:
        return f"to match {column.pattern}"
    return f"of at most {column.max_length} characters" if column.max_length is not None else "in its range"


def _repeated(key: tuple[str, ...], footers: Footers, *, personal: bool) -> list[Fault]:
    """Keys that stand twice, the first three by name unless they are personal.

    A null is no value and so equals none: that a key has one is what `required` says.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    batches = list(_batches(footers, list(key)))
    if not batches:
        return []
    table = pa.Table.from_batches(batches).drop_null()
    counted = table.group_by(list(key), use_threads=False).aggregate([([], "count_all")])
    if counted.num_rows == table.num_rows:
        return []
    name, more = "+".join(key), table.num_rows - counted.num_rows
    twice = counted.filter(pc.greater(counted["count_all"], 1)).sort_by([(part, "ascending") for part in key]).slice(0, 3)
    rows = [[repr(str(value)[:40]) for value in row] for row in zip(*(twice[part].to_pylist() for part in key), strict=True)]
    first = "" if personal else f" such as {', '.join('+'.join(row) for row in rows)}"
    return [Fault(f"expected each {name} once, found {more} rows that repeat one{first}")]
