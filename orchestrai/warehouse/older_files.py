"""Files of a dataset by the contract in force: a column that came later is null in older ones, a narrower type is cast."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.contracts.columns.older_columns import reading_of
from orchestrai.contracts.contract import Contract, physical_type
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 65_536


def as_declared(files: Sequence[Path], contract: Contract, folder: Path) -> list[Path]:
    """The files with the columns of a contract; those that have others are written anew in `folder`.

    Raises ConfigError for a file that a declared column cannot be read from.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    declared, paths = contract.arrow_schema(), []
    for path in files:
        stored = pq.read_schema(path)
        readings = _readings(contract, stored, path)
        if all(reading == "as_is" for reading in readings):
            paths.append(path)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        newer = folder / f"{len(paths):05d}.parquet"
        there = [name for name in declared.names if name in stored.names]
        with pq.ParquetFile(path) as file, pq.ParquetWriter(newer, declared) as writer:
            for batch in file.iter_batches(batch_size=_ROWS, columns=there):
                columns = [
                    batch.column(field.name).cast(field.type)
                    if field.name in there
                    else pa.nulls(batch.num_rows, field.type)
                    for field in declared
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=declared))
        paths.append(newer)
    return paths


def _readings(contract: Contract, stored: "pa.Schema", path: Path) -> list[str]:
    kinds = {field.name: physical_type(field.type) for field in stored}
    readings: list[str] = []
    for column in contract.columns:
        reading = reading_of(column.name, column.type, kinds, optional=not column.required)
        if reading is None:
            held = f"one that holds it as {kinds[column.name]}" if column.name in kinds else "one without it"
            raise ConfigError(
                f"expected the column {column.name} of {contract.name} as {column.type} in each partition, found {held}: type such "
                "partitions again from their originals (orchestrai backfill), or declare what they hold"
            )
        readings.append(reading)
    return readings
