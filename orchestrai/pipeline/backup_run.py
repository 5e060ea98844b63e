"""Run what is kept beside events: feature tables, models, databases, definitions; their cold copies and their drills."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrai.backup.databases.dump import Dump, dump_postgres, dump_sqlite
from orchestrai.backup.databases.dump_snapshot import dump_sqlite_files, earlier_dump, keep_dump, sqlite_files
from orchestrai.backup.folder_files import list_folder
from orchestrai.backup.instance_files import find_instance, postgres_reference
from orchestrai.backup.registry_files import registry_contents
from orchestrai.backup.subjects import DatabaseNode, HouseNode, ManagedNode
from orchestrai.core.calendar import WHOLE
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.pipeline import restore_proofs as proofs
from orchestrai.pipeline.backup_graph import Keepable, backup_of, kept_as
from orchestrai.pipeline.nodes import AssetNode, DatasetNode, ModelNode, ViewNode
from orchestrai.pipeline.protection import drill_of, protect, protection_of, require_ready
from orchestrai.pipeline.site import Site
from orchestrai.restore.drill import Prove, RestoredPartition
from orchestrai.stage.context import RunContext
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.url import open_store
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.lifecycle.cold_tier import cold_copy
from orchestrai.vault.run import KeepTask, SnapshotTask, keep, snapshot
from orchestrai.vault.spec import BackupSpec


def is_kept(node: AssetNode) -> bool:
    """True for a node that is run here and not among the stages of events, features and models."""
    if isinstance(node.subject, DatabaseNode | HouseNode | ManagedNode):
        return True
    own = node.stage in ("feature_backup", "model_backup", "cold_copy")
    return own or (node.stage == "drill" and isinstance(node.subject, ViewNode | ModelNode))


def run_kept(site: Site, context: RunContext, node: AssetNode) -> StageReport:
    """Materialize such a node; raises OrchestraiError."""
    subject = node.subject
    if isinstance(subject, ManagedNode):
        from orchestrai.pipeline.managed_run import run_managed

        return run_managed(site, node, subject)
    assert isinstance(subject, DatasetNode | ViewNode | ModelNode | DatabaseNode | HouseNode)
    if node.stage == "cold_copy":
        return _cold(site, context, node, subject)
    if node.stage == "drill":
        # what is not a table of the ledger may have changed since: its newest snapshot's age is what would be lost
        source = subject.asset if isinstance(subject, ViewNode) else ""
        ledger, vault, prove = site.ledger, site.vault, prover(site, subject)
        return drill_of(ledger, vault, node.asset, kept_as(subject), node.deps[0], _spec(subject), prove, source=source)
    return _backed_up(site, context, node, subject)


def _spec(subject: Keepable) -> BackupSpec:
    return backup_of(subject) or BackupSpec()


def _backed_up(site: Site, context: RunContext, node: AssetNode, subject: Keepable) -> StageReport:
    """Write the snapshot, then lock, copy and anchor it as declared."""
    wanted = protection_of(_spec(subject), site.settings)
    require_ready(site.vault, wanted, node.asset)
    if isinstance(subject, ViewNode):
        report = _features(site, context, node, subject)
    elif isinstance(subject, ModelNode):
        report = _model(site, context, node, subject)
    elif isinstance(subject, DatabaseNode) or (isinstance(subject, HouseNode) and subject.kind == "instance"):
        report = _database(site, context, node, subject)
    else:
        report = _definitions(site, context, node)
    if "snapshot_id" not in report.facts:
        return report  # its gate closed: nothing reached the vault
    done = protect(site.vault, report.facts, wanted, progress=context.progress)
    return replace(report, facts={**report.facts, **done})


def _refused(asset: str, message: str) -> StageReport:
    verdict = Verdict("upstream", False, message)
    return StageReport(asset, None, (PartitionOutcome(WHOLE, False, verdicts=(verdict,)),))


def _features(site: Site, context: RunContext, node: AssetNode, view: ViewNode) -> StageReport:
    """Only partitions that changed since the newest snapshot are looked at; the others are taken from it whole."""
    ledger, vault = site.ledger, site.vault
    table = ledger.find(view.asset)
    if table is None or not table.partitions:
        return _refused(node.asset, f"expected {view.asset} to be published, found none: materialize it first")
    roots = table.roots()
    commits = vault.snapshots(view.asset)
    kept = {key: entry.root for key, entry in vault.partitions(commits[-1]).items()} if commits else {}
    before = ledger.find(node.asset)
    told = before.roots() if before else {}
    changed = [key for key, root in roots.items() if kept.get(key) != root or told.get(key) != root]
    task = SnapshotTask(
        view.asset,
        node.asset,
        # with nothing changed one partition still says so, under the receipt of now
        changed or [max(roots)],
        version=table.version,
        drop=sorted({*kept, *told} - {*roots}),
        producer=Producer("feature_backup", __name__),
        facts={"partitions_changed": len(changed), "partitions": len(roots)},
    )
    return snapshot(context, vault, task)


def _model(site: Site, context: RunContext, node: AssetNode, model: ModelNode) -> StageReport:
    candidate, champion = model.asset("candidate"), model.asset("champion")
    contents, inputs = registry_contents(site.ledger, candidate=candidate, champion=champion)
    if not inputs:
        return _refused(node.asset, f"expected a version of {model.prefix}, found none: train it first")
    serving = site.ledger.find(champion)
    there = serving is None or not serving.partitions or serving.version[7:23] in contents
    message = f"{len(contents) - 1} versions" if there else "expected the champion among the versions, found it recalled"
    task = KeepTask(
        kept_as(model),
        node.asset,
        Producer("model_backup", __name__),
        contents,
        {proofs.REGISTRY: [Verdict("registry", there, message)]},
        inputs,
        {"versions": len(contents) - 1, "champion": serving.version if serving else None},
    )
    return keep(context, site.vault, task)


def _database(site: Site, context: RunContext, node: AssetNode, subject: DatabaseNode | HouseNode) -> StageReport:
    minimum = subject.spec.minimum_rows if isinstance(subject, DatabaseNode) else 0
    with TemporaryDirectory(prefix="orchestrai-dump-") as folder:
        dump = _dumped(site, subject, Path(folder))
        return keep_dump(context, site.vault, asset=node.asset, dump=dump, minimum_rows=minimum)


def _dumped(site: Site, subject: DatabaseNode | HouseNode, folder: Path) -> Dump:
    if isinstance(subject, DatabaseNode):
        reference = f"env://{subject.spec.dsn_env}"
        file = sqlite_path(reference)
        return dump_sqlite(file, folder) if file else dump_postgres(reference, folder)
    instance = find_instance(site.settings.home)
    if instance.folders:
        earlier = earlier_dump(site.vault, subject.kept_as)
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


def _definitions(site: Site, context: RunContext, node: AssetNode) -> StageReport:
    contents = {pipeline.name: definition_files(pipeline.folder) for pipeline in site.project.pipelines}
    facts: Mapping[str, JsonValue] = {"pipelines": [*sorted(contents)]}
    task = KeepTask("orchestrai/definitions/files", node.asset, Producer("snapshot", __name__), contents, facts=facts)
    return keep(context, site.vault, task)


def definition_files(folder: Path) -> list[SourceFile]:
    """The files of a pipeline's folder, without caches and hidden ones."""
    files = list_folder(folder)[WHOLE]
    return [file for file in files if not any(p.startswith((".", "__pycache__")) for p in file.path.split("/"))]


