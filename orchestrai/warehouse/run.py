"""Versions into warehouse tables by partition: what changed is deleted and inserted in one transaction, counted and noted.

Beside the table lies `orchestrai_partition_loads`: of each table and partition the root, the version and the rows it was loaded with.
Loading the same version again changes nothing, and an older one than a table holds is never loaded.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import Grain
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry, canonical_json, make_partition, sha256_hex
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.stage.context import RunContext
from orchestrai.stage.outcomes import published, settle, with_outcomes
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.stage.staleness import Cause, Places, StalePartition, difference, upstream
from orchestrai.warehouse.ports import DeclaredLoad
from orchestrai.warehouse.spec import LoadSpec
from orchestrai.warehouse.target import STAGED, Statements, quoted, widen_table

PRODUCER = Producer("warehouse", __name__)

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrai.contracts.contract import Contract
    from orchestrai.warehouse.targets import WarehouseTarget

LOADS = "orchestrai_partition_loads"
NOTE = "load.json"
PARTITION, VERSION = "orchestrai_partition", "orchestrai_version"


class PartitionTable(Protocol):
    """One open transaction on a table."""

    def prepare(self, schema: "pa.Schema") -> None:
        """Create the table and the notes beside it where they are not there; keep other loaders out until the end."""
        ...

    def loaded(self) -> Mapping[str, tuple[str, int]]:
        """The root and the number of the head of each partition that the table holds."""
        ...

    def replace(self, partition: str, files: Sequence[Path], columns: Sequence[str], version: str) -> int:
        """Delete a partition's rows and insert those of the files; the rows then counted in the table."""
        ...

    def note(self, partition: str, root: str, version: str, seq: int, rows: int) -> None:
        """Remember what was loaded."""
        ...


def load_partitions(
    ledger: Ledger,
    load: DeclaredLoad,
    *,
    asset: str,
    partitions: Sequence[str] | None,
    home: Path,
) -> StageReport:
    """Bring a table up to the current version of its source, all partitions or those named, and publish what was loaded as `asset`.

    The columns are those of the contract in force, where there is one, else those of the files. Every byte loaded is verified. A table
    whose rows do not count up after the insert is left as it was: raises IntegrityError. Raises NotReceipted, StorageError,
    ConfigError, MissingExtra.
    """
    from orchestrai.warehouse.merge import load_table
    from orchestrai.warehouse.sqlalchemy_target import SqlAlchemyTarget
    from orchestrai.warehouse.targets import opened_target

    spec, source = load.spec, load.source_asset
    with Meter() as meter, ExitStack() as resources:
        dataset = ledger.open(source)
        wanted = sorted(dataset.partitions if partitions is None else set(partitions) & set(dataset.partitions))
        target = resources.enter_context(opened_target(spec.to, spec.table, home))
        if spec.mode == "merge":
            if isinstance(target, SqlAlchemyTarget):
                raise ConfigError(
                    "expected the mode partitions for this warehouse, found merge: PostgreSQL, MySQL, DuckDB, BigQuery, "
                    "Redshift and Snowflake merge"
                )
            report = load_table(ledger, target, asset=source, key=spec.key, partitions=wanted, contract=load.contract)
            changed = {key: dataset.partitions[key].rows for key in wanted}
            facts = {"inserted": report.inserted, "updated": report.updated}
        else:
            changed = _replaced(target, dataset, wanted, load.contract)
            facts = {"inserted": sum(changed.values()), "updated": 0}
        session = ledger.session(asset, PRODUCER)
        for key in wanted:
            session.add_bytes(key, NOTE, _note(spec.table, dataset, key), rows=dataset.partitions[key].rows)
        loaded = f"{len(changed)} of {len(wanted)} partitions loaded, {sum(changed.values())} rows counted in {spec.table}"
        done = session.commit(
            {key: (Verdict("row_count", True, loaded),) for key in wanted},
            inputs=[InputRef(source, dataset.version)],
            parameters={"table": spec.table, "mode": spec.mode},
            cost=meter.cost(),
            facts={"table": spec.table, "partitions_loaded": len(changed), **facts},
        )
    outcomes = tuple(
        PartitionOutcome(o.partition, o.published, o.root, dataset.partitions[o.partition].rows, o.size, o.verdicts)
        for o in done.outcomes
    )
    return StageReport(asset, done.version, outcomes, done.cost, done.facts)


