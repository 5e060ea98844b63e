"""What is kept beside events: feature tables, models, databases, definitions. Each is a snapshot, protected as declared.

features --> feature_backup --> drill          champion --> model_backup --> drill          dump --> drill
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orchestrai.backup.checks import DUMP_CHECKS, REGISTRY_CHECKS
from orchestrai.backup.ports import Definitions, KeptModel
from orchestrai.backup.subjects import DatabaseNode, HouseNode
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.restore.ports import Drilled
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.run import VERSION_CHECK
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.vault import Vault

if TYPE_CHECKING:
    from orchestrai.backup.databases.dump import Dump

FEATURES, MODEL = Producer("feature_backup", __name__), Producer("model_backup", __name__)
DUMPED, DEFINED = Producer("dump", __name__), Producer("snapshot", __name__)
Work = Callable[[RunContext, AssetNode[Any]], StageReport]


def protected(work: Work, context: RunContext, node: AssetNode[Any]) -> StageReport:
    """Write the snapshot, then lock, copy and anchor it as declared."""
    from orchestrai.vault.protection import protect, protection_of, require_ready

    vault = context.port(Vault)
    wanted = protection_of(node.subject.backup or BackupSpec(), context.settings)
    require_ready(vault, wanted, node.asset)
    report = work(context, node)
    if "snapshot_id" not in report.facts:
        return report  # its gate closed: nothing reached the vault
    done = protect(vault, report.facts, wanted, progress=context.progress)
    return replace(report, facts={**report.facts, **done})


def _refused(asset: str, message: str) -> StageReport:
    verdict = Verdict("upstream", False, message)
    return StageReport(asset, None, (PartitionOutcome(WHOLE, False, verdicts=(verdict,)),))


def _features(context: RunContext, node: AssetNode[Drilled]) -> StageReport:
    """Only partitions that changed since the newest snapshot are looked at; the others are taken from it whole."""
    from orchestrai.vault.run import SnapshotTask, snapshot

    ledger, vault = context.ledger, context.port(Vault)
    source = node.subject.live_asset
    table = ledger.find(source)
    if table is None or not table.partitions:
        return _refused(node.asset, f"expected {source} to be published, found none: materialize it first")
    roots = table.roots()
    commits = vault.snapshots(source)
    vault_roots = {key: entry.root for key, entry in vault.partitions(commits[-1]).items()} if commits else {}
    before = ledger.find(node.asset)
    previous_roots = before.roots() if before else {}
    changed = [key for key, root in roots.items() if vault_roots.get(key) != root or previous_roots.get(key) != root]
    task = SnapshotTask(
        source,
        node.asset,
        # with nothing changed one partition still says so, under the receipt of now
        changed or [max(roots)],
        version=table.version,
        drop=sorted({*vault_roots, *previous_roots} - {*roots}),
        producer=FEATURES,
        facts={"partitions_changed": len(changed), "partitions": len(roots)},
    )
    return snapshot(context, vault, task)


def _model(context: RunContext, node: AssetNode[KeptModel]) -> StageReport:
    from orchestrai.backup.registry_files import REGISTRY, registry_contents
    from orchestrai.vault.run import KeepTask, keep

    model, ledger = node.subject, context.ledger
    candidate, champion = model.asset("candidate"), model.asset("champion")
    contents, inputs = registry_contents(ledger, candidate=candidate, champion=champion)
    if not inputs:
        return _refused(node.asset, f"expected a version of {model.prefix}, found none: train it first")
    serving = ledger.find(champion)
    there = serving is None or not serving.partitions or serving.version[7:23] in contents
    message = f"{len(contents) - 1} versions" if there else "expected the champion among the versions, found it recalled"
    task = KeepTask(
        model.kept_as,
        node.asset,
        MODEL,
        contents,
        {REGISTRY: [Verdict("registry", there, message)]},
        inputs,
        {"versions": len(contents) - 1, "champion": serving.version if serving else None},
        only_changes=True,
    )
    return keep(context, context.port(Vault), task)


def _database(context: RunContext, node: AssetNode[DatabaseNode | HouseNode]) -> StageReport:
    from orchestrai.backup.databases.dump_snapshot import keep_dump

    subject = node.subject
    minimum = subject.spec.minimum_rows if isinstance(subject, DatabaseNode) else 0
    with TemporaryDirectory(prefix="orchestrai-dump-") as folder:
        dump = _dumped(context, subject, Path(folder))
        return keep_dump(context, context.port(Vault), asset=node.asset, dump=dump, producer=DUMPED, minimum_rows=minimum)


def _dumped(context: RunContext, subject: DatabaseNode | HouseNode, folder: Path) -> "Dump":
    from orchestrai.backup.databases.dump import dump_postgres, dump_sqlite
    from orchestrai.backup.databases.dump_snapshot import dump_sqlite_files, earlier_dump, sqlite_files
    from orchestrai.backup.instance_files import find_instance, postgres_reference

    if isinstance(subject, DatabaseNode):
        reference = f"env://{subject.spec.dsn_env}"
        file = sqlite_path(reference)
        return dump_sqlite(file, folder) if file else dump_postgres(reference, folder)
    instance = find_instance(context.home)
    if instance.folders:
        earlier = earlier_dump(context.port(Vault), subject.kept_as)
        return dump_sqlite_files(sqlite_files(instance.folders), folder, earlier)
    with postgres_reference(instance) as reference:
        return dump_postgres(reference, folder)


def sqlite_path(reference: str) -> Path | None:
    """The file of a SQLite database, from `sqlite:///path` or a plain path; None for a URL of another kind. Raises ConfigError."""
    from orchestrai.secrets.reference import resolve_secret

    text = resolve_secret(reference)
    if text.startswith("sqlite:///"):
        return Path(text.removeprefix("sqlite:///")).expanduser()
    if "://" in text or "=" in text:
        return None
    return Path(text).expanduser()


def _definitions(context: RunContext, node: AssetNode[HouseNode]) -> StageReport:
    from orchestrai.vault.run import KeepTask, keep

    contents = {name: definition_files(folder) for name, folder in context.port(Definitions).folders().items()}
    facts: Mapping[str, JsonValue] = {"pipelines": [*sorted(contents)]}
    return keep(context, context.port(Vault), KeepTask(node.subject.kept_as, node.asset, DEFINED, contents, facts=facts))


def definition_files(folder: Path) -> list[SourceFile]:
    """The files of a pipeline's folder, without caches and hidden ones."""
    from orchestrai.backup.folder_files import list_folder

    files = list_folder(folder)[WHOLE]
    return [file for file in files if not any(p.startswith((".", "__pycache__")) for p in file.path.split("/"))]