def _cold(site: Site, context: RunContext, node: AssetNode, subject: Keepable) -> StageReport:
    """Copy to the cold tier and publish the backup record; what the store did not do is a failed check, not an error."""
    ledger, spec = site.ledger, _spec(subject).cold
    with Meter() as meter:
        session = ledger.session(node.asset, Producer("cold_copy", __name__))
        target = open_store(spec.url)
        commit = site.vault.latest(kept_as(subject))
        done = cold_copy(
            site.vault, commit, target, control_plane(target), tier=spec.tier, lock=spec.lock, progress=context.progress
        )
        record = done.as_json()
        meter.read = meter.written = done.bytes
        session.add_bytes(WHOLE, "backup_record.json", canonical_json({**record, "seconds": None}), rows=1)
    tiered = not spec.tier or not done.tier_reason
    verdicts = [
        Verdict(
            "verified", done.verified.ok, f"{done.verified.snapshots} snapshots, {len(done.verified.findings)} problems"
        ),
        Verdict("tier", tiered, done.tier_reason or f"{done.objects} objects, contents in {done.tier}", "warn"),
        Verdict("lock", not spec.lock or done.locked, done.lock_reason or f"until {done.locked_until}", "warn"),
    ]
    source = ledger.find(node.deps[0])
    inputs = [InputRef(source.asset, source.version)] if source else []
    return session.commit({WHOLE: verdicts}, inputs=inputs, cost=meter.cost(), facts=record)


def prover(site: Site, subject: Keepable) -> Prove:
    """How a drill proves what it restored of a subject."""
    if isinstance(subject, DatasetNode):
        return proofs.tables_of(subject.contract.arrow_schema())
    if isinstance(subject, ViewNode):
        return proofs.tables_of(subject.view.schema)
    if isinstance(subject, ModelNode):
        return proofs.models
    if isinstance(subject, HouseNode) and subject.kind == "definitions":
        return proofs.definitions
    if isinstance(subject, DatabaseNode):
        return proofs.dump_of(f"env://{subject.spec.scratch_env or subject.spec.dsn_env}")

    def instance(restored: Mapping[str, RestoredPartition], chosen: str) -> str:
        # the server is only asked for where the dump is one of a server
        with ExitStack() as stack:
            if (restored[WHOLE].folder / "database.pgdump").is_file():
                found = find_instance(site.settings.home)
                return proofs.dump_of(stack.enter_context(postgres_reference(found)))(restored, chosen)
            return proofs.dump_of("")(restored, chosen)

    return instance