def _note(table: str, dataset: Dataset, partition: str) -> bytes:
    """What a partition of a load says: which version of what the table holds."""
    entry = dataset.partitions[partition]
    return canonical_json({"table": table, "source": dataset.asset, "root": entry.root, "rows": entry.rows})


def stale_loads(ledger: Ledger, spec: LoadSpec, *, source: str, asset: str, above: Places) -> tuple[StalePartition, ...]:
    """The partitions of a table that it holds in another version than is published; no record of them is read.

    What a load says follows from the source's version, and its root from that. Other code makes no other rows.
    """
    loaded, dataset = ledger.find(asset), ledger.find(source)
    if loaded is None or dataset is None:
        return ()
    stale = []
    for key, entry in sorted(loaded.partitions.items()):
        causes = upstream({source: [key]}, above)
        if key not in dataset.partitions:
            causes = (*causes, Cause("gone", source, (key,)))
        else:
            note, rows = _note(spec.table, dataset, key), dataset.partitions[key].rows
            file = FileEntry(NOTE, len(note), rows, sha256_hex(note), "")
            causes = (*causes, *difference({source: {key: entry.root}}, {source: {key: make_partition(key, [file]).root}}))
        stale += [StalePartition(asset, key, causes)] if causes else []
    return tuple(stale)


def _replaced(
    target: "WarehouseTarget",
    dataset: Dataset,
    wanted: Sequence[str],
    contract: "Contract | None",
) -> dict[str, int]:
    """Load the partitions that the table holds otherwise; the rows of each."""
    import pyarrow.parquet as pq

    from orchestrai.warehouse.older_files import as_declared

    done: dict[str, int] = {}
    with (
        _opened(target) as table,
        dataset.fetched(wanted) as fetched,
        tempfile.TemporaryDirectory(prefix="orchestrai-load-") as folder,
    ):
        files = {key: [f.path for f in part if f.entry.path.endswith(".parquet")] for key, part in fetched.items()}
        first = next((path for paths in files.values() for path in paths), None)
        if first is None:
            raise ConfigError(f"expected Parquet files in {dataset.asset}, found none: it cannot be loaded into a table")
        schema = pq.read_schema(first) if contract is None else contract.arrow_schema()
        if {PARTITION, VERSION} & set(schema.names):
            raise ConfigError(f"expected {dataset.asset} without {PARTITION} and {VERSION}, found {schema.names}")
        table.prepare(schema)
        held = table.loaded()
        for key in wanted:
            entry = dataset.partitions[key]
            root, seq = held.get(key, ("", 0))
            if root == entry.root or seq > dataset.head.seq:
                continue
            paths = files[key] if contract is None else as_declared(files[key], contract, Path(folder) / key)
            rows = table.replace(key, paths, schema.names, dataset.version)
            if rows != entry.rows:
                raise IntegrityError(
                    f"expected {entry.rows} rows of {key} in {target.table}, found {rows} after the insert: nothing was changed; "
                    "look for a trigger or rule on the table"
                )
            table.note(key, entry.root, dataset.version, dataset.head.seq, rows)
            done[key] = rows
    return done


@contextmanager
def _opened(target: "WarehouseTarget") -> Iterator[PartitionTable]:
    from orchestrai.warehouse.cloud.cloud_table import CloudTarget
    from orchestrai.warehouse.sqlalchemy_target import SqlAlchemyTarget

    if isinstance(target, SqlAlchemyTarget | CloudTarget):
        with target.transaction() as table:
            yield table
        return
    with target.transaction() as statements:
        yield _Staged(statements, target.table)


