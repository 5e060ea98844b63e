"""A warehouse of a cloud: rows of every type loaded, merged and read back, by the adapters that loads and sources use."""

import secrets
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrai.contracts.contract import Column, Contract
from orchestrai.core.sql.quoting import literal
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.pipeline.accounts.account_proof import Given, Step

SNOWFLAKE = "snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME"
_TYPES = ("BIGINT", "DOUBLE", "DECIMAL(38,9)", "BOOLEAN", "STRING", "DATE", "TIMESTAMP")
_ROWS: tuple[tuple[Any, ...], ...] = (
    (1, -0.1, Decimal("12345678901234567890.123456789"), True, "it's \\ \"so\"\n", date(1, 1, 1), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    (2, None, None, None, None, None, None),
    (3, 1e300, Decimal("-0.000000001"), False, "", date(9999, 12, 31), datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
)  # fmt: skip


def warehouse_step(url: str) -> Step:
    """The step, told with an example of a URL."""
    return Step(
        "warehouse",
        f"load three rows of every type into a table of {url}, merge them by key into another, read them back and count them",
        ("warehouse",),
        _warehouse,
        "two tables of three rows; the notes beside loaded tables stay",
    )


def _contract() -> Contract:
    columns = tuple(Column(f"c{place}", kind, f"c{place}") for place, kind in enumerate(_TYPES))
    return Contract("orchestrai_prove", "1.0.0", columns)


def _warehouse(given: Given) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from orchestrai.warehouse.cloud.cloud_merge import MergedVersion, merge_into_cloud
    from orchestrai.warehouse.cloud.cloud_table import CloudTarget
    from orchestrai.warehouse.targets import opened_target

    url, name, schema = given["warehouse"], f"orchestrai_prove_{secrets.token_hex(6)}", _contract().arrow_schema()
    merged = f"{name}_merged"
    with tempfile.TemporaryDirectory(prefix="orchestrai-prove-") as folder, opened_target(url, name, Path(folder)) as target:
        if not isinstance(target, CloudTarget):
            raise ConfigError(
                "expected a warehouse that loads files, found another: give bigquery://, redshift-data:// or snowflake://"
            )
        path = Path(folder) / "rows.parquet"
        arrays = [pa.array(values, field.type) for values, field in zip(zip(*_ROWS, strict=True), schema, strict=True)]
        pq.write_table(pa.table(arrays, schema=schema), path)
        try:
            with target.transaction() as table:
                table.prepare(schema)
                table.replace("prove", [path], schema.names, "v")
                table.note("prove", "root", "v", 1, len(_ROWS))
            other = CloudTarget(target.warehouse, merged)
            version = MergedVersion(merged, "v", 1, schema, (schema.names[0],), (path,))
            done = [merge_into_cloud(other, version) for _ in range(2)]
            if done != [(3, 3, 0), (3, 0, 0)]:
                raise IntegrityError(f"expected three rows merged once, found {done}: a merge is not safe there")
            for one in (name, merged):
                _compare(url, one)
        finally:
            _forget(target, (name, merged))
    return f"{len(_ROWS)} rows of {len(_TYPES)} types loaded, merged twice, read back and counted; both tables dropped"


def _compare(url: str, table: str) -> None:
    from orchestrai.ingest.conversions.convert import convert
    from orchestrai.storage.databases.open_table import Place, table_snapshot
    from orchestrai.storage.databases.table_port import Paging, Relation, Wanted, Window

    contract = _contract()
    exact = frozenset(c.source for c in contract.columns if c.type.startswith(("DECIMAL", "TIMESTAMP")))
    texts = frozenset(c.source for c in contract.columns if c.type == "STRING")
    wanted = Wanted(tuple(contract.names), texts, (contract.names[0],), timed=False, exact=exact)
    found: list[tuple[Any, ...]] = []
    with table_snapshot(Place(url), Relation(table)) as opened:
        for batch in opened.batches(wanted, Window(), Paging()):
            typed, misfits = convert(contract, dict(zip(contract.names, batch.columns, strict=False)), batch.num_rows)
            if misfits:
                raise IntegrityError(f"expected values as they were loaded, found {misfits[0].reason}: look at its types")
            found += [tuple(row.values()) for row in typed.to_pylist()]
        counted = opened.count(wanted, Window())
    if counted != len(_ROWS) or found != list(_ROWS):
        wrong = next((one for one in zip(_ROWS, found, strict=False) if one[0] != one[1]), (len(_ROWS), len(found)))
        raise IntegrityError(f"expected {wrong[0]}, found {wrong[1]} of {counted} rows counted: look at its types")


def _forget(target: Any, tables: Sequence[str]) -> None:
    from orchestrai.storage.databases.cloud.cloud_warehouse import Statement
    from orchestrai.warehouse.cloud.cloud_merge import NOTES
    from orchestrai.warehouse.cloud.cloud_table import LOADS

    on = target.warehouse
    for table, notes in zip(tables, (LOADS, NOTES), strict=True):
        place, noted = (f"{on.dialect.name(on.schema)}.{on.dialect.column(one)}" for one in (table, notes))
        on.run([[Statement(f"DROP TABLE IF EXISTS {place}")]])
        if on.rows(on.dialect.listed.format(*_named(on, notes))):
            on.run([[Statement(f"DELETE FROM {noted} WHERE name = {literal(table)}")]])


def _named(on: Any, table: str) -> tuple[str, str, str]:
    value, spelled = on.dialect.value, on.dialect.spelled
    return value(spelled(on.schema)), value(spelled(table)), on.dialect.name(on.schema)
