"""What the second clock kept out: rows whose event lies in a window of features, and that were known only after its moment.

A view that declares `known_at` never sees them. How many there are is what would have leaked from the future, had only the time of
events counted: corrections and late deliveries.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.features.incremental.partition_spans import back
from orchestrai.features.ports import DeclaredView
from orchestrai.features.spec import parse_moment
from orchestrai.features.views.input_table import Table
from orchestrai.features.views.view_inputs import Inputs, open_inputs
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import arrivals_of

SECOND_CLOCK = "second_clock"
INFO = CheckInfo(
    SECOND_CLOCK,
    False,
    "How many input rows were known only after moments whose windows they lie in, and kept out.",
)
Ints = npt.NDArray[np.int64]
_EPOCH, _MICRO = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass
class LateRows:
    """Rows that were kept out, summed over the moments that each would have leaked into; `moments` had some, of `of_moments`."""

    of_moments: int = 0
    moments: set[str] = field(default_factory=set)
    by_table: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self.by_table.values())


def has_second_clock(node: DeclaredView) -> bool:
    """True for a view with a table that is read by when its rows were known."""
    return any(table.by_arrival or table.known_at is not None for table in node.view.tables.values())


def second_clock_verdict(ledger: Ledger, views: Sequence[DeclaredView]) -> Verdict | None:
    """What the views' second clocks kept out of the moments that are published; None where no view has one."""
    clocked = [node for node in views if has_second_clock(node)]
    if not clocked:
        return None
    late = LateRows()
    for node in clocked:
        dataset = ledger.find(node.asset)
        if dataset is not None:
            _count(ledger, node, sorted(dataset.partitions), late)
    message = (
        f"{late.rows} input rows were known only after {len(late.moments)} of {late.of_moments} moments whose windows they lie in, and "
        "were kept out: by the time of events alone they would have leaked"
        if late.rows
        else f"no input row of {late.of_moments} moments was known later than its event counted"
    )
    details: dict[str, JsonValue] = {
        "late_rows": late.rows,
        "moments": len(late.moments),
        "of_moments": late.of_moments,
        "by_table": {**late.by_table},
    }
    return Verdict(SECOND_CLOCK, True, message, "warn", details)


def _count(ledger: Ledger, node: DeclaredView, keys: Sequence[str], late: LateRows) -> None:
    view = node.view
    opened = open_inputs(
        ledger, view, {name: dataset.asset("restored") for name, dataset in node.inputs.items()}, node.grain_of_first
    )
    late.of_moments += len(keys)
    for name, table in view.tables.items():
        if table.event_time is None or not (table.by_arrival or table.known_at):
            continue
        events, known = _clocks(opened, name, table)
        for key in keys:
            moment = parse_moment(key)
            since = None if table.whole else back(moment, view.lookback.time)
            seen = events < _micros(moment)
            if since is not None:
                seen &= events >= _micros(since)
            rows = int((seen & (known >= _micros(moment))).sum())
            if rows:
                late.by_table[opened.datasets[name].asset] = late.by_table.get(opened.datasets[name].asset, 0) + rows
                late.moments.add(f"{view.name}@{key}")


def _clocks(opened: Inputs, name: str, table: Table) -> tuple[Ints, Ints]:
    """The two times of every row of a table: when it happened, and since when it was known."""
    dataset, keys = opened.datasets[name], list(opened.spans[name])
    events: list[Ints] = []
    known: list[Ints] = []
    with ExitStack() as stack:
        files = stack.enter_context(opened.fetched({name: keys}))[name]
        for key in keys:
            manifest = dataset.files(key)
            entries = [entry for entry in manifest.files if entry.role == "data"]
            for path, entry in zip(files[key], entries, strict=True):
                wanted = [column for column in (table.event_time, table.known_at) if column]
                read = pq.read_table(path, columns=wanted)
                events.append(_column(read, wanted[0]))
                if table.by_arrival:
                    runs = arrivals_of(manifest, entry)
                    known.append(
                        np.repeat(np.array([_micros(came) for _, came in runs], dtype=np.int64), [rows for rows, _ in runs])
                    )
                else:
                    known.append(_column(read, wanted[1]))
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *events]), np.concatenate([none, *known])


def _column(table: pa.Table, name: str) -> Ints:
    data = table.column(name)
    # a row without one of its times is in no window
    never = np.iinfo(np.int64).max
    micros = data.cast(pa.timestamp("us", data.type.tz)).cast(pa.int64()).fill_null(never)
    return np.asarray(micros.to_numpy(), dtype=np.int64)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICRO
