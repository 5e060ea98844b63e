"""Rows that several queries of one run read: typed once, and kept in the database for as long as the run lasts.

An as-of view is computed moment by moment, and each moment sees all that happened before it. Read anew each time, 50 moments open, unpack
and type the same files 50 times. What a moment may see is still decided for each query by itself: by the files that its partitions
have, and by its bounds in time.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from orchestrai.core.sql.quoting import quoted
from orchestrai.features.engines.closed_database import Workspace
from orchestrai.features.engines.duckdb_sql import Paths, source_sql, time_tests
from orchestrai.features.engines.engine import Reads, Source
from orchestrai.features.views.view import FeatureView, Table

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_TEXT_BYTES = 40
_FILE, _PATH = "orchestrai_file", "orchestrai_path"


@dataclass(frozen=True)
class ResidentTable:
    """The rows of some files of an input; `numbers` tells the files apart, `columns` are those that the view reads."""

    table: Table
    stored_as: str
    columns: tuple[str, ...]
    numbers: Mapping[Path, int]

    def select(self, source: Source, paths: Paths) -> str:
        """The SELECT of what a query may see of its input, as `source_sql` has it of files; of the view's columns only."""
        here = {self.numbers[path] for path in source.files if path in self.numbers}
        if not here or source.table is not self.table:
            return source_sql(source, paths)
        names = ", ".join(quoted(name) for name in self.columns)
        tests = [*_among(sorted(here), len(self.numbers)), *time_tests(source)]
        where = f" WHERE {' AND '.join(tests)}" if tests else ""
        rows = f"SELECT {names} FROM {quoted(self.stored_as)}{where}"
        rest = replace(source, files=[path for path in source.files if path not in self.numbers])
        if not rest.files and not rest.tail:
            return rows
        return f"{rows} UNION ALL SELECT {names} FROM ({source_sql(rest, paths)}) AS rest"


def _among(numbers: Sequence[int], of: int) -> list[str]:
    """The test that a row is of one of these files; none where they are all."""
    if len(numbers) == of:
        return []
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    if len(runs) > 8:
        return [f"{_FILE} IN ({', '.join(map(str, numbers))})"]
    return [f"({' OR '.join(f'{_FILE} BETWEEN {low} AND {high}' for low, high in runs)})"]


@contextmanager
def resident_tables(
    workspace: Workspace, view: FeatureView, reads: Reads, memory: int
) -> Iterator[dict[str, ResidentTable]]:
    """By input, the rows of the files that more than one query reads, those read by the most first, in at most `memory` bytes."""
    import duckdb

    tables: dict[str, ResidentTable] = {}
    try:
        for name, table in view.tables.items():
            columns = _columns(view, table)
            width = sum(_width(table.schema.field(column).type) for column in columns)
            files, taken = _shared(reads.get(name, ()), width, memory)
            if not files:
                continue
            numbers = {path: number for number, path in enumerate(files)}
            resident = ResidentTable(table, f"resident_{uuid4().hex}", columns, numbers)
            try:
                workspace.connection.execute(_create(resident, workspace.paths))
            except duckdb.Error:
                # memory that is not there, or files that cannot be read: each query reads them itself, and says what is wrong
                continue
            memory -= taken
            tables[name] = resident
        yield tables
    finally:
        for resident in tables.values():
            workspace.connection.execute(f"DROP TABLE {quoted(resident.stored_as)}")


def _shared(reads: Sequence[Collection[Path]], width: int, memory: int) -> tuple[list[Path], int]:
    """The files to keep, in the order in which they are read, and about how many bytes their rows take."""
    counts = Counter(path for paths in reads for path in paths)
    chosen: set[Path] = set()
    taken = 0
    for path, times in counts.most_common():
        needed = pq.read_metadata(path).num_rows * width if times > 1 else 0
        if times < 2 or taken + needed > memory:
            break
        taken += needed
        chosen.add(path)
    return [path for path in counts if path in chosen], taken


def _create(resident: ResidentTable, paths: Paths) -> str:
    """The statement that stores the rows, by the time of their events: what a span leaves out is mostly skipped then."""
    table = resident.table
    names = ", ".join(quoted(column) for column in resident.columns)
    # each path as the engine sees it
    places = {paths([path])[1:-1]: number for path, number in resident.numbers.items()}
    numbered = ", ".join(f"({place}, {number})" for place, number in places.items())
    order = f" ORDER BY {quoted(table.event_time)}" if table.event_time is not None else ""
    typed = source_sql(Source(table, list(resident.numbers)), paths, path_as=_PATH)
    return (
        f"CREATE TABLE {quoted(resident.stored_as)} AS SELECT {names}, files.number AS {_FILE} FROM ({typed}) AS typed "
        f"JOIN (VALUES {numbered}) AS files(path, number) ON files.path = typed.{_PATH}{order}"
    )


def _columns(view: FeatureView, table: Table) -> tuple[str, ...]:
    """The columns of an input that a view may read, by name alone; all of them where it is not SQL."""
    if view.tree is None:
        return tuple(table.schema.names)
    used = {column.name.casefold() for column in view.tree.find_all(exp.Column)}
    used |= {name.casefold() for name in (*view.entity, table.event_time, table.known_at) if name}
    return tuple(column for column in table.schema.names if column.casefold() in used)


def _width(kind: pa.DataType) -> int:
    """About how many bytes a value takes in the database."""
    try:
        bits: int = kind.bit_width
        return max(1, bits // 8)
    except ValueError:
        return _TEXT_BYTES


def memory_bytes(limit: str) -> int:
    """A memory limit as DuckDB reads it, in bytes."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?I?)B?\s*", limit.upper())
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0