@dataclass
class _Staged:
    """By way of a staging table, as databases take many rows fastest."""

    on: Statements
    name: str

    @property
    def table(self) -> str:
        return ".".join(quoted(part) for part in self.name.split("."))

    def prepare(self, schema: "pa.Schema") -> None:
        import pyarrow as pa

        columns = ", ".join(f"{quoted(field.name)} {self.on.type_of(field.type)}" for field in schema)
        text, key, more = self.on.type_of(pa.string()), self.on.type_of(pa.string(), key=True), self.on.dialect.table_options
        self.on.run(
            f"CREATE TABLE IF NOT EXISTS {LOADS} (name {key}, part {key}, root {text}, version {text}, seq BIGINT, "
            f"row_count BIGINT, PRIMARY KEY (name, part)){more}"
        )
        self.on.lock(LOADS)
        self.on.run(f"CREATE TABLE IF NOT EXISTS {self.table} ({columns}, {PARTITION} {key}, {VERSION} {text}){more}")
        widen_table(self.on, self.name, schema)
        self.on.run(f"CREATE TEMPORARY TABLE {STAGED} ({columns}){more}")

    def loaded(self) -> Mapping[str, tuple[str, int]]:
        rows = self.on.rows(f"SELECT part, root, seq FROM {LOADS} WHERE name = {self.on.mark}", self.name)
        return {part: (root, seq) for part, root, seq in rows}

    def replace(self, partition: str, files: Sequence[Path], columns: Sequence[str], version: str) -> int:
        names, mark = ", ".join(quoted(name) for name in columns), self.on.mark
        self.on.run(f"DELETE FROM {STAGED}")
        if files:
            self.on.stage(columns, files)
        self.on.run(f"DELETE FROM {self.table} WHERE {PARTITION} = {mark}", partition)
        self.on.run(
            f"INSERT INTO {self.table} ({names}, {PARTITION}, {VERSION}) SELECT {names}, {mark}, {mark} FROM {STAGED}",
            partition,
            version,
        )
        return self.on.run(f"SELECT count(*) FROM {self.table} WHERE {PARTITION} = {mark}", partition)

    def note(self, partition: str, root: str, version: str, seq: int, rows: int) -> None:
        mark = self.on.mark
        self.on.run(f"DELETE FROM {LOADS} WHERE name = {mark} AND part = {mark}", self.name, partition)
        marks = ", ".join([mark] * 4)
        self.on.run(f"INSERT INTO {LOADS} VALUES ({marks}, {int(seq)}, {int(rows)})", self.name, partition, root, version)


# -- the stage ---------------------------------------------------------------------------------------------------

CHECKS = (CheckInfo("row_count", True, "The table holds as many rows of each partition as the version has."),)


def _run(context: RunContext, node: AssetNode[DeclaredLoad], partitions: Sequence[str]) -> StageReport:
    load, ledger = node.subject, context.ledger
    like, wanted = load.partitioned_like, None
    missing: tuple[PartitionOutcome, ...] = ()
    if like is not None:
        wanted, missing = published(ledger, load.source_asset, like, partitions)
        # what was computed again beside the partitions asked for is loaded with them
        source = ledger.find(load.source_asset)
        wanted = sorted(
            {*wanted, *(one.partition for one in _stale(context, node, {}) if source and one.partition in source.partitions)}
        )
        if not wanted:
            return settle(StageReport(node.asset, None, missing), like, partitions)
    report = load_partitions(ledger, load, asset=node.asset, partitions=wanted, home=context.home)
    report = with_outcomes(report, missing)
    return settle(report, like, partitions) if like is not None else report


def _stale(context: RunContext, node: AssetNode[DeclaredLoad], above: Places) -> tuple[StalePartition, ...]:
    load = node.subject
    return stale_loads(context.ledger, load.spec, source=load.source_asset, asset=node.asset, above=above)


def _grain(load: DeclaredLoad) -> Grain:
    return load.partitioned_like.grain if load.partitioned_like is not None else "all"


WAREHOUSE = Stage(
    "warehouse",
    ("load",),
    "The rows in a warehouse table, counted there; a table beside it names the version they are of.",
    frozenset({"table"}),
    PRODUCER,
    _run,
    deps=lambda load: (load.source_asset,),
    checks=lambda load: CHECKS,
    grain=_grain,
    stale=_stale,
)
