"""The stage `table`: a dataset's versions as the snapshots of a table that other engines read, and a signed note of the newest.

The table follows the source as a whole, whatever partitions a run is about.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.errors import ConfigError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import UNPARTITIONED, FileEntry, canonical_json, make_partition, sha256_hex
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.secrets.reference import is_reference, resolve_secret
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.stage.staleness import Places, StalePartition, difference, upstream
from orchestrai.warehouse.tables.ports import SharedSubject
from orchestrai.warehouse.tables.share_spec import ShareSpec
from orchestrai.warehouse.tables.shared_table import SharedTable
from orchestrai.warehouse.tables.table_version import TableVersion

PRODUCER = Producer("table", __name__)
NOTE = "table.json"
CHECKS = (CheckInfo("row_count", True, "The table has as many rows as its version, without what is recalled."),)


def open_table(context: RunContext, subject: SharedSubject) -> SharedTable:
    """The declared table; nothing is asked of it yet. Raises ConfigError."""
    from orchestrai.storage.url import open_store
    from orchestrai.warehouse.tables.delta_table import DeltaTable
    from orchestrai.warehouse.tables.iceberg.iceberg_catalog import IcebergPlace
    from orchestrai.warehouse.tables.iceberg.iceberg_table import IcebergTable

    spec, ledger = subject.spec, context.ledger
    if spec.form == "delta":
        return DeltaTable(subject.source_asset, ledger.lake, subject.declared_columns, context.now)
    store, folder = (open_store(spec.at), subject.prefix) if spec.at else (ledger.lake, f"tables/{subject.prefix}")
    identifier, catalog = spec.table or subject.identifier, catalog_url(spec.catalog, context.home)
    place = IcebergPlace(identifier, catalog, store, folder, access_of(spec))
    return IcebergTable(place, subject.source_asset, ledger.lake, subject.declared_columns)


def access_of(spec: ShareSpec) -> dict[str, str]:
    """How the service behind a catalog is asked, its secrets resolved; raises ConfigError."""
    if spec.access is None:
        return {}
    given = {name: str(value) for name, value in spec.access.model_dump().items()}
    return {**given, **{name: resolve_secret(given[name]) for name in ("token", "secret") if given[name]}}


def catalog_url(declared: str, home: Path) -> str:
    """The SQLAlchemy URL of a catalog, or the URL of a service; by default, and where a path is relative, a file of the home folder.

    Raises ConfigError.
    """
    if declared.startswith(("https://", "http://")):
        return declared.rstrip("/")
    plain = resolve_secret(declared) if is_reference(declared) else declared or "sqlite:///tables/iceberg.db"
    scheme, _, rest = plain.partition("://")
    if scheme == "sqlite":
        path = home / rest.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{path.resolve()}"
    if scheme in ("postgres", "postgresql"):
        return f"postgresql+psycopg://{rest}"
    raise ConfigError("expected the URL of a catalog in SQLite or PostgreSQL, found another: correct what `catalog` names")


def _run(context: RunContext, node: AssetNode[SharedSubject], partitions: Sequence[str]) -> StageReport:
    from orchestrai.warehouse.tables.follow import follow

    subject, ledger = node.subject, context.ledger
    source, now = subject.source_asset, context.now()

    def kept(published: Mapping[int, datetime]) -> set[int]:
        return subject.kept(published, now)

    with Meter() as meter:
        table = open_table(context, subject)
        try:
            done = follow(ledger, source, table, kept)
        finally:
            table.close()
        session = ledger.session(node.asset, PRODUCER)
        session.add_bytes(UNPARTITIONED, NOTE, _note(subject, done.version), rows=done.rows)
        told = f"{done.rows} rows of {done.version.version[7:19]} in {table.shown}"
        facts: dict[str, JsonValue] = {
            "table": table.shown,
            "source_version": done.version.version,
            "snapshots_added": done.committed,
            "snapshots_expired": done.expired,
            "versions_passed_over": done.passed_over,
            "partitions_left_out": len(done.version.left_out),
        }
        return session.commit(
            {UNPARTITIONED: (Verdict("row_count", True, told),)},
            inputs=[InputRef(source, done.version.version)],
            parameters={"as": subject.spec.form, "table": table.shown},
            cost=meter.cost(),
            facts=facts,
        )


def _note(subject: SharedSubject, version: TableVersion) -> bytes:
    """What the ledger keeps of a table: which version is its newest snapshot."""
    left_out = {"left_out": sorted(version.left_out)} if version.left_out else {}
    return canonical_json({"as": subject.spec.form, "source": version.asset, "version": version.version, **left_out})


def _root(subject: SharedSubject, source: Dataset, rows: int) -> str:
    note = _note(subject, TableVersion.of(source))
    return make_partition(UNPARTITIONED, [FileEntry(NOTE, len(note), rows, sha256_hex(note), "")]).root


def stale_table(ledger: Ledger, subject: SharedSubject, asset: str, above: Places) -> tuple[StalePartition, ...]:
    """A table whose newest snapshot is not the version that is published, as the note of it tells; the table is not asked."""
    noted, source = ledger.find(asset), ledger.find(subject.source_asset)
    if noted is None or source is None or UNPARTITIONED not in noted.partitions:
        return ()
    entry = noted.partitions[UNPARTITIONED]
    name = subject.source_asset
    held, now = {UNPARTITIONED: entry.root}, {UNPARTITIONED: _root(subject, source, entry.rows)}
    causes = (*upstream({name: above.get(name, ())}, above), *difference({name: held}, {name: now}))
    return (StalePartition(asset, UNPARTITIONED, causes),) if causes else ()


TABLE: Stage[SharedSubject] = Stage(
    "table",
    ("share",),
    "The versions of a dataset as the snapshots of an Iceberg or Delta table over the same files: other engines read it as of any.",
    lambda subject: frozenset({"table", subject.spec.form}),
    PRODUCER,
    _run,
    deps=lambda subject: (subject.source_asset,),
    checks=lambda subject: CHECKS,
    stale=lambda context, node, above: stale_table(context.ledger, node.subject, node.asset, above),
)
