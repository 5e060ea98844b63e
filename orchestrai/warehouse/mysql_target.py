"""Tables of MySQL and MariaDB that versions are loaded into: rows by the thousand in one transaction, behind the server's own lock."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.core.sql.dialects import MYSQL, Dialect
from orchestrai.errors import TransientStorageError
from orchestrai.storage.databases import mysql
from orchestrai.storage.databases.bulk_rows import in_statements, value_lists
from orchestrai.warehouse.target import PAGE_ROWS, STAGED, Statements, quoted

if TYPE_CHECKING:
    import pyarrow as pa

LOCK_SECONDS = 60
_MOST = 1_000_000


@dataclass(frozen=True)
class MysqlTarget:
    """A table, `name` or `database.name`; `url` is a secret reference to a URL mysql://, or one without a password."""

    url: str
    table: str

    @contextmanager
    def transaction(self) -> Iterator[Statements]:
        """Open one transaction. Creating a table ends it for this server: only what is created stays when the rest fails."""
        with mysql.connection(self.url) as opened:
            # texts are told apart by every letter and space, as everywhere else
            collation = "nopad_bin" if "MariaDB" in opened.get_server_info() else "0900_bin"
            keys = f"VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_{collation}"
            texts = {**MYSQL.types, "text": f"LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_{collation}"}
            yield _Mysql(opened, replace(MYSQL, types=texts, keys=keys))


@dataclass(frozen=True)
class _Mysql:
    opened: Any
    dialect: Dialect
    mark: str = "%s"

    def lock(self, table: str) -> None:
        """By name, since locking a table would end the transaction."""
        if self.run(f"SELECT GET_LOCK(LEFT(CONCAT('{table}.', MD5(DATABASE())), 64), {LOCK_SECONDS})") != 1:
            raise TransientStorageError(f"expected to be the one loader, found another for {LOCK_SECONDS} s: retry later")

    def run(self, statement: str, *values: Any) -> int:
        with self.opened.cursor() as cursor:
            cursor.execute(statement, values or None)
            row = cursor.fetchone() if cursor.description else None
        return int(row[0]) if row and row[0] is not None else 0

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.opened.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def stage(self, columns: Sequence[str], files: Sequence[Path]) -> None:
        import pyarrow.parquet as pq

        def pages() -> Iterator[list[str]]:
            for path in files:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=PAGE_ROWS, columns=list(columns)):
                        yield value_lists(batch.select(list(columns)))

        head = f"INSERT INTO {STAGED} ({', '.join(quoted(name) for name in columns)}) VALUES "
        most = min(self.run("SELECT @@max_allowed_packet") // 4, _MOST)
        with self.opened.cursor() as cursor:
            for statement in in_statements(head, pages(), most):
                cursor.execute(statement)

    def type_of(self, kind: "pa.DataType", *, key: bool = False) -> str:
        return self.dialect.type_of(kind, key=key)
