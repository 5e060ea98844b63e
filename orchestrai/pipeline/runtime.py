"""One place where declarations meet stores and stages: run a node of the graph, get a report.

Dagster, the command line and tests all call `Runtime.run`; there is no second way to materialize anything.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from orchestrai.contracts import Verdict, check_partition
from orchestrai.errors import ConfigError
from orchestrai.features import (
    DuckDbEngine,
    Engine,
    FeatureViewSpec,
    RemoteSparkEngine,
    SparkEngine,
    compute,
    training_set,
    update_online,
)
from orchestrai.ingest import follow, ingest, load_partitions, open_landing
from orchestrai.ledger import Ledger, Override, PartitionOutcome, StageReport, load_or_create_signer, trusted_keyring
from orchestrai.ledger.ledger import utc_now
from orchestrai.ledger.persons import PersonKeys
from orchestrai.ledger.skips import Skips
from orchestrai.models import deploy_champion, evaluate, predict, promote, told_of_rejection, train
from orchestrai.pipeline.backup import open_vault, protect, protection_of, require_ready, run_drill, with_same_version
from orchestrai.pipeline.catalog import write_catalog
from orchestrai.pipeline.engines import JOBS, Launch, cluster_url, session_settings
from orchestrai.pipeline.graph import AssetNode, DatasetNode, LoadNode, ModelNode, Pipeline, Stage, ViewNode
from orchestrai.pipeline.halting import inputs_current
from orchestrai.pipeline.keeping import is_kept, prover, run_kept
from orchestrai.pipeline.kept_graph import declared_backups
from orchestrai.pipeline.load import Project, load_project, pipeline_folders
from orchestrai.pipeline.sharing import shared
from orchestrai.restore import restore
from orchestrai.settings import Settings
from orchestrai.storage import Store, open_store
from orchestrai.vault import Vault, snapshot

Progress = Callable[[str, int, int], None]
GATES: tuple[Stage, ...] = ("raw_events", "restored")


class Runtime:
    """Settings, stores and declarations, opened once per process and only when first needed."""

    def __init__(self, settings: Settings, project: Project | None = None, clock: Callable[[], datetime] = utc_now) -> None:
        self.settings = settings
        self.clock = clock
        self._project = project
        self.listener: Progress | None = None
        self.launch: Launch | None = None

    @cached_property
    def project(self) -> Project:
        """Every deployed pipeline."""
        return self._project or load_project(pipeline_folders(self.settings.pipelines))

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger over the lake, with the vault as witness."""
        folder = self.settings.key_folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        signer = load_or_create_signer(folder)
        lake, vault = open_store(self.settings.lake), open_store(self.settings.vault)
        return Ledger(lake, signer, trusted_keyring(folder), vault=vault, clock=self.clock)

    @cached_property
    def vault(self) -> Vault:
        """The backup engine over the vault store; sealed as a whole when any dataset declares `encrypt`."""
        return open_vault(self.ledger, self.settings.key_folder, self._seals)

    @cached_property
    def persons(self) -> PersonKeys:
        """The keys that tokens are made with, outside lake and vault so that destroying one is final."""
        return PersonKeys(open_store(str(self.settings.key_folder / "persons")))

    def _seals(self) -> str:
        """What is declared to wrap the data key, or nothing: a vault is sealed as a whole, and when it is made."""
        declared = {spec.key_url for spec in declared_backups(tuple(self.project.nodes.values())).values()} - {""}
        if len(declared) > 1:
            raise ConfigError(
                f"expected one key for the vault, found {', '.join(sorted(declared))} declared: a vault is sealed as a whole"
            )
        return declared.pop() if declared else ""

    @cached_property
    def code_version(self) -> str:
        """What receipts name as the code that ran."""
        return f"orchestrai {importlib.metadata.version('orchestrai')}"

    def landing(self, dataset: DatasetNode) -> Store:
        """The store a dataset's producers write to; a relative path lies under the home folder."""
        return open_landing(dataset.spec.source.url, self.settings.home)

    def run(
        self,
        node: AssetNode,
        partitions: Sequence[str],
        progress: Progress | None = None,
        *,
        overrides: Sequence[Override] = (),
    ) -> StageReport:
        """Materialize a node for some partitions; raises OrchestraiError.

        What fails its audit is not published, unless one of `overrides` waives it, which only raw events and restored data take.
        """
        if overrides and node.stage not in GATES:
            raise ConfigError(f"expected a gate of {' or '.join(GATES)} to override, found {node.stage} of {node.asset}")
        with self.ledger.reading():
            return self._run(node, partitions, self._told(progress), overrides)

    def _run(
        self, node: AssetNode, partitions: Sequence[str], progress: Progress | None, overrides: Sequence[Override]
    ) -> StageReport:
        subject = node.subject
        if is_kept(node):
            return run_kept(self, node, progress)
        if isinstance(subject, DatasetNode):
            if node.stage == "drill":
                return run_drill(self.ledger, self.vault, subject, prover(self, subject))
            return settle(self._run_dataset(node, subject, partitions, progress, overrides), subject, partitions)
        if isinstance(subject, ViewNode):
            report = self._run_view(subject, partitions, progress)
            return settle(report, subject.partitioned_like, partitions) if subject.partitioned_like else report
        if isinstance(subject, LoadNode):
            return self._run_load(node, subject, partitions)
        if isinstance(subject, Pipeline):
            return write_catalog(self.ledger, subject, node.asset)
        assert isinstance(subject, ModelNode)
        return self._run_model(node, subject, progress)

    def _told(self, progress: Progress | None) -> Progress | None:
        listener = self.listener
        if listener is None or progress is None:
            return listener or progress

        def both(what: str, done: int, total: int) -> None:
            progress(what, done, total)
            listener(what, done, total)

        return both

    # -- datasets ----------------------------------------------------------------------------------------------

    def _run_dataset(
        self,
        node: AssetNode,
        dataset: DatasetNode,
        partitions: Sequence[str],
        progress: Progress | None,
        overrides: Sequence[Override],
    ) -> StageReport:
        raw, kept, restored = (dataset.asset(stage) for stage in ("raw_events", "snapshot", "restored"))
        if node.stage == "raw_events" and dataset.spec.source.positioned:
            return follow(
                self.ledger,
                asset=raw,
                source=dataset.spec.source,
                home=self.settings.home,
                contract=dataset.contract,
                grain=node.grain,
                partitions=partitions,
                now=self.clock(),
                progress=progress,
                overrides=overrides,
            )
        if node.stage == "raw_events":
            return ingest(
                self.ledger,
                asset=raw,
                landing=self.landing(dataset),
                source=dataset.spec.source,
                contract=dataset.contract,
                grain=node.grain,
                partitions=partitions,
                now=self.clock(),
                progress=progress,
                # what was looked at may have left the landing since
                recover=bool(overrides),
                persons=self.persons if dataset.contract.person else None,
                overrides=overrides,
                spark=self.spark_session if dataset.spec.source.spark_above else None,
            )
        if node.stage == "snapshot":
            ready, missing = self._published(raw, dataset, partitions)
            if not ready:
                return StageReport(kept, None, missing)
            return with_outcomes(self._snapshot(dataset, ready, progress), missing)
        if node.stage == "restored":
            ready, missing = self._published(kept, dataset, partitions)
            if not ready:
                return StageReport(restored, None, missing)
            audit = self._audit(dataset, node)
            report = restore(
                self.ledger,
                self.vault,
                snapshot=kept,
                asset=restored,
                partitions=ready,
                audit=audit,
                progress=progress,
                overrides=overrides,
            )
            report = with_same_version(self.ledger, dataset, report)
            return with_outcomes(shared(self.ledger, report, dataset.spec.share, self.settings.home / "tables"), missing)
        raise ConfigError(f"expected a stage that runs, found {node.stage} of {dataset.prefix}")

    def _snapshot(self, dataset: DatasetNode, partitions: Sequence[str], progress: Progress | None) -> StageReport:
        wanted = protection_of(dataset.spec.backup, self.settings)
        require_ready(self.vault, wanted, dataset.prefix)
        raw, kept = dataset.asset("raw_events"), dataset.asset("snapshot")
        report = snapshot(self.ledger, self.vault, source=raw, asset=kept, partitions=partitions, progress=progress)
        done = protect(self.vault, str(report.facts["snapshot_id"]), wanted, progress=progress)
        return with_same_version(self.ledger, dataset, replace(report, facts={**report.facts, **done}))

    def _audit(self, dataset: DatasetNode, node: AssetNode) -> Callable[[str, list[Path]], Sequence[Verdict]]:
        raw = self.ledger.find(dataset.asset("raw_events"))
        history = {key: entry.rows for key, entry in raw.partitions.items()} if raw else {}

        def audit(partition: str, files: list[Path]) -> Sequence[Verdict]:
            return check_partition(
                dataset.contract, files, partition=partition, grain=node.grain, history=history, now=self.clock()
            )

        return audit

    def _published(
        self, upstream: str, dataset: DatasetNode, partitions: Sequence[str]
    ) -> tuple[list[str], tuple[PartitionOutcome, ...]]:
        found = self.ledger.find(upstream)
        there = found.partitions if found else {}
        absent = [key for key in partitions if key not in there and is_due(dataset, key)]
        skips = self.ledger.skips() if absent else Skips()
        return [key for key in partitions if key in there], tuple(_absent(upstream, dataset, key, skips) for key in absent)

    def _run_load(self, node: AssetNode, load: LoadNode, partitions: Sequence[str]) -> StageReport:
        like, wanted = load.partitioned_like, None
        missing: tuple[PartitionOutcome, ...] = ()
        if like is not None:
            wanted, missing = self._published(load.source_asset, like, partitions)
            if not wanted:
                return settle(StageReport(node.asset, None, missing), like, partitions)
        report = load_partitions(
            self.ledger,
            load.spec,
            source=load.source_asset,
            asset=node.asset,
            partitions=wanted,
            home=self.settings.home,
            code_version=self.code_version,
        )
        report = with_outcomes(report, missing)
        return settle(report, like, partitions) if like else report

    # -- features and models -----------------------------------------------------------------------------------

    def _run_view(self, node: ViewNode, partitions: Sequence[str], progress: Progress | None) -> StageReport:
        like = node.partitioned_like
        missing: tuple[PartitionOutcome, ...] = ()
        wanted: Sequence[str] | None = None
        if like is not None:
            wanted, missing = self._published(like.asset("restored"), like, partitions)
            if not wanted:
                return StageReport(node.asset, None, missing)
        inputs = [self.ledger.find(dataset.asset("restored")) for dataset in node.inputs.values()]
        size = sum(entry.size for found in inputs if found for entry in found.partitions.values())
        report = compute(
            self.ledger,
            node.view,
            asset=node.asset,
            inputs={table: dataset.asset("restored") for table, dataset in node.inputs.items()},
            grain=like.spec.partitions.grain if like else "all",
            partitions=wanted,
            # a view in Python runs on this machine, whatever the settings choose for the others
            engine=self._embedded() if node.view.python is not None else self._engine(node.view.spec.engine, size),
            progress=_shares(node.asset, progress),
            code_version=self.code_version,
        )
        if isinstance(node.view.spec, FeatureViewSpec):
            if node.view.spec.online and report.version is not None:
                done = update_online(self.ledger, node.view, asset=node.asset, path=self.online_path(node))
                facts = {**report.facts, "online_entities": done.entities, "online_version": done.version}
                report = replace(report, facts=facts)
            report = shared(self.ledger, report, node.view.spec.share, self.settings.home / "tables")
        return with_outcomes(report, missing)

    def online_path(self, node: ViewNode) -> Path:
        """The file from which the newest features of a view are read by key."""
        return self.settings.home / "online" / node.pipeline / f"{node.view.name}.sqlite"

    def _engine(self, wanted: str = "auto", size: int = 0) -> Engine:
        choice = self.settings.engine if self.settings.engine != "auto" else wanted
        threshold = self.settings.spark_threshold_bytes
        if choice == "auto":
            choice = "spark" if threshold and size >= threshold else "duckdb"
        if choice == "spark":
            return self._spark()
        return self._embedded()

    def _embedded(self) -> DuckDbEngine:
        return DuckDbEngine(memory_limit=self.settings.memory_limit)

    def _spark(self) -> Engine:
        """A session, or jobs on another system."""
        where, _, _ = self.settings.spark_url.partition(":")
        if where not in JOBS:
            return SparkEngine(self.spark_session)
        if self.launch is None:
            raise ConfigError(
                f"expected a run in Dagster to start Spark jobs by {where}, found none: materialize it in Dagster"
            )
        if not self.settings.spark_exchange:
            raise ConfigError(
                f"expected ORCHESTRAI_SPARK_EXCHANGE beside {where}, found none: name a store both sides reach"
            )
        exchange = open_store(self.settings.spark_exchange)
        return RemoteSparkEngine(exchange, cluster_url(self.settings.spark_exchange), self.launch, where)

    def spark_session(self) -> object:
        """The session that Spark views run in; replaced by the Dagster side with dagster-pyspark's."""
        from pyspark.sql import SparkSession

        builder = SparkSession.builder
        for name, value in session_settings(self.settings.spark_url).items():
            builder = builder.config(name, value)
        return builder.getOrCreate()

    def _run_model(self, node: AssetNode, model: ModelNode, progress: Progress | None) -> StageReport:
        spec = model.spec
        asset = {
            stage: model.asset(stage) for stage in ("training_set", "candidate", "evaluation", "champion", "predictions")
        }
        features = [view.asset for view in model.views]
        if node.stage == "training_set":
            current = inputs_current(self.ledger, model, self.clock())
            if current.closes_gate:
                return StageReport(node.asset, None, (PartitionOutcome("all", False, verdicts=(current,)),))
            return training_set(
                self.ledger,
                asset=asset["training_set"],
                features=[(view.view, view.asset) for view in model.views],
                label=spec.label,
                label_inputs={table: dataset.asset("restored") for table, dataset in model.label_inputs.items()},
                folder=model.folder,
                engine=self._engine(),
            )
        if node.stage == "candidate":
            return train(self.ledger, spec, training_set=asset["training_set"], asset=asset["candidate"])
        if node.stage == "evaluation":
            return evaluate(
                self.ledger,
                spec,
                candidate=asset["candidate"],
                training_set=asset["training_set"],
                champion=asset["champion"],
                asset=asset["evaluation"],
            )
        if node.stage == "champion":
            report = promote(
                self.ledger, spec, candidate=asset["candidate"], evaluation=asset["evaluation"], asset=asset["champion"]
            )
            return told_of_rejection(spec, report)
        if node.stage == "deployment":
            return deploy_champion(self.ledger, spec, champion=asset["champion"], asset=model.asset("deployment"))
        return predict(
            self.ledger, spec, champion=asset["champion"], features=features, asset=asset["predictions"], partition=None
        )


