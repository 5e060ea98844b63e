"""Rows that break a rule of their own columns: set aside one by one where a whole batch must not wait for them.

A stream cannot be sent again, so one bad record must not hold up all that follow; files are judged as a whole instead.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.readers.conversions import Misfit

if TYPE_CHECKING:
    import pyarrow as pa

# how far a device's clock may be ahead of the broker's
AHEAD = timedelta(minutes=5)
_NUMBERS = ("BIGINT", "INT", "DOUBLE", "DECIMAL")


def unfit_rows(contract: Contract, batch: "pa.RecordBatch", arrived: Sequence[datetime] | None = None) -> list[Misfit]:
    """The rows that lack a required value, leave a range or enumeration, or tell an impossible event time.

    `arrived` has the broker's time of each row: an event cannot be later. Rules of severity "warn" are left to the audit.
    """
    misfits: list[Misfit] = []
    for column, array in zip(contract.columns, batch.columns, strict=True):
        if column.severity == "error":
            misfits += [Misfit(row, column.name, reason) for row, reason in _broken(column, array)]
    if contract.event_time:
        moments = batch.column(contract.names.index(contract.event_time)).to_pylist()
        for row, moment in enumerate(moments):
            late = arrived is not None and isinstance(moment, datetime) and moment > arrived[row] + AHEAD
            if isinstance(moment, datetime) and (moment < contract.earliest or late):
                bound = "not after its arrival" if late else f"from {contract.earliest:%Y-%m-%d} on"
                misfits.append(
                    Misfit(row, contract.event_time, f"expected an event time {bound}, found {moment.isoformat()}")
                )
    return misfits


def _broken(column: Column, array: "pa.Array") -> Iterator[tuple[int, str]]:
    import pyarrow.compute as pc

    def rows(mask: Any) -> list[int]:
        return [int(row) for row in pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()]

    if column.required and array.null_count:
        yield from ((row, "expected a value, found none") for row in rows(pc.is_null(array)))
    if column.type.startswith(_NUMBERS):
        for bound, word, compare in ((column.minimum, "at least", pc.less), (column.maximum, "at most", pc.greater)):
            if bound is not None:
                limit = Decimal(str(bound)) if column.type.startswith("DECIMAL") else bound
                yield from ((row, f"expected {word} {bound}, found {array[row]}") for row in rows(compare(array, limit)))
    if column.type == "STRING":
        if column.allowed:
            allowed = {str(value) for value in column.allowed}
            values = array.to_pylist()
            yield from ((n, f"expected one of the declared values, found {v[:80]!r}") for n, v in _others(values, allowed))
        if column.max_length is not None:
            yield from (
                (n, f"expected at most {column.max_length} characters") for n in _longer(array, column.max_length, rows)
            )
        if column.pattern is not None:
            mask = pc.invert(pc.match_substring_regex(array, f"^(?:{column.pattern})$"))
            yield from ((row, f"expected text like {column.pattern}, found {str(array[row])[:80]!r}") for row in rows(mask))


def _others(values: Sequence[str | None], allowed: set[str]) -> list[tuple[int, str]]:
    return [(row, value) for row, value in enumerate(values) if value is not None and value not in allowed]


def _longer(array: "pa.Array", limit: int, rows: Any) -> list[int]:
    import pyarrow.compute as pc

    return list(rows(pc.greater(pc.utf8_length(array), limit)))
