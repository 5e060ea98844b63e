"""What a cloud's warehouse must do for tables to be loaded into it and read out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrai.core.sql.dialects import Dialect
from orchestrai.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa

Values = tuple[str | None, ...]
# no statement takes longer, unless a source says otherwise
LIMIT = timedelta(hours=2)


@dataclass(frozen=True)
class Statement:
    """A statement, and what is wrong when just this one fails."""

    text: str
    told: str = ""


@dataclass(frozen=True)
class Unload:
    """A query whose rows go into Parquet files, and one that counts them apart (empty where nobody asks); both see one moment.

    The files' URLs begin with `place`, a folder of this reading alone; `name` is what the warehouse's own history calls it.
    """

    rows: str
    count: str
    place: str
    name: str


def one_number(rows: Sequence[Values], what: str) -> int:
    """The number that a query with one row and one column gave; raises StorageError for any other answer."""
    if len(rows) != 1 or len(rows[0]) != 1 or rows[0][0] is None:
        raise StorageError(f"expected one number from {what}, found {len(rows)} rows: look at what is between")
    return int(rows[0][0])


class Staging(Protocol):
    """Where files lie between a warehouse and this side, in folders that are named `a/b`."""

    @property
    def place(self) -> str:
        """How the warehouse calls it, without a slash at the end."""
        ...

    def put(self, key: str, path: Path) -> None:
        """Copy a Parquet file there. Raises StorageError."""
        ...

    def fetch(self, folder: str, to: Path) -> list[Path]:
        """The files of a folder, copied here. Raises StorageError."""
        ...

    def clean(self, folder: str) -> None:
        """Remove the files of a folder. Raises StorageError."""
        ...


class Warehouse(Protocol):
    """What runs statements in a cloud, and waits for them."""

    @property
    def staging(self) -> Staging:
        """Where files are put for it, and by it."""
        ...

    def close(self) -> None:
        """Leave it; what it has a session for ends with that."""
        ...

    @property
    def dialect(self) -> Dialect:
        """How its SQL differs."""
        ...

    @property
    def schema(self) -> str:
        """The schema of tables that name none."""
        ...

    def rows(self, query: str) -> list[Values]:
        """The rows of a query, their values as text. Raises StorageError, ConfigError."""
        ...

    def run(self, groups: Sequence[Sequence[Statement]]) -> None:
        """Run statements; a group at least is one transaction. Raises IntegrityError for a statement that tells so, StorageError."""
        ...

    def load(self, staged: str, schema: "pa.Schema", folder: str, uris: Sequence[str]) -> list[Statement]:
        """Load the files that are alone in a folder into a table of that name, or say the statements that will in the same
        transaction. Raises StorageError."""
        ...

    def forget(self, staged: Sequence[str]) -> None:
        """Remove what `load` made outside of any transaction."""
        ...

    def unload(self, asked: Unload) -> int | None:
        """Write the files; what was counted, None where nothing was to be. Raises StorageError, ConfigError."""
        ...