def _shares(what: str, progress: Progress | None) -> Callable[[float, str], None] | None:
    if progress is None:
        return None
    return lambda share, _: progress(what, round(share * 100), 100)


def _absent(upstream: str, dataset: DatasetNode, partition: str, skips: Skips) -> PartitionOutcome:
    """Refused for want of what comes before it, or done where a person left it out."""
    skip = next((found for stage in GATES if (found := skips.find(dataset.asset(stage), partition))), None)
    if skip is not None:
        return PartitionOutcome(partition, True, verdicts=(skip.verdict("upstream"),))
    message = f"expected {upstream}@{partition} to be published, found none"
    return PartitionOutcome(partition, False, verdicts=(Verdict("upstream", False, message),))


def is_due(dataset: DatasetNode, partition: str) -> bool:
    """False for a partition in which nothing has to arrive, such as a closed day."""
    return dataset.contract.closed.due(partition, dataset.spec.partitions.grain)


def settle(report: StageReport, dataset: DatasetNode, partitions: Sequence[str]) -> StageReport:
    """Count partitions in which nothing was due as done, with no rows and no version, so that a backfill can end."""
    told = {outcome.partition for outcome in report.outcomes}
    idle = [PartitionOutcome(key, True) for key in partitions if key not in told and not is_due(dataset, key)]
    return with_outcomes(report, idle)


def with_outcomes(report: StageReport, more: Sequence[PartitionOutcome]) -> StageReport:
    """The report with further outcomes, sorted by partition."""
    if not more:
        return report
    outcomes = tuple(sorted((*report.outcomes, *more), key=lambda outcome: outcome.partition))
    return StageReport(report.asset, report.version, outcomes, report.cost, report.facts, report.plots)
