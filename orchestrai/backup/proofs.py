"""What a drill does with restored files beyond their hashes: open them as their users would.

Tables: footers, rows and columns. Models: load, and score the golden rows. Dumps: restore into a scratch database and count.
Definitions: load the restored pipelines.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from orchestrai.backup.databases.dump_snapshot import engine_of, prove_postgres, prove_sqlite
from orchestrai.backup.instance_files import find_instance, postgres_reference, secret_file
from orchestrai.backup.ports import Definitions, KeptTable
from orchestrai.backup.registry_files import REGISTRY
from orchestrai.backup.subjects import DatabaseNode
from orchestrai.core.time.calendar import WHOLE
from orchestrai.errors import ModelError, OrchestraiError
from orchestrai.restore.drill import DrillReport, Prove, RestoredPartition
from orchestrai.restore.ports import Drilled
from orchestrai.stage.context import RunContext

if TYPE_CHECKING:
    import pyarrow as pa

Restored = Mapping[str, RestoredPartition]
_REQUIRED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def tables_of(schema: "pa.Schema") -> Prove:
    """Proves Parquet: every footer's rows are those recorded; the newest snapshot has the columns now declared."""

    def prove(restored: Restored, chosen: str) -> str:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for partition, content in restored.items():
            for file in content.files:
                if file.role != "data" or not file.path.endswith(".parquet"):
                    continue
                try:
                    footer = pq.ParquetFile(content.folder / file.path)
                except (pa.ArrowException, OSError) as exc:
                    return f"expected Parquet in {partition}/{file.path}, found {exc}"
                if footer.metadata.num_rows != file.rows:
                    return f"expected {file.rows} rows in {partition}/{file.path}, found {footer.metadata.num_rows}"
                problem = _columns(schema, footer.schema_arrow) if chosen == "latest" else ""
                if problem:
                    return f"{partition}/{file.path}: {problem}"
        return ""

    return prove


def _columns(expected: "pa.Schema", actual: "pa.Schema") -> str:
    wanted = {field.name: str(field.type) for field in expected}
    there = {field.name: str(field.type) for field in actual}
    for name, kind in wanted.items():
        if there.get(name) != kind:
            return f"expected column {name} of type {kind}, found {there.get(name, 'none')}"
    return ""


def models(restored: Restored, chosen: str) -> str:
    """Proves a registry: every version loads and scores its golden rows as at training, and the one that serves is there."""
    import json

    from orchestrai.models.estimators.artifact import GOLDEN_FILE as GOLDEN
    from orchestrai.models.estimators.artifact import (
        INFO_FILE,
        MODEL_FILES,
        Scorer,
        check_golden,
        decode_info,
        decode_model,
    )

    if REGISTRY not in restored:
        return f"expected a {REGISTRY} partition beside the versions, found none"
    registry = json.loads((restored[REGISTRY].folder / "registry.json").read_bytes())
    for version in registry["versions"]:
        partition = restored.get(version["folder"])
        if partition is None:
            return f"expected version {version['version'][:19]} among those kept, found none"
        try:
            info = decode_info((partition.folder / INFO_FILE).read_bytes())
            model = decode_model(info, (partition.folder / MODEL_FILES[info.kind]).read_bytes())
            check_golden(Scorer(version["folder"], version["version"], info, model), partition.folder / GOLDEN)
        except (ModelError, OSError, KeyError) as exc:
            return f"version {version['folder']} does not load: {exc}"
    return ""


def dump_of(scratch_env: str) -> Prove:
    """Proves a dump: SQLite in scratch files; PostgreSQL in a fresh database on the server of the variable, dropped afterwards."""

    def prove(restored: Restored, chosen: str) -> str:
        folder = restored[WHOLE].folder
        if engine_of(folder) == "sqlite":
            with TemporaryDirectory(prefix="orchestrai-scratch-") as scratch:
                prove_sqlite(folder, Path(scratch))
            return ""
        with scratch_database(scratch_env) as url:
            prove_postgres(folder, url)
        return ""

    return prove


@contextmanager
def scratch_database(reference: str) -> Iterator[str]:
    """Create a database beside the one that a secret reference names, and drop it afterwards; yields a reference to it."""
    from psycopg import sql
    from psycopg.conninfo import make_conninfo

    from orchestrai.core.identity import new_session_id
    from orchestrai.storage.postgres import connection, parameters

    name = f"orchestrai_drill_{new_session_id()[:12]}"
    with connection(reference, autocommit=True) as opened:
        opened.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        with secret_file(make_conninfo(**{**parameters(reference), "dbname": name})) as url:
            yield url
    finally:
        with connection(reference, autocommit=True) as opened:
            opened.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def definitions_of(port: Definitions) -> Prove:
    """Proves definitions: the restored pipelines load together."""

    def prove(restored: Restored, chosen: str) -> str:
        folders = [partition.folder for _, partition in sorted(restored.items())]
        try:
            loaded = port.load(folders, placeholders(folders))
        except OrchestraiError as exc:
            return f"expected pipelines that load, found: {exc.message}"
        return "" if loaded == len(restored) else "expected a pipeline in each partition, found fewer"

    return prove


def placeholders(folders: Sequence[Path]) -> dict[str, str]:
    """Some value for each variable that has no default: whether a deployment sets them is not what is drilled."""
    texts = [(folder / "pipeline.yaml").read_text() for folder in folders if (folder / "pipeline.yaml").is_file()]
    return {name: "unset" for text in texts for name in _REQUIRED.findall(text)}


def instance_of(home: Path) -> Prove:
    """Proves a dump of Dagster's own database, on a server only where it is one of a server."""

    def prove(restored: Restored, chosen: str) -> str:
        with ExitStack() as stack:
            if (restored[WHOLE].folder / "database.pgdump").is_file():
                database = find_instance(home)
                return dump_of(stack.enter_context(postgres_reference(database)))(restored, chosen)
            return dump_of("")(restored, chosen)

    return prove


def own_drill(subject: Drilled) -> "Callable[[RunContext], DrillReport] | None":
    """How a subject is drilled that is more than its snapshots: a database with its log."""
    if not isinstance(subject, DatabaseNode) or not subject.follows_log:
        return None
    from orchestrai.backup.wal.recovery.log_drill import drill_log

    return lambda context: drill_log(context, subject)


def proof_of(subject: Drilled, home: Path, port: Definitions) -> Prove:
    """How a drill proves what it restored of a subject."""
    if isinstance(subject, DatabaseNode):
        return dump_of(f"env://{subject.spec.scratch_env or subject.spec.dsn_env}")
    if subject.kind == "model":
        return models
    if subject.kind == "definitions":
        return definitions_of(port)
    if subject.kind == "instance":
        return instance_of(home)
    return tables_of(cast(KeptTable, subject).table_schema)
