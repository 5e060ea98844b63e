"""One place where declarations meet stores and stages: run a node of the graph, get a report.

Dagster, the command line and tests all call `Runtime.run`; there is no second way to materialize anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrai.backup.ports import Definitions
from orchestrai.backup.proofs import own_drill, proof_of
from orchestrai.core.identity import utc_now
from orchestrai.core.progress import Progress
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError
from orchestrai.features.engines.engine import Engine
from orchestrai.features.ports import Engines
from orchestrai.features.views.moment_partitions import PointInTime
from orchestrai.ingest.sources.landing import open_landing
from orchestrai.ledger.costs.cost_record import CostRecord
from orchestrai.ledger.costs.run_meter import measured_asset, measured_size, note_choice, note_size
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.models.ports import Features
from orchestrai.pipeline.admission import demanding_ledger
from orchestrai.pipeline.costs.cost_book import CostBook
from orchestrai.pipeline.costs.measured_rates import EngineRule, choose_engine, choose_workers, newest_runs
from orchestrai.pipeline.engines import Launch, embedded, engine_for, open_session, vault_spread
from orchestrai.pipeline.graph import declared_backups
from orchestrai.pipeline.load import Project, load_pipelines, load_project, pipeline_folders
from orchestrai.pipeline.name_changes import record_renames, require_settled
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.stage_registry import gates
from orchestrai.privacy.persons import PersonKeys, open_person_keys
from orchestrai.restore.ports import Drilled, Drills, Proofs, RecoveryPoints
from orchestrai.settings import Settings
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode
from orchestrai.storage.base import Store
from orchestrai.storage.spread.spark_session import SparkSession
from orchestrai.vault.protection import open_vault
from orchestrai.vault.vault import Vault

if TYPE_CHECKING:
    from orchestrai.features.jobs.cluster_size import WorkerBounds


class Runtime:
    """Settings, stores and declarations, opened once per process and only when first needed; runs the nodes of its graph."""

    def __init__(self, settings: Settings, project: Project | None = None, clock: Callable[[], datetime] = utc_now) -> None:
        self.settings = settings
        self.clock = clock
        self._project = project
        self.costs = CostBook(lambda: self.ledger, settings, clock)
        self.launch: Launch | None = None
        self.listener: Progress | None = None

    @cached_property
    def project(self) -> Project:
        """Every deployed pipeline that can be read."""
        return self._project or load_pipelines(pipeline_folders(self.settings.pipelines))

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger over the lake, with the vault as witness; it hands out bytes by full evidence alone."""
        return demanding_ledger(self.settings, self.clock, lambda: self.project, lambda: self.vault)

    @cached_property
    def vault(self) -> Vault:
        """The backup engine over the vault store; sealed as a whole when any dataset declares `encrypt`."""
        vault = open_vault(self.ledger, self.settings.key_folder, self._seals)
        vault.spread = vault_spread(self.settings, lambda: self.spark_session(), vault.store, self.ledger.lake)
        return vault

    @cached_property
    def persons(self) -> PersonKeys:
        """The keys that tokens are made with, outside lake and vault so that destroying one is final."""
        return open_person_keys(self.settings)

    def _seals(self) -> str:
        """What is declared to wrap the data key, or nothing: a vault is sealed as a whole, and when it is made."""
        for pipeline in self.project.left_out:
            # what is written plain stays so, and a vault is made once
            if pipeline.may_encrypt:
                raise ConfigError(
                    f"expected {pipeline.name} to load before a vault is made, since it may declare that it be encrypted, "
                    f"found it left out: {pipeline.mistakes[0].message}"
                )
        declared = {spec.key_url for spec in declared_backups(tuple(self.project.nodes.values())).values()} - {""}
        if len(declared) > 1:
            raise ConfigError(
                f"expected one key for the vault, found {', '.join(sorted(declared))} declared: a vault is sealed as a whole"
            )
        return declared.pop() if declared else ""

    def context(self, progress: Progress | None = None, overrides: Sequence[Override] = ()) -> RunContext:
        """What travels with one run here."""
        ports: dict[type, Callable[[], object]] = {
            Vault: lambda: self.vault,
            SparkSession: lambda: SparkSession(self.spark_session),
            Engines: lambda: Engines(self.engine, lambda: embedded(self.settings)),
            Proofs: lambda: Proofs(lambda subject: proof_of(subject, self.settings.home, self._definitions())),
            Drills: lambda: Drills(own_drill),
            RecoveryPoints: lambda: RecoveryPoints(self._recovery_point),
            Definitions: self._definitions,
            Features: lambda: Features(lambda: PointInTime(self.ledger, embedded(self.settings))),
        }
        return RunContext(self.ledger, self.settings, self.clock, lambda: self.persons, progress, overrides, ports)

    def _recovery_point(self, subject: Drilled) -> Verdict | None:
        from orchestrai.pipeline.reports.recovery_point import recovery_point

        return recovery_point(self, subject).verdict if isinstance(subject, DatasetNode) else None

    def _definitions(self) -> Definitions:
        folders = {pipeline.name: pipeline.folder for pipeline in self.project.pipelines}
        return Definitions(lambda: folders, lambda paths, variables: len(load_project(paths, variables).pipelines))

    def run(
        self,
        node: AssetNode[Any],
        partitions: Sequence[str],
        progress: Progress | None = None,
        *,
        overrides: Sequence[Override] = (),
        again: bool = False,
        trial: Callable[[str], NoReturn] | None = None,
    ) -> StageReport:
        """Materialize a node for some partitions; raises OrchestraiError.

        What fails its audit is not published, unless one of `overrides` waives it, which only raw events and restored data take. With
        `again` what is restored already is restored once more, as a proof. With a `trial` nothing is to come of it, and no record of its
        cost is left.
        """
        if overrides and not node.stage.gate:
            known = " or ".join(gates())
            raise ConfigError(f"expected a gate of {known} to override, found {node.stage.name} of {node.asset}")
        for pipeline in self.project.pipelines:
            if pipeline.name == node.pipeline:
                require_settled(self._unsettled_names, pipeline)
        with self.ledger.using(), self.ledger.reading():
            context = replace(self.context(self._told(progress), overrides), again=again, trial=trial)
            if trial is not None:
                return node.stage.perform(context, node, partitions)
            return self.costs.perform(node, partitions, lambda: node.stage.perform(context, node, partitions))

    @cached_property
    def _unsettled_names(self) -> dict[str, str]:
        """Where declared names contradict recorded ones, by pipeline; renames that are new are recorded."""
        return record_renames(self.ledger, self.project.pipelines)

    def _told(self, progress: Progress | None) -> Progress | None:
        listener = self.listener
        if listener is None or progress is None:
            return listener or progress

        def both(what: str, done: int, total: int) -> None:
            progress(what, done, total)
            listener(what, done, total)

        return both

    def landing(self, dataset: DatasetNode) -> Store:
        """The store a dataset's producers write to; a relative path lies under the home folder."""
        return open_landing(dataset.spec.source.url, self.settings.home)

    def engine(self, wanted: str = "auto", size: int = 0) -> Engine:
        """The engine by the settings, else as a view wants it, else by the bytes of its input and what earlier runs took."""
        note_size(size)
        return engine_for(
            self.settings, self.spark_session, self.launch, wanted, lambda: self._chosen_engine(size), self.workers
        )

    def _chosen_engine(self, size: int) -> str:
        settings = self.settings
        rule = EngineRule(settings.spark_threshold_bytes, bool(settings.spark_url), settings.step_seconds)
        engine, why = choose_engine(rule, size, self._measured_runs)
        if why:
            note_choice(why)
        return engine

    def workers(self, bounds: "WorkerBounds") -> int:
        """How many workers a Spark job of the run that is going on is given, within what its file declares."""
        size = measured_size()
        chosen = choose_workers((bounds.least, bounds.most), self.settings.step_seconds, size, self._measured_runs())
        note_choice(chosen.why)
        return chosen.value

    def _measured_runs(self) -> list[CostRecord]:
        asset = measured_asset()
        return newest_runs(self.ledger, asset, self.clock()) if asset else []

    def spark_session(self) -> object:
        """The session that Spark views run in; replaced by the Dagster side with dagster-pyspark's."""
        return open_session(self.settings)