FEATURE_BACKUP: Stage[Drilled] = Stage(
    "feature_backup",
    ("view",),
    "The feature table in the vault: a snapshot of every partition, incremental, chained, signed. Its version equals the table's.",
    frozenset({"vault"}),
    FEATURES,
    lambda context, node, partitions: protected(_features, context, node),
    deps=lambda view: (view.live_asset,),
    checks=lambda view: (VERSION_CHECK,),
    applies=lambda view: view.backup is not None,
    role="backup",
)
MODEL_BACKUP: Stage[KeptModel] = Stage(
    "model_backup",
    ("model",),
    "Every version of the model in the vault, with its receipts, and which of them serves.",
    frozenset({"vault"}),
    MODEL,
    lambda context, node, partitions: protected(_model, context, node),
    deps=lambda model: (model.asset("candidate"), model.asset("champion")),
    checks=lambda model: REGISTRY_CHECKS,
    applies=lambda model: model.backup is not None,
    role="backup",
    tried=True,
)
DUMP: Stage[DatabaseNode | HouseNode] = Stage(
    "dump",
    ("database", "instance"),
    "A consistent dump of the database, with the rows of each table, in the vault.",
    frozenset({"vault", "sql"}),
    DUMPED,
    lambda context, node, partitions: protected(_database, context, node),
    checks=lambda database: DUMP_CHECKS,
    applies=lambda database: not (isinstance(database, DatabaseNode) and database.follows_log),
    role="backup",
)
DEFINITIONS_SNAPSHOT: Stage[HouseNode] = Stage(
    "snapshot",
    ("definitions",),
    "A snapshot in the vault.",
    frozenset({"vault"}),
    DEFINED,
    lambda context, node, partitions: protected(_definitions, context, node),
    role="backup",
)
