"""The stages of a dataset: landing -> raw events -> snapshot -> restored, and from there into a warehouse."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrai.contracts.checks import check_partition
from orchestrai.core.verdict import Audit, Verdict
from orchestrai.errors import ConfigError
from orchestrai.ingest.coverage_audit import coverage_finding
from orchestrai.ingest.incremental import follow
from orchestrai.ingest.run import ingest
from orchestrai.ingest.sources.landing import require_landing
from orchestrai.ingest.spec import DatasetTask
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.pipeline.nodes import AssetNode, DatasetNode, LoadNode
from orchestrai.pipeline.outcomes import published, settle, with_outcomes
from orchestrai.pipeline.protection import protect, protection_of, require_ready
from orchestrai.pipeline.site import Site
from orchestrai.pipeline.table_sharing import shared
from orchestrai.restore.run import RestoreTask, restore
from orchestrai.stage.context import RunContext
from orchestrai.storage.base import Store
from orchestrai.vault.run import SnapshotTask, snapshot
from orchestrai.warehouse.run import load_partitions


def run_dataset(
    site: Site, context: RunContext, node: AssetNode, dataset: DatasetNode, partitions: Sequence[str]
) -> StageReport:
    """Run a stage of a dataset for some partitions; raises OrchestraiError."""
    raw, kept, restored = (dataset.asset(stage) for stage in ("raw_events", "snapshot", "restored"))
    if node.stage == "raw_events":
        source = dataset.spec.source
        task = DatasetTask(raw, source, dataset.contract, node.grain, tuple(partitions))
        if source.positioned:
            return follow(context, task)
        landing = _landing(site, dataset, partitions, context.overrides)
        # what was looked at may have left the landing since
        recover, spark = bool(context.overrides), site.spark_session if source.spark_above else None
        return ingest(context, task, landing, recover=recover, spark=spark)
    if node.stage == "snapshot":
        ready, missing = published(site.ledger, raw, dataset, partitions)
        if not ready:
            return StageReport(kept, None, missing)
        return with_outcomes(_snapshot(site, context, dataset, ready), missing)
    if node.stage == "restored":
        ready, missing = published(site.ledger, kept, dataset, partitions)
        if not ready:
            return StageReport(restored, None, missing)
        report = restore(context, site.vault, RestoreTask(kept, restored, ready), _audit(site, dataset, node))
        return with_outcomes(shared(site.ledger, report, dataset.spec.share, site.settings.home / "tables"), missing)
    raise ConfigError(f"expected a stage that runs, found {node.stage} of {dataset.prefix}")


def _snapshot(site: Site, context: RunContext, dataset: DatasetNode, partitions: Sequence[str]) -> StageReport:
    wanted = protection_of(dataset.spec.backup, site.settings)
    require_ready(site.vault, wanted, dataset.prefix)
    task = SnapshotTask(dataset.asset("raw_events"), dataset.asset("snapshot"), partitions)
    report = snapshot(context, site.vault, task)
    done = protect(site.vault, report.facts, wanted, progress=context.progress)
    return replace(report, facts={**report.facts, **done})


def _landing(site: Site, dataset: DatasetNode, partitions: Sequence[str], overrides: Sequence[Override]) -> Store:
    """Where objects land; a folder that is gone is an outage, unless all that is wanted was taken or looked at before."""
    landing, current = site.landing(dataset), site.ledger.find(dataset.asset("raw_events"))
    taken = current is not None and set(partitions) <= set(current.partitions)
    return landing if taken or overrides else require_landing(landing, dataset.spec.source)


def _audit(site: Site, dataset: DatasetNode, node: AssetNode) -> Callable[[str, list[Path]], Sequence[Verdict]]:
    raw = site.ledger.find(dataset.asset("raw_events"))
    history = {key: entry.rows for key, entry in raw.partitions.items()} if raw else {}
    restored, before = site.ledger.find(node.asset), Audit()

    def audit(partition: str, files: list[Path]) -> Sequence[Verdict]:
        contract, grain, now = dataset.contract, node.grain, site.clock()
        found = check_partition(contract, files, partition=partition, grain=grain, history=history, now=now)
        before.combine(partition, *found, *coverage_finding(found, contract.volume, partition, grain, now, restored, before))
        return before[partition]

    return audit


def run_load(site: Site, node: AssetNode, load: LoadNode, partitions: Sequence[str]) -> StageReport:
    """Load a warehouse table from the newest version of its source; raises OrchestraiError."""
    like, wanted = load.partitioned_like, None
    missing: tuple[PartitionOutcome, ...] = ()
    if like is not None:
        wanted, missing = published(site.ledger, load.source_asset, like, partitions)
        if not wanted:
            return settle(StageReport(node.asset, None, missing), like, partitions)
    report = load_partitions(
        site.ledger,
        load.spec,
        source=load.source_asset,
        asset=node.asset,
        partitions=wanted,
        home=site.settings.home,
    )
    report = with_outcomes(report, missing)
    return settle(report, like, partitions) if like else report
