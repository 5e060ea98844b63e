"""Files on their way to and from Snowflake: a temporary stage, filled by PUT and read by GET."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.core.sql.dialects import SNOWFLAKE, family_of
from orchestrai.storage.databases.cloud.cloud_warehouse import Values

if TYPE_CHECKING:
    import pyarrow as pa

PAGE_ROWS = 100_000


@dataclass(frozen=True)
class SnowflakeStage:
    """See Staging; `run` runs a statement in the session that has the stage."""

    name: str
    run: Callable[[str], list[Values]]

    @property
    def place(self) -> str:
        """The stage as a statement names it."""
        return f"@{self.name}"

    def put(self, key: str, path: Path) -> None:
        """Copy a file there, with numbers and texts for times, dates and decimals."""
        with tempfile.TemporaryDirectory(prefix="orchestrai-put-") as folder:
            plain = Path(folder) / "rows.parquet"
            _write_plain(path, plain)
            # the file keeps its name, so each gets a folder of its own
            file = SNOWFLAKE.value(f"file://{plain}")
            self.run(f"PUT {file} {self.place}/{key.removesuffix('.parquet')}/ AUTO_COMPRESS = FALSE OVERWRITE = TRUE")

    def fetch(self, folder: str, to: Path) -> list[Path]:
        """The files of a folder, copied here."""
        file = SNOWFLAKE.value(f"file://{to}/")
        self.run(f"GET {self.place}/{folder}/ {file}")
        return sorted(path for path in to.iterdir() if path.is_file())

    def clean(self, folder: str) -> None:
        """The stage ends with the session, whatever becomes of it."""


def _write_plain(path: Path, to: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        held = file.schema_arrow
        names = [SNOWFLAKE.spelled(name) for name in held.names]
        kinds = [_plain(pa.array([], kind)).type for kind in held.types]
        with pq.ParquetWriter(to, pa.schema(list(zip(names, kinds, strict=True)))) as writer:
            for batch in file.iter_batches(batch_size=PAGE_ROWS):
                plain = [_plain(column) for column in batch.columns]
                writer.write_batch(pa.RecordBatch.from_arrays(plain, schema=writer.schema))


def _plain(column: "pa.Array") -> "pa.Array":
    """Microseconds for a time; text for a date, a decimal and an integer beyond 63 bits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    family = family_of(column.type)
    if family in ("moment", "clock"):
        return pc.cast(column, pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
    return pc.cast(column, pa.string()) if family in ("date", "decimal", "unsigned") else column
