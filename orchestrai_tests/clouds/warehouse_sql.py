"""SQL of a cloud's warehouse played by DuckDB: sqlglot reads it in the warehouse's own dialect, and refuses what is none."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import sqlglot
from sqlglot import exp


@dataclass
class PlayedWarehouse:
    """A database of one dialect, and the folder that stands for its bucket; of what is written only `files` of two arrive."""

    dialect: str
    bucket: Path
    schema: str
    database: Any = field(default_factory=duckdb.connect)
    before: list[str] = field(default_factory=list)
    root: str = ""
    files: int = 2

    def __post_init__(self) -> None:
        self.database.execute("SET TimeZone = 'UTC'")
        self.database.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"')

    def said(self, text: str) -> list[str]:
        """The statements of a script as DuckDB has them; raises sqlglot's error for what is not in the dialect."""
        found = []
        for tree in sqlglot.parse(text, read=self.dialect, error_level=sqlglot.ErrorLevel.RAISE):
            if tree is None:
                continue
            for table in tree.find_all(exp.Table):
                if "INFORMATION_SCHEMA.COLUMNS" in table.name.upper():
                    # of one dataset in BigQuery, where DuckDB has one for all
                    tree.args["where"] = exp.Where(
                        this=exp.and_(tree.args["where"].this, exp.column("table_schema").eq(exp.Literal.string(table.db)))
                    )
                    table.replace(exp.to_table("information_schema.columns"))
            if isinstance(tree, exp.Export):
                found.append(self._exported(tree))
                continue
            if isinstance(tree, exp.Create) and tree.args.get("properties"):
                # how a table is laid out is of no matter here
                kept = [one for one in tree.args["properties"].expressions if isinstance(one, exp.TemporaryProperty)]
                tree.args["properties"].set("expressions", kept)
            found.append(tree.sql("duckdb"))
        return found

    def _exported(self, tree: exp.Export) -> str:
        """EXPORT DATA as BigQuery has it, kept as `EXPORT uri query` for `run`."""
        options = {
            str(one.name).lower(): one.args["value"].name for one in tree.args["options"].expressions if "value" in one.args
        }
        if not options["uri"].endswith("*.parquet") or "PARQUET" not in tree.args["options"].sql("bigquery"):
            raise duckdb.ParserException(f"expected Parquet and one * in the URI, found {options}")
        return f"EXPORT {options['uri']} {tree.this.sql('duckdb')}"

    def written(self, query: str, pattern: str, root: str) -> None:
        """The rows of a query as two files, the last rows in the first of them: no order of files is promised."""
        if not pattern.startswith(root):
            raise FileNotFoundError(f"Not found: {pattern}")
        rows = self.database.sql(query).to_arrow_table()
        half = rows.num_rows // 2
        for number, part in enumerate((rows.slice(half), rows.slice(0, half))):
            if number < self.files:
                path = self.bucket / pattern.replace("*", f"{number:012d}").removeprefix(root).lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(part, path)

    def end_session(self) -> None:
        """Tables of a session end with it."""
        for (name,) in self.database.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall():
            self.database.execute(f'DROP TABLE temp."{name}"')

    def run(self, statements: Sequence[str]) -> list[tuple[Any, ...]]:
        """Run statements that DuckDB has; the rows of the last."""
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            self.before.append(statement)
            if statement.startswith("EXPORT "):
                _, uri, query = statement.split(" ", 2)
                self.written(query, uri, self.root)
                continue
            answer = self.database.execute(statement)
            rows = answer.fetchall() if answer.description else []
        return rows

    def files_of(self, prefix: str, root: str) -> list[Path]:
        """The files whose URIs begin with a folder's."""
        folder = self.bucket / prefix.removeprefix(root).strip("/")
        found = sorted(folder.glob("*.parquet")) if prefix.startswith(root) else []
        if not found:
            raise FileNotFoundError(f"The specified S3 prefix '{prefix}' does not exist")
        return found

    def file(self, uri: str, root: str) -> Path:
        """The file behind the URI of a bucket."""
        if not uri.startswith(root):
            raise FileNotFoundError(f"Not found: {uri}")
        path = self.bucket / uri.removeprefix(root).lstrip("/")
        if not path.is_file():
            raise FileNotFoundError(f"Not found: {uri}")
        return path
