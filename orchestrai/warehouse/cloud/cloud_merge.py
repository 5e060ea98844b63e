"""Rows merged by key into a table of a cloud's warehouse: one transaction updates, inserts, notes and counts what is equal then."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.core.sql.quoting import all_quoted, literal, quoted
from orchestrai.errors import ConfigError, StorageError
from orchestrai.storage.databases.cloud.cloud_warehouse import Statement
from orchestrai.warehouse.cloud.cloud_table import VERSION, CloudTable, CloudTarget

if TYPE_CHECKING:
    import pyarrow as pa

NOTES = "orchestrai_loads"


@dataclass(frozen=True)
class MergedVersion:
    """A version's files, its columns, what its rows are known by, and the number of its head."""

    asset: str
    version: str
    seq: int
    schema: "pa.Schema"
    key: tuple[str, ...]
    files: tuple[Path, ...]


def merge_into_cloud(target: CloudTarget, merged: MergedVersion) -> tuple[int, int, int] | None:
    """Rows read, inserted and updated; None where the table holds a newer version.

    Again after a kill it changes nothing: either the transaction was, with its note, or it was not. Raises ConfigError for a key that
    is none, IntegrityError where the table's rows are not those of the files afterwards, StorageError.
    """
    rows = _check_key(merged)
    with target.transaction() as table:
        place, value = table.place(NOTES), table.dialect.value
        _prepare(table, merged.schema)
        mine = f"name = {value(target.table)}"
        ((newer,),) = target.warehouse.rows(f"SELECT count(*) FROM {place} WHERE {mine} AND seq > {merged.seq}")
        if int(newer or 0):
            return None
        table.groups.append(_statements(table, merged, rows))
    noted = target.warehouse.rows(f"SELECT inserted, updated FROM {place} WHERE {mine} AND seq >= {merged.seq}")
    if len(noted) != 1:
        raise StorageError(
            f"expected one note on {target.table} in {NOTES}, found {len(noted)}: look at what else writes it"
        )
    inserted, updated = noted[0]
    return rows, int(inserted or 0), int(updated or 0)


def _prepare(table: CloudTable, schema: "pa.Schema") -> None:
    import pyarrow as pa

    text, whole = table.dialect.type_of(pa.string()), table.dialect.type_of(pa.int64())
    notes = [("name", text), ("version", text), ("seq", whole), ("inserted", whole), ("updated", whole)]
    table.make(schema, [(VERSION, text)], NOTES, notes)


def _statements(table: CloudTable, merged: MergedVersion, rows: int) -> list[Statement]:
    dialect, place, notes = table.dialect, table.place(table.plain), table.place(NOTES)
    load, staged, _ = table.stage(merged.files)
    taken = {name: table.staged_value(name) for name in merged.schema.names}
    same = " AND ".join(f"t.{dialect.column(name)} = {taken[name]}" for name in merged.key)
    others = [name for name in merged.schema.names if name not in merged.key]
    changed = " OR ".join(dialect.differs.format(f"t.{dialect.column(name)}", taken[name]) for name in others) or "FALSE"
    joined = f"{staged} AS s JOIN {place} AS t ON {same}"
    # no key is null, so a row of the table without one is none
    absent = f"{staged} AS s LEFT JOIN {place} AS t ON {same} WHERE t.{dialect.column(merged.key[0])} IS NULL"
    name, version, mark = dialect.value(table.target.table), dialect.value(merged.version), dialect.column(VERSION)
    newer = f"SELECT count(*) FROM {notes} WHERE name = {name} AND seq > {merged.seq}"
    sets = ", ".join([*(f"{dialect.column(one)} = {taken[one]}" for one in others), f"{mark} = {version}"])
    into = ", ".join([*map(dialect.column, merged.schema.names), mark])
    equal = f"SELECT count(*) FROM {joined} WHERE CASE WHEN {changed} THEN 1 ELSE 0 END = 0"
    update = Statement(dialect.update.format(place, sets, staged, f"{same} AND ({changed})"))
    where = table.target.table
    return [
        *load,
        table.checked(newer, 0, f"expected no version of {where} newer than {merged.version}, found one loaded meanwhile"),
        Statement(f"DELETE FROM {notes} WHERE name = {name}"),
        Statement(
            f"INSERT INTO {notes} (name, version, seq, inserted, updated) SELECT {name}, {version}, {merged.seq}, "
            f"(SELECT count(*) FROM {absent}), (SELECT count(*) FROM {joined} WHERE {changed})"
        ),
        *([update] if others else []),
        Statement(f"INSERT INTO {place} ({into}) SELECT {', '.join(taken.values())}, {version} FROM {absent}"),
        table.checked(
            equal,
            rows,
            f"expected {rows} rows of {merged.asset} in {where}, found another number equal: nothing was changed",
        ),
    ]


def _check_key(merged: MergedVersion) -> int:
    """The rows of the files; raises ConfigError unless each is known by its key."""
    import duckdb

    empty = " OR ".join(f"{quoted(name)} IS NULL" for name in merged.key)
    files = ", ".join(literal(str(path)) for path in merged.files)
    with duckdb.connect() as opened:
        opened.execute(f"CREATE VIEW landed AS SELECT * FROM read_parquet([{files}], union_by_name = true)")
        ((rows, nulls),) = opened.execute(f"SELECT count(*), count(*) FILTER (WHERE {empty}) FROM landed").fetchall()
        doubled = f"SELECT 1 FROM landed GROUP BY {all_quoted(merged.key)} HAVING count(*) > 1"
        ((twice,),) = opened.execute(f"SELECT count(*) FROM ({doubled})").fetchall()
    if twice or nulls:
        raise ConfigError(
            f"expected {list(merged.key)} to be a key of {merged.asset}, found {twice} values twice and {nulls} empty"
        )
    return int(rows)
