"""The port behind which views run: a query over verified files in, sorted record batches out."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from orchestrai.core.sql.quoting import all_quoted, literal, quoted
from orchestrai.features.views.view import AS_OF, SPINE, FeatureView, Table

BATCH_ROWS = 131_072


@dataclass(frozen=True)
class Source:
    """Verified local Parquet files behind one table, and the span of it that the view may see.

    Event time in [since, until), beside the earlier rows in `tail`; known strictly before `known_before`, where the table
    says when a row became known.
    """

    table: Table
    files: Sequence[Path]
    since: datetime | None = None
    until: datetime | None = None
    known_before: datetime | None = None
    tail: Sequence[Path] = ()


@dataclass(frozen=True)
class Spine:
    """The rows of `spine`: the entities in `table` at `as_of`, or the keys in feature files."""

    as_of: datetime | None = None
    table: str = ""
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class Query:
    """One run of a view. Only rows whose time lies in `keep` (half-open) come out, sorted by the view's key.

    With `slices`, they are sorted by the slice of that length, counted from 1970, in which their time lies, and then by the key.
    """

    view: FeatureView
    sources: Mapping[str, Source]
    spine: Spine | None = None
    keep: tuple[datetime, datetime] | None = None
    slices: timedelta | None = None


# the files that each query of a run reads, by table
Reads = Mapping[str, Sequence[Collection[Path]]]


class Engine(Protocol):
    """Runs views. Same query, same batches' rows, bit for bit, on every engine; raises FeatureViewError."""

    @property
    def name(self) -> str:
        """`duckdb` or `spark`, with its version: what the receipt records."""
        ...

    def resident(self, view: FeatureView, reads: Reads) -> AbstractContextManager[None]:
        """For the length of a `with` block, rows that several queries of a view read may be kept at hand; no result differs."""
        ...

    def run(self, query: Query) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """The view's rows in order, in its exact types, for the length of a `with` block."""
        ...


def spine_sql(view: FeatureView, spine: Spine, quote: str) -> str:
    """The SELECT that builds `spine` from a table, in either dialect."""
    columns = all_quoted(view.entity, quote)
    known = " AND ".join(f"{quoted(name, quote)} IS NOT NULL" for name in view.entity)
    assert spine.as_of is not None
    moment = literal(spine.as_of.strftime("%Y-%m-%d %H:%M:%S.%f"))
    return (
        f"SELECT {columns}, CAST({moment} AS TIMESTAMP) AS {AS_OF} FROM {quoted(spine.table, quote)} "
        f"WHERE {known} GROUP BY {columns}"
    )


__all__ = ["BATCH_ROWS", "SPINE", "Engine", "Query", "Reads", "Source", "Spine", "spine_sql"]
