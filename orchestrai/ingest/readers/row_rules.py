"""Rows that break a rule of their own: set aside one by one, where a whole batch or partition need not wait for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.checks import event_window
from orchestrai.contracts.contract import Column, Contract
from orchestrai.contracts.rules.column_rules import RuleName, broken_rules
from orchestrai.core.time.calendar import Grain, dimension_of, partition_of, time_grain
from orchestrai.core.time.partition_key import time_part, value_part, with_value
from orchestrai.ingest.conversions.convert import Misfit

if TYPE_CHECKING:
    import pyarrow as pa

# how far a device's clock may be ahead of the broker's
AHEAD = timedelta(minutes=5)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHOWN = 80


@dataclass(frozen=True, slots=True)
class RowRules:
    """What each row of one partition must keep to be one of its rows."""

    contract: Contract
    partition: str
    grain: Grain

    def broken(self, batch: "pa.RecordBatch") -> list[Misfit]:
        """The rows that lack a required value, break a rule of a column, lie outside the partition's window or are of another value."""
        return [*broken_columns(self.contract, batch), *self._of_another(batch), *self._elsewhere(batch)]

    def _of_another(self, batch: "pa.RecordBatch") -> Iterator[Misfit]:
        """The rows whose column tells another value than their partition is of."""
        import pyarrow.compute as pc

        dimension = dimension_of(self.grain)
        if dimension is None or not dimension.column or not batch.num_rows:
            return
        values, own = batch.column(self.contract.names.index(dimension.column)), value_part(self.partition)
        for row in _rows(pc.fill_null(pc.not_equal(values, own), True)):
            value = values[row].as_py()
            declared = value in dimension.values
            belongs = with_value(self._time_of(batch, row), value) if declared else ""
            follows = f"the row belongs to {belongs}" if declared else f"declared are {', '.join(dimension.values)}"
            shown = "none" if value is None else str(value)[:SHOWN] if declared else repr(value[:SHOWN])
            reason = f"expected {dimension.column} {own} in {self.partition}, found {shown}: {follows}"
            yield Misfit(row, dimension.column, reason, belongs)

    def _time_of(self, batch: "pa.RecordBatch", row: int) -> str:
        """The time that a row tells itself, else that of its partition."""
        name = self.contract.event_time
        moment = batch.column(self.contract.names.index(name))[row].as_py() if name is not None else None
        return partition_of(_utc(moment), time_grain(self.grain)) if moment is not None else time_part(self.partition)

    def _elsewhere(self, batch: "pa.RecordBatch") -> Iterator[Misfit]:
        import pyarrow as pa
        import pyarrow.compute as pc

        name, allowed = self.contract.event_time, event_window(self.contract, self.partition, self.grain)
        if name is None or allowed is None or not batch.num_rows:
            return
        times = batch.column(self.contract.names.index(name))
        if pa.types.is_date(times.type):
            times = times.cast(pa.timestamp("us", tz="UTC"))
        # bounds are compared as numbers, and not as Arrow's values: to make one of Python's would import pandas
        bounds = pc.min_max(times)
        least, most = bounds["min"].value, bounds["max"].value
        if least is None or (least >= _micros(allowed[0]) and most < _micros(allowed[1])):
            return  # None: no row tells a time, which `required` judges
        start, end = (pa.scalar(moment, times.type) for moment in allowed)
        for row in _rows(pc.or_(pc.less(times, start), pc.greater_equal(times, end))):
            moment = _utc(times[row].as_py())
            belongs = with_value(partition_of(moment, time_grain(self.grain)), value_part(self.partition))
            reason = f"expected {name} inside {self.partition}, found {moment.isoformat()}: the row belongs to {belongs}"
            yield Misfit(row, name, reason, belongs)


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _utc(moment: date | datetime) -> datetime:
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return moment.astimezone(UTC)


def unfit_rows(contract: Contract, batch: "pa.RecordBatch", arrived: Sequence[datetime] | None = None) -> list[Misfit]:
    """The rows that lack a required value, break a rule of a column, or tell an impossible event time.

    `arrived` has the broker's time of each row: an event cannot be later.
    """
    misfits = broken_columns(contract, batch)
    if contract.event_time and not _in_time(contract, batch.column(contract.names.index(contract.event_time)), arrived):
        moments = batch.column(contract.names.index(contract.event_time)).to_pylist()
        for row, moment in enumerate(moments):
            late = arrived is not None and isinstance(moment, datetime) and moment > arrived[row] + AHEAD
            if isinstance(moment, datetime) and (moment < contract.earliest or late):
                bound = "not after its arrival" if late else f"from {contract.earliest:%Y-%m-%d} on"
                misfits.append(
                    Misfit(row, contract.event_time, f"expected an event time {bound}, found {moment.isoformat()}")
                )
    return misfits


def _in_time(contract: Contract, times: "pa.Array", arrived: Sequence[datetime] | None) -> bool:
    """Whether all event times are possible ones, by the least and the greatest of them; False where each has to be asked."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_timestamp(times.type) or times.type.unit != "us" or not len(times):
        return not pa.types.is_timestamp(times.type)
    bounds = pc.min_max(times)
    least, most = bounds["min"].value, bounds["max"].value
    if least is None:
        return True
    return least >= _micros(contract.earliest) and (not arrived or most <= _micros(min(arrived) + AHEAD))


def broken_columns(contract: Contract, batch: "pa.RecordBatch") -> list[Misfit]:
    """The rows that break a rule of a column; rules of severity "warn" are left to the audit."""
    misfits: list[Misfit] = []
    for column, array in zip(contract.columns, batch.columns, strict=True):
        if column.severity == "error":
            for rule, mask in broken_rules(column, array):
                misfits += [Misfit(row, column.name, _reason(column, rule, array[row])) for row in _rows(mask)]
    return misfits


def _rows(mask: Any) -> list[int]:
    import pyarrow.compute as pc

    return [int(row) for row in pc.indices_nonzero(mask).to_pylist()]


def _reason(column: Column, rule: RuleName, value: Any) -> str:
    if rule == "required":
        return "expected a value, found none"
    expected = {
        "minimum": f"at least {column.minimum}",
        "maximum": f"at most {column.maximum}",
        "allowed": "one of the declared values",
        "pattern": f"text like {column.pattern}",
        "max_length": f"at most {column.max_length} characters",
    }[rule]
    text = str(value)
    if column.personal and rule != "max_length":
        return f"expected {expected}, found another, which is personal"
    actual = repr(text[:SHOWN]) if column.type == "STRING" else text[:SHOWN]
    return f"expected {expected}, found {f'{len(text)}' if rule == 'max_length' else actual}"
